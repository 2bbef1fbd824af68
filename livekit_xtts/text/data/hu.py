"""Hungarian."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

_MONTHS = "január|február|március|április|május|június|július|augusztus|szeptember|október|november|december"
_DAYS = (
    "elseje másodika harmadika negyedike ötödike hatodika hetedike nyolcadika kilencedike tizedike tizenegyedike"
    " tizenkettedike tizenharmadika tizennegyedike tizenötödike tizenhatodika tizenhetedike tizennyolcadika"
    " tizenkilencedike huszadika huszonegyedike huszonkettedike huszonharmadika huszonnegyedike huszonötödike"
    " huszonhatodika huszonhetedike huszonnyolcadika huszonkilencedike harmincadika harmincegyedike"
)

# fmt: off
SPOKEN = Spoken(
    code="hu",
    dot="pont", at="kukac", slash="per", dash="kötőjel", underscore="aláhúzás",
    minus="mínusz", plus="plusz", equals="egyenlő",
    percent="százalék", plural="none",
    genders={"m": (("kettő", "két"),)},
    currencies={
        "€": "euró; cent", "EUR": "euró; cent", "Ft": "forint", "HUF": "forint", "$": "dollár; cent", "USD": "dollár; cent",
        "£": "font; penny", "GBP": "font; penny", "CHF": "svájci frank",
    },
    money=" ",
    units={
        "km": "kilométer", "m": "méter", "cm": "centiméter", "mm": "milliméter", "km/h": "kilométer per óra", "kg": "kilogramm",
        "dkg": "dekagramm", "g": "gramm", "mg": "milligramm", "l": "liter", "dl": "deciliter", "ml": "milliliter", "°C": "celsius-fok",
        "°": "fok", "m²": "négyzetméter", "km²": "négyzetkilométer", "MB": "megabájt", "GB": "gigabájt", "TB": "terabájt", "kW": "kilowatt",
        "kWh": "kilowattóra", "perc": "perc", "p": "perc", "h": "óra", "ó": "óra", "mp": "másodperc", "s": "másodperc", "ezer": "ezer",
        "M Ft": "millió forint",
    },
    symbols={"&": "és", "@": "kukac", "%": "százalék", "#": "kettőskereszt", "°": "fok", "+": "plusz", "§": "paragrafus"},
    abbreviations={
        "dr": "doktor", "b": "bácsi", "nőv": "nővér", "prof": "professzor", "id": "idősebb", "ifj": "ifjabb", "özv": "özvegy", "pl": "például",
        "stb": "és a többi", "kb": "körülbelül", "ill": "illetve", "ún": "úgynevezett", "vö": "vesd össze", "u": "utca", "tel": "telefon",
        "old": "oldal", "sz": "szám", "i.sz": "időszámításunk szerint", "i.e": "időszámításunk előtt", "kft": "kft", "bt": "bt", "szt": "szent",
        "jan": "január", "febr": "február", "márc": "március", "ápr": "április", "aug": "augusztus", "szept": "szeptember", "okt": "október",
        "nov": "november", "dec": "december", "min": "minimum", "max": "maximum",
    },
    spelled="EU USA FBI CIA API IBM TV PC URL GPS VIP USB CPU PDF SMS BKV BMW ID IP",
    months=tuple(_MONTHS.split("|")),
    date="{year} {month} {day}",
    clock={"full": "{h} óra", "minutes": "{h} óra {m} perc", "oh": "{h} óra {m} perc"},
    clock_words="óra|h",
    ordinals=((r"", r"(?:\.(?=\s+[^\W\d_])|\.?-?(?:adik|edik|odik|ödik|ik)(?!\w))", "m"),),
    rules=(
        *((rf"\b(\d{{4}})[-.] ?{number:02}[-.] ?0?(\d{{1,2}})\b\.?", rf"\1. {name} \2.") for number, name in enumerate(_MONTHS.split("|"), 1)),
        (rf"\b([12]\d{{3}})\. ?(?=(?i:{_MONTHS}))", r"\1 "),
        *((rf"(?i)\b({_MONTHS}) {day}(?:\.|-)?(?:[jáé]*n)\b", rf"\1 {words[:-1]}{'á' if words[-1] == 'a' else 'é'}n") for day, words in enumerate(_DAYS.split(" "), 1)),
        *((rf"(?i)\b({_MONTHS}) {day}\.(?!\d)", rf"\1 {words}") for day, words in enumerate(_DAYS.split(" "), 1)),
        (r"\b(\d{1,2}):00-kor\b", r"\1 órakor"), (r"\b(\d{1,2}):(\d\d)-kor\b", r"\1 óra \2 perckor"), (r"№ ?", "szám "), (r"½", " fél"),
        (r"\b24/7\b", "éjjel-nappal"), (r"\b([12]\d{3})\.(?= [a-záéíóöőúüű])", r"\1 "),
    ),
)
