"""Inputs: real, synthetic and held-out rows, made comparable whoever wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.data import Table
from synthgen.data.cells import column_values
from synthgen.errors import SynthgenError
from synthgen.formats import MISSING, find_date_format, find_number_format
from synthgen.metrics.features import MODELLED, Features
from synthgen.metrics.neighbours import row_keys
from synthgen.schema import Column, Schema

Matrix = NDArray[np.float64]

PANDAS = ("<NA>", "NaT")  # how pandas writes what is missing
TRUTHS = dict.fromkeys(("true", "yes", "y", "t", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "n", "f", "off", "0"), False
)
LEAST = 20  # rows below which every figure is noise


@dataclass(frozen=True)
class Rows:
    """Rows of one source: their table and its features (n, columns)."""

    name: str
    table: Table
    matrix: Matrix

    def __len__(self) -> int:
        return len(self.matrix)


@dataclass(frozen=True)
class Tables:
    """What a report on tables compares.

    Args:
        schema: of the real rows.
        features: how cells become numbers.
        real: rows that were trained on.
        synthetic: rows that are judged.
        holdout: real rows that were not trained on, or none.
        notes: what was noticed while reading.
    """

    schema: Schema
    features: Features
    real: Rows
    synthetic: Rows
    holdout: Rows | None
    notes: tuple[str, ...]

    def matrices(self) -> tuple[Matrix, Matrix, Matrix]:
        """Features of the real, held-out and synthetic rows."""
        assert self.holdout is not None
        return self.real.matrix, self.holdout.matrix, self.synthetic.matrix

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers or dates."""
        return [self.features.numeric(name) for name in self.features.names]


def comparable(real: Table, synthetic: Table, holdout: Table | None, names: Mapping[str, str]) -> Tables:
    """Bring tables to the columns and cells of the real one.

    Args:
        real: rows that were trained on; its schema is that of all.
        synthetic: rows that are judged.
        holdout: further real rows.
        names: what to call each in an error: `real`, `synthetic`, `holdout`.

    Raises:
        SynthgenError: they do not have the same columns, a cell is not what its column holds, or rows are too few.
    """
    schema, notes = real.schema, list[str]()
    others = {"synthetic": synthetic} | ({"holdout": holdout} if holdout is not None else {})
    for role, table in {"real": real, **others}.items():
        if len(table) < LEAST:
            has = "1 row" if len(table) == 1 else f"{len(table)} rows"
            raise SynthgenError(f"{names[role]} has {has}; a report needs at least {LEAST}")
    present = [c.name for c in schema.columns if c.kind in MODELLED]
    for role, table in others.items():
        notes += _same_columns(schema, table, names["real"], names[role])
        present = [name for name in present if name in table.data.column_names]
    if not present:
        raise SynthgenError(f"{names['real']} has no column to compare: all are ids, texts, constant or empty")
    schema = schema.drop([c.name for c in schema.columns if c.name not in present])
    features, rows = Features(real, schema), {"real": Rows(names["real"], real, np.empty(0))}
    for role, table in {"real": real, **others}.items():
        try:
            if role != "real":
                table, said = _alike(table, schema, real)
                notes += [f"{names[role]}: {text}" for text in said]
            rows[role] = Rows(names[role], table, _finite(features.matrix(table), features.names))
        except SynthgenError as error:
            raise SynthgenError(f"{names[role]}: {error}") from error
    if holdout is not None:
        notes += _overlap(rows["real"], rows["holdout"])
    return Tables(schema, features, rows["real"], rows["synthetic"], rows.get("holdout"), tuple(notes))


def _same_columns(schema: Schema, table: Table, real: str, name: str) -> list[str]:
    """Complain about columns that only one table has; ids and texts may be left out, and the order may differ."""
    kinds, found = {c.name: c.kind for c in schema.columns}, table.data.column_names
    missing, extra = [n for n in kinds if n not in found], [n for n in found if n not in kinds]
    lost = [n for n in missing if kinds[n] in MODELLED]
    if lost or extra:
        parts = [f"{what} {_some(these)}" for what, these in (("lacks", lost), ("has", extra)) if these]
        wanted = f"give a table with its columns{' only' if extra else ''}" if lost else "drop what is extra"
        raise SynthgenError(f"{name} {' and '.join(parts)}, unlike {real}; {wanted}")
    notes = [f"{name} lacks {_some(missing)}, which would not be compared"] if missing else []
    if [n for n in found if n in kinds] != [n for n in kinds if n in found]:
        notes.append(f"{name} has its columns in another order than {real}; they were matched by name")
    return notes


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return f"column{'s' * (len(names) > 1)} {shown}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _finite(matrix: Matrix, names: Sequence[str]) -> Matrix:
    if (beyond := np.isinf(matrix).any(axis=0)).any():
        name = names[int(beyond.argmax())]
        raise SynthgenError(f"column {name!r} holds an infinite number; leave such cells empty")
    return matrix


