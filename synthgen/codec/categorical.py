"""Codec of labels: to their rank by frequency, and back; rare ones are pooled. Its fields are its JSON state."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from synthgen.codec.rare import RARE, UNKNOWN
from synthgen.errors import SynthgenError
from synthgen.schema import Column

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Categorical(BaseModel):
    """Codec of labels, most frequent first; code 0 is missing where there are missing cells.

    Labels of fewer than 5 records are pooled under `pool` if they hold 5 together, else they count as the
    most frequent one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["categorical"] = "categorical"
    labels: list[str] = Field(min_length=1)
    mass: list[float]
    missing: float = 0.0
    pool: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Categorical:
        same = len(self.labels) == len(self.mass) and len(set(self.labels)) == len(self.labels)
        if not same or self.pool not in (None, *self.labels):
            raise ValueError("the labels of a categorical column contradict each other")
        return self

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.labels) + self.nullable

    @property
    def nullable(self) -> bool:
        """Whether code 0 means missing."""
        return self.missing > 0

    @cached_property
    def masses(self) -> Floats:
        """Mass of each code."""
        return np.array([self.missing, *self.mass] if self.nullable else self.mass)

    def encode(self, cells: pa.Array) -> Ints:
        """Labels (n,), null where missing, to codes (n,); a label never seen is UNKNOWN or the pool's."""
        found = pc.index_in(cells, pa.array(self.labels, pa.string()))
        unseen = UNKNOWN if self.pool is None else self.labels.index(self.pool) + self.nullable
        codes = pc.fill_null(pc.add(pc.cast(found, pa.int64()), int(self.nullable)), unseen)
        return np.where(np.asarray(pc.is_null(cells)), 0 if self.nullable else UNKNOWN, np.asarray(codes))

    def decode(self, codes: Ints) -> pa.Array:
        """Codes (n,) to labels, null where missing."""
        index = pa.array(codes - self.nullable, mask=codes < self.nullable)
        return pc.take(pa.array(self.labels, pa.string()), index)


def fit_categorical(
    cells: pa.Array,
    column: Column,
    cap: int,
    keep_rare: bool = False,
    counts: Ints | None = None,
    unlisted: tuple[int, int] = (0, 0),
) -> tuple[Categorical, list[str]]:
    """Choose the labels of a column, and say what was pooled.

    Args:
        cells: labels, null where missing.
        column: its schema; declared categories are all kept, and no others accepted.
        cap: at most so many codes.
        keep_rare: keep labels that fewer than 5 records hold, up to the cap.
        counts: how many records hold each of the cells, (n,); one by default.
        unlisted: how many rare labels are not among the cells, and how many records hold them.

    Raises:
        SynthgenError: a label is not among the declared ones.
    """
    counted, gaps = _tally(cells, counts)
    records = sum(counted.values()) + gaps + unlisted[1]
    missing = gaps / records
    if column.categories is not None:
        check_declared(counted, column)
        labels = list(column.categories)
        mass = [counted.get(label, 0) / records for label in labels]
        return Categorical(labels=labels, mass=mass, missing=missing), []
    ordered = sorted(counted, key=lambda label: (-counted[label], label))
    kept = [label for label in ordered if keep_rare or counted[label] >= RARE][: cap - 1 - (missing > 0)]
    if not kept:
        kept = ordered[:1]
    pooled = records - gaps - sum(counted[label] for label in kept)
    notes, pool = [], None
    masses = [counted[label] / records for label in kept]
    if pooled >= RARE and column.dtype in (None, "string", "large_string"):
        pool = "_RARE_" if "_RARE_" not in counted else "_RARE_LABEL_"
        kept, masses = [*kept, pool], [*masses, pooled / records]
    elif pooled:
        masses[0] += pooled / records
    if pooled:
        name = f"generated as {pool!r}" if pool else f"counted as {kept[0]!r}"
        many = len(counted) + unlisted[0] - len(kept) + (pool is not None)
        few = not keep_rare and not unlisted[0]
        reason = f"held by fewer than {RARE} records" if few else f"beyond the {cap} most frequent"
        notes.append(
            f"column {column.name!r}: {many} labels {reason} ({100 * pooled / records:.2g} % of rows) are {name}"
            + ("; --keep-rare keeps them" if few else "")
        )
    return Categorical(labels=kept, mass=masses, missing=missing, pool=pool), notes


def _tally(cells: pa.Array, counts: Ints | None) -> tuple[dict[str, int], int]:
    """How many records hold each label, and how many none."""
    if counts is None:
        found = pc.value_counts(cells)
        cells, counts = found.field(0), np.asarray(found.field(1))
    counted: dict[str | None, int] = {}
    for label, count in zip(cells.to_pylist(), counts.tolist(), strict=True):
        counted[label] = counted.get(label, 0) + count
    gaps = counted.pop(None, 0)
    return {label: n for label, n in counted.items() if label is not None}, gaps


def check_declared(labels: Iterable[str], column: Column) -> None:
    """Raise SynthgenError where a label is none of the declared ones."""
    for label in labels:
        if label not in (column.categories or ()):
            raise SynthgenError(
                f"column {column.name!r} holds {label!r}, which its declared categories do not list; "
                "add it to the schema or correct the table"
            )
