"""Tables read block by block tell what tables in memory tell."""

import contextlib
import gzip
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import make_people
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthgen import Synthesizer
from synthgen.codec import fit_codec
from synthgen.codec.made import Prefixes, Words
from synthgen.codec.sketch import Labels, Numbers
from synthgen.codec.stream import fit_stream
from synthgen.data import Table, TableStream, read, stream
from synthgen.data.stream import sample_rows
from synthgen.errors import Interrupted, SynthgenError
from synthgen.schema import Column, Dialect, Schema
from synthgen.streamed import Store, StreamedRecords
from synthgen.tally import Counter, Tally, merge

QUICK = {"trees": 1, "rounds": 5}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(stream, "BLOCK", 256)
    monkeypatch.setattr(stream, "BYTES", 1 << 13)


def put(tmp_path, frame, name="t.csv", **options):
    path = tmp_path / name
    if name.endswith(".parquet"):
        frame.to_parquet(path, index=False, **options)
    else:
        frame.to_csv(path, index=False)
    return path


def cells(tally):
    return list(zip(tally.cells.to_pylist(), tally.counts.tolist(), strict=True))


def same(a, b):
    assert cells(a) == cells(b)
    assert (a.records, a.nulls, a.bound) == (b.records, b.nulls, b.bound)


COLUMNS = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-50, 50)), max_size=60).map(lambda v: pa.array(v, pa.int64())),
    st.lists(st.one_of(st.none(), st.sampled_from(["", "NA", *"abcdefghij", *map(str, range(30))])), max_size=60).map(
        lambda v: pa.array(v, pa.string())
    ),
)


@given(COLUMNS, st.data())
@settings(max_examples=150, deadline=None)
def test_tallies_of_parts_merge_to_the_tally_of_the_whole(column, data):
    cap, always = data.draw(st.integers(1, 12)), ("NA",)
    i, j = sorted(data.draw(st.tuples(st.integers(0, len(column)), st.integers(0, len(column)))))
    parts = [Tally.of(p) for p in (column[:i], column[i:j], column[j:])]
    together = merge([Tally.of(column)], cap, always)
    a, b, c = (merge([p], cap, always) for p in parts)
    same(merge([merge([a, b], cap, always), c], cap, always), together)
    same(merge([a, merge([b, c], cap, always)], cap, always), together)
    counter = Counter(column.type, cap, always)
    for part in (column[:i], column[i:j], column[j:]):
        counter.add(part)
    same(counter.tally(), together)
    truth = pd.Series(column.to_pylist(), dtype=object).value_counts(dropna=False)
    assert all(
        truth[truth.index.isna() if cell is None else truth.index == cell].sum() == n for cell, n in cells(together)
    )
    if together.complete:
        assert len(together.cells) == len(truth)
    else:
        numbers = [int(c) for c in column.to_pylist() if c is not None and str(c).lstrip("-").isdigit()]
        kept = {c for c, _ in cells(together)}
        assert not numbers or {min(numbers), max(numbers)} <= {int(c) for c in kept if str(c).lstrip("-").isdigit()}
        assert ("NA" in kept) == ("NA" in column.to_pylist())


@pytest.mark.parametrize("kind", ["ints", "texts"])
def test_the_number_of_distinct_cells_is_about_right_beyond_the_cap(kind):
    values = np.random.default_rng(0).integers(0, 20_000, 60_000)
    column = pa.array(values if kind == "ints" else [f"x{v}" for v in values])
    tally = merge([Tally.of(column)], 1000)
    truth = len(np.unique(values))
    assert abs(tally.distinct / truth - 1) < 6 / np.sqrt(1000)
    assert not tally.unique()
    assert merge([Tally.of(pa.array(np.arange(5000)))], 1000).unique()


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("options", [{}, {"codes": 50}, {"codes": 40, "reals": True}, {"keep_rare": True}])
def test_the_codec_is_that_of_the_table_in_memory(tmp_path, name, options):
    people = make_people(3000)
    people["note"] = [f"some words that are {i} and {i * 7 % 1000} long" for i in range(3000)]
    people.loc[:2, "town"] = "Rare"
    path = put(tmp_path, people, name)
    table, streamed = read(path), TableStream.open(path)
    assert streamed.schema == table.schema
    for names in ([], ["town", "age"]):
        assert fit_stream(streamed, names, **options) == fit_codec(table, table.schema, names, **options)


