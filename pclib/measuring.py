"""Cells that share work, measured one after another: what they have in common is done once."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import torch

from pclib import __version__, cells
from pclib._bankfile import versions
from pclib._checks import near
from pclib._device import available_memory, gibibytes
from pclib._files import sha256
from pclib._watch import Watch
from pclib.backbones import Backbone, load_backbone
from pclib.cells import METRICS, Cell, Measured
from pclib.configurations import Configuration
from pclib.coreset import Selection, greedy
from pclib.datasets import check_masks
from pclib.detector import Scores
from pclib.extraction import silent
from pclib.framing import Framing, Pictures, read
from pclib.methods import OCSVM, SPADE, MahalanobisAD, PaDiM, padim, spade
from pclib.methods._method import Method
from pclib.metrics import Evaluation, evaluate
from pclib.patchcore import DIM, PATCHSIZE, SIGMA, PatchCore
from pclib.samples import Category, Sample
from pclib.toybox import Toybox

ROOM = 0.7  # of the available memory, which features may take before they go to a file
FIXED: dict[str, dict[str, Any]] = {  # parameters that a method does not take, with the value that they have in it
    "patchcore": {"patchsize": PATCHSIZE, "dimensions": DIM, "sigma": SIGMA},
    "padim": {"sigma": padim.SIGMA},
    "spade": {"sigma": spade.SIGMA},
}


class Bench(Protocol):
    """Where the cells of one group are measured. Made of all of them, so that it knows what they will share."""

    def __init__(self, cells: Sequence[Cell]) -> None: ...

    def measure(self, cell: Cell) -> Measured: ...


def open_bench(cells: Sequence[Cell]) -> Bench:
    """The bench for cells of one group. Raises ValueError for a method that nothing here measures."""
    method = cells[0].configuration.method
    if ":" in method:
        module, name = method.split(":")
        return getattr(import_module(module), name)(cells)
    if method not in METHODS:
        raise ValueError(f"no method {method!r}; there is {near(method, METHODS)}, or your own as 'module:Class'")
    return METHODS[method](cells)


@dataclass(frozen=True, eq=False)
class _Shared:
    """What all cells of a group have in common."""

    detector: PatchCore
    train: Pictures
    test: Pictures
    train_features: np.ndarray
    test_features: np.ndarray


class PatchCoreBench:
    """PatchCore's cells of one category and backbone.

    The first picks of the greedy selection for the largest coreset share are the selection for a smaller one. Features
    of all pictures are held as long as the bench is: in memory, or in a temporary file where they would fill it.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.parameters = dict(cells[0].configuration.parameters)
        _check_fixed(cells[0].configuration)
        self.picked_for: dict[int, float] = {}  # seed: largest share below 1
        for seed, share in ((c.seed, c.configuration.parameters["coreset"]) for c in cells):
            if share < 1:
                self.picked_for[seed] = max(share, self.picked_for.get(seed, 0.0))
        self.shared: _Shared | None = None
        self.selections: dict[int, Selection] = {}

    def measure(self, cell: Cell) -> Measured:
        """Fit, score and evaluate. Raises what opening the category, reading its pictures and PatchCore raise."""
        with Watch() as watch:
            shared = self.shared = self.shared or self._prepare(cell, watch)
            with watch.stage("coreset"):
                kept = self._kept(shared, cell)
            with watch.stage("scoring"):
                detector = shared.detector.remember(shared.train, shared.train_features, kept)
                scores = detector.score_features(shared.test, shared.test_features)
            with watch.stage("metrics"):
                found = evaluate(scores)
        return _measured(found, scores, shared.train, shared.test, detector.backbone, watch)

    def _prepare(self, cell: Cell, watch: Watch) -> _Shared:
        with watch.stage("reading"):
            train, test = _pictures(cell, Framing(self.parameters["resize"], self.parameters["crop"]))
            detector = open_detector(self.parameters)
        with watch.stage("features"):
            train_room, test_room = rooms([(len(p.samples), *detector.grid, DIM) for p in (train, test)])
            train_features = detector.embed(train, "train features", silent, train_room)
            test_features = detector.embed(test, "test features", silent, test_room)
        return _Shared(detector, train, test, train_features, test_features)

    def _kept(self, shared: _Shared, cell: Cell) -> np.ndarray | None:
        share = cell.configuration.parameters["coreset"]
        if share == 1:
            return None
        vectors = shared.train_features.reshape(-1, DIM)
        if cell.seed not in self.selections:
            self.selections[cell.seed] = greedy(
                vectors,
                int(len(vectors) * self.picked_for[cell.seed]),
                start=self.parameters["start"],
                project=self.parameters["projection"],
                seed=cell.seed,
                device=shared.detector.backbone.device,
                progress=silent,
            )
        return self.selections[cell.seed].first(int(len(vectors) * share)).indices


