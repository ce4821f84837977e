"""Photographs that come with scikit-image, read without importing it: no network, nothing copied into this project."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from pclib.toybox.knobs import Knobs

LICENCES = {
    "brick": "photograph `brick` of scikit-image, from CC0Textures, CC0",
    "grass": "photograph `grass` of scikit-image, by linolafett, CC0",
    "gravel": "photograph `gravel` of scikit-image, from CC0Textures, CC0",
    "coins": "photograph `coins` of scikit-image, Brooklyn Museum, no known copyright restrictions",
}
TRAINING_SHARE = 0.63  # of a photograph's width; the rest is for test pictures


@lru_cache
def photograph(name: str) -> np.ndarray:
    """(h, w) grey values in [0, 1]; raises FileNotFoundError if scikit-image does not bring the photograph."""
    spec = find_spec("skimage")
    folders = (spec and spec.submodule_search_locations) or ["skimage"]
    path = Path(folders[0]) / "data" / f"{name}.png"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such photograph; install scikit-image 0.24 or newer")
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"), dtype=np.float64) / 255
    grey.flags.writeable = False
    return grey


def crop(
    name: str,
    rng: np.random.Generator,
    size: int,
    knobs: Knobs,
    training: bool,
    *,
    window: float,
    turn: float,
    zoom: float,
    flip_down: bool,
    bend: float,
) -> np.ndarray:
    """(size, size) grey values of a random window of a photograph, `window` of its pixels wide.

    Training windows lie in the photograph's left part, test windows in its right part, so no test pixel was ever in
    training. A window is turned by up to `turn` radians, zoomed by up to `zoom` and gently bent by about `bend` pixels,
    each times its knob, and mirrored at random.
    """
    whole = photograph(name)
    height, width = whole.shape
    border = round(TRAINING_SHARE * width)
    left, right = (0, border) if training else (border, width)
    angle = knobs.jitter * rng.uniform(-turn, turn)
    scale = 1 + knobs.jitter * rng.uniform(-zoom, zoom)
    mirrored = rng.choice((-1, 1)), rng.choice((-1, 1)) if flip_down else 1
    reach = window * scale / 2 * (abs(np.cos(angle)) + abs(np.sin(angle)))
    reach = min(reach, (right - left - 1) / 2, (height - 1) / 2)
    row, col = rng.uniform(reach, height - 1 - reach), rng.uniform(left + reach, right - 1 - reach)
    fine = size * max(
        1, -(-round(window) // size)
    )  # a picture coarser than the photograph is averaged, not thinned out
    centres = (np.arange(fine) + 0.5) / fine - 0.5
    down, across = np.meshgrid(mirrored[1] * centres, mirrored[0] * centres, indexing="ij")
    bent = knobs.irregularity * bend * _waves(rng, down, across)
    rows = row + window * scale * (down * np.cos(angle) - across * np.sin(angle)) + bent[0]
    columns = col + window * scale * (down * np.sin(angle) + across * np.cos(angle)) + bent[1]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, left, right - 1)
    sampled = between(whole, rows, columns, left, right)
    return sampled.reshape(size, fine // size, size, fine // size).mean((1, 3))


def _waves(rng: np.random.Generator, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """(2, h, w): a smooth displacement of about 1, in both directions."""
    phases, pitches = rng.uniform(0, 2 * np.pi, 4), rng.uniform(4, 9, 4)
    return np.stack(
        [np.sin(pitches[i] * down + phases[i]) * np.cos(pitches[i + 1] * across + phases[i + 1]) for i in (0, 2)]
    )


def between(whole: np.ndarray, rows: np.ndarray, columns: np.ndarray, left: int, right: int) -> np.ndarray:
    """Grey values between pixels (Keys 1981, a = -1/2), from columns left to right - 1 alone."""
    first_row, first_col = np.floor(rows).astype(int), np.floor(columns).astype(int)
    by_row, by_col = _keys(rows - first_row), _keys(columns - first_col)
    total = np.zeros(rows.shape)
    for i in range(4):
        row = np.clip(first_row + i - 1, 0, len(whole) - 1)
        line = sum(by_col[j] * whole[row, np.clip(first_col + j - 1, left, right - 1)] for j in range(4))
        total += by_row[i] * line
    return np.clip(total, 0, 1)


def _keys(t: np.ndarray) -> list[np.ndarray]:
    """Weights of the four pixels around a place that lies `t` beyond the second of them."""
    return [
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]
