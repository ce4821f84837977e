"""Defect regions: the connected components of masks, each image by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import generate_binary_structure, label

from pclib.metrics._inputs import binary


@dataclass(frozen=True, eq=False)
class Regions:
    """The k defect regions of a stack of masks with p anomalous pixels.

    image (k,)     the image that a region lies in
    size (k,)      its pixels
    of_pixel (p,)  the region of each anomalous pixel, in the order of masks.ravel()
    """

    image: np.ndarray
    size: np.ndarray
    of_pixel: np.ndarray

    def __len__(self) -> int:
        return len(self.size)


def has_defect(masks: np.ndarray) -> np.ndarray:
    """(n,) bool: which of the masks (n, h, w) are not empty."""
    return np.array([mask.any() for mask in masks], dtype=bool)


def find_regions(masks: np.ndarray, connectivity: int = 8) -> Regions:
    """Connected components of masks (n, h, w) bool, with 8 or 4 neighbours. Raises ValueError for another number."""
    if masks.ndim != 3:
        raise ValueError(f"masks must be (n, h, w), got {masks.shape}; for one mask write mask[None]")
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity must be 8 (corners join) or 4 (edges join only), got {connectivity!r}")
    neighbours = generate_binary_structure(2, 1 if connectivity == 4 else 2)
    image, of_pixel, found = [], [np.empty(0, np.int32)], 0
    for i, mask in enumerate(masks):
        rows = np.flatnonzero(mask.any(axis=1))
        if len(rows):
            columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
            around = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # in the same order of pixels
            names, count = label(around, neighbours)
            of_pixel.append(names[around] + (found - 1))
            image += [i] * count
            found += count
    pixels = np.concatenate(of_pixel)
    return Regions(np.array(image, dtype=int), np.bincount(pixels, minlength=found), pixels)


def count_regions(masks: np.ndarray, connectivity: int = 8) -> int:
    """Number of defect regions in all masks (n, h, w) together. Raises ValueError for masks that are not binary."""
    return len(find_regions(binary("masks", masks), connectivity))
