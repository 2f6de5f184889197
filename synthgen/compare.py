"""compare: which generator suits this table? Each is fitted on a sample and measured against held-out rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from synthgen import registry
from synthgen.data import Dataset, Images, Table
from synthgen.errors import Interrupted, SynthgenError
from synthgen.metrics.fidelity import detection
from synthgen.synthesizer import Synthesizer

SAMPLE = 30_000  # rows that are fitted on or held out
HELD_OUT = 1 / 3
TOO_FEW = 300  # rows below which the measurement would be noise
SECONDS = 120.0
TIE = 0.005  # AUC
SHORT = 120.0  # seconds below which images get the quickest generator
PRESETS: list[tuple[str, dict[str, Any]]] = [  # settings worth measuring beside the defaults
    ("trees", {"trees": 8, "rounds": 500, "candidates": 8})
]


class Choice(NamedTuple):
    """A generator with its settings, and why it was chosen."""

    name: str
    settings: dict[str, Any]
    reason: str


class Trial(NamedTuple):
    """One measured candidate."""

    name: str
    settings: dict[str, Any]
    auc: float
    seconds: float

    def __str__(self) -> str:
        settings = "".join(f" {k}={v}" for k, v in self.settings.items())
        return f"{self.name}{settings} {self.auc:.3f}"


def best(
    data: Dataset,
    options: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    say: Callable[[str], None] = lambda text: None,
    interrupted: Callable[[], bool] | None = None,
) -> Choice:
    """Choose a generator: on a table by measurement, the one whose rows boosted trees tell least from held-out ones.

    On images nothing is measured: `gmm` where there is less than two minutes, else `diffusion`.

    Args:
        data: the user's; a sample of a table is split into rows to fit on and rows to hold out.
        options: of Synthesizer, the same for all; settings that a generator lacks rule it out.
        seconds: for the whole measurement; 120 by default.
        say: called with a sentence when a candidate cannot be measured.
        interrupted: asked whether to stop.

    Raises:
        SynthgenError: no generator could be fitted; the text says why the last one could not.
    """
    if isinstance(data, Images):
        short = seconds is not None and 3 * seconds < SHORT
        name, why = ("gmm", "there is less than two minutes") if short else ("diffusion", "it comes closest to images")
        return Choice(name, {}, f"auto chose {name}: {why}")
    table, options = data, dict(options or {})
    if len(table) < TOO_FEW:
        return Choice("trees", {}, f"auto chose trees: {len(table)} rows are too few to measure others against")
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(table))[:SAMPLE]
    held, seen = np.split(rows, [int(HELD_OUT * len(rows))])
    dropped = options.get("drop", ())
    schema = table.schema.drop(dropped)
    fitted, holdout = table.take(seen), table.take(held).select(schema.names)
    start, allowed = time.monotonic(), seconds or SECONDS
    trials: list[Trial] = []
    failure = SynthgenError("no generator for tables is installed")
    candidates: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in _quickest_first()] + PRESETS
    for place, (name, settings) in enumerate(candidates):
        left = allowed - (time.monotonic() - start)
        if left <= 0 and trials:
            say(f"auto: no time left to measure {name}")
            continue
        own = {**options, **settings, "sample": None, "max_time": max(left, 1e-3) / (len(candidates) - place)}
        try:
            trials.append(_measure(name, settings, own, fitted, holdout, interrupted))
        except Interrupted:
            raise
        except SynthgenError as error:
            failure = error
            say(f"auto: {name} was left out: {error}")
    if not trials:
        raise failure
    least = min(t.auc for t in trials)
    chosen = min((t for t in trials if t.auc <= least + TIE), key=lambda t: t.seconds)
    half = len(holdout) // 2
    floor = detection(holdout.take(np.arange(half)), holdout.take(np.arange(half, 2 * half)), schema)
    others = ", ".join(str(t) for t in sorted(trials, key=lambda t: t.auc) if t is not chosen)
    reason = (
        f"auto chose {chosen}: the AUC with which its rows are told from held-out ones"
        f"{f' (others: {others}; real rows: {floor:.3f})' if others else f' (real rows: {floor:.3f})'}, "
        f"on a sample of {len(fitted)} rows"
    )
    return Choice(chosen.name, chosen.settings, reason)


def _quickest_first() -> list[str]:
    """Installed generators; those that have proved quick and faithful come first, should the time run out."""
    names = list(registry.available())
    first = ("trees", "gmm", "autoregressive")
    return sorted(names, key=lambda n: first.index(n) if n in first else len(first))


def _measure(
    name: str,
    settings: dict[str, Any],
    options: dict[str, Any],
    fitted: Table,
    holdout: Table,
    interrupted: Callable[[], bool] | None,
) -> Trial:
    """Fit one candidate and tell its rows from held-out ones."""
    if "table" not in registry.load(name).accepts:
        raise SynthgenError(f"{name} does not take tables")
    begin = time.process_time()
    synthesizer = Synthesizer(name, **options).fit(fitted, interrupted=interrupted)
    spent = time.process_time() - begin
    drawn, schema = next(synthesizer.stream(len(holdout))), synthesizer.codec.dataset_schema
    assert isinstance(drawn, Table)
    return Trial(name, settings, detection(holdout, Table(drawn.data, declared=schema), schema), spent)
