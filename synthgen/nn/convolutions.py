"""Convolutional networks for images: a U-Net, and its two halves as encoder and decoder.

Source: Ronneberger et al., U-Net, 2015; Dhariwal and Nichol, Diffusion models beat GANs, 2021. Images are cut into
patches of 2 x 2 pixels that become channels (pixel unshuffle), which makes everything several times as fast.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.nn.precision import channels_last, fast

PATCH = 2  # pixels of a patch's side
SMALLEST = 8  # sides are halved until they are no longer than this


class _Framed(nn.Module):
    """What the networks share: sides padded to whole patches on every level, and how many levels there are."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.channels, self.height, self.breadth = shape
        self.levels = 1
        while max(self.height, self.breadth) / (PATCH << (self.levels - 1)) > SMALLEST:
            self.levels += 1
        unit = PATCH << (self.levels - 1)
        self.bottom, self.right = -self.height % unit, -self.breadth % unit
        # sides on the last level
        self.rows, self.columns = (self.height + self.bottom) // unit, (self.breadth + self.right) // unit
        self.inner = self.channels * PATCH**2

    def cut(self, x: Tensor) -> Tensor:
        """Images to patches (B, inner, rows, columns) of the first level."""
        x = x.reshape(len(x), self.channels, self.height, self.breadth)
        if self.bottom or self.right:
            x = functional.pad(x, (0, self.right, 0, self.bottom), mode="replicate")
        return channels_last(functional.pixel_unshuffle(x, PATCH))

    def whole(self, cells: Tensor) -> Tensor:
        """Places (B, rows * columns) of the last level all of whose pixels are True in (B, channels, height, width)."""
        unit = PATCH << (self.levels - 1)
        lacking = functional.pad((~cells.all(1, keepdim=True)).float(), (0, self.right, 0, self.bottom))
        return functional.max_pool2d(lacking, unit).flatten(1) == 0

    def join(self, h: Tensor) -> Tensor:
        """Patches back to images."""
        return functional.pixel_shuffle(h.float(), PATCH)[..., : self.height, : self.breadth]


