"""Fidelity: how far synthetic rows are from real ones that no generator has seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from synthgen.data import Table
from synthgen.metrics.dependence import pair_distances
from synthgen.metrics.features import Features
from synthgen.metrics.score import Score
from synthgen.schema import Schema


def detection(reference: Table, rows: Table, schema: Schema, seed: int = 0) -> float:
    """AUC of boosted trees that tell `rows` from `reference`, at equal numbers, by three-fold cross-validation.

    0.5 is what cannot be told apart, 1 what always can.
    """
    features = Features(reference, schema)
    rng = np.random.default_rng(seed)
    n = min(len(reference), len(rows))
    parts = [features.matrix(t)[rng.permutation(len(t))[:n]] for t in (reference, rows)]
    label = np.repeat([1, 0], n)
    model = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed)
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    score = cross_val_predict(model, np.concatenate(parts), label, cv=folds, method="decision_function")
    return _auc(label, score)


def _auc(label: NDArray[np.int64], score: NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, score))


def column_distance(reference: Table, rows: Table, schema: Schema) -> dict[str, float]:
    """Distance of each column's distributions in [0, 1]: Kolmogorov–Smirnov, or total variation of labels.

    Missing cells count as a level of their own.
    """
    features = Features(reference, schema)
    a, b = features.matrix(reference), features.matrix(rows)
    return {
        name: _ks(a[:, j], b[:, j]) if features.numeric(name) else _variation(a[:, j], b[:, j])
        for j, name in enumerate(features.names)
    }


def _ks(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Largest gap between two distribution functions; missing cells lie below all numbers."""
    x, y = (np.sort(np.where(np.isnan(s), -np.inf, s)) for s in (a, b))
    grid = np.concatenate([x, y])
    below = [np.searchsorted(s, grid, side="right") / len(s) for s in (x, y)]
    return float(np.abs(below[0] - below[1]).max())


def _variation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    codes = [np.where(np.isnan(s), 0, s + 2).astype(np.int64) for s in (a, b)]  # missing, unknown, levels
    size = max(int(c.max(initial=0)) for c in codes) + 1
    p, q = (np.bincount(c, minlength=size) / max(1, len(c)) for c in codes)
    return float(0.5 * np.abs(p - q).sum())


def closeness(holdout: Table, synthetic: Table, fresh: Table, schema: Schema) -> list[Score]:
    """How close synthetic rows are to held-out ones, each figure beside that of other real rows.

    Args:
        holdout: real rows that the generator has not seen.
        synthetic: its rows.
        fresh: further real rows, for the floor.
        schema: of all three.
    """
    scores = [
        Score(
            "detection",
            detection(holdout, synthetic, schema),
            detection(holdout, fresh, schema),
            0.5,
            "AUC of boosted trees that tell synthetic rows from held-out real ones",
        )
    ]
    for name, distances, noun in (
        ("columns", column_distance, "columns"),
        ("pairs", pair_distances, "pairs of columns"),
    ):
        found, floor = (distances(holdout, table, schema) for table in (synthetic, fresh))
        if found:
            worst = max(found, key=lambda key: found[key] - floor[key])
            named = worst if isinstance(worst, str) else " and ".join(worst)
            value, least = (float(np.mean(list(d.values()))) for d in (found, floor))
            scores.append(Score(name, value, least, 0.0, f"mean distance of {noun}, of 1; farthest: {named}"))
    return scores
