"""AUROC, pixel AUROC and PRO: exact, every distinct score a threshold, ties shared. Arrays only.

Truth comes before score, as in scikit-learn. All metrics lie in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import label as connected_components
from scipy.stats import norm, rankdata

from pclib._checks import Undefined, some

if TYPE_CHECKING:
    from pclib.detector import Scores

EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Probability that an anomalous image scores higher than a good one; ties count one half.

    labels (n,) 0 good / 1 anomalous, scores (n,). Raises ValueError for one class only, labels that are not binary,
    scores that are not finite, or lengths that differ. Source: Hanley and McNeil 1982 (the Mann-Whitney statistic).
    """
    labels, scores = _binary("labels", labels), np.asarray(scores)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels and scores must both be (n,), got {labels.shape} and {scores.shape}")
    _check_finite("scores", scores)
    anomalous, n = int(labels.sum()), len(labels)
    if anomalous in (0, n):
        raise Undefined(f"AUROC is undefined: one class only ({n - anomalous} good, {anomalous} anomalous)")
    rank_sum = rankdata(scores)[labels].sum()
    return float((rank_sum - anomalous * (anomalous + 1) / 2) / (anomalous * (n - anomalous)))


def auroc_interval(labels: np.ndarray, scores: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """An interval that covers the true AUROC with probability about `level`.

    Score-type: all values A that the observed AUROC does not contradict, with Hanley and McNeil's variance at A. It
    keeps its promise near 1, where intervals of the form AUROC +- z standard errors shrink to nothing.
    Raises ValueError as `auroc` does, and for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}; for 95 % write 0.95")
    observed = auroc(labels, scores)
    anomalous = int(np.sum(labels))
    good = len(np.asarray(labels)) - anomalous
    z2 = norm.ppf((1 + level) / 2) ** 2

    def contradicts(a: float) -> bool:
        return (observed - a) ** 2 > z2 * _hanley_mcneil_variance(a, good, anomalous)

    return _edge(observed, 0.0, contradicts), _edge(observed, 1.0, contradicts)


def pixel_auroc(masks: np.ndarray, maps: np.ndarray) -> float:
    """AUROC over all pixels of all images together.

    masks (n, h, w) bool, maps (n, h, w). Raises ValueError if there is no anomalous or no normal pixel, and for input
    that `pro` refuses.
    """
    masks, maps = _checked_maps(masks, maps)
    good, bad = _counts_by_score(masks.ravel(), maps.ravel(), masks.ravel().astype(np.int64))
    good_below = good.sum() - np.cumsum(good)  # scores come in falling order
    return float((bad * (good_below + good / 2)).sum() / (int(bad.sum()) * int(good.sum())))


def pro(masks: np.ndarray, maps: np.ndarray, max_fpr: float = 0.3) -> float:
    """Area under the per-region overlap curve up to a false positive rate of `max_fpr`, divided by it.

    masks (n, h, w) bool, maps (n, h, w). Regions are the 8-connected components of all masks, weighted equally; the
    false positive rate is over the normal pixels of all images; the curve is linear between thresholds, and up to the
    limit. Raises ValueError for a limit outside (0, 1], shapes that differ, masks that are not binary, maps that are
    not finite, and masks without an anomalous or without a normal pixel. Source: Bergmann et al. 2021.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr must lie in (0, 1], got {max_fpr}; for 30 % write 0.3")
    masks, maps = _checked_maps(masks, maps)
    good, covered = _counts_by_score(masks.ravel(), maps.ravel(), region_shares(masks).ravel())
    fpr = np.append(0, np.cumsum(good) / good.sum())
    overlap = np.append(0, np.cumsum(covered) / covered.sum())
    inside = int(np.searchsorted(fpr, max_fpr, side="right"))
    at_limit = np.interp(max_fpr, fpr[inside - 1 : inside + 1], overlap[inside - 1 : inside + 1])
    fpr, overlap = np.append(fpr[:inside], max_fpr), np.append(overlap[:inside], at_limit)
    return float(np.trapezoid(overlap, fpr) / max_fpr)


def region_shares(masks: np.ndarray) -> np.ndarray:
    """(n, h, w) float64: every pixel of a region weighs 1 / the region's size; normal pixels weigh nothing."""
    shares = np.zeros(masks.shape)
    for share, mask in zip(shares, masks, strict=True):
        regions, count = connected_components(mask, EIGHT_CONNECTED)
        if count:
            share[mask] = 1 / np.bincount(regions[mask])[regions[mask]]
    return shares


def count_regions(masks: np.ndarray) -> int:
    """Number of 8-connected defect regions in all masks together."""
    return sum(connected_components(mask, EIGHT_CONNECTED)[1] for mask in masks)


@dataclass(frozen=True)
class Evaluation:
    """The three metrics of the tables, in [0, 1], and what they rest on. None means undefined; `notes` say why."""

    image_auroc: float | None
    image_auroc_interval: tuple[float, float] | None
    pixel_auroc: float | None
    pro: float | None
    n_good: int
    n_anomalous: int
    n_regions: int | None
    notes: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        regions = "" if self.n_regions is None else f", {self.n_regions} defect regions"
        lines = [f"{self.n_good} good and {self.n_anomalous} anomalous images{regions}"]
        for name, value in (
            ("image AUROC", self.image_auroc),
            ("pixel AUROC", self.pixel_auroc),
            ("PRO", self.pro),
        ):
            text = f"none ({self.notes[name]})" if value is None else f"{value:.4f}"
            if name == "image AUROC" and self.image_auroc_interval is not None:
                text += "  (95 % interval {:.3f} to {:.3f})".format(*self.image_auroc_interval)
            lines.append(f"{name:<12} {text}")
        return "\n".join(lines)


def evaluate(scores: Scores) -> Evaluation:
    """Image AUROC with its interval, pixel AUROC and PRO of scored test samples.

    Metrics that the samples cannot support (one class only, labels unknown, a mask missing) are None, with the reason
    in `notes`. Masks are framed like the images, by the authors' rule. Raises ValueError for a mask that is damaged.
    """
    notes: dict[str, str] = {}
    labels = [s.label for s in scores.samples]
    unlabelled = [s.name for s in scores.samples if s.label is None]
    image, interval = None, None
    if unlabelled:
        notes["image AUROC"] = f"not known to be good or anomalous: {some(unlabelled)}"
    else:
        try:
            image = auroc(np.array(labels), scores.image)
            interval = auroc_interval(np.array(labels), scores.image)
        except Undefined as error:
            notes["image AUROC"] = str(error)
    pixel, overlap, regions = None, None, None
    try:
        masks, maps = scores.masks(), np.asarray(scores.pixel)
        regions = count_regions(masks)
        pixel, overlap = pixel_auroc(masks, maps), pro(masks, maps)
    except Undefined as error:
        notes["pixel AUROC"] = notes["PRO"] = str(error)
    return Evaluation(image, interval, pixel, overlap, labels.count(0), labels.count(1), regions, notes)


def _counts_by_score(masks: np.ndarray, maps: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each distinct score, in falling order: how many normal pixels, and what weight of anomalous ones."""
    order = np.argsort(maps)[::-1]
    values = maps[order]
    last = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)  # of each run of equal scores
    good = np.diff(np.cumsum(~masks[order])[last], prepend=0)
    anomalous = np.diff(np.cumsum(weights[order])[last], prepend=0)
    return good, anomalous


def _hanley_mcneil_variance(a: float, good: int, anomalous: int) -> float:
    """Variance of an AUROC estimate whose true value is a, for exponential scores; symmetric in the two classes."""
    both = (good + anomalous) / 2 - 1
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return (a * (1 - a) + both * (q1 - a * a) + both * (q2 - a * a)) / (good * anomalous)


def _edge(inside: float, end: float, contradicts: Callable[[float], bool]) -> float:
    """Where, going from `inside` to `end`, values begin to be contradicted: by bisection."""
    if not contradicts(end):
        return end
    for _ in range(60):
        middle = (inside + end) / 2
        inside, end = (inside, middle) if contradicts(middle) else (middle, end)
    return inside


def _binary(argument: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype != bool:
        levels = np.unique(values)
        if not np.isin(levels, (0, 1)).all():
            other = some([f"{v:.4g}" for v in levels if v not in (0, 1)])
            raise ValueError(
                f"{argument} must be binary, found values such as {other}; threshold "
                f"them yourself, and mind the order: {argument} come before scores"
            )
        values = values.astype(bool)
    return values


def _check_finite(argument: str, values: np.ndarray) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        first = int(np.argwhere(~finite)[0][0])
        raise ValueError(f"{argument} hold {(~finite).sum()} NaN or infinite values, the first in image {first}")


def _checked_maps(masks: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    masks, maps = np.asarray(masks), np.asarray(maps)
    if masks.shape != maps.shape or masks.ndim != 3:
        raise ValueError(f"masks and maps must both be (n, h, w), got {masks.shape} and {maps.shape}")
    masks = _binary("masks", masks)
    _check_finite("maps", maps)
    anomalous = int(masks.sum())
    if anomalous in (0, masks.size):
        raise Undefined(f"undefined: there is no {'anomalous' if anomalous == 0 else 'normal'} pixel")
    return masks, maps
