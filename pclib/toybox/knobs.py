"""What can be turned to make a category harder or easier: one meaning and one range per knob."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from pclib._checks import near


def _knob(default: float, low: float, high: float, meaning: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "meaning": meaning})


@dataclass(frozen=True)
class Knobs:
    """The difficulty of a category. Turning one changes nothing else: poses, places and noise patterns stay.

    `Knobs.ranges()` lists the ranges. Raises ValueError for a value outside of its range.
    """

    defect_size: float = _knob(1.0, 0.25, 3.0, "factor on the length, width or radius of defects")
    contrast: float = _knob(1.0, 0.05, 1.0, "share that is left of the difference which a defect makes")
    number: int = _knob(1, 1, 6, "defects drawn into a defective picture; those that touch become one region")
    jitter: float = _knob(1.0, 0.0, 3.0, "factor on how far position, rotation and scale vary")
    lighting: float = _knob(1.0, 0.0, 3.0, "factor on how far brightness, its slope and the lamp's place vary")
    noise: float = _knob(1.0, 0.0, 8.0, "factor on the sensor noise, whose standard deviation is 3 of 255 levels")
    irregularity: float = _knob(
        1.0, 0.0, 3.0, "factor on how much texture and parts vary from one good picture to the next"
    )
    mislabelled: float = _knob(0.0, 0.0, 0.5, "share of the training pictures that are defective and labelled good")

    def __post_init__(self) -> None:
        for knob in fields(self):
            value, (low, high) = getattr(self, knob.name), self.ranges()[knob.name]
            whole = isinstance(knob.default, int)
            fits = isinstance(value, int | float | np.number) and not isinstance(value, bool) and low <= value <= high
            if not fits or not math.isfinite(value) or (whole and value != int(value)):
                kind = "a whole number" if whole else "a number"
                raise ValueError(f"{knob.name} must be {kind} from {low:g} to {high:g}, got {value!r}")
            object.__setattr__(self, knob.name, int(value) if whole else float(value))

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Each knob's lowest and highest value."""
        return {knob.name: (knob.metadata["low"], knob.metadata["high"]) for knob in fields(Knobs)}

    @staticmethod
    def meanings() -> dict[str, str]:
        """What each knob does."""
        return {knob.name: knob.metadata["meaning"] for knob in fields(Knobs)}

    @staticmethod
    def turned(**values: Any) -> Knobs:
        """The default but for `values`; raises ValueError for a name that is no knob."""
        for name in values:
            if name not in Knobs.ranges():
                raise ValueError(f"no knob {name!r}; there is {near(name, Knobs.ranges(), most=8)}")
        return Knobs(**values)

    def changed(self) -> dict[str, float]:
        """The knobs that are not at their default."""
        return {
            knob.name: getattr(self, knob.name) for knob in fields(self) if getattr(self, knob.name) != knob.default
        }
