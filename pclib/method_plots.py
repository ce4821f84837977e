"""Figures of the lesson on the methods next door: arrays and scores in, figures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pclib.detector import Scores
from pclib.framing import Framing
from pclib.lesson_plots import LINES
from pclib.plots import BLUE, GREEN, MAP_COLOURS, ORANGE, map_range, show_image, show_map, style
from pclib.samples import Sample
from pclib.table_plots import look

FAR = 50  # a ratio that a linear axis does not show
KINDS = (("good, learned from", BLUE, "o"), ("good, new", GREEN, "s"), ("defective", ORANGE, "^"))


def answers(found: Mapping[str, Scores], which: Sequence[int]) -> Figure:
    """Some pictures, a row for each, and what several methods say of them, a column for each.

    The scores are of the same pictures. A method without maps fills its square with one colour, that of the image
    score. Each method has its own scale: of its maps, `map_range`; of image scores, the lowest to the upper tenth.
    """
    first = next(iter(found.values()))
    with style():
        figure, axes = plt.subplots(
            len(which),
            1 + len(found),
            figsize=(1.6 * (1 + len(found)), 1.75 * len(which)),
            squeeze=False,
            layout="constrained",
        )
        for line, i in zip(axes, which, strict=True):
            show_image(first.samples[i], first.framing, line[0])
            line[0].set_ylabel((first.samples[i].defect or "unknown").replace("_", " "))
            for ax, scores in zip(line[1:], found.values(), strict=True):
                if scores.maps is not None:
                    show_map(scores.maps[i], map_range(scores), ax)
                else:
                    scale = float(scores.image.min()), float(np.quantile(scores.image, 0.9))
                    show_map(np.full((2, 2), scores.image[i]), scale, ax)
        axes[0, 0].set_title("picture")
        for ax, name in zip(axes[0, 1:], found, strict=True):
            ax.set_title(name)
    return figure


def plane(
    groups: Sequence[np.ndarray],
    labels: tuple[str, str],
    mean: np.ndarray,
    covariance: np.ndarray,
    named: Mapping[str, np.ndarray],
    distance: float = 3.0,
) -> Figure:
    """Pictures as points of a plane, with an ellipse of one Mahalanobis distance, and a circle through a named point.

    groups  (n, 2) each: good ones that were learned from, new good ones, defective ones
    named   points (2,) that get a letter; the circle around the mean goes through the first
    """
    with style():
        figure, ax = plt.subplots(figsize=(5.6, 5.2), layout="constrained")
        _points(ax, groups)
        turn = np.linspace(0, 2 * np.pi, 200)
        circle = np.stack([np.cos(turn), np.sin(turn)])
        ellipse = mean[:, None] + distance * np.linalg.cholesky(covariance) @ circle
        letter, point = next(iter(named.items()))
        ring = mean[:, None] + np.linalg.norm(point - mean) * circle
        ax.plot(*ellipse, "-", color="black", linewidth=1.2, label=f"Mahalanobis distance {distance:g}")
        ax.plot(*ring, ":", color="black", linewidth=1.4, label=f"as far as {letter} by Euclid")
        ax.plot(*mean, "+", color="black", markersize=11, markeredgewidth=2, label="mean")
        for letter, (x, y) in named.items():
            ax.annotate(letter, (x, y), (9, 7), textcoords="offset points", fontweight="bold", fontsize="large")
            ax.plot(x, y, "o", color="none", markeredgecolor="black", markersize=12)
        ax.set(xlabel=labels[0], ylabel=labels[1], aspect="equal")
        _outside_legend(figure, ax, 2)
    return figure


def boundaries(
    groups: Sequence[np.ndarray],
    labels: tuple[str, str],
    outside: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    support: Mapping[str, np.ndarray],
) -> Figure:
    """Pictures as points of a plane, and a boundary around the good ones: a panel for each function.

    groups as in `plane`; outside: title -> score of points (n, 2), 0 on the boundary; support (s, 2): points to ring.
    """
    everything = np.concatenate(groups)
    low, high = everything.min(0), everything.max(0)
    low, high = low - 0.12 * (high - low), high + 0.12 * (high - low)
    x, y = np.meshgrid(*(np.linspace(a, b, 160) for a, b in zip(low, high, strict=True)))
    with style():
        figure, axes = plt.subplots(
            1, len(outside), figsize=(4.3 * len(outside), 3.9), sharex=True, sharey=True, layout="constrained"
        )
        for ax, (title, score) in zip(np.atleast_1d(axes), outside.items(), strict=True):
            values = score(np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)
            ax.contourf(x, y, values, levels=[values.min() - 1, 0], colors=[BLUE], alpha=0.12)
            ax.contour(x, y, values, levels=[0], colors="black", linewidths=1.4)
            _points(ax, groups)
            ax.plot(*support[title].T, "o", color="none", markeredgecolor="black", markersize=10, label="support")
            ax.set(title=title, xlabel=labels[0])
        np.atleast_1d(axes)[0].set_ylabel(labels[1])
        _outside_legend(figure, np.atleast_1d(axes)[0], 4)
    return figure


def spectra(found: Mapping[str, np.ndarray], ylabel: str) -> Figure:
    """Variances along directions, from the largest, one line per name; those that are zero are left out."""
    with style():
        figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
        for (name, values), (colour, marker, dashes) in zip(found.items(), LINES, strict=False):
            shown = np.where(values > 1e-9 * values.max(), values, np.nan)
            x = np.arange(1, len(values) + 1)
            ax.plot(x, shown, marker + dashes, linewidth=1, markersize=3.5, color=colour, label=name)
        ax.set(yscale="log", xlabel="direction", ylabel=ylabel)
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def alike(query: Sample, found: Mapping[str, Sample], anomaly_map: np.ndarray, framing: Framing) -> Figure:
    """A picture, good ones under titles of their own, and the picture's anomaly map."""
    with style():
        figure, axes = plt.subplots(1, len(found) + 2, figsize=(1.75 * (len(found) + 2), 2.2), layout="constrained")
        show_image(query, framing, axes[0])
        axes[0].set_title(query.defect or "unknown", fontweight="bold")
        for ax, (title, sample) in zip(axes[1:-1], found.items(), strict=True):
            show_image(sample, framing, ax)
            ax.set_title(title)
        show_map(anomaly_map, (float(np.median(anomaly_map)), float(anomaly_map.max())), axes[-1])
        axes[-1].set_title("its map")
    return figure


