"""Declared rules hold in every decoded row: what breaks one is mended, given cells are left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from synthgen.codec.rare import RARE
from synthgen.errors import SynthgenError
from synthgen.rules import Rule
from synthgen.schema import Schema

Values = dict[str, Any]  # floats with NaN, or Arrow strings with nulls, by column
Masks = Mapping[str, NDArray[np.bool_]]
Cell = float | str | None


class Combinations(BaseModel):
    """The combinations of some columns that occur in the training table, and how often."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: list[str]
    cells: list[list[Cell]]
    counts: list[int]


def observe(schema: Schema, blocks: Iterable[Callable[[str], Any]]) -> list[Combinations]:
    """The combinations that the schema's rules speak of; those of fewer than 5 records only if all are.

    Args:
        schema: with the rules.
        blocks: of the table, each as a function from a column's name to its values.
    """
    rules = [rule for rule in schema.parsed_rules() if rule.kind == "combinations"]
    tallies: list[Counter[tuple[Cell, ...]]] = [Counter() for _ in rules]
    for values in blocks if rules else ():
        for rule, tally in zip(rules, tallies, strict=True):
            tally.update(zip(*(_cells(values(name)) for name in rule.columns), strict=True))
    found = []
    for rule, tally in zip(rules, tallies, strict=True):
        frequent = {c: n for c, n in tally.items() if n >= RARE} or dict(tally)
        cells = [list(c) for c in frequent]
        found.append(Combinations(columns=list(rule.columns), cells=cells, counts=list(frequent.values())))
    return found


def _cells(values: Any) -> list[Cell]:
    if isinstance(values, np.ndarray):
        return [None if v != v else v for v in values.tolist()]
    return list(values.to_pylist())


def repair(
    values: Values,
    schema: Schema,
    combinations: Sequence[Combinations],
    held: Masks,
    steps: Mapping[str, float],
    rng: np.random.Generator,
) -> None:
    """Change `values` in place until every rule of the schema holds.

    Args:
        values: decoded columns.
        schema: whose rules are to hold.
        combinations: those observed at fit.
        held: which cells are given and must stay.
        steps: the least difference between two values of each numeric column.
        rng: draws the missing parts of combinations.

    Raises:
        SynthgenError: given cells break a rule between themselves.
    """
    for allowed in combinations:
        if all(name in values for name in allowed.columns):
            _combine(values, allowed, held, rng)
    orders = [r for r in schema.parsed_rules() if r.kind == "order" and all(c in values for c in r.columns)]
    for _ in range(len(orders) + 1):
        mended = [_order(values, rule, held, steps) for rule in orders]  # all of them, each time
        if not any(mended):
            break


def _order(values: Values, rule: Rule, held: Masks, steps: Mapping[str, float]) -> bool:
    """Mend the rows that break one order; whether there were any.

    Two free values change places; a free one is mirrored to the other side of a given one.
    """
    names = rule.columns
    low, high = values[names[0]], values[names[1]]
    bad = low >= high if rule.strict else low > high
    if not bad.any():
        return False
    fixed_low, fixed_high = (held.get(n, np.zeros(len(low), dtype=bool)) for n in names)
    if (stuck := bad & fixed_low & fixed_high).any():
        row = int(np.flatnonzero(stuck)[0])
        raise SynthgenError(f"what is given breaks the rule {rule.text!r}: {low[row]:g} and {high[row]:g}")
    gap = np.maximum(low - high, steps[names[1]] if rule.strict else 0)
    free = bad & ~fixed_low & ~fixed_high
    new_low = np.where(free, high, np.where(bad & ~fixed_low, high - gap, low))
    new_high = np.where(free, low, np.where(bad & ~fixed_high & fixed_low, low + gap, high))
    same = free & (low == high)  # strict, and changing places is not enough
    values[names[0]], values[names[1]] = new_low, np.where(same, low + gap, new_high)
    return True


def _combine(values: Values, allowed: Combinations, held: Masks, rng: np.random.Generator) -> None:
    """Replace combinations that never occurred: keep what is given and the first columns, draw the rest."""
    columns = [_cells(values[name]) for name in allowed.columns]
    tuples = [tuple(c) for c in allowed.cells]
    known = set(tuples)
    counts = np.array(allowed.counts, dtype=float)
    for row, cells in enumerate(zip(*columns, strict=True)):
        if cells in known:
            continue
        given = [bool(held[n][row]) if n in held else False for n in allowed.columns]
        new = _nearest(cells, given, tuples, counts, rng)
        for column, cell in zip(columns, new, strict=True):
            column[row] = cell
    for name, column in zip(allowed.columns, columns, strict=True):
        numeric = isinstance(values[name], np.ndarray)
        values[name] = np.array(column, dtype=float) if numeric else pa.array(column, pa.string())


def _nearest(
    cells: tuple[Cell, ...],
    given: list[bool],
    tuples: list[tuple[Cell, ...]],
    counts: Any,
    rng: np.random.Generator,
) -> tuple[Cell, ...]:
    """An allowed combination that has the given cells and as many of the first others as can be."""
    fits = np.array([all(c == t for c, t, g in zip(cells, one, given, strict=True) if g) for one in tuples])
    if not fits.any():
        return cells  # what is given never occurred together: the giver's word stands
    for i, cell in enumerate(cells):
        closer = fits & np.array([one[i] == cell for one in tuples])
        fits = closer if closer.any() else fits
    return tuples[rng.choice(np.flatnonzero(fits), p=counts[fits] / counts[fits].sum())]


def dependences(data: pa.Table, most: int = 200) -> list[tuple[str, str]]:
    """Pairs (a, b) of columns where a's value determines b's in every row, both of 2 to `most` values."""
    codes = {}
    for name in data.column_names:
        encoded = pc.dictionary_encode(data[name].combine_chunks(), null_encoding="encode")
        size = len(encoded.dictionary)
        if 2 <= size <= most and size * 5 <= len(data):
            codes[name] = (np.asarray(encoded.indices), size)
    found = []
    for a, (left, size) in codes.items():
        for b, (right, other) in codes.items():
            if a != b and size >= other > 1 and len(np.unique(left * most + right)) == size:
                found.append((a, b))
    return found
