"""A plain-woven textile, slate warp under pale weft: a texture without a fixed place for anything.

Warp threads run down the picture, weft threads across it. Positions in the cloth are counted in threads: (u, v) lies on
warp thread floor(u) and weft thread floor(v).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pclib.toybox import flaws
from pclib.toybox.drawing import Overlay, Picture, Recipe, blob, coverage, curve, grid, smooth_noise, stroke
from pclib.toybox.knobs import Knobs

THREADS = 24  # along a side
WARP = np.array([0.36, 0.45, 0.54])
WEFT = np.array([0.74, 0.71, 0.63])
BACKING = np.array([0.06, 0.06, 0.07])  # the table under the cloth
STRANDS = 2.5  # twisted strands that cross a thread's width


class Lie(NamedTuple):
    """How the cloth lies: threads along a side, turn, wave and its phase, and the thread at the corner."""

    pitch: float
    turn: float
    wave: float
    phase: float
    u0: float
    v0: float


class Scene(NamedTuple):
    """How the cloth lies, and what shows where a weft thread is missing."""

    lie: Lie
    bare: np.ndarray


def draw(rng: np.random.Generator, size: int, knobs: Knobs, training: bool) -> Picture:
    """One good piece of cloth: where it lies, its threads, its drape and the light vary from one to the next."""
    lie = Lie(
        pitch=THREADS * (1 + knobs.jitter * rng.uniform(-0.08, 0.08)),
        turn=knobs.jitter * rng.uniform(-0.1, 0.1),
        wave=knobs.irregularity * rng.uniform(0.05, 0.2),
        phase=rng.uniform(0, 2 * np.pi),
        u0=rng.uniform(0, 2),
        v0=rng.uniform(0, 2),
    )
    u, v = _in_threads(lie, size)
    over = np.where((np.floor(u) + np.floor(v)) % 2 == 0, 1, -1)  # 1 where the warp is on top
    warp, warp_inside, warp_rise = _threads(rng, knobs, u, v, over, WARP)
    weft, weft_inside, weft_rise = _threads(rng, knobs, v, u, -over, WEFT)
    dye = 1 + knobs.irregularity * (rng.uniform(-0.2, 0.2, (2, 1)) + rng.uniform(-0.025, 0.025, (2, 3)))
    warp, weft = warp * dye[0], weft * dye[1]  # no two lots of yarn are dyed quite alike
    light = _light(rng, size, knobs)
    backing = np.broadcast_to(BACKING, warp.shape)
    bare = backing + warp_inside[..., None] * (0.72 * warp - backing)  # without weft, the warp sags out of the light
    cloth = backing + np.maximum(warp_inside, weft_inside)[..., None] * (0.35 * warp - backing)  # threads in shadow
    warp_shows = warp_inside * ((warp_rise > weft_rise) | (weft_inside < 0.5))
    weft_shows = weft_inside * ((weft_rise >= warp_rise) | (warp_inside < 0.5))
    cloth = cloth + weft_shows[..., None] * (weft - cloth)
    cloth = cloth + warp_shows[..., None] * (warp - cloth)
    return Picture(cloth * light, knobs, np.ones((size, size)), Scene(lie, bare * light))


def _in_threads(lie: Lie, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, size) float32 each: u and v of every pixel, slightly turned and gently waved."""
    down, across = grid(size)
    u = lie.u0 + lie.pitch * (across + lie.turn * down) + lie.wave * np.sin(5 * down + lie.phase)
    v = lie.v0 + lie.pitch * (down - lie.turn * across) + lie.wave * np.sin(4 * across - lie.phase)
    return u, v


