"""A tray of nine ancient coins, cut out of a photograph and laid out anew: real objects, no two alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pclib.toybox import flaws, photographs
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

# Ellipses around the photograph's 24 coins, measured once: centre (row, column) and half axes (down, across) in pixels.
COINS = (
    *((54.2, 44.2, 19.7, 22.2), (56.1, 100.2, 17.6, 19.6), (50.9, 155.1, 22.4, 23.3), (51.1, 215.2, 21.8, 23.6)),
    *((52.4, 276.1, 18.9, 20.6), (43.5, 334.6, 28.0, 29.6), (124.1, 44.7, 20.1, 20.5), (125.6, 102.2, 18.5, 19.0)),
    *((127.3, 153.5, 17.6, 19.6), (123.7, 205.2, 19.3, 20.0), (119.0, 270.6, 23.9, 25.4), (124.5, 336.2, 19.4, 19.4)),
    *((197.1, 43.7, 19.2, 18.7), (195.5, 101.7, 21.3, 22.0), (197.8, 154.0, 18.9, 19.4), (193.0, 212.4, 23.1, 23.9)),
    *((193.8, 273.9, 21.9, 22.5), (186.5, 346.7, 31.2, 31.6), (259.9, 46.4, 28.0, 27.7), (265.7, 113.8, 20.9, 21.6)),
    *((261.2, 172.3, 25.8, 28.9), (263.3, 244.0, 23.4, 24.2), (263.1, 300.7, 24.9, 25.7), (267.9, 358.0, 20.7, 22.9)),
)
TRAINING = tuple(i for i in range(24) if i % 6 < 4)  # the four columns on the left; the other eight coins are for tests
TESTING = tuple(i for i in range(24) if i % 6 >= 4)
TYPICAL = 22.0  # pixels: radius of most coins
PITCH = 0.29  # between neighbours on the tray
SCALE = 1 / 205  # photograph's pixels to the picture's side


@dataclass(frozen=True)
class Lying:
    """One coin on the tray: which, its centre, its turn in radians, its scale and brightness."""

    coin: int
    row: float
    col: float
    turn: float
    scale: float
    bright: float


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a picture of the tray shows."""

    coins: tuple[Lying, ...]
    cloth: np.ndarray
    light: np.ndarray


def draw(rng: np.random.Generator, size: int, knobs: Knobs, training: bool) -> Picture:
    """One good tray: which coins, how they lie, and the light vary from one to the next."""
    places = [(0.5 + PITCH * row, 0.5 + PITCH * col) for row in (-1, 0, 1) for col in (-1, 0, 1)]
    which = rng.choice(TRAINING if training else TESTING, len(places), replace=not training)
    coins = []
    for coin, (row, col) in zip(which, places, strict=True):
        off, turn = knobs.jitter * rng.uniform(-0.02, 0.02, 2), knobs.jitter * rng.uniform(-np.pi, np.pi)
        fitting = (TYPICAL / np.mean(COINS[coin][2:])) ** 0.7  # large coins are shown smaller, so that nine fit
        scale = float(fitting) * (1 + knobs.irregularity * rng.uniform(-0.06, 0.06))
        bright = 1 + knobs.irregularity * rng.uniform(-0.12, 0.12)
        coins.append(Lying(int(coin), row + off[0], col + off[1], turn, scale, bright))
    cloth = 0.2 + knobs.irregularity * (
        0.012 * smooth_noise(rng, size, 0.15) + 0.012 * rng.standard_normal((size, size))
    )
    scene = Scene(tuple(coins), cloth, slope_of_light(rng, size, knobs, 0.12, 0.4))
    colour, metal = paint(scene)
    return Picture(colour, knobs, metal, scene)


