"""Dependence in a report on tables: what columns have in common, and rules that hold in every real row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics import structure
from synthgen.metrics.dependence import PAIRS, TRIPLES, Bins, distances, pairs_of, triples_of
from synthgen.metrics.score import Score
from synthgen.metrics.statistics import Estimate, spread
from synthgen.report.blocks import Block, Finding, Heat, Rows, Section, listed
from synthgen.report.floors import Floors
from synthgen.report.inputs import Tables

Matrix = NDArray[np.float64]
Codes = NDArray[np.int64]

RESAMPLED = 20  # bootstrap samples of a distance
SPREAD_OVER = 300  # pairs whose resampled distances stand for all
HEATED = 40  # columns of the heat map


def dependence_section(tables: Tables, rows: Floors) -> Section:
    """How far pairs and triples of columns are from real ones."""
    names, found, scores = tables.features.names, dict[str, dict[str, Matrix]](), list[Score]()
    for noun, parts, groups in (
        ("pairs", PAIRS, pairs_of(len(names))),
        ("triples", TRIPLES, triples_of(len(names))),
    ):
        if not groups:
            continue
        binned = Bins(tables.real.matrix, tables.numeric, *parts)
        reference, codes = binned(rows.reference), {name: binned(x) for name, x in rows.compared().items()}
        found[noun] = {name: distances(reference, x, groups) for name, x in codes.items()}
        mean = {name: float(d.mean()) for name, d in found[noun].items()}
        interval = _resampled(reference, codes["value"], groups, mean["value"])
        about = f"mean distance of the joint distribution of {noun} of columns, on bins that all share"
        scores.append(Score.of(f"fidelity.{noun}", interval, about, "less", 0.0, mean, headline=noun == "pairs"))
    if not scores:
        return Section("dependences", "Columns together", "There is one column only.")
    return Section(
        "dependences",
        "Columns together",
        "Total variation of the joint distribution of two or three columns, on bins fixed by the real rows. What "
        "independent columns lose shows here.",
        tuple(scores),
        (_together(scores[0], names, found["pairs"]),),
        _pair_blocks(names, found["pairs"]),
    )


def _resampled(a: Codes, b: Codes, groups: Sequence[tuple[int, ...]], value: float) -> Estimate:
    """A mean distance with an interval from resampling both sets of rows; some groups stand for all."""
    rng, n = np.random.default_rng(0), len(a)
    some = [groups[i] for i in rng.permutation(len(groups))[:SPREAD_OVER]]
    draws = ((a[rng.integers(0, n, n)], b[rng.integers(0, n, n)]) for _ in range(RESAMPLED))
    return spread([float(distances(x, y, some).mean()) for x, y in draws], value)


def _together(score: Score, names: Sequence[str], found: dict[str, Matrix]) -> Finding:
    assert score.fresh is not None
    assert score.independent is not None
    assert score.low is not None
    lost = (score.value - score.fresh) / max(score.independent - score.fresh, 1e-9)
    over = found["value"] - found["fresh"]
    groups = pairs_of(len(names))
    worst = [groups[i] for i in np.argsort(-over)[:3] if over[i] > 0.02]
    named = ", ".join(f"{names[i]!r} with {names[j]!r}" for i, j in worst)
    floors = f"fresh real rows {score.fresh:.3f}, independent columns {score.independent:.3f}"
    beside = f"mean distance {score.value:.3f}; {floors}"
    if score.independent - score.fresh < 0.01:
        return Finding("faithful", f"The columns hardly depend on each other, so pairs say little ({beside}).")
    if lost < 0.2:
        end = f" Farthest: {named}." if worst else ""
        return Finding("faithful", f"Pairs of columns go together as in real rows ({beside}).{end}")
    if score.low <= score.fresh:
        text = "Pairs of columns go together as in real rows, as far as so few rows can show"
        return Finding("faithful", f"{text} ({beside}).")
    part = "Some" if lost < 0.5 else "Most" if lost < 0.9 else "Nearly all"
    return Finding(
        "differs",
        f"{part} of what pairs of columns have in common is lost ({beside}): {named or 'everywhere a little'}.",
    )


def _pair_blocks(names: Sequence[str], found: dict[str, Matrix]) -> tuple[Block, ...]:
    """The worst pairs in a table, and all of the worst columns in a picture."""
    groups, over = pairs_of(len(names)), found["value"] - found["fresh"]
    worst = np.argsort(-over)[:15]
    listed = tuple(
        (names[groups[i][0]], names[groups[i][1]], *(float(found[k][i]) for k in ("value", "fresh", "independent")))
        for i in worst
    )
    square = np.full((len(names), len(names)), np.nan)
    for (i, j), excess in zip(groups, over, strict=True):
        square[i, j] = square[j, i] = max(0.0, excess)
    kept = np.sort(np.argsort(-np.nan_to_num(square).sum(axis=0), kind="stable")[:HEATED])
    heat = Heat(
        "Distance of pairs beyond that of fresh real rows",
        tuple(names[i] for i in kept),
        tuple(tuple(map(float, row)) for row in square[np.ix_(kept, kept)]),
        most=float(max(0.1, np.nanmax(square))),
        about="" if len(kept) == len(names) else f"The {HEATED} columns that are farthest, of {len(names)}.",
    )
    header = ("column", "with", "distance", "fresh real", "independent")
    return Rows("Worst pairs", header, listed), heat


def structure_section(tables: Tables, rows: Floors) -> Section | None:
    """Dependences and orders that hold in the real rows, and how many synthetic rows break them."""
    rules = structure.find(tables.features.names, structure.units(tables.features), tables.real.matrix)
    if not rules:
        return None
    unseen = tables.holdout.matrix if tables.holdout else rows.fresh
    shares = [Broken(r, *(structure.broken(r, x) for x in (tables.synthetic.matrix, unseen))) for r in rules]
    shares.sort(key=lambda b: b.held_out - b.synthetic)
    worst = max(shares, key=lambda b: b.synthetic)
    about = "share of synthetic rows that break a rule of the real rows: that of the rule broken most"
    floors = {"fresh": worst.held_out, "independent": worst.rule.independent}
    return Section(
        "rules",
        "Rules of the real rows",
        "Columns that determine others, and orders of numbers and dates, found in the real rows. Rules that matter can "
        "be declared in a schema; generators then hold them in every row.",
        (Score.of("fidelity.rules", worst.synthetic, about, "less", 0.0, floors),),
        (_kept(shares),),
        (
            Rows(
                "Rules, and the share of rows that break them",
                ("rule", "synthetic", "held-out real", "independent columns"),
                tuple((b.rule.text, b.synthetic, b.held_out, b.rule.independent) for b in shares),
            ),
        ),
    )


class Broken(NamedTuple):
    """A rule, and the shares of rows that break it."""

    rule: structure.Rule
    synthetic: float
    held_out: float


def _kept(shares: Sequence[Broken]) -> Finding:
    """Which rules are broken by more than a few."""
    bad = [b for b in shares if b.synthetic > max(2 * b.held_out, 0.001)]
    if not bad:
        return Finding(
            "faithful", f"All rules that were found in the real rows ({len(shares)}) hold in synthetic ones."
        )
    named = listed([f"{b.rule.text} (broken by {b.synthetic:.1%})" for b in bad], 3, quote=False)
    return Finding("differs", f"{len(bad)} of {len(shares)} rules that hold in the real rows are broken: {named}.")
