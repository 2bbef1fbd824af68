"""Czech ordinals in the masculine nominative; `num2words` has none."""

from __future__ import annotations

from livekit_xtts.text.data import words

_BELOW_TWENTY = words(
    "nultý první druhý třetí čtvrtý pátý šestý sedmý osmý devátý desátý jedenáctý dvanáctý"
    " třináctý čtrnáctý patnáctý šestnáctý sedmnáctý osmnáctý devatenáctý"
)
_TENS = words(
    "- desátý dvacátý třicátý čtyřicátý padesátý šedesátý sedmdesátý osmdesátý devadesátý"
)
_HUNDREDS = words("- stý dvoustý třístý čtyřstý pětistý šestistý sedmistý osmistý devítistý")


def ordinal(number: int) -> str:
    """An ordinal up to 999 in words; above, the thousands stay a cardinal."""
    if number < 20:
        return _BELOW_TWENTY[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f" {_BELOW_TWENTY[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return _HUNDREDS[hundreds] + (f" {ordinal(rest)}" if rest else "")
    from num2words import num2words

    thousands, rest = divmod(number, 1000)
    head = f"{num2words(thousands, lang='cs')} tisící" if thousands > 1 else "tisící"
    return head + (f" {ordinal(rest)}" if rest else "")
