"""Scored samples to the numbers of the tables, each with an interval and what it rests on."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from pclib._checks import Undefined, fraction, some
from pclib.metrics.intervals import auroc_interval, pixel_intervals
from pclib.metrics.pixels import PixelMetrics, pixel_metrics
from pclib.metrics.ranking import auroc
from pclib.metrics.regions import count_regions

if TYPE_CHECKING:
    from pclib.detector import Scores

Interval = tuple[float, float]
METRICS = ("image AUROC", "pixel AUROC", "PRO")


@dataclass(frozen=True)
class DefectType:
    """The metrics for one type of defect: its images against all good ones, its pixels against all normal ones."""

    defect: str
    n: int
    image_auroc: float | None
    image_auroc_interval: Interval | None
    n_regions: int | None
    pixel_auroc: float | None
    pro: float | None


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The three metrics of the tables, in [0, 1], with their intervals, and what they rest on.

    None means undefined, and `notes` say why. `methods` say how each interval came about. Prints as a table.
    """

    image_auroc: float | None
    image_auroc_interval: Interval | None
    pixel_auroc: float | None
    pixel_auroc_interval: Interval | None
    pro: float | None
    pro_interval: Interval | None
    n_good: int
    n_anomalous: int
    n_regions: int | None
    max_fpr: float
    level: float
    by_defect: list[DefectType] = field(default_factory=list)
    methods: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        tables = [_as_text(rows) for rows in (self._metrics(), self._defects()) if rows]
        return "\n\n".join([self._counts(), *tables])

    def _repr_html_(self) -> str:
        tables = [_as_html(rows) for rows in (self._metrics(), self._defects()) if rows]
        return f"<p>{html.escape(self._counts())}</p>{''.join(tables)}"

    def _counts(self) -> str:
        regions = "" if self.n_regions is None else f", {self.n_regions} defect regions"
        return f"{self.n_good} good and {self.n_anomalous} anomalous images{regions}"

    def _metrics(self) -> list[list[str]]:
        rows = [["metric", "value", f"{100 * self.level:g} % interval", "interval by"]]
        values = (self.image_auroc, self.pixel_auroc, self.pro)
        intervals = (self.image_auroc_interval, self.pixel_auroc_interval, self.pro_interval)
        for name, value, interval in zip(METRICS, values, intervals, strict=True):
            if value is None:
                rows.append([name, "none", "", self.notes.get(name, "")])
            else:
                ends = "" if interval is None else "{:.3f} to {:.3f}".format(*interval)
                rows.append([name, f"{value:.4f}", ends, self.methods.get(name, "")])
        return rows

    def _defects(self) -> list[list[str]]:
        if len(self.by_defect) < 2:
            return []
        rows = [
            ["defect", "images", "image AUROC", f"{100 * self.level:g} % interval", "regions", "pixel AUROC", "PRO"]
        ]
        for d in self.by_defect:
            ends = "" if d.image_auroc_interval is None else "{:.3f} to {:.3f}".format(*d.image_auroc_interval)
            numbers = ["" if v is None else f"{v:.4f}" for v in (d.image_auroc, d.pixel_auroc, d.pro)]
            regions = "" if d.n_regions is None else str(d.n_regions)
            rows.append([d.defect.replace("_", " "), str(d.n), numbers[0], ends, regions, *numbers[1:]])
        return rows


def evaluate(
    scores: Scores, *, max_fpr: float = 0.3, level: float = 0.95, replicates: int = 1000, seed: int = 0
) -> Evaluation:
    """Image AUROC, pixel AUROC and PRO of scored test samples, each with an interval, and for each type of defect.

    max_fpr: PRO's limit. level: of the intervals. replicates: sets of images drawn for the intervals of pixel AUROC and
    PRO, with `seed`; 0 leaves these two out, and then no more than a few maps are in memory at a time.
    Metrics that the samples cannot support (one class only, labels unknown, a mask missing) are None, with the reason
    in `notes`. Masks are framed like the images, by the authors' rule. Raises ValueError for a mask that is damaged,
    and for a good sample whose mask is not empty.
    """
    fraction("max_fpr", max_fpr)
    fraction("level", level, open_end=True)
    notes: dict[str, str] = {}
    methods: dict[str, str] = {}
    labels = [s.label for s in scores.samples]
    unlabelled = [s.name for s in scores.samples if s.label is None]
    image, interval = None, None
    if unlabelled:
        notes["image AUROC"] = f"not known to be good or anomalous: {some(unlabelled)}"
    else:
        try:
            image, interval = _image_auroc(np.array(labels), scores.image, level)
            methods["image AUROC"] = "score-type, see auroc_interval"
        except Undefined as error:
            notes["image AUROC"] = str(error)
    found, regions, pixel_interval, pro_interval = None, None, None, None
    try:
        masks, maps = scores.masks(), cast(np.ndarray, scores.maps)  # indexed like one, at least
        _check_good_masks(scores, masks)
        regions = count_regions(masks)
        found = pixel_metrics(masks, maps, (max_fpr,))
        if replicates:
            pixel_interval, pro_interval, how = pixel_intervals(
                masks, maps, max_fpr, level, replicates=replicates, seed=seed
            )
            methods |= dict(zip(METRICS[1:], how, strict=True))
    except Undefined as error:
        notes["pixel AUROC"] = notes["PRO"] = str(error)
    return Evaluation(
        image_auroc=image,
        image_auroc_interval=interval,
        pixel_auroc=None if found is None else found.pixel_auroc,
        pixel_auroc_interval=pixel_interval,
        pro=None if found is None else found.pro[max_fpr],
        pro_interval=pro_interval,
        n_good=labels.count(0),
        n_anomalous=labels.count(1),
        n_regions=regions,
        max_fpr=max_fpr,
        level=level,
        by_defect=_by_defect(scores, found, max_fpr, level),
        methods=methods,
        notes=notes,
    )


def _by_defect(scores: Scores, found: PixelMetrics | None, max_fpr: float, level: float) -> list[DefectType]:
    good = np.array([s.label == 0 for s in scores.samples])
    kinds = np.array([s.defect if s.label == 1 else "" for s in scores.samples])
    rows = []
    for kind in sorted({str(k) for k in kinds} - {""}):
        its = kinds == kind
        image, interval, regions, pixel, overlap = None, None, None, None, None
        if good.any():
            image, interval = _image_auroc(its[its | good], scores.image[its | good], level)
        if found is not None:
            of_it = its[found.regions.image]
            regions = int(of_it.sum())
            if regions:  # the crop may have cut all of them off
                pixel = float(np.average(found.region_auroc[of_it], weights=found.regions.size[of_it]))
                overlap = float(found.region_pro[max_fpr][of_it].mean())
        rows.append(DefectType(kind, int(its.sum()), image, interval, regions, pixel, overlap))
    return rows


def _image_auroc(labels: np.ndarray, scores: np.ndarray, level: float) -> tuple[float, Interval]:
    return auroc(labels, scores), auroc_interval(labels, scores, level)


def _check_good_masks(scores: Scores, masks: np.ndarray) -> None:
    wrong = [s.name for s, mask in zip(scores.samples, masks, strict=True) if s.label == 0 and mask.any()]
    if wrong:
        raise ValueError(f"good samples must have empty masks, but these have not: {some(wrong)}")


def _as_text(rows: list[list[str]]) -> str:
    """Columns flush left, but numbers flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if cell[:1].isdigit() and " " not in cell else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _as_html(rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(c)}</td>' for c in row)}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
