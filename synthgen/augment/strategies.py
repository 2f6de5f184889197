"""Strategies: what can be done about a rare class before a model is trained, besides drawing from a generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.augment.labelled import Ints, Labelled
from synthgen.baselines import smote
from synthgen.data import Images, Table

NOTHING, SYNTHGEN = "nothing", "synthgen"

Add = Callable[[Labelled, Ints, int], Labelled | None]


class Strategy(NamedTuple):
    """One way.

    Args:
        name: what it is called.
        add: from records to train on, the number to add to each class, and a seed, the records that are added.
        weighted: whether records weigh as much as makes all classes equal.
    """

    name: str
    add: Add
    weighted: bool = False


def others(known: Labelled) -> list[Strategy]:
    """What a generator has to beat."""
    found = [Strategy(NOTHING, _none), Strategy("class weights", _none, True), Strategy("duplication", duplicates)]
    return found if isinstance(known.data, Images) else [*found, Strategy("SMOTE", between_neighbours)]


def class_weights(y: Ints, classes: int) -> NDArray[np.float64]:
    """Weights (n,) of mean 1 that give every class that occurs the same sum."""
    counts = np.bincount(y, minlength=classes)
    return len(y) / ((counts > 0).sum() * counts[y])


def _none(known: Labelled, counts: Ints, seed: int) -> None:
    return None


def duplicates(known: Labelled, counts: Ints, seed: int) -> Labelled | None:
    """Records of each class again, drawn with replacement."""
    rng = np.random.default_rng([seed, 3])
    rows = [rng.choice(np.flatnonzero(known.y == k), n) for k, n in enumerate(counts) if n]
    return known.part(np.concatenate(rows)) if rows else None


def between_neighbours(known: Labelled, counts: Ints, seed: int) -> Labelled | None:
    """Rows between one of a class and one of its five nearest of that class; labels are those of the nearer end."""
    parts: list[Any] = []
    for k, n in enumerate(counts):
        if n:
            own = known.part(np.flatnonzero(known.y == k)).data
            parts.append(smote(own, int(n), seed))
    if not parts:
        return None
    return known._replace(data=Table.join(parts), y=np.repeat(np.arange(len(counts)), counts))
