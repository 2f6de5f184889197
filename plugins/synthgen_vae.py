"""Variational autoencoder: log p(x) ≥ E_q(z|x)[log p(x | z)] − β KL(q(z | x) ‖ N(0, I)).

Source: Kingma and Welling, Auto-encoding variational Bayes, 2014. After the training a mixture of Gaussians is
fitted to the codes of the records and takes the place of the prior, which mends the gap between the prior and
where the encoder puts the data (Ghosh et al., From variational to deterministic autoencoders, 2020).
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from synthgen import Generator, Recipe, Records, Space, Training
from synthgen.nn.backbones import Condition, decoder, encoder, latent_size
from synthgen.nn.batches import in_batches
from synthgen.nn.correction import correction
from synthgen.nn.density import latent_density
from synthgen.nn.heads import Head

AT_ONCE = 1024  # records encoded or decoded together
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class VAE(Generator):
    """Variational autoencoder with a mixture of Gaussians on its latents, which take a record apart and blend two."""

    class Config(Generator.Config):
        latent: int = Field(0, ge=0, le=1024, description="numbers of a latent vector; 0: 24 for rows, 64 for images")
        width: int = Field(32, ge=8, le=512, multiple_of=8, description="channels; a table's network has 8 times that")
        depth: int = Field(2, ge=0, le=16, description="residual blocks of encoder and decoder")
        beta: float = Field(0.3, ge=0, le=100, description="weight of the prior against the reconstruction")
        components: int = Field(
            0, ge=0, le=20_000, description="Gaussians on the latents of each class; 0: one for 70 records"
        )
        rounds: int = Field(300, ge=0, le=10_000, description="of the correction of drawn rows; 0: none")
        candidates: int = Field(8, ge=1, le=64, description="rows drawn for each one that is kept")
        reconstruction: Literal["likelihood", "ssim"] = Field("likelihood", description="what images are compared by")

    codes: ClassVar[int] = 200
    recipe: ClassVar[Recipe] = Recipe(epochs=40, batch_size=512, learning_rate=2e-3)
    image_recipe: ClassVar[Recipe] = Recipe(steps=3000, batch_size=64, learning_rate=2e-3)
    private: ClassVar[bool] = False

    config: Config

    def __init__(self, space: Space, context: Space, config: Config) -> None:
        super().__init__(space, context, config)
        size, latent = 4 * config.width, config.latent or latent_size(space)
        self.condition = Condition(context.width, size)
        self.encoder = encoder(space, size, 2 * latent, config.width, config.depth)
        self.decoder = decoder(latent, size, space, config.width, config.depth)
        self.head = Head(space, config.reconstruction)
        self.correction = correction(space, context)
        self.density = latent_density(latent, context)

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        mean, deviation = self.posterior(x, c)
        z = mean + deviation * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + deviation.square() - 1).sum(1) - deviation.log().sum(1)
        return self.head.loss(self.decoder(z, self.condition(c)), x) + self.config.beta * divergence

    def fit(self, records: Records, training: Training) -> None:
        training.train(self.objectives(), records, until=0.9)
        x, c = records.to(training.device).tensor()
        z = in_batches(self._draw_latent, AT_ONCE, x, c)
        self.density.fit(z, c, training, self.config.components)
        self.head.calibrate(self._drawn(c), x)
        self.correction.fit(self._draw, x, c, self.config.rounds, training)

    def posterior(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, latent) of the latent vectors that records may have come from."""
        mean, spread = self.encoder(self.space.embed(x), self.condition(c)).chunk(2, dim=1)
        return mean, torch.nn.functional.softplus(spread + 0.5) + 1e-4

    @torch.no_grad()
    def _draw_latent(self, x: Tensor, c: Tensor) -> Tensor:
        mean, deviation = self.posterior(x, c)
        return mean + deviation * torch.randn_like(mean)

    def sample(self, n: int, c: Tensor) -> Tensor:
        return self.correction.sample(self._draw, c, self.config.candidates)

    def _draw(self, c: Tensor) -> Tensor:
        return in_batches(self.head.draw, AT_ONCE, self._drawn(c))

    def _drawn(self, c: Tensor) -> Tensor:
        """Outputs for drawn latent vectors."""
        return in_batches(self._output, AT_ONCE, self.density.sample(c), c)

    @torch.no_grad()
    def _output(self, z: Tensor, c: Tensor) -> Tensor:
        return self.decoder(z, self.condition(c))

    def to_latent(self, x: Tensor, c: Tensor) -> Tensor:
        """Records to the means of their latent vectors, (B, latent)."""
        return self.posterior(x, c)[0]

    def from_latent(self, z: Tensor, c: Tensor) -> Tensor:
        """Latent vectors to the likeliest records, (B, *shape)."""
        return self.head.mode(self.decoder(z, self.condition(c)))

    def bound(self, x: Tensor, c: Tensor) -> Tensor:
        """Lower bound of the log-density of records, (B,): the mean of a few draws of the latent vector."""
        mean, deviation = self.posterior(x, c)
        draws = []
        for _ in range(8):
            z = mean + deviation * torch.randn_like(mean)
            posterior = -(((z - mean) / deviation).square() / 2 + deviation.log() + HALF_LOG_TAU).sum(1)
            likelihood = self.head.log_prob(self.decoder(z, self.condition(c)), x)
            draws.append(likelihood + self.density.log_prob(z, c) - posterior)
        return torch.stack(draws).mean(0)

    def validate(self) -> None:
        self.density.validate()
        self.correction.validate()
