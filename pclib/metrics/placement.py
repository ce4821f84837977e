"""Where anomalous pixels stand among the normal ones: all that pixel AUROC and PRO need to know.

Let a be the number of normal pixels that score higher than an anomalous pixel, and b the number that score higher or
the same. Seen from that pixel, the curve over false positives rises from 0 at a to 1 at b, so its area up to L false
positives is 0 for L <= a, L - (a + b) / 2 for b <= L, and (L - a)^2 / (2 (b - a)) in between. Pixel AUROC is the mean
of these areas over all anomalous pixels; PRO is their mean over regions. No curve is drawn and no threshold chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

BLOCK = 1 << 18  # pixels worked on at a time; small enough for the processor's cache
CELLS = 1 << 21  # cells of the histogram at most
NEAR = 1 << 20  # values sorted at a time


@dataclass(frozen=True, eq=False)
class Placement:
    """Where p anomalous pixels stand among N normal ones, lowest score first.

    above, at_or_above (p,) int64   normal pixels that score higher; higher or the same
    order (p,)                      for each, its place in masks.ravel()'s order of anomalous pixels
    scores (p,)                     their scores
    normal                          N
    """

    above: np.ndarray
    at_or_above: np.ndarray
    order: np.ndarray
    scores: np.ndarray
    normal: int

    def areas(self, max_fpr: float) -> np.ndarray:
        """(p,) float64, in the order of masks.ravel(): each pixel's area up to `max_fpr`, divided by it."""
        areas = np.empty(len(self.above))
        areas[self.order] = step_areas(self.above, self.at_or_above, max_fpr * self.normal)
        return areas


def step_areas(above: np.ndarray, at_or_above: np.ndarray, limit: np.ndarray | float) -> np.ndarray:
    """The area in the module's head, divided by L = limit; arguments are numbers of normal pixels and broadcast."""
    areas = np.maximum(limit - above, 0)
    if (tied := at_or_above > above).any():
        beyond = np.maximum(limit - at_or_above, 0)
        ramp = (areas - beyond) * (areas + beyond) / (2 * np.maximum(at_or_above - above, 1))
        areas = np.where(tied, ramp, areas)
    return areas / limit


def place(masks: np.ndarray, maps: np.ndarray, among: np.ndarray | None = None, up_to: float = 1.0) -> Placement:
    """Place the anomalous pixels of masks (n, h, w) bool among the normal pixels by their scores in maps (n, h, w).

    among   (n,) bool: the images whose normal pixels count; None for all
    up_to   counts above this share of the normal pixels need not be exact (but stay above it)

    Exact, without sorting the normal pixels. A histogram with many narrow cells says how many lie in higher cells; only
    in cells that hold anomalous pixels too are they compared one by one. Memory beyond the arrays is some 40 bytes per
    anomalous pixel and a fixed amount, so maps may be a memory-mapped file.
    """
    scores = maps[masks]
    order = np.argsort(scores)
    scores = scores[order]
    images = np.arange(len(masks)) if among is None else np.flatnonzero(among)
    step = max(1, BLOCK // max(1, masks[0].size))

    def normal_pixels() -> Iterator[np.ndarray]:
        for start in range(0, len(images), step):
            block = images[start : start + step]
            some = slice(block[0], block[-1] + 1) if block[-1] - block[0] + 1 == len(block) else block  # no copy
            yield maps[some][~masks[some]]

    count = np.int32 if masks.size < np.iinfo(np.int32).max else np.int64  # of pixels: half the memory where that does
    above, at_or_above, normal = _count_higher(scores, normal_pixels, up_to, count)
    return Placement(above, at_or_above, order, scores, normal)


def _count_higher(
    scores: np.ndarray, values: Callable[[], Iterator[np.ndarray]], up_to: float, count: type[np.integer]
) -> tuple[np.ndarray, np.ndarray, int]:
    """For each of the rising scores, how many of the values are higher, and higher or the same; and how many there are.

    values: gives the values in blocks, and is called twice; count: an integer type that holds their number.
    """
    cells = int(min(CELLS, 16 * len(scores)))
    cell_of = _cells(scores[0], scores[-1], cells)
    in_cell = np.zeros(cells, dtype=count)
    for block in values():
        np.add.at(in_cell, cell_of(block), count(1))
    higher = in_cell.cumsum(dtype=count)
    total = int(higher[-1])
    np.subtract(total, higher, out=higher)  # values in higher cells
    cell = cell_of(scores)
    shared = np.zeros(cells, dtype=bool)
    shared[cell] = True
    shared &= (in_cell > 0) & (higher < up_to * total)
    above = higher[cell].astype(np.int64)

    in_cell *= shared  # values in shared cells are taken off again, and counted one by one
    np.cumsum(in_cell, out=higher)
    above -= higher[-1] - higher[cell]
    del in_cell, higher
    at_or_above = above.copy()
    near: list[np.ndarray] = []
    for block in values():
        near.append(block[shared.take(cell_of(block))])
        if sum(map(len, near)) >= NEAR:
            _compare(scores, np.concatenate(near), above, at_or_above)
            near = []
    _compare(scores, np.concatenate([*near, scores[:0]]), above, at_or_above)
    return above, at_or_above, total


def _compare(scores: np.ndarray, values: np.ndarray, above: np.ndarray, at_or_above: np.ndarray) -> None:
    """Add to the counts of the rising scores those of the values, which get sorted."""
    if not len(values):
        return
    values.sort()
    up_to = values.searchsorted(scores, side="right")
    above += len(values) - up_to
    at_or_above += len(values) - up_to
    tied = np.flatnonzero((values[up_to - 1] == scores) & (up_to > 0))
    at_or_above[tied] += up_to[tied] - values.searchsorted(scores[tied], side="left")


def _cells(low: np.floating, high: np.floating, cells: int) -> Callable[[np.ndarray], np.ndarray]:
    """Which of the cells between low and high a value falls into; what lies outside goes to the first or last.

    Never falls as the value rises, whatever the rounding, and that is all that counting relies on.
    """
    zero = low.dtype.type(0)
    with np.errstate(over="ignore"):
        width = high - low
        scale = (cells - 1) / width if width > 0 else zero
    if not (np.isfinite(width) and np.isfinite(scale)):  # too wide or too narrow to divide: one cell for all
        low, high, scale = zero, zero, zero

    def cell_of(values: np.ndarray) -> np.ndarray:
        place = np.clip(values, low, high)
        place -= low
        place *= scale
        return place.astype(np.intp)

    return cell_of
