"""Budget: epsilon and delta of one fit, a hard cap, and the ledger of what was spent on what.

Prices are those of zero-concentrated differential privacy (Bun and Steinke 2016), which add up; what a threshold may
let through is paid in delta. Neighbouring tables differ by one record, added or removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from synthgen.dp.accounting import epsilon_of, rho_of
from synthgen.errors import BudgetError, ResourceError

THRESHOLDS = 0.1  # of delta, for labels that thresholds may let through


class Charge(NamedTuple):
    """One entry of the ledger: what was asked, how it was answered, with which noise, at which price."""

    what: str
    mechanism: str
    scale: float
    rho: float
    delta: float = 0.0


class Budget:
    """A cap on the privacy loss of one fit; every look at the data is charged before its result is used.

    Args:
        epsilon: greater than 0.
        delta: in (0, 1).
        keep: called with each charge before it counts, to write it where it survives a crash.

    Raises:
        BudgetError: a parameter is out of bounds.
    """

    def __init__(self, epsilon: float, delta: float, keep: Callable[[Charge], None] = lambda charge: None) -> None:
        if not 0 < epsilon < 1e6:
            raise BudgetError(f"epsilon is {epsilon:g}; it must be greater than 0")
        if not 0 < delta < 1:
            raise BudgetError(f"delta is {delta:g}; it must lie between 0 and 1, such as 1e-6")
        self.epsilon, self.delta, self.keep = epsilon, delta, keep
        self.rho, self.thresholds = rho_of(epsilon, delta * (1 - THRESHOLDS)), delta * THRESHOLDS
        self.ledger: list[Charge] = []

    @property
    def left(self) -> float:
        """What is left of rho."""
        return self.rho - sum(c.rho for c in self.ledger)

    def charge(self, charge: Charge) -> None:
        """Enter a price in the ledger; it is written down before this returns.

        Raises:
            BudgetError: the price is negative, or it would exceed the cap; then nothing is entered.
        """
        if not (charge.rho >= 0 and charge.delta >= 0):
            raise BudgetError(f"{charge.what} has a negative price")
        spent = sum(c.delta for c in self.ledger) + charge.delta
        if charge.rho > self.left + 1e-9 * self.rho or spent > self.thresholds * (1 + 1e-9):
            raise BudgetError(
                f"{charge.what} costs rho {charge.rho:g} and delta {charge.delta:g}, more than is left of "
                f"epsilon {self.epsilon:g} and delta {self.delta:g}"
            )
        self.keep(charge)
        self.ledger.append(charge)

    def spent(self) -> float:
        """Epsilon of all charges at this delta."""
        return epsilon_of(sum(c.rho for c in self.ledger), self.delta * (1 - THRESHOLDS))


def keeper(path: str | Path, source: str) -> Callable[[Charge], None]:
    """A function that appends charges to a file, each on the disk before it returns.

    Args:
        path: of the ledger, which many fits may share; private, since it names the data.
        source: the fingerprint of the data.
    """
    path = Path(path)

    def keep(charge: Charge) -> None:
        line = json.dumps({"source": source, "fit": fit, **charge._asdict()}, ensure_ascii=False)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ResourceError(f"cannot write the ledger {path}: {error.strerror}; nothing was looked at") from error

    fit = os.urandom(8).hex()
    return keep


def recorded(path: str | Path, source: str) -> tuple[float, float, int]:
    """What a ledger holds of a source: rho, delta, and the number of fits.

    Raises:
        BudgetError: the ledger cannot be read.
    """
    path = Path(path)
    if not path.exists():
        return 0.0, 0.0, 0
    try:
        lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
        own = [line for line in lines if line["source"] == source]
        return sum(c["rho"] for c in own), sum(c["delta"] for c in own), len({c["fit"] for c in own})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BudgetError(f"the ledger {path} cannot be read; mend or move it, for it says what was spent") from error
