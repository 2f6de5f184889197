"""Autoregressive network: p(x) = Π_j p(x_j | x_<j) over the codes of a record's columns, or of an image's patches.

Most steps train the order in which records are drawn, the others random orders (Uria et al., A deep and tractable
density estimator, 2014), so that any columns can be known and the rest drawn given them. Columns are told apart
by a network for each (nn/masked.py), patches share one (nn/transformer.py).
"""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from synthgen import Generator, Objective, Recipe, Records, Space, Training
from synthgen.dp.records import PrivateRecords
from synthgen.generator import PRIVATE
from synthgen.nn.batches import in_batches
from synthgen.nn.tokens import tokens

AT_ONCE = 8192  # records drawn together: what they need stays in the cache
MOST = 4096  # codes of an image patch
CODING = 0.5  # share of the training in which images learn their codes
PASSES = 20  # over images, after which their codes would be known by heart


class Autoregressive(Generator):
    """Network over codes of columns or patches, drawn one by one in any order. Exact probabilities and conditions."""

    class Config(Generator.Config):
        width: int = Field(64, ge=4, le=1024, description="units of each column's network; twice that for patches")
        depth: int = Field(2, ge=1, le=8, description="hidden layers of each column's network; one more for patches")
        embedding: int = Field(16, ge=2, le=256, description="numbers that stand for a column's code")
        any_order: float = Field(0.3, ge=0, le=1, description="share of steps that train a random order")
        levels: tuple[Annotated[int, Field(ge=2, le=64)], ...] = Field(
            (8, 5, 5, 5), min_length=1, max_length=8, description="of the numbers that make up an image patch's code"
        )
        channels: int = Field(
            32, ge=8, le=512, multiple_of=8, description="of the network that turns images into codes"
        )

        @field_validator("levels")
        @classmethod
        def _few_codes(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
            if math.prod(levels) > MOST:
                raise ValueError(f"levels make {math.prod(levels)} codes, more than {MOST}")
            return levels

    codes: ClassVar[int] = 1000
    recipe: ClassVar[Recipe] = Recipe(epochs=25, batch_size=512, learning_rate=1e-2)
    image_recipe: ClassVar[Recipe] = Recipe(steps=5500, batch_size=64, learning_rate=2e-3)
    private_recipe: ClassVar[dict[str, float]] = {**PRIVATE, "learning_rate": 2e-2}

    config: Config

    def __init__(self, space: Space, context: Space, config: Config) -> None:
        super().__init__(space, context, config)
        self.tokens = tokens(space, config.levels, config.channels)
        self.network = self.tokens.network(context.width, config.width, config.depth, config.embedding)

    def objectives(self) -> list[Objective]:
        """One for both: the codes are learned by reconstruction, their distribution on what they are."""
        return [Objective(self, self.loss)]

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        return self.tokens.loss(x, c) + self.unlikely(self.tokens.encode(x), c)

    def unlikely(self, codes: Tensor, c: Tensor) -> Tensor:
        """Minus the log-probability (B,) of codes, now and then in a random order."""
        n = codes.shape[1]
        rank = torch.randperm(n, device=c.device) if torch.rand(()) < self.config.any_order else torch.arange(n)
        return -self.network.log_prob(codes, c, rank.to(c.device))

    def fit(self, records: Records | PrivateRecords, training: Training) -> None:
        rest = self._learn_codes(records, training) if self.tokens.learns else 1.0
        codes = records.to(training.device).mapped(self.tokens)
        training.train([Objective(self.network, self.unlikely)], codes, share=rest)

    def _learn_codes(self, records: Records | PrivateRecords, training: Training) -> float:
        """Learn what codes of images are by reconstruction; the share of the steps that is left for their order."""
        objectives = [Objective(self.tokens, self.tokens.loss)]
        if isinstance(records, PrivateRecords):
            training.train(objectives, records, until=CODING, share=CODING, later=CODING)
            return 1 - CODING
        x, _ = records.tensor()
        rest = min(1 - CODING, PASSES * len(x) / training.recipe.batch(len(x)) / training.recipe.total(len(x)))
        if rest < 1 - CODING:
            training.note(f"few images: their codes are looked at {PASSES} times only, not to be known by heart")
        training.train(objectives, records, until=CODING, share=CODING)
        training.once(self, lambda: self.tokens.calibrate(x.to(training.device)))
        return rest

    def log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        """Log-probability (B,) of the codes of records, in the order of drawing."""
        codes = self.tokens.encode(x)
        return self.network.log_prob(codes, c, torch.arange(codes.shape[1], device=c.device))

    def sample(self, n: int, c: Tensor) -> Tensor:
        blank = torch.zeros(n, *self.tokens.space.shape, device=c.device)
        return self.tokens.decode(in_batches(lambda x, c: self.network.draw(x, None, c), AT_ONCE, blank, c))

    def complete(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        """Draw the unknown cells of `x`; of an image, the codes of all patches that are not wholly known."""
        codes, held = self.tokens.encode(x), self.tokens.known(known)
        drawn = self.tokens.decode(in_batches(self.network.draw, AT_ONCE, codes, held, c))
        return torch.where(known, x, drawn)
