"""AUROC, pixel AUROC, PRO and their relatives: exact, every variant named, each with an interval.

Arrays only, no torch. Truth comes before score, as in scikit-learn: labels (n,) 0 good / 1 anomalous before scores
(n,), masks (n, h, w) bool before maps (n, h, w). All metrics lie in [0, 1]. What the data do not determine raises
`Undefined`, a ValueError; it is never silently 0, 1/2 or NaN.
"""

from pclib._checks import Undefined
from pclib.metrics.comparison import Comparison, compare_auroc, compare_pixels
from pclib.metrics.evaluation import DefectType, Evaluation, evaluate
from pclib.metrics.intervals import PixelIntervals, auroc_interval, auroc_interval_at, pixel_intervals
from pclib.metrics.pixels import (
    PixelMetrics,
    official_pro,
    pixel_auroc,
    pixel_metrics,
    pixel_roc,
    pro,
    pro_curve,
)
from pclib.metrics.ranking import BestF1, auroc, average_precision, detection_rate, f1_max, false_alarm_rate, roc
from pclib.metrics.regions import Regions, count_regions, find_regions

__all__ = [
    "BestF1",
    "Comparison",
    "DefectType",
    "Evaluation",
    "PixelIntervals",
    "PixelMetrics",
    "Regions",
    "Undefined",
    "auroc",
    "auroc_interval",
    "auroc_interval_at",
    "average_precision",
    "compare_auroc",
    "compare_pixels",
    "count_regions",
    "detection_rate",
    "evaluate",
    "f1_max",
    "false_alarm_rate",
    "find_regions",
    "official_pro",
    "pixel_auroc",
    "pixel_intervals",
    "pixel_metrics",
    "pixel_roc",
    "pro",
    "pro_curve",
    "roc",
]
