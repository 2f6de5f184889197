"""Autoencoder: x ≈ decode(z + noise), z = encode(x), and a density of z fitted afterwards, from which it draws.

Source: Ghosh et al., From variational to deterministic autoencoders, 2020. A pull towards 0 and a little noise on the
latent vectors keep the decoder smooth. Their density is a mixture of Gaussians (synthgen/latent.py).
"""

import torch
from pydantic import Field
from torch import Tensor

from synthgen.latent import LatentModel


class Autoencoder(LatentModel):
    """Autoencoder whose latents are drawn from a mixture of Gaussians. Reconstruction tells strange records."""

    class Config(LatentModel.Config):
        noise: float = Field(0.1, ge=0, le=10, description="deviation of the noise on latents in training")

    config: Config

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        z = self.to_latent(x, c)
        y = self.decode(z + self.config.noise * torch.randn_like(z), c)
        # without a pull towards 0, latents would outgrow the noise
        return self.head.loss(y, x) + 0.5 * z.square().sum(1)

    def to_latent(self, x: Tensor, c: Tensor) -> Tensor:
        """Records to latent vectors, (B, latent)."""
        return self.encoder(self.space.embed(x), self.condition(c))

    def spread_latent(self, x: Tensor, c: Tensor) -> Tensor:
        """Records to latent vectors with the noise of the training, (B, latent)."""
        z = self.to_latent(x, c)
        return z + self.config.noise * torch.randn_like(z)

    def reconstruction(self, x: Tensor, c: Tensor) -> Tensor:
        """How badly records are reconstructed, (B,): minus their log-density given their own latent vector."""
        return -self.head.log_prob(self.decode(self.to_latent(x, c), c), x)
