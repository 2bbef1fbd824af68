"""Czech."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

_G = (("í", "ího"), ("ý", "ého"))

# fmt: off
SPOKEN = Spoken(
    code="cs",
    dot="tečka", at="zavináč", slash="lomeno", dash="pomlčka", underscore="podtržítko",
    minus="minus", plus="plus", until="až", times="krát", equals="rovná se",
    percent="procento|procenta|procent|procenta|n", plural="czech",
    genders={"m": (("jedna", "jeden"),), "f": (("dva", "dvě"),), "n": (("jedna", "jedno"), ("dva", "dvě"))},
    currencies={
        "€": "euro|eura|eur|eura|n; cent|centy|centů|centu", "EUR": "euro|eura|eur|eura|n; cent|centy|centů|centu",
        "Kč": "koruna|koruny|korun|koruny|f; haléř|haléře|haléřů|haléře", "CZK": "koruna|koruny|korun|koruny|f; haléř|haléře|haléřů|haléře",
        "$": "dolar|dolary|dolarů|dolaru; cent|centy|centů|centu", "USD": "dolar|dolary|dolarů|dolaru; cent|centy|centů|centu",
        "£": "libra|libry|liber|libry|f; pence", "GBP": "libra|libry|liber|libry|f; pence",
    },
    money=", ",
    units={
        "km": "kilometr|kilometry|kilometrů|kilometru", "m": "metr|metry|metrů|metru", "cm": "centimetr|centimetry|centimetrů|centimetru",
        "mm": "milimetr|milimetry|milimetrů|milimetru", "km/h": "kilometr za hodinu|kilometry za hodinu|kilometrů za hodinu|kilometru za hodinu",
        "kg": "kilogram|kilogramy|kilogramů|kilogramu", "g": "gram|gramy|gramů|gramu", "mg": "miligram|miligramy|miligramů|miligramu",
        "l": "litr|litry|litrů|litru", "ml": "mililitr|mililitry|mililitrů|mililitru",
        "°C": "stupeň celsia|stupně celsia|stupňů celsia|stupně celsia", "°": "stupeň|stupně|stupňů|stupně",
        "m²": "metr čtvereční|metry čtvereční|metrů čtverečních|metru čtverečního",
        "km²": "kilometr čtvereční|kilometry čtvereční|kilometrů čtverečních|kilometru čtverečního",
        "MB": "megabajt|megabajty|megabajtů|megabajtu", "GB": "gigabajt|gigabajty|gigabajtů|gigabajtu", "TB": "terabajt|terabajty|terabajtů|terabajtu",
        "kW": "kilowatt|kilowatty|kilowattů|kilowattu", "kWh": "kilowatthodina|kilowatthodiny|kilowatthodin|kilowatthodiny|f",
        "min": "minuta|minuty|minut|minuty|f", "min.": "minuta|minuty|minut|minuty|f", "h": "hodina|hodiny|hodin|hodiny|f",
        "hod.": "hodina|hodiny|hodin|hodiny|f", "s": "sekunda|sekundy|sekund|sekundy|f", "tis.": "tisíc|tisíce|tisíc|tisíce",
        "mil.": "milion|miliony|milionů|milionu", "mld.": "miliarda|miliardy|miliard|miliardy|f",
    },
    symbols={"&": "a", "@": "na", "%": "procento", "#": "křížek", "°": "stupně", "+": "plus", "§": "paragraf"},
    abbreviations={
        "dr": "doktor", "ing": "inženýr", "p": "pan", "pí": "paní", "prof": "profesor", "doc": "docent", "mgr": "magistr", "bc": "bakalář",
        "mudr": "doktor", "judr": "doktor", "sv": "svatý", "např": "například", "atd": "a tak dále", "apod": "a podobně", "tj": "to je",
        "tzn": "to znamená", "tzv": "takzvaný", "cca": "cirka", "ul": "ulice", "nám": "náměstí", "tř": "třída", "tel": "telefon", "č": "číslo",
        "str": "strana", "odst": "odstavec", "resp": "respektive", "popř": "popřípadě", "př.n.l": "před naším letopočtem", "n.l": "našeho letopočtu",
        "st": "století", "mj": "mimo jiné", "aj": "a jiné", "s.r.o": "s r o", "a.s": "a s",
    },
    bare={"cca": "cirka"},
    spelled="EU USA FBI CIA API IBM TV PC URL GPS VIP USB CPU PDF SMS ČR ČT DPH BMW ID IP AI",
    months=("ledna", "února", "března", "dubna", "května", "června", "července", "srpna", "září", "října", "listopadu", "prosince"),
    day_style="ordinal",
    clock={"full": "{h} hodin", "one": "jedna hodina", "minutes": "{h} {m}", "oh": "{h} nula {m}"},
    clock_words="hodin|hod\\.|h",
    ordinals=(
        (r"(?i:od|do|ze|z|dne|kolem|bez|u|vedle|místo) ", r"\.(?=\s+\w)", "d"), (r"(?i:ve?|na|o|po|při) ", r"\.(?=\s+\w)", "p"),
        (r"", r"\.(?=\s+[^\W\d_])", "m"),
    ),
    ordinal_endings={"d": _G, "p": (("í", "ím"), ("ý", "ém"))},
    rules=((r"№ ?", "číslo "), (r"½", " půl"), (r"\b24/7\b", "nonstop"), (r"\b[vV] 1:00\b", "v jednu hodinu")),
)