class UNet(_Framed):
    """Maps images (B, channels, height, width) and a condition (B, conditions) to images.

    Args:
        shape: (channels, height, width).
        conditions: length of the condition.
        width: channels of the first level; each further one has twice as many.
        blocks: residual blocks per level, on the way down and on the way up.
    """

    def __init__(self, shape: tuple[int, ...], conditions: int, width: int, blocks: int = 1) -> None:
        super().__init__(shape)
        widths = [width << i for i in range(self.levels)]
        self.first = nn.Conv2d(self.inner, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        at, skips = width, []
        for i, w in enumerate(widths):
            self.down.append(nn.ModuleList(Block(at if j == 0 else w, w, conditions) for j in range(blocks)))
            at = w
            skips += [w] * blocks
            if i < self.levels - 1:
                self.down.append(nn.Conv2d(w, w, 3, stride=2, padding=1))
        self.middle = Block(at, at, conditions)
        for w in reversed(widths):
            parts = [Block((at if j == 0 else w) + skips.pop(), w, conditions) for j in range(blocks)]
            self.up.append(nn.ModuleList(parts))
            at = w
        self.norm = nn.GroupNorm(8, width)
        self.last = nn.Conv2d(width, self.inner, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """The map; the result is float32."""
        with fast(x.device):
            return self.join(self._run(self.cut(x), e))

    def _run(self, h: Tensor, e: Tensor) -> Tensor:
        h = self.first(h)
        skips = []
        for part in self.down:
            if isinstance(part, nn.Conv2d):
                h = part(h)
                continue
            for block in part.children():
                h = block(h, e)
                skips.append(h)
        h = self.middle(h, e)
        for part in self.up:
            for block in part.children():
                skip = skips.pop()
                if h.shape[2] != skip.shape[2]:
                    h = functional.interpolate(h, scale_factor=2.0)
                h = block(torch.cat([h, skip], 1), e)
        return self.last(functional.silu(self.norm(h)))


class Shrink(_Framed):
    """Maps images and a condition to vectors (B, outer), or with `outer=0` to the last level's features.

    Args:
        shape: (channels, height, width).
        conditions: length of the condition.
        width: channels of the first level; each further one has twice as many.
        blocks: residual blocks per level.
        outer: length of the vectors.
        norm: whether groups of channels are normalised.
    """

    def __init__(
        self, shape: tuple[int, ...], conditions: int, width: int, blocks: int, outer: int, norm: bool = True
    ) -> None:
        super().__init__(shape)
        self.first = nn.Conv2d(self.inner, width, 3, padding=1)
        self.parts = nn.ModuleList()
        for i in range(self.levels):
            w = width << i
            self.parts.extend(Block(w, w, conditions, norm) for _ in range(max(1, blocks)))
            if i < self.levels - 1:
                self.parts.append(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1))
        self.width = w
        self.norm = nn.GroupNorm(8, w) if norm else nn.Identity()
        self.last = nn.Linear(w * self.rows * self.columns, outer) if outer else None
        self.straight = nn.Linear(math.prod(shape), outer, bias=False) if outer else None  # learns what is linear soon
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """The map; the result is float32."""
        with fast(x.device):
            h = self.first(self.cut(x))
            for part in self.parts:
                h = part(h) if isinstance(part, nn.Conv2d) else part(h, e)
            h = functional.silu(self.norm(h))
            if self.last is None or self.straight is None:
                return h.float()
            return (self.last(h.flatten(1)) + self.straight(x.flatten(1))).float()


class Grow(_Framed):
    """Maps vectors (B, inner) and a condition to flattened images; with `inner=0`, features of the last level.

    Args:
        inner: length of the vectors.
        conditions: length of the condition.
        shape: (channels, height, width).
        width: channels of the first level; each further one has twice as many.
        blocks: residual blocks per level.
    """

    def __init__(self, inner: int, conditions: int, shape: tuple[int, ...], width: int, blocks: int) -> None:
        super().__init__(shape)
        self.width = width << (self.levels - 1)
        self.first = nn.Linear(inner, self.width * self.rows * self.columns) if inner else None
        self.straight = nn.Linear(inner, math.prod(shape), bias=False) if inner else None  # learns what is linear soon
        self.parts = nn.ModuleList()
        for i in reversed(range(self.levels)):
            w = width << i
            self.parts.extend(Block(w, w, conditions) for _ in range(max(1, blocks)))
            if i:
                self.parts.append(nn.Conv2d(w, w // 2, 1))
        self.norm = nn.GroupNorm(8, width)
        self.last = nn.Conv2d(width, self.inner, 3, padding=1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, e: Tensor) -> Tensor:
        """The map; the result is float32, (B, channels * height * width)."""
        with fast(z.device):
            straight = self.straight(z).float() if self.straight is not None else 0.0
            if self.first is not None:
                z = self.first(z).reshape(len(z), self.width, self.rows, self.columns)
            h = channels_last(z)
            for part in self.parts:
                h = functional.interpolate(part(h), scale_factor=2.0) if isinstance(part, nn.Conv2d) else part(h, e)
            return self.join(self.last(functional.silu(self.norm(h)))).flatten(1) + straight


class Block(nn.Module):
    """Two convolutions with a residual, scaled and shifted by the condition between them.

    `norm=False` is for critics, whose gradient with respect to the image is penalised.
    """

    def __init__(self, inner: int, outer: int, conditions: int, norm: bool = True) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inner, norm), nn.Conv2d(inner, outer, 3, padding=1)
        self.norm2, self.conv2 = _norm(outer, norm), nn.Conv2d(outer, outer, 3, padding=1)
        self.condition = nn.Linear(conditions, 2 * outer)
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """(B, inner, h, w) and (B, conditions) to (B, outer, h, w)."""
        h = self.conv1(functional.silu(self.norm1(x)))
        scale, shift = self.condition(e)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(functional.silu(self.norm2(h) * (1 + scale) + shift))
        return self.skip(x) + h


def _norm(channels: int, wanted: bool) -> nn.Module:
    return nn.GroupNorm(8, channels) if wanted else nn.Identity()
