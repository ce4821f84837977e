"""The memory bank and its search.

A bank is the kept patch features with the place that each came from, so that a distance can be explained by a picture.
The search is FAISS's exact flat index. It computes |a|^2 + |b|^2 - 2ab, which loses digits where a and b are close, so
the distances to the neighbours that it finds are computed once more, directly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pclib._checks import at_least


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
        import faiss

        _check_finite("vectors", self.vectors)
        index = faiss.IndexFlatL2(self.vectors.shape[1])
        index.add(self.vectors)
        return index

    def search(self, queries: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Squared L2 distances (q, k) float32, nearest first, and the bank rows (q, k) they lead to.

        queries (q, d) float32. Raises ValueError if the widths differ, the bank holds fewer than k vectors, or a value
        is not finite.
        """
        return _search(self._index, self.vectors, queries, k)


def search(queries: np.ndarray, vectors: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """As `MemoryBank.search`, among plain vectors (m, d) that are searched once and forgotten."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    nowhere = np.zeros((len(vectors), 2), dtype=np.int32)
    return MemoryBank(vectors, nowhere[:, 0], nowhere).search(queries, k)


def _search(index: Any, vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    k = at_least("k", k, 1)
    if queries.ndim != 2 or queries.shape[1] != vectors.shape[1]:
        raise ValueError(f"queries must be (q, {vectors.shape[1]}) for this bank, got shape {queries.shape}")
    if len(vectors) < k:
        raise ValueError(f"k = {k} neighbours asked of a bank of {len(vectors)} vectors; lower k or keep more vectors")
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    _check_finite("queries", queries)
    _, found = index.search(queries, k)
    squared = np.stack([np.square(queries - vectors[found[:, j]]).sum(1) for j in range(k)], axis=1)
    order = np.argsort(squared, axis=1, kind="stable")
    return np.take_along_axis(squared, order, axis=1), np.take_along_axis(found, order, axis=1)


def _check_finite(argument: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise ValueError(f"{argument} must be finite, but row {row} holds NaN or infinity")
