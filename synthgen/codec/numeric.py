"""Codec of numbers and dates: values to cells or normal scores, and back. Its fields are its JSON state.

A numeric column's cells tile (0, 1) by their mass: missing, repeated values ("atoms"), and the intervals
between. A code is a cell's index; the real view is the normal score of a point in the cell. Most of a
table's fidelity is won here: fine intervals, exact atoms, tails that are drawn instead of copied.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import ndtr, ndtri

from synthgen.codec.rare import RARE, UNKNOWN
from synthgen.errors import SynthgenError
from synthgen.schema import Column

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CELLS = 1000  # cells of a column in the real view
LONGEST = 7.0  # a tail is cut where it has lasted this many times its mean
CUT = 1 - np.exp(-LONGEST)
INSIDE = 1e-3  # of a cell: so far from its ends that a score in float32 finds its cell again


class Numeric(BaseModel):
    """Codec of numbers and dates, both as floats; NaN is missing.

    Cell i holds the values nearest to `low[i] .. high[i]`, the extremes of a group of training values
    (equal for an atom). The outermost intervals end at a mean of several values, or in an exponential
    tail of mean `below` or `above`. Values lie on a grid of `step` where it is not 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["numeric"] = "numeric"
    low: list[float]
    high: list[float]
    mass: list[float]
    missing: float = Field(0.0, ge=0)
    step: float = Field(0.0, ge=0)
    below: float = Field(0.0, ge=0)
    above: float = Field(0.0, ge=0)
    minimum: float | None = None
    maximum: float | None = None
    spread: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Numeric:
        ends = np.array([self.low, self.high]) if len(self.low) == len(self.high) else np.zeros((2, 0))
        if not 0 < ends.shape[1] == len(self.mass) or not np.isfinite(ends).all() or min(self.mass) <= 0:
            raise ValueError("the cells of a numeric column contradict each other")
        if not (np.diff(ends.T.ravel())[1::2] > 0).all() or (ends[0] > ends[1]).any():
            raise ValueError("the cells of a numeric column are not in order")
        return self

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.low) + self.nullable

    @property
    def nullable(self) -> bool:
        """Whether code 0 means missing."""
        return self.missing > 0

    @cached_property
    def masses(self) -> Floats:
        """Mass of each code."""
        all_ = np.array([self.missing, *self.mass] if self.nullable else self.mass)
        return all_ / all_.sum()

    @cached_property
    def starts(self) -> Floats:
        """Where each code's share of (0, 1) begins."""
        return np.concatenate([[0.0], np.cumsum(self.masses)[:-1]])

    @cached_property
    def borders(self) -> Floats:
        """Values between the cells: cell i ends where border i begins."""
        return np.array(self.high[:-1]) / 2 + np.array(self.low[1:]) / 2  # the sum might overflow

    @cached_property
    def ranges(self) -> tuple[Floats, Floats]:
        """The interval that each cell's values are drawn from; it meets its neighbours' if they are intervals."""
        low, high = np.array(self.low), np.array(self.high)
        wide = high > low
        left = np.where(wide, low - self.step / 2, low)
        right = np.where(wide, high + self.step / 2, high)
        both = wide[:-1] & wide[1:]
        left[1:] = np.where(both, self.borders, left[1:])
        right[:-1] = np.where(both, self.borders, right[:-1])
        return left, right

    def encode(self, values: Floats) -> Ints:
        """Values (n,) to codes (n,)."""
        codes = np.searchsorted(self.borders, values, side="right") + self.nullable
        return np.where(np.isnan(values), 0 if self.nullable else UNKNOWN, codes)

    def score(self, values: Floats, codes: Ints, rng: np.random.Generator) -> Floats:
        """Values (n,) with their codes to normal scores (n,); an atom's score is uniform in its cell."""
        cell = np.maximum(codes - self.nullable, 0)
        left, right = self.ranges[0][cell], self.ranges[1][cell]
        inside = np.clip((values - left) / np.where(right > left, right - left, 1.0), 0, 1)
        last = len(self.low) - 1
        if self.above:
            inside = np.where(cell == last, 1 - np.exp(-np.maximum(values - left, 0) / self.above), inside)
        if self.below:
            inside = np.where(cell == 0, np.exp(-np.maximum(right - values, 0) / self.below), inside)
        atom = (right <= left) | (codes < self.nullable) | np.isnan(inside)
        fraction = np.where(atom, rng.random(len(values)), inside)
        fraction = np.clip(fraction, INSIDE, 1 - INSIDE)
        u = self.starts[codes] + self.masses[codes] * fraction
        return ndtri(np.clip(u, 1e-9, 1 - 1e-9))

    def unscore(self, scores: Floats) -> tuple[Ints, Floats]:
        """Normal scores (n,) to codes and the fraction of the cell that lies below each score."""
        u = ndtr(scores)
        codes = np.clip(np.searchsorted(self.starts, u, side="right") - 1, 0, self.size - 1)
        return codes, np.clip((u - self.starts[codes]) / self.masses[codes], 0, 1)

    def decode(self, codes: Ints, fraction: Floats) -> Floats:
        """Codes and the places in their cells to values; encoding these gives the same codes again."""
        cell = np.maximum(codes - self.nullable, 0)
        left, right = self.ranges[0][cell], self.ranges[1][cell]
        values = left + fraction * (right - left)
        last = len(self.low) - 1
        if self.above:
            values = np.where(cell == last, left - self.above * np.log1p(-CUT * fraction), values)
        if self.below:
            values = np.where(cell == 0, right + self.below * np.log1p(-CUT * (1 - fraction)), values)
        if self.step:
            digits = max(0, int(np.ceil(-np.log10(self.step) - 1e-9)))
            on_grid = np.round(np.round(values / self.step) * self.step, digits)
            values = np.where((right <= left) & (values == left), values, on_grid)  # atoms stay as they are
        if self.minimum is not None or self.maximum is not None:
            values = np.clip(values, self.minimum, self.maximum)
        strayed = self.encode(values) - self.nullable != cell  # rounded over a border
        values = np.where(strayed, np.array(self.low)[cell], values)
        return np.where(codes < self.nullable, np.nan, values)

    def log_width(self, values: Floats, codes: Ints) -> Floats:
        """Minus the log-density of each value within its cell: log of the cell's width, 0 for atoms.

        Grows without bound beyond the outermost values.
        """
        cell = np.maximum(codes - self.nullable, 0)
        left, right = self.ranges[0][cell], self.ranges[1][cell]
        width = np.log(np.where(right > left, right - left, 1.0))
        last = len(self.low) - 1
        if self.above:
            width = np.where(cell == last, np.log(self.above) + (values - left) / self.above, width)
        if self.below:
            width = np.where(cell == 0, np.log(self.below) + (right - values) / self.below, width)
        outside = np.maximum(values - self.high[-1], 0) * (not self.above)
        outside += np.maximum(self.low[0] - values, 0) * (not self.below)
        return np.where(np.isnan(values), 0.0, width + outside / self.spread)


