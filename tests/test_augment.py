"""augment: what is added comes from training folds alone and is what was asked for; figures agree with known laws."""

import json
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

import synthgen
from synthgen.augment import Gain, augmented, does_it_help
from synthgen.augment.drawing import Fitting
from synthgen.augment.figures import figures, intercept, slope
from synthgen.augment.gain import corrected
from synthgen.augment.labelled import labelled
from synthgen.augment.measure import TooFew
from synthgen.augment.output import mark_name
from synthgen.augment.rows import Wanted
from synthgen.augment.strategies import between_neighbours, class_weights, duplicates
from synthgen.data import as_dataset, read
from synthgen.errors import Interrupted, SynthgenError
from synthgen.generator import Generator


def _place(c):
    return c.argmax(1) if c.shape[1] else c.new_zeros(len(c))


class Memory(Generator):
    """Draws what it has seen of a class, and remembers all that it was shown."""

    accepts = ("table", "images")
    codes = 1000
    shown: ClassVar[list] = []

    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        self.classes, self.columns = context.width, space.shape[0]

    def fit(self, records, training):
        x, c = records.tensor()
        Memory.shown.append(x.numpy().copy())
        self.x, self.c = x, _place(c)

    def sample(self, n, c):
        return self.x[[int((self.c == k).nonzero()[0, 0]) for k in _place(c)]]


