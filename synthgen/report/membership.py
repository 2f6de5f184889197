"""Membership in a report: the worst of several attacks, and what they find where nothing leaks, and where some does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from synthgen.metrics import membership
from synthgen.metrics.membership import LEAKS, RATES, Attack, Finding, Round
from synthgen.metrics.neighbours import Points, nearest
from synthgen.metrics.score import Score
from synthgen.report import blocks
from synthgen.report.blocks import Block, Cell, Interval, Intervals, Lines, Rows, Section, Series
from synthgen.report.sides import Sides

Progress = Callable[[float], None]

ATTACKED = 10_000  # records of either side
REFERENCE = 20_000
NAMED = {0.001: "0_1", 0.01: "1", 0.1: "10"}  # rates of false alarms in the names of scores
COMPARISONS = 4_000_000_000  # distances of one attack: fewer records are attacked where there are more synthetic ones


def membership_section(records: Sides, each: Progress, seed: int = 0) -> Section:
    """All attacks, judged by what they find on real records that cannot leak and on known shares of copies.

    Held-out records are attacked in two rounds: one half, beside members, with the other half as the reference.
    """
    m = _attacked(records)
    # members that are not attacked are fresh to those that are: real records in the place of synthetic ones
    rest = records.members.take(np.s_[m : m + len(records.synthetic)])
    rounds, calm, points = list[Round](), list[Round](), list[Points]()
    halves = np.array_split(np.arange(len(records.others)), 2)
    for i, (outside, reference) in enumerate((halves, halves[::-1])):
        inside = np.arange(m)[i::2]
        attacked = records.members.take(inside).join(records.others.take(outside[: m // 2]))
        known = records.others.take(reference[:REFERENCE])
        real = nearest(attacked.points, known.points, membership.NEAR)[0]
        for place, (target, drawn) in enumerate(((rounds, records.synthetic), (calm, rest))):
            odds = membership.log_odds(drawn.rows, known.rows, attacked.rows, seed)
            near = nearest(attacked.points, drawn.points, membership.NEAR)[0]
            target.append(Round(len(inside), near, real, odds))
            each(0.7 * (2 * i + place + 1) / 4)
        points.append(attacked.points)
    attacks = membership.attack(rounds, seed)
    negative, noticed = membership.controls(calm, points, seed, lambda done: each(0.7 + 0.3 * done))
    copied = membership.attack([r.copied(x, x[: r.members]) for r, x in zip(calm, points, strict=True)], seed)
    n = sum(len(r.odds) - r.members for r in rounds)
    return Section(
        "membership",
        "Could an attacker say who was in the training data?",
        f"{len(attacks)} attacks score {m} training records and {n} held-out ones. What they find at few false alarms "
        "counts: an average hides the few who are exposed. Intervals and the limits of chance count all attacks.",
        _scores(attacks, {"fresh": negative, "copies": copied}),
        (_found(attacks, negative, m), blocks.Finding("unseen", _limit(noticed))),
        _blocks(attacks, negative, noticed),
    )


def _attacked(records: Sides) -> int:
    """How many members are attacked, and about as many others; half of the members at most, so that some are left."""
    affordable = COMPARISONS // max(1, len(records.synthetic)) // 2
    return max(10, min(len(records.members) // 2, len(records.others), ATTACKED, affordable))


def _scores(attacks: Sequence[Attack], controls: Mapping[str, Sequence[Attack]]) -> tuple[Score, ...]:
    """What the worst attack finds at each rate of false alarms, and overall, beside what it finds in controls."""
    scores = []
    for rate in RATES:
        a, f = membership.worst(attacks, rate)
        floors = {k: membership.worst(control, rate)[1].found.value for k, control in controls.items()}
        who = f"the worst of {len(attacks)} attacks ({a.name}, {a.records} records)"
        about = f"share of training records that {who} finds at {rate:.1%} false alarms"
        name = f"disclosure.membership_at_{NAMED[rate]}_percent"
        scores.append(Score.of(name, f.found, about, "less", rate, floors, headline=rate == 0.01))
    a, *others = (max(some, key=lambda a: a.auc.low) for some in (attacks, *controls.values()))
    about = f"AUC of the worst attack ({a.name}, {a.records} records)"
    floors = dict(zip(controls, (o.auc.value for o in others), strict=True))
    return (*scores, Score.of("disclosure.membership_auc", a.auc, about, "near", 0.5, floors))


def _found(attacks: Sequence[Attack], negative: Sequence[Attack], m: int) -> blocks.Finding:
    """What the attacks say, in a sentence."""
    leaking, calm = [a for a in attacks if a.leaks], {(a.name, a.records): a for a in negative}
    differ = any(a.leaks for a in negative)
    if differ:
        leaking = [a for a in leaking if _beats(a, calm[a.name, a.records])]
    if differ and not leaking:
        return blocks.Finding(
            "unseen",
            "The membership attacks find something among real records that cannot leak: training and held-out rows "
            "differ in other ways, so nothing can be concluded from them.",
        )
    if not leaking:
        return blocks.Finding("private", _calm(attacks, m))
    pairs = [(a, f) for a in leaking for f in a.at]
    a, f = max([pair for pair in pairs if pair[1].leaks] or pairs, key=_strength)
    by = f"{a.name}, {a.records} records"
    if not f.leaks:
        text = f"training records are recognised better than by chance (AUC {a.auc}; {by})"
    else:
        chance = f"chance would explain {f.chance:.1%}"
        text = f"{f.found.value:.1%} of training records are found at {f.rate:.1%} false alarms ({by}; {chance})"
    return blocks.Finding("leaks", f"Membership leaks: {text}.")


def _beats(a: Attack, control: Attack) -> bool:
    """Whether an attack finds more than twice what it finds among records that cannot leak, and that is no chance."""
    pairs = [(f.found, c.found, 0.0) for f, c in zip(a.at, control.at, strict=True)]
    return any(
        own.low > other.high and own.value - none > 2 * (other.value - none)
        for own, other, none in [(a.auc, control.auc, 0.5), *pairs]
    )


def _strength(pair: tuple[Attack, Finding]) -> float:
    return pair[1].found.value / max(pair[1].chance, 1e-9)


def _calm(attacks: Sequence[Attack], m: int) -> str:
    """What attacks that do not matter have found."""
    who = f"{len(attacks)} membership attacks on {m} training records"
    beyond = [f for a in attacks for f in a.at if f.exceeds]
    if not any(a.exceeds for a in attacks):
        return f"None of {who} found more than chance explains."
    if not beyond:
        return f"None of {who} found more at few false alarms than chance explains; on average they find slightly more."
    f = max(beyond, key=lambda f: f.found.value / f.rate)
    most = f"at most {f.found.value:.1%} of training records at {f.rate:.1%} false alarms"
    return (
        f"{who} find slightly more than chance explains: {most}. That raises an attacker's odds by less than a quarter."
    )


def _limit(noticed: Mapping[float, bool]) -> str:
    """The smallest leak that the membership attacks could have seen."""
    least = membership.smallest(noticed)
    if least is None:
        copied = f"a generator that copies {max(LEAKS):.0%} of its training records"
        return f"There are too few records: the membership attacks would not have noticed {copied}."
    less = "one that copies less may go unnoticed" if least == min(LEAKS) else "but not one that copies less"
    return f"The membership attacks notice a generator that copies {least:.1%} of its training records; {less}."


def _blocks(attacks: Sequence[Attack], negative: Sequence[Attack], noticed: Mapping[float, bool]) -> tuple[Block, ...]:
    curves = []
    for records in ("all", "isolated"):
        if some := [a for a in attacks if a.records == records]:
            best = max(some, key=lambda a: max(f.found.value - f.chance for f in a.at))
            points = zip(*((f.rate, *f.found) for f in best.at), strict=True)
            curves.append(Series(f"{records} records: {best.name}", *(tuple(p) for p in points)))
    strict = [(a, f) for a in attacks for f in a.at if f.rate == 0.01]
    chosen = tuple(Interval(f"{a.name} ({a.records})", *f.found, chance=f.rate) for a, f in strict)
    listed: tuple[tuple[Cell, ...], ...] = tuple(
        (a.name, a.records, a.auc.value, *(f.found.value for f in a.at), _yes(a.leaks)) for a in attacks
    )
    known: tuple[tuple[Cell, ...], ...] = (
        ("real records passed off as synthetic", _yes(any(a.leaks for a in negative))),
        *((f"{share:.1%} of training records copied", _yes(seen)) for share, seen in noticed.items()),
    )
    header = ("attack", "records", "AUC", *(f"found at {r:.1%}" for r in RATES), "leaks")
    return (
        Lines("Training records found", "false alarms", "found", (*curves, Series("chance", RATES, RATES)), log=True),
        Intervals("Found at 1 % false alarms", "share of training records", chosen),
        Rows("All attacks", header, listed),
        Rows("What this report would have noticed", ("control", "noticed"), known, "The same attacks on known leaks."),
    )


def _yes(found: bool) -> str:
    return "yes" if found else "no"
