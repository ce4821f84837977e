"""What a detector learned, in one safetensors file with a JSON manifest inside. Never unpickles."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pclib._files import replacing, sha256_arrays
from pclib.backbones import Backbone, load_backbone
from pclib.framing import Framing

FORMAT = 1
KEY = "pclib"


def write(path: str | Path, method: str, tensors: dict[str, np.ndarray], manifest: dict[str, Any]) -> None:
    """Write the file whole or not at all, with the format, the versions at work and a hash of all that is in it."""
    manifest = {"format": FORMAT, "method": method, "versions": versions(), **manifest}
    text = json.dumps(manifest, indent=1)
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    with replacing(path) as partial:
        save_file(tensors, partial, metadata={KEY: text, "sha256": sha256_arrays(tensors, text)})


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
            metadata = file.metadata() or {}
            if KEY not in metadata:
                raise ValueError(f"{path}: a safetensors file, but not a bank that pclib wrote")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: truncated, or not a bank file ({error}); save it again") from error
    if metadata.get("sha256") != sha256_arrays(tensors, metadata[KEY]):
        raise ValueError(f"{path}: damaged or altered, its contents do not match their hash; save it again")
    manifest = json.loads(metadata[KEY])
    if manifest["format"] != FORMAT:
        made_with = manifest["versions"].get("pclib")
        raise ValueError(
            f"{path}: bank format {manifest['format']} (pclib {made_with}), but this version reads format {FORMAT}; "
            "fit and save it again"
        )
    if manifest["method"] != method:
        raise ValueError(f"{path}: a bank of {manifest['method']}, not of {method}")
    return tensors, manifest


def seen_through(backbone: Backbone, framing: Framing, trained_on: dict[str, str]) -> dict[str, Any]:
    """What every manifest says: how pictures are framed, which network looks at them, and which were learned from."""
    return {
        "framing": {"resize": framing.resize, "crop": framing.crop},
        "backbone": _described(backbone),
        "train": trained_on,
    }


def _described(backbone: Backbone) -> dict[str, Any]:
    return {
        "name": backbone.name,
        "layers": list(backbone.layers),
        "sha256": backbone.digest,
        "precision": backbone.precision,
    }


def same_backbone(path: str | Path, manifest: dict[str, Any], backbone: Backbone | None, device: str) -> Backbone:
    """The backbone that the manifest names, or the one given. Raises ValueError unless features are the same."""
    made_with = manifest["backbone"]
    if backbone is None:
        name, layers, precision = made_with["name"], made_with["layers"], made_with["precision"]
        try:
            backbone = load_backbone(name, layers, device=device, precision=precision)
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f"{path}: {error}. If it was a network of your own, give it: backbone=") from error
    at_hand = _described(backbone)
    if any(at_hand[what] != made_with[what] for what in ("layers", "sha256", "precision")):
        raise ValueError(
            f"{path}: made with {_in_words(made_with)}, but the backbone at hand is {_in_words(at_hand)}; distances "
            "between the two mean nothing"
        )
    return backbone


def _in_words(seen: dict[str, Any]) -> str:
    return f"{seen['name']}, layers {seen['layers']}, weights {seen['sha256'][:8]}, in {seen['precision']}"


def versions() -> dict[str, str]:
    """Versions of what shapes a bank, as far as they are installed under these names."""
    found = {}
    for name in ("pclib", "torch", "torchvision", "timm", "faiss-cpu", "numpy"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
