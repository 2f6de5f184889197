"""SynthSampler: imbalanced-learn's and scikit-learn's own checks, and rows of every kind in and out."""

import datetime
import decimal
import pickle
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse
from scipy.stats import ks_2samp
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler

pytest.importorskip("imblearn")

from imblearn.over_sampling import SMOTENC, RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator

from synthgen import Schema, SynthgenError
from synthgen.augment import SynthSampler, augmented
from synthgen.augment.matrix import Matrix
from synthgen.schema import Column

QUICK = SynthSampler(random_state=0, settings={"components": 4})


def listed(checks):
    return [pytest.param(*pair, id=f"{pair[1].func.__name__}-{k}") for k, pair in enumerate(checks)]


@pytest.mark.parametrize(("estimator", "check"), listed(estimator_checks.estimator_checks_generator(QUICK)))
def test_what_imbalanced_learn_asks_of_a_sampler(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("estimator", "check"), listed(estimator_checks_generator(QUICK)))
def test_what_scikit_learn_asks_of_an_estimator(estimator, check):
    check(estimator)


def test_parameters_are_checked_and_columns_keep_their_names():
    estimator_checks.check_param_validation("SynthSampler", QUICK)
    estimator_checks.check_dataframe_column_names_consistency("SynthSampler", QUICK)


def mixed(n=400, minority=40, seed=0):
    """A frame with a column of every kind, and classes: `kind` follows the class, `wage` is higher in "yes"."""
    rng = np.random.default_rng(seed)
    y = np.array(["no"] * (n - minority) + ["yes"] * minority)
    rng.shuffle(y)
    yes = y == "yes"
    frame = pd.DataFrame(
        {
            "serial": rng.permutation(n) + 10_000,  # all different: no id, but a number
            "wage": np.where(rng.random(n) < 0.1, np.nan, rng.normal(np.where(yes, 50, 20), 2)),
            "small": rng.normal(size=n).astype("float32"),
            "count": pd.array(rng.integers(0, 5, n), dtype="Int64"),
            "kind": np.where(yes, "x", rng.choice(["p", "q"], n)),
            "level": pd.Categorical(rng.choice(["low", "high"], n), categories=["low", "high", "never"], ordered=True),
            "code": pd.Categorical(rng.choice([10, 20], n)),
            "member": rng.random(n) < 0.3,
            "maybe": pd.array(rng.choice([True, False, None], n), dtype="boolean"),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), unit="D"),
            "when": pd.Timestamp("2024-01-01", tz="Europe/Oslo") + pd.to_timedelta(rng.integers(0, 300, n), unit="h"),
            "date": [datetime.date(2024, 1, 1) + datetime.timedelta(int(d)) for d in rng.integers(0, 99, n)],
            "figure": rng.choice(["007", "1e3", "", "?"], n),
            "name": [f"{'Y' if v else 'N'} name {i} of many" for i, v in enumerate(yes)],
            "gone": np.full(n, np.nan),
            "same": "constant",
        },
        index=rng.permutation(n) + 7,
    )
    frame.loc[frame.index[:20], "count"] = pd.NA
    frame["thing"] = pd.Series([[None, "a"][i] for i in rng.integers(0, 2, n)], index=frame.index, dtype=object)
    return frame, pd.Series(y, index=frame.index, name="target")


def test_a_mixed_frame_comes_back_as_it_is_with_rows_below():
    X, y = mixed()
    sampler = clone(QUICK)
    more, labels = sampler.fit_resample(X, y)
    old, new = more[~sampler.synthetic_], more[sampler.synthetic_]
    pd.testing.assert_frame_equal(old, X.reset_index(drop=True))
    assert labels[:400].tolist() == y.tolist()
    assert labels.value_counts().to_dict() == {"no": 360, "yes": 360}
    assert (more.dtypes == X.dtypes).all()
    assert isinstance(more.index, pd.RangeIndex)
    assert (labels.name, labels.dtype) == ("target", y.dtype)
    assert len(new) == 320
    for name in ("kind", "level", "code", "figure", "thing", "member", "same"):
        assert set(new[name].dropna()) <= set(X[name].dropna()), name
    assert new["thing"].isna().sum() > 50
    assert all(cell is None or cell == "a" for cell in new["thing"])
    assert set(new["figure"]) == {"007", "1e3", "", "?"}  # as written, and none is taken for a number
    assert all(type(d) is datetime.date for d in new["date"])
    assert new["gone"].isna().all()


