"""Domain: what the columns of a private table are, learned by priced queries, or declared and free.

What is learned becomes a surrogate: a made-up table whose columns have about the right distributions, each on its own.
Everything that is then fitted on the surrogate, the codec above all, only processes noisy counts and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from synthgen.data.table import Table
from synthgen.dp.bins import SURE, SURE_OF_MANY, Part, Range, bins, date_range, made, number_range
from synthgen.dp.cells import DECIMALS, PARTS, ZONES, regex, values
from synthgen.dp.table import PrivateTable
from synthgen.errors import BudgetError
from synthgen.formats import PATTERNS, DateFormat, NumberFormat
from synthgen.schema import Column, Dialect, Schema

SHARES = {  # of rho
    "rows": 0.01,
    "forms": 0.02,
    "dates": 0.02,
    "labels": 0.03,
    "again": 0.06,
    "octaves": 0.02,
    "bins": 0.04,
}
LITTLE_LEFT = 0.02
LITTLE, NEARLY = 0.2, 0.99  # of the records: labels that hold between these shares are asked for again
TELLING = 0.1  # of the dates: how many must need another form of their day for it to be theirs
LARGEST = 100_000  # rows of a surrogate: enough for any codec
SECONDS = {"day": 86400.0, "hour": 3600.0, "minute": 60.0, "second": 1.0, "finer": 0.0}
TICKS = {"D": 1 / 86400, "s": 1.0, "us": 1e6}  # of a unit in a second

Read = Literal["numeric", "datetime", "text"]


class Domain(NamedTuple):
    """What was learned.

    Attributes:
        total: about how many records there are.
        surrogate: of them.
        notes: sentences on what was done.
        counted: of the columns that were asked about, their parts with the noisy counts that were paid for.
    """

    total: int
    surrogate: Table
    notes: list[str]
    counted: dict[str, list[Part]]


def learn_domain(private: PrivateTable, declared: Schema | None, dialect: Dialect | None) -> Domain:
    """Learn what a schema does not declare, within a fifth of the budget.

    Args:
        private: the table; it is told how to read the columns that hold dates.
        declared: what a person says of its columns; taken as public. Columns that it leaves out are learned.
        dialect: how the CSV is written; public.

    Raises:
        BudgetError: the budget is too small to tell columns apart from noise, or a date is written in a way that is
            neither known nor declared.
    """
    known = {c.name: c for c in declared.columns} if declared else {}
    for column in known.values():
        regex(column.date.pattern if column.date else "")  # refused before anything is charged
    total = private.count(SHARES["rows"] * private.budget.rho)
    learner = _Learner(private, total, known)
    found, cells, notes = list[Column](), dict[str, pa.Array](), list[str]()
    counted = dict[str, list[Part]]()
    looks = learner.look_at_all()
    for name in private.names:
        column, parts = learner.learn(name, looks.get(name))
        found.append(column)
        cells[name] = made(column, parts, min(total, LARGEST))
        if parts and name in looks:
            counted[name] = parts
        if column.kind == "id" and name not in known:
            notes.append(
                f"column {name!r} holds too many different texts to be learned under this budget: ids are made for it; "
                "declare its categories in the schema to have it modelled"
            )
    schema = Schema(columns=tuple(found), rules=declared.rules if declared else (), csv=dialect)
    return Domain(total, Table(pa.table(cells), dialect=dialect, declared=schema), notes, counted)


class _Look(NamedTuple):
    """What the first queries say of a column.

    Args:
        read: what its cells are read as.
        decimals: of its numbers.
        labels: common texts.
        unread: about how many cells are texts where the column is read as numbers or dates, 0 if few.
    """

    read: Read
    decimals: int
    labels: dict[str, int]
    unread: int

    def rest(self, total: int) -> int:
        """About how many records hold none of the common texts."""
        return total - sum(self.labels.values())

    def incomplete(self, total: int) -> bool:
        """Whether labels are worth another query: some were found, and more than one record in a hundred has none."""
        return self.read == "text" and LITTLE * total < sum(self.labels.values()) < NEARLY * total


class _Learner:
    """Asks about columns one by one, each within its share of the budget."""

    def __init__(self, private: PrivateTable, total: int, known: Mapping[str, Column]) -> None:
        self.private, self.total, self.known = private, total, known
        self.asked = self.binned = self.dated = max(1, sum(map(self.must_look, private.names)))
        self.least = LITTLE_LEFT * total  # records: fewer are not worth a question
        if total < self._noise("forms"):
            raise BudgetError(
                f"a budget of epsilon {private.budget.epsilon:g} is too small for about {total} records of "
                f"{len(private.names)} columns; declare columns in a schema, drop some, or take a larger epsilon"
            )

    def must_look(self, name: str) -> bool:
        """Whether a column is not declared well enough to be known."""
        known = self.known.get(name)
        kinds = ("numeric", "datetime", "categorical", "boolean")
        return known is None or (known.categories is None and known.kind in kinds)

    def _price(self, what: str, columns: int = 0) -> float:
        return SHARES[what] * self.private.budget.rho / (columns or self.asked)

    def _noise(self, what: str) -> float:
        """What a count must exceed to be no noise."""
        return SURE * self.private.deviation(self._price(what))

    def look_at_all(self) -> dict[str, _Look]:
        """The first queries of all columns that are not known; those that need further ones share the price."""
        looks = {name: self.look(name) for name in self.private.names if self.must_look(name)}
        again = [name for name, look in looks.items() if look.incomplete(self.total)]
        self.dated = sum(look.read == "datetime" for look in looks.values())
        # only those columns share what bins may cost that have values left to bin
        self.binned = max(1, sum(k.read != "text" and k.rest(self.total) > self.least for k in looks.values()))
        return looks | {n: looks[n]._replace(labels=self.labels(n, "again", len(again))) for n in again}

    def look(self, name: str) -> _Look:
        """The first queries."""
        forms, known, noise = self.private.forms(name, self._price("forms")), self.known.get(name), self._noise("forms")
        digits = {decimals: forms[form] for form, decimals in DECIMALS.items()}
        held: dict[Read, int] = {"text": forms["text"], "numeric": sum(digits.values()), "datetime": forms["date"]}
        most = max(held, key=held.__getitem__)
        read = most if held[most] > noise else "text"
        if known:
            read = known.kind if known.kind in ("numeric", "datetime") else "text"
        declared = known is not None and known.date is not None  # forms know nothing of how
        if read == "datetime" and not declared and held[read] <= noise:
            raise BudgetError(
                f"column {name!r} is declared a date, but how it is written is not known; say it in the schema, "
                'such as "date": {"pattern": "%d.%m.%Y"}'
            )
        decimals = max((k for k, n in digits.items() if n > noise), default=0)
        unread = forms["text"] if read != "text" and not declared and forms["text"] > noise else 0
        return _Look(read, decimals, self.labels(name, "labels", self.asked), unread)

    def labels(self, name: str, what: str, columns: int) -> dict[str, int]:
        """Common texts of a column, for its part of a share and of half of what thresholds may cost."""
        delta = self.private.budget.thresholds / 2 / columns
        return self.private.labels(name, self._price(what, columns), delta)

    def learn(self, name: str, look: _Look | None) -> tuple[Column, list[Part]]:
        """What a column is, and of which parts it consists."""
        known = self.known.get(name)
        if look is None:
            assert known is not None
            share = self.total / max(1, len(known.categories or ()))
            parts = [Part(label, label, share) for label in known.categories or ()]
            return (known if parts else Column(name=name, kind="id")), parts
        labels = dict(look.labels)
        gaps = [Part("", "", labels.pop(""))] if "" in labels else []
        rest = self.total - sum(p.held for p in gaps)
        if gaps and not labels and rest < self._noise("labels"):  # nearly all is missing: what is not is lost in noise
            return (known or Column(name=name, kind="empty")).model_copy(update={"missing": ("",)}), gaps
        if look.read != "text":
            column = known or Column(name=name, kind=look.read)
            column, within = self._dates(column) if look.read == "datetime" else _numbers(column, look.decimals)
            return column, gaps + self._values(column, within, look) or [_anything(within, self.total)]
        enough = sum(labels.values()) > 0.5 * rest
        kind = (known.kind if known else "categorical") if enough else "id"
        column = Column(name=name, kind=kind, missing=("",) if gaps else ())
        return column, [*gaps, *(Part(k, k, n) for k, n in labels.items())] if enough else []

    def _dates(self, column: Column) -> tuple[Column, Range]:
        """How dates are written unless it is declared, and where they may lie; the table learns to read them."""
        price, name = self._price("dates", self.dated) / len(PARTS), column.name
        noise, date, step = SURE_OF_MANY * self.private.deviation(price), column.date, 1.0
        if date is None:
            days, times = (self.private.date_forms(name, part, price) for part in ("day", "time"))
            date = date_format(days, times, noise)
        if date.unit != "D":
            steps = self.private.date_forms(name, "step", price)
            finest = [s for s, n in steps.items() if n > noise] or [max(steps, key=lambda s: steps[s])]
            step = max(1.0, SECONDS[finest[-1]] * TICKS[date.unit])
        self.private.formats[name] = date
        return column.model_copy(update={"missing": ("",), "date": date}), date_range(column, date, step)

    def _values(self, column: Column, within: Range, look: _Look) -> list[Part]:
        """Cells that cannot be read, values that many records hold, and bins of the others."""
        common = values(pa.array([*look.labels], pa.string()), column.date)
        atoms = {k: float(v) for k, v in zip(look.labels, common, strict=True) if within.low <= v <= within.high}
        parts = [Part("", "", look.unread)] if look.unread else []
        parts += [Part(v, v, look.labels[k]) for k, v in atoms.items()]
        if look.rest(self.total) > self.least:
            prices = {what: self._price(what, self.binned) for what in ("octaves", "bins")}
            parts += bins(self.private, column.name, within, list(atoms), prices)
        return parts


def _anything(within: Range, held: float) -> Part:
    """A value that is allowed, of a column of which nothing was found."""
    value = float(np.clip(0.0, within.low, within.high))
    return Part(value, value, held)


def _numbers(column: Column, decimals: int) -> tuple[Column, Range]:
    """How numbers are written, and where they may lie."""
    update = {"missing": ("",), "number": NumberFormat(decimals=(decimals, decimals))}
    return column.model_copy(update=update), number_range(column, decimals)


def date_format(days: Mapping[str, int], times: Mapping[str, int], noise: float) -> DateFormat:
    """How dates are written.

    Args:
        days: about how many have each form of their day.
        times: the same of what follows it.
        noise: what a count must exceed to be none.
    """
    # one form may read another's dates, then comes after it: its own are those that the other cannot read
    alike = {p: p.replace("%-", "%").replace("%m/%d", "%d/%m").replace("%B", "%b") for p in days}
    sums = {a: sum(n for p, n in days.items() if alike[p] == a) for a in alike.values()}
    best = max(sums, key=lambda a: sums[a])
    group = [p for p in days if alike[p] == best]
    needed = [p for p in group if days[p] > max(noise, TELLING * sums[best])] or [max(group, key=lambda p: days[p])]
    day = needed[-1].replace("%-", "%")
    bare = {time: time.removesuffix(zone) for zone in ("", *ZONES) for time in times if time.endswith(zone)}
    time = max((t for t in times if day + bare[t] in PATTERNS), key=lambda t: times[t])
    pattern, padded = day + bare[time], "%-" not in needed[-1]
    return DateFormat(pattern=pattern, unit=PATTERNS[pattern], suffix=time.removeprefix(bare[time]), padded=padded)
