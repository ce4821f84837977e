"""Which vectors to keep: greedy k-center selection, and what it is compared with.

Farthest-first: keep picking the vector that lies farthest from all picked so far. Its covering radius (the largest
distance from any vector to the nearest picked one) is at most twice the best possible for that many picks (Gonzalez
1985). `greedy` is exact: `_farthest` says how it gets by with a part of the plain loop's work. `at_random`, `by_kmeans`
and `greedy_on_sample` give up that guarantee, each for something else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import index
from typing import Self, SupportsIndex

import numpy as np
import torch
from tqdm.auto import tqdm

from pclib._checks import at_least, one_of
from pclib._device import available_memory, gibibytes
from pclib._farthest import COLUMNS, ROWS, FarthestFirst, Vectors, blocks, fetch

OFFICIAL_STARTS = 10
STORAGE = {"float32": torch.float32, "float16": torch.float16}
KMEANS_ROUNDS = 10
Features = np.ndarray | torch.Tensor
Progress = Callable[..., Iterable]


@dataclass(frozen=True, eq=False)
class Selection:
    """The vectors to keep.

    indices  (size,) int64, in order of picking
    radii    (size,) float32 covering radius after each pick, in the units of the features that were searched; None from
             a selection that does not go by it
    """

    indices: np.ndarray
    radii: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        radius = "" if self.radii is None else f", covering radius {self.radii[-1]:.3g}"
        return f"Selection({len(self)} vectors{radius})"

    def first(self, size: int) -> Self:
        """The first picks alone. Of a greedy selection, what a run for that size gives: one run serves all sizes."""
        if not 1 <= size <= len(self):
            raise ValueError(f"size must lie in [1, {len(self)}], the picks there are, got {size}")
        return type(self)(self.indices[:size], None if self.radii is None else self.radii[:size])


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or the notebook's stop button, while vectors were picked; `selection` holds the picks made until then."""

    def __init__(self, selection: Selection) -> None:
        super().__init__(
            f"stopped after {len(selection)} picks; greedy(..., resume=stopped.selection) goes on from there"
        )
        self.selection = selection


@torch.inference_mode()
def greedy(
    features: Features,
    size: int,
    *,
    start: int | str = "official",
    project: int | None = 128,
    seed: int = 0,
    resume: Selection | None = None,
    storage: str = "float32",
    device: torch.device | None = None,
    progress: Progress = tqdm,
) -> Selection:
    """Pick `size` vectors, farthest first.

    features (n, d) of any float type, on any device, or a memory-mapped file. `project` is the width of a random
    projection that distances are taken in, as the authors do, or None for the features themselves; features that
    already have that width are left alone.
    `start` is the index to pick first, or "official": the first pick is the vector with the largest mean distance to
    10 random ones, and those means stay in the running minimum for good, so they cap early choices.
    `resume` is an earlier selection from the same features with the same arguments, to go on from.
    `storage="float16"` halves the memory of the projected copy and rounds it: an approximation, off by default.
    `device` is where distances are computed: None for where the features are.
    Exact: the same picks as the plain loop but for ties and the last bits of float32. No vector is picked twice. If
    fewer vectors differ than were asked for, repeats fill up, with radius 0 and a warning.
    Beyond the features it holds the projected copy, some 30 bytes per vector and blocks of 8 MB. `progress` is called
    like tqdm. Raises ValueError for a size outside [1, n], an unknown start, values that are not finite and a selection
    to resume that cannot be from this run; MemoryError before the work starts if it would not fit; `Interrupted`.
    Source: Roth et al. 2022, Algorithm 1; the start is that of the official code's `approx_greedy_coreset`.
    """
    _check_shape(features)
    n, width = features.shape
    size = _checked_size(size, n)
    first = index(start) if isinstance(start, SupportsIndex) else None
    if start != "official" and (first is None or not 0 <= first < n):
        raise ValueError(f"start must be 'official' or an index in [0, {n}), got {start!r}")
    one_of("storage", storage, STORAGE)
    if project is not None:
        at_least("project", project, 1)
    projecting = project is not None and project != width
    here = features.device if isinstance(features, torch.Tensor) else torch.device("cpu")
    device = device or here
    copying = projecting or storage != "float32" or device != here
    copied = n * (project or width) * STORAGE[storage].itemsize if copying else 0
    _check_memory(copied + 32 * n + 8 * ROWS * COLUMNS, features, size, device)
    rng = np.random.default_rng(seed)
    if projecting:
        features = random_projection(features, project, rng, STORAGE[storage], device)  # type: ignore[arg-type]
    elif copying:
        features = torch.as_tensor(features).to(device, STORAGE[storage])
    search = FarthestFirst(Vectors(features))
    if first is None:
        search.cap_by_means(rng.choice(n, size=min(OFFICIAL_STARTS, n), replace=False))
    if resume is not None:
        _check_resumed(resume, size, search.first_pick(first))
        search.go_on_from(resume.indices.tolist(), np.square(resume.radii, dtype=float).tolist())  # type: ignore[arg-type]
    elif first is not None:
        search.go_on_from([first], [np.inf])
    try:
        for _ in progress(search.picks(size), total=size, desc="coreset", unit="pick"):
            pass
    except KeyboardInterrupt as stop:
        if known := len(search.radii2):
            raise Interrupted(_selection(search, known)) from stop
        raise
    if search.repeats:
        warnings.warn(
            f"only {size - search.repeats} of the {size} vectors asked for differ; {search.repeats} repeat others",
            stacklevel=3,
        )
    return _selection(search, size)