def test_a_declared_schema_and_its_rules_hold_for_streams(tmp_path):
    path = put(tmp_path, make_people(2000))
    columns = (Column(name="age", kind="categorical"), Column(name="wage", kind="numeric", minimum=0))
    columns += (Column(name="town", kind="categorical"), Column(name="sport", kind="categorical"))
    declared = Schema(columns=columns, rules=("combinations: town, sport",))
    table, streamed = read(path).declare(declared), TableStream.open(path, declared=declared)
    assert streamed.schema == table.schema
    assert fit_stream(streamed, ["age"]) == fit_codec(table, table.schema, ["age"])
    bad = Schema(columns=(Column(name="town", kind="categorical", categories=("Oslo",)),))
    with pytest.raises(SynthgenError, match="which its declared categories do not list"):
        fit_stream(TableStream.open(path, declared=bad))


@pytest.mark.parametrize("groups", [7, 300, 5000])
def test_nothing_depends_on_how_the_file_is_cut(tmp_path, groups):
    people = make_people(2500)
    whole = TableStream.open(put(tmp_path, people, "a.parquet"))
    parts = TableStream.open(put(tmp_path, people, "b.parquet", row_group_size=groups))
    assert parts.schema == whole.schema
    for name, tally in whole.tallies.items():
        same(tally, parts.tallies[name])
    assert parts.sample(100, 3).data.equals(whole.sample(100, 3).data)
    (codec, _), (other, _) = fit_stream(whole), fit_stream(parts)
    for store in (Store(whole, codec, 0, 500, tmp_path), Store(parts, other, 0, 500, tmp_path)):
        x, c = store.sample
        assert x.shape == (500, 5)
        assert c.shape == (500, 0)
    assert torch.equal(Store(whole, codec, 0, 500, tmp_path).sample[0], Store(parts, other, 0, 500, tmp_path).sample[0])


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=12)


