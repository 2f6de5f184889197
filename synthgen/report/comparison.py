"""Comparison: the reports on several generators, summed up in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple, TypeVar

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
PICTURES = {"fidelity": "How close?", "utility": "How useful?", "disclosure": "What does an attacker find?"}
ARROWS = {"less": "↓", "more": "↑", "near": "→"}
FRESH = "fresh real records"
WORDS = {"useless": "not useful", "private": "not found", "unseen": "not seen"}  # of findings
TIE = 0.005  # AUC

T = TypeVar("T")


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


def winner(found: Sequence[tuple[float, float, T]], tie: float = TIE) -> T:
    """The quickest of those that are as good as the best: figures, seconds, and what they are of."""
    least = min(figure for figure, _, _ in found)
    return min((f for f in found if f[0] <= least + tie), key=lambda f: f[1])[2]


def closest(entries: Sequence[Entry]) -> Entry:
    """The candidate that comes closest to real records; the quickest of equals."""
    found = [(e.distance, e.seconds, e) for e in entries if e.seconds is not None]
    score = min(found, key=lambda f: f[0])[2].closeness
    # a kernel distance has no scale of its own: what its chance may explain is a tie
    return winner(found, TIE if score.better == "near" or score.high is None else score.high - score.value)


def summed_up(entries: Sequence[Entry], chosen: Entry, names: tuple[str, str], notes: Sequence[str]) -> Report:
    """One report on all: which generator, a table of candidates, baselines and fresh real records, then each of them.

    Args:
        entries: candidates and baselines.
        chosen: one of the candidates.
        names: what to call the records that were fitted on, and those held out.
        notes: what else happened, a sentence each.
    """
    candidates = sorted((e for e in entries if e.seconds is not None), key=lambda e: (e is not chosen, e.distance))
    floors = sorted((e for e in entries if e.seconds is None), key=lambda e: e.distance)
    overview = Section(
        "comparison",
        "Which generator for these data?",
        "Each was fitted on the same two thirds and judged by the rest. The one that comes closest stands first. "
        "Baselines fit nothing: a generator that loses to one is not worth its time, but copies always come close.",
        findings=(
            *_verdict(chosen, candidates[1:], floors),
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


def reason(chosen: Entry, entries: Sequence[Entry]) -> str:
    """Why a candidate was chosen, in a sentence without its stop."""
    score = chosen.closeness
    closer = [e.name for e in entries if e.seconds is not None and e.distance < chosen.distance]
    how = f"comes as close as {listed(closer, quote=False)} and is quicker" if closer else "comes closest"
    floors = ((f"fresh {_noun(chosen)} get", score.fresh), (f"{_independent(chosen)} get", score.independent))
    beside = ", ".join(f"{name} {_said(value)}" for name, value in floors if value is not None)
    return f"{chosen.name} {how}: {_said(score.value)} is the {score.about}; {beside}"


def _said(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"


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
        figures = f"{_said(safe[0].closeness.value)} against {_said(chosen.closeness.value)}"
        found.append(Finding("private", f"{safe[0].name} is the closest in which no leak was found ({figures})."))
    return found


def _leak(entry: Entry) -> Finding:
    n = len(entry.leaks) - 1
    more = f" There {'is 1 more leak' if n == 1 else f'are {n} more leaks'}." if n else ""
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
    return None if seconds is None else round(seconds, 2)


def _heading(report: Report, name: str) -> str:
    """The heading of a figure, and which way is good."""
    if name not in _names(report):
        return FIGURES[name]
    score = report[name]
    return f"{FIGURES[name]} {ARROWS[score.better]}" + (f" {score.ideal:g}" if score.better == "near" else "")


def _pictures(entries: Sequence[Entry]) -> list[Block]:
    """How close, how useful and how disclosive each is, with intervals; what fresh real records get is marked."""
    found: list[Block] = []
    for kind, title in PICTURES.items():
        names = (name for name in FIGURES if name.startswith(kind))
        name = next((n for n in names if all(n in _names(e.report) for e in entries)), None)
        if name is not None:
            scores = [e.report[name] for e in entries]
            good = {"less": "Less is better", "more": "More is better", "near": f"{scores[0].ideal:g} is best"}
            about = f"{good[scores[0].better]}; chance is what {FRESH} get."
            rows = tuple(_interval(e.name, s) for e, s in zip(entries, scores, strict=True))
            found.append(Intervals(title, FIGURES[name], rows, about))
    return found


def _interval(name: str, s: Score) -> Interval:
    low, high = (s.value if end is None else end for end in (s.low, s.high))
    return Interval(name, s.value, low, high, s.fresh)


def _part(place: int, entry: Entry) -> Section:
    """One candidate: its verdict and all its scores."""
    verdict = tuple((WORDS.get(f.kind, f.kind), f.text) for f in entry.report.verdict)
    scores = tuple((s.name, s.value, s.low, s.high, s.fresh, s.copies, s.independent) for s in entry.report)
    header = ("score", "value", "from", "to", "fresh real", "copies", "independent")
    blocks = Rows("Verdict", ("", "finding"), verdict), Rows("Scores", header, scores)
    about = f"Fitted and drawn in {entry.seconds:.1f} CPU-seconds."
    return Section(f"candidate-{place}", entry.name, about, blocks=blocks)


def _side_by_side(entries: Sequence[Entry]) -> Section:
    """All scores of all."""
    names = dict.fromkeys(chain.from_iterable(_names(e.report) for e in entries))
    rows = []
    for name in names:
        fresh = next((_fresh(e.report[name]) for e in entries if name in _names(e.report)), None)
        rows.append((name, *(figure for e in entries for figure in _figures(e.report, [name], _value)), fresh))
    about = " ".join(f"{e.name[0].upper()}{e.name[1:]}: {e.about}" for e in entries if e.about)
    return Section(
        "side-by-side",
        "All scores, side by side",
        about,
        blocks=(Rows("Scores", ("score", *(e.name for e in entries), FRESH), tuple(rows)),),
    )
