"""Densities that are fitted in seconds: of a table's records, of images, of the latent vectors of other families.

What fits is chosen here, by the shape of the space: tables and latents get one mixture over the context and all
columns, images a mixture on the principal components of each class.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from synthgen.nn.mixture import EM, Mixture
from synthgen.nn.resident import Resident
from synthgen.nn.subspace import SHARE, Subspace
from synthgen.space import Space
from synthgen.training import Training

PASSES = 10  # of EM over the records
ROWS = 4096  # embedded together
CLASSES = 100  # at most that get a density of their own on latent vectors


class _Density(Resident):
    """What densities share: they stay on the CPU, where their many small solves are quickest, wherever c lives."""

    def sample(self, c: Tensor) -> Tensor:
        """A record for each context."""
        return self._sample(c.cpu()).to(c.device)

    def complete(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        """Records whose unknown columns or pixels are drawn from their exact conditional."""
        return self._complete(x.cpu(), known.cpu(), c.cpu()).to(c.device)

    def log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        """Log-density (B,): a probability in the codes, a density in the real columns."""
        return self._log_prob(x.cpu(), c.cpu()).to(c.device)

    def _sample(self, c: Tensor) -> Tensor:
        raise NotImplementedError

    def _complete(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        raise NotImplementedError

    def _log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        raise NotImplementedError


class Joint(_Density):
    """One mixture over the codes of the context and the columns of records; conditionals are exact."""

    def __init__(self, space: Space, context: Space) -> None:
        super().__init__()
        self.context = context
        self.mixture = Mixture(context.sizes + space.sizes)

    def fit(self, x: Tensor, c: Tensor, training: Training, components: int = 0, passes: int = PASSES) -> None:
        """Learn from records (N, columns) and their contexts, until done or out of time; 0 components: N / 25."""
        em = EM(self.mixture, self._joint(x.cpu(), c.cpu()), components or min(1500, max(5, len(x) // 25)), passes)
        if training.restored and "seed" in training.restored:
            em.load(training.restored)
        for done, log_likelihood in em.steps():
            training.progress(training.done(done), log_likelihood=log_likelihood)
            training.checkpoint(em.state)
            if training.should_stop():
                break
        em.maximise()

    def _sample(self, c: Tensor) -> Tensor:
        if not len(self.mixture.log_weight):  # a preview, while a family's networks still learn
            return torch.randn(len(c), len(self.mixture.sizes) - len(self.context.sizes))
        if self.context.width == 0:
            return self.mixture.sample(len(c))
        x = torch.zeros(len(c), len(self.mixture.sizes) - len(self.context.sizes))
        return self._complete(x, torch.zeros(x.shape, dtype=torch.bool), c)

    def _complete(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        given = torch.ones(len(x), len(self.context.sizes), dtype=torch.bool)
        drawn = self.mixture.draw(self._joint(x, c), torch.cat([given, known], dim=1))
        return drawn[:, len(self.context.sizes) :]

    def _log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        joint = self._joint(x, c)
        known = torch.zeros(joint.shape, dtype=torch.bool)
        known[:, : len(self.context.sizes)] = True
        return self.mixture.log_prob(joint) - (self.mixture.log_prob(joint, known) if self.context.width else 0)

    def _joint(self, x: Tensor, c: Tensor) -> Tensor:
        """Records with their context's codes before them."""
        return torch.cat([self.context.collapse(c), x], dim=1)

    def validate(self) -> None:
        """Raise ValueError where stored parts contradict each other."""
        self.mixture.validate()


