"""A blister pack: three white tablets above three red and cream capsules, each under its dome."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pclib.toybox import flaws
from pclib.toybox.drawing import (
    Overlay,
    Picture,
    Recipe,
    around,
    blob,
    coverage,
    difference,
    grid,
    slope_of_light,
    smooth_noise,
)
from pclib.toybox.knobs import Knobs

ROWS, COLUMNS = (0.29, 0.71), (0.21, 0.5, 0.79)
DOME = 0.132  # radius
FOIL = np.array([0.66, 0.68, 0.71])
WHITE = np.array([0.93, 0.92, 0.88])
RED, CREAM = np.array([0.72, 0.15, 0.13]), np.array([0.90, 0.82, 0.62])


@dataclass(frozen=True)
class Pill:
    """One pill: its kind, its centre on the pack, and its turn in radians."""

    kind: str
    row: float
    col: float
    turn: float
    bright: float


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a picture of the pack shows; `shift` (down, across) and `angle` (radians) are its pose."""

    pills: tuple[Pill, ...]
    shift: tuple[float, float]
    angle: float
    foil: np.ndarray  # (h, w): how bright the crinkled foil is
    light: np.ndarray  # (h, w, 3)


def draw(rng: np.random.Generator, size: int, knobs: Knobs, training: bool) -> Picture:
    """One good pack: how it lies, how its pills lie in their domes, the foil's crinkles and the light vary."""
    (down, across), angle = knobs.jitter * rng.uniform(-0.02, 0.02, 2), knobs.jitter * rng.uniform(-0.05, 0.05)
    pills = []
    for row, kind in zip(ROWS, ("tablet", "capsule"), strict=True):
        for col in COLUMNS:
            off, turn = knobs.jitter * rng.uniform(-0.012, 0.012, 2), knobs.jitter * rng.uniform(-0.4, 0.4)
            turn += np.pi * rng.integers(2)  # either half of a capsule may lie on the left
            bright = 1 + knobs.irregularity * rng.uniform(-0.04, 0.04)
            pills.append(Pill(kind, row + off[0], col + off[1], float(turn), float(bright)))
    rows, columns = grid(size)
    knurled = np.sin(2 * np.pi * 24 * (rows + columns)) * np.sin(2 * np.pi * 24 * (rows - columns))
    foil = (
        1
        + 0.06 * knurled
        + knobs.irregularity * (0.02 * smooth_noise(rng, size, 0.1) + 0.01 * smooth_noise(rng, size, 0.01))
    )
    light = slope_of_light(rng, size, knobs, 0.12, 0.4) * (1 + knobs.lighting * rng.uniform(-0.03, 0.03, 3))
    scene = Scene(tuple(pills), (float(down), float(across)), float(angle), foil, light)
    colour, covered = paint(scene)
    return Picture(colour, knobs, covered, scene)


def paint(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 3) colour of the pack, and (h, w) where there are pills."""
    size = len(scene.foil)
    down, across = _on_pack(scene, *grid(size))
    colour, covered = scene.foil[..., None] * FOIL, np.zeros((size, size))
    domes = [(row, col, _around(scene, size, row, col)) for row in ROWS for col in COLUMNS]
    for row, col, here in domes:
        _dome(colour[here], down[here] - row, across[here] - col, size)
    for pill in scene.pills:
        here = _around(scene, size, pill.row, pill.col)
        _lay(pill, colour[here], covered[here], down[here] - pill.row, across[here] - pill.col, size)
    for row, col, here in domes:
        _glint(colour[here], down[here] - row, across[here] - col)
    return colour * scene.light, covered


def _on_pack(scene: Scene, down: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where on the pack the places of a picture lie."""
    down, across = down - scene.shift[0] - 0.5, across - scene.shift[1] - 0.5
    cos, sin = np.cos(scene.angle), np.sin(scene.angle)
    return 0.5 + down * cos - across * sin, 0.5 + across * cos + down * sin


def _in_picture(scene: Scene, row: float, col: float) -> tuple[float, float]:
    """Where in the picture a place of the pack lies."""
    row, col, cos, sin = row - 0.5, col - 0.5, float(np.cos(scene.angle)), float(np.sin(scene.angle))
    return 0.5 + row * cos + col * sin + scene.shift[0], 0.5 + col * cos - row * sin + scene.shift[1]


def _around(scene: Scene, size: int, row: float, col: float) -> tuple[slice, slice]:
    return around(size, *_in_picture(scene, row, col), 1.25 * DOME)


def _dome(colour: np.ndarray, down: np.ndarray, across: np.ndarray, size: int) -> None:
    """The hollow under a dome: smooth foil, darker towards the lamp, with a bright and a dark rim."""
    radius = np.hypot(down, across)
    inside = coverage(radius - DOME, size=size)[..., None]
    slope = (down + across) / (np.sqrt(2) * DOME)
    floor = FOIL * (0.80 + 0.14 * np.clip(slope, -1, 1))[..., None]
    rim = coverage(np.abs(radius - DOME) - 0.008, 2, size)[..., None]
    colour += inside * (floor - colour)
    colour += rim * (FOIL * np.clip(1 - 0.28 * slope, 0.6, 1.3)[..., None] - colour)


