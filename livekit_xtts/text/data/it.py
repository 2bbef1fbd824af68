"""Italian."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

# fmt: off
SPOKEN = Spoken(
    code="it",
    dot="punto", at="chiocciola", slash="barra", dash="trattino", underscore="trattino basso",
    minus="meno", plus="più", until="a", times="per", equals="uguale",
    percent="per cento",
    genders={"m": (("ventuno", "ventun"), ("uno", "un")), "f": (("uno", "una"),)},
    currencies={
        "€": "euro; centesimo|centesimi", "EUR": "euro; centesimo|centesimi", "$": "dollaro|dollari; centesimo|centesimi",
        "USD": "dollaro|dollari; centesimo|centesimi", "£": "sterlina|sterline|f; penny|pence",
        "GBP": "sterlina|sterline|f; penny|pence", "CHF": "franco svizzero|franchi svizzeri; centesimo|centesimi",
        "¥": "yen",
    },
    money=" e ",
    units={
        "km": "chilometro|chilometri", "m": "metro|metri", "cm": "centimetro|centimetri", "mm": "millimetro|millimetri",
        "km/h": "chilometro all'ora|chilometri all'ora", "kg": "chilogrammo|chilogrammi", "g": "grammo|grammi",
        "mg": "milligrammo|milligrammi", "l": "litro|litri", "L": "litro|litri", "ml": "millilitro|millilitri",
        "°C": "grado celsius|gradi celsius", "°F": "grado fahrenheit|gradi fahrenheit",
        "m²": "metro quadrato|metri quadrati", "mq": "metro quadrato|metri quadrati", "km²": "chilometro quadrato|chilometri quadrati",
        "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "kW": "kilowatt",
        "kWh": "kilowattora", "Hz": "hertz", "GHz": "gigahertz", "min": "minuto|minuti", "h": "ora|ore|f",
        "s": "secondo|secondi", "ms": "millisecondo|millisecondi", "W": "watt", "V": "volt",
    },
    symbols={"&": "e", "@": "chiocciola", "%": "per cento", "#": "cancelletto", "°": "gradi", "+": "più",
             "±": "più o meno", "÷": "diviso"},
    abbreviations={
        "sig": "signore", "dr": "dottore", "st": "santo", "co": "compagnia", "jr": "junior", "ltd": "limitata",
        "sig.ra": "signora", "sig.na": "signorina", "sigg": "signori", "dott": "dottore", "dott.ssa": "dottoressa",
        "prof": "professore", "prof.ssa": "professoressa", "avv": "avvocato", "ing": "ingegnere", "arch": "architetto",
        "geom": "geometra", "on": "onorevole", "ecc": "eccetera", "etc": "eccetera", "es": "esempio",
        "p.es": "per esempio", "ca": "circa", "tel": "telefono", "pag": "pagina", "fig": "figura", "cfr": "confronta",
        "a.c": "avanti cristo", "d.c": "dopo cristo", "s.p.a": "s p a", "s.r.l": "s r l", "vs": "contro",
        "gent.ma": "gentilissima", "spett": "spettabile", "nr": "numero",
    },
    bare={"sig.ra": "signora", "sig.na": "signorina", "dott.ssa": "dottoressa", "prof.ssa": "professoressa"},
    spelled="UE FBI CIA IA API IBM TV PC URL GPS VIP USB CPU PDF SMS BMW ID IP",
    months=("gennaio", "febbraio", "marzo", "aprile", "maggio", "giugno", "luglio", "agosto", "settembre",
            "ottobre", "novembre", "dicembre"),
    day_style="first",
    clock={"full": "{h}", "minutes": "{h} e {m}", "oh": "{h} e {m}"},
    clock_words="",
    hour_gender="f",
    ordinals=((r"", r"(?:º|°|o|i)(?![\wCF])", "m"), (r"", r"(?:ª|a|e)(?!\w)", "f")),
    ordinal_endings={"f": (("o", "a"),)},
    rules=(
        (r"\b[nN][°º.] ?(?=\d)|№ ?", "numero "), (r"½", " mezzo"), (r"\bS\.p\.A\.?", "s p a"),
        (r"(\d) ?°(?=C|F)", r"\1 °"), (r"(-?\d+) ?°(?=[\s,.!?]|$)(?! (?:[a-z]+ (?:di|del)|gennaio|posto|piano|test|maggio|aprile|giugno|secolo|anno|classificato))", r"\1 gradi"),
        (r"\b(\d[\d,.]*) (milioni|miliardi) ?€", r"\1 \2 di euro"), (r"\b24/7\b", "ventiquattro sette"),
        (r"\bore (\d{1,2})[.](\d\d)\b", r"ore \1:\2"),
    ),
)