def places(panels: Mapping[str, np.ndarray]) -> Figure:
    """Pictures (h, w, 3) as they are, and numbers over the grid of places (h, w) with a colour bar each."""
    with style():
        figure, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels), 2.9), layout="constrained")
        for ax, (title, values) in zip(axes, panels.items(), strict=True):
            shown = ax.imshow(values, cmap=MAP_COLOURS if "distance" in title else "cividis")
            if values.ndim == 2:
                figure.colorbar(shown, ax=ax, shrink=0.8)
            ax.set(xticks=[], yticks=[], title=title)
    return figure


def curves(
    panels: Mapping[str, Mapping[str, Mapping[float, float]]], xlabel: str, ylabel: str, *, log: bool = False
) -> Figure:
    """A panel per title, a line per name: numbers over numbers."""
    with style():
        figure, axes = plt.subplots(
            1, len(panels), figsize=(3.1 * len(panels), 3.1), sharey=True, squeeze=False, layout="constrained"
        )
        for ax, (title, lines) in zip(axes[0], panels.items(), strict=True):
            for (name, points), (colour, marker, dashes) in zip(lines.items(), LINES, strict=False):
                ax.plot(list(points), list(points.values()), marker + dashes, color=colour, label=name)
            if log:
                ax.set_xscale("log")
                ax.minorticks_off()
            ticks = list(next(iter(lines.values())))
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.set(title=title, xlabel=xlabel)
            ax.grid(axis="y", linewidth=0.4)
            ax.spines[["top", "right"]].set_visible(False)
        axes[0, 0].set_ylabel(ylabel)
        _outside_legend(figure, axes[0, 0], 4)
    return figure