def _glint(colour: np.ndarray, down: np.ndarray, across: np.ndarray) -> None:
    """The lamp's reflection on the clear dome, above whatever lies in it."""
    spot = np.exp(-((down + 0.064) ** 2 + (across + 0.057) ** 2) / (2 * 0.013**2))
    arc = np.exp(-((np.hypot(down, across) - 0.112) ** 2) / (2 * 0.005**2)) * np.clip(-(down + across) / 0.14, 0, 1)
    colour += np.clip(0.45 * spot + 0.25 * arc, 0, 1)[..., None] * (1 - colour)


def _lay(pill: Pill, colour: np.ndarray, covered: np.ndarray, down: np.ndarray, across: np.ndarray, size: int) -> None:
    """Draw one pill with its shadow into `colour`, and its outline into `covered`."""
    along = down * np.sin(pill.turn) + across * np.cos(pill.turn)
    aside = across * np.sin(pill.turn) - down * np.cos(pill.turn)
    inside, shadow, surface = (
        _tablet(along, aside) if pill.kind == "tablet" else _capsule(along, aside, pill.turn, size)
    )
    colour -= colour * (0.35 * coverage(shadow, 7, size))[..., None]
    body = coverage(inside, size=size)
    colour += body[..., None] * (np.clip(pill.bright * surface, 0, 1) - colour)
    np.maximum(covered, body, out=covered)


def _tablet(along: np.ndarray, aside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A round tablet with a groove: signed distances to it and to its shadow, and its colour (h, w, 3)."""
    radius = np.hypot(along, aside)
    groove = np.clip(1.5 - np.abs(aside) / 0.005, 0, 1) * (np.abs(along) < 0.076)
    shading = 1 - 0.22 * np.clip(radius / 0.088, 0, 1) ** 8 - 0.13 * groove
    return radius - 0.088, radius - 0.098, shading[..., None] * WHITE


def _capsule(along: np.ndarray, aside: np.ndarray, turn: float, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A capsule of two halves: signed distances to it and to its shadow, and its colour (h, w, 3)."""
    distance = np.hypot(np.maximum(np.abs(along) - 0.05, 0), aside)
    seam = np.clip(1.5 - np.abs(along) / 0.004, 0, 1)
    lit = 0.017 * np.sign(np.cos(turn) - np.sin(turn))  # the side towards the lamp, up and to the left
    sheen = np.exp(-((aside + lit) ** 2) / (2 * 0.008**2))
    shading = 1.04 - 0.42 * np.clip(distance / 0.051, 0, 1) ** 3 - 0.12 * seam + 0.18 * sheen
    return (
        distance - 0.051,
        distance - 0.061,
        shading[..., None] * (CREAM + coverage(along, size=size)[..., None] * (RED - CREAM)),
    )


def _with_pills(picture: Picture, pills: list[Pill]) -> Overlay:
    return difference(picture.colour, paint(replace(picture.scene, pills=tuple(pills)))[0])


def _pick(pills: list[Pill], rng: np.random.Generator, *kinds: str) -> int:
    return int(rng.choice([i for i, pill in enumerate(pills) if pill.kind in kinds]))


def empty(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A dome without a pill."""
    pills = list(picture.scene.pills)
    del pills[_pick(pills, rng, "tablet", "capsule")]
    return _with_pills(picture, pills)


def wrong_pill(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A capsule lies among the tablets, or a tablet among the capsules."""
    pills = list(picture.scene.pills)
    which = _pick(pills, rng, "tablet", "capsule")
    pills[which] = replace(pills[which], kind="capsule" if pills[which].kind == "tablet" else "tablet")
    return _with_pills(picture, pills)


def broken(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A piece has broken out of a tablet's edge."""
    scene: Scene = picture.scene
    tablet = scene.pills[_pick(list(scene.pills), rng, "tablet")]
    direction = rng.uniform(0, 2 * np.pi)
    centre = _in_picture(scene, tablet.row + 0.085 * np.sin(direction), tablet.col + 0.085 * np.cos(direction))
    bite = coverage(blob(rng, picture.size, centre, picture.length(rng, 0.018, 0.034), 0.16))
    without = paint(replace(scene, pills=tuple(pill for pill in scene.pills if pill is not tablet)))[0]
    return Overlay(bite * (picture.object > 0.02), 0.82 * without)


def speck(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A dark speck of dirt on a pill."""
    place = flaws.somewhere(picture, rng, 0.15)
    dirt = coverage(blob(rng, picture.size, (place[0], place[1]), picture.length(rng, 0.009, 0.018), 0.2))
    return Overlay(dirt * (picture.object > 0.99), picture.colour * rng.uniform(0.1, 0.4))


BLISTER = Recipe(
    "A blister pack of three tablets and three capsules",
    "object",
    draw,
    {
        "broken": broken,
        "crack": flaws.crack((0.09, 0.16), (0.005, 0.010), (0.25, 0.6), margin=0.2),
        "empty": empty,
        "speck": speck,
        "wrong_pill": wrong_pill,
    },
    "how the pack lies, place and turn of each pill, crinkles of the foil, the light",
    logical=("empty", "wrong_pill"),
)
