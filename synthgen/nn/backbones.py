"""Backbones: the networks that families are made of. Which one fits is decided here, by the shape of the space.

Tables get residual multilayer perceptrons on the embedded record, images convolutional networks.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.nn.convolutions import Grow, Shrink, UNet
from synthgen.nn.layers import Shared
from synthgen.nn.precision import apart, fast
from synthgen.space import Space

UNITS = 8  # hidden units of a perceptron for each channel that the same `width` gives an image network


class Condition(nn.Module):
    """What a network is told beside its input, as one vector: the context, and a level such as that of noise.

    Args:
        context: width of the embedded context; 0 when there is none.
        size: length of the vector.
        drop: share of training records whose context is hidden, so that the network also learns to do without it.
        levels: whether there is a level.
    """

    def __init__(self, context: int, size: int, drop: float = 0.0, levels: bool = False) -> None:
        super().__init__()
        self.size, self.drop = size, drop
        self.context = nn.Linear(context, size, bias=False) if context else None
        self.null = Shared(torch.zeros(size))
        self.level = nn.Sequential(nn.Linear(size, size), nn.SiLU(), nn.Linear(size, size)) if levels else None

    def forward(self, c: Tensor, level: Tensor | None = None, guided: bool = True) -> Tensor:
        """Contexts (B, width) and levels (B,) to (B, size); with `guided=False` the context is hidden.

        Where there is neither, one vector (1, size) may stand for all.
        """
        told = self.null(c if apart() else c[:1])
        if self.context is not None and guided:
            given = self.context(c)
            hidden = torch.rand(len(c), 1, device=c.device) < self.drop if self.training and self.drop else None
            told = told + (given if hidden is None else given.masked_fill(hidden, 0.0))
        if self.level is not None and level is not None:
            rate = torch.exp(torch.linspace(0, math.log(16), self.size // 2, device=level.device))
            angle = level[:, None] * rate
            told = told + self.level(torch.cat([angle.cos(), angle.sin()], 1))
        return functional.silu(told)


class Perceptron(nn.Module):
    """A residual multilayer perceptron, (B, inner) and a condition (B, conditions) to (B, outer)."""

    def __init__(self, inner: int, outer: int, conditions: int, width: int, depth: int, norm: bool = True) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inner, width), nn.Linear(width, outer)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.blocks = nn.ModuleList(_Layer(width, conditions, norm) for _ in range(depth))

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """The map."""
        with fast(x.device):
            h = self.first(x.flatten(1))
            for block in self.blocks:
                h = block(h, e)
            return self.last(functional.silu(self.norm(h))).float()


class _Layer(nn.Module):
    def __init__(self, width: int, conditions: int, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.condition = nn.Linear(conditions, 2 * width)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.condition(e).chunk(2, dim=1)
        h = self.norm(x) * (1 + scale) + shift
        return x + self.outer(functional.silu(self.inner(h)))


def latent_size(space: Space) -> int:
    """Numbers of a latent vector that serve a space well: more make blurred images sharper, and rows more alike."""
    return 64 if len(space.shape) == 3 else 24


def denoiser(space: Space, conditions: int, width: int, depth: int) -> nn.Module:
    """Embedded records (B, width), in the shape of records where these are images, to the like of them."""
    if len(space.shape) == 3:
        return UNet(space.shape, conditions, width, blocks=max(1, depth // 2))
    return Perceptron(space.width, space.width, conditions, UNITS * width, depth)


def encoder(space: Space, conditions: int, outer: int, width: int, depth: int, norm: bool = True) -> nn.Module:
    """Embedded records (B, width) to vectors (B, outer). Critics go without `norm`."""
    if len(space.shape) == 3:
        return Shrink(space.shape, conditions, width, depth // 2, outer, norm)
    return Perceptron(space.width, outer, conditions, UNITS * width, depth, norm)


def decoder(inner: int, conditions: int, space: Space, width: int, depth: int) -> nn.Module:
    """Vectors (B, inner) to the embedded width (B, space.width)."""
    if len(space.shape) == 3:
        return Grow(inner, conditions, space.shape, width, depth // 2)
    return Perceptron(inner, space.width, conditions, UNITS * width, depth)
