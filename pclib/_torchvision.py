"""Let torchvision import beside a CPU-only torch.

The torchvision that the package registry serves for Linux is a CUDA build. Beside a CPU build of torch its compiled
part does not load, and its Python part then stops at two missing operator schemas. Nothing in pclib calls these
operators, so defining the schemas is enough. Where torchvision imports by itself, this module does nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library = None  # the schemas live as long as this object


def import_torchvision() -> ModuleType:
    """Import torchvision, lending it two operator schemas if its compiled part does not load."""
    global _library
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        import torch

        for name in [m for m in sys.modules if m == "torchvision" or m.startswith("torchvision.")]:
            del sys.modules[name]
        _library = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            _library.define(schema)
        import torchvision
    return torchvision
