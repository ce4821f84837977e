"""What of Python, libraries, weights, data and widgets is present, and what to do about the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the report. `needed`: without it not even the demo runs."""

    what: str
    ok: bool
    detail: str
    needed: bool = False


def examine() -> Iterator[Finding]:
    """Look at one thing after another."""
    found = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", sys.version_info >= (3, 11), f"{found}; 3.11 or newer is needed", needed=True)
    yield Finding(
        "cores", True, f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}"
    )
    libraries = list(_libraries())
    yield from libraries
    if all(finding.ok for finding in libraries):
        yield from _weights()
        yield _data()
    yield from _widgets()


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _libraries() -> Iterator[Finding]:
    for package in (
        *("numpy", "pillow", "safetensors", "tqdm", "torch", "torchvision", "timm", "faiss-cpu", "scipy"),
        *("scikit-learn", "matplotlib", "seaborn", "platformdirs"),
    ):
        found = _installed(package)
        yield Finding(package, found is not None, found or f"missing: pip install {package}", needed=True)
    if _installed("torch") is None or _installed("torchvision") is None:
        return
    import torch

    from pclib import _torchvision

    try:
        _torchvision.import_torchvision()
    except Exception as error:  # whatever stops the import is what the reader needs to see
        yield Finding("torchvision imports", False, f"{error}; install the pair in constraints.txt", needed=True)
        return
    helped = ", helped past its CUDA part" if _torchvision._library is not None else ""
    yield Finding("torchvision imports", True, f"yes{helped}", needed=True)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none seen; everything runs on the CPU"
    yield Finding("GPU", True, gpu)


def _weights() -> Iterator[Finding]:
    from pclib.backbones import load_backbone, weights_file
    from pclib.configurations import PAPER

    try:
        detail = f"loaded, {load_backbone('tf_efficientnet_lite0').digest[:8]}"
        yield Finding("embedded backbone", True, detail, needed=True)
    except (OSError, ValueError, ImportError) as error:
        yield Finding("embedded backbone", False, str(error), needed=True)
        return
    rows: dict[str, list[str]] = {}
    for row in PAPER.values():
        if row.tables:
            rows.setdefault(row.parameters["backbone"], []).append(row.name)
    for name, which in rows.items():
        model = name.removeprefix("timm/").split(".")[0]
        try:
            yield Finding(model, True, str(weights_file(name)))
        except FileNotFoundError as error:
            yield Finding(model, False, f"for the paper's numbers of {', '.join(which)}: {error}")
        except (OSError, ValueError) as error:
            yield Finding(model, False, str(error))


def _data() -> Finding:
    from pclib.inventory import folder, status

    seen = status("mvtec")
    found = [category.category for category in seen if category.state == "complete"]
    detail = f"{len(found)} of {len(seen)} categories complete in {folder('mvtec')}"
    if not found:
        return Finding("MVTec AD", False, f"for the paper's numbers: pclib data fetch mvtec; {detail}")
    named = f": {', '.join(found)}; pclib data status says what is missing" if len(found) < len(seen) else ""
    return Finding("MVTec AD", True, f"{detail}{named}")


def _widgets() -> Iterator[Finding]:
    for package in ("jupyterlab", "ipywidgets", "jupyterlab_widgets", "anywidget", "voila"):
        found, purpose = _installed(package), "pclib explore" if package == "voila" else "notebooks"
        yield Finding(package, found is not None, found or f"missing, for {purpose}: pip install {package}")
