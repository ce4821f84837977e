"""From a picture of any size to the square that a backbone sees, and back.

The authors resize the shorter side with PIL's antialiased bilinear filter, then cut out the centre; masks go the same
way. Everything is scored and evaluated on that centre crop.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from pclib._checks import at_least, some
from pclib.samples import Sample

UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what PIL raises on broken files


class Box(NamedTuple):
    """A rectangle in pixels: rows top to bottom, columns left to right, the ends left out."""

    top: int
    left: int
    bottom: int
    right: int

    def shifted(self, rows: int, columns: int) -> Box:
        """The same rectangle elsewhere."""
        return Box(self.top + rows, self.left + columns, self.bottom + rows, self.right + columns)


@dataclass(frozen=True)
class Framing:
    """Shorter side to `resize` pixels (None: left as it is), then the central square of `crop` pixels."""

    resize: int | None = 256
    crop: int = 224

    def __post_init__(self) -> None:
        object.__setattr__(self, "crop", at_least("crop", self.crop, 1))
        if self.resize is not None:
            object.__setattr__(self, "resize", at_least("resize", self.resize, 1))
        if self.resize is not None and self.resize < self.crop:
            raise ValueError(f"resize must be at least crop, got resize={self.resize}, crop={self.crop}")

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after the resize; the longer side is rounded down, as in torchvision."""
        if self.resize is None:
            return size
        short = min(size)
        width, height = (self.resize if side == short else int(self.resize * side / short) for side in size)
        return width, height

    def corner(self, size: tuple[int, int]) -> tuple[int, int]:
        """(top, left) of the crop within the resized picture, for a picture of `size` (width, height)."""
        width, height = self.resized(size)
        return round((height - self.crop) / 2), round((width - self.crop) / 2)

    def image(self, image: Image.Image) -> Image.Image:
        """The central square of the resized picture."""
        top, left = self.corner(image.size)
        square = (left, top, left + self.crop, top + self.crop)
        return image.resize(self.resized(image.size), Image.Resampling.BILINEAR).crop(square)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """(h, w) bool to (crop, crop) bool by the authors' rule: only pixels that stay wholly defect count.

        Official code: the mask is resized bilinearly, then cast to int, so every defect loses its rim.
        """
        framed = self.image(Image.fromarray(mask.astype(np.uint8) * 255))
        return np.asarray(framed) == 255

    def in_source(self, box: Box, size: tuple[int, int]) -> Box:
        """A box of the crop in pixels of the original picture of `size` (width, height), clipped to it."""
        (top, left), (width, height) = self.corner(size), self.resized(size)
        across, down = size[0] / width, size[1] / height
        moved = box.shifted(top, left)
        return Box(
            max(0, round(moved.top * down)),
            max(0, round(moved.left * across)),
            min(size[1], round(moved.bottom * down)),
            min(size[0], round(moved.right * across)),
        )

    def check(self, sample: Sample) -> None:
        """Raise ValueError if the picture is smaller than the crop: it would be blown up, not looked at closer."""
        width, height = sample.size
        if min(width, height) < self.crop:
            raise ValueError(
                f"{sample.name}: {width} x {height} pixels is smaller than the crop of {self.crop}; "
                "use larger pictures or a smaller resize= and crop="
            )


@dataclass(frozen=True, eq=False)
class Pictures:
    """Samples read into memory: `pixels` (n, crop, crop, 3) uint8, and the SHA-256 of each whole picture."""

    samples: list[Sample]
    pixels: np.ndarray
    digests: list[str]


def usable(samples: Sequence[Sample], framing: Framing, *, skip_bad: bool = False) -> list[Sample]:
    """The samples that `read` accepts, found out before other long work starts; raises as `read` does."""
    return read(samples, framing, skip_bad=skip_bad).samples if samples else []


def read(
    samples: Sequence[Sample],
    framing: Framing,
    *,
    skip_bad: bool = False,
    progress: Callable[..., Iterable] = tqdm,
) -> Pictures:
    """Read and frame every sample, on a few threads; one framed picture takes a twentieth of its features' memory.

    Raises ValueError naming the pictures that cannot be read or are smaller than the crop; with `skip_bad` it warns
    about them and goes on with the others.
    """

    def attempt(sample: Sample) -> tuple[np.ndarray, str] | str:
        try:
            framing.check(sample)
            image = sample.load()
            return np.asarray(framing.image(image)), hashlib.sha256(image.tobytes()).hexdigest()
        except UNREADABLE as error:
            return str(error) if sample.name in str(error) else f"{sample.name}: {error}"

    with ThreadPoolExecutor() as pool:
        try:
            outcomes = list(progress(pool.map(attempt, samples), total=len(samples), desc="reading"))
        except BaseException:  # Ctrl-C must not wait for pictures that nobody will look at
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    bad = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if bad and not skip_bad:
        raise ValueError(
            f"{len(bad)} of {len(samples)} pictures cannot be used: {some(bad)}. "
            "Replace or remove them, or go on without them: skip_bad=True (--skip-bad)"
        )
    for reason in bad:
        warnings.warn(f"skipped {reason}", stacklevel=2)
    kept = [(s, o) for s, o in zip(samples, outcomes, strict=True) if not isinstance(o, str)]
    if not kept:
        raise ValueError(f"none of {len(samples)} pictures can be used" + (f": {some(bad)}" if bad else ""))
    return Pictures([s for s, _ in kept], np.stack([o[0] for _, o in kept]), [o[1] for _, o in kept])
