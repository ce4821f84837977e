"""What cells will take before they are run: seconds, memory and disk, from stages measured on this machine.

Each kind of stage is measured once on a few embedded pictures, through the code that will run, and kept in the store
for this kind of machine. What is not measured is scaled: features and reading with the number of pictures, metrics with
it and with the area of defects, the greedy selection as it grew between two sizes, the search with queries and with the
size of the bank; what another method's fit takes, with pictures and their altered copies. Embedded pictures are drawn
once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from pclib import inventory
from pclib._checks import counted
from pclib._device import gibibytes
from pclib._watch import Watch
from pclib.cells import PICTURES, TOYBOX, Cell
from pclib.configurations import Configuration, digest
from pclib.coreset import greedy
from pclib.detector import Scores
from pclib.extraction import silent
from pclib.framing import Framing, read
from pclib.measuring import CLASSES, code_version, draws, host, open_detector, open_method, with_masks
from pclib.methods._method import Method
from pclib.metrics import evaluate
from pclib.neighbors import LARGE
from pclib.patchcore import DIM, PatchCore
from pclib.samples import Sample
from pclib.store import Store
from pclib.toybox import Toybox

TRAIN, GOOD, DEFECTIVE = 24, 12, 12  # pictures that stages are measured on
SHOWN = "weave"  # the embedded category they are of
FEW = 8  # pictures that a method is fitted on, beside many
READ = 8  # pictures that reading is measured on
NUMBER = 4  # defects in a defective one
TIMED = 20_000  # vectors, at most, that the selection is timed on
MIXED = 3  # further sets of as many, mixed of pairs of real ones; selecting among them takes as long as among real ones
DEFECTIVE_SHARE = 0.03  # of the pixels of test pictures that are not here
STEADY = 4  # pictures that go through the network before the clock starts
ROW, SCORE = 4096, 48  # bytes that a cell takes in the store, and each of its test pictures
STRIDES = {"layer1": 4, "layer2": 8, "layer3": 16, "blocks.1": 4, "blocks.2": 8, "blocks.4": 16}  # of a group's grid
UNMEASURED = (OSError, ValueError)  # what opening data or weights raises that are not here, or cannot be used


@dataclass(frozen=True)
class Estimate:
    """What cells will take on a machine of the kind `host`.

    seconds  for each group, one after another in one process; two processes on one machine share its cores
    memory   the most bytes that one process holds: the largest group's
    disk     bytes in the store
    unknown  cells of methods whose stages nothing here can measure; they are in none of the above
    notes    what was assumed
    """

    cells: int
    seconds: tuple[float, ...]
    memory: int
    disk: int
    unknown: int
    host: str
    notes: tuple[str, ...] = field(default=())

    def on(self, workers: int) -> float:
        """Seconds on so many equal machines: the longest groups first, each to the one that is free earliest."""
        busy = [0.0] * workers
        for seconds in sorted(self.seconds, reverse=True):
            busy[busy.index(min(busy))] += seconds
        return max(busy)

    def __repr__(self) -> str:
        what = f"{counted(self.cells, 'cell')} in {counted(len(self.seconds), 'group')}"
        lines = [
            f"{what}: about {duration(self.on(1))} one after another, {duration(self.on(4))} on four such machines",
            f"up to {gibibytes(self.memory)} of memory for each process, {self.disk / 1e6:.2g} MB in the store",
            f"from stages measured on {self.host}",
        ]
        if self.unknown:
            lines.append(f"{self.unknown} cells are of methods that cannot be estimated, and not counted")
        return "\n".join([*lines, *self.notes])


def estimate(
    groups: Sequence[Sequence[Cell]], store: Store | None = None, *, progress: Callable[..., Any] = tqdm
) -> Estimate:
    """What groups of cells (`Plan.groups()`) will take. Stages that the store has no cost of are measured first.

    Costs that the store has for this kind of machine are used. New ones are kept there, unless weights or pictures had
    to be assumed or somebody else is writing to it.
    """
    known = {} if store is None else store.costs(host())
    able = [cells for cells in groups if _can(cells)]
    wanted = {key: probe for cells in able for key, probe in _probes(cells).items()}
    unknown = [key for key in wanted if key not in known]
    bar = progress(unknown, desc="stages", unit="stage") if unknown else ()
    fresh = {key: wanted[key]() for key in bar}
    certain = {key: cost for key, cost in fresh.items() if not cost.get("random") and not cost.get("assumed")}
    if store is not None and certain:
        try:
            with store.writing():
                store.add_costs(host(), certain)
        except ValueError:
            pass  # they will be measured again; the estimate does not depend on it
    costs = {**known, **fresh}
    found, drawn = [], set()
    for cells in able:
        reading = _keys(cells)[1]
        found.append(_group(cells, costs, drawn=reading in drawn))
        if cells[0].data == TOYBOX:
            drawn.add(reading)
    used = [costs[key] for key in wanted]
    notes = []
    if any(cost.get("random") for cost in used):
        notes.append("weights that are not here were taken to be as fast as random ones")
    if any(cost.get("assumed") for cost in used):
        notes.append("pictures that are not here were taken to be PNG files of 1024 x 1024 pixels")
    return Estimate(
        cells=sum(map(len, able)),
        seconds=tuple(seconds for seconds, _ in found),
        memory=max((size for _, size in found), default=0),
        disk=sum(ROW + SCORE * _pictures(cell)[1] for cells in able for cell in cells),
        unknown=sum(len(cells) for cells in groups if not _can(cells)),
        host=host(),
        notes=tuple(notes),
    )


def memory(cells: Sequence[Cell]) -> int | None:
    """Bytes that the arrays of a group take together, counted, not measured; None if its method is not known here."""
    return _arrays(cells) if _can(cells) else None


def duration(seconds: float) -> str:
    """Seconds as people say them: 40 s, 3.5 min, 12 h."""
    for most, unit, length in ((100, "s", 1), (6000, "min", 60)):
        if seconds < most:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds / 3600:.3g} h"


def _can(cells: Sequence[Cell]) -> bool:
    return cells[0].configuration.method in ("patchcore", *CLASSES)


def _probes(cells: Sequence[Cell]) -> dict[str, Callable[[], dict[str, float]]]:
    """What must be known of a group, by name, and how to find it out."""
    row, (stages, reading) = cells[0].configuration, _keys(cells)
    if row.method in CLASSES:
        return {stages: lambda: _measure_method(row), reading: lambda: _measure_reading(cells[0])}
    share = _largest(cells)
    return {stages: lambda: _measure_stages(dict(row.parameters), share), reading: lambda: _measure_reading(cells[0])}


def _keys(cells: Sequence[Cell]) -> tuple[str, str]:
    cell, parameters = cells[0], cells[0].configuration.parameters
    if cell.configuration.method in CLASSES:
        facts: dict[str, Any] = {"method": cell.configuration.method, **_with_copies(cell.configuration, 1).parameters}
    else:
        names = ("backbone", "layers", "weights", "precision", "resize", "crop", "neighbors", "protocol", "projection")
        facts = {"largest": _largest(cells), **{name: parameters[name] for name in names}}
    place = f"{cell.data}/{cell.category}" if cell.data == TOYBOX else cell.data
    framed = f"{parameters['resize']} {parameters['crop']}"
    return f"stages {digest({'code': code_version(), **facts})}", f"reading {place} {framed}"


def _with_copies(row: Configuration, copies: int) -> Configuration:
    """With so many altered copies of each picture, if the method learns from any: what they take is scaled."""
    return row.changed(row.name, augmentation=copies) if row.parameters.get("augmentation") else row


def _largest(cells: Sequence[Cell]) -> float:
    return max((s for c in cells if (s := c.configuration.parameters["coreset"]) < 1), default=0.0)


def _pictures(cell: Cell) -> tuple[int, int]:
    """How many pictures there are to train on and to test on; of a folder that is not here, (0, 0)."""
    if cell.data == TOYBOX:
        return PICTURES["train"], PICTURES["good"] + PICTURES["defective"]
    if cell.data in inventory.DATA_SETS:
        counts = inventory.DATA_SETS[cell.data].categories[cell.category]
        return counts.train, counts.good + sum(counts.defects.values())
    try:
        category = cell.open()
    except UNMEASURED:
        return 0, 0
    return len(category.train), len(category.test)


def _group(cells: Sequence[Cell], costs: dict[str, dict[str, float]], drawn: bool) -> tuple[float, int]:
    """Seconds and bytes of a group; `drawn` if its pictures are there already."""
    stages, reading = (costs[key] for key in _keys(cells))
    if drawn:
        reading = {**reading, "each": 0.0}
    if cells[0].configuration.method in CLASSES:
        return _method_group(cells, stages, reading)
    train, test = _pictures(cells[0])
    vectors, queries = int(train * stages["patches"]), int(test * stages["patches"])
    seconds = stages["start"] + (train + test) * (reading["each"] + stages["embedding"])
    seeds = {c.seed for c in cells if c.configuration.parameters["coreset"] < 1}
    seconds += len(seeds) * vectors * (stages["greedy"] + stages["greedy_pair"] * vectors)
    area = test * reading["defective"] * cells[0].configuration.parameters["crop"] ** 2
    for cell in cells:
        kept = int(vectors * cell.configuration.parameters["coreset"])
        size = "large" if kept >= LARGE else "small"
        seconds += queries * (stages[f"{size}_query"] + stages[f"{size}_pair"] * kept) + stages[f"{size}_build"] * kept
        seconds += test * stages["metrics"] + area * stages["intervals"]
    return seconds, int(stages["base"]) + _arrays(cells, int(stages["patches"]))


def _method_group(cells: Sequence[Cell], stages: dict[str, float], reading: dict[str, float]) -> tuple[float, int]:
    """The same of a method of `pclib.methods`."""
    parameters, (train, test) = cells[0].configuration.parameters, _pictures(cells[0])
    copies = (2 + (parameters.get("augmentation") or 1)) / 3  # half of them stay as they are; as measured: 1.5 passes
    fits = len({c.seed for c in cells}) if stages["seeded"] else 1
    seconds = stages["start"] + (train + test) * reading["each"]
    seconds += fits * (stages["fit"] + train * copies * stages["fit_each"] + test * stages["score_each"])
    area = test * reading["defective"] * parameters["crop"] ** 2
    seconds += len(cells) * (test * stages["metrics"] + area * stages["intervals"])
    return seconds, int(stages["base"]) + _arrays(cells)


def _arrays(cells: Sequence[Cell], patches: int | None = None) -> int:
    """Bytes of pictures, and what a method says that it takes; of PatchCore features, and the larger of what the
    selection and what the largest bank takes."""
    parameters = cells[0].configuration.parameters
    crop, (train, test) = parameters["crop"], _pictures(cells[0])
    pixels = 3 * (train + test) * crop**2 + 2 * test * crop**2
    if cells[0].configuration.method in CLASSES:
        return pixels + _unweighted(cells[0].configuration).memory(train)
    patches = patches or (-(-crop // STRIDES.get(parameters["layers"][0], 4))) ** 2
    largest = max(c.configuration.parameters["coreset"] for c in cells)
    features = 4 * DIM * patches * (train + test)
    selection = 8 * (parameters["projection"] or DIM) * patches * train if _largest(cells) else 0
    return pixels + features + max(selection, _bank(int(patches * train * largest)))


def _bank(size: int) -> int:
    """Bytes of a bank while it is made searchable: itself and its index, and four copies from which it is shortened."""
    return 4 * DIM * size * (6 if size >= LARGE else 2)


def _measure_stages(p: dict[str, Any], share: float) -> dict[str, float]:
    """Seconds of each stage, and bytes besides the arrays."""
    with Watch() as clock:
        _or_random(open_detector, p)  # what a process does once
        with clock.stage("start"):
            detector, random = _or_random(open_detector, p)
        size = max(64, p["resize"] or p["crop"])
        pictures = Toybox(SHOWN, train=TRAIN, good=GOOD, defective=DEFECTIVE, size=size, number=NUMBER)
        train, test, first = (
            read(samples, detector.framing, progress=silent)
            for samples in (pictures.train, pictures.test, pictures.train[:STEADY])
        )
        test = with_masks(test)
        with clock.stage("start"):
            detector.embed(first, "", silent)
        with clock.stage("embedding"):
            features = detector.embed(train, "", silent)
            tested = detector.embed(test, "", silent)
        vectors = features.reshape(-1, DIM)
        found: dict[str, float] = {"patches": len(vectors) / TRAIN, "random": random}
        rng = np.random.default_rng(0)
        order = rng.permutation(len(vectors))
        ends = {"small": (min(128, len(order)), min(LARGE - 1, len(order)))}
        ends["large"] = (LARGE, len(order)) if len(order) >= 2 * LARGE else ends["small"]
        for size, sizes in ends.items():
            few, many = (_search(detector, train, test, features, tested, order[:m]) for m in sizes)
            pair = max(0.0, (many.query - few.query) / max(1, sizes[1] - sizes[0]))
            found |= {f"{size}_query": max(0.0, few.query - pair * sizes[0]), f"{size}_pair": pair}
            found |= {f"{size}_build": many.build / sizes[1]}
        metrics = _measure_metrics(many.scores)
    arrays = features.nbytes + tested.nbytes + _bank(ends["large"][1])
    found["greedy"], found["greedy_pair"] = _greedy(vectors, p, share) if share else (0.0, 0.0)
    return {
        **found,
        **metrics,
        "start": clock.seconds["start"],
        "embedding": clock.seconds["embedding"] / (TRAIN + len(test.samples)),
        "base": max(0, clock.most - arrays),
    }


def _measure_method(row: Configuration) -> dict[str, float]:
    """Seconds of a method's stages, and bytes besides the arrays: fitted twice, to tell what grows with pictures."""
    few = max(FEW, row.parameters.get("neighbors", 0))
    many, size = few + TRAIN, max(64, row.parameters["resize"] or row.parameters["crop"])
    pictures = Toybox(SHOWN, train=many, good=GOOD, defective=DEFECTIVE, size=size, number=NUMBER)
    row = _with_copies(row, 1)
    with Watch() as clock:
        _or_random(open_method, row)  # what a process does once
        with clock.stage("start"):
            detector, random = _or_random(open_method, row)
        read_all = [pictures.train[:few], pictures.train, pictures.test]
        first, train, test = (read(samples, detector.framing, progress=silent) for samples in read_all)
        test = with_masks(test)
        detector.fit_pictures(first, silent)  # what a process does once
        with clock.stage("short"):
            detector.fit_pictures(first, silent)
        with clock.stage("long"):
            detector.fit_pictures(train, silent)
        with clock.stage("scoring"):
            scores = detector.score_pictures(test, silent)
        metrics = _measure_metrics(scores)
    each = max(0.0, (clock.seconds["long"] - clock.seconds["short"]) / (many - few))
    arrays = train.pixels.nbytes + test.pixels.nbytes + detector.memory(many)
    return {
        **metrics,
        "random": random,
        "seeded": draws(row),
        "start": clock.seconds["start"],
        "fit": max(0.0, clock.seconds["short"] - few * each),
        "fit_each": each,
        "score_each": clock.seconds["scoring"] / len(test.samples),
        "base": max(0, clock.most - arrays),
    }


