"""Defects that befall any surface: where they lie and how they look follows from the picture and a generator.

Each `kind(...)` makes a defect: a function of a picture and a generator that gives an overlay.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from pclib.toybox.drawing import Defect, Overlay, Picture, around, blob, coverage, curve, grid, smooth_noise, stroke

Range = tuple[float, float]
Arguments = ParamSpec("Arguments")


def _kind(make: Callable[Arguments, Defect]) -> Callable[Arguments, Defect]:
    """Let every defect that `make` makes carry its description."""

    @wraps(make)
    def described(*args: Arguments.args, **options: Arguments.kwargs) -> Defect:
        defect = make(*args, **options)
        defect.__doc__ = make.__doc__
        return defect

    return described


def somewhere(picture: Picture, rng: np.random.Generator, margin: float) -> np.ndarray:
    """A place (down, across) on the object, at least `margin` from the picture's edges."""
    for _ in range(100):
        place = rng.uniform(margin, 1 - margin, 2)
        down, across = (place * picture.size).astype(int)
        if picture.object[down, across] > 0.99:
            break
    return place


def in_structure(picture: Picture, rng: np.random.Generator, margin: float) -> np.ndarray:
    """Of eight places, the one with the liveliest surroundings: some defects show only where there is structure."""
    places = [somewhere(picture, rng, margin) for _ in range(8)]
    grey = picture.colour.mean(-1)
    liveliness = [grey[around(picture.size, row, col, 0.04)].std() for row, col in places]
    return places[int(np.argmax(liveliness))]


@_kind
def scratch(length: Range, width: Range, brightness: Range, margin: float = 0.15) -> Defect:
    """A fine bent line, brighter than what it runs over."""

    def draw(picture: Picture, rng: np.random.Generator) -> Overlay:
        middle, direction = somewhere(picture, rng, margin), rng.uniform(0, 2 * np.pi)
        half = picture.length(rng, *length) / 2 * np.array([np.sin(direction), np.cos(direction)])
        bend = middle + rng.uniform(-0.5, 0.5) * np.array([half[1], -half[0]])
        line = stroke(picture.size, curve(middle - half, bend, middle + half), picture.length(rng, *width))
        return Overlay(line * (picture.object > 0.99), picture.colour + rng.uniform(*brightness))

    return draw


@_kind
def crack(length: Range, width: Range, darkness: Range, margin: float = 0.2) -> Defect:
    """A dark jagged line that wanders, thinner towards its ends."""

    def draw(picture: Picture, rng: np.random.Generator) -> Overlay:
        steps, reach = 14, picture.length(rng, *length)
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, steps))
        path = np.cumsum(reach / steps * np.stack([np.sin(heading), np.cos(heading)], -1), axis=0)
        path += somewhere(picture, rng, margin) - path.mean(0)
        widest, depth = picture.length(rng, *width), rng.uniform(*darkness)
        pieces = [
            stroke(picture.size, path[i : i + 2], widest * (1 - abs(2 * i / (steps - 2) - 1) ** 2))
            for i in range(steps - 1)
        ]
        return Overlay(np.maximum.reduce(pieces) * (picture.object > 0.99), picture.colour * (1 - depth))

    return draw


@_kind
def stain(radius: Range, depth: Range, tint: tuple[float, float, float], margin: float = 0.15) -> Defect:
    """A film with an irregular outline, through which the surface still shows.

    At full depth, white turns into `tint`.
    """

    def draw(picture: Picture, rng: np.random.Generator) -> Overlay:
        place = somewhere(picture, rng, margin)
        patch = coverage(blob(rng, picture.size, (place[0], place[1]), picture.length(rng, *radius), 0.2))
        strength = rng.uniform(*depth) * (1 + 0.15 * smooth_noise(rng, picture.size, 0.05)[..., None])
        film = picture.colour * (1 - np.clip(strength, 0, 1) * (1 - np.array(tint)))
        return Overlay(patch * (picture.object > 0.99), film)

    return draw


