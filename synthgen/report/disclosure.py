"""Disclosure in a report: copies, and what an attacker learns of a person beyond what he learns of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from synthgen.metrics.disclosure import Success, copies, inference, linkability, near_copies, near_share, singling_out
from synthgen.metrics.neighbours import Geometry
from synthgen.metrics.score import Score
from synthgen.metrics.statistics import LEVEL, Estimate, proportion
from synthgen.report.blocks import Finding, Interval, Intervals, Rows, Section, listed
from synthgen.report.inputs import Tables
from synthgen.report.sides import Matrix, Sides

Progress = Callable[[float], None]

SECRETS = 12  # columns that inference attacks
QUERIES = 1000
WIDER = stats.norm.ppf(1 - LEVEL / 6) / stats.norm.ppf(1 - LEVEL / 2)  # intervals of three attacks that hold together
SEARCHED = 100_000  # synthetic records in which inference and linkability search
JUDGED = 5000  # synthetic records whose nearest neighbour is sought
FEW = 5  # records that hold an extreme, below which it is theirs
OUTER = 20  # values at an end, or a twentieth of all, that say how often fresh rows hold one of them
MET = 0.2  # the chance of fresh rows to hold an extreme, above which it is nobody's
NO_HOLDOUT = (
    "Disclosure could not be judged: without real records that the generator has not seen (--holdout), a leak cannot "
    "be told from knowledge of the world."
)


def unseen_section() -> Section:
    """What is said where there is no holdout."""
    return Section("membership", "Disclosure", NO_HOLDOUT, findings=(Finding("unseen", NO_HOLDOUT),))


def copies_section(records: Sides, whole: tuple[Matrix, Matrix, Matrix]) -> Section:
    """Exact and near copies, and the share of records that are nearer to training records than to others.

    Args:
        records: as points.
        whole: all training, held-out and synthetic records, equal where they are copies.
    """
    members, others, synthetic = (side.points for side in (records.members, records.others, records.synthetic))
    train, held, made = whole
    some, half = synthetic[:JUDGED], len(members) // 2
    own, floor = (proportion(int(copies(train, rows).sum()), len(rows)) for rows in (made, held))
    near, near_floor = near_copies(members[:SEARCHED], others[:JUDGED], some)
    share = near_share(members[:SEARCHED], others[:SEARCHED], some)
    # members that are compared with other members: where held-out records are of another kind, they show it
    rest, unseen = members[:half][:SEARCHED], members[half:][:JUDGED]
    fresh = near_share(rest, others[:SEARCHED], unseen)
    calm, _ = near_copies(rest, others[:JUDGED], unseen)
    copied = near_share(members[:SEARCHED], others[:SEARCHED], members[:: -(-len(members) // JUDGED)])
    return Section(
        "copies",
        "Copies",
        "Equal rows occur among real people, too: what counts is whether there are more than among held-out ones. "
        "Passing here proves nothing; failing does.",
        (
            _copying("copies", own, "share of synthetic records that equal a training record in every cell", floor),
            _copying(
                "near_copies",
                near,
                "share of synthetic records as near to a training record as the nearest 1 % of held-out ones",
                near_floor,
            ),
            Score.of(
                "disclosure.nearest_share",
                share,
                "share of synthetic records nearer to a training record than to any of as many held-out ones",
                "near",
                0.5,
                {"fresh": fresh.value, "copies": copied.value},
            ),
        ),
        (_copied(own, floor), *_near(near, max(near_floor, calm), share, fresh)),
    )


def _copying(name: str, own: Estimate, about: str, floor: Estimate) -> Score:
    return Score.of(f"disclosure.{name}", own, about, "less", floor.value, {"fresh": floor.value, "copies": 1.0})


def _copied(own: Estimate, floor: Estimate) -> Finding:
    beside = f"{own.value:.2%} of synthetic records equal a training record, {floor.value:.2%} of held-out ones do"
    if own.low > floor.high:
        return Finding("leaks", f"Training records are copied: {beside}.")
    return Finding("private", f"There are no more copies than among real records: {beside}.")


def _near(near: Estimate, near_floor: Estimate, share: Estimate, fresh: Estimate) -> list[Finding]:
    """What is said of near copies, where there is something to say."""
    found = []
    if near.low > near_floor.high and near.value > 2 * near_floor.value:
        beside = f"{near_floor.value:.1%} of held-out ones do"
        text = f"{near.value:.1%} of synthetic records lie so near to a training record that only {beside}."
        found.append(Finding("leaks", text))
    if share.low > max(0.5, fresh.high) + 0.02:
        text = f"{share.value:.1%} of synthetic records are nearer to a training record than to a held-out one"
        found.append(Finding("leaks", f"{text} (50 % where nothing is copied)."))
    return found


def inference_section(
    records: Sides, tables: Tables, target: str | None, each: Progress, seed: int = 0, alike: bool = True
) -> Section:
    """Attribute inference, singling out and linkability, each minus the same on people who were not trained on.

    Args:
        records: in random order.
        tables: the same, in theirs.
        target: column whose inference is tried in any case.
        each: called with the share done.
        seed: of what is drawn.
        alike: whether training and held-out records are of one kind, without which no difference is a leak.
    """
    names, numeric = tables.features.names, tables.numeric
    geometry = Geometry(tables.features, tables.real.matrix)
    members, others, drawn = (
        side.take(np.s_[:n])
        for side, n in ((records.members, QUERIES), (records.others, QUERIES), (records.synthetic, SEARCHED))
    )
    points, rows = (members.points, others.points, drawn.points), (members.rows, others.rows, drawn.rows)
    scores, findings, found = [], [], dict[str, Success]()
    if len(names) > 1:
        secrets = _secrets(names, target)
        attacked = inference(secrets, geometry.columns, points, rows, numeric, lambda done: each(0.8 * done))
        inferred = {j: _together(s) for j, s in attacked.items()}
        worst = max(inferred, key=lambda j: inferred[j].excess.low)
        about = f"how much oftener {names[worst]!r} is inferred of training records than of held-out ones: the worst"
        scores.append(_excess("inference", inferred[worst], f"{about} of {len(inferred)} columns"))
        findings.append(_inferred(names, inferred))
        found |= {f"inference of {names[j]}": s for j, s in inferred.items()}
    n = min(len(records.members), len(records.others))
    sides = records.members.rows[:n], records.others.rows[:n], records.synthetic.rows
    alone = _together(singling_out(*sides, numeric, seed))
    about = "how much oftener a description of a synthetic row fits exactly one training row than one held-out row"
    scores.append(_excess("singling_out", alone, about))
    findings.append(_finding(alone, "Descriptions of synthetic rows single out training records"))
    found["singling out"] = alone
    if len(names) > 3:
        found["linkability"] = linked = _together(linkability(geometry.columns, points, len(names), seed))
        about = "how much oftener two halves of a training record are linked than those of a held-out one"
        scores.append(_excess("linkability", linked, about))
        findings.append(_finding(linked, "Two halves of a record are linked for training records"))
    each(1.0)
    extremes, said = _extremes(tables)
    findings = [*findings, *said] if alike else [_doubted(f) for f in (*findings, *said)]
    return Section(
        "inference",
        "Could an attacker learn something about a person?",
        "Three attacks: inferring a cell from all others, describing exactly one person, linking two partial records. "
        "What succeeds on people in no training data is knowledge of the world; only the difference is a leak.",
        (*scores, *extremes),
        tuple(findings),
        (
            Intervals(
                "Success on training records minus success on held-out ones",
                "difference",
                tuple(Interval(name, *s.excess, chance=0.0) for name, s in found.items()),
            ),
            Rows(
                "Success",
                ("attack", "training records", "held-out records", "difference"),
                tuple((name, s.members.value, s.others.value, s.excess.value) for name, s in found.items()),
            ),
        ),
    )


def _secrets(names: Sequence[str], target: str | None) -> list[int]:
    """Columns whose inference is tried: the target, and others evenly spread."""
    first = [names.index(target)] if target in names else []
    spread = np.linspace(0, len(names) - 1, min(SECRETS, len(names))).round().astype(int).tolist()
    return list(dict.fromkeys([*first, *spread]))[:SECRETS]


def _together(s: Success) -> Success:
    """The same with an interval that holds together with those of two other attacks."""
    value, low, high = s.excess
    return s._replace(excess=Estimate(value, value - WIDER * (value - low), value + WIDER * (high - value)))


def _excess(name: str, s: Success, about: str) -> Score:
    return Score.of(f"disclosure.{name}", s.excess, about, "less", 0.0, {"fresh": 0.0})


def _inferred(names: Sequence[str], found: Mapping[int, Success]) -> Finding:
    if leaking := [j for j, s in found.items() if s.leaks]:
        j = max(leaking, key=lambda j: found[j].excess.value)
        return _finding(found[j], f"{names[j]!r} is inferred for training records")
    cells = f"None of {len(found)} cells" if len(found) > 1 else "No cell"
    return Finding("private", f"{cells} is inferred oftener for training records than for held-out ones.")


def _finding(s: Success, what: str) -> Finding:
    figures = f"{s.members.value:.1%} against {s.others.value:.1%}"
    if s.leaks:
        return Finding("leaks", f"{what} oftener than for held-out ones ({figures}).")
    return Finding("private", f"{what} no oftener than for held-out ones ({figures}).")


def _doubted(finding: Finding) -> Finding:
    """The same where training and held-out records differ anyway."""
    if finding.kind != "leaks":
        return finding
    return Finding("unseen", f"{finding.text.removesuffix('.')}; but they differ in other ways, too.")


def _extremes(tables: Tables) -> tuple[list[Score], list[Finding]]:
    """Whether the least and greatest numbers of training rows are emitted exactly, where few hold them."""
    chances, least, there, named = list[float](), list[float](), list[bool](), list[str]()
    for j in np.flatnonzero(tables.numeric):
        x = tables.real.matrix[:, j]
        values, counts = np.unique(x[~np.isnan(x)], return_counts=True)
        n = max(OUTER, len(values) // OUTER)
        for some, held in ((values[:n], counts[:1]), (values[::-1][:n], counts[-1:])):
            if len(values) < 2 or held[0] >= FEW or (chance := _met(tables, j, some)) > MET:
                continue
            chances.append(chance)
            least.append(1 / (len(some) + 1))  # what was not met among so many values may still be met
            there.append(bool((tables.synthetic.matrix[:, j] == some[0]).any()))
            named += [tables.features.names[j]] if there[-1] and tables.features.names[j] not in named else []
    if not there:
        return [], []
    about = f"share of {len(there)} extremes held by fewer than {FEW} training records that synthetic ones emit exactly"
    floor, emitted = float(np.mean(chances)), sum(there)
    score = Score.of("disclosure.extremes", proportion(emitted, len(there)), about, "less", floor, {"fresh": floor})
    if _luck(np.maximum(chances, least), emitted) > LEVEL:
        return [score], []
    text = f"{emitted} of {len(there)} extremes that fewer than {FEW} training records hold are emitted exactly"
    return [score], [Finding("leaks", f"{text}: {listed(named)}.")]


def _met(tables: Tables, j: np.intp, outer: Matrix) -> float:
    """The chance that as many fresh rows as there are synthetic ones hold an extreme of column j exactly.

    Judged by how many of the outermost training values held-out rows hold: all ages, but no wages to the penny.
    """
    assert tables.holdout is not None
    held = np.isin(outer, tables.holdout.matrix[:, j])
    share = 1.0 if held[0] else float(held.mean())
    return float(1 - (1 - share) ** (len(tables.synthetic) / len(tables.holdout)))


def _luck(chances: Matrix, emitted: int) -> float:
    """The chance that at least so many of independent events happen."""
    found = np.ones(1)
    for p in chances:
        found = np.convolve(found, [1 - p, p])
    return float(found[emitted:].sum())