class _Group(NamedTuple):
    """A run of distinct values that become one cell."""

    start: int
    stop: int
    records: int


def fit_numeric(
    values: Floats, column: Column, cells: int = CELLS, keep_rare: bool = False, counts: Ints | None = None
) -> Numeric:
    """Choose the cells of a numeric column.

    Args:
        values: (n,), NaN where missing.
        column: its schema; declared bounds are kept to.
        cells: at most so many codes.
        keep_rare: keep values that fewer than 5 records hold.
        counts: how many records hold each of the values, (n,); one by default.

    Raises:
        SynthgenError: a value is infinite or outside the declared bounds.
    """
    counts = np.ones(len(values), dtype=np.int64) if counts is None else counts
    held = ~np.isnan(values) & (counts > 0)
    distinct, place = np.unique(values[held], return_inverse=True)
    known = _Counted(distinct, np.bincount(place, counts[held], len(distinct)).astype(np.int64))
    records = int(counts.sum())
    missing = int(counts[np.isnan(values)].sum())
    minimum, maximum = _limits(distinct, column)
    rare = 1 if keep_rare else RARE
    size, heavy = (max(rare, -(-known.records // most)) for most in (cells, max(cells, CELLS)))
    while len(groups := _groups(*known, size, heavy, rare)) > cells - (missing > 0):
        size, heavy = size * 5 // 4 + 1, heavy * 5 // 4 + 1
    deviation = known.deviation()
    codec = Numeric(
        low=[float(distinct[g.start]) for g in groups],
        high=[float(distinct[g.stop - 1]) for g in groups],
        mass=[g.records / records for g in groups],
        missing=missing / records,
        step=_grid(known, column),
        minimum=minimum,
        maximum=maximum,
        spread=deviation if np.isfinite(deviation) and deviation > 0 else 1.0,
    )
    return codec if keep_rare else _with_tails(codec, known)


class _Counted(NamedTuple):
    """Distinct values in order, and how many records hold each."""

    distinct: Floats
    counts: Ints

    @property
    def records(self) -> int:
        """How many hold any."""
        return int(self.counts.sum())

    def where(self, which: NDArray[np.bool_]) -> _Counted:
        """Some of the values."""
        return _Counted(self.distinct[which], self.counts[which])

    def share(self, which: NDArray[np.bool_]) -> float:
        """The share of records whose values are among those."""
        return float(self.counts[which].sum() / max(1, self.records))

    def mean(self, of: Floats) -> float:
        """The mean over records of what belongs to each value, 0 of none."""
        return float((of * (self.counts / self.records)).sum()) if self.records else 0.0

    def deviation(self) -> float:
        """The standard deviation over records."""
        with np.errstate(over="ignore", invalid="ignore"):  # of squares beyond 1e308
            return float(np.sqrt(self.mean((self.distinct - self.mean(self.distinct)) ** 2)))

    def few(self, n: int, last: bool = False) -> float:
        """The mean of the n least values, or the n greatest, one for each record."""
        values, counts = (a[::-1] if last else a for a in self)
        return float(np.repeat(values[:n], np.minimum(counts[:n], n))[:n].mean())


def _limits(given: Floats, column: Column) -> tuple[float | None, float | None]:
    """The declared bounds, once it is certain that the values are finite and keep to them."""
    if np.isinf(given).any():
        raise SynthgenError(
            f"column {column.name!r} holds an infinite number, or one too large for a float (inf, 1e400); correct "
            'it, or list its text under "missing" in a schema (synthgen schema writes one to edit)'
        )
    bounds = [_parse_bound(declared, column) for declared in (column.minimum, column.maximum)]
    for bound, sign, name in zip(bounds, (-1.0, 1.0), ("minimum", "maximum"), strict=True):
        if bound is not None and (outside := given[sign * (given - bound) > 0]).size:
            raise SynthgenError(
                f"column {column.name!r} holds {outside[0]:g}, outside its declared {name} "
                f"{getattr(column, name)}; correct the table or the schema"
            )
    return bounds[0], bounds[1]


def _parse_bound(declared: float | str | None, column: Column) -> float | None:
    if not isinstance(declared, str):
        return declared
    parser = column.date or column.number
    bound = parser.parse(pa.array([declared])) if parser else np.array([np.nan])
    if not np.isfinite(bound[0]):
        raise SynthgenError(f"column {column.name!r}: its declared bound {declared!r} is not written like its cells")
    return float(bound[0])


def _grid(known: _Counted, column: Column) -> float:
    """The largest round step that nearly all values are multiples of; 0 where there is none."""
    values, nonzero = known.distinct, known.where(known.distinct != 0)
    if column.kind == "datetime":
        candidates = {
            "D": [1.0],
            "s": [1.0, 60, 300, 900, 1800, 3600, 86400],
            "us": [1.0, 1e3, 1e6, 6e7, 3.6e9, 8.64e10],
        }
        steps = candidates[column.date.unit if column.date else "D"]
        return max((s for s in steps if _on_grid(nonzero, s)), default=1.0)
    if np.abs(values).max() > 1e100:  # rounding might overflow
        return 0.0
    if column.number is not None and column.number.decimals is not None:
        decimals = column.number.decimals[1]
    else:
        decimals = next((d for d in range(11) if np.allclose(values, np.round(values, d), rtol=1e-14, atol=1e-12)), 11)
    if decimals > 10 or not nonzero.records:
        return 0.0 if decimals > 10 else 1.0
    fine = 10.0**-decimals
    coarser = (m * fine * 10.0**k for k in range(12) for m in (1, 2, 5))
    best = fine
    for step in coarser:
        if _on_grid(nonzero, step):
            best = step
        elif step > 100 * best:
            break
    return best


def _on_grid(known: _Counted, step: float) -> bool:
    ratio = known.distinct / step
    return known.share(np.abs(ratio - np.round(ratio)) < 1e-6) >= 0.99


def _groups(distinct: Floats, counts: Ints, size: int, heavy: int, rare: int) -> list[_Group]:
    """Cut the sorted distinct values into cells: one held by `heavy` records is a cell, others are pooled to `size`.

    A pool of fewer than `rare` records is joined to the interval before it, else to the nearer atom.
    """
    groups: list[_Group] = []
    atoms: list[bool] = []
    alone = counts >= heavy
    position, pending = 0, 0
    n = len(distinct)
    while position < n:
        start, count = position, 0
        if alone[position]:
            count, position = int(counts[position]), position + 1
        else:
            while position < n and not alone[position] and count < size:
                count, position = count + int(counts[position]), position + 1
        atom = bool(alone[start])
        if count >= rare or n == position - start:
            groups.append(_Group(start, position, count + pending))
            atoms.append(atom)
            pending = 0
        elif groups and not atoms[-1]:
            groups[-1] = _Group(groups[-1].start, position, groups[-1].records + count)
        else:
            before = distinct[start] - distinct[groups[-1].stop - 1] if groups else np.inf
            after = distinct[position] - distinct[position - 1] if position < n else np.inf
            if before <= after and groups:
                groups[-1] = groups[-1]._replace(records=groups[-1].records + count)
            else:
                pending += count
    if not groups:
        return [_Group(0, n, int(counts.sum()))]
    return groups


def _with_tails(codec: Numeric, known: _Counted) -> Numeric:
    """End the outermost intervals at a mean of several values, or in an exponential tail where they are long.

    A tail does not cross zero where no value does.
    """
    low, high, values = list(codec.low), list(codec.high), known.distinct
    tails = {"below": 0.0, "above": 0.0}
    for side, name in ((0, "below"), (-1, "above")):
        if high[side] <= low[side]:
            continue  # an atom: many records hold the extreme
        inner = codec.ranges[1 if side == 0 else 0][side]
        outer = known.where(values <= inner if side == 0 else values >= inner)
        excess = np.abs(inner - outer.distinct)
        mean = outer.mean(excess)
        reach = inner + (LONGEST * mean if side else -LONGEST * mean)
        crosses = reach < 0 <= values[0] if side == 0 else values[-1] <= 0 < reach
        if excess.max(initial=0.0) > 2.6 * mean > 0 and not crosses:  # 2 would be a uniform distribution
            tails[name] = mean
        end = known.few(RARE, last=side != 0)
        end = round(end / codec.step) * codec.step if codec.step else end
        (low if side == 0 else high)[side] = min(max(end, low[side]), high[side])
    # validated anew: a copy would keep the cached ranges, which reach the extremes
    return Numeric.model_validate({**codec.model_dump(), **tails, "low": low, "high": high})