def random_projection(
    features: Features,
    width: int,
    rng: np.random.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> torch.Tensor:
    """(n, d) to (n, width) by a dense random matrix.

    Entries are uniform, as in the official code (an untrained linear layer), but scaled so that squared distances are
    kept on average; the scale changes no pick and lets covering radii be read in the features' own units.
    """
    device = device or (features.device if isinstance(features, torch.Tensor) else None)
    matrix = torch.from_numpy(rng.uniform(-1, 1, (features.shape[1], width)).astype(np.float32) * (3 / width) ** 0.5)
    matrix = matrix.to(device)
    projected = torch.empty(len(features), width, dtype=dtype, device=device)
    for rows in blocks(len(features)):
        projected[rows] = fetch(features, rows).to(device) @ matrix
    return projected


def at_random(features: Features, size: int, *, seed: int = 0) -> Selection:
    """`size` vectors drawn without replacement. Takes no time and keeps what is common: rare patches fall out first."""
    _check_shape(features)
    size = _checked_size(size, len(features))
    return Selection(np.random.default_rng(seed).choice(len(features), size=size, replace=False))


def by_kmeans(features: Features, size: int, *, seed: int = 0, rounds: int = KMEANS_ROUNDS) -> Selection:
    """The vectors nearest to the means of `size` clusters (Lloyd's algorithm, FAISS), each once.

    Serves the mean squared distance to the kept vectors, where greedy serves the largest one: dense regions get more
    vectors, outliers none of their own. Costs `rounds` times the distances of the plain loop. If two means share a
    nearest vector, vectors drawn at random fill up.
    """
    import faiss

    _check_shape(features)
    size = _checked_size(size, len(features))
    at_least("rounds", rounds, 1)
    x = np.ascontiguousarray(np.asarray(torch.as_tensor(features).cpu()), dtype=np.float32)
    if not np.isfinite(x).all():
        raise ValueError("features must be finite")
    # FAISS's defaults draw a sample of 256 vectors per cluster and warn below 39
    clusters = faiss.Kmeans(
        x.shape[1], size, niter=rounds, seed=seed, max_points_per_centroid=len(x), min_points_per_centroid=1
    )
    clusters.train(x)
    index_of_all = faiss.IndexFlatL2(x.shape[1])
    index_of_all.add(x)
    found = index_of_all.search(np.asarray(clusters.centroids), 1)[1][:, 0]
    kept = found[np.sort(np.unique(found, return_index=True)[1])].astype(np.int64)
    others = np.setdiff1d(np.arange(len(x)), kept)
    filling = np.random.default_rng(seed).choice(others, size=size - len(kept), replace=False)
    return Selection(np.concatenate([kept, filling]))


def greedy_on_sample(features: Features, size: int, *, sample: int, seed: int = 0, **options: object) -> Selection:
    """Greedy selection among `sample` vectors drawn at random: cheaper by n / sample, blind to all that is not drawn.

    Radii are left out, because they would be those of the sample. `options` are those of `greedy`.
    """
    _check_shape(features)
    sample = _checked_size(sample, len(features), "sample")
    drawn = np.sort(np.random.default_rng(seed).choice(len(features), size=sample, replace=False))
    some = fetch(features, torch.from_numpy(drawn)) if sample < len(features) else features
    return Selection(drawn[greedy(some, size, seed=seed, **options).indices])  # type: ignore[arg-type]


@torch.inference_mode()
def covering_radius(features: Features, indices: np.ndarray) -> float:
    """The largest distance from any of the features (n, d) to the nearest of those picked."""
    search = FarthestFirst(Vectors(features))
    search.go_on_from(np.asarray(indices).tolist(), [])
    return float(search.nearest.max().clamp_min(0).sqrt())


def _selection(search: FarthestFirst, size: int) -> Selection:
    """The first picks; the last bits of two ways of computing a distance must not make a radius grow."""
    radii = np.sqrt(np.array(search.radii2[:size], dtype=np.float32))
    return Selection(np.array(search.picked[:size]), np.maximum.accumulate(radii[::-1])[::-1].copy())


def _check_shape(features: Features) -> None:
    if features.ndim != 2:
        raise ValueError(f"features must be (n, d), got shape {tuple(features.shape)}; flatten the grid of patches")


def _checked_size(size: int, n: int, argument: str = "size") -> int:
    if (size := at_least(argument, size, 1)) > n:
        raise ValueError(f"{argument} must be at most the number of features, got {size} for {n}")
    return size


def _check_resumed(resume: Selection, size: int, first: int) -> None:
    if resume.radii is None or len(resume) > size or resume.indices[0] != first:
        raise ValueError(
            f"cannot resume from {resume}: it must be a greedy selection of at most {size} vectors, made from the same "
            f"features with the same start, project and seed; this one would begin with vector {first}"
        )


def _check_memory(needed: int, features: Features, size: int, device: torch.device) -> None:
    available = available_memory(device)
    if needed > available:
        n, width = features.shape
        raise MemoryError(
            f"selecting {size} of {n} vectors of width {width} takes {gibibytes(needed)} beyond the features, and "
            f"{gibibytes(available)} are available: use a smaller project=, storage='float16', or fewer features"
        )
