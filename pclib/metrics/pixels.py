"""Pixel AUROC and PRO: exact, every distinct score a threshold, ties shared. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pclib._checks import Undefined, at_least, fraction, one_of
from pclib.metrics._inputs import masks_and_maps
from pclib.metrics.placement import place
from pclib.metrics.regions import Regions, find_regions, has_defect


def pixel_auroc(masks: np.ndarray, maps: np.ndarray, *, images: str = "all") -> float:
    """AUROC over all pixels of all images together: the mean area of the anomalous pixels. Large defects weigh most.

    masks (n, h, w) bool, maps (n, h, w) float32 or float64. images: "all", or "anomalous" to leave out the pixels of
    images whose mask is empty (the official code reports both). Raises ValueError if there is no anomalous or no normal
    pixel, and for input that `pro` refuses.
    """
    masks, maps = masks_and_maps(masks, maps)
    one_of("images", images, ("all", "anomalous"))
    placed = place(masks, maps, _some_images(masks, images))
    pairs = len(placed.above) * placed.normal
    return 1 - (int(placed.above.sum()) + int(placed.at_or_above.sum())) / (2 * pairs)


def pro(
    masks: np.ndarray,
    maps: np.ndarray,
    max_fpr: float = 0.3,
    *,
    connectivity: int = 8,
    average: str = "region",
    fpr_images: str = "all",
) -> float:
    """Area under the per-region overlap curve up to a false positive rate of `max_fpr`, divided by it.

    masks (n, h, w) bool, maps (n, h, w) float32 or float64. By default as published: regions are the 8-connected
    components of all masks, weighted equally; the false positive rate is over the normal pixels of all images; the
    curve is linear between thresholds, and up to the limit. The variants that are met with:

    connectivity  8, or 4
    average       "region", or "image": over images of the mean over an image's regions
    fpr_images    "all", or "anomalous": false positives in images with a defect only, on one axis; or "own": each image
                  with a defect has an axis of its own

    Raises ValueError for a limit outside (0, 1], shapes that differ, masks that are not binary, maps that are not
    finite or neither float32 nor float64, and masks without an anomalous or without a normal pixel.
    Source: Bergmann et al. 2021.
    """
    fraction("max_fpr", max_fpr)
    masks, maps = masks_and_maps(masks, maps)
    one_of("average", average, ("region", "image"))
    one_of("fpr_images", fpr_images, ("all", "anomalous", "own"))
    regions = find_regions(masks, connectivity)
    if fpr_images == "own":
        per_region = np.concatenate(
            [_own_pro(masks[i], maps[i], max_fpr, connectivity) for i in np.flatnonzero(has_defect(masks))]
        )
    else:
        placed = place(masks, maps, _some_images(masks, fpr_images), up_to=max_fpr)
        per_region = _over_regions(regions, placed.areas(max_fpr))
    return float(np.average(per_region, weights=_region_weights(regions, average)))


def official_pro(masks: np.ndarray, maps: np.ndarray, max_fpr: float = 0.3) -> float:
    """PRO as the results published in the official repository seem to have been computed (column `anomaly_pro`).

    The routine was never published. Its numbers show that each defective image has the same weight and that good images
    have no part in the false positive rate; whether that is counted image by image, as here, or over all defective
    images together (`fpr_images="anomalous"`), they do not show. Not to be compared with `pro`. Arguments and errors as
    there.
    """
    return pro(masks, maps, max_fpr, average="image", fpr_images="own")


@dataclass(frozen=True, eq=False)
class PixelMetrics:
    """Pixel AUROC and PRO at several limits, and what they are means of.

    pixel_auroc       over all pixels
    pro               limit -> PRO up to that false positive rate
    regions           the k defect regions
    region_auroc (k,) AUROC of each region's pixels against all normal ones; pixel AUROC is its mean by size
    region_pro        limit -> (k,), the area under each region's own curve; PRO is its mean
    n_normal          normal pixels
    """

    pixel_auroc: float
    pro: dict[float, float]
    regions: Regions = field(repr=False)
    region_auroc: np.ndarray = field(repr=False)
    region_pro: dict[float, np.ndarray] = field(repr=False)
    n_normal: int


def pixel_metrics(masks: np.ndarray, maps: np.ndarray, limits: Sequence[float] = (0.3,)) -> PixelMetrics:
    """Pixel AUROC, and PRO at each of the limits, in one go. Arguments and errors as for `pro`."""
    for limit in limits:
        fraction("limits", limit)
    masks, maps = masks_and_maps(masks, maps)
    regions = find_regions(masks)
    placed = place(masks, maps)
    by_region = {limit: _over_regions(regions, placed.areas(limit)) for limit in (*limits, 1.0)}
    auroc = by_region[1.0]
    return PixelMetrics(
        float(np.average(auroc, weights=regions.size)),
        {limit: float(by_region[limit].mean()) for limit in limits},
        regions,
        auroc,
        {limit: by_region[limit] for limit in limits},
        placed.normal,
    )


def pixel_roc(masks: np.ndarray, maps: np.ndarray, points: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """The ROC curve over pixels, thinned for drawing: false and true positive rate, from (0, 0) to (1, 1).

    Every point returned is a point of the exact curve, which may have millions; between two of them it strays from the
    straight line by no more than 1 / points either way. Arguments and errors as for `pixel_auroc`.
    """
    masks, maps = masks_and_maps(masks, maps)
    return _curve(masks, maps, np.full(np.count_nonzero(masks), 1.0), points)


def pro_curve(masks: np.ndarray, maps: np.ndarray, points: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """The curve that PRO is the area under: false positive rate, mean overlap over regions; thinned like `pixel_roc`.

    Arguments and errors as for `pro`.
    """
    masks, maps = masks_and_maps(masks, maps)
    regions = find_regions(masks)
    return _curve(masks, maps, 1 / regions.size[regions.of_pixel], points)


def _curve(masks: np.ndarray, maps: np.ndarray, weights: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Between two scores of anomalous pixels the curve is level, so it bends only where they stand."""
    at_least("points", points, 1)
    placed = place(masks, maps)
    above, at_or_above = placed.above[::-1], placed.at_or_above[::-1]  # scores now fall
    covered = np.cumsum(weights[placed.order][::-1])
    scores = placed.scores[::-1]
    last = np.append(scores[1:] != scores[:-1], True)  # of each run of equal scores
    after = covered[last] / covered[-1]
    before = np.append(0, after[:-1])
    fpr = np.stack([above[last], at_or_above[last]], axis=1).ravel() / placed.normal
    overlap = np.stack([before, after], axis=1).ravel()
    fpr, overlap = np.concatenate([[0], fpr, [1]]), np.concatenate([[0], overlap, [1]])
    tile = np.floor(fpr * points) + np.floor(overlap * points)  # rises along the curve
    enters = np.append(True, tile[1:] != tile[:-1])
    keep = enters | np.append(enters[1:], True)
    return fpr[keep], overlap[keep]


def _some_images(masks: np.ndarray, which: str) -> np.ndarray | None:
    """None for all images, or (n,) bool: those with a defect. Undefined if no normal pixel is left in those."""
    if which == "all":
        return None
    chosen = has_defect(masks)
    if masks[chosen].all():
        raise Undefined("undefined: there is no normal pixel in the images with a defect")
    return chosen


def _own_pro(mask: np.ndarray, anomaly_map: np.ndarray, max_fpr: float, connectivity: int) -> np.ndarray:
    if mask.all():
        raise Undefined("undefined: there is no normal pixel in one of the images with a defect")
    placed = place(mask[None], anomaly_map[None], up_to=max_fpr)
    return _over_regions(find_regions(mask[None], connectivity), placed.areas(max_fpr))


def _over_regions(regions: Regions, areas: np.ndarray) -> np.ndarray:
    """(k,): the mean of the pixels' areas over each region."""
    return np.bincount(regions.of_pixel, weights=areas, minlength=len(regions)) / regions.size


def _region_weights(regions: Regions, average: str) -> np.ndarray:
    if average == "region":
        return np.ones(len(regions))
    return 1 / np.bincount(regions.image)[regions.image]