def _measure_metrics(scores: Scores) -> dict[str, float]:
    """Seconds of the metrics for each picture, and of their intervals for each defective pixel."""
    clock = Watch()
    evaluate(scores)  # what a process does once
    with clock.stage("metrics"):
        evaluate(scores, replicates=0)
    with clock.stage("intervals"):
        evaluate(scores)
    area = sum(np.sum(scores.framing.mask(s.load_mask())) for s in scores.samples)  # type: ignore[arg-type]
    intervals = max(0.0, clock.seconds["intervals"] - clock.seconds["metrics"])
    return {"metrics": clock.seconds["metrics"] / len(scores.samples), "intervals": float(intervals / area)}


@lru_cache
def _unweighted(row: Configuration) -> Method:
    """To ask what it takes, which no weights are needed for."""
    return open_method(row, weights="random")


def _measure_reading(cell: Cell) -> dict[str, float]:
    """Seconds to read and frame a picture (with its mask, if it is defective), and the share of defective pixels."""
    p = cell.configuration.parameters
    framing, assumed = Framing(p["resize"], p["crop"]), False
    try:
        seconds, share = _read(_some(cell.open().test), framing)
    except UNMEASURED:
        with tempfile.TemporaryDirectory() as folder:
            seconds, _ = _read(_written(Path(folder)), framing)
        share, assumed = DEFECTIVE_SHARE, True
    return {"each": seconds, "defective": share, "assumed": assumed}


