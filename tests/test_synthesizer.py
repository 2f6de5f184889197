"""Datasets in, datasets out: what a fitted synthesizer promises of the rows it makes."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from synthgen_trees import Trees

import synthgen
from synthgen import Synthesizer
from synthgen.codec import TableCodec
from synthgen.data import Table
from synthgen.dp.budget import Budget
from synthgen.errors import BudgetError, Interrupted, SynthgenError
from synthgen.schema import Column, Schema

CHUNK = TableCodec.chunk
FAST = {"trees": {"rounds": 20}, "gmm": {"components": 30}, "autoregressive": {"epochs": 40}}


def people(n=800, seed=0):
    """A table in which the city decides the income and the age goes with it."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["Rome", "Oslo", "Lima"], n, p=[0.5, 0.3, 0.2])
    rich = np.where(city == "Rome", rng.random(n) < 0.9, rng.random(n) < 0.1)
    age = np.where(rich, rng.normal(60, 6, n), rng.normal(30, 6, n)).round().astype(int)
    score = np.where(rng.random(n) < 0.25, np.nan, (age + rng.normal(0, 2, n)).round(2))
    return pd.DataFrame(
        {
            "id": [f"K{i:05d}" for i in rng.permutation(n)],
            "city": city,
            "income": np.where(rich, ">50K", "<=50K"),
            "age": age,
            "score": score,
            "country": "here",
            "nothing": np.full(n, np.nan),
        }
    )


def synthesizer(name="trees", **options):
    return Synthesizer(name, device="cpu", **{**FAST[name], **options})


def share(column, value):
    return float((column == value).mean())


@pytest.fixture(scope="module")
def frame():
    return people()


@pytest.fixture(scope="module")
def fitted(frame):
    return synthesizer().fit(frame)


@pytest.fixture(scope="module")
def given(frame):
    """Trees that know the city beforehand."""
    return synthesizer(given=["city"]).fit(frame)


@pytest.fixture(scope="module", params=["gmm", "autoregressive"])
def completing(request, frame):
    return synthesizer(request.param).fit(frame)


@pytest.fixture(scope="module")
def tiny():
    """One column of two labels."""
    return synthesizer(rounds=0).fit(pd.DataFrame({"a": list("xy") * 20, "b": list("xxyy") * 10}))


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(TableCodec, "chunk", 100)


@pytest.mark.parametrize("n", [1, 2, 799, CHUNK, CHUNK + 1, 150_000])
def test_exactly_as_many_rows_come_as_were_asked_for(tiny, n):
    assert len(tiny.generate(n)) == n
    assert [len(p) for p in tiny.stream(n)] == [CHUNK] * (n // CHUNK) + [n % CHUNK] * (n % CHUNK > 0)


@pytest.mark.parametrize("n", [0, -3])
def test_less_than_one_row_is_refused(tiny, n):
    with pytest.raises(SynthgenError, match="ask for at least 1"):
        tiny.generate(n)


def test_the_same_seed_gives_the_same_rows_and_another_others(fitted):
    first = fitted.generate(300, seed=1)
    pd.testing.assert_frame_equal(first, fitted.generate(300, seed=1))
    assert not first.equals(fitted.generate(300, seed=2))


def test_the_same_seed_gives_the_same_model(frame, fitted):
    again, other = synthesizer().fit(frame), synthesizer(seed=1).fit(frame)
    assert all(torch.equal(t, again.model.state_dict()[name]) for name, t in fitted.model.state_dict().items())
    assert not fitted.generate(100).equals(other.generate(100))


def test_fitting_and_generating_leave_global_random_numbers_alone(frame):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    synthesizer().fit(frame).generate(10)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_the_stream_is_the_whole_in_pieces(fitted, small_chunks):
    parts = [p.to_pandas() for p in fitted.stream(250, seed=3)]
    assert [len(p) for p in parts] == [100, 100, 50]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), fitted.generate(250, seed=3))


