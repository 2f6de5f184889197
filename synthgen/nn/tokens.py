"""Tokens: records as a row of codes. A table's columns are codes already; images are turned into some and back.

Source of the quantiser: Mentzer et al., Finite scalar quantization: VQ-VAE made simple, 2024. An encoder makes a
few numbers for each patch of the image, each is rounded to one of a few levels, and a decoder makes the image of
them; the gradient passes the rounding unchanged. No codebook can collapse, for there is none.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.nn.batches import in_batches
from synthgen.nn.convolutions import Grow, Shrink
from synthgen.nn.heads import Head
from synthgen.nn.masked import Masked
from synthgen.nn.transformer import HEAD, Transformer
from synthgen.space import Space

AT_ONCE = 1024  # images encoded or decoded together


class Columns(nn.Module):
    """The identity, for records that are codes already."""

    learns = False

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    def encode(self, x: Tensor) -> Tensor:
        """Records (B, columns) to codes of the same shape."""
        return x

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, columns) to records."""
        return codes

    def known(self, cells: Tensor) -> Tensor:
        """Which codes are known where cells (B, columns) of the records are."""
        return cells

    def network(self, context: int, width: int, depth: int, embedding: int) -> Masked:
        """What learns the probabilities of codes: a network for each column."""
        return Masked(self.space, context, width, depth, embedding)

    def calibrate(self, x: Tensor) -> None:
        """Nothing is to be put right."""

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        """Nothing is to be learned: zeros (B,)."""
        return x.new_zeros(len(x))


class Patches(nn.Module):
    """Images to a code for each patch and back, learned by reconstruction.

    Args:
        space: of the images.
        levels: of the numbers that make up a code, such as (8, 5, 5, 5) for 1000 codes.
        width: channels of encoder and decoder.
    """

    learns = True

    most: Tensor

    def __init__(self, space: Space, levels: Sequence[int], width: int) -> None:
        super().__init__()
        self.images, self.levels = space, tuple(levels)
        self.shrink = Shrink(space.shape, 1, width, 1, 0)
        self.inner = nn.Conv2d(self.shrink.width, len(levels), 1)
        self.outer = nn.Conv2d(len(levels), self.shrink.width, 1)
        self.grow = Grow(0, 1, space.shape, width, 2)
        self.head = Head(space, "ssim")
        patches = self.shrink.rows * self.shrink.columns
        self.space = Space((patches,), (math.prod(levels),) * patches, (False,) * patches)
        self.register_buffer("most", torch.tensor(levels).float()[:, None, None] - 1, persistent=False)

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        """How badly images are reconstructed, (B,)."""
        return self.head.loss(self._image(self._quantised(x)), x)

    def network(self, context: int, width: int, depth: int, embedding: int) -> Transformer:
        """What learns the probabilities of codes: a network that all patches share."""
        whole = HEAD * math.ceil(2 * width / HEAD)
        return Transformer(len(self.space.sizes), _features(self.levels), context, whole, depth + 1)

    def calibrate(self, x: Tensor) -> None:
        """Give reconstructed images the texture of real ones, after the training."""
        self.head.calibrate(lambda some: in_batches(lambda x: self._image(self._quantised(x)), AT_ONCE, some), x, x)

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, channels, height, width) to codes (B, patches)."""
        return in_batches(self._encode, AT_ONCE, x)

    @torch.no_grad()
    def _encode(self, x: Tensor) -> Tensor:
        level = ((self._quantised(x) + 1) / 2 * self.most).round().flatten(2)  # (B, numbers, patches)
        code = torch.zeros_like(level[:, 0])
        for i, count in enumerate(self.levels):
            code = code * count + level[:, i]
        return code

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, patches) to images."""
        return in_batches(self._decode, AT_ONCE, codes)

    @torch.no_grad()
    def _decode(self, codes: Tensor) -> Tensor:
        rest, levels = codes.long(), []
        for count in reversed(self.levels):
            levels.append(rest % count)
            rest = rest // count
        shape = (len(codes), -1, self.shrink.rows, self.shrink.columns)
        numbers = torch.stack(levels[::-1], 1).float().reshape(shape) / self.most * 2 - 1
        return self.head.mode(self._image(numbers))

    def known(self, cells: Tensor) -> Tensor:
        """Which patches (B, patches) are known: those all of whose pixels (B, channels, height, width) are."""
        return self.shrink.whole(cells)

    def _quantised(self, x: Tensor) -> Tensor:
        """Numbers (B, numbers, rows, columns) in [-1, 1] on their levels."""
        free = torch.tanh(self.inner(self.shrink(x, x.new_ones(len(x), 1))))
        rounded = ((free + 1) / 2 * self.most).round() / self.most * 2 - 1
        return free + (rounded - free).detach()

    def _image(self, numbers: Tensor) -> Tensor:
        return self.grow(self.outer(numbers), numbers.new_ones(len(numbers), 1))


def _features(levels: Sequence[int]) -> Tensor:
    """What codes have in common, (codes, features) of 0 and 1: each digit has a place, and each pair of digits."""
    digits = torch.cartesian_prod(*map(torch.arange, levels)).reshape(-1, len(levels)).T
    alone = [functional.one_hot(d, k) for d, k in zip(digits, levels, strict=True)]
    pairs = [
        functional.one_hot(digits[i] * levels[j] + digits[j], levels[i] * levels[j])
        for i, j in itertools.combinations(range(len(levels)), 2)
    ]
    return torch.cat(alone + pairs, 1).float()


def tokens(space: Space, levels: Sequence[int], width: int) -> Columns | Patches:
    """What turns records of a space into codes and back."""
    return Patches(space, levels, width) if len(space.shape) == 3 else Columns(space)
