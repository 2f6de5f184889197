"""Prepare: from a raw table and a budget to a codec and to records that answer priced questions only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from synthgen.codec import TableCodec, fit_codec
from synthgen.data import Table
from synthgen.dp.budget import Budget
from synthgen.dp.domain import learn_domain
from synthgen.dp.records import PrivateRecords
from synthgen.dp.table import PrivateTable
from synthgen.errors import BudgetError, SynthgenError, near
from synthgen.schema import Column, Schema

CODES = 64  # of a column


class Private(NamedTuple):
    """What a private fit starts from.

    Args:
        codec: fitted on a surrogate, which is made of noisy counts.
        records: behind the budget.
        total: about how many there are.
        declared: what a schema said, and was taken as public.
        notes: what was done, a sentence each.
    """

    codec: TableCodec
    records: PrivateRecords
    total: int
    declared: list[str]
    notes: list[str]


def prepare(table: Table, declared: Schema | None, drop: Sequence[str], budget: Budget, codes: int) -> Private:
    """Learn the domain of a table within a part of the budget, and encode its records behind the rest.

    Args:
        table: the raw table.
        declared: a person's schema; all that it says is public and free.
        drop: columns to leave out.
        budget: that pays.
        codes: of a column, at most.

    Raises:
        BudgetError: the budget is too small, or the schema asks for what cannot be paid yet.
        SynthgenError: a column to drop or declare is not there.
    """
    names = table.data.column_names
    for name in (*drop, *(declared.names if declared else ())):
        if name not in names:
            raise SynthgenError(f"there is no column {name!r}; {near(name, names)}")
    if declared and (rules := [r.text for r in declared.parsed_rules() if r.kind == "combinations"]):
        raise BudgetError(
            f"the rule {rules[0]!r} lists what occurs in the data, which no budget pays for yet; remove it"
        )
    kept = [name for name in names if name not in drop]
    private = PrivateTable(table.data.select(kept), budget)
    known = declared.drop([n for n in drop if n in declared.names]) if declared else None
    domain = learn_domain(private, known, table.dialect)
    schema = domain.surrogate.schema
    codec, _ = fit_codec(domain.surrogate, schema, codes=min(codes or CODES, CODES), keep_rare=True)
    numeric = [c.name for c in schema.columns if c.kind == "numeric"]
    # each record is encoded on its own, and nothing of how that goes is told
    x, _ = codec.encode(Table(private.cells(numeric)), np.random.default_rng(0))
    records = PrivateRecords(x.numpy().astype(np.int64), codec.space.sizes, domain.total, budget)
    return Private(codec, records, domain.total, _said(known), domain.notes)


def _said(declared: Schema | None) -> list[str]:
    """What a schema declares, a sentence each."""
    return [_of(column) for column in declared.columns] if declared else []


def _of(column: Column) -> str:
    parts = [f"kind {column.kind}"]
    parts += [f"{len(column.categories)} categories"] if column.categories else []
    parts += [f"{end} {v}" for end, v in (("minimum", column.minimum), ("maximum", column.maximum)) if v is not None]
    return f"column {column.name!r}: {', '.join(parts)}"


def fingerprint(table: Table) -> str:
    """A hash of the raw cells: the name of a data set in a ledger, which is private."""
    digest = hashlib.sha256(repr(table.data.column_names).encode())
    for column in table.data.columns:
        for part in column.combine_chunks().buffers():
            digest.update(part or b"")
    return digest.hexdigest()
