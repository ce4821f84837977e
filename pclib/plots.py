"""What people look at: arrays in, figures out, in one style.

Anomaly maps are drawn on one scale per set of scores (`map_range`), never one per image: a good image then looks calm.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image
from scipy.ndimage import binary_dilation

from pclib.detector import Explanation, Neighbor, Scores
from pclib.framing import Box, Framing
from pclib.samples import GOOD, Category, Sample

MAP_COLOURS = "magma"  # even steps in lightness: reads the same in grey and for colour-blind eyes
OUTLINE, MARK = "#00c2ff", "#ffb000"
BLUE, ORANGE, GREEN, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777"
SETS = ((BLUE, ""), (ORANGE, "//"), (GREEN, "xx"))  # colour and hatching
MAPS_LOOKED_AT = 250  # at most, to choose a colour scale
CONTEXT = 32  # pixels around a patch that its close-up shows


@contextmanager
def style() -> Iterator[None]:
    """The look shared by all figures."""
    with (
        sns.axes_style("white"),
        sns.plotting_context("notebook", font_scale=0.85),
        plt.rc_context({"figure.dpi": 100}),
    ):
        yield


def map_range(scores: Scores) -> tuple[float, float]:
    """One colour scale for all maps of a set: from its median pixel to its 99.9th percentile.

    Of many maps, evenly spaced ones are looked at.

    Raises ValueError if there are no maps.
    """
    if scores.maps is None:
        raise ValueError("these scores have no anomaly maps to draw")
    low, high = np.quantile(scores.maps[:: -(-len(scores.maps) // MAPS_LOOKED_AT)], (0.5, 0.999))
    return float(low), float(high)


def show_image(sample: Sample, framing: Framing, ax: Axes, mask: bool = True, margin: int = 0) -> None:
    """The framed picture, its defect outlined if its mask is known, `margin` pixels outside of it."""
    ax.imshow(framing.image(sample.load()))
    known = sample.load_mask() if mask else None
    if known is not None and sample.defect != GOOD:
        outlined = framing.mask(known)
        if margin:
            outlined = binary_dilation(outlined, iterations=margin)
        ax.contour(outlined, levels=[0.5], colors=OUTLINE, linewidths=1.2)
    _bare(ax)


def show_map(anomaly_map: np.ndarray, scale: tuple[float, float], ax: Axes, threshold: float | None = None) -> None:
    """One anomaly map on a fixed scale, with a contour where it exceeds a threshold."""
    ax.imshow(anomaly_map, cmap=MAP_COLOURS, vmin=scale[0], vmax=scale[1])
    if threshold is not None and anomaly_map.max() > threshold > anomaly_map.min():
        ax.contour(anomaly_map, levels=[threshold], colors="white", linewidths=0.8)
    _bare(ax)


def contact_sheet(samples: Sequence[Sample], framing: Framing, columns: int = 6, mask: bool = True) -> Figure:
    """Framed pictures with their defects outlined, row after row."""
    rows = -(-len(samples) // columns)
    with style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(1.9 * columns, 2.2 * rows), squeeze=False, layout="constrained"
        )
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, sample in zip(axes.flat, samples, strict=False):
            show_image(sample, framing, ax, mask)
            _title(ax, _kind(sample))
    return figure


def catalogue(categories: Sequence[Category], columns: int = 9) -> Figure:
    """One row per category: good training pictures, then the first picture of each kind of defect, outlined."""
    with style():
        figure, axes = plt.subplots(
            len(categories),
            columns,
            figsize=(1.55 * columns, 1.78 * len(categories)),
            squeeze=False,
            layout="constrained",
        )
        for ax in axes.flat:
            ax.set_axis_off()
        for row, category in zip(axes, categories, strict=True):
            bad = [next(s for s in category.test if s.defect == kind) for kind in category.defects]
            good = category.train[: max(1, columns - len(bad))]
            for ax, sample in zip(row, [*good, *bad], strict=False):
                show_image(sample, Framing(None, min(sample.size)), ax, margin=5)
                _title(ax, _kind(sample))
            row[0].set_title("")  # the category's name stands where the others say "good"
            row[0].set_title(category.name.rsplit("/", 1)[-1], fontweight="bold", loc="left")
    return figure


def tiles(
    pictures: Sequence[Image.Image | np.ndarray], titles: Sequence[str], columns: int, side: float = 1.9
) -> Figure:
    """Pictures (h, w, 3) or grey (h, w), each under its title, row after row; grey from 0 (or False) to the largest."""
    rows = -(-len(pictures) // columns)
    with style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(side * columns, (side + 0.3) * rows), squeeze=False, layout="constrained"
        )
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, picture, title in zip(axes.flat, pictures, titles, strict=False):
            ax.imshow(picture, cmap="gray", vmin=0)
            _title(ax, title)
    return figure


def defects(samples: Sequence[Sample], framing: Framing) -> Figure:
    """Defective pictures with their masks outlined, above close-ups that show the defects themselves.

    Raises ValueError for a sample whose mask is not known, or whose defect the crop cuts off.
    """
    with style():
        figure, axes = plt.subplots(
            2, len(samples), figsize=(2.2 * len(samples), 4.9), squeeze=False, layout="constrained"
        )
        for column, sample in zip(axes.T, samples, strict=True):
            mask = sample.load_mask()
            framed = np.argwhere(framing.mask(mask)) if mask is not None else np.empty((0, 2))
            if not len(framed):
                raise ValueError(f"{sample.name}: no mask within the crop to draw a close-up of")
            (top, left), (bottom, right) = framed.min(0), framed.max(0) + 1
            show_image(sample, framing, column[0])
            _title(column[0], _kind(sample))
            _close_up(sample, framing, Box(top, left, bottom, right), column[1], outline=False)
    return figure


def gallery(
    scores: Scores,
    indices: Sequence[int],
    scale: tuple[float, float] | None = None,
    threshold: float | None = None,
) -> Figure:
    """Pictures, not outlined, above their anomaly maps on one scale; one column per sample."""
    scale = scale or map_range(scores)
    maps = scores.maps
    assert maps is not None  # map_range refused scores without maps
    with style():
        figure, axes = plt.subplots(
            2, len(indices), figsize=(1.9 * len(indices) + 0.9, 4.2), squeeze=False, layout="constrained"
        )
        for column, i in zip(axes.T, indices, strict=True):
            sample = scores.samples[i]
            show_image(sample, scores.framing, column[0], mask=False)
            show_map(maps[i], scale, column[1], threshold)
            _title(column[0], f"{_kind(sample)}\n{number(scores.image[i])}")
        _colour_bar(figure, axes[1], axes[1, -1], threshold)
    return figure


def score_histogram(scores: Scores, threshold: float | None = None) -> Figure:
    """Image scores of good and defective samples, and the threshold, which is the edge of a bin."""
    labels = np.array([sample.label for sample in scores.samples])
    width = float(np.ptp(scores.image)) / 24 or 1.0
    low = scores.image.min() if threshold is None else threshold  # no bin may straddle the threshold
    bins = low + width * np.arange(np.floor((scores.image.min() - low) / width), (scores.image.max() - low) / width + 2)
    with style():
        figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
        for label, name, colour, hatch in ((0, "good", BLUE, ""), (1, "defective", ORANGE, "//")):
            ax.hist(scores.image[labels == label], bins.tolist(), label=name, color=colour, alpha=0.75, hatch=hatch)
        if threshold is not None:
            ax.axvline(threshold, color="black", linestyle="--", label="threshold")
        ax.set(xlabel="image score", ylabel="images")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        ax.legend(frameon=False)
        sns.despine(ax=ax)
    return figure


def histograms(
    panels: Mapping[str, Mapping[str, Sequence[float] | np.ndarray]],
    counted: str,
    line: tuple[str, Sequence[float]] | None = None,
    band: tuple[str, Sequence[tuple[float, float]]] | None = None,
    bins: int = 40,
) -> Figure:
    """A panel for each quantity with a histogram of each named set of its values; sets differ in hatching too.

    panels      {what is on the axis, with its unit: {name of a set: values}}; the same names, up to three, in each
    counted     what the bars count
    line, band  a name, and for each panel where a dashed line or a grey band lies
    """
    with style():
        figure, axes = plt.subplots(
            1, len(panels), figsize=(max(6.0, 4.2 * len(panels)), 2.8), squeeze=False, layout="constrained"
        )
        for i, (ax, (axis, sets)) in enumerate(zip(axes[0], panels.items(), strict=True)):
            edges = np.histogram_bin_edges(np.concatenate([np.asarray(values) for values in sets.values()]), bins)
            for (name, values), (colour, hatch) in zip(sets.items(), SETS, strict=False):
                ax.hist(values, edges.tolist(), label=name, color=colour, alpha=0.65, hatch=hatch)
            if line:
                ax.axvline(line[1][i], color="black", linestyle="--", label=line[0])
            if band:
                ax.axvspan(*band[1][i], color=GREY, alpha=0.2, label=band[0])
            ax.set(xlabel=axis, ylabel=counted)
            ax.xaxis.set_major_locator(MaxNLocator(6))
            sns.despine(ax=ax)
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, frameon=False, ncols=len(names), loc="outside upper center")
    return figure


def dots(
    values: Mapping[tuple[str, str], float],
    apart: Collection[tuple[str, str]],
    groups: tuple[str, str],
    axis: str,
    named_below: float,
    line: float | None = None,
) -> Figure:
    """Numbers known by (row, kind) as dots, a line of them for each row; those in `apart` are orange diamonds.

    groups       what the others, blue circles, and what those in `apart` are called
    named_below  dots below this bear their kind's name
    line         where a dotted line lies
    """
    rows = list(dict.fromkeys(row for row, _ in values))
    with style():
        figure, ax = plt.subplots(figsize=(8.5, 0.45 * len(rows) + 0.7), layout="constrained")
        for is_apart, colour, marker in ((False, BLUE, "o"), (True, ORANGE, "D")):
            mine = {known: value for known, value in values.items() if (known in apart) == is_apart}
            places = [rows.index(row) for row, _ in mine]
            ax.plot([*mine.values()], places, marker, color=colour, alpha=0.7, label=groups[is_apart])
        for (row, kind), value in values.items():
            if value < named_below:
                at = (value, rows.index(row))
                ax.annotate(kind.replace("_", " "), at, (0, 6), textcoords="offset points", ha="center")
        if line is not None:
            ax.axvline(line, color="grey", linestyle=":")
        ax.set(xlabel=axis, yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.7))
        ax.legend(frameon=False, loc="upper left")
        sns.despine(ax=ax)
    return figure


def explanation(found: Explanation, scale: tuple[float, float], threshold: float | None = None) -> Figure:
    """Why a pixel is scored as it is: picture, map, the patch close up, and the good patches nearest to it."""
    with style():
        shown = 3 + len(found.neighbors)
        figure, axes = plt.subplots(1, shown, figsize=(2.05 * shown + 0.6, 2.6), layout="constrained")
        show_image(found.sample, found.framing, axes[0])
        _outline(axes[0], found.receptive[next(iter(found.receptive))], dashed=True)
        _outline(axes[0], found.box)
        _title(axes[0], f"{_kind(found.sample)}\n{_short(found.sample.name)}")
        show_map(found.map, scale, axes[1], threshold)
        _outline(axes[1], found.box)
        _title(axes[1], "anomaly map\nfixed scale")
        _close_up(found.sample, found.framing, found.box, axes[2])
        _title(axes[2], f"this patch\nscore {number(found.score)}")
        for ax, neighbor in zip(axes[3:], found.neighbors, strict=True):
            _show_neighbor(neighbor, found.framing, ax)
        _colour_bar(figure, axes[1], axes[1], threshold)
    return figure


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure as notebooks show it: a small image with its alt text, which also stands in for it as plain text.

    As HTML, because notebook viewers give images of their own no alt text, whatever the metadata say.
    """

    data: bytes = field(repr=False)
    kind: Literal["png", "jpeg"]
    alt: str

    def __repr__(self) -> str:
        return f"[figure: {self.alt}]"

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.data).decode()
        return f'<img src="data:image/{self.kind};base64,{data}" alt="{html.escape(self.alt, quote=True)}">'


