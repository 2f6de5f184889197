"""Space: what a generator is told about the encoded records it learns and draws."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True)
class Space:
    """The shape of one encoded record and the size of each of its columns.

    Tables have shape `(columns,)` and one entry in `sizes` per column: 0 for a real number, k for a code in
    `range(k)`. Codes whose order means something (the cells of a numeric column) are marked in `ordered`.
    Images have shape `(channels, height, width)`, hold reals in [-1, 1] and leave `sizes` empty.
    Encoded records are float32 tensors; a code is stored as its number.
    """

    shape: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    ordered: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if len(self.shape) == 1 and not len(self.sizes) == len(self.ordered) == self.shape[0]:
            raise ValueError(f"a table of {self.shape[0]} columns needs as many entries in sizes and ordered")

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Numbers that each column takes in the embedded record: 1 for a real, k for a code."""
        return tuple(k or 1 for k in self.sizes) if len(self.shape) == 1 else (prod(self.shape),)

    @property
    def width(self) -> int:
        """Length of the embedded record; 0 for an empty space."""
        return sum(self.widths)

    @property
    def order(self) -> list[int]:
        """The order in which families draw column by column: two-valued ones first, else as they come.

        Labels shape the other columns better than these predict a label.
        """
        return sorted(range(len(self.sizes)), key=lambda j: self.sizes[j] != 2)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each column begins in the embedded record, and where the last one ends."""
        return (0, *accumulate(self.widths))

    def columns(self, j: int) -> slice:
        """The place of column j in the embedded record."""
        return slice(self.starts[j], self.starts[j + 1])

    def blocks(self, y: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Each column of codes with its block (B, size) of an embedded record."""
        return ((j, y[:, self.columns(j)]) for j, k in enumerate(self.sizes) if k)

    @property
    def coded(self) -> list[bool]:
        """Which numbers of the embedded record belong to codes."""
        sizes = self.sizes or (0,)
        return [k > 0 for k, w in zip(sizes, self.widths, strict=True) for _ in range(w)]

    @property
    def deviation(self) -> float:
        """About how far reals spread: normal scores by 1, pixels in [-1, 1] by half of that."""
        return 0.5 if len(self.shape) == 3 else 1.0

    def spread(self, cells: Tensor) -> Tensor:
        """Something of each cell, (B, *shape), for the numbers that it takes in the embedded record, (B, width)."""
        if not any(self.sizes):
            return cells.flatten(1)
        return cells.repeat_interleave(torch.tensor(self.widths, device=cells.device), dim=1)

    def embed(self, x: Tensor) -> Tensor:
        """Records `(B, *shape)` to vectors `(B, width)`: codes become one-hot blocks, images are flattened."""
        if not any(self.sizes):
            return x.flatten(1)
        # comparison with arange instead of F.one_hot: it works under torch.func.vmap
        blocks = [
            (x[:, j, None] == torch.arange(k, device=x.device)).to(x.dtype) if k else x[:, j, None]
            for j, k in enumerate(self.sizes)
        ]
        return torch.cat(blocks, dim=1)

    def collapse(self, y: Tensor) -> Tensor:
        """Vectors `(B, width)` to records `(B, *shape)`: the largest entry of a block is the code."""
        if not any(self.sizes):
            return y.reshape(len(y), *self.shape)
        parts = torch.split(y, list(self.widths), dim=1)
        columns = [p.argmax(1).to(y.dtype) if k else p[:, 0] for p, k in zip(parts, self.sizes, strict=True)]
        return torch.stack(columns, dim=1)


EMPTY = Space((0,))  # the context of a generator that is not told anything
