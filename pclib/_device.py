"""The one place where device and precision are chosen."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = ("float32", "bfloat16")


def choose_device(device: str = "auto") -> torch.device:
    """ "auto" is the GPU when there is one, else the CPU; raises ValueError for a device that cannot be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).cpu()
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used ({reason}); use device='auto' or 'cpu'") from error
    return chosen


def computing_in(precision: str, device: torch.device) -> AbstractContextManager:
    """A context in which networks compute in `precision`; their weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()
