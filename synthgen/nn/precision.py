"""How networks compute: quickly, or so that the gradient of each record can be told from those of the others."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

_APART = ContextVar("records are kept apart", default=False)


@contextlib.contextmanager
def records_apart() -> Iterator[None]:
    """A block in which nothing is computed once for a whole batch, nor in low precision: private fits clip records."""
    token = _APART.set(True)
    try:
        yield
    finally:
        _APART.reset(token)


def apart() -> bool:
    """Whether this is within such a block."""
    return _APART.get()


def fast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A block whose products are computed in bfloat16 where the device has instructions for them.

    They run two to three times as fast. Weights stay float32, as do norms and losses; networks put their convolutions
    and attention into it.
    """
    if not apart() and (device.type == "cuda" or (device.type == "cpu" and _cpu_has_bfloat16())):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def channels_last(x: Tensor) -> Tensor:
    """Images (B, channels, height, width) in the memory layout in which convolutions are quickest."""
    return x if apart() else x.contiguous(memory_format=torch.channels_last)


def _cpu_has_bfloat16() -> bool:
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
