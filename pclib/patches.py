"""Feature maps to one vector per patch: the locally aware embedding.

The authors' code gathers each place's 3 x 3 neighbourhood into a long vector (channel by channel, nine values each),
enlarges the deeper layers' vectors to the first layer's grid, pools every vector to `pretrain_dim` entries, lays the
layers end to end and pools again to `target_dim`. Both poolings take means over neighbouring entries, so all of it is
one linear map, in which an output reads a few channels' neighbourhoods only, and enlarging commutes with it.
`pooling_filters` writes that map down as small filters; `embed` applies them at each layer's own resolution and
enlarges last, which gives the same numbers for a small part of the work.
"""

from __future__ import annotations

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
    filters = pooling_filters(tuple(layer.shape[1] for layer in layers), patchsize, pretrain_dim, target_dim)
    embedding = layers[0].new_empty(n, h, w, target_dim)
    written = 0  # outputs that a layer before has written; one that straddles two layers is their sum
    for layer, (first, terms) in zip(layers, filters, strict=True):
        pooled = _filtered(layer, terms, patchsize)
        if pooled.shape[2:] != (h, w):
            pooled = F.interpolate(pooled, size=(h, w), mode="bilinear", align_corners=False)
        pooled = pooled.permute(0, 2, 3, 1)  # (n, h, w, outputs)
        shared, after = written - first, first + pooled.shape[3]
        embedding[..., first:written] += pooled[..., :shared]
        embedding[..., written:after] = pooled[..., shared:]
        written = after
    return embedding


Term = tuple[torch.Tensor, torch.Tensor]


def _filtered(layer: torch.Tensor, terms: list[Term], patchsize: int) -> torch.Tensor:
    """(n, outputs, h', w'): for each output, the sum over its channels of the filtered map. Channels last in memory."""
    layer = layer.contiguous(memory_format=torch.channels_last)
    parts = (
        F.conv2d(_take(layer, channels), kernels.to(layer.device), padding=patchsize // 2, groups=len(channels))
        for channels, kernels in terms
    )
    return sum(parts, start=next(parts))


def _take(layer: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """These channels of the layer, without gathering where they lie at regular steps."""
    first, last, steps = int(channels[0]), int(channels[-1]), channels.diff()
    if len(channels) == 1 or (steps[0] > 0 and torch.all(steps == steps[0])):
        return layer[:, first : last + 1 : int(steps[0]) if len(steps) else 1]
    return layer.permute(0, 2, 3, 1).index_select(3, channels.to(layer.device)).permute(0, 3, 1, 2)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept here must serve gradients too
def pooling_filters(
    channels: tuple[int, ...], patchsize: int = 3, pretrain_dim: int = 1024, target_dim: int = 1024
) -> list[tuple[int, list[Term]]]:
    """The two poolings as small filters, per layer.

    Returns, per layer, the first output that it touches and, for that and the following outputs, a sum of terms. A term
    is a channel for each output (outputs,) and the filter that is applied to it (outputs, 1, patchsize, patchsize).
    With WideResNet50's layers 2 and 3 the first layer has one term, with filters of 0.2 at the centre and 0.1 around
    it; the second has two, channels 0, 2, 4, ... and 1, 3, 5, ..., each averaged over its neighbourhood.
    """
    last = mean_pooling(len(channels) * pretrain_dim, target_dim)
    layers = []
    for position, c in enumerate(channels):
        share = last[:, position * pretrain_dim : (position + 1) * pretrain_dim]
        matrix = (share @ mean_pooling(c * patchsize**2, pretrain_dim)).float()
        touched = matrix.abs().sum(1).nonzero().flatten()
        first, after = int(touched[0]), int(touched[-1]) + 1
        kernels = matrix[first:after].view(after - first, c, patchsize, patchsize)
        reads = kernels.abs().sum((2, 3)) > 0  # (outputs, c): neighbouring channels
        output, lowest = torch.arange(after - first), reads.int().argmax(1)
        terms = []
        for step in range(int(reads.sum(1).max())):
            channel = (lowest + step).clamp(max=c - 1)
            inside = (lowest + step < c).float()[:, None, None, None]
            terms.append((channel, (kernels[output, channel][:, None] * inside)))
        layers.append((first, terms))
    return layers


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
