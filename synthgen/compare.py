"""compare: which generator suits this data? Each is fitted on one part and judged by the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from synthgen import registry
from synthgen.baselines import baselines
from synthgen.data import Dataset, Images, Table, as_dataset
from synthgen.errors import Interrupted, SynthgenError
from synthgen.metrics.features import Features
from synthgen.metrics.fidelity import detection
from synthgen.report.comparison import Entry, closest, reason, summed_up, winner
from synthgen.report.evaluate import evaluate
from synthgen.report.inputs import name_of
from synthgen.report.result import Report
from synthgen.synthesizer import Synthesizer

SAMPLE = 30_000  # rows that `-g auto` fits on or holds out
HELD_OUT = 1 / 3
TOO_FEW = 300  # rows below which the measurement would be noise
SECONDS = 120.0
LEAST = 60  # records that can be compared: a third of them is judged by
SHORT = 120.0  # seconds below which images get the quickest generator
PRESETS: list[tuple[str, dict[str, Any]]] = [  # settings worth measuring beside the defaults
    ("trees", {"trees": 8, "rounds": 500, "candidates": 8})
]
Say = Callable[[str], None]
Settings = dict[str, Any]


class Choice(NamedTuple):
    """A generator with its settings, and why it was chosen."""

    name: str
    settings: Settings
    reason: str


class Trial(NamedTuple):
    """One candidate that was fitted: what it drew, and the CPU-seconds that took."""

    name: str
    settings: Settings
    drawn: Dataset
    seconds: float

    @property
    def label(self) -> str:
        """The name with its settings."""
        return self.name + "".join(f" {k}={v}" for k, v in self.settings.items())


class Effort(NamedTuple):
    """What fits may take: options of Synthesizer, seconds for all, with `judging` also what is done between them."""

    options: Mapping[str, Any]
    seconds: float | None
    say: Say
    interrupted: Callable[[], bool] | None
    judging: bool = True


class Comparison(NamedTuple):
    """Reports by candidate, baselines too, and one that sums up."""

    summary: Report
    reports: dict[str, Report]
    best: Choice


def best(
    data: Dataset,
    options: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    say: Say = lambda text: None,
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
    if len(data) < TOO_FEW:
        return Choice("trees", {}, f"auto chose trees: {len(data)} rows are too few to measure others against")
    options = dict(options or {})
    fitted, holdout = _split(data, SAMPLE)
    assert isinstance(fitted, Table)
    assert isinstance(holdout, Table)
    schema = data.schema.drop(options.get("drop", ()))
    holdout = holdout.select(schema.names)
    candidates = [(name, Settings()) for name in _quickest_first("table")] + PRESETS
    effort = Effort(options | {"sample": None}, seconds or SECONDS, lambda text: say(f"auto: {text}"), interrupted)
    found: list[tuple[float, float, Trial]] = []
    for trial in _trials(candidates, fitted, len(holdout), effort):
        assert isinstance(trial.drawn, Table)
        found.append((_auc(holdout, trial.drawn, schema), trial.seconds, trial))
    chosen = winner(found)
    half = len(holdout) // 2
    floor = _auc(holdout.take(np.arange(half)), holdout.take(np.arange(half, 2 * half)), schema)
    mine = next(a for a, _, t in found if t is chosen)
    others = ", ".join(f"{t.label} {a:.3f}" for a, _, t in sorted(found, key=lambda f: f[0]) if t is not chosen)
    reason = (
        f"auto chose {chosen.label} {mine:.3f}: the AUC with which its rows are told from held-out ones "
        f"({f'others: {others}; ' if others else ''}real rows: {floor:.3f}), on a sample of {len(fitted)} rows"
    )
    return Choice(chosen.name, chosen.settings, reason)


def compare(
    data: Any,
    generators: Sequence[str] = (),
    *,
    target: str | None = None,
    features: str = "auto",
    options: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    seed: int = 0,
    name: str | None = None,
    say: Say = lambda text: None,
    report: Callable[[float], None] = lambda done: None,
    interrupted: Callable[[], bool] | None = None,
) -> Comparison:
    """Fit generators on two thirds of the data, and judge each, beside baselines, by the rest.

    Args:
        data: a path, a pandas frame, anything with an Arrow stream, a Table, or Images.
        generators: their names; all that are installed by default.
        target: column to predict, for utility.
        features: of images, as `evaluate` takes them.
        options: of Synthesizer, the same for all.
        seconds: that all fits may take together.
        seed: of the split, the fits and the reports.
        name: what to call the data; their file by default.
        say: called with a sentence when a candidate is done, or cannot be fitted.
        report: called with the share done.
        interrupted: asked whether to stop.

    Raises:
        SynthgenError: the data are too few or no generator could be fitted.
        Interrupted: `interrupted` said so.
    """
    for generator in generators:
        registry.load(generator)
    options = dict(options or {}) | {"seed": seed}
    dataset = _without(as_dataset(data), options.pop("drop", ()))
    if len(dataset) < LEAST:
        raise SynthgenError(f"{len(dataset)} {dataset.noun} are too few to compare generators; give at least {LEAST}")
    fitted, holdout = _split(dataset, None, seed)
    floors = baselines(fitted)
    candidates = [(g, Settings()) for g in dict.fromkeys(generators or _quickest_first(dataset.kind))]
    asked = {"target": target, "features": features, "seed": seed}
    judge = _Judge(fitted, holdout, asked, len(floors) + len(candidates), report, interrupted)
    entries = [Entry(f.name, judge(f.name, f.draw(fitted, len(fitted), seed)), None, f.about) for f in floors]
    notes, failure = list[str](), None

    def left_out(text: str) -> None:
        notes.append(f"{text}.")
        say(text)

    for trial in _trials(candidates, fitted, len(fitted), Effort(options, seconds, left_out, interrupted, False)):
        try:
            entries.append(Entry(trial.label, judge(trial.label, trial.drawn), trial.seconds))
            say(f"{trial.label}: fitted and drawn in {trial.seconds:.0f} CPU-s")
        except Interrupted:
            raise
        except SynthgenError as error:  # what it drew cannot be compared
            failure = error
            left_out(f"{trial.label} was left out: {error}")
    if len(entries) == len(floors):
        raise failure or SynthgenError("no generator was fitted")
    chosen, what = closest(entries), name or name_of(data, "the data")
    parts = f"two thirds of {what}", f"the rest of {what}"
    choice = Choice(chosen.name, {}, reason(chosen, entries))
    return Comparison(summed_up(entries, chosen, parts, notes), {e.name: e.report for e in entries}, choice)


@dataclass
class _Judge:
    """Reports on what was drawn, one after the other, and the share of all that is done."""

    fitted: Dataset
    holdout: Dataset
    asked: Mapping[str, Any]
    steps: int
    report: Callable[[float], None]
    interrupted: Callable[[], bool] | None
    done: int = 0

    def __call__(self, label: str, drawn: Dataset) -> Report:
        names = {"real": "training part", "synthetic": label, "holdout": "held-out part"}
        found = evaluate(self.fitted, drawn, self.holdout, **self.asked, names=names, report=self._heed)
        self.done += 1
        return found

    def _heed(self, share: float) -> None:
        if self.interrupted and self.interrupted():
            raise Interrupted("interrupted; nothing was written")
        self.report((self.done + share) / self.steps)


def _without(data: Dataset, dropped: Collection[str]) -> Dataset:
    """The data without some columns, under the schema of all rows: a part of them might look otherwise."""
    if isinstance(data, Images):
        return data
    schema = data.schema.drop(dropped)
    return data.select(schema.names).declare(schema)


def _split(data: Dataset, most: int | None, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Records to fit on and records to hold out."""
    rows = np.random.default_rng(seed).permutation(len(data))[:most]
    held, seen = np.split(rows, [int(HELD_OUT * len(rows))])
    return data.take(seen), data.take(held)


