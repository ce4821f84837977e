"""SPADE: find the good pictures most like this one, then each of its patches among theirs.

Cohen and Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences", 2020. There is no official code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from tqdm.auto import tqdm

from pclib._checks import at_least
from pclib.backbones import Backbone
from pclib.detector import Scores
from pclib.extraction import Progress, feature_maps
from pclib.framing import Pictures
from pclib.methods._method import Learned, Method
from pclib.scoring import AnomalyMaps

SIGMA = 4.0
QUERIES = 512  # patches compared at a time with all patches of one picture: what fits into a processor's cache


class SPADE(Method):
    """Scores a picture by its nearest good pictures, and a patch by its nearest patch in any place of those.

    layers     of which the last is averaged over the picture, to find pictures like it; patches are compared at each
               of the others by itself, and their maps averaged
    neighbors  how many good pictures (K in the paper)
    patches    how many of their patches a distance is averaged over (κ in the paper)
    squared    take squared distances; accounts of the paper differ, and the order of image scores with it

    `learned`: `image` (n, d), the averaged last layer; "map <i>" (n, places, channels), each other layer. The rest is
    as for all methods (`Method`).
    """

    kind = "spade"
    levels: ClassVar = {
        "resnet": ("layer1", "layer2", "layer3", "layer4"),
        "efficientnet": ("blocks.1", "blocks.2", "blocks.4", "bn2"),
    }
    smaller = "give fewer pictures, a smaller crop=, or fewer or deeper layers="

    def __init__(
        self,
        backbone: str | Backbone = "tf_efficientnet_lite0",
        *,
        layers: Sequence[str] | None = None,
        neighbors: int = 50,
        patches: int = 1,
        squared: bool = False,
        resize: int | None = 256,
        crop: int = 224,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        super().__init__(backbone, layers, resize, crop, device, precision)
        if len(self.backbone.layers) < 2:
            raise ValueError(f"SPADE needs layers to compare and one to average, got only {self.backbone.layers[0]}")
        self.neighbors, self.patches = at_least("neighbors", neighbors, 1), at_least("patches", patches, 1)
        self.squared = bool(squared)

    @property
    def parameters(self) -> dict[str, Any]:
        return {"neighbors": self.neighbors, "patches": self.patches, "squared": self.squared}

    def memory(self, pictures: int) -> int:
        return 4 * pictures * sum(channels * rows * columns for channels, rows, columns in self.shapes.values())

    def check_number(self, pictures: int) -> None:
        if pictures < self.neighbors:
            raise ValueError(
                f"{pictures} good pictures are fewer than neighbors={self.neighbors}: give more, or lower it"
            )
        fewest = min(rows * columns for _, rows, columns in list(self.shapes.values())[:-1])
        if self.patches > self.neighbors * fewest:
            raise ValueError(
                f"patches={self.patches}, but neighbors={self.neighbors} pictures have {self.neighbors * fewest} in "
                "their smallest map: lower it, or raise neighbors="
            )

    def learn(self, pictures: Pictures, progress: Progress = tqdm) -> Learned:
        n, (*compared, last) = len(pictures.samples), self.shapes.values()
        learned = {"image": np.empty((n, last[0]), np.float32)}
        for i, (c, rows, columns) in enumerate(compared):
            learned[f"map {i}"] = np.empty((n, rows * columns, c), np.float32)
        for batch, maps in feature_maps(self.backbone, pictures, "features", progress):
            *levels, image = described(list(maps.values()))
            learned["image"][batch] = image.cpu().numpy()
            for i, level in enumerate(levels):
                learned[f"map {i}"][batch] = level.cpu().numpy()
        return learned

    def score_pictures(self, pictures: Pictures, progress: Progress = tqdm) -> Scores:
        learned, compared = self.known(), list(self.shapes.values())[:-1]
        device = self.backbone.device
        images = torch.from_numpy(learned["image"]).to(device)
        galleries = [torch.from_numpy(learned[f"map {i}"]).to(device) for i in range(len(compared))]
        found = np.empty(len(pictures.samples), np.float32)
        grids = [np.empty((len(found), *shape[1:]), np.float32) for shape in compared]
        for batch, maps in feature_maps(self.backbone, pictures, "scoring", progress):
            *levels, image = described(list(maps.values()))
            for j, number in enumerate(range(batch.start, batch.stop)):
                squared, alike = (images - image[j]).square().sum(1).sort(stable=True)
                found[number] = self._mean(squared[: self.neighbors])
                for grid, gallery, level in zip(grids, galleries, levels, strict=True):
                    near = nearest_squared(level[j], gallery, alike[: self.neighbors].tolist(), self.patches)
                    grid[number] = self._mean(near).reshape(grid.shape[1:])
        return Scores(found, AnomalyMaps(grids, self.framing.crop, SIGMA), pictures.samples, self.framing)

    def _mean(self, squared: torch.Tensor) -> np.ndarray:
        """Over the last axis, of squared or plain distances."""
        return (squared if self.squared else squared.sqrt()).mean(-1).cpu().numpy()


def described(maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Maps (n, c, h, w) as vectors of patches (n, places, c); the last one as a vector for each picture (n, c)."""
    return [*(values.flatten(2).mT.contiguous() for values in maps[:-1]), maps[-1].mean((2, 3))]


def nearest_squared(queries: torch.Tensor, gallery: torch.Tensor, pictures: Sequence[int], k: int = 1) -> torch.Tensor:
    """Squared distances (q, k) from patches (q, c) to their k nearest among all patches of some pictures of a gallery.

    gallery (n, places, c). The nearest are found by products, picture by picture, and no copy of the gallery is made;
    their distances are then computed by subtraction, because products lose the digits of small ones.
    """
    best = torch.full((len(queries), k), -torch.inf, device=queries.device)
    where = torch.zeros((len(queries), k), dtype=torch.long, device=queries.device)  # picture and place, as one number
    places = gallery.shape[1]
    for picture in pictures:
        half_norms = gallery[picture].square().sum(1) / 2
        for first in range(0, len(queries), QUERIES):
            part = slice(first, first + QUERIES)
            nearness = torch.addmm(-half_norms, queries[part], gallery[picture].T)  # (|q|² - |q - g|²) / 2
            values, rows = nearness.max(1, keepdim=True) if k == 1 else nearness.topk(min(k, places))
            values, order = torch.cat([best[part], values], 1).topk(k)
            best[part] = values
            where[part] = torch.cat([where[part], rows + picture * places], 1).gather(1, order)
    found = gallery.flatten(0, 1)[where]
    return (queries[:, None] - found).square().sum(2).sort().values