def ladder(
    rungs: Sequence[str],
    panels: Mapping[str, Mapping[str, Sequence[float | None]]],
    bars: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Figure:
    """What each step of a method brings: rungs from top to bottom, a panel per metric, a line per category.

    panels: metric -> category -> percent for each rung, None where it is not defined, which breaks the line. bars:
    category -> ends of the intervals in the first panel, NaN for none.
    """
    with style():
        figure, axes = plt.subplots(
            1,
            len(panels),
            figsize=(2.1 + 3.1 * len(panels), 0.42 * len(rungs) + 1.1),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        rows = np.arange(len(rungs))
        for ax, (metric, categories) in zip(axes[0], panels.items(), strict=True):
            for j, ((name, values), (colour, marker, dashes)) in enumerate(
                zip(categories.items(), LINES, strict=False)
            ):
                x = np.array([np.nan if value is None else value for value in values], dtype=float)
                ax.plot(x, rows, marker + dashes, color=colour, label=name)
                if bars is not None and ax is axes[0, 0]:
                    ends = np.array(bars[name]).T
                    ax.hlines(rows + 0.12 * (j - 1), *ends, color=colour, linewidth=4, alpha=0.35)
            ax.set(xlabel=f"{metric} (%)", yticks=rows, ylim=(len(rungs) - 0.6, -0.4))
            ax.grid(axis="both", linewidth=0.4)
            ax.spines[["top", "right"]].set_visible(False)
        axes[0, 0].set_yticklabels(rungs)
        _outside_legend(figure, axes[0, 0], 4)
    return figure


def costs(
    quality: Mapping[str, float], panels: Mapping[str, Mapping[str, float]], ylabel: str = "image AUROC, mean (%)"
) -> Figure:
    """Quality over several costs, a panel for each, on a logarithmic axis where they lie `FAR` or more apart."""
    with style():
        figure, axes = plt.subplots(
            1, len(panels), figsize=(3.2 * len(panels), 3.4), sharey=True, squeeze=False, layout="constrained"
        )
        for ax, (label, spent) in zip(axes[0], panels.items(), strict=True):
            for i, (name, value) in enumerate(quality.items()):
                colour, marker = look(i)
                ax.plot(spent[name], value, marker, color=colour, markersize=8, linestyle="none", label=name)
            if max(spent.values()) > FAR * min(spent.values()):
                ax.set_xscale("log")
                ax.minorticks_off()
            else:
                ax.set_xlim(0)
            ax.set_xlabel(label)
            ax.grid(linewidth=0.4)
            ax.spines[["top", "right"]].set_visible(False)
        axes[0, 0].set_ylabel(ylabel)
        _outside_legend(figure, axes[0, 0], len(quality))
    return figure


def intervals(lines: pd.DataFrame, metric: str, baseline: Mapping[str, float]) -> Figure:
    """Measured values with their intervals, from `tables.compare`: a panel per category, a line per method.

    baseline: category -> what is to be beaten, as a dashed line.
    """
    lines = lines[lines.metric == metric]
    categories, methods = (list(dict.fromkeys(lines[column])) for column in ("category", "method"))
    with style():
        figure, axes = plt.subplots(
            1,
            len(categories),
            figsize=(1.6 + 2.3 * len(categories), 0.34 * len(methods) + 1.2),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for ax, category in zip(axes[0], categories, strict=True):
            mine = lines[lines.category == category].set_index("method").loc[methods]
            for row, method in enumerate(methods):
                colour, marker = look(row)
                value, low, high = mine.loc[method, ["measured", "low", "high"]]
                ax.hlines(row, low, high, color=colour, linewidth=2)
                ax.plot(value, row, marker, color=colour, markersize=7)
            ax.axvline(baseline[category], color="black", linestyle="--", linewidth=1)
            ax.set(title=category, xlabel=f"{metric} (%)", yticks=range(len(methods)))
            ax.grid(axis="x", linewidth=0.4)
            ax.spines[["top", "right"]].set_visible(False)
        axes[0, 0].set(yticklabels=methods, ylim=(len(methods) - 0.5, -0.5))
    return figure


def _points(ax: Axes, groups: Sequence[np.ndarray]) -> None:
    for points, (name, colour, marker) in zip(groups, KINDS, strict=True):
        ax.plot(*points.T, marker, color=colour, alpha=0.75, markersize=5, linestyle="none", label=name)


def _outside_legend(figure: Figure, ax: Axes, columns: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=columns, loc="outside upper center")
