"""Baselines: ways to draw records that fit nothing, so that a generator that loses to them is seen to lose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthgen.data import Dataset, Table
from synthgen.data.cells import column_values, typed_column
from synthgen.metrics.features import MODELLED, Features
from synthgen.metrics.neighbours import Geometry, nearest
from synthgen.schema import Column

NEIGHBOURS = 5  # of which SMOTE takes one
SEARCHED = 20_000  # rows among which it looks for them


class Baseline(NamedTuple):
    """A way to draw n records from real ones under a seed."""

    name: str
    about: str
    draw: Callable[[Dataset, int, int], Dataset]


def baselines(data: Dataset) -> list[Baseline]:
    """Those that suit the data: SMOTE where most columns are numbers, independent columns where there are columns."""
    found = [Baseline("bootstrap copy", "Training records drawn with replacement: faithful, and copies.", copies)]
    if isinstance(data, Table):
        kinds = [c.kind for c in data.schema.columns if c.kind in MODELLED]
        about = "Each column drawn on its own: right in each, wrong together."
        found.append(Baseline("independent columns", about, independent))
        if sum(k in ("numeric", "datetime") for k in kinds) > len(kinds) / 2:
            about = (
                "Between a training row and one of its nearest (Chawla et al. 2002): near to real rows, and persons."
            )
            found.append(Baseline("SMOTE", about, smote))
    return found


def copies(data: Dataset, n: int, seed: int) -> Dataset:
    """Records drawn with replacement."""
    drawn = data.take(np.random.default_rng(seed).integers(0, len(data), n))
    return drawn.declare(data.schema) if isinstance(data, Table) and isinstance(drawn, Table) else drawn


def independent(data: Dataset, n: int, seed: int) -> Dataset:
    """Rows whose cells come from different records."""
    assert isinstance(data, Table)
    rng = np.random.default_rng(seed)
    columns = {name: data.data[name].take(pa.array(rng.integers(0, len(data), n))) for name in data.data.column_names}
    return Table(pa.table(columns), data.dialect, data.frame, data.schema)


def smote(data: Dataset, n: int, seed: int) -> Dataset:
    """Rows between a record and one of its five nearest; labels, and gaps, are those of either.

    Of more than 20 000 records so many are drawn, between which the rows lie.
    """
    assert isinstance(data, Table)
    rng = np.random.default_rng(seed)
    some = data.take(rng.permutation(len(data))[:SEARCHED])
    features = Features(some, data.schema)
    first = rng.integers(0, len(some), n)
    second = _neighbours(features, some)[first, rng.integers(0, NEIGHBOURS, n)]
    step = rng.random(n)
    columns = {}
    for column in data.schema.columns:
        cells = some.data[column.name].combine_chunks()
        if column.name in features.names and features.numeric(column.name):
            columns[column.name] = typed_column(column, _between(column, cells, first, second, step))
        else:
            columns[column.name] = cells.take(pa.array(np.where(step < 0.5, first, second)))
    return Table(pa.table(columns), None, data.frame, data.schema)


def _neighbours(features: Features, data: Table) -> NDArray[np.int64]:
    """The nearest rows (n, neighbours) of each, without itself."""
    matrix = features.matrix(data)
    points = Geometry(features, matrix)(matrix)
    found = nearest(points, points, NEIGHBOURS + 1)[1]
    # among equal rows, a row need not be the first that is found
    others = np.argsort(found == np.arange(len(found))[:, None], axis=1, kind="stable")[:, :NEIGHBOURS]
    return np.take_along_axis(found, others, axis=1)


def _between(
    column: Column,
    cells: pa.Array,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Numbers on the way from those of the first rows to those of the second, with as many decimals as the column."""
    x: Any = column_values(column, cells)
    made = _on_grid(column, x, x[first] + step * (x[second] - x[first]))
    return np.asarray(np.where(np.isnan(made), x[np.where(step < 0.5, first, second)], made))


def _on_grid(column: Column, x: NDArray[np.float64], made: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers as whole as those of the column are, or with as many decimals; dates at the times there are."""
    known = x[np.isfinite(x)]
    if column.kind == "datetime" and len(known):
        low = known.min()
        tick = max(1, int(np.gcd.reduce((known - low).astype(np.int64))))  # of a day, where all are at midnight
        return np.asarray(low + tick * np.round((made - low) / tick))
    if (known == np.round(known)).all():
        return np.round(made)
    decimals = column.number.decimals if column.number else None
    return np.round(made, decimals[1]) if decimals else made
