"""Game: is a table that holds a conspicuous record told from one that lacks it by how it is prepared for a fit?

The preparation alone is run, many times on each of the two tables, and what it tells is looked through by fixed attacks
(Jagielski, Ullman and Oprea, Auditing differentially private machine learning, 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from synthgen.data import Table
from synthgen.dp.audit.bounds import bound_of_games
from synthgen.dp.budget import Budget
from synthgen.dp.cells import texts, values
from synthgen.dp.prepare import CODES, prepare_table
from synthgen.errors import SynthgenError
from synthgen.schema import Schema

LABEL = "CANARY-7f3a"
ROWS = 500  # of each table: one record hides less among few, and few are prepared quickly


class Told(NamedTuple):
    """What a preparation tells.

    Args:
        text: everything, as it is stored with a model.
        largest: number in it.
        total: about how many records there are; -1 where it was refused.
        schema: names, kinds and forms of the columns.
        asked: names of the queries.
        spent: epsilon.
    """

    text: str
    largest: float
    total: int
    schema: str
    asked: tuple[str, ...]
    spent: float


class Game(NamedTuple):
    """What came of the game.

    Args:
        claimed: epsilon of the preparation.
        lower: bound of it that the attacks prove.
        largest: bound that they could have proved.
        attack: the best one.
        times: that each of the two tables was prepared.
    """

    claimed: float
    lower: float
    largest: float
    attack: str
    times: int


Attack = Callable[[Told], bool]


def play(
    table: Table,
    declared: Schema | None,
    drop: Sequence[str],
    budget: Callable[[], Budget],
    times: int,
    confidence: float,
    report: Callable[[float], None] = lambda done: None,
) -> Game:
    """Prepare a few rows of a table with and without a canary, again and again, and guess which it was.

    Args:
        table: the raw table.
        declared: a person's schema.
        drop: columns to leave out.
        budget: makes a new one for each fit, of which the preparation spends its share.
        times: that each of the two tables is prepared.
        confidence: of the bound, over all attacks together.
        report: called with the share done.
    """
    rows = table.take(np.random.default_rng(0).permutation(len(table))[:ROWS])
    columns = {name: texts(rows.data[name]) for name in rows.data.column_names}
    odd, number = canary(columns)
    without = Table(pa.table(columns), table.dialect)
    joined = {name: pa.concat_arrays([cells, pa.array([odd[name]])]) for name, cells in columns.items()}
    sides = Table(pa.table(joined), table.dialect), without
    told: tuple[list[Told], list[Told]] = [], []
    usual = prepared(without, declared, drop, budget())
    for k in range(times):
        for side, found in zip(sides, told, strict=True):
            found.append(prepared(side, declared, drop, budget()))
        report((k + 1) / times)
    wins, delta = attacks(len(without), number, usual), budget().delta
    each = 1 - (1 - confidence) / len(wins)
    hits = {name: [sum(map(event, side)) for side in told] for name, event in wins.items()}
    bounds = {name: bound_of_games(times, a, b, delta, each) for name, (a, b) in hits.items()}
    best = max(bounds, key=bounds.__getitem__)
    claimed = max(t.spent for side in told for t in side)
    return Game(claimed, bounds[best], bound_of_games(times, times, 0, delta, each), best, times)


def canary(columns: dict[str, pa.Array]) -> tuple[dict[str, str], float]:
    """A record that is odd in each column (texts): a number beyond all others, with decimals, else a label of its own.

    Returns:
        the record, and that number.
    """
    numbers = {name: values(cells) for name, cells in columns.items()}
    numeric = [name for name, held in numbers.items() if np.isfinite(held).mean() > 0.5]
    number = 1000 * max((float(np.nanmax(np.abs(numbers[name]))) for name in numeric), default=0.0) + 4321.1234567
    return {name: f"{number:.7f}" if name in numeric else LABEL for name in columns}, number


def prepared(table: Table, declared: Schema | None, drop: Sequence[str], budget: Budget) -> Told:
    """What is told of a table."""
    try:
        made = prepare_table(table, declared, drop, (), budget, CODES)
    except SynthgenError as error:  # too little budget, or nothing learned that could be modelled
        return Told(str(error), 0.0, -1, "", _asked(budget), budget.spent())
    state: Any = made.codec.state()
    text = f"{state} {made.notes} {made.declared} {made.records.known[0].tolist()} {_asked(budget)}"
    largest = max(_numbers(state), default=0.0)
    return Told(text, largest, made.records.total, str(state["table_schema"]), _asked(budget), budget.spent())


def _asked(budget: Budget) -> tuple[str, ...]:
    return tuple(charge.what for charge in budget.ledger)


def _numbers(state: Any) -> Iterator[float]:
    """All numbers of something like JSON."""
    if isinstance(state, dict | list | tuple):
        for part in state.values() if isinstance(state, dict) else state:
            yield from _numbers(part)
    elif isinstance(state, int | float):
        yield float(state)


def attacks(rows: int, number: float, usual: Told) -> dict[str, Attack]:
    """What suggests the canary: a number of its own, and how many rows there are without it, are known to the attacker.

    Args:
        rows: of the table without it.
        number: that it holds.
        usual: what one preparation without it told.
    """
    return {
        "its label is named": lambda told: LABEL in told.text,
        "a bound reaches out to its number": lambda told: told.largest > number / 2,
        "more records are counted": lambda told: told.total > rows + 0.5,
        "columns are of another kind or form": lambda told: told.schema != usual.schema,
        "other queries are asked": lambda told: told.asked != usual.asked,
        "the fit is refused": lambda told: told.total < 0,
    }
