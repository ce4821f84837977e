"""Whole files or none, and their hashes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it becomes `path` on success and vanishes on failure.

    Raises ValueError before anything is written if `check_target` refuses the path.
    """
    path = Path(path)
    check_target(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".pclib-", suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp makes files that only their owner can read; a finished file gets the usual rights.
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raise ValueError unless files can be written to `folder`."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: a file, where a folder to write to is wanted; choose another path")
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder to write to; create it first or choose another path")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written to ({error.strerror}); choose another folder") from error


def check_target(path: str | Path) -> None:
    """Raise ValueError unless `path` can become a file: its folder is writable and nothing but a file is in the way."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a file, so it cannot be replaced by one; give the path of a file")
    check_writable(path.parent)


def check_creatable(folder: str | Path) -> None:
    """Raise ValueError unless `folder` is there and writable, or could be created."""
    folder = Path(folder)
    parents = [folder, *folder.absolute().parents]
    check_writable(next(parent for parent in parents if parent.exists()))


def make_folder(folder: str | Path) -> Path:
    """Create `folder` with its parents if need be; raise ValueError if it cannot be written to."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be created ({error.strerror}); choose another folder") from error
    check_writable(folder)
    return folder


def sha256_arrays(arrays: Mapping[str, np.ndarray], more: str = "") -> str:
    """SHA-256 over names, types, shapes and contents of arrays, and over further text, in hexadecimal."""
    digest = hashlib.sha256(more.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
