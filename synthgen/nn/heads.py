"""Head: what a network's output says of a record: label probabilities and the means of numbers.

A record of labels and numbers is independent column by column given the output; numbers (pixels too) are
Gaussian, of a deviation that is learned (Rybkin et al., Simple and effective VAE training with calibrated
decoders, 2021).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.errors import SynthgenError
from synthgen.nn.layers import Shared
from synthgen.nn.precision import apart
from synthgen.nn.similarity import ssim
from synthgen.nn.texture import Texture
from synthgen.nn.tones import Tones
from synthgen.space import Space

ROUNDS = 10  # of calibration
SOME_IMAGES, SOME_ROWS = 2000, 20_000  # records that are enough for calibration
LEAST = 0.02  # deviation of a number


class Head(nn.Module):
    """Maps outputs (B, space.width) to likelihoods, draws and relaxed draws of records (B, *space.shape).

    Args:
        space: of the records.
        by: what images are compared by in the loss: "likelihood", or "ssim" for structural similarity besides.
        noisy: whether numbers are means, to which noise is added; else they are the numbers themselves.

    Raises:
        SynthgenError: tables are to be compared by structural similarity.
    """

    shift: Tensor

    def __init__(self, space: Space, by: str = "likelihood", noisy: bool = True) -> None:
        super().__init__()
        if by == "ssim" and len(space.shape) != 3:
            raise SynthgenError("ssim compares images; rows of a table are compared by likelihood")
        self.space, self.by = space, by
        self.codes = [j for j, k in enumerate(space.sizes) if k]
        self.reals = [j for j, k in enumerate(space.sizes) if not k] if space.sizes else list(range(space.width))
        pixels = len(space.shape) == 3
        self.noisy = noisy
        self.deviation = Shared(torch.zeros((1 if pixels else len(self.reals)) if noisy else 0))
        self.register_buffer("shift", torch.zeros(space.width if self.codes else 0))  # of label scores when drawing
        self.finish = Texture(space.shape[0]) if pixels else Tones(len(self.reals), (-4.0, 4.0))

    def loss(self, y: Tensor, x: Tensor) -> Tensor:
        """What training minimises: minus the log-density, and what else images are compared by; (B,)."""
        unlikely = -self.log_prob(y, x)
        if self.by == "ssim":
            return unlikely + self.space.width * (1 - ssim(y.reshape(x.shape), x))
        return unlikely

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """Log-density (B,) of records under outputs."""
        total = y.new_zeros(len(y))
        blocks, cells = self._blocks(y), x.flatten(1)
        for j in self.codes:
            total = total - functional.cross_entropy(blocks[j], cells[:, j].long(), reduction="none")
        if self.reals:
            log_deviation = self.log_deviation(x if apart() else x[:1])
            wrong = (cells[:, self.reals] - self.means(y)) * torch.exp(-log_deviation)
            total = total - (0.5 * wrong.square() + log_deviation + 0.5 * math.log(2 * math.pi)).sum(1)
        return total

    def log_deviation(self, x: Tensor) -> Tensor:
        """Log of the deviation of numbers, (B, numbers), which is at least that of LEAST."""
        return functional.softplus(self.deviation(x) - math.log(LEAST)) + math.log(LEAST)

    def means(self, y: Tensor) -> Tensor:
        """Means (B, numbers) of the numbers."""
        if not self.codes:
            return y
        return y[:, [self.space.starts[j] for j in self.reals]]

    def mode(self, y: Tensor) -> Tensor:
        """The likeliest records (B, *shape)."""
        x = self.space.collapse(y)
        return x if self.space.sizes else self.finish(x)

    @torch.no_grad()
    def calibrate(self, outputs: Callable[[Tensor], Tensor], x: Tensor, given: Tensor) -> None:
        """Make what is drawn from outputs agree with records, column by column.

        Label scores are shifted by a few rounds of iterative proportional fitting, numbers by their
        quantiles, images by those of their contrasts.

        Args:
            outputs: what is given (n, …) to outputs (n, width).
            x: records (N, *shape), some of which are taken at random: images come class by class.
            given: with each record, (N, …).
        """
        rows = torch.randperm(len(x), device=x.device)[: SOME_ROWS if self.space.sizes else SOME_IMAGES]
        x, y = x[rows], outputs(given[rows])
        if not self.space.sizes:
            self.finish.fit(y.reshape(x.shape), x)
        elif self.reals:
            self.finish.fit(self.draw(y)[:, self.reals], x[:, self.reals])
        for j, block in self.space.blocks(y):
            seen = (x[:, j].long().bincount(minlength=block.shape[1]).float() + 1e-3) / len(x)
            shift = torch.zeros_like(seen)
            for _ in range(ROUNDS):
                shift += (seen / (block + shift).softmax(1).mean(0).clamp(min=1e-9)).log().clamp(-3, 3)
            self.shift[self.space.columns(j)] = shift

    def draw(self, y: Tensor) -> Tensor:
        """Records (B, *shape): labels drawn by their probabilities, numbers with their noise, pixels without it."""
        if not self.space.sizes:
            return self.mode(y)
        columns = []
        for j, block in enumerate(self._blocks(y + self.shift if self.codes else y)):
            if j in self.codes:
                gumbel = -torch.empty_like(block).exponential_().log()
                columns.append((block + gumbel).argmax(1).to(y.dtype))
            else:
                noise = torch.exp(self.log_deviation(y[:1])[:, self.reals.index(j)]) if self.noisy else 0.0
                columns.append(block[:, 0] + noise * torch.randn_like(block[:, 0]))
        x = torch.stack(columns, 1)
        if self.reals:
            x[:, self.reals] = self.finish(x[:, self.reals])
        return x

    def relax(self, y: Tensor, temperature: float) -> Tensor:
        """Embedded records (B, width) with a gradient: labels by straight-through Gumbel softmax, numbers as they are.

        Source: Jang, Gu and Poole, Categorical reparameterization with Gumbel-softmax, 2017.
        """
        if not self.codes:
            return y
        parts = [
            functional.gumbel_softmax(block, temperature, hard=True) if j in self.codes else block
            for j, block in enumerate(self._blocks(y))
        ]
        return torch.cat(parts, 1)

    def _blocks(self, y: Tensor) -> list[Tensor]:
        return list(torch.split(y, list(self.space.widths), dim=1))