class PerClass(_Density):
    """A `Subspace` for records whose context is their class: images, or vectors of shape (length,).

    Args:
        shape: of a record.
        context: the class.
        share: records for each Gaussian, where their number is not told.
    """

    RANK = 64  # principal components of each class

    def __init__(self, shape: tuple[int, ...], context: Space, share: int = SHARE) -> None:
        super().__init__()
        self.share = share
        self.subspace = Subspace(shape, max(1, context.width), self.RANK)

    def fit(self, x: Tensor, c: Tensor, training: Training, components: int = 0, passes: int = PASSES) -> None:
        """Learn from records (N, *shape) and their contexts, until done or out of time; 0 components: by `share`."""
        records = x.cpu().reshape(-1, *self.subspace.shape)
        for done in self.subspace.fit(records, _label(c.cpu()), components, passes, self.share):
            training.progress(training.done(done))
            training.checkpoint(dict)
            if training.should_stop():
                break

    def _sample(self, c: Tensor) -> Tensor:
        if not self.subspace.fitted:  # as above
            return torch.randn(len(c), *self.subspace.shape)
        return self.subspace.sample(_label(c))

    def _complete(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        return self.subspace.complete(x, known, _label(c))

    def _log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        return self.subspace.log_prob(x, _label(c))

    def validate(self) -> None:
        """Raise ValueError where stored parts contradict each other."""
        self.subspace.validate()


class Centre(_Density):
    """The mean of embedded records, (B, width), linear in their contexts: what much noise leaves of a row.

    Drawing from noise about 0 instead would bias labels: with deviation 10, a label of two thirds loses .012.
    """

    weight: Tensor

    def __init__(self, space: Space, context: Space) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("weight", torch.zeros(1 + context.width, space.width))

    def fit(self, x: Tensor, c: Tensor, training: Training) -> None:
        """Learn from records (N, columns) and their contexts."""
        gram = torch.eye(len(self.weight), dtype=torch.float64)  # ridge, for contexts that never differ
        gram[0, 0] = 1e-6
        moment = torch.zeros(self.weight.shape, dtype=torch.float64)
        # embedded records are wide
        for part, given in zip(torch.split(x.cpu(), ROWS), torch.split(c.cpu(), ROWS), strict=True):
            a = functional.pad(given, (1, 0), value=1.0).double()
            gram += a.T @ a
            moment += a.T @ self.space.embed(part).double()
        self.weight.copy_(torch.linalg.solve(gram, moment))

    def _sample(self, c: Tensor) -> Tensor:
        return functional.pad(c, (1, 0), value=1.0) @ self.weight

    def _complete(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        return self._sample(c)

    def validate(self) -> None:
        """Nothing can contradict itself."""


class Outline(NamedTuple):
    """Where a diffusion starts to draw, and how it goes on from there."""

    density: PerClass | Centre
    level: float  # of noise that hides what is wrong with the density
    churn: float  # share of the noise that each step adds anew
    guidance: float  # how typical of their contexts records are drawn


def outline(space: Space, context: Space) -> Outline:
    """The outline of records, and what fits it.

    Noise of deviation 1 on pixels in [-1, 1] leaves of an image what a mixture of Gaussians gets right: its
    outline. Drawing from there spares the steps, and the network the levels, above (Zheng et al., Truncated diffusion
    probabilistic models, 2023). The mixture is finer than one that draws by itself: what it knows by heart, the
    noise hides. What it gets wrong all the same is forgotten where noise is added and removed again on the way; rows
    would lose the exact shapes of their columns by it, and by guidance.
    """
    if len(space.shape) == 3:
        return Outline(PerClass(space.shape, context, share=18), 1.0, 0.5, 1.5)
    return Outline(Centre(space, context), 10.0, 0.0, 1.0)


def density(space: Space, context: Space) -> Joint | PerClass:
    """A density of records of a space, given contexts."""
    return PerClass(space.shape, context) if len(space.shape) == 3 else Joint(space, context)


def latent_density(size: int, context: Space) -> Joint | PerClass:
    """A density of latent vectors (B, size), given contexts: for each class apart where these are few classes."""
    if context.width <= CLASSES and len(context.sizes) <= 1:
        return PerClass((size,), context)
    return Joint(Space((size,), (0,) * size, (False,) * size), context)


def _label(c: Tensor) -> Tensor:
    """Embedded classes (B, classes) to their numbers (B,); 0 where there are none."""
    return c.argmax(1) if c.shape[1] else torch.zeros(len(c), dtype=torch.long, device=c.device)
