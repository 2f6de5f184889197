"""Diffusion: records are drawn by removing noise step by step, x(σ) = x + σ ε, dx/dσ = (x − D(x, σ)) / σ.

Source: Karras et al., Elucidating the design space of diffusion-based generative models, 2022; second-order drawing
by Lu et al., DPM-Solver++, 2022. Labels are diffused as one-hot vectors and denoised to probabilities (Dieleman et al.,
Continuous diffusion for categorical data, 2022): by Bayes' rule their log-odds are x / σ² plus what the other columns
say, which is all that the network has to learn. Drawing starts from an outline where there is one (nn/density.py).
"""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from synthgen import Generator, Recipe, Records, Space, Training
from synthgen.dp.records import PrivateRecords
from synthgen.nn.backbones import Condition, denoiser
from synthgen.nn.batches import in_batches
from synthgen.nn.correction import correction
from synthgen.nn.density import outline
from synthgen.nn.precision import apart
from synthgen.nn.texture import texture

SPREAD = 0.5  # deviation of the numbers of a record, as they are diffused
LIMIT = 5 * SPREAD  # no number of a record is larger, as it is diffused; nor is a pixel or a label
LEAST = 0.02  # noise at which drawing ends
MIDDLE, BREADTH = -1.0, 1.2  # mean and deviation of the log of the noise in training
BEYOND = 3  # times the level at which drawing starts, to which the training reaches: no level is at its edge
DETAIL = 1.04  # of the noise added anew: networks take away a little too much, and detail with it
AT_ONCE = 1024  # records drawn together
SOME = 100  # records drawn between two looks at the clock


