"""Coreset explorer: what is kept at a share, where it lies, how well it covers the rest, and what it does to a map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from threading import RLock
from time import perf_counter
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from scipy.sparse.linalg import eigsh

from pclib._checks import Undefined, one_of
from pclib.coreset import at_random, by_kmeans, greedy, random_projection
from pclib.extraction import silent
from pclib.metrics import auroc
from pclib.patchcore import DIM, SIGMA
from pclib.plots import BLUE, GREEN, MARK, ORANGE
from pclib.scoring import anomaly_map, image_scores
from pclib.widgets.charts import Chart
from pclib.widgets.explorer import Explorer
from pclib.widgets.material import Material
from pclib.widgets.pixels import Canvas, coloured, mosaic, stamped
from pclib.widgets.state import Choose, Control, Panel, Slide, State, listed, nearest, short

STRATEGIES = ("greedy", "random", "k-means")
MARKS = {"greedy": (BLUE, "dot"), "random": (ORANGE, "square"), "k-means": (GREEN, "rhombus")}
SIGNS = {"dot": "o", "square": "s", "rhombus": "D"}  # the same marks, as matplotlib calls them
MOST_KEPT, STOPS, KMEANS_EVERY, KMEANS_ROUNDS = 2500, 25, 4, 5
SHOWN, COLUMNS, SIDE = 30, 6, 84  # training pictures in the mosaic, and pixels of one
LOOKED_AT = 4000  # patches, to find the two principal components
BLOCK = 4096
LONGER = {"random": 1, "k-means": 5}  # than all that greedy takes, roughly


@dataclass(frozen=True, eq=False)
class Run:
    """What a strategy keeps at each of its sizes, smallest first.

    kept    one array of rows for each size;  banks: their vectors;  radii: their covering radii, plain distances
    scores  (sizes, n, rows, columns): squared distances of the test patches
    auroc   one for each size, or None where the test pictures are all good or all defective
    """

    sizes: list[int]
    kept: list[np.ndarray]
    banks: list[np.ndarray]
    radii: list[float]
    scores: np.ndarray
    auroc: list[float] | None

    @cached_property
    def lengths(self) -> list[np.ndarray]:
        """Squared lengths of the vectors of the banks."""
        return [np.einsum("nd,nd->n", bank, bank) for bank in self.banks]


def by_size(vectors: np.ndarray, bank: np.ndarray, sizes: list[int]) -> np.ndarray:
    """(sizes, n): squared distances from vectors (n, d) to the nearest of the first `size` ones of the bank."""
    found = np.empty((len(sizes), len(vectors)), np.float32)
    kept = torch.from_numpy(bank)
    lengths = (kept * kept).sum(1)
    for start in range(0, len(vectors), BLOCK):
        some = torch.from_numpy(vectors[start : start + BLOCK])
        squared = torch.addmm(lengths, some, kept.T, alpha=-2) + (some * some).sum(1, keepdim=True)
        best, first = torch.full((len(some),), torch.inf), 0
        for row, size in enumerate(sizes):
            best = torch.minimum(best, squared[:, first:size].amin(1))
            found[row, start : start + BLOCK], first = best.clamp_min(0), size
    return found


class CoresetState(State):
    """What is kept of a category's patches.

    strategy  "greedy", "random" or "k-means"
    size      how many patches are kept; the nearest of the `sizes` that the strategy has
    picture   the test picture whose map is shown;  patch: the training patch that is pointed at, a row of all of them
    """

    strategy = traitlets.Unicode("greedy")
    size = traitlets.Int()
    picture = traitlets.Int()
    patch = traitlets.Int()

    def __init__(self, material: Material, *, seed: int = 0, **chosen: Any) -> None:
        self.material, self.seed = material, seed
        self.vectors = material.train_features.reshape(-1, DIM)
        self.tested = material.test_features.reshape(-1, DIM)
        most = max(1, min(len(self.vectors) // 10, MOST_KEPT))
        least = min(most, max(10, len(self.vectors) // 1000))
        self.sizes = np.unique(np.geomspace(least, most, STOPS).round().astype(int)).tolist()
        self._runs: dict[str, Run] = {}
        self._covered: tuple[Any, tuple[int, float]] = None, (0, 0.0)
        self._one_at_a_time = RLock()
        labels = material.labels()
        first = int(labels.argmax())  # the first defective one
        defaults = {"size": self.sizes[nearest(self.sizes, len(self.vectors) // 100)], "picture": first, "patch": 0}
        super().__init__(**defaults | chosen)
        began = perf_counter()
        greedy_scores = self.run("greedy").scores[-1]
        self._seconds = perf_counter() - began
        self.scale = float(np.median(greedy_scores)), float(np.quantile(greedy_scores, 0.999))
        self._axes = Chart(lambda axes: _draw_axes(axes, self.run("greedy")), (400, 360), rows=2)
        shown = material.train.pixels[:SHOWN]
        self._sheet = mosaic(shown, COLUMNS, SIDE)
        self._scatter, self._places = _scatter(self.vectors)

    @traitlets.validate("strategy")
    def _check_strategy(self, proposal: Any) -> str:
        one_of("strategy", proposal["value"], STRATEGIES)
        return proposal["value"]

    @traitlets.validate("size", "picture", "patch")
    def _check_range(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = {
            "size": (self.sizes[0], self.sizes[-1]),
            "picture": (0, len(self.material.test.samples) - 1),
            "patch": (0, len(self.vectors) - 1),
        }[name]
        if not low <= value <= high:
            raise ValueError(f"{name} must lie in [{low}, {high}], got {value}")
        return value

    def run(self, strategy: str) -> Run:
        """What a strategy keeps, made when it is first asked for."""
        with self._one_at_a_time:
            if strategy not in self._runs:
                self._runs[strategy] = self._make(strategy)
            return self._runs[strategy]

    def prepare(self) -> None:
        """Run the other strategies, which takes seconds, before they are asked for."""
        for strategy in STRATEGIES:
            self.run(strategy)

    @property
    def stop(self) -> int:
        """Which of the strategy's sizes is shown."""
        return nearest(self.run(self.strategy).sizes, self.size)

    def kept(self) -> np.ndarray:
        """The rows of the patches that are kept."""
        return self.run(self.strategy).kept[self.stop]

    def covering_patch(self) -> tuple[int, float]:
        """The kept patch nearest to the one pointed at, and its distance."""
        run, stop, patch = self.run(self.strategy), self.stop, self.vectors[self.patch]
        if (run, stop, self.patch) != self._covered[0]:  # asked for by each picture
            bank = run.banks[stop]
            best = int((run.lengths[stop] - 2 * (bank @ patch)).argmin())
            found = int(run.kept[stop][best]), float(np.linalg.norm(bank[best] - patch))
            self._covered = (run, stop, self.patch), found
        return self._covered[1]

    def place(self, patch: int) -> tuple[int, int, int]:
        """Training picture, row and column of a patch."""
        rows, columns = self.material.detector.grid
        picture, cell = divmod(patch, rows * columns)
        return picture, *divmod(cell, columns)

    def map(self) -> np.ndarray:
        """The anomaly map of the test picture."""
        scores = self.run(self.strategy).scores[self.stop, self.picture]
        return anomaly_map(scores[None], self.material.detector.framing.crop, SIGMA)[0]

    def controls(self) -> list[Control]:
        count = len(self.vectors)
        return [
            Choose("strategy", "Strategy", {self._named(name): name for name in STRATEGIES}),
            Slide("size", "Patches kept", self.run(self.strategy).sizes, lambda k: f"{k:,} ({100 * k / count:.2g} %)"),
            Choose("picture", "Test picture", listed(self.material.test.samples)),
        ]

    def words(self) -> str:
        run, stop, count = self.run(self.strategy), self.stop, len(self.vectors)
        sample = self.material.test.samples[self.picture]
        score = float(image_scores(run.scores[stop, self.picture][None])[0])
        cover, distance = self.covering_patch()
        lines = [
            f"{self.strategy} keeps {run.sizes[stop]:,} of {count:,} patches ({100 * run.sizes[stop] / count:.2f} %).",
            f"Covering radius {short(run.radii[stop])}: no training patch is farther than that from a kept one.",
            self._ranked(run, stop),
            f"Test picture {self.picture}, {sample.defect or 'unknown'}: image score {short(score)}.",
            f"The training patch {_where(self.place(self.patch))}"
            + (" is kept." if cover == self.patch else f" is covered by the one {_where(self.place(cover))}, ")
            + ("" if cover == self.patch else f"at distance {short(distance)}."),
            self.material.note,
        ]
        return "\n".join(line for line in lines if line)

    def panels(self) -> list[Panel]:
        run, stop = self.run(self.strategy), self.stop
        kept, (cover, _) = self.kept(), self.covering_patch()
        sample = self.material.test.samples[self.picture]
        shown = min(SHOWN, len(self.material.train.samples))
        in_sheet = kept[kept < shown * self._cells]
        what = f"{len(kept):,} kept patches of {self.strategy}"
        alt_map = f"Anomaly map of test picture {self.picture}, highest {short(float(self.map().max()))}"
        return [
            Panel(
                "Training pictures, kept patches marked",
                self._marked_sheet(in_sheet, cover),
                f"The first {shown} training pictures with {len(in_sheet):,} of the {what}; the one pointed at is "
                "ringed, the kept patch that covers it has a diamond",
                COLUMNS * SIDE,
                photo=True,
                point=self._point_in_sheet,
                step=self._step_in_sheet,
            ),
            Panel(
                "All patches, in their two main directions",
                self._marked_scatter(kept, cover),
                f"Grey dots for {len(self.vectors):,} patches, squares for the {what}",
                self._scatter.width,
                point=self._point_in_scatter,
                step=self._step_in_scatter,
            ),
            Panel("How well it covers, and detects", *self._marked_chart(run, stop)),
            Panel(
                "Test picture",
                self.material.outlined[self.picture],
                f"Test picture {self.picture} ({sample.defect or 'unknown'}), its defect outlined if known",
                224,
                photo=True,
            ),
            Panel("Its anomaly map", coloured(self.map(), self.scale), alt_map, 224, photo=True),
        ]

    @property
    def _cells(self) -> int:
        rows, columns = self.material.detector.grid
        return rows * columns

    def _named(self, strategy: str) -> str:
        """The strategy, and how long it will take if it has still to be run."""
        seconds = 0 if strategy in self._runs else LONGER[strategy] * self._seconds
        return f"{strategy} (takes about {seconds:.0f} s)" if seconds > 1 else strategy

    def _make(self, strategy: str) -> Run:
        sizes, most = self.sizes, self.sizes[-1]
        if strategy == "k-means":
            sizes = sizes[::-KMEANS_EVERY][::-1]
            narrow = random_projection(self.vectors, 128, np.random.default_rng(self.seed)).numpy()
            kept = [by_kmeans(narrow, size, seed=self.seed, rounds=KMEANS_ROUNDS).indices for size in sizes]
            banks = [self.vectors[rows] for rows in kept]
            covered, tested = (
                np.concatenate([by_size(vectors, bank, [len(bank)]) for bank in banks])
                for vectors in (self.vectors, self.tested)
            )
        else:
            if strategy == "greedy":
                picks = greedy(self.vectors, most, seed=self.seed, progress=silent).indices
            else:
                picks = at_random(self.vectors, most, seed=self.seed).indices
            kept, largest = [picks[:size] for size in sizes], self.vectors[picks]
            banks = [largest[:size] for size in sizes]
            covered, tested = (by_size(vectors, largest, sizes) for vectors in (self.vectors, self.tested))
        scores = tested.reshape(len(sizes), *self.material.test_features.shape[:3])
        return Run(sizes, kept, banks, np.sqrt(covered.max(1)).tolist(), scores, self._aurocs(scores))

    def _aurocs(self, scores: np.ndarray) -> list[float] | None:
        labels = self.material.labels()
        try:
            return [auroc(labels, image_scores(of_size)) for of_size in scores]
        except (Undefined, ValueError):
            return None

    def _ranked(self, run: Run, stop: int) -> str:
        labels = self.material.labels()
        if run.auroc is None:
            return "No image AUROC: it takes good and defective test pictures."
        bad = int(labels.sum())
        return f"Image AUROC {run.auroc[stop]:.3f} ({len(labels) - bad} good and {bad} defective test pictures)."

    def _marked_sheet(self, kept: np.ndarray, cover: int) -> np.ndarray:
        canvas = Canvas(stamped(self._sheet, self._on_sheet(kept), MARK, 1))
        for patch, mark in ((self.patch, canvas.ring), (cover, canvas.diamond)):
            if patch < min(SHOWN, len(self.material.train.samples)) * self._cells:
                mark(*self._on_sheet(np.array([patch]))[0])
        return canvas.pixels

    def _on_sheet(self, patches: np.ndarray) -> np.ndarray:
        """(n, 2): where patches lie in the mosaic, across and down."""
        rows, columns = self.material.detector.grid
        picture, cell = np.divmod(patches, self._cells)
        tile, (row, column) = np.divmod(picture, COLUMNS), np.divmod(cell, columns)
        return np.stack([(tile[1] + (column + 0.5) / columns) * SIDE, (tile[0] + (row + 0.5) / rows) * SIDE], 1)

    def _point_in_sheet(self, x: float, y: float) -> None:
        rows, columns = self.material.detector.grid
        across, down = x * self._sheet.shape[1] / SIDE, y * self._sheet.shape[0] / SIDE
        picture = int(down) * COLUMNS + int(across)
        if picture < min(SHOWN, len(self.material.train.samples)):
            self.patch = picture * self._cells + int(down % 1 * rows) * columns + int(across % 1 * columns)

    def _step_in_sheet(self, across: int, down: int) -> None:
        rows, columns = self.material.detector.grid
        picture, row, column = self.place(self.patch)
        row, column = min(max(row + down, 0), rows - 1), min(max(column + across, 0), columns - 1)
        self.patch = picture * self._cells + row * columns + column

    def _marked_scatter(self, kept: np.ndarray, cover: int) -> np.ndarray:
        canvas = Canvas(stamped(self._scatter.pixels, self._places[kept], MARK, 1))
        canvas.line([self._places[self.patch], self._places[cover]])
        canvas.ring(*self._places[self.patch])
        canvas.diamond(*self._places[cover])
        return canvas.pixels

    def _point_in_scatter(self, x: float, y: float) -> None:
        height, width = self._scatter.pixels.shape[:2]
        self.patch = int(np.linalg.norm(self._places - (x * width, y * height), axis=1).argmin())

    def _step_in_scatter(self, across: int, down: int) -> None:
        """To the next patch along the first direction (left, right) or the second (up, down)."""
        for axis, steps in enumerate((across, down)):
            if steps:
                order = self._places[:, axis].argsort(kind="stable")
                at = int(np.flatnonzero(order == self.patch)[0])
                self.patch = int(order[min(max(at + steps, 0), len(order) - 1)])

    def _marked_chart(self, run: Run, stop: int) -> tuple[np.ndarray, str, int]:
        """The curves of the strategies that are there by now, and where the chosen one stands."""
        chart, canvas, size = self._axes, self._axes.canvas(), run.sizes[stop]
        for name, known in list(self._runs.items()):
            colour, mark = MARKS[name]
            for row, values in enumerate((known.radii, known.auroc)):
                if values is not None:
                    places = [chart.at(*point, row) for point in zip(known.sizes, values, strict=True)]
                    canvas.line(places, colour)
                    for place in places:
                        getattr(canvas, mark)(*place, colour, 2)
        for row, values in enumerate((run.radii, run.auroc)):
            if values is not None:
                chart.upright(canvas, size, row)
                canvas.ring(*chart.at(size, values[stop], row), MARK)
        detects = "" if run.auroc is None else f", image AUROC {run.auroc[stop]:.3f}"
        alt = (
            f"Covering radius and image AUROC over patches kept; now {size:,}: radius {short(run.radii[stop])}{detects}"
        )
        return canvas.pixels, alt, chart.width


