"""Choosing a generator by measurement, and comparing several with baselines."""

import json
import re
import time
from functools import partial
from html import unescape

import numpy as np
import pandas as pd
import pytest

import synthgen.compare
from synthgen import compare, registry
from synthgen.data import as_table
from synthgen.data.images import read_images
from synthgen.errors import Interrupted, SynthgenError
from synthgen.metrics import classifier, extractors
from synthgen.metrics.classifier import train_classifier
from synthgen.metrics.score import Score
from synthgen.report import image_classes
from synthgen.report.blocks import Finding, Intervals, Rows, Section
from synthgen.report.comparison import Entry, closest, reason, summed_up
from synthgen.report.result import Report, Setup


def frame(n=450):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, n)
    return pd.DataFrame({"label": np.array(["a", "b", "c"])[label], "number": label * 10 + rng.integers(0, 6, n)})


@pytest.fixture
def quick(monkeypatch):
    """Only the two generators that fit in seconds, each once."""
    points = {name: point for name, point in registry.available().items() if name in ("trees", "gmm")}
    monkeypatch.setattr(synthgen.compare.registry, "available", lambda: points)
    monkeypatch.setattr(synthgen.compare, "PRESETS", [])
    return points


def test_the_choice_is_among_those_measured_and_gives_figures(quick):
    choice = compare.best(as_table(frame()))
    assert choice.name in quick
    assert choice.settings == {}
    assert re.match(
        rf"auto chose {choice.name} 0\.\d{{3}}: the AUC .*others: \w+ 0\.\d{{3}}; real rows: 0\.\d{{3}}", choice.reason
    )
    assert "on a sample of 300 rows" in choice.reason


def test_the_same_table_gets_the_same_choice_and_figures(quick):
    first, second = (compare.best(as_table(frame())) for _ in range(2))
    assert (first.name, first.settings) == (second.name, second.settings)
    assert sorted(re.findall(r"\w+ 0\.\d{3}", first.reason)) == sorted(re.findall(r"\w+ 0\.\d{3}", second.reason))


@pytest.mark.parametrize("n", [10, 299])
def test_too_few_rows_get_trees_unmeasured(n, monkeypatch):
    monkeypatch.setattr(synthgen.compare, "_measure", lambda *args: pytest.fail("nothing is to be measured"))
    choice = compare.best(as_table(frame(n)))
    assert (choice.name, choice.settings) == ("trees", {})
    assert f"{n} rows are too few" in choice.reason


@pytest.mark.parametrize(
    ("seconds", "name"), [(None, "diffusion"), (10, "gmm"), (39.9, "gmm"), (40, "diffusion"), (1000, "diffusion")]
)
def test_images_get_a_generator_unmeasured(pictures, monkeypatch, seconds, name):
    monkeypatch.setattr(synthgen.compare, "_measure", lambda *args: pytest.fail("nothing is to be measured"))
    choice = compare.best(read_images(pictures), seconds=seconds)  # a third of all the time there is
    assert (choice.name, choice.settings) == (name, {})
    assert choice.reason.startswith(f"auto chose {name}: ")


def trials(monkeypatch, results):
    """Let measuring return what is written here: an AUC and seconds, or an error."""
    figures = {}

    def measure(name, settings, options, fitted, n, interrupted):
        result = results[name if not settings else f"{name}+"]
        if isinstance(result, Exception):
            raise result
        drawn = as_table(frame(30))
        figures[id(drawn)] = drawn, result[0]
        return compare.Trial(name, settings, drawn, result[1])

    monkeypatch.setattr(synthgen.compare, "_measure", measure)
    monkeypatch.setattr(synthgen.compare, "_auc", lambda holdout, rows, schema: figures.get(id(rows), (None, 0.5))[1])


NAMES = ["autoregressive", "gmm", "trees"]


@pytest.fixture
def three(monkeypatch):
    points = {name: registry.available()[name] for name in NAMES}
    monkeypatch.setattr(synthgen.compare.registry, "available", lambda: points)
    monkeypatch.setattr(synthgen.compare, "PRESETS", [("trees", {"trees": 8})])


