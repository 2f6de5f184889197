"""Baselines: what they draw is what they say they draw."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import chi2_contingency, ks_2samp, spearmanr

import synthgen
from synthgen import baselines as module
from synthgen.baselines import baselines, copies, independent, smote
from synthgen.data import as_table, write
from synthgen.data.images import read_images
from synthgen.data.table import read_table

N = 400


def mixed(n=N, seed=0):
    """Mostly numbers: `price` follows `age`, `kind` follows both; gaps, dates, ids and texts."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    price = np.round(3 * age + rng.normal(0, 5, n), 2)
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(10 * age + rng.integers(0, 9, n), unit="D")
    words = ["some words that are long enough", "others that nobody has written before", "and more of the same kind"]
    return pd.DataFrame(
        {
            "id": [f"K{i:05d}" for i in rng.permutation(10 * n)[:n]],
            "age": age,
            "price": np.where(rng.random(n) < 0.1, np.nan, price),
            "weight": rng.lognormal(0, 1, n),
            "day": day,
            "kind": np.where(age < 45, "young", "old"),
            "member": age > 30,
            "note": [f"{words[i % 3]}, {rng.integers(10**9)} times {rng.integers(10**9)}" for i in range(n)],
        }
    )


def rows(table):
    return {tuple(str(cell) for cell in row.values()) for row in table.data.to_pylist()}


@pytest.fixture(params=["pandas", "parquet", "csv"])
def table(request, tmp_path):
    """The same as a frame, a typed file and texts."""
    if request.param == "pandas":
        return as_table(mixed())
    if request.param == "parquet":
        mixed().to_parquet(tmp_path / "data.parquet", index=False)
        return read_table(tmp_path / "data.parquet")
    mixed().to_csv(tmp_path / "data.csv", index=False)
    return read_table(tmp_path / "data.csv")


def frame(table, tmp_path):
    """What a person who reads the written file sees."""
    write(table, tmp_path / "made.csv")
    return pd.read_csv(tmp_path / "made.csv", parse_dates=["day"])


def test_smote_is_offered_where_most_columns_are_numbers_or_dates():
    names = [b.name for b in baselines(as_table(mixed()))]
    assert names == ["bootstrap copy", "independent columns", "SMOTE"]
    labels = mixed()[["kind", "member", "age"]]
    assert [b.name for b in baselines(as_table(labels))] == ["bootstrap copy", "independent columns"]
    half = mixed()[["kind", "age"]]
    assert "SMOTE" not in [b.name for b in baselines(as_table(half))]
    ids = mixed()[["id", "note", "age"]]  # what is not compared does not count
    assert "SMOTE" in [b.name for b in baselines(as_table(ids))]


def test_of_images_there_are_only_copies(pictures):
    images = read_images(pictures)
    (baseline,) = baselines(images)
    drawn = baseline.draw(images, 100, 0)
    assert len(drawn) == 100
    known = {(p.tobytes(), name) for p, name in zip(images.pixels, images.names, strict=True)}
    assert {(p.tobytes(), name) for p, name in zip(drawn.pixels, drawn.names, strict=True)} <= known


