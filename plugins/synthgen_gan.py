"""Generative adversarial network: a critic D tells real records from drawn ones, a generator G learns to please it.

The critic's loss is relativistic, softplus(D(G(z)) − D(x)), with zero-centred penalties on its gradients at real and
drawn records (Huang et al., The GAN is dead; long live the GAN! A modern baseline GAN, 2024). The generator's
is −D(G(z)): it needs no real record, and under the relativistic critic only differences of D mean anything.
Labels are drawn by straight-through Gumbel softmax.
"""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from synthgen import Generator, Objective, Recipe, Records, Space, Training
from synthgen.dp.records import PrivateRecords
from synthgen.nn.backbones import Condition, decoder, encoder
from synthgen.nn.batches import in_batches
from synthgen.nn.correction import correction
from synthgen.nn.coverage import coverage
from synthgen.nn.heads import Head
from synthgen.nn.precision import apart

SOME = 20_000  # records that the drawn ones are compared with
FEW = 0.3  # share of real neighbourhoods with drawn records in them, below which a collapse is said
AT_ONCE = 1024  # records drawn together
STEP = 0.01  # aside, by which the critic's slope is found


class _Critic(torch.nn.Module):
    """A number for each embedded record (B, width), larger for those that look real."""

    def __init__(self, space: Space, context: Space, width: int, depth: int) -> None:
        super().__init__()
        size = 4 * width
        self.condition = Condition(context.width, size)
        self.features = encoder(space, size, size, width, depth, norm=False)
        self.last = torch.nn.Linear(size, 1)

    def forward(self, y: Tensor, c: Tensor) -> Tensor:
        e = self.condition(c)
        h = functional.leaky_relu(self.features(y, e), 0.2)
        return self.last(h)[:, 0] + (h * e).sum(1) / math.sqrt(h.shape[1])


class _Maker(torch.nn.Module):
    """Noise (B, latent) to a head's outputs (B, width)."""

    def __init__(self, space: Space, context: Space, latent: int, width: int, depth: int) -> None:
        super().__init__()
        self.condition = Condition(context.width, 4 * width)
        self.decoder = decoder(latent, 4 * width, space, width, depth)
        self.head = Head(space, noisy=False)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return self.decoder(z, self.condition(c))


class GAN(Generator):
    """Generative adversarial network with a penalised relativistic critic."""

    class Config(Generator.Config):
        latent: int = Field(64, ge=1, le=1024, description="numbers of noise that a record is made from")
        width: int = Field(32, ge=8, le=512, multiple_of=8, description="channels; a table's network has 8 times that")
        depth: int = Field(2, ge=0, le=16, description="residual blocks of generator and critic")
        penalty: float = Field(0.2, ge=0, le=1000, description="weight of the critic's squared gradients")
        temperature: float = Field(0.5, gt=0, le=10, description="of the relaxed labels")
        rounds: int = Field(500, ge=0, le=10_000, description="of the correction of drawn rows; 0: none")
        candidates: int = Field(16, ge=1, le=64, description="rows drawn for each one that is kept")

    recipe: ClassVar[Recipe] = Recipe(epochs=90, batch_size=512, learning_rate=1e-3, weight_decay=0, momentum=0)
    image_recipe: ClassVar[Recipe] = Recipe(
        steps=8000, batch_size=64, learning_rate=5e-4, weight_decay=0, momentum=0, ema=0.998
    )

    config: Config

    def __init__(self, space: Space, context: Space, config: Config) -> None:
        super().__init__(space, context, config)
        self.correction = correction(space, context, config.rounds, config.candidates)
        self.critic = _Critic(space, context, config.width, config.depth)
        self.maker = _Maker(space, context, config.latent, config.width, config.depth)

    def objectives(self) -> list[Objective]:
        """The critic's, which sees the records, and the generator's, which does not."""
        return [Objective(self.critic, self.loss), Objective(self.maker, self.pleasing, sees_data=False)]

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        """How badly the critic tells each record from one drawn for the same context, (B,)."""
        real, drawn = self.space.embed(x), self._relaxed(len(x), c).detach()
        steep = self._steep_about if apart() else self._steep
        (of_real, slope), (of_drawn, other) = steep(real, c), steep(drawn, c)
        return functional.softplus(of_drawn - of_real) + 0.5 * self.config.penalty * (slope + other)

    def _steep(self, y: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's numbers (B,) of embedded records, and their squared gradients (B,)."""
        y = y.detach().requires_grad_()
        score = self.critic(y, c)
        return score, torch.autograd.grad(score.sum(), y, create_graph=True)[0].square().sum(1)

    def _steep_about(self, y: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The same by a step aside, without a gradient of a gradient: E[(v · ∇D)²] = ‖∇D‖² for normal v."""
        step = STEP * (1 + y.abs().amax(1))  # that of a large record would be lost in rounding
        score, beside = self.critic(y, c), self.critic(y + step[:, None] * torch.randn_like(y), c)
        return score, ((beside - score) / step).square()

    def pleasing(self, n: int, c: Tensor) -> Tensor:
        """How little n drawn records please the critic, (n,)."""
        return -self.critic(self._relaxed(n, c), c)

    def _relaxed(self, n: int, c: Tensor) -> Tensor:
        """Embedded records (n, width) with a gradient."""
        z = torch.randn(n, self.config.latent, device=c.device)
        return self.maker.head.relax(self.maker(z, c), self.config.temperature)

    def fit(self, records: Records | PrivateRecords, training: Training) -> None:
        training.train(self.objectives(), records, until=0.9)
        if isinstance(records, PrivateRecords):  # what is known of columns is paid for; more is not looked at
            training.once(self, lambda: self._calibrate(*records.known))
        else:
            training.once(self, lambda: self._settle(records, training))

    def _settle(self, records: Records, training: Training) -> None:
        """Learn what is drawn wrong, and say where little of the data is drawn."""
        x, c = records.tensor()
        rows = torch.randperm(len(x))[:SOME]  # images come class by class
        x, c = x[rows].to(training.device), c[rows].to(training.device)
        self._calibrate(x, c)
        self.correction.fit(self._draw, x, c, training)
        x, c = x[:1000], c[:1000]
        if len(x) >= 100 and (share := coverage(self.space.embed(x), self.space.embed(self.sample(len(x), c)))) < FEW:
            training.note(
                f"the drawn records are near {share:.0%} of the real ones only: the GAN has not learned them all (mode "
                "collapse, or too little time); try to train longer, a larger -s penalty, or another generator"
            )

    def _calibrate(self, x: Tensor, c: Tensor) -> None:
        """Make what is drawn for contexts agree with records column by column."""
        self.maker.head.calibrate(lambda c: in_batches(self._outputs, AT_ONCE, c), x, c)

    @torch.no_grad()
    def _outputs(self, c: Tensor) -> Tensor:
        """The head's outputs (n, width) for fresh noise."""
        return self.maker(torch.randn(len(c), self.config.latent, device=c.device), c)

    def sample(self, n: int, c: Tensor) -> Tensor:
        return self.correction.sample(self._draw, c)

    def _draw(self, c: Tensor) -> Tensor:
        return in_batches(lambda c: self.maker.head.draw(self._outputs(c)), AT_ONCE, c)

    def validate(self) -> None:
        self.correction.validate()
