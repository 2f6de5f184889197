"""Disclosure: copies, and what an attacker learns of a person in the training data beyond what he learns of others.

Attribute inference, singling out and linkability are those of the Article 29 Working Party (opinion 05/2014), each
minus the same attack on people whom no generator has seen (Giomi et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.neighbours import Points, nearest, row_keys
from synthgen.metrics.statistics import LEVEL, Estimate, difference, proportion

Matrix = NDArray[np.float64]

GUESSES = 1000  # at most, each of another record: more of the same would not be independent
ATTRIBUTES = 10  # that a guess of singling out combines, at most
CLOSE = 0.05  # of the middle 90 % of a number: near enough to have been inferred
LINKS = 5  # neighbours that are searched for a match


class Success(NamedTuple):
    """How often an attack succeeds on members and on others, and the difference with its interval."""

    members: Estimate
    others: Estimate
    excess: Estimate

    @property
    def leaks(self) -> bool:
        """Whether members are easier to attack than others."""
        return self.excess.low > 0


def success(members: int, n: int, others: int, m: int, level: float = LEVEL) -> Success:
    """Successes on n members and m others; the interval of the difference holds with 1 - level."""
    a, b = proportion(members, n), proportion(others, m)
    return Success(a, b, difference(proportion(members, n, level), proportion(others, m, level)))


def copies(train: Matrix, rows: Matrix) -> NDArray[np.bool_]:
    """Which rows (n,) equal a training row in every cell."""
    return np.isin(row_keys(rows), row_keys(train))


def near_share(train: Points, holdout: Points, synthetic: Points) -> Estimate:
    """Share of synthetic records nearer to a training record than to any of as many held-out ones; ties count half.

    Those that have the same nearest record fall on one side together: the interval counts them accordingly.
    """
    n = min(len(train), len(holdout))
    (a, i), (b, j) = ((found[:, 0] for found in nearest(synthetic, part[:n])) for part in (train, holdout))
    shared = np.bincount(np.where(a <= b, i, n + j))
    counted = len(synthetic) ** 2 / np.square(shared).sum()
    return proportion(float(((a < b) + 0.5 * (a == b)).mean()) * counted, counted)


def near_copies(train: Points, holdout: Points, synthetic: Points, rate: float = 0.01) -> tuple[Estimate, Estimate]:
    """Share of synthetic and of held-out records as near to a training record as the nearest 1 % of the latter."""
    own, theirs = (nearest(part, train)[0][:, 0] for part in (holdout, synthetic))
    reach = np.quantile(own, rate)
    return proportion(int((theirs <= reach).sum()), len(theirs)), proportion(int((own <= reach).sum()), len(own))


def inference(
    columns: Sequence[int],
    dimensions: NDArray[np.int64],
    points: tuple[Points, Points, Points],
    rows: tuple[Matrix, Matrix, Matrix],
    numeric: Sequence[bool],
    each: Callable[[float], None] | None = None,
) -> dict[int, Success]:
    """How often a cell is that of the synthetic record that is nearest in all other columns.

    Args:
        columns: that are secret, one after the other.
        dimensions: which column each dimension of a point belongs to.
        points: of members, of others and of synthetic records.
        rows: features of the same.
        numeric: which columns hold numbers; one within 5 % of the middle 90 % counts as known.
        each: called with the share done.
    """
    found = {}
    for place, j in enumerate(columns):
        shown = dimensions != j
        x, y, s = (np.ascontiguousarray(part[:, shown]) for part in points)
        hits = []
        for queries, cells in ((x, rows[0][:, j]), (y, rows[1][:, j])):
            guess = rows[2][nearest(queries, s)[1][:, 0], j]
            same = (guess == cells) | (np.isnan(guess) & np.isnan(cells))
            hits.append(int((same | _close(guess, cells, rows[2][:, j]) if numeric[j] else same).sum()))
        found[j] = success(hits[0], len(x), hits[1], len(y), LEVEL / len(columns))
        if each:
            each((place + 1) / len(columns))
    return found


def _close(a: Matrix, b: Matrix, among: Matrix) -> NDArray[np.bool_]:
    given = among[~np.isnan(among)]
    reach = CLOSE * float(np.diff(np.quantile(given, [0.05, 0.95]))[0]) if len(given) else 0.0
    return np.asarray(np.abs(a - b) <= reach)


def singling_out(train: Matrix, others: Matrix, synthetic: Matrix, numeric: Sequence[bool], seed: int = 0) -> Success:
    """How often a description that fits one synthetic row fits exactly one of as many training rows, or others.

    A description says of some columns that a label is the record's, or a number at least or at most its; columns are
    added in random order until it fits one synthetic row only.

    Args:
        train: features (n, columns) of records that were trained on.
        others: of as many that were not.
        synthetic: features (m, columns); of those at least n are best.
        numeric: which columns hold numbers.
        seed: of the records and columns that are described.
    """
    n = min(len(train), len(others), len(synthetic))
    rng = np.random.default_rng(seed)
    synthetic = synthetic[:n]
    # a column without numbers has no middle
    middle = [float(np.nanmedian(x)) if not np.isnan(x).all() else 0.0 for x in synthetic.T]
    hits = np.zeros(2, dtype=int)
    chosen = rng.permutation(n)[:GUESSES]
    for record in synthetic[chosen]:
        fits = [np.arange(n)] * 3
        for j in rng.permutation(len(record))[:ATTRIBUTES]:
            fits = [
                kept[_fits(rows[kept, j], record[j], bool(numeric[j]), middle[j])]
                for kept, rows in zip(fits, (train, others, synthetic), strict=True)
            ]
            if len(fits[2]) == 1:
                break
        hits += [len(kept) == 1 for kept in fits[:2]]
    return success(int(hits[0]), len(chosen), int(hits[1]), len(chosen))


def _fits(cells: Matrix, said: float, number: bool, middle: float) -> NDArray[np.bool_]:
    if np.isnan(said):
        return np.isnan(cells)
    if not number:
        return np.asarray(cells == said)
    return np.asarray(cells >= said if said >= middle else cells <= said)


def linkability(
    dimensions: NDArray[np.int64], points: tuple[Points, Points, Points], columns: int, seed: int = 0
) -> Success:
    """How often both halves of a record's columns lead to the same synthetic record among the five nearest.

    Args:
        dimensions: which column each dimension of a point belongs to.
        points: of members, of others and of synthetic records.
        columns: how many there are.
        seed: of the halves.
    """
    half = np.random.default_rng(seed).permutation(columns)[: columns // 2]
    left = np.isin(dimensions, half)
    hits = []
    for x in points[:2]:
        a, b = (
            nearest(np.ascontiguousarray(x[:, side]), np.ascontiguousarray(points[2][:, side]), LINKS)[1]
            for side in (left, ~left)
        )
        hits.append(int((a[:, :, None] == b[:, None, :]).any(axis=(1, 2)).sum()))
    return success(hits[0], len(points[0]), hits[1], len(points[1]))
