"""Mixture: p(x) = Σ_k π_k Π_j p_k(x_j) over labels, times a full Gaussian over the real columns, fitted by EM.

Every component is one exponential family with statistics T(x) = (one-hot codes, z, z zᵀ), so that both steps
of EM are matrix products. The steps are taken on batches, with averaged statistics (Cappé and Moulines,
Online EM algorithm for latent data models, 2009).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from synthgen.nn.batches import in_batches

BATCH = 4096
FORGETTING = 0.6  # step t of EM has weight (t + 2) ** -FORGETTING
RIDGE = 1e-3  # added to the variances of normal scores, whose own variance is 1
LABEL_PRIOR = 0.05  # records' worth of the overall label frequencies in each component
SHAPE_PRIOR = 2.0  # records' worth of a diagonal covariance in each component


class Mixture(nn.Module):
    """A mixture over records whose columns are codes (size k) or real numbers (size 0).

    Args:
        sizes: of the columns.
    """

    log_weight: Tensor
    log_table: Tensor
    mean: Tensor
    factor: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.real = [j for j, k in enumerate(sizes) if k == 0]
        self.coded = [j for j, k in enumerate(sizes) if k > 0]
        p = len(self.real)
        self.register_buffer("log_weight", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("log_table", torch.zeros(0, sum(sizes)))  # log-probabilities of all codes
        self.register_buffer("mean", torch.zeros(0, p, dtype=torch.float64))
        self.register_buffer("factor", torch.zeros(0, p, p, dtype=torch.float64))  # Cholesky factors

    def validate(self) -> None:
        """Raise ValueError where stored parts disagree on the number of components."""
        if len({len(t) for t in (self.log_weight, self.log_table, self.mean, self.factor)}) != 1:
            raise ValueError("the parts of the mixture have different numbers of components")
        if len(self.log_weight) == 0 or bool((self.factor.diagonal(dim1=1, dim2=2) <= 0).any()):
            raise ValueError("a component of the mixture has no extent")

    def log_joint(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """Log of weight times density of the known columns under each component, (B, components).

        Args:
            x: records (B, columns).
            known: (B, columns) bool; all by default.
        """
        total = self.one_hot(x, known) @ self.log_table.T + self.log_weight.float()
        if not self.real:
            return total
        z = x[:, self.real].double()
        if known is None:
            return total + self._log_gauss(z, self.mean, self.factor).float()
        for pattern, rows in patterns(known[:, self.real]):
            if pattern.any():
                factor = torch.linalg.cholesky(self._covariance()[:, pattern][:, :, pattern])
                total[rows] += self._log_gauss(z[rows][:, pattern], self.mean[:, pattern], factor).float()
        return total

    def log_prob(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """Log-density of the known columns of records, (B,)."""
        parts = [self.log_joint(some, k).logsumexp(1) for some, k in _batches(x, known)]
        return torch.cat(parts).to(x.dtype)

    def draw(self, x: Tensor, known: Tensor) -> Tensor:
        """Fill the unknown columns of records given the known ones: a component, then its conditional."""
        parts = []
        for some, k in _batches(x, known):
            assert k is not None
            # subtracting log(exponential) and taking the largest draws from a softmax
            noise = torch.empty(len(some), len(self.log_weight)).exponential_().log()
            parts.append(self._draw_from((self.log_joint(some, k) - noise).argmax(1), some, k))
        return torch.cat(parts)

    def sample(self, n: int) -> Tensor:
        """N records, (n, columns)."""
        component = torch.multinomial(self.log_weight.exp(), n, replacement=True)
        blank = torch.zeros(n, len(self.sizes))
        return in_batches(lambda k, x: self._draw_from(k, x, None), BATCH, component, blank)

    def _draw_from(self, component: Tensor, x: Tensor, known: Tensor | None) -> Tensor:
        drawn = x.clone()
        starts = torch.tensor([0, *self.sizes]).cumsum(0)
        for j in self.coded:
            table = self.log_table[:, starts[j] : starts[j + 1]].exp().cumsum(1)
            points = torch.rand(len(x)) * table[component, -1]
            codes = torch.searchsorted(table[component], points[:, None], right=True)[:, 0]
            drawn[:, j] = codes.clamp(max=self.sizes[j] - 1).to(x.dtype)
        if self.real:
            drawn[:, self.real] = self._draw_real(component, x, known).to(x.dtype)
        return drawn if known is None else torch.where(known, x, drawn)

    def _draw_real(self, component: Tensor, x: Tensor, known: Tensor | None) -> Tensor:
        """Real columns (B, p) of each record's component, given the known ones of them."""
        noise = torch.randn(len(x), len(self.real), 1, dtype=torch.float64)
        fresh = self.mean[component] + (self.factor[component] @ noise)[..., 0]
        if known is None or not bool(known[:, self.real].any()):
            return fresh
        # conditional of a Gaussian by Matheron's rule: correct a joint draw by what it gets wrong
        z, given, covariance = x[:, self.real].double(), known[:, self.real], self._covariance()
        for pattern, rows in patterns(given):
            if pattern.any() and not pattern.all():
                own = covariance[component[rows]]
                wrong = (z[rows] - fresh[rows])[:, pattern, None]
                gain = own[:, :, pattern] @ torch.linalg.solve(own[:, pattern][:, :, pattern], wrong)
                fresh[rows] += gain[..., 0]
        return torch.where(given, z, fresh)

    def _covariance(self) -> Tensor:
        return self.factor @ self.factor.mT

    def one_hot(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """Codes as blocks of zeros and ones (B, sum of sizes); an unknown column's block is all zeros."""
        blocks = []
        for j in self.coded:
            block = x[:, j, None] == torch.arange(self.sizes[j])
            blocks.append((block if known is None else block & known[:, j, None]).float())
        return torch.cat(blocks, 1) if blocks else x.new_zeros(len(x), 0)

    def _log_gauss(self, z: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
        """Log-density (B, K) of z (B, q) under Gaussians of mean (K, q), as one product with (z, z zᵀ)."""
        q = z.shape[1]
        i, k = torch.triu_indices(q, q)
        precision = torch.cholesky_inverse(factor)
        linear = (precision @ mean[..., None])[..., 0]
        square = -precision[:, i, k] * torch.where(i == k, 0.5, 1.0)
        constant = -0.5 * (mean * linear).sum(1) - factor.diagonal(dim1=1, dim2=2).log().sum(1)
        return z @ linear.T + z[:, i] * z[:, k] @ square.T + constant - 0.5 * q * math.log(2 * math.pi)


class EM:
    """Expectation maximisation of a mixture, from components at random records.

    Args:
        mixture: to be fitted.
        x: records (N, columns).
        components: at most N.
        passes: over all records.
    """

    def __init__(self, mixture: Mixture, x: Tensor, components: int, passes: int) -> None:
        self.mixture, self.passes = mixture, passes
        self.labels, self.z = mixture.one_hot(x), x[:, mixture.real].double()
        self.overall = self.labels.mean(0)
        self.x, self.n = x, len(x)
        p = self.z.shape[1]
        self.upper = torch.triu_indices(p, p)
        start = torch.randperm(self.n)[:components]
        k = len(start)
        spread = 0.1 * torch.eye(p, dtype=torch.float64)[tuple(self.upper)]
        self.statistics = [
            torch.full((k,), 1 / k, dtype=torch.float64),
            0.5 * (self.labels[start] + self.overall) / k,
            self.z[start] / k,
            (self._squares(self.z[start]) + spread) / k,
        ]
        self.seed = torch.randint(2**62, ())
        self.step = torch.tensor(0)

    def steps(self, passes: int | None = None) -> Iterator[tuple[float, float]]:
        """Run up to a number of passes, yielding the share done and the mean log-likelihood of the last batch."""
        per_pass = math.ceil(self.n / BATCH)
        while int(self.step) < (self.passes if passes is None else passes) * per_pass:
            number, batch = divmod(int(self.step), per_pass)
            order = torch.randperm(self.n, generator=torch.Generator().manual_seed(int(self.seed) + number))
            for rows in torch.split(order, BATCH)[batch:]:
                mean = self._step(rows)
                yield int(self.step) / (self.passes * per_pass), mean

    def _step(self, rows: Tensor) -> float:
        """Move the statistics towards those of a batch, under the current parameters."""
        self.maximise()
        joint = self.mixture.log_joint(self.x[rows])
        total = joint.logsumexp(1)
        share = (joint - total[:, None]).exp_().T / len(rows)
        z, exact = self.z[rows], share.double()
        new = [exact.sum(1), share @ self.labels[rows], exact @ z, exact @ self._squares(z)]
        weight = float(self.step + 2) ** -FORGETTING
        self.statistics = [torch.lerp(old, s, weight) for old, s in zip(self.statistics, new, strict=True)]
        self.step += 1
        return float(total.mean())

    def _squares(self, z: Tensor) -> Tensor:
        """The products of columns (B, p (p + 1) / 2)."""
        i, j = self.upper
        return z[:, i] * z[:, j]

    def state(self) -> dict[str, Tensor]:
        """Everything that going on from here needs."""
        return {"seed": self.seed, "step": self.step} | {f"{i}": s for i, s in enumerate(self.statistics)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go back to what `state` returned."""
        self.seed, self.step = state["seed"], state["step"]
        self.statistics = [state[f"{i}"] for i in range(len(self.statistics))]

    def maximise(self) -> None:
        """Give the mixture the likeliest parameters under the statistics and a weak prior."""
        mixture, n = self.mixture, self.n
        counts, labels, first, second = self.statistics
        mixture.log_weight = (counts / counts.sum()).clamp(min=1e-30).log()
        prior, mass = LABEL_PRIOR / n, counts.float()[:, None]
        mixture.log_table = ((labels + prior * self.overall) / (mass + prior)).clamp(min=1e-30).log()
        p, size = self.z.shape[1], counts.clamp(min=1e-12)[:, None]
        mixture.mean = mean = first / size
        i, j = self.upper
        covariance = torch.zeros(len(counts), p, p, dtype=torch.float64)
        covariance[:, i, j] = covariance[:, j, i] = second / size
        covariance -= mean[:, :, None] * mean[:, None, :]
        diagonal = torch.diag_embed(covariance.diagonal(dim1=1, dim2=2).clamp(min=RIDGE))
        shrink = (SHAPE_PRIOR / (n * size + SHAPE_PRIOR))[:, :, None]
        covariance = torch.lerp(covariance, diagonal, shrink) + RIDGE * torch.eye(p, dtype=torch.float64)
        factor, info = torch.linalg.cholesky_ex(covariance)
        broken = info > 0  # rounding made it indefinite: keep the variances
        mixture.factor = torch.where(broken[:, None, None], diagonal.sqrt(), factor)


def patterns(known: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The distinct rows of a bool tensor, each with the indices of the rows equal to it."""
    patterns, inverse = torch.unique(known, dim=0, return_inverse=True)
    order = inverse.argsort(stable=True)
    groups = torch.split(order, inverse.bincount(minlength=len(patterns)).tolist())
    return list(zip(patterns, groups, strict=True))


def _batches(x: Tensor, known: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    parts = torch.split(x, BATCH)
    return list(zip(parts, torch.split(known, BATCH) if known is not None else [None] * len(parts), strict=True))