def open_detector(p: Mapping[str, Any], weights: str | None = None) -> PatchCore:
    """PatchCore with a configuration's parameters, but for what it keeps; `weights` in place of the configuration's."""
    backbone = load_backbone(p["backbone"], p["layers"], weights=weights or p["weights"], precision=p["precision"])
    kinds = {name: p[name] for name in ("resize", "crop", "neighbors", "protocol")}
    return PatchCore(backbone, coreset=1, **kinds)


class MethodBench:
    """Cells of one of `pclib.methods`, on one category: pictures are read once, and each seed is fitted once.

    A method that draws nothing is fitted once for all seeds.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        _check_fixed(cells[0].configuration)
        self.pictures: tuple[Pictures, Pictures] | None = None
        self.scored: dict[int, tuple[Backbone, Scores]] = {}

    def measure(self, cell: Cell) -> Measured:
        """Fit, score and evaluate. Raises what opening the category, reading its pictures and the method raise."""
        p = cell.configuration.parameters
        with Watch() as watch:
            with watch.stage("reading"):
                train, test = self.pictures = self.pictures or _pictures(cell, Framing(p["resize"], p["crop"]))
            seed = cell.seed if draws(cell.configuration) else 0
            if seed not in self.scored:
                with watch.stage("fitting"):
                    detector = open_method(cell.configuration, seed)
                    detector.check(len(train.samples))
                    detector.fit_pictures(train, silent)
                with watch.stage("scoring"):
                    self.scored[seed] = detector.backbone, detector.score_pictures(test, silent)
            backbone, scores = self.scored[seed]
            with watch.stage("metrics"):
                found = evaluate(scores)
        return _measured(found, scores, train, test, backbone, watch)


def open_method(configuration: Configuration, seed: int = 0, weights: str | None = None) -> Method:
    """A method of `pclib.methods` with a configuration's parameters; `weights` in place of the configuration's."""
    own = {k: v for k, v in configuration.parameters.items() if k not in FIXED.get(configuration.method, {})}
    network = (own.pop(name) for name in ("backbone", "layers"))
    backbone = load_backbone(*network, weights=weights or own["weights"], precision=own["precision"])
    own = {k: v for k, v in own.items() if k not in ("weights", "precision")}
    return CLASSES[configuration.method](backbone, **own, **({"seed": seed} if draws(configuration) else {}))


def draws(configuration: Configuration) -> bool:
    """Whether a method of `pclib.methods` draws anything, so that another seed gives other scores."""
    return "seed" in inspect.signature(CLASSES[configuration.method]).parameters


CLASSES: dict[str, Callable[..., Method]] = {c.kind: c for c in (SPADE, PaDiM, MahalanobisAD, OCSVM)}
METHODS: dict[str, type[Bench]] = {"patchcore": PatchCoreBench, **dict.fromkeys(CLASSES, MethodBench)}


def _check_fixed(configuration: Configuration) -> None:
    for name, value in FIXED.get(configuration.method, {}).items():
        if (asked := configuration.parameters[name]) != value:
            raise ValueError(f"{name} is {value} in this version of {configuration.method}, not {asked}")


def _open(cell: Cell) -> Category:
    category = cell.open()
    if not category.test:
        raise ValueError(f"{category.name}: has no test pictures to measure on")
    return category


def _pictures(cell: Cell, framing: Framing) -> tuple[Pictures, Pictures]:
    """What the cell is measured on. Embedded pictures cannot change, so that several methods share what was drawn."""
    if cell.data == cells.TOYBOX:
        return _drawn(cell.category, framing, tuple(cells.PICTURES.items()))
    return _read(_open(cell), framing)


@lru_cache(maxsize=16)  # all embedded categories, in two sizes
def _drawn(category: str, framing: Framing, pictures: tuple[tuple[str, Any], ...]) -> tuple[Pictures, Pictures]:
    return _read(Toybox(category, **dict(pictures)), framing)


def _read(category: Category, framing: Framing) -> tuple[Pictures, Pictures]:
    """The category's train and test pictures, the latter with their masks, all known to be usable."""
    train = read(category.train, framing, progress=silent)
    test = with_masks(read(category.test, framing, progress=silent))
    check_masks(test.samples)
    return train, test


