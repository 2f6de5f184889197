"""Autoencoder: x ≈ decode(z + noise), z = encode(x), and a density of z fitted afterwards, from which it draws.

Source: Ghosh et al., From variational to deterministic autoencoders, 2020. The latent vectors have mean 0 and
variance 1 on average; a little noise on them keeps the decoder smooth. Their density is a mixture of Gaussians.
"""

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


class Autoencoder(Generator):
    """Autoencoder whose latents are drawn from a mixture of Gaussians. Reconstruction tells strange records."""

    class Config(Generator.Config):
        latent: int = Field(0, ge=0, le=1024, description="numbers of a latent vector; 0: 24 for rows, 64 for images")
        width: int = Field(32, ge=8, le=512, multiple_of=8, description="channels; a table's network has 8 times that")
        depth: int = Field(2, ge=0, le=16, description="residual blocks of encoder and decoder")
        noise: float = Field(0.1, ge=0, le=10, description="deviation of the noise on latents in training")
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
        self.encoder = encoder(space, size, latent, config.width, config.depth)
        self.decoder = decoder(latent, size, space, config.width, config.depth)
        self.head = Head(space, config.reconstruction)
        self.correction = correction(space, context)
        self.density = latent_density(latent, context)

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        z = self.to_latent(x, c)
        y = self.decoder(z + self.config.noise * torch.randn_like(z), self.condition(c))
        # without a pull towards 0, latents would outgrow the noise
        return self.head.loss(y, x) + 0.5 * z.square().sum(1)

    def fit(self, records: Records, training: Training) -> None:
        training.train(self.objectives(), records, until=0.9)
        x, c = records.to(training.device).tensor()
        with torch.no_grad():
            z = in_batches(self.to_latent, AT_ONCE, x, c)
        self.density.fit(z + self.config.noise * torch.randn_like(z), c, training, self.config.components)
        self.head.calibrate(self._drawn(c), x)
        self.correction.fit(self._draw, x, c, self.config.rounds, training)

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
        """Records to latent vectors, (B, latent)."""
        return self.encoder(self.space.embed(x), self.condition(c))

    def from_latent(self, z: Tensor, c: Tensor) -> Tensor:
        """Latent vectors to the likeliest records, (B, *shape)."""
        return self.head.mode(self.decoder(z, self.condition(c)))

    def reconstruction(self, x: Tensor, c: Tensor) -> Tensor:
        """How badly records are reconstructed, (B,): minus their log-density given their own latent vector."""
        return -self.head.log_prob(self.decoder(self.to_latent(x, c), self.condition(c)), x)

    def validate(self) -> None:
        self.density.validate()
        self.correction.validate()
