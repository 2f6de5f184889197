"""Seen: what released records hold, taken from them alone, a chunk at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.codec import Codec, ImageCodec, TableCodec
from synthgen.data import Dataset, Images, Table
from synthgen.dp.bins import Part
from synthgen.formats import DateFormat, NumberFormat
from synthgen.release.cells import Cells
from synthgen.schema import Column, Dialect, Schema

DAY, SECOND = "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"
ISO = {"D": DAY, "s": SECOND, "us": f"{SECOND}.%f"}


class Seen:
    """What is in the records that were given so far.

    Args:
        codec: of the model that draws them.
        parts: of columns, in which records are counted.

    Attributes:
        records: how many there are.
        held: of each column with parts, how many records lie in each of them, and in none; of images, in each class.
    """

    def __init__(self, codec: Codec, parts: Mapping[str, Sequence[Part]]) -> None:
        self._codec = codec
        self._cells = {name: Cells(found) for name, found in parts.items()}
        self.records = 0
        self.held = dict[str, NDArray[np.int64]]()
        self._gaps = dict[str, int]()
        self._ends = dict[str, tuple[float, float]]()
        self._labels = dict[str, set[str]]()
        self._types = dict[str, str]()

    def add(self, part: Dataset) -> None:
        """Count further records."""
        self.records += len(part)
        if isinstance(part, Images):
            assert isinstance(self._codec, ImageCodec)
            for name in self._codec.context.names:
                self._count(name, part.labels, len(self._codec.image_schema.classes))
            return
        assert isinstance(self._codec, TableCodec)
        for column in self._codec.table_schema.columns:
            values = self._codec.values(column.name, part)
            self._look(column.name, part, values)
            if own := self._cells.get(column.name):
                self._count(column.name, own.place(values), own.size)

    def _count(self, name: str, codes: NDArray[np.int64], size: int) -> None:
        held = np.bincount(codes, minlength=size)
        self.held[name] = self.held.get(name, np.zeros(size, dtype=np.int64)) + held

    def _look(self, name: str, part: Table, values: Any) -> None:
        self._types[name] = str(part.data[name].type)
        if not isinstance(values, np.ndarray):
            self._gaps[name] = self._gaps.get(name, 0) + values.null_count
            if self._codec.dataset_schema[name].kind in ("categorical", "boolean"):
                self._labels.setdefault(name, set()).update(pc.unique(values.drop_null()).to_pylist())
            return
        there = values[~np.isnan(values)]
        self._gaps[name] = self._gaps.get(name, 0) + len(values) - len(there)
        if len(there):
            low, high = self._ends.get(name, (np.inf, -np.inf))
            self._ends[name] = min(low, float(there.min())), max(high, float(there.max()))

    def missing(self, name: str) -> float:
        """The share of the records that hold nothing in a column."""
        return self._gaps.get(name, 0) / max(1, self.records)

    def schema(self, form: Schema) -> Schema:
        """The schema of the released table: what was declared, completed by what the table itself shows.

        Args:
            form: how its cells are written (`published`).
        """
        return form.model_copy(update={"columns": tuple(self._column(column) for column in form.columns)})

    def _column(self, column: Column) -> Column:
        update: dict[str, Any] = {"dtype": self._types[column.name]}
        update["missing"] = ("",) if self._gaps.get(column.name) else ()
        if column.kind in ("numeric", "datetime"):
            update |= self._bounds(column)
        if column.kind in ("categorical", "boolean") and column.categories is None:
            update["categories"] = tuple(sorted(self._labels.get(column.name, ())))
        return column.model_copy(update=update)

    def _bounds(self, column: Column) -> dict[str, float | str | None]:
        """The declared bounds, which hold for all that is drawn; else the extremes of what was drawn."""
        own = self._codec.columns[column.name] if isinstance(self._codec, TableCodec) else None
        told = [getattr(own, "minimum", None), getattr(own, "maximum", None)]
        drawn = self._ends.get(column.name, (None, None))
        ends = [t if t is not None else d for t, d in zip(told, drawn, strict=True)]
        if column.date is None:
            return dict(zip(("minimum", "maximum"), ends, strict=True))
        texts = [None if e is None else column.date.render(np.array([e]))[0].as_py() for e in ends]
        return dict(zip(("minimum", "maximum"), texts, strict=True))

    def classes(self) -> tuple[str, ...]:
        """The classes of released images."""
        assert isinstance(self._codec, ImageCodec)
        known = self._codec.image_schema.classes
        return tuple(known[i] for i in np.flatnonzero(self.held["label"])) if known else ()


def published(schema: Schema) -> Schema:
    """How released tables are written, whatever the real one was: comma, UTF-8, plain numbers, ISO dates, empty cells.

    Only what names, types and formats say is kept of a model's schema, and what a person declared.
    """
    rules = [rule.text for rule in schema.parsed_rules() if rule.kind == "order"]
    return Schema(columns=tuple(_plain(column) for column in schema.columns), rules=tuple(rules), csv=Dialect())


def _plain(column: Column) -> Column:
    number = NumberFormat(decimals=column.number.decimals) if column.number else None
    date = column.date
    if date is not None and all(part in date.pattern.replace("%B", "%m").replace("%b", "%m") for part in ("%d", "%m")):
        zoned = "tz=" in (column.dtype or "")  # what is stored with a zone is written in universal time
        date = DateFormat(pattern=ISO[date.unit], unit=date.unit, suffix="Z" if zoned else date.suffix)
    categories = column.categories if column.kind in ("categorical", "boolean") else None
    return Column(name=column.name, kind=column.kind, missing=("",), number=number, date=date, categories=categories)
