"""Audit: attacks on our own private fits. What they prove is a lower bound of epsilon; it should not exceed the claim.

Two parts. Canaries: a whole fit is run once on a table into which each of many records was put or not by a fair coin,
and from what the fit gives away it is guessed which (Steinke, Nasr and Jagielski, Privacy auditing with one (1)
training run, 2023). The game (game.py): the preparation alone is run many times, with and without one odd record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from synthgen import registry
from synthgen.data import Table, as_table
from synthgen.dp.audit.bounds import bound_of_guesses
from synthgen.dp.audit.canaries import Overheard, TappedRecords
from synthgen.dp.audit.game import Game, play
from synthgen.dp.budget import Budget
from synthgen.errors import SynthgenError
from synthgen.fitted import JUDGES
from synthgen.generator import ABILITIES, Generator
from synthgen.metrics.neighbours import nearest
from synthgen.schema import Schema
from synthgen.synthesizer import Synthesizer

Scores = NDArray[np.float64]

GUESSED = ((0.5, 0.5), (0.1, 0.1), (0.2, 0.0))  # shares of canaries guessed in and out: boldly, carefully, those heard
DRAWN = 10_000  # records of a model that tells no likelihoods


class Audit(NamedTuple):
    """What came of an audit.

    Args:
        generator: its name.
        attack: by which canaries were told apart.
        claimed: epsilon.
        delta: of the claim.
        lower: bound of epsilon that the guesses prove.
        largest: bound that they would have proved, had all been right.
        confidence: of this bound, and of that of the preparation.
        canaries: how many.
        guesses: made of them, and how many were `right`.
        preparation: what came of the game.
    """

    generator: str
    attack: str
    claimed: float
    delta: float
    lower: float
    largest: float
    confidence: float
    canaries: int
    guesses: int
    right: int
    preparation: Game

    @property
    def leaks(self) -> bool:
        """Whether a bound exceeds its claim."""
        return self.lower > self.claimed or self.preparation.lower > self.preparation.claimed


def audit(
    data: Any,
    generator: str | type[Generator],
    epsilon: float,
    delta: float,
    *,
    canaries: int = 1000,
    times: int = 200,
    black_box: bool = False,
    schema: Schema | None = None,
    drop: Sequence[str] = (),
    confidence: float = 0.95,
    settings: Mapping[str, Any] = {},
    report: Callable[[str, float], None] = lambda what, done: None,
) -> Audit:
    """Attack private fits of a generator on a table, and say how much of a privacy loss that proves.

    Args:
        data: a table: a path, a pandas frame, anything with an Arrow stream.
        generator: name of an installed generator, or a Generator class.
        epsilon: of the claim.
        delta: of the claim.
        canaries: records that are put into the table or not.
        times: that the preparation is run, with and without an odd record.
        black_box: attack the finished model only, not what is overheard of its fit.
        schema: what is declared of the columns.
        drop: columns to leave out.
        confidence: of each bound.
        settings: of the generator and its training.
        report: called with what is done and the share of it.

    Raises:
        BudgetError: the generator cannot be fitted under a budget, or this one is too small.
        SynthgenError: the table, the generator or a setting is unknown or unfit.
    """
    if canaries < 10 or times < 1 or not 0 < confidence < 1:
        raise SynthgenError("an audit needs 10 canaries, one preparation and a confidence below 1 at least")
    table, name = as_table(data), generator if isinstance(generator, str) else generator.__name__
    cls = registry.load(generator) if isinstance(generator, str) else generator
    rng = np.random.default_rng()
    odd, included = _canaries(table, canaries, rng), rng.random(canaries) < 0.5
    planted = Table.join([table, odd.take(np.flatnonzero(included))])
    fit = _Fit(cls, name, Budget(epsilon, delta), odd, included, black_box)
    found = fit.run(planted, schema, drop, settings, lambda done, **_: report(f"fitting {name}", done))
    guesses, right, lower, largest = _guessed(found.scores, included, delta, confidence)
    game = play(
        table, schema, drop, lambda: Budget(epsilon, delta), times, confidence, lambda d: report("preparing", d)
    )
    return Audit(
        name, found.attack, epsilon, delta, lower, largest, confidence, canaries, guesses, right, preparation=game
    )


def _canaries(table: Table, n: int, rng: np.random.Generator) -> Table:
    """Records (n) of cells that the table holds, in random combinations, rare cells as often as common ones."""
    known = {name: pc.unique(table.data[name]) for name in table.data.column_names}
    cells = {name: held.take(pa.array(rng.integers(0, len(held), n))) for name, held in known.items()}
    return Table(pa.table(cells, schema=table.data.schema), table.dialect, table.frame, table.declared)


class _Scored(NamedTuple):
    """How a fit was attacked, and scores (m,) of the canaries: the larger, the likelier one was in the table."""

    attack: str
    scores: list[Scores]


class _Fit(NamedTuple):
    """A private fit with an ear at it."""

    cls: type[Generator]
    name: str
    budget: Budget
    canaries: Table
    included: NDArray[np.bool_]
    black_box: bool

    def run(
        self,
        table: Table,
        schema: Schema | None,
        drop: Sequence[str],
        settings: Mapping[str, Any],
        report: Callable[..., None],
    ) -> _Scored:
        """Fit on a table that ends with those canaries that are included, and score all of them."""
        ears = list[Overheard]()

        def tap(records: Any) -> Any:
            if self.black_box or records.budget is not self.budget:  # a rehearsal has a budget of its own
                return records
            x, _ = synthesizer.codec.encode(self.canaries, np.random.default_rng(0))
            ears.append(Overheard(self.included))
            return TappedRecords(records, x, ears[0])

        synthesizer = Synthesizer(_tapped(self.cls, self.name, tap), schema=schema, drop=drop, **settings)
        synthesizer.fit(table, budget=self.budget, report=report)
        if ears and ears[0].attack:
            return _Scored(ears[0].attack, ears[0].scores())
        return _by_model(synthesizer, self.canaries)


def _tapped(cls: type[Generator], name: str, tap: Callable[[Any], Any]) -> type[Generator]:
    """A generator that is handed its records through a tap, and else the same."""

    class Tapped(cls):  # type: ignore[misc, valid-type]
        def fit(self, records: Any, training: Any) -> None:
            super().fit(tap(records), training)

    Tapped.__name__ = name
    return Tapped


def _by_model(synthesizer: Synthesizer, canaries: Table) -> _Scored:
    """By what a finished model says of canaries, or how near the records that it draws come to them."""
    model, codec = synthesizer.model, synthesizer.codec
    if any(isinstance(model, ABILITIES[a]) for a in JUDGES):
        return _Scored(f"the model's {synthesizer.judged_by} of each canary", [-synthesizer.anomalies(canaries)])
    with torch.no_grad():
        drawn = model.sample(DRAWN, torch.zeros(DRAWN, codec.context_space.width, device=synthesizer.device)).cpu()
    x, _ = codec.encode(canaries, np.random.default_rng(0))
    apart, _ = nearest(codec.space.embed(x).numpy(), codec.space.embed(drawn).numpy())
    return _Scored(f"the nearest of {DRAWN} records that the model draws", [-apart[:, 0].astype(np.float64)])


def _guessed(
    scores: Sequence[Scores], included: NDArray[np.bool_], delta: float, confidence: float
) -> tuple[int, int, float, float]:
    """Guesses made, those that were right, the bound they prove, and the largest that any could have proved.

    By each of some scores (m,) the highest are guessed to be in and the lowest to be out, as many as GUESSED says;
    what all of it proves holds together by the union bound.
    """
    m, found = len(included), list[tuple[float, float, int, int]]()
    each = 1 - (1 - confidence) / (len(GUESSED) * len(scores))
    sizes = [(int(high * m), int(low * m)) for high, low in GUESSED]
    largest = max(bound_of_guesses(m, high + low, high + low, delta, each) for high, low in sizes)
    for order in (np.argsort(s, kind="stable") for s in scores):
        for high, low in sizes:
            right = int((~included[order[:low]]).sum() + included[order[m - high :]].sum())
            bound = bound_of_guesses(m, high + low, right, delta, each)
            found.append((bound, right / (high + low), high + low, right))
    bound, _, guesses, right = max(found)
    return guesses, right, bound, largest
