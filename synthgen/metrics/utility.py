"""Utility: what models trained on synthetic rows are worth on real ones, beside models trained on real rows."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from synthgen.metrics.features import learnable
from synthgen.metrics.statistics import Estimate, placements, spread

Matrix = NDArray[np.float64]

TRAINED = 50_000  # rows, at most
TESTED = 20_000
SAMPLES = 50  # of the bootstrap
COUNTED = 10  # test rows of a class whose AUC counts in the mean


class Task(NamedTuple):
    """What is predicted.

    Args:
        column: index of the target.
        classes: its labels, or none for a number.
        centre: mean of a number among real rows.
        scale: its deviation.
    """

    column: int
    classes: tuple[str, ...]
    centre: float = 0.0
    scale: float = 1.0


class Result(NamedTuple):
    """A model's figure on real test rows; `by_class` has that of each class, NaN where it has none."""

    figure: Estimate
    by_class: Matrix


def known(task: Task, rows: Matrix) -> Matrix:
    """Rows whose target is known: not missing, and one of the classes."""
    y = rows[:, task.column]
    return rows[(y >= 0) & (y < len(task.classes))] if task.classes else rows[~np.isnan(y)]


def evaluate(task: Task, kind: str, train: tuple[Matrix, Matrix], test: tuple[Matrix, Matrix], seed: int = 0) -> Result:
    """Train a model on some rows and test it on others.

    Classes: area under the ROC curve, of each class against the rest, averaged over those of ten rows. Numbers:
    root mean squared error in deviations of the real target.

    Args:
        task: what is predicted.
        kind: "boosted" or "linear".
        train: inputs (n, d) and target (n,).
        test: the same of real rows.
        seed: of model and bootstrap.
    """
    (x, y), (xt, yt) = train, test
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(x))[:TRAINED]
    x, y, judged = x[some], y[some], rng.permutation(len(xt))[:TESTED]
    xt, yt = xt[judged], yt[judged]
    if not task.classes:
        error = (_predict(kind, x, (y - task.centre) / task.scale, xt) - (yt - task.centre) / task.scale) ** 2
        samples = [float(np.sqrt(error[rng.integers(0, len(error), len(error))].mean())) for _ in range(SAMPLES)]
        return Result(spread(samples, float(np.sqrt(error.mean()))), np.empty(0))
    chances = _chances(kind, x, y.astype(int), xt, len(task.classes))
    by_class, counts = _class_aucs(chances, yt), np.bincount(yt.astype(int), minlength=len(task.classes))
    counted = counts >= min(COUNTED, counts.max())  # the AUC of a class that two rows hold is luck
    draws = (rng.integers(0, len(yt), len(yt)) for _ in range(SAMPLES))
    samples = [_mean(_class_aucs(chances[i], yt[i])[counted]) for i in draws]
    return Result(spread(samples, _mean(by_class[counted])), by_class)


def _mean(by_class: Matrix) -> float:
    return float(np.nanmean(by_class)) if np.isfinite(by_class).any() else 0.5


def _predict(kind: str, x: Matrix, y: Matrix, xt: Matrix) -> Matrix:
    boosted = HistGradientBoostingRegressor(
        max_iter=200, max_leaf_nodes=_leaves(len(x)), early_stopping=False, random_state=0
    )
    model = boosted if kind == "boosted" else make_pipeline(StandardScaler(), Ridge())
    return np.asarray(model.fit(learnable(x), y).predict(xt))


def _leaves(n: int) -> int:
    """Leaves of a tree fitted on n rows: large trees learn few rows by heart."""
    return int(np.clip(n // 150, 4, 31))


def _chances(kind: str, x: Matrix, y: NDArray[np.int64], xt: Matrix, classes: int) -> Matrix:
    """Probability (n, classes) of each class; 0 for those that the training rows lack."""
    chances = np.zeros((len(xt), classes))
    held = np.unique(y)
    if len(held) < 2:  # nothing to learn
        chances[:, held] = 1.0
        return chances
    # several classes grow a tree each: fewer rounds for the same work
    rounds = 200 if len(held) == 2 else max(30, 400 // len(held))
    # without a penalty the leaves of a class that few rows hold diverge, and all probabilities with them
    boosted = HistGradientBoostingClassifier(
        max_iter=rounds, max_leaf_nodes=_leaves(len(x)), l2_regularization=1.0, early_stopping=False, random_state=0
    )
    model = boosted if kind == "boosted" else make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        chances[:, held] = model.fit(learnable(x), y).predict_proba(xt)
    return chances


def _class_aucs(chances: Matrix, y: Matrix) -> Matrix:
    """Area under the ROC curve of each class against the rest; of two classes both are the same."""
    found = np.full(chances.shape[1], np.nan)
    for k in range(chances.shape[1]):
        if 0 < (is_k := y == k).sum() < len(y):
            found[k] = placements(chances[is_k, k], chances[~is_k, k])[0].mean()
    return found
