"""Where networks compute in bfloat16: matrix products and convolutions run two to three times as fast."""

import contextlib
from typing import Any

import torch


def fast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A block whose products are computed in bfloat16 where the device has instructions for them.

    Weights stay float32, as do norms and losses; networks put their convolutions and attention into it.
    """
    if device.type == "cuda" or (device.type == "cpu" and _cpu_has_bfloat16()):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def _cpu_has_bfloat16() -> bool:
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
