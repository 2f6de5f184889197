"""Statistics: intervals and tests that the metrics share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.05  # of what is called found; intervals hold with 1 - LEVEL

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A figure with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def proportion(hits: float, n: float, level: float = LEVEL) -> Estimate:
    """A share of n with the exact interval of Clopper and Pearson (1934); halves of hits count as they are."""
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0)
    low = stats.beta.ppf(level / 2, hits, n - hits + 1) if hits > 0 else 0.0
    high = stats.beta.ppf(1 - level / 2, hits + 1, n - hits) if hits < n else 1.0
    return Estimate(hits / n, float(low), float(high))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """The difference of two independent shares, with the interval of Newcombe (1998) from theirs."""
    value = a.value - b.value
    low = value - np.hypot(a.value - a.low, b.high - b.value)
    return Estimate(value, float(low), float(value + np.hypot(a.high - a.value, b.value - b.low)))


def placements(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """For each positive score the share of negative ones below it, and for each negative of positive ones above it.

    Ties count half. The mean of either is the AUC.
    """

    def below(x: Floats, among: Floats) -> Floats:
        ordered = np.sort(among)
        less, least = (np.searchsorted(ordered, x, side=side) for side in ("left", "right"))
        return np.asarray((less + least) / (2 * len(among)))

    return below(positive, negative), 1 - below(negative, positive)


def auc(positive: list[Floats], negative: list[Floats], level: float = LEVEL) -> Estimate:
    """AUC, averaged over folds whose scores are not comparable, with the interval of DeLong (1988).

    Args:
        positive: scores of what should score high, by fold.
        negative: of what should score low.
        level: one minus the coverage of the interval.
    """
    parts = [placements(p, n) for p, n in zip(positive, negative, strict=True)]
    a, b = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    value = float(np.mean([part[0].mean() for part in parts]))
    deviation = float(np.sqrt(a.var() / len(a) + b.var() / len(b)))
    reach = float(stats.norm.ppf(1 - level / 2)) * max(deviation, 0.5 / min(len(a), len(b)))
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))


def above_chance(m: int, n: int, place: int, level: float) -> float:
    """How many of m scores lie above the `place`-th highest of n others, at most, if all come from one distribution.

    Exact: the count is beta-binomial with (place, n + 1 - place), whatever the distribution.
    """
    return float(stats.betabinom.ppf(1 - level, m, place, n + 1 - place))


def spread(samples: list[float], value: float, level: float = LEVEL) -> Estimate:
    """A value with an interval from the deviation of its bootstrap samples, whose mean a distance would shift."""
    reach = float(stats.norm.ppf(1 - level / 2) * np.std(samples))
    return Estimate(value, value - reach, value + reach)
