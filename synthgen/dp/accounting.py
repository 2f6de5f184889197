"""Accounting: what Gaussian noise costs in epsilon, counted by two independent libraries, the larger one told.

Two records of a table are neighbours where one of them is added or removed. Every number returned errs on the safe
side: an epsilon is never too small, a rho or a noise that an epsilon pays for never too cheap.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from synthgen.dp.noise import library
from synthgen.errors import BudgetError

GAP, SHARE = 0.05, 0.01  # the accountants may differ by so much, and by so much of epsilon
FINE = 1e-9  # relative rounding to the safe side
LEAST, MOST = 0.3, 1e6  # noise multipliers that are tried: below, a step hides nothing worth the name
DIGITS = 1e-4  # of a noise multiplier that is sought
NEARLY = 0.997  # of epsilon is spent
COARSE = 1e-3  # of epsilon: steps of the privacy loss while noise is sought


def epsilon_of(rho: float, delta: float) -> float:
    """The least ε for which every ρ-zCDP mechanism is known to be (ε, δ)-DP.

    ε = min over α > 1 of αρ + log(1/(αδ)) / (α − 1) + log(1 − 1/α). Source: Canonne, Kamath and Steinke, The discrete
    Gaussian for differential privacy, 2020, Proposition 12; any α gives a valid bound.

    Raises:
        BudgetError: rho is negative, or delta is not in (0, 1).
    """
    _check(delta)
    if not rho >= 0:
        raise BudgetError(f"rho is {rho:g}; it must be at least 0")
    if rho == 0:
        return 0.0

    def bound(log_more: float) -> float:
        more = math.exp(log_more)  # α − 1
        return (1 + more) * rho - math.log(delta) / more - math.log1p(more) / more + log_more - math.log1p(more)

    # the optimum without the last terms is at α − 1 = sqrt(log(1/δ) / ρ)
    about = 0.5 * math.log(-math.log(delta) / rho)
    best = minimize_scalar(bound, bounds=(about - 12, about + 3), method="bounded", options={"xatol": 1e-9})
    return max(0.0, float(best.fun) * (1 + FINE))


def rho_of(epsilon: float, delta: float) -> float:
    """The largest ρ for which every ρ-zCDP mechanism is known to be (ε, δ)-DP: the inverse of `epsilon_of`.

    Raises:
        BudgetError: epsilon is not positive and finite, or delta is not in (0, 1).
    """
    _check(delta)
    _check_epsilon(epsilon)
    low, high = 0.0, epsilon  # the best α is beyond 1, so that ε ≥ ρ
    while epsilon_of(high, delta) <= epsilon:
        high *= 2
    while high - low > FINE / 10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of(middle, delta) <= epsilon else (low, middle)
    return low


class Run(NamedTuple):
    """Sums over Poisson samples with Gaussian noise, as a training makes them.

    Attributes:
        rate: probability that a record is in a step's sample.
        sigma: deviation of the noise over the largest norm of a record's part.
        steps: how many.
    """

    rate: float
    sigma: float
    steps: int


class Queries(NamedTuple):
    """Everything that was asked of some data, by what is known of its privacy loss.

    Attributes:
        runs: of trainings.
        gaussian: noise multipliers of sums of norm 1 with Gaussian noise.
        discrete: noise multipliers of counts, one of which a record changes by 1, with discrete Gaussian noise.
        rho: zCDP of all others.
    """

    runs: tuple[Run, ...] = ()
    gaussian: tuple[float, ...] = ()
    discrete: tuple[float, ...] = ()
    rho: float = 0.0


NOTHING = Queries()


def total_epsilon(asked: Queries, delta: float) -> float:
    """ε of everything that was asked, at a δ.

    Without a training by zCDP. With one, by the privacy loss distributions of dp-accounting (Koskela et al., 2020;
    Doroshenko et al., Connect the dots, 2022), in both directions, and by Opacus (Gopi et al., Numerical composition,
    2021), which must agree; half of delta then goes to queries of which only ρ is known.

    Raises:
        BudgetError: a number is out of bounds, or the accountants disagree.
        ResourceError: one of them is not installed.
    """
    _check(delta)
    _check_queries(asked)
    if not asked.runs:
        known = sum(1 / (2 * sigma**2) for sigma in asked.gaussian + asked.discrete)
        return epsilon_of(asked.rho + known, delta)
    if asked.rho:
        return total_epsilon(asked._replace(rho=0.0), delta / 2) + epsilon_of(asked.rho, delta / 2)
    alone = _pld(Queries(asked.runs), delta)
    other = _prv(asked.runs, delta, alone)
    if not abs(alone - other) <= GAP + SHARE * alone:
        raise BudgetError(
            f"two accountants disagree on epsilon: {alone:.4g} and {other:.4g} for "
            + " and ".join(f"{run.steps} steps at rate {run.rate:g} with noise {run.sigma:g}" for run in asked.runs)
            + f" and delta {delta:g}; nothing is promised on such numbers"
        )
    whole = _pld(asked, delta) if asked.gaussian or asked.discrete else alone
    return (whole + max(0.0, other - alone)) * (1 + FINE)


def noise_for(epsilon: float, delta: float, rate: float, steps: int, before: Queries = NOTHING) -> float:
    """The noise multiplier for which a training and what was asked before cost `epsilon` at most, and hardly less.

    Raises:
        BudgetError: what was asked before costs that much alone, or a number is out of bounds.
        ResourceError: an accountant is not installed.
    """
    _check(delta)
    _check_epsilon(epsilon)
    _check_queries(before._replace(runs=(*before.runs, Run(rate, 1.0, steps))))
    if before.rho:
        left = epsilon - epsilon_of(before.rho, delta / 2)
        if left <= 0:
            raise BudgetError(f"epsilon {epsilon:g} is spent before the training begins")
        return noise_for(left, delta / 2, rate, steps, before._replace(rho=0.0))

    def with_noise(sigma: float) -> Queries:
        return before._replace(runs=(*before.runs, Run(rate, sigma, steps)))

    def quick(sigma: float) -> float:
        return _pld(with_noise(sigma), delta, COARSE * epsilon)

    aim, sigma, best = epsilon, 1.0, math.inf
    for _ in range(8):  # sought by the quick accountant alone; both together may say more or, being finer, less
        sigma = _least(quick, aim)
        found = total_epsilon(with_noise(sigma), delta)
        best = sigma if found <= epsilon else best
        aim += (0.98 if found <= epsilon else 1.02) * (epsilon - found)
        if found > NEARLY * epsilon >= NEARLY * found or sigma == LEAST or aim <= 0:
            break
    if best == math.inf:
        raise BudgetError(f"epsilon {epsilon:g} is too small for {steps} steps and what else it pays for")
    return best


def _least(cost: Callable[[float], float], epsilon: float) -> float:
    """About the least noise multiplier that costs epsilon at most, to four digits."""

    def excess(log_sigma: float) -> float:
        return math.log(cost(math.exp(log_sigma)) / epsilon + 1e-12)

    high = 1.0
    while excess(math.log(high)) > 0:
        high *= 2
        if high > MOST:
            raise BudgetError(f"no noise makes a training and what else is paid for fit into epsilon {epsilon:g}")
    if high == 1.0 and excess(math.log(LEAST)) <= 0:
        return LEAST
    low = LEAST if high == 1.0 else high / 2
    return math.exp(brentq(excess, math.log(low), math.log(high), xtol=DIGITS)) * (1 + DIGITS)


def _pld(asked: Queries, delta: float, step: float = 1e-4) -> float:
    """ε by dp-accounting, to losses in steps of `step`."""
    losses = library("dp_accounting.pld.privacy_loss_distribution")
    parts = [_loss(run, step) for run in asked.runs]
    for sigma, times in Counter(asked.discrete).items():
        part = losses.from_discrete_gaussian_mechanism(sigma, 1, value_discretization_interval=step)
        parts.append(part.self_compose(times))
    if asked.gaussian:  # together they are one
        sigma = sum(s**-2 for s in asked.gaussian) ** -0.5
        parts.append(losses.from_gaussian_mechanism(sigma, value_discretization_interval=step))
    return float(reduce(lambda a, b: a.compose(b), parts).get_epsilon_for_delta(delta))


@lru_cache(maxsize=16)
def _loss(run: Run, step: float) -> Any:
    """The privacy loss distribution of a training."""
    losses = library("dp_accounting.pld.privacy_loss_distribution")
    one = losses.from_gaussian_mechanism(run.sigma, value_discretization_interval=step, sampling_prob=run.rate)
    return one.self_compose(run.steps)


@lru_cache(maxsize=16)
def _prv(runs: tuple[Run, ...], delta: float, about: float) -> float:
    """ε by Opacus, an upper bound that is finer where epsilon is about as small as that."""
    accountant = library("opacus.accountants").PRVAccountant()
    accountant.history = [(run.sigma, run.rate, run.steps) for run in runs]
    # it takes the logarithm of 1 − rate where the rate is 1, and Rényi divergences only to set its limits
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)
        return float(accountant.get_epsilon(delta, eps_error=min(0.01, max(0.001, about / 200))))


def _check(delta: float) -> None:
    if not 0 < delta < 1:
        raise BudgetError(f"delta is {delta:g}; Gaussian noise needs one in (0, 1)")


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < math.inf:
        raise BudgetError(f"epsilon is {epsilon:g}; it must be greater than 0 and finite")


def _check_queries(asked: Queries) -> None:
    for rate, sigma, steps in asked.runs:
        if not (0 < rate <= 1 and 0 < sigma < math.inf and steps >= 1):
            raise BudgetError(f"rate {rate:g}, noise {sigma:g} and {steps} steps make no training")
    if not (0 <= asked.rho < math.inf and all(0 < s < math.inf for s in asked.gaussian + asked.discrete)):
        raise BudgetError(f"rho is {asked.rho:g}, noise {asked.gaussian + asked.discrete}; neither may be negative")
