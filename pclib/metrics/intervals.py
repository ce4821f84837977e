"""How far the truth may lie from the number: intervals for image AUROC, pixel AUROC and PRO.

A test set is a sample. An interval at level 95 % comes from a rule that covers the true value in about 95 of 100 test
sets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtri, owens_t, stdtrit
from scipy.stats import rankdata

from pclib._checks import Undefined, at_least, fraction, one_of
from pclib.metrics._inputs import labels_and_scores, masks_and_maps
from pclib.metrics.bootstrap import draws, replicate
from pclib.metrics.pixels import pixel_metrics
from pclib.metrics.ranking import auroc
from pclib.metrics.regions import has_defect

IMAGE_METHODS = ("adaptive", "score", "delong", "logit", "bootstrap")
PIXEL_METHODS = ("logit", "percentile")


def auroc_interval(
    labels: np.ndarray,
    scores: np.ndarray,
    level: float = 0.95,
    *,
    method: str = "adaptive",
    replicates: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """An interval for the AUROC of labels (n,) and scores (n,) that covers the true one with probability `level`.

    adaptive   all values A that the observed AUROC does not contradict: |AUROC - A| <= z sqrt(V(A)). V is the mean of
               two classical variances, for exponential and for normal scores, and is raised to what DeLong finds if
               that is more. Covers what it says near 1 too, where the others fall short: notebook 05 measures it
    score      the same with Hanley and McNeil's variance alone (exponential scores; Newcombe 2006): wider
    delong     AUROC +- z standard errors, clipped to [0, 1] (DeLong et al. 1988); shrinks to nothing near 1
    logit      the same on the logit scale; undefined at 0 and 1
    bootstrap  percentiles over resampled images, good and anomalous apart; shrinks near 1 like DeLong's

    Raises ValueError as `auroc` does, for a level outside (0, 1), and, for DeLong's variance (the first method goes
    without), with fewer than two images of a class.
    """
    one_of("method", method, IMAGE_METHODS)
    fraction("level", level, open_end=True)
    labels, scores = labels_and_scores(labels, scores)
    observed, z = auroc(labels, scores), float(ndtri((1 + level) / 2))
    anomalous = int(labels.sum())
    good = len(labels) - anomalous
    if method == "score":
        return _not_contradicted(observed, z, lambda a: hanley_mcneil_variance(a, good, anomalous))
    if method == "adaptive":
        variance = _either_variance(observed, good, anomalous)
        excess = max(1, delong_variance(labels, scores) / variance) if variance and min(good, anomalous) > 1 else 1
        return _not_contradicted(observed, z, lambda a: excess * _either_variance(a, good, anomalous))
    if method == "bootstrap":
        low, high = np.quantile(
            resampled_auroc(labels, scores, draws(labels, replicates, seed)), _tails(level), method="linear"
        )
        return float(low), float(high)
    half = z * delong_variance(labels, scores) ** 0.5
    if method == "delong":
        return max(0.0, observed - half), min(1.0, observed + half)
    if observed in (0, 1):
        raise Undefined(f"undefined: the logit of an AUROC of {observed:g} is infinite; take method='adaptive'")
    return _logit_interval(observed, half)


def auroc_interval_at(value: float, n_good: int, n_anomalous: int, level: float = 0.95) -> tuple[float, float]:
    """An interval for a published AUROC of which only the value and the numbers of images are known.

    As `auroc_interval` by default, but for what the scores would add. Raises ValueError for a value outside [0, 1] (for
    98 % write 0.98), fewer than one image of a class, or a level outside (0, 1).
    """
    if not 0 <= value <= 1:
        raise ValueError(f"value must lie in [0, 1], got {value}; for 98 % write 0.98")
    at_least("n_good", n_good, 1)
    at_least("n_anomalous", n_anomalous, 1)
    z = float(ndtri((1 + fraction("level", level, open_end=True)) / 2))
    return _not_contradicted(value, z, lambda a: _either_variance(a, n_good, n_anomalous))


class PixelIntervals(NamedTuple):
    """Intervals for pixel AUROC and PRO, and the method of each."""

    pixel_auroc: tuple[float, float]
    pro: tuple[float, float]
    methods: tuple[str, str]


def pixel_intervals(
    masks: np.ndarray,
    maps: np.ndarray,
    max_fpr: float = 0.3,
    level: float = 0.95,
    *,
    method: str = "logit",
    replicates: int = 1000,
    seed: int = 0,
) -> PixelIntervals:
    """Intervals for pixel AUROC and PRO of masks (n, h, w) and maps (n, h, w), by resampling images.

    Pixels of one image depend on each other, so whole images are drawn again, those with a defect and those without
    apart.

    logit       the standard deviation of the replicates, carried to the logit scale, times Student's t
    percentile  percentiles of the replicates; narrower, and too narrow near 1

    Where no replicate differs (all maps are perfect, or there is one defective image), resampling knows nothing. Then
    the interval is what n defective images leave open: that a share 1 - ((1 - level) / 2)^(1 / n) of others, not met
    yet, scores 0 or 1 (a "rule of three"). With few images both methods cover less than they say: notebook 05 measures
    how much.
    Raises ValueError as `pixel_auroc` and `pro` do, and for a level outside (0, 1).
    """
    one_of("method", method, PIXEL_METHODS)
    fraction("level", level, open_end=True)
    observed = pixel_metrics(masks, maps, (max_fpr,))
    masks, maps = masks_and_maps(masks, maps)
    defective = has_defect(masks)
    found = replicate(masks, maps, draws(defective, replicates, seed), max_fpr)
    n = int(defective.sum())
    auroc_ends = _over_images(observed.pixel_auroc, found.pixel_auroc, n, level, method)
    pro_ends = _over_images(observed.pro[max_fpr], found.pro, n, level, method)
    return PixelIntervals(auroc_ends[0], pro_ends[0], (auroc_ends[1], pro_ends[1]))


def delong_variance(labels: np.ndarray, scores: np.ndarray) -> float:
    """DeLong's variance of the AUROC, from how each image of one class stands among those of the other.

    Arguments as for `auroc`. Raises ValueError with fewer than two images of a class.
    """
    of_anomalous, of_good = placements(labels, scores)
    if min(len(of_anomalous), len(of_good)) < 2:
        raise Undefined(
            f"undefined: DeLong's variance needs at least 2 images of each class, got {len(of_good)} good and "
            f"{len(of_anomalous)} anomalous; method='adaptive' does without"
        )
    return float(of_anomalous.var(ddof=1) / len(of_anomalous) + of_good.var(ddof=1) / len(of_good))


def placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each anomalous image the share of good ones below it, for each good one the share of anomalous ones above it.

    Ties count one half; the mean of either is the AUROC. Arguments and errors as for `auroc`.
    """
    labels, scores = labels_and_scores(labels, scores)
    ranks = rankdata(scores)
    good, anomalous = scores[~labels], scores[labels]
    below = ranks[labels] - rankdata(anomalous)
    above = len(anomalous) - (ranks[~labels] - rankdata(good))
    return below / len(good), above / len(anomalous)


