"""What every method can do, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from pclib._checks import Undefined, some
from pclib.framing import Box, Framing
from pclib.samples import Sample
from pclib.scoring import AnomalyMaps


@dataclass(frozen=True, eq=False)
class Scores:
    """How anomalous each sample is, and where.

    image    (n,) float32, one score per image; higher is more anomalous
    maps     (n, crop, crop) float32 anomaly maps of the framed images: an array, or something like one that computes
             them when they are looked at; None from a method that gives none
    samples  the n samples, in the same order
    framing  how they were framed
    """

    image: np.ndarray
    maps: np.ndarray | AnomalyMaps | None = field(repr=False)
    samples: list[Sample] = field(repr=False)
    framing: Framing

    @cached_property
    def pixel(self) -> np.ndarray | None:
        """All maps at once, as an array (n, crop, crop); None if there are none."""
        return None if self.maps is None else np.asarray(self.maps)

    def masks(self) -> np.ndarray:
        """(n, crop, crop) bool, framed like the images. Raises Undefined if there are no maps or a mask is missing."""
        if self.maps is None:
            raise Undefined("undefined: this method gives no anomaly maps")
        masks = [sample.load_mask() for sample in self.samples]
        if bare := [sample.name for sample, mask in zip(self.samples, masks, strict=True) if mask is None]:
            raise Undefined(f"no mask is known for {some(bare)}")
        return np.stack([self.framing.mask(mask) for mask in masks if mask is not None])


@dataclass(frozen=True, eq=False)
class Neighbor:
    """A memory patch: which training image it came from, its place on the grid and in the framed image, how far."""

    name: str
    sample: Sample | None = field(repr=False)  # None where the training pictures are not at hand
    place: tuple[int, int]
    box: Box
    distance: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a pixel is scored as it is: its patch, and the good patches that it was compared with, nearest first.

    row, col   the pixel, in the framed image
    place      row and column of its patch on the grid
    box        the neighbourhood that the patch pools over, in the framed image
    receptive  per layer, all that could have had an influence, in the framed image
    score      the patch's score; `map` (crop, crop) is the image's anomaly map
    """

    sample: Sample
    row: int
    col: int
    place: tuple[int, int]
    box: Box
    receptive: dict[str, Box]
    score: float
    neighbors: list[Neighbor]
    map: np.ndarray = field(repr=False)
    framing: Framing = field(repr=False)

    def __str__(self) -> str:
        lines = [f"{self.sample.name} at ({self.row}, {self.col}): patch {self.place}, score {self.score:.4g}"]
        lines += [f"  {n.distance:.4g} from {n.name} patch {n.place}" for n in self.neighbors]
        return "\n".join(lines)


class Detector(Protocol):
    """Learns from good samples, scores others, and keeps what it learned in a file."""

    def fit(self, samples: Sequence[Sample]) -> Self: ...

    def score(self, samples: Sequence[Sample]) -> Scores: ...

    def save(self, path: str | Path) -> None: ...

    @classmethod
    def load(cls, path: str | Path) -> Self: ...
