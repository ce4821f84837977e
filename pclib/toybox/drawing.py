"""Tools that the drawn categories share: noise, outlines, strokes, and how a drawing becomes a photograph.

Lengths are fractions of the picture's side, colours lie in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

CRISP = 0.3  # coverage below which a defect's edge is cut off, so that its mask has a clear border
OVERSAMPLING = 4


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawing before the camera adds noise.

    colour  (h, w, 3) float32, as it will be photographed
    behind  (h, w, 3) float32, what shows where the object is broken away
    object  (h, w) float32 coverage by the object, 0 to 1
    facts   numbers that defects need: where the object is, where the light comes from
    """

    colour: np.ndarray
    behind: np.ndarray
    object: np.ndarray
    facts: dict[str, float] = field(default_factory=dict)


class Overlay(NamedTuple):
    """A defect: `alpha` (h, w) of `colour` (h, w, 3) laid over a picture."""

    alpha: np.ndarray
    colour: np.ndarray


def develop(picture: Picture, overlay: Overlay | None, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 3) uint8 with sensor noise, and the (h, w) bool mask of exactly those pixels that the defect changed."""
    noise = rng.standard_normal(picture.colour.shape, dtype=np.float32) * 0.012
    clean = _quantised(picture.colour + noise)
    if overlay is None:
        return clean, np.zeros(clean.shape[:2], dtype=bool)
    alpha = np.where(overlay.alpha < CRISP, 0, overlay.alpha).astype(np.float32)
    mask = alpha > 0
    blended = picture.colour + alpha[..., None] * (overlay.colour - picture.colour)
    flawed = np.where(mask[..., None], _quantised(blended + noise), clean)
    unchanged = mask & (flawed == clean).all(-1)  # the defect may happen to have the same colour somewhere
    flawed[unchanged] ^= 1
    return flawed, mask


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, size) float32 coordinates of pixel centres, down and across."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    down, across = np.meshgrid(centres, centres, indexing="ij")
    return down, across


def coverage(signed_distance: np.ndarray, blur: float = 1.0) -> np.ndarray:
    """How much of each pixel lies inside (distance < 0), with an edge `blur` pixels wide."""
    return np.clip(0.5 - signed_distance * len(signed_distance) / blur, 0, 1)


def smooth_noise(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """(size, size) float32 noise of mean 0 and standard deviation 1, with features about `scale` wide."""
    coarse = max(4, min(size, round(2 / scale)))
    noise = gaussian_filter(rng.standard_normal((coarse, coarse), dtype=np.float32), 1, mode="wrap")
    noise = np.asarray(Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC))
    return (noise - noise.mean()) / noise.std()


def blob(
    rng: np.random.Generator, size: int, centre: tuple[float, float], radius: float, roughness: float
) -> np.ndarray:
    """(size, size) signed distance, roughly, to an irregular outline around a centre (down, across)."""
    down, across = grid(size)
    down, across = down - centre[0], across - centre[1]
    angle = np.arctan2(down, across)
    outline = sum(rng.normal() / order * np.cos(order * angle + rng.uniform(0, 2 * np.pi)) for order in range(2, 7))
    return np.hypot(down, across) - radius * (1 + roughness * outline)


def stroke(size: int, points: np.ndarray, width: float) -> np.ndarray:
    """(size, size) float32 coverage by a line through points (k, 2) of (down, across), at least a pixel wide."""
    fine = size * OVERSAMPLING
    canvas = Image.new("L", (fine, fine))
    corners = [(float(across * fine), float(down * fine)) for down, across in points]
    ImageDraw.Draw(canvas).line(corners, fill=255, width=max(OVERSAMPLING, round(width * fine)), joint="curve")
    return np.asarray(canvas.resize((size, size), Image.Resampling.BOX), dtype=np.float32) / 255


def curve(start: np.ndarray, bend: np.ndarray, end: np.ndarray, steps: int = 24) -> np.ndarray:
    """(steps, 2) points of a quadratic Bezier curve."""
    t = np.linspace(0, 1, steps)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end


def _quantised(colour: np.ndarray) -> np.ndarray:
    return (np.clip(colour, 0, 1) * 255 + 0.5).astype(np.uint8)
