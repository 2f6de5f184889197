"""fit_codec: learn from a table how to encode it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow.compute as pc

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
from synthgen.tally import Tally

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
    tallies = {c.name: Exact(Tally.of(table.data[c.name])) for c in schema.columns}
    codec, notes = fit_columns(tallies, schema, given, codes, reals, keep_rare)
    return with_counts(codec, lambda names: [table]), notes


class Known(Protocol):
    """What is known of a column, which its codec is made from."""

    def codec(self, column: Column, limit: int, keep_rare: bool) -> tuple[ColumnCodec, list[str]]:
        """The codec, of at most so many codes, and sentences on what was pooled or is not modelled."""


def fit_columns(
    known: Mapping[str, Known],
    schema: Schema,
    given: Sequence[str],
    codes: int,
    reals: bool,
    keep_rare: bool,
) -> tuple[TableCodec, list[str]]:
    """What `fit_codec` makes, from what is known of each column, but for the counts of `with_counts`."""
    for name in given:
        if schema[name].kind not in ("numeric", "categorical", "boolean", "datetime"):
            raise SynthgenError(f"column {name!r} is {schema[name].kind}; only modelled columns can be given")
    columns: dict[str, Any] = {}
    notes: list[str] = []
    for column in schema.columns:
        limit = CONTEXT_CELLS if column.name in given else CELLS if reals else codes or CELLS
        columns[column.name], said = known[column.name].codec(column, limit, keep_rare)
        notes += said
    fine = [n for n, c in columns.items() if isinstance(c, Numeric) and (codes == 0 or (reals and c.size > codes))]
    codec = TableCodec(table_schema=schema, columns=columns, context=Context(names=list(given)), real=fine)
    if not codec.modelled:
        raise SynthgenError(
            "no column is left to model: all are given, constant, empty, ids or free text; "
            "see what they were taken for with: synthgen schema"
        )
    return codec, notes


def with_counts(codec: TableCodec, blocks: Callable[[list[str]], Iterable[Table]]) -> TableCodec:
    """The codec with the combinations that rules speak of, and the frequencies of what is given.

    Args:
        codec: of all columns.
        blocks: one pass over some columns of the table.
    """
    schema, given = codec.table_schema, codec.context.names
    names = [name for rule in schema.parsed_rules() if rule.kind == "combinations" for name in rule.columns]
    update: dict[str, Any] = {}
    if names:
        parts = (partial(codec.values, table=table) for table in blocks(list(dict.fromkeys(names))))
        update["combinations"] = observe(schema, parts)
    if given:
        update["context"] = Context.count(given, (codec.encode_context(table) for table in blocks(given)))
    return TableCodec.model_validate({**codec.model_dump(), **update}) if update else codec


@dataclass(frozen=True)
class Exact:
    """A column whose distinct cells are all counted."""

    tally: Tally

    def codec(self, column: Column, limit: int, keep_rare: bool) -> tuple[ColumnCodec, list[str]]:
        """What `Known.codec` says."""
        counts, records = self.tally.counts, self.tally.records
        values = column_values(column, self.tally.cells)
        if column.kind in ("numeric", "datetime"):
            if np.isnan(values).all():
                return Constant(value=None), [
                    f"column {column.name!r} holds no number that can be read; it stays empty"
                ]
            return fit_numeric(values, column, limit, keep_rare, counts), []
        held = np.asarray(pc.is_valid(values))
        share, texts = 1 - int(counts[held].sum()) / records, values.drop_null().to_pylist()
        if column.kind == "empty" or not texts:
            return Constant(), []
        if column.kind == "constant":
            return Constant(value=texts[0]), []
        if column.kind == "id":
            return fit_id(texts, share), [made(column)]
        if column.kind == "text":
            return fit_text(texts, share, counts[held].tolist()), [made(column)]
        return fit_categorical(values, column, limit, keep_rare, counts)


def made(column: Column) -> str:
    """The sentence on a column that is made, not modelled."""
    if column.kind == "id":
        return f"column {column.name!r} is an id: fresh ones are made, none is copied"
    return f"column {column.name!r} is free text: it is not modelled; made-up words of like length are generated"
