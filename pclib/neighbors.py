"""The memory bank and its search.

A bank is the kept patch features with the place that each came from, so that a distance can be explained by a picture.
The search is exact. FAISS's flat index computes |a|^2 + |b|^2 - 2ab for every query and every vector, which loses
digits where a and b are close, so the distances to the neighbours that it finds are computed once more, directly. In a
large bank of wide vectors most of that work is saved by looking at a quarter of the width first (`_Shortlist`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pclib._checks import at_least

NARROW = 256  # leading directions that a shortlist is made from
SHORTLIST = 32  # how many candidates it holds
LARGE = 5000  # vectors in a bank that a shortlist pays for itself with
TELLING = 0.9  # share of the bank's variance that must lie along the leading directions
ROUNDING = 1e-5  # of the squared norms: more than float32 can be wrong by in a squared distance
BLOCK = 4096  # queries at a time
PAIRS = 512  # pairs of vectors at a time: 2 MB at width 1024, which a processor's cache holds


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """What normal looks like.

    vectors  (m, d) float32 patch features
    image    (m,) which training image each came from
    place    (m, 2) its row and column on the grid of patches
    """

    vectors: np.ndarray
    image: np.ndarray = field(repr=False)
    place: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        images = len(np.unique(self.image))
        return f"MemoryBank({len(self)} vectors of width {self.vectors.shape[1]} from {images} images)"

    @cached_property
    def _index(self) -> Any:
        _check_finite("vectors", self.vectors)
        return _flat(self.vectors)

    @cached_property
    def _shortlist(self) -> _Shortlist | None:
        if len(self) < LARGE or self.vectors.shape[1] < 2 * NARROW:
            return None
        shortlist = _Shortlist(self.vectors)
        return shortlist if shortlist.telling >= TELLING else None

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Squared L2 distances (q, k) float32, nearest first, and the bank rows (q, k) they lead to.

        queries (q, d) float32. Raises ValueError if the widths differ, the bank holds fewer than k vectors, or a value
        is not finite.
        """
        k, vectors, index = at_least("k", k, 1), self.vectors, self._index
        if queries.ndim != 2 or queries.shape[1] != vectors.shape[1]:
            raise ValueError(f"queries must be (q, {vectors.shape[1]}) for this bank, got shape {queries.shape}")
        if len(vectors) < k:
            raise ValueError(
                f"k = {k} neighbours asked of a bank of {len(vectors)} vectors; lower k or keep more vectors"
            )
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        _check_finite("queries", queries)
        squared, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for first in range(0, len(queries), BLOCK):
            block = slice(first, first + BLOCK)
            undecided = np.arange(len(queries))[block]
            if self._shortlist is not None and k <= SHORTLIST // 4:
                squared[block], rows[block], proven = self._shortlist.search(queries[block], k)
                undecided = undecided[~proven]
            if len(undecided):
                squared[undecided], rows[undecided] = _search_all(index, vectors, queries[undecided], k)
        return squared, rows


class _Shortlist:
    """The few vectors that can be nearest to a query, found from a part of the width, with the proof that they are.

    Turn all vectors so that the bank varies most along the first axes. Keep those coordinates, and of the others only
    their length: two vectors r and s differ by at least | |r| - |s| |. So a distance between shortened vectors is never
    larger than the true one, and once a true distance is no larger than the next shortened one, no vector further down
    the list can be nearer (filter and refine; Seidl & Kriegel 1998).
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors
        self.centre = vectors.mean(0)
        centred = vectors - self.centre
        variances, directions = np.linalg.eigh(centred.T @ centred)  # ascending
        self.telling = float(variances[-NARROW:].sum() / max(variances.sum(), np.finfo(np.float32).tiny))
        self.directions = np.ascontiguousarray(directions[:, -NARROW:])
        shortened = self.shorten(vectors)
        self.index = _flat(shortened)
        self.largest = float(np.square(shortened).sum(1).max())

    def shorten(self, vectors: np.ndarray) -> np.ndarray:
        """(n, d) to (n, NARROW + 1): the leading coordinates, and the length of the rest."""
        centred = vectors - self.centre
        leading = centred @ self.directions
        rest = centred - leading @ self.directions.T  # its length from a difference of squares would lose digits
        return np.column_stack([leading, np.sqrt(np.einsum("ij,ij->i", rest, rest))])

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `MemoryBank.search`, and which of the queries (q,) were answered for certain."""
        shortened = self.shorten(queries)
        lower, candidates = self.index.search(shortened, SHORTLIST)
        lower -= ROUNDING * (np.square(shortened).sum(1, keepdims=True) + self.largest)
        squared = np.full((len(queries), k), np.inf, dtype=np.float32)
        rows = np.zeros((len(queries), k), dtype=np.int64)
        undecided = np.arange(len(queries))
        for j in range(SHORTLIST):
            undecided = undecided[lower[undecided, j] < squared[undecided, -1]]
            if not len(undecided):
                break
            found = candidates[undecided, j]
            longer = np.column_stack([squared[undecided], _squared(queries, undecided, self.vectors, found)])
            order = np.argsort(longer, axis=1, kind="stable")[:, :k]
            squared[undecided] = np.take_along_axis(longer, order, axis=1)
            rows[undecided] = np.take_along_axis(np.column_stack([rows[undecided], found]), order, axis=1)
        return squared, rows, lower[:, -1] >= squared[:, -1]


def search(queries: np.ndarray, vectors: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """As `MemoryBank.search`, among plain vectors (m, d) that are searched once and forgotten."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    nowhere = np.zeros((len(vectors), 2), dtype=np.int32)
    return MemoryBank(vectors, nowhere[:, 0], nowhere).search(queries, k)


def _search_all(index: Any, vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    _, found = index.search(queries, k)
    everyone = np.arange(len(queries))
    squared = np.column_stack([_squared(queries, everyone, vectors, found[:, j]) for j in range(k)])
    order = np.argsort(squared, axis=1, kind="stable")
    return np.take_along_axis(squared, order, axis=1), np.take_along_axis(found, order, axis=1)


def _squared(queries: np.ndarray, which: np.ndarray, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n,) squared distance of each of the queries named to the vector named beside it, by subtraction."""
    squared = np.empty(len(which), dtype=np.float32)
    for first in range(0, len(which), PAIRS):
        part = slice(first, first + PAIRS)
        difference = queries[which[part]] - vectors[rows[part]]
        np.einsum("ij,ij->i", difference, difference, out=squared[part])
    return squared


def _flat(vectors: np.ndarray) -> Any:
    import faiss

    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)
    return index


def _check_finite(argument: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise ValueError(f"{argument} must be finite, but row {row} holds NaN or infinity")