def test_rows_are_of_the_class_that_they_are_drawn_for():
    X, y = mixed()
    new = clone(QUICK).fit_resample(X, y)[0].iloc[400:]
    assert (new["kind"] == "x").mean() > 0.95
    assert new["name"].str.startswith("Y name").all()  # copied from a record of the class
    assert abs(new["wage"].mean() - 50) < 3  # that of all is 23
    assert 0.02 < new["wage"].isna().mean() < 0.3
    assert new["serial"].between(9_000, 12_000).all()
    assert new["serial"].nunique() > 30


def test_frames_look_like_those_of_smote():
    X, y = mixed()
    X = X[["small", "kind"]].astype({"kind": "category"})
    theirs, their_y = SMOTENC(categorical_features=["kind"], random_state=0).fit_resample(X, y)
    ours, our_y = clone(QUICK).fit_resample(X, y)
    assert ours.index.equals(theirs.index)
    assert our_y.index.equals(their_y.index)
    assert ours.columns.equals(theirs.columns)
    assert (ours.dtypes == theirs.dtypes).all()
    pd.testing.assert_frame_equal(ours.iloc[:400], theirs.iloc[:400])
    pd.testing.assert_series_equal(our_y, their_y)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint16", "bool", "U3", object])
def test_arrays_keep_their_type(dtype):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 2, (90, 3)), np.repeat([0, 1], [70, 20])
    X = (X > 0) if dtype == "bool" else X.astype(dtype)
    more, labels = clone(QUICK).fit_resample(X, y)
    assert (more.dtype, more.shape, labels.sum()) == (X.dtype, (140, 3), 70)
    assert (more[:90] == X).all()
    assert set(more[90:].ravel().tolist()) <= set(X.ravel().tolist())
    assert {type(cell) for cell in more[90:].ravel().tolist()} == {type(cell) for cell in X.ravel().tolist()}


def test_an_array_of_objects_mixes_numbers_and_words():
    rng = np.random.default_rng(0)
    X = np.array([[v, "ab"[i % 2], None if i % 5 else True] for i, v in enumerate(rng.normal(size=80))], dtype=object)
    more, _ = clone(QUICK).fit_resample(X, np.repeat([0, 1], [60, 20]))
    assert (more[:80] == X).all()
    assert [{type(v) for v in column} for column in more[80:].T] == [{float}, {str}, {bool, type(None)}]


def test_lists_mix_numbers_and_words():
    rows = [[float(i % 7), "ab"[i % 2]] for i in range(80)]
    more, labels = clone(QUICK).fit_resample(rows, [0] * 60 + [1] * 20)
    assert more[:80] == rows
    assert (len(more), sum(labels)) == (120, 60)
    assert {(type(number), word) for number, word in more[80:]} == {(float, "a"), (float, "b")}


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse_matrices_keep_their_format(kind):
    X, y = make_classification(200, weights=[0.8], random_state=0)
    X = kind(np.where(X > 1, X, 0))
    more, _ = clone(QUICK).fit_resample(X, y)
    assert more.format == X.format
    assert sparse.issparse(more)
    assert (more[:200] != X).nnz == 0
    assert more[200:].nnz < 0.5 * more.shape[1] * (more.shape[0] - 200)


def test_arrow_tables_come_back_as_arrow_tables():
    X, y = mixed()
    table = pa.Table.from_pandas(X, preserve_index=False)
    more, labels = clone(QUICK).fit_resample(table, pa.array(y.tolist()))
    assert more.schema == table.schema
    assert more.slice(0, 400).equals(table)
    assert isinstance(labels, pa.Array)
    assert labels.to_pylist().count("yes") == 360


def test_views_of_strings_become_strings():
    """What other frames hand over by Arrow's stream."""
    words = pa.array(["u", "v"] * 50, pa.string_view())
    more, _ = clone(QUICK).fit_resample(pa.table({"word": words, "x": np.arange(100.0)}), [0] * 80 + [1] * 20)
    assert more.schema.field("word").type == pa.large_string()
    assert set(more["word"].to_pylist()[100:]) == {"u", "v"}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("auto", [70, 70, 70]),
        ("minority", [70, 20, 70]),
        ("all", [70, 70, 70]),
        ({1: 33, 2: 3}, [70, 33, 3]),
        (lambda y: {2: 50}, [70, 20, 50]),
        ({2: 3}, [70, 20, 3]),
    ],
)
def test_exactly_as_many_are_drawn_as_are_asked_for(strategy, expected):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [70, 20, 3])
    sampler = clone(QUICK).set_params(sampling_strategy=strategy)
    if strategy == "minority":
        expected = [70, 20, 70]
    more, labels = sampler.fit_resample(rng.normal(size=(93, 2)), y)
    assert np.bincount(labels).tolist() == expected
    assert len(more) == len(labels) == len(sampler.synthetic_)
    assert sampler.synthetic_.sum() == sum(expected) - 93
    assert list(sampler.synthesizers_) == [k for k, held in enumerate([70, 20, 3]) if expected[k] > held]