@_kind
def blurred(radius: Range, sigma: Range, margin: float = 0.15) -> Defect:
    """A patch out of focus: its fine structure is gone, its colour is not."""

    def draw(picture: Picture, rng: np.random.Generator) -> Overlay:
        place = in_structure(picture, rng, margin)
        patch = coverage(blob(rng, picture.size, (place[0], place[1]), picture.length(rng, *radius), 0.12))
        spread = rng.uniform(*sigma) * picture.size
        return Overlay(patch * (picture.object > 0.99), gaussian_filter(picture.colour, (spread, spread, 0)))

    return draw


@_kind
def inclusion(radius: Range, stuff: Defect, margin: float = 0.12) -> Defect:
    """A foreign body that casts a shadow.

    `stuff` gives its colour.
    """

    def draw(picture: Picture, rng: np.random.Generator) -> Overlay:
        place, size = somewhere(picture, rng, margin), picture.length(rng, *radius)
        inside = blob(rng, picture.size, (place[0], place[1]), size, 0.2)
        body = coverage(inside)[..., None]
        aside = int(np.ceil(0.2 * size * picture.size))  # the shadow falls down and to the right
        shadow = coverage(np.roll(inside, (aside, aside), (0, 1)), blur=0.4 * size * picture.size)[..., None]
        towards_edge = np.clip(1 + inside / size, 0, 1)[..., None]  # 0 in the middle
        foreign = stuff(picture, rng).colour * (1.1 - 0.45 * towards_edge**3)
        ground = picture.colour * (1 - 0.65 * shadow)
        return Overlay((np.maximum(body, shadow)[..., 0] > 0.1).astype(np.float64), ground + body * (foreign - ground))

    return draw


@_kind
def warp(radius: Range, turn: Range, margin: float = 0.2) -> Defect:
    """A local twist: the texture is intact, its geometry is not."""

    def draw(picture: Picture, rng: np.random.Generator) -> Overlay:
        centre, reach = in_structure(picture, rng, margin), picture.length(rng, *radius)
        down, across = grid(picture.size)
        down, across = down - centre[0], across - centre[1]
        near = np.hypot(down, across) / reach
        angle = rng.choice((-1, 1)) * rng.uniform(*turn) * np.clip(1 - near**2, 0, 1) ** 2
        rows = centre[0] + down * np.cos(angle) - across * np.sin(angle)
        columns = centre[1] + down * np.sin(angle) + across * np.cos(angle)
        places = np.stack([rows, columns]) * picture.size - 0.5
        twisted = [
            map_coordinates(plane, places, order=1, mode="nearest") for plane in np.moveaxis(picture.colour, -1, 0)
        ]
        return Overlay(coverage((near - 0.95) * reach) * (picture.object > 0.99), np.stack(twisted, -1))

    return draw


@_kind
def missing(radius: Range, margin: float = 0.15) -> Defect:
    """A piece is gone, and the hole is filled from its rim, smoothly."""

    def draw(picture: Picture, rng: np.random.Generator) -> Overlay:
        place, size = in_structure(picture, rng, margin), picture.length(rng, *radius)
        hole = coverage(blob(rng, picture.size, (place[0], place[1]), size, 0.2))
        known = (hole == 0).astype(np.float64)[..., None]
        filled = np.zeros_like(picture.colour)
        for share in (1.0, 0.5, 0.25):  # from coarse to fine, each where it has something to go by
            spread = (share * size * picture.size, share * size * picture.size, 0)
            weight = gaussian_filter(known, spread)
            average = gaussian_filter(picture.colour * known, spread) / np.maximum(weight, 1e-9)
            filled = np.where(share == 1, average, filled + np.clip(2 * weight, 0, 1) * (average - filled))
        return Overlay(hole * (picture.object > 0.99), filled)

    return draw


def paint(colour: tuple[float, float, float], variation: float = 0.08) -> Defect:
    """Stuff of one colour, a little uneven: for inclusions."""

    def draw(picture: Picture, rng: np.random.Generator) -> Overlay:
        uneven = 1 + variation * smooth_noise(rng, picture.size, 0.04)[..., None]
        return Overlay(np.ones(picture.colour.shape[:2]), np.clip(uneven * np.array(colour), 0, 1))

    return draw
