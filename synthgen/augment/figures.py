"""Figures: what probabilities of classes are worth on records that no model has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from synthgen.augment.labelled import Ints

Floats = NDArray[np.float64]

EDGE = 1e-6  # probabilities nearer to 0 or 1 count as this near to it where they are calibrated
STEPS = 50


class Figure(NamedTuple):
    """A figure: its name in JSON and in tables, its range, and whether a verdict rests on it."""

    key: str
    name: str
    bounds: tuple[float, float] = (float("-inf"), float("inf"))
    decides: bool = False


FIGURES = (
    Figure("roc_auc", "ROC AUC", (0.0, 1.0), True),
    Figure("average_precision", "average precision", (0.0, 1.0), True),
    Figure("log_loss", "log-loss", (0.0, float("inf"))),
    Figure("calibration_slope", "slope"),
    Figure("calibration_intercept", "intercept"),
)


def figures(y: Ints, chances: Floats, scored: Sequence[int]) -> dict[str, float]:
    """All figures of one model on test records; NaN where the records do not determine one.

    Of two classes, those of the rarer one. Of more, the mean over classes, each against the rest; the intercept's
    absolute value is averaged, which would cancel otherwise. Slope and intercept of calibration are those of Cox
    (1958): 1 and 0 are ideal, a slope below 1 means probabilities that are too extreme, an intercept below 0 ones
    that are too high.

    Args:
        y: classes (n,).
        chances: probability (n, classes) of each.
        scored: the classes that are averaged over; one of two.
    """
    held = [k for k in scored if 0 < (y == k).sum() < len(y)]
    by_class = [(y == k, chances[:, k]) for k in held]
    size = abs if len(scored) > 1 else float
    return {
        "roc_auc": _mean([roc_auc_score(is_k, p) for is_k, p in by_class]),
        "average_precision": _mean([average_precision_score(is_k, p) for is_k, p in by_class]),
        "log_loss": float(log_loss(y, chances, labels=np.arange(chances.shape[1]))),
        "calibration_slope": _mean([slope(is_k, p) for is_k, p in by_class]),
        "calibration_intercept": _mean([size(intercept(is_k, p)) for is_k, p in by_class]),
    }


def _mean(values: list[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")


def slope(y: NDArray[np.bool_], p: Floats) -> float:
    """The slope b of P(y) = expit(a + b logit(p)), by maximum likelihood; NaN where there is no maximum."""
    z = logit(np.clip(p, EDGE, 1 - EDGE))
    if np.ptp(z) < 1e-9:
        return float("nan")
    x = np.stack([np.ones_like(z), z - z.mean()], axis=1)
    found = np.array([float(logit(y.mean())), 0.0])
    for _ in range(STEPS):  # Newton's
        q = expit(x @ found)
        curvature = x.T @ (x * (q * (1 - q))[:, None])
        if np.linalg.cond(curvature) > 1e12:
            return float("nan")  # the classes are separated
        move = np.linalg.solve(curvature, x.T @ (y - q))
        found = found + move
        if np.abs(move).max() < 1e-8:
            return float(found[1])
    return float("nan")


def intercept(y: NDArray[np.bool_], p: Floats) -> float:
    """The intercept a of P(y) = expit(a + logit(p)): how far the log-odds are too low on the whole."""
    z = logit(np.clip(p, EDGE, 1 - EDGE))
    return float(brentq(lambda a: expit(z + a).mean() - y.mean(), -40.0, 40.0))