def test_a_class_of_one_record_is_drawn():
    """A generator's codec pools labels of fewer than five records; classes are never pooled."""
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], [60, 2, 1])
    _, labels = clone(QUICK).fit_resample(rng.normal(size=(63, 2)), y)
    assert np.unique(labels, return_counts=True)[1].tolist() == [60, 60, 60]


def test_rare_labels_of_features_are_kept_and_none_is_made_up():
    rng = np.random.default_rng(0)
    names = np.array([f"label{i}" for i in range(40)])
    X = pd.DataFrame({"x": rng.normal(size=300), "label": rng.choice(names, 300, p=[0.5] + [0.5 / 39] * 39)})
    y = np.repeat([0, 1], [200, 100])
    new = clone(QUICK).set_params(sampling_strategy={1: 2000}).fit_resample(X, y)[0].iloc[300:]
    assert set(new["label"]) <= set(names)
    held_by_few = X["label"].value_counts().loc[lambda n: n < 5].index
    assert len(held_by_few) > 5
    assert new["label"].isin(held_by_few).any()


def test_many_labels_are_copied_from_records_of_the_class():
    y = np.repeat([0, 1], [1300, 200])
    X = pd.DataFrame(
        {"x": np.arange(1500.0), "zip": [f"z{i % 750}" if i < 1300 else f"y{i % 99}" for i in range(1500)]}
    )
    new = clone(QUICK).fit_resample(X, y)[0].iloc[1500:]
    assert new["zip"].str.startswith("y").all()
    assert new["zip"].nunique() == 99


def test_the_same_state_gives_the_same_rows_and_none_gives_others():
    X, y = make_classification(120, weights=[0.8], random_state=0)

    def draw(state):
        return clone(QUICK).set_params(random_state=state).fit_resample(X, y)[0]

    assert np.array_equal(draw(3), draw(3))
    assert np.array_equal(draw(np.random.RandomState(3)), draw(3))
    assert not np.array_equal(draw(3), draw(4))
    assert not np.array_equal(draw(None), draw(None))


def test_a_class_of_ten_rows_has_a_generator_of_its_own_and_others_share_one():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 2)), np.repeat(["large", "ten", "nine", "empty", "one"], [300, 10, 9, 80, 1])
    X[y == "empty"] = np.nan  # there is nothing to learn from these alone
    sampler = clone(QUICK).set_params(sampling_strategy=dict.fromkeys(["ten", "nine", "empty", "one"], 100))
    _, labels = sampler.fit_resample(X, y)
    assert Counter(labels.tolist()) == {"large": 300, "ten": 100, "nine": 100, "empty": 100, "one": 100}
    found = {c: (synthesizer.rows, synthesizer.given) for c, synthesizer in sampler.synthesizers_.items()}
    told = (400, ("class",))
    assert found == {"ten": (10, ()), "nine": told, "empty": told, "one": told}
    assert sampler.synthesizers_["nine"] is sampler.synthesizers_["one"]
    sampler.set_params(together=True).fit_resample(X, y)
    assert {id(s) for s in sampler.synthesizers_.values()} == {id(sampler.synthesizers_["ten"])}
    assert sampler.synthesizers_["ten"].rows == 400


def test_it_draws_what_augmented_draws():
    """The same generator, fitted on the same rows: distributions agree, whichever way it is asked for."""
    X, y = make_classification(600, 4, n_redundant=0, weights=[0.8], random_state=0)
    frame = pd.DataFrame(X).set_axis(list("abcd"), axis=1).assign(y=y)
    by_command = augmented(frame, "y", {"1": 2000}).query("synthetic")
    by_sampler, _ = SynthSampler(random_state=0, sampling_strategy={1: int(y.sum()) + 2000}).fit_resample(
        frame[[*"abcd"]], y
    )
    for name in "abcd":
        assert ks_2samp(by_command[name], by_sampler[name].iloc[600:]).pvalue > 1e-4


