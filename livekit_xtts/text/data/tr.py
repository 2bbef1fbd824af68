"""Turkish."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

# fmt: off
SPOKEN = Spoken(
    code="tr",
    point="virgül", dot="nokta", at="et", slash="eğik çizgi", dash="tire", underscore="alt çizgi",
    minus="eksi", plus="artı", until="ila", times="çarpı", equals="eşittir",
    percent="yüzde", percent_first=True, plural="none",
    currencies={
        "€": "euro; sent", "EUR": "euro; sent", "₺": "lira; kuruş", "TL": "lira; kuruş", "TRY": "lira; kuruş",
        "$": "dolar; sent", "USD": "dolar; sent", "£": "sterlin; peni", "GBP": "sterlin; peni", "¥": "yen",
    },
    units={
        "km": "kilometre", "m": "metre", "cm": "santimetre", "mm": "milimetre", "km/s": "kilometre bölü saat",
        "km/sa": "kilometre bölü saat", "kg": "kilogram", "g": "gram", "gr": "gram", "mg": "miligram", "l": "litre", "L": "litre",
        "lt": "litre", "ml": "mililitre", "°C": "santigrat derece", "°": "derece", "m²": "metrekare", "km²": "kilometrekare",
        "MB": "megabayt", "GB": "gigabayt", "TB": "terabayt", "kW": "kilovat", "kWh": "kilovatsaat", "dk": "dakika",
        "dk.": "dakika", "sa.": "saat", "sn": "saniye", "sn.": "saniye", "ms": "milisaniye", "GHz": "gigahertz",
    },
    symbols={"&": "ve", "@": "et", "%": "yüzde", "#": "diyez", "°": "derece", "+": "artı"},
    abbreviations={
        "b": "bay", "bn": "bayan", "byk": "büyük", "dr": "doktor", "prof": "profesör", "doç": "doçent", "av": "avukat", "sn": "sayın",
        "vb": "ve benzeri", "vs": "vesaire", "vd": "ve diğerleri", "örn": "örneğin", "bkz": "bakınız", "tel": "telefon",
        "cad": "cadde", "sok": "sokak", "mah": "mahalle", "apt": "apartman", "no": "numara", "şti": "şirketi", "ltd": "limited",
        "müh": "mühendis", "yrd": "yardımcı", "m.ö": "milattan önce", "m.s": "milattan sonra", "t.c": "te ce", "gen": "general",
        "yy": "yüzyıl", "a.ş": "anonim şirketi", "alb": "albay", "op": "operatör", "uzm": "uzman", "s": "sayfa",
    },
    bare={"dr": "doktor"},
    spelled="ABD AB TBMM FBI CIA API IBM TV PC URL GPS VIP USB CPU PDF SMS TRT THY PTT KDV BMW ID IP",
    months=("ocak", "şubat", "mart", "nisan", "mayıs", "haziran", "temmuz", "ağustos", "eylül", "ekim", "kasım", "aralık"),
    clock={"full": "{h}", "minutes": "{h} {m}", "oh": "{h} sıfır {m}"},
    ordinals=(
        (r"", r"\.(?=\s+[^\W\d_])", "m"), (r"", r"['’]?(?:inci|ıncı|uncu|üncü|nci|ncı|ncu|ncü)(?!\w)", "m"),
    ),
    rules=(
        (r"№ ?", "numara "), (r"½", " yarım"), (r"\b[sS]aat (\d{1,2})[.](\d\d)\b", r"saat \1:\2"),
        (r"\b24/7\b", "yedi gün yirmi dört saat"), (r"(?<=\d)['’](?=[^\W\d_])", ""),
    ),
)
