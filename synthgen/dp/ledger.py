"""Ledger: what was asked of some data, at which price, written down before any answer is used.

Fits may share a file; it is private, since it names the data by their fingerprint.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

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
            with _alone(path) as file:
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ResourceError(f"cannot write the ledger {path}: {error.strerror}; nothing was looked at") from error

    return keep


@contextmanager
def _alone(path: Path) -> Iterator[BinaryIO]:
    """A ledger to append whole lines to, while no other fit does."""
    _check_file(path)
    with path.open("ab+") as file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        end = file.seek(0, os.SEEK_END)
        if not end and os.name == "posix":
            _flush_folder(path.parent)  # a new file is on the disk once its name is
        file.seek(max(0, end - 1))
        if file.read() not in (b"", b"\n"):
            file.seek(0)
            last = file.read().rpartition(b"\n")[2]
            if _cut_off(last):
                file.truncate(end - len(last))
            else:
                file.write(b"\n")
        yield file


def _check_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise ResourceError(f"the ledger {path} is no plain file; give another")


def _flush_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _cut_off(last: bytes) -> bool:
    """Whether what follows the last line is a part of another, which a crash left.

    It does not count: a line is whole on the disk before anybody looks at the data, so that nobody had.
    """
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        return True
    return False


class Entry(NamedTuple):
    """A line of a ledger: the fingerprint of the data, the name of the fit, and what it asked."""

    source: str
    fit: str
    charge: Charge


def entries(path: str | Path) -> list[Entry]:
    """All lines of a ledger; none where there is no such file.

    Raises:
        BudgetError: the ledger cannot be read.
    """
    path = Path(path)
    if not path.exists():
        return []
    _check_file(path)
    try:
        *lines, last = path.read_bytes().split(b"\n")
        return [_entry(line) for line in (lines if _cut_off(last) else [*lines, last])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise BudgetError(f"the ledger {path} cannot be read; mend or move it, for it says what was spent") from error


def _entry(line: bytes) -> Entry:
    fields: dict[str, Any] = json.loads(line)
    source, fit, charge = fields.pop("source"), fields.pop("fit"), Charge(**fields)
    charge.check()
    if not all(isinstance(name, str) for name in (source, fit, charge.what)):
        raise ValueError("a name is no text")
    return Entry(source, fit, charge)


def recorded(path: str | Path, source: str) -> dict[str, list[Charge]]:
    """What a ledger holds of a source: the charges of each fit.

    Raises:
        BudgetError: the ledger cannot be read.
    """
    fits = dict[str, list[Charge]]()
    for entry in entries(path):
        if entry.source == source:
            fits.setdefault(entry.fit, []).append(entry.charge)
    return fits


def source_of(path: str | Path, fit: str) -> str | None:
    """The fingerprint of the data of a fit; None where the ledger does not hold it.

    Raises:
        BudgetError: the ledger cannot be read.
    """
    return next((entry.source for entry in entries(path) if entry.fit == fit), None)
