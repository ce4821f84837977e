"""Charts that are drawn once and marked often: matplotlib draws what stays, Pillow what moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pclib.plots import style
from pclib.widgets.pixels import Canvas

DPI = 100  # one pixel of the picture for one of the page: four times as many would take four times as long


class Chart:
    """A figure as pixels, and where its data lie in them.

    draw    is given the axes, to draw on them what does not change
    size    (width, height) in pixels of the page;  rows: axes above each other
    """

    def __init__(self, draw: Callable[[list[Axes]], object], size: tuple[int, int], rows: int = 1) -> None:
        with style():
            figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=DPI, layout="constrained")
            canvas = FigureCanvasAgg(figure)
            axes = [figure.add_subplot(rows, 1, row + 1) for row in range(rows)]
            draw(axes)
            canvas.draw()
            self.pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        self.width = size[0]
        self._height = len(self.pixels)
        self._to_pixels: list[Any] = [ax.transData.frozen() for ax in axes]  # matplotlib's types know no transform()
        self._limits = [(*ax.get_xlim(), *ax.get_ylim()) for ax in axes]

    def canvas(self) -> Canvas:
        """A fresh copy to draw marks on, in the coordinates that `at` gives."""
        return Canvas(self.pixels)

    def at(self, x: float, y: float, row: int = 0) -> tuple[float, float]:
        """Where a point of the data lies in the picture."""
        across, up = self._to_pixels[row].transform((x, y))
        return float(across), float(self._height - up)

    def many_at(self, points: np.ndarray, row: int = 0) -> np.ndarray:
        """(n, 2) points of the data to (n, 2) places in the picture."""
        places = self._to_pixels[row].transform(points)
        return np.stack([places[:, 0], self._height - places[:, 1]], 1)

    def data_at(self, x: float, y: float, row: int = 0) -> tuple[float, float]:
        """The point of the data at shares x, y of the picture's width and height."""
        place = x * self.pixels.shape[1], (1 - y) * self._height
        across, up = self._to_pixels[row].inverted().transform(place)
        return float(across), float(up)

    def upright(self, canvas: Canvas, x: float, row: int = 0, colour: str = "black") -> None:
        """A line from bottom to top of the axes, at x."""
        _, _, low, high = self._limits[row]
        canvas.line([self.at(x, low, row), self.at(x, high, row)], colour)