def test_fewer_rows_are_the_first_of_more_up_to_whole_chunks(fitted, small_chunks):
    many, few = fitted.generate(300, seed=3), fitted.generate(250, seed=3)
    pd.testing.assert_frame_equal(few[:200], many[:200])
    assert not few[200:].equals(many[200:250])


def test_chunks_differ_from_each_other(fitted, small_chunks):
    first, second = (p.to_pandas().drop(columns="id") for p in fitted.stream(200))
    assert not first.equals(second)


def test_a_stored_model_draws_the_same_rows(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    pd.testing.assert_frame_equal(Synthesizer.load(tmp_path / "model", "cpu").generate(500), fitted.generate(500))


@pytest.mark.parametrize("name", ["gmm", "autoregressive"])
def test_so_do_those_of_the_other_families(frame, tmp_path, name):
    model = synthesizer(name, given=["city"], **({"epochs": 1} if name == "autoregressive" else {})).fit(frame)
    model.save(tmp_path / "model")
    loaded = Synthesizer.load(tmp_path / "model", "cpu")
    assert loaded.given == ("city",)
    pd.testing.assert_frame_equal(loaded.generate(200), model.generate(200))


def test_a_pandas_frame_comes_back_with_its_dtypes(frame, fitted):
    drawn = fitted.generate(100)
    assert list(drawn.columns) == list(frame.columns)
    assert drawn.dtypes.astype(str).to_dict() == frame.dtypes.astype(str).to_dict()


def test_less_usual_dtypes_come_back_too():
    n = 200
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "small": rng.integers(0, 50, n).astype("int8"),
            "single": rng.normal(size=n).astype("float32"),
            "nullable": pd.array(np.where(rng.random(n) < 0.3, None, 5), dtype="Int64"),
            "category": pd.Categorical(rng.choice(["a", "b"], n)),
            "flag": rng.random(n) < 0.5,
            "maybe": pd.array(np.where(rng.random(n) < 0.3, None, rng.random(n) < 0.5), dtype="boolean"),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), unit="D"),
        }
    )
    drawn = synthesizer().fit(frame).generate(150)
    assert drawn.dtypes.astype(str).to_dict() == frame.dtypes.astype(str).to_dict()
    assert drawn["day"].between(frame["day"].min(), frame["day"].max()).all()


def test_an_arrow_table_comes_back_as_one_of_the_same_types():
    rng = np.random.default_rng(0)
    data = pa.table(
        {
            "n": pa.array(rng.integers(0, 9, 200), pa.int16()),
            "x": pa.array(rng.normal(size=200), pa.float32()),
            "s": pa.array(rng.choice(["a", "b"], 200)),
            "d": pa.array(rng.integers(19_000, 19_100, 200).astype("M8[D]")),
            "flag": pa.array(rng.random(200) < 0.5),
        }
    )
    drawn = synthesizer().fit(data).generate(100)
    assert isinstance(drawn, pa.Table)
    assert drawn.schema.equals(data.schema)


def test_a_csv_comes_back_as_a_frame(frame, tmp_path):
    frame.to_csv(tmp_path / "people.csv", index=False)
    drawn = synthesizer().fit(tmp_path / "people.csv").generate(50)
    assert isinstance(drawn, pd.DataFrame)
    assert pd.api.types.is_integer_dtype(drawn["age"])


def test_what_is_no_table_is_refused():
    with pytest.raises(SynthgenError, match="list is no table"):
        synthesizer().fit([1, 2, 3])


def test_columns_depend_as_in_the_table(frame, fitted):
    drawn = fitted.generate(4000)
    for city in ("Rome", "Oslo", "Lima"):
        assert share(drawn["city"], city) == pytest.approx(share(frame["city"], city), abs=0.05)
        of_city = [share(f.loc[f["city"] == city, "income"], ">50K") for f in (drawn, frame)]
        assert of_city[0] == pytest.approx(of_city[1], abs=0.08)
    for income in ("<=50K", ">50K"):
        means = [f.loc[f["income"] == income, "age"].mean() for f in (drawn, frame)]
        assert means[0] == pytest.approx(means[1], abs=1.5)


