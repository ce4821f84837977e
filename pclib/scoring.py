"""Distances to image scores, pixel maps and thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from scipy.special import logsumexp

from pclib._checks import fraction, percent
from pclib.neighbors import MemoryBank, search

ROUNDING = 1e-9  # 1 / 0.05 must count as 20


def nearest(
    embedding: np.ndarray | torch.Tensor, bank: MemoryBank | np.ndarray | torch.Tensor, k: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Squared L2 distances (n, h, w, k) from each patch to its k nearest bank vectors, and their rows in the bank."""
    patches = _array(embedding)
    flat = patches.reshape(-1, patches.shape[-1])
    squared, rows = bank.search(flat, k) if isinstance(bank, MemoryBank) else search(flat, _array(bank), k)
    return squared.reshape(*patches.shape[:-1], k), rows.reshape(*patches.shape[:-1], k)


def patch_scores(
    embedding: np.ndarray | torch.Tensor, bank: MemoryBank | np.ndarray | torch.Tensor, k: int = 1
) -> np.ndarray:
    """Mean squared L2 distance from each patch to its k nearest bank vectors.

    embedding (n, h, w, d), bank (m, d) float32 -> (n, h, w) float32, in squared feature units.
    Raises ValueError if the widths differ or k > m. Source: official code; Eq. 6 of the paper has no square.
    """
    return nearest(embedding, bank, k)[0].mean(-1)


def anomaly_map(patch_scores: np.ndarray | torch.Tensor, size: int | tuple[int, int], sigma: float = 4.0) -> np.ndarray:
    """Patch scores enlarged to pixels bilinearly, then blurred by a Gaussian.

    patch_scores (n, h, w), size (height, width) or one side of a square, sigma in pixels (cut at 4 sigma, mirrored at
    the border) -> (n, *size) float32. Both steps are linear and act on rows and columns separately, so each is one
    small matrix per axis. Source: official code.
    """
    scores = _array(patch_scores).astype(np.float32, copy=False)
    if scores.ndim != 3:
        raise ValueError(f"patch_scores must be (n, h, w), got shape {scores.shape}")
    height, width = (size, size) if isinstance(size, int) else size
    down, across = (_enlarging(*axis, sigma) for axis in ((scores.shape[1], height), (scores.shape[2], width)))
    return down @ scores @ across.T


class AnomalyMaps:
    """Anomaly maps (n, height, width) float32 that are kept as patch scores and computed when they are looked at.

    Indexed, iterated and converted like the array that `anomaly_map` gives of the same arguments, whose values they
    have, in 1/64 of its memory at stride 8. A mask of pixels (n, height, width) bool selects from it too. Of several
    grids of patch scores, given as a list, each is enlarged by itself, and the maps are the mean.
    """

    dtype, ndim = np.dtype(np.float32), 3

    def __init__(
        self, patch_scores: np.ndarray | Sequence[np.ndarray], size: int | tuple[int, int], sigma: float = 4.0
    ) -> None:
        self.grids = [patch_scores] if isinstance(patch_scores, np.ndarray) else list(patch_scores)
        self.sigma = sigma
        self.shape = (len(self.grids[0]), *anomaly_map(self.grids[0][:0], size, sigma).shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"AnomalyMaps{self.shape}"

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, tuple):
            images, *rest = key
            return self[images][tuple(rest) if isinstance(images, int | np.integer) else (slice(None), *rest)]
        if isinstance(key, np.ndarray) and key.ndim == 3:
            found = [self[i][mask] for i, mask in enumerate(key) if mask.any()]
            return np.concatenate([np.empty(0, self.dtype), *found])
        if isinstance(key, int | np.integer):
            return self._enlarged([grid[key][None] for grid in self.grids])[0]
        return self._enlarged([grid[key] for grid in self.grids])

    def _enlarged(self, grids: list[np.ndarray]) -> np.ndarray:
        first, *others = (anomaly_map(grid, self.shape[1:], self.sigma) for grid in grids)
        for other in others:
            first += other
        return first / np.float32(len(grids)) if others else first


def _array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


@lru_cache(maxsize=16)
def _enlarging(patches: int, pixels: int, sigma: float) -> np.ndarray:
    """(pixels, patches) float32: bilinear enlargement and blur of one axis, as read off from unit vectors."""
    unit = torch.eye(patches, dtype=torch.float64)[None]  # (1, patch that is lit, places)
    enlarged = F.interpolate(unit, size=pixels, mode="linear", align_corners=False)[0].T.numpy()
    blurred = gaussian_filter1d(enlarged, sigma, axis=0) if sigma > 0 else enlarged
    return np.ascontiguousarray(blurred, dtype=np.float32)


def image_scores(patch_scores: np.ndarray) -> np.ndarray:
    """(n, h, w) -> (n,): an image is as anomalous as its most anomalous patch."""
    return patch_scores.max(axis=(1, 2))


def eq7_factor(worst: np.ndarray, nearest: np.ndarray, bank: MemoryBank, b: int = 9) -> np.ndarray:
    """The factor, in [0, 1), by which Eq. 7 of the paper lowers an image's score.

    worst (n, d): each image's most anomalous patch; nearest (n,): the bank row m* nearest to it. With d(m) the plain
    distance from the patch to a bank vector m, the factor is 1 - exp(d(m*)) / sum of exp(d(m)) over the b bank vectors
    nearest to m*, itself included (all of them, in a smaller bank). It lies near 1 - 1/b in a dense part of the bank
    and above that where m* stands alone. The paper names no b; the official code leaves the factor out.
    """
    _, around = bank.search(bank.vectors[nearest], min(b, len(bank)))
    distances = np.linalg.norm(worst[:, None] - bank.vectors[around], axis=2)  # (n, b)
    to_nearest = np.linalg.norm(worst - bank.vectors[nearest], axis=1)
    return 1 - np.exp(to_nearest - logsumexp(distances, axis=1))  # in this form exp never overflows


def threshold(good_scores: np.ndarray, false_alarms: float = 0.05) -> float:
    """A score that a new good image exceeds with probability at most `false_alarms`.

    good_scores: image scores of good images that the detector was not fitted on. The threshold is their k-th smallest
    with k = ceil((n + 1) (1 - false_alarms)), which keeps the promise for any distribution as long as the new image is
    exchangeable with them (split conformal prediction; Vovk et al. 2005).
    Raises ValueError if there are fewer than `good_needed`.
    """
    scores = np.sort(np.asarray(good_scores, dtype=float))
    if not np.isfinite(scores).all():
        raise ValueError("good_scores must be finite")
    if len(scores) < good_needed(false_alarms):
        raise ValueError(
            f"{len(scores)} good images are too few to promise {percent(false_alarms)} false alarms; it takes at least "
            f"{good_needed(false_alarms)}: hold out more, or allow more false alarms"
        )
    rank = int(np.ceil((len(scores) + 1) * (1 - false_alarms) - ROUNDING))
    return float(scores[rank - 1])


def good_needed(false_alarms: float) -> int:
    """How many held-out good images `threshold` needs: with n of them, the smallest rate to be had is 1 / (n + 1).

    Raises ValueError for a rate outside (0, 1).
    """
    return int(np.ceil(1 / fraction("false_alarms", false_alarms, open_end=True) - 1 - ROUNDING))
