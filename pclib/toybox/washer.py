"""A turned metal washer on dark cloth: easy to learn, with defects from plain to faint."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pclib.toybox.drawing import (
    Overlay,
    Picture,
    Recipe,
    blob,
    coverage,
    curve,
    grid,
    smooth_noise,
    stroke,
)
from pclib.toybox.knobs import Knobs

BEVEL = 0.02  # width of the broken edges


class Scene(NamedTuple):
    """Where the washer lies, the direction of the lamp from the centre, and the cloth behind."""

    row: float
    col: float
    outer: float
    inner: float
    light: float
    behind: np.ndarray


def draw(rng: np.random.Generator, size: int, knobs: Knobs, training: bool) -> Picture:
    """One good washer: pose, light, size and grain vary a little from one to the next."""
    down, across = grid(size)
    row, col = 0.5 + knobs.jitter * rng.uniform(-0.02, 0.02, 2)
    outer = 0.36 + knobs.irregularity * rng.uniform(-0.006, 0.006)
    inner = 0.165 + knobs.irregularity * rng.uniform(-0.004, 0.004)
    light = np.deg2rad(-125 + knobs.lighting * rng.uniform(-8, 8))
    radius, angle = np.hypot(down - row, across - col), np.arctan2(down - row, across - col)
    ring = np.maximum(radius - outer, inner - radius)  # signed distance to the metal
    cloth = _cloth(rng, size, knobs)
    shadow = coverage(np.maximum(*_shifted_ring(down - row, across - col, outer, inner)), blur=0.03 * size)
    brightness = 1 + knobs.lighting * rng.uniform(-0.05, 0.05)
    behind = cloth * (1 - 0.6 * shadow[..., None]) * brightness
    metal = _metal(rng, size, knobs, radius, angle, outer, inner, light) * brightness
    covered = coverage(ring)
    colour = behind + covered[..., None] * (metal - behind)
    return Picture(colour, knobs, covered, Scene(row, col, outer, inner, float(light), behind))


def _shifted_ring(down: np.ndarray, across: np.ndarray, outer: float, inner: float) -> tuple[np.ndarray, np.ndarray]:
    """Signed distances to the two edges of the ring's shadow, cast down and to the right."""
    radius = np.hypot(down - 0.022, across - 0.016)
    return radius - outer, inner - radius


def _cloth(rng: np.random.Generator, size: int, knobs: Knobs) -> np.ndarray:
    """(size, size, 3): a dark weave, a little uneven."""
    down, across = grid(size)
    turn = knobs.jitter * rng.uniform(-0.05, 0.05)
    threads = np.sin(420 * (across + turn * down)) * np.sin(420 * (down - turn * across))
    uneven, grain = smooth_noise(rng, size, 0.08), rng.standard_normal((size, size))
    brightness = 0.15 + 0.018 * threads + knobs.irregularity * (0.012 * uneven + 0.008 * grain)
    return brightness[..., None] * np.array([0.85, 0.95, 1.15])


def _metal(
    rng: np.random.Generator,
    size: int,
    knobs: Knobs,
    radius: np.ndarray,
    angle: np.ndarray,
    outer: float,
    inner: float,
    light: float,
) -> np.ndarray:
    """(size, size, 3): turning grooves that shine in a bow tie across the light, and bevelled edges."""
    grooves = np.interp(radius.ravel(), np.linspace(0, 0.75, 512), rng.standard_normal(512)).reshape(size, size)
    shine = np.abs(np.cos(angle - light)) ** 6
    uneven = knobs.irregularity * ((0.022 + 0.03 * shine) * grooves + 0.012 * smooth_noise(rng, size, 0.12))
    face = 0.46 + 0.26 * shine + uneven
    facing = np.cos(angle - light)
    outside, inside = coverage(outer - BEVEL - radius, 2), coverage(radius - inner - BEVEL, 2)
    face = face + outside * (0.2 * facing - 0.02) - inside * (0.2 * facing + 0.02)
    return face[..., None] * np.array([1.0, 0.985, 0.95])


def _on_face(scene: Scene, rng: np.random.Generator, margin: float) -> tuple[float, float]:
    """A place (down, across) on the metal, at least `margin` from its edges."""
    radius, angle = rng.uniform(scene.inner + margin, scene.outer - margin), rng.uniform(0, 2 * np.pi)
    return scene.row + radius * np.sin(angle), scene.col + radius * np.cos(angle)


def scratch(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A fine bent line, bright where it catches the light."""
    middle = np.array(_on_face(picture.scene, rng, 0.06))
    direction, length = rng.uniform(0, 2 * np.pi), picture.length(rng, 0.08, 0.2)
    along = length / 2 * np.array([np.sin(direction), np.cos(direction)])
    bend = middle + rng.uniform(-0.5, 0.5) * np.array([along[1], -along[0]])
    line = stroke(picture.size, curve(middle - along, bend, middle + along), picture.length(rng, 0.004, 0.009))
    return Overlay(line * (picture.object > 0.99), picture.colour + rng.uniform(0.03, 0.3))


def chip(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A bite out of the outer or the inner edge, through which the cloth shows."""
    scene: Scene = picture.scene
    edge, angle = (scene.outer, scene.inner)[int(rng.integers(2))], rng.uniform(0, 2 * np.pi)
    centre = scene.row + edge * np.sin(angle), scene.col + edge * np.cos(angle)
    bite = coverage(blob(rng, picture.size, centre, picture.length(rng, 0.01, 0.04), 0.16))
    return Overlay(bite * (picture.object > 0.02), scene.behind)


def stain(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A brown film with an irregular outline, through which the grooves still show."""
    centre = _on_face(picture.scene, rng, 0.06)
    patch = coverage(blob(rng, picture.size, centre, picture.length(rng, 0.02, 0.055), 0.22))
    depth = rng.uniform(0.15, 0.6) * (1 + 0.15 * smooth_noise(rng, picture.size, 0.05)[..., None])
    return Overlay(patch * (picture.object > 0.99), picture.colour * (1 - depth * (1 - np.array([0.62, 0.45, 0.25]))))


def dent(picture: Picture, rng: np.random.Generator) -> Overlay:
    """A shallow hollow: its near side darker, its far side lighter, as seen from the lamp."""
    down, across = grid(picture.size)
    centre = _on_face(picture.scene, rng, 0.055)
    radius, light = picture.length(rng, 0.022, 0.045), picture.scene.light
    down, across = (down - centre[0]) / radius, (across - centre[1]) / radius
    inside = coverage((np.hypot(down, across) - 1) * radius)
    slope = down * np.sin(light) + across * np.cos(light)  # from -1, far from the lamp, to 1
    shade = rng.uniform(0.04, 0.25) * -slope - 0.03
    return Overlay(inside * (picture.object > 0.99), picture.colour + shade[..., None])


WASHER = Recipe(
    "A turned metal washer on dark cloth",
    "object",
    draw,
    {"scratch": scratch, "chip": chip, "stain": stain, "dent": dent},
    "place, diameters, grooves and grain of the metal, cloth, direction and strength of the light",
)
