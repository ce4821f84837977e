"""Figures of speed: where seconds go, what a machine allows, what is left out, and how costs grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from pclib.plots import BLUE, GREEN, GREY, ORANGE, PINK, style

COLOURS = ("#e69f00", BLUE, GREEN, ORANGE, PINK, "#56b4e9", GREY)
HATCHES = ("", "//", "..", "", "\\\\", "xx", "--")
MARKERS = "sDo^vPX"


def stages(seconds: Mapping[str, Mapping[str, float]], enlarged: str) -> Figure:
    """For each program a bar of its stages' seconds, the first on top; below, one of them again on its own scale."""
    names = list(seconds)[::-1]
    with style():
        figure, axes = plt.subplots(
            2, 1, figsize=(9, 0.7 * len(names) + 1.9), layout="constrained", height_ratios=[len(names), 1]
        )
        for ax, shown in zip(axes, (names, [enlarged]), strict=True):
            for row, name in enumerate(shown):
                left = 0.0
                for i, (stage, value) in enumerate(seconds[name].items()):
                    label = stage if ax is axes[0] and row == 0 else None
                    ax.barh(row, value, left=left, color=COLOURS[i], hatch=HATCHES[i], edgecolor="white", label=label)
                    left += value
                ax.text(left, row, f" {left:.0f} s", va="center")
            ax.set(yticks=range(len(shown)), yticklabels=shown)
            ax.margins(x=0.08)
            _open(ax)
        axes[0].legend(ncols=7, loc="lower center", bbox_to_anchor=(0.45, 1), frameon=False, columnspacing=1)
        axes[1].set_xlabel("seconds")
    return figure


def roofline(gflops: float, bandwidth: float, measured: Mapping[str, tuple[float, float]]) -> Figure:
    """A machine's roof (Gflop/s and GB/s), and stages under it: operations per byte, and the Gflop/s reached."""
    with style():
        figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
        intensity = np.logspace(-1, 4, 200)
        ax.plot(intensity, np.minimum(gflops, intensity * bandwidth), color="black", label="roof of this machine")
        for (name, (at, rate)), marker, colour in zip(measured.items(), MARKERS, COLOURS[1:], strict=False):
            ax.plot(at, rate, marker, color=colour, markersize=9, linestyle="none", label=name)
        ax.set(xscale="log", yscale="log", xlabel="operations per byte moved (flop/byte)", ylabel="rate (Gflop/s)")
        ax.legend(frameon=False, loc="lower right")
        _open(ax)
    return figure


def distances(computed: np.ndarray, vectors: int) -> Figure:
    """What laziness leaves out. `computed`: how many distances had been computed after each pick among `vectors`."""
    picks = np.arange(1, len(computed) + 1)
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
        axes[0].plot(picks, picks * vectors / 1e6, "--", color=ORANGE, label="plain loop")
        axes[0].plot(picks, computed / 1e6, color=BLUE, label="lazy loop")
        axes[0].set(xlabel="picks", ylabel="distances computed (millions)")
        axes[0].legend(frameon=False)
        axes[1].plot(picks[1:], np.diff(computed) / vectors, ".", color=BLUE, markersize=3)
        axes[1].set(xlabel="pick", ylabel="distances computed for it,\nper vector", yscale="log")
        for ax in axes:
            _open(ax)
    return figure


def bounds(bound: np.ndarray, true: np.ndarray) -> Figure:
    """Squared distances from one query to all remembered vectors, against lower bounds of them."""
    needed = bound <= true.min()
    with style():
        figure, ax = plt.subplots(figsize=(6, 4.4), layout="constrained")
        ends = 0.6 * bound.min(), 1.05 * true.max()
        ax.plot(bound, true, ".", color=GREY, markersize=3, label="a remembered vector")
        ax.plot(ends, ends, color="black", linewidth=1, label="bound = true distance")
        ax.axhline(true.min(), color=ORANGE, linewidth=1, linestyle="--", label="nearest")
        ax.plot(bound[needed], true[needed], "o", color=BLUE, markersize=5, label="bound below that")
        ax.set(xlabel="lower bound of the squared distance", ylabel="true squared distance", xscale="log", yscale="log")
        ax.set(xlim=ends, ylim=ends)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter("{x:,.0f}")
            axis.set_major_locator(FixedLocator([step * 10**power for power in range(9) for step in (1, 2, 5)]))
            axis.set_minor_locator(NullLocator())
        ax.legend(frameon=False)
        _open(ax)
    return figure


def growth(panels: Mapping[tuple[str, str], Mapping[str, tuple[Sequence[float], Sequence[float]]]]) -> Figure:
    """Power laws on logarithmic axes: for each panel, named by its axes' labels, named lines of (x, y)."""
    with style():
        figure, axes = plt.subplots(
            1, len(panels), figsize=(3.7 * len(panels), 3.4), squeeze=False, layout="constrained"
        )
        for ax, ((across, upwards), lines) in zip(axes[0], panels.items(), strict=True):
            for (name, (x, y)), marker, colour in zip(lines.items(), "os^", (BLUE, ORANGE, GREY), strict=False):
                ax.loglog(x, y, marker, linestyle="-", color=colour, label=name)
                ax.set_xticks(x, [f"{value:g}" for value in x])
            ax.set(xlabel=across, ylabel=upwards)
            ax.minorticks_off()
            ax.legend(frameon=False)
            _open(ax)
    return figure


def _open(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
