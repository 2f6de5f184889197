"""Labelled: records whose class is known, from a table with a target column or from images in folders."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.codec import LABEL
from synthgen.data import Dataset, Images, Table
from synthgen.data.cells import column_values
from synthgen.errors import SynthgenError, near
from synthgen.metrics.features import MODELLED
from synthgen.schema import Column, Schema

MOST = 200  # classes
CODES = 20  # different whole numbers that are taken for classes, not for quantities

Ints = NDArray[np.int64]


class Labelled(NamedTuple):
    """Records and the class of each.

    Args:
        data: the records; of a table, under a schema that declares the target's classes.
        y: index (n,) of each record's class.
        classes: their labels.
        target: the column that holds them; `label` of images.
    """

    data: Dataset
    y: Ints
    classes: tuple[str, ...]
    target: str

    @property
    def counts(self) -> Ints:
        """Records of each class (classes,)."""
        return np.bincount(self.y, minlength=len(self.classes))

    @property
    def rarest(self) -> int:
        """The class of the fewest records, of those that have any."""
        return int(np.where(self.counts > 0, self.counts, len(self.y) + 1).argmin())

    def part(self, rows: Any) -> Labelled:
        """Some records, by index."""
        return self._replace(data=self.data.take(rows), y=self.y[rows])


def labelled(data: Dataset, target: str | None = None) -> tuple[Labelled, list[str]]:
    """The records whose class is known, and sentences on what was left out.

    Args:
        data: a table, or images, whose folders are the classes.
        target: the column that holds the classes; none for images.

    Raises:
        SynthgenError: there is no such column, it holds no classes, one, or too many.
    """
    if isinstance(data, Images):
        if target not in (None, LABEL):
            raise SynthgenError(f"images have no column {target!r}: their folders are the classes; leave out --target")
        return _checked(Labelled(data, data.labels, data.schema.classes, LABEL)), []
    if target is None:
        raise SynthgenError("say with --target which column holds the classes")
    classes = _classes(data, target)
    declared = data.declare(_declaring(data.schema, target, classes))
    y = np.asarray(pc.fill_null(pc.index_in(_labels(declared, target), pa.array(classes, pa.string())), -1))
    rows = np.flatnonzero(y >= 0)
    notes = []
    if gone := len(y) - len(rows):
        notes.append(f"{gone} rows without a value of {target!r} stay as they are; nothing is learned from them")
        declared = declared.take(rows)
    known = Labelled(declared, y[rows].astype(np.int64), classes, target)
    if not any(c.kind in MODELLED for c in declared.schema.columns if c.name != target):
        raise SynthgenError(f"there is no column besides {target!r} to learn from: all are ids, texts or constant")
    return _checked(known), notes


def _checked(known: Labelled) -> Labelled:
    if (known.counts > 0).sum() < 2:
        what = f"one class, {known.classes[0]!r}" if known.classes else "no classes"
        raise SynthgenError(f"{known.target!r} holds {what}; augment balances two or more")
    return known


def _classes(table: Table, target: str) -> tuple[str, ...]:
    """The labels of the target, the commonest first."""
    if target not in table.data.column_names:
        raise SynthgenError(f"there is no column {target!r}; {near(target, table.data.column_names)}")
    column = table.schema[target]
    if column.kind not in (*MODELLED, "constant") or column.kind == "datetime":
        raise SynthgenError(
            f"column {target!r} is of kind {column.kind}, which has no classes; choose another --target"
        )
    values = _labels(table, target)
    counts = pc.value_counts(values.drop_null())
    found = dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True))
    if column.kind == "numeric" and (len(found) > CODES or not _whole(column, table)):
        raise SynthgenError(
            f"column {target!r} holds numbers, and augment adds rows by class; for more rows like yours: "
            "synthgen fit, then synthgen generate"
        )
    if len(found) > MOST:
        raise SynthgenError(
            f"column {target!r} has {len(found)} classes, at most {MOST} are balanced; is it the target?"
        )
    if strange := [label for label in found if column.categories and label not in column.categories]:
        raise SynthgenError(f"column {target!r} holds {strange[0]!r}, which its declared categories do not list")
    return tuple(sorted(found, key=lambda label: (-found[label], label)))


def _whole(column: Column, table: Table) -> bool:
    values = column_values(column, table.data[column.name].combine_chunks())
    return bool((values[~np.isnan(values)] % 1 == 0).all())


def _labels(table: Table, target: str) -> pa.Array:
    """The target's cells as texts, null where missing."""
    column = table.schema[target].model_copy(update={"kind": "categorical"})
    return column_values(column, table.data[target].combine_chunks())


def _declaring(schema: Schema, target: str, classes: tuple[str, ...]) -> Schema:
    """The schema under which the target is a label, and none of its classes is pooled for being rare."""
    label = {"kind": "categorical", "categories": classes, "number": None, "minimum": None, "maximum": None}
    columns = [c.model_copy(update=label) if c.name == target else c for c in schema.columns]
    rules = [r.text for r in schema.parsed_rules() if r.kind != "order" or target not in r.columns]
    return Schema(columns=tuple(columns), rules=tuple(rules), csv=schema.csv)
