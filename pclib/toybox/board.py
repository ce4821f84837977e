"""A printed circuit board with parts in fixed places: most of what goes wrong is what PatchCore cannot know."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from pclib.toybox import flaws
from pclib.toybox.drawing import (
    OVERSAMPLING,
    Overlay,
    Picture,
    Recipe,
    coverage,
    difference,
    slope_of_light,
    smooth_noise,
)
from pclib.toybox.knobs import Knobs

Colour = tuple[float, float, float]
GREEN: Colour = (0.05, 0.33, 0.19)
TRACK: Colour = (0.10, 0.45, 0.27)
SILVER: Colour = (0.72, 0.73, 0.75)
INK: Colour = (0.88, 0.90, 0.86)
BLACK: Colour = (0.10, 0.10, 0.11)
BENCH: Colour = (0.26, 0.25, 0.24)
LEADS = 6  # on each side of the chip


@dataclass(frozen=True)
class Part:
    """One part: its kind, its centre (down, across) on the board, its turn in degrees, how bright it is."""

    kind: str
    row: float
    col: float
    turn: float = 0.0
    bright: float = 1.0
    bent: tuple[int, float] | None = None  # which lead of a chip is bent, and how far to the side


LAYOUT = (
    Part("chip", 0.40, 0.36),
    Part("electrolytic", 0.24, 0.76),
    Part("electrolytic", 0.45, 0.76, 180),
    Part("header", 0.87, 0.5),
    *(Part("resistor", 0.70, 0.18 + 0.14 * i, 90) for i in range(3)),
    *(Part("ceramic", 0.62, 0.64 + 0.11 * i, 90) for i in range(3)),
    Part("resistor", 0.14, 0.24),
    Part("ceramic", 0.14, 0.42),
    Part("resistor", 0.76, 0.68),
    Part("ceramic", 0.76, 0.84),
)
FREE = ((0.14, 0.58), (0.62, 0.52), (0.76, 0.56), (0.24, 0.60))  # places without pads where a small part would fit


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a picture of the board shows; `shift` (down, across) and `turn` (radians) are its pose."""

    parts: tuple[Part, ...]
    shift: tuple[float, float]
    turn: float
    shade: np.ndarray  # (h, w, 1): lacquer, grain and light


def draw(rng: np.random.Generator, size: int, knobs: Knobs, training: bool) -> Picture:
    """One good board: how it lies, how its parts were placed, their shades, lacquer and light vary."""
    down, across = knobs.jitter * rng.uniform(-0.012, 0.012, 2)
    parts = []
    for part in LAYOUT:
        off, turn = knobs.jitter * rng.uniform(-0.004, 0.004, 2), knobs.jitter * rng.uniform(-2.5, 2.5)
        bright = 1 + knobs.irregularity * rng.uniform(-0.12, 0.12)
        parts.append(replace(part, row=part.row + off[0], col=part.col + off[1], turn=part.turn + turn, bright=bright))
    uneven = knobs.irregularity * (0.03 * smooth_noise(rng, size, 0.1) + 0.02 * rng.standard_normal((size, size)))
    turn = knobs.jitter * rng.uniform(-0.02, 0.02)
    shade = (1 + uneven[..., None]) * slope_of_light(rng, size, knobs, 0.06, 0.2)
    scene = Scene(tuple(parts), (float(down), float(across)), float(turn), shade)
    colour = paint(scene)
    return Picture(colour, knobs, np.ones((size, size)), scene)


def paint(scene: Scene) -> np.ndarray:
    """(h, w, 3) colour of the board as it lies."""
    size = len(scene.shade)
    canvas = Image.new("RGB", (size * OVERSAMPLING, size * OVERSAMPLING), _ink(BENCH))
    pen = Pen(ImageDraw.Draw(canvas), size * OVERSAMPLING, scene)
    pen.box(0.5, 0.5, 0.46, 0.46, GREEN)
    _tracks(pen)
    for part in LAYOUT:  # pads and outlines are printed on the board, wherever the parts come to lie
        _pads(pen, part)
    for part in scene.parts:
        PAINTERS[part.kind](pen.on(part), part)
    flat = np.asarray(canvas.reduce(OVERSAMPLING), dtype=np.float64) / 255
    return flat * scene.shade