def with_alt(figure: Figure, alt: str, dpi: int = 80, kind: Literal["png", "jpeg"] = "png") -> Picture:
    """The figure as a small image, and closed. `alt` says what there is to see; "jpeg" is for many photographs."""
    drawn, small = io.BytesIO(), io.BytesIO()
    save_png(figure, drawn, dpi)
    with Image.open(drawn) as image:  # without a palette, which would distort the colour scale
        image.convert("RGB").save(small, kind, optimize=True, quality=85)
    return Picture(small.getvalue(), kind, alt)


def save_png(figure: Figure, target: Path | BinaryIO, dpi: int = 110) -> None:
    """Write the figure without its empty margins, and close it."""
    figure.savefig(target, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)


def number(value: float) -> str:
    """A score as people read it: 16,450 or 0.0123, never 1.645e+04."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def describe(found: Explanation) -> str:
    """The explanation figure in words, for its alt text."""
    nearest = found.neighbors[0]
    return (
        f"{found.sample.name} ({_kind(found.sample)}), its anomaly map, and the patch at row {found.row}, column "
        f"{found.col} beside the {len(found.neighbors)} good patches nearest to it; the nearest comes from "
        f"{nearest.name}, at distance {number(nearest.distance)}"
    )


def _show_neighbor(neighbor: Neighbor, framing: Framing, ax: Axes) -> None:
    if neighbor.sample is None:
        ax.text(0.5, 0.5, "picture not\nat hand", ha="center", va="center", transform=ax.transAxes)
        _bare(ax)
    else:
        _close_up(neighbor.sample, framing, neighbor.box, ax)
    _title(ax, f"good: {_short(neighbor.name)}\ndistance {number(neighbor.distance)}")


def _close_up(sample: Sample, framing: Framing, box: Box, ax: Axes, outline: bool = True) -> None:
    """The surroundings of a place, the place outlined."""
    ax.imshow(framing.image(sample.load()))
    if outline:
        _outline(ax, box)
    reach = min(CONTEXT, framing.crop / 2)  # and the view stays inside the picture
    row, col = (
        np.clip((first + last) / 2, reach, framing.crop - reach)
        for first, last in ((box.top, box.bottom), (box.left, box.right))
    )
    ax.set_xlim(col - reach - 0.5, col + reach - 0.5)
    ax.set_ylim(row + reach - 0.5, row - reach - 0.5)
    _bare(ax)


def _outline(ax: Axes, box: Box, dashed: bool = False) -> None:
    line = {"linestyle": "--", "linewidth": 1.0} if dashed else {"linestyle": "-", "linewidth": 1.8}
    corner = (box.left - 0.5, box.top - 0.5)
    ax.add_patch(
        Rectangle(corner, box.right - box.left, box.bottom - box.top, fill=False, edgecolor=MARK, **line)  # type: ignore[arg-type]
    )


def _colour_bar(figure: Figure, axes: Axes | np.ndarray, shown: Axes, threshold: float | None) -> None:
    """The scale of the maps, with the threshold marked as it is in them: in white."""
    bar = figure.colorbar(shown.images[0], ax=axes, shrink=0.8, pad=0.02, extend="both")
    bar.set_label("anomaly score", fontsize="small")
    bar.formatter = FuncFormatter(lambda value, _: number(value))
    if threshold is not None:
        bar.ax.axhline(threshold, color="white", linewidth=1.2)


def _title(ax: Axes, text: str) -> None:
    text = text.encode("utf-8", "backslashreplace").decode()  # names may not be UTF-8,
    ax.set_title(text, parse_math=False)  # and may hold a $


def _kind(sample: Sample) -> str:
    return (sample.defect or "unknown").replace("_", " ")


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _bare(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    sns.despine(ax=ax, left=True, bottom=True)
