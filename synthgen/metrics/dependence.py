"""Dependence: how far pairs and triples of columns are from real ones, on bins that all tables share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

PAIRS = (10, 30)  # quantile bins of numbers, and labels that are told apart, in pairs
TRIPLES = (5, 10)
SOME = 60  # triples that are looked at

Matrix = NDArray[np.float64]
Codes = NDArray[np.int64]


class Bins:
    """Bins of columns, which the real ones fix: quantiles of numbers, repeated ones apart, and the commonest labels.

    Missing cells have a bin of their own, and so have all other labels together.

    Args:
        real: features (n, columns), as `Features.matrix` gives them.
        numeric: which columns hold numbers.
        parts: quantile bins of a number.
        labels: that are told apart.
    """

    def __init__(self, real: Matrix, numeric: Sequence[bool], parts: int, labels: int) -> None:
        self.labels = labels
        self.edges = [_edges(real[:, j], parts) if number else None for j, number in enumerate(numeric)]

    def __call__(self, matrix: Matrix) -> Codes:
        """Bins (n, columns) of features (n, columns)."""
        codes = np.empty(matrix.shape, dtype=np.int64)
        for j, edges in enumerate(self.edges):
            x, missing = matrix[:, j], np.isnan(matrix[:, j])
            if edges is None:
                filled = np.where(missing, 0, x)
                bins = np.where((filled < 0) | (filled >= self.labels), self.labels, filled).astype(np.int64)
                codes[:, j] = np.where(missing, self.labels + 1, bins)
            else:
                codes[:, j] = np.where(missing, len(edges) + 1, np.searchsorted(edges, x, side="right"))
        return codes


def _edges(x: Matrix, parts: int) -> Matrix:
    """Where the bins of a number begin: at its quantiles, and just above one that is several quantiles at once."""
    given = x[~np.isnan(x)]
    if not len(given):
        return np.empty(0)
    quantiles = np.quantile(given, np.linspace(0, 1, parts + 1)[1:-1])
    repeated = quantiles[:-1][np.diff(quantiles) == 0]
    return np.unique(np.concatenate([quantiles, np.nextafter(repeated, np.inf)]))


def variation(a: Codes, b: Codes) -> float:
    """Total variation distance in [0, 1] of the joint distributions of the columns of two sets of bins (n, q)."""
    width = np.maximum(a.max(axis=0), b.max(axis=0)) + 1
    p, q = (
        np.bincount(np.ravel_multi_index(tuple(x.T), tuple(width)), minlength=width.prod()) / len(x) for x in (a, b)
    )
    return float(0.5 * np.abs(p - q).sum())


def pairs_of(n: int) -> list[tuple[int, ...]]:
    """All pairs of n columns."""
    return list(combinations(range(n), 2))


def triples_of(n: int) -> list[tuple[int, ...]]:
    """All triples of n columns, or 60 that are always the same."""
    if comb(n, 3) <= SOME:
        return list(combinations(range(n), 3))
    rng, chosen = np.random.default_rng(0), set[tuple[int, ...]]()
    while len(chosen) < SOME:
        chosen.add(tuple(sorted(rng.choice(n, 3, replace=False).tolist())))
    return sorted(chosen)


def distances(a: Codes, b: Codes, groups: Sequence[tuple[int, ...]]) -> Matrix:
    """Distance (groups,) in [0, 1] of the joint distributions of each group of columns."""
    return np.array([variation(a[:, group], b[:, group]) for group in groups])
