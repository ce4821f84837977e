"""Plain references: PatchCore's stages written as they are described, with no thought of time or memory.

They compute what the authors' code computes, step by step, and are what `pclib` is timed beside and tested against.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter


def embedding(maps: Sequence[torch.Tensor], patchsize: int, pretrain_dim: int, target_dim: int) -> torch.Tensor:
    """Maps (n, c, h, w), shallow to deep, to (n, h, w, target_dim): unfold, enlarge every plane, pool, join, pool."""
    n, _, h, w = maps[0].shape
    pooled = []
    for layer in maps:
        _, c, rows, columns = layer.shape
        planes = F.unfold(layer, patchsize, padding=patchsize // 2).view(n, c * patchsize**2, rows, columns)
        if (rows, columns) != (h, w):
            planes = F.interpolate(planes, size=(h, w), mode="bilinear", align_corners=False)
        vectors = planes.permute(0, 2, 3, 1).reshape(n * h * w, 1, c * patchsize**2)
        pooled.append(F.adaptive_avg_pool1d(vectors, pretrain_dim))  # (n * h * w, 1, pretrain_dim)
    joined = torch.cat(pooled, dim=1).reshape(n * h * w, 1, len(maps) * pretrain_dim)
    return F.adaptive_avg_pool1d(joined, target_dim).view(n, h, w, target_dim)


def plain_loop(x: torch.Tensor, picks: int, start: int = 0) -> list[int]:
    """Farthest first: one pass over all vectors (n, d) per pick. Squared norms are computed once."""
    norms, nearest, picked = x.square().sum(1), torch.full((len(x),), torch.inf), [start]
    while len(picked) < picks:
        last = picked[-1]
        distances = (norms + norms[last] - 2 * (x @ x[last])).clamp_min(0).sqrt()
        nearest = torch.minimum(nearest, distances)
        picked.append(int(nearest.argmax()))
    return picked


def frugal_loop(x: torch.Tensor, picks: int, start: int = 0) -> list[int]:
    """The plain loop at its best: no square root, and no array made anew."""
    norms, nearest, picked = x.square().sum(1), torch.full((len(x),), torch.inf), [start]
    distances2 = torch.empty(len(x))
    while len(picked) < picks:
        last = picked[-1]
        torch.addmv(norms, x, x[last], alpha=-2, out=distances2).add_(norms[last])
        torch.minimum(nearest, distances2, out=nearest)
        picked.append(int(nearest.argmax()))
    return picked


def authors_loop(x: torch.Tensor, picks: int, starts: Sequence[int]) -> list[int]:
    """The authors' rule: values start at the mean distance to a few points. Norms are computed anew for each pick."""

    def distances(points: torch.Tensor) -> torch.Tensor:
        own, other = torch.einsum("nd,nd->n", x, x), torch.einsum("nd,nd->n", points, points)
        return (-2 * (x @ points.T) + own[:, None] + other).clamp_min(0).sqrt()

    values, picked = distances(x[list(starts)]).mean(1), []
    while len(picked) < picks:
        picked.append(int(values.argmax()))
        values = torch.cat([values[:, None], distances(x[picked[-1]][None])], dim=1).amin(1)
    return picked


def anomaly_map(patch_scores: np.ndarray, size: int, sigma: float = 4.0) -> np.ndarray:
    """(n, h, w) to (n, size, size): enlarged bilinearly, then each map blurred."""
    scores = torch.from_numpy(patch_scores)[:, None]
    enlarged = F.interpolate(scores, size=(size, size), mode="bilinear", align_corners=False)[:, 0].numpy()
    return np.stack([gaussian_filter(one, sigma) for one in enlarged])
