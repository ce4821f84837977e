"""What the methods of this package share: reading, keeping and checking. Each adds what it learns and how it scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from tqdm.auto import tqdm

from pclib import _bankfile
from pclib._device import available_memory, gibibytes
from pclib.backbones import Backbone
from pclib.detector import Scores
from pclib.extraction import Progress, checked, chosen_backbone, digests, read_good
from pclib.framing import Framing, Pictures, read
from pclib.samples import Sample

Learned = dict[str, np.ndarray]


class Method(ABC):
    """A detector on the features of a frozen backbone.

    backbone  a name that `load_backbone` knows, or a Backbone
    layers    names of its layers, shallow to deep; None for those that the method takes of a ResNet or EfficientNet
    resize    pixels of the shorter side, then the central square of
    crop      so many pixels is what is looked at
    device    "auto", "cpu", "cuda", ...; precision "float32" or "bfloat16" (only the backbone computes in it)

    After `fit`: `learned`, the arrays that a file keeps, and `trained_on`, names of the pictures with their SHA-256.
    """

    kind: ClassVar[str]  # as in bank files and configurations
    levels: ClassVar[Mapping[str, tuple[str, ...]]]  # family of backbones: the layers that the method takes
    smaller: ClassVar[str]  # what to do where it does not fit into the memory

    def __init__(
        self,
        backbone: str | Backbone,
        layers: Sequence[str] | None,
        resize: int | None,
        crop: int,
        device: str,
        precision: str,
    ) -> None:
        self.framing = Framing(resize, crop)
        if isinstance(backbone, str) and layers is None:
            layers = self.levels["efficientnet" if "efficientnet" in backbone else "resnet"]
        self.backbone = chosen_backbone(backbone, layers, device, precision)
        self.shapes = self.backbone.shapes(self.framing.crop)
        self.learned: Learned | None = None
        self.trained_on: dict[str, str] = {}

    def __repr__(self) -> str:
        words = [repr(self.backbone), *(f"{name}={value!r}" for name, value in self.parameters.items())]
        known = "not fitted" if self.learned is None else f"fitted on {len(self.trained_on)} pictures"
        return f"{type(self).__name__}({', '.join(words)}; {known})"

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The method's own arguments, which a file keeps."""

    @abstractmethod
    def memory(self, pictures: int) -> int:
        """Bytes that learning from so many pictures takes, beside the pictures."""

    @abstractmethod
    def check_number(self, pictures: int) -> None:
        """Raise ValueError if so many pictures are too few to learn from."""

    @abstractmethod
    def learn(self, pictures: Pictures, progress: Progress = tqdm) -> Learned:
        """What the method keeps of framed good pictures."""

    @abstractmethod
    def score_pictures(self, pictures: Pictures, progress: Progress = tqdm) -> Scores:
        """As `score`, of framed pictures. Raises RuntimeError before `fit`."""

    def check(self, pictures: int) -> None:
        """Raise ValueError or MemoryError if so many pictures are too few or too many to learn from."""
        self.check_number(pictures)
        needed = self.memory(pictures)
        available = min(available_memory(), available_memory(self.backbone.device))
        if needed > available:
            raise MemoryError(
                f"{type(self).__name__} needs {gibibytes(needed)} to learn from {pictures} pictures, and "
                f"{gibibytes(available)} are available: {self.smaller}"
            )

    def fit(self, samples: Sequence[Sample], *, skip_bad: bool = False, progress: Progress = tqdm) -> Self:
        """Learn from good samples. Returns itself.

        Raises ValueError before the long work starts: for fewer than two samples, samples known to be defective, and
        pictures that cannot be read (`skip_bad` goes on without them); MemoryError for what does not fit.
        """
        pictures = read_good(samples, self.framing, enough=self.check, skip_bad=skip_bad, progress=progress)
        return self.fit_pictures(pictures, progress)

    def fit_pictures(self, pictures: Pictures, progress: Progress = tqdm) -> Self:
        """As `fit`, from framed pictures that have been checked. Interrupted, the detector is as it was."""
        self.learned, self.trained_on = self.learn(pictures, progress), digests(pictures)
        return self

    def score(self, samples: Sequence[Sample], *, skip_bad: bool = False, progress: Progress = tqdm) -> Scores:
        """Image scores, and anomaly maps from methods that have them.

        Raises RuntimeError before `fit`, ValueError for pictures that cannot be read (`skip_bad` leaves them out).
        """
        self.known()
        pictures = read(checked(samples), self.framing, skip_bad=skip_bad, progress=progress)
        return self.score_pictures(pictures, progress)

    def known(self) -> Learned:
        """What was learned. Raises RuntimeError before `fit`."""
        if self.learned is None:
            name = type(self).__name__
            raise RuntimeError(f"{name} has learned nothing yet; call fit(category.train) or {name}.load(path)")
        return self.learned

    def save(self, path: str | Path) -> None:
        """Write all that `load` needs to one safetensors file: whole, or not at all."""
        seen = _bankfile.seen_through(self.backbone, self.framing, self.trained_on)
        _bankfile.write(path, self.kind, self.known(), {"parameters": self.parameters, **seen})

    @classmethod
    def load(cls, path: str | Path, *, backbone: Backbone | None = None, device: str = "auto") -> Self:
        """A saved detector, which scores exactly as it did. `backbone` is needed only for a network of your own.

        Raises ValueError for a file that is truncated, damaged, of another method or version, or was made with other
        backbone weights.
        """
        learned, manifest = _bankfile.read(path, cls.kind)
        backbone = _bankfile.same_backbone(path, manifest, backbone, device)
        detector = cls(backbone, **manifest["framing"], **manifest["parameters"])
        detector.learned, detector.trained_on = learned, manifest["train"]
        return detector
