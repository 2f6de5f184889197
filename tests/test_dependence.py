"""Distances of pairs and triples of columns, against counts made by hand and by pandas."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from synthgen.data import as_table
from synthgen.metrics.dependence import Bins, pair_distances, triple_distances, variation

NAN = np.nan


def frame(n, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    label = rng.choice(["x", "y", "z"], n, p=[0.6, 0.3, 0.1])
    zeros = np.where(rng.random(n) < 0.7, 0.0, rng.exponential(size=n))
    return pd.DataFrame({"a": a, "b": a + rng.normal(size=n), "c": label, "d": zeros})


@pytest.mark.parametrize(
    ("real", "numeric", "x", "bins"),
    [
        ([0, 1, 2, 3, 4], True, [-9, 0.9, 2, 9, NAN], [0, 0, 1, 1, 2]),  # one edge, at 2
        ([0, 0, 0, 0, 5], True, [-1, 0, 5, NAN], [0, 1, 1, 2]),
        ([0, 1, 2], False, [0, 1, 2, -1, NAN], [0, 1, 2, 2, 3]),  # two labels are told apart
        ([NAN, NAN], True, [1, NAN], [0, 1]),
    ],
)
def test_bins_are_those_of_the_real_column(real, numeric, x, bins):
    binned = Bins(np.array(real, dtype=float)[:, None], [numeric], 2, 2)
    assert binned(np.array(x, dtype=float)[:, None]).ravel().tolist() == bins


def test_a_value_that_is_several_quantiles_has_a_bin_of_its_own():
    real = np.repeat([0.0, 1.0, 2.0], [10, 80, 10])[:, None]
    binned = Bins(real, [True], 10, 2)
    below, there, above = binned(np.array([[0.5], [1.0], [1.5]])).ravel()
    assert below < there < above


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([[0, 0], [1, 1]], [[0, 0], [1, 1]], 0),
        ([[0, 0], [1, 1]], [[0, 1], [1, 0]], 1),
        ([[0, 0], [0, 0], [1, 1], [1, 1]], [[0, 0], [1, 1], [1, 1], [2, 0]], 1 / 4),
        ([[0, 0], [1, 1]], [[0, 0]], 1 / 2),
    ],
)
def test_variation_is_half_the_sum_of_differences(a, b, expected):
    assert variation(np.array(a), np.array(b)) == pytest.approx(expected)
    assert variation(np.array(b), np.array(a)) == pytest.approx(expected)


def test_pairs_agree_with_tables_of_counts():
    real, drawn = frame(2000, 0), frame(1500, 1)
    found = pair_distances(as_table(real), as_table(drawn), as_table(real).schema)
    assert set(found) == set(combinations(real.columns, 2))
    cut = {}
    for name in ("a", "b"):
        edges = [-np.inf, *np.quantile(real[name], np.arange(1, 10) / 10), np.inf]
        cut[name] = [pd.cut(f[name], edges, right=False).astype(str) for f in (real, drawn)]
    tables = [pd.crosstab(cut["a"][k], cut["b"][k], normalize=True) for k in range(2)]
    expected = 0.5 * tables[0].sub(tables[1], fill_value=0).fillna(0).abs().to_numpy().sum()
    assert found["a", "b"] == pytest.approx(expected)


def test_identical_tables_are_at_no_distance_and_disjoint_ones_at_one():
    table = as_table(frame(500, 0))
    far = as_table(frame(500, 0).assign(a=99.0, b=-99.0, c="new", d=99.0))
    for distances in (pair_distances, triple_distances):
        assert set(distances(table, table, table.schema).values()) == {0.0}
        assert min(distances(table, far, table.schema).values()) > 0.85


def test_a_lost_dependence_is_seen_in_its_pair():
    real, torn = frame(3000, 0), frame(3000, 1)
    torn["b"] = torn["b"].to_numpy()[::-1]
    schema = as_table(real).schema
    lost = pair_distances(as_table(real), as_table(torn), schema)
    kept = pair_distances(as_table(real), as_table(frame(3000, 1)), schema)
    assert max(lost, key=lambda pair: lost[pair] - kept[pair]) == ("a", "b")
    assert lost["a", "b"] > 2 * kept["a", "b"]


def test_of_many_columns_some_triples_are_looked_at():
    rng = np.random.default_rng(0)
    table = as_table(pd.DataFrame(rng.normal(size=(50, 30)), columns=[f"c{k}" for k in range(30)]))
    found = triple_distances(table, table, table.schema)
    assert len(found) == 60
    assert list(found) == list(triple_distances(table, table, table.schema))
