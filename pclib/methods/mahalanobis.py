"""MahalanobisAD: at each level of the network, one Gaussian of good pictures as wholes.

Rippel et al., "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly Detection", ICPR 2020.
The rules for components, shrinkage and augmentation follow the authors' description and code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from tqdm.auto import tqdm

from pclib._checks import at_least, fraction
from pclib.backbones import Backbone
from pclib.detector import Scores
from pclib.extraction import Progress, feature_maps
from pclib.framing import Pictures
from pclib.methods._method import Learned, Method

ROUNDING = 1e-9  # of the largest singular value: below that, nothing varies
FEWEST = 3  # of two vectors, both lie equally far from their mean, and nothing would be shrunk


class MahalanobisAD(Method):
    """Scores a picture by the sum, over levels, of its Mahalanobis distances to the good ones. There are no maps.

    npca          None to look along all directions; or a share of the variance, to look only along the directions that
                  vary least and have that share together (the paper's best variant: 0.01)
    augmentation  how many altered copies of each picture to learn from, drawn with `seed`; 0 for the pictures alone

    Covariances are shrunk (Ledoit and Wolf 2004), so that fewer pictures than channels will do. `learned`: for level i
    "mean <i>" (d,), "factor <i>" (k, k), lower, and with npca "directions <i>" (k, d). The rest is as for all methods
    (`Method`).
    """

    kind = "mahalanobis"
    levels: ClassVar = {
        "resnet": ("maxpool", "layer1", "layer2", "layer3", "layer4"),
        "efficientnet": ("bn1", *(f"blocks.{i}" for i in range(7)), "bn2"),
    }
    smaller = "give fewer pictures, a smaller augmentation=, or fewer layers="

    def __init__(
        self,
        backbone: str | Backbone = "tf_efficientnet_lite0",
        *,
        layers: Sequence[str] | None = None,
        npca: float | None = None,
        augmentation: int = 0,
        resize: int | None = 256,
        crop: int = 224,
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        super().__init__(backbone, layers, resize, crop, device, precision)
        self.npca = None if npca is None else float(fraction("npca, a share of variance or None,", npca, open_end=True))
        self.augmentation, self.seed = at_least("augmentation", augmentation, 0), at_least("seed", seed, 0)

    @property
    def parameters(self) -> dict[str, Any]:
        return {"npca": self.npca, "augmentation": self.augmentation, "seed": self.seed}

    def memory(self, pictures: int) -> int:
        widths, copies = [shape[0] for shape in self.shapes.values()], max(1, self.augmentation)
        altered = 3 * pictures * self.framing.crop**2 if self.augmentation else 0
        return altered + 8 * (pictures * copies * (sum(widths) + 3 * max(widths)) + 3 * max(widths) ** 2)

    def check_number(self, pictures: int) -> None:
        if pictures * max(1, self.augmentation) < FEWEST:
            raise ValueError(
                f"{pictures} good pictures are too few to tell how much to shrink their covariance; give {FEWEST}, or "
                "learn from altered copies (augmentation=)"
            )

    def learn(self, pictures: Pictures, progress: Progress = tqdm) -> Learned:
        plain, rng = pooled(self.backbone, pictures, "features", progress), np.random.default_rng(self.seed)
        passes = [self._altered(pictures, plain, rng, i, progress) for i in range(self.augmentation)] or [plain]
        learned: Learned = {}
        for i, (layer, *parts) in enumerate(zip(self.backbone.layers, *passes, strict=True)):
            found = gaussian(np.concatenate(parts), layer, self.npca)
            learned |= {f"{name} {i}": values for name, values in found.items()}
        return learned

    def _altered(
        self, pictures: Pictures, plain: list[np.ndarray], rng: np.random.Generator, i: int, progress: Progress
    ) -> list[np.ndarray]:
        """Features as `pooled` gives them, of copies of the pictures. Those that stay as they are have them already."""
        copies = {j: altered(square, rng) for j, square in enumerate(pictures.pixels)}
        new = {j: copy for j, copy in copies.items() if not np.array_equal(copy, pictures.pixels[j])}
        levels = [vectors.copy() for vectors in plain]
        if new:
            seen = Pictures([pictures.samples[j] for j in new], np.stack(list(new.values())), [])
            what = f"altered {i + 1}/{self.augmentation}"
            for level, vectors in zip(levels, pooled(self.backbone, seen, what, progress), strict=True):
                level[list(new)] = vectors
        return levels

    def score_pictures(self, pictures: Pictures, progress: Progress = tqdm) -> Scores:
        self.known()
        image = self.distances(pictures, progress).sum(1)
        return Scores(image.astype(np.float32), None, pictures.samples, self.framing)

    def distances(self, pictures: Pictures, progress: Progress = tqdm) -> np.ndarray:
        """(n, levels) float64: how far each framed picture lies from the good ones, at each level by itself."""
        learned, columns = self.known(), []
        for i, vectors in enumerate(pooled(self.backbone, pictures, "scoring", progress)):
            centred = vectors - learned[f"mean {i}"]
            if self.npca is not None:
                centred = centred @ learned[f"directions {i}"].T
            columns.append(np.linalg.norm(solve_triangular(learned[f"factor {i}"], centred.T, lower=True), axis=0))
        return np.stack(columns, 1)


def pooled(backbone: Backbone, pictures: Pictures, what: str, progress: Progress = tqdm) -> list[np.ndarray]:
    """For each layer, the mean of its map over the picture: (n, channels) float64."""
    parts = []
    for _, maps in feature_maps(backbone, pictures, what, progress):
        parts.append([values.mean((2, 3)).double().cpu().numpy() for values in maps.values()])
    return [np.concatenate(level) for level in zip(*parts, strict=True)]


def gaussian(vectors: np.ndarray, level: str, npca: float | None = None) -> Learned:
    """Mean and lower factor of the shrunk covariance of vectors (n, d); with npca, along the least varying directions.

    Raises ValueError, naming the level, if all vectors are equal, or copies of only two.
    """
    from sklearn.covariance import ledoit_wolf

    mean = vectors.mean(0)
    learned, centred = {"mean": mean}, vectors - mean
    try:
        if npca is not None:
            learned["directions"] = least_varying(centred, npca)
            centred = centred @ learned["directions"].T
        if not centred.size:
            raise LinAlgError("nothing varies")
        covariance, _ = ledoit_wolf(centred, assume_centered=True)
        learned["factor"] = cholesky(covariance, lower=True)
    except LinAlgError as error:
        raise ValueError(
            f"{level}: all {len(vectors)} pictures have the same features, or those of only two, which cannot tell how "
            "good pictures vary; give pictures that differ as good ones do"
        ) from error
    return learned


def least_varying(centred: np.ndarray, share: float) -> np.ndarray:
    """Principal directions (k, d) of centred vectors (n, d), from the one before that which completes 1 - share of
    the variance on to the last: the authors' code keeps one on each side of the cut.

    Of fewer vectors than channels, directions in which nothing varies are left out: they cannot be told apart. (Their
    code keeps some of those, whichever rounding gives.)
    """
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    varying = singular > ROUNDING * singular[0]
    if len(centred) >= centred.shape[1] and varying.any():
        varying[:] = True  # all directions are there, those in which nothing varies too
    shares = np.cumsum(np.square(singular[varying]))
    if not len(shares):
        return directions[:0]
    cut = int((shares > (1 - share) * shares[-1]).argmax())
    return directions[varying][max(0, cut - 1) :]


def altered(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture (h, w, 3) uint8 as it might also have been taken; half of them stay as they are.

    Of the kinds and with the probabilities of the authors' code: blur, sharpness or light, hue and saturation, noise,
    mirroring, quarter turns, and a small shift, zoom and turn. They leave some out for some categories of MVTec AD.
    """
    if rng.random() < 0.5:
        return pixels
    image = Image.fromarray(pixels)
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.BoxBlur(1))
    if rng.random() < 0.3:
        enhance = (ImageEnhance.Sharpness, ImageEnhance.Contrast, ImageEnhance.Brightness)[rng.integers(3)]
        image = enhance(image).enhance(rng.uniform(0.9, 1.2))
    if rng.random() < 0.3:
        hue, saturation, value = image.convert("HSV").split()
        shift = rng.integers(-14, 15)  # of 256 around the circle
        turned = Image.fromarray((np.asarray(hue, np.int16) + shift).astype(np.uint8))
        image = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
        image = ImageEnhance.Color(image).enhance(rng.uniform(0.9, 1.1))
    if rng.random() < 0.2:
        noise = rng.normal(0, rng.uniform(2.5, 7.5), (*pixels.shape[:2], 1 if rng.random() < 0.5 else 3))
        image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = Image.fromarray(np.rot90(np.asarray(image), int(rng.integers(4))).copy())
    if rng.random() < 0.2:
        image = moved(image, rng)
    return np.asarray(image)


def moved(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turned by up to 45 degrees, zoomed by -5 to 10 % and shifted by up to 5 %; what comes in is a mirror image."""
    width, height = image.size
    wide = Image.fromarray(np.pad(np.asarray(image), ((height // 2,) * 2, (width // 2,) * 2, (0, 0)), "reflect"))
    shift = rng.uniform(-0.05, 0.05, 2) * (width, height)
    zoom = rng.uniform(0.95, 1.1)
    wide = wide.rotate(rng.uniform(-45, 45), Image.Resampling.BILINEAR)
    left, top = (np.array(wide.size) - np.array([width, height]) / zoom) / 2 + shift
    box = (left, top, left + width / zoom, top + height / zoom)
    return wide.resize((width, height), Image.Resampling.BILINEAR, box)
