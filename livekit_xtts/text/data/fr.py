"""French."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

# fmt: off
SPOKEN = Spoken(
    code="fr",
    dot="point", at="arobase", slash="barre oblique", dash="tiret", underscore="tiret bas",
    minus="moins", plus="plus", until="à", times="fois", equals="égale",
    percent="pour cent", plural="french",
    genders={"f": (("un", "une"),)},
    currencies={
        "€": "euro|euros; centime|centimes", "EUR": "euro|euros; centime|centimes",
        "$": "dollar|dollars; cent|cents", "USD": "dollar|dollars; cent|cents",
        "£": "livre|livres|f; penny|pence", "GBP": "livre|livres|f; penny|pence",
        "CHF": "franc suisse|francs suisses; centime|centimes", "¥": "yen|yens",
    },
    money=" et ",
    units={
        "km": "kilomètre|kilomètres", "m": "mètre|mètres", "cm": "centimètre|centimètres",
        "mm": "millimètre|millimètres", "km/h": "kilomètre par heure|kilomètres par heure",
        "kg": "kilogramme|kilogrammes", "g": "gramme|grammes", "mg": "milligramme|milligrammes",
        "l": "litre|litres", "L": "litre|litres", "ml": "millilitre|millilitres", "cl": "centilitre|centilitres",
        "°C": "degré celsius|degrés celsius", "°F": "degré fahrenheit|degrés fahrenheit", "°": "degré|degrés",
        "m²": "mètre carré|mètres carrés", "km²": "kilomètre carré|kilomètres carrés",
        "Ko": "kilooctet|kilooctets", "Mo": "mégaoctet|mégaoctets", "Go": "gigaoctet|gigaoctets",
        "To": "téraoctet|téraoctets", "GB": "gigabyte|gigabytes", "MB": "mégabyte|mégabytes",
        "kW": "kilowatt|kilowatts", "kWh": "kilowattheure|kilowattheures", "Hz": "hertz", "GHz": "gigahertz",
        "min": "minute|minutes|f", "h": "heure|heures|f", "s": "seconde|secondes|f", "ms": "milliseconde|millisecondes|f",
        "W": "watt|watts", "V": "volt|volts",
    },
    symbols={"&": "et", "@": "arobase", "%": "pour cent", "#": "dièse", "°": "degrés", "+": "plus",
             "§": "paragraphe", "±": "plus ou moins", "÷": "divisé par"},
    abbreviations={
        "mme": "madame", "mr": "monsieur", "m": "monsieur", "dr": "docteur", "st": "saint",
        "co": "compagnie", "jr": "junior", "ltd": "limitée", "mlle": "mademoiselle",
        "mm": "messieurs", "pr": "professeur", "prof": "professeur", "me": "maître", "ste": "sainte",
        "etc": "et cetera", "p.ex": "par exemple", "c.-à-d": "c'est-à-dire", "env": "environ",
        "av": "avenue", "bd": "boulevard", "bld": "boulevard", "tél": "téléphone", "réf": "référence",
        "apr.j.-c": "après jésus-christ", "av.j.-c": "avant jésus-christ", "cf": "voir",
        "janv": "janvier", "févr": "février", "juil": "juillet", "sept": "septembre",
        "oct": "octobre", "nov": "novembre", "déc": "décembre", "chap": "chapitre",
    },
    bare={"mme": "madame", "mlle": "mademoiselle", "dr": "docteur"},
    spelled="USA UE FBI CIA IA API IBM TV PC URL GPS VIP USB CPU PDF HTML SMS SNCF RATP TGV HLM PDG"
    " RH TVA CDI CDD ID IP BMW",
    months=("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre",
            "octobre", "novembre", "décembre"),
    day_style="first",
    clock={"full": "{h} heures", "one": "une heure", "minutes": "{h} heures {m}", "oh": "{h} heures {m}"},
    clock_words="heures|heure|h",
    hour_gender="f",
    ordinals=(
        (r"", r"(?:er|º)(?!\w)", "m"), (r"", r"(?:re|ère|ª)(?!\w)", "f"),
        (r"", r"(?:e|ème|eme|ième|nd|nde|ᵉ)(?!\w)", "m"),
    ),
    ordinal_endings={"f": (("premier", "première"),)},
    rules=(
        (r"\b(\d{1,2}) ?h(?![\w/])", r"\1 heures"), (r"\b1 heures\b", "une heure"),
        (r"\b[nN]°s? ?|№ ?", "numéro "), (r"½", " un demi"), (r"\bp\.(?= ?\d)", "page"),
        (r"\b(\d[\d,]*) ?(M|millions?)(?:\sd')? ?€", r"\1 millions d'euros"),
        (r"\b(\d[\d,]*) ?(Md|milliards?)(?:\sd')? ?€", r"\1 milliards d'euros"),
        (r"\b24/7\b", "vingt-quatre heures sur vingt-quatre"),
    ),
)