def _quickest_first(kind: str) -> list[str]:
    """Installed generators that take such data; the quick and faithful come first, should the time run out."""
    first = ("trees", "gmm", "autoregressive")
    names = [name for name in registry.available() if kind in registry.load(name).accepts]
    return sorted(names, key=lambda n: first.index(n) if n in first else len(first))


def _trials(candidates: Sequence[tuple[str, Settings]], fitted: Dataset, n: int, effort: Effort) -> Iterator[Trial]:
    """Fit candidates one after the other and let each draw n records; what cannot be fitted is said.

    Raises:
        SynthgenError: none could be fitted.
    """
    start, done, failure = time.monotonic(), 0, SynthgenError("no generator for such data is installed")
    for place, (name, settings) in enumerate(candidates):
        limit: Settings = {}
        if effort.seconds is not None:
            left = effort.seconds - (time.monotonic() - start)
            if left <= 0 and done:
                effort.say(f"no time left to measure {name}")
                continue
            limit = {"max_time": max(left, 1e-3) / (len(candidates) - place)}
        own = {**effort.options, **settings, **limit}
        try:
            trial = _measure(name, settings, own, fitted, n, effort.interrupted)
        except Interrupted:
            raise
        except SynthgenError as error:
            failure = error
            effort.say(f"{name} was left out: {error}")
            continue
        done, paused = done + 1, time.monotonic()
        yield trial
        start += 0.0 if effort.judging else time.monotonic() - paused
    if not done:
        raise failure


def _measure(
    name: str,
    settings: Settings,
    options: Mapping[str, Any],
    fitted: Dataset,
    n: int,
    interrupted: Callable[[], bool] | None,
) -> Trial:
    """Fit one candidate and draw n records."""
    if fitted.kind not in registry.load(name).accepts:
        raise SynthgenError(f"{name} does not take {'tables' if fitted.kind == 'table' else 'images'}")
    begin = time.process_time()
    synthesizer = Synthesizer(name, **options).fit(fitted, interrupted=interrupted)
    parts: list[Any] = list(synthesizer.stream(n))
    drawn: Dataset = type(parts[0]).join(parts)
    if isinstance(drawn, Table):
        drawn = Table(drawn.data, declared=synthesizer.codec.dataset_schema)
    return Trial(name, settings, drawn, time.process_time() - begin)


def _auc(holdout: Table, rows: Table, schema: Any) -> float:
    features = Features(holdout, schema)
    return detection(features.matrix(holdout), features.matrix(rows)).auc.value
