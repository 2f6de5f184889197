"""Bins: where the values of a column lie, learned by two queries, the first coarse, the second fine where many are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthgen.dp.cells import values
from synthgen.dp.table import PrivateTable
from synthgen.formats import DateFormat
from synthgen.schema import Column

Floats = NDArray[np.float64]

OCTAVES = np.concatenate([-(2.0 ** np.arange(40, -11, -1)), [0.0], 2.0 ** np.arange(-10, 41)])
YEARS = np.r_[1800:1940:10, 1940:2060, 2060:2201:10] - 1970
SURE = 3.0  # deviations of the noise that a count must reach to count as there
SURE_OF_MANY = 4.5  # the same where so many are looked through that noise alone would often reach three
CELL = 8.0  # deviations of the noise that a bin should hold
MOST_BINS = 200


class Part(NamedTuple):
    """Cells of a column and about how many records hold them: one text, or values evenly between two, in steps."""

    low: float | str
    high: float | str
    held: float
    step: float = 0.0


class Range(NamedTuple):
    """Where the values of a column may lie, all of it public or learned before.

    Args:
        edges: of the first, coarse bins, ascending.
        step: by which values advance.
        low: the declared minimum; infinite where there is none.
        high: the declared maximum.
        sure: deviations of the noise that a coarse bin must hold to count as there.
    """

    edges: Floats
    step: float
    low: float
    high: float
    sure: float


def number_range(column: Column, decimals: int) -> Range:
    """Of numbers with so many decimals: octaves, or what is declared."""
    return _declared(column, None, OCTAVES, 10.0**-decimals, SURE)


def date_range(column: Column, date: DateFormat, step: float) -> Range:
    """Of dates, in units of their format: years, decades if far from ours; hours where only the time is written."""
    hours = set(re.findall("%(.)", date.pattern)) <= set("HIMSfp")
    edges = np.arange("1900-01-01T00", "1900-01-02T01", dtype="M8[h]") if hours else YEARS.astype("M8[Y]")
    sure = -np.inf if hours else SURE_OF_MANY  # all hours of a day are there
    return _declared(column, date, edges.astype(f"M8[{date.unit}]").astype(float), step, sure)


def _declared(column: Column, date: DateFormat | None, edges: Floats, step: float, sure: float) -> Range:
    """Coarse bins within the declared bounds; where both are declared, equal parts are as good a start."""
    low, high = _bound(column.minimum, date, -np.inf), _bound(column.maximum, date, np.inf)
    end = np.floor(high / step + 1e-9) * step + step  # the maximum itself belongs to the last bin
    first = low if np.isfinite(low) else min(edges[0], high)
    last = max(end, first + step) if np.isfinite(high) else max(edges[-1], first + step)
    edges = np.concatenate([[first], edges[(edges > first) & (edges < last)], [last]])
    if np.isfinite([low, high]).all():
        edges = np.concatenate([edges, np.linspace(first, last, 33)])
    return Range(np.unique(edges), step, low, high, sure)


def _bound(declared: float | str | None, date: DateFormat | None, otherwise: float) -> float:
    """A declared bound as a number; what cannot be read is left to the codec to refuse."""
    if isinstance(declared, str):
        declared = float(values(pa.array([declared]), date)[0])
    return otherwise if declared is None or np.isnan(declared) else declared


def bins(
    private: PrivateTable, name: str, within: Range, known: Sequence[str], prices: Mapping[str, float]
) -> list[Part]:
    """Bins of about equal mass.

    Args:
        private: the table.
        name: of the column.
        within: where its values may lie.
        known: texts that are not counted.
        prices: of the "octaves" and of the "bins".
    """
    edges, step = within.edges, within.step
    counts = private.histogram(name, edges, prices["octaves"], known)
    there = np.flatnonzero(counts > within.sure * private.deviation(prices["octaves"]))
    if not len(there):  # nothing stands out: what was declared, or the likeliest
        declared = np.isfinite([within.low, within.high]).all()
        there = np.arange(len(counts)) if declared else np.array([counts.argmax()])
    edges, counts = edges[there[0] : there[-1] + 2], np.maximum(counts[there[0] : there[-1] + 1], 0)
    noise, total = private.deviation(prices["bins"]), max(1, int(counts.sum()))
    wanted = np.clip(total / (CELL * noise), 8, MOST_BINS)
    each = np.maximum(1, np.round(wanted * counts / total)).astype(int)
    fine = [np.linspace(a, b, k, endpoint=False) for a, b, k in zip(edges, edges[1:], each, strict=False)]
    # no bin between two values that are neighbours
    grid = np.unique(np.ceil(np.append(np.concatenate(fine), edges[-1]) / step - 1e-9) * step)
    if len(grid) < 2:
        return [Part(float(edges[0]), float(edges[0]), float(total))]
    held = private.histogram(name, grid, prices["bins"], known)
    return [
        Part(float(a), max(float(a), float(b) - step), float(n), step)
        for a, b, n in zip(grid, grid[1:], held, strict=False)
        if n > noise
    ]


def made(column: Column, parts: Sequence[Part], n: int) -> pa.Array:
    """Cells (n,) of a surrogate column, as texts, in random order: parts by their counts, values evenly spread."""
    if not parts:
        return pa.array([f"{i:08d}" for i in range(n)])
    counts = np.maximum([p.held for p in parts], 0.0)
    ends = np.round(np.cumsum(counts) / max(counts.sum(), 1e-9) * n).astype(int)
    texts = list[str]()
    for part, size in zip(parts, np.diff(ends, prepend=0), strict=True):
        texts += [part.low] * int(size) if isinstance(part.low, str) else _spread(column, part, int(size))
    return pa.array([texts[i] for i in np.random.default_rng(0).permutation(len(texts))], pa.string())


def _spread(column: Column, part: Part, size: int) -> list[str]:
    """Values evenly between the ends of a part, as the column writes them."""
    low, high = float(part.low), float(part.high)
    spread = low + (high - low) * (np.arange(size) + 0.5) / max(1, size)
    if part.step:
        spread = np.round(spread / part.step) * part.step
    form = column.date or column.number
    assert form is not None, "numbers and dates have a format here"
    return form.render(spread).to_pylist()
