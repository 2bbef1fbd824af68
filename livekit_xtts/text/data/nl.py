"""Dutch."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

# fmt: off
SPOKEN = Spoken(
    code="nl",
    dot="punt", at="apenstaartje", slash="schuine streep", dash="streepje", underscore="laag streepje",
    minus="min", plus="plus", until="tot", times="keer", equals="is gelijk aan",
    percent="procent",
    currencies={
        "€": "euro; cent", "EUR": "euro; cent", "$": "dollar; cent", "USD": "dollar; cent", "£": "pond; pence",
        "GBP": "pond; pence", "CHF": "zwitserse frank; rappen", "¥": "yen",
    },
    money=", ",
    units={
        "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "km/u": "kilometer per uur", "km/h": "kilometer per uur",
        "kg": "kilogram", "g": "gram", "mg": "milligram", "l": "liter", "L": "liter", "ml": "milliliter", "°C": "graden celsius",
        "°F": "graden fahrenheit", "°": "graden", "m²": "vierkante meter", "km²": "vierkante kilometer", "KB": "kilobyte", "MB": "megabyte",
        "GB": "gigabyte", "TB": "terabyte", "kW": "kilowatt", "kWh": "kilowattuur", "Hz": "hertz", "GHz": "gigahertz",
        "min": "minuut|minuten", "min.": "minuut|minuten", "u": "uur", "s": "seconde|seconden", "sec": "seconde|seconden",
        "ms": "milliseconde|milliseconden", "mln": "miljoen", "mld": "miljard", "W": "watt", "V": "volt",
    },
    symbols={"&": "en", "@": "bij", "%": "procent", "#": "hekje", "°": "graden", "+": "plus", "§": "paragraaf"},
    abbreviations={
        "dhr": "de heer", "mevr": "mevrouw", "mw": "mevrouw", "dr": "dokter", "jhr": "jonkheer", "prof": "professor", "ir": "ingenieur",
        "ing": "ingenieur", "drs": "doctorandus", "mr": "meester", "bijv": "bijvoorbeeld", "bv": "bijvoorbeeld", "enz": "enzovoort",
        "d.w.z": "dat wil zeggen", "o.a": "onder andere", "m.b.t": "met betrekking tot", "i.p.v": "in plaats van", "t.a.v": "ter attentie van",
        "i.v.m": "in verband met", "m.a.w": "met andere woorden", "a.u.b": "alstublieft", "incl": "inclusief", "excl": "exclusief",
        "evt": "eventueel", "resp": "respectievelijk", "ca": "circa", "tel": "telefoon", "nr": "nummer", "blz": "bladzijde", "st": "sint",
        "n.chr": "na christus", "v.chr": "voor christus", "etc": "et cetera", "vgl": "vergelijk", "zgn": "zogenaamd", "afd": "afdeling",
        "jr": "junior", "e.d": "en dergelijke", "jan": "januari", "feb": "februari", "aug": "augustus", "sept": "september", "okt": "oktober",
        "nov": "november", "dec": "december",
    },
    bare={"dhr": "de heer", "mevr": "mevrouw", "t/m": "tot en met"},
    spelled="VS EU FBI CIA AI API IBM TV PC BV URL GPS VIP USB CPU PDF SMS NS BTW KPN ING BMW ID IP HR",
    months=("januari", "februari", "maart", "april", "mei", "juni", "juli", "augustus", "september", "oktober", "november", "december"),
    clock={"full": "{h} uur", "minutes": "{h} uur {m}", "oh": "{h} uur {m}"},
    clock_words="uur|u",
    year_hundreds=True,
    year_cues="in|in het jaar|sinds|tot|van|voor|na|rond|jaar|zomer|winter|januari|februari|maart|april|mei|juni|juli|augustus"
    "|september|oktober|november|december|anno",
    ordinals=((r"", r"(?:de|ste|e|ᵉ)(?!\w)", "m"),),
    rules=(
        (r"€ ?(\d[\d.]*),[-–—]+", r"\1 euro"), (r"№ ?", "nummer "), (r"½", " een half"), (r"\b24/7\b", "vierentwintig uur per dag"),
        (r"€ ?(\d[\d,.]*) (miljoen|miljard)\b", r"\1 \2 euro"),
    ),
)
