"""Points of records and their nearest, against brute force in float64, scipy and scikit-learn."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from scipy.spatial import cKDTree
from sklearn.neighbors import NearestNeighbors

from synthgen.data import Table
from synthgen.metrics import neighbours
from synthgen.metrics.features import Features
from synthgen.metrics.neighbours import Geometry, nearest, row_keys
from synthgen.schema import Column, Schema

NAN = np.nan


def cloud(seed, n, d, offset=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + offset).astype(np.float32)


def truth(queries, among, k):
    """Distances in float64."""
    return cKDTree(among.astype(float)).query(queries.astype(float), list(range(1, k + 1)))[0]


@pytest.mark.parametrize("offset", [0, 30, 1e4, -1e5])
@pytest.mark.parametrize(("d", "k"), [(1, 1), (3, 5), (20, 10)])
def test_the_nearest_are_those_of_a_tree_wherever_the_points_lie(d, k, offset):
    queries, among = cloud(0, 200, d, offset), cloud(1, 700, d, offset)
    found, indices = nearest(queries, among, k)
    assert found.shape == indices.shape == (200, k)
    assert found == pytest.approx(truth(queries, among, k), rel=1e-3, abs=1e-4)
    of_indices = np.linalg.norm(queries[:, None].astype(float) - among[indices].astype(float), axis=2)
    assert found == pytest.approx(of_indices, rel=1e-5, abs=1e-6)


def test_the_nearest_agree_with_scikit_learn():
    queries, among = cloud(0, 300, 8), cloud(1, 500, 8)
    distances, indices = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(among).kneighbors(queries)
    found = nearest(queries, among, 4)
    assert found[0] == pytest.approx(distances, abs=1e-4)
    assert np.array_equal(found[1], indices)


@pytest.mark.parametrize("offset", [0, 1e4])
def test_equal_points_are_at_distance_zero(offset):
    among = cloud(0, 900, 6, offset)
    found, indices = nearest(among[::3].copy(), among, 2)
    assert np.array_equal(indices[:, 0], np.arange(0, 900, 3))
    assert (found[:, 0] == 0).all()
    assert (found[:, 1] > 0).all()


def test_copies_of_far_outliers_are_found_beside_a_crowd():
    among = np.concatenate([cloud(0, 500, 4), 18 * cloud(1, 20, 4)])
    assert (nearest(among[500:].copy(), among)[0] == 0).all()


def test_ties_are_all_found():
    among = np.repeat(np.float32([[0], [1], [2]]), 3, axis=0)
    found, indices = nearest(np.float32([[0.9]]), among, 6)
    assert found[0] == pytest.approx([0.1] * 3 + [0.9] * 3, abs=1e-6)
    assert {*indices[0, :3]} == {3, 4, 5}
    assert {*indices[0, 3:]} == {0, 1, 2}


@pytest.mark.parametrize(("m", "k"), [(1, 1), (1, 4), (3, 10), (10, 10)])
def test_where_points_are_too_few_the_farthest_is_repeated(m, k):
    queries, among = cloud(0, 5, 3), cloud(1, m, 3)
    found, indices = nearest(queries, among, k)
    assert found.shape == indices.shape == (5, k)
    assert found[:, : min(m, k)] == pytest.approx(truth(queries, among, min(m, k)), rel=1e-4)
    assert (found[:, m:] == found[:, [-1]]).all()
    assert (indices[:, m:] == indices[:, [-1]]).all()
    assert (np.diff(found, axis=1) >= 0).all()


def test_blocks_change_nothing_and_report_their_progress(monkeypatch):
    queries, among = cloud(0, 100, 5), cloud(1, 64, 5)
    whole, said = nearest(queries, among, 3), []
    monkeypatch.setattr(neighbours, "BLOCK", 64 * 30)
    parts = nearest(queries, among, 3, said.append)
    assert said == [0.3, 0.6, 0.9, 1.0]
    assert np.array_equal(parts[1], whole[1])
    assert parts[0] == pytest.approx(whole[0])


def view(**columns):
    """Features and matrix of a table; columns of texts are labels."""
    kinds = ["categorical" if pa.types.is_string(pa.array(c).type) else "numeric" for c in columns.values()]
    schema = Schema(columns=tuple(Column(name=n, kind=k) for n, k in zip(columns, kinds, strict=True)))
    table = Table(pa.table(columns))
    features = Features(table, schema)
    return features, features.matrix(table)


def between(points):
    """Distances of all pairs."""
    return np.linalg.norm(points[:, None].astype(float) - points.astype(float), axis=2)


def test_records_are_at_distance_zero_exactly_where_all_cells_are_equal():
    rng = np.random.default_rng(0)
    features, matrix = view(
        a=pa.array([None if v == 3 else float(v) for v in rng.integers(0, 4, 200)]),
        b=rng.choice(["x", "y", "z", None], 200),
        c=rng.integers(0, 3, 200),
    )
    distances = between(Geometry(features, matrix)(matrix))
    same = ((matrix[:, None] == matrix) | (np.isnan(matrix[:, None]) & np.isnan(matrix))).all(axis=2)
    assert np.array_equal(distances == 0, same)
    assert distances[~same].min() > 0.3


@pytest.mark.parametrize("labels", [2, 5, 14])
def test_two_of_few_labels_are_as_far_apart_as_two_typical_numbers(labels):
    features, matrix = view(x=[f"v{i}" for i in range(labels)] + [None])
    geometry = Geometry(features, matrix)
    points = geometry(np.concatenate([matrix, [[-1]]]))  # a label that no real row has, too
    distances = between(points)
    assert distances[~np.eye(labels + 2, dtype=bool)] == pytest.approx(np.sqrt(2))
    numbers = np.random.default_rng(0).normal(50, 9, (2, 4000))
    features, matrix = view(x=numbers.ravel())
    a, b = np.split(Geometry(features, matrix)(matrix), 2)
    typical = np.sqrt(2 * stats.norm.expect(lambda z: np.arcsinh(z) ** 2))  # 1.13: outliers are drawn in
    assert np.sqrt(np.mean((a - b) ** 2)) == pytest.approx(typical, rel=0.03)
    assert 0.75 < typical / np.sqrt(2) < 1


def test_two_of_many_labels_are_about_as_far_apart():
    features, matrix = view(x=[f"v{i:03}" for i in range(190)] + [None])
    points = Geometry(features, matrix)(np.concatenate([matrix, [[-1]]]))
    distances = between(points)[~np.eye(192, dtype=bool)]
    assert points.shape == (192, 16)
    assert distances.min() > 0.3
    assert np.sqrt(np.mean(distances**2)) == pytest.approx(np.sqrt(2), rel=0.02)
    assert np.std(distances) < 0.25


def test_a_missing_number_is_a_label_of_its_own():
    cells = [*np.linspace(-3, 3, 101), *[None] * 20]
    features, matrix = view(x=pa.array(cells, pa.float64()))
    points = Geometry(features, matrix)(matrix)
    distances = between(points)
    assert (distances[101:, 101:] == 0).all()
    assert (distances[101:, :101] >= 1).all()


def test_outliers_stay_apart_and_in_order_and_do_not_outweigh_the_rest():
    rng = np.random.default_rng(0)
    cells = np.concatenate([rng.normal(size=1000), [-1e9, -1e3, -50, 50, 51, 1e3, 1e6, 1e6 + 1e3, 1e9]])
    features, matrix = view(x=cells)
    points = Geometry(features, matrix)(matrix).ravel()
    assert np.array_equal(np.argsort(points, kind="stable"), np.argsort(cells, kind="stable"))
    assert (np.diff(np.sort(points[-9:])) > 0).all()
    assert np.abs(points).max() < 25


def test_points_do_not_depend_on_the_unit():
    cells, other = np.random.default_rng(0).lognormal(size=(2, 300))
    found = []
    for unit, origin in ((1, 0), (1e-6, 7), (1e5, -3e6)):
        features, matrix = view(x=cells * unit + origin)
        found.append(Geometry(features, matrix)((other * unit + origin)[:, None]))
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert found[2] == pytest.approx(found[0], abs=1e-4)


@pytest.mark.parametrize("cells", [[4.0] * 9, [0.0] * 30 + [5.0], [None, 1.0, None]], ids=["one", "mostly one", "gaps"])
def test_columns_without_spread_have_finite_points(cells):
    features, matrix = view(x=pa.array(cells, pa.float64()), y=[1.0 * i for i in range(len(cells))])
    points = Geometry(features, matrix)(matrix)
    assert np.isfinite(points).all()
    assert points.dtype == np.float32


def test_columns_say_where_each_dimension_comes_from():
    features, matrix = view(
        a=[1.0, 2.0, 3.0], b=["x", "y", None], c=pa.array([1.0, None, 2.0]), d=["u", "u", "u"], e=[0.0, 0.0, 1.0]
    )
    geometry = Geometry(features, matrix)
    assert geometry.columns.tolist() == [0, *[1] * 4, 2, 2, *[3] * 3, 4]
    points = geometry(matrix)
    assert points.shape == (3, len(geometry.columns))
    for j in range(5):
        other = matrix.copy()
        other[0, j] = -1 if j in (1, 3) else 77.0
        changed = (geometry(other) != points).any(axis=0)
        assert set(geometry.columns[changed]) == {j}


def equal(a, b):
    return bool(((a == b) | (np.isnan(a) & np.isnan(b))).all())


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 2], [1, 2]),
        ([0.0, 1], [-0.0, 1]),
        ([NAN, 1], [-NAN, 1]),
        ([NAN, 1], [1, NAN]),
        ([1, 2], [2, 1]),
        ([0, 1], [1, 0]),
        ([1, 2], [1, np.nextafter(2, 3)]),
        ([NAN, NAN], [0, 0]),
        ([0, 0], [-1, -1]),
        ([np.inf, 0], [-np.inf, 0]),
    ],
)
def test_keys_are_equal_where_rows_are(a, b):
    a, b = np.array(a, dtype=float), np.array(b, dtype=float)
    first, second = row_keys(np.stack([a, b]))
    assert (first == second) == equal(a, b)
    assert row_keys(b[None])[0] == second  # whatever stands beside it


def test_gaps_of_any_bits_are_equal():
    gaps = np.array([0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000123], dtype=np.uint64).view(float)
    assert len(np.unique(row_keys(gaps[:, None]))) == 1


def rows(kind, n=200_000):
    rng = np.random.default_rng(0)
    if kind == "normal":
        return rng.normal(size=(n, 4))
    if kind == "codes":
        return rng.integers(-1, 200, (n, 4)).astype(float)
    if kind == "flags":
        return (np.arange(1 << 17)[:, None] >> np.arange(17) & 1).astype(float)
    return np.stack(np.meshgrid(np.arange(450), np.arange(450)), axis=-1).reshape(-1, 2) / (1 if kind == "grid" else 8)


@pytest.mark.parametrize("kind", ["normal", "codes", "flags", "grid", "eighths"])
def test_as_many_keys_as_different_rows(kind):
    matrix = rows(kind)
    assert len(np.unique(row_keys(matrix))) == len(np.unique(matrix, axis=0))


def test_keys_of_no_rows_and_no_columns():
    assert row_keys(np.empty((0, 3))).shape == (0,)
    assert len(np.unique(row_keys(np.empty((4, 0))))) == 1
