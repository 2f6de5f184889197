"""Accounting: what Gaussian noise costs in epsilon, counted by two independent libraries, the larger one told.

Two records of a table are neighbours where one of them is added or removed. Every number returned errs on the safe
side: an epsilon is never too small, a rho or a noise that an epsilon pays for never too cheap.
"""

import math
import warnings

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from synthgen.dp.noise import library
from synthgen.errors import BudgetError

GAP, SHARE = 0.05, 0.01  # the accountants may differ by so much, and by so much of epsilon
FINE = 1e-9  # relative rounding to the safe side
LEAST, MOST = 0.3, 1e6  # noise multipliers that are tried: below, a step hides nothing worth the name
COARSE = 3e-4  # steps of the privacy loss while noise is sought


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


def sgd_epsilon(
    rate: float, sigma: float, steps: int, delta: float, rho: float = 0.0, *, gaussian: bool = False
) -> float:
    """ε of `steps` sums over Poisson samples with Gaussian noise, together with other queries worth ρ.

    The accountants are the privacy loss distributions of dp-accounting (Koskela et al., 2020; Doroshenko et al.,
    Connect the dots, 2022), in both directions, and those of Opacus (Gopi et al., Numerical composition, 2021).

    Args:
        rate: probability that a record is in a step's sample.
        sigma: deviation of the noise over the largest norm of a record's part.
        steps: how many.
        delta: of the whole.
        rho: zCDP of the other queries.
        gaussian: whether these added Gaussian noise to sums and nothing else. Then they are counted as one such
            query, else as (ε, δ/2)-DP with half of delta left to the steps.

    Raises:
        BudgetError: a number is out of bounds, or the accountants disagree.
        ResourceError: one of them is not installed.
    """
    _check(delta)
    _check_steps(rate, sigma, steps, rho)
    if rho and not gaussian:
        return sgd_epsilon(rate, sigma, steps, delta / 2) + epsilon_of(rho, delta / 2)
    alone = _pld(rate, sigma, steps, delta)
    other = _prv(rate, sigma, steps, delta, alone)
    if not abs(alone - other) <= GAP + SHARE * alone:
        raise BudgetError(
            f"two accountants disagree on epsilon: {alone:.4g} and {other:.4g} for rate {rate:g}, "
            f"noise {sigma:g}, {steps} steps and delta {delta:g}; nothing is promised on such numbers"
        )
    whole = _pld(rate, sigma, steps, delta, rho) if rho else alone
    return (whole + max(0.0, other - alone)) * (1 + FINE)


def noise_for(
    epsilon: float, delta: float, rate: float, steps: int, rho: float = 0.0, *, gaussian: bool = False
) -> float:
    """The noise multiplier for which `sgd_epsilon` is `epsilon` at most, found to four digits.

    Raises:
        BudgetError: the other queries alone cost that much, or a number is out of bounds.
        ResourceError: an accountant is not installed.
    """
    _check(delta)
    _check_epsilon(epsilon)
    _check_steps(rate, 1.0, steps, rho)
    if rho and not gaussian:
        left = epsilon - epsilon_of(rho, delta / 2)
        if left <= 0:
            raise BudgetError(f"epsilon {epsilon:g} is spent before the training begins")
        return noise_for(left, delta / 2, rate, steps)
    aim = epsilon
    for _ in range(8):  # sought by the quick accountant alone; where both together say more, it has to aim lower
        sigma = _sigma(aim, delta, rate, steps, rho)
        found = sgd_epsilon(rate, sigma, steps, delta, rho, gaussian=gaussian)
        if found <= epsilon:
            return sigma
        aim -= 1.02 * (found - epsilon)
        if aim <= 0:
            break
    raise BudgetError(f"epsilon {epsilon:g} is too small for {steps} steps at rate {rate:g} and what else it pays for")


def _sigma(epsilon: float, delta: float, rate: float, steps: int, rho: float) -> float:
    """About the least noise multiplier of an epsilon, by dp-accounting."""
    step = min(COARSE, epsilon / 2000)

    def excess(log_sigma: float) -> float:
        return math.log(_pld(rate, math.exp(log_sigma), steps, delta, rho, step) / epsilon + 1e-12)

    high = 1.0
    while excess(math.log(high)) > 0:
        high *= 2
        if high > MOST:
            raise BudgetError(f"no noise makes {steps} steps and what else is paid for fit into epsilon {epsilon:g}")
    if high == 1.0 and excess(math.log(LEAST)) <= 0:
        return LEAST
    low = LEAST if high == 1.0 else high / 2
    return math.exp(brentq(excess, math.log(low), math.log(high), xtol=1e-5)) * (1 + 1e-5)


def _pld(rate: float, sigma: float, steps: int, delta: float, rho: float = 0.0, step: float = 1e-4) -> float:
    """ε by dp-accounting, to losses in steps of `step`; ρ is that of one Gaussian query on all records."""
    package = library("dp_accounting")
    accountant = library("dp_accounting.pld").PLDAccountant(package.NeighboringRelation.ADD_OR_REMOVE_ONE, step)
    accountant.compose(package.PoissonSampledDpEvent(rate, package.GaussianDpEvent(sigma)), steps)
    if rho:
        accountant.compose(package.GaussianDpEvent(1 / math.sqrt(2 * rho)))
    return float(accountant.get_epsilon(delta))


def _prv(rate: float, sigma: float, steps: int, delta: float, about: float) -> float:
    """ε by Opacus, an upper bound that is finer where epsilon is about as small as that."""
    accountant = library("opacus.accountants").PRVAccountant()
    accountant.history = [(sigma, rate, steps)]
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


def _check_steps(rate: float, sigma: float, steps: int, rho: float) -> None:
    if not (0 < rate <= 1 and 0 < sigma < math.inf and steps >= 1 and 0 <= rho < math.inf):
        raise BudgetError(f"rate {rate:g}, noise {sigma:g}, {steps} steps and rho {rho:g} make no training")
