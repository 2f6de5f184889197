"""Mixture of Gaussians and label tables: p(x | c) = Σ_k π_k p_k(x, c) / Σ_k π_k p_k(c), fitted by EM.

Within a component, labels (and numbers of few values) are independent, and numbers of many values are jointly
Gaussian in their normal scores (McLachlan and Peel, Finite Mixture Models, 2000). All conditionals of such a
mixture are known in closed form. The context is part of the mixture, and always known.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from synthgen import Generator, Records, Space, Training
from synthgen.nn.mixture import EM, Mixture


class GMM(Generator):
    """Mixture of Gaussians and label tables. Exact densities, and exact draws given any columns."""

    class Config(Generator.Config):
        components: int = Field(0, ge=0, le=20_000, description="of the mixture; 0: one for every 25 records")
        passes: int = Field(10, ge=1, le=1000, description="of EM over the records")

    accepts: ClassVar[tuple[str, ...]] = ("table",)
    codes: ClassVar[int] = 200
    reals: ClassVar[bool] = True
    private: ClassVar[bool] = False

    config: Config

    def __init__(self, space: Space, context: Space, config: Config) -> None:
        super().__init__(space, context, config)
        self.mixture = Mixture(context.sizes + space.sizes)

    def fit(self, records: Records, training: Training) -> None:
        x, c = records.tensor()
        components = self.config.components or min(1500, max(5, len(x) // 25))

        em = EM(self.mixture, self._joint(x, c), components, self.config.passes)
        if training.restored:
            em.load(training.restored)
        for done, log_likelihood in em.steps():
            training.progress(training.done(done), log_likelihood=log_likelihood)
            training.checkpoint(em.state)
            if training.should_stop():
                break
        em.maximise()

    def _joint(self, x: Tensor, c: Tensor) -> Tensor:
        """Records with their context's codes before them."""
        return torch.cat([self.context.collapse(c), x], dim=1)

    def sample(self, n: int, c: Tensor) -> Tensor:
        if self.context.width == 0:
            return self.mixture.sample(n)
        x = torch.zeros(n, *self.space.shape)
        return self.complete(x, torch.zeros(x.shape, dtype=torch.bool), c)

    def complete(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        """Draw the unknown columns from their exact conditional."""
        given = torch.ones(len(x), len(self.context.sizes), dtype=torch.bool)
        drawn = self.mixture.draw(self._joint(x, c), torch.cat([given, known], dim=1))
        return drawn[:, len(self.context.sizes) :]

    def log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        """Log-density (B,) of records: a probability in the codes, a density in the real columns."""
        joint = self._joint(x, c)
        known = torch.zeros(joint.shape, dtype=torch.bool)
        known[:, : len(self.context.sizes)] = True
        return self.mixture.log_prob(joint) - (self.mixture.log_prob(joint, known) if self.context.width else 0)

    def validate(self) -> None:
        self.mixture.validate()
