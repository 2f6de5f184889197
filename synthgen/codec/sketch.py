"""What is known of columns with too many distinct values to count them all: candidates from a sample, counted exactly.

A uniform sample of the rows names the values and borders that matter; one pass over all rows then counts them. Every
count is exact: what is only about right is where a cell ends, by the share of records that one bin holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthgen.codec.categorical import check_declared, fit_categorical
from synthgen.codec.fit import Known, made
from synthgen.codec.made import Prefixes, Words, fit_id
from synthgen.codec.numeric import Floats, Ints, fit_numeric
from synthgen.codec.rare import RARE
from synthgen.codec.table import ColumnCodec
from synthgen.schema import Column
from synthgen.tally import Tally

SAMPLE = 131_072  # rows that candidates are found in
BINS = 16_384  # of a number, about as many records in each


class Sketch(Known):
    """Counts a column's values block by block, as its codec takes them; counts of parts are merged."""

    def add(self, values: Any) -> None:
        """Count the values of a block."""
        raise NotImplementedError

    def merge(self, other: Any) -> None:
        """Count all that another has, which began with the same candidates."""
        raise NotImplementedError


class Numbers(Sketch):
    """Records in each of many bins, with the extremes of each bin; repeated values have their own."""

    def __init__(self, sample: Floats) -> None:
        values, counts = np.unique(sample[~np.isnan(sample)], return_counts=True)
        atoms = values[counts > 1]
        borders = np.repeat(values, counts)[:: max(1, -(-int(counts.sum()) // BINS))]
        self.edges = np.unique(np.concatenate([borders, atoms, np.nextafter(atoms, np.inf)]))
        bins = len(self.edges) + 1
        self.counts, self.missing = np.zeros(bins, np.int64), 0
        self.low, self.high = np.full(bins, np.inf), np.full(bins, -np.inf)
        self.least, self.most = np.zeros(0), np.zeros(0)  # of all records, the RARE at each end

    def add(self, values: Floats) -> None:
        """Count numbers, NaN where missing."""
        held = values[~np.isnan(values)]
        self.missing += len(values) - len(held)
        place = np.searchsorted(self.edges, held, side="right")
        self.counts += np.bincount(place, minlength=len(self.counts))
        np.minimum.at(self.low, place, held)
        np.maximum.at(self.high, place, held)
        self._keep_ends(held, held)

    def merge(self, other: Numbers) -> None:
        """Count all that another has."""
        self.missing += other.missing
        self.counts += other.counts
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        self._keep_ends(other.least, other.most)

    def _keep_ends(self, least: Floats, most: Floats) -> None:
        self.least = np.sort(np.append(self.least, least))[:RARE]
        self.most = np.sort(np.append(self.most, most))[-RARE:]

    def points(self) -> tuple[Floats, Ints]:
        """Values, each of which some record holds, and how many records each stands for; a bin's are its extremes.

        The outermost records stand for themselves, so that no more is told of them than of a table in memory.
        """
        ends, counts = np.concatenate([self.least, self.most]), self.counts.copy()
        np.subtract.at(counts, np.searchsorted(self.edges, ends, side="right"), 1)
        full = counts > 0
        low, high = np.maximum(self.low[full], self.least[-1]), np.minimum(self.high[full], self.most[0])
        half = counts[full] // 2
        return np.concatenate([ends, low, high]), np.concatenate(
            [np.ones(len(ends), np.int64), half, counts[full] - half]
        )

    def codec(self, column: Column, limit: int, keep_rare: bool) -> tuple[ColumnCodec, list[str]]:
        """What `Known.codec` says."""
        values, counts = self.points()
        if self.missing:
            values, counts = np.append(values, np.nan), np.append(counts, self.missing)
        return fit_numeric(values, column, limit, keep_rare, counts), []


class Labels(Sketch):
    """Records that hold each of some labels, and how many hold others."""

    def __init__(self, column: Column, tally: Tally, sample: pa.Array) -> None:
        found = pc.value_counts(sample.drop_null())
        often = found.field(0).filter(pc.greater(found.field(1), 1))
        often = often if len(often) else found.field(0)[:1]
        self.column, self.distinct = column, tally.distinct
        self.labels = pc.unique(pa.concat_arrays([pa.array(column.categories or (), pa.string()), often]))
        self.counts = np.zeros(len(self.labels), np.int64)
        self.others = self.missing = 0

    def add(self, values: pa.Array) -> None:
        """Count labels, null where missing."""
        place = pc.index_in(values, self.labels)
        self.counts += np.bincount(np.asarray(place.drop_null()), minlength=len(self.counts))
        self.missing += values.null_count
        self.others += place.null_count - values.null_count
        if self.column.categories is not None:
            check_declared(pc.unique(values.drop_null()).to_pylist(), self.column)

    def merge(self, other: Labels) -> None:
        """Count all that another has."""
        self.counts += other.counts
        self.missing, self.others = self.missing + other.missing, self.others + other.others

    def codec(self, column: Column, limit: int, keep_rare: bool) -> tuple[ColumnCodec, list[str]]:
        """What `Known.codec` says."""
        cells = pa.concat_arrays([self.labels, pa.array([None], pa.string())])
        unlisted = max(0, self.distinct - len(self.labels)), self.others
        return fit_categorical(cells, column, limit, keep_rare, np.append(self.counts, self.missing), unlisted)


class Made(Sketch):
    """What none of the made cells may repeat, and how the cells are written."""

    def __init__(self, column: Column, tally: Tally) -> None:
        self.tally, self.seen = tally, Prefixes() if column.kind == "id" else Words()
        self.records = self.missing = 0

    def add(self, values: pa.Array) -> None:
        """Look at texts, null where missing."""
        self.records += len(values)
        self.missing += values.null_count
        self.seen.add(values.drop_null().to_pylist())

    def merge(self, other: Made) -> None:
        """Know all that another knows."""
        self.records, self.missing = self.records + other.records, self.missing + other.missing
        self.seen.merge(other.seen)  # type: ignore[arg-type]  # both are of one column

    def codec(self, column: Column, limit: int, keep_rare: bool) -> tuple[ColumnCodec, list[str]]:
        """What `Known.codec` says."""
        share = self.missing / self.records
        if isinstance(self.seen, Words):
            return self.seen.fit(share), [made(column)]
        gone = {*column.missing, ""}
        texts = [t for t in pc.cast(self.tally.present[0], pa.string()).to_pylist() if t not in gone]
        return fit_id(texts, share, self.seen.taken), [made(column)]


def sketch(column: Column, tally: Tally, sample: Any) -> Sketch:
    """What counts a column.

    Args:
        column: what it is.
        tally: some of its distinct cells.
        sample: values of some rows, as its codec takes them.
    """
    if column.kind in ("numeric", "datetime"):
        return Numbers(sample)
    return Made(column, tally) if column.kind in ("id", "text") else Labels(column, tally, sample)
