"""compare: which generator suits this data? Each is fitted on one part and judged by the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from synthgen import registry
from synthgen.baselines import Baseline, baselines
from synthgen.data import Dataset, Images, Table, as_dataset
from synthgen.errors import Interrupted, SynthgenError
from synthgen.metrics.features import Features
from synthgen.metrics.fidelity import detection
from synthgen.metrics.score import Score
from synthgen.report.blocks import Cell, Finding, Interval, Intervals, Rows, Section
from synthgen.report.evaluate import evaluate
from synthgen.report.result import Report, Setup
from synthgen.synthesizer import Synthesizer

SAMPLE = 30_000  # rows that `-g auto` fits on or holds out
HELD_OUT = 1 / 3
TOO_FEW = 300  # rows below which the measurement would be noise
SECONDS = 120.0
TIE = 0.005  # AUC
SHORT = 120.0  # seconds below which images get the quickest generator
PRESETS: list[tuple[str, dict[str, Any]]] = [  # settings worth measuring beside the defaults
    ("trees", {"trees": 8, "rounds": 500, "candidates": 8})
]
FIGURES = {  # of a comparison: score, heading
    "fidelity.detection": "detection (AUC)",
    "fidelity.kernel": "kernel distance",
    "fidelity.pairs": "pairs",
    "utility.boosted": "utility",
    "utility.network": "utility",
    "disclosure.membership_at_1_percent": "membership at 1 %",
    "disclosure.nearest_share": "nearest share",
    "disclosure.copies": "copies",
}

Say = Callable[[str], None]
Settings = dict[str, Any]


class Choice(NamedTuple):
    """A generator with its settings, and why it was chosen."""

    name: str
    settings: Settings
    reason: str


class Trial(NamedTuple):
    """One candidate that was fitted: what it drew, and how long that took in CPU-seconds."""

    name: str
    settings: Settings
    drawn: Dataset
    seconds: float

    @property
    def label(self) -> str:
        """The name with its settings."""
        return self.name + "".join(f" {k}={v}" for k, v in self.settings.items())


class Effort(NamedTuple):
    """What fits may take: options of Synthesizer, seconds for all of them, and whom to ask and tell."""

    options: Mapping[str, Any]
    seconds: float | None
    say: Say
    interrupted: Callable[[], bool] | None


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
    found: list[tuple[float, Trial]] = []
    for trial in _trials(candidates, fitted, len(holdout), effort):
        assert isinstance(trial.drawn, Table)
        found.append((_auc(holdout, trial.drawn, schema), trial))
    chosen = _winner(found)
    half = len(holdout) // 2
    floor = _auc(holdout.take(np.arange(half)), holdout.take(np.arange(half, 2 * half)), schema)
    mine = next(a for a, t in found if t is chosen)
    others = ", ".join(f"{t.label} {a:.3f}" for a, t in sorted(found, key=lambda f: f[0]) if t is not chosen)
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
    options: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    seed: int = 0,
    say: Say = lambda text: None,
    report: Callable[[float], None] = lambda done: None,
    interrupted: Callable[[], bool] | None = None,
) -> Comparison:
    """Fit generators on two thirds of the data, and judge each, beside baselines, by the rest.

    Args:
        data: a path, a pandas frame, anything with an Arrow stream, a Table, or Images.
        generators: their names; all that are installed by default.
        target: column to predict, for utility.
        options: of Synthesizer, the same for all.
        seconds: that all fits may take together.
        seed: of the split, the fits and the reports.
        say: called with a sentence when a candidate is done, or cannot be fitted.
        report: called with the share done.
        interrupted: asked whether to stop.

    Raises:
        SynthgenError: the data are too few or no generator could be fitted.
    """
    dataset = as_dataset(data)
    if len(dataset) < 60:
        raise SynthgenError(f"{len(dataset)} {dataset.noun} are too few to compare generators; give at least 60")
    for name in generators:
        registry.load(name)
    fitted, holdout = _split(dataset, None, seed)
    names = list(generators) or _quickest_first(dataset.kind)
    candidates = [(name, Settings()) for name in names]
    reports: dict[str, Report] = {}
    trials: list[Trial] = []
    floors = [Trial(b.name, {}, b.draw(fitted, len(fitted), seed), 0.0) for b in baselines(fitted)]
    steps = 2 * (len(candidates) + len(floors))

    def judged(trial: Trial) -> None:
        report((2 * len(reports) + 1) / steps)
        what = {"real": "training part", "synthetic": trial.label, "holdout": "held-out part"}
        reports[trial.label] = evaluate(fitted, trial.drawn, holdout, target=target, seed=seed, names=what)
        trials.append(trial)
        report(2 * len(reports) / steps)

    for trial in floors:
        judged(trial)
    effort = Effort(dict(options or {}) | {"seed": seed}, seconds, say, interrupted)
    for trial in _trials(candidates, fitted, len(fitted), effort):
        judged(trial)
        say(f"{trial.label}: fitted and drawn in {trial.seconds:.0f} CPU-s")
    chosen = _best_of([t for t in trials if t not in floors], reports)
    return Comparison(_summary(dataset, trials, reports, chosen, baselines(fitted)), reports, chosen)


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
            yield _measure(name, settings, own, fitted, n, effort.interrupted)
            done += 1
        except Interrupted:
            raise
        except SynthgenError as error:
            failure = error
            effort.say(f"{name} was left out: {error}")
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


def _winner(found: Sequence[tuple[float, Trial]]) -> Trial:
    """The quickest of those that are as good as the best."""
    least = min(figure for figure, _ in found)
    return min((t for figure, t in found if figure <= least + TIE), key=lambda t: t.seconds)


def _best_of(trials: Sequence[Trial], reports: Mapping[str, Report]) -> Choice:
    """The candidate that comes closest to real records; the quickest of equals."""
    figure = "fidelity.detection" if isinstance(trials[0].drawn, Table) else "fidelity.kernel"
    found = [(reports[t.label][figure].value, t) for t in trials]
    chosen = _winner(found)
    score = reports[chosen.label][figure]
    beside = f"; fresh real {chosen.drawn.noun} get {score.fresh:.3f}" if score.fresh is not None else ""
    return Choice(
        chosen.name, chosen.settings, f"{chosen.label} comes closest: {score.about} {score.value:.3f}{beside}"
    )


def _summary(
    data: Dataset,
    trials: Sequence[Trial],
    reports: Mapping[str, Report],
    chosen: Choice,
    floors: Sequence[Baseline],
) -> Report:
    """One table of all candidates, and the verdict on each."""
    shown = {k: head for k, head in FIGURES.items() if any(k in [s.name for s in r] for r in reports.values())}
    about = {b.name: b.about for b in floors}
    rows: list[tuple[Cell, ...]] = []
    for trial in sorted(trials, key=lambda t: (t.name in about, t.seconds)):
        scores = {s.name: s.value for s in reports[trial.label]}
        seconds = None if trial.name in about else round(trial.seconds, 1)
        rows.append((trial.label, *(scores.get(k) for k in shown), seconds))
    first = next(iter(reports.values()))
    fresh = {s.name: s.fresh for s in first}
    rows.append(("fresh real records", *(fresh.get(k) for k in shown), None))
    figure = next(iter(shown))
    spread = tuple(_interval(t.label, reports[t.label][figure]) for t in trials)
    overview = Section(
        "comparison",
        "Which generator for these data?",
        "Each was fitted on the same two thirds and judged by the rest. Baselines fit nothing: what they reach says "
        "nothing for a generator.",
        findings=(Finding("faithful", chosen.reason + "."), *_leaking(trials, reports, about)),
        blocks=(
            Rows("Candidates, baselines and fresh real records", ("", *shown.values(), "CPU-seconds"), tuple(rows)),
            Intervals(reports[trials[0].label][figure].about, shown[figure], spread),
        ),
    )
    parts = [_part(i, t.label, about.get(t.name, ""), reports[t.label]) for i, t in enumerate(trials)]
    setup = Setup(
        data.kind,
        ("training part", first.setup.real[1]),
        ("of each candidate", len(trials[0].drawn)),
        first.setup.holdout,
        "No formal guarantee is claimed for any of these.",
        first.setup.notes,
        round(sum(t.seconds for t in trials) + sum(r.setup.seconds for r in reports.values()), 1),
    )
    return Report(setup, (overview, *parts))


def _interval(name: str, s: Score) -> Interval:
    low, high = (s.value if end is None else end for end in (s.low, s.high))
    return Interval(name, s.value, low, high, s.fresh)


def _leaking(trials: Sequence[Trial], reports: Mapping[str, Report], floors: Mapping[str, str]) -> list[Finding]:
    """The worst leak of each candidate that leaks."""
    found = []
    for label in (t.label for t in trials if t.name not in floors):
        leaks = [f.text for f in reports[label].verdict if f.kind == "leaks"]
        found += [Finding("leaks", f"{label}: {leaks[0]}")] if leaks else []
    return found


def _part(place: int, label: str, about: str, report: Report) -> Section:
    """One candidate: its verdict and all its scores."""
    verdict = tuple((f.kind, f.text) for f in report.verdict)
    scores = tuple((s.name, s.value, s.low, s.high, s.fresh, s.copies, s.independent) for s in report)
    header = ("score", "value", "from", "to", "fresh real", "copies", "independent")
    blocks = Rows("Verdict", ("", "finding"), verdict), Rows("Scores", header, scores)
    return Section(f"candidate-{place}", label, about, blocks=blocks)