def _alike(table: Table, schema: Schema, real: Table) -> tuple[Table, list[str]]:
    """A table with its cells written as the real ones are: other formats of dates and numbers, 1.0 for 1, NaN for ?."""
    data, notes = table.data, list[str]()
    for column in schema.columns:
        cells = data[column.name].combine_chunks()
        if pa.types.is_dictionary(cells.type):
            cells = pc.cast(cells, cells.type.value_type)
        if pa.types.is_string_view(cells.type):
            cells = pc.cast(cells, pa.string())
        if not _textual(cells.type):
            _check_type(cells.type, column)
            if column.kind in ("numeric", "datetime"):
                continue
            cells = pc.cast(cells, pa.string())
        new, said = _rewritten(cells, column, real)
        place = data.column_names.index(column.name)
        data = data.set_column(place, column.name, new)
        notes += [f"column {column.name!r}: {said}"] if said else []
    return Table(data, table.dialect, table.frame, table.declared), notes


def _textual(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _check_type(kind: pa.DataType, column: Column) -> None:
    """Complain about typed cells that cannot be what the column holds."""
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    number = number or pa.types.is_boolean(kind)
    date = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    fits = {"numeric": number, "datetime": date}.get(column.kind, number or date)
    if not fits and not pa.types.is_null(kind):
        wanted = {"numeric": "numbers", "datetime": "dates"}.get(column.kind, "labels")
        raise SynthgenError(f"column {column.name!r} has the type {kind}, where {wanted} were expected")


def _rewritten(cells: pa.Array, column: Column, real: Table) -> tuple[pa.Array, str]:
    """Texts as the real ones are written, and what was done to them."""
    encoded = pc.dictionary_encode(pc.cast(cells, pa.string()))
    texts, markers = encoded.dictionary.to_pylist(), {*MISSING, *PANDAS, *column.missing}
    if column.kind in ("numeric", "datetime"):
        new = [None if t.strip() in markers else t for t in texts]
        return _reparsed(pa.array(new, pa.string()), column, encoded.indices)
    labels = pc.unique(column_values(column, real.data[column.name].combine_chunks())).to_pylist()
    known, truth = set(labels) - {None}, column.kind == "boolean"
    aliases = {_canonical(label, truth): label for label in known}
    gone = {t for t in texts if t not in known and t.strip() in markers}
    new = [None if t in gone else t if t in known else aliases.get(_canonical(t, truth), t) for t in texts]
    changes = (f"{a!r} was read as {b!r}" for a, b in zip(texts, new, strict=True) if b is not None and a != b)
    changed, rewritten = next(changes, ""), pa.array(new, pa.string()).take(encoded.indices)
    # a label that says that there is none, such as ?, is gone where a stranger's reader knew it
    marker = next((label for label in known if label in MISSING), None)
    if marker is None or None in labels or marker in texts or not rewritten.null_count:
        return rewritten, changed
    return pc.fill_null(rewritten, marker), f"missing cells were read as {marker!r}"


def _canonical(label: str, truth: bool) -> str:
    """What two spellings of a label share: case, blanks around it, a number's zeros, a truth."""
    label = label.strip().casefold()
    if truth and label.removesuffix(".0") in TRUTHS:
        return repr(TRUTHS[label.removesuffix(".0")])
    try:
        return repr(float(label))
    except ValueError:
        return label


def _reparsed(texts: pa.Array, column: Column, indices: pa.Array) -> tuple[pa.Array, str]:
    """Numbers and dates that are written in another way than the real ones become typed."""
    try:
        column_values(column, texts)
        return texts.take(indices), ""
    except SynthgenError:
        given = [t for t in texts.to_pylist() if t]
        own: Any = find_date_format(given) if column.kind == "datetime" else find_number_format(given, False)
        if own is None:
            raise
    values = own.parse(texts)
    if column.kind == "numeric":
        return pa.array(values, from_pandas=True).take(indices), "its numbers are written in another format"
    ticks = np.where(np.isnan(values), 0, values).astype(np.int64).astype(f"M8[{own.unit}]").astype("M8[us]")
    return pa.array(ticks, mask=np.isnan(values)).take(indices), f"its dates are written like {own.pattern}"


def _overlap(real: Rows, holdout: Rows) -> list[str]:
    """Say how many held-out rows are among the real ones; what is mostly the same data holds nothing out."""
    keys = row_keys(real.matrix)
    shared = int(np.isin(row_keys(holdout.matrix), keys).sum())
    alike = 1 - len(np.unique(keys)) / len(keys)  # rows that have a twin anyway
    same = np.array_equal(real.matrix, holdout.matrix, equal_nan=True)
    if same or (shared > 0.5 * len(holdout) and alike < 0.25):
        raise SynthgenError(
            f"{shared} of {len(holdout)} rows of {holdout.name} are in {real.name}, too; "
            "a holdout has rows that the generator has not seen"
        )
    if not shared:
        return []
    expected = "; as many twins as the real rows have among themselves" if shared <= 1.5 * alike * len(holdout) else ""
    return [f"{shared} of {len(holdout)} rows of {holdout.name} equal a row of {real.name}{expected}"]


def name_of(data: object, role: str) -> str:
    """What to call a dataset: its file, else its role."""
    return (Path(data).name or str(data) or role) if isinstance(data, str | Path) else role


def told_apart(names: Mapping[str, str]) -> dict[str, str]:
    """Names by role, with the role where two are equal."""
    every = list(names.values())
    return {role: f"{name} ({role})" if every.count(name) > 1 else name for role, name in names.items()}
