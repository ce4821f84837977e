"""What an explorer needs of a category: framed pictures, their features, and a detector with a memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from tqdm.auto import tqdm

from pclib._checks import at_least
from pclib._device import available_memory, gibibytes
from pclib.datasets import open_category
from pclib.detector import Scores
from pclib.framing import Pictures, read
from pclib.patchcore import DIM, PatchCore
from pclib.plots import OUTLINE
from pclib.samples import Category, Sample
from pclib.widgets.pixels import outlined

SHARE_OF_MEMORY = 0.5  # that the features may take of what is available


@dataclass(frozen=True, eq=False)
class Material:
    """Pictures of a category and their features (n, rows, columns, DIM), as a detector sees them.

    detector  has a memory made of the training pictures
    note      what was left out of the category, in a sentence; "" if nothing was
    """

    name: str
    detector: PatchCore
    train: Pictures
    train_features: np.ndarray = field(repr=False)
    test: Pictures
    test_features: np.ndarray = field(repr=False)
    note: str = ""

    def labels(self) -> np.ndarray:
        """(n,) of the test pictures: 0 good, 1 defective."""
        return np.array([sample.label for sample in self.test.samples])

    @cached_property
    def outlined(self) -> list[np.ndarray]:
        """The test pictures (crop, crop, 3) uint8, defects outlined where a mask is known."""
        framing, drawn = self.detector.framing, []
        for sample, pixels in zip(self.test.samples, self.test.pixels, strict=True):
            mask = sample.load_mask()
            drawn.append(pixels if mask is None else outlined(pixels, framing.mask(mask), OUTLINE))
        return drawn

    def scores(self) -> Scores:
        """The test pictures as the detector scores them."""
        return self.detector.score_features(self.test, self.test_features)


def gather(
    where: str | Category = "toybox/washer",
    *,
    train: int = 30,
    test: int = 28,
    detector: PatchCore | None = None,
    progress: Callable[..., Iterable] = tqdm,
) -> Material:
    """Read a category (or open it first), compute features, and fit the detector (by default one that keeps a tenth).

    Of more than `train` training and `test` test pictures, evenly spaced ones are taken; fewer, if memory would not
    hold their features. Raises ValueError for a category without test pictures, and for pictures that cannot be read.
    """
    at_least("train", train, 2)
    at_least("test", test, 1)
    category = where if isinstance(where, Category) else open_category(where)
    detector = detector or PatchCore()
    if not category.test:
        raise ValueError(f"{category.name}: has no test pictures to explore")
    each = detector.grid[0] * detector.grid[1] * DIM * 4
    most = int(SHARE_OF_MEMORY * available_memory() / each)
    train, test = min(train, len(category.train)), min(test, len(category.test))
    wanted = train + test
    fitting = min(1.0, most / wanted)
    chosen = _evenly(category.train, max(min(2, train), int(train * fitting)))
    tested = _evenly(category.test, max(1, int(test * fitting)))
    note = _note(len(chosen), len(category.train), len(tested), len(category.test))
    if fitting < 1:
        note += (
            f" The features of {wanted} would take {gibibytes(wanted * each)}, and {gibibytes(most * each)} are free."
        )
    train_pictures, test_pictures = (read(s, detector.framing, progress=progress) for s in (chosen, tested))
    features = detector.embed(train_pictures, "features", progress)
    test_features = detector.embed(test_pictures, "features of test pictures", progress)
    detector.remember(train_pictures, features, detector.select(features, progress))
    return Material(category.name, detector, train_pictures, features, test_pictures, test_features, note)


def _evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    if count >= len(samples):
        return list(samples)
    return [samples[round(i)] for i in np.linspace(0, len(samples) - 1, count)]


def _note(train: int, all_train: int, test: int, all_test: int) -> str:
    if (train, test) == (all_train, all_test):
        return ""
    return f"{train} of {all_train} training pictures and {test} of {all_test} test pictures are looked at."
