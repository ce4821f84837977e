"""Feature maps to one vector per patch: the locally aware embedding.

The authors' code gathers each place's 3 x 3 neighbourhood into a long vector (channel by channel, nine values each),
enlarges the deeper layers' vectors to the first layer's grid, pools every vector to `pretrain_dim` entries, lays the
layers end to end and pools again to `target_dim`. Both poolings take means over neighbouring entries, so all of it is
one linear map with a handful of non-zero weights per output, and enlarging commutes with it. `pooling_weights` writes
that map down; `embed` applies it at each layer's own resolution and enlarges last, which gives the same numbers for a
small part of the work.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from pclib._checks import at_least

Array = np.ndarray | torch.Tensor


def embed(
    maps: Mapping[str, Array] | Sequence[Array],
    patchsize: int = 3,
    pretrain_dim: int = 1024,
    target_dim: int = 1024,
) -> torch.Tensor:
    """Locally aware patch features.

    maps: one (n, c, h, w) float32 map per layer, shallow to deep; the first one's grid is the grid of patches.
    Returns (n, h, w, target_dim) float32. Borders are padded with zeros, which count as values.
    Raises ValueError if there are no maps, one is not four-dimensional, or patchsize is even.
    Source: Roth et al. 2022, Eqs. 2-3; the pooling along the flattened vector is the official code's.
    """
    layers = [torch.as_tensor(layer) for layer in (maps.values() if isinstance(maps, Mapping) else maps)]
    _check(layers, patchsize)
    n, _, h, w = layers[0].shape
    weights = pooling_weights(tuple(layer.shape[1] for layer in layers), patchsize, pretrain_dim, target_dim)
    embedding = layers[0].new_zeros(n, target_dim, h, w)
    for layer, (first, matrix) in zip(layers, weights, strict=True):
        matrix = matrix.to(layer.device)
        for i in range(n):  # one image at a time: the unfolded map is nine times the layer
            pooled = matrix @ F.unfold(layer[i : i + 1], patchsize, padding=patchsize // 2)[0]  # (outputs, h' * w')
            pooled = pooled.view(1, -1, *layer.shape[2:])
            if pooled.shape[2:] != (h, w):
                pooled = F.interpolate(pooled, size=(h, w), mode="bilinear", align_corners=False)
            embedding[i, first : first + matrix.shape[0]] += pooled[0]
    return embedding.permute(0, 2, 3, 1).contiguous()  # (n, h, w, target_dim)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept here must serve gradients too
def pooling_weights(
    channels: tuple[int, ...], patchsize: int = 3, pretrain_dim: int = 1024, target_dim: int = 1024
) -> list[tuple[int, torch.Tensor]]:
    """The two poolings as one sparse matrix per layer.

    Returns, per layer, the first output that it touches and a sparse (outputs, c * patchsize**2) matrix for that and
    the following outputs. With WideResNet50's layers 2 and 3 the first layer's rows hold 0.2 at the centre of the
    neighbourhood and 0.1 around it, the second's are plain means over two channels' neighbourhoods.
    """
    last = mean_pooling(len(channels) * pretrain_dim, target_dim)
    weights = []
    for position, c in enumerate(channels):
        share = last[:, position * pretrain_dim : (position + 1) * pretrain_dim]
        matrix = (share @ mean_pooling(c * patchsize**2, pretrain_dim)).float()
        touched = matrix.abs().sum(1).nonzero().flatten()
        first, after = int(touched[0]), int(touched[-1]) + 1
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            weights.append((first, matrix[first:after].to_sparse_csr()))
    return weights


def mean_pooling(width_in: int, width_out: int) -> torch.Tensor:
    """Adaptive average pooling as a (width_out, width_in) float64 matrix.

    Output i is the mean of the entries from floor(i * in / out) up to, but without, ceil((i + 1) * in / out).
    """
    i = torch.arange(width_out)[:, None]
    start, end = i * width_in // width_out, -(-(i + 1) * width_in // width_out)
    entry = torch.arange(width_in)[None]
    inside = ((entry >= start) & (entry < end)).double()
    return inside / inside.sum(1, keepdim=True)


def _check(layers: list[torch.Tensor], patchsize: int) -> None:
    at_least("patchsize", patchsize, 1)
    if patchsize % 2 == 0:
        raise ValueError(f"patchsize must be odd, so that a patch has a centre; got {patchsize}")
    if not layers:
        raise ValueError("maps are empty: give one (n, c, h, w) map per layer")
    for layer in layers:
        if layer.ndim != 4 or layer.shape[0] != layers[0].shape[0]:
            shapes = [tuple(each.shape) for each in layers]
            raise ValueError(f"maps must all be (n, c, h, w) with the same n, got {shapes}")
