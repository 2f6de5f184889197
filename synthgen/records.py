"""Records: the encoded records that a generator fits on, with the context of each."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor


class Encoder(Protocol):
    """What turns records (N, *shape) into records of its own space."""

    @property
    def space(self) -> Any:
        """The space."""

    def encode(self, x: Tensor) -> Tensor:
        """Each record on its own."""


class Records:
    """Encoded records `x` of shape (N, *shape) with their embedded context `c` of shape (N, context.width).

    A generator's `fit` gets this and not a tensor, since the records may live on disk (`StreamedRecords`) or behind
    a privacy budget (`PrivateRecords`).
    """

    def __init__(self, x: Tensor, c: Tensor | None = None) -> None:
        self._x = x
        self._c = x.new_zeros(len(x), 0) if c is None else c
        if len(self._x) != len(self._c):
            raise ValueError(f"{len(self._x)} records but {len(self._c)} contexts")

    def __len__(self) -> int:
        return len(self._x)

    def tensor(self) -> tuple[Tensor, Tensor]:
        """All records and contexts in memory: (N, *shape) and (N, context.width); of more than fit there, a sample."""
        return self._x, self._c

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over all records in random order, `size` at a time; the last batch may be smaller."""
        for index in torch.split(torch.randperm(len(self)), size):
            yield self._x[index], self._c[index]

    def to(self, device: torch.device) -> "Records":
        """The same records on another device."""
        return Records(self._x.to(device), self._c.to(device))

    def mapped(self, encoder: Encoder) -> "Records":
        """The same records, each encoded on its own."""
        return Records(encoder.encode(self._x), self._c)
