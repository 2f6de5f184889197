"""Ledger: what was asked of some data, at which price, written down before any answer is used.

Fits may share a file; it is private, since it names the data by their fingerprint.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from synthgen.dp.accounting import Queries, Run
from synthgen.errors import BudgetError, ResourceError

SAME = 1e-6  # relative error within which two figures agree
COUNTS, COUNTS_OF_MANY, SUM, TRAINING, CHOICE = MECHANISMS = (
    "discrete Gaussian",  # on counts, one of which a record changes by 1
    "discrete Gaussian in L2",  # on counts of which a person may change several
    "Gaussian",
    "Poisson-sampled Gaussian",
    "exponential",
)


class Charge(NamedTuple):
    """One entry of the ledger.

    Attributes:
        what: was asked.
        mechanism: that answered, one of MECHANISMS.
        scale: deviation of the noise over the sensitivity; of a choice its epsilon.
        rho: zCDP; of a training 0, since only accountants that know its sampling can count it.
        delta: that thresholds may let through.
        rate: probability that a record is in a step's sample.
        steps: of a training.
    """

    what: str
    mechanism: str
    scale: float
    rho: float
    delta: float = 0.0
    rate: float = 1.0
    steps: int = 1

    def check(self) -> None:
        """Raise ValueError where a figure is out of bounds, or the price is not that of the mechanism."""
        if self.mechanism not in MECHANISMS:
            raise ValueError(f"{self.what!r} names a mechanism {self.mechanism!r} that is not known")
        bounded = 0 < self.scale < math.inf and 0 <= self.rho < math.inf and 0 <= self.delta < 1
        if not (bounded and 0 < self.rate <= 1 and self.steps >= 1):
            raise ValueError(f"{self.what!r} has a price that is out of bounds, or negative")
        prices = {CHOICE: self.scale**2 / 8, TRAINING: 0.0}
        price = prices.get(self.mechanism, 1 / (2 * self.scale**2))
        if abs(price - self.rho) > SAME * price or (self.mechanism != TRAINING and (self.rate, self.steps) != (1, 1)):
            raise ValueError(f"the price of {self.what!r} is not that of its noise")


def queries(charges: Iterable[Charge]) -> Queries:
    """What was asked, as accountants count it."""
    charges = list(charges)

    def scales(mechanism: str) -> tuple[float, ...]:
        return tuple(c.scale for c in charges if c.mechanism == mechanism)

    runs = tuple(Run(c.rate, c.scale, c.steps) for c in charges if c.mechanism == TRAINING)
    rho = sum(c.rho for c in charges if c.mechanism in (COUNTS_OF_MANY, CHOICE))
    return Queries(runs, scales(SUM), scales(COUNTS), rho)


def keeper(path: str | Path, source: str) -> Callable[[str, Charge], None]:
    """A function that appends a fit's charges to a file, each on the disk before it returns.

    Args:
        path: of the ledger.
        source: the fingerprint of the data.
    """
    path = Path(path)

    def keep(fit: str, charge: Charge) -> None:
        line = json.dumps({"source": source, "fit": fit, **charge._asdict()}, ensure_ascii=False)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ResourceError(f"cannot write the ledger {path}: {error.strerror}; nothing was looked at") from error

    return keep


def recorded(path: str | Path, source: str) -> dict[str, list[Charge]]:
    """What a ledger holds of a source: the charges of each fit.

    Raises:
        BudgetError: the ledger cannot be read.
    """
    path, fits = Path(path), dict[str, list[Charge]]()
    if not path.exists():
        return fits
    try:
        for text in path.read_text("utf-8").splitlines():
            line: dict[str, Any] = json.loads(text)
            charge = Charge(**{k: v for k, v in line.items() if k not in ("source", "fit")})
            charge.check()
            if line["source"] == source:
                fits.setdefault(line["fit"], []).append(charge)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BudgetError(f"the ledger {path} cannot be read; mend or move it, for it says what was spent") from error
    return fits