@given(
    st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=40),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "latin-1"]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_streamed_csv_is_the_one_that_is_read_at_once(tmp_path, rows, delimiter, encoding, space, zipped):
    def quoted(text):
        return '"' + text.replace('"', '""') + '"'

    sign = delimiter + " " * space
    lines = [sign.join(quoted(c) for c in row) for row in [("one", "two", "three"), *rows]]
    raw = "\n".join(lines).encode(encoding, "replace")
    path = tmp_path / "t.csv"
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    dialect = Dialect(delimiter=delimiter, encoding=encoding, space=space)
    for told in (dialect, None):
        with contextlib.suppress(SynthgenError):
            table = read(path, told)
            streamed = TableStream.open(path, told)
            assert streamed.read().data.equals(table.data)
            assert streamed.read().dialect == table.dialect
            assert streamed.schema == table.schema
            continue
        with pytest.raises(SynthgenError):
            TableStream.open(path, told).read()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("a,b\n", "has a header but no rows"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("a,b\n" + "1,2\n" * 9000 + "3\n" + "1,2\n" * 10, "line 9002: 1 fields where the header has 2"),
        ("a,b\n" + '"1\n1",2\n' * 3000 + "3,4,5\n", "line 6002: 3 fields where the header has 2"),
        (b"a,b\n\x00\x01", "is a binary file"),
        (b"PAR1 and no more", "no readable Parquet file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_as_of_a_table(tmp_path, content, said):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for fit in (read, lambda p: TableStream.open(p).schema):
        with pytest.raises(SynthgenError, match=said):
            fit(path)


def test_one_row_is_a_table(tmp_path):
    path = put(tmp_path, pd.DataFrame({"a": [1], "b": ["x"]}))
    assert TableStream.open(path).schema == read(path).schema
    with pytest.raises(SynthgenError, match="at least 10 are needed"):
        Synthesizer("trees").fit(TableStream.open(path))


def wide(n=20_000, seed=0):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(n) < 0.3, 0.0, rng.lognormal(3, 1, n).round(3))
    x[rng.random(n) < 0.1] = 17.25
    often = rng.zipf(1.3, n) % 5000
    return pd.DataFrame(
        {
            "x": np.where(rng.random(n) < 0.05, np.nan, x),
            "label": [f"l{v}" for v in often],
            "serial": np.arange(1, n + 1) + 10**6,
            "key": [f"{v:08x}" for v in rng.permutation(16**6)[:n] * 3],
            "note": [" ".join(f"w{v} tone" for v in rng.integers(0, 9000, 5)) for _ in range(n)],
            "side": rng.choice(["a", "b"], n),
        }
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    return {name: put(folder, wide(), name) for name in ("t.csv", "t.parquet")}


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_beyond_the_cap_kinds_are_those_of_the_table_in_memory(large, name):
    table = read(large[name])
    streamed = TableStream.open(large[name])
    object.__setattr__(streamed, "cap", 400)
    assert [t.complete for t in streamed.tallies.values()] == [False] * 5 + [True]
    assert streamed.schema == table.schema


def biggest(numbers):
    """Records of the largest bin of more than one value."""
    return numbers.counts[numbers.low < numbers.high].max()


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_beyond_the_cap_masses_are_exact_up_to_one_bin(large, name, monkeypatch):
    monkeypatch.setattr("synthgen.codec.sketch.SAMPLE", 4000)
    table, streamed = read(large[name]), TableStream.open(large[name])
    object.__setattr__(streamed, "cap", 400)
    bins = []
    monkeypatch.setattr("synthgen.codec.sketch.BINS", 2000)
    codec_of = Numbers.codec
    monkeypatch.setattr(Numbers, "codec", lambda self, *a: bins.append(biggest(self)) or codec_of(self, *a))
    (codec, notes), (exact, others) = (
        fit_stream(streamed, codes=100),
        fit_codec(table, table.schema, codes=100),
    )
    x, truth = codec.columns["x"], exact.columns["x"]
    codes = x.encode(codec.values("x", table))
    shares = np.bincount(codes, minlength=x.size) / len(table)
    assert x.missing == truth.missing
    assert x.step == truth.step
    atoms = [v for v, w in zip(truth.low, truth.high, strict=True) if v == w]
    assert atoms == [v for v, w in zip(x.low, x.high, strict=True) if v == w] == [0.0, 17.25]
    assert abs(x.masses - shares).max() <= bins[0] / len(table)
    assert bins[0] < len(table) / 200
    assert abs(x.masses.sum() - 1) < 1e-12
    assert (x.low[0], x.high[-1]) == pytest.approx((truth.low[0], truth.high[-1]))
    label, known = codec.columns["label"], exact.columns["label"]
    assert dict(zip(label.labels, label.mass, strict=True)) == dict(zip(known.labels, known.mass, strict=True))
    assert [n for n in notes if "label" not in n] == [n for n in others if "label" not in n]
    rng = np.random.default_rng(0)
    data = wide()
    made = codec.columns["key"].make(2000, 0, rng).to_pylist()
    assert not set(made) & set(data.key)
    assert not any(k.startswith(codec.columns["key"].prefix) for k in data.key)
    assert {len(k) for k in made} == {8}
    assert not any(codec.columns["note"].mark in t for t in data.note)
    assert codec.columns["note"] == exact.columns["note"]


def test_sketches_of_parts_merge_to_that_of_the_whole():
    rng = np.random.default_rng(0)
    x, sample = rng.normal(size=3000), rng.normal(size=500).round(1)
    labels = pa.array(rng.choice(list("abcdefgh"), 3000))
    texts = [f"id{v}" for v in rng.integers(0, 10**6, 3000)]
    makers = {
        "numbers": (lambda: Numbers(sample), [x[:900], x[900:]], x),
        "labels": (
            lambda: Labels(Column(name="a", kind="categorical"), Tally.of(labels), labels[:50]),
            [labels[:900], labels[900:]],
            labels,
        ),
        "prefixes": (Prefixes, [texts[:900], texts[900:]], texts),
        "words": (Words, [texts[:900], texts[900:]], texts),
    }
    for make, parts, all_ in makers.values():
        whole, (a, b) = make(), [make(), make()]
        whole.add(all_)
        a.add(parts[0])
        b.add(parts[1])
        a.merge(b)
        for name, value in vars(whole).items():
            if isinstance(value, np.ndarray | int):
                assert np.array_equal(value, getattr(a, name)), name


def test_labels_that_the_sample_holds_once_are_pooled():
    texts = pa.array([f"{i}" for i in range(3000)])
    for dtype, labels in ((None, 2), ("int64", 1)):
        column = Column(name="a", kind="categorical", dtype=dtype)
        counted = Labels(column, merge([Tally.of(texts)], 100), texts[:200])
        counted.add(texts)
        codec, notes = counted.codec(column, 50, True)
        assert codec.size == labels
        assert sum(codec.mass) == pytest.approx(1)
        assert "labels beyond the 50 most frequent" in notes[0]


def test_a_beginning_that_is_not_taken_is_that_of_no_id():
    ids = [str(v) for v in range(1, 4000)] + ["é" * 40]
    seen = Prefixes()
    seen.add(ids)
    assert all(seen.taken(i[:k]) for i in ids for k in range(1, len(i) + 1))
    assert not seen.taken("4000")
    assert not seen.taken("x" * 41)
    assert seen.taken("x" * 20)


@pytest.mark.parametrize(
    ("hidden", "kind"),
    [("abc", "id"), ("7.123456", "numeric"), ("1e-7", "numeric"), ("NA", "numeric"), ("inf", "numeric")],
)
def test_one_odd_cell_among_many_is_found(tmp_path, hidden, kind):
    values = [f"{v / 100:.2f}" for v in np.random.default_rng(0).permutation(900_000)[:6000]]
    values[4321] = hidden
    path = put(tmp_path, pd.DataFrame({"x": values, "y": ["a", "b"] * 3000}))
    streamed = TableStream.open(path)
    object.__setattr__(streamed, "cap", 100)
    assert streamed.schema == read(path).schema
    assert streamed.schema["x"].kind == kind


def test_one_odd_date_among_many_is_found(tmp_path):
    days = (pd.Timestamp("1990-01-01") + pd.to_timedelta(np.arange(6000), unit="D")).strftime("%Y-%m-%d").tolist()
    path = put(tmp_path, pd.DataFrame({"x": days, "y": ["a", "b"] * 3000}))
    streamed = TableStream.open(path)
    object.__setattr__(streamed, "cap", 100)
    assert streamed.schema["x"].kind == "datetime"
    days[5000] = "1-1-1999"
    path = put(tmp_path, pd.DataFrame({"x": days, "y": ["a", "b"] * 3000}), "u.csv")
    streamed = TableStream.open(path)
    object.__setattr__(streamed, "cap", 100)
    assert streamed.schema == read(path).schema
    assert streamed.schema["x"].kind == "id"


def test_a_sample_of_rows_is_uniform_and_the_same_for_all():
    held = np.zeros(50)
    for seed in range(2000):
        rows = sample_rows(50, 10, seed)
        assert len(np.unique(rows)) == 10
        held[rows] += 1
    assert abs(held - 400).max() < 6 * np.sqrt(2000 * 0.2 * 0.8)
    assert (np.diff(sample_rows(3_000_000, 1000, 1)) > 0).all()
    assert sample_rows(5, 9, 0).tolist() == [0, 1, 2, 3, 4]


def test_sampled_rows_are_those_of_the_table_in_memory(tmp_path):
    path = put(tmp_path, make_people(3000))
    fits = [Synthesizer("trees", sample=700, seed=4, **QUICK).fit(d) for d in (read(path), TableStream.open(path))]
    assert fits[0].rows == fits[1].rows == 700
    assert fits[0].codec.state() == fits[1].codec.state()
    assert all(torch.equal(a, b) for a, b in zip(*(f.model.state_dict().values() for f in fits), strict=True))


@pytest.mark.parametrize("codes", [0, 100])
@pytest.mark.parametrize("names", [[], ["town"]])
def test_batches_go_through_all_records_once(tmp_path, codes, names):
    streamed = TableStream.open(put(tmp_path, make_people(1000)))
    codec, _ = fit_stream(streamed, names, codes=codes)
    store = Store(streamed, codec, 3, 100, tmp_path)
    torch.manual_seed(0)
    parts = list(StreamedRecords(store).batches(64))
    x, c = (torch.cat(t) for t in zip(*parts, strict=True))
    everything = Store(streamed, codec, 3, 1000, tmp_path)
    wanted, context = everything.sample
    torch.manual_seed(0)
    order = torch.randperm(1000)
    assert [len(p) for p, _ in parts] == [64] * 15 + [40]
    assert torch.equal(x, wanted[order])
    assert torch.equal(c, context[order])
    rows = sample_rows(1000, 100, 3)
    assert torch.equal(store.sample[0], wanted[rows]) or codes == 0  # an atom's score is drawn for whom is asked
    store.close()


def test_labels_too_rare_for_a_code_are_the_commonest_of_all(tmp_path):
    n = 1500
    frame = pd.DataFrame(
        {"g": ["a"] * 400 + ["b"] * (n - 403) + ["rare"] * 3, "x": np.arange(n) % 50, "y": ["u", "v"] * 750}
    )
    frame = frame.iloc[::-1]  # the first blocks hold no a
    path = put(tmp_path, frame)
    streamed, table = TableStream.open(path), read(path)
    (codec, _), (other, _) = fit_stream(streamed, ["g"]), fit_codec(table, table.schema, ["g"])
    assert codec == other
    c = Store(streamed, codec, 0, n, tmp_path).sample[1]
    assert torch.equal(c, other.embed_context(other.learned_context(table)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("trees", QUICK),
        ("marginals", {}),
        ("gmm", {"components": 5, "passes": 2}),
        ("autoregressive", {"steps": 5}),
        ("vae", {"steps": 5, "rounds": 5, "components": 5}),
        ("autoencoder", {"steps": 5, "rounds": 5, "components": 5}),
        ("gan", {"steps": 5, "rounds": 5}),
        pytest.param("diffusion", {"steps": 5, "rounds": 5}, marks=pytest.mark.slow),
    ],
)
def test_every_generator_is_fitted_on_a_stream(tmp_path, name, options):
    path = put(tmp_path, make_people(3000))
    made = []
    for _ in range(2):
        streamed = TableStream.open(path)
        object.__setattr__(streamed, "room", 1000)
        fitted = Synthesizer(name, given=["town"], device="cpu", **options).fit(streamed)
        made.append(fitted.generate(50, seed=1))
    assert made[0].equals(made[1])
    assert fitted.rows == 3000
    said = " ".join(fitted.notes)
    assert ("was trained on all 3000 rows, from disk" in said) == (name not in ("trees", "marginals", "gmm"))
    if name not in ("autoregressive",):
        assert "a sample of 1000 of 3000 rows, the columns' frequencies are from all" in said
    assert sum(fitted.codec.context.counts) == 3000


def test_a_stream_that_fits_is_fitted_as_in_memory(tmp_path):
    """Trees on codes draw nothing while they encode: all rows in memory are all rows, wherever from."""
    path = put(tmp_path, make_people(1500).drop(columns=["id"]))
    a, b = (Synthesizer("trees", seed=2, **QUICK).fit(d) for d in (read(path), TableStream.open(path)))
    assert a.generate(300).equals(b.generate(300))


def test_an_interrupted_fit_leaves_no_file_and_goes_on(tmp_path):
    path = put(tmp_path, make_people(3000))
    options = {"steps": 60, "device": "cpu"}
    whole = Synthesizer("autoregressive", **options).fit(TableStream.open(path))
    calls = iter(range(10**6))
    place = tmp_path / "m.checkpoint"
    with pytest.raises(Interrupted):
        Synthesizer("autoregressive", **options).fit(
            TableStream.open(path), checkpoint=place, interrupted=lambda: next(calls) == 25
        )
    assert sorted(os.listdir(tmp_path)) == ["m.checkpoint", "t.csv"]
    again = Synthesizer("autoregressive", **options)
    again.fit(TableStream.open(path), checkpoint=place, resume=True)
    assert again.generate(100).equals(whole.generate(100))
    assert sorted(os.listdir(tmp_path)) == ["m.checkpoint", "t.csv"]


@pytest.mark.parametrize("after", [1, 5, 12])
def test_a_pass_can_be_stopped_and_leaves_no_file(tmp_path, after):
    calls = iter(range(10**6))

    def heed(rows):
        if next(calls) == after:
            raise Interrupted("interrupted")

    streamed = TableStream.open(put(tmp_path, make_people(2000)))
    object.__setattr__(streamed, "heed", heed)
    with pytest.raises(Interrupted):
        Synthesizer("autoregressive", steps=5).fit(streamed, checkpoint=tmp_path / "m.checkpoint")
    assert os.listdir(tmp_path) == ["t.csv"]


def test_a_disk_without_room_is_said_before_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr("synthgen.streamed.shutil.disk_usage", lambda path: type("U", (), {"free": 10}))
    with pytest.raises(SynthgenError, match="on disk, beside the output, which is not free there; fit with --sample"):
        Synthesizer("autoregressive", steps=5).fit(TableStream.open(put(tmp_path, make_people(2000))))


def test_types_of_parquet_are_kept(tmp_path):
    n = 1200
    rng = np.random.default_rng(0)
    data = pa.table(
        {
            "cat": pa.array(rng.choice(["a", "b"], n)).dictionary_encode(),
            "big": pa.array(rng.choice(["u", "v"], n), pa.large_string()),
            "flag": pa.array(rng.random(n) < 0.4),
            "dec": pa.array(rng.integers(0, 999, n)).cast(pa.decimal128(21, 2)),
            "when": pa.array(rng.integers(0, 10**15, n), pa.timestamp("us", "UTC")),
            "day": pa.array(rng.integers(0, 9000, n).astype(np.int32), pa.date32()),
            "f": pa.array(rng.normal(size=n).astype(np.float32)),
            "h": pa.array(rng.normal(size=n).astype(np.float16)),
            "gap": pa.nulls(n),
        }
    )
    pq.write_table(data, tmp_path / "t.parquet", row_group_size=100)
    for cap in (100_000, 50):
        streamed, table = TableStream.open(tmp_path / "t.parquet"), read(tmp_path / "t.parquet")
        object.__setattr__(streamed, "cap", cap)
        assert streamed.schema == table.schema
        assert streamed.read().data.equals(table.data)
        fit_stream(streamed)
    assert isinstance(table, Table)