def _measured(
    found: Evaluation, scores: Scores, train: Pictures, test: Pictures, backbone: Backbone, watch: Watch
) -> Measured:
    counts = {name: getattr(found, name) for name in ("n_good", "n_anomalous", "n_regions")}
    return Measured(
        metrics=metrics_of(found),
        counts={"n_train": len(train.samples), **counts},
        scores=scores_of(scores),
        timing=watch.seconds,
        memory=watch.most,
        provenance=provenance([train, test], backbone.digest),
    )


def rooms(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Empty float32 arrays, in memory if most of it stays free, else in temporary files that vanish with them.

    Raises MemoryError if there is no room on the disk either.
    """
    needed, available = sum(4 * int(np.prod(shape)) for shape in shapes), available_memory()
    if needed <= ROOM * available:
        return [np.empty(shape, np.float32) for shape in shapes]
    folder = tempfile.gettempdir()
    if needed > (free := psutil.disk_usage(folder).free):
        raise MemoryError(
            f"the features take {gibibytes(needed)}; {gibibytes(available)} of memory are available, and {folder} has "
            f"{gibibytes(free)} left: free some of either, or name a larger disk in TMPDIR"
        )
    return [np.memmap(tempfile.TemporaryFile(), np.float32, "w+", shape=shape) for shape in shapes]


@dataclass(frozen=True)
class _Known(Sample):
    """A test picture that has been read; its mask is asked for again in every cell, and kept."""

    pixels: tuple[int, int]
    mask: np.ndarray | None

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels

    def load_mask(self) -> np.ndarray | None:
        return super().load_mask() if self.mask is None else self.mask


def with_masks(pictures: Pictures) -> Pictures:
    """The same pictures with their masks in memory, for all who ask for them later."""
    known = [_Known(s.name, s.defect, s.size, s.load_mask() if s.label else None) for s in pictures.samples]
    return Pictures(list(known), pictures.pixels, pictures.digests)


def metrics_of(found: Evaluation) -> dict[str, float | None]:
    """The three metrics with the ends of their intervals, flat."""
    flat: dict[str, float | None] = {}
    for name in METRICS.values():
        ends = getattr(found, f"{name}_interval") or (None, None)
        flat |= {name: getattr(found, name), f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return flat


def scores_of(scores: Scores) -> dict[str, np.ndarray]:
    """What is kept of each test picture: name, defect and image score."""
    return {
        "name": np.array([s.name for s in scores.samples]),
        "defect": np.array([s.defect or "" for s in scores.samples]),
        "score": scores.image,
    }


def provenance(pictures: Iterable[Pictures], weights: str) -> dict[str, Any]:
    """What a measurement rests on: hashes of pictures (with masks) and weights, the code, versions, kind of machine."""
    hashed = hashlib.sha256()
    for sample, seen in ((s, d) for p in pictures for s, d in zip(p.samples, p.digests, strict=True)):
        mask = sample.load_mask() if sample.label else None
        hashed.update(f"{sample.name} {sample.defect} {seen} ".encode())
        hashed.update(b"" if mask is None else np.packbits(mask).tobytes())
    return {
        "data": hashed.hexdigest(),
        "weights": weights,
        "code": code_version(),
        "versions": versions(),
        "host": host(),
    }


@lru_cache
def code_version() -> str:
    """The package's version, and the first digits of a hash of its source as it lies here."""
    folder = Path(__file__).parent
    sources = [f"{p.relative_to(folder).as_posix()} {sha256(p)}" for p in sorted(folder.rglob("*.py"))]
    return f"{__version__}+{hashlib.sha256(' '.join(sources).encode()).hexdigest()[:12]}"


@lru_cache
def host() -> str:
    """The kind of machine, not which one: processor, cores, GPU."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        named = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = named[0] if named else name
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {os.cpu_count()} cores{gpu}"
