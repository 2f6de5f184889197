"""LatentModel: what families share that decode records from latent vectors whose density is fitted afterwards."""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from synthgen.dp.records import PrivateRecords
from synthgen.generator import Generator
from synthgen.nn.backbones import Condition, decoder, encoder, latent_size
from synthgen.nn.batches import in_batches
from synthgen.nn.correction import correction
from synthgen.nn.density import latent_density
from synthgen.nn.heads import Head
from synthgen.records import Records
from synthgen.space import Space
from synthgen.training import Recipe, Training

AT_ONCE = 1024  # records encoded or decoded together
LATER = 0.1  # of a privacy budget, for the density of latent vectors
LONGEST = 2.0  # latent vectors that count whole under a budget, in deviations of a standard normal


class LatentModel(Generator):
    """An encoder, a decoder, and a mixture of Gaussians on the latent vectors between them, class by class.

    A family defines `loss`, `to_latent` and `spread_latent`; an encoder makes `outputs` numbers for each of a latent
    vector's. The mixture takes the place of a prior, which mends the gap between a prior and where the encoder puts
    the data (Ghosh et al., From variational to deterministic autoencoders, 2020).
    """

    class Config(Generator.Config):
        latent: int = Field(0, ge=0, le=1024, description="numbers of a latent vector; 0: 24 for rows, 64 for images")
        width: int = Field(32, ge=8, le=512, multiple_of=8, description="channels; a table's network has 8 times that")
        depth: int = Field(2, ge=0, le=16, description="residual blocks of encoder and decoder")
        components: int = Field(0, ge=0, le=20_000, description="Gaussians on a class's latents; 0: one for 70 records")
        rounds: int = Field(500, ge=0, le=10_000, description="of the correction of drawn rows; 0: none")
        candidates: int = Field(8, ge=1, le=64, description="rows drawn for each one that is kept")
        reconstruction: Literal["likelihood", "ssim"] = Field("likelihood", description="what images are compared by")

    codes: ClassVar[int] = 200
    recipe: ClassVar[Recipe] = Recipe(epochs=40, batch_size=512, learning_rate=2e-3)
    image_recipe: ClassVar[Recipe] = Recipe(steps=3000, batch_size=64, learning_rate=2e-3)
    outputs: ClassVar[int] = 1  # of the encoder, for each number of a latent vector

    config: Config

    def __init__(self, space: Space, context: Space, config: Config) -> None:
        super().__init__(space, context, config)
        size, self.latent = 4 * config.width, config.latent or latent_size(space)
        self.condition = Condition(context.width, size)
        self.encoder = encoder(space, size, self.outputs * self.latent, config.width, config.depth)
        self.decoder = decoder(self.latent, size, space, config.width, config.depth)
        self.head = Head(space, config.reconstruction)
        self.correction = correction(space, context, config.rounds, config.candidates)
        self.density = latent_density(self.latent, context)

    def to_latent(self, x: Tensor, c: Tensor) -> Tensor:
        """Records to their latent vectors, (B, latent)."""
        raise NotImplementedError

    def spread_latent(self, x: Tensor, c: Tensor) -> Tensor:
        """Records to latent vectors (B, latent) with the noise that the decoder has learned to bear."""
        raise NotImplementedError

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Latent vectors to what the head takes, (B, width)."""
        return self.decoder(z, self.condition(c))

    def from_latent(self, z: Tensor, c: Tensor) -> Tensor:
        """Latent vectors to the likeliest records, (B, *shape)."""
        return self.head.mode(self.decode(z, c))

    def fit(self, records: Records | PrivateRecords, training: Training) -> None:
        if isinstance(records, PrivateRecords):
            self._fit_private(records, training)
            return
        training.train(self.objectives(), records, until=0.9)
        training.once(self, lambda: self._settle(records, training))

    def _settle(self, records: Records, training: Training) -> None:
        """Learn the density of latent vectors, and what decoding gets wrong."""
        x, c = records.to(training.device).tensor()
        with torch.no_grad():
            self.density.fit(in_batches(self.spread_latent, AT_ONCE, x, c), c, training, self.config.components)
            self._calibrate(x, c)
        self.correction.fit(self._draw, x, c, training)

    @torch.no_grad()
    def _fit_private(self, records: PrivateRecords, training: Training) -> None:
        """One Gaussian for each class of latent vectors, by noisy sums; columns as they are known."""
        with torch.enable_grad():
            training.train(self.objectives(), records, until=0.9, later=LATER)

        def settle() -> None:
            z, c = records.normal(self.spread_latent, LONGEST * math.sqrt(self.latent), LATER)
            self.density.fit(z, c, training, 1)
            if self.space.sizes:
                self._calibrate(*records.known)

        training.once(self, settle)

    def _calibrate(self, x: Tensor, c: Tensor) -> None:
        """Make what is drawn for contexts agree with records column by column."""
        self.head.calibrate(lambda c: in_batches(self.decode, AT_ONCE, self.density.sample(c), c), x, c)

    def sample(self, n: int, c: Tensor) -> Tensor:
        return self.correction.sample(self._draw, c)

    @torch.no_grad()
    def _draw(self, c: Tensor) -> Tensor:
        """A record for each context, as decoded."""
        return in_batches(lambda z, c: self.head.draw(self.decode(z, c)), AT_ONCE, self.density.sample(c), c)

    def validate(self) -> None:
        self.density.validate()
        self.correction.validate()
