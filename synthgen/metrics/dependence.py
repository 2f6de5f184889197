"""Dependence: how far pairs and triples of columns are from real ones, on bins that all tables share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from synthgen.data import Table
from synthgen.metrics.features import Features
from synthgen.schema import Schema

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


def pair_distances(reference: Table, rows: Table, schema: Schema) -> Mapping[tuple[str, ...], float]:
    """Distance of each pair of columns of `rows` from that of real rows, in [0, 1]."""
    return _distances(reference, rows, schema, PAIRS, lambda n: combinations(range(n), 2))


def triple_distances(reference: Table, rows: Table, schema: Schema) -> Mapping[tuple[str, ...], float]:
    """Distance of at most 60 triples of columns, always the same ones, from those of real rows, in [0, 1]."""
    return _distances(reference, rows, schema, TRIPLES, _triples)


def _triples(n: int) -> Iterable[tuple[int, ...]]:
    """All triples of n columns, or some."""
    if comb(n, 3) <= SOME:
        return combinations(range(n), 3)
    rng, chosen = np.random.default_rng(0), set[tuple[int, ...]]()
    while len(chosen) < SOME:
        chosen.add(tuple(sorted(rng.choice(n, 3, replace=False).tolist())))
    return sorted(chosen)


def _distances(
    reference: Table,
    rows: Table,
    schema: Schema,
    bins: tuple[int, int],
    choose: Callable[[int], Iterable[tuple[int, ...]]],
) -> dict[tuple[str, ...], float]:
    features = Features(reference, schema)
    real, drawn = features.matrix(reference), features.matrix(rows)
    binned = Bins(real, [features.numeric(name) for name in features.names], *bins)
    a, b = binned(real), binned(drawn)
    return {
        tuple(features.names[j] for j in columns): variation(a[:, columns], b[:, columns])
        for columns in choose(len(features.names))
    }
