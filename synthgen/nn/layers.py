"""Layers that torch lacks. Each owns its parameters, and treats every record of a batch on its own.

What a layer is fed with and what comes back then tell the gradient of each record, which private fits clip.
"""

import torch
from torch import Tensor, nn


class Shared(nn.Module):
    """A parameter as it is, for each record of a batch."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, rows: Tensor) -> Tensor:
        """The parameter as often as there are rows, (B, *shape)."""
        return self.value.expand(len(rows), *self.value.shape)


class Grouped(nn.Module):
    """A linear map for each of `groups`: (groups, B, inner) to (groups, B, outer)."""

    def __init__(self, groups: int, inner: int, outer: int, deviation: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(deviation * torch.randn(groups, inner, outer))
        self.bias = nn.Parameter(torch.zeros(groups, 1, outer))

    def forward(self, h: Tensor) -> Tensor:
        """The maps."""
        return torch.baddbmm(self.bias, h, self.weight)


class Seeing(nn.Module):
    """A linear map of columns to factors, each of which sees some columns only.

    Source: Germain et al., MADE: masked autoencoder for distribution estimation, 2015.
    """

    def __init__(self, columns: int, inner: int, factors: int, outer: int, deviation: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(deviation * torch.randn(columns, inner, factors, outer))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Columns (B, columns, inner), and whether a factor sees a column (columns, factors): (B, factors, outer)."""
        weight = (self.weight * seen[:, None, :, None]).flatten(2).flatten(0, 1)
        return (x.flatten(1) @ weight).reshape(len(x), *self.weight.shape[2:])


class Tables(nn.Module):
    """Rows of several tables (rows, width), looked up by index."""

    def __init__(self, tables: int, rows: int, width: int, deviation: float = 0.0) -> None:
        super().__init__()
        self.rows = rows
        self.all = nn.Embedding(tables * rows, width, _weight=deviation * torch.randn(tables * rows, width))

    def forward(self, index: Tensor, tables: slice = slice(None)) -> Tensor:
        """Row `index[b, j]` of table j, for each j of some tables: (B, tables) to (B, tables, width)."""
        start = torch.arange(0, self.all.num_embeddings, self.rows, device=index.device)[tables]
        return self.all(index + start)
