"""Rows: how many are to be added to each class, and a frame with them."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from synthgen.augment.drawing import Fitting
from synthgen.augment.labelled import Ints, Labelled, labelled
from synthgen.augment.output import joined, mark_name
from synthgen.codec.rare import RARE
from synthgen.data import Images, as_dataset
from synthgen.errors import SynthgenError, near

MOST = 10**9  # rows


class Wanted(NamedTuple):
    """How many rows are to be added.

    Args:
        total: so many in all, in the proportions of the classes.
        by_class: so many to each class that is named.
        balance: as many to each class as make it as large as the largest.
    """

    total: int = 0
    by_class: Mapping[str, int] = {}
    balance: bool = False

    @classmethod
    def of(cls, strategy: str | int | Mapping[Any, int] | Sequence[str]) -> Wanted:
        """What a person wrote: `balance`, a number, `{"yes": 100}`, or texts such as `["yes=100", "no=50"]`.

        Raises:
            SynthgenError: it is none of these.
        """
        if isinstance(strategy, Mapping):
            strategy = [f"{label}={rows}" for label, rows in strategy.items()]
        one = isinstance(strategy, str | numbers.Integral)
        texts = [str(strategy)] if one else [str(text) for text in strategy]  # type: ignore[union-attr]
        if texts == ["balance"]:
            return cls(balance=True)
        if len(texts) == 1 and _is_number(texts[0]):
            return cls(int(texts[0]))
        pairs = [text.rpartition("=") for text in texts]
        by_class = {label: int(number) for label, _, number in pairs if label and _is_number(number)}
        if not pairs or len(by_class) < len(pairs):
            what = "balance, a number of rows, or CLASS=ROWS, each class once"
            raise SynthgenError(f"{' '.join(texts)!r} is no strategy; give {what}, and at most {MOST} rows")
        return cls(by_class=by_class)

    def counts(self, known: Labelled, share: float = 1.0) -> Ints:
        """Rows to add to each class (classes,).

        Args:
            known: the records that there are.
            share: of all records, that these are: so much of what is wanted is due to them.

        Raises:
            SynthgenError: a class is named that no record has.
        """
        held = known.counts
        if self.balance:
            return np.where(held > 0, held.max() - held, 0)
        for label in self.by_class:
            if label not in known.classes:
                raise SynthgenError(f"{known.target!r} has no class {label!r}; {near(label, known.classes)}")
        if self.by_class:
            asked = np.array([self.by_class.get(label, 0) for label in known.classes])
            return np.where(held > 0, np.round(asked * share), 0).astype(np.int64)
        return _apportioned(round(self.total * share), held)


def _is_number(text: str) -> bool:
    """Whether a text is a number of rows that may be asked for."""
    return text.isdecimal() and 1 <= int(text[:20]) <= MOST


def _apportioned(total: int, held: Ints) -> Ints:
    """A number of rows in the proportions of classes, the largest remainders rounded up."""
    exact = total * held / held.sum()
    rows = np.floor(exact).astype(np.int64)
    rows[np.argsort(rows - exact, kind="stable")[: total - rows.sum()]] += 1
    return rows


def few(known: Labelled, counts: Ints) -> list[str]:
    """Sentences on classes that get rows though next to nothing is known of them."""
    rare = [k for k in np.flatnonzero(counts) if known.counts[k] < RARE]
    return [
        f"class {known.classes[k]!r} has {known.counts[k]} of all {known.data.noun}: what is drawn for it is near to "
        "these, or to other classes"
        for k in rare[:3]
    ] + ([f"so it is with {len(rare) - 3} more classes"] if len(rare) > 3 else [])


def augmented(
    data: Any,
    target: str | None = None,
    strategy: str | int | Mapping[Any, int] = "balance",
    generator: str = "gmm",
    *,
    mark: str | None = None,
    together: bool = False,
    seed: int = 0,
    **options: Any,
) -> Any:
    """A table with rows of a generator below its own, told apart by a column; nothing is measured.

    Args:
        data: a path, a pandas frame, anything with an Arrow stream, or a Table.
        target: the column that holds the classes.
        strategy: "balance", so many rows in the proportions of the classes, or so many of each: `{"yes": 100}`.
        generator: name of an installed generator.
        mark: name of the column that is true for drawn rows; `synthetic` by default.
        together: one generator of all classes, which is told the class.
        seed: of the fit and the draws.
        options: of Synthesizer.

    Returns:
        a pandas frame, the real rows first.

    Raises:
        SynthgenError: the target holds no classes, or the generator cannot be fitted.
    """
    table = as_dataset(data)
    if isinstance(table, Images):
        raise SynthgenError("augmented is for tables; give images to: synthgen augment FOLDER -o OUT")
    known, _ = labelled(table, target)
    counts = Wanted.of(strategy).counts(known)
    drawn = None
    if counts.sum():
        drawn = Fitting(generator, {"seed": seed, **options}, together).fit(known, counts).draw(counts, seed).data
    return joined(table, drawn, mark_name(table.data.column_names, mark)).to_pandas()
