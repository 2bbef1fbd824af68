"""Polish."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

_HOURS = (
    "pierwsza druga trzecia czwarta piąta szósta siódma ósma dziewiąta dziesiąta jedenasta dwunasta"
    " trzynasta czternasta piętnasta szesnasta siedemnasta osiemnasta dziewiętnasta dwudziesta"
)
_HOUR = "|".join(_HOURS.split())
_G = (("ci", "ciego"), ("gi", "giego"), ("i", "iego"), ("y", "ego"))

# fmt: off
SPOKEN = Spoken(
    code="pl",
    dot="kropka", at="małpa", slash="ukośnik", dash="myślnik", underscore="podkreślenie",
    minus="minus", plus="plus", until="do", times="razy", equals="równa się",
    percent="procent", plural="polish",
    genders={"f": (("dwa", "dwie"), ("jeden", "jedna")), "n": (("jeden", "jedno"),)},
    currencies={
        "€": "euro; cent|centy|centów", "EUR": "euro; cent|centy|centów",
        "zł": "złoty|złote|złotych|złotego; grosz|grosze|groszy|grosza", "PLN": "złoty|złote|złotych|złotego; grosz|grosze|groszy|grosza",
        "$": "dolar|dolary|dolarów|dolara; cent|centy|centów", "USD": "dolar|dolary|dolarów|dolara; cent|centy|centów",
        "£": "funt|funty|funtów|funta; pens|pensy|pensów", "GBP": "funt|funty|funtów|funta; pens|pensy|pensów",
        "CHF": "frank|franki|franków|franka; centym|centymy|centymów", "¥": "jen|jeny|jenów|jena",
    },
    money=", ",
    units={
        "km": "kilometr|kilometry|kilometrów|kilometra", "m": "metr|metry|metrów|metra", "cm": "centymetr|centymetry|centymetrów|centymetra",
        "mm": "milimetr|milimetry|milimetrów|milimetra", "km/h": "kilometr na godzinę|kilometry na godzinę|kilometrów na godzinę|kilometra na godzinę",
        "kg": "kilogram|kilogramy|kilogramów|kilograma", "g": "gram|gramy|gramów|grama", "mg": "miligram|miligramy|miligramów|miligrama",
        "dag": "dekagram|dekagramy|dekagramów|dekagrama", "l": "litr|litry|litrów|litra", "ml": "mililitr|mililitry|mililitrów|mililitra",
        "°C": "stopień celsjusza|stopnie celsjusza|stopni celsjusza|stopnia celsjusza", "°": "stopień|stopnie|stopni|stopnia",
        "m²": "metr kwadratowy|metry kwadratowe|metrów kwadratowych|metra kwadratowego",
        "km²": "kilometr kwadratowy|kilometry kwadratowe|kilometrów kwadratowych|kilometra kwadratowego",
        "MB": "megabajt|megabajty|megabajtów|megabajta", "GB": "gigabajt|gigabajty|gigabajtów|gigabajta", "TB": "terabajt|terabajty|terabajtów|terabajta",
        "kW": "kilowat|kilowaty|kilowatów|kilowata", "kWh": "kilowatogodzina|kilowatogodziny|kilowatogodzin|kilowatogodziny|f",
        "min": "minuta|minuty|minut|minuty|f", "godz.": "godzina|godziny|godzin|godziny|f", "h": "godzina|godziny|godzin|godziny|f",
        "s": "sekunda|sekundy|sekund|sekundy|f", "sek.": "sekunda|sekundy|sekund|sekundy|f", "tys.": "tysiąc|tysiące|tysięcy|tysiąca",
        "mln": "milion|miliony|milionów|miliona", "mld": "miliard|miliardy|miliardów|miliarda",
    },
    symbols={"&": "i", "@": "małpa", "%": "procent", "#": "krzyżyk", "°": "stopnie", "+": "plus", "§": "paragraf"},
    abbreviations={
        "p": "pani", "m": "pan", "dr": "doktor", "sw": "święty", "św": "święty", "jr": "junior",
        "np": "na przykład", "itd": "i tak dalej", "itp": "i tym podobne", "m.in": "między innymi", "tj": "to jest",
        "tzn": "to znaczy", "tzw": "tak zwany", "ok": "około", "ul": "ulica", "al": "aleja", "pl": "plac", "prof": "profesor",
        "inż": "inżynier", "hab": "habilitowany", "ks": "ksiądz", "gen": "generał", "godz": "godzina", "tel": "telefon",
        "str": "strona", "pkt": "punkt", "art": "artykuł", "por": "porównaj", "wg": "według", "n.e": "naszej ery",
        "p.n.e": "przed naszą erą", "tys": "tysięcy", "zob": "zobacz", "os": "osiedle", "red": "redaktor",
    },
    bare={"dr": "doktor", "mgr": "magister", "nr": "numer", "wg": "według", "pkt": "punkt"},
    spelled="UE USA FBI CIA API IBM TV PC URL GPS VIP USB CPU PDF SMS PKP PKO NFZ AGD RTV BMW ID IP AI",
    months=("stycznia", "lutego", "marca", "kwietnia", "maja", "czerwca", "lipca", "sierpnia", "września",
            "października", "listopada", "grudnia"),
    day_style="ordinal",
    clock={"full": "{h}", "minutes": "{h} {m}", "oh": "{h} zero {m}"},
    hour_gender="ordinal-f",
    ordinals=(
        (r"(?i:we?|po|o) ", r"(?=\s+roku)", "p"),
        (r"", r"(?=\.?\s+(?:roku|r\.))", "y"),
        (r"", r"(?:-szy|-gi|-ci|-ty|-y|-i|º|ª)(?!\w)", "m"), (r"", r"(?:-sza|-ga|-cia|-ta|-a)(?!\w)", "f"),
        (r"", r"(?:-go|-ego|-tego|-szego)(?!\w)", "d"), (r"(?i:na|we?|o|po|przy) ", r"\.(?=\s+[a-ząćęłńóśźż])", "p"),
        (r"", r"\.(?=\s+[a-ząćęłńóśźż])", "m"),
        (r"(?<=w )", r"(?=\s+roku)", "y"),
    ),
    ordinal_endings={"f": (("ci", "cia"), ("gi", "ga"), ("i", "a"), ("y", "a")), "d": _G, "y": _G, "p": (("ci", "cim"), ("gi", "gim"), ("i", "im"), ("y", "ym"))},
    rules=(
        (r"\b(przy|na|w|do|od|z|ze|obok|koło) ul\.", r"\1 ulicy"),
        (r"(\d{4}) r\.(?!\w)", r"\1 roku"), (r"([XIV]+) w\.", r"\1 wieku"),
        (r"\b[oO] (\d{1,2}):00\b", r"o godzinie {\1}"), (r"№ ?", "numer "), (r"½", " pół"), (r"\bs\.(?= ?\d)", "strona"),
        (r"\b[oO]d (?=\d{1,2}:\d\d)", "od godziny "), (r"\b24/7\b", "całą dobę"),
    ),
    late_rules=(
        (rf"(?i)\b(o|od|do|po|przed|około|godzinie|godziny) (?:({_HOUR}) )?({_HOUR})\b", r"\1 \2> \3>"),
        (r" > ", " "), (r"druga>", "drugiej"), (r"a>", "ej"),
    ),
)