def test_the_share_of_missing_values_is_kept(frame, fitted):
    drawn = fitted.generate(4000)
    assert drawn["score"].isna().mean() == pytest.approx(frame["score"].isna().mean(), abs=0.04)
    assert drawn["age"].notna().all()


def test_ids_are_fresh_and_distinct(frame, fitted):
    ids = fitted.generate(3000)["id"]
    assert ids.is_unique
    assert not set(ids) & set(frame["id"])
    assert ids.str.fullmatch(r"K\d+").all()


def test_ids_stay_distinct_over_chunks(fitted, small_chunks):
    assert fitted.generate(1000)["id"].is_unique


def test_constant_and_empty_columns_stay_so(fitted):
    drawn = fitted.generate(100)
    assert (drawn["country"] == "here").all()
    assert drawn["nothing"].isna().all()


def test_a_value_can_be_held_by_context(frame, given):
    drawn = given.generate(2000, given={"city": "Rome"})
    assert (drawn["city"] == "Rome").all()
    assert share(drawn["income"], ">50K") == pytest.approx(0.9, abs=0.06)
    assert (given.generate(2000, given={"city": "Oslo"})["income"] == ">50K").mean() < 0.2


def test_without_a_choice_the_context_has_its_own_frequencies(frame, given):
    drawn = given.generate(4000)
    assert list(drawn.columns) == list(frame.columns)
    for city in ("Rome", "Oslo", "Lima"):
        assert share(drawn["city"], city) == pytest.approx(share(frame["city"], city), abs=0.04)


def test_a_table_gives_a_row_each_in_turn(given):
    cities = pd.DataFrame({"city": ["Rome", "Lima", "Oslo"]})
    drawn = given.generate(100, given=cities)
    assert list(drawn["city"]) == (["Rome", "Lima", "Oslo"] * 34)[:100]


def test_turns_go_on_over_chunks(given, small_chunks):
    drawn = given.generate(250, given=pd.DataFrame({"city": ["Rome", "Lima", "Oslo"]}))
    assert list(drawn["city"]) == (["Rome", "Lima", "Oslo"] * 84)[:250]


def test_two_columns_of_context_fill_each_other():
    frame = people()
    model = synthesizer(given=["city", "income"]).fit(frame)
    drawn = model.generate(3000, given={"city": "Rome"})
    assert share(drawn["income"], ">50K") == pytest.approx(0.9, abs=0.05)
    drawn = model.generate(500, given={"city": "Rome", "income": "<=50K"})
    assert (drawn["income"] == "<=50K").all()
    assert drawn["age"].mean() == pytest.approx(30, abs=3)


def test_context_that_never_occurred_together_is_refused_only_where_the_rest_is_drawn():
    frame = pd.DataFrame({"a": list("xy") * 50, "b": list("xy") * 50, "c": list("uv") * 50, "d": list("uuvv") * 25})
    model = synthesizer(given=["a", "b", "c"]).fit(frame)
    with pytest.raises(SynthgenError, match="no training record holds what is given for a, b"):
        model.generate(5, given={"a": "x", "b": "y"})
    assert len(model.generate(5, given={"a": "x", "b": "y", "c": "u"})) == 5


def test_a_value_can_be_held_by_completing(completing):
    drawn = completing.generate(2000, given={"city": "Rome"})
    assert (drawn["city"] == "Rome").all()
    assert share(drawn["income"], ">50K") == pytest.approx(0.9, abs=0.1)


def test_a_number_can_be_held_exactly(completing):
    drawn = completing.generate(1000, given={"age": 61})
    assert (drawn["age"] == 61).all()
    assert share(drawn["income"], ">50K") > 0.85
    assert drawn["score"].mean() == pytest.approx(61, abs=3)


def test_several_values_can_be_held_row_by_row(completing):
    asked = pd.DataFrame({"city": ["Rome", "Oslo"], "income": ["<=50K", ">50K"]})
    drawn = completing.generate(1000, given=asked)
    assert list(drawn["city"]) == ["Rome", "Oslo"] * 500
    assert list(drawn["income"]) == ["<=50K", ">50K"] * 500
    age = drawn.groupby("income")["age"].mean()
    assert age["<=50K"] == pytest.approx(30, abs=6)
    assert age[">50K"] == pytest.approx(60, abs=6)


