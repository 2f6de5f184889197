"""Baselines: ways to draw records that fit nothing, so that a generator that loses to them is seen to lose."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthgen.data import Dataset, Table
from synthgen.data.cells import column_values, typed_column
from synthgen.metrics.features import MODELLED, Features
from synthgen.metrics.neighbours import Geometry, nearest

NEIGHBOURS = 5  # of which SMOTE takes one


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
    return data.take(np.random.default_rng(seed).integers(0, len(data), n))


def independent(data: Dataset, n: int, seed: int) -> Dataset:
    """Rows whose cells come from different records."""
    assert isinstance(data, Table)
    rng = np.random.default_rng(seed)
    columns = {name: data.data[name].take(pa.array(rng.integers(0, len(data), n))) for name in data.data.column_names}
    return Table(pa.table(columns), data.dialect, data.frame, data.schema)


def smote(data: Dataset, n: int, seed: int) -> Dataset:
    """Rows between a record and one of its five nearest; labels, and gaps, are those of either."""
    assert isinstance(data, Table)
    rng, features = np.random.default_rng(seed), Features(data, data.schema)
    matrix = features.matrix(data)
    points = Geometry(features, matrix)(matrix)
    chosen = rng.integers(0, len(data), n)
    near = nearest(points[chosen], points, NEIGHBOURS + 1)[1]
    other = near[np.arange(n), rng.integers(1, near.shape[1], n)]
    step = rng.random(n)
    columns = {}
    for column in data.schema.columns:
        cells = data.data[column.name]
        either = pa.array(np.where(step < 0.5, chosen, other))
        columns[column.name] = cells.take(either)
        if column.name in features.names and features.numeric(column.name):
            x = column_values(column, cells.combine_chunks())
            between = x[chosen] + step * (x[other] - x[chosen])
            whole = column.kind == "datetime" or (x[~np.isnan(x)] == np.round(x[~np.isnan(x)])).all()
            between = np.round(between) if whole else between
            kept = np.isnan(between)
            made = typed_column(column, between)
            columns[column.name] = (
                made if not kept.any() else pc.if_else(pa.array(kept), pa.scalar(None, made.type), made)
            )
    return Table(pa.table(columns), None, data.frame, data.schema)
