"""Figures of the lessons on features, coresets and scores: arrays in, figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from pclib.framing import Framing
from pclib.plots import BLUE, GREEN, GREY, MAP_COLOURS, MARK, ORANGE, PINK, show_image, style
from pclib.samples import Sample

LINES = tuple(zip((BLUE, ORANGE, GREEN, PINK), "osD^", ("-", ":", "-.", "--"), strict=True))  # colour, marker, dashes


def influence(shares: Mapping[str, np.ndarray], fields: Mapping[str, int]) -> Figure:
    """Per layer, the influence (side, side) of each pixel on the vector in the middle, and its receptive field.

    The colour goes by the square root of the influence, because it falls off fast.
    """
    with style():
        figure, axes = plt.subplots(1, len(shares), figsize=(2.8 * len(shares), 3.1), layout="constrained")
        for ax, (layer, seen) in zip(axes, shares.items(), strict=True):
            half = len(seen) / 2
            ax.imshow(np.sqrt(seen / seen.max()), cmap="cividis", extent=(-half, half, half, -half))
            left, top = (np.flatnonzero(seen.any(axis))[0] - half for axis in (0, 1))
            ax.add_patch(
                Rectangle((left, top), fields[layer], fields[layer], fill=False, edgecolor="white", linestyle="--")
            )
            ax.set(title=f"{layer}: {fields[layer]} pixels", xlabel="pixels from the middle")
        axes[0].set_ylabel("pixels from the middle")
    return figure


def by_stage(
    stages: Sequence[str],
    metrics: Mapping[str, Mapping[str, Sequence[float]]],
    untrained: Mapping[str, Mapping[str, Sequence[float]]],
) -> Figure:
    """Per metric, one line per category over the stages, and a band for the untrained network on all of them."""
    with style():
        figure, axes = plt.subplots(1, len(metrics), figsize=(4.5 * len(metrics), 3.6), layout="constrained")
        for ax, (metric, categories) in zip(axes, metrics.items(), strict=True):
            for (name, values), (colour, marker, _) in zip(categories.items(), LINES, strict=False):
                ax.plot(stages, values, f"{marker}-", color=colour, label=name)
            band = list(untrained[metric].values())
            ax.fill_between(stages, np.min(band, 0), np.max(band, 0), color=GREY, alpha=0.25, label="untrained, all")
            ax.set(xlabel="stage", ylabel=metric, ylim=(0, 1.02))
            ax.tick_params("x", rotation=30)
        axes[0].legend(frameon=False, fontsize="small", loc="lower right")
    return figure


def kernels(rows: Mapping[str, Mapping[str, Sequence[np.ndarray]]]) -> Figure:
    """A row of small filters (k, k) for each name, grouped by what stands above them, with their values."""
    count = max(sum(len(group) for group in groups.values()) for groups in rows.values())
    with style():
        figure, axes = plt.subplots(
            len(rows), count, figsize=(1.37 * count, 1.6 * len(rows)), squeeze=False, layout="constrained"
        )
        for row, (name, groups) in zip(axes, rows.items(), strict=True):
            shown = [(title, kernel) for title, group in groups.items() for kernel in group]
            for ax, (title, kernel) in zip(row, shown, strict=True):
                ax.imshow(kernel, cmap="cividis", vmin=0, vmax=0.5)
                for (y, x), value in np.ndenumerate(kernel):
                    colour = "white" if value < 0.25 else "black"
                    ax.text(x, y, f"{value:.2g}", ha="center", va="center", color=colour, fontsize=8)
                ax.set(xticks=[], yticks=[], title=title)
            row[0].set_ylabel(name)
    return figure


def newness(
    samples: Sequence[Sample],
    framing: Framing,
    distances: np.ndarray,
    random: np.ndarray,
    scale: tuple[float, float],
) -> Figure:
    """Pictures under a map of how far each patch is from the nearest one elsewhere, and histograms of distances.

    distances (n, rows, columns), of which the first ones belong to the samples; random (m,) between random patches.
    """
    count = len(samples)
    with style():
        figure, axes = plt.subplots(
            1, count + 1, figsize=(2.1 * count + 3, 2.6), layout="constrained", width_ratios=[1] * count + [1.7]
        )
        for ax, sample, values in zip(axes, samples, distances, strict=False):
            show_image(sample, framing, ax)
            around = (0, framing.crop, framing.crop, 0)
            drawn = ax.imshow(values, cmap=MAP_COLOURS, extent=around, alpha=0.6, vmin=scale[0], vmax=scale[1])
        figure.colorbar(drawn, ax=axes[count - 1], label="newness")
        bins = np.linspace(0, random.max(), 50).tolist()
        axes[-1].hist(distances.ravel(), bins, color=BLUE, density=True, label="nearest elsewhere")
        axes[-1].hist(random, bins, color=ORANGE, density=True, alpha=0.7, hatch="//", label="random pairs")
        axes[-1].set(xlabel="distance", ylabel="density")
        axes[-1].legend(frameon=False, fontsize="small", loc="upper right")
    return figure


def kept_patches(
    samples: Sequence[Sample], framing: Framing, grid: tuple[int, int], choices: Mapping[str, np.ndarray]
) -> Figure:
    """One row per choice: the samples, with a dot at each patch that is kept.

    choices: rows kept of all patches of all pictures, (pictures * rows * columns), of which the samples are the first.
    """
    rows, columns = grid
    with style():
        figure, axes = plt.subplots(
            len(choices), len(samples), figsize=(1.75 * len(samples), 1.85 * len(choices)), layout="constrained"
        )
        for line, (name, indices) in zip(axes, choices.items(), strict=True):
            pictures, places = np.divmod(indices, rows * columns)
            for i, (ax, sample) in enumerate(zip(line, samples, strict=True)):
                show_image(sample, framing, ax)
                y, x = np.divmod(places[pictures == i], columns)
                at = ((x + 0.5) * framing.crop / columns, (y + 0.5) * framing.crop / rows)
                ax.plot(*at, "o", color=MARK, markeredgecolor="black", markersize=5)
            line[0].set_ylabel(name)
    return figure


def covering(points: np.ndarray, picks: np.ndarray, radii: np.ndarray, sizes: Sequence[int]) -> Figure:
    """Points (n, 2), the first picks of a selection, and circles of their covering radius; a panel for each size."""
    with style():
        figure, axes = plt.subplots(
            1, len(sizes), figsize=(2.4 * len(sizes), 2.6), layout="constrained", sharex=True, sharey=True
        )
        for ax, size in zip(axes, sizes, strict=True):
            ax.plot(*points.T, ".", color="0.6", markersize=3)
            for i in picks[:size]:
                ax.add_patch(Circle(tuple(points[i]), radii[size - 1], color=BLUE, alpha=0.12))
            ax.plot(*points[picks[:size]].T, "s", color=ORANGE, markersize=5)
            low, high = points.min(0) - 1.5, points.max(0) + 1.5
            ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xticks=[], yticks=[])
            ax.set_title(f"{size} picked: radius {radii[size - 1]:.1f}")
    return figure


def ratios(found: Mapping[int, np.ndarray]) -> Figure:
    """Densities of distance ratios, one line per width of the projection."""
    with style():
        figure, ax = plt.subplots(figsize=(6, 2.7), layout="constrained")
        edges = np.linspace(0.4, 1.6, 81)
        for (width, values), (colour, _, dashes) in zip(found.items(), LINES, strict=False):
            density, _ = np.histogram(values, edges, density=True)
            ax.plot((edges[1:] + edges[:-1]) / 2, density, dashes, color=colour, label=f"m = {width}")
        ax.set(xlabel="distance after the projection / before", ylabel="density")
        ax.legend(frameon=False)
    return figure


def by_share(
    curves: Mapping[str, Mapping[str, Mapping[float, tuple[float, float]]]], everything: Mapping[str, float]
) -> Figure:
    """Image AUROC over the share of patches kept: a panel per category, a line per method.

    curves: category -> method -> share -> (mean, half of the interval over seeds); everything: with all patches.
    """
    with style():
        figure, axes = plt.subplots(1, len(curves), figsize=(3.2 * len(curves), 3.1), layout="constrained", sharey=True)
        for ax, (name, methods) in zip(axes, curves.items(), strict=True):
            for (method, points), (colour, marker, dashes), shift in zip(
                methods.items(), LINES, (0.94, 1.0, 1.06), strict=False
            ):
                shares = 100 * np.array(list(points))
                means, bars = np.array(list(points.values())).T
                line = {"fmt": marker + dashes, "color": colour, "capsize": 3, "label": method}
                ax.errorbar(shares * shift, means, bars, **line)
            ax.axhline(everything[name], color="black", linewidth=1, label="all patches")
            ax.set(xscale="log", xlabel="patches kept (%)", title=name)
            ax.set_xticks(shares, [f"{share:g}" for share in shares])
            ax.minorticks_off()
        axes[0].set_ylabel("image AUROC")
        axes[0].legend(frameon=False, fontsize="small")
    return figure


def along_a_row(patch_scores: np.ndarray, lines: Mapping[str, np.ndarray]) -> Figure:
    """Patch scores (columns,) as a staircase, and what became of them, each (pixels,)."""
    pixels = len(next(iter(lines.values())))
    edges = np.linspace(0, pixels, len(patch_scores) + 1)
    with style():
        figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
        ax.stairs(patch_scores, edges, color=GREY, baseline=None, label="patch scores")
        for (name, values), colour, dashes in zip(lines.items(), (ORANGE, BLUE), ("--", "-"), strict=True):
            ax.plot(values, dashes, color=colour, label=name)
        ax.set(xlabel="column (pixels)", ylabel="score (squared distance)")
        ax.legend(frameon=False)
    return figure


def alarm_rates(
    drawn: Mapping[int, np.ndarray], promised: Mapping[int, np.ndarray], axis: np.ndarray, wanted: float
) -> Figure:
    """Histograms of false-alarm rates per number held out, the densities promised at `axis`, and the rate wanted."""
    with style():
        figure, axes = plt.subplots(1, len(drawn), figsize=(3 * len(drawn), 2.7), layout="constrained", sharex=True)
        for ax, (held_out, rates) in zip(axes, drawn.items(), strict=True):
            ax.hist(100 * rates, 30, density=True, color=BLUE, alpha=0.5, label="drawn")
            ax.plot(100 * axis, promised[held_out] / 100, color=ORANGE, label="Beta")
            ax.axvline(100 * wanted, color="black", linestyle=":", label="wanted")
            ax.set(title=f"{held_out} held out", xlabel="false alarms (%)")
        axes[0].set_ylabel("density")
        axes[0].legend(frameon=False)
    return figure
