"""How well image scores rank: AUROC, average precision, F1-max, false alarms. Exact, ties shared.

An image raises an alarm when its score lies above the threshold. All metrics lie in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from pclib.metrics._inputs import labels_and_scores


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Probability that an anomalous image scores higher than a good one; ties count one half.

    labels (n,) 0 good / 1 anomalous, scores (n,). Raises ValueError for one class only, labels that are not binary,
    scores that are not finite, or lengths that differ. Source: Hanley and McNeil 1982 (the Mann-Whitney statistic).
    """
    labels, scores = labels_and_scores(labels, scores)
    anomalous, n = int(labels.sum()), len(labels)
    rank_sum = rankdata(scores)[labels].sum()
    return float((rank_sum - anomalous * (anomalous + 1) / 2) / (anomalous * (n - anomalous)))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean precision over the anomalous images, each at its own score: the area under precision over recall, in steps.

    Arguments and errors as for `auroc`. Unlike AUROC it depends on how many of the images are anomalous.
    """
    labels, scores = labels_and_scores(labels, scores)
    _, good, anomalous = _alarms(labels, scores)
    precision = anomalous / (good + anomalous)
    return float((np.diff(anomalous, prepend=0) * precision).sum() / labels.sum())


class BestF1(NamedTuple):
    """The largest F1 score that any threshold gives, and a threshold that gives it."""

    f1: float
    threshold: float


def f1_max(labels: np.ndarray, scores: np.ndarray) -> BestF1:
    """The largest F1 score over all thresholds, with its threshold: halfway to the next lower score.

    Arguments and errors as for `auroc`. The threshold is chosen on the images that it is judged by, defects included,
    so F1-max flatters; a threshold for use comes from held-out good images (`pclib.scoring.threshold`).
    """
    labels, scores = labels_and_scores(labels, scores)
    values, good, anomalous = _alarms(labels, scores)
    f1 = 2 * anomalous / (good + anomalous + labels.sum())
    best = int(np.argmax(f1))
    lowest = float(values[best])
    if best + 1 == len(values):  # all images are to raise an alarm
        return BestF1(float(f1[best]), float(np.nextafter(lowest, -np.inf)))
    return BestF1(float(f1[best]), lowest / 2 + float(values[best + 1]) / 2)


def false_alarm_rate(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    """Share of the good images that score above the threshold. Arguments and errors as for `auroc`."""
    labels, scores = labels_and_scores(labels, scores)
    _check_threshold(threshold)
    return float((scores[~labels] > threshold).mean())


def detection_rate(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    """Share of the anomalous images that score above the threshold. Arguments and errors as for `auroc`."""
    labels, scores = labels_and_scores(labels, scores)
    _check_threshold(threshold)
    return float((scores[labels] > threshold).mean())


def roc(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ROC curve: false positive rate and true positive rate, from (0, 0) to (1, 1), a point per distinct score.

    Arguments and errors as for `auroc`; the straight line between two points is what ties amount to.
    """
    labels, scores = labels_and_scores(labels, scores)
    _, good, anomalous = _alarms(labels, scores)
    return np.append(0, good / good[-1]), np.append(0, anomalous / anomalous[-1])


def _check_threshold(threshold: float) -> None:
    if np.isnan(threshold):
        raise ValueError("threshold must be a number, got NaN: no score lies above it")


def _alarms(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct scores, falling, and how many good and how many anomalous images score at least that."""
    order = np.argsort(scores)[::-1]
    values = scores[order]
    last = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)  # of each run of equal scores
    anomalous = np.cumsum(labels[order])[last]
    return values[last], last + 1 - anomalous, anomalous
