"""Codec of labels: to their rank by frequency, and back; rare ones are pooled. Its fields are its JSON state."""

from __future__ import annotations

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
    cells: pa.Array, column: Column, cap: int, keep_rare: bool = False
) -> tuple[Categorical, list[str]]:
    """Choose the labels of a column, and say what was pooled.

    Args:
        cells: labels, null where missing.
        column: its schema; declared categories are all kept, and no others accepted.
        cap: at most so many codes.
        keep_rare: keep labels that fewer than 5 records hold, up to the cap.

    Raises:
        SynthgenError: a label is not among the declared ones.
    """
    tally = pc.value_counts(cells.drop_null())
    counts = dict(zip(tally.field(0).to_pylist(), tally.field(1).to_pylist(), strict=True))
    missing = cells.null_count / len(cells)
    if column.categories is not None:
        for label in counts:
            if label not in column.categories:
                raise SynthgenError(
                    f"column {column.name!r} holds {label!r}, which its declared categories do not list; "
                    "add it to the schema or correct the table"
                )
        labels = list(column.categories)
        mass = [counts.get(label, 0) / len(cells) for label in labels]
        return Categorical(labels=labels, mass=mass, missing=missing), []
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    kept = [label for label in ordered if keep_rare or counts[label] >= RARE][: cap - 1 - (missing > 0)]
    if not kept:
        kept = ordered[:1]
    pooled = sum(counts.values()) - sum(counts[label] for label in kept)
    notes, pool = [], None
    masses = [counts[label] / len(cells) for label in kept]
    if pooled >= RARE and column.dtype in (None, "string", "large_string"):
        pool = "_RARE_" if "_RARE_" not in counts else "_RARE_LABEL_"
        kept, masses = [*kept, pool], [*masses, pooled / len(cells)]
    elif pooled:
        masses[0] += pooled / len(cells)
    if pooled:
        name = f"generated as {pool!r}" if pool else f"counted as {kept[0]!r}"
        reason = f"held by fewer than {RARE} records" if not keep_rare else f"beyond the {cap} most frequent"
        notes.append(
            f"column {column.name!r}: {len(counts) - len(kept) + (pool is not None)} labels {reason} "
            f"({100 * pooled / len(cells):.2g} % of rows) are {name}"
            + ("" if keep_rare else "; --keep-rare keeps them")
        )
    return Categorical(labels=kept, mass=masses, missing=missing, pool=pool), notes
