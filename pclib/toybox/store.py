"""Pictures kept on disk, each drawn once. What other code or other versions of packages drew is not taken for it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from pclib._files import make_folder, replacing


@lru_cache
def drawn_by() -> str:
    """A hash of everything that decides what a picture looks like: the toybox's code and the packages below it."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    for package in ("numpy", "pillow", "scipy", "scikit-image"):
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()


def read(folder: Path, key: str, size: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Picture (size, size, 3) uint8 and mask (size, size) bool, or None if they are not there or cannot be read."""
    path = _path(folder, key)
    try:
        with Image.open(path) as image:
            both = np.asarray(image)
    except (OSError, SyntaxError):
        return None
    if both.shape != (size, size, 4):
        return None
    return both[..., :3].copy(), both[..., 3] == 0


def write(folder: Path, key: str, picture: np.ndarray, mask: np.ndarray) -> None:
    """Keep a picture and its mask, the defect as the transparent part of one PNG file."""
    make_folder(folder)
    alpha = np.where(mask, 0, 255).astype(np.uint8)
    with replacing(_path(folder, key)) as partial:
        Image.fromarray(np.dstack([picture, alpha])).save(partial, compress_level=1)  # to be quick, not small


def _path(folder: Path, key: str) -> Path:
    return folder / (hashlib.sha256(f"{drawn_by()} {key}".encode()).hexdigest()[:32] + ".png")
