"""Figures of tables S1-S4: numbers as a heat map, who stands where, and what lies between two columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from pclib.plots import style
from pclib.published import AVERAGE, CATEGORIES, ranking

COLOURS = "cividis"  # even steps in lightness, made for colour-blind eyes
SHOWN = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vP"
GREY = "#9a9a9a"


def look(i: int) -> tuple[str, str]:
    """Colour and marker of the i-th method: a pair of its own for each of the first 36."""
    return SHOWN[i % len(SHOWN)], MARKERS[(i + i // len(SHOWN)) % len(MARKERS)]


def heat_map(frame: pd.DataFrame, metric: str, lowest: float) -> Figure:
    """A table as coloured cells, each with its number; everything up to `lowest` percent has the darkest colour.

    Rows and columns as in the frame; cells without a number are left white with a dash.
    """
    names = [", ".join(name) if isinstance(name, tuple) else str(name) for name in frame.index]
    with style():
        figure, ax = plt.subplots(
            figsize=(0.62 * len(frame.columns) + 2.6, 0.34 * len(frame) + 1.3), layout="constrained"
        )
        scale = Normalize(lowest, 100)
        drawn = ax.imshow(frame.to_numpy(float), cmap=COLOURS, norm=scale, aspect="auto")
        for (row, column), value in np.ndenumerate(frame.to_numpy(float)):
            dark = value == value and scale(value) < 0.6
            text = f"{value:.1f}" if value == value else "–"
            ax.text(column, row, text, ha="center", va="center", fontsize="x-small", color="white" if dark else "black")
        ax.set(xticks=range(len(frame.columns)), yticks=range(len(names)), yticklabels=names)
        ax.set_xticklabels([str(name).replace("_", " ") for name in frame.columns], rotation=40, ha="left")
        ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
        ax.axvline(0.5, color="white", linewidth=3)  # sets the average apart
        figure.colorbar(drawn, ax=ax, label=f"{metric} (%)", extend="min", pad=0.01)
    return figure


def ranks(table: str, rows: Sequence[str], metric: str | None = None) -> Figure:
    """The place of each method in each category, 1 the best; the named rows in colour, the others grey.

    A vertical line spans the places that are possible, given that both numbers were rounded. `metric` picks one of
    S4's.
    """
    with style():
        figure, ax = plt.subplots(figsize=(10, 4.2), layout="constrained")
        columns = [AVERAGE, *CATEGORIES]
        found = [ranking(table, category) for category in columns]
        found = [frame.xs(metric, level="metric") if metric else frame for frame in found]
        others = [name for name in found[0].index if name not in rows]
        for k, name in enumerate([*others, *rows]):
            shown = name in rows
            i = list(rows).index(name) if shown else 0
            places = [frame.loc[name] if name in frame.index else None for frame in found]
            x = np.arange(len(columns)) + (0.16 * (i - (len(rows) - 1) / 2) if shown else 0)
            y = [np.nan if place is None else place["rank"] for place in places]
            colour, marker = look(i) if shown else (GREY, ".")
            ax.plot(
                *(x, y),
                marker=marker,
                linestyle="none" if shown else ":",
                color=colour,
                alpha=1 if shown else 0.45,
                linewidth=0.8,
                label=name if shown else ("other methods" if k == 0 else None),
            )
            for at, place in zip(x, places, strict=True):
                if shown and place is not None and place["worst rank"] > place["best rank"]:
                    ax.plot([at, at], place[["best rank", "worst rank"]], color=colour, linewidth=1.4)
        ax.invert_yaxis()
        _categories(ax, columns)
        ax.set_ylabel("place (1 is best)")
        ax.axvline(0.5, color="black", linewidth=0.6)
        ax.legend(frameon=False, ncols=len(rows) + 1, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def intervals(lines: pd.DataFrame, metric: str) -> Figure:
    """Measured values with their intervals, from `tables.compare`; beside published ones as differences from them.

    One colour and marker for each method; what is not measured is left out.
    """
    beside = "published" in lines
    lines = lines[(lines.metric == metric) & (lines.seeds > 0)]
    categories = list(dict.fromkeys(lines.category))
    methods = list(dict.fromkeys(lines.method))
    apart = min(0.18, 0.8 / max(1, len(methods)))  # of the way from one category to the next
    wide = max(0.62, 0.18 * len(methods)) * len(categories) + 2
    with style():
        figure, ax = plt.subplots(figsize=(max(5.0, wide), 3.4), layout="constrained")
        for i, method in enumerate(methods):
            mine = lines[lines.method == method]
            x = np.array([categories.index(c) for c in mine.category]) + apart * (i - (len(methods) - 1) / 2)
            value = mine.difference if beside else mine.measured
            ends = np.maximum(0, [mine.measured - mine.low, mine.high - mine.measured])
            colour, marker = look(i)
            ax.errorbar(x, value, ends, fmt=marker, color=colour, capsize=2, linewidth=1.2, label=method)
        if beside:
            ax.axhline(0, color="black", linewidth=0.8)
        _categories(ax, categories)
        ax.set_ylabel(f"{metric}: measured less published (points)" if beside else f"{metric} (%)")
        ax.legend(frameon=False, ncols=min(4, max(1, len(methods))), loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def against(right: pd.Series, up: pd.Series, labels: tuple[str, str], title: str) -> Figure:
    """Two columns of numbers against each other, a named point for each category."""
    with style():
        figure, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
        ax.scatter(right, up, color=SHOWN[0])
        ax.set(xlabel=labels[0], ylabel=labels[1], title=title)
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.1)
        figure.canvas.draw()
        points = ax.transData.transform(np.column_stack([right, up]))
        taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in points]
        for name in right.index:
            for across, above in ((6, 0), (-6, 0), (0, 9), (0, -9)):  # to the right if there is room
                label = ax.annotate(
                    name.replace("_", " "),
                    (right[name], up[name]),
                    xytext=(across, above),
                    textcoords="offset points",
                    fontsize="x-small",
                    ha="left" if across > 0 else "right" if across < 0 else "center",
                    va="center",
                )
                box = label.get_window_extent()
                if not any(box.overlaps(other) for other in taken):
                    break
                if above >= 0:  # the last place is kept whatever lies there
                    label.remove()
            taken.append(box)
    return figure


def steps(before: pd.DataFrame, after: pd.DataFrame, names: tuple[str, str]) -> Figure:
    """What changes from one set of numbers to another: a panel for each metric, an arrow for each category.

    before, after  rows metrics, columns categories (and Avg); percent. Columns that either lacks are left out.
    """
    columns = [c for c in after.columns if c in before.columns]
    with style():
        figure, axes = plt.subplots(
            1,
            len(after),
            figsize=(3.5 * len(after), 0.3 * len(columns) + 1.3),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for ax, metric in zip(axes[0], after.index, strict=True):
            for row, column in enumerate(columns):
                old, new = before.loc[metric, column], after.loc[metric, column]
                colour, marker = (SHOWN[0], ">") if new > old else (SHOWN[1], "<")
                ax.plot(old, row, marker="o", color=GREY, markersize=5)
                if new != old:
                    ax.plot([old, new], [row, row], color=colour, linewidth=2, alpha=0.6)
                    ax.plot(new, row, marker=marker, color=colour, markersize=7)
            ax.set(xlabel=f"{metric} (%)", yticks=range(len(columns)), ylim=(len(columns) - 0.5, -0.5))
            ax.set_yticklabels([str(c).replace("_", " ") for c in columns])
            ax.grid(axis="x", linewidth=0.4)
            ax.spines[["top", "right"]].set_visible(False)
        handles = [
            plt.Line2D([], [], marker="o", color=GREY, linestyle="none", label=names[0]),
            plt.Line2D([], [], marker=">", color=SHOWN[0], linestyle="none", label=f"{names[1]}: better"),
            plt.Line2D([], [], marker="<", color=SHOWN[1], linestyle="none", label=f"{names[1]}: worse"),
        ]
        figure.legend(handles=handles, frameon=False, ncols=3, loc="outside upper center")
    return figure


def _categories(ax: Axes, names: Sequence[str]) -> None:
    ax.set_xticks(range(len(names)), [str(name).replace("_", " ") for name in names], rotation=40, ha="right")
    ax.grid(axis="y", linewidth=0.4)
    ax.spines[["top", "right"]].set_visible(False)
