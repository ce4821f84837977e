"""What an explorer is at a moment, without any widget: controls, pictures and words that follow from a few values.

A state is a traitlets class whose traits are what can be chosen. Everything shown follows from them, so that a state
can be made, changed and looked at in plain Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import traitlets

from pclib.samples import Sample


@dataclass(frozen=True)
class Slide:
    """A slider: which trait it sets, to one of these values, each shown as it is put in words."""

    trait: str
    label: str
    stops: Sequence[Any]
    words: Callable[[Any], str] = str


@dataclass(frozen=True)
class Choose:
    """A list to choose one from: what is shown, and the value it sets the trait to."""

    trait: str
    label: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Several(Choose):
    """A list to choose any number from: the trait is a tuple of the values that are chosen."""


@dataclass(frozen=True)
class Switch:
    """A box to tick: the trait is True or False."""

    trait: str
    label: str


Control = Slide | Choose | Switch


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of an explorer.

    pixels  (h, w, 3) uint8;  width: pixels of the page that it takes;  alt: what there is to see, now
    point   called with shares of the width and height, in [0, 1), where it is pointed at; None if it does not answer
    step    called with columns and rows that the arrow keys go
    photo   whether a figure stores it as JPEG, good for photographs, or as PNG, for lines and letters
    """

    title: str
    pixels: np.ndarray
    alt: str
    width: int
    photo: bool = False
    point: Callable[[float, float], None] | None = None
    step: Callable[[int, int], None] | None = None


class State(traitlets.HasTraits):
    """What every explorer's state has. Refused values raise ValueError, and leave the state as it was."""

    def controls(self) -> list[Control]:
        """What can be chosen now."""
        raise NotImplementedError

    def panels(self) -> list[Panel]:
        """What there is to see now; the same titles in the same order, whatever is chosen."""
        raise NotImplementedError

    def words(self) -> str:
        """What the pictures show, in a few lines with numbers."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Do now what would otherwise be done when it is first asked for. Called once, in a thread of its own."""


def listed(samples: Sequence[Sample]) -> dict[str, int]:
    """Pictures by number and kind, for a list to choose one from."""
    return {f"{i}: {sample.defect or 'unknown'}": i for i, sample in enumerate(samples)}


def nearest(stops: Sequence[Any], value: Any) -> int:
    """The index of the stop that is nearest to a value; of the equal one where stops are no numbers."""
    if value in stops:
        return list(stops).index(value)
    return int(np.argmin([abs(stop - value) for stop in stops]))


def short(value: float) -> str:
    """A score or distance with three digits, which is what all processors agree about: 47,400 or 21.8 or 0.0123."""
    return f"{float(f'{value:.2e}'):,.0f}" if abs(value) >= 99.5 else f"{value:#.3g}"