def rare_table(n=200, rare=30, seed=0):
    """`number` is different in every row; class b has larger values of `signal`."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.permutation(n) < rare, "b", "a")
    signal = np.round(rng.normal(0, 1, n) + 1.5 * (y == "b"), 3)
    gaps = np.where(rng.random(n) < 0.1, np.nan, rng.normal(0, 1, n).round(2))
    colour = rng.choice(["red", "green", "blue"], n)
    return pd.DataFrame({"signal": signal, "gaps": gaps, "colour": colour, "y": y})


@pytest.fixture(scope="module")
def rare_csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("rare") / "rare.csv"
    rare_table().to_csv(path, index=False)
    return path


# what is to be added


def known_of(frame, target="y"):
    return labelled(as_dataset(frame), target)[0]


@pytest.mark.parametrize("counts", [[70, 20, 10], [1, 1, 1], [97, 2, 1], [5, 4, 3]])
@pytest.mark.parametrize("total", [1, 7, 100])
def test_rows_in_proportion_add_up_and_are_near_their_shares(counts, total):
    frame = pd.DataFrame({"x": np.arange(float(sum(counts))), "y": np.repeat(["a", "b", "c"], counts)})
    added = Wanted.of(total).counts(known_of(frame))
    assert added.sum() == total
    assert (np.abs(added - total * np.array(sorted(counts, reverse=True)) / sum(counts)) < 1).all()


def test_balance_makes_all_classes_as_many_as_the_largest():
    frame = pd.DataFrame({"x": np.arange(60.0), "y": ["a"] * 40 + ["b"] * 15 + ["c"] * 5})
    known = known_of(frame)
    assert (known.counts + Wanted.of("balance").counts(known)).tolist() == [40, 40, 40]
    assert Wanted.of(["c=3", "b=2"]).counts(known).tolist() == [0, 2, 3]
    assert Wanted.of({"c": 30}).counts(known, share=0.5).tolist() == [0, 0, 15]


@pytest.mark.parametrize("text", ["0", "much", "-3", "1.5", "a=b", "=3", "balance=", ""])
def test_what_is_no_strategy_is_refused(text):
    with pytest.raises(SynthgenError, match="strategy"):
        Wanted.of(text)


def test_an_unknown_class_is_refused():
    with pytest.raises(SynthgenError, match="no class 'bb'"):
        Wanted.of({"bb": 1}).counts(known_of(rare_table()))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("generator", ["trees", "gmm"])
def test_exactly_the_classes_that_were_asked_for_are_drawn(generator, together):
    frame = rare_table()
    frame.loc[:1, "y"] = "c"  # a class of two rows is not pooled
    known = known_of(frame)
    counts = Wanted.of({"a": 3, "b": 50, "c": 20}).counts(known)
    drawer = Fitting(generator, {"rounds": 0} if generator == "trees" else {}, together).fit(known, counts)
    assert set(drawer.own) == (set() if together else {0, 1})
    drawn = drawer.draw(counts, seed=3)
    found = Counter(drawn.data.data["y"].to_pylist())
    assert found == {"a": 3, "b": 50, "c": 20}
    assert [known.classes[k] for k in drawn.y] == drawn.data.data["y"].to_pylist()


def test_ids_of_drawn_rows_are_new_and_distinct():
    frame = rare_table().assign(id=[f"P{i:04d}" for i in range(200)])
    frame.loc[:59, "y"] = "c"
    made = augmented(frame, "y")
    assert made.groupby("y").size().nunique() == 1
    assert made["id"].is_unique


# what models are told


def test_class_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_sample_weight

    y = np.array([0] * 70 + [1] * 25 + [3] * 5)
    np.testing.assert_allclose(class_weights(y, 5), compute_sample_weight("balanced", y))


def test_duplicates_are_rows_of_their_class():
    known = known_of(rare_table())
    added = duplicates(known, np.array([0, 40]), 1)
    own = {tuple(r.items()) for r in known.data.data.select(["signal", "colour", "y"]).to_pylist() if r["y"] == "b"}
    rows = added.data.data.select(["signal", "colour", "y"]).to_pylist()
    assert len(rows) == 40
    assert {tuple(r.items()) for r in rows} <= own
    assert duplicates(known, np.array([0, 0]), 1) is None


def test_rows_between_neighbours_lie_within_their_class():
    known = known_of(rare_table())
    added = between_neighbours(known, np.array([0, 60]), 1)
    own = np.array([v for v, y in zip(known.data.data["signal"].to_pylist(), known.y, strict=True) if y == 1])
    made = np.array(added.data.data["signal"].to_pylist())
    assert made.min() >= own.min()
    assert made.max() <= own.max()
    assert len(np.setdiff1d(made, own)) > 20
    assert set(added.data.data["y"].to_pylist()) == {"b"}


@pytest.mark.parametrize("rare", [1, 2, 4])
def test_rows_between_neighbours_of_tiny_classes(rare):
    known = known_of(rare_table(rare=rare))
    assert len(between_neighbours(known, np.array([0, 9]), 1).data) == 9


# figures


@pytest.fixture
def judged():
    rng = np.random.default_rng(1)
    y = (rng.random(400) < 0.2).astype(int)
    p = 1 / (1 + np.exp(-(rng.normal(0, 1, 400) + 1.5 * y - 1)))
    return y, p


def test_figures_of_two_classes_are_those_of_scikit_learn(judged):
    y, p = judged
    found = figures(y, np.stack([1 - p, p], axis=1), [1])
    assert found["roc_auc"] == pytest.approx(roc_auc_score(y, p))
    assert found["average_precision"] == pytest.approx(average_precision_score(y, p))
    assert found["log_loss"] == pytest.approx(log_loss(y, p))
    z = np.log(p / (1 - p))[:, None]
    assert found["calibration_slope"] == pytest.approx(
        LogisticRegression(C=1e9, tol=1e-9).fit(z, y).coef_[0, 0], rel=1e-3
    )


def test_calibration_of_known_distortions():
    rng = np.random.default_rng(2)
    z = rng.normal(-1, 1.5, 200_000)
    y = rng.random(len(z)) < 1 / (1 + np.exp(-z))
    assert slope(y, 1 / (1 + np.exp(-(2 * z + 1)))) == pytest.approx(0.5, abs=0.01)
    assert intercept(y, 1 / (1 + np.exp(-(z + 0.7)))) == pytest.approx(-0.7, abs=0.03)


def test_separated_classes_have_no_slope():
    y = np.arange(20) >= 10
    assert np.isnan(slope(y, np.linspace(0.1, 0.9, 20)))
    assert np.isnan(slope(y, np.full(20, 0.3)))


def test_figures_of_three_classes_are_means_against_the_rest():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 300)
    p = rng.dirichlet([1, 1, 1], 300) + 0.5 * np.eye(3)[y]
    p /= p.sum(1, keepdims=True)
    found = figures(y, p, [0, 1, 2])
    assert found["roc_auc"] == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))
    assert found["average_precision"] == pytest.approx(average_precision_score(np.eye(3)[y], p))
    assert found["log_loss"] == pytest.approx(log_loss(y, p))


# intervals and verdicts


def test_the_interval_is_that_of_nadeau_and_bengio():
    x = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
    found = corrected(x, 0.25, 0.05)
    reach = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 0.25) * np.var(x, ddof=1))
    assert found == pytest.approx((0.2, 0.2 - reach, 0.2 + reach))


def test_the_interval_covers_what_it_says():
    # splits whose errors share a part, as strongly as the correction assumes: rho = n_test / n
    rng, ratio, n = np.random.default_rng(4), 0.25, 10
    rho = ratio / (1 + ratio)
    draws = np.sqrt(rho) * rng.normal(size=(4000, 1)) + np.sqrt(1 - rho) * rng.normal(size=(4000, n))
    covered = np.mean([f.low <= 0 <= f.high for f in (corrected(d, ratio, 0.05) for d in draws)])
    assert 0.935 < covered < 0.965


def gain_of(**means):
    """Figures of one learner over ten splits, that differ by as much as chance does."""
    rng = np.random.default_rng(5)
    luck = rng.normal(0, 0.03, 10)  # of the split, which all strategies share
    values = {}
    for name, mean in means.items():
        for figure in ("roc_auc", "average_precision", "log_loss", "calibration_slope", "calibration_intercept"):
            values["trees", name.replace("_", " "), figure] = mean + luck + rng.normal(0, 0.002, 10)
    return Gain(values, 0.25, ("a", "b"), (90, 10), [1], 10)


def test_verdicts():
    assert gain_of(nothing=0.7, duplication=0.72, synthgen=0.8).overall().kind == "gain"
    assert gain_of(nothing=0.7, duplication=0.8, synthgen=0.8).overall().kind == "no gain"
    worse = gain_of(nothing=0.8, duplication=0.8, synthgen=0.7).overall()
    assert worse.kind == "loss"
    assert worse.text.startswith("no gain: train on your own rows")
    better = gain_of(nothing=0.7, class_weights=0.75, synthgen=0.7).overall()
    assert "class weights for trees" in better.text


def test_a_gain_must_be_over_every_other_strategy():
    gain = gain_of(nothing=0.7, duplication=0.7999, synthgen=0.8)
    assert gain.best_other("trees", "roc_auc") == "duplication"
    assert gain.verdict("trees").kind == "no gain"


# measurement


@pytest.mark.parametrize("together", [False, True])
def test_no_row_of_a_test_fold_reaches_a_generator(together):
    frame = rare_table(120, 30)
    frame["number"] = np.arange(120.0) ** 2  # one code for each row, as the codec keeps atoms
    Memory.shown.clear()
    seen = []

    class Spy(synthgen.Synthesizer):
        def fit(self, data, **how):
            seen.append(set(data.data["number"].to_pylist()))
            return super().fit(data, **how)

    tested = []
    import synthgen.augment.drawing as drawing
    import synthgen.augment.measure as measure

    class Learners(measure.TableLearners):
        def __init__(self, train, test):
            tested.append(set(test.data.data["number"].to_pylist()))
            super().__init__(train, test)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "Synthesizer", Spy)
        patch.setattr(measure, "TableLearners", Learners)
        gain = does_it_help(frame, "y", generator=Memory, folds=3, repeats=2, together=together)
    assert len(seen) == len(tested) == len(Memory.shown) == gain.splits == 6
    for fitted, held in zip(seen, tested, strict=True):
        assert not fitted & held
        assert len(fitted) == (80 if together else 20)
    assert all(len(x) == len(s) for x, s in zip(Memory.shown, seen, strict=True))


def test_the_same_seed_measures_the_same():
    frame = rare_table(120, 30)
    a, b = (does_it_help(frame, "y", generator=Memory, folds=3, repeats=1, seed=4) for _ in range(2))
    assert a.to_dict() == b.to_dict()
    assert a.learners == ["boosted trees", "logistic regression"]
    assert a.strategies == ["nothing", "class weights", "duplication", "SMOTE", "synthgen"]
    assert json.loads(json.dumps(a.to_dict(), allow_nan=False))["verdict"] in ("gain", "no gain", "loss")


def test_measurement_can_be_stopped():
    with pytest.raises(Interrupted):
        does_it_help(rare_table(), "y", interrupted=lambda: True)


def test_too_few_rows_of_a_class_are_not_measured():
    with pytest.raises(TooFew, match=r"class 'b' has 6 rows.*5 folds need 10"):
        does_it_help(rare_table(rare=6), "y")


# output


def test_the_mark_avoids_names_that_are_taken():
    assert mark_name(["a"]) == "synthetic"
    assert mark_name(["synthetic", "synthetic_2"]) == "synthetic_3"
    assert mark_name(["a"], "drawn") == "drawn"
    with pytest.raises(SynthgenError, match="--mark"):
        mark_name(["a"], "a")


def test_a_csv_keeps_its_real_lines_and_gets_marked_ones(command, rare_csv, tmp_path):
    out = tmp_path / "out.csv"
    told = command("augment", rare_csv, "--target", "y", "-o", out, "--no-measure", "--json")
    assert told.code == 0, told.err
    real, made = rare_csv.read_text().splitlines(), out.read_text().splitlines()
    assert made[: len(real)] == [f"{real[0]},synthetic", *(f"{line},0" for line in real[1:])]
    assert all(line.endswith("b,1") for line in made[len(real) :])
    assert json.loads(told.out)["added"] == {"b": 140} == {"b": len(made) - len(real)}
    again = tmp_path / "again.csv"
    command("augment", rare_csv, "--target", "y", "-o", again, "--no-measure")
    assert again.read_bytes() == out.read_bytes()


def test_the_mark_is_written_as_the_table_writes_truths(command, tmp_path):
    frame = rare_table().assign(member=np.where(np.arange(200) % 3, "True", "False"), synthetic=1.5)
    frame["synthetic"] += np.arange(200)
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    frame.to_csv(path, sep=";", index=False)
    assert command("augment", path, "--target", "y", "-o", out, "--no-measure").code == 0
    made = pd.read_csv(out, sep=";", dtype=str)
    assert made["synthetic_2"].tolist() == ["False"] * 200 + ["True"] * 140


@pytest.mark.parametrize("target", ["text", "code", "real", "truth", "category"])
def test_parquet_keeps_its_types(command, tmp_path, target):
    frame = rare_table()
    rare = frame.pop("y") == "b"
    kinds = {"text": np.where(rare, "b", "a"), "code": rare.astype("int64") + 1, "real": rare.astype(float)}
    frame["y"] = kinds.get(target, rare)
    frame["y"] = pd.Categorical(np.where(rare, "b", "a")) if target == "category" else frame["y"]
    path, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    frame.to_parquet(path)
    told = command("augment", path, "--target", "y", "-o", out, "--no-measure")
    assert told.code == 0, told.err
    before, after = pq.read_table(path), pq.read_table(out)
    types = {f.name: f.type for f in after.schema}
    assert types.pop("synthetic") == pa.bool_()
    value = lambda t: t.value_type if pa.types.is_dictionary(t) else t  # noqa: E731
    assert {k: value(t) for k, t in types.items()} == {f.name: value(f.type) for f in before.schema}
    assert after.slice(0, 200).to_pandas()["y"].tolist() == frame["y"].tolist()
    assert set(after["y"].to_pylist()) == set(frame["y"])


def test_frames_come_back_as_frames():
    frame = rare_table()
    made = augmented(frame, "y", {"b": 12})
    assert made["synthetic"].tolist() == [False] * 200 + [True] * 12
    pd.testing.assert_frame_equal(made.drop(columns="synthetic")[:200], frame, check_dtype=False)


def test_rows_without_a_class_stay(command, tmp_path):
    frame = rare_table()
    frame.loc[:4, "y"] = None
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    frame.to_csv(path, index=False)
    told = command("augment", path, "--target", "y", "-o", out, "--no-measure", "--strategy", "9")
    assert told.code == 0, told.err
    assert "5 rows without a value of 'y'" in told.err
    made = pd.read_csv(out)
    assert len(made) == 209
    assert made["y"].isna().sum() == 5


# what is refused


def broken(kind):
    frame = rare_table(200)
    n = np.arange(200)
    return {
        "one class": (frame.assign(y="a"), r"one class, 'a'"),
        "numbers": (frame.assign(y=n / 7), "holds numbers, and augment adds rows by class"),
        "ids": (frame.assign(y=[f"P{i:05d}" for i in n]), "is of kind id"),
        "empty": (frame.assign(y=None), "is of kind empty"),
        "classes": (frame.loc[n.repeat(6)].assign(y=[f"c{i // 3}" for i in range(1200)]), "at most 200 are balanced"),
        "alone": (frame[["y"]], "no column besides 'y'"),
        "missing": (frame.drop(columns="y"), "there is no column 'y'"),
    }[kind]


@pytest.mark.parametrize("kind", ["one class", "numbers", "ids", "empty", "classes", "alone", "missing"])
def test_what_holds_no_classes_is_refused_in_a_sentence(command, tmp_path, kind):
    frame, text = broken(kind)
    frame.to_csv(tmp_path / "in.csv", index=False)
    told = command("augment", tmp_path / "in.csv", "--target", "y", "-o", tmp_path / "out.csv")
    assert told.code == 2
    assert text in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()


def test_balanced_classes_get_nothing(command, tmp_path):
    rare_table(100, 50).to_csv(tmp_path / "in.csv", index=False)
    told = command("augment", tmp_path / "in.csv", "--target", "y", "-o", tmp_path / "out.csv")
    assert told.code == 0, told.err
    assert "none added: all classes are as many" in told.out
    assert len(pd.read_csv(tmp_path / "out.csv")) == 100


def test_options_of_the_other_kind_are_refused(command, rare_csv, pictures, tmp_path):
    told = command("augment", rare_csv, "--target", "y", "-o", tmp_path / "o.csv", "--size", "8")
    assert (told.code, "--size is for images" in told.err) == (2, True)
    told = command("augment", pictures, "-o", tmp_path / "o", "--drop", "x")
    assert (told.code, "--drop is for tables" in told.err) == (2, True)
    told = command("augment", pictures, "-o", tmp_path / "o", "--target", "x")
    assert (told.code, "leave out --target" in told.err) == (2, True)


# images


def test_pictures_are_added_and_marked(command, pictures, tmp_path):
    out = tmp_path / "out"
    told = command("augment", pictures, "-o", out, "--no-measure")
    assert told.code == 0, told.err
    listed = pd.read_csv(out / "metadata.csv")
    assert listed["synthetic"].tolist() == [0] * 60 + [1] * 30
    assert listed.groupby("label").size().to_dict() == {"bar": 30, "box": 30, "line": 30}
    real = read(pictures)
    rows = np.flatnonzero(listed["synthetic"] == 0)
    both = read(out)
    order = {Path(f).name: i for i, f in enumerate(both.files)}
    same = [order[Path(f).name] for f in listed["file_name"][rows]]
    assert (both.pixels[same] == real.pixels).all()
    again = command("augment", pictures, "-o", out, "--no-measure", "--only-synthetic")  # takes the place of an output
    assert again.code == 0, again.err
    assert set(pd.read_csv(out / "metadata.csv")["synthetic"]) == {1}


def test_images_are_measured_with_a_network(pictures, monkeypatch):
    monkeypatch.setattr("synthgen.augment.learners.STEPS", 2)
    found = does_it_help(pictures, generator="gmm", folds=2, repeats=1)
    assert found.strategies == ["nothing", "class weights", "duplication", "synthgen"]
    assert found.learners == ["small network"]
    assert found.counts == (30, 20, 10)
    assert found.scored == [0, 1, 2]


# end to end


@pytest.mark.slow
def test_the_command_measures_and_says_that_there_is_no_gain(command, rare_csv, tmp_path):
    out = tmp_path / "out.csv"
    told = command("augment", rare_csv, "--target", "y", "-o", out, "--folds", "3", "--repeats", "1")
    assert told.code == 0, told.err
    assert told.out.startswith("no gain: train on your own rows")
    assert "class 'b', which 30 of 200 have" in told.out
    assert len(pd.read_csv(out)) == 340