@pytest.mark.parametrize(
    ("results", "name", "settings"),
    [
        ({"autoregressive": (0.6, 9), "gmm": (0.7, 1), "trees": (0.8, 1), "trees+": (0.8, 2)}, "autoregressive", {}),
        ({"autoregressive": (0.6, 9), "gmm": (0.604, 1), "trees": (0.8, 1), "trees+": (0.8, 2)}, "gmm", {}),
        ({"autoregressive": (0.6, 9), "gmm": (0.606, 1), "trees": (0.8, 1), "trees+": (1, 2)}, "autoregressive", {}),
        ({"autoregressive": (0.6, 9), "gmm": (0.7, 1), "trees": (0.8, 1), "trees+": (0.5, 2)}, "trees", {"trees": 8}),
        (
            {"autoregressive": SynthgenError("no"), "gmm": (0.7, 1), "trees": SynthgenError("no"), "trees+": (0.9, 1)},
            "gmm",
            {},
        ),
    ],
    ids=["least", "tie goes to the quicker", "no tie", "preset", "failures"],
)
def test_the_least_detectable_is_chosen(three, monkeypatch, results, name, settings):
    trials(monkeypatch, results)
    choice = compare.best(as_table(frame()))
    assert (choice.name, choice.settings) == (name, settings)


def test_the_reason_names_the_figures_of_all(three, monkeypatch):
    trials(monkeypatch, {"autoregressive": (0.612, 9), "gmm": (0.7, 1), "trees": (0.8, 1), "trees+": (0.55, 2)})
    reason = compare.best(as_table(frame())).reason
    assert reason.startswith("auto chose trees trees=8 0.550: ")
    assert "(others: autoregressive 0.612, gmm 0.700, trees 0.800; real rows: 0.500)" in reason


def test_a_generator_that_fails_is_left_out_with_a_word(quick, monkeypatch):
    load = registry.load

    def fail(name):
        if name == "gmm":
            raise SynthgenError("out of order")
        return load(name)

    # what is installed is looked up first, and each is loaded when its turn comes
    monkeypatch.setattr(synthgen.compare, "_quickest_first", lambda kind: ["trees", "gmm"])
    monkeypatch.setattr(synthgen.compare.registry, "load", fail)
    said = []
    choice = compare.best(as_table(frame()), say=said.append)
    assert choice.name == "trees"
    assert "others" not in choice.reason
    assert said == ["auto: gmm was left out: out of order"]


def test_settings_that_a_generator_lacks_rule_it_out(quick):
    said = []
    choice = compare.best(as_table(frame()), {"passes": 3}, say=said.append)
    assert choice.name == "gmm"
    assert len(said) == 1
    assert "auto: trees was left out: trees has no setting 'passes'" in said[0]


def pictures_only(monkeypatch, name="gmm"):
    """Let a generator take images and nothing else."""
    cls, load = type("Pictures", (registry.load(name),), {"accepts": ("images",)}), registry.load
    monkeypatch.setattr(synthgen.compare.registry, "load", lambda n: cls if n == name else load(n))


def test_a_generator_of_images_is_not_tried_on_tables(quick, monkeypatch):
    pictures_only(monkeypatch)
    said = []
    assert compare.best(as_table(frame()), say=said.append).name == "trees"
    assert said == []


def test_where_none_can_be_fitted_the_last_reason_is_the_error(three, monkeypatch):
    trials(monkeypatch, {name: SynthgenError(f"{name} is out of order") for name in [*NAMES, "trees+"]})
    with pytest.raises(SynthgenError, match=r"trees\+ is out of order"):
        compare.best(as_table(frame()))


def test_where_none_is_installed_it_says_so(monkeypatch):
    monkeypatch.setattr(synthgen.compare.registry, "available", dict)
    monkeypatch.setattr(synthgen.compare, "PRESETS", [])
    with pytest.raises(SynthgenError, match="no generator for such data is installed"):
        compare.best(as_table(frame()))


@pytest.mark.parametrize("seconds", [1e-9, 0.01])
def test_hardly_any_time_still_gives_a_choice(quick, seconds):
    said = []
    assert compare.best(as_table(frame()), seconds=seconds, say=said.append).name in quick
    assert said == ["auto: no time left to measure gmm"]


def slow_trials(monkeypatch, seconds):
    """Each fit takes so long; what was asked of each is kept."""
    asked = []

    def measure(name, settings, options, fitted, n, interrupted):
        asked.append((name, options.get("max_time")))
        time.sleep(seconds)
        return compare.Trial(name, settings, as_table(frame(30)), seconds)

    monkeypatch.setattr(synthgen.compare, "_measure", measure)
    return asked


