"""A category is train samples, test samples and masks.

A sample is a picture that can be loaded again and again, with what is known about it. Where it comes from (a file, a
drawing) is the business of its subclass; everything downstream sees only what stands here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

GOOD = "good"


@dataclass(frozen=True)
class Sample:
    """One picture: its name within the category, and its defect: "good", a defect's name, or None if not known."""

    name: str
    defect: str | None

    @property
    def label(self) -> int | None:
        """0 for a good sample, 1 for a defective one, None if not known."""
        return None if self.defect is None else int(self.defect != GOOD)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.load().size

    def load(self) -> Image.Image:
        """The picture as an RGB image."""
        raise NotImplementedError

    def load_mask(self) -> np.ndarray | None:
        """(height, width) bool, True on the defect; all False for a good sample, None if no mask is known."""
        if self.defect != GOOD:
            return None
        width, height = self.size
        return np.zeros((height, width), dtype=bool)


@dataclass(frozen=True)
class Category:
    """One kind of object or texture: good samples to learn from, good and defective ones to be tested on."""

    name: str
    train: Sequence[Sample] = field(repr=False)
    test: Sequence[Sample] = field(repr=False)

    @property
    def defects(self) -> list[str]:
        """Names of the kinds of defect among the test samples, sorted."""
        return sorted({s.defect for s in self.test if s.defect not in (None, GOOD)})

    def contents(self) -> str:
        """How many samples there are of each kind, in words."""
        kinds = {kind: sum(s.defect == kind for s in self.test) for kind in (GOOD, *self.defects)}
        tested = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        return f"{len(self.train)} to train on; to test: {tested or 'none'}"

    def __repr__(self) -> str:
        return f"Category({self.name!r}: {self.contents()})"
