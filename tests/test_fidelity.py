"""Distances of columns, detection, tails and rare labels, against hand counts, scipy, scikit-learn and sdmetrics."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from threadpoolctl import threadpool_limits

from synthgen.data import Table, as_table
from synthgen.metrics.features import Features
from synthgen.metrics.fidelity import (
    ROUNDS,
    Detection,
    column_distances,
    detection,
    present,
    rare_labels,
    roc,
    tail_error,
)
from synthgen.metrics.statistics import auc
from synthgen.schema import Column, Schema

NAN = np.nan
LABEL = Schema(columns=(Column(name="x", kind="categorical"),))


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for one another stall small trees on a busy machine."""
    with threadpool_limits(1):
        yield


def distance(a, b, kind="numeric"):
    """Distance of two columns of cells, by way of tables."""
    schema = Schema(columns=(Column(name="x", kind=kind),))
    a, b = (Table(pa.table({"x": cells})) for cells in (a, b))
    features = Features(a, schema)
    (found,) = column_distances([features.numeric("x")], features.matrix(a), features.matrix(b))
    return found


def mixed(n, seed):
    """A number, one that follows it, and a label."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    return np.stack([a, a + rng.normal(size=n), rng.integers(0, 3, n)], axis=1)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], 0),
        ([1.0, 2.0], [3.0, 4.0], 1),
        ([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0], 0.5),
        ([1.0, 1.0, 2.0], [1.0, 2.0, 2.0], 1 / 3),
        ([1.0, None], [1.0, 1.0], 0.5),
        ([None, None], [None, 1.0], 0.5),
        ([1.0, 2.0, 3.0], [2.0], 1 / 3),
        ([0.0, None, None, 5.0], [0.0, None, 5.0, 5.0], 0.25),
    ],
)
def test_the_distance_of_numbers_is_that_of_kolmogorov_and_smirnov(a, b, expected):
    a, b = pa.array(a, pa.float64()), pa.array(b, pa.float64())
    assert distance(a, b) == pytest.approx(expected)
    assert distance(b, a) == pytest.approx(expected)


def test_the_distance_of_numbers_agrees_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=300), rng.normal(0.3, 2, size=500).round(1)
    assert distance(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (["x", "y"], ["y", "x"], 0),
        (["x", "x"], ["y", "y"], 1),
        (["x", "x", "x", "y"], ["x", "y", "y", "y"], 0.5),
        (["x", None], ["x", "x"], 0.5),
        (["x", "y"], ["x", "new"], 0.5),
        (["x", "y", "z"], ["x", "y", "y"], 1 / 3),
        (["x", None, "y", "y"], [None, None, "x", "y"], 0.25),
    ],
)
def test_the_distance_of_labels_is_total_variation(a, b, expected):
    assert distance(pa.array(a), pa.array(b), "categorical") == pytest.approx(expected)


def test_dates_are_compared_as_numbers():
    a = pa.array([np.datetime64(f"2020-01-{d:02}", "us") for d in range(1, 11)])
    b = pa.array([np.datetime64(f"2020-01-{d:02}", "us") for d in range(6, 16)])
    table, other = as_table(pa.table({"x": a})), as_table(pa.table({"x": b}))
    features = Features(table, table.schema)
    assert features.numeric("x")
    assert column_distances([True], features.matrix(table), features.matrix(other)) == pytest.approx([0.5])


def test_each_column_is_measured_by_its_kind():
    a, b = np.array([[0, 0], [1, 1], [2, 2]], float), np.array([[2, 2], [1, 1], [0, 0], [0, 0]], float)
    b[:, 0] += 1
    found = column_distances([True, False], a, b)
    assert found == pytest.approx([stats.ks_2samp(a[:, 0], b[:, 0]).statistic, 1 / 6])
    assert column_distances([], a[:, :0], b[:, :0]).shape == (0,)


def test_only_modelled_columns_are_features():
    table = as_table(pa.table({"id": [f"k{i}" for i in range(20)], "one": ["c"] * 20, "n": [1.5, 2.5] * 10}))
    features = Features(table, table.schema)
    assert features.names == ["n"]
    assert features.matrix(table).shape == (20, 1)


def test_features_rank_labels_by_frequency():
    real = Table(pa.table({"x": ["b", "a", "a", None]}))
    other = Table(pa.table({"x": ["a", "b", "new", None]}))
    matrix = Features(real, LABEL).matrix(other)
    assert np.array_equal(matrix, [[0], [1], [-1], [np.nan]], equal_nan=True)


def test_features_tell_the_200_commonest_labels_apart():
    cells = [f"v{i}" for i in range(250) for _ in range(1 + (i < 200))]
    matrix = Features(Table(pa.table({"x": cells})), LABEL).matrix(Table(pa.table({"x": ["v0", "v199", "v200"]})))
    assert matrix.ravel().tolist() == [0, 199, -1]


def test_columns_agree_with_sdmetrics():
    single = pytest.importorskip("sdmetrics.single_column")
    rng = np.random.default_rng(0)
    numbers = [rng.lognormal(size=400).round(2), rng.exponential(1.5, size=700).round(2)]
    labels = [rng.integers(0, 9, 400), rng.binomial(10, 0.4, 700)]
    found = column_distances(
        [True, False], *(np.stack(pair, axis=1).astype(float) for pair in zip(numbers, labels, strict=True))
    )
    complement = single.KSComplement.compute(*map(pd.Series, numbers))
    variation = single.TVComplement.compute(*(pd.Series(x).astype(str) for x in labels))
    assert found == pytest.approx([1 - complement, 1 - variation], abs=1e-6)


def test_detection_of_two_halves_of_the_same_data_is_a_half():
    found = detection(mixed(1500, 0), mixed(1500, 1)).auc
    assert found.value == pytest.approx(0.5, abs=0.06)
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.1


def test_detection_of_disjoint_data_is_one():
    found = detection(mixed(300, 0), mixed(300, 0) + np.array([100, 0, 0])).auc
    assert found.value > 0.99
    assert found.high == 1


def test_detection_sees_a_lost_dependence():
    torn = mixed(1500, 1)
    torn[:, 1] = torn[::-1, 1]
    found = detection(mixed(1500, 0), torn).auc
    assert found.value > 0.65
    assert found.low > 0.6


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_detection_of_shifted_normals_is_that_of_the_best_test(shift):
    rng = np.random.default_rng(0)
    found = detection(rng.normal(size=(2000, 1)), rng.normal(shift, size=(2000, 1))).auc
    assert stats.norm.cdf(shift / np.sqrt(2)) == pytest.approx(found.value, abs=0.05)


def test_detection_sees_missing_cells_and_labels_that_no_real_row_has():
    real, rows = mixed(600, 0), mixed(600, 1)
    rows[::2, 0] = NAN
    rows[1::2, 2] = -1
    assert detection(real, rows).auc.value > 0.95


def test_detection_agrees_with_cross_validation_by_scikit_learn():
    real, rows = mixed(900, 0), mixed(900, 1) * [1, 1.5, 1]
    model = HistGradientBoostingClassifier(max_iter=ROUNDS, early_stopping=False, random_state=0)
    theirs = cross_val_score(model, np.concatenate([real, rows]), np.repeat([0, 1], 900), cv=3, scoring="roc_auc")
    assert detection(real, rows).auc.value == pytest.approx(theirs.mean(), abs=0.04)


def test_detection_is_at_equal_numbers_and_averages_its_folds():
    found = detection(mixed(200, 0), mixed(330, 1))
    sizes = [sum(map(len, parts)) for parts in (found.real, found.drawn)]
    assert sizes == [200, 200]
    folds = [
        roc_auc_score(np.repeat([0, 1], [len(r), len(d)]), np.concatenate([r, d]))
        for r, d in zip(found.real, found.drawn, strict=True)
    ]
    assert len(folds) == 3
    assert found.auc.value == pytest.approx(np.mean(folds))


def test_detection_by_one_fold_is_a_third_of_the_work():
    real, rows = mixed(300, 0), mixed(300, 1)
    one, all_three = detection(real, rows, folds=1), detection(real, rows)
    assert len(one.real) == 1
    assert np.array_equal(one.real[0], all_three.real[0])
    assert one.auc.high - one.auc.low > all_three.auc.high - all_three.auc.low


def test_detection_is_the_same_each_time():
    a, b = mixed(200, 0), mixed(300, 1)
    first, second = (detection(a, b, seed=3) for _ in range(2))
    assert first.auc == second.auc
    assert np.array_equal(first.importances, second.importances)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_detection_of_hardly_any_rows_says_nothing(n):
    found = detection(mixed(50, 0), mixed(n, 1))
    assert tuple(found.auc) == (0.5, 0, 1)
    assert found.importances.tolist() == [0, 0, 0]
    assert all(np.array_equal(x, np.linspace(0, 1, 101)) for x in roc(found))


@pytest.mark.parametrize("planted", [0, 3, 5])
def test_the_column_that_gives_rows_away_comes_first(planted):
    rng = np.random.default_rng(planted)
    real, rows = rng.normal(size=(2, 900, 6))
    rows[:, planted] += 1
    found = detection(real, rows).importances
    others = np.delete(found, planted)
    assert np.argmax(found) == planted
    assert found[planted] > 0.15
    assert np.abs(others).max() < 0.06


def test_both_columns_of_a_lost_dependence_are_important():
    torn = mixed(1500, 1)
    torn[:, 1] = torn[::-1, 1]
    a, b, label = detection(mixed(1500, 0), torn).importances
    assert min(a, b) > 0.1 > 0.03 > abs(label)


def test_importances_agree_with_those_of_scikit_learn():
    from sklearn.inspection import permutation_importance

    real, rows = mixed(900, 0), mixed(900, 1) * [1, 2, 1]
    x, y = np.concatenate([real, rows]), np.repeat([0, 1], 900)
    some = np.random.default_rng(0).permutation(1800)
    model = HistGradientBoostingClassifier(max_iter=ROUNDS, early_stopping=False, random_state=0)
    model.fit(x[some[:1200]], y[some[:1200]])
    theirs = permutation_importance(model, x[some[1200:]], y[some[1200:]], scoring="roc_auc", random_state=0)
    assert detection(real, rows).importances == pytest.approx(theirs.importances_mean, abs=0.08)


def scores(seed, sizes=((200, 300), (150, 150))):
    rng = np.random.default_rng(seed)
    real, drawn = [rng.normal(size=n) for n, _ in sizes], [rng.normal(1, size=m) for _, m in sizes]
    return Detection(auc(drawn, real), real, drawn, np.zeros(1))


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_where_a_share_of_real_rows_scores_higher(seed):
    found = scores(seed, [(200, 300)])
    (real,), (drawn,) = found.real, found.drawn
    false, true = roc(found, 21)
    assert false == pytest.approx(np.arange(21) / 20)
    for share, rate in zip(false[1:-1], true[1:-1], strict=True):
        above = np.sort(real)[::-1]
        more, less = (above[round(share * 200) - step] for step in (1, 0))  # this many, and one more
        assert (drawn >= more).mean() <= rate <= (drawn > less).mean()


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_rises_from_corner_to_corner_and_holds_the_auc(seed):
    found = scores(seed)
    false, true = roc(found, 201)
    assert (true[0], true[-1]) == (0, 1)
    assert (np.diff(true) >= 0).all()
    assert np.trapezoid(true, false) == pytest.approx(found.auc.value, abs=0.01)


@pytest.mark.parametrize("digits", [0, 6])
def test_the_curve_of_rounded_scores_holds_the_auc_too(digits):
    rng = np.random.default_rng(0)
    real, drawn = [rng.normal(size=200).round(digits)], [rng.normal(0.5, size=200).round(digits)]
    found = Detection(auc(drawn, real), real, drawn, np.zeros(1))
    false, true = roc(found, 401)
    assert np.trapezoid(true, false) == pytest.approx(found.auc.value, abs=0.005)


ONES, LOW, HIGH = np.ones(10), np.arange(10.0), np.arange(10.0, 20)


@pytest.mark.parametrize(
    ("real", "drawn", "expected"),
    [(LOW, HIGH, [0] + [1] * 10), (HIGH, LOW, [0] * 10 + [1]), (ONES, ONES, np.arange(11) / 10)],
    ids=["always told", "always taken for real", "always the same"],
)
def test_the_curve_of_plain_cases_is_known(real, drawn, expected):
    found = Detection(auc([drawn], [real]), [real], [drawn], np.zeros(1))
    assert roc(found, 11)[1] == pytest.approx(np.asarray(expected, dtype=float))


LINE = np.arange(1001.0)  # 10 of it lie beyond either quantile


def tails(below, above):
    """A thousand and one numbers of which so many lie in the tails."""
    return np.repeat([-5.0, 500.0, 2000.0], [below, 1001 - below - above, above])


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [(10, 10, 0), (0, 0, 1), (20, 20, 1), (20, 0, 1), (5, 10, 0.25), (10, 40, 1.5), (0, 20, 1)],
)
def test_tail_error_counts_both_tails(below, above, expected):
    found = tail_error([True], LINE[:, None], LINE[:, None], tails(below, above)[:, None])
    assert found == pytest.approx([expected])


def test_tail_error_is_of_numbers_only_and_survives_gaps():
    gaps = np.where(np.arange(1001) % 2 == 0, LINE, NAN)
    real = np.stack([LINE, np.full(1001, NAN), LINE % 3, gaps, np.ones(1001)], axis=1)
    found = tail_error([True, True, False, True, True], real, real, real)
    assert np.array_equal(found, [0, NAN, NAN, 0, NAN], equal_nan=True)


def test_tail_error_of_fresh_normal_rows_is_small():
    real, reference, fresh = np.random.default_rng(0).normal(size=(3, 20_000, 1))
    assert tail_error([True], real, reference, fresh)[0] < 0.2


def test_tail_error_is_that_of_known_distributions():
    levels = (np.arange(20_000)[:, None] + 0.5) / 20_000
    normal, heavy, flat = (law.ppf(levels) for law in (stats.norm, stats.t(3), stats.uniform(-2, 4)))
    edge = stats.norm.ppf(0.01)
    assert tail_error([True], normal, normal, flat) == pytest.approx([1])  # it ends before the tails begin
    assert tail_error([True], normal, normal, heavy) == pytest.approx([stats.t(3).cdf(edge) / 0.01 - 1], rel=0.01)


def rows_of(counts):
    return np.repeat([float(code) for code in counts], list(counts.values()))[:, None]


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [(3, 0.01, [1, 3]), (1, 0.01, [1, 3, 4]), (10, 0.01, []), (4, 0.011, [1, 2]), (1, 0.002, [4])],
)
def test_rare_labels_are_held_by_few_but_not_by_too_few(least, most, expected):
    column = rows_of({0: 900, 1: 9, 2: 10, 3: 3, 4: 1, -1: 5, NAN: 72})  # 1000 rows
    assert rare_labels([False], column, least, most) == [(0, code) for code in expected]


def test_rare_labels_are_found_in_columns_of_labels_only():
    column = rows_of({0: 990, 1: 6, 2: 4})
    matrix = np.concatenate([column, column, column[::-1]], axis=1)
    labels = rare_labels([False, True, False], matrix, 3)
    assert labels == [(0, 1), (0, 2), (2, 1), (2, 2)]
    assert rare_labels([True] * 3, matrix, 3) == []


@pytest.mark.parametrize(
    ("rows", "count"), [([[1, 0, 1]], 2), ([[1, 0, 1], [2, 0, 2]], 4), ([[0, 1, 0]], 0), ([[NAN, 1, -1]], 0)]
)
def test_present_counts_each_label_once(rows, count):
    labels = [(0, 1.0), (0, 2.0), (2, 1.0), (2, 2.0)]
    assert present(labels, np.array(rows * 3, dtype=float)) == count
    assert present([], np.array(rows, dtype=float)) == 0
