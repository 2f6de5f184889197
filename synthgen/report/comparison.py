"""Comparison: the reports on several generators, summed up in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

from synthgen.metrics.score import Score
from synthgen.report.blocks import Block, Cell, Finding, Interval, Intervals, Rows, Section, listed
from synthgen.report.result import Report, Setup

FIGURES = {  # of a comparison: score, heading; the first that there is says how close a candidate comes
    "fidelity.detection": "detection (AUC)",
    "fidelity.kernel": "kernel distance",
    "fidelity.pairs": "pairs",
    "utility.boosted": "utility",
    "utility.network": "utility",
    "disclosure.membership_at_1_percent": "membership at 1 %",
    "disclosure.nearest_share": "nearest share",
    "disclosure.copies": "copies",
}
PICTURES = ("fidelity", "utility", "disclosure")  # of each kind the first figure is drawn
ARROWS = {"less": "↓", "more": "↑", "near": "→"}
FRESH = "fresh real records"


class Entry(NamedTuple):
    """A candidate or a baseline with its report.

    Args:
        name: of the generator with its settings, or of the baseline.
        report: on what it drew.
        seconds: CPU-seconds that fitting and drawing took; None of a baseline, which fits nothing.
        about: what a baseline is.
    """

    name: str
    report: Report
    seconds: float | None = None
    about: str = ""

    @property
    def closeness(self) -> Score:
        """The score by which candidates are ranked: less is closer."""
        return self.report[next(name for name in FIGURES if name in _names(self.report))]

    @property
    def distance(self) -> float:
        """The value of that score; worse than chance at telling rows apart is no closer than chance."""
        score = self.closeness
        return max(score.value, score.ideal) if score.better == "near" else score.value

    @property
    def leaks(self) -> list[str]:
        """What its report says of leaks."""
        return [f.text for f in self.report.verdict if f.kind == "leaks"]


def _names(report: Report) -> list[str]:
    return [score.name for score in report]


def summed_up(entries: Sequence[Entry], best: str, names: tuple[str, str], notes: Sequence[str]) -> Report:
    """One report on all: which generator, a table of candidates, baselines and fresh real records, then each of them.

    Args:
        entries: candidates and baselines.
        best: name of the candidate that is chosen.
        names: what to call the records that were fitted on, and those held out.
        notes: what else happened, a sentence each.
    """
    candidates = sorted((e for e in entries if e.seconds is not None), key=lambda e: (e.name != best, e.distance))
    floors = sorted((e for e in entries if e.seconds is None), key=lambda e: e.distance)
    chosen, others = candidates[0], candidates[1:]
    overview = Section(
        "comparison",
        "Which generator for these data?",
        "Each was fitted on the same two thirds and judged by the rest. The one that comes closest stands first. "
        "Baselines fit nothing: a generator that loses to one is not worth its time, but copies always come close.",
        findings=(
            *_verdict(chosen, others, floors),
            *(_leak(e) for e in candidates if e.leaks),
        ),
        blocks=(_table([*candidates, *floors]), *_pictures([*candidates, *floors])),
    )
    setup = Setup(
        chosen.report.setup.kind,
        (names[0], chosen.report.setup.real[1]),
        (listed([e.name for e in candidates], 3, quote=False), chosen.report.setup.synthetic[1]),
        (names[1], (chosen.report.setup.holdout or ("", 0))[1]),
        "No formal guarantee is claimed for any of these.",
        (*notes, *chosen.report.setup.notes),
        round(sum(e.report.setup.seconds + (e.seconds or 0.0) for e in entries), 1),
    )
    parts = [_part(i, e) for i, e in enumerate(candidates)]
    return Report(setup, (overview, *parts, _side_by_side([*candidates, *floors])))


def reason(chosen: Entry, others: Sequence[Entry]) -> str:
    """Why a candidate was chosen, in a sentence without its stop."""
    score = chosen.closeness
    closer = [e.name for e in others if e.distance < chosen.distance]
    how = f"comes as close as {listed(closer, quote=False)} and is quicker" if closer else "comes closest"
    floors = [(f"fresh {_noun(chosen)} get", score.fresh), (f"{_independent(chosen)} get", score.independent)]
    beside = ", ".join(f"{name} {value:.3f}" for name, value in floors if value is not None)
    return f"{chosen.name} {how}: {score.about} {score.value:.3f}; {beside}"


def _noun(entry: Entry) -> str:
    return "real rows" if entry.report.setup.kind == "table" else "real images"


def _independent(entry: Entry) -> str:
    return "independent columns" if entry.report.setup.kind == "table" else "blurred class means"


def _verdict(chosen: Entry, others: Sequence[Entry], floors: Sequence[Entry]) -> list[Finding]:
    """Which comes closest, how close that is, what it is good for, and what would change the choice."""
    close = next(s for s in chosen.report.sections if chosen.closeness in s.scores).findings[:1]
    useful = [f for f in chosen.report.verdict if f.kind in ("useful", "useless")][:1]
    kind = close[0].kind if close else "faithful"
    found = [Finding(kind, reason(chosen, others) + ".")]
    found += [Finding(f.kind, f"{chosen.name}: {f.text}") for f in useful]
    better = [e.name for e in floors if e.name != "bootstrap copy" and e.distance <= chosen.distance]
    if better:
        found.append(Finding("differs", f"No generator comes closer than a baseline that fits nothing: {better[0]}."))
    safe = [e for e in others if not e.leaks]
    if chosen.leaks and safe:
        figures = f"{safe[0].distance:.3f} against {chosen.distance:.3f}"
        found.append(Finding("private", f"{safe[0].name} is the closest in which no leak was found ({figures})."))
    return found


def _leak(entry: Entry) -> Finding:
    more = f" This report on it names {len(entry.leaks) - 1} more." if len(entry.leaks) > 1 else ""
    return Finding("leaks", f"{entry.name}: {entry.leaks[0]}{more}")


def _table(entries: Sequence[Entry]) -> Rows:
    """The figures of each, candidates first."""
    shown = [name for name in FIGURES if any(name in _names(e.report) for e in entries)]
    rows = [(e.name, *_figures(e.report, shown, _value), len(e.leaks), _rounded(e.seconds)) for e in entries]
    rows.append((FRESH, *_figures(entries[0].report, shown, _fresh), None, None))
    header = ("", *(_heading(entries[0].report, name) for name in shown), "leaks found ↓", "CPU-seconds ↓")
    about = "The closest first. Fresh real records are the best that could be asked for. Arrows say which way is good."
    return Rows("Candidates, baselines and fresh real records", header, tuple(rows), about)


def _figures(report: Report, names: Sequence[str], of: Callable[[Score], float | None]) -> list[Cell]:
    return [of(report[name]) if name in _names(report) else None for name in names]


def _value(score: Score) -> float | None:
    return score.value


def _fresh(score: Score) -> float | None:
    return score.fresh


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _heading(report: Report, name: str) -> str:
    """The heading of a figure, and which way is good."""
    if name not in _names(report):
        return FIGURES[name]
    score = report[name]
    return f"{FIGURES[name]} {ARROWS[score.better]}" + (f" {score.ideal:g}" if score.better == "near" else "")


def _pictures(entries: Sequence[Entry]) -> list[Block]:
    """How close, how useful and how disclosive each is, with intervals; what fresh real records get is marked."""
    found: list[Block] = []
    for kind in PICTURES:
        names = [n for n in FIGURES if n.startswith(kind) and any(n in _names(e.report) for e in entries)]
        if names:
            have = [(e.name, e.report[names[0]]) for e in entries if names[0] in _names(e.report)]
            rows = tuple(_interval(name, score) for name, score in have)
            about = f"{have[0][1].about[0].upper()}{have[0][1].about[1:]}. Chance: what {FRESH} get."
            found.append(Intervals(TITLES[kind], FIGURES[names[0]], rows, about))
    return found


def _interval(name: str, s: Score) -> Interval:
    low, high = (s.value if end is None else end for end in (s.low, s.high))
    return Interval(name, s.value, low, high, s.fresh)