def test_empty_cells_of_what_is_given_are_drawn(completing):
    asked = pd.DataFrame({"city": ["Rome", None, "Rome", None]})
    drawn = completing.generate(400, given=asked)
    assert (drawn["city"][::2] == "Rome").all()
    assert drawn["city"][1::2].notna().all()
    assert drawn["city"][1::2].nunique() > 1


def test_nothing_given_is_the_same_as_no_mapping(fitted):
    pd.testing.assert_frame_equal(fitted.generate(50, given={}), fitted.generate(50))


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"town": "Rome"}, "no column 'town'"),
        ({"ciity": "Rome"}, "no column 'ciity'; did you mean 'city'"),
        ({"city": "Roma"}, "column 'city' has no value 'Roma'; did you mean 'Rome'"),
        ({"city": "Bern"}, "column 'city' has no value 'Bern'; known: 'Rome', 'Oslo', 'Lima'"),
        ({"id": "K1"}, "column 'id' is id; only modelled columns can be given"),
        ({"country": "here"}, "column 'country' is constant"),
    ],
)
def test_what_cannot_be_given_is_refused(given, asked, complaint):
    with pytest.raises(SynthgenError, match=complaint):
        given.generate(5, given=asked)


def test_trees_cannot_complete_and_say_who_can(fitted):
    with pytest.raises(SynthgenError, match="trees has no complete") as error:
        fitted.generate(5, given={"city": "Rome"})
    for hint in ("autoregressive", "gmm", "--given"):
        assert hint in str(error.value)


@pytest.mark.parametrize("method", ["impute", "anomalies"])
def test_trees_can_neither_impute_nor_judge_and_say_who_can(fitted, frame, method):
    with pytest.raises(SynthgenError, match=r"trees has no .*; generators that have it: .*autoregressive, .*gmm"):
        getattr(fitted, method)(frame)


@pytest.mark.parametrize(
    "call", [lambda s: s.generate(5), lambda s: s.codec, lambda s: s.save("never"), lambda s: s.model]
)
def test_what_is_not_fitted_says_so(call):
    with pytest.raises(SynthgenError, match="not fitted yet; call fit first"):
        call(synthesizer())


def test_an_unknown_generator_is_refused():
    with pytest.raises(SynthgenError, match="did you mean 'trees'"):
        Synthesizer("treees")


def test_an_unknown_setting_is_refused():
    with pytest.raises(SynthgenError, match="did you mean 'rounds'"):
        Synthesizer("trees", round=3)


@pytest.mark.parametrize("n", [1, 9])
def test_fewer_than_ten_rows_are_refused(n):
    with pytest.raises(SynthgenError, match=f"there are {n} rows; at least 10"):
        synthesizer().fit(people()[:n])


def test_ten_rows_are_enough():
    assert len(synthesizer().fit(people()[:10]).generate(30)) == 30


def test_a_table_without_rows_is_refused():
    with pytest.raises(SynthgenError, match="no rows"):
        synthesizer().fit(people()[:0])


def test_dropped_columns_are_not_generated(frame):
    drawn = synthesizer(drop=["id", "age"]).fit(frame).generate(20)
    assert list(drawn.columns) == ["city", "income", "score", "country", "nothing"]


def test_a_column_that_is_not_there_cannot_be_dropped(frame):
    with pytest.raises(SynthgenError, match="cannot drop 'cty'; did you mean 'city'"):
        synthesizer(drop=["cty"]).fit(frame)


def test_a_column_that_is_not_there_cannot_be_given(frame):
    with pytest.raises(SynthgenError, match="no column 'cty'; did you mean 'city'"):
        synthesizer(given=["cty"]).fit(frame)


def test_an_id_cannot_be_given(frame):
    with pytest.raises(SynthgenError, match="column 'id' is id; only modelled columns can be given"):
        synthesizer(given=["id"]).fit(frame)


