"""Features: a neutral numeric view of any table, with the levels of the real one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.data import Table
from synthgen.data.cells import column_values
from synthgen.schema import Schema

MODELLED = ("numeric", "datetime", "categorical", "boolean")
LEVELS = 200


def learnable(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features (n, columns) that trees can be fitted on: a column without any value, which they refuse, becomes 0."""
    return np.where(np.isnan(rows).all(axis=0), 0.0, rows)


class Features:
    """Columns of numbers and codes: numbers and dates as they are, labels by their rank among the real ones.

    Args:
        real: the table whose labels count; the 200 commonest of a column are told apart.
        schema: what its columns are. Ids, texts and constants are left out.
    """

    def __init__(self, real: Table, schema: Schema) -> None:
        self.schema = schema
        self.names = [c.name for c in schema.columns if c.kind in MODELLED and c.name in real.data.column_names]
        self.labels: dict[str, pa.Array] = {}
        for name in self.names:
            if not self.numeric(name):
                counts = pc.value_counts(self._values(name, real).drop_null())
                order = np.argsort(-np.asarray(counts.field(1)), kind="stable")[:LEVELS]
                self.labels[name] = counts.field(0).take(pa.array(order))

    def numeric(self, name: str) -> bool:
        """Whether a column holds numbers or dates."""
        return self.schema[name].kind in ("numeric", "datetime")

    def matrix(self, table: Table) -> NDArray[np.float64]:
        """Features (n, columns) of a table; NaN where missing, -1 for a label that is not among the levels."""
        columns = []
        for name in self.names:
            values = self._values(name, table)
            if not self.numeric(name):
                codes = pc.fill_null(pc.index_in(values, self.labels[name]), -1)
                values = np.where(np.asarray(pc.is_null(values)), np.nan, np.asarray(codes).astype(float))
            columns.append(values)
        return np.stack(columns, axis=1)

    def _values(self, name: str, table: Table) -> Any:
        return column_values(self.schema[name], table.data[name].combine_chunks())
