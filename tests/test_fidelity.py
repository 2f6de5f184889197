import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_limits

from synthgen.data import Table, as_table
from synthgen.metrics.features import Features
from synthgen.metrics.fidelity import closeness, column_distance, detection
from synthgen.schema import Column, Schema

LABEL = Schema(columns=(Column(name="x", kind="categorical"),))


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for one another stall small trees on a busy machine."""
    with threadpool_limits(1):
        yield


def distance(a, b, kind="numeric"):
    schema = Schema(columns=(Column(name="x", kind=kind),))
    return column_distance(Table(pa.table({"x": a})), Table(pa.table({"x": b})), schema)["x"]


def mixed(n, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    return as_table(pd.DataFrame({"a": a, "b": a + rng.normal(size=n), "c": rng.choice(["x", "y", "z"], n)}))


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
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=300), rng.normal(0.3, 2, size=500).round(1)
    assert distance(a, b) == pytest.approx(ks_2samp(a, b).statistic)


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
    assert column_distance(table, other, table.schema) == {"x": pytest.approx(0.5)}


def test_only_modelled_columns_are_compared():
    table = as_table(pa.table({"id": [f"k{i}" for i in range(20)], "one": ["c"] * 20, "n": [1.5, 2.5] * 10}))
    assert list(column_distance(table, table, table.schema)) == ["n"]


def test_features_rank_labels_by_frequency():
    real = Table(pa.table({"x": ["b", "a", "a", None]}))
    other = Table(pa.table({"x": ["a", "b", "new", None]}))
    matrix = Features(real, LABEL).matrix(other)
    assert np.array_equal(matrix, [[0], [1], [-1], [np.nan]], equal_nan=True)


def test_features_tell_the_200_commonest_labels_apart():
    cells = [f"v{i}" for i in range(250) for _ in range(1 + (i < 200))]
    matrix = Features(Table(pa.table({"x": cells})), LABEL).matrix(Table(pa.table({"x": ["v0", "v199", "v200"]})))
    assert matrix.ravel().tolist() == [0, 199, -1]


def test_detection_of_two_halves_of_the_same_data_is_a_half():
    assert detection(mixed(1500, 0), mixed(1500, 1), mixed(9, 0).schema) == pytest.approx(0.5, abs=0.06)


def test_detection_of_disjoint_data_is_one():
    table = mixed(300, 0)
    far = as_table(table.to_pandas().assign(a=lambda f: f.a + 100))
    assert detection(table, far, table.schema) > 0.99


def test_detection_sees_a_lost_dependence():
    table = mixed(1500, 0)
    torn = mixed(1500, 1).to_pandas()
    torn["b"] = torn["b"].to_numpy()[::-1]
    assert detection(table, as_table(torn), table.schema) > 0.65


def test_detection_is_the_same_each_time():
    a, b = mixed(200, 0), mixed(300, 1)
    assert detection(a, b, a.schema, seed=3) == detection(a, b, a.schema, seed=3)


def test_closeness_puts_each_figure_beside_that_of_real_rows():
    holdout, fresh = mixed(400, 0), mixed(400, 1)
    far = as_table(fresh.to_pandas().assign(a=1e3))
    tell, columns, pairs = closeness(holdout, far, fresh, holdout.schema)
    assert (tell.name, tell.ideal, columns.name, columns.ideal) == ("detection", 0.5, "columns", 0.0)
    assert tell.value > 0.99
    assert tell.floor == pytest.approx(0.5, abs=0.1)
    expected = [np.mean(list(column_distance(holdout, t, holdout.schema).values())) for t in (far, fresh)]
    assert [columns.value, columns.floor] == pytest.approx(expected)
    assert columns.value > 1 / 3 > columns.floor
    assert columns.about.endswith("farthest: a")
    assert pairs.value > 0.5 > pairs.floor
    assert "a" in pairs.about.split("farthest: ")[1].split(" and ")


def test_closeness_of_one_column_knows_no_pairs():
    table = mixed(100, 0).select(["a"])
    assert [s.name for s in closeness(table, table, table, table.schema)] == ["detection", "columns"]
