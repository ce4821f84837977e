"""When two printed outputs say the same, and what it takes to notice that they do not.

Words and integers must be equal; decimals may differ in digits that another CPU may round differently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")
RELATIVE, ABSOLUTE = 2e-4, 5e-5
STEP = 1e-3  # an alteration changes a number by this share of it, or by one in its last digit, whichever is more


def same(one: str, other: str) -> bool:
    """Whether two texts agree but for the last digits of their decimals."""
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    return all(map(_near, NUMBER.findall(one), NUMBER.findall(other)))


def _near(one: str, other: str) -> bool:
    if one.lstrip("+-").isdigit() or other.lstrip("+-").isdigit():
        return one == other
    return math.isclose(float(one), float(other), rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def count(text: str) -> int:
    return len(NUMBER.findall(text))


def alterations(text: str) -> Iterator[str]:
    """The text with one of its numbers a little larger, for each of them in turn."""
    for found in NUMBER.finditer(text):
        yield text[: found.start()] + _larger(found[0]) + text[found.end() :]


def _larger(number: str) -> str:
    mantissa, _, exponent = number.lower().partition("e")
    places = len(mantissa.partition(".")[2])
    value = float(mantissa)
    larger = value + max(10.0**-places, STEP * abs(value))
    return f"{math.ceil(larger * 10**places - 1e-9) / 10**places:.{places}f}" + (f"e{exponent}" if exponent else "")


class Near(str):
    """A text that equals another one when they say the `same`: lets nbval compare with a tolerance."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and same(str(self), str(other))

    def __ne__(self, other: object) -> bool:
        return not self == other