@dataclass(frozen=True)
class Pen:
    """Draws on the board, or on a part of it, whose own coordinates have their origin at its centre."""

    draw: ImageDraw.ImageDraw
    pixels: int
    scene: Scene
    row: float = 0.0
    col: float = 0.0
    turn: float = 0.0  # radians
    bright: float = 1.0

    def on(self, part: Part) -> Pen:
        return replace(self, row=part.row, col=part.col, turn=float(np.deg2rad(part.turn)), bright=part.bright)

    def polygon(self, corners: list[tuple[float, float]], colour: Colour) -> None:
        self.draw.polygon([self._pixel(*corner) for corner in corners], fill=_ink(colour, self.bright))

    def box(self, row: float, col: float, high: float, wide: float, colour: Colour) -> None:
        """A rectangle around (row, col), `high` and `wide` to either side."""
        edges = ((-high, -wide), (-high, wide), (high, wide), (high, -wide))
        self.polygon([(row + down, col + across) for down, across in edges], colour)

    def disc(self, row: float, col: float, radius: float, colour: Colour) -> None:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        self.polygon([(row + radius * np.sin(a), col + radius * np.cos(a)) for a in angles], colour)

    def line(self, points: list[tuple[float, float]], width: float, colour: Colour) -> None:
        corners = [self._pixel(*point) for point in points]
        self.draw.line(corners, fill=_ink(colour, self.bright), width=max(1, round(width * self.pixels)), joint="curve")

    def _pixel(self, row: float, col: float) -> tuple[float, float]:
        """(x, y) on the canvas of a place on the part."""
        row, col = _turned(row, col, self.turn)
        return placed(self.scene, self.row + row, self.col + col, self.pixels)


def placed(scene: Scene, row: float, col: float, pixels: int) -> tuple[float, float]:
    """(x, y) in a picture of `pixels` a side, of a place on the board."""
    down, across = _turned(row - 0.5, col - 0.5, scene.turn)
    return (0.5 + across + scene.shift[1]) * pixels, (0.5 + down + scene.shift[0]) * pixels


def _turned(row: float, col: float, angle: float) -> tuple[float, float]:
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return row * cos + col * sin, col * cos - row * sin


def _ink(colour: Colour, bright: float = 1.0) -> tuple[int, int, int]:
    red, green, blue = (min(255, round(255 * channel * bright)) for channel in colour)
    return red, green, blue


def _tracks(pen: Pen) -> None:
    """Copper under the lacquer, and the holes in the corners."""
    for i in range(LEADS):
        col = 0.26 + 0.04 * i
        pen.line([(0.30, col), (0.20, col), (0.17, col + 0.03)], 0.008, TRACK)
        pen.line([(0.50, col), (0.56, col), (0.60, 0.18 + 0.056 * i), (0.64, 0.18 + 0.056 * i)], 0.008, TRACK)
    for col in (0.64, 0.75, 0.86):
        pen.line([(0.62, col), (0.52, col), (0.45, 0.76)], 0.008, TRACK)
    for i in range(5):
        pen.line([(0.87, 0.34 + 0.08 * i), (0.80, 0.34 + 0.08 * i), (0.76, 0.18 + 0.14 * i)], 0.010, TRACK)
    pen.line([(0.24, 0.76), (0.14, 0.76), (0.14, 0.42)], 0.010, TRACK)
    for row in (0.09, 0.91):
        for col in (0.09, 0.91):
            pen.disc(row, col, 0.028, SILVER)
            pen.disc(row, col, 0.017, BENCH)


def _pads(pen: Pen, part: Part) -> None:
    """Solder pads, and the printed outline of what belongs there."""
    pen = pen.on(part)
    if part.kind in ("resistor", "ceramic"):
        pen.line([(-0.024, -0.048), (-0.024, 0.048), (0.024, 0.048), (0.024, -0.048), (-0.024, -0.048)], 0.003, INK)
        for col in (-0.03, 0.03):
            pen.box(0, col, 0.016, 0.012, SILVER)
    elif part.kind == "electrolytic":
        pen.disc(0, 0, 0.092, INK)
        pen.disc(0, 0, 0.088, GREEN)
        for col in (-0.04, 0.04):
            pen.disc(0, col, 0.014, SILVER)
    elif part.kind == "chip":
        for side in (-1, 1):
            for i in range(LEADS):
                pen.box(side * 0.105, 0.04 * i - 0.10, 0.018, 0.011, SILVER)


def _chip(pen: Pen, part: Part) -> None:
    for side in (-1, 1):
        for i in range(LEADS):
            col, aside = 0.04 * i - 0.10, 0.0
            if part.bent and part.bent[0] == i + LEADS * (side > 0):
                aside = part.bent[1]
            tip = [(side * 0.108, col + aside - 0.007), (side * 0.108, col + aside + 0.007)]
            pen.polygon([(side * 0.06, col + 0.007), (side * 0.06, col - 0.007), *tip], (0.85, 0.85, 0.87))
    pen.box(0, 0, 0.078, 0.128, BLACK)
    pen.box(-0.004, -0.002, 0.070, 0.120, (0.15, 0.15, 0.16))
    pen.disc(0.048, -0.096, 0.012, (0.30, 0.30, 0.31))
    for row, wide in ((-0.018, 0.07), (0.012, 0.05)):
        pen.line([(row, -wide), (row, wide)], 0.010, (0.50, 0.50, 0.50))


def _resistor(pen: Pen, part: Part) -> None:
    pen.box(0, 0, 0.017, 0.038, (0.80, 0.80, 0.82))
    pen.box(0, 0, 0.017, 0.025, BLACK)
    for col in (-0.013, 0.0, 0.013):
        pen.line([(-0.008, col), (0.008, col)], 0.005, INK)