def _read(samples: Sequence[Sample], framing: Framing) -> tuple[float, float]:
    """Seconds for each picture, and its share of defective pixels."""
    clock = Watch()
    with clock.stage("reading"):
        read(samples, framing, progress=silent)
        masks = [sample.load_mask() for sample in samples if sample.label]
    area = sum(float(np.mean(framing.mask(mask))) for mask in masks if mask is not None)
    return clock.seconds["reading"] / len(samples), area / len(samples)


def _some(samples: Sequence[Sample]) -> list[Sample]:
    """A few, evenly spaced. Raises ValueError if there are none."""
    if not samples:
        raise ValueError("no test pictures")
    return list(samples[:: max(1, len(samples) // READ)][:READ])


def _written(folder: Path) -> list[Sample]:
    """Pictures of MVTec AD's size, as files."""
    from pclib.datasets import open_images

    for i, sample in enumerate(Toybox(SHOWN, train=1, good=2, defective=0, size=1024).test):
        sample.load().save(folder / f"{i}.png")
    return list(open_images([folder])) * (READ // 2)


def _or_random(opened: Callable[..., Any], what: Any) -> tuple[Any, bool]:
    """What is opened, and whether its weights had to be random ones."""
    try:
        return opened(what), False
    except UNMEASURED:
        return opened(what, weights="random"), True


def _greedy(vectors: np.ndarray, p: dict[str, Any], share: float) -> tuple[float, float]:
    """Seconds of the selection for each vector, and for each pair of vectors."""
    rng, vectors = np.random.default_rng(0), vectors[:TIMED]
    mixed = [vectors]
    for _ in range(MIXED):
        weight = rng.uniform(size=(len(vectors), 1)).astype(np.float32)
        mixed.append(weight * vectors + (1 - weight) * vectors[rng.permutation(len(vectors))])

    def seconds(vectors: np.ndarray) -> float:
        clock = Watch()
        with clock.stage("greedy"):
            size = max(1, int(len(vectors) * share))
            greedy(vectors, size, start=p["start"], project=p["projection"], seed=0, progress=silent)
        return clock.seconds["greedy"]

    seconds(vectors)  # what a process does once
    few, many = len(vectors), (1 + MIXED) * len(vectors)
    short, long = seconds(vectors), seconds(np.concatenate(mixed))
    pair = max(0.0, (long - short * many / few) / (many * (many - few)))
    return max(0.0, short / few - pair * few), pair


@dataclass(frozen=True, eq=False)
class _Searched:
    """Seconds to make the bank searchable, seconds of each query, and the scores."""

    build: float
    query: float
    scores: Any


def _search(detector: PatchCore, train: Any, test: Any, features: Any, tested: Any, kept: np.ndarray) -> _Searched:
    clock = Watch()
    with clock.stage("build"):
        fitted = detector.remember(train, features, kept)
        assert fitted.bank is not None
        fitted.bank.search(tested[0, 0, :1])  # indexes
    with clock.stage("query"):
        scores = fitted.score_features(test, tested)
    return _Searched(clock.seconds["build"], clock.seconds["query"] / tested[..., 0].size, scores)
