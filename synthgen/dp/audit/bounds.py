"""Bounds: what right guesses prove of a privacy loss. Each is a lower bound of epsilon, with a stated confidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats


def chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """The largest probability of so many right guesses or more against any (ε, δ)-DP mechanism.

    P(W ≥ v) + 2 m δ max over i in 1…v of P(v > W ≥ v − i) / i for W ~ Binomial(r, e^ε / (e^ε + 1)). Source: Steinke,
    Nasr and Jagielski, Privacy auditing with one (1) training run, 2023, the main theorem.

    Args:
        canaries: m, records that were each left in or out by a fair coin.
        guesses: r, of which a guess was made; of the others nothing was said.
        right: v, guesses that were right.
        epsilon: at least 0.
        delta: in [0, 1].
    """
    if not 0 <= right <= guesses <= canaries:
        raise ValueError(f"{right} right ones of {guesses} guesses about {canaries} canaries")
    right_at_random: Any = stats.binom(guesses, 1 / (1 + math.exp(-epsilon)))
    i = np.arange(1, right + 1)
    nearly = np.cumsum(right_at_random.pmf(right - i)) / i
    return min(1.0, float(right_at_random.sf(right - 1) + 2 * canaries * delta * nearly.max(initial=0.0)))


def bound_of_guesses(canaries: int, guesses: int, right: int, delta: float, confidence: float) -> float:
    """The largest ε, to six digits, that so many right guesses rule out; 0 where they rule out none."""

    def ruled_out(epsilon: float) -> bool:
        return chance(canaries, guesses, right, epsilon, delta) < 1 - confidence

    return _largest(ruled_out) if ruled_out(0.0) else 0.0


def _largest(holds: Callable[[float], bool]) -> float:
    """The largest number for which something holds that holds at 0, by bisection."""
    low, high = 0.0, 1.0
    while holds(high):
        low, high = high, 2 * high
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def bound_of_games(times: int, with_it: int, without: int, delta: float, confidence: float) -> float:
    """The ε that an event proves which happened so often in as many games with a record and without it; at least 0.

    Of neighbours, P ≤ e^ε Q + δ for the event and for its opposite, both ways. The four probabilities are taken from
    Clopper and Pearson's intervals. Source: Jagielski, Ullman and Oprea, Auditing differentially private machine
    learning, 2020.
    """
    (low, high), (other_low, other_high) = (_interval(times, n, (1 + confidence) / 2) for n in (with_it, without))
    pairs = [(low, other_high), (other_low, high), (1 - high, 1 - other_low), (1 - other_high, 1 - low)]
    return max(0.0, *(math.log((p - delta) / q) for p, q in pairs if p > delta))


def _interval(times: int, happened: int, confidence: float) -> tuple[float, float]:
    """Of a probability. Source: Clopper and Pearson, The use of confidence or fiducial limits, 1934."""
    found = stats.binomtest(happened, times).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)
