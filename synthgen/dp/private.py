"""PrivateTable: raw data behind a budget. It answers questions whose price is paid before; it has no other face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.dp.budget import Budget, Charge
from synthgen.dp.noise import discrete_gaussian, exponential, threshold

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
        least = threshold(_sigma(rho), delta)
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
        sigma = _sigma(rho)
        self.budget.charge(Charge(what, "discrete Gaussian", sigma, rho, delta))
        return discrete_gaussian(np.asarray(counts, dtype=np.int64), sigma)


class PrivateRecords:
    """Encoded records behind a budget: no length, no tensor, only marginals that are paid for.

    Args:
        codes: of the records (n, columns).
        sizes: how many codes each column has.
        total: about how many records there are, which was paid for.
        budget: that every answer is charged to.
    """

    def __init__(self, codes: Ints, sizes: Sequence[int], total: int, budget: Budget) -> None:
        self._codes, self.sizes, self.total, self.budget = codes, tuple(sizes), total, budget

    def measure(self, columns: Sequence[int], rho: float) -> tuple[Floats, float]:
        """Noisy counts of the joint codes of some columns, in their shape, and the deviation of the noise."""
        sigma = _sigma(rho)
        self.budget.charge(Charge(f"marginal of columns {list(columns)}", "discrete Gaussian", sigma, rho))
        counts = self._counts(columns)
        noisy = discrete_gaussian(counts.ravel(), sigma).reshape(counts.shape)
        return noisy.astype(np.float64), sigma

    def choose(
        self,
        candidates: Sequence[tuple[Sequence[int], Floats]],
        weights: Sequence[float],
        rho: float,
        penalties: Sequence[float],
    ) -> int:
        """The candidate whose guess of a marginal is, about, farthest from the truth, by the exponential mechanism.

        A score is a weight times the L1 distance of the guessed from the true counts, less a penalty; one record
        changes it by at most that weight.

        Args:
            candidates: columns, and guessed counts in their shape.
            weights: of each, greater than 0.
            rho: the price.
            penalties: of each, made of noisy counts.
        """
        epsilon = float(np.sqrt(8 * rho))
        self.budget.charge(Charge(f"choice among {len(candidates)} marginals", "exponential", epsilon, rho))
        apart = (float(np.abs(self._counts(c) - guess).sum()) for c, guess in candidates)
        scores = [w * (d - p) for d, w, p in zip(apart, weights, penalties, strict=True)]
        return exponential(np.array(scores), max(weights), epsilon)

    def merged(self, groups: Sequence[Ints]) -> PrivateRecords:
        """The same records with code v of column j renamed to groups[j][v]; groups are made of noisy counts."""
        return PrivateRecords(*renamed(self._codes, groups), self.total, self.budget)

    def _counts(self, columns: Sequence[int]) -> Ints:
        return joint_counts(self._codes, self.sizes, columns)


def joint_counts(codes: Ints, sizes: Sequence[int], columns: Sequence[int]) -> Ints:
    """How many of the records (n, columns) hold each joint code of some columns, in their shape: exact."""
    shape = [sizes[j] for j in columns]
    place = np.ravel_multi_index(tuple(codes[:, j] for j in columns), shape)
    return np.bincount(place, minlength=int(np.prod(shape))).reshape(shape)


def renamed(codes: Ints, groups: Sequence[Ints]) -> tuple[Ints, list[int]]:
    """Records (n, columns) with code v of column j renamed to groups[j][v], and how many codes each column then has."""
    new = np.stack([group[column] for group, column in zip(groups, codes.T, strict=True)], axis=1)
    return new, [int(group.max()) + 1 for group in groups]


def _sigma(rho: float) -> float:
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
