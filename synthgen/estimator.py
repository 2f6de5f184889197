"""Estimator: what scikit-learn asks of an object before it clones it, sets its parameters and compares its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self

import numpy as np

from synthgen.data import Dataset, Table, as_table
from synthgen.errors import SynthgenError

LEAST = 30  # records that a score is taken on: fewer tell nothing
JUDGED = 10_000  # records at most


class _Draws(Protocol):
    """What a score is taken of."""

    @property
    def codec(self) -> Any: ...

    @property
    def stream(self) -> Callable[[int], Iterator[Dataset]]: ...


class Estimator:
    """A synthesizer's parameters and score, by scikit-learn's names: for `clone`, `GridSearchCV`, pipelines.

    scikit-learn itself is only loaded when it is used.
    """

    _parameters: dict[str, Any]  # as they were handed in: `clone` compares identities

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments that it was made with, and the generator's settings; none has parameters in turn (`deep`)."""
        return dict(self._parameters)

    def set_params(self, **params: Any) -> Self:
        """Make it anew with some arguments changed; it is then to be fitted again.

        Raises:
            SynthgenError: as on making it, such as for a setting that the generator does not have.
        """
        if params:
            vars(self).update(vars(type(self)(**{**self._parameters, **params})))
        return self

    def score(self: _Draws, X: Any, y: None = None) -> float:
        """How hard generated rows are to tell from real ones, 0 to 1: 1 is not at all, 0 is always.

        This is 1 - (2 max(AUC, 0.5) - 1), with the AUC of boosted trees that tell as many generated rows from those
        given, by three-fold cross-validation: a classifier two-sample test (Lopez-Paz and Oquab, Revisiting classifier
        two-sample tests, 2017). It means something on rows that were not fitted on. About a second per 5000 rows.

        Args:
            X: a table with the columns that were fitted on; at most 10 000 of its rows are looked at.
            y: ignored; scikit-learn passes it.

        Raises:
            SynthgenError: nothing or images are fitted, columns are missing, or there are fewer than 30 rows.
        """
        from synthgen.metrics.features import Features
        from synthgen.metrics.fidelity import detection

        if self.codec.kind != "table":
            raise SynthgenError("images have no score; judge them with: synthgen report REAL SYNTHETIC")
        held = as_table(X)
        self.codec.check(held)
        if len(held) < LEAST:
            raise SynthgenError(f"there are {len(held)} rows; at least {LEAST} are needed for a score")
        if len(held) > JUDGED:
            held = held.take(np.sort(np.random.default_rng(0).permutation(len(held))[:JUDGED]))
        features = Features(held, self.codec.dataset_schema)
        drawn = [features.matrix(part) for part in self.stream(len(held)) if isinstance(part, Table)]
        auc = detection(features.matrix(held), np.concatenate(drawn)).auc.value
        return 2 - 2 * max(auc, 0.5)

    def __sklearn_tags__(self) -> Any:
        from sklearn.base import BaseEstimator

        return BaseEstimator().__sklearn_tags__()
