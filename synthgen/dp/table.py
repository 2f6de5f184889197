"""PrivateTable: raw data behind a budget. It answers questions whose price is paid before; it has no other face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.dp.budget import Budget, Charge
from synthgen.dp.noise import discrete_gaussian, threshold

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DECIMALS = {"whole": 0, **{f"decimals {k}": k for k in range(1, 7)}, "decimals 8": 8}  # 8: or more, or an exponent
FORMS = ("missing", *DECIMALS, "text")  # a cell has one of them
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
MARKERS = ("", "NA", "N/A", "n/a", "na", "NaN", "nan", "NULL", "null", "Null", "None", "none", "?")


class PrivateTable:
    """A table of which only noisy counts are told.

    Adding or removing one record changes each of these counts by one in a single cell, so that the sensitivity of
    every answer is 1. What is public: the names of the columns and the types in which their cells are stored.

    Args:
        data: the raw table.
        budget: that every answer is charged to.
    """

    def __init__(self, data: pa.Table, budget: Budget) -> None:
        self._cells = {name: _texts(data[name]) for name in data.column_names}
        self._rows = len(data)
        self.names, self.budget = list(data.column_names), budget

    def count(self, rho: float) -> int:
        """About how many records there are, at least 1."""
        return max(1, int(self._noisy("number of records", np.array([self._rows]), rho)[0]))

    def forms(self, name: str, rho: float) -> dict[str, int]:
        """About how many cells of a column are missing, whole numbers, numbers with so many decimals, other texts."""
        cells = self._cells[name]
        found = pc.fill_null(pc.index_in(_forms(cells), pa.array(FORMS)), 0)
        counts = np.bincount(np.asarray(found), minlength=len(FORMS))
        return dict(zip(FORMS, self._noisy(f"forms of the cells of {name!r}", counts, rho).tolist(), strict=True))

    def labels(self, name: str, rho: float, delta: float) -> dict[str, int]:
        """About how often each text occurs in a column, of those that pass a threshold; missing ones count as "".

        A text that only one record holds passes with a probability of at most `delta`.
        """
        counts = pc.value_counts(self._cells[name])
        counts = counts.take(pc.array_sort_indices(counts.field(0)))  # the order in which they occur tells of records
        noisy = self._noisy(f"labels of {name!r}", np.asarray(counts.field(1), dtype=np.int64), rho, delta)
        least = threshold(sigma_of(rho), delta)
        return {text: int(n) for text, n in zip(counts.field(0).to_pylist(), noisy, strict=True) if n >= least}

    def histogram(self, name: str, edges: Floats, rho: float, without: Sequence[str] = ()) -> Ints:
        """About how many numbers of a column lie between edges, the ends taking what lies beyond; no number counts not.

        Args:
            name: of the column.
            edges: ascending, one more than there are bins.
            rho: the price.
            without: texts that are not counted, since they are known already.
        """
        cells = self._cells[name]
        kept = pc.invert(pc.is_in(cells, pa.array([*without], pa.string())))
        values = _numbers(cells.filter(kept))
        counts = np.histogram(np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf)), edges)[0]
        return self._noisy(f"histogram of {name!r}", counts, rho)

    def cells(self, numeric: Sequence[str]) -> pa.Table:
        """The raw cells, numbers where columns are numeric: for a codec that encodes each record on its own.

        What comes of it must go behind the budget again (`PrivateRecords`).
        """
        return pa.table({name: _floats(c) if name in numeric else _nulls(c) for name, c in self._cells.items()})

    def _noisy(self, what: str, counts: NDArray[np.int64], rho: float, delta: float = 0.0) -> Ints:
        sigma = sigma_of(rho)
        self.budget.charge(Charge(what, "discrete Gaussian", sigma, rho, delta))
        return discrete_gaussian(np.asarray(counts, dtype=np.int64), sigma)


def sigma_of(rho: float) -> float:
    """Deviation of the noise of a count whose sensitivity is 1."""
    return float(np.sqrt(1 / (2 * rho)))


def _texts(cells: pa.ChunkedArray) -> pa.Array:
    """Cells as texts; what says that there is no value becomes ""."""
    flat = cells.combine_chunks()
    if pa.types.is_dictionary(flat.type):
        flat = pc.cast(flat, flat.type.value_type)
    texts = pc.fill_null(pc.utf8_trim_whitespace(pc.cast(flat, pa.string())), "")
    return pc.if_else(pc.is_in(texts, pa.array(MARKERS)), "", texts)


def _forms(cells: pa.Array) -> pa.Array:
    """The form of each cell."""
    whole = pc.match_substring_regex(cells, r"^[+-]?[0-9]{1,18}$")
    point = pc.match_substring_regex(cells, r"^[+-]?[0-9]{0,15}\.[0-9]{1,6}$")
    length = pc.utf8_length(pc.replace_substring_regex(cells, r"^[^.]*\.", ""))
    decimals = pc.binary_join_element_wise("decimals ", pc.cast(length, pa.string()), "")
    number = pc.match_substring_regex(cells, NUMBER)
    form = pc.if_else(whole, "whole", pc.if_else(point, decimals, pc.if_else(number, "decimals 8", "text")))
    return pc.if_else(pc.equal(cells, ""), "missing", form)


def _floats(cells: pa.Array) -> pa.Array:
    """Numbers of cells, null where a cell is none: an error would tell of a record."""
    number = pc.match_substring_regex(cells, NUMBER)
    values = pc.cast(pc.utf8_ltrim(pc.if_else(number, cells, pa.scalar(None, pa.string())), "+"), pa.float64())
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))


def _nulls(cells: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)


def _numbers(cells: pa.Array) -> Floats:
    """The numbers among cells; what is none is left out."""
    return np.asarray(_floats(cells).drop_null(), dtype=float)
