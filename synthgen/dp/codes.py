"""PrivateCodes: records of codes behind a budget, of which only marginals are told, as noisy as was paid for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synthgen.dp.budget import Budget
from synthgen.dp.ledger import CHOICE, COUNTS, COUNTS_OF_MANY, Charge
from synthgen.dp.noise import discrete_gaussian, exponential

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class PrivateCodes:
    """Records of codes behind a budget, that answer for marginals.

    Args:
        codes: of the records (n, columns).
        sizes: how many codes each column has.
        total: about how many records there are, which was paid for.
        budget: that every answer is charged to.
        most: records of a person, by which neighbours differ.
    """

    def __init__(self, codes: Ints, sizes: Sequence[int], total: int, budget: Budget, most: int = 1) -> None:
        self._codes, self.sizes, self.total, self.budget, self._most = codes, tuple(sizes), total, budget, most

    def measure(self, columns: Sequence[int], rho: float) -> tuple[Floats, float]:
        """Noisy counts of the joint codes of some columns, in their shape, and the deviation of the noise."""
        scale = math.sqrt(1 / (2 * rho))
        mechanism = COUNTS if self._most == 1 else COUNTS_OF_MANY
        self.budget.charge(Charge(f"marginal of columns {list(columns)}", mechanism, scale, rho))
        counts = self._counts(columns)
        noisy = discrete_gaussian(counts.ravel(), scale * self._most).reshape(counts.shape)
        return noisy.astype(np.float64), scale * self._most

    def choose(
        self,
        candidates: Sequence[tuple[Sequence[int], Floats]],
        weights: Sequence[float],
        rho: float,
        penalties: Sequence[float],
    ) -> int:
        """The candidate whose guess of a marginal is, about, farthest from the truth, by the exponential mechanism.

        A score is a weight times the L1 distance of the guessed from the true counts, less a penalty; one record
        changes it by at most that weight.

        Args:
            candidates: columns, and guessed counts in their shape.
            weights: of each, greater than 0.
            rho: the price.
            penalties: of each, made of noisy counts.
        """
        epsilon = float(np.sqrt(8 * rho))
        self.budget.charge(Charge(f"choice among {len(candidates)} marginals", CHOICE, epsilon, rho))
        apart = (float(np.abs(self._counts(c) - guess).sum()) for c, guess in candidates)
        scores = [w * (d - p) for d, w, p in zip(apart, weights, penalties, strict=True)]
        return exponential(np.array(scores), max(weights) * self._most, epsilon)

    def merged(self, groups: Sequence[Ints]) -> PrivateCodes:
        """The same records with code v of column j renamed to groups[j][v]; groups are made of noisy counts."""
        return PrivateCodes(*renamed(self._codes, groups), self.total, self.budget, self._most)

    def _counts(self, columns: Sequence[int]) -> Ints:
        return joint_counts(self._codes, self.sizes, columns)


def joint_counts(codes: Ints, sizes: Sequence[int], columns: Sequence[int]) -> Ints:
    """How many of the records (n, columns) hold each joint code of some columns, in their shape: exact."""
    shape = [sizes[j] for j in columns]
    place = np.ravel_multi_index(tuple(codes[:, j] for j in columns), shape)
    return np.bincount(place, minlength=int(np.prod(shape))).reshape(shape)


def renamed(codes: Ints, groups: Sequence[Ints]) -> tuple[Ints, list[int]]:
    """Records (n, columns) with code v of column j renamed to groups[j][v], and how many codes each column then has."""
    new = np.stack([group[column] for group, column in zip(groups, codes.T, strict=True)], axis=1)
    return new, [int(group.max()) + 1 for group in groups]
