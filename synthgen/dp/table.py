"""PrivateTable: raw data behind a budget. It answers questions whose price is paid before; it has no other face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.dp.budget import Budget
from synthgen.dp.cells import FORMS, NOTHING, PARTS, date_forms, forms, stamps, texts, values, without_markers
from synthgen.dp.ledger import COUNTS, COUNTS_OF_MANY, Charge
from synthgen.dp.noise import discrete_gaussian, threshold, uniform
from synthgen.errors import BudgetError, SynthgenError, near
from synthgen.formats import DateFormat

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class PrivateTable:
    """A table of which only noisy counts are told.

    Neighbouring tables differ by all records of one person, of whom `most` are kept. Each record counts in one cell of
    an answer, so that a person changes it by at most `most` in L1, hence in L2: that is the sensitivity, and the noise
    grows with it while prices stay. Which records are kept is drawn for each person apart from the others, so that
    nobody's presence changes whose other records are kept. What is public: the names of the columns and the types in
    which their cells are stored.

    Args:
        data: the raw table.
        budget: that every answer is charged to.
        unit: the column that says whose a record is; it is not modelled. A record without one is a person of its own,
            as all are where this is "".
        most: how many records of a person are kept, at random.

    Attributes:
        names: of the columns, but for the unit.
        sensitivity: how far one person moves any answer.
        formats: how to read those columns that hold dates; who learned it says it here.

    Raises:
        SynthgenError: there is no such column.
        BudgetError: no record would be kept.
    """

    def __init__(self, data: pa.Table, budget: Budget, unit: str = "", most: int = 1) -> None:
        if unit and unit not in data.column_names:
            raise SynthgenError(f"there is no column {unit!r}; {near(unit, data.column_names)}")
        if most < 1:
            raise BudgetError(f"of each person {most} records would be kept; it must be at least 1")
        persons = _persons(texts(data[unit])) if unit else np.arange(len(data))
        kept = _some_of_each(persons, most) if unit else persons
        self.names, self.budget = [name for name in data.column_names if name != unit], budget
        self.sensitivity, self.formats = most if unit else 1, dict[str, DateFormat]()
        self._persons, self._rows = persons[kept], len(kept)
        self._cells = {name: without_markers(texts(data[name])).take(pa.array(kept)) for name in self.names}

    def deviation(self, rho: float) -> float:
        """Of the noise of a count that costs `rho`."""
        return self.sensitivity * sigma_of(rho)

    def count(self, rho: float) -> int:
        """About how many records there are, at least 1."""
        return max(1, int(self._noisy("number of records", np.array([self._rows]), rho)[0]))

    def forms(self, name: str, rho: float) -> dict[str, int]:
        """About how many cells are missing, whole numbers, numbers of so many decimals, dates, or other texts."""
        counts = np.bincount(forms(self._cells[name]), minlength=len(FORMS))
        return dict(zip(FORMS, self._noisy(f"forms of the cells of {name!r}", counts, rho).tolist(), strict=True))

    def date_forms(self, name: str, part: str, rho: float) -> dict[str, int]:
        """About how many dates of a column have each form of a part of them: their "day", "time" or "step"."""
        counts = np.bincount(date_forms(self._cells[name], part), minlength=len(PARTS[part]))
        noisy = self._noisy(f"forms of the dates of {name!r}: {part}", counts, rho)
        return dict(zip(PARTS[part], noisy.tolist(), strict=True))

    def labels(self, name: str, rho: float, delta: float) -> dict[str, int]:
        """About how often each text occurs in a column, of those that pass a threshold; missing ones count as "".

        One person alone holds at most `most` texts, each at most `most` times. The threshold lets each of them pass
        with a probability of at most delta / most (`noise.threshold`), hence any of them of at most `delta`. Where
        none passes, the answer is that about the other texts, whose counts the person moves by at most `most` in L2.
        """
        counts = pc.value_counts(self._cells[name])
        counts = counts.take(pc.array_sort_indices(counts.field(0)))  # the order in which they occur tells of records
        noisy = self._noisy(f"labels of {name!r}", np.asarray(counts.field(1), dtype=np.int64), rho, delta)
        least = threshold(self.deviation(rho), delta, self.sensitivity)
        return {text: int(n) for text, n in zip(counts.field(0).to_pylist(), noisy, strict=True) if n >= least}

    def histogram(self, name: str, edges: Floats, rho: float, without: Sequence[str] = ()) -> Ints:
        """About how many values of a column lie between edges, the ends taking what lies beyond.

        Args:
            name: of the column; of dates where `formats` says how to read it, else of numbers. Other cells do not
                count.
            edges: ascending, one more than there are bins; dates are in units of their format since 1970.
            rho: the price.
            without: texts that are not counted, since they are known already.
        """
        cells = self._cells[name]
        kept = pc.invert(pc.is_in(cells, pa.array([*without], pa.string())))
        held = values(cells.filter(kept), self.formats.get(name))
        inside = np.clip(held[~np.isnan(held)], edges[0], np.nextafter(edges[-1], -np.inf))
        return self._noisy(f"histogram of {name!r}", np.histogram(inside, edges)[0], rho)

    def cells(self, numeric: Sequence[str]) -> pa.Table:
        """The raw cells: numbers where columns are numeric, timestamps where `formats` names them, else texts.

        They are null where a cell is missing or cannot be read. For a codec that encodes each record on its own; what
        comes of it must go behind the budget again (`PrivateRecords`).
        """
        return pa.table({name: self._typed(name, name in numeric) for name in self.names})

    def persons(self) -> Ints:
        """Whose each record is, as codes (records,) in the order of `cells`: raw, for what bounds each person's part.

        What comes of it must go behind the budget again.
        """
        return self._persons

    def _typed(self, name: str, number: bool) -> pa.Array:
        cells, date = self._cells[name], self.formats.get(name)
        if number:
            return pa.array(values(cells), from_pandas=True)
        return stamps(values(cells, date), date) if date else pc.if_else(pc.equal(cells, ""), NOTHING, cells)

    def _noisy(self, what: str, counts: NDArray[np.int64], rho: float, delta: float = 0.0) -> Ints:
        """Counts with noise; the ledger keeps its deviation for a sensitivity of 1, from which the price follows."""
        mechanism = COUNTS if self.sensitivity == 1 else COUNTS_OF_MANY
        self.budget.charge(Charge(what, mechanism, sigma_of(rho), rho, delta))
        return discrete_gaussian(np.asarray(counts, dtype=np.int64), self.deviation(rho))


def sigma_of(rho: float) -> float:
    """Deviation of the noise of a count whose sensitivity is 1."""
    return float(np.sqrt(1 / (2 * rho)))


def _persons(names: pa.Array) -> Ints:
    """Codes (n,) of persons from what they are called; who is called "" is no one else."""
    codes = np.array(pc.dictionary_encode(names).indices, dtype=np.int64)
    alone = np.asarray(pc.equal(names, ""))
    return np.where(alone, len(names) + np.arange(len(names)), codes)


def _some_of_each(persons: Ints, most: int) -> Ints:
    """Indices, ascending, of at most so many records of each person (n,), drawn at random."""
    order = np.argsort(uniform(len(persons)))
    order = order[np.argsort(persons[order], kind="stable")]
    grouped = persons[order]
    rank = np.arange(len(order)) - np.searchsorted(grouped, grouped)  # of a record among its person's
    return np.sort(order[rank < most])
