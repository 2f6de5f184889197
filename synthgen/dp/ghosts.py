"""Ghosts: gradients of single records that are not written out, from what layers were fed with and what came back.

A layer's gradient for a record is a product of the two (Goodfellow, Efficient per-example gradient computations, 2015),
of which the norm and the weighted sum over records are found without making it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.nn.layers import Grouped, Seeing, Shared


class Part(Protocol):
    """The gradients of B records with respect to one parameter."""

    def squares(self) -> Tensor:
        """Their squared norms (B,), in float64."""

    def total(self, weight: Tensor, kept: Tensor) -> Tensor:
        """Their sum with weights (B,), of those that are kept (B,), in float64 and in as many numbers."""


class Whole(NamedTuple):
    """Gradients of single records, (B, *shape)."""

    gradient: Tensor

    def squares(self) -> Tensor:
        return _square(self.gradient.flatten(1))

    def total(self, weight: Tensor, kept: Tensor) -> Tensor:
        return torch.tensordot(weight[kept], _rows(self.gradient, kept).double(), 1)


class Product(NamedTuple):
    """Gradients that are the sum over T uses of slopes (B, T, outer) times inputs (B, T, inner)."""

    slope: Tensor
    fed: Tensor

    def squares(self) -> Tensor:
        alone = _square(self.slope) * _square(self.fed)  # of each use
        if alone.shape[1] == 1:
            return alone[:, 0]
        slope, fed = self.slope.double(), self.fed.double()
        if alone.shape[1] ** 2 > slope.shape[2] * fed.shape[2]:
            together = (slope.mT @ fed).square().sum((1, 2))
        else:
            together = ((slope @ slope.mT) * (fed @ fed.mT)).sum((1, 2))
        # uses may cancel but for what rounding leaves: never take the norm for smaller than it may be
        return together.clamp(min=0) + 1e-12 * alone.sqrt().sum(1).square()

    def total(self, weight: Tensor, kept: Tensor) -> Tensor:
        slope = _rows(self.slope, kept).double() * weight[kept, None, None]
        return slope.flatten(0, 1).T @ _rows(self.fed, kept).double().flatten(0, 1)


class Block(NamedTuple):
    """Gradients of G matrices side by side, of slopes (G, B, outer) and inputs (G, B, inner): (G, inner, outer)."""

    slope: Tensor
    fed: Tensor

    def squares(self) -> Tensor:
        return (_square(self.slope) * _square(self.fed)).sum(0)

    def total(self, weight: Tensor, kept: Tensor) -> Tensor:
        slope = self.slope.double() * torch.where(kept, weight, 0.0)[:, None]
        return _finite(self.fed, kept).mT @ slope.where(kept[:, None], 0.0)


class Seen(NamedTuple):
    """Gradients of a `Seeing` layer: slopes (B, factors, outer), fed (B, columns, inner), seen (columns, factors)."""

    slope: Tensor
    fed: Tensor
    seen: Tensor

    def squares(self) -> Tensor:
        return ((_square(self.fed) @ self.seen.double().square()) * _square(self.slope)).sum(1)

    def total(self, weight: Tensor, kept: Tensor) -> Tensor:
        slope = _rows(self.slope, kept).double() * weight[kept, None, None]
        made = _rows(self.fed, kept).double().flatten(1).T @ slope.flatten(1)
        made = made.reshape(*self.fed.shape[1:], *self.slope.shape[1:])
        return made * self.seen.double()[:, None, :, None]


class Looked(NamedTuple):
    """Gradients of a table (rows, width), of slopes (B, T, width) of what was looked up at (B, T)."""

    slope: Tensor
    at: Tensor
    rows: int

    def squares(self) -> Tensor:
        slope, same = self.slope.double(), self.at[:, :, None] == self.at[:, None]
        total = ((slope @ slope.mT) * same).sum((1, 2))
        return total.clamp(min=0) + 1e-12 * _square(self.slope).sqrt().sum(1).square()  # as above

    def total(self, weight: Tensor, kept: Tensor) -> Tensor:
        slope = _rows(self.slope, kept).double() * weight[kept, None, None]
        made = slope.new_zeros(self.rows, slope.shape[2])
        return made.index_add_(0, _rows(self.at, kept).flatten(), slope.flatten(0, 1))


def joined(one: Part, other: Part) -> Part:
    """The gradients of a parameter that is used twice.

    Raises:
        NotImplementedError: they are of no kind that can be added.
    """
    if isinstance(one, Whole) and isinstance(other, Whole):
        return Whole(one.gradient + other.gradient)
    if isinstance(one, Product) and isinstance(other, Product):
        return Product(torch.cat([one.slope, other.slope], 1), torch.cat([one.fed, other.fed], 1))
    if isinstance(one, Looked) and isinstance(other, Looked):
        return Looked(torch.cat([one.slope, other.slope], 1), torch.cat([one.at, other.at], 1), one.rows)
    raise NotImplementedError


def _square(t: Tensor) -> Tensor:
    """Squared norms over the last dimension, in float64 from float32: what is too large for it becomes infinite."""
    return torch.linalg.vector_norm(t, dim=-1).double().square()


def _summed(t: Tensor) -> Tensor:
    """The sum over the uses of a layer, (B, T, …) to (B, …)."""
    return t[:, 0] if t.shape[1] == 1 else t.sum(1)


def _rows(t: Tensor, kept: Tensor) -> Tensor:
    return t if bool(kept.all()) else t[kept]


def _finite(t: Tensor, kept: Tensor) -> Tensor:
    """(G, B, inner) in float64, 0 where rows are not kept."""
    return t.double().where(kept[:, None], 0.0)


Formula = Callable[[Any, tuple[Any, ...], Tensor, int], dict[str, Part]]


def _linear(layer: nn.Linear, given: tuple[Any, ...], slope: Tensor, n: int) -> dict[str, Part]:
    slope, fed = (t.reshape(n, -1, t.shape[-1]) for t in (slope, given[0]))
    parts: dict[str, Part] = {"weight": Product(slope, fed)}
    return parts | ({} if layer.bias is None else {"bias": Whole(_summed(slope))})


def _convolution(layer: nn.Conv2d, given: tuple[Any, ...], slope: Tensor, n: int) -> dict[str, Part]:
    if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise NotImplementedError
    fed = functional.unfold(given[0], layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    slope, fed = (t.flatten(2).mT.reshape(n, -1, t.shape[1]) for t in (slope, fed))
    parts: dict[str, Part] = {"weight": Product(slope, fed)}
    return parts | ({} if layer.bias is None else {"bias": Whole(_summed(slope))})


def _layer_norm(layer: nn.LayerNorm, given: tuple[Any, ...], slope: Tensor, n: int) -> dict[str, Part]:
    x, shape = functional.layer_norm(given[0], layer.normalized_shape, eps=layer.eps), layer.normalized_shape
    return {k: Whole(_summed(t.reshape(n, -1, *shape))) for k, t in (("weight", slope * x), ("bias", slope))}


def _group_norm(layer: nn.GroupNorm, given: tuple[Any, ...], slope: Tensor, n: int) -> dict[str, Part]:
    x = functional.group_norm(given[0], layer.num_groups, eps=layer.eps)
    return {
        k: Whole(t.flatten(2).sum(2).reshape(n, -1, layer.num_channels).sum(1))
        for k, t in (("weight", slope * x), ("bias", slope))
    }


def _embedding(layer: nn.Embedding, given: tuple[Any, ...], slope: Tensor, n: int) -> dict[str, Part]:
    slope = slope.reshape(n, -1, layer.embedding_dim)
    return {"weight": Looked(slope, given[0].reshape(n, -1), layer.num_embeddings)}


def _shared(layer: Shared, given: tuple[Any, ...], slope: Tensor, n: int) -> dict[str, Part]:
    return {"value": Whole(_summed(slope.reshape(n, -1, *layer.value.shape)))}


def _grouped(layer: Grouped, given: tuple[Any, ...], slope: Tensor, n: int) -> dict[str, Part]:
    return {"weight": Block(slope, given[0]), "bias": Whole(slope.transpose(0, 1))}


def _seeing(layer: Seeing, given: tuple[Any, ...], slope: Tensor, n: int) -> dict[str, Part]:
    return {"weight": Seen(slope, given[0], given[1])}


FORMULAS: dict[type[nn.Module], Formula] = {
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Embedding: _embedding,
    nn.Conv2d: _convolution,
    Shared: _shared,
    Grouped: _grouped,
    Seeing: _seeing,
}
