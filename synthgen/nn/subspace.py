"""Subspace: p(x | class) = Σ_k π_k N(x; μ + A m_k, A S_k Aᵀ + σ² I), with the columns of A principal components.

A mixture of Gaussians on the principal components of each class, and white noise in all other directions
(Tipping and Bishop, Mixtures of probabilistic principal component analysers, 1999).
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from synthgen.nn.mixture import EM, Mixture, patterns
from synthgen.nn.texture import Texture

MOST = 4096  # records that principal components are taken from
SHARE = 70  # records of a class for each Gaussian, where their number is not told


class Subspace(nn.Module):
    """Mixtures of Gaussians on the principal components of records of shape `shape`, one for each class.

    Args:
        shape: of a record: (channels, height, width), whose draws are the mean of the pixels given their components,
            in true tones and contrasts; or (length,), whose draws are from the density, exactly.
        classes: how many there are.
        rank: principal components of each class.
    """

    mean: Tensor
    basis: Tensor
    noise: Tensor

    def __init__(self, shape: tuple[int, ...], classes: int, rank: int) -> None:
        super().__init__()
        self.shape, size = shape, math.prod(shape)
        self.rank = min(rank, size)
        self.register_buffer("mean", torch.zeros(classes, size))
        self.register_buffer("basis", torch.zeros(classes, self.rank, size))  # rows as long as the deviation along them
        self.register_buffer("noise", torch.ones(classes))
        # a mean of pixels is smoother and greyer than they are
        self.texture = Texture(shape[0]) if len(shape) == 3 else nn.Identity()
        self.mixtures = nn.ModuleList(Mixture([0] * self.rank) for _ in range(classes))

    def fit(self, x: Tensor, label: Tensor, components: int, passes: int, share: int = SHARE) -> Iterator[float]:
        """Learn from records (N, *shape) and their classes (N,), yielding the share done; may be left at any yield.

        Of each class it learns so many components, or where that is 0 one for `share` records.
        """
        ems: list[EM] = []
        for k, mixture in enumerate(self.mixtures):
            own = x[label == k].flatten(1) if bool((label == k).any()) else x.flatten(1)
            self._components(k, own)
            z = (own - self.mean[k]) @ self._inverse(k)
            several = min(components, len(own) // 4) if components else min(300, len(own) // share)
            ems.append(EM(mixture, z, max(1, several), passes))  # type: ignore[arg-type]
            ems[-1].maximise()
        for done in range(passes):
            for em in ems:
                for _ in em.steps(done + 1):
                    pass
                em.maximise()
            yield (done + 1) / passes
        if isinstance(self.texture, Texture):
            rows = torch.randperm(len(x))[:2000]
            self.texture.fit(self._smooth(label[rows]), x[rows])

    def _components(self, k: int, x: Tensor) -> None:
        """Mean, principal components and remaining noise of a class's records (n, size)."""
        x = x[torch.randperm(len(x))[:MOST]].double()
        mean = x.mean(0)
        centred = (x - mean) / math.sqrt(max(1, len(x) - 1))
        _, deviation, vectors = torch.linalg.svd(centred, full_matrices=False)
        rank = min(self.rank, len(deviation))
        self.mean[k] = mean.float()
        self.basis[k].zero_()
        self.basis[k, :rank] = (deviation[:rank, None] * vectors[:rank]).float()
        rest = float(deviation[rank:].square().sum()) / max(1, x.shape[1] - rank)
        self.noise[k] = max(1e-3, math.sqrt(rest))

    def _inverse(self, k: int) -> Tensor:
        """The matrix (size, rank) that takes a centred record to its components, each of variance 1."""
        basis = self.basis[k]
        return (basis / basis.square().sum(1, keepdim=True).clamp(min=1e-8)).T

    @property
    def fitted(self) -> bool:
        """Whether something has been learned."""
        return all(len(mixture.log_weight) > 0 for mixture in self.mixtures)  # type: ignore[arg-type]

    def sample(self, label: Tensor) -> Tensor:
        """Records (n, *shape) of classes (n,)."""
        return self.texture(self._smooth(label))

    def _smooth(self, label: Tensor) -> Tensor:
        x = self.mean.new_empty(len(label), *self.shape)
        for k, mixture in enumerate(self.mixtures):
            rows = label == k
            if bool(rows.any()):
                z = mixture.sample(int(rows.sum()))  # type: ignore[operator]
                x[rows] = (self.mean[k] + z.float() @ self.basis[k]).reshape(-1, *self.shape)
        return x if isinstance(self.texture, Texture) else x + self.noise[label][:, None] * torch.randn_like(x)

    def log_prob(self, x: Tensor, label: Tensor) -> Tensor:
        """Log-density (B,) of records given their classes."""
        known = torch.ones(x.shape, dtype=torch.bool)
        result = x.new_empty(len(x))
        for k, rows in _classes(label):
            result[rows] = self._posterior(k, x[rows].flatten(1), known[0].flatten())[0].logsumexp(1).to(x.dtype)
        return result

    def complete(self, x: Tensor, known: Tensor, label: Tensor) -> Tensor:
        """Records whose pixels where `known` (B, *shape) is False are drawn given the others."""
        drawn = x.clone()
        for k, rows in _classes(label):
            for pattern, some in patterns(known[rows].flatten(1)):
                which = rows[some]
                log_weight, mean, factor = self._posterior(k, x[which].flatten(1), pattern)
                pick = torch.multinomial(log_weight.softmax(1), 1)[:, 0]
                noise = torch.randn(len(which), self.rank, 1, dtype=torch.float64)
                # factor is that of the precision: its inverse transpose times noise has the covariance
                z = (
                    mean[torch.arange(len(which)), pick]
                    + torch.linalg.solve_triangular(factor[pick].mT, noise, upper=True)[..., 0]
                )
                smooth = (self.mean[k] + z.float() @ self.basis[k]).reshape(-1, *self.shape)
                drawn[which] = self.texture(smooth)
        return torch.where(known, x, drawn)

    def _posterior(self, k: int, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the known pixels of records (B, size) say of their components.

        Returns:
            log of weight times density of the known pixels (B, K), the mean (B, K, rank) of the principal
            components, and the Cholesky factor (K, rank, rank) of their precision.
        """
        mixture, noise = self.mixtures[k], self.noise[k].double()
        assert isinstance(mixture, Mixture)
        a = self.basis[k][:, known].double()  # (rank, q)
        r = (x[:, known] - self.mean[k, known]).double()
        prior = torch.cholesky_inverse(mixture.factor)
        pulled = (prior @ mixture.mean[..., None])[..., 0]  # (K, rank)
        factor = torch.linalg.cholesky(prior + a @ a.T / noise**2)
        natural = pulled + (r @ a.T / noise**2)[:, None]  # (B, K, rank)
        mean = torch.cholesky_solve(natural[..., None], factor)[..., 0]
        logdet = factor.diagonal(dim1=1, dim2=2).log().sum(1) + mixture.factor.diagonal(dim1=1, dim2=2).log().sum(1)
        square = (r**2).sum(1)[:, None] / noise**2 + (mixture.mean * pulled).sum(1) - (natural * mean).sum(2)
        log_density = -0.5 * square - logdet - known.sum() * (noise.log() + 0.5 * math.log(2 * math.pi))
        return mixture.log_weight + log_density, mean, factor

    def validate(self) -> None:
        """Raise ValueError where stored parts contradict each other."""
        for mixture in self.mixtures:
            mixture.validate()  # type: ignore[operator]
        if bool((self.noise <= 0).any()):
            raise ValueError("the noise of a class is not positive")


def _classes(label: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The classes that occur, each with the rows that have it."""
    for k in torch.unique(label).tolist():
        yield k, torch.nonzero(label == k)[:, 0]
