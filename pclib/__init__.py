"""A course and laboratory for PatchCore: finding defects in industrial images from good images alone.

    import pclib
    category = pclib.open_category("toybox/washer")
    detector = pclib.PatchCore().fit(category.train)
    print(pclib.evaluate(detector.score(category.test)))

Every public name and module loads when it is first asked for, so that `import pclib` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# A module has the same name as this function, so the function must be bound before anybody asks.
from pclib.profile import profile

if TYPE_CHECKING:
    from pclib.backbones import Backbone, load_backbone
    from pclib.datasets import open_category, open_images
    from pclib.detector import Scores
    from pclib.metrics import evaluate
    from pclib.patchcore import PatchCore
    from pclib.samples import Category, Sample
    from pclib.toybox import Toybox

__version__ = "0.1.0"

_NAMES = {
    "Backbone": "backbones",
    "Category": "samples",
    "PatchCore": "patchcore",
    "Sample": "samples",
    "Scores": "detector",
    "Toybox": "toybox",
    "evaluate": "metrics",
    "load_backbone": "backbones",
    "open_category": "datasets",
    "open_images": "datasets",
}
_MODULES = (
    *("samples", "framing", "toybox", "datasets", "inventory", "fetch", "export", "backbones", "patches", "coreset"),
    *(
        "neighbors",
        "scoring",
        "detector",
        "extraction",
        "patchcore",
        "methods",
        "metrics",
        "published",
        "configurations",
        "cells",
        "measuring",
        "store",
        "tables",
        "forecast",
        "sweep",
    ),
    *("plots", "table_plots", "method_plots", "widgets", "demo"),
)

__all__ = [
    "Backbone",
    "Category",
    "PatchCore",
    "Sample",
    "Scores",
    "Toybox",
    "evaluate",
    "load_backbone",
    "open_category",
    "open_images",
    "profile",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"pclib.{_NAMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"pclib.{name}")
    raise AttributeError(f"module 'pclib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])