def test_a_table_without_anything_to_model_is_refused():
    frame = pd.DataFrame({"id": [f"k{i:03d}" for i in range(30)], "one": ["same"] * 30})
    with pytest.raises(SynthgenError, match="no column is left to model"):
        synthesizer().fit(frame)


def test_a_sample_of_the_rows_is_fitted_on(frame):
    frame = pd.DataFrame({"a": [f"v{i % 2}" for i in range(500)], "n": np.arange(500) % 37})
    model = synthesizer(sample=60, rounds=0).fit(frame)
    assert model._rows == 60
    assert len(model.model.donors) == 2 * 60
    other = synthesizer(sample=60, rounds=0, seed=1).fit(frame)
    assert not torch.equal(model.model.donors, other.model.donors)


def test_a_sample_larger_than_the_table_is_the_table(frame):
    assert synthesizer(sample=10_000).fit(frame)._rows == len(frame)


@pytest.mark.parametrize("keep", [False, True])
def test_rare_labels_are_pooled_unless_they_are_to_be_kept(keep):
    labels = ["common"] * 300 + ["rare"] * 3 + ["odd"] * 4
    frame = pd.DataFrame({"label": labels, "n": np.arange(307) % 11})
    model = synthesizer(keep_rare=keep).fit(frame)
    drawn = set(model.generate(5000)["label"])
    assert drawn == ({"common", "rare", "odd"} if keep else {"common", "_RARE_"})
    assert any("--keep-rare" in note for note in model.notes) != keep


def test_a_schema_declares_what_a_column_is():
    frame = pd.DataFrame({"grade": np.arange(200) % 5, "x": np.arange(200) % 7})
    schema = Schema(columns=(Column(name="grade", kind="numeric", minimum=0, maximum=4),))
    drawn = synthesizer(schema=schema).fit(frame).generate(500)
    assert drawn["grade"].between(0, 4).all()
    with pytest.raises(SynthgenError, match="lists column 'grad'; did you mean 'grade'"):
        synthesizer(schema=Schema(columns=(Column(name="grad", kind="numeric"),))).fit(frame)


def test_what_was_decided_about_columns_is_noted(fitted):
    assert any("'id' is an id" in note for note in fitted.notes)


@pytest.mark.parametrize("name", FAST)
def test_without_time_the_model_still_generates(frame, name):
    drawn = synthesizer(name, max_time=1e-9).fit(frame).generate(200)
    assert len(drawn) == 200
    assert set(drawn["city"]) <= {"Rome", "Oslo", "Lima"}


def test_progress_is_reported(frame):
    seen = []
    synthesizer().fit(frame, report=lambda share, **figures: seen.append(share))
    assert seen == sorted(seen)
    assert 0 < seen[0] <= seen[-1] <= 1


@pytest.mark.parametrize("name", FAST)
def test_an_interrupted_fit_goes_on_where_it_stopped(frame, tmp_path, name):
    asked = iter([False, False, True])
    options = {"epochs": 2} if name == "autoregressive" else {}
    with pytest.raises(Interrupted):
        synthesizer(name, **options).fit(frame, checkpoint=tmp_path / "work", interrupted=lambda: next(asked))
    resumed = synthesizer(name, **options).fit(frame, checkpoint=tmp_path / "work", resume=True)
    whole = synthesizer(name, **options).fit(frame)
    pd.testing.assert_frame_equal(resumed.generate(300), whole.generate(300))


@pytest.fixture
def work(frame, tmp_path):
    """The checkpoint of an interrupted fit."""
    with pytest.raises(Interrupted):
        synthesizer().fit(frame, checkpoint=tmp_path / "work", interrupted=lambda: True)
    return tmp_path / "work"


