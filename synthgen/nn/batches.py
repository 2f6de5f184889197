"""Work on many records that is done a batch at a time, so that what it needs stays in the cache and in memory."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_batches(function: Callable[..., Tensor], size: int, *tensors: Tensor) -> Tensor:
    """What a function makes of tensors (n, …), called on `size` records at a time."""
    parts = zip(*(torch.split(t, size) for t in tensors), strict=True)
    return torch.cat([function(*part) for part in parts])
