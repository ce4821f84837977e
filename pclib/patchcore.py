"""PatchCore, put together from the parts: a memory of good patches, and the distance to it.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from tqdm.auto import tqdm

from pclib import _bankfile
from pclib._checks import at_least, fraction, one_of, some
from pclib._device import available_memory, gibibytes
from pclib.backbones import Backbone
from pclib.coreset import Selection, greedy
from pclib.detector import Explanation, Neighbor, Scores
from pclib.extraction import (
    Progress,
    batches,
    check_good,
    checked,
    chosen_backbone,
    digests,
    feature_maps,
    read_good,
    silent,
)
from pclib.framing import Box, Framing, Pictures, read
from pclib.neighbors import MemoryBank
from pclib.patches import embed
from pclib.samples import Sample
from pclib.scoring import AnomalyMaps, anomaly_map, eq7_factor, image_scores, nearest, threshold

PROTOCOLS = ("official", "paper")
PATCHSIZE, DIM, SIGMA = 3, 1024, 4.0

Coreset = float | Callable[[np.ndarray], Selection]


class PatchCore:
    """Finds what good samples never showed.

    backbone   a name that `load_backbone` knows, or a Backbone
    layers     names of its layers, shallow to deep; None for the backbone's middle two
    resize     pixels of the shorter side, then the central square of
    crop       so many pixels is what is looked at
    coreset    share of the patches to keep, in (0, 1], picked greedily; or a function of features (n, d) that gives a
               `Selection`
    neighbors  how many of the nearest memory patches a distance is averaged over
    protocol   "official" follows the authors' code: squared distances, the image scored by its worst patch. "paper"
               follows the text: plain distances, and the image's score lowered by Eq. 7
    seed       of the coreset's random projection and start
    device     "auto", "cpu", "cuda", ...; precision "float32" or "bfloat16" (only the backbone computes in it)

    After `fit`: `bank`, the memory, and `trained_on`, the names of its pictures with their SHA-256. After `calibrate`:
    `threshold`. `progress` is called like tqdm, wherever it is taken.
    """

    def __init__(
        self,
        backbone: str | Backbone = "tf_efficientnet_lite0",
        *,
        layers: Sequence[str] | None = None,
        resize: int | None = 256,
        crop: int = 224,
        coreset: Coreset = 0.1,
        neighbors: int = 1,
        protocol: str = "official",
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        one_of("protocol", protocol, PROTOCOLS)
        self.protocol = protocol
        self.neighbors, self.seed = at_least("neighbors", neighbors, 1), at_least("seed", seed, 0)
        self.coreset = coreset if callable(coreset) else float(fraction("coreset share", coreset))
        self.framing = Framing(resize, crop)
        self.backbone = backbone = chosen_backbone(backbone, layers, device, precision)
        self.grid = backbone.shapes(self.framing.crop)[backbone.layers[0]][1:]
        self.bank: MemoryBank | None = None
        self.trained_on: dict[str, str] = {}  # names of the training pictures, with their SHA-256
        self.threshold: float | None = None
        self._train_samples: list[Sample] | None = None

    def __repr__(self) -> str:
        known = "not fitted" if self.bank is None else repr(self.bank)
        return f"PatchCore({self.backbone!r}, {self.protocol}, {known})"

    def fit(self, samples: Sequence[Sample], *, skip_bad: bool = False, progress: Progress = tqdm) -> Self:
        """Remember what the patches of good samples look like. Returns itself.

        Raises ValueError before the long work starts: for fewer than two samples, samples known to be defective,
        pictures that cannot be read (`skip_bad` goes on without them), and a coreset smaller than `neighbors`;
        MemoryError for more pictures than memory holds features of.
        """
        enough = self._check_coreset
        pictures = read_good(samples, self.framing, enough=enough, skip_bad=skip_bad, progress=progress)
        _check_memory(len(pictures.samples), self.grid[0] * self.grid[1])
        features = self.embed(pictures, "features", progress)
        return self.remember(pictures, features, self.select(features, progress))

    def embed(
        self, pictures: Pictures, what: str, progress: Progress = tqdm, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Locally aware patch features (n, rows, columns, DIM) of framed pictures, written to `out` if it is given."""
        features = np.empty((len(pictures.samples), *self.grid, DIM), dtype=np.float32) if out is None else out
        for batch, embedding in self._embeddings(pictures, what, progress):
            features[batch] = embedding
        return features

    def remember(self, pictures: Pictures, features: np.ndarray, kept: np.ndarray | None) -> Self:
        """Make a memory of features (n, rows, columns, DIM) of pictures: of the rows `kept` of all n * rows * columns.

        None keeps all. What `fit` does last, for whoever already has the features and a selection. Returns itself.
        """
        vectors, (rows, columns) = features.reshape(-1, DIM), self.grid
        image, cell = np.divmod(np.arange(len(vectors)) if kept is None else kept, rows * columns)
        place = np.stack(np.divmod(cell, columns), 1).astype(np.int32)
        self.bank = MemoryBank(vectors if kept is None else vectors[kept], image.astype(np.int32), place)
        self.trained_on = digests(pictures)
        self._train_samples = pictures.samples
        self.threshold = None
        return self

    def calibrate(
        self, good: Sequence[Sample], false_alarms: float = 0.05, *, skip_bad: bool = False, progress: Progress = tqdm
    ) -> Self:
        """Set `threshold` from good samples that were held out of `fit`, for a wanted rate of false alarms.

        Raises ValueError for too few of them, samples known to be defective, and pictures that are in the memory.
        """
        check_good(good, "calibrate")
        pictures = read(checked(good), self.framing, skip_bad=skip_bad, progress=progress)
        known = set(self.trained_on.values())
        if seen := [s.name for s, d in zip(pictures.samples, pictures.digests, strict=True) if d in known]:
            raise ValueError(f"calibrate takes pictures held out of fit, but {some(seen)} are in the memory")
        threshold(np.zeros(len(pictures.samples)), false_alarms)  # refuse too few before scoring them
        self.threshold = threshold(self._score_pictures(pictures, progress).image, false_alarms)
        return self

    def score(self, samples: Sequence[Sample], *, skip_bad: bool = False, progress: Progress = tqdm) -> Scores:
        """Image scores and anomaly maps.

        Raises RuntimeError before `fit`, ValueError for pictures that cannot be read (`skip_bad` leaves them out).
        """
        self._fitted_bank()
        pictures = read(checked(samples), self.framing, skip_bad=skip_bad, progress=progress)
        return self._score_pictures(pictures, progress)

    def score_features(self, pictures: Pictures, features: np.ndarray) -> Scores:
        """As `score`, of framed pictures whose features (n, rows, columns, DIM) are already there."""
        return self._scores(pictures, self._batches(len(pictures.samples), features))

    def _score_pictures(self, pictures: Pictures, progress: Progress) -> Scores:
        return self._scores(pictures, self._embeddings(pictures, "scoring", progress))

    def _scores(self, pictures: Pictures, embeddings: Iterable[tuple[slice, np.ndarray]]) -> Scores:
        patches = np.empty((len(pictures.samples), *self.grid), dtype=np.float32)
        image = np.empty(len(pictures.samples), dtype=np.float32)
        for batch, embedding in embeddings:
            patches[batch], image[batch] = self._score(embedding)
        return Scores(image, AnomalyMaps(patches, self.framing.crop, SIGMA), pictures.samples, self.framing)

    def explain(self, sample: Sample, row: int | None = None, col: int | None = None, *, k: int = 3) -> Explanation:
        """The patch at a pixel of the framed image, and the k memory patches nearest to it.

        Without a pixel: at the worst patch, the one that gives the image its score.
        Raises ValueError for a pixel outside the crop, and for k larger than the bank.
        """
        bank, crop = self._fitted_bank(), self.framing.crop
        if (row is None) != (col is None):
            raise ValueError("give both row and col, or neither for the worst patch")
        pictures = read([sample], self.framing, progress=silent)
        _, embedding = next(self._embeddings(pictures, "", silent))
        patches, _ = self._score(embedding)
        if row is None or col is None:
            place = divmod(int(patches[0].argmax()), self.grid[1])
            row, col = (int((p + 0.5) * crop / g) for p, g in zip(place, self.grid, strict=True))
        if not (0 <= row < crop and 0 <= col < crop):
            raise ValueError(f"row and col must lie in [0, {crop}), the pixels of the crop, got ({row}, {col})")
        place = (row * self.grid[0] // crop, col * self.grid[1] // crop)
        squared, found = nearest(embedding[0, place[0], place[1]], bank, k)
        return Explanation(
            sample,
            row,
            col,
            place,
            self.box(place),
            self._receptive_boxes(pictures.pixels, place),
            float(patches[0][place]),
            [self._neighbor(int(i), float(d)) for i, d in zip(found, self._distances(squared), strict=True)],
            anomaly_map(patches, crop, SIGMA)[0],
            self.framing,
        )

    def save(self, path: str | Path) -> None:
        """Write all that `load` needs to one safetensors file: whole, or not at all."""
        bank = self._fitted_bank()
        manifest = {
            "protocol": self.protocol,
            "neighbors": self.neighbors,
            "seed": self.seed,
            "coreset": "a function" if callable(self.coreset) else self.coreset,
            "threshold": self.threshold,
            **_bankfile.seen_through(self.backbone, self.framing, self.trained_on),
        }
        tensors = {"vectors": bank.vectors, "image": bank.image, "place": bank.place}
        _bankfile.write(path, "patchcore", tensors, manifest)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        backbone: Backbone | None = None,
        train: Sequence[Sample] | None = None,
        device: str = "auto",
    ) -> Self:
        """A saved detector, which scores exactly as it did.

        `backbone` is needed only for a network of your own. `train`, the training samples, lets `explain` show them.
        Raises ValueError for a file that is truncated, damaged, of another version, or was made with other backbone
        weights, and for training samples that differ from those it was fitted on.
        """
        tensors, manifest = _bankfile.read(path, "patchcore")
        backbone = _bankfile.same_backbone(path, manifest, backbone, device)
        share = manifest["coreset"] if isinstance(manifest["coreset"], float | int) else _cannot_refit
        detector = cls(
            backbone,
            coreset=share,
            **manifest["framing"],
            **{name: manifest[name] for name in ("neighbors", "protocol", "seed")},
        )
        detector.bank = MemoryBank(**tensors)
        detector.trained_on, detector.threshold = manifest["train"], manifest["threshold"]
        if train is not None:
            detector._attach(train)
        return detector

    def _embeddings(self, pictures: Pictures, what: str, progress: Progress) -> Iterator[tuple[slice, np.ndarray]]:
        """Locally aware patch features (b, h, w, DIM), batch after batch."""
        for batch, maps in feature_maps(self.backbone, pictures, what, progress):
            with torch.inference_mode():
                embedding = embed(maps, PATCHSIZE, DIM, DIM).cpu().numpy()
            yield batch, embedding

    def _batches(self, count: int, features: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        return ((batch, features[batch]) for batch in batches(self.backbone, count))

    def select(self, features: np.ndarray, progress: Progress = tqdm) -> np.ndarray | None:
        """Which of all patches to keep, as rows of features (n, rows, columns, DIM) taken together; None for all."""
        vectors = features.reshape(-1, DIM)
        if callable(self.coreset):
            return self.coreset(vectors).indices
        if self.coreset == 1:
            return None
        size, device = int(len(vectors) * self.coreset), self.backbone.device
        return greedy(vectors, size, seed=self.seed, device=device, progress=progress).indices

    def _distances(self, squared: np.ndarray) -> np.ndarray:
        return squared if self.protocol == "official" else np.sqrt(squared)

    def _score(self, embedding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Patch scores (b, h, w) and image scores (b,) of patch features (b, h, w, DIM)."""
        bank = self._fitted_bank()
        squared, found = nearest(embedding, bank, self.neighbors)
        patches = self._distances(squared).mean(-1)
        image = image_scores(patches)
        if self.protocol == "paper":
            one_each = np.arange(len(patches)), patches.reshape(len(patches), -1).argmax(1)
            worst = embedding.reshape(len(patches), -1, DIM)[one_each]
            image = image * eq7_factor(worst, found.reshape(len(patches), -1, self.neighbors)[one_each][:, 0], bank)
        return patches, image

    def box(self, place: tuple[int, int]) -> Box:
        """The pixels that the patch's neighbourhood on the grid stands for, clipped to the crop."""
        reach, crop = PATCHSIZE // 2, self.framing.crop
        (top, bottom), (left, right) = (
            (max(0, p - reach) * crop // g, min(g, p + reach + 1) * crop // g)
            for p, g in zip(place, self.grid, strict=True)
        )
        return Box(top, left, bottom, right)

    def _receptive_boxes(self, pixels: np.ndarray, place: tuple[int, int]) -> dict[str, Box]:
        """Per layer, the pixels with any influence on the patch's features, found by following gradients back."""
        images = self.backbone.normalised(pixels).requires_grad_()
        maps = self.backbone(images)
        boxes = {}
        for layer in self.backbone.layers:
            alone = [m if name == layer else torch.zeros_like(m) for name, m in maps.items()]
            feature_sum = embed(alone, PATCHSIZE, DIM, DIM)[0, place[0], place[1]].sum()
            (gradient,) = torch.autograd.grad(feature_sum, images, retain_graph=True)
            rows, columns = np.nonzero(gradient[0].abs().sum(0).cpu().numpy())
            boxes[layer] = Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        return boxes

    def _neighbor(self, row: int, distance: float) -> Neighbor:
        bank = self._fitted_bank()
        image, place = int(bank.image[row]), (int(bank.place[row, 0]), int(bank.place[row, 1]))
        sample = None if self._train_samples is None else self._train_samples[image]
        return Neighbor(list(self.trained_on)[image], sample, place, self.box(place), distance)

    def _attach(self, train: Sequence[Sample]) -> None:
        by_name = {sample.name: sample for sample in train}
        if missing := [name for name in self.trained_on if name not in by_name]:
            raise ValueError(f"train lacks pictures that the bank was made from: {some(missing)}")
        samples = [by_name[name] for name in self.trained_on]
        digests = read(samples, self.framing, progress=silent).digests
        changed = [
            name for name, digest in zip(self.trained_on, digests, strict=True) if self.trained_on[name] != digest
        ]
        if changed:
            raise ValueError(f"train differs from what the bank was made from: {some(changed)}")
        self._train_samples = samples

    def _check_coreset(self, pictures: int) -> None:
        if not callable(self.coreset):
            patches = pictures * self.grid[0] * self.grid[1]
            if (size := int(patches * self.coreset)) < self.neighbors:
                raise ValueError(
                    f"coreset share {self.coreset} of {patches} patches keeps {size}, fewer than neighbors="
                    f"{self.neighbors}; raise the share or give more pictures"
                )

    def _fitted_bank(self) -> MemoryBank:
        if self.bank is None:
            raise RuntimeError("this detector has no memory yet; call fit(category.train) or PatchCore.load(path)")
        return self.bank


def _check_memory(pictures: int, patches: int) -> None:
    needed, available = pictures * patches * DIM * 4, available_memory()
    if needed > available:
        raise MemoryError(
            f"the features of {pictures} pictures with {patches} patches each take {gibibytes(needed)}, and "
            f"{gibibytes(available)} are available: give fewer pictures, a smaller crop=, or deeper layers="
        )


def _cannot_refit(features: np.ndarray) -> Selection:
    raise RuntimeError("this bank was made by a coreset function, which no file keeps; make a new PatchCore")
