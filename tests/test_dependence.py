"""Distances of pairs and triples of columns, against counts made by hand, by pandas and by sdmetrics."""

from itertools import combinations, product
from math import comb

import numpy as np
import pandas as pd
import pytest

from synthgen.data import as_table
from synthgen.metrics.dependence import PAIRS, TRIPLES, Bins, distances, pairs_of, triples_of, variation
from synthgen.metrics.features import Features

NAN = np.nan


def frame(n, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    label = rng.choice(["x", "y", "z"], n, p=[0.6, 0.3, 0.1])
    zeros = np.where(rng.random(n) < 0.7, 0.0, rng.exponential(size=n))
    return pd.DataFrame({"a": a, "b": a + rng.normal(size=n), "c": label, "d": zeros})


def binned(real, *others, bins=PAIRS):
    """Bins of the first frame and of others, all by the first."""
    table = as_table(real)
    features = Features(table, table.schema)
    rule = Bins(features.matrix(table), [features.numeric(name) for name in features.names], *bins)
    return [rule(features.matrix(as_table(f))) for f in (real, *others)]


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
    rule = Bins(np.array(real, dtype=float)[:, None], [numeric], 2, 2)
    assert rule(np.array(x, dtype=float)[:, None]).ravel().tolist() == bins


def test_a_value_that_is_several_quantiles_has_a_bin_of_its_own():
    real = np.repeat([0.0, 1.0, 2.0], [10, 80, 10])[:, None]
    below, there, above = Bins(real, [True], 10, 2)(np.array([[0.5], [1.0], [1.5]])).ravel()
    assert below < there < above


def test_bins_of_a_number_hold_equally_many():
    real = np.random.default_rng(0).normal(size=(1000, 1))
    assert np.bincount(Bins(real, [True], 10, 2)(real).ravel()).tolist() == [100] * 10


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


# For two numbers sdmetrics compares correlations, or cuts each table at edges of its own or at equal widths, where one
# outlier leaves a single bin; ours are quantiles of the real rows, shared by all tables: no figure of theirs agrees.
@pytest.mark.parametrize("seed", range(3))
def test_two_columns_of_labels_agree_with_sdmetrics(seed):
    pairs = pytest.importorskip("sdmetrics.column_pairs")
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, (500, 2)), rng.binomial(8, 0.3, (800, 2))
    theirs = pairs.ContingencySimilarity.compute(
        *(pd.DataFrame(x, columns=["a", "b"]).astype(str) for x in (a, b)), num_rows_subsample=None
    )
    assert variation(a, b) == pytest.approx(1 - theirs, abs=1e-6)


def test_pairs_agree_with_tables_of_counts():
    real, drawn = frame(2000, 0), frame(1500, 1)
    assert pairs_of(4) == list(combinations(range(4), 2))
    found = dict(zip(pairs_of(4), distances(*binned(real, drawn), pairs_of(4)), strict=True))
    cut = {}
    for name in ("a", "b"):
        edges = [-np.inf, *np.quantile(real[name], np.arange(1, 10) / 10), np.inf]
        cut[name] = [pd.cut(f[name], edges, right=False).astype(str) for f in (real, drawn)]
    tables = [pd.crosstab(cut["a"][k], cut["b"][k], normalize=True) for k in range(2)]
    expected = 0.5 * tables[0].sub(tables[1], fill_value=0).fillna(0).abs().to_numpy().sum()
    assert found[0, 1] == pytest.approx(expected)


def test_triples_agree_with_counts_of_rows():
    a, b = binned(frame(900, 0), frame(700, 1), bins=TRIPLES)
    found = distances(a, b, triples_of(4))
    for group, value in zip(combinations(range(4), 3), found, strict=True):
        p, q = (pd.Series(list(map(tuple, x[:, group]))).value_counts(normalize=True) for x in (a, b))
        assert value == pytest.approx(0.5 * p.sub(q, fill_value=0).abs().sum())


@pytest.mark.parametrize(("groups", "bins"), [(pairs_of(4), PAIRS), (triples_of(4), TRIPLES)], ids=["pairs", "triples"])
def test_identical_tables_are_at_no_distance_and_disjoint_ones_at_one(groups, bins):
    real = frame(500, 0)
    codes, far = binned(real, real.assign(a=99.0, b=-99.0, c="new", d=99.0), bins=bins)
    assert set(distances(codes, codes, groups)) == {0.0}
    assert distances(codes, far, groups).min() > 0.85


def test_a_lost_dependence_is_seen_in_its_pair():
    torn, fresh = frame(3000, 1), frame(3000, 1)
    torn["b"] = torn["b"].to_numpy()[::-1]
    real, torn, fresh = binned(frame(3000, 0), torn, fresh)
    lost, kept = distances(real, torn, pairs_of(4)), distances(real, fresh, pairs_of(4))
    worst = int(np.argmax(lost - kept))
    assert pairs_of(4)[worst] == (0, 1)
    assert lost[worst] > 2 * kept[worst]


def test_a_parity_of_three_columns_is_seen_in_no_pair():
    independent = np.array(list(product([0, 1], repeat=3)))
    parity = independent[independent.sum(axis=1) % 2 == 0]
    assert distances(independent, parity, pairs_of(3)).tolist() == [0, 0, 0]
    assert distances(independent, parity, triples_of(3)).tolist() == [0.5]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 7])
def test_of_few_columns_all_groups_are_looked_at(n):
    assert len(pairs_of(n)) == comb(n, 2)
    assert triples_of(n) == list(combinations(range(n), 3))


@pytest.mark.parametrize("n", [9, 30])
def test_of_many_columns_some_triples_are_looked_at(n):
    found = triples_of(n)
    assert len(set(found)) == 60
    assert found == sorted(found) == triples_of(n)
    assert set(found) <= set(combinations(range(n), 3))


def test_no_groups_have_no_distances():
    codes = np.zeros((5, 1), dtype=np.int64)
    assert distances(codes, codes, pairs_of(1)).shape == (0,)