@pytest.mark.parametrize("draw", [copies, independent, smote])
def test_the_same_seed_draws_the_same_rows(draw):
    table = as_table(mixed())
    first, again, other = (draw(table, 50, seed).data for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize("draw", [copies, independent, smote])
@pytest.mark.parametrize("n", [1, 77, 1000])
def test_as_many_rows_are_drawn_as_asked_for_in_the_same_columns(draw, n):
    drawn = draw(as_table(mixed(100)), n, 0)
    assert len(drawn) == n
    assert drawn.data.column_names == list(mixed(1).columns)
    assert drawn.schema == as_table(mixed(100)).schema


@pytest.mark.parametrize("draw", [copies, independent, smote])
def test_what_is_drawn_can_be_written_read_and_judged(table, draw, tmp_path):
    drawn = draw(table, N, 0)
    write(drawn, tmp_path / "made.csv")
    write(drawn, tmp_path / "made.parquet")
    names = ["age", "price", "weight", "day", "kind", "member"]  # ids that occur twice are texts
    for name in ("made.csv", "made.parquet"):
        read = read_table(tmp_path / name)
        assert len(read) == N
        assert [read.schema[c].kind for c in names] == [table.schema[c].kind for c in names]
    report = synthgen.evaluate(table, drawn, target="kind")
    assert 0 <= report["fidelity.detection"].value <= 1


def test_copies_are_rows_of_the_data_drawn_with_replacement(table):
    drawn = copies(table, 5000, 0)
    known = rows(table)
    assert rows(drawn) == known
    times = pd.Series(drawn.data["id"].to_pylist()).value_counts()
    # each is drawn 12.5 times, as a Poisson number
    assert times.std() == pytest.approx(np.sqrt(5000 / N), rel=0.15)
    assert drawn.data.schema == table.data.schema


def test_independent_columns_keep_each_distribution_and_break_pairs(tmp_path):
    real = mixed(3000)
    made = independent(as_table(real), 3000, 0).to_pandas()
    assert list(made.dtypes) == list(real.dtypes)
    for name in ("age", "price", "weight"):
        assert ks_2samp(real[name].dropna(), made[name].dropna()).pvalue > 1e-3
        assert set(made[name].dropna()) <= set(real[name].dropna())
    for name in ("kind", "member"):
        counts = [frame[name].value_counts().sort_index() for frame in (real, made)]
        assert chi2_contingency(np.array(counts)).pvalue > 1e-3
    assert made["price"].isna().mean() == pytest.approx(0.1, abs=0.03)
    assert spearmanr(real["age"], real["price"], nan_policy="omit").statistic > 0.95
    assert abs(spearmanr(made["age"], made["price"], nan_policy="omit").statistic) < 0.08
    together = pd.crosstab(made["kind"], made["member"])
    assert chi2_contingency(together).pvalue > 1e-3


def test_independent_columns_of_a_csv_stay_texts(tmp_path):
    mixed().to_csv(tmp_path / "data.csv", index=False)
    table = read_table(tmp_path / "data.csv")
    made = independent(table, 100, 0)
    assert made.data.schema == table.data.schema
    for name in table.data.column_names:
        assert set(made.data[name].to_pylist()) <= set(table.data[name].to_pylist())


def test_smote_lies_between_two_neighbours_in_every_number():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    real = pd.DataFrame(x, columns=["a", "b", "c"])
    made = smote(as_table(real), 500, 0).to_pandas().to_numpy()
    # on the segment between two of the real rows, of which one is among the five nearest of the other
    scale = (np.quantile(x, 0.75, 0) - np.quantile(x, 0.25, 0)) / 1.349
    points = np.arcsinh((x - np.median(x, 0)) / scale)
    order = np.argsort(((points[:, None] - points[None]) ** 2).sum(2), axis=1)[:, 1:6]
    ends = np.array([(i, j) for i in range(300) for j in order[i]])
    for row in made:
        p, q = x[ends[:, 0]], x[ends[:, 1]]
        t = ((row - p) * (q - p)).sum(1) / ((q - p) ** 2).sum(1)
        gap = np.linalg.norm(p + t[:, None] * (q - p) - row, axis=1)
        assert ((gap < 1e-9) & (t >= 0) & (t <= 1)).any()


def test_smote_takes_labels_and_gaps_from_either_row(tmp_path):
    rng = np.random.default_rng(0)
    # two clusters far apart, each with labels and gaps of its own
    side = np.arange(300) % 2
    real = pd.DataFrame(
        {
            "x": 100.0 * side + rng.normal(size=300),
            "y": 100.0 * side + rng.normal(size=300),
            "gap": np.where((side == 1) & (rng.random(300) < 0.5), np.nan, rng.normal(size=300)),
            "label": np.where(side == 1, rng.choice(["a", "b"], 300), "c"),
        }
    )
    made = smote(as_table(real), 4000, 0).to_pandas()
    right = made["x"] > 50
    assert not made["x"].between(10, 90).any()
    assert set(made["label"][right]) == {"a", "b"}
    assert set(made["label"][~right]) == {"c"}
    assert made["gap"][~right].notna().all()
    assert made["gap"][right].isna().mean() == pytest.approx(0.5, abs=0.1)


def test_between_a_number_and_a_gap_lies_what_the_nearer_row_holds():
    table = as_table(pd.DataFrame({"x": [0.25, np.nan]}))
    first, second, step = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]), np.array([0.2, 0.8, 0.2, 0.8])
    made = module._between(table.schema["x"], table.data["x"].combine_chunks(), first, second, step)
    assert np.array_equal(made, [0.25, np.nan, np.nan, 0.25], equal_nan=True)