def resampled_auroc(labels: np.ndarray, scores: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(r,): image AUROC of sets in which image i occurs drawn[r, i] times. labels (n,) bool, drawn (r, n)."""
    difference = scores[labels][:, None].astype(float) - scores[~labels][None].astype(float)
    wins = (np.sign(difference) + 1) / 2  # (anomalous, good): 1 won, 0 lost, one half tied
    anomalous, good = drawn[:, labels], drawn[:, ~labels]
    return ((anomalous @ wins) * good).sum(axis=1) / (anomalous.sum(axis=1) * good.sum(axis=1))


def hanley_mcneil_variance(a: float, good: int, anomalous: int) -> float:
    """Variance of an AUROC whose true value is a, for exponential scores; symmetric in the classes (Newcombe 2006)."""
    return _variance(a, (a / (2 - a) + 2 * a * a / (1 + a)) / 2, good, anomalous)


def binormal_variance(a: float, good: int, anomalous: int) -> float:
    """Variance of an AUROC whose true value is a, for normal scores with one standard deviation."""
    return _variance(a, a - 2 * float(owens_t(ndtri(a), 1 / np.sqrt(3))), good, anomalous)


def _variance(a: float, both: float, good: int, anomalous: int) -> float:
    """both: the chance that two images of a class both stand right of one of the other."""
    return (a * (1 - a) + (good + anomalous - 2) * (both - a * a)) / (good * anomalous)


def _either_variance(a: float, good: int, anomalous: int) -> float:
    return (hanley_mcneil_variance(a, good, anomalous) + binormal_variance(a, good, anomalous)) / 2


def _not_contradicted(observed: float, z: float, variance: Callable[[float], float]) -> tuple[float, float]:
    """The ends of the stretch around `observed` in which |observed - a| <= z sqrt(variance(a))."""

    def excess(a: float) -> float:
        return abs(observed - a) - z * variance(a) ** 0.5

    def edge(end: float) -> float:
        beside = observed + 1e-9 * (end - observed)  # at 0 and 1 themselves both terms vanish
        if excess(end) <= 0:
            return end
        if excess(beside) >= 0:  # shorter than can be told apart
            return observed
        return brentq(excess, beside, end, xtol=1e-12)

    return edge(0.0), edge(1.0)


def _over_images(
    observed: float, found: np.ndarray, n: int, level: float, method: str
) -> tuple[tuple[float, float], str]:
    """The interval from replicates, and how it came about."""
    if np.ptp(found) < 1e-6:  # they are float32 sums
        unmet = 1 - ((1 - level) / 2) ** (1 / n)
        low, high = observed * (1 - unmet), observed * (1 - unmet) + unmet
        return (low, high), f"no replicate differs: what {n} defective images leave open"
    if method == "percentile" or not 0 < observed < 1:
        low, high = np.quantile(found, _tails(level))
        return (float(low), float(high)), "percentiles over resampled images"
    half = float(stdtrit(max(n - 1, 1), (1 + level) / 2)) * float(found.std())
    return _logit_interval(observed, half), "spread over resampled images, on the logit scale"


def _logit_interval(observed: float, half: float) -> tuple[float, float]:
    """observed +- half, carried to the logit scale to first order and back: never leaves (0, 1)."""
    stretch = half / (observed * (1 - observed))
    return float(expit(logit(observed) - stretch)), float(expit(logit(observed) + stretch))


def _tails(level: float) -> list[float]:
    return [(1 - level) / 2, (1 + level) / 2]
