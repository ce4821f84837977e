"""Embedded categories, drawn by code, with exact masks.

Every picture follows from (category, split, kind, index, seed, size) alone, and is drawn when it is loaded. A defective
picture differs from its clean twin in exactly the pixels of its mask.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from PIL import Image

from pclib._checks import at_least, near
from pclib.samples import GOOD, Category, Sample
from pclib.toybox import washer, weave
from pclib.toybox.drawing import Overlay, Picture, develop

CATEGORIES: dict[str, ModuleType] = {"washer": washer, "weave": weave}
NAMES = tuple(CATEGORIES)
SMALLEST = 64  # pixels: below that the smallest defects vanish


@dataclass(frozen=True)
class DrawnSample(Sample):
    """A picture that is drawn when asked for."""

    category: str
    seed: int
    pixels: int

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels, self.pixels

    def load(self) -> Image.Image:
        return Image.fromarray(self._drawn()[0])

    def load_mask(self) -> np.ndarray:
        return self._drawn()[1]

    def clean(self) -> Image.Image:
        """The same picture without its defect."""
        return Image.fromarray(self._drawn(defect=False)[0])

    def _drawn(self, defect: bool = True) -> tuple[np.ndarray, np.ndarray]:
        key = (zlib.crc32(f"{self.category}/{self.name}".encode()), self.seed)
        category = CATEGORIES[self.category]
        picture: Picture = category.draw(np.random.default_rng([*key, 0]), self.pixels)
        flaws: dict[str, Callable[[Picture, np.random.Generator], Overlay]] = category.DEFECTS
        overlay = None
        if defect and self.defect != GOOD:
            overlay = flaws[str(self.defect)](picture, np.random.default_rng([*key, 1]))
        return develop(picture, overlay, np.random.default_rng([*key, 2]))


def open_toybox(
    name: str, *, train: int = 60, good: int = 20, defective: int = 32, size: int = 256, seed: int = 0
) -> Category:
    """An embedded category: `train` good pictures to learn from, `good` and `defective` ones to be tested on.

    Defective pictures are spread evenly over the kinds of defect. Pictures are squares of `size` pixels.
    Raises ValueError for an unknown name, fewer than one training picture, or a size below 64.
    """
    if name not in CATEGORIES:
        raise ValueError(f"no embedded category {name!r}; there is {near(name, NAMES)}")
    at_least("train", train, 1)
    at_least("good", good, 0)
    at_least("defective", defective, 0)
    at_least("size", size, SMALLEST)

    def samples(split: str, kind: str, count: int) -> list[Sample]:
        return [DrawnSample(f"{split}/{kind}/{i:03d}.png", kind, name, seed, size) for i in range(count)]

    kinds = list(CATEGORIES[name].DEFECTS)
    counts = [(defective + i) // len(kinds) for i in range(len(kinds))]
    tested = [s for kind, count in zip(kinds, counts, strict=True) for s in samples("test", kind, count)]
    return Category(f"toybox/{name}", samples("train", GOOD, train), [*samples("test", GOOD, good), *tested])
