"""Metric explorer: what a threshold does to pictures, pixels and regions, and what the three metrics make of it."""

from __future__ import annotations

from bisect import insort
from functools import lru_cache
from math import isnan, nan
from textwrap import fill
from threading import RLock
from typing import Any

import numpy as np
import traitlets
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from skimage.measure import find_contours

from pclib._checks import Undefined, counted, percent
from pclib.detector import Scores
from pclib.metrics import Evaluation, evaluate, f1_max, find_regions, pro_curve, roc
from pclib.plots import BLUE, GREY, MARK, OUTLINE, SETS, map_range, number
from pclib.widgets.charts import Chart
from pclib.widgets.explorer import Explorer
from pclib.widgets.pixels import WHITE, Canvas, coloured, outlined, resized, rgb
from pclib.widgets.state import Choose, Control, Panel, Slide, State, Switch, listed, nearest, short

SIDE = 300  # pixels of the page that a picture takes
WIDE = 400  # and the histogram
STOPS, LEAST = 60, 1e-4  # pixel thresholds, and the smallest false positive rate among them
LIMIT = 0.3  # of PRO
BINS = 24
DASH = 6.0  # pixels of a dash, and of the gap behind it


class MetricState(State):
    """Scored test pictures, looked at with two thresholds.

    threshold        pictures that score above it raise an alarm; one given in code becomes a stop of its own
    pixel_threshold  pixels that score above it are detected; NaN where there are no maps
    picture          the test picture that is shown
    interval         whether metrics are given with their 95 % intervals

    By default the first threshold is the one with the largest F1 score, the second gives some 1 % of false positives.
    """

    threshold = traitlets.CFloat()
    pixel_threshold = traitlets.CFloat(nan)
    picture = traitlets.Int()
    interval = traitlets.Bool()

    def __init__(
        self,
        scores: Scores,
        *,
        threshold: float | None = None,
        pixel_threshold: float | None = None,
        picture: int | None = None,
        interval: bool = False,
    ) -> None:
        if not len(scores.image):
            raise ValueError("no picture was scored, so there is nothing to measure")
        self.scores, self._one_at_a_time = scores, RLock()
        self._measured = evaluate(scores, replicates=0)
        self._intervals: Evaluation | None = None
        self._framed = lru_cache(None)(lambda i: np.asarray(scores.framing.image(scores.samples[i].load())))
        self._marked = lru_cache(8)(self._marked_picture)
        self._sort_pictures()
        self._sort_pixels()
        self._draw_charts()
        if threshold is None:
            threshold = self._best_threshold()
        if pixel_threshold is None and not self.pixel_thresholds:
            pixel_threshold = nan
        elif pixel_threshold is None:
            rates = [self.pixel_rate(stop) for stop in self.pixel_thresholds]
            pixel_threshold = self.pixel_thresholds[nearest(rates, 0.01)]
        if picture is None:
            picture = int((self.labels == 1).argmax())  # the first defective one
        super().__init__(threshold=threshold, pixel_threshold=pixel_threshold, picture=picture, interval=interval)

    def _sort_pictures(self) -> None:
        """Labels, 0, 1 or -1 if not known; sorted scores of each; and the thresholds between neighbouring scores."""
        image = self.scores.image.astype(float)
        self.labels = np.array([-1 if s.label is None else s.label for s in self.scores.samples])
        self._of_label = {label: np.sort(image[self.labels == label]) for label in (0, 1, -1)}
        values = np.unique(image)
        beyond = 0.04 * float(np.ptp(values)) or 1.0
        between = (values[1:] + values[:-1]) / 2
        self.thresholds: list[float] = [values[0] - beyond, *between, values[-1] + beyond]

    def _sort_pixels(self) -> None:
        """What is known of pixels and regions, and the pixel thresholds: false positive rates even on a log scale."""
        self._maps, self._masks, self.pixel_thresholds = self.scores.pixel, None, list[float]()
        self.overlapping = self._measured.pro is not None
        if self._maps is None:
            return
        try:
            self._masks = self.scores.masks()
        except Undefined:
            normal = self._maps.ravel()
        else:
            normal = self._maps[~self._masks] if not self._masks.all() else self._maps.ravel()
            self._regions = find_regions(self._masks)
            self._defective = self._maps[self._masks]
        self.scale = map_range(self.scores)
        self._normal = np.sort(normal)
        above = np.unique((np.geomspace(1, LEAST, STOPS) * len(normal)).astype(int))
        exact = self._normal[np.maximum(len(normal) - above - 1, 0)].astype(float)
        exact[above == len(normal)] = np.nextafter(self._normal[0], -np.inf)
        self.pixel_thresholds = np.unique(exact).tolist()
        self._highest = max(float(self._maps.max()), self.pixel_thresholds[-1])

    def _draw_charts(self) -> None:
        low, high = self.thresholds[0], self.thresholds[-1]
        groups = {name: self._of_label[i] for name, i in (("good", 0), ("defective", 1), ("not known", -1))}
        self._histogram = Chart(lambda axes: _draw_histogram(axes[0], groups, low, high), (WIDE, SIDE))
        self._roc = self._pro = None
        if self._measured.image_auroc is not None:
            rates = roc(self.labels, self.scores.image)
            self._roc = Chart(lambda axes: _draw_roc(axes[0], *rates), (SIDE, SIDE))
        if self.overlapping:
            assert self._masks is not None and self._maps is not None
            curve = pro_curve(self._masks, self._maps)
            self._pro = Chart(lambda axes: _draw_pro(axes[0], *curve), (SIDE, SIDE))

    def _best_threshold(self) -> float:
        try:
            return self.thresholds[nearest(self.thresholds, f1_max(self.labels, self.scores.image).threshold)]
        except ValueError:  # one class only, or labels that are not known
            return self.thresholds[len(self.thresholds) // 2]

    @traitlets.validate("threshold")
    def _check_threshold(self, proposal: Any) -> float:
        return _within("threshold", proposal["value"], self.thresholds[0], self.thresholds[-1])

    @traitlets.validate("pixel_threshold")
    def _check_pixel_threshold(self, proposal: Any) -> float:
        value = proposal["value"]
        if self.pixel_thresholds:
            return _within("pixel_threshold", value, self.pixel_thresholds[0], self._highest)
        if not isnan(value):
            raise ValueError(f"these scores have no anomaly maps, so they take no pixel_threshold, got {value}")
        return value

    @traitlets.validate("picture")
    def _check_picture(self, proposal: Any) -> int:
        return _within("picture", proposal["value"], 0, len(self.labels) - 1)

    @traitlets.observe("threshold", "pixel_threshold")
    def _keep_as_stop(self, change: Any) -> None:
        stops = self.thresholds if change["name"] == "threshold" else self.pixel_thresholds
        if not isnan(change["new"]) and change["new"] not in stops:
            insort(stops, change["new"])

    def prepare(self) -> None:
        """Compute the intervals and read the pictures, before they are asked for."""
        self.intervals()
        for i in range(len(self.labels)):
            self._framed(i)

    def intervals(self) -> Evaluation:
        """The three metrics with their intervals, resampled when they are first asked for."""
        with self._one_at_a_time:
            if self._intervals is None:
                self._intervals = evaluate(self.scores)
            return self._intervals

    def counts(self) -> tuple[int, int, int, int]:
        """Good pictures that pass, false alarms, defective pictures that are found, and that are missed."""
        false = _above(self._of_label[0], self.threshold)
        found = _above(self._of_label[1], self.threshold)
        return len(self._of_label[0]) - false, false, found, len(self._of_label[1]) - found

    def pixel_rate(self, threshold: float) -> float:
        """Share of the normal pixels (of all, if no mask tells which are normal) that score above a threshold."""
        return _above(self._normal, threshold) / len(self._normal)

    def overlaps(self) -> np.ndarray:
        """(k,): the share of each defect region that is detected."""
        detected = self._defective > self.pixel_threshold
        regions = self._regions
        return np.bincount(regions.of_pixel, weights=detected, minlength=len(regions)) / regions.size

    def controls(self) -> list[Control]:
        pixels: list[Control] = []
        if self.pixel_thresholds:
            pixels.append(Slide("pixel_threshold", "Pixel threshold", self.pixel_thresholds, self._rate_in_words))
        return [
            Slide("threshold", "Picture threshold", self.thresholds, number),
            *pixels,
            Choose("picture", "Test picture", listed(self.scores.samples)),
            Switch("interval", "95 % intervals"),
        ]

    def words(self) -> str:
        found, i = self._judged(), self.picture
        lines = [
            self._counted(),
            self._metric("image AUROC", found.image_auroc, found.image_auroc_interval),
            self._detected(),
            "; ".join(
                (
                    self._metric("pixel AUROC", found.pixel_auroc, found.pixel_auroc_interval).rstrip("."),
                    self._metric(f"PRO up to {LIMIT:g}", found.pro, found.pro_interval),
                )
            )
            if self.overlapping
            else f"Pixel AUROC and PRO: {found.notes['PRO']}.",
            f"Test picture {i}, {self._kind()}: image score {short(float(self.scores.image[i]))}, "
            f"{'an alarm' if self.scores.image[i] > self.threshold else 'no alarm'}.{self._regions_in_words()}",
        ]
        return "\n".join(line for line in lines if line)

    def panels(self) -> list[Panel]:
        return [
            Panel(
                "Image scores, and the threshold",
                *self._marked_histogram(),
                point=lambda x, y: self._take("threshold", self._histogram.data_at(x, y)[0]),
                step=lambda across, down: self._move("threshold", across),
            ),
            self._roc_panel(),
            self._pro_panel(),
            self._picture_panel(),
            self._map_panel(),
        ]

    def _judged(self) -> Evaluation:
        return self.intervals() if self.interval else self._measured

    def _kind(self) -> str:
        return self.scores.samples[self.picture].defect or "unknown"

    def _metric(self, name: str, value: float | None, ends: tuple[float, float] | None) -> str:
        name = name[0].upper() + name[1:]
        if value is None:
            return f"{name}: {self._measured.notes[name[0].lower() + name[1:]]}."
        return f"{name} {value:.3f}{_ends(ends if self.interval else None)}."

    def _counted(self) -> str:
        passed, false, found, missed = self.counts()
        unknown = len(self._of_label[-1])
        parts = []
        if passed + false:
            rate = percent(false / (passed + false))
            parts.append(
                f"{passed} of {counted(passed + false, 'good picture')} pass, {false} raise a false alarm ({rate})"
            )
        if found + missed:
            rate = percent(found / (found + missed))
            parts.append(
                f"{found} of {counted(found + missed, 'defective picture')} are found ({rate}), {missed} missed"
            )
        if unknown:
            parts.append(f"{counted(unknown, 'picture')} not known to be good or defective")
        return f"Picture threshold {short(self.threshold)}: {'; '.join(parts)}."

    def _rate_in_words(self, threshold: float) -> str:
        rate = percent(self.pixel_rate(threshold))
        return f"{number(threshold)} ({f'FPR {rate}' if self._masks is not None else f'{rate} of pixels above'})"

    def _detected(self) -> str:
        if self._maps is None:
            return ""
        which = "normal pixels are false positives" if self._masks is not None else "all pixels lie above it"
        rate = percent(self.pixel_rate(self.pixel_threshold))
        text = f"Pixel threshold {short(self.pixel_threshold)}: {rate} of {which}"
        if not self.overlapping:
            return f"{text}."
        shares = self.overlaps()
        found, regions = int((shares > 0).sum()), counted(len(shares), "defect region")
        return (
            f"{text}; mean overlap with the {regions} {shares.mean():.2f}; {found} found, {len(shares) - found} missed."
        )

    def _regions_in_words(self) -> str:
        if not self.overlapping:
            return ""
        shares = self.overlaps()[self._regions.image == self.picture]
        found = int((shares > 0).sum())
        return f" {counted(len(shares), 'defect region')} in it: {found} found, {len(shares) - found} missed."

    def _take(self, trait: str, value: float) -> None:
        """Set a threshold to its stop that is nearest to a value."""
        stops = self._stops(trait)
        setattr(self, trait, stops[nearest(stops, value)])

    def _move(self, trait: str, by: int) -> None:
        stops = self._stops(trait)
        setattr(self, trait, stops[min(max(nearest(stops, getattr(self, trait)) + by, 0), len(stops) - 1)])

    def _stops(self, trait: str) -> list[float]:
        return self.thresholds if trait == "threshold" else self.pixel_thresholds

    def _marked_histogram(self) -> tuple[np.ndarray, str, int]:
        passed, false, found, missed = self.counts()
        canvas = self._histogram.canvas()
        self._histogram.upright(canvas, self.threshold)
        alt = (
            f"Histogram of image scores with the threshold at {short(self.threshold)}; above it {false} good and "
            f"{found} defective pictures, below it {passed} good and {missed} defective ones"
        )
        return canvas.pixels, alt, WIDE

    def _roc_panel(self) -> Panel:
        title = "ROC curve of pictures"
        if self._roc is None:
            return _nothing(title, self._measured.notes["image AUROC"])
        passed, false, found, missed = self.counts()
        at = false / (passed + false), found / (found + missed)
        canvas, judged = self._roc.canvas(), self._judged()
        canvas.ring(*self._roc.at(*at), MARK)
        _note(canvas, self._roc, (0.3, 0.16), "AUROC", judged.image_auroc, judged.image_auroc_interval, self.interval)
        alt = (
            f"ROC curve, image AUROC {judged.image_auroc:.3f}; the ring is at false alarms {percent(at[0])}, defects "
            f"found {percent(at[1])}"
        )
        return Panel(title, canvas.pixels, alt, SIDE, point=self._point_in_roc, step=self._step("threshold"))

    def _point_in_roc(self, x: float, y: float) -> None:
        """To the threshold whose point of the curve is nearest."""
        assert self._roc is not None
        rates = [[_above(s, stop) / len(s) for s in (self._of_label[0], self._of_label[1])] for stop in self.thresholds]
        apart = np.abs(np.array(rates) - self._roc.data_at(x, y)).sum(1)
        self.threshold = self.thresholds[int(apart.argmin())]

    def _step(self, trait: str) -> Any:
        """Along a curve: to the right and up the threshold falls."""
        return lambda across, down: self._move(trait, down - across)

    def _pro_panel(self) -> Panel:
        title = "PRO curve of pixels"
        if self._pro is None:
            return _nothing(title, self._measured.notes["PRO"])
        rate, overlap = self.pixel_rate(self.pixel_threshold), float(self.overlaps().mean())
        canvas, judged = self._pro.canvas(), self._judged()
        if rate <= LIMIT:
            canvas.ring(*self._pro.at(rate, overlap), MARK)
        else:
            canvas.text(*self._pro.at(0.19, 0.5), "now at the right\nof what is shown")
        _note(canvas, self._pro, (0.09, 0.16), f"PRO up to {LIMIT:g}", judged.pro, judged.pro_interval, self.interval)
        alt = (
            f"Mean overlap with defect regions over false positive pixels, PRO {judged.pro:.3f}; now overlap "
            f"{overlap:.2f} at a false positive rate of {percent(rate)}"
            + ("" if rate <= LIMIT else ", to the right of what is shown")
        )
        return Panel(title, canvas.pixels, alt, SIDE, point=self._point_in_pro, step=self._step("pixel_threshold"))

    def _point_in_pro(self, x: float, y: float) -> None:
        assert self._pro is not None
        rates = [self.pixel_rate(stop) for stop in self.pixel_thresholds]
        self.pixel_threshold = self.pixel_thresholds[nearest(rates, self._pro.data_at(x, y)[0])]

    def _picture_panel(self) -> Panel:
        title, alt = "Test picture, what is detected hatched", f"Test picture {self.picture} ({self._kind()})"
        if self._maps is None:
            alt += "; nothing marked, because this method gives no anomaly maps"
            return Panel(title, resized(self._framed(self.picture), SIDE, SIDE), alt, SIDE, photo=True)
        detected = int((self._maps[self.picture] > self.pixel_threshold).sum())
        alt += f"; {detected:,} detected pixels hatched"
        if self._masks is None:
            alt += "; no mask is known, so no defect is outlined"
        else:
            alt += f";{self._regions_in_words()}" if self.overlapping else "; no defect region"
        return Panel(title, self._marked(self.picture, self.pixel_threshold), alt, SIDE, photo=True)

    def _marked_picture(self, picture: int, threshold: float) -> np.ndarray:
        """The picture with what is detected hatched, and its true regions outlined."""
        assert self._maps is not None
        framed, detected = self._framed(picture), self._maps[picture] > threshold
        at = np.arange(SIDE) * len(detected) // SIDE
        canvas = Canvas(_hatched(resized(framed, SIDE, SIDE), detected[np.ix_(at, at)]), SIDE / len(framed))
        if self._masks is not None and self._masks[picture].any():
            self._outline_regions(canvas, picture)
        return canvas.pixels

    def _outline_regions(self, canvas: Canvas, picture: int) -> None:
        """Regions that are found with a full line, those that are missed with dashes; each with a word."""
        assert self._masks is not None
        mask, first = self._masks[picture], int(self._masks[:picture].sum())
        names = np.full(mask.shape, -1)
        names[mask] = self._regions.of_pixel[first : first + int(mask.sum())]
        for region in np.flatnonzero(self._regions.image == picture):
            found = self.overlaps()[region] > 0
            for line in find_contours(np.pad(names == region, 1), 0.5):
                for ink, width in (("black", 4), (OUTLINE, 2)):
                    for piece in _dashes(line[:, ::-1] - 0.5, found):
                        canvas.line(piece.tolist(), ink, width)
            top, left = np.argwhere(names == region).min(0)
            _label(canvas, left, top, "found" if found else "missed", len(names))

    def _map_panel(self) -> Panel:
        title = "Its anomaly map, on one scale for all"
        if self._maps is None:
            return _nothing(title, "this method gives no anomaly maps")
        shown = self._maps[self.picture]
        contoured = outlined(coloured(shown, self.scale), shown > self.pixel_threshold, WHITE, 1)
        alt = (
            f"Anomaly map of test picture {self.picture}, highest {short(float(shown.max()))}; a white line around "
            f"what exceeds {short(self.pixel_threshold)}"
        )
        return Panel(title, contoured, alt, SIDE, photo=True)


class MetricExplorer(Explorer):
    """What the metrics measure: move a threshold over pictures or pixels, and see what is counted.

    Takes what `MetricState` takes: `Scores`, and what to start with.
    """

    def __init__(self, scores: Scores, **chosen: Any) -> None:
        super().__init__(MetricState(scores, **chosen))


def _within(name: str, value: Any, low: float, high: float) -> Any:
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low:.6g}, {high:.6g}], got {value}")
    return value