class CoresetExplorer(Explorer):
    """Which patches to keep: share, strategy, where kept patches lie, what they cover, and a map made from them.

    Takes what `CoresetState` takes: a `Material`, and what to start with.
    """

    def __init__(self, material: Material, **chosen: Any) -> None:
        super().__init__(CoresetState(material, **chosen))


def _where(place: tuple[int, int, int]) -> str:
    picture, row, column = place
    return f"of picture {picture}, row {row}, column {column}"


def _scatter(vectors: np.ndarray) -> tuple[Chart, np.ndarray]:
    """A chart of all vectors in their two leading directions, and where each lies in it."""
    some = torch.from_numpy(vectors[:: -(-len(vectors) // LOOKED_AT)])
    centred = some - some.mean(0)
    start = np.ones(vectors.shape[1])  # without it, the search would begin at random
    _, two = eigsh((centred.T @ centred).double().numpy(), k=2, v0=start)
    two = two[:, ::-1] * np.sign(two[np.abs(two).argmax(0), [0, 1]])[::-1]  # eigenvectors have no sign of their own
    points = vectors @ two.astype(np.float32)
    points -= points.mean(0)

    def draw(axes: list[Axes]) -> None:
        low, high = points.min(0), points.max(0)
        margin = 0.04 * (high - low) + 1e-6
        axes[0].set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
        axes[0].set(xlabel="first principal direction (feature units)", ylabel="second")

    chart = Chart(draw, (400, 360))
    places = chart.many_at(points)
    chart.pixels = stamped(chart.pixels, places, "#a0a0a0", 0, rim=False)
    return chart, places


def _draw_axes(axes: list[Axes], greedy: Run) -> None:
    """Axes that hold the curves of all strategies: those of the others have about the same heights."""
    for name, (colour, mark) in MARKS.items():
        axes[0].plot([], [], f"{SIGNS[mark]}-", color=colour, markersize=4, label=name)
    wide = {"xscale": "log", "xlim": (0.85 * greedy.sizes[0], 1.18 * greedy.sizes[-1])}
    axes[0].set(ylabel="covering radius", ylim=(0, 1.3 * greedy.radii[0]), **wide)
    axes[0].tick_params(labelbottom=False)
    axes[1].set(ylabel="image AUROC", ylim=(-0.03, 1.03), xlabel="patches kept", **wide)
    axes[0].legend(frameon=False, fontsize="small", ncols=3, loc="lower left")
