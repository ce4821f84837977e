"""Refuse bad arguments, in one wording: what was wrong, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Real
from operator import index
from typing import SupportsIndex


class Undefined(ValueError):
    """A metric that its data do not determine: one class only, no defective pixel, a mask that is not known."""


def near(name: str, known: Iterable[str], most: int = 5) -> str:
    """The known names, those nearest to `name` first, for the end of an error message."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=most, cutoff=0.4)
    listed = close + [k for k in known if k not in close]
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")


def one_of(argument: str, value: str, known: Iterable[str]) -> None:
    """Raise ValueError unless `value` is among `known`."""
    known = list(known)
    if value not in known:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, known))}, got {value!r}")


def at_least(argument: str, value: SupportsIndex, least: int) -> int:
    """`value` as an int; raise ValueError unless it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or index(value) < least:
        raise ValueError(f"{argument} must be a whole number of at least {least}, got {value!r}")
    return index(value)


def fraction(argument: str, value: float, *, open_end: bool = False) -> float:
    """`value` if it lies in (0, 1], or in (0, 1) with an open end; else ValueError."""
    if not isinstance(value, Real) or not 0 < value <= 1 or (open_end and value == 1):
        meant = value if isinstance(value, Real) and 1 < value <= 100 else 10
        raise ValueError(
            f"{argument} must lie in (0, 1{')' if open_end else ']'}, got {value!r}; "
            f"for {meant:g} % write {meant / 100:g}"
        )
    return value


def percent(share: float) -> str:
    """0.05 as "5 %", 0.125 as "12.5 %"."""
    return f"{100 * share:.3g} %"


def counted(count: int, what: str) -> str:
    """ "1 cell", "2 cells"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def some(names: list[str], most: int = 3) -> str:
    """The first few of many names, for an error message."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