def test_going_on_says_what_the_whole_fit_says(frame, fitted, work):
    assert synthesizer().fit(frame, checkpoint=work, resume=True).notes == fitted.notes


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda f: f.assign(age=f["age"] + 1), {}),
        (lambda f: f[::-1], {}),
        (lambda f: f[:700], {}),
        (lambda f: f.rename(columns={"age": "years"}), {}),
        (lambda f: f, {"seed": 1}),
        (lambda f: f, {"rounds": 21}),
        (lambda f: f, {"given": ["city"]}),
        (lambda f: f, {"keep_rare": True}),
        (lambda f: f, {"drop": ["age"]}),
        (lambda f: f, {"sample": 500}),
    ],
    ids=["cells", "order", "fewer", "name", "seed", "setting", "given", "rare", "drop", "sample"],
)
def test_going_on_with_other_data_or_settings_is_refused(frame, work, change, options):
    with pytest.raises(SynthgenError, match="was made with other data or settings"):
        synthesizer(**options).fit(change(frame), checkpoint=work, resume=True)


def test_going_on_with_another_part_of_one_arrow_table_is_refused(frame, tmp_path):
    data = pa.Table.from_pandas(frame, preserve_index=False)
    with pytest.raises(Interrupted):
        synthesizer().fit(data.slice(0, 400), checkpoint=tmp_path / "work", interrupted=lambda: True)
    with pytest.raises(SynthgenError, match="was made with other data or settings"):
        synthesizer().fit(data.slice(400), checkpoint=tmp_path / "work", resume=True)


def test_going_on_without_a_checkpoint_begins(frame, fitted, tmp_path):
    model = synthesizer().fit(frame, checkpoint=tmp_path / "none", resume=True)
    pd.testing.assert_frame_equal(model.generate(50), fitted.generate(50))


def test_without_resume_a_checkpoint_is_not_looked_at(frame, fitted, work):
    model = synthesizer().fit(people(seed=1), checkpoint=work)
    assert not model.generate(50).equals(fitted.generate(50))


