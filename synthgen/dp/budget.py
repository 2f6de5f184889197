"""Budget: epsilon and delta of one fit, a hard cap, and the ledger of what was spent on what."""

from typing import NamedTuple

from synthgen.errors import BudgetError


class Charge(NamedTuple):
    """One entry of the ledger."""

    what: str
    epsilon: float
    delta: float


class Budget:
    """A cap on the privacy loss of one fit; every look at the data is charged before its result is used.

    Charges are added up (basic composition), which is an upper bound for any mechanisms.

    Args:
        epsilon: greater than 0.
        delta: in [0, 1).

    Raises:
        BudgetError: a parameter is out of bounds.
    """

    def __init__(self, epsilon: float, delta: float) -> None:
        if not epsilon > 0:
            raise BudgetError(f"epsilon is {epsilon:g}; it must be greater than 0")
        if not 0 <= delta < 1:
            raise BudgetError(f"delta is {delta:g}; it must be in [0, 1)")
        self.epsilon, self.delta = epsilon, delta
        self.ledger: list[Charge] = []

    def charge(self, what: str, epsilon: float, delta: float = 0.0) -> None:
        """Enter a price in the ledger.

        Raises:
            BudgetError: the price is negative, or it would exceed the cap; then nothing is entered.
        """
        if not (epsilon >= 0 and delta >= 0):
            raise BudgetError(f"{what} has a negative price")
        spent = sum(c.epsilon for c in self.ledger) + epsilon, sum(c.delta for c in self.ledger) + delta
        if spent[0] > self.epsilon * (1 + 1e-9) or spent[1] > self.delta * (1 + 1e-9):
            raise BudgetError(
                f"{what} costs epsilon {epsilon:g} and delta {delta:g}, more than is left of "
                f"epsilon {self.epsilon:g} and delta {self.delta:g}"
            )
        self.ledger.append(Charge(what, epsilon, delta))
