"""Drawing: exactly so many records of each class, from generators that are fitted on the class or told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from synthgen.augment.labelled import Ints, Labelled
from synthgen.augment.output import cast, typed
from synthgen.codec import fit_codec
from synthgen.codec.made import Id, Text
from synthgen.data import Images, Table
from synthgen.data.cells import typed_column
from synthgen.errors import Interrupted, ResourceError, SynthgenError
from synthgen.synthesizer import LEAST_RECORDS, Synthesizer

MADE = ("id", "text")  # kinds of columns that no generator knows

Report = Callable[..., None]


class Fitting(NamedTuple):
    """How generators are fitted.

    Args:
        generator: name of an installed generator, or a Generator class.
        options: of Synthesizer.
        together: all classes share one generator, which is told the class.
        report: called with the share done.
        interrupted: asked whether to stop.
    """

    generator: Any
    options: Mapping[str, Any]
    together: bool = False
    report: Report = lambda done, **figures: None
    interrupted: Callable[[], bool] | None = None

    def fit(self, known: Labelled, counts: Ints, told: Ints | None = None) -> Drawer:
        """What can draw `counts` (classes,) records.

        Of a table, each class of ten rows or more has a generator of its own: one of all classes sees so few rows of
        a rare one that it draws them like the others. Smaller classes, and images, share one that is told the class.

        Args:
            known: the records to learn from.
            counts: how many are to be drawn of each class.
            told: those, by index, that the shared generator learns from; all by default.
        """
        wanted, own = np.flatnonzero(counts), dict[int, Synthesizer]()
        if not self.together and isinstance(known.data, Table):
            for place, k in enumerate(wanted):
                if fitted := self._alone(known, int(k), place / len(wanted), 1 / len(wanted)):
                    own[int(k)] = fitted
        shared = None if len(own) == len(wanted) else self._shared(known if told is None else known.part(told))
        return Drawer(known, shared, own)

    def _shared(self, known: Labelled) -> Synthesizer:
        told = () if isinstance(known.data, Images) else (known.target,)
        given = tuple(dict.fromkeys([*self.options.get("given", ()), *told]))
        fitted = Synthesizer(self.generator, **{**self.options, "given": given})
        return fitted.fit(known.data, report=self.report, interrupted=self.interrupted)

    def _alone(self, known: Labelled, k: int, start: float, width: float) -> Synthesizer | None:
        """A generator of one class; none where there is too little to learn from."""
        assert isinstance(known.data, Table)
        if known.counts[k] < LEAST_RECORDS:
            return None
        rows = known.part(np.flatnonzero(known.y == k)).data
        made = [c.name for c in known.data.schema.columns if c.name == known.target or c.kind in MADE]
        drop = list(dict.fromkeys([*self.options.get("drop", ()), *made]))
        # all real rows stand beside the drawn ones: nothing is hidden by pooling what few of a class hold
        fitted = Synthesizer(self.generator, **{**self.options, "drop": drop, "keep_rare": True})
        try:
            return fitted.fit(
                rows, report=lambda done, **_: self.report(start + width * done), interrupted=self.interrupted
            )
        except (Interrupted, ResourceError):
            raise
        except SynthgenError:  # such as that all cells are missing
            return None


@dataclass(frozen=True)
class Drawer:
    """Generators fitted on labelled records.

    Args:
        known: the records.
        shared: one of all classes, which is told the class; none where all have their own.
        own: those of single classes.
    """

    known: Labelled
    shared: Synthesizer | None
    own: Mapping[int, Synthesizer]

    @property
    def notes(self) -> list[str]:
        """Sentences on what a generator of all classes leaves out."""
        return self.shared.notes if self.shared else []

    def synthesizer(self, k: int) -> Synthesizer:
        """What draws a class."""
        found = self.own.get(k, self.shared)
        assert found is not None, "it was fitted for all classes that are drawn"
        return found

    def draw(self, counts: Ints, seed: int, report: Report = lambda done: None) -> Labelled:
        """As many records of each class as `counts` (classes,) says, at least one in all, in random order."""
        own = [int(k) for k in np.flatnonzero(counts) if k in self.own]
        rest = np.repeat(np.arange(len(counts)), np.where(np.isin(np.arange(len(counts)), own), 0, counts))
        y = np.concatenate([np.repeat(own, counts[own]).astype(np.int64), rest])
        order = np.random.default_rng([seed, 7]).permutation(len(y))
        parts: list[Any] = []
        for k in own:
            parts.append(self._rows(k, int(counts[k]), seed))
            report(sum(map(len, parts)) / len(y))
        if len(rest):
            parts += self._told(rest, seed)
        whole = type(parts[0]).join(parts).take(order)
        report(1.0)
        return self.known._replace(data=self._made(whole, seed), y=y[order])

    def _rows(self, k: int, n: int, seed: int) -> Table:
        """Rows of a class's own generator."""
        parts: list[Any] = list(self.synthesizer(k).stream(n, seed=seed))
        made = Table.join(parts).data
        label = pa.array([self.known.classes[k]] * n, pa.string())
        columns = {c: made[c] if c in made.column_names else pa.nulls(n) for c in self._schema.names}
        columns[self.known.target] = label
        return Table(cast(pa.table(columns), self._schema))

    def _told(self, y: Ints, seed: int) -> list[Any]:
        """Records of the shared generator, of these classes (n,)."""
        given = Table(pa.table({self.known.target: pa.array([self.known.classes[i] for i in y], pa.string())}))
        parts: list[Any] = list(self.synthesizer(int(y[0])).stream(len(y), seed=seed, given=given))
        return [Table(cast(p.data, self._schema)) if isinstance(p, Table) else p for p in parts]

    @cached_property
    def _schema(self) -> pa.Schema:
        """The types of a table's columns."""
        assert isinstance(self.known.data, Table)
        return typed(self.known.data).schema

    def _made(self, drawn: Any, seed: int) -> Any:
        """The same with ids and texts that no other row has, whichever generator it is from."""
        if isinstance(drawn, Images):
            return drawn
        known, data, rng = self.known.data, drawn.data, np.random.default_rng([seed, 11])
        assert isinstance(known, Table)
        if made := [c for c in known.schema.columns if c.kind in MADE]:
            codec = fit_codec(known, known.schema, [self.known.target])[0]
            for column in made:
                own, place = codec.columns[column.name], data.column_names.index(column.name)
                if isinstance(own, Id | Text):
                    data = data.set_column(place, column.name, typed_column(column, own.make(len(data), 0, rng)))
        return Table(data, declared=known.schema)