def fit_three(seconds, judging, pause=0.0):
    said = []
    effort = compare.Effort({}, seconds, said.append, None, judging)
    for _ in compare._trials([(name, {}) for name in "abc"], as_table(frame()), 9, effort):
        time.sleep(pause)
    return said


def test_time_is_shared_among_those_that_are_left(monkeypatch):
    asked = slow_trials(monkeypatch, 0.0)
    assert fit_three(30, True) == []
    assert [name for name, _ in asked] == ["a", "b", "c"]
    assert [limit for _, limit in asked] == pytest.approx([10, 15, 30], abs=0.5)
    asked = slow_trials(monkeypatch, 0.0)
    fit_three(None, True)
    assert [limit for _, limit in asked] == [None, None, None]


def test_time_that_runs_out_is_said(monkeypatch):
    slow_trials(monkeypatch, 0.2)
    assert fit_three(0.1, True) == ["no time left to measure b", "no time left to measure c"]


def test_judging_counts_only_where_it_is_to(monkeypatch):
    asked = slow_trials(monkeypatch, 0.0)
    assert fit_three(0.3, True, pause=0.4) == ["no time left to measure b", "no time left to measure c"]
    asked.clear()
    assert fit_three(0.3, False, pause=0.4) == []
    assert len(asked) == 3


def test_an_interruption_is_passed_on(quick):
    with pytest.raises(Interrupted):
        compare.best(as_table(frame()), interrupted=lambda: True)


def test_dropped_columns_are_not_measured(quick):
    table = frame().assign(noise=np.random.default_rng(1).normal(size=450))
    assert compare.best(as_table(table), {"drop": ["noise"]}).name in quick


def test_a_given_column_is_drawn_too(quick):
    assert compare.best(as_table(frame()), {"given": ["label"]}).name in quick


@pytest.mark.parametrize("kind", ["table", "images"])
def test_quick_generators_come_first_and_all_that_take_such_data_come(kind):
    names = compare._quickest_first(kind)
    assert names[0] == {"table": "trees", "images": "gmm"}[kind]
    assert sorted(names) == [n for n in sorted(registry.available()) if kind in registry.load(n).accepts]


def test_detection_tells_noise_from_structure():
    table = as_table(frame(1000))
    real, other = table.take(np.arange(500)), table.take(np.arange(500, 1000))
    shuffled = as_table(
        frame(1000)[500:].assign(number=np.random.default_rng(0).permutation(frame(1000)["number"][500:]))
    )
    assert compare._auc(real, other, table.schema) < 0.6
    assert compare._auc(real, shuffled, table.schema) > 0.75


# compare(): candidates, baselines and what sums them up


