"""Which vectors to keep: greedy k-center selection.

Farthest-first: keep picking the vector that lies farthest from all picked so far. Its covering radius (the largest
distance from any vector to the nearest picked one) is at most twice the best possible for that many picks (Gonzalez
1985). The plain loop passes over all N vectors once per pick. `greedy` gives the same picks from a few passes: only
vectors that could be picked next are kept up to date, the others catch up in blocks, as matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

import numpy as np
import torch
from tqdm.auto import tqdm

from pclib._checks import at_least

CANDIDATES = 4096  # vectors kept up to date between passes: their block stays in a core's cache
ROWS, COLUMNS = 8192, 512  # a block of the distance matrix: 16 MB
OFFICIAL_STARTS = 10


@dataclass(frozen=True, eq=False)
class Selection:
    """The vectors to keep.

    indices  (size,) int64, in order of picking
    radii    (size,) float32 covering radius after each pick, in the units of the features that were searched
    """

    indices: np.ndarray
    radii: np.ndarray

    def __repr__(self) -> str:
        return f"Selection({len(self.indices)} vectors, covering radius {self.radii[-1]:.3g})"


@torch.inference_mode()
def greedy(
    features: np.ndarray | torch.Tensor,
    size: int,
    *,
    start: int | str = "official",
    project: int | None = 128,
    seed: int = 0,
    progress: Callable[..., Iterable] = tqdm,
) -> Selection:
    """Pick `size` vectors, farthest first.

    features (n, d), on any device. `project` is the width of a random projection that distances are taken in, as the
    authors do, or None for the features themselves; features that already have that width are left alone.
    `start` is the index to pick first, or "official": the first pick is the vector with the largest mean distance to
    10 random ones, and those means stay in the running minimum for good, so they cap early choices.
    Exact: the same picks as the plain loop but for ties and the last bit of float32. No vector is picked twice.
    `progress` is called like tqdm. Raises ValueError for a size outside [1, n], an unknown start, or features whose
    norms are not finite.
    Source: Roth et al. 2022, Algorithm 1; the start is that of the official code's `approx_greedy_coreset`.
    """
    x = _as_floats(features)
    n = len(x)
    size = at_least("size", size, 1)
    if size > n:
        raise ValueError(f"size must be at most the number of features, got {size} for {n}")
    first = index(start) if isinstance(start, SupportsIndex) else None
    if start != "official" and (first is None or not 0 <= first < n):
        raise ValueError(f"start must be 'official' or an index in [0, {n}), got {start!r}")
    rng = np.random.default_rng(seed)
    if project is not None and project != x.shape[1]:
        at_least("project", project, 1)
        x = random_projection(x, project, rng)
    _check_finite(torch.linalg.vector_norm(x, dim=1))
    search = _FarthestFirst(x)
    if first is None:
        search.cap_by_means(rng.choice(n, size=min(OFFICIAL_STARTS, n), replace=False))
    else:
        search.take([first], [torch.inf])
    for _ in progress(search.picks(size), total=size, desc="coreset", unit="pick"):
        pass
    return Selection(np.array(search.picked), search.covering_radii())


def random_projection(x: torch.Tensor, width: int, rng: np.random.Generator) -> torch.Tensor:
    """(n, d) to (n, width) by a dense random matrix.

    Entries are uniform, as in the official code (an untrained linear layer), but scaled so that squared distances are
    kept on average; the scale changes no pick and lets covering radii be read in the features' own units.
    """
    matrix = torch.from_numpy(rng.uniform(-1, 1, (x.shape[1], width)).astype(np.float32) * (3 / width) ** 0.5)
    matrix = matrix.to(x.device)
    projected = x.new_empty(len(x), width)
    for rows in _blocks(len(x)):
        torch.matmul(x[rows], matrix, out=projected[rows])
    return projected


class _FarthestFirst:
    """Squared distances from every vector to its nearest pick, and the picks themselves.

    `next_picks` looks ahead: it takes the CANDIDATES vectors that are farthest now and runs the plain loop among them.
    Distances only shrink, so as long as the best candidate is at least as far as the worst was at the beginning, no
    other vector can be farther. `take` then brings all vectors up to date with the new picks at once.
    """

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x - x.mean(0)  # smaller norms: fewer digits lost in |a|^2 + |b|^2 - 2ab
        self.norms = self.x.square().sum(1)
        self.nearest = torch.full_like(self.norms, torch.inf)
        self.cap: torch.Tensor | None = None
        self.picked: list[int] = []
        self.radii2: list[float] = []  # squared covering radius after each pick

    def picks(self, size: int) -> Iterator[int]:
        """All picks up to `size` of them, as they become known."""
        yield from list(self.picked)
        while len(self.picked) < size:
            before = len(self.picked)
            self.take(*self.next_picks(size - before))
            yield from self.picked[before:]

    def cap_by_means(self, starts: np.ndarray) -> None:
        """Cap every vector's distance by its mean distance to the starting points (which are not picked)."""
        chosen = torch.as_tensor(starts, device=self.x.device)
        means = [self.distances2(rows, chosen).sqrt().mean(1) for rows in _blocks(len(self.x))]
        self.cap = torch.cat(means).square()

    def distances2(self, rows: slice, columns: torch.Tensor) -> torch.Tensor:
        """(rows, columns) squared distances by one matrix product; a vector lies at exactly 0 from itself."""
        distances2 = torch.addmm(self.norms[columns], self.x[rows], self.x[columns].T, alpha=-2)
        distances2 = distances2.add_(self.norms[rows, None]).clamp_min_(0)
        same = ((columns >= rows.start) & (columns < rows.stop)).nonzero().flatten()
        distances2[columns[same] - rows.start, same] = 0
        return distances2

    def reach(self) -> torch.Tensor:
        """What the selection rule compares: squared distance to the nearest pick, capped; negative once picked."""
        reach = self.nearest.clone() if self.cap is None else torch.minimum(self.nearest, self.cap)
        reach[self.picked] = -1
        return reach

    def next_picks(self, most: int) -> tuple[list[int], list[float]]:
        """The next vectors that the plain loop would pick, at least one and at most `most`, and how far each was."""
        far, candidates = self.reach().topk(min(CANDIDATES, len(self.x)))
        floor = float(far[-1]) if len(candidates) < len(self.x) else -1.0
        block, norms = self.x[candidates], self.norms[candidates]
        picks: list[int] = []
        reaches: list[float] = []
        while len(picks) < most:
            farthest = int(far.argmax())
            if picks and float(far[farthest]) < floor:
                break
            picks.append(farthest)
            reaches.append(float(far[farthest]))
            distances2 = torch.addmv(norms + norms[farthest], block, block[farthest], alpha=-2)
            torch.minimum(far, distances2.clamp_min_(0), out=far)
            far[farthest] = -1
        return candidates[picks].tolist(), reaches

    def take(self, picks: list[int], reaches: list[float]) -> None:
        """Pick these, bringing all vectors up to date and noting the covering radius after each.

        The radius after a pick is how far the next one was, unless the cap hides from the rule how far vectors are.
        """
        hidden = self.cap is not None and bool((self.nearest > self.cap).any())
        radii2 = torch.tensor([*reaches[1:], 0.0], device=self.x.device)
        for rows in _blocks(len(self.x)):
            for first in range(0, len(picks), COLUMNS):
                columns = torch.as_tensor(picks[first : first + COLUMNS], device=self.x.device)
                distances2 = self.distances2(rows, columns)
                distances2[:, 0] = torch.minimum(distances2[:, 0], self.nearest[rows])
                if hidden:
                    distances2 = distances2.cummin(1).values
                    reached = radii2[first : first + COLUMNS]
                    torch.maximum(reached, distances2.amax(0), out=reached)
                self.nearest[rows] = distances2.amin(1)
        radii2[-1] = self.nearest.max()
        self.picked += picks
        self.radii2 += radii2.tolist()

    def covering_radii(self) -> np.ndarray:
        """(picks,) float32; the last bit of two ways of computing a distance must not make a radius grow."""
        radii = np.sqrt(np.array(self.radii2, dtype=np.float32))
        return np.maximum.accumulate(radii[::-1])[::-1].copy()


def _as_floats(features: np.ndarray | torch.Tensor) -> torch.Tensor:
    if features.ndim != 2:
        raise ValueError(f"features must be (n, d), got shape {tuple(features.shape)}; flatten the grid of patches")
    return torch.as_tensor(features).float()


def _check_finite(norms: torch.Tensor) -> None:
    """Refuse NaN and infinity, and values whose squares overflow, by the norms that they lead to."""
    finite = norms.isfinite()
    if not finite.all():
        bad = (~finite).nonzero().flatten()
        held = f"{len(bad)} of {len(norms)} rows hold NaN or infinity, or overflow when squared"
        raise ValueError(f"features must be finite, but {held}, first row {int(bad[0])}")


def _blocks(n: int) -> list[slice]:
    return [slice(first, min(first + ROWS, n)) for first in range(0, n, ROWS)]