def _ceramic(pen: Pen, part: Part) -> None:
    pen.box(0, 0, 0.017, 0.038, (0.80, 0.80, 0.82))
    pen.box(0, 0, 0.017, 0.025, (0.62, 0.47, 0.30))


def _electrolytic(pen: Pen, part: Part) -> None:
    pen.disc(0.008, 0.008, 0.082, (0.03, 0.16, 0.10))  # its shadow
    pen.disc(0, 0, 0.078, (0.55, 0.56, 0.58))
    pen.disc(-0.004, -0.004, 0.068, (0.74, 0.75, 0.77))
    angles = np.linspace(np.pi * 0.68, np.pi * 1.32, 20)
    pen.polygon([(0.068 * np.sin(a), 0.068 * np.cos(a)) for a in angles], (0.12, 0.12, 0.16))


def _header(pen: Pen, part: Part) -> None:
    pen.box(0, 0, 0.032, 0.205, BLACK)
    for i in range(5):
        pen.box(0, 0.08 * i - 0.16, 0.013, 0.013, (0.78, 0.66, 0.30))


PAINTERS = {
    "chip": _chip,
    "resistor": _resistor,
    "ceramic": _ceramic,
    "electrolytic": _electrolytic,
    "header": _header,
}


def _with_parts(picture: Picture, parts: list[Part]) -> Overlay:
    return difference(picture.colour, paint(replace(picture.scene, parts=tuple(parts))))


def _pick(parts: list[Part], rng: np.random.Generator, *kinds: str) -> int:
    return int(rng.choice([i for i, part in enumerate(parts) if part.kind in kinds]))


def missing_part(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A part was not placed: its pads are bare."""
    parts = list(picture.scene.parts)
    del parts[_pick(parts, rng, "resistor", "ceramic", "electrolytic")]
    return _with_parts(picture, parts)


def swapped(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A resistor and a ceramic capacitor sit in each other's places."""
    parts = list(picture.scene.parts)
    one, other = _pick(parts, rng, "resistor"), _pick(parts, rng, "ceramic")
    parts[one], parts[other] = replace(parts[one], kind="ceramic"), replace(parts[other], kind="resistor")
    return _with_parts(picture, parts)


def extra_part(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A small part lies where none belongs."""
    row, col = FREE[int(rng.integers(len(FREE)))]
    kind, turn = str(rng.choice(("resistor", "ceramic"))), float(rng.choice((0.0, 90.0)) + rng.uniform(-3, 3))
    return _with_parts(picture, [*picture.scene.parts, Part(kind, row, col, turn)])


def turned(picture: Picture, rng: np.random.Generator) -> Overlay:
    """An electrolytic capacitor, or the chip, was put in the wrong way round."""
    parts = list(picture.scene.parts)
    which = _pick(parts, rng, "electrolytic", "chip")
    parts[which] = replace(parts[which], turn=parts[which].turn + 180)
    return _with_parts(picture, parts)


def bent_lead(picture: Picture, rng: np.random.Generator) -> Overlay:
    """One of the chip's leads is bent to the side, off its pad."""
    parts = list(picture.scene.parts)
    which, lead = _pick(parts, rng, "chip"), int(rng.integers(2 * LEADS))
    aside = float(rng.choice((-1, 1))) * picture.length(rng, 0.02, 0.034)
    parts[which] = replace(parts[which], bent=(lead, aside))
    return _with_parts(picture, parts)


def solder_bridge(picture: Picture, rng: np.random.Generator) -> Overlay:
    """Solder joins two neighbouring leads of the chip."""
    chip = next(part for part in picture.scene.parts if part.kind == "chip")
    side, gap = float(rng.choice((-1, 1))), int(rng.integers(LEADS - 1))
    down, across = _turned(side * rng.uniform(0.092, 0.108), 0.04 * gap - 0.08, float(np.deg2rad(chip.turn)))
    x, y = placed(picture.scene, chip.row + down, chip.col + across, picture.size)
    half = picture.length(rng, 0.007, 0.014) * picture.size
    rows, columns = np.mgrid[0.5 : picture.size, 0.5 : picture.size]
    outline = np.hypot((columns - x) / (0.022 * picture.size), (rows - y) / half)
    drop = coverage((outline - 1) * half / picture.size)
    shine = np.clip(1.15 - 0.25 * outline - 0.15 * (rows - y) / half, 0.4, 1.3)
    return Overlay(drop, shine[..., None] * np.array(SILVER) * picture.scene.shade)


BOARD = Recipe(
    "A printed circuit board with parts in fixed places",
    "object",
    draw,
    {
        "bent_lead": bent_lead,
        "extra_part": extra_part,
        "missing_part": missing_part,
        "scratch": flaws.scratch((0.1, 0.25), (0.004, 0.008), (0.12, 0.35)),
        "solder_bridge": solder_bridge,
        "swapped": swapped,
        "turned": turned,
    },
    "how the board lies, place, turn and shade of each part, lacquer and light",
    logical=("extra_part", "missing_part", "swapped", "turned"),
)
