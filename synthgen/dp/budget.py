"""Budget: epsilon and delta of one fit, a hard cap, and the ledger of what was spent on what.

Prices are those of zero-concentrated differential privacy (Bun and Steinke 2016), which add up; what a threshold may
let through is paid in delta. Neighbouring tables differ by one record, added or removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from synthgen.dp.accounting import noise_for, rho_of, total_epsilon
from synthgen.dp.ledger import SUM, TRAINING, Charge, queries
from synthgen.errors import BudgetError

THRESHOLDS = 0.1  # of delta, for labels that thresholds may let through
MOST_EPSILON, MOST_STEPS = 20, 1_000_000  # of trainings
FINE = 1e-9  # relative: what rounding may add


def _forget(fit: str, charge: Charge) -> None:
    """No ledger is kept."""


class Budget:
    """A cap on the privacy loss of one fit; every look at the data is charged before its result is used.

    Args:
        epsilon: greater than 0.
        delta: in (0, 1).
        keep: called with the fit's name and each charge before it counts, to write it where it survives a crash.

    Raises:
        BudgetError: a parameter is out of bounds.
    """

    def __init__(self, epsilon: float, delta: float, keep: Callable[[str, Charge], None] = _forget) -> None:
        if not 1e-6 <= epsilon < 1e6:
            raise BudgetError(f"epsilon is {epsilon:g}; it must be greater than 0, and at least 1e-6")
        if not 1e-100 <= delta < 1:
            raise BudgetError(f"delta is {delta:g}; it must lie between 0 and 1, such as 1e-6")
        self.epsilon, self.delta, self.keep = epsilon, delta, keep
        self.rho, self.thresholds = rho_of(epsilon, delta * (1 - THRESHOLDS)), delta * THRESHOLDS
        self.ledger: list[Charge] = []
        self.fit = os.urandom(8).hex()  # its name in ledger and certificate

    @property
    def left(self) -> float:
        """What is left of rho where there was no training; after one nothing is left but what it reserved."""
        return self.rho - sum(c.rho for c in self.ledger)

    def charge(self, charge: Charge) -> None:
        """Enter a price in the ledger; it is written down before this returns.

        Raises:
            BudgetError: there is no such price, or it would exceed the cap; then nothing is entered.
        """
        try:
            charge.check()
        except ValueError as error:
            raise BudgetError(str(error)) from error
        passed = sum(c.delta for c in self.ledger) + charge.delta
        if self._cost(charge) > self.epsilon * (1 + FINE) or passed > self.thresholds * (1 + FINE):
            raise BudgetError(
                f"{charge.what} costs rho {charge.rho:g} and delta {charge.delta:g}, more than is left of "
                f"epsilon {self.epsilon:g} and delta {self.delta:g}"
            )
        self.keep(self.fit, charge)
        self.ledger.append(charge)

    def training(self, what: str, rate: float, steps: int, later: float = 0.0) -> float:
        """Charge a training with all that is left but a share of rho; the noise multiplier that it must have.

        Args:
            what: is trained.
            rate: probability that a record is in a step's sample.
            steps: how many.
            later: share of the whole rho to leave for queries after it.

        Raises:
            BudgetError: too little is left.
        """
        rest = [Charge("later", SUM, (2 * later * self.rho) ** -0.5, later * self.rho)] if later else []
        sigma = noise_for(self.epsilon, self._delta, rate, steps, queries([*self.ledger, *rest]))
        self.charge(Charge(what, TRAINING, sigma, 0.0, rate=rate, steps=steps))
        return sigma

    def spent(self) -> float:
        """Epsilon of all charges at this delta."""
        return self._cost()

    @property
    def _delta(self) -> float:
        return self.delta * (1 - THRESHOLDS)

    def _cost(self, *more: Charge) -> float:
        return total_epsilon(queries([*self.ledger, *more]), self._delta)


def check_training(budget: Budget, steps: int) -> None:
    """Raise BudgetError where accountants could not count a training in bearable time, before anything is charged."""
    if budget.epsilon > MOST_EPSILON:
        raise BudgetError(f"epsilon {budget.epsilon:g} promises nothing of a training; choose {MOST_EPSILON} at most")
    if steps > MOST_STEPS:
        raise BudgetError(f"{steps} steps are more than a budget can count; choose {MOST_STEPS} at most")
