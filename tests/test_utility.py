"""What models trained on synthetic rows are worth, against closed forms, scikit-learn and another booster."""

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from synthgen.metrics import utility
from synthgen.metrics.statistics import auc
from synthgen.metrics.utility import Task, evaluate, known

NAN = np.nan
KINDS = ["boosted", "linear"]
TWO, THREE = Task(0, ("no", "yes")), Task(0, ("a", "b", "c"))


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for one another stall small trees on a busy machine."""
    with threadpool_limits(1):
        yield


def classes(n, seed, k=2, gap=1.0):
    """Normal inputs (n, 3) whose first is shifted by `gap` for each class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    x = rng.normal(size=(n, 3))
    x[:, 0] += gap * y
    return x, y.astype(float)


def line(n, seed, noise=0.5):
    """Inputs (n, 3) and a sum of two of them under noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return x, 40 + 5 * (x[:, 0] - 2 * x[:, 1] + noise * rng.normal(size=n))


def number(test):
    return Task(0, (), float(test[1].mean()), float(test[1].std()))


def models():
    return {
        "boosted": HistGradientBoostingClassifier(max_iter=200, max_leaf_nodes=4, early_stopping=False),  # of 500 rows
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_get_the_same_figure(kind):
    train, test = classes(300, 0), classes(300, 1)
    first, second = (evaluate(TWO, kind, train, test, seed=4) for _ in range(2))
    assert first.figure == second.figure
    assert np.array_equal(first.by_class, second.by_class)


@pytest.mark.parametrize("kind", KINDS)
def test_two_classes_agree_with_scikit_learn(kind):
    train, test = classes(500, 0), classes(700, 1)
    found = evaluate(TWO, kind, train, test)
    theirs = roc_auc_score(test[1], models()[kind].fit(*train).predict_proba(test[0])[:, 1])
    assert found.figure.value == pytest.approx(theirs, abs=0.02)  # rows come in another order
    assert found.by_class == pytest.approx([found.figure.value] * 2)


def test_more_classes_are_each_against_the_rest():
    train, test = classes(600, 0, 3, 1.5), classes(800, 1, 3, 1.5)
    found = evaluate(THREE, "linear", train, test)
    chances = models()["linear"].fit(*train).predict_proba(test[0])
    theirs = [roc_auc_score(test[1] == k, chances[:, k]) for k in range(3)]
    assert found.by_class == pytest.approx(theirs, abs=1e-3)
    assert found.figure.value == pytest.approx(
        roc_auc_score(test[1], chances, multi_class="ovr", average="macro"), abs=1e-3
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gap", [0.5, 1.0, 2.0])
def test_shifted_normals_are_told_as_well_as_can_be(kind, gap):
    found = evaluate(TWO, kind, classes(4000, 0, gap=gap), classes(6000, 1, gap=gap)).figure
    best = stats.norm.cdf(gap / np.sqrt(2))
    assert best - (0.06 if kind == "boosted" else 0.02) < found.value < best + 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_a_random_target_cannot_be_predicted(kind):
    (x, y), test = classes(1500, 0, gap=2), classes(1500, 1, gap=2)
    shuffled = np.random.default_rng(0).permutation(y)
    assert evaluate(TWO, kind, (x, shuffled), test).figure.value == pytest.approx(0.5, abs=0.2)
    noise = evaluate(TWO, kind, classes(1500, 0, gap=0), classes(1500, 1, gap=0)).figure
    assert noise.value == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_rows_of_the_same_law_are_worth_as_much_and_torn_ones_nothing(kind):
    test = classes(3000, 9, gap=1.5)
    real, synthetic = (evaluate(TWO, kind, classes(2000, seed, gap=1.5), test).figure for seed in (0, 1))
    assert synthetic.value == pytest.approx(real.value, abs=0.02)
    x, y = classes(2000, 1, gap=1.5)
    turned = evaluate(TWO, kind, (x, 1 - y), test).figure
    assert turned.value == pytest.approx(1 - synthetic.value, abs=1e-3)


def test_boosted_trees_agree_with_another_booster():
    xgboost = pytest.importorskip("xgboost")
    test = classes(3000, 1)
    for train in (classes(2000, 0), classes(2000, 2, gap=0.3)):  # real rows, and synthetic ones that lost some
        model = xgboost.XGBClassifier(n_estimators=200, learning_rate=0.1, max_leaves=31, max_depth=0, n_jobs=1)
        theirs = roc_auc_score(test[1], model.fit(*train).predict_proba(test[0])[:, 1])
        assert evaluate(TWO, "boosted", train, test).figure.value == pytest.approx(theirs, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_the_training_rows_lack_is_guessed(kind):
    (x, y), test = classes(900, 0, 3, 3), classes(900, 1, 3, 3)
    found = evaluate(THREE, kind, (x[y != 1], y[y != 1]), test)
    assert found.by_class[1] == 0.5
    assert found.by_class[[0, 2]].min() > 0.8
    assert found.figure.value == pytest.approx(found.by_class.mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("only", [0, 2])
def test_one_class_teaches_nothing(kind, only):
    (x, y), test = classes(300, 0, 3), classes(300, 1, 3)
    found = evaluate(THREE, kind, (x[y == only], y[y == only]), test)
    assert found.by_class.tolist() == [0.5] * 3
    assert tuple(found.figure) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_the_test_rows_lack_has_no_figure(kind):
    train, (x, y) = classes(900, 0, 3, 3), classes(900, 1, 3, 3)
    found = evaluate(THREE, kind, train, (x[y != 1], y[y != 1]))
    assert np.isnan(found.by_class).tolist() == [False, True, False]
    assert found.figure.value == pytest.approx(np.nanmean(found.by_class))
    assert np.isfinite(found.figure).all()


def test_test_rows_of_one_class_say_nothing():
    train, (x, y) = classes(200, 0), classes(200, 1)
    found = evaluate(TWO, "linear", train, (x[y == 1], y[y == 1]))
    assert found.figure.value == 0.5
    assert np.isnan(found.by_class).all()


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_that_say_nothing_leave_an_error_of_one_deviation(kind):
    train, test = line(2000, 0), line(2000, 1)
    empty = evaluate(number(test), kind, (train[0] * 0, train[1]), (test[0] * 0, test[1])).figure
    assert empty.value == pytest.approx(1, abs=0.01)
    assert empty.low < 1 < empty.high


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_a_line_is_predicted_up_to_its_noise(noise):
    found = evaluate(number(line(4000, 1, noise)), "linear", line(3000, 0, noise), line(4000, 1, noise)).figure
    assert found.value == pytest.approx(noise / np.sqrt(5 + noise**2), rel=0.04)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_numbers_agree_with_scikit_learn(kind):
    train, test = line(1000, 0), line(1500, 1)
    model = (
        HistGradientBoostingRegressor(max_iter=200, max_leaf_nodes=6, early_stopping=False)  # of 1000 rows
        if kind == "boosted"
        else make_pipeline(StandardScaler(), Ridge())
    )
    error = model.fit(*train).predict(test[0]) - test[1]
    found = evaluate(number(test), kind, train, test)
    assert found.figure.value == pytest.approx(np.sqrt(np.mean(error**2)) / test[1].std(), rel=0.02)
    assert found.by_class.shape == (0,)


def test_a_wrong_scale_of_synthetic_targets_is_punished():
    train, test = line(1000, 0), line(1000, 1)
    found = [evaluate(number(test), "linear", (train[0], y), test).figure.value for y in (train[1], train[1] + 20)]
    shift = 20 / test[1].std()
    assert found[1] == pytest.approx(np.hypot(found[0], shift), rel=0.05)


def test_the_interval_of_two_classes_is_about_that_of_delong():
    train, test = classes(500, 0), classes(600, 1)
    score = models()["linear"].fit(*train).decision_function(test[0])
    theirs = auc([score[test[1] == 1]], [score[test[1] == 0]])
    found = evaluate(TWO, "linear", train, test).figure
    assert found.high - found.low == pytest.approx(theirs.high - theirs.low, rel=0.4)
    assert found.low < found.value < found.high


def test_the_interval_of_an_error_is_about_that_of_normal_errors():
    train, test = line(3000, 0, 1.0), line(3000, 1, 1.0)
    found = evaluate(number(test), "linear", train, test).figure
    # the error of a deviation estimated from n normal errors is one in sqrt(2 n)
    assert found.high - found.low == pytest.approx(2 * 1.96 * found.value / np.sqrt(6000), rel=0.4)


def test_gaps_and_unknown_labels_among_inputs_are_borne_by_trees():
    (x, y), (xt, yt) = classes(800, 0, gap=3), classes(800, 1, gap=3)
    x[::3, 1], xt[::5, 2], xt[::7, 1] = NAN, NAN, -1
    assert evaluate(TWO, "boosted", (x, y), (xt, yt)).figure.value > 0.95


def test_no_more_rows_than_the_limits_are_used(monkeypatch):
    seen = []
    chances = utility._chances
    monkeypatch.setattr(utility, "TRAINED", 60)
    monkeypatch.setattr(utility, "TESTED", 40)
    monkeypatch.setattr(utility, "_chances", lambda *a: seen.append((len(a[1]), len(a[3]))) or chances(*a))
    evaluate(TWO, "linear", classes(200, 0), classes(200, 1))
    assert seen == [(60, 40)]


def test_rows_are_known_where_the_target_is():
    rows = np.array([[0, 0.0], [1, NAN], [2, 2.0], [3, -1.0], [NAN, 5.0]])
    assert known(Task(0, ("a", "b")), rows)[:, 0].tolist() == [0, 1]
    assert known(Task(1, ("a", "b", "c")), rows)[:, 0].tolist() == [0, 2]
    assert known(Task(1, ()), rows)[:3, 0].tolist() == [0, 2, 3]
