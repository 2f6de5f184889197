"""Fidelity: how far synthetic rows are from real ones that no generator has seen.

Rows are features (n, columns), as `Features.matrix` gives them: NaN where missing, codes of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_curve
from sklearn.model_selection import StratifiedKFold

from synthgen.metrics.features import learnable
from synthgen.metrics.statistics import Estimate, auc

Matrix = NDArray[np.float64]

FOLDS = 3
ROUNDS = 200  # of boosting: half as many miss what others see
JUDGED = 3000  # rows on which importances are measured
TAIL = 0.01


class Detection(NamedTuple):
    """How well two sets of rows can be told apart: AUC, scores by fold, and what gives the second away.

    `importances` says for each column how much of the AUC goes when its cells are shuffled.
    """

    auc: Estimate
    real: list[Matrix]
    drawn: list[Matrix]
    importances: Matrix


def detection(reference: Matrix, rows: Matrix, seed: int = 0, folds: int = FOLDS) -> Detection:
    """Tell `rows` from real ones by boosted trees, at equal numbers, by three-fold cross-validation.

    An AUC of 0.5 is what cannot be told apart, 1 what always can.

    Args:
        reference: features (n, columns) of real rows that no generator has seen.
        rows: features (m, columns).
        seed: of the choice of rows and of the trees.
        folds: how many of the three are used.
    """
    rng = np.random.default_rng(seed)
    n = min(len(reference), len(rows))
    if n < FOLDS:
        return Detection(Estimate(0.5, 0.0, 1.0), [], [], np.zeros(reference.shape[1]))
    x = np.concatenate([part[rng.permutation(len(part))[:n]] for part in (reference, rows)])
    drawn = np.repeat([0, 1], n)
    parts = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, drawn))[:folds]
    real_scores, drawn_scores, importances = [], [], np.zeros(x.shape[1])
    for place, (fitted, judged) in enumerate(parts):
        model = HistGradientBoostingClassifier(max_iter=ROUNDS, early_stopping=False, random_state=seed)
        model.fit(learnable(x[fitted]), drawn[fitted])
        score = model.decision_function(x[judged])
        real_scores.append(score[drawn[judged] == 0])
        drawn_scores.append(score[drawn[judged] == 1])
        if place == 0:
            some = rng.permutation(judged)[:JUDGED]
            importances = _importances(model, x[some], drawn[some] == 1, rng)
    return Detection(auc(drawn_scores, real_scores), real_scores, drawn_scores, importances)


def _importances(
    model: HistGradientBoostingClassifier, x: Matrix, drawn: NDArray[np.bool_], rng: np.random.Generator
) -> Matrix:
    """How much of the AUC goes when the cells of a column are shuffled (Breiman 2001)."""

    def found(rows: Matrix) -> float:
        score = model.decision_function(rows)
        return auc([score[drawn]], [score[~drawn]]).value

    whole, drops = found(x), np.zeros(x.shape[1])
    for j in range(x.shape[1]):
        shuffled = x.copy()
        shuffled[:, j] = rng.permutation(x[:, j])
        drops[j] = whole - found(shuffled)
    return drops


def roc(detection: Detection, points: int = 101) -> tuple[Matrix, Matrix]:
    """False and true positive rates (points,) of a detector, averaged over its folds."""
    at = np.linspace(0, 1, points)
    rates = []
    for real, drawn in zip(detection.real, detection.drawn, strict=True):
        false, found, _ = roc_curve(np.repeat([0, 1], [len(real), len(drawn)]), np.concatenate([real, drawn]))
        rates.append(np.interp(at, false, found))  # ties make a slope, not a step
    true = np.mean(rates, axis=0) if rates else at
    true[0] = 0
    return at, true


def column_distances(numeric: Sequence[bool], a: Matrix, b: Matrix) -> Matrix:
    """Distance (columns,) of each column's distributions in [0, 1]: Kolmogorov–Smirnov, or total variation of labels.

    Missing cells count as a level of their own.

    Args:
        numeric: which columns hold numbers.
        a: features (n, columns).
        b: features (m, columns).
    """
    return np.array([(_ks if number else _variation)(a[:, j], b[:, j]) for j, number in enumerate(numeric)])


def _ks(a: Matrix, b: Matrix) -> float:
    """Largest gap between two distribution functions; missing cells lie below all numbers."""
    x, y = (np.sort(np.where(np.isnan(s), -np.inf, s)) for s in (a, b))
    grid = np.concatenate([x, y])
    below = [np.searchsorted(s, grid, side="right") / len(s) for s in (x, y)]
    return float(np.abs(below[0] - below[1]).max())


def _variation(a: Matrix, b: Matrix) -> float:
    codes = [np.where(np.isnan(s), 0, s + 2).astype(np.int64) for s in (a, b)]  # missing, unknown, levels
    size = max(int(c.max(initial=0)) for c in codes) + 1
    p, q = (np.bincount(c, minlength=size) / max(1, len(c)) for c in codes)
    return float(0.5 * np.abs(p - q).sum())


def tail_error(numeric: Sequence[bool], real: Matrix, reference: Matrix, rows: Matrix) -> Matrix:
    """How wrong the mass of both tails of each number is, relative to that of real rows: (columns,), NaN for labels.

    0 is right, 1 is tails that are missing or twice as heavy; a tail lies beyond the 1 % or 99 % quantile of `real`.
    """
    errors = np.full(len(numeric), np.nan)
    for j in np.flatnonzero(numeric):
        x = real[~np.isnan(real[:, j]), j]
        if not len(x):
            continue
        low, high = np.quantile(x, [TAIL, 1 - TAIL])
        masses = [np.array([(t[:, j] < low).mean(), (t[:, j] > high).mean()]) for t in (reference, rows)]
        if masses[0].sum() > 0:
            errors[j] = np.abs(masses[0] - masses[1]).sum() / masses[0].sum()
    return errors


def rare_labels(numeric: Sequence[bool], real: Matrix, least: int, most: float = 0.01) -> list[tuple[int, float]]:
    """Labels (column, code) that at least `least` but less than a share `most` of real rows hold."""
    found = []
    for j in np.flatnonzero(~np.asarray(numeric, dtype=bool)):
        codes, counts = np.unique(real[:, j][real[:, j] >= 0], return_counts=True)
        found += [(int(j), float(c)) for c, n in zip(codes, counts, strict=True) if least <= n < most * len(real)]
    return found


def present(labels: Sequence[tuple[int, float]], rows: Matrix) -> int:
    """How many of the labels (column, code) occur in rows."""
    held = {j: set(np.unique(rows[:, j])) for j in {j for j, _ in labels}}
    return sum(code in held[j] for j, code in labels)
