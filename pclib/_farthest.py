"""Farthest-first search: the picks of the plain loop, from a fraction of its distances.

The plain loop keeps every vector's distance to its nearest pick and passes over all vectors once per pick. Three facts
make most of that unnecessary:

1. Distances to the nearest pick only shrink, so one that is out of date can be too large, but never too small. A vector
   that even then lies nearer than the next pick cannot be the next pick. It may wait, and most wait for ever: they lie
   closer to an early pick than the last picks are far. (The same laziness speeds up greedy submodular maximisation;
   Minoux 1978.)
2. Among a thousand candidates that are up to date, the plain loop runs in the processor's cache, for as long as the
   best of them is at least as far as any other vector could be (`_look_ahead`).
3. Vectors that must catch up do so with many picks at once, by matrix products (`_catch_up`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

CANDIDATES = 1024  # vectors that picks are made from between two rounds of catching up: 512 KB at width 128
ROWS, COLUMNS = 4096, 512  # a block of the distance matrix: 8 MB
CLOSE = 1e-3  # squared distances below this share of the squared norm are computed again, by subtraction
BY_SUBTRACTION = "donot_use_mm_for_euclid_dist"  # torch's name for it


class Vectors:
    """The rows of a matrix, fetched centred and in float32, however and wherever they are stored.

    Centring makes norms smaller, so that |a|^2 + |b|^2 - 2ab loses fewer digits. No copy of the matrix is made.
    """

    def __init__(self, stored: torch.Tensor | np.ndarray) -> None:
        if type(stored) is np.ndarray and stored.flags.c_contiguous and stored.flags.writeable:
            stored = torch.from_numpy(stored)  # gathers rows on all cores
        self.stored = stored
        self.device = stored.device if isinstance(stored, torch.Tensor) else torch.device("cpu")
        total = torch.zeros(stored.shape[1], dtype=torch.float64, device=self.device)
        for rows in blocks(len(self)):
            x = fetch(stored, rows)
            _check_finite(x, rows.start)
            total += x.sum(0)
        self.centre = (total / len(self)).float()
        self.norms = torch.empty(len(self), device=self.device)
        for rows in blocks(len(self)):  # small results between large ones to be freed would scatter the memory
            self.norms[rows] = self[rows].square().sum(1)

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        return fetch(self.stored, rows) - self.centre


def fetch(stored: torch.Tensor | np.ndarray, rows: slice | torch.Tensor) -> torch.Tensor:
    """Some rows of a matrix (also of a memory-mapped file) in float32."""
    if isinstance(stored, torch.Tensor):
        return (stored[rows] if isinstance(rows, slice) else stored.index_select(0, rows)).float()
    if isinstance(rows, slice):
        return torch.from_numpy(np.array(stored[rows], dtype=np.float32))
    return torch.from_numpy(np.take(stored, rows.numpy(), axis=0).astype(np.float32, copy=False))


def blocks(n: int) -> list[slice]:
    return [slice(first, min(first + ROWS, n)) for first in range(0, n, ROWS)]


class FarthestFirst:
    """Squared distances from every vector to its nearest pick, as far as they matter, and the picks themselves.

    picked   the picks so far
    radii2   squared covering radius after each; the last is known only when the next pick is looked for
    nearest  (n,) squared distance to the nearest of the first `seen` picks, so never too small; -1 once picked
    cap      (n,) what the selection rule caps distances by, or None
    """

    def __init__(self, vectors: Vectors) -> None:
        self.vectors, self.norms = vectors, vectors.norms
        self.nearest = torch.full_like(self.norms, torch.inf)
        self.seen = torch.zeros(len(vectors), dtype=torch.int32, device=vectors.device)
        self.cap: torch.Tensor | None = None
        self.picked: list[int] = []
        self.radii2: list[float] = []
        self.repeats = 0  # picks that only repeat earlier ones
        self.pool = 2 * CANDIDATES  # how many of the farthest are brought up to date to find candidates among them

    def cap_by_means(self, starts: np.ndarray) -> None:
        """Cap every vector's distance by its mean distance to the starting points (which are not picked)."""
        x = self.vectors[torch.as_tensor(starts, device=self.nearest.device)]
        self.cap = torch.empty_like(self.norms)
        for rows in blocks(len(self.vectors)):
            self.cap[rows] = self._distances2(rows, x).sqrt().mean(1).square()

    def first_pick(self, start: int | None) -> int:
        """The pick that a run with this start (None for the official one) begins with."""
        if start is not None:
            return start
        assert self.cap is not None
        return int(self.cap.argmax())

    def go_on_from(self, picked: list[int], radii2: list[float]) -> None:
        """Take picks as made already."""
        self.picked, self.radii2 = list(picked), list(radii2[:-1])
        everything = torch.arange(len(self.vectors), device=self.nearest.device)
        self._catch_up(everything, radii2[-1] * (1 - CLOSE) if radii2 else 0)
        self.nearest[self.picked] = -1

    def picks(self, size: int) -> Iterator[int]:
        """All picks up to `size` of them, as they become known."""
        yield from list(self.picked)
        while (before := len(self.picked)) < size:
            self._round(size - before)
            if len(self.picked) == before:
                self._repeat(size - before)
            yield from self.picked[before:]
        if len(self.radii2) < len(self.picked):
            self._frontier()

    def _round(self, most: int) -> None:
        """Make picks, at most `most`; none if all vectors left repeat earlier picks."""
        tracked, floor = self._frontier()
        nearest = self.nearest[tracked]
        reach = nearest if self.cap is None else torch.minimum(nearest, self.cap[tracked])
        if len(self.picked) and not reach.any():
            return
        candidates = (reach >= floor).nonzero().flatten()
        if len(candidates) > CANDIDATES:
            best = reach[candidates].topk(CANDIDATES)
            floor, candidates = float(best.values[-1]), candidates[best.indices.sort().values]
        picks, reaches = self._look_ahead(tracked[candidates], floor, most)
        # The radius after a pick is how far the next one was, unless the cap hides from the rule how far vectors are.
        radii2 = reaches[1:]
        if self.cap is not None and bool((nearest > self.cap[tracked]).any()):
            radii2 = self._hidden_radii2(tracked, nearest, picks)[:-1]
        self.picked, self.radii2 = self.picked + picks, self.radii2 + radii2

    def _frontier(self) -> tuple[torch.Tensor, float]:
        """Vectors that are up to date, among them the next pick, and a squared distance that all others lie below.

        Notes the covering radius after the last pick, which they determine.
        """
        while True:
            reach = self.nearest if self.cap is None else torch.minimum(self.nearest, self.cap)
            pool = min(self.pool, len(reach))
            floor = max(0.0, float(reach.topk(pool).values[-1])) if pool < len(reach) else 0.0
            tracked = (self.nearest >= floor).nonzero().flatten()
            self._catch_up(tracked, floor)
            nearest = self.nearest[tracked]
            tracked, nearest = tracked[nearest >= floor], nearest[nearest >= floor]
            found = len(nearest) if self.cap is None else int((self.cap[tracked] >= floor).sum())
            if found < CANDIDATES // 2:
                self.pool = min(3 * pool // 2, len(reach))
            elif found > 3 * CANDIDATES // 2:
                self.pool = max(2 * pool // 3, 2 * CANDIDATES)
            if found or pool == len(reach):
                if len(self.radii2) < len(self.picked):
                    self.radii2.append(float(nearest.max()) if len(nearest) else 0.0)
                return tracked, floor

    def _catch_up(self, ids: torch.Tensor, floor: float) -> None:
        """Bring vectors up to date, each as far as it takes to know that it lies below the floor.

        Picks are taken COLUMNS at a time, and a vector joins at the first batch that it has not seen all of.
        """
        picked = torch.tensor(self.picked, device=ids.device)
        ids = ids[self.seen[ids] < len(picked)]
        if not len(ids):
            return
        batches, order = (self.seen[ids] // COLUMNS).sort()
        values, counts = batches.unique_consecutive(return_counts=True)
        joining = dict(zip(values.tolist(), ids[order].split(counts.tolist()), strict=True))
        active = ids[:0]
        for first in range(min(joining) * COLUMNS, len(picked), COLUMNS):
            if (batch := first // COLUMNS) in joining:
                active = torch.cat([active, joining[batch]])
            if len(active):
                end = min(first + COLUMNS, len(picked))
                near = torch.minimum(self.nearest[active], self._least2(active, picked[first:end]))
                self.nearest[active], self.seen[active] = near, end
                active = active[near >= floor]

    def _least2(self, ids: torch.Tensor, picked: torch.Tensor) -> torch.Tensor:
        """(ids,) squared distance from each vector to the nearest of those picked."""
        picks, norms = self.vectors[picked], self.norms[picked]
        least2 = self.norms.new_empty(len(ids))
        for part, least in zip(ids.split(ROWS), least2.split(ROWS), strict=True):
            x, own = self.vectors[part], self.norms[part]
            torch.amin(torch.addmm(norms, x, picks.T, alpha=-2), 1, out=least)
            least.add_(own).clamp_min_(0)
            close = (least < CLOSE * own).nonzero().flatten()
            if len(close):
                least[close] = torch.cdist(x[close], picks, compute_mode=BY_SUBTRACTION).amin(1).square()
        return least2

    def _distances2(self, rows: slice | torch.Tensor, picks: torch.Tensor) -> torch.Tensor:
        """(rows, picks) squared distances."""
        x, own = self.vectors[rows], self.norms[rows, None]
        distances2 = torch.addmm(picks.square().sum(1), x, picks.T, alpha=-2).add_(own).clamp_min_(0)
        close = distances2 < CLOSE * own
        if close.any():
            row, column = close.nonzero(as_tuple=True)
            distances2[close] = (x[row] - picks[column]).square().sum(1)
        return distances2

    def _look_ahead(self, ids: torch.Tensor, floor: float, most: int) -> tuple[list[int], list[float]]:
        """The next picks among candidates while the best of these lies at or above the floor; how far each was."""
        x, norms = self.vectors[ids].cpu().numpy(), self.norms[ids].cpu().numpy()
        nearest, cap = self.nearest[ids].cpu().numpy(), None if self.cap is None else self.cap[ids].cpu().numpy()
        seen = np.empty(len(ids), dtype=np.int32)
        here = np.arange(len(ids))  # candidates that still lie at or above the floor
        near, reach = nearest.copy(), nearest.copy() if cap is None else np.minimum(nearest, cap)
        picks: list[int] = []
        reaches: list[float] = []
        while len(picks) < most:
            best = int(reach.argmax())
            if picks and (reach[best] < floor or reach[best] <= 0):
                break
            picks.append(int(here[best]))
            reaches.append(float(reach[best]))
            distances2 = x @ x[best]
            distances2 *= -2
            distances2 += norms + norms[best]
            close = np.flatnonzero(distances2 < CLOSE * norms)
            distances2[close] = np.square(x[close] - x[best]).sum(1)
            np.minimum(near, distances2, out=near)
            np.minimum(reach, distances2, out=reach)
            near[best] = reach[best] = -1
            if len(picks) % 64 == 0 and (keep := reach >= floor).mean() < 0.75:
                left = here[~keep]
                nearest[left], seen[left] = near[~keep], len(self.picked) + len(picks)
                here, x, norms, near, reach = here[keep], x[keep], norms[keep], near[keep], reach[keep]
                if not len(here):
                    break
        nearest[here], seen[here] = near, len(self.picked) + len(picks)
        self.nearest[ids] = torch.from_numpy(nearest).to(ids.device)
        self.seen[ids] = torch.from_numpy(seen).to(ids.device)
        return ids[picks].tolist(), reaches

    def _hidden_radii2(self, ids: torch.Tensor, nearest: torch.Tensor, picks: list[int]) -> list[float]:
        """The squared covering radius after each of the new picks, from what was nearest before them."""
        x = self.vectors[torch.tensor(picks, device=ids.device)]
        radii2 = nearest.new_zeros(len(picks))
        for part, near in zip(ids.split(ROWS), nearest.split(ROWS), strict=True):
            for first in range(0, len(picks), COLUMNS):
                columns = slice(first, first + COLUMNS)
                distances2 = self._distances2(part, x[columns])
                distances2[:, 0] = torch.minimum(distances2[:, 0], near)
                distances2 = distances2.cummin(1).values
                radii2[columns] = torch.maximum(radii2[columns], distances2.amax(0))
                near = distances2[:, -1]
        return radii2.tolist()

    def _repeat(self, count: int) -> None:
        """Fill up with vectors that repeat earlier picks, lowest index first."""
        left = (self.nearest >= 0).nonzero().flatten()[:count].tolist()
        self.repeats += len(left) - int(bool((self.nearest[left] > 0).any()))
        self.nearest[left] = -1
        self.picked, self.radii2 = self.picked + left, self.radii2 + [0.0] * len(left)


def _check_finite(x: torch.Tensor, first: int) -> None:
    """Refuse NaN and infinity, and values whose squares overflow."""
    if not (finite := x.square().sum(1).isfinite()).all():
        row = first + int((~finite).nonzero()[0])
        raise ValueError(f"features must be finite, but row {row} holds NaN or infinity, or overflows when squared")
