"""Refuse what a metric cannot be computed from, before it is computed."""

from __future__ import annotations

from numbers import Real

import numpy as np

from pclib._checks import Undefined, some


def labels_and_scores(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """labels (n,) as bool, scores (n,). Raises ValueError, or Undefined if there is one class only."""
    labels, scores = binary("labels", labels), np.asarray(scores)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels and scores must both be (n,), got {labels.shape} and {scores.shape}")
    if scores.dtype.kind not in "biuf":
        raise ValueError(f"scores must be real numbers, got {scores.dtype}")
    _check_finite("scores", scores)
    anomalous = int(labels.sum())
    if anomalous in (0, len(labels)):
        good = len(labels) - anomalous
        raise Undefined(f"undefined: one class only ({good} good, {anomalous} anomalous); both are needed")
    return labels, scores


def masks_and_maps(masks: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """masks (n, h, w) as bool, maps (n, h, w). Raises ValueError, or Undefined if there is one kind of pixel only.

    Maps that say like an array which shape and dtype they have are left as they are, to be read a few at a time.
    """
    masks = np.asarray(masks)
    if not isinstance(getattr(maps, "dtype", None), np.dtype):
        maps = np.asarray(maps)
    if masks.shape != maps.shape or masks.ndim != 3:
        raise ValueError(f"masks and maps must both be (n, h, w), got {masks.shape} and {maps.shape}")
    if maps.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise ValueError(
            f"maps must be float32 or float64, got {maps.dtype}: fewer digits make scores equal that were not. "
            "Keep the maps as the method computed them; if there are no others, maps.astype(np.float32) will be taken"
        )
    masks = binary("masks", masks)
    if not maps.dtype.isnative:
        maps = maps.astype(maps.dtype.newbyteorder("="))
    _check_finite("maps", maps)
    anomalous = int(np.count_nonzero(masks))
    if anomalous in (0, masks.size):
        raise Undefined(f"undefined: there is no {'anomalous' if anomalous == 0 else 'normal'} pixel in the masks")
    return masks, maps


def binary(argument: str, values: np.ndarray) -> np.ndarray:
    """`values` as bool; ValueError unless they are 0 and 1 only."""
    values = np.asarray(values)
    if values.dtype == bool:
        return values
    other = values[(values != 0) & (values != 1)]
    if other.size:
        found = some([f"{v:.4g}" if isinstance(v, Real) else str(v) for v in sorted(set(other.ravel().tolist()))])
        raise ValueError(
            f"{argument} must be binary (0 and 1), found values such as {found}; threshold them yourself, because the "
            f"choice moves the result, and mind the order: {argument} come before scores"
        )
    return values.astype(bool)


def _check_finite(argument: str, values: np.ndarray) -> None:
    if values.ndim == 1:
        wrong = ~np.isfinite(values)
    else:  # map by map, because a mask of them all would be as large as the masks
        wrong = np.array([anomaly_map.size - np.count_nonzero(np.isfinite(anomaly_map)) for anomaly_map in values])
    if wrong.any():
        count, first = wrong.sum(), np.flatnonzero(wrong)[0]
        raise ValueError(
            f"{argument} hold {count} NaN or infinite values, the first in image {first}; they come from a method that "
            "failed there, so no rank can be given to them"
        )
