"""Fidelity of tables: where synthetic rows differ from real ones, and what gives them away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.fidelity import Detection, column_distances, detection, present, rare_labels, roc, tail_error
from synthgen.metrics.score import Score
from synthgen.metrics.statistics import LEVEL, Estimate, proportion, spread
from synthgen.report.blocks import Block, Finding, Lines, Rows, Section, Series, listed
from synthgen.report.columns import column_block, column_shares
from synthgen.report.floors import Floors
from synthgen.report.inputs import Tables

Matrix = NDArray[np.float64]
Progress = Callable[[float], None]

RESAMPLED = 20  # bootstrap samples of a distance
SHOWN = 12  # columns with a picture
NOTABLE = 0.005  # of an AUC: what a column must give away to be named
RARE = 5
VISIBLE = 0.02  # beyond its floor, a distance of a column that a person would see


def detection_section(tables: Tables, rows: Floors, each: Progress) -> Section:
    """How well boosted trees tell synthetic from real rows, and by what."""
    names, found = tables.features.names, dict[str, Detection]()
    for i, (name, drawn) in enumerate(rows.compared().items()):
        # what fresh rows get is the floor and as exact as the value; the others only show the scale
        found[name] = detection(rows.reference, drawn, folds=3 if name in ("value", "fresh") else 1)
        each((i + 1) / len(rows.compared()))
    auc, floor = found["value"].auc, found["fresh"].auc
    about = "AUC with which boosted trees tell synthetic from held-out real rows"
    floors = {k: d.auc.value for k, d in found.items()}
    score = Score.of("fidelity.detection", auc, about, "near", 0.5, floors, headline=True)
    order = np.argsort(-found["value"].importances, kind="stable")[:3]
    importances = found["value"].importances
    given_away = [(names[j], float(importances[j])) for j in order if importances[j] > NOTABLE]
    curves = tuple(
        Series(text, *(tuple(map(float, axis)) for axis in roc(found[name])))
        for text, name in (("synthetic", "value"), ("fresh real", "fresh"), ("independent columns", "independent"))
    )
    blocks: list[Block] = [
        Lines("Detector: ROC curves", "real rows taken for synthetic", "synthetic rows recognised", curves)
    ]
    if given_away:
        blocks.append(
            Rows(
                "What gave synthetic rows away",
                ("column", "AUC lost when its cells are shuffled"),
                tuple(given_away),
                "The three columns to look at first.",
            )
        )
    return Section(
        "detection",
        "Can synthetic rows be told from real ones?",
        "Boosted trees learn to tell synthetic rows from held-out real ones, and are tested on others. An AUC of 0.5 "
        "is what cannot be told apart; what as many fresh real rows get is the best that anyone could ask for.",
        (score,),
        (_told(auc, floor, given_away),),
        tuple(blocks),
    )


def _told(auc: Estimate, floor: Estimate, columns: Sequence[tuple[str, float]]) -> Finding:
    by = f", most of all by {' and '.join(repr(name) for name, _ in columns)}" if columns else ""
    beside = f"AUC {auc.value:.3f}, fresh real rows {floor.value:.3f}"
    over = auc.value - max(0.5, floor.value)
    if over < 0.02 or auc.low <= floor.high:
        return Finding("faithful", f"Row by row, boosted trees can hardly tell synthetic from real rows ({beside}).")
    if over < 0.07:
        return Finding(
            "faithful", f"Boosted trees tell synthetic from real rows a little better than by chance ({beside}){by}."
        )
    many = "some" if over < 0.15 else "many" if over < 0.35 else "nearly all"
    return Finding("differs", f"Boosted trees tell {many} synthetic rows from real ones ({beside}){by}.")


def column_section(tables: Tables, rows: Floors, chosen: Sequence[str]) -> Section:
    """How far each column is from the real one."""
    numeric, names = tables.numeric, tables.features.names
    found = {name: column_distances(numeric, rows.reference, x) for name, x in rows.compared().items()}
    interval = _resampled(rows, lambda a, b: float(column_distances(numeric, a, b).mean()))
    about = "mean distance of a column's distribution from the real one (Kolmogorov–Smirnov, total variation of labels)"
    floors = {k: float(d.mean()) for k, d in found.items()}
    scores = [Score.of("fidelity.columns", interval, about, "less", 0.0, floors)]
    scores += _tails(tables, rows) + _rare(tables, rows)
    over = found["value"] - found["fresh"]
    order = np.argsort(-over)
    far = [names[j] for j in order if over[j] > _visible(len(rows.reference), len(names))]
    table, lost = column_block(tables, found["value"], found["fresh"])
    shown = list(dict.fromkeys([*chosen, *(names[j] for j in order[:SHOWN])]))
    most = (found[k].max() for k in ("value", "fresh"))
    right = "Each column on its own is close to the real one (largest distance {:.3f}; fresh real rows {:.3f})."
    wrong = f"{len(far)} of {len(names)} columns differ visibly on their own: {listed(far)}."
    findings = [Finding("differs", wrong) if far else Finding("faithful", right.format(*most)), *lost]
    return Section(
        "columns",
        "Column by column",
        "Distances lie between 0 and 1; fresh real rows show what chance alone makes of them. Independent columns pass "
        "here by construction: this is necessary, not sufficient.",
        tuple(scores),
        tuple(findings),
        (*table, *column_shares(tables, shown)),
    )


def _resampled(rows: Floors, distance: Callable[[Matrix, Matrix], float]) -> Estimate:
    """A distance of synthetic from real rows, with an interval from resampling both."""
    rng, n = np.random.default_rng(0), len(rows.reference)
    samples = [
        distance(rows.reference[rng.integers(0, n, n)], rows.synthetic[rng.integers(0, n, n)]) for _ in range(RESAMPLED)
    ]
    return spread(samples, distance(rows.reference, rows.synthetic))


def _visible(n: int, columns: int) -> float:
    """From how far beyond its floor a distance is visible, and no luck: of n rows, with so many columns looked at.

    The limit of Kolmogorov and Smirnov at level 0.05 / columns, less the mean distance of two equal samples.
    """
    return max(VISIBLE, float(np.sqrt(2 / n) * (np.sqrt(np.log(2 * columns / LEVEL) / 2) - 0.87)))


def _tails(tables: Tables, rows: Floors) -> list[Score]:
    def mean(x: Matrix) -> float:
        errors = tail_error(tables.numeric, tables.real.matrix, rows.reference, x)
        return float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan")

    found = {name: mean(x) for name, x in rows.compared().items()}
    if np.isnan(found["value"]):
        return []
    about = "error of the mass beyond the 1 % and 99 % quantiles of numbers, relative to what is there"
    return [Score.of("fidelity.tails", found["value"], about, "less", 0.0, found)]


def _rare(tables: Tables, rows: Floors) -> list[Score]:
    """Labels that few rows hold: how many of them still occur."""
    labels = rare_labels(tables.numeric, tables.real.matrix, RARE)
    if not labels:
        return []
    held = {name: proportion(present(labels, x), len(labels)) for name, x in rows.compared().items()}
    about = f"share of {len(labels)} rare labels (5 rows, below 1 %) that occur among {len(rows.synthetic)} rows"
    floors = {k: e.value for k, e in held.items()}
    return [Score.of("fidelity.rare_labels", held["value"], about, "more", 1.0, floors)]
