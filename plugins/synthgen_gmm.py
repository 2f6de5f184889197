"""Mixture of Gaussians: p(x | c) = Σ_k π_k p_k(x, c) / Σ_k π_k p_k(c), fitted by EM.

Within a component, labels (and numbers of few values) are independent, and numbers of many values are jointly
Gaussian in their normal scores (McLachlan and Peel, Finite Mixture Models, 2000). All conditionals of such a
mixture are known in closed form. The context is part of the mixture, and always known. Images are Gaussian on the
principal components of their class (Tipping and Bishop, Mixtures of probabilistic PCA, 1999).
"""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from synthgen import Generator, Records, Space, Training
from synthgen.dp.records import PrivateRecords
from synthgen.nn.density import density


class GMM(Generator):
    """Mixture of Gaussians and label tables. Exact densities, and exact draws given any columns or pixels."""

    class Config(Generator.Config):
        components: int = Field(
            0, ge=0, le=20_000, description="Gaussians; 0: one for 25 rows, or 70 images of a class"
        )
        passes: int = Field(10, ge=1, le=1000, description="of EM over the records")

    codes: ClassVar[int] = 200
    reals: ClassVar[bool] = True
    sketch: ClassVar[float] = 1.0  # under a budget it learns from made-up images alone

    config: Config

    def __init__(self, space: Space, context: Space, config: Config) -> None:
        super().__init__(space, context, config)
        self.density = density(space, context)

    def fit(self, records: Records | PrivateRecords, training: Training) -> None:
        # of tables too little is made up before: each pass of EM would look at all rows again
        sketched = isinstance(records, PrivateRecords) and len(self.space.shape) == 3
        x, c = records.known if sketched else records.tensor()  # type: ignore[union-attr]
        training.once(self, lambda: self.density.fit(x, c, training, self.config.components, self.config.passes))

    def sample(self, n: int, c: Tensor) -> Tensor:
        return self.density.sample(c)

    def complete(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        """Draw the unknown columns or pixels from their exact conditional."""
        return self.density.complete(x, known, c)

    def log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        """Log-density (B,) of records: a probability in the codes, a density in the reals."""
        return self.density.log_prob(x, c)

    def validate(self) -> None:
        self.density.validate()
