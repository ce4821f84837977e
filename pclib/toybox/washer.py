"""A turned metal washer on dark cloth: easy to learn, with defects from plain to faint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pclib.toybox.drawing import Overlay, Picture, blob, coverage, curve, grid, smooth_noise, stroke

BEVEL = 0.02  # width of the broken edges


def draw(rng: np.random.Generator, size: int) -> Picture:
    """One good washer: pose, light, size and grain vary a little from one to the next."""
    down, across = grid(size)
    row, col = 0.5 + rng.uniform(-0.02, 0.02, 2)
    outer, inner = 0.36 + rng.uniform(-0.006, 0.006), 0.165 + rng.uniform(-0.004, 0.004)
    light = np.deg2rad(-125 + rng.uniform(-8, 8))  # direction towards the lamp, from the centre
    radius, angle = np.hypot(down - row, across - col), np.arctan2(down - row, across - col)
    ring = np.maximum(radius - outer, inner - radius)  # signed distance to the metal
    cloth = _cloth(rng, size, down, across)
    shadow = coverage(np.maximum(*_shifted_ring(down - row, across - col, outer, inner)), blur=0.03 * size)
    behind = cloth * (1 - 0.6 * shadow[..., None])
    metal = _metal(rng, size, radius, angle, outer, inner, light)
    covered = coverage(ring)[..., None]
    colour = (behind + covered * (metal - behind)) * (1 + rng.uniform(-0.05, 0.05))
    facts = {"row": row, "col": col, "outer": outer, "inner": inner, "light": float(light)}
    return Picture(colour.astype(np.float32), behind.astype(np.float32), covered[..., 0], facts)


def _shifted_ring(down: np.ndarray, across: np.ndarray, outer: float, inner: float) -> tuple[np.ndarray, np.ndarray]:
    """Signed distances to the two edges of the ring's shadow, cast down and to the right."""
    radius = np.hypot(down - 0.022, across - 0.016)
    return radius - outer, inner - radius


def _cloth(rng: np.random.Generator, size: int, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """(size, size, 3): a dark weave, a little uneven."""
    turn = rng.uniform(-0.05, 0.05)
    threads = np.sin(420 * (across + turn * down)) * np.sin(420 * (down - turn * across))
    uneven = smooth_noise(rng, size, 0.08)
    grain = rng.standard_normal((size, size), dtype=np.float32)
    brightness = 0.15 + 0.018 * threads + 0.012 * uneven + 0.008 * grain
    return brightness[..., None] * np.array([0.85, 0.95, 1.15], dtype=np.float32)


def _metal(
    rng: np.random.Generator,
    size: int,
    radius: np.ndarray,
    angle: np.ndarray,
    outer: float,
    inner: float,
    light: float,
) -> np.ndarray:
    """(size, size, 3): turning grooves that shine in a bow tie across the light, and bevelled edges."""
    grooves = rng.standard_normal(512).astype(np.float32)
    grooves = np.interp(radius.ravel(), np.linspace(0, 0.75, 512), grooves).reshape(size, size)
    shine = np.abs(np.cos(angle - light)) ** 6
    face = 0.46 + 0.26 * shine + (0.022 + 0.03 * shine) * grooves + 0.012 * smooth_noise(rng, size, 0.12)
    facing = np.cos(angle - light)
    outside, inside = coverage(outer - BEVEL - radius, 2), coverage(radius - inner - BEVEL, 2)
    face = face + outside * (0.2 * facing - 0.02) - inside * (0.2 * facing + 0.02)
    return face[..., None] * np.array([1.0, 0.985, 0.95], dtype=np.float32)


def _on_face(picture: Picture, rng: np.random.Generator, margin: float) -> tuple[float, float]:
    """A place (down, across) on the metal, at least `margin` from its edges."""
    f = picture.facts
    radius, angle = rng.uniform(f["inner"] + margin, f["outer"] - margin), rng.uniform(0, 2 * np.pi)
    return f["row"] + radius * np.sin(angle), f["col"] + radius * np.cos(angle)


def scratch(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A fine bent line, bright where it catches the light."""
    size = len(picture.object)
    middle = np.array(_on_face(picture, rng, 0.06))
    direction, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.2)
    along = length / 2 * np.array([np.sin(direction), np.cos(direction)])
    bend = middle + rng.uniform(-0.25, 0.25) * length * np.array([along[1], -along[0]]) / (length / 2)
    line = stroke(size, curve(middle - along, bend, middle + along), rng.uniform(0.004, 0.009))
    bright = rng.uniform(0.05, 0.3)
    return Overlay(line * (picture.object > 0.99), picture.colour + np.float32(bright))


def chip(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A bite out of the outer or the inner edge, through which the cloth shows."""
    f = picture.facts
    edge, angle = (f["outer"], f["inner"])[int(rng.integers(2))], rng.uniform(0, 2 * np.pi)
    centre = f["row"] + edge * np.sin(angle), f["col"] + edge * np.cos(angle)
    bite = coverage(blob(rng, len(picture.object), centre, rng.uniform(0.01, 0.04), 0.16))
    return Overlay(bite * (picture.object > 0.5), picture.behind)


def stain(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A brown film with an irregular outline, through which the grooves still show."""
    size = len(picture.object)
    patch = coverage(blob(rng, size, _on_face(picture, rng, 0.06), rng.uniform(0.02, 0.055), 0.22))
    depth = rng.uniform(0.12, 0.6) * (1 + 0.15 * smooth_noise(rng, size, 0.05)[..., None])
    tint = np.array([0.62, 0.45, 0.25], dtype=np.float32)
    return Overlay(patch * (picture.object > 0.99), picture.colour * (1 - depth * (1 - tint)))


def dent(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A shallow hollow: its near side darker, its far side lighter, as seen from the lamp."""
    size = len(picture.object)
    down, across = grid(size)
    centre = _on_face(picture, rng, 0.055)
    radius, light = rng.uniform(0.022, 0.045), picture.facts["light"]
    down, across = (down - centre[0]) / radius, (across - centre[1]) / radius
    inside = coverage((np.hypot(down, across) - 1) * radius)
    slope = down * np.sin(light) + across * np.cos(light)  # from -1, far from the lamp, to 1
    shade = rng.uniform(0.05, 0.25) * -slope - 0.03
    return Overlay(inside * (picture.object > 0.99), picture.colour + shade[..., None].astype(np.float32))


DEFECTS: dict[str, Callable[[Picture, np.random.Generator], Overlay]] = {
    "scratch": scratch,
    "chip": chip,
    "stain": stain,
    "dent": dent,
}
