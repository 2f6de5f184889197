"""Time a search over SynthSampler in a pipeline, and score it beside doing nothing, weights, copies and SMOTE-NC.

    python tests/benchmarks/sampler.py TRAIN TEST --target COL [--share 0.01] [--folds 3] [--seed 0]

TRAIN and TEST are CSV files. Of the rarer class of TRAIN so many rows are kept that they are the given share of all.
Each line is a GridSearchCV over an imblearn pipeline (sampler, one-hot and scaling, model), by average precision,
refitted with the best and scored on TEST: area under the ROC curve, average precision, Brier score. Seconds are of
the whole search, all fits in one process.
"""

import time
from typing import Any

import click
import numpy as np
import pandas as pd
from imblearn.over_sampling import SMOTENC, RandomOverSampler
from imblearn.pipeline import Pipeline
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from synthgen.augment import SynthSampler

BALANCE = {"sampler__sampling_strategy": [0.1, 1.0]}
MODELS: dict[str, BaseEstimator] = {
    "linear": LogisticRegression(max_iter=1000),
    "boosted": HistGradientBoostingClassifier(random_state=0),
}


@click.command(help=__doc__)
@click.argument("train", type=click.Path(exists=True))
@click.argument("test", type=click.Path(exists=True))
@click.option("--target", required=True)
@click.option("--share", default=0.01, help="of the rarer class among all rows")
@click.option("--folds", default=3)
@click.option("--seed", default=0)
def main(train: str, test: str, target: str, share: float, folds: int, seed: int) -> None:
    X, y, X_test, y_test = _read(train, test, target, share, seed)
    labels = list(X.select_dtypes(exclude="number").columns)
    print(f"{len(y)} rows of {X.shape[1]} columns, {y.sum()} of them of the rarer class; {folds} folds", flush=True)
    for name, model in MODELS.items():
        ways: list[tuple[str, Any, dict[str, Any]]] = [
            ("nothing", "passthrough", {}),
            ("class weights", "passthrough", {"model__class_weight": ["balanced"]}),
            ("copies", RandomOverSampler(random_state=seed), BALANCE),
            ("SMOTE-NC", SMOTENC(labels, random_state=seed), BALANCE),
            ("synthgen", SynthSampler(random_state=seed), {**BALANCE, "sampler__generator": ["gmm", "trees"]}),
        ]
        for way, sampler, grid in ways:
            pipeline = Pipeline([("sampler", sampler), ("encoder", _encoder(labels)), ("model", model)])
            search = GridSearchCV(pipeline, grid, scoring="average_precision", cv=StratifiedKFold(folds))
            start, cpu = time.perf_counter(), time.process_time()
            search.fit(X, y)
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            p = search.predict_proba(X_test)[:, 1]
            auc, precision = roc_auc_score(y_test, p), average_precision_score(y_test, p)
            fits = len(search.cv_results_["params"]) * folds + 1
            print(
                f"{name:8} {way:14} auc {auc:.3f}  ap {precision:.3f}  brier {brier_score_loss(y_test, p):.3f}  "
                f"{fits:3} fits {seconds:6.1f} s {cpu:6.1f} CPU-s  {_plain(search.best_params_)}",
                flush=True,
            )


def _read(train: str, test: str, target: str, share: float, seed: int) -> tuple[Any, Any, Any, Any]:
    """Features and whether a row is of the rarer class, for training and test."""
    frames = [pd.read_csv(path, skipinitialspace=True) for path in (train, test)]
    texts = [frame[target].astype(str).str.strip().str.rstrip(".") for frame in frames]
    rare = texts[0].value_counts().index[-1]
    known, held = ((text == rare).to_numpy().astype(int) for text in texts)
    positive, negative = np.flatnonzero(known), np.flatnonzero(known == 0)
    wanted = round(share / (1 - share) * len(negative))
    rows = np.sort(np.r_[negative, np.random.default_rng(seed).permutation(positive)[:wanted]])
    features = [frame.drop(columns=target) for frame in frames]
    return features[0].iloc[rows], known[rows], features[1], held


def _encoder(labels: list[str]) -> Any:
    names = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer((names, labels), remainder=StandardScaler())


def _plain(best: dict[str, Any]) -> str:
    return " ".join(f"{key.rpartition('__')[2]}={value}" for key, value in best.items())


if __name__ == "__main__":
    main()
