"""Variational autoencoder: log p(x) ≥ E_q(z|x)[log p(x | z)] − β KL(q(z | x) ‖ N(0, I)).

Source: Kingma and Welling, Auto-encoding variational Bayes, 2014. After the training a mixture of Gaussians is
fitted to the latent vectors of the records, and takes the place of the prior (synthgen/latent.py).
"""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from synthgen.latent import LatentModel

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
DRAWS = 8  # of the latent vector, that a bound is the mean of


class VAE(LatentModel):
    """Variational autoencoder with a mixture of Gaussians on its latents, which take a record apart and blend two."""

    class Config(LatentModel.Config):
        beta: float = Field(0.3, ge=0, le=100, description="weight of the prior against the reconstruction")

    outputs: ClassVar[int] = 2  # a mean and a deviation

    config: Config

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        mean, deviation = self.posterior(x, c)
        z = mean + deviation * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + deviation.square() - 1).sum(1) - deviation.log().sum(1)
        return self.head.loss(self.decode(z, c), x) + self.config.beta * divergence

    def posterior(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, latent) of the latent vectors that records may have come from."""
        mean, spread = self.encoder(self.space.embed(x), self.condition(c)).chunk(2, dim=1)
        return mean, functional.softplus(spread + 0.5) + 1e-4

    def to_latent(self, x: Tensor, c: Tensor) -> Tensor:
        """Records to the means of their latent vectors, (B, latent)."""
        return self.posterior(x, c)[0]

    def spread_latent(self, x: Tensor, c: Tensor) -> Tensor:
        """Records to latent vectors drawn from their posteriors, (B, latent)."""
        mean, deviation = self.posterior(x, c)
        return mean + deviation * torch.randn_like(mean)

    def bound(self, x: Tensor, c: Tensor) -> Tensor:
        """Lower bound of the log-density of records, (B,): the mean of a few draws of the latent vector."""
        mean, deviation = self.posterior(x, c)
        total = x.new_zeros(len(x))
        for _ in range(DRAWS):
            noise = torch.randn_like(mean)
            z = mean + deviation * noise
            posterior = -(noise.square() / 2 + deviation.log() + HALF_LOG_TAU).sum(1)
            total = total + self.head.log_prob(self.decode(z, c), x) + self.density.log_prob(z, c) - posterior
        return total / DRAWS
