"""Tools that the categories share: noise, outlines, strokes, and how a drawing becomes a photograph.

Lengths are fractions of the picture's side, colours lie in [0, 1]. Geometry is computed in float64: last bits differ
from one kind of processor to the next, and in float32 that would now and then be a whole grey level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from pclib.toybox.knobs import Knobs

CRISP = 0.3  # coverage below which a defect's edge is cut off, so that its mask has a clear border
OVERSAMPLING = 4
SENSOR_NOISE = 0.012  # standard deviation
SHORTEST = 1.5  # pixels: no defect is drawn smaller


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawing before the camera adds noise.

    colour  (h, w, 3), as it will be photographed
    knobs   how hard it is meant to be
    object  (h, w) coverage by the object, 0 to 1: defects of its surface stay on it
    scene   what a category's own defects need to know: where the object is, where the light comes from
    """

    colour: np.ndarray
    knobs: Knobs
    object: np.ndarray
    scene: Any = None

    @property
    def size(self) -> int:
        return len(self.colour)

    def length(self, rng: np.random.Generator, low: float, high: float) -> float:
        """A defect's length between `low` and `high`, before the knob, and never less than a pixel and a half."""
        return max(self.knobs.defect_size * rng.uniform(low, high), SHORTEST / self.size)


class Overlay(NamedTuple):
    """A defect: `alpha` (h, w) of `colour` (h, w, 3) laid over a picture."""

    alpha: np.ndarray
    colour: np.ndarray


Defect = Callable[[Picture, np.random.Generator], Overlay]


@dataclass(frozen=True)
class Recipe:
    """A category: what its pictures show, how a good one is drawn, and what can go wrong.

    draw      (rng, size, knobs, training) -> Picture; `training` keeps the sources of train and test pictures apart
    defects   each kind's function; its docstring's first line says what it is
    logical   the kinds where every part is good and only their arrangement is not
    """

    title: str
    shape: Literal["object", "texture"]
    draw: Callable[[np.random.Generator, int, Knobs, bool], Picture]
    defects: Mapping[str, Defect]
    variation: str
    logical: tuple[str, ...] = ()
    source: str = "drawn by code"


def develop(
    picture: Picture, overlays: list[Overlay], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photograph a picture with and without its defects, under the same sensor noise.

    Returns (h, w, 3) uint8 with defects, the same without, and the (h, w) bool mask of exactly the pixels that differ.
    """
    noise = rng.standard_normal(picture.colour.shape) * (SENSOR_NOISE * picture.knobs.noise)
    clean = _quantised(picture.colour + noise)
    mask, colour = np.zeros(clean.shape[:2], dtype=bool), picture.colour
    for overlay in overlays:
        alpha = np.where(overlay.alpha < CRISP, 0, overlay.alpha)
        mask |= alpha > 0
        colour = colour + (picture.knobs.contrast * alpha)[..., None] * (overlay.colour - colour)
    flawed = np.where(mask[..., None], _quantised(colour + noise), clean)
    unchanged = mask & (flawed == clean).all(-1)  # the defect may happen to have the same colour somewhere
    flawed[unchanged] ^= 1
    return flawed, clean, mask


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, size) coordinates of pixel centres, down and across."""
    centres = (np.arange(size) + 0.5) / size
    down, across = np.meshgrid(centres, centres, indexing="ij")
    return down, across


def around(size: int, row: float, col: float, reach: float) -> tuple[slice, slice]:
    """The part of a picture within `reach` of a place, as slices: what is drawn there need not touch the rest."""
    first, last = (
        np.clip(np.round((np.array([row, col]) + side * reach) * size), 0, size).astype(int) for side in (-1, 1)
    )
    return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))


def coverage(signed_distance: np.ndarray, blur: float = 1.0, size: int | None = None) -> np.ndarray:
    """How much of each pixel lies inside (distance < 0), with an edge `blur` pixels wide.

    `size` is that of the whole picture, where the distances are those of a part of it.
    """
    return np.clip(0.5 - signed_distance * (size or len(signed_distance)) / blur, 0, 1)


def smooth_noise(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """(size, size) noise of mean 0 and standard deviation 1, with features about `scale` wide."""
    coarse = max(4, min(size, round(2 / scale)))
    noise = gaussian_filter(rng.standard_normal((coarse, coarse), dtype=np.float32), 1, mode="wrap")
    noise = np.asarray(Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)
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
    """(size, size) coverage by a line through points (k, 2) of (down, across), at least a pixel wide."""
    fine = size * OVERSAMPLING
    canvas = Image.new("L", (fine, fine))
    corners = [(float(across * fine), float(down * fine)) for down, across in points]
    ImageDraw.Draw(canvas).line(corners, fill=255, width=max(OVERSAMPLING, round(width * fine)), joint="curve")
    return np.asarray(canvas.reduce(OVERSAMPLING), dtype=np.float64) / 255


def curve(start: np.ndarray, bend: np.ndarray, end: np.ndarray, steps: int = 24) -> np.ndarray:
    """(steps, 2) points of a quadratic Bezier curve."""
    t = np.linspace(0, 1, steps)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end


def slope_of_light(rng: np.random.Generator, size: int, knobs: Knobs, brightness: float, slope: float) -> np.ndarray:
    """(size, size, 1) light around 1: as a whole up to `brightness` off, and up to `slope` brighter towards a side."""
    down, across = grid(size)
    side, level, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(-brightness, brightness), rng.uniform(0, slope)
    light = 1 + knobs.lighting * (level + tilt * ((down - 0.5) * np.sin(side) + (across - 0.5) * np.cos(side)))
    return np.maximum(light, 0.1)[..., None]


def difference(before: np.ndarray, after: np.ndarray) -> Overlay:
    """The overlay that turns one drawing (h, w, 3) into another, laid over where they differ to the eye."""
    return Overlay((np.abs(after - before).max(-1) > 2 / 255).astype(np.float64), after)


def _quantised(colour: np.ndarray) -> np.ndarray:
    return (np.clip(colour, 0, 1) * 255 + 0.5).astype(np.uint8)
