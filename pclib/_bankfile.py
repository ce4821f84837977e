"""What a detector learned, in one safetensors file with a JSON manifest inside. Never unpickles."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pclib._files import replacing

FORMAT = 1
KEY = "pclib"


def write(path: str | Path, method: str, tensors: dict[str, np.ndarray], manifest: dict[str, Any]) -> None:
    """Write the file whole or not at all, with the format, the versions at work and a hash of the tensors."""
    versions = {name: version(name) for name in ("pclib", "torch", "torchvision", "timm", "faiss-cpu", "numpy")}
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    own = {"format": FORMAT, "method": method, "sha256": _digest(tensors), "versions": versions}
    with replacing(path) as partial:
        save_file(tensors, partial, metadata={KEY: json.dumps({**own, **manifest}, indent=1)})


def read(path: str | Path, method: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and the manifest.

    Raises FileNotFoundError for a missing file, ValueError for one that is truncated, damaged, not written by pclib,
    of another format version, or of another method.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such bank file; make one with save(), or with: pclib fit FOLDER -o {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            found = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()} if found else {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: truncated, or not a bank file ({error}); save it again") from error
    if found is None:
        raise ValueError(f"{path}: a safetensors file, but not a bank that pclib wrote")
    manifest = json.loads(found)
    if manifest["format"] != FORMAT:
        raise ValueError(
            f"{path}: bank format {manifest['format']} (pclib {manifest['versions']['pclib']}), but this version reads "
            f"format {FORMAT}; fit and save it again"
        )
    if manifest["method"] != method:
        raise ValueError(f"{path}: a bank of {manifest['method']}, not of {method}")
    if manifest["sha256"] != _digest(tensors):
        raise ValueError(f"{path}: damaged, its contents do not match their hash; save it again")
    return tensors, manifest


def _digest(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()
