"""Real tables, where they lie beside the project: what is read is written back; reports agree with another scorer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from synthgen import evaluate, read, write

TABLES = sorted((Path(__file__).parents[2] / "shared" / "data" / "tables").glob("*/*.csv"))


@pytest.mark.slow
@pytest.mark.skipif(not TABLES, reason="the tables are not here")
@pytest.mark.parametrize("path", TABLES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_reading_and_writing_is_the_identity(path, tmp_path):
    table = read(path)
    assert all(c.kind for c in table.schema.columns)
    write(table, tmp_path / path.name)
    written, original = (tmp_path / path.name).read_bytes(), path.read_bytes()
    # two of the tables lack the line break at the end of their last line, which a written file always has
    assert written == original.removesuffix(b"\n") + b"\n"


def codes(frame, real):
    """Numbers as they are, labels by their rank among the real ones, -1 where they are none."""
    ranks = [real[n].value_counts().index.get_indexer(frame[n]) for n in frame.select_dtypes(exclude="number")]
    return np.column_stack([*frame.select_dtypes("number").to_numpy(float).T, *ranks])


@pytest.mark.slow
@pytest.mark.skipif(not TABLES, reason="the tables are not here")
@pytest.mark.parametrize(("name", "target"), [("adult", "income"), ("magic", "class"), ("shoppers", "Revenue")])
def test_detection_and_utility_agree_with_another_booster_on_other_folds(name, target):
    xgboost = pytest.importorskip("xgboost")
    frame = pd.concat([pd.read_csv(p) for p in TABLES if p.parent.name == name])
    frame[target] = frame[target].astype(str)
    rows = frame.sample(12_000, random_state=0)
    real, held, made = (rows[i::3].reset_index(drop=True) for i in range(3))
    block = [n for n in made if n != target][::3]  # a third of the columns is that of other rows
    made[block] = made[block].sample(frac=1, random_state=0).to_numpy()
    made = made.astype(real.dtypes)
    report = evaluate(real, made, held, target=target)

    settings = {"n_estimators": 200, "max_depth": 6, "learning_rate": 0.1, "subsample": 0.8, "n_jobs": 1}
    x, y = np.concatenate([codes(held[:2000], real), codes(made[:2000], real)]), np.repeat([0, 1], 2000)
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(x, y))
    told = [xgboost.XGBClassifier(**settings).fit(x[a], y[a]).predict_proba(x[b])[:, 1] for a, b in folds]
    auc = np.mean([roc_auc_score(y[b], p) for (_, b), p in zip(folds, told, strict=True)])
    assert report["fidelity.detection"].value == pytest.approx(auc, abs=0.02)

    answers = [(f[target] == real[target].mode()[0]).to_numpy(int) for f in (made, held)]
    learned, judged = (codes(f.drop(columns=target), real) for f in (made, held))
    model = xgboost.XGBClassifier(**settings).fit(learned, answers[0])
    worth = roc_auc_score(answers[1], model.predict_proba(judged)[:, 1])
    assert report["utility.boosted"].value == pytest.approx(worth, abs=0.015)