def paint(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 3) colour of the tray, and (h, w) where there is metal."""
    grey, metal = scene.cloth.copy(), np.zeros_like(scene.cloth)
    for coin in scene.coins:
        _lay(coin, grey, metal)
    return grey[..., None] * np.array([1.0, 0.97, 0.92]) * scene.light, metal


def _lay(coin: Lying, grey: np.ndarray, metal: np.ndarray) -> None:
    """Draw one coin with its shadow into `grey`, and its outline into `metal`."""
    size = len(grey)
    whole = photographs.photograph("coins")
    row, col, high, wide = COINS[coin.coin]
    reach = 1.3 * coin.scale * SCALE * max(high, wide)
    here = around(size, coin.row, coin.col, reach)
    down, across = grid(size)
    down, across = down[here] - coin.row, across[here] - coin.col
    to_photograph = 1 / (SCALE * coin.scale)
    rows = to_photograph * (down * np.cos(coin.turn) - across * np.sin(coin.turn))
    columns = to_photograph * (down * np.sin(coin.turn) + across * np.cos(coin.turn))
    sharp = size * SCALE * coin.scale  # output pixels to one of the photograph's
    inside = np.clip(0.5 - (np.hypot(rows / high, columns / wide) - 0.98) * min(high, wide) * sharp, 0, 1)
    shadow = np.hypot((rows - 2) / high, (columns - 2) / wide)
    shadow = np.clip(1 - (shadow - 0.95) * 6, 0, 1)
    sampled = photographs.between(whole, rows + row, columns + col, 0, whole.shape[1])
    shaded = grey[here] * (1 - 0.55 * shadow)
    lit = np.clip(coin.bright * (0.52 + sampled - 0.5), 0, 1)
    grey[here] = shaded + inside * (lit - shaded)
    metal[here] = np.maximum(metal[here], inside)


def _one_of(scene: Scene, rng: np.random.Generator) -> int:
    return int(rng.integers(len(scene.coins)))


def clipped(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A piece of a coin's rim was cut off, and the tray shows in its place."""
    scene: Scene = picture.scene
    coin = scene.coins[_one_of(scene, rng)]
    _, _, high, wide = COINS[coin.coin]
    direction, depth = rng.uniform(0, 2 * np.pi), picture.length(rng, 0.03, 0.055)
    down, across = grid(picture.size)
    down, across = down - coin.row, across - coin.col
    radius = coin.scale * SCALE * (high + wide) / 2
    beyond = (radius - depth) - (down * np.sin(direction) + across * np.cos(direction))
    near = np.hypot(down, across) < 1.15 * radius
    tray = scene.cloth[..., None] * np.array([1.0, 0.97, 0.92]) * scene.light
    return Overlay(coverage(beyond) * near * (picture.object > 0.02), 0.75 * tray)


def hole(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A hole was drilled through a coin, as if to wear it on a string."""
    scene: Scene = picture.scene
    coin = scene.coins[_one_of(scene, rng)]
    direction, off = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.05)
    centre = (coin.row + off * np.sin(direction), coin.col + off * np.cos(direction))
    inside = coverage(blob(rng, picture.size, centre, picture.length(rng, 0.013, 0.024), 0.05))
    return Overlay(inside * (picture.object > 0.99), np.full(picture.colour.shape, 0.07))


def missing(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A place on the tray is empty."""
    scene: Scene = picture.scene
    gone = _one_of(scene, rng)
    left = tuple(coin for i, coin in enumerate(scene.coins) if i != gone)
    return difference(picture.colour, paint(replace(scene, coins=left))[0])


def one_too_many(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A tenth coin lies between four others, partly on top of them."""
    scene: Scene = picture.scene
    row, col = (0.5 + PITCH * rng.choice((-0.5, 0.5)) + rng.uniform(-0.02, 0.02) for _ in range(2))
    tenth = replace(
        scene.coins[_one_of(scene, rng)], row=float(row), col=float(col), turn=float(rng.uniform(-np.pi, np.pi))
    )
    return difference(picture.colour, paint(replace(scene, coins=(*scene.coins, tenth)))[0])


TRAY = Recipe(
    "A tray of nine ancient coins",
    "object",
    draw,
    {
        "clipped": clipped,
        "hole": hole,
        "missing": missing,
        "one_too_many": one_too_many,
        "scratch": flaws.scratch((0.12, 0.22), (0.007, 0.012), (0.25, 0.5)),
    },
    "which coins (sixteen in training, eight others in the test), their turn, place, scale and brightness; the light",
    logical=("missing", "one_too_many"),
    source=photographs.LICENCES["coins"],
)
