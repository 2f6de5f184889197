"""Texture: drawn images get the local contrasts of real ones, by curves on what small filters see of them.

Source: Heeger and Bergen, Pyramid-based texture analysis/synthesis, 1995. What networks leave blurred has too little
of the fine contrasts and none of the strong ones; matching the distribution of each contrast, again and again,
gives edges back without a word about where they are. The filters are the cosines of 3 x 3 pixels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.nn.batches import in_batches
from synthgen.nn.tones import Tones
from synthgen.space import Space

SIDE = 3  # pixels of a filter's side
ROUNDS = 4  # of matching contrasts, then tones
PIXELS = 2_000_000  # numbers of the images that curves are learned from
ENOUGH = 1000  # drawn images, where drawing takes long
AT_ONCE = 500_000  # numbers of images that are worked on together: what they need stays in the cache


class Texture(nn.Module):
    """Maps images (n, channels, height, width) with pixels in [-1, 1] to the like; at first the identity."""

    filters: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, bands = channels, SIDE**2
        cosine = torch.cos(torch.outer(torch.arange(SIDE), torch.arange(SIDE) + 0.5) * math.pi / SIDE)
        cosine = cosine / cosine.norm(dim=1, keepdim=True)
        filters = torch.einsum("ay,bx->abyx", cosine, cosine).reshape(bands, 1, SIDE, SIDE)
        self.register_buffer("filters", filters.repeat(channels, 1, 1, 1), persistent=False)
        # the first filter is the mean of the pixels: tones take care of it
        self.contrasts = nn.ModuleList(Tones(channels * (bands - 1), (-SIDE, SIDE)) for _ in range(ROUNDS))
        self.tones = nn.ModuleList(Tones(channels, (-1.0, 1.0)) for _ in range(ROUNDS))

    def fit(self, drawn: Tensor, real: Tensor) -> None:
        """Learn from images of both kinds, in no order."""
        most = max(1, PIXELS // math.prod(drawn.shape[1:]))
        drawn, real = drawn[:most], real[:most]
        goal = self._split(real)[1]
        for contrasts, tones in self._rounds():
            mean, fine = self._split(drawn)
            contrasts.fit(fine, goal)
            drawn = self._join(mean, contrasts(fine))
            tones.fit(drawn, real)
            drawn = tones(drawn)

    def forward(self, x: Tensor) -> Tensor:
        """The map."""
        return in_batches(self._map, max(1, AT_ONCE // math.prod(x.shape[1:])), x) if len(x) else x

    def _map(self, x: Tensor) -> Tensor:
        for contrasts, tones in self._rounds():
            mean, fine = self._split(x)
            x = tones(self._join(mean, contrasts(fine)))
        return x

    def _rounds(self) -> list[tuple[Tones, Tones]]:
        return list(zip(self.contrasts, self.tones, strict=True))  # type: ignore[arg-type]

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Local means (n, channels, 1, h, w) and contrasts (n, 8 channels, h, w) about every pixel."""
        framed = functional.pad(x, (SIDE - 1,) * 4, mode="replicate")
        bands = functional.conv2d(framed, self.filters, groups=self.channels)
        bands = bands.reshape(len(x), self.channels, SIDE**2, *bands.shape[2:])
        return bands[:, :, :1], bands[:, :, 1:].flatten(1, 2)

    def _join(self, mean: Tensor, fine: Tensor) -> Tensor:
        """The images whose contrasts these are, where they agree; their mean opinion where they do not."""
        bands = torch.cat([mean, fine.reshape(len(fine), self.channels, -1, *fine.shape[2:])], 2).flatten(1, 2)
        x = functional.conv_transpose2d(bands, self.filters, groups=self.channels) / SIDE**2
        return x[..., SIDE - 1 : 1 - SIDE, SIDE - 1 : 1 - SIDE]


class Untouched(nn.Identity):
    """Leaves records as they are: rows have no texture."""

    def fit(self, drawn: Tensor, real: Tensor) -> None:
        """Nothing is learned."""


def texture(space: Space) -> tuple[Texture | Untouched, int]:
    """What drawn records of a space are given at last, and how many of them are enough to learn it from."""
    return (Texture(space.shape[0]), ENOUGH) if len(space.shape) == 3 else (Untouched(), 0)
