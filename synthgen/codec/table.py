"""TableCodec: the columns of a table side by side, the context that travels beside them, and declared rules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from synthgen.codec.base import Codec
from synthgen.codec.categorical import Categorical, Ints
from synthgen.codec.made import Constant, Id, Text
from synthgen.codec.numeric import Floats, Numeric
from synthgen.codec.rare import UNKNOWN
from synthgen.codec.repair import Combinations, repair
from synthgen.data.cells import column_values, typed_column
from synthgen.data.table import Table
from synthgen.errors import SynthgenError, near
from synthgen.schema import Schema
from synthgen.space import Space

ColumnCodec = Annotated[Numeric | Categorical | Constant | Id | Text, Field(discriminator="kind")]
Modelled = Numeric | Categorical
Fixed = Mapping[str, Floats | pa.Array]


class TableCodec(Codec):
    """A table to records and back; made by `fit_codec`, always fitted. `state()` is its JSON.

    `space` has one column per modelled column of the table. Columns named in `context` leave it and travel
    beside it; ids, texts and constants are made when decoding.
    """

    kind: ClassVar[Literal["table"]] = "table"
    chunk: ClassVar[int] = 65_536

    table_schema: Schema
    columns: dict[str, ColumnCodec]
    real: tuple[str, ...] = ()
    combinations: tuple[Combinations, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> TableCodec:
        if list(self.columns) != self.table_schema.names:
            raise ValueError("the codec's columns are not those of its schema")
        given = [self.columns.get(n) for n in self.context.names]
        if not all(isinstance(c, Numeric | Categorical) for c in given):
            raise ValueError("the context names columns that are not modelled")
        sizes = np.array([c.size for c in given if c is not None and hasattr(c, "size")])
        codes = np.array(self.context.codes).reshape(len(self.context.codes), len(given))
        if len(codes) != len(self.context.counts) or (codes < 0).any() or (codes >= sizes).any():
            raise ValueError("the context's frequencies contradict its columns")
        return self

    @property
    def dataset_schema(self) -> Schema:
        """The schema of the tables that it makes."""
        return self.table_schema

    @cached_property
    def modelled(self) -> dict[str, Modelled]:
        """The columns of the space, in order."""
        return {
            name: codec
            for name, codec in self.columns.items()
            if isinstance(codec, Numeric | Categorical) and name not in self.context.names
        }

    @cached_property
    def given(self) -> dict[str, Modelled]:
        """The columns of the context, in order."""
        return {n: c for n in self.context.names if isinstance(c := self.columns[n], Numeric | Categorical)}

    @cached_property
    def space(self) -> Space:
        """Shape and sizes of the records."""
        sizes = [0 if name in self.real else codec.size for name, codec in self.modelled.items()]
        ordered = [isinstance(c, Numeric) for c in self.modelled.values()]
        return Space((len(sizes),), tuple(sizes), tuple(ordered))

    @cached_property
    def context_space(self) -> Space:
        """Shape and sizes of the contexts, before they are embedded."""
        sizes = tuple(c.size for c in self.given.values())
        return Space((len(sizes),), sizes, tuple(isinstance(c, Numeric) for c in self.given.values()))

    def encode(self, table: Table, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Records (n, columns) float32 of a table, and which cells they hold (n, columns) bool.

        A cell is not held where the column is absent, or its value is missing or new to a codec that has
        no code for it; its entry is then that of the commonest label, or 0.
        """
        x = np.zeros((len(table), len(self.modelled)), dtype=np.float32)
        held = np.zeros(x.shape, dtype=bool)
        for j, (name, codec) in enumerate(self.modelled.items()):
            if name not in table.data.column_names:
                continue
            values = self.values(name, table)
            codes = codec.encode(values)
            held[:, j] = codes != UNKNOWN
            commonest = int(isinstance(codec, Categorical) and codec.nullable)
            codes = np.where(held[:, j], codes, commonest)
            if isinstance(codec, Numeric) and name in self.real:
                x[:, j] = codec.score(values, codes, rng)
            else:
                x[:, j] = codes
        return torch.from_numpy(x), torch.from_numpy(held)

    def encode_context(self, table: Table) -> Ints:
        """Codes (n, context columns) of the given columns of a table; UNKNOWN where there is none."""
        codes = [
            codec.encode(self.values(name, table)) if name in table.data.column_names else np.full(len(table), UNKNOWN)
            for name, codec in self.given.items()
        ]
        return np.stack(codes, axis=1) if codes else np.zeros((len(table), 0), dtype=np.int64)

    def asked(self, given: Table | None, n: int) -> Ints:
        """Context codes (n, context columns) that a table asks for; UNKNOWN where nothing is given.

        Raises:
            SynthgenError: it names a column that is not modelled, or a value that the column never held.
        """
        if given is None:
            return np.full((n, len(self.given)), UNKNOWN)
        for name in given.data.column_names:
            codec = {**self.modelled, **self.given}.get(name)
            if codec is None:
                kind = self.table_schema[name].kind
                raise SynthgenError(f"column {name!r} is {kind}; only modelled columns can be given")
            values = self.values(name, given)
            if (bad := np.flatnonzero((codec.encode(values) == UNKNOWN) & ~is_empty(values))).size:
                raise unknown_value(codec, name, str(given.data[name][int(bad[0])]))
        return self.encode_context(given)

    def completes(self, given: Table) -> bool:
        """Whether a table of what is given names columns of the records themselves."""
        return any(name in self.modelled for name in given.data.column_names)

    def fixed(self, given: Table) -> Fixed:
        """The values of a table that are given, for `decode`."""
        return {name: self.values(name, given) for name in given.data.column_names}

    def decode(
        self, x: Tensor, context: Ints, rng: np.random.Generator, start: int = 0, fixed: Fixed | None = None
    ) -> Table:
        """Records (n, columns) with their context codes to a table of typed columns.

        Rules do not change the cells that are `fixed`, which are NaN or null elsewhere.
        """
        values: dict[str, Floats | pa.Array] = {}
        records = x.numpy().astype(float)
        for j, (name, codec) in enumerate(self.modelled.items()):
            values[name] = self._decode(codec, records[:, j], rng, name in self.real)
        for j, (name, codec) in enumerate(self.given.items()):
            values[name] = self._decode(codec, context[:, j].astype(float), rng, False)
        held = {name: _overlay(values, name, cells) for name, cells in (fixed or {}).items()}
        repair(values, self.table_schema, self.combinations, held, self._steps(), rng)
        columns = []
        for column in self.table_schema.columns:
            own = self.columns[column.name]
            made = own.make(len(x), start, rng) if isinstance(own, Constant | Id | Text) else values[column.name]
            columns.append(typed_column(column, made))
        data = pa.table(columns, names=list(self.columns))
        frame = {c.name: c.pandas for c in self.table_schema.columns if c.pandas}
        return Table(data, self.table_schema.csv, frame or None, self.table_schema)

    def _decode(self, codec: Modelled, column: Floats, rng: np.random.Generator, real: bool) -> Floats | pa.Array:
        if isinstance(codec, Categorical):
            return codec.decode(column.astype(np.int64))
        if real:
            return codec.decode(*codec.unscore(column))
        return codec.decode(column.astype(np.int64), rng.random(len(column)))

    def _steps(self) -> dict[str, float]:
        return {n: c.step or 1e-6 * c.spread for n, c in self.columns.items() if isinstance(c, Numeric)}

    def log_volume(self, table: Table, x: Tensor) -> Floats:
        """Log of the volume that each record's cell has in the user's units, (n,).

        Minus this, a generator's `log_prob` is a density in the user's units: per unit of each number that
        lies in an interval, and a probability for labels and atoms.
        """
        total = np.zeros(len(table))
        for j, (name, codec) in enumerate(self.modelled.items()):
            if not isinstance(codec, Numeric) or name not in table.data.column_names:
                continue
            values = self.values(name, table)
            codes = np.maximum(codec.encode(values), 0)
            total += codec.log_width(values, codes)
            if name in self.real:  # from a density of the normal score to a density of its share of (0, 1)
                z = x[:, j].numpy().astype(float)
                total -= np.log(codec.masses[codes]) + 0.5 * z**2 + 0.5 * np.log(2 * np.pi)
        return total

    def consensus(self, name: str, drawn: NDArray[np.float32], rng: np.random.Generator) -> Any:
        """The likeliest of several draws (draws, n) of a column's cells: commonest label, median number."""
        codec = self.modelled[name]
        if isinstance(codec, Numeric):
            real = name in self.real
            values = np.stack([np.asarray(self._decode(codec, d.astype(float), rng, real)) for d in drawn])
            middle = float(codec.decode(*codec.unscore(np.zeros(1)))[0])
            lost = np.isnan(values).all(axis=0)  # drawn missing each time
            values[0, lost] = middle if middle == middle else codec.low[0]
            return np.nanpercentile(values, 50, axis=0, method="lower")
        votes = np.zeros((drawn.shape[1], codec.size))
        np.add.at(votes, (np.broadcast_to(np.arange(drawn.shape[1]), drawn.shape), drawn.astype(int)), 1)
        votes += 1e-9 * codec.masses  # ties
        if codec.nullable:
            votes[:, 0] = -1
        return codec.decode(votes.argmax(axis=1))

    def check(self, table: Table) -> None:
        """Raise SynthgenError where a table lacks a modelled column."""
        for name in (*self.modelled, *self.given):
            if name not in table.data.column_names:
                raise SynthgenError(f"the table has no column {name!r}; {near(name, table.data.column_names)}")

    def unseen(self, table: Table) -> Ints:
        """How many labels of each record no training record held, (n,)."""
        count = np.zeros(len(table), dtype=np.int64)
        for name, codec in {**self.modelled, **self.given}.items():
            if isinstance(codec, Categorical) and name in table.data.column_names:
                cells = self.values(name, table)
                count += np.asarray(pc.and_(pc.is_valid(cells), pa.array(codec.encode(cells) == UNKNOWN)))
        return count

    def values(self, name: str, table: Table) -> Any:
        """A column of a table as what its codec works on."""
        return column_values(self.table_schema[name], table.data[name].combine_chunks())


def is_empty(values: Any) -> NDArray[np.bool_]:
    """Which cells of a column, as its codec takes them, hold nothing, (n,)."""
    return np.isnan(values) if isinstance(values, np.ndarray) else np.asarray(pc.is_null(values))


def _overlay(values: dict[str, Floats | pa.Array], name: str, fixed: Floats | pa.Array) -> NDArray[np.bool_]:
    """Put the given cells of a column over the drawn ones; which they are, (n,)."""
    drawn = values[name]
    if isinstance(fixed, np.ndarray):
        held = ~np.isnan(fixed)
        values[name] = np.where(held, fixed, drawn)
    else:
        held = np.asarray(pc.is_valid(fixed))
        values[name] = pc.if_else(pa.array(held), fixed, drawn)
    return held


def unknown_value(codec: Modelled, name: str, text: str) -> SynthgenError:
    """The error for a value that a column never held."""
    hint = near(text, codec.labels) if isinstance(codec, Categorical) else "it is no number of this column"
    return SynthgenError(f"column {name!r} has no value {text!r}; {hint}")
