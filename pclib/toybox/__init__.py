"""Embedded categories, drawn by code or cut from photographs that packages ship, with exact masks and knobs.

Every picture follows from (category, split, kind, index, seed, size, knobs) alone, and is drawn when it is loaded. A
defective picture differs from its clean twin in exactly the pixels of its mask.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import find_objects, label

from pclib._checks import at_least, near
from pclib.samples import GOOD, Category, Sample
from pclib.toybox import store
from pclib.toybox.blister import BLISTER
from pclib.toybox.board import BOARD
from pclib.toybox.coins import TRAY
from pclib.toybox.drawing import CRISP, Overlay, Picture, Recipe, develop
from pclib.toybox.knobs import Knobs
from pclib.toybox.textures import BRICK, GRASS, GRAVEL
from pclib.toybox.washer import WASHER
from pclib.toybox.weave import WEAVE

CATEGORIES: dict[str, Recipe] = {
    "washer": WASHER,
    "board": BOARD,
    "blister": BLISTER,
    "coins": TRAY,
    "weave": WEAVE,
    "brick": BRICK,
    "gravel": GRAVEL,
    "grass": GRASS,
}
NAMES = tuple(CATEGORIES)
SMALLEST = 64  # pixels: below that the smallest defects vanish
EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


class Flaw(NamedTuple):
    """One connected defect: its kind, centre (row, column) and size in pixels, contrast in grey levels of 255."""

    kind: str
    centre: tuple[float, float]
    size: int
    contrast: float


@dataclass(frozen=True)
class DrawnSample(Sample):
    """A picture that is drawn when asked for. `truth` is what it really shows, whatever its label says."""

    category: str
    truth: str
    seed: int
    pixels: int
    knobs: Knobs
    cache: Path | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels, self.pixels

    def load(self) -> Image.Image:
        return Image.fromarray(self._kept()[0])

    def load_mask(self) -> np.ndarray:
        """(h, w) bool; all False for a picture labelled good, even if it is mislabelled."""
        if self.defect == GOOD:
            return np.zeros((self.pixels, self.pixels), dtype=bool)
        return self._kept()[1]

    def clean(self) -> Image.Image:
        """The same picture without its defects."""
        return Image.fromarray(self._drawn()[1])

    def flaws(self) -> list[Flaw]:
        """The connected defects (8 neighbours) that the picture really shows, top to bottom."""
        flawed, clean, mask = self._drawn()
        change = np.abs(flawed.astype(float) - clean).mean(-1)
        labels, _ = label(mask, EIGHT_CONNECTED)
        found = []
        for i, window in enumerate(find_objects(labels), 1):
            rows, columns = np.nonzero(labels[window] == i)
            centre = (window[0].start + rows.mean(), window[1].start + columns.mean())
            contrast = change[window][rows, columns].mean()
            found.append(Flaw(self.truth, (float(centre[0]), float(centre[1])), len(rows), float(contrast)))
        return found

    def _kept(self) -> tuple[np.ndarray, np.ndarray]:
        """Picture and mask, from the cache if there is one."""
        if self.cache is None:
            picture, _, mask = self._drawn()
            return picture, mask
        key = repr((self.category, self.name, self.truth, self.seed, self.pixels, self.knobs))
        kept = store.read(self.cache, key, self.pixels)
        if kept is None:
            picture, _, mask = self._drawn()
            store.write(self.cache, key, picture, mask)
            kept = picture, mask
        return kept

    def _drawn(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Picture (h, w, 3), the same without defects, and the mask of where they differ (h, w)."""
        recipe = CATEGORIES[self.category]
        place, where, noise = (np.random.default_rng([*self._key(), part]) for part in range(3))
        picture = recipe.draw(place, self.pixels, self.knobs, self.name.startswith("train/"))
        count = 0 if self.truth == GOOD else self.knobs.number
        overlays = [_overlay(recipe, self.truth, picture, where) for _ in range(count)]
        return develop(picture, overlays, noise)

    def _key(self) -> tuple[int, int]:
        return zlib.crc32(f"{self.category}/{self.name}".encode()), self.seed


def _overlay(recipe: Recipe, kind: str, picture: Picture, rng: np.random.Generator) -> Overlay:
    """A defect that can be seen: one that falls beside the object is drawn again, elsewhere."""
    for _ in range(100):
        overlay = recipe.defects[kind](picture, rng)
        if (overlay.alpha >= CRISP).any():
            return overlay
    raise RuntimeError(f"{recipe.title}: no place for a {kind} in a hundred tries")


class Toybox(Category):
    """An embedded category: `train` good pictures to learn from, `good` and `defective` ones to be tested on.

    Defective pictures are spread evenly over the kinds of defect. Pictures are squares of `size` pixels; `knobs` are
    those of `Knobs`, such as contrast=0.5. With `cache`, a folder, pictures are kept there once drawn.

    Raises ValueError for an unknown name or knob, a knob out of its range, fewer than one training picture, or a size
    below 64.
    """

    train: Sequence[DrawnSample]
    test: Sequence[DrawnSample]
    knobs: Knobs
    seed: int

    def __init__(
        self,
        name: str,
        *,
        train: int = 60,
        good: int = 20,
        defective: int = 32,
        size: int = 256,
        seed: int = 0,
        cache: str | Path | None = None,
        **knobs: Any,
    ) -> None:
        if name not in CATEGORIES:
            raise ValueError(f"no embedded category {name!r}; there is {near(name, NAMES, most=len(NAMES))}")
        turned = Knobs.turned(**knobs)
        train, size, seed = at_least("train", train, 1), at_least("size", size, SMALLEST), at_least("seed", seed, 0)
        good, defective = at_least("good", good, 0), at_least("defective", defective, 0)
        folder = None if cache is None else Path(cache)
        kinds = list(CATEGORIES[name].defects)

        def samples(split: str, label: str, truths: Sequence[str]) -> list[DrawnSample]:
            return [
                DrawnSample(f"{split}/{label}/{i:03d}.png", label, name, truth, seed, size, turned, folder)
                for i, truth in enumerate(truths)
            ]

        wrong = round(turned.mislabelled * train)
        truths = [kinds[i % len(kinds)] for i in range(wrong)] + [GOOD] * (train - wrong)
        order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(train)
        tested = samples("test", GOOD, [GOOD] * good)
        for i, kind in enumerate(kinds):
            tested += samples("test", kind, [kind] * ((defective + i) // len(kinds)))
        super().__init__(f"toybox/{name}", samples("train", GOOD, [truths[i] for i in order]), tested)
        object.__setattr__(self, "knobs", turned)
        object.__setattr__(self, "seed", seed)

    def __repr__(self) -> str:
        changed = self.knobs.changed() | ({"seed": self.seed} if self.seed else {})
        settings = [repr(self.name.removeprefix("toybox/")), *(f"{name}={value:g}" for name, value in changed.items())]
        return f"Toybox({', '.join(settings)}: {self.contents()})"
