"""English."""

# ruff: noqa: E501

from __future__ import annotations

from livekit_xtts.text.language import Spoken

_DIGITS = r"\d[\d,]*(?:\.\d+)?"

_DECADES = tuple(
    enumerate(
        [
            "twenties",
            "thirties",
            "forties",
            "fifties",
            "sixties",
            "seventies",
            "eighties",
            "nineties",
        ],
        2,
    )
)

_ROMAN = "I II III IV V VI VII VIII IX X XI XII"
_PARTS = "Chapter|Part|Act|Scene|Volume|Section|Phase|Type|Title|World War|Super Bowl|Level"

# fmt: off
SPOKEN = Spoken(
    code="en",
    decimal=".",
    until="to",
    times="times",
    equals="equals",
    percent="percent",
    currencies={
        "$": "dollar|dollars; cent|cents",
        "US$": "dollar|dollars; cent|cents",
        "USD": "dollar|dollars; cent|cents",
        "€": "euro|euro; cent|cents",
        "EUR": "euro|euro; cent|cents",
        "£": "pound|pounds; penny|pence",
        "GBP": "pound|pounds; penny|pence",
        "¥": "yen|yen",
        "₹": "rupee|rupees; paisa|paise",
        "CHF": "swiss franc|swiss francs",
        "¢": "cent|cents",
    },
    money=", ",
    units={
        "km": "kilometer|kilometers", "m": "meter|meters", "cm": "centimeter|centimeters",
        "mm": "millimeter|millimeters", "km/h": "kilometer per hour|kilometers per hour",
        "mph": "mile per hour|miles per hour", "mi": "mile|miles", "ft": "foot|feet",
        "in.": "inch|inches", "lb": "pound|pounds", "lbs": "pound|pounds", "oz": "ounce|ounces",
        "kg": "kilogram|kilograms", "g": "gram|grams", "mg": "milligram|milligrams",
        "l": "liter|liters", "L": "liter|liters", "ml": "milliliter|milliliters",
        "°C": "degree celsius|degrees celsius", "°F": "degree fahrenheit|degrees fahrenheit",
        "°": "degree|degrees", "m²": "square meter|square meters", "km²": "square kilometer|square kilometers",
        "KB": "kilobyte|kilobytes", "MB": "megabyte|megabytes", "GB": "gigabyte|gigabytes",
        "TB": "terabyte|terabytes", "kW": "kilowatt|kilowatts", "kWh": "kilowatt hour|kilowatt hours",
        "Hz": "hertz|hertz", "kHz": "kilohertz|kilohertz", "MHz": "megahertz|megahertz",
        "GHz": "gigahertz|gigahertz", "ms": "millisecond|milliseconds", "s": "second|seconds",
        "min": "minute|minutes", "h": "hour|hours", "hrs": "hour|hours", "hr": "hour|hours",
        "W": "watt|watts", "V": "volt|volts",
    },
    symbols={"&": "and", "@": "at", "%": "percent", "#": "hash", "°": "degree", "+": "plus",
             "§": "section", "²": "squared", "³": "cubed", "±": "plus or minus", "÷": "divided by"},
    abbreviations={
        "mrs": "misess", "mr": "mister", "ms": "miss", "dr": "doctor", "co": "company",
        "jr": "junior", "sr": "senior", "maj": "major", "gen": "general", "drs": "doctors",
        "rev": "reverend", "lt": "lieutenant", "hon": "honorable", "sgt": "sergeant",
        "capt": "captain", "esq": "esquire", "ltd": "limited", "col": "colonel", "ft": "fort",
        "prof": "professor", "inc": "incorporated", "corp": "corporation", "dept": "department",
        "approx": "approximately", "etc": "et cetera", "vs": "versus", "e.g": "for example",
        "i.e": "that is", "a.m": "a m", "p.m": "p m", "mt": "mount", "ave": "avenue",
        "blvd": "boulevard", "gov": "governor", "sen": "senator", "univ": "university",
        "est": "established", "tel": "telephone", "ext": "extension", "fig": "figure",
        "jan": "january", "feb": "february", "aug": "august", "sept": "september",
        "oct": "october", "nov": "november", "dec": "december", "mon": "monday",
        "tue": "tuesday", "wed": "wednesday", "thu": "thursday", "fri": "friday",
    },
    bare={"mr": "mister", "mrs": "misess", "dr": "doctor", "vs": "versus"},
    spelled="USA UK EU UN US FBI CIA AI API IBM TV PC CEO CTO CFO FAQ URL GPS VIP DIY USB CPU GPU"
    " PDF HTML HTTP SMS SQL AWS TTS LLM ID IP IT HR PR UI UX ATM DNA EV AC OK ETA ASAP ISO BMW UPS",
    months=("january", "february", "march", "april", "may", "june", "july", "august",
            "september", "october", "november", "december"),
    month_words={"jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9,
                 "sept": 9, "oct": 10, "nov": 11, "dec": 12},
    date="{month} {day}, {year}",
    day_first=False,
    day_style="ordinal",
    clock={"full": "{h} o'clock", "suffixed": "{h}", "minutes": "{h} {m}", "oh": "{h} oh {m}"},
    clock_suffix=r"[aApP]\.?\s?[mM]\b|o'clock",
    year_cues="in|since|until|till|by|from|of|year|before|after|around|circa|early|late|mid"
    "|during|between|january|february|march|april|may|june|july|august|september|october|november"
    "|december|summer|winter|spring|fall|autumn|back in|class of",
    ordinals=((r"", r"(?:st|nd|rd|th)\b", "m"),),
    rules=(
        (rf"[$]({_DIGITS}) ?(thousand|million|billion|trillion)\b", r"\1 \2 dollars"),
        (rf"€({_DIGITS}) ?(thousand|million|billion|trillion)\b", r"\1 \2 euro"),
        (rf"£({_DIGITS}) ?(thousand|million|billion|trillion)\b", r"\1 \2 pounds"),
        (rf"[$]({_DIGITS}) ?[mM](?:n|illion)?\b", r"\1 million dollars"),
        (rf"[$]({_DIGITS}) ?[bB]n?\b", r"\1 billion dollars"),
        (rf"[$]({_DIGITS}) ?[kK]\b", r"\1 thousand dollars"),
        (r"(?i)(\d ?[ap]\.?m\b\.?) ?[-–] ?(?=\d)", r"\1 to "),
        (r"\b(\d{1,2}) ?([aA]|[pP])\.?[mM]\b\.?", r"\1 \2 m"),
        (r"\b(\d{1,2}:\d\d) ?([aA]|[pP])\.?[mM]\b\.?", r"\1 \2.m."),
        (r"\b([A-Z][a-z]+) St\.(?= ?[,;!?]| [a-z]|$)", r"\1 street"),
        (r"\bSt\.(?= [A-Z])", "saint"),
        (r"\b[Nn]os?\.(?= ?\d)|№ ?", "number "),
        (r"\bpp?\.(?= ?\d)", "page "),
        (r"#(?=\d)", "number "),
        (r"\b(1[1-9]|20)(?=[2-9]0s\b)", r"\1 "), (r"\b(1[1-9]|20)10s\b", r"\1 tens"),
        (r"\b2000s\b", "two thousands"), (r"\b(1[1-9])00s\b", r"\1 hundreds"),
        *((rf"['’]?\b{tens}0s\b", words) for tens, words in _DECADES),
        (r"\bw/o\b", "without"),
        (r"\b24/7\b", "twenty-four seven"), (r"(\d) 1/2\b", r"\1 and a half"),
        (r"\b1/4\b", "one quarter"), (r"\b3/4\b", "three quarters"), (r"\b1/3\b", "one third"),
        (r"\b2/3\b", "two thirds"), (r"\b(\d)['’′](\d{1,2})[\"”″]?", r"\1 foot \2"),
        (r"\b([A-Z])([A-Z])&([A-Z])\b", r"\1 \2 and \3"), (r"\b([A-Z])&([A-Z])\b", r"\1 and \2"),
        (r"(?<=\d)(st|nd|rd|th)[-–](?=\d)", r"\1 to "),
        (r"\bMon[-–]Fri\b", "monday to friday"), (r"\bMon[-–]Sun\b", "monday to sunday"),
        (r"~ ?(?=\d)", "about "), (r"(?<=\d)\^(?=\d)", " to the power of "),
        (r"(?<=\d) ?> ?(?=\d)", " is greater than "), (r"(?<=\d) ?< ?(?=\d)", " is less than "),
        *((rf"\b({_PARTS}) {roman}\b", rf"\1 {number}") for number, roman in enumerate(_ROMAN.split(" "), 1)),
        (r"\b1/2\b", "one half"), (r"½", " one half"), (r"¼", " one quarter"),
        (r"¾", " three quarters"),
    ),
)
