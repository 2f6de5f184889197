"""Neighbours: records as points whose distances mean something, and the nearest of many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from synthgen.metrics.features import Features

Points = NDArray[np.float32]
Matrix = NDArray[np.float64]

FAR = 10.0  # deviations, on the scale of arsinh
CODE = 16  # dimensions of a label: one for each where there are no more, else a random direction
BLOCK = 1 << 25  # distances that are held at once


class Geometry:
    """Points of records, so that any two labels are as far apart as two typical numbers.

    A number becomes arsinh of its distance from the median in deviations of its middle half, so that outliers stay
    apart without outweighing the rest; a missing cell is its own label.

    Args:
        features: of the table.
        real: features (n, columns) of real records, which fix centre and scale.
    """

    def __init__(self, features: Features, real: Matrix) -> None:
        self.features = features
        self.scales = [_scale(real[:, j]) if features.numeric(name) else None for j, name in enumerate(features.names)]
        self.missing: NDArray[np.bool_] = np.asarray(np.isnan(real).any(axis=0))
        self.columns: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.columns = np.repeat(np.arange(len(self.scales)), [p.shape[1] for p in self._parts(real[:1])])

    def __call__(self, matrix: Matrix) -> Points:
        """Points (n, d) of features (n, columns); `columns` says which column each dimension belongs to."""
        return np.concatenate(self._parts(matrix), axis=1)

    def _parts(self, matrix: Matrix) -> list[Points]:
        parts: list[Points] = []
        for j, (name, scale) in enumerate(zip(self.features.names, self.scales, strict=True)):
            x, gap = matrix[:, j], np.isnan(matrix[:, j])
            if scale is None:
                parts.append(_directions(len(self.features.labels[name]))[np.where(gap, -2, x).astype(np.int64)])
                continue
            centre, width = scale
            # where real rows have no gaps there is no dimension for them: they lie far from all numbers
            value = np.where(gap, 0 if self.missing[j] else FAR, np.arcsinh((x - centre) / width))
            parts.append(np.stack([value, gap] if self.missing[j] else [value], axis=1).astype(np.float32))
        return parts


def _scale(x: Matrix) -> tuple[float, float]:
    """Centre and width of a number: the median, and what a normal number's deviation would be."""
    given = x[np.isfinite(x)]
    if not len(given):
        return 0.0, 1.0
    low, centre, high = np.quantile(given, [0.25, 0.5, 0.75])
    width = (high - low) / 1.349 or float(given.std()) or 1.0
    return float(centre), float(width)


def _directions(labels: int) -> Points:
    """A direction of length 1 for each label, the last two for those unknown and missing."""
    n = labels + 2
    if n <= CODE:
        return np.eye(n, dtype=np.float32)
    drawn = np.random.default_rng(n).standard_normal((n, CODE))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def nearest(
    queries: Points,
    among: Points,
    k: int = 1,
    each: Callable[[float], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distances (n, k) from each query to its k nearest points, ascending, and their indices.

    Distances of those found are computed afresh, so that equal points have distance 0.

    Args:
        queries: points (n, d).
        among: points (m, d), m at least 1; where m < k, the last columns repeat the farthest.
        k: how many.
        each: called with the share done.
    """
    k, wanted = min(k, len(among)), k
    b = torch.from_numpy(among).double()  # in float32 the squares hide small distances, above all of few columns
    squares = (b * b).sum(1)
    distances, indices = [], []
    step = min(len(queries), max(1, BLOCK // len(among)))
    room = torch.empty(step, len(among), dtype=b.dtype)  # fresh memory for each block costs as much as the products
    for i in range(0, len(queries), step):
        a = torch.from_numpy(queries[i : i + step]).double()
        block = torch.addmm(squares, a, b.T, alpha=-2, out=room[: len(a)])
        found = block.topk(k, dim=1, largest=False).indices
        exact = torch.stack([(a - b[column]).square().sum(1) for column in found.T], dim=1).sqrt()
        exact, order = exact.sort(dim=1)
        distances.append(exact)
        indices.append(found.gather(1, order))
        if each:
            each(min(1.0, (i + step) / len(queries)))
    pad = np.minimum(np.arange(wanted), k - 1)
    return torch.cat(distances).float().numpy()[:, pad], torch.cat(indices).numpy()[:, pad]


def row_keys(matrix: Matrix) -> NDArray[np.uint64]:
    """A number (n,) for each row of features (n, columns), equal where all cells are."""
    bits = np.ascontiguousarray(np.where(np.isnan(matrix), np.nan, matrix + 0.0)).view(np.uint64)
    keys = np.zeros(len(matrix), dtype=np.uint64)
    for j in range(bits.shape[1]):  # the mixing of splitmix64, cell by cell
        keys = (keys ^ bits[:, j]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
        keys *= np.uint64(0xBF58476D1CE4E5B9)
        keys ^= keys >> np.uint64(32)
    return keys