def test_large_classes_give_the_shared_generator_a_share_of_their_rows():
    y = np.repeat([0, 1, 2, 3], [9000, 100, 4000, 5])
    X = np.random.default_rng(0).normal(size=(len(y), 1))
    for rare, rows in ((1, 2000 + 100 + 2000 + 5), (3, 1000 + 100 + 1000 + 5)):
        sampler = clone(QUICK).set_params(together=True, sampling_strategy={rare: 150})
        sampler.fit_resample(X, y)
        assert sampler.synthesizers_[rare].rows == rows
    sampler = clone(QUICK).set_params(sampling_strategy={2: 4010, 3: 10})
    sampler.fit_resample(X, y)
    assert {k: s.rows for k, s in sampler.synthesizers_.items()} == {2: 4000, 3: 2105}


def test_a_schema_says_more_of_features():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"from": rng.uniform(0, 5, 200)})
    X["to"] = X["from"] + rng.exponential(0.2, 200)
    y = np.repeat([0, 1], [150, 50])
    low = Column(name="from", kind="numeric", minimum=0, maximum=5)
    schema = Schema(columns=(low, Column(name="to", kind="numeric")), rules=("from <= to",))
    new = clone(QUICK).set_params(schema=schema, sampling_strategy={1: 2000}).fit_resample(X, y)[0].iloc[200:]
    assert (new["from"] <= new["to"]).all()
    assert new["from"].between(0, 5).all()


def test_any_column_names_will_do():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [60, 20])
    for names in (["class", "class_"], [0, 1], [0, "0"], ["", " "], [("a", 1), ("a", 2)], ["ß", "名"]):
        X = pd.DataFrame(rng.normal(size=(80, 2)))
        X.columns = pd.Index(names, tupleize_cols=False)
        if {type(n) for n in names} == {int, str}:  # scikit-learn refuses names of several types
            assert list(Matrix(X).frame) == ["0", "1"]
            continue
        more, _ = clone(QUICK).fit_resample(X, y)
        assert more.columns.equals(X.columns)
        assert len(more) == 120


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("generator", "settings"), [("trees", {"rounds": 0}), ("vae", {"rounds": 0, "epochs": 1})])
def test_other_generators_will_do(generator, settings, together):
    X, y = mixed()
    sampler = SynthSampler(generator, random_state=0, settings=settings, together=together)
    more, labels = sampler.fit_resample(X, y)
    assert (labels == "yes").sum() == 360
    assert (more.dtypes == X.dtypes).all()