class Diffusion(Generator):
    """Diffusion over numbers and labels together, or pixels. Fills gaps by guided drawing."""

    class Config(Generator.Config):
        width: int = Field(64, ge=8, le=1024, multiple_of=8, description="channels; a table's network has 8 times that")
        depth: int = Field(3, ge=1, le=32, description="residual blocks; of images one for two on each level")
        draws: int = Field(24, ge=2, le=1000, description="steps of drawing")
        churn: float | None = Field(
            None, ge=0, le=10, description="share of the noise that each step adds anew; by default .5 for images"
        )
        rounds: int = Field(500, ge=0, le=10_000, description="of the correction of drawn rows; 0: none")
        candidates: int = Field(8, ge=1, le=64, description="rows drawn for each one that is kept")
        repeats: int = Field(
            10, ge=1, le=1000, description="of each step when gaps are filled, so that all fits together"
        )
        guidance: float | None = Field(
            None,
            ge=0,
            le=20,
            description="above 1: more typical of what is given; by default 1.5 for images, 1 for rows",
        )

    codes: ClassVar[int] = 200
    reals: ClassVar[bool] = True
    recipe: ClassVar[Recipe] = Recipe(epochs=140, batch_size=512, learning_rate=1e-3)
    image_recipe: ClassVar[Recipe] = Recipe(steps=9500, batch_size=32, learning_rate=2e-3)

    config: Config
    coded: Tensor
    scale: Tensor

    def __init__(self, space: Space, context: Space, config: Config) -> None:
        super().__init__(space, context, config)
        size = 4 * config.width
        self.condition = Condition(context.width, size, drop=0.1, levels=True)
        self.denoiser = denoiser(space, size, config.width, config.depth)
        self.outline, self.most, churn, guidance = outline(space, context)
        self.churn = churn if config.churn is None else config.churn
        self.guidance = guidance if config.guidance is None else config.guidance
        self.texture, self.enough = texture(space)
        self.correction = correction(space, context, config.rounds, config.candidates)
        coded = torch.tensor(space.coded)
        self.register_buffer("coded", coded, persistent=False)  # numbers of the embedded record
        self.register_buffer("scale", torch.where(coded, 1.0, SPREAD / space.deviation), persistent=False)

    def fit(self, records: Records | PrivateRecords, training: Training) -> None:
        x, c = records.known if isinstance(records, PrivateRecords) else records.tensor()
        training.once(self, lambda: self.outline.fit(x, c, training))
        training.train(self.objectives(), records, until=0.9)
        if isinstance(records, PrivateRecords):  # nothing pays for another look
            return
        training.once(self, lambda: self._settle(records, training))

    def _settle(self, records: Records, training: Training) -> None:
        """Learn what is drawn wrong."""
        x, c = records.to(training.device).tensor()
        self._touch_up(x, c, training)
        self.correction.fit(self._sample, x, c, training)

    def _touch_up(self, x: Tensor, c: Tensor, training: Training) -> None:
        """Learn what texture drawn records lack, or have too much of: little training leaves noise on them."""
        rows = torch.randperm(len(x), device=x.device)[: self.enough]
        drawn = []
        for part in torch.split(rows, SOME) if self.enough else ():
            training.checkpoint(dict)
            if training.should_stop():
                break
            drawn.append(self._sample(c[part]))
        if drawn:
            self.texture.fit(torch.cat(drawn), x[rows])

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        return self._wrong(x, c, self._levels(len(x), x.device))

    def _levels(self, n: int, device: torch.device) -> Tensor:
        """Noise levels (n,), log-normal up to a little above the outline's.

        They are spread evenly over the batch, but where records are kept apart: its size would show in each.
        """
        top = torch.special.ndtr(torch.tensor((math.log(BEYOND * self.most) - MIDDLE) / BREADTH))
        share = (torch.rand(n) if apart() else (torch.randperm(n) + torch.rand(n)) / n) * top
        return torch.exp(MIDDLE + BREADTH * torch.special.ndtri(share.clamp(1e-4, 1 - 1e-4))).to(device)

    def _wrong(self, x: Tensor, c: Tensor, noise: Tensor) -> Tensor:
        """How badly records (B, *shape) are denoised at levels (B,); (B,)."""
        clean, s = self._embed(x), noise[:, None]
        noisy = clean + s * torch.randn_like(clean)
        out = self._network(noisy, noise, c)
        total = ((out - (clean - _kept(s) * noisy) / _added(s)).square() * ~self.coded).sum(1)
        for j, block in self.space.blocks(out + noisy / s.square()):
            total = total + functional.cross_entropy(block, x[:, j].long(), reduction="none")
        return total / math.prod(self.space.shape)

    def _embed(self, x: Tensor) -> Tensor:
        return self.space.embed(x) * self.scale

    def _network(self, noisy: Tensor, noise: Tensor, c: Tensor, guided: bool = True) -> Tensor:
        """The network's output (B, width) for noisy embedded records (B, width)."""
        scaled = noisy / (noise[:, None].square() + SPREAD**2).sqrt()
        return self.denoiser(scaled, self.condition(c, noise.log(), guided)).flatten(1)

    def denoise(self, noisy: Tensor, noise: Tensor, c: Tensor) -> Tensor:
        """The mean of embedded records (B, width) given noisy ones: label probabilities, and numbers."""
        s = noise[:, None]
        out = self._network(noisy, noise, c)
        if self.guidance != 1 and self.context.width:
            free = self._network(noisy, noise, c, guided=False)
            out = free + self.guidance * (out - free)
        mean = (_kept(s) * noisy + _added(s) * out).clamp(-LIMIT, LIMIT)
        for j, block in self.space.blocks(out + noisy / s.square()):
            mean[:, self.space.columns(j)] = block.softmax(1)
        return mean

    def sample(self, n: int, c: Tensor) -> Tensor:
        return self.correction.sample(self._sample, c)

    def _sample(self, c: Tensor) -> Tensor:
        x = torch.zeros(len(c), *self.space.shape, device=c.device)
        return self.complete(x, torch.zeros(x.shape, dtype=torch.bool, device=c.device), c)

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        """Draw the cells or pixels that are not known, guided by those that are.

        At each level, what is known is put in with fresh noise of that level, so that the rest is denoised to
        fit it, several times (Lugmayr et al., RePaint, 2022): close to the conditional, not exactly it.
        """
        return in_batches(self._draw, AT_ONCE, x, known, c)

    def _draw(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        held, truth = self.space.spread(known), self._embed(x)
        levels = self._steps().to(c.device)
        y = self.outline.complete(x, known, c).flatten(1) * self.scale
        y = y + levels[0] * torch.randn_like(y)
        given = bool(held.any())
        # repeating a level adds noise anew as well
        repeats, churn = (self.config.repeats, 0.0) if given else (1, self.churn)
        before: Tensor | None = None
        for k, level in enumerate(levels):
            for left in reversed(range(repeats)):
                more = torch.minimum(level * (1 + churn), levels[0])
                if churn:  # noise is added and removed again, which forgets what was drawn wrong before
                    y = y + DETAIL * _between(level, more) * torch.randn_like(y)
                if given:
                    y = torch.where(held, truth + more * torch.randn_like(y), y)
                mean = torch.where(held, truth, self.denoise(y, more.expand(len(y)), c))
                if k + 1 == len(levels):
                    break
                ahead = mean
                if before is not None and churn == 0 and repeats == 1:
                    # second order in log σ (DPM-Solver++ 2M): this mean and the last are of one path
                    ahead = mean + 0.5 * (level / levels[k + 1]).log() / (levels[k - 1] / level).log() * (mean - before)
                y = torch.lerp(ahead, y, levels[k + 1] / more)
                if left:  # back to this level
                    y = y + _between(levels[k + 1], level) * torch.randn_like(y)
            before = mean
        return torch.where(known, x, self.texture(self.space.collapse(mean / self.scale)))

    def _steps(self) -> Tensor:
        """The noise levels of drawing, from the outline's to the least."""
        ends = torch.tensor([self.most, LEAST]) ** (1 / 7)
        return torch.lerp(ends[0], ends[1], torch.linspace(0, 1, self.config.draws)) ** 7

    def reconstruction(self, x: Tensor, c: Tensor) -> Tensor:
        """How badly records are denoised, (B,), on average over noise levels."""
        return torch.stack([self._wrong(x, c, self._levels(len(x), x.device)) for _ in range(8)]).mean(0)

    def validate(self) -> None:
        self.outline.validate()
        self.correction.validate()


def _between(less: Tensor, more: Tensor) -> Tensor:
    """Deviation of the noise that leads from one level to a higher one."""
    return (more.square() - less.square()).clamp(min=0).sqrt()


def _kept(noise: Tensor) -> Tensor:
    """How much of a noisy number is kept: all of it where there is no noise."""
    return SPREAD**2 / (noise.square() + SPREAD**2)


def _added(noise: Tensor) -> Tensor:
    """How much of the network's output, which has deviation 1, is added to it."""
    return noise * SPREAD / (noise.square() + SPREAD**2).sqrt()
