"""Disclosure: what an attacker could learn from synthetic records, what this report could have noticed, and not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics import membership
from synthgen.metrics.disclosure import Success, copies, inference, linkability, near_copies, near_share, singling_out
from synthgen.metrics.membership import Attack, Round
from synthgen.metrics.neighbours import Geometry, Points, nearest
from synthgen.metrics.score import Score
from synthgen.metrics.statistics import Estimate, proportion
from synthgen.report.blocks import Block, Finding, Interval, Intervals, Lines, Rows, Section, Series
from synthgen.report.inputs import Tables

Matrix = NDArray[np.float64]
Progress = Callable[[float], None]

ATTACKED = 10_000  # records of either side
REFERENCE = 20_000
COMPARISONS = 4_000_000_000  # distances of one attack: fewer records are attacked where there are more synthetic ones
SECRETS = 12  # columns that inference attacks
QUERIES = 1000
SEARCHED = 100_000  # synthetic records in which inference and linkability search
JUDGED = 5000  # synthetic records whose nearest neighbour is sought


@dataclass(frozen=True)
class Sides:
    """Records as points (n, d) and as features (n, columns), the same order in both.

    Args:
        members: that were trained on.
        others: real records that were not.
        synthetic: what an attacker holds.
    """

    members: tuple[Points, Matrix]
    others: tuple[Points, Matrix]
    synthetic: tuple[Points, Matrix]


def sides(tables: Tables) -> Sides | None:
    """The three kinds of records of a report on tables; none without a holdout."""
    if tables.holdout is None:
        return None
    geometry, rng = Geometry(tables.features, tables.real.matrix), np.random.default_rng(1)
    found = []
    for rows in (tables.real, tables.holdout, tables.synthetic):
        matrix = rows.matrix[rng.permutation(len(rows))]
        found.append((geometry(matrix), matrix))
    return Sides(*found)


def membership_section(records: Sides, each: Progress, seed: int = 0) -> Section:
    """The worst of several attacks, beside what they find where nothing leaks, and where something does."""
    members, others, synthetic = (part[0] for part in (records.members, records.others, records.synthetic))
    m = _attacked(len(members), len(others), len(synthetic))
    rounds, points, calm = list[Round](), list[Points](), list[Round]()
    base = _rest(records, m, len(synthetic))
    halves = np.array_split(np.arange(len(others)), 2)
    steps = 4
    for i, (outside, reference) in enumerate((halves, halves[::-1])):
        inside = np.arange(m)[i::2]
        outside, reference = outside[: m // 2], reference[:REFERENCE]
        x = np.concatenate([members[inside], others[outside]])
        rows = np.concatenate([records.members[1][inside], records.others[1][outside]])
        real = others[reference], records.others[1][reference]
        near_real = nearest(x, real[0], membership.NEAR)[0]
        for place, (drawn, matrix) in enumerate((records.synthetic, base)):
            odds = membership.log_odds(matrix, real[1], rows, seed)
            near = nearest(x, drawn, membership.NEAR)[0]
            (calm if place else rounds).append(Round(len(inside), near.astype(float), near_real.astype(float), odds))
            each(0.7 * (2 * i + place + 1) / steps)
        points.append(x)
    attacks = membership.attack(rounds, seed)
    negative, noticed = membership.controls(calm, points, seed, lambda done: each(0.7 + 0.3 * done))
    return _membership(attacks, negative, noticed, m, sum(len(r.odds) - r.members for r in rounds))


def _attacked(members: int, others: int, synthetic: int) -> int:
    """How many members are attacked, and about as many others; half of the members at most, so that some are left."""
    return max(10, min(members // 2, others, ATTACKED, COMPARISONS // max(1, synthetic) // 2))


def _rest(records: Sides, m: int, n: int) -> tuple[Points, Matrix]:
    """Training records that are not attacked: to those under attack they are fresh, a control in which nothing leaks."""
    points, matrix = records.members
    return points[m : m + n], matrix[m : m + n]


def _membership(attacks: list[Attack], negative: list[Attack], noticed: dict[float, bool], m: int, n: int) -> Section:
    scores, least = [], membership.smallest(noticed)
    for rate in membership.RATES:
        a, f = membership.worst(attacks, rate)
        calm = membership.worst(negative, rate)[1]
        about = (
            f"share of training records that the worst of {len(attacks)} attacks ({a.name}, {a.records} records) "
            f"finds at {rate:.1%} false alarms"
        )
        scores.append(
            Score(
                f"disclosure.membership_at_{rate * 100:g}_percent".replace("0.1", "0_1"),
                f.found.value,
                about,
                "less",
                rate,
                f.found.low,
                f.found.high,
                fresh=calm.found.value,
                copies=1.0,
                headline=rate == 0.01,
            )
        )
    worst = max(attacks, key=lambda a: a.auc.low)
    calmest = max(negative, key=lambda a: a.auc.low)
    scores.append(
        Score(
            "disclosure.membership_auc",
            worst.auc.value,
            f"AUC of the worst attack ({worst.name}, {worst.records} records)",
            "near",
            0.5,
            worst.auc.low,
            worst.auc.high,
            fresh=calmest.auc.value,
            copies=1.0,
        )
    )
    return Section(
        "membership",
        "Could an attacker say who was in the training data?",
        f"{len(attacks)} attacks score {m} training records and {n} held-out ones. What they find at few false alarms is "
        "what counts: an average hides the few who are exposed. Intervals and the limits of chance count all attacks.",
        tuple(scores),
        _membership_findings(attacks, negative, least, m),
        _membership_blocks(attacks, negative, noticed),
    )


def _membership_findings(
    attacks: list[Attack], negative: list[Attack], least: float | None, m: int
) -> tuple[Finding, ...]:
    found = [a for a in attacks if a.leaks]
    if any(a.leaks for a in negative):
        first = Finding(
            "unseen",
            "The membership attacks find something among real records that cannot leak: training and held-out rows "
            "differ in other ways, so nothing can be concluded from them.",
        )
    elif found:
        a, f = max(
            ((a, f) for a in found for f in a.at), key=lambda pair: pair[1].found.value / max(pair[1].chance, 1e-9)
        )
        text = (
            f"{f.found.value:.1%} of training records are recognised at {f.rate:.1%} false alarms ({a.name}, {a.records} "
            f"records; chance would explain {f.chance:.1%})"
            if f.leaks
            else f"training records are recognised better than by chance (AUC {a.auc}, {a.name}, {a.records} records)"
        )
        first = Finding("leaks", f"Membership leaks: {text}.")
    else:
        first = Finding("private", _calm(attacks, m))
    return first, Finding("unseen", _limit(least))


def _calm(attacks: list[Attack], m: int) -> str:
    """What attacks that do not matter have found."""
    who = f"{len(attacks)} membership attacks on {m} training records"
    beyond = [f for a in attacks for f in a.at if f.exceeds]
    if not any(a.exceeds for a in attacks):
        return f"None of {who} found more than chance explains."
    if not beyond:
        return f"None of {who} found more at few false alarms than chance explains; on average they find slightly more."
    f = max(beyond, key=lambda f: f.found.value / f.rate)
    most = f"at most {f.found.value:.1%} of training records at {f.rate:.1%} false alarms"
    return f"{who} find slightly more than chance explains: {most}, which raises an attacker's odds by less than a quarter."


def _limit(least: float | None) -> str:
    """The smallest leak that the membership attacks could have seen."""
    if least is None:
        copied = f"a generator that copies {max(membership.LEAKS):.0%} of its training records"
        return f"There are too few records: the membership attacks would not have noticed {copied}."
    less = "one that copies less may go unnoticed" if least == min(membership.LEAKS) else "but not one that copies less"
    return f"The membership attacks notice a generator that copies {least:.1%} of its training records; {less}."


def _membership_blocks(attacks: list[Attack], negative: list[Attack], noticed: dict[float, bool]) -> tuple[Block, ...]:
    curves = []
    for records in ("all", "isolated"):
        some = [a for a in attacks if a.records == records]
        if some:
            best = max(some, key=lambda a: max(f.found.value - f.chance for f in a.at))
            band = tuple(zip(*((f.rate, f.found.value, f.found.low, f.found.high) for f in best.at), strict=True))
            curves.append(Series(f"{records} records: {best.name}", *band))
    chance = Series("chance", membership.RATES, membership.RATES)
    rows = tuple(
        Interval(f"{a.name} ({a.records})", f.found.value, f.found.low, f.found.high, f.rate)
        for a in attacks
        for f in a.at
        if f.rate == 0.01
    )
    header = ("attack", "records", "AUC", *(f"found at {r:.1%}" for r in membership.RATES), "leaks")
    listed = tuple(
        (a.name, a.records, a.auc.value, *(f.found.value for f in a.at), "yes" if a.leaks else "no") for a in attacks
    )
    control = (
        ("real records passed off as synthetic", "yes" if any(a.leaks for a in negative) else "no"),
        *((f"{share:.1%} of training records copied", "yes" if seen else "no") for share, seen in noticed.items()),
    )
    return (
        Lines("Training records found", "false alarms", "training records found", (*curves, chance), log=True),
        Intervals("Found at 1 % false alarms", "share of training records", rows),
        Rows("All attacks", header, listed),
        Rows(
            "What this report would have noticed", ("control", "noticed"), control, "The same attacks on known leaks."
        ),
    )


def copies_section(records: Sides, whole: tuple[Matrix, Matrix, Matrix]) -> Section:
    """Exact and near copies, and the share of records that are nearer to training records than to others.

    Args:
        records: as points.
        whole: all training, held-out and synthetic records, equal where they are copies.
    """
    members, others, synthetic = (part[0] for part in (records.members, records.others, records.synthetic))
    train, held, made = whole
    own, floor = (proportion(int(copies(train, rows).sum()), len(rows)) for rows in (made, held))
    some = synthetic[:JUDGED]
    near, near_floor = near_copies(members[:SEARCHED], others[:JUDGED], some)
    half = len(others) // 2
    share = near_share(members[:SEARCHED], others[:SEARCHED], some)
    fresh = near_share(members[:half], others[half:], others[: min(half, JUDGED)])
    scores = (
        _less(
            "disclosure.copies",
            own,
            "share of synthetic records that equal a training record in every cell",
            floor,
            1.0,
        ),
        _less(
            "disclosure.near_copies",
            near,
            "share of synthetic records as near to a training record as the nearest 1 % of held-out ones",
            near_floor,
            1.0,
        ),
        Score(
            "disclosure.nearest_share",
            share.value,
            "share of synthetic records nearer to a training record than to any of as many held-out ones",
            "near",
            0.5,
            share.low,
            share.high,
            fresh.value,
            1.0,
        ),
    )
    findings = [_copied(own, floor, len(made))]
    if near.low > near_floor.high and near.value > 2 * near_floor.value:
        findings.append(
            Finding(
                "leaks",
                f"{near.value:.1%} of synthetic records lie as near to a training record as {near_floor.value:.1%} of held-out ones do.",
            )
        )
    if share.low > max(0.5, fresh.high) + 0.02:
        findings.append(
            Finding(
                "leaks",
                f"{share.value:.1%} of synthetic records are nearer to a training record than to a held-out one (50 % is what no copying gives).",
            )
        )
    return Section(
        "copies",
        "Copies",
        "Equal rows occur among real people, too: what counts is whether there are more than among held-out ones. Passing "
        "here proves nothing; failing does.",
        scores,
        tuple(findings),
    )


def _less(name: str, own: Estimate, about: str, floor: Estimate, copied: float, headline: bool = False) -> Score:
    return Score(name, own.value, about, "less", floor.value, own.low, own.high, floor.value, copied, headline=headline)


def _copied(own: Estimate, floor: Estimate, n: int) -> Finding:
    beside = f"{own.value:.2%} of synthetic rows equal a training row, {floor.value:.2%} of held-out rows do"
    if own.low > floor.high:
        return Finding("leaks", f"Training rows are copied: {beside}.")
    return Finding("private", f"No more copies than among real rows: {beside}.")


def inference_section(records: Sides, tables: Tables, target: str | None, each: Progress, seed: int = 0) -> Section:
    """Attribute inference, singling out and linkability, each minus the same on people who were not trained on."""
    names, numeric = tables.features.names, tables.numeric
    geometry = Geometry(tables.features, tables.real.matrix)
    (members, seen), (others, unseen) = ((p[:QUERIES], x[:QUERIES]) for p, x in (records.members, records.others))
    synthetic, drawn = (part[:SEARCHED] for part in records.synthetic)
    secrets = _secrets(names, target)
    found = (
        inference(
            secrets,
            geometry.columns,
            (members, others, synthetic),
            (seen, unseen, drawn),
            numeric,
            lambda d: each(0.8 * d),
        )
        if len(names) > 1
        else {}
    )
    n = min(len(records.members[1]), len(records.others[1]))
    alone = singling_out(records.members[1][:n], records.others[1][:n], drawn, numeric, seed)
    scores, findings = [], []
    if found:
        worst = max(found, key=lambda j: found[j].excess.low)
        scores.append(
            _excess(
                "disclosure.inference",
                found[worst],
                f"how much more often {names[worst]!r} of a training record is inferred than of a held-out one: the worst of {len(found)} columns",
            )
        )
        findings.append(_inferred(names, found))
    scores.append(
        _excess(
            "disclosure.singling_out",
            alone,
            "how much more often a description of a synthetic row fits exactly one training row than one held-out row",
        )
    )
    findings.append(
        _finding(alone, "Descriptions of synthetic rows single out training rows", "no oftener than held-out ones")
    )
    rows = [(f"inference of {names[j]}", s) for j, s in found.items()] + [("singling out", alone)]
    if len(names) > 3:
        linked = linkability(geometry.columns, (members, others, synthetic), len(names), seed)
        scores.append(
            _excess(
                "disclosure.linkability",
                linked,
                "how much oftener two halves of a training record are linked than those of a held-out one",
            )
        )
        findings.append(
            _finding(linked, "Two halves of a training record can be linked", "no oftener than those of a held-out one")
        )
        rows.append(("linkability", linked))
    each(1.0)
    return Section(
        "inference",
        "Could an attacker learn something about a person?",
        "Three attacks of the Article 29 Working Party: inferring a cell from all others, describing exactly one person, "
        "linking two partial records. What succeeds on people in no training data is knowledge of the world; only the "
        "difference is a leak.",
        tuple(scores),
        tuple(findings),
        (
            Intervals(
                "Success on training records minus success on held-out ones",
                "difference",
                tuple(Interval(t, *s.excess, chance=0.0) for t, s in rows),
            ),
            Rows(
                "Success",
                ("attack", "training records", "held-out records", "difference"),
                tuple((t, s.members.value, s.others.value, s.excess.value) for t, s in rows),
            ),
        ),
    )


def _secrets(names: list[str], target: str | None) -> list[int]:
    """Columns whose inference is tried: the target, and others evenly spread."""
    first = [names.index(target)] if target in names else []
    spread = np.linspace(0, len(names) - 1, min(SECRETS, len(names))).round().astype(int).tolist()
    return list(dict.fromkeys([*first, *spread]))[:SECRETS]


def _excess(name: str, s: Success, about: str) -> Score:
    return Score(name, s.excess.value, about, "less", 0.0, s.excess.low, s.excess.high, fresh=0.0)


def _inferred(names: list[str], found: dict[int, Success]) -> Finding:
    leaking = [j for j, s in found.items() if s.leaks]
    if not leaking:
        return Finding(
            "private", f"None of {len(found)} cells is inferred oftener of training records than of held-out ones."
        )
    j = max(leaking, key=lambda j: found[j].excess.value)
    return _finding(found[j], f"{names[j]!r} of training records can be inferred", "")


def _finding(s: Success, what: str, otherwise: str) -> Finding:
    figures = f"{s.members.value:.1%} of training records, {s.others.value:.1%} of held-out ones"
    if s.leaks:
        return Finding("leaks", f"{what} oftener than held-out ones ({figures}).")
    return Finding("private", f"{what} {otherwise} ({figures}).")


def unseen_section() -> Section:
    """What is said where there is no holdout."""
    text = "Disclosure could not be judged: without real rows that the generator has not seen (--holdout), a leak cannot be told from knowledge of the world."
    return Section("membership", "Disclosure", text, findings=(Finding("unseen", text),))