def test_a_grid_searches_the_generator_and_its_settings():
    X, y = make_classification(200, weights=[0.85], random_state=0)
    pipeline = make_pipeline(StandardScaler(), SynthSampler(random_state=0), LogisticRegression())
    balance = {"synthsampler__sampling_strategy": [0.5, 1.0]}
    grid = [
        balance | {"synthsampler__settings": [{"components": 2}], "synthsampler__together": [True]},
        balance | {"synthsampler__generator": ["trees"], "synthsampler__settings": [{"rounds": 0}]},
    ]
    search = GridSearchCV(pipeline, grid, cv=StratifiedKFold(2), scoring="roc_auc", error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.8
    assert len(search.predict(X)) == 200  # nothing is added to what is predicted


def test_a_fitted_sampler_can_be_sent_to_another_process():
    X, y = make_classification(100, weights=[0.8], random_state=0)
    sampler = clone(QUICK)
    sampler.fit_resample(X, y)
    again = pickle.loads(pickle.dumps(sampler))
    assert again.synthesizers_[1].generate(5).equals(sampler.synthesizers_[1].generate(5))


@pytest.mark.parametrize(
    ("X", "y", "change", "text"),
    [
        (np.ones((6, 2)), [0, 0, 0, 0, 1, 1], {}, "6 rows; at least 10 are needed"),
        (np.ones((20, 2)), [0] * 20, {}, "more than 1 class"),
        (np.ones((20, 2)), [0] * 19, {}, "inconsistent numbers of samples"),
        (np.ones((20, 2)), [0.0] * 19 + [np.nan], {}, "NaN"),
        (np.ones((20, 2)), ["a"] * 19 + [None], {}, "NaN"),
        (np.full((20, 2), np.inf), [0] * 15 + [1] * 5, {}, "infinite number"),
        (np.full((20, 1), np.nan), [0] * 15 + [1] * 5, {}, "no column is left to model"),
        (np.ones((20, 1001)), [0] * 15 + [1] * 5, {}, "1001 features, at most 1000"),
        (np.array([["a"], [1]] * 10, dtype=object), [0] * 15 + [1] * 5, {}, "different types"),
        (pd.DataFrame({"t": pd.to_timedelta(range(20), unit="s")}), [0] * 15 + [1] * 5, {}, "'t' has type duration"),
        (np.ones((20, 2)), [0] * 15 + [1] * 5, {"generator": "tree"}, "did you mean 'trees'"),
        (np.ones((20, 2)), [0] * 15 + [1] * 5, {"settings": {"component": 1}}, "no setting 'component'"),
        (np.ones((20, 2)), [0] * 15 + [1] * 5, {"settings": {"seed": 1}}, "'seed', which is no setting"),
        (np.ones((20, 2)), [0] * 15 + [1] * 5, {"together": 2}, "'together' parameter"),
        (np.ones((20, 2)), [0] * 15 + [1] * 5, {"sampling_strategy": {1: 2}}, "should be greater"),
        (np.ones((20, 2)), [0] * 15 + [1] * 5, {"sampling_strategy": {7: 20}}, "not present"),
    ],
)
def test_what_cannot_be_done_is_said_as_scikit_learn_does(X, y, change, text):
    with pytest.raises((ValueError, TypeError), match=text):
        clone(QUICK).set_params(**change).fit_resample(X, y)


def test_errors_are_synthgens_as_well():
    with pytest.raises(SynthgenError, match="at least 10"):
        clone(QUICK).fit_resample(np.ones((4, 1)), [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["one"] * 200, {"one"}),
        (np.ones(200, int), {1}),
        (np.array([2**60, 2**60 + 2**20] * 100), {2**60, 2**60 + 2**20}),
        ([decimal.Decimal("0.10"), decimal.Decimal("2.50")] * 100, {decimal.Decimal("0.10"), decimal.Decimal("2.50")}),
        (pd.Categorical([1.5, np.nan] * 100), {1.5}),
        (pd.Categorical(pd.to_datetime(["2020-01-01", "2021-01-01"] * 100)), {*pd.to_datetime(["2020", "2021"])}),
        (pd.array(["ß", None] * 100, dtype="string"), {"ß"}),
        (pd.array([True, None] * 100, dtype="bool[pyarrow]"), {True}),
    ],
    ids=["text", "integer", "large", "decimal", "category", "dates", "string", "arrow"],
)
def test_columns_of_odd_types_keep_them(cells, labels):
    X = pd.DataFrame({"odd": cells, "x": np.random.default_rng(0).normal(size=200)})
    more, _ = clone(QUICK).fit_resample(X, np.repeat([0, 1], [150, 50]))
    assert more["odd"].dtype == X["odd"].dtype
    assert set(more["odd"].iloc[200:].dropna()) == labels
    pd.testing.assert_frame_equal(more.iloc[:200], X)


def test_balanced_rows_come_back_alone():
    X, y = np.ones((4, 1)), np.array([0, 0, 1, 1])
    more, labels = clone(QUICK).fit_resample(X, y)
    ours, theirs = RandomOverSampler().fit_resample(X, y)
    assert np.array_equal(more, ours)
    assert np.array_equal(labels, theirs)


@pytest.mark.slow
def test_what_the_page_shows_runs(monkeypatch, capsys):
    root = Path(__file__).parents[1]
    monkeypatch.chdir(root)
    page = (root / "docs" / "augment.md").read_text("utf-8")
    for block in re.findall(r"^```python run\n(.*?)^```", page, re.M | re.S):
        exec(compile(block, "docs/augment.md", "exec"), {})
    assert "passthrough" in capsys.readouterr().out


def test_without_imbalanced_learn_the_error_names_the_package():
    code = (
        "import sys; sys.modules['imblearn'] = None\n"
        "from synthgen import SynthgenError\n"
        "try:\n    from synthgen.augment import SynthSampler\n"
        "except SynthgenError as error:\n"
        "    assert error.exit_code == 4\n    assert \"pip install 'synthgen-toolkit[imblearn]'\" in str(error)\n"
        "else: sys.exit('no error')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
