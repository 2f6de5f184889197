"""Learners: models that are trained on records with those that were added, and predict others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from synthgen.augment.labelled import Labelled
from synthgen.augment.strategies import class_weights
from synthgen.data import Dataset, Images, Table
from synthgen.metrics.classifier import train_classifier
from synthgen.metrics.features import Features

Floats = NDArray[np.float64]
Heed = Callable[[float], None]

BOOSTED, LINEAR, NETWORK = "boosted trees", "logistic regression", "small network"
ROUNDS = 200
STEPS = 300  # of the network: five seconds


class TableLearners:
    """Boosted trees and logistic regression, on columns as the training rows have them.

    What is added changes neither the inputs nor the size of the trees: strategies differ in nothing else.
    """

    names: ClassVar = (BOOSTED, LINEAR)

    def __init__(self, train: Labelled, test: Labelled) -> None:
        assert isinstance(train.data, Table)
        self.train = train
        self.features = Features(train.data, train.data.schema.drop([train.target]))
        self.dead: Any = False  # columns without a value, which trees refuse
        self.dead = np.isnan(self._matrix(train.data)).all(axis=0)
        self.x, self.tested = (self._matrix(part.data) for part in (train, test))
        self.standard = self._standardised().fit(self.x)

    def predict(self, name: str, added: Labelled | None, weighted: bool, seed: int, heed: Heed) -> Floats:
        """Probabilities (n, classes) of the test rows, 0 for a class that no row to train on has."""
        x = self.x if added is None else np.concatenate([self.x, self._matrix(added.data)])
        y = self.train.y if added is None else np.concatenate([self.train.y, added.y])
        model = self._boosted(seed) if name == BOOSTED else LogisticRegression(max_iter=500)
        seen = np.asarray if name == BOOSTED else self.standard.transform
        weights = class_weights(y, len(self.train.classes)) if weighted else None
        chances = np.zeros((len(self.tested), len(self.train.classes)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            chances[:, np.unique(y)] = model.fit(seen(x), y, weights).predict_proba(seen(self.tested))
        return chances

    def _matrix(self, data: Dataset) -> Floats:
        assert isinstance(data, Table)
        rows = self.features.matrix(data)
        return np.where(self.dead, 0.0, np.where(np.isfinite(rows), rows, np.nan))

    def _boosted(self, seed: int) -> Any:
        leaves = int(np.clip(len(self.x) // 150, 4, 31))  # large trees learn few rows by heart
        held = (self.train.counts > 0).sum()
        rounds = ROUNDS if held == 2 else max(30, 2 * ROUNDS // held)  # of several classes each grows a tree
        # without a penalty the leaves of a class that few rows hold diverge, and all probabilities with them
        return HistGradientBoostingClassifier(
            max_iter=rounds, max_leaf_nodes=leaves, l2_regularization=1.0, early_stopping=False, random_state=seed
        )

    def _standardised(self) -> Any:
        """Numbers in deviations, with whether they are missing; labels one by one."""
        numbers = np.array([self.features.numeric(name) for name in self.features.names])
        number = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
        )
        label = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        return make_column_transformer((number, np.flatnonzero(numbers)), (label, np.flatnonzero(~numbers)))


class ImageLearners:
    """The small network that names the classes of images."""

    names: ClassVar = (NETWORK,)

    def __init__(self, train: Labelled, test: Labelled) -> None:
        assert isinstance(train.data, Images)
        assert isinstance(test.data, Images)
        self.train, self.pixels, self.tested = train, train.data.pixels, test.data.pixels

    def predict(self, name: str, added: Labelled | None, weighted: bool, seed: int, heed: Heed) -> Floats:
        """Probabilities (n, classes) of the test images."""
        pixels, y = self.pixels, self.train.y
        if added is not None:
            assert isinstance(added.data, Images)
            pixels, y = np.concatenate([pixels, added.data.pixels]), np.concatenate([y, added.y])
        weights = class_weights(y, len(self.train.classes)) if weighted else None
        network = train_classifier(pixels, y, len(self.train.classes), STEPS, seed, heed, weights)
        return network.probabilities(self.tested)
