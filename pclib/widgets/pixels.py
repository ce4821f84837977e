"""Pictures made of arrays in a few milliseconds: colours by table, marks by Pillow. No matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from pclib.framing import Box
from pclib.plots import MARK

WHITE = "#ffffff"


@lru_cache
def _table(name: str) -> np.ndarray:
    """(256, 3) uint8: a colour map of matplotlib."""
    from matplotlib import colormaps

    return (colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def coloured(values: np.ndarray, scale: tuple[float, float], colours: str = "magma") -> np.ndarray:
    """(h, w) values on a scale from low to high to (h, w, 3) uint8."""
    low, high = scale
    shares = (values - low) / ((high - low) or 1.0)
    return _table(colours)[(255 * np.clip(np.nan_to_num(shares), 0, 1)).astype(np.uint8)]


def resized(pixels: np.ndarray, width: int, height: int, smooth: bool = True) -> np.ndarray:
    """(h, w, 3) uint8 in another size; without `smooth` each pixel stays a block."""
    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(pixels).resize((width, height), how))


def blended(pixels: np.ndarray, over: np.ndarray, share: float = 0.55) -> np.ndarray:
    """Two pictures in one, `share` of it from the second."""
    return (pixels * (1 - share) + over * share).astype(np.uint8)


class Canvas:
    """A picture (h, w, 3) uint8 that marks are drawn on; marks differ in shape, not in colour alone.

    Coordinates are pixels of the picture, times `scale`: across, then down.
    """

    def __init__(self, pixels: np.ndarray, scale: float = 1.0) -> None:
        self._image = Image.fromarray(np.ascontiguousarray(pixels))
        self._draw, self._scale = ImageDraw.Draw(self._image), scale

    @property
    def pixels(self) -> np.ndarray:
        return np.asarray(self._image)

    def dot(self, x: float, y: float, colour: str = MARK, size: float = 3) -> Self:
        """A filled circle with a dark rim."""
        self._draw.ellipse(self._around(x, y, size), fill=colour, outline="black")
        return self

    def square(self, x: float, y: float, colour: str = MARK, size: float = 3) -> Self:
        """A filled square with a dark rim."""
        self._draw.rectangle(self._around(x, y, size), fill=colour, outline="black")
        return self

    def rhombus(self, x: float, y: float, colour: str = MARK, size: float = 3) -> Self:
        """A filled square on its corner, with a dark rim."""
        x, y, reach = x * self._scale, y * self._scale, size + 1.5
        corners = [(x - reach, y), (x, y - reach), (x + reach, y), (x, y + reach)]
        self._draw.polygon(corners, fill=colour, outline="black")
        return self

    def ring(self, x: float, y: float, colour: str = WHITE, size: float = 6) -> Self:
        """A circle around a place, with a dark rim to both sides."""
        for reach, width, ink in ((size + 1, 4, "black"), (size, 2, colour)):
            self._draw.ellipse(self._around(x, y, reach), outline=ink, width=width)
        return self

    def diamond(self, x: float, y: float, colour: str = WHITE, size: float = 7) -> Self:
        """A square on its corner around a place, with a dark rim to both sides."""
        x, y = x * self._scale, y * self._scale
        corners = [(x - size, y), (x, y - size), (x + size, y), (x, y + size), (x - size, y)]
        for width, ink in ((5, "black"), (2, colour)):
            self._draw.line(corners, fill=ink, width=width, joint="curve")
        return self

    def line(self, points: Sequence[Sequence[float]], colour: str = "black", width: int = 2) -> Self:
        self._draw.line([(x * self._scale, y * self._scale) for x, y in points], fill=colour, width=width)
        return self

    def box(self, box: Box, colour: str = MARK, width: int = 2) -> Self:
        """The outline of a box of pixels, with a dark line inside of it."""
        edges = [box.left, box.top, box.right, box.bottom]
        left, top, right, bottom = (round(edge * self._scale) for edge in edges)
        self._draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)
        inner = (left + width, top + width, right - 1 - width, bottom - 1 - width)
        if inner[2] > inner[0] and inner[3] > inner[1]:
            self._draw.rectangle(inner, outline="black", width=1)
        return self

    def text(self, x: float, y: float, words: str, size: int = 11, colour: str = "black") -> Self:
        """Words whose upper left corner lies at a place."""
        self._draw.text((x * self._scale, y * self._scale), words, fill=colour, font=_font(size))
        return self

    def _around(self, x: float, y: float, reach: float) -> tuple[float, float, float, float]:
        x, y = x * self._scale, y * self._scale
        return x - reach, y - reach, x + reach, y + reach


def stamped(pixels: np.ndarray, places: np.ndarray, colour: str, reach: int, rim: bool = True) -> np.ndarray:
    """A copy with a filled square, `reach` pixels to each side, at each of (n, 2) places: across, then down.

    Thousands of them take a few milliseconds. With `rim` each has a dark edge of one pixel, drawn outside.
    """
    drawn = pixels.copy()
    across, down = places.round().astype(int).T
    for ink, size in (("#000000", reach + 1), (colour, reach))[0 if rim else 1 :]:
        for dy in range(-size, size + 1):
            for dx in range(-size, size + 1):
                rows, columns = (down + dy).clip(0, len(drawn) - 1), (across + dx).clip(0, drawn.shape[1] - 1)
                drawn[rows, columns] = rgb(ink)
    return drawn


def rgb(colour: str) -> list[int]:
    """ "#ff8000" as [255, 128, 0]."""
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def outlined(pixels: np.ndarray, mask: np.ndarray, colour: str, width: int = 2) -> np.ndarray:
    """The picture with the inner edge of a mask of its size drawn on it."""
    if not mask.any():
        return pixels
    edge = mask & ~binary_erosion(mask, iterations=width)
    drawn = pixels.copy()
    drawn[edge] = rgb(colour)
    return drawn


def mosaic(pictures: np.ndarray, columns: int, side: int) -> np.ndarray:
    """Square pictures (n, h, h, 3), each `side` pixels wide, row after row; what is left over is white."""
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * side, columns * side, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = (part * side for part in divmod(i, columns))
        sheet[top : top + side, left : left + side] = resized(picture, side, side)
    return sheet
