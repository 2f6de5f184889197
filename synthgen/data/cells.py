"""Cells of a column: as text or as the source typed them, to values that are computed with, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.errors import SynthgenError
from synthgen.formats import NumberFormat
from synthgen.schema import Column

Floats = NDArray[np.float64]


def column_values(column: Column, cells: pa.Array) -> Any:
    """What a codec works on: floats (n,) with NaN for numbers and dates, strings with nulls for the others.

    Raises:
        SynthgenError: a cell is not what the schema says.
    """
    if pa.types.is_dictionary(cells.type):
        cells = pc.cast(cells, cells.type.value_type)
    text = pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)
    if text:
        cells = pc.cast(cells, pa.string())
        marked = pc.is_in(cells, pa.array([*column.missing, ""], pa.string()))
        cells = pc.if_else(marked, pa.scalar(None, pa.string()), cells)
    if column.kind == "numeric":
        return _numbers(column, cells, text)
    if column.kind == "datetime":
        return _dates(column, cells, text)
    return cells if text else pc.cast(cells, pa.string())


def _numbers(column: Column, cells: pa.Array, text: bool) -> Floats:
    if not text:
        return np.array(pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=float)
    assert column.number is not None, "inference gives every numeric column a format"
    return _parsed(column, cells, column.number.parse, "number")


def _dates(column: Column, cells: pa.Array, text: bool) -> Floats:
    assert column.date is not None, "inference gives every date column a format"
    if text and column.dtype is None:
        return _parsed(column, cells, column.date.parse, f"date like {column.date.pattern}")
    if text and column.dtype is not None:  # a date that a person typed, for a column that holds dates
        stamps = pd.to_datetime(pd.Series(cells.to_pylist(), dtype=object), errors="coerce").to_numpy()
        return np.where(
            np.isnat(stamps), np.nan, stamps.astype(f"M8[{column.date.unit}]").astype(np.int64).astype(float)
        )
    whole = pa.timestamp("us", getattr(cells.type, "tz", None))  # what is finer is cut off
    stamps = pc.cast(cells, whole, safe=False).to_numpy(zero_copy_only=False)
    stamps = stamps.astype("M8[us]")
    return np.where(np.isnat(stamps), np.nan, stamps.astype(f"M8[{column.date.unit}]").astype(np.int64).astype(float))


def _parsed(column: Column, cells: pa.Array, parse: Any, what: str) -> Floats:
    """Parse each distinct text once."""
    encoded = pc.dictionary_encode(cells)
    distinct = parse(encoded.dictionary.cast(pa.string()))
    if (bad := np.flatnonzero(np.isnan(distinct))).size:
        raise SynthgenError(
            f"column {column.name!r} holds {encoded.dictionary[int(bad[0])].as_py()!r}, which is no {what}; "
            'correct the table, or edit the column in a schema (its kind, or what counts as "missing")'
        )
    index = np.array(encoded.indices.fill_null(-1))
    return np.where(index < 0, np.nan, np.append(distinct, np.nan)[index])


def typed_column(column: Column, made: Floats | pa.Array) -> pa.Array:
    """Decoded values in the type of their source; texts of a CSV become numbers, dates and strings."""
    if isinstance(made, np.ndarray):
        gap = np.isnan(made)
        if column.kind == "datetime":
            unit = column.date.unit if column.date else "us"
            with np.errstate(invalid="ignore"):  # a damaged model may draw what no date is
                whole_units = np.where(gap, 0, made).round().astype(np.int64)
            ticks = whole_units.astype(f"M8[{unit}]").astype("M8[us]")
            made = pa.array(ticks, mask=gap)
        else:
            whole = column.number is not None and column.number.decimals == (0, 0)
            safe = whole and np.abs(made[~gap]).max(initial=0) < 2**53
            made = pa.array(np.where(gap, 0, made).astype(np.int64) if safe else made, mask=gap)
    if column.dtype is None:
        return made
    try:
        return pc.cast(made, parse_type(column.dtype), safe=False)
    except (ValueError, IndexError, TypeError, NotImplementedError):  # Arrow's among them
        return made  # an id or a pooled label that the type cannot hold, or that is of no type, stays as it is


def parse_type(name: str) -> pa.DataType:
    """An Arrow type from its name, such as `int64`, `timestamp[us, tz=UTC]`, `decimal128(10, 2)`."""
    if name.startswith("dictionary"):
        return pa.dictionary(pa.int32(), parse_type(name.split("values=")[1].split(",")[0]))
    head, _, rest = name.partition("[" if "[" in name else "(")
    arguments = [a.strip() for a in rest.rstrip("])").split(",")] if rest else []
    if head == "timestamp":
        return pa.timestamp(arguments[0], arguments[1].removeprefix("tz=") if len(arguments) > 1 else None)
    if head.startswith("decimal"):
        make = pa.decimal256 if head == "decimal256" else pa.decimal128
        return make(int(arguments[0]), int(arguments[1]))
    return {"double": pa.float64(), "float": pa.float32(), "halffloat": pa.float16()}.get(name) or pa.type_for_alias(
        name
    )


def render(column: Column, cells: pa.Array) -> pa.Array:
    """The texts that stand for typed cells in a CSV; texts are left as they are."""
    missing = column.missing[0] if column.missing else ""
    if pa.types.is_dictionary(cells.type):
        cells = pc.cast(cells, cells.type.value_type)
    if not pa.types.is_string(cells.type):
        if column.kind == "datetime" and column.date is not None and pa.types.is_temporal(cells.type):
            stamps = cells.to_numpy(zero_copy_only=False).astype("M8[us]")
            ticks = stamps.astype(f"M8[{column.date.unit}]").astype(np.int64).astype(float)
            cells = column.date.render(np.where(np.isnat(stamps), np.nan, ticks))
        elif pa.types.is_integer(cells.type) and column.number in (None, NumberFormat()):
            cells = pc.cast(cells, pa.string())  # a float would not hold 2**53 + 1
        elif column.number is not None and not pa.types.is_boolean(cells.type):
            numbers = pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            cells = column.number.render(np.array(numbers, dtype=float))
        else:
            cells = pc.cast(cells, pa.string())
    return pc.fill_null(cells, missing)
