"""From samples to feature maps, batch after batch: what every detector does before its own idea begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from pclib._checks import some
from pclib._device import batch_size
from pclib.backbones import Backbone, load_backbone
from pclib.framing import Framing, Pictures, read
from pclib.samples import GOOD, Category, Sample

Progress = Callable[..., Iterable]


def silent(items: Iterable, **_: Any) -> Iterable:
    """Instead of a progress bar."""
    return items


def chosen_backbone(
    backbone: str | Backbone, layers: Sequence[str] | None, device: str = "auto", precision: str = "float32"
) -> Backbone:
    """The backbone of that name, or the one given, whose layers, device and precision were chosen when it was made."""
    if isinstance(backbone, str):
        return load_backbone(backbone, layers, device=device, precision=precision)
    if (layers is not None and tuple(layers) != backbone.layers) or device != "auto" or precision != "float32":
        raise ValueError(f"layers, device and precision were chosen when the backbone was made: {backbone}")
    return backbone


def checked(samples: Sequence[Sample]) -> list[Sample]:
    """The samples as a list. Raises TypeError for a category, ValueError for none and for two of one name."""
    if isinstance(samples, Category):
        raise TypeError("give samples, not the category: fit(category.train), score(category.test)")
    samples = list(samples)
    if not samples:
        raise ValueError("no samples given")
    names = [sample.name for sample in samples]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"samples must have different names, but more than one is called {some(twice)}")
    return samples


def check_good(samples: Sequence[Sample], what: str = "fit") -> None:
    """Raise ValueError if any is known to be defective."""
    if bad := [sample.name for sample in samples if sample.defect not in (GOOD, None)]:
        raise ValueError(f"{what} learns from good samples only, but {some(bad)} are not; give category.train")


def read_good(
    samples: Sequence[Sample],
    framing: Framing,
    *,
    enough: Callable[[int], None] = lambda pictures: None,
    skip_bad: bool = False,
    progress: Progress = tqdm,
) -> Pictures:
    """Framed pictures to learn from.

    Raises ValueError for fewer than two, for samples known to be defective and for pictures that cannot be read
    (`skip_bad` goes on without them). `enough` raises if so many pictures are too few or too many for the method: it
    is asked before they are read, and again after some were left out.
    """
    samples = checked(samples)
    check_good(samples)
    _check_number(len(samples), enough)
    pictures = read(samples, framing, skip_bad=skip_bad, progress=progress)
    _check_number(len(pictures.samples), enough)
    return pictures


def feature_maps(
    backbone: Backbone, pictures: Pictures, what: str, progress: Progress = tqdm
) -> Iterator[tuple[slice, dict[str, torch.Tensor]]]:
    """Which pictures, and one (b, c, h, w) map of them per layer of the backbone, on its device; batch after batch.

    `what` is said beside the progress bar. Raises ValueError naming a picture whose features are not finite.
    """
    for batch in progress(batches(backbone, len(pictures.samples)), desc=what, unit="batch"):
        with torch.inference_mode():
            maps = backbone(backbone.normalised(pictures.pixels[batch]))
            for values in maps.values():
                if not values.sum().isfinite() and not values.isfinite().all():
                    bad = pictures.samples[batch.start + int((~values.isfinite()).flatten(1).any(1).nonzero()[0])]
                    raise ValueError(f"{bad.name}: its features hold NaN or infinity; check the backbone's weights")
        yield batch, maps


def batches(backbone: Backbone, count: int) -> list[slice]:
    """So many pictures in portions that go through the network at a time."""
    size = batch_size(backbone.device, backbone.precision)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def digests(pictures: Pictures) -> dict[str, str]:
    """Names of pictures with their SHA-256: what a detector remembers of its training set."""
    return dict(zip((s.name for s in pictures.samples), pictures.digests, strict=True))


def _check_number(pictures: int, enough: Callable[[int], None]) -> None:
    if pictures < 2:
        raise ValueError(f"{pictures} good picture to learn from cannot show how good ones vary; give more")
    enough(pictures)
