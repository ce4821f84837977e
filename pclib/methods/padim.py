"""PaDiM: at each place of the grid, one Gaussian of what good pictures show there.

Defard et al., "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization", ICPR 2020
workshops. There is no official code. Where the paper resizes maps by a bicubic filter, this resizes as PatchCore does,
so that the two rows of a table differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from pclib._checks import at_least
from pclib.backbones import Backbone
from pclib.detector import Scores
from pclib.extraction import Progress, feature_maps
from pclib.framing import Pictures
from pclib.methods._method import Learned, Method
from pclib.scoring import AnomalyMaps, image_scores

SIGMA = 4.0
AT_ONCE = 16  # pictures that statistics and distances are computed of together
PLACES = 128  # covariances that are kept and factored together
ROUNDING = 1e-12  # of a channel's variance: of less than that by itself, float32 features know nothing


class PaDiM(Method):
    """Scores a patch by its Mahalanobis distance to the good patches of the same place.

    channels  how many of the layers' channels are kept, drawn with `seed` and the same at every place; None for all
    epsilon   is added to the diagonal of each covariance, which fewer pictures than channels leave singular

    The image is as anomalous as its most anomalous patch, before the map is blurred. `learned`: `channels` (d,), the
    numbers of those kept; `mean` (rows, columns, d); `factor` (rows, columns, d, d), lower triangles L with
    L Lᵀ = covariance. The rest is as for all methods (`Method`).
    """

    kind = "padim"
    levels: ClassVar = {"resnet": ("layer1", "layer2", "layer3"), "efficientnet": ("blocks.1", "blocks.2", "blocks.4")}
    smaller = "keep fewer channels=, a smaller crop=, or deeper layers="

    def __init__(
        self,
        backbone: str | Backbone = "tf_efficientnet_lite0",
        *,
        layers: Sequence[str] | None = None,
        channels: int | None = 100,
        epsilon: float = 0.01,
        resize: int | None = 256,
        crop: int = 224,
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        super().__init__(backbone, layers, resize, crop, device, precision)
        total = sum(shape[0] for shape in self.shapes.values())
        channels = None if channels is None else at_least("channels", channels, 1)
        if channels is not None and channels > total:
            raise ValueError(f"channels={channels}, but {', '.join(self.backbone.layers)} have {total}: give fewer")
        if not isinstance(epsilon, int | float | np.number) or not 0 <= epsilon < float("inf"):
            raise ValueError(f"epsilon must be a number of at least 0, got {epsilon!r}")
        self.channels, self.epsilon, self.seed = channels, float(epsilon), at_least("seed", seed, 0)
        self.kept = np.sort(np.random.default_rng(self.seed).permutation(total)[:channels])
        self.grid = self.shapes[self.backbone.layers[0]][1:]
        self.places = self.grid[0] * self.grid[1]

    @property
    def parameters(self) -> dict[str, Any]:
        return {"channels": self.channels, "epsilon": self.epsilon, "seed": self.seed}

    def memory(self, pictures: int) -> int:
        d = len(self.kept)
        return 8 * self.places * d * (d + 3 * AT_ONCE)

    def check_number(self, pictures: int) -> None:
        d = len(self.kept)
        if pictures <= d and self.epsilon == 0:
            raise ValueError(
                f"{pictures} pictures leave the covariance of {d} channels singular: give more than {d}, keep fewer "
                "channels, or an epsilon above 0"
            )

    def learn(self, pictures: Pictures, progress: Progress = tqdm) -> Learned:
        d, places = len(self.kept), self.places
        parts = [slice(first, min(first + PLACES, places)) for first in range(0, places, PLACES)]
        moments = [Moments(part.stop - part.start, d, self.backbone.device) for part in parts]
        for _, vectors in self._vectors(pictures, self.kept, "features", progress):
            for part, known in zip(parts, moments, strict=True):
                known.add(vectors[:, part])
        mean, factor = np.empty((places, d), np.float32), np.empty((places, d, d), np.float32)
        for part in parts:
            known = moments.pop(0)  # let go of as soon as it is factored: never are both there in full
            mean[part] = known.mean.cpu()
            factor[part] = self._factored(known.covariance(), part.start).cpu()
        return {
            "channels": self.kept,
            "mean": mean.reshape(*self.grid, d),
            "factor": factor.reshape(*self.grid, d, d),
        }

    def _factored(self, covariance: torch.Tensor, first: int) -> torch.Tensor:
        """Lower factors of covariances (n, d, d), to which epsilon is added; `first` is the number of their place."""
        covariance.diagonal(dim1=1, dim2=2).add_(self.epsilon)
        factor, wrong = torch.linalg.cholesky_ex(covariance)
        alone, variance = (values.diagonal(dim1=1, dim2=2) for values in (factor, covariance))
        wrong = (wrong > 0) | (alone.square() < ROUNDING * variance).any(1)
        if wrong.any():
            place = divmod(first + int(wrong.nonzero()[0]), self.grid[1])
            raise ValueError(
                f"the covariance at place {place} is singular with epsilon={self.epsilon:g}: some channels hardly vary "
                "there, or follow from others; give a larger epsilon, or keep fewer channels"
            )
        return factor

    def score_pictures(self, pictures: Pictures, progress: Progress = tqdm) -> Scores:
        learned, patches = self.known(), np.empty((len(pictures.samples), *self.grid), np.float32)
        channels, d = learned["channels"], len(learned["channels"])
        mean, factor = (torch.from_numpy(learned[name]).to(self.backbone.device) for name in ("mean", "factor"))
        for batch, vectors in self._vectors(pictures, channels, "scoring", progress):
            distances = mahalanobis(vectors, mean.reshape(-1, d), factor.reshape(-1, d, d))
            patches[batch] = distances.reshape(-1, *self.grid).cpu().numpy()
        maps = AnomalyMaps(patches, self.framing.crop, SIGMA)
        return Scores(image_scores(patches), maps, pictures.samples, self.framing)

    def _vectors(
        self, pictures: Pictures, channels: np.ndarray, what: str, progress: Progress
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """Which pictures, and their vectors (b, places, channels); some at a time."""
        waiting: list[torch.Tensor] = []
        start = 0
        for batch, maps in feature_maps(self.backbone, pictures, what, progress):
            waiting.append(stacked(maps, channels))
            if batch.stop - start >= AT_ONCE or batch.stop == len(pictures.samples):
                yield slice(start, batch.stop), torch.cat(waiting)
                waiting, start = [], batch.stop


def stacked(maps: Mapping[str, torch.Tensor], channels: np.ndarray) -> torch.Tensor:
    """Some channels of all maps, side by side at every place of the first: (n, places, len(channels)).

    A deeper map gives each place the value that lies over it (nearest neighbour). `channels` are counted through all
    maps in turn, ascending.
    """
    size, first, parts = next(iter(maps.values())).shape[-2:], 0, []
    for values in maps.values():
        end = first + values.shape[1]
        own = channels[(channels >= first) & (channels < end)] - first
        if len(own):
            chosen = values[:, torch.from_numpy(own).to(values.device)]
            parts.append(F.interpolate(chosen, size=size, mode="nearest"))
        first = end
    return torch.cat(parts, 1).flatten(2).mT


class Moments:
    """Mean and covariance at many places, of vectors that arrive a few at a time (Chan et al. 1979).

    In float64: with fewer vectors than channels the smallest variances are epsilon's alone, and single precision loses
    them beside the largest (four digits remain of the distances).
    """

    def __init__(self, places: int, d: int, device: torch.device) -> None:
        self.count = 0
        self.mean = torch.zeros(places, d, dtype=torch.float64, device=device)
        self._products = torch.zeros(places, d, d, dtype=torch.float64, device=device)

    def add(self, vectors: torch.Tensor) -> None:
        """Take in vectors (n, places, d)."""
        vectors = vectors.double()
        n, total = len(vectors), self.count + len(vectors)
        mean = vectors.mean(0)
        moved = mean - self.mean
        parts = torch.cat([vectors - mean, moved[None] * (self.count * n / total) ** 0.5]).movedim(0, 2)
        self._products.baddbmm_(parts, parts.mT)  # (places, d, n + 1) times its transpose
        self.mean += moved * (n / total)
        self.count = total

    def covariance(self) -> torch.Tensor:
        """(places, d, d), divided by n - 1. It takes over the memory: nothing can be added afterwards."""
        return self._products.div_(self.count - 1)


def mahalanobis(vectors: torch.Tensor, mean: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Distances (n, places) of vectors (n, places, d) to Gaussians with means (places, d) and lower factors
    (places, d, d) of their covariances: the length of L⁻¹ (x - μ), found by solving, never by inverting."""
    centred = (vectors - mean).movedim(0, 2)  # (places, d, n)
    return torch.linalg.solve_triangular(factor, centred, upper=False).norm(dim=1).T
