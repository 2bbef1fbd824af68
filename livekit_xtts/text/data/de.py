"""German."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

_MONTHS = (
    "Januar|Jänner|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
)

# fmt: off
SPOKEN = Spoken(
    code="de",
    dot="punkt", at="ät", slash="schrägstrich", dash="minus", underscore="unterstrich",
    minus="minus", plus="plus", until="bis", times="mal", equals="gleich",
    percent="prozent",
    genders={"m": (("eins", "ein"),), "n": (("eins", "ein"),), "f": (("eins", "eine"),)},
    currencies={
        "€": "euro; cent", "EUR": "euro; cent", "Euro": "euro; cent", "$": "dollar; cent",
        "USD": "dollar; cent", "US-Dollar": "us-dollar; cent", "£": "pfund|n; pence", "GBP": "pfund|n; pence",
        "CHF": "franken; rappen", "Fr.": "franken; rappen", "¥": "yen", "₽": "rubel",
    },
    money=" und ",
    units={
        "km": "kilometer", "m": "meter", "cm": "zentimeter", "mm": "millimeter",
        "km/h": "kilometer pro stunde", "kg": "kilogramm|n", "g": "gramm|n", "mg": "milligramm|n",
        "l": "liter", "ml": "milliliter", "°C": "grad celsius|n", "°F": "grad fahrenheit|n", "°": "grad|n",
        "m²": "quadratmeter", "qm": "quadratmeter", "km²": "quadratkilometer", "KB": "kilobyte|n", "MB": "megabyte|n",
        "GB": "gigabyte|n", "TB": "terabyte|n", "kW": "kilowatt|n", "kWh": "kilowattstunde|kilowattstunden|f",
        "PS": "ps|n", "Hz": "hertz|n", "MHz": "megahertz|n", "GHz": "gigahertz|n",
        "Min.": "minute|minuten|f", "min": "minute|minuten|f", "Std.": "stunde|stunden|f", "h": "stunde|stunden|f",
        "Sek.": "sekunde|sekunden|f", "ms": "millisekunde|millisekunden|f", "s": "sekunde|sekunden|f",
        "Mio.": "million|millionen|f", "Mrd.": "milliarde|milliarden|f", "W": "watt|n", "V": "volt|n",
    },
    symbols={"&": "und", "@": "at", "%": "prozent", "#": "raute", "°": "grad", "+": "plus",
             "§": "paragraf", "±": "plus minus", "÷": "geteilt durch"},
    abbreviations={
        "fr": "frau", "dr": "doktor", "st": "sankt", "co": "firma", "jr": "junior", "hr": "herr",
        "hrn": "herrn", "prof": "professor", "dipl.-ing": "diplom-ingenieur", "ing": "ingenieur",
        "nr": "nummer", "z.b": "zum beispiel", "d.h": "das heißt", "u.a": "unter anderem",
        "i.d.r": "in der regel", "v.a": "vor allem", "o.ä": "oder ähnliches", "u.ä": "und ähnliches",
        "s.o": "siehe oben", "s.u": "siehe unten", "z.t": "zum teil", "m.e": "meines erachtens",
        "u.u": "unter umständen", "z.z": "zurzeit", "n.chr": "nach christus", "v.chr": "vor christus",
        "usw": "und so weiter", "bzw": "beziehungsweise", "ca": "circa", "evtl": "eventuell",
        "ggf": "gegebenenfalls", "inkl": "inklusive", "exkl": "exklusive", "zzgl": "zuzüglich",
        "vgl": "vergleiche", "sog": "sogenannte", "etc": "et cetera", "tel": "telefon",
        "str": "straße", "abs": "absatz", "art": "artikel", "mio": "millionen", "mrd": "milliarden",
        "tsd": "tausend", "min": "minuten", "std": "stunden", "max": "maximal", "mind": "mindestens",
        "jh": "jahrhundert", "geb": "geboren", "gest": "gestorben", "jan": "januar", "feb": "februar",
        "aug": "august", "sept": "september", "okt": "oktober", "nov": "november", "dez": "dezember",
        "mo": "montag", "di": "dienstag", "mi": "mittwoch", "do": "donnerstag", "bsp": "beispiel",
    },
    bare={"dr": "doktor", "usw": "und so weiter", "bzw": "beziehungsweise"},
    spelled="USA EU BRD DDR FBI CIA KI API IBM TV PC AG GmbH URL GPS VIP USB CPU PDF SMS ADAC"
    " AOK BMW VW ARD ZDF ICE IC DB LKW PKW EDV IT ID IP WLAN",
    months=("januar", "februar", "märz", "april", "mai", "juni", "juli", "august", "september",
            "oktober", "november", "dezember"),
    month_words={"jänner": 1, "jan": 1, "feb": 2, "mrz": 3, "apr": 4, "jun": 6, "jul": 7,
                 "aug": 8, "sep": 9, "sept": 9, "okt": 10, "nov": 11, "dez": 12},
    day_style="ordinal",
    clock={"full": "{h} uhr", "minutes": "{h} uhr {m}", "oh": "{h} uhr {m}", "one": "ein uhr"},
    clock_words="Uhr",
    hour_gender="n",
    year_hundreds=True,
    year_cues="in|im jahr|im jahre|seit|bis|ab|von|vor|nach|um|jahr|jahre|sommer|winter|herbst"
    "|frühling|frühjahr|januar|februar|märz|april|mai|juni|juli|august|september|oktober"
    "|november|dezember|anno|geboren|gestorben",
    ordinals=(
        (r"(?i:am|vom|zum|dem|den|(?:in|an|auf|mit|von|nach|seit|zu|vor|aus|bei|unter|über) der|im|beim|ab|bis|des|jeden|diesem|seinem|ihrem|einem|unserem) ",
         rf"\.(?=\s+(?:{_MONTHS}|[A-ZÄÖÜ]|(?:und|oder|bis)\s))", "d"),
        (r"(?i:und|oder|bis|–|-) ", r"\.(?=\s+(?:" + _MONTHS + r"))", "d"),
        (r"(?i:ein|mein|dein|sein|ihr|unser|kein) ", r"\.(?=\s+[A-ZÄÖÜ])", "r"),
        (r"", r"\.(?=\s+[A-Za-zÄÖÜäöü])", "m"),
        (r"", r"(?:st|nd|rd|th|º|ª)(?!\w)", "m"),
    ),
    ordinal_endings={"d": (("e", "en"),), "r": (("e", "er"),)},
    rules=(
        *(
            (rf"(?i)\b((?:am|vom|zum|dem|den|bis|ab|seit) (?:\w+, (?:den |dem )?)?)(0?[1-9]|[12]\d|3[01])\. ?0?{number}\.(?! ?\d)", rf"\1\2. {month}")
            for number, month in enumerate(_MONTHS.replace("|Jänner", "").split("|"), 1)
        ),
        (rf"(?i)\b((?:am|vom|zum|dem|den|bis|ab) (?:\w+, (?:den |dem )?)?)(\d{{1,2}})\. ?(?=(?:{_MONTHS})\b)", r"\1\2. "),
        (r"€ ?(\d[\d.]*),[-–—]+", r"\1 Euro"),
        (r"\b(\d[\d.]*),[-–—]+ ?€", r"\1 Euro"),
        (r"\b(\d[\d.,]*) ?(Mio|Mrd|Tsd)\.? ?€", r"\1 \2. euro"),
        (r"§§ ?", "paragrafen "), (r"½", " einhalb"), (r"№ ?", "nummer "),
        (r"\bGmbH\b", "g m b h"), (r"\bS\.(?= ?\d)", "seite"), (r"\b(\w+)str\.", r"\1straße"),
        (r"\bAbb\.(?= ?\d)", "abbildung"), (r"\bKap\.(?= ?\d)", "kapitel"),
        (r"\b24/7\b", "vierundzwanzig sieben"),
    ),
)
