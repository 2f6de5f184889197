"""Domain: what the columns of a private table are, learned by priced queries, or declared and free.

What is learned becomes a surrogate: a made-up table whose columns have about the right distributions, each on its own.
Everything that is then fitted on the surrogate, the codec above all, only processes noisy counts and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthgen.data.table import Table
from synthgen.dp.table import DECIMALS, PrivateTable
from synthgen.errors import BudgetError
from synthgen.formats import NumberFormat
from synthgen.schema import Column, Dialect, Schema

Floats = NDArray[np.float64]

SHARES = {"rows": 0.01, "forms": 0.02, "labels": 0.03, "again": 0.06, "octaves": 0.02, "bins": 0.04}  # of rho
LITTLE_LEFT = 0.02
LITTLE, NEARLY = 0.2, 0.99  # of the records: labels that hold between these shares are asked for again
LARGEST = 100_000  # rows of a surrogate: enough for any codec
OCTAVES = np.concatenate([-(2.0 ** np.arange(40, -11, -1)), [0.0], 2.0 ** np.arange(-10, 41)])
SURE = 3.0  # deviations of the noise that a count must reach to count as there
CELL = 8.0  # deviations of the noise that a bin should hold
MOST_BINS = 200


class Domain(NamedTuple):
    """What was learned: about how many records there are, a surrogate of them, and sentences on what was done."""

    total: int
    surrogate: Table
    notes: list[str]


class Part(NamedTuple):
    """Cells of a column and about how many records hold them: one text, or numbers evenly between two."""

    low: float | str
    high: float | str
    held: float


def learn_domain(private: PrivateTable, declared: Schema | None, dialect: Dialect | None) -> Domain:
    """Learn what a schema does not declare, within a fifth of the budget.

    Args:
        private: the table.
        declared: what a person says of its columns; taken as public. Columns that it leaves out are learned.
        dialect: how the CSV is written; public.

    Raises:
        BudgetError: the budget is too small to tell columns apart from noise.
    """
    known = {c.name: c for c in declared.columns} if declared else {}
    total = private.count(SHARES["rows"] * private.budget.rho)
    learner = _Learner(private, total, known)
    looks = {name: learner.look(name) for name in private.names if learner.must_look(name)}
    again = [name for name, look in looks.items() if not look.numeric and look.incomplete(total)]
    # only those columns share what bins may cost that have numbers left to bin
    learner.binned = max(1, sum(look.numeric and look.rest(total) > learner.least for look in looks.values()))
    found, cells, notes = list[Column](), dict[str, pa.Array](), list[str]()
    for name in private.names:
        look = looks.get(name)
        if look is not None and name in again:
            look = look._replace(labels=learner.labels(name, "again", len(again)))
        column, parts = learner.learn(name, look)
        found.append(column)
        cells[name] = _made(column, parts, min(total, LARGEST))
        if column.kind == "id" and name not in known:
            notes.append(
                f"column {name!r} holds too many different texts to be learned under this budget: ids are made for it; "
                "declare its categories in the schema to have it modelled"
            )
    schema = Schema(columns=tuple(found), rules=declared.rules if declared else (), csv=dialect)
    return Domain(total, Table(pa.table(cells), dialect=dialect, declared=schema), notes)


class _Look(NamedTuple):
    """What the first queries say of a column: whether it holds numbers, of how many decimals, and common texts."""

    numeric: bool
    decimals: int
    labels: dict[str, int]

    def rest(self, total: int) -> int:
        """About how many records hold none of the common texts."""
        return total - sum(self.labels.values())

    def incomplete(self, total: int) -> bool:
        """Whether labels are worth another query: some were found, and more than one record in a hundred has none."""
        return LITTLE * total < sum(self.labels.values()) < NEARLY * total


class _Learner:
    """Asks about columns one by one, each within its share of the budget."""

    def __init__(self, private: PrivateTable, total: int, known: Mapping[str, Column]) -> None:
        self.private, self.total, self.known = private, total, known
        self.asked = self.binned = max(1, sum(map(self.must_look, private.names)))
        self.least = LITTLE_LEFT * total  # records: fewer are not worth a question
        if total < self._noise("forms"):
            raise BudgetError(
                f"a budget of epsilon {private.budget.epsilon:g} is too small for about {total} records of "
                f"{len(private.names)} columns; declare columns in a schema, drop some, or take a larger epsilon"
            )

    def must_look(self, name: str) -> bool:
        """Whether a column is not declared well enough to be known."""
        known = self.known.get(name)
        return known is None or (known.categories is None and known.kind in ("numeric", "categorical", "boolean"))

    def _price(self, what: str, columns: int = 0) -> float:
        return SHARES[what] * self.private.budget.rho / (columns or self.asked)

    def _noise(self, what: str) -> float:
        """What a count must exceed to be no noise."""
        return SURE * float(np.sqrt(1 / (2 * self._price(what))))

    def look(self, name: str) -> _Look:
        """The first queries."""
        forms, known = self.private.forms(name, self._price("forms")), self.known.get(name)
        digits = {decimals: forms[form] for form, decimals in DECIMALS.items()}
        most = max(self._noise("forms"), forms["text"])
        numeric = known.kind == "numeric" if known else sum(digits.values()) > most
        decimals = max((k for k, n in digits.items() if n > self._noise("forms")), default=0)
        return _Look(numeric, decimals, self.labels(name, "labels", self.asked))

    def labels(self, name: str, what: str, columns: int) -> dict[str, int]:
        """Common texts of a column, for its part of a share and of half of what thresholds may cost."""
        delta = self.private.budget.thresholds / 2 / columns
        return self.private.labels(name, self._price(what, columns), delta)

    def learn(self, name: str, look: _Look | None) -> tuple[Column, list[Part]]:
        """What a column is, and of which parts it consists."""
        known = self.known.get(name)
        if look is None:
            assert known is not None
            if known.kind == "datetime":
                raise BudgetError(
                    f"column {name!r} is a date, which no budget pays for yet; leave it out: --drop {name}"
                )
            share = self.total / max(1, len(known.categories or ()))
            parts = [Part(label, label, share) for label in known.categories or ()]
            return (known if parts else Column(name=name, kind="id")), parts
        labels = dict(look.labels)
        gaps = [Part("", "", labels.pop(""))] if "" in labels else []
        rest = self.total - sum(p.held for p in gaps)
        if gaps and not labels and rest < self._noise("labels"):  # nearly all is missing: what is not is lost in noise
            return Column(name=name, kind="empty", missing=("",)), gaps
        if look.numeric:
            return self._number(known or Column(name=name, kind="numeric"), look.decimals, labels, gaps)
        enough = sum(labels.values()) > 0.5 * rest
        kind = (known.kind if known else "categorical") if enough else "id"
        column = Column(name=name, kind=kind, missing=("",) if gaps else ())
        return column, [*gaps, *(Part(k, k, n) for k, n in labels.items())] if enough else []

    def _number(
        self, column: Column, decimals: int, labels: Mapping[str, int], gaps: list[Part]
    ) -> tuple[Column, list[Part]]:
        """Values that many records hold, and bins of the others."""
        update = {"missing": ("",), "number": NumberFormat(decimals=(decimals, decimals))}
        column = column.model_copy(update=update)
        atoms = {k: n for k, n in labels.items() if _is_number(k)}
        rest = self.total - sum(labels.values()) - sum(p.held for p in gaps)
        parts = [Part(float(k), float(k), n) for k, n in atoms.items()]
        if rest > self.least:
            prices = {what: self._price(what, self.binned) for what in ("octaves", "bins")}
            parts += _bins(self.private, column, decimals, list(atoms), prices)
        return column, [*gaps, *parts] or [Part(0.0, 0.0, float(self.total))]


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _bins(
    private: PrivateTable, column: Column, decimals: int, atoms: list[str], prices: Mapping[str, float]
) -> list[Part]:
    """Bins of about equal mass: first how many numbers lie in each octave, then finer where there are many."""
    low, high = (float(b) if b is not None else None for b in (column.minimum, column.maximum))
    edges = OCTAVES
    if low is not None or high is not None:
        ends = low if low is not None else edges[0], high if high is not None else edges[-1]
        edges = np.unique(np.concatenate([[ends[0]], edges[(edges > ends[0]) & (edges < ends[1])], [ends[1]]]))
        if low is not None and high is not None:  # of declared bounds, equal parts are as good a start
            edges = np.unique(np.concatenate([edges, np.linspace(low, high, 33)]))
    step = 10.0**-decimals
    counts = private.histogram(column.name, edges, prices["octaves"], atoms)
    there = np.flatnonzero(counts > SURE * np.sqrt(1 / (2 * prices["octaves"])))
    if not len(there):
        there = np.array([counts.argmax()])
    edges, counts = edges[there[0] : there[-1] + 2], np.maximum(counts[there[0] : there[-1] + 1], 0)
    noise = np.sqrt(1 / (2 * prices["bins"]))
    wanted = np.clip(counts.sum() / (CELL * noise), 8, MOST_BINS)
    each = np.maximum(1, np.round(wanted * counts / counts.sum())).astype(int)
    fine = [np.linspace(a, b, k, endpoint=False) for a, b, k in zip(edges, edges[1:], each, strict=False)]
    grid = np.unique(np.ceil(np.append(np.concatenate(fine), edges[-1]) / step) * step)  # no bin between two numbers
    if len(grid) < 2:
        return [Part(float(edges[0]), float(edges[0]), float(counts.sum()))]
    held = private.histogram(column.name, grid, prices["bins"], atoms)
    return [
        Part(float(a), max(float(a), float(b) - step), float(n))
        for a, b, n in zip(grid, grid[1:], held, strict=False)
        if n > noise
    ]


def _made(column: Column, parts: list[Part], n: int) -> pa.Array:
    """Cells (n,) of a surrogate column, as texts, in random order: parts by their counts, numbers evenly spread."""
    if not parts:
        return pa.array([f"{i:08d}" for i in range(n)])
    counts = np.maximum([p.held for p in parts], 0.0)
    ends = np.round(np.cumsum(counts) / max(counts.sum(), 1e-9) * n).astype(int)
    texts = list[str]()
    for part, size in zip(parts, np.diff(ends, prepend=0), strict=True):
        if isinstance(part.low, str) or isinstance(part.high, str):
            texts += [str(part.low)] * int(size)
        else:
            assert column.number is not None
            values = part.low + (part.high - part.low) * (np.arange(size) + 0.5) / max(1, size)
            texts += column.number.render(values).to_pylist()
    return pa.array([texts[i] for i in np.random.default_rng(0).permutation(len(texts))], pa.string())
