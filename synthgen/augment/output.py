"""Output: real rows and then drawn ones in one table, with a column that says which is which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from synthgen.data import Dataset, Images, Mark, Table, writer
from synthgen.data.cells import column_values, typed_column
from synthgen.data.pictures_out import ImageWriter
from synthgen.errors import SynthgenError
from synthgen.schema import Column, Schema

MARK = "synthetic"
_TRUTHS = {"true", "t", "yes", "y", "1"}


def mark_name(names: Sequence[str], wanted: str | None = None) -> str:
    """A name for the column that marks drawn rows, which no other column has.

    Raises:
        SynthgenError: the name that was asked for is taken, empty, or cannot be printed.
    """
    if wanted is not None and (wanted in names or not wanted.strip() or not wanted.isprintable()):
        raise SynthgenError(
            f"the mark cannot be called {wanted!r}: a column is, or it cannot be printed; give another --mark"
        )
    taken = (f"{MARK}_{i}" for i in range(2, len(names) + 3))
    return wanted or (MARK if MARK not in names else next(name for name in taken if name not in names))


def joined(real: Table, drawn: Dataset | None, mark: str) -> Table:
    """Real and drawn rows with the types of values, marked by a boolean column."""
    parts = [typed(real)] + ([_like(drawn, real)] if isinstance(drawn, Table) else [])
    schema = parts[0].schema
    marked = [
        p.append_column(mark, pa.array([i == 1] * len(p), pa.bool_()))
        for i, p in enumerate([parts[0], *(cast(p, schema) for p in parts[1:])])
    ]
    frame = {**real.frame, mark: "bool"} if real.frame else None
    columns = (*real.schema.columns, Column(name=mark, kind="boolean"))
    return Table(pa.concat_tables(marked), None, frame, Schema(columns=columns))


def write_rows(
    path: str | Path, real: Dataset | None, drawn: Dataset | None, mark: str, like: Table, made: Mark | None = None
) -> None:
    """Write real rows and then drawn ones into one file, whole or not at all.

    The cells of a CSV's real rows stay as they are written. The mark is 0 or 1, or as the table's own column of
    truths writes it; in Parquet it is boolean.

    Args:
        path: a `.csv`, `.csv.gz` or `.parquet` file.
        real: the rows there were, or none.
        drawn: the rows that are new, or none.
        mark: name of the column that tells them apart.
        like: the table that the output looks like.
        made: what a Parquet file of drawn rows alone says of itself.

    Raises:
        SynthgenError: the ending is not known.
        ResourceError: the disk is full or the place not writable.
    """
    binary = Path(path).suffix == ".parquet"
    spelling: tuple[object, object] = (False, True) if binary else _spelling(like)
    column = Column(name=mark, kind="boolean", dtype="bool" if binary else None)
    schema = Schema(columns=(*like.schema.columns, column), csv=like.schema.csv)
    first = typed(like) if binary else None
    with writer(path, schema, made if real is None else None) as output:
        for table, truth in ((real, spelling[0]), (drawn, spelling[1])):
            if isinstance(table, Table):
                data = typed(table) if binary and table is real else _like(table, like)
                data = cast(data, first.schema) if first is not None else data
                kind = pa.bool_() if binary else pa.string()
                data = data.append_column(mark, pa.array([truth] * len(data), kind))
                output.write(Table(data, like.dialect, None, schema))  # type: ignore[arg-type]


def write_pictures(path: str | Path, real: Dataset | None, drawn: Dataset | None, made: Mark | None = None) -> None:
    """Write real images and then drawn ones into one folder or `.zip`, whose metadata.csv says which are drawn.

    Each drawn image says what is `made` known of it.
    """
    images = [(i, drawn_now) for i, drawn_now in ((real, False), (drawn, True)) if isinstance(i, Images)]
    with ImageWriter(path, images[0][0].schema, made, marked=True) as output:
        for some, truth in images:
            output.write(some, truth)


def typed(table: Table) -> pa.Table:
    """Columns of values, as `generate` makes them; those that have types keep them."""
    columns = {}
    for column in table.schema.columns:
        cells = table.data[column.name].combine_chunks()
        columns[column.name] = typed_column(column, column_values(column, cells)) if column.dtype is None else cells
    return pa.table(columns)


def _like(drawn: Table, real: Table) -> pa.Table:
    """Drawn columns in the order of the real ones."""
    return drawn.data.select(real.data.column_names)


def cast(data: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the types of another; labels are encoded afresh where its type holds them encoded."""
    columns = []
    for field in schema:
        cells = data[field.name].combine_chunks()
        if pa.types.is_null(field.type):
            cells = pa.nulls(len(cells))
        if cells.type != field.type and pa.types.is_dictionary(field.type):
            cells = pc.cast(cells, field.type.value_type).dictionary_encode()
        columns.append(cells if cells.type == field.type else pc.cast(cells, field.type, safe=False))
    return pa.table(columns, schema=schema)


def _spelling(table: Table) -> tuple[str, str]:
    """How a CSV writes false and true: as its first boolean column does, else 0 and 1."""
    for column in table.schema.columns:
        if column.kind == "boolean" and pa.types.is_string(table.data[column.name].type):
            texts = [t for t in pc.unique(table.data[column.name]).to_pylist() if t and t not in column.missing]
            if len(texts) == 2:
                false, true = sorted(texts, key=lambda t: t.lower() in _TRUTHS)
                return false, true
    return "0", "1"
