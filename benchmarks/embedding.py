"""Patch features after the backbone: pclib beside the literal operator.

python benchmarks/embedding.py [--rounds 3]
"""

from __future__ import annotations

from pathlib import Path

import literal
import numpy as np
import torch
from side_by_side import Section, run, timed

from pclib.patches import embed

SHAPES = {"WideResNet50": ((512, 28), (1024, 14)), "EfficientNet-Lite0": ((40, 28), (112, 14))}
IMAGES = 8


def maps(network: str) -> list[torch.Tensor]:
    """Two layers' maps of 8 images, in the layout that the backbone leaves them in."""
    torch.set_grad_enabled(False)
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(IMAGES, c, side, side, generator=generator).relu() for c, side in SHAPES[network]]
    return [layer.to(memory_format=torch.channels_last) for layer in drawn]


def method(network: str, ours: bool):
    def measure(folder: Path) -> dict:
        layers = maps(network)
        call = embed if ours else literal.embedding
        found = timed(lambda: call(layers, 3, 1024, 1024), calls=20 if ours else 2)
        np.save(folder / f"{network}-{ours}.npy", found["result"].numpy())
        return found

    return measure


def notes(medians: dict[str, dict], rates: dict[str, float]) -> list[str]:
    told = []
    for network, shapes in SHAPES.items():
        ours, theirs = (np.load(Path(medians["scratch"]["folder"]) / f"{network}-{o}.npy") for o in (True, False))
        moved = 4 * IMAGES * (sum(c * side**2 for c, side in shapes) + 1024 * 28**2) / 1e9
        rate = moved / medians[f"{network}: pclib"]["seconds"]
        told.append(
            f"{network}: the largest difference is {np.abs(ours - theirs).max() / np.abs(theirs).max():.1e} of the "
            f"largest value. The least to be moved, maps read and features written once, is {moved * 1e3:.0f} MB; "
            f"pclib moves it at {rate:.1f} GB/s, {rate / rates['bandwidth']:.0%} of what a copy reaches."
        )
    return told


SECTION = Section(
    title="Embedding",
    work=f"layers of {IMAGES} images of 224 x 224 pixels to patch features of width 1024, patch size 3",
    methods={f"{n}: {name}": method(n, ours) for n in SHAPES for name, ours in (("literal", False), ("pclib", True))},
    ratios=[(f"{n}: literal", f"{n}: pclib", 15 if n == "WideResNet50" else None) for n in SHAPES],
    notes=notes,
)

if __name__ == "__main__":
    run(SECTION)
