"""The one place where device and precision are chosen."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = ("float32", "bfloat16")


def choose_device(device: str = "auto") -> torch.device:
    """ "auto" is the GPU when there is one, else the CPU; any name that torch knows is taken as it is."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or another name torch knows, got {device!r}") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} asked for, but torch sees no GPU; use device='auto' or 'cpu'")
    return chosen


def computing_in(precision: str, device: torch.device) -> AbstractContextManager:
    """A context in which networks compute in `precision`; their weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()
