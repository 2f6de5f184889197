"""TableCodec: the columns of a table side by side, the context that travels beside them, and declared rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from synthgen.codec.columns import (
    CELLS,
    UNKNOWN,
    Categorical,
    Floats,
    Ints,
    Numeric,
    fit_categorical,
    fit_numeric,
)
from synthgen.codec.made import Constant, Id, Text, fit_id, fit_text
from synthgen.codec.repair import Combinations, observe, repair
from synthgen.data.table import Table
from synthgen.dp.budget import Budget
from synthgen.errors import BudgetError, SynthgenError, near
from synthgen.schema import Column, Schema, explain
from synthgen.space import Space

ColumnCodec = Annotated[Numeric | Categorical | Constant | Id | Text, Field(discriminator="kind")]
Modelled = Numeric | Categorical
Fixed = Mapping[str, Floats | pa.Array]
CONTEXT_CELLS = 32  # of a number that is given: the generator is told which of them


class Context(BaseModel):
    """The columns that are given, and the joint frequencies of their codes, drawn from where they are not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: list[str] = []
    codes: list[list[int]] = []
    counts: list[int] = []


class TableCodec(BaseModel):
    """A table to records and back; made by `fit_codec`, always fitted. `state()` is its JSON.

    `space` has one column per modelled column of the table. Columns named in `context` leave it and travel
    beside it; ids, texts and constants are made when decoding.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table_schema: Schema
    columns: dict[str, ColumnCodec]
    context: Context = Context()
    real: list[str] = []
    combinations: list[Combinations] = []

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
        no code for it; its entry is then 0.
        """
        x = np.zeros((len(table), len(self.modelled)), dtype=np.float32)
        held = np.zeros(x.shape, dtype=bool)
        for j, (name, codec) in enumerate(self.modelled.items()):
            if name not in table.data.column_names:
                continue
            values = self._values(name, table)
            codes = codec.encode(values)
            held[:, j] = codes != UNKNOWN
            codes = np.maximum(codes, 0)
            if isinstance(codec, Numeric) and name in self.real:
                x[:, j] = codec.score(values, codes, rng)
            else:
                x[:, j] = codes
        return torch.from_numpy(x), torch.from_numpy(held)

    def encode_context(self, table: Table) -> Ints:
        """Codes (n, context columns) of the given columns of a table; UNKNOWN where there is none."""
        codes = [
            codec.encode(self._values(name, table))
            if name in table.data.column_names
            else np.full(len(table), UNKNOWN)
            for name, codec in self.given.items()
        ]
        return np.stack(codes, axis=1) if codes else np.zeros((len(table), 0), dtype=np.int64)

    def embed_context(self, codes: Ints) -> Tensor:
        """Context codes (n, columns) to what a generator is told: (n, width)."""
        return self.context_space.embed(torch.from_numpy(codes.astype(np.float32)))

    def draw_context(self, given: Ints, rng: np.random.Generator) -> Ints:
        """Fill the UNKNOWN codes of contexts (n, columns) from the joint frequencies, given the others.

        Raises:
            SynthgenError: no training record holds what is given.
        """
        combos, counts = np.array(self.context.codes), np.array(self.context.counts, dtype=float)
        result = given.copy()
        if not given.shape[1]:
            return result
        patterns, inverse = np.unique(given, axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            rows = np.flatnonzero(inverse.ravel() == k)
            fits = ((combos == pattern) | (pattern == UNKNOWN)).all(axis=1)
            if (pattern != UNKNOWN).all():
                continue
            if not fits.any():
                names = [n for n, code in zip(self.context.names, pattern, strict=True) if code != UNKNOWN]
                raise SynthgenError(f"no training record holds what is given for {', '.join(names)}")
            drawn = rng.choice(np.flatnonzero(fits), len(rows), p=counts[fits] / counts[fits].sum())
            result[rows] = combos[drawn]
        return result

    def decode(
        self, x: Tensor, context: Ints, rng: np.random.Generator, start: int = 0, fixed: Fixed | None = None
    ) -> Table:
        """Records (n, columns) with their context codes to a table of typed columns.

        Args:
            x: records of the space.
            context: (n, context columns) codes.
            rng: draws values within cells and makes ids and texts.
            start: number of the first row in its generation, which ids count from.
            fixed: values of cells that are given, NaN or null elsewhere; rules do not change them.
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

    def _decode(
        self, codec: Modelled, column: Floats, rng: np.random.Generator, real: bool
    ) -> Floats | pa.Array:
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
            values = self._values(name, table)
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

    def unseen(self, table: Table) -> Ints:
        """How many labels of each record no training record held, (n,)."""
        count = np.zeros(len(table), dtype=np.int64)
        for name, codec in {**self.modelled, **self.given}.items():
            if isinstance(codec, Categorical) and name in table.data.column_names:
                cells = self._values(name, table)
                count += np.asarray(pc.and_(pc.is_valid(cells), pa.array(codec.encode(cells) == UNKNOWN)))
        return count

    def _values(self, name: str, table: Table) -> Any:
        return column_values(self.table_schema[name], table.data[name].combine_chunks())

    def state(self) -> dict[str, Any]:
        """The codec as JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_state(cls, state: Any) -> Self:
        """The codec that `state` came from.

        Raises:
            SynthgenError: the state contradicts itself.
        """
        try:
            return cls.model_validate(state)
        except ValidationError as error:
            raise SynthgenError(f"the stored codec is damaged: {explain(error)}") from error


def fit_codec(
    table: Table,
    schema: Schema,
    given: Sequence[str] = (),
    budget: Budget | None = None,
    codes: int = 0,
    reals: bool = False,
    keep_rare: bool = False,
) -> tuple[TableCodec, list[str]]:
    """Learn how to encode a table.

    Args:
        table: the training table.
        schema: what its columns are.
        given: columns that become the context.
        budget: must pay for what is learned from the data; no column can be paid for yet.
        codes: at most so many codes per column; 0 for numbers as reals.
        reals: numbers that need more than `codes` codes come as reals, instead of in coarser cells.
        keep_rare: keep values that fewer than 5 records hold.

    Returns:
        the codec, and sentences on what was pooled or is not modelled.

    Raises:
        SynthgenError: a given column is unknown or not modelled, or cells contradict the schema.
        BudgetError: there is a budget.
    """
    if budget is not None:
        raise BudgetError("columns cannot be learned under a privacy budget yet")
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
    update: dict[str, Any] = {"combinations": observe(schema, lambda n: codec._values(n, table))}
    if given:
        combos, counts = np.unique(codec.encode_context(table), axis=0, return_counts=True)
        update["context"] = Context(names=list(given), codes=combos.tolist(), counts=counts.tolist())
    return codec.model_copy(update=update), notes


def _fit_column(
    column: Column, cells: pa.Array, limit: int, keep_rare: bool
) -> tuple[Numeric | Categorical | Constant | Id | Text, list[str]]:
    values = column_values(column, cells)
    if column.kind in ("numeric", "datetime"):
        if not np.isnan(values).all():
            return fit_numeric(values, column, limit, keep_rare), []
        return Constant(value=None), [
            f"column {column.name!r} holds no number that can be read; it stays empty"
        ]
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
        marked = pc.is_in(cells, pa.array([*column.missing, ""] if column.missing else [], pa.string()))
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
    if text:
        return _parsed(column, cells, column.date.parse, f"date like {column.date.pattern}")
    stamps = pc.cast(cells, pa.timestamp("us", getattr(cells.type, "tz", None))).to_numpy(
        zero_copy_only=False
    )
    stamps = stamps.astype("M8[us]")
    return np.where(
        np.isnat(stamps), np.nan, stamps.astype(f"M8[{column.date.unit}]").astype(np.int64).astype(float)
    )


def _parsed(column: Column, cells: pa.Array, parse: Any, what: str) -> Floats:
    """Parse each distinct text once."""
    encoded = pc.dictionary_encode(cells)
    distinct = parse(encoded.dictionary.cast(pa.string()))
    if (bad := np.flatnonzero(np.isnan(distinct))).size:
        raise SynthgenError(
            f"column {column.name!r} holds {encoded.dictionary[int(bad[0])].as_py()!r}, which is no {what}; correct the "
            'table, or edit the column in a schema (its kind, or what counts as "missing")'
        )
    index = np.array(encoded.indices.fill_null(-1))
    return np.where(index < 0, np.nan, np.append(distinct, np.nan)[index])


def typed_column(column: Column, made: Floats | pa.Array) -> pa.Array:
    """Decoded values in the type of their source; texts of a CSV become numbers, dates and strings."""
    if isinstance(made, np.ndarray):
        gap = np.isnan(made)
        if column.kind == "datetime":
            unit = column.date.unit if column.date else "us"
            ticks = np.where(gap, 0, made).round().astype(np.int64).astype(f"M8[{unit}]").astype("M8[us]")
            made = pa.array(ticks, mask=gap)
        else:
            whole = column.number is not None and column.number.decimals == (0, 0)
            safe = whole and np.abs(made[~gap]).max(initial=0) < 2**53
            made = pa.array(np.where(gap, 0, made).astype(np.int64) if safe else made, mask=gap)
    if column.dtype is None:
        return made
    try:
        return pc.cast(made, parse_type(column.dtype), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return made  # an id or a pooled label that the type cannot hold stays as it is


def parse_type(name: str) -> pa.DataType:
    """An Arrow type from its name, such as `int64`, `timestamp[us, tz=UTC]`, `decimal128(10, 2)`."""
    if name.startswith("dictionary"):
        return pa.dictionary(pa.int32(), parse_type(name.split("values=")[1].split(",")[0]))
    head, _, rest = name.partition("[" if "[" in name else "(")
    arguments = [a.strip() for a in rest.rstrip("])").split(",")] if rest else []
    if head == "timestamp":
        return pa.timestamp(arguments[0], arguments[1].removeprefix("tz=") if len(arguments) > 1 else None)
    if head.startswith("decimal"):
        return pa.decimal128(int(arguments[0]), int(arguments[1]))
    return {"double": pa.float64(), "float": pa.float32(), "halffloat": pa.float16()}.get(
        name
    ) or pa.type_for_alias(name)


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


def chunks(n: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Number, first row and length of the pieces that n rows are made in."""
    for k, start in enumerate(range(0, n, size)):
        yield k, start, min(size, n - start)
