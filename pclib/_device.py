"""The one place where device and precision are chosen."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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


def computing_on(device: torch.device) -> AbstractContextManager:
    """A context in which float32 means float32: by default cuDNN rounds what its convolutions read to 10 bits."""
    return torch.backends.cudnn.flags(allow_tf32=False) if device.type == "cuda" else nullcontext()


def batch_size(device: torch.device, precision: str) -> int:
    """Images through the network at a time: few enough that a processor's caches hold what passes between layers."""
    if device.type != "cpu":
        return 64
    return 8 if precision == "bfloat16" else 4


def available_memory(device: torch.device | None = None) -> int:
    """Bytes that new arrays may take, in main memory or on a GPU."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available


def gibibytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 2**30:.1f} GiB"