def test_a_generator_class_can_be_fitted_but_not_saved(frame, fitted, tmp_path):
    model = Synthesizer(Trees, device="cpu", **FAST["trees"]).fit(frame)
    pd.testing.assert_frame_equal(model.generate(100), fitted.generate(100))
    with pytest.raises(SynthgenError, match=r"Trees is not installed under a name.*entry point"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_generator_of_images_takes_no_tables(frame):
    pictures = type("Pictures", (Trees,), {"accepts": ("images",)})
    with pytest.raises(SynthgenError, match="images, not tables"):
        Synthesizer(pictures).fit(frame)


def test_a_privacy_budget_is_refused(frame):
    with pytest.raises(BudgetError):
        synthesizer().fit(frame, budget=Budget(epsilon=1, delta=1e-6))


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_written_rows_are_the_generated_ones(fitted, tmp_path, small_chunks, ending):
    done = []
    fitted.write(tmp_path / f"rows.{ending}", 250, seed=4, report=done.append)
    written = synthgen.read(tmp_path / f"rows.{ending}").data
    expected = fitted.generate(250, seed=4)
    assert written.num_rows == 250
    assert written["city"].to_pylist() == list(expected["city"])
    assert [int(a) for a in written["age"].to_pylist()] == list(expected["age"])
    assert done == [0.4, 0.8, 1.0]


def gapped(n=400):
    """People of whom some cells are gone, and the whole."""
    whole = people(n, seed=7)[["city", "income", "age"]]
    rng = np.random.default_rng(0)
    holes = rng.random(whole.shape) < 0.2
    holes[:, 0] = False
    return whole, whole.mask(holes), holes


def test_imputing_fills_the_gaps_and_nothing_else(completing):
    whole, gaps, holes = gapped()
    filled = completing.impute(gaps, draws=5)
    assert filled.notna().all().all()
    for j, name in enumerate(whole.columns):
        kept = ~holes[:, j]
        assert list(filled[name][kept]) == list(whole[name][kept])


def test_a_column_that_is_absent_is_added(completing):
    filled = completing.impute(gapped(50)[1], draws=3)
    assert list(filled.columns) == ["city", "income", "age", "score"]


@pytest.mark.parametrize("empty", [None, np.nan, ""], ids=["none", "nan", "text"])
def test_a_column_that_is_wholly_empty_is_filled(completing, empty):
    filled = completing.impute(pd.DataFrame({"income": ["<=50K", ">50K"] * 20, "age": [empty] * 40}), draws=3)
    age = filled["age"].astype(float).groupby(filled["income"]).mean()
    assert age["<=50K"] == pytest.approx(30, abs=6)
    assert age[">50K"] == pytest.approx(60, abs=6)


def test_imputing_beats_the_mode_and_the_mean(completing):
    whole, gaps, holes = gapped()
    filled = completing.impute(gaps)
    lost = holes[:, 1]
    right = [float((f == whole["income"])[lost].mean()) for f in (filled["income"], gaps["income"].mode()[0])]
    assert right[0] > right[1] + 0.2
    lost = holes[:, 2] & ~holes[:, 1]
    error = [float((f - whole["age"])[lost].abs().mean()) for f in (filled["age"].astype(float), gaps["age"].mean())]
    assert error[0] < 0.6 * error[1]


def test_imputing_the_same_seed_gives_the_same_cells(completing):
    gaps = gapped(100)[1]
    pd.testing.assert_frame_equal(completing.impute(gaps, seed=2), completing.impute(gaps, seed=2))


def test_single_draws_keep_the_spread(completing):
    n = 600
    filled = completing.impute(pd.DataFrame({"city": ["Rome"] * n, "age": np.full(n, np.nan)}), draws=1)
    assert filled["age"].astype(float).std() > 6


def test_a_table_without_gaps_passes_through(completing):
    whole = gapped(50)[0].assign(extra="kept")
    pd.testing.assert_frame_equal(completing.impute(whole)[list(whole.columns)], whole, check_dtype=False)


def test_pieces_of_a_table_are_imputed_alike(completing, monkeypatch):
    monkeypatch.setattr(TableCodec, "chunk", 500)
    gaps = gapped(230)[1]
    parts = list(completing.impute_stream(gaps, draws=5))
    assert [len(p) for p in parts] == [100, 100, 30]
    assert all(isinstance(p, Table) for p in parts)
    assert completing.impute(gaps, draws=5).notna().all().all()


def test_a_table_of_strangers_cannot_be_imputed(completing):
    with pytest.raises(SynthgenError, match="none of the model's columns"):
        completing.impute(pd.DataFrame({"other": [1, None]}))


def test_an_age_of_a_million_is_the_strangest(completing, frame):
    odd = people(200, seed=3).assign(age=lambda f: f["age"].where(f.index != 17, 1_000_000))
    score = completing.anomalies(odd)
    assert score.shape == (200,)
    assert np.isfinite(score).all()
    assert score.argmax() == 17


def test_a_combination_that_does_not_occur_is_stranger_than_one_that_does(completing):
    usual = pd.DataFrame({"city": ["Rome"], "income": [">50K"], "age": [60], "score": [60.0]})
    strange = usual.assign(income="<=50K", score=25.0)
    first, second = completing.anomalies(pd.concat([usual, strange], ignore_index=True))
    assert second > first + 3


def test_a_label_never_seen_is_strange(completing):
    row = people(20, seed=3)
    known, unknown = completing.anomalies(row), completing.anomalies(row.assign(city="Atlantis"))
    assert (unknown > known).mean() > 0.9


def test_scores_need_every_column(completing):
    with pytest.raises(SynthgenError, match="the table has no column 'age'"):
        completing.anomalies(people(20).drop(columns="age"))


def test_scores_are_minus_the_log_probability_of_labels():
    frame = pd.DataFrame({"a": ["x"] * 120 + ["y"] * 80, "b": ["u"] * 90 + ["v"] * 50 + ["u"] * 20 + ["v"] * 40})
    model = synthesizer("gmm", components=8, passes=50).fit(frame)
    cells = pd.DataFrame({"a": ["x", "x", "y", "y"], "b": ["u", "v", "u", "v"]})
    shares = [sum((frame["a"] == a) & (frame["b"] == b)) / 200 for a, b in cells.to_numpy()]
    np.testing.assert_allclose(model.anomalies(cells), -np.log(shares), atol=0.3)
    assert np.exp(-model.anomalies(cells)).sum() == pytest.approx(1, abs=1e-3)
