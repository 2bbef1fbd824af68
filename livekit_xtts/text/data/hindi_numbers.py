"""Hindi numbers: 0 to 99 are words of their own; then hundred, thousand, lakh, crore."""

from __future__ import annotations

from livekit_xtts.text.data import words

_BELOW_HUNDRED = words(
    "शून्य एक दो तीन चार पाँच छह सात आठ नौ"
    " दस ग्यारह बारह तेरह चौदह पंद्रह सोलह सत्रह अठारह उन्नीस"
    " बीस इक्कीस बाईस तेईस चौबीस पच्चीस छब्बीस सत्ताईस अट्ठाईस उनतीस"
    " तीस इकतीस बत्तीस तैंतीस चौंतीस पैंतीस छत्तीस सैंतीस अड़तीस उनतालीस"
    " चालीस इकतालीस बयालीस तैंतालीस चौवालीस पैंतालीस छियालीस सैंतालीस अड़तालीस उनचास"
    " पचास इक्यावन बावन तिरपन चौवन पचपन छप्पन सत्तावन अट्ठावन उनसठ"
    " साठ इकसठ बासठ तिरसठ चौंसठ पैंसठ छियासठ सड़सठ अड़सठ उनहत्तर"
    " सत्तर इकहत्तर बहत्तर तिहत्तर चौहत्तर पचहत्तर छिहत्तर सतहत्तर अठहत्तर उन्यासी"
    " अस्सी इक्यासी बयासी तिरासी चौरासी पचासी छियासी सत्तासी अट्ठासी नवासी"
    " नब्बे इक्यानवे बानवे तिरानवे चौरानवे पचानवे छियानवे सत्तानवे अट्ठानवे निन्यानवे"
)
_STEPS = (
    (10**11, "खरब"),
    (10**9, "अरब"),
    (10**7, "करोड़"),
    (10**5, "लाख"),
    (1000, "हज़ार"),
    (100, "सौ"),
)
_ORDINALS = {1: "पहल", 2: "दूसर", 3: "तीसर", 4: "चौथ", 6: "छठ"}
_ENDINGS = {"m": "ा", "f": "ी", "n": "े"}


def cardinal(number: int) -> str:
    """A whole number in words."""
    if number < 100:
        return _BELOW_HUNDRED[number]
    for value, name in _STEPS:
        if number >= value:
            head, rest = divmod(number, value)
            said = f"{cardinal(head)} {name}"
            return f"{said} {cardinal(rest)}" if rest else said
    raise AssertionError(number)


def decimal(whole: int, fraction: str) -> str:
    """A decimal number; one and a half and two and a half are words of their own."""
    digits = fraction.rstrip("0")
    if not digits:
        return cardinal(whole)
    if digits == "5" and whole > 0:
        return {1: "डेढ़", 2: "ढाई"}.get(whole) or f"साढ़े {cardinal(whole)}"
    return f"{cardinal(whole)} दशमलव {' '.join(_BELOW_HUNDRED[int(d)] for d in digits)}"


def ordinal(number: int, gender: str) -> str:
    """An ordinal that agrees with a masculine, feminine or oblique ("n") noun."""
    if number in _ORDINALS:
        return _ORDINALS[number] + _ENDINGS[gender]
    return cardinal(number) + "व" + _ENDINGS[gender] + ("ं" if gender != "m" else "ँ")
