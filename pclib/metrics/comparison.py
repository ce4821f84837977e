"""Is one method better than another? Both are measured on the same images, so the images are compared in pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from pclib._checks import at_least, fraction, one_of
from pclib.metrics._inputs import labels_and_scores, masks_and_maps
from pclib.metrics.bootstrap import draws, replicate
from pclib.metrics.intervals import placements, resampled_auroc
from pclib.metrics.pixels import pixel_metrics
from pclib.metrics.ranking import auroc
from pclib.metrics.regions import has_defect

FEW = 10  # images out of place, below which normal approximations mean little


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same images: a metric of each, their difference first - second with an interval, and p.

    p is the probability of a difference at least as large, either way, if there were none. `warning` says why not to
    rely on the interval, or is None.
    """

    metric: str
    first: float
    second: float
    interval: tuple[float, float]
    p: float
    level: float
    method: str
    warning: str | None

    @property
    def difference(self) -> float:
        return self.first - self.second

    def __str__(self) -> str:
        low, high = self.interval
        text = (
            f"{self.metric}: {self.first:.4f} against {self.second:.4f}, difference {self.difference:+.4f} "
            f"({100 * self.level:g} % interval {low:+.4f} to {high:+.4f}), p = {self.p:.3g} ({self.method})"
        )
        return text + (f"\n  careful: {self.warning}" if self.warning else "")


def compare_auroc(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    method: str = "permutation",
    level: float = 0.95,
    replicates: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Compare the image AUROC of two methods' scores (n,) on the same images with labels (n,).

    permutation  p by exchanging the two methods' ranks of an image, at random (all ways, if there are at most
                 `replicates`); the interval by resampling images. p holds near 1 too
    delong       p and interval from DeLong's variance of the difference; a warning says when hardly any image is out of
                 place, so that the variance means little

    Raises ValueError as `auroc` does for either, and for a level outside (0, 1).
    Source: DeLong et al. 1988; the permutation test of Venkatraman and Begg 1996, on the difference in AUROC.
    """
    one_of("method", method, ("permutation", "delong"))
    fraction("level", level, open_end=True)
    at_least("replicates", replicates, 1)
    given, (labels, first) = second, labels_and_scores(labels, first)
    labels, second = labels_and_scores(labels, given)
    a, b = auroc(labels, first), auroc(labels, second)
    misplaced = min(sum(int((values < 1).sum()) for values in placements(labels, s)) for s in (first, second))
    warning = None
    if misplaced < FEW:
        warning = (
            f"only {misplaced} images are out of place for one of the two, too few for an interval of the difference "
            "to mean much"
        )
    if method == "permutation":
        p = _permutation_p(labels, first, second, replicates, seed)
        drawn = draws(labels, replicates, seed)
        found = resampled_auroc(labels, first, drawn) - resampled_auroc(labels, second, drawn)
        low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    else:
        (bad_a, good_a), (bad_b, good_b) = placements(labels, first), placements(labels, second)
        if min(len(bad_a), len(good_a)) < 2:
            raise ValueError(
                f"DeLong's variance needs at least 2 images of each class, got {len(good_a)} good and {len(bad_a)} "
                "anomalous; take method='permutation'"
            )
        variance = (bad_a - bad_b).var(ddof=1) / len(bad_a) + (good_a - good_b).var(ddof=1) / len(good_a)
        half = norm.ppf((1 + level) / 2) * variance**0.5
        low, high = a - b - half, a - b + half
        p = 2 * norm.sf(abs(a - b) / variance**0.5) if variance > 0 else float(a == b)
    return Comparison("image AUROC", a, b, (float(low), float(high)), float(p), level, method, warning)


def compare_pixels(
    masks: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    max_fpr: float = 0.3,
    *,
    level: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[Comparison, Comparison]:
    """Compare pixel AUROC and PRO of two methods' maps (n, h, w) on the same masks (n, h, w), by resampling images.

    Interval: percentiles of the differences. p: twice the share of replicates on the other side of 0, never less than
    2 / (replicates + 1). Raises ValueError as `pro` does for either, and for a level outside (0, 1).
    """
    fraction("level", level, open_end=True)
    a, b = (pixel_metrics(masks, maps, (max_fpr,)) for maps in (first, second))
    drawn = draws(has_defect(masks_and_maps(masks, first)[0]), replicates, seed)
    of_a, of_b = (replicate(*masks_and_maps(masks, maps), drawn, max_fpr) for maps in (first, second))
    return (
        _by_replicates("pixel AUROC", a.pixel_auroc, b.pixel_auroc, of_a.pixel_auroc - of_b.pixel_auroc, level),
        _by_replicates("PRO", a.pro[max_fpr], b.pro[max_fpr], of_a.pro - of_b.pro, level),
    )


def _by_replicates(metric: str, a: float, b: float, differences: np.ndarray, level: float) -> Comparison:
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    other_side = min((differences <= 0).sum(), (differences >= 0).sum())
    p = min(1.0, 2 * (int(other_side) + 1) / (len(differences) + 1))
    warning = "no replicate differs: resampling these images says nothing" if np.ptp(differences) < 1e-9 else None
    return Comparison(metric, a, b, (float(low), float(high)), p, level, "bootstrap over images", warning)


def _permutation_p(labels: np.ndarray, first: np.ndarray, second: np.ndarray, replicates: int, seed: int) -> float:
    """How often exchanging the methods' ranks at random gives a difference as large as theirs."""
    ranks = np.stack([rankdata(first), rankdata(second)])
    n, anomalous = len(labels), int(labels.sum())
    every = 2**n <= replicates
    if every:  # all ways to exchange
        swap = (np.arange(2**n)[:, None] >> np.arange(n)) & 1 == 1
    else:
        swap = np.random.default_rng(seed).random((replicates, n)) < 0.5

    def rank_sums(mixed: np.ndarray) -> np.ndarray:
        return rankdata(mixed, axis=1)[:, labels].sum(axis=1)

    differences = rank_sums(np.where(swap, ranks[1], ranks[0])) - rank_sums(np.where(swap, ranks[0], ranks[1]))
    seen = abs(rank_sums(ranks[:1]) - rank_sums(ranks[1:]))[0]
    as_large = int((abs(differences) >= seen - 1e-9 * n * anomalous).sum())
    return as_large / len(differences) if every else (as_large + 1) / (replicates + 1)
