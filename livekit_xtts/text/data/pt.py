"""Portuguese."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

# fmt: off
SPOKEN = Spoken(
    code="pt",
    dot="ponto", at="arroba", slash="barra", dash="hífen", underscore="sublinhado",
    minus="menos", plus="mais", until="a", times="vezes", equals="igual a",
    percent="por cento",
    genders={"f": (("dois", "duas"), ("um", "uma"), ("entos", "entas"))},
    currencies={
        "€": "euro|euros; cêntimo|cêntimos", "EUR": "euro|euros; cêntimo|cêntimos",
        "$": "dólar|dólares; cêntimo|cêntimos", "US$": "dólar|dólares; centavo|centavos", "USD": "dólar|dólares; centavo|centavos",
        "R$": "real|reais; centavo|centavos", "BRL": "real|reais; centavo|centavos",
        "£": "libra|libras|f; péni|pence", "GBP": "libra|libras|f; péni|pence", "¥": "iene|ienes",
    },
    money=" e ",
    units={
        "km": "quilômetro|quilômetros", "m": "metro|metros", "cm": "centímetro|centímetros", "mm": "milímetro|milímetros",
        "km/h": "quilômetro por hora|quilômetros por hora", "kg": "quilo|quilos", "g": "grama|gramas", "mg": "miligrama|miligramas",
        "l": "litro|litros", "L": "litro|litros", "ml": "mililitro|mililitros", "°C": "grau celsius|graus celsius",
        "ºC": "grau celsius|graus celsius", "°F": "grau fahrenheit|graus fahrenheit", "°": "grau|graus",
        "m²": "metro quadrado|metros quadrados", "km²": "quilômetro quadrado|quilômetros quadrados",
        "KB": "quilobyte|quilobytes", "MB": "megabyte|megabytes", "GB": "gigabyte|gigabytes", "TB": "terabyte|terabytes",
        "kW": "quilowatt|quilowatts", "kWh": "quilowatt-hora|quilowatts-hora", "Hz": "hertz", "GHz": "giga-hertz",
        "min": "minuto|minutos", "h": "hora|horas|f", "s": "segundo|segundos", "ms": "milissegundo|milissegundos",
        "W": "watt|watts", "V": "volt|volts",
    },
    symbols={"&": "e", "@": "arroba", "%": "por cento", "#": "cardinal", "°": "graus", "+": "mais",
             "±": "mais ou menos", "÷": "dividido por"},
    abbreviations={
        "sra": "senhora", "sr": "senhor", "dr": "doutor", "dra": "doutora", "st": "santo", "co": "companhia",
        "jr": "júnior", "ltd": "limitada", "ltda": "limitada", "srta": "senhorita", "prof": "professor",
        "profa": "professora", "eng": "engenheiro", "arq": "arquiteto", "exmo": "excelentíssimo", "av": "avenida",
        "etc": "et cetera", "ex": "exemplo", "p.ex": "por exemplo", "aprox": "aproximadamente",
        "a.c": "antes de cristo", "d.c": "depois de cristo", "tel": "telefone", "pág": "página", "núm": "número",
        "s.a": "s a", "sto": "santo", "sta": "santa", "cap": "capítulo", "vs": "versus", "dep": "deputado",
    },
    bare={"sr": "senhor", "sra": "senhora", "dr": "doutor", "dra": "doutora"},
    spelled="EUA UE FBI CIA IA API IBM TV PC URL GPS VIP USB CPU PDF SMS CPF CNPJ IPTU BMW ID IP",
    months=("janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro",
            "outubro", "novembro", "dezembro"),
    date="{day} de {month} de {year}",
    day_style="first",
    clock={"full": "{h} horas", "one": "uma hora", "minutes": "{h} e {m}", "oh": "{h} e {m}"},
    clock_words="horas|hora|h",
    hour_gender="f",
    ordinals=((r"", r"(?:\.º|º|o|°)(?![\wC])", "m"), (r"", r"(?:\.ª|ª|a|as|os)(?!\w)", "f")),
    ordinal_endings={"f": (("décimo ", "décima "), ("o", "a")), "d": ()},
    rules=(
        (r"\b(\d{1,2}) ?h(?![\w/])", r"\1 horas"), (r"\b1 horas\b", "uma hora"), (r"\b2 horas\b", "duas horas"),
        (r"\b[nN][.]?[º°] ?(?=\d)|№ ?", "número "), (r"½", " meio"), (r"\bEUA\b", "estados unidos"),
        (r"R\$ ?(\d[\d,]*) (mil|milhão|milhões|bilhões)\b", r"\1 \2 de reais"), (r"\b24/7\b", "vinte e quatro por sete"),
    ),
)