def _threads(
    rng: np.random.Generator,
    knobs: Knobs,
    position: np.ndarray,
    along: np.ndarray,
    over: np.ndarray,
    colour: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parallel threads: their colour (h, w, 3), where they are (h, w), 0 to 1, and how high they rise (h, w)."""
    spreads = {"width": 0.05 * knobs.irregularity, "shade": 0.05 * knobs.irregularity}
    own = {name: 1 + spread * rng.standard_normal(64) for name, spread in spreads.items()}
    number = np.floor(position).astype(int) % 64  # each thread keeps its own width and shade along its length
    x = 2 * (position - np.floor(position)) - 1  # from -1 to 1 across the thread
    x = x / np.clip(0.92 * own["width"][number], 0.8, 1)
    round_ = np.sqrt(np.clip(1 - x * x, 0, 1))
    rise = over * np.sin(np.pi * (along - np.floor(along)))  # over one crossing thread, under the next
    strands = np.sin(2 * np.pi * STRANDS * (along + 0.5 * x + 0.37 * number))
    slubs = np.sin(0.9 * along + rng.uniform(0, 2 * np.pi, 64)[number]) * np.sin(0.37 * along + 2.4 * number)
    shade = (0.5 + 0.42 * round_ - 0.12 * x) * (0.9 + 0.16 * rise) * (1 + 0.09 * strands) * own["shade"][number]
    shade = shade * (1 + 0.1 * knobs.irregularity * slubs)  # yarn is thicker and lighter in places
    inside = coverage((np.abs(x) - 1) / (2 * THREADS))  # x runs through 2 on one thread's share of the side
    return shade[..., None] * colour, inside, rise + 0.3 * round_


def _light(rng: np.random.Generator, size: int, knobs: Knobs) -> np.ndarray:
    """(size, size, 1): brighter towards one side, uneven where the cloth is not quite flat."""
    down, across = grid(size)
    side = rng.uniform(0, 2 * np.pi)
    slope = (down - 0.5) * np.sin(side) + (across - 0.5) * np.cos(side)
    level = 1 + knobs.lighting * rng.uniform(-0.15, 0.15)
    uneven = 0.04 * knobs.irregularity * smooth_noise(rng, size, 0.25)
    return (0.98 * level * (1 + 0.3 * knobs.lighting * slope + uneven))[..., None]


def _somewhere(rng: np.random.Generator, margin: float) -> np.ndarray:
    """A place (down, across), at least `margin` from the picture's edges."""
    return rng.uniform(margin, 1 - margin, 2)


def cut(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A slit through which the table shows, its lips frayed thread by thread."""
    size = picture.size
    down, across = grid(size)
    row, col = _somewhere(rng, 0.15)
    direction = rng.uniform(0, np.pi)
    length, width = picture.length(rng, 0.08, 0.25), picture.length(rng, 0.014, 0.034)
    along = (down - row) * np.sin(direction) + (across - col) * np.cos(direction)
    aside = (across - col) * np.sin(direction) - (down - row) * np.cos(direction)
    aside = aside + length * rng.uniform(-0.6, 0.6) * (along / length) ** 2  # scissors do not run straight
    thread = np.floor(np.stack(_in_threads(picture.scene.lie, size))).astype(int) % 64
    frayed = rng.uniform(0.6, 1, 64)[thread[0]] * rng.uniform(0.8, 1, 64)[thread[1]]
    lips = width / 2 * frayed * (1 - (2 * along / length) ** 2)
    table = BACKING * (1 + 0.25 * smooth_noise(rng, size, 0.04)[..., None])
    return Overlay(coverage(np.abs(aside) - lips), table)


def knot(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A lump of weft yarn with two loose ends, lit from above and shadowed below."""
    size = picture.size
    centre, radius = _somewhere(rng, 0.12), picture.length(rng, 0.016, 0.034)
    down, across = grid(size)
    down, across = (down - centre[0]) / radius, (across - centre[1]) / radius
    lump = coverage(blob(rng, size, (centre[0], centre[1]), radius, 0.08))
    wound = np.sin(7 * (across * np.cos(0.6) + down * np.sin(0.6)) + rng.uniform(0, 6))
    shade = 0.92 - 0.3 * down - 0.12 * across + 0.09 * wound
    ends = np.zeros_like(lump)
    for side in (-1, 1):
        tip = centre + radius * np.array([rng.uniform(-1.5, 1.5), side * rng.uniform(1.8, 3)])
        bend = centre + radius * np.array([rng.uniform(-2, 2), side * 1.2])
        ends = np.maximum(ends, stroke(size, curve(centre, bend, tip), 0.009))
    shadow = coverage(blob(rng, size, (centre[0] + 0.3 * radius, centre[1] + 0.15 * radius), 1.12 * radius, 0.05))
    yarn = np.maximum(lump, ends)[..., None]
    shade = np.where(lump > 0.5, shade, 1.12)[..., None]
    colour = 0.45 * picture.colour * (1 - yarn) + WEFT * np.clip(shade, 0.4, 1.35) * yarn
    return Overlay(np.maximum(np.maximum(lump, ends), shadow), colour)


def missing_thread(picture: Picture, rng: np.random.Generator) -> Overlay:
    """One weft thread is gone, all the way across or a part of it, and the warp lies bare."""
    size = picture.size
    _, v = _in_threads(picture.scene.lie, size)
    _, across = grid(size)
    number = np.floor(v[size // 2, size // 2]) + rng.integers(-9, 10)
    start, length = rng.uniform(-0.2, 0.7), picture.length(rng, 0.3, 1.2)
    off_row = (np.abs(v - number - 0.5) - 0.5) / picture.scene.lie.pitch
    off_ends = np.abs(across - start - length / 2) - length / 2
    return Overlay(coverage(np.maximum(off_row, off_ends)), picture.scene.bare)


def oil(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A dark, yellowish wet patch, through which the weave still shows."""
    size = picture.size
    row, col = _somewhere(rng, 0.12)
    patch = coverage(blob(rng, size, (row, col), picture.length(rng, 0.03, 0.08), 0.2))
    depth = rng.uniform(0.55, 0.85) * (1 + 0.12 * smooth_noise(rng, size, 0.06)[..., None])
    tint = np.array([0.5, 0.4, 0.2])
    return Overlay(patch, picture.colour * (1 - depth * (1 - tint)))


WEAVE = Recipe(
    "A plain-woven textile, slate warp under pale weft",
    "texture",
    draw,
    {
        "cut": cut,
        "knot": knot,
        "missing_thread": missing_thread,
        "oil": oil,
        "snag": flaws.warp((0.08, 0.16), (0.7, 1.6)),
    },
    "where the cloth lies, its drape, width and shade of each thread, strength and slope of the light",
)