def _above(rising: np.ndarray, threshold: float) -> int:
    """How many of the sorted values lie above the threshold."""
    return len(rising) - int(rising.searchsorted(rising.dtype.type(threshold), side="right"))


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})"


def _note(
    canvas: Canvas,
    chart: Chart,
    at: tuple[float, float],
    name: str,
    value: float | None,
    ends: tuple[float, float] | None,
    interval: bool,
) -> None:
    """Write a metric into its chart, with its interval if that is wanted."""
    words = f"{name}: {value:.3f}"
    if interval and ends is not None:
        words += "\n95 %: {:.3f} to {:.3f}".format(*ends)
    canvas.text(*chart.at(*at), words, 12)


def _nothing(title: str, reason: str) -> Panel:
    """A grey panel that says why there is nothing to see."""
    reason = reason.removeprefix("undefined: ")
    grey = np.full((SIDE, SIDE, 3), rgb("#d9d9d9"), np.uint8)
    canvas = Canvas(grey).text(16, 16, fill(f"Nothing to show: {reason}.", 36), 12)
    return Panel(title, canvas.pixels, f"Nothing to show: {reason}", SIDE)


def _hatched(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A copy of the picture with stripes where the mask is, and an edge around it."""
    stripes = np.add.outer(np.arange(len(mask)), np.arange(mask.shape[1])) % 9 < 2
    drawn = pixels.copy()
    drawn[mask & stripes] = rgb(MARK)
    return outlined(drawn, mask, MARK, 1)


def _dashes(line: np.ndarray, whole: bool) -> list[np.ndarray]:
    """A line (n, 2) as it is, or in pieces with gaps between them."""
    if whole:
        return [line]
    along = np.append(0, np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum())
    starts = np.arange(0, along[-1], 2 * DASH)
    places = [np.linspace(start, min(start + DASH, along[-1]), 8) for start in starts]
    return [np.stack([np.interp(p, along, line[:, 0]), np.interp(p, along, line[:, 1])], 1) for p in places]


def _label(canvas: Canvas, left: float, top: float, word: str, side: int) -> None:
    """A word above a place of the picture, or below the picture's upper edge, white on black."""
    step = side / SIDE
    x, y = min(left, side - 52 * step), max(top - 17 * step, 0)
    for across, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        canvas.text(x + across * step, y + down * step, word, 12)
    canvas.text(x, y, word, 12, WHITE)


def _draw_histogram(axes: Axes, groups: dict[str, np.ndarray], low: float, high: float) -> None:
    edges = np.linspace(low, high, BINS + 1).tolist()
    for (name, values), (colour, hatch) in zip(groups.items(), SETS, strict=True):
        if len(values):
            axes.hist(values, edges, label=name, color=colour, alpha=0.7, hatch=hatch)
    axes.set(xlabel="image score (above the line: alarm)", ylabel="pictures", xlim=(low, high))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: number(value))
    axes.legend(frameon=False, fontsize="small")


def _draw_roc(axes: Axes, false: np.ndarray, found: np.ndarray) -> None:
    axes.plot([0, 1], [0, 1], ":", color=GREY)
    axes.plot(false, found, color=BLUE)
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel="false alarms (share of good)")
    axes.set_ylabel("found (share of defective)")


def _draw_pro(axes: Axes, rate: np.ndarray, overlap: np.ndarray) -> None:
    inside = np.append(rate[rate < LIMIT], LIMIT)
    up = np.interp(inside, rate, overlap)
    up[:-1] = overlap[: len(up) - 1]  # where the curve is upright, several points share a rate
    axes.fill_between(inside, up, color=BLUE, alpha=0.15)
    axes.plot(inside, up, color=BLUE)
    axes.set(xlim=(-0.012, LIMIT * 1.04), ylim=(-0.04, 1.04), ylabel="mean overlap over regions")
    axes.set_xlabel("false positive rate (normal pixels)")
