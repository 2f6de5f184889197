"""fit_codec: learn from a table how to encode it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from synthgen.codec.base import Context
from synthgen.codec.categorical import fit_categorical
from synthgen.codec.made import Constant, fit_id, fit_text
from synthgen.codec.numeric import CELLS, Numeric, fit_numeric
from synthgen.codec.repair import observe
from synthgen.codec.table import ColumnCodec, TableCodec
from synthgen.data.cells import column_values
from synthgen.data.table import Table
from synthgen.errors import SynthgenError
from synthgen.schema import Column, Schema

CONTEXT_CELLS = 32  # of a number that is given: the generator is told which of them


def fit_codec(
    table: Table,
    schema: Schema,
    given: Sequence[str] = (),
    codes: int = 0,
    reals: bool = False,
    keep_rare: bool = False,
) -> tuple[TableCodec, list[str]]:
    """Learn how to encode a table.

    Args:
        table: the training table.
        schema: what its columns are.
        given: columns that become the context.
        codes: at most so many codes per column; 0 for numbers as reals.
        reals: numbers that need more than `codes` codes come as reals, instead of in coarser cells.
        keep_rare: keep values that fewer than 5 records hold.

    Returns:
        the codec, and sentences on what was pooled or is not modelled.

    Raises:
        SynthgenError: a given column is unknown or not modelled, or cells contradict the schema.
    """
    for name in given:
        if schema[name].kind not in ("numeric", "categorical", "boolean", "datetime"):
            raise SynthgenError(f"column {name!r} is {schema[name].kind}; only modelled columns can be given")
    columns: dict[str, Any] = {}
    notes: list[str] = []
    for column in schema.columns:
        cells = table.data[column.name].combine_chunks()
        limit = CONTEXT_CELLS if column.name in given else CELLS if reals else codes or CELLS
        columns[column.name], said = _fit_column(column, cells, limit, keep_rare)
        notes += said
    fine = [n for n, c in columns.items() if isinstance(c, Numeric) and (codes == 0 or (reals and c.size > codes))]
    codec = TableCodec(table_schema=schema, columns=columns, context=Context(names=list(given)), real=fine)
    if not codec.modelled:
        raise SynthgenError(
            "no column is left to model: all are given, constant, empty, ids or free text; "
            "see what they were taken for with: synthgen schema"
        )
    update: dict[str, Any] = {"combinations": observe(schema, lambda n: codec.values(n, table))}
    if given:
        update["context"] = Context.count(list(given), codec.learned_context(table))
    return TableCodec.model_validate({**codec.model_dump(), **update}), notes


def _fit_column(column: Column, cells: pa.Array, limit: int, keep_rare: bool) -> tuple[ColumnCodec, list[str]]:
    values = column_values(column, cells)
    if column.kind in ("numeric", "datetime"):
        if not np.isnan(values).all():
            return fit_numeric(values, column, limit, keep_rare), []
        return Constant(value=None), [f"column {column.name!r} holds no number that can be read; it stays empty"]
    share = values.null_count / len(values)
    texts = values.drop_null().to_pylist()
    if column.kind == "empty" or not texts:
        return Constant(), []
    if column.kind == "constant":
        return Constant(value=texts[0]), []
    if column.kind == "id":
        return fit_id(texts, share), [f"column {column.name!r} is an id: fresh ones are made, none is copied"]
    if column.kind == "text":
        return fit_text(texts, share), [
            f"column {column.name!r} is free text: it is not modelled; made-up words of like length are generated"
        ]
    return fit_categorical(values, column, limit, keep_rare)
