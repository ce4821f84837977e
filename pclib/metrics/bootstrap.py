"""What another set of images would have given: pixel AUROC and PRO of resampled images.

The pixels of an image depend on each other, so whole images are drawn, the defective and the others apart. How each
anomalous pixel stands among the normal pixels of each image is counted once; a replicate only adds these counts up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pclib._checks import at_least
from pclib.metrics.placement import step_areas
from pclib.metrics.regions import find_regions

SLICE = 4096  # anomalous pixels worked on at a time


def draws(labels: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """(replicates, n) int64: how often each image is drawn, when as many of each label as there are get drawn."""
    generator = np.random.default_rng(seed)
    strata = [stratum for stratum in (np.flatnonzero(labels), np.flatnonzero(~labels)) if len(stratum)]
    drawn = np.zeros((at_least("replicates", replicates, 1), len(labels)), dtype=np.int64)
    for row in drawn:
        for stratum in strata:
            row += np.bincount(stratum[generator.integers(0, len(stratum), len(stratum))], minlength=len(labels))
    return drawn


class Replicates(NamedTuple):
    """Pixel AUROC and PRO, (r,) each, of r resampled sets of images."""

    pixel_auroc: np.ndarray
    pro: np.ndarray


def replicate(masks: np.ndarray, maps: np.ndarray, drawn: np.ndarray, max_fpr: float = 0.3) -> Replicates:
    """Pixel AUROC and PRO of sets in which image i occurs drawn[r, i] times.

    masks (n, h, w) bool, maps (n, h, w) checked already, drawn (r, n). Exact but for float32 sums of counts (1e-7).
    """
    regions = find_regions(masks)
    normal = [np.sort(m[~mask]) for mask, m in zip(masks, maps, strict=True)]
    n_normal = drawn @ np.array([len(values) for values in normal])  # (r,)
    weights, limit = drawn.astype(np.float32), (max_fpr * n_normal)[:, None].astype(np.float32)
    overlap = np.zeros(len(drawn))  # the numerator of PRO
    pairs = np.zeros((len(masks), len(masks)))  # i, j: (normal of i above anomalous of j, ties one half), summed
    scores, image = maps[masks], regions.image[regions.of_pixel]
    order = np.lexsort((scores, image))
    share = (1 / regions.size[regions.of_pixel]).astype(np.float32)
    for piece in np.array_split(order, -(-len(order) // SLICE)):
        above, at_or_above = _counts(normal, scores[piece])
        first = np.flatnonzero(np.diff(image[piece], prepend=-1))  # pixels at which an image begins
        ahead = np.add.reduceat(above, first, axis=1) + np.add.reduceat(at_or_above, first, axis=1)
        pairs[:, image[piece[first]]] += ahead / 2
        summed = weights @ above.astype(np.float32)
        tied = above is not at_or_above
        areas = step_areas(summed, weights @ at_or_above.astype(np.float32) if tied else summed, limit)
        of_image = np.add.reduceat(areas * share[piece], first, axis=1)
        overlap += (of_image * weights[:, image[piece[first]]]).sum(axis=1)
    n_anomalous = drawn @ masks.sum(axis=(1, 2))
    n_regions = drawn @ np.bincount(regions.image, minlength=len(masks))
    swapped = ((drawn @ pairs) * drawn).sum(axis=1)
    return Replicates(1 - swapped / (n_normal * n_anomalous), overlap / n_regions)


def _counts(normal: list[np.ndarray], scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, p) each: how many normal pixels of each image are above each score, and at or above; one array if equal."""
    at_most = np.stack([values.searchsorted(scores, side="right") for values in normal])
    below = at_most
    for i, values in enumerate(normal):
        if len(values) and (values[at_most[i] - 1] == scores).any():
            below = at_most.copy() if below is at_most else below
            below[i] = values.searchsorted(scores, side="left")
    sizes = np.array([[len(values)] for values in normal])
    above = sizes - at_most
    return above, above if below is at_most else sizes - below
