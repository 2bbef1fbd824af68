"""Spanish."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

# fmt: off
SPOKEN = Spoken(
    code="es",
    dot="punto", at="arroba", slash="barra", dash="guion", underscore="guion bajo",
    minus="menos", plus="más", until="a", times="por", equals="igual a",
    percent="por ciento",
    genders={"m": (("veintiuno", "veintiún"), ("uno", "un")), "f": (("uno", "una"), ("cientos", "cientas"))},
    currencies={
        "€": "euro|euros; céntimo|céntimos", "EUR": "euro|euros; céntimo|céntimos",
        "$": "dólar|dólares; centavo|centavos", "USD": "dólar|dólares; centavo|centavos",
        "US$": "dólar|dólares; centavo|centavos", "£": "libra|libras|f; penique|peniques",
        "GBP": "libra|libras|f; penique|peniques", "MXN": "peso mexicano|pesos mexicanos; centavo|centavos",
        "¥": "yen|yenes", "CHF": "franco suizo|francos suizos; céntimo|céntimos",
    },
    money=" con ",
    units={
        "km": "kilómetro|kilómetros", "m": "metro|metros", "cm": "centímetro|centímetros", "mm": "milímetro|milímetros",
        "km/h": "kilómetro por hora|kilómetros por hora", "kg": "kilogramo|kilogramos", "g": "gramo|gramos",
        "mg": "miligramo|miligramos", "l": "litro|litros", "L": "litro|litros", "ml": "mililitro|mililitros",
        "°C": "grado celsius|grados celsius", "ºC": "grado celsius|grados celsius", "°F": "grado fahrenheit|grados fahrenheit",
        "°": "grado|grados", "m²": "metro cuadrado|metros cuadrados", "km²": "kilómetro cuadrado|kilómetros cuadrados",
        "KB": "kilobyte|kilobytes", "MB": "megabyte|megabytes", "GB": "gigabyte|gigabytes", "TB": "terabyte|terabytes",
        "kW": "kilovatio|kilovatios", "kWh": "kilovatio hora|kilovatios hora", "Hz": "hercio|hercios", "GHz": "gigahercio|gigahercios",
        "min": "minuto|minutos", "h": "hora|horas|f", "s": "segundo|segundos", "ms": "milisegundo|milisegundos",
        "W": "vatio|vatios", "V": "voltio|voltios",
    },
    symbols={"&": "y", "@": "arroba", "%": "por ciento", "#": "numeral", "°": "grados", "+": "más",
             "±": "más o menos", "÷": "dividido por"},
    abbreviations={
        "sra": "señora", "sr": "señor", "dr": "doctor", "dra": "doctora", "st": "santo", "co": "compañía",
        "jr": "junior", "ltd": "limitada", "srta": "señorita", "sres": "señores", "prof": "profesor",
        "profa": "profesora", "lic": "licenciado", "ing": "ingeniero", "arq": "arquitecto", "ud": "usted",
        "uds": "ustedes", "vd": "usted", "d": "don", "dña": "doña", "av": "avenida", "avda": "avenida",
        "c/": "calle", "etc": "etcétera", "p.ej": "por ejemplo", "ej": "ejemplo", "aprox": "aproximadamente",
        "a.m": "a m", "p.m": "p m", "ee.uu": "estados unidos", "tel": "teléfono", "dpto": "departamento",
        "s.a": "s a", "a.c": "antes de cristo", "d.c": "después de cristo", "núm": "número", "nº": "número",
        "sto": "santo", "sta": "santa", "gral": "general", "cap": "capítulo", "pág": "página", "vs": "contra",
    },
    bare={"sr": "señor", "sra": "señora", "dr": "doctor", "dra": "doctora"},
    spelled="UE FBI CIA IA API IBM TV PC URL GPS VIP USB CPU PDF SMS DNI ONG BMW ID IP",
    months=("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre",
            "octubre", "noviembre", "diciembre"),
    month_words={"setiembre": 9},
    date="{day} de {month} de {year}",
    clock={"full": "{h} en punto", "suffixed": "{h}", "minutes": "{h} y {m}", "oh": "{h} y {m}"},
    clock_words="horas|hrs|h",
    clock_suffix=r"[aApP]\.?\s?[mM]\b|de la|en punto",
    hour_gender="f",
    ordinals=(
        (r"", r"\.?º(?= [a-záéíóúñ])", "s"), (r"", r"(?:\.º|º|o|°)(?![\wC])", "m"), (r"", r"(?:\.ª|ª|a|as|os)(?!\w)", "f"),
        (r"", r"\.?(?:er|ᵉʳ)(?!\w)", "s"),
    ),
    ordinal_endings={"f": (("o", "a"),), "s": (("primero", "primer"), ("tercero", "tercer"))},
    rules=(
        (r"\b[nN]\.?[º°]s? ?(?=\d)|№ ?", "número "), (r"½", " medio"), (r"\b[pP]ág\.(?= ?\d)", "página"),
        (r"\bEE\. ?UU\.?", "estados unidos"), (r"\bc/ ?(?=[A-ZÁÉÍÓÚÑ])", "calle "),
        (r"\b(\d{1,2}:\d\d) ?([aApP])\. ?m\.?", r"\1 \2 m"), (r"\b(\d{1,2}) ?([aApP])\. ?m\.?", r"\1 \2 m"),
        (r"\b24/7\b", "veinticuatro siete"), (r"\bla 1:00\b", "la una en punto"),
        (r"\b(\d[\d,.]*) (millones|mil millones) ?€", r"\1 \2 de euros"),
    ),
)