def numbers(n=420):
    """Mostly numbers, which follow each other; a label that follows them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    y, z = x + 0.2 * rng.normal(size=n), x**2 + 0.2 * rng.normal(size=n)
    return pd.DataFrame({"x": x, "y": y, "z": z, "side": np.where(x + 0.2 * rng.normal(size=n) > 0, "a", "b")})


@pytest.fixture(scope="module")
def compared():
    said, done = [], []
    found = compare.compare(numbers(), ["gmm", "trees", "gmm"], seed=1, say=said.append, report=done.append)
    return found, said, done


def overview(found):
    return next(b for b in found.summary.sections[0].blocks if isinstance(b, Rows))


def cells(found):
    """The cells of each row of the overview, by its name."""
    table = overview(found)
    heads = [head.rstrip("→↓↑ .0123456789") for head in table.header]
    return {row[0]: dict(zip(heads, row, strict=True)) for row in table.rows}


def test_candidates_stand_beside_baselines_and_fresh_records(compared):
    found, said, _ = compared
    names = [row[0] for row in overview(found).rows]
    assert set(names[:2]) == {"gmm", "trees"}
    assert set(names[2:5]) == {"bootstrap copy", "independent columns", "SMOTE"}
    assert names[5:] == ["fresh real records"]
    assert set(found.reports) == {"gmm", "trees", "bootstrap copy", "independent columns", "SMOTE"}
    assert [text.split(":")[0] for text in said] == ["gmm", "trees"]  # the one asked for twice is fitted once


def test_the_chosen_one_stands_first_and_the_others_follow_by_closeness(compared):
    found, _, _ = compared
    rows = list(cells(found).values())
    assert rows[0][""] == found.best.name
    figures = [max(row["detection (AUC)"], 0.5) for row in rows[2:5]]
    assert figures == sorted(figures)
    first, second = (max(row["detection (AUC)"], 0.5) for row in rows[:2])
    assert first <= second + 0.005


def test_figures_of_the_overview_are_those_of_the_reports(compared):
    found, _, _ = compared
    for name, report in found.reports.items():
        row = cells(found)[name]
        assert row["detection (AUC)"] == report["fidelity.detection"].value
        assert row["utility"] == report["utility.boosted"].value
        assert row["copies"] == report["disclosure.copies"].value
        assert row["leaks found"] == sum(f.kind == "leaks" for f in report.verdict)
        assert (row["CPU-seconds"] is None) == (name not in ("gmm", "trees"))
    fresh = cells(found)["fresh real records"]
    assert fresh["detection (AUC)"] == found.reports["gmm"]["fidelity.detection"].fresh
    assert fresh["utility"] == found.reports["gmm"]["utility.boosted"].fresh


def test_copies_leak_and_independent_columns_are_told_best(compared):
    found, _, _ = compared
    rows = cells(found)
    assert rows["bootstrap copy"]["copies"] == 1
    assert rows["bootstrap copy"]["leaks found"] >= 1
    assert any("copied" in f.text for f in found.reports["bootstrap copy"].verdict if f.kind == "leaks")
    worst = max(rows.values(), key=lambda row: row["detection (AUC)"])
    assert worst[""] == "independent columns"
    assert worst["detection (AUC)"] > 0.8
    assert rows["independent columns"]["utility"] < rows["fresh real records"]["utility"] - 0.2


def test_the_verdict_names_the_closest_and_says_how_close(compared):
    found, _, _ = compared
    first = found.summary.verdict[0]
    assert first.text == f"{found.best.reason}."
    value = found.reports[found.best.name]["fidelity.detection"].value
    assert re.match(rf"{found.best.name} comes (closest|as close)", first.text)
    assert f"{value:.3f} is the AUC with which" in first.text
    assert "fresh real rows get 0." in first.text
    assert "independent columns get 0." in first.text
    leaks = [f.text.split(":")[0] for f in found.summary.verdict if f.kind == "leaks"]
    assert set(leaks) == {n for n in ("gmm", "trees") if cells(found)[n]["leaks found"]}


def test_the_summary_is_a_report_of_its_own(compared, tmp_path):
    found, _, _ = compared
    path = tmp_path / "page.html"
    found.summary.write(path)
    text = path.read_text("utf-8")
    assert "Which generator for these data?" in text
    titles = [s.title for s in found.summary.sections]
    assert titles[0] == "Which generator for these data?"
    assert set(titles[1:3]) == {"gmm", "trees"}
    assert titles[3] == "All scores, side by side"
    charts = [b for b in found.summary.sections[0].blocks if isinstance(b, Intervals)]
    assert [c.title for c in charts] == ["How close?", "How useful?", "What does an attacker find?"]
    assert all(len(c.rows) == 5 for c in charts)
    assert found.summary.setup.real == ("two thirds of the data", 280)
    assert found.summary.setup.holdout == ("the rest of the data", 140)
    json.loads(found.summary.to_json())


def test_all_scores_stand_side_by_side(compared):
    found, _, _ = compared
    (table,) = found.summary.sections[-1].blocks
    assert table.header[0] == "score"
    assert table.header[-1] == "fresh real records"
    rows = {row[0]: row[1:] for row in table.rows}
    for name, figures in rows.items():
        for candidate, figure in zip(table.header[1:-1], figures, strict=False):
            known = {s.name: s.value for s in found.reports[candidate]}
            assert figure == known.get(name)


def test_progress_of_a_comparison_rises_to_the_end(compared):
    _, _, done = compared
    assert done == sorted(done)
    assert done[-1] == 1


def test_the_same_seed_gives_the_same_comparison():
    first, second = (compare.compare(numbers(120), ["gmm"], seed=3) for _ in range(2))
    assert [(s.name, s.value) for r in first.reports.values() for s in r] == [
        (s.name, s.value) for r in second.reports.values() for s in r
    ]
    assert first.best == second.best


def test_smote_is_left_out_where_most_columns_are_labels():
    found = compare.compare(frame(90), ["gmm"])
    assert "SMOTE" not in found.reports
    assert "independent columns" in found.reports


def test_an_unknown_generator_is_an_error_before_anything_is_fitted(monkeypatch):
    monkeypatch.setattr(synthgen.compare, "_measure", lambda *args: pytest.fail("nothing is to be measured"))
    with pytest.raises(SynthgenError, match="no generator is called 'gmn'; did you mean 'gmm'"):
        compare.compare(numbers(), ["trees", "gmn"])


def test_too_few_records_are_refused():
    with pytest.raises(SynthgenError, match="59 rows are too few to compare generators; give at least 60"):
        compare.compare(numbers(59), ["gmm"])


def test_a_candidate_that_fails_is_left_out_and_stays_in_the_notes(monkeypatch):
    measure = compare._measure

    def fail(name, *args):
        if name == "trees":
            raise SynthgenError("trees are out of order")
        return measure(name, *args)

    monkeypatch.setattr(synthgen.compare, "_measure", fail)
    said = []
    found = compare.compare(numbers(90), ["trees", "gmm"], say=said.append)
    assert found.best.name == "gmm"
    assert said[0] == "trees was left out: trees are out of order"
    assert "trees was left out: trees are out of order." in found.summary.setup.notes
    with pytest.raises(SynthgenError, match="trees are out of order"):
        compare.compare(numbers(90), ["trees"])


def test_a_candidate_whose_rows_cannot_be_judged_is_left_out(monkeypatch):
    measure = compare._measure

    def odd(name, *args):
        trial = measure("gmm", *args)
        return trial._replace(name=name, drawn=trial.drawn.select(["x"])) if name == "trees" else trial

    monkeypatch.setattr(synthgen.compare, "_measure", odd)
    said = []
    found = compare.compare(numbers(90), ["trees", "gmm"], say=said.append)
    assert "trees" not in found.reports
    assert said[0].startswith("trees was left out: trees lacks columns 'y', 'z', 'side'")
    with pytest.raises(SynthgenError, match="trees lacks columns"):
        compare.compare(numbers(90), ["trees"])


def test_a_comparison_is_interrupted_while_it_fits_and_while_it_judges():
    with pytest.raises(Interrupted):
        compare.compare(numbers(90), ["gmm"], interrupted=lambda: True)
    asked = []

    def later():
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(Interrupted):
        compare.compare(numbers(90), ["gmm"], interrupted=later)
    assert len(asked) == 6


def test_fits_share_their_time_and_judging_takes_none_of_it(monkeypatch):
    asked = slow_trials(monkeypatch, 0.0)
    monkeypatch.setattr(synthgen.compare, "evaluate", lambda *args, **options: time.sleep(0.3) or report("any", 0.5))
    compare.compare(numbers(90), ["gmm", "trees"], seconds=1.0)
    assert [limit for _, limit in asked] == pytest.approx([0.5, 1.0], abs=0.15)


def test_columns_that_are_dropped_are_neither_fitted_nor_judged():
    found = compare.compare(numbers(90), ["gmm"], options={"drop": ["z", "side"]})
    assert "SMOTE" in found.reports
    assert "Utility was not measured: name the column to predict with --target." in found.summary.setup.notes
    assert not [text for r in found.reports.values() for f in r.verdict if "'z'" in (text := f.text)]
    with pytest.raises(SynthgenError, match="Z"):
        compare.compare(numbers(90), ["gmm"], options={"drop": ["Z"]})


def test_what_only_one_part_holds_does_not_end_a_comparison(tmp_path):
    # a marker of a missing value in one cell, a label in one row, a decimal in one number
    rows = numbers(120).round(2).assign(n=np.arange(120) % 7)
    for place in (3, 50, 119):
        text = rows.astype(str)
        text.loc[place, "x"], text.loc[place, "side"], text.loc[place, "n"] = "NA", "c", "1.5"
        path = tmp_path / f"{place}.csv"
        text.to_csv(path, index=False)
        assert compare.compare(path, ["gmm"]).best.name == "gmm"


def report(name, value, high=None, fresh=0.5, leaks=0, kind="near", score="fidelity.detection", baseline=0.9):
    """A report of one score and some leaks."""
    low = None if high is None else value - (high - value)
    own = Score(score, value, "AUC of something", kind, 0.5, low, high, fresh, 0.5, baseline)
    findings = [Finding("faithful", "It is close."), *(Finding("leaks", f"Leak {i}.") for i in range(leaks))]
    sides = ("real", 100), (name, 100), ("held out", 50)
    setup = Setup("table" if kind == "near" else "images", *sides, "No claim.", ("A note.",), 1.0)
    return Report(setup, (Section("detection", "Detection", "", (own,), tuple(findings)),))


def entries(*rows):
    return [
        Entry(name, report(name, value, leaks=leaks), seconds, about) for name, value, seconds, leaks, about in rows
    ]


def told(*rows):
    found = entries(*rows)
    return summed_up(found, closest(found), ("one", "other"), []).verdict


@pytest.mark.parametrize(
    ("figures", "name"),
    [
        ([("a", 0.6, 9.0), ("b", 0.7, 1.0)], "a"),
        ([("a", 0.6, 9.0), ("b", 0.604, 1.0)], "b"),
        ([("a", 0.44, 9.0), ("b", 0.5, 1.0)], "b"),  # below chance is no closer than chance
        ([("a", 0.7, 9.0), ("b", 0.6, None)], "a"),  # a baseline is never chosen
    ],
)
def test_the_closest_candidate_is_chosen_and_the_quickest_of_equals(figures, name):
    found = [Entry(n, report(n, value), seconds) for n, value, seconds in figures]
    assert closest(found).name == name


def test_a_tie_of_kernel_distances_is_what_chance_explains():
    def of(name, value, high, seconds):
        return Entry(name, report(name, value, high, kind="less", score="fidelity.kernel"), seconds)

    assert closest([of("a", 10.0, 20.0, 9.0), of("b", 19.0, 30.0, 1.0)]).name == "b"
    assert closest([of("a", 10.0, 20.0, 9.0), of("b", 21.0, 30.0, 1.0)]).name == "a"


def test_the_reason_says_who_comes_closest_or_as_close_and_is_quicker():
    found = entries(("a", 0.6, 9.0, 0, ""), ("b", 0.604, 1.0, 0, ""), ("copy", 0.5, None, 3, "Copies."))
    text = "0.604 is the AUC of something; fresh real rows get 0.500, independent columns get 0.900"
    assert reason(found[1], found) == f"b comes as close as a and is quicker: {text}"
    assert reason(found[0], found).startswith("a comes closest: 0.600 is the AUC of something; ")


def test_leaks_are_named_and_so_is_the_closest_without_one():
    verdict = told(("a", 0.6, 9.0, 2, ""), ("b", 0.7, 1.0, 0, ""), ("c", 0.8, 1.0, 1, ""), ("d", 0.9, 1.0, 0, ""))
    texts = [(f.kind, f.text) for f in verdict]
    assert texts[0][1].startswith("a comes closest")
    assert ("private", "b is the closest in which no leak was found (0.700 against 0.600).") in texts
    assert ("leaks", "a: Leak 0. There is 1 more leak.") in texts
    assert ("leaks", "c: Leak 0.") in texts
    calm = told(("a", 0.6, 9.0, 0, ""), ("b", 0.7, 1.0, 1, ""))
    assert not [f for f in calm if f.kind == "private"]


def test_a_baseline_that_comes_as_close_is_named_and_copies_are_not():
    verdict = told(("a", 0.9, 9.0, 0, ""), ("bootstrap copy", 0.5, None, 3, "Copies."), ("SMOTE", 0.8, None, 1, "B."))
    assert "No generator comes closer than a baseline that fits nothing: SMOTE." in [f.text for f in verdict]
    verdict = told(("a", 0.7, 9.0, 0, ""), ("bootstrap copy", 0.5, None, 3, "Copies."), ("SMOTE", 0.8, None, 1, "B."))
    assert not [f for f in verdict if "baseline" in f.text]


# images


@pytest.fixture
def tiny(monkeypatch):
    """Small networks that are hardly trained."""
    network = extractors.random_network((8, 16))
    monkeypatch.setattr(extractors, "random_network", lambda: network)
    monkeypatch.setattr(image_classes, "train_classifier", partial(train_classifier, steps=40))
    monkeypatch.setattr(classifier, "WIDTH", 8)
    monkeypatch.setattr(classifier, "SIZE", 16)


def test_images_are_compared_by_kernel_distance(pictures, tiny):
    said = []
    found = compare.compare(pictures, ["gmm", "trees"], features="random", say=said.append)
    assert said[0].startswith("gmm: fitted and drawn")
    assert said[1] == "trees was left out: trees does not take images"
    rows = cells(found)
    assert list(rows) == ["gmm", "bootstrap copy", "fresh real records"]
    assert rows["bootstrap copy"]["copies"] == 1
    assert rows["bootstrap copy"]["leaks found"] >= 1
    assert rows["gmm"]["kernel distance"] == found.reports["gmm"]["fidelity.kernel"].value
    assert rows["gmm"]["utility"] == found.reports["gmm"]["utility.network"].value
    assert "kernel distance (x 1000) from held-out images in features of random network" in found.best.reason
    assert "fresh real images get" in found.best.reason
    assert "blurred class means get" in found.best.reason
    assert found.summary.setup.real == ("two thirds of shapes", 40)


def test_the_command_compares_images(command, pictures, tiny, tmp_path):
    page = tmp_path / "page.html"
    told = command("compare", pictures, "-g", "gmm", "--features", "random", "-o", page)
    assert told.code == 0, told.err
    assert "gmm comes closest" in told.out
    assert page.stat().st_size > 10_000
    for option in ("--target", "--drop", "--schema", "--delimiter"):
        told = command("compare", pictures, "-g", "gmm", option, "x")
        assert told.code == 2
        assert f"holds images; {option} is for tables" in told.err


# the command


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "numbers.csv"
    numbers(150).to_csv(path, index=False)
    return path


def test_the_command_prints_the_verdict_and_a_table_and_writes_a_page(command, table, tmp_path):
    page = tmp_path / "page.html"
    told = command("compare", table, "-g", "gmm", "--target", "y", "-o", page)
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert "gmm comes closest" in lines[0]
    names = [line.split("  ")[0] for line in lines if re.search(r" [\d–.]+ +[\d–.]+$", line)]
    assert names[0] == "gmm"
    assert set(names[1:]) == {"bootstrap copy", "independent columns", "SMOTE", "fresh real records"}
    assert lines[-1] == f"{page}: the page"
    assert "two thirds of numbers.csv" in page.read_text("utf-8")
    assert "predict 'y'" in unescape(page.read_text("utf-8"))
    assert "gmm: fitted and drawn in" in told.err


def test_the_command_gives_json(command, table):
    told = command("compare", table, "-g", "gmm", "--json", "--quiet")
    assert told.code == 0, told.err
    assert told.err == ""
    found = json.loads(told.out)
    assert found["best"] == "gmm"
    assert found["reason"].startswith("gmm comes closest")
    assert set(found["candidates"]) == {"gmm", "bootstrap copy", "independent columns", "SMOTE"}
    assert found["candidates"]["bootstrap copy"]["disclosure.copies"] == 1
    assert found["leaks"]["bootstrap copy"]


def test_the_command_compares_a_sample_without_some_columns(command, table, tmp_path):
    page = tmp_path / "page.html"
    options = ("--sample", 90, "--drop", "z", "--drop", "side", "--max-time", "20s", "--seed", 5)
    told = command("compare", table, "-g", "gmm", *options, "-o", page, "--json")
    assert told.code == 0, told.err
    assert not [name for name in json.loads(told.out)["candidates"]["gmm"] if name.startswith("utility")]
    assert ">60 rows<" in page.read_text("utf-8")  # two thirds of the sample


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-g", "gmn"], "no generator is called 'gmn'; did you mean 'gmm'?"),
        (["-g", "gmm", "--target", "sid"], "there is no column 'sid'; did you mean 'side'?"),
        (["-g", "gmm", "--drop", "sid"], "'sid'"),
        (["-g", "gmm", "-o", "page.pdf"], "give -o a name that ends in .html"),
        (["-g", "gmm", "-o", "gone/page.html"], "there is no folder gone"),
        (["-g", "gmm", "--schema", "gone.json"], "cannot read the schema gone.json"),
    ],
)
def test_the_command_refuses_what_it_cannot_do_in_one_line(command, table, arguments, says):
    told = command("compare", table, *arguments)
    assert told.code == 2
    assert told.out == ""
    assert says in told.err
    assert len(told.err.strip().splitlines()) == 1


def test_the_command_refuses_what_is_no_data(command, tmp_path, pictures_model):
    assert "there is no file" in command("compare", tmp_path / "gone.csv").err
    assert "is a model; give the data" in command("compare", pictures_model).err