def test_smote_of_any_source_keeps_what_cells_are(table, tmp_path):
    made, real = frame(smote(table, 1000, 0), tmp_path), mixed()
    assert pd.api.types.is_integer_dtype(made["age"])
    assert made["age"].between(real["age"].min(), real["age"].max()).all()
    assert pd.api.types.is_datetime64_any_dtype(made["day"])
    assert (made["day"] == made["day"].dt.normalize()).all()
    assert made["day"].between(real["day"].min(), real["day"].max()).all()
    assert set(made["kind"]) == {"young", "old"}
    assert set(made["member"]) == {True, False}
    assert made["price"].isna().mean() == pytest.approx(real["price"].isna().mean(), abs=0.05)
    assert set(made["id"]) <= set(real["id"])
    assert set(made["note"]) <= set(real["note"])
    assert spearmanr(made["age"], made["price"], nan_policy="omit").statistic > 0.9
    assert not set(made["weight"].round(9)) <= set(real["weight"].round(9))


def test_smote_writes_no_more_decimals_than_there_are(tmp_path):
    mixed().to_csv(tmp_path / "data.csv", index=False)
    made = smote(read_table(tmp_path / "data.csv"), 500, 0)
    price = np.array(made.data["price"].drop_null().to_pylist())
    assert np.allclose(price, np.round(price, 2), atol=1e-12)
    assert not set(price) <= set(mixed()["price"])


def test_smote_keeps_the_types_of_the_source():
    real = pa.table(
        {
            "small": pa.array(range(100), pa.int8()),
            "wide": pa.array([2**40 + i for i in range(100)], pa.int64()),
            "single": pa.array(np.linspace(0, 1, 100), pa.float32()),
            "money": pa.array(range(100)).cast(pa.decimal128(19, 0)).cast(pa.decimal128(8, 2)),
            "at": pa.array(np.arange(100) * 10**9, pa.timestamp("us", "UTC")),
            "day": pa.array(range(100), pa.date32()),
            "label": pa.array(list("ab") * 50).dictionary_encode(),
        }
    )
    made = smote(as_table(real), 50, 0).data
    assert made.schema.types == real.schema.types
    assert made.num_rows == 50
    assert made["small"].null_count == 0


def test_smote_of_equal_rows_is_that_row():
    real = pd.DataFrame({"x": [1.5] * 30 + [2.5] * 30, "y": [3] * 30 + [4] * 30})
    made = smote(as_table(real), 100, 0).to_pandas()
    assert set(map(tuple, made.to_numpy())) == {(1.5, 3), (2.5, 4)}


def test_smote_never_takes_a_row_for_its_own_neighbour():
    real = pd.DataFrame({"x": [0.0, 1.0, 10.0, 11.0, 20.0, 21.0, 30.0], "y": np.arange(7.0)})
    table = as_table(real)
    features = module.Features(table, table.schema)
    near = module._neighbours(features, table)
    assert near.shape == (7, 5)
    assert (near != np.arange(7)[:, None]).all()


def test_smote_of_many_rows_searches_among_some(monkeypatch):
    monkeypatch.setattr(module, "SEARCHED", 50)
    real = mixed(300)
    made = smote(as_table(real), 2000, 0).to_pandas()
    assert len(made) == 2000
    assert made["id"].nunique() == 50


@pytest.mark.parametrize("n", [2, 3, 6])
def test_smote_of_very_few_rows_draws_some(n):
    real = pd.DataFrame({"x": np.arange(n) + 0.5, "y": np.arange(n) * 2.0})
    made = smote(as_table(real), 20, 0).to_pandas()
    assert made["x"].between(0.5, n).all()
