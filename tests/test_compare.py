"""Choosing a generator by measurement."""

import re

import numpy as np
import pandas as pd
import pytest

import synthgen.compare
from synthgen import compare, registry
from synthgen.data import as_table
from synthgen.errors import Interrupted, SynthgenError
from synthgen.metrics.features import Features
from synthgen.metrics.fidelity import detection


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


def trials(monkeypatch, results):
    """Let measuring return what is written here."""

    def measure(name, settings, options, fitted, holdout, interrupted):
        result = results[name if not settings else f"{name}+"]
        if isinstance(result, Exception):
            raise result
        return compare.Trial(name, settings, *result)

    monkeypatch.setattr(synthgen.compare, "_measure", measure)


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
        ({"autoregressive": (0.6, 9), "gmm": (0.7, 1), "trees": (0.8, 1), "trees+": (0.5, 2)}, "trees", {"trees": 8}),
        (
            {"autoregressive": SynthgenError("no"), "gmm": (0.7, 1), "trees": SynthgenError("no"), "trees+": (0.9, 1)},
            "gmm",
            {},
        ),
    ],
    ids=["least", "tie goes to the quicker", "preset", "failures"],
)
def test_the_least_detectable_is_chosen(three, monkeypatch, results, name, settings):
    trials(monkeypatch, results)
    choice = compare.best(as_table(frame()))
    assert (choice.name, choice.settings) == (name, settings)


def test_the_reason_names_the_figures_of_all(three, monkeypatch):
    trials(monkeypatch, {"autoregressive": (0.612, 9), "gmm": (0.7, 1), "trees": (0.8, 1), "trees+": (0.55, 2)})
    reason = compare.best(as_table(frame())).reason
    assert reason.startswith("auto chose trees trees=8 0.550: ")
    assert "(others: autoregressive 0.612, gmm 0.700, trees 0.800; real rows: " in reason


def test_a_generator_that_fails_is_left_out_with_a_word(quick, monkeypatch):
    load = registry.load

    def fail(name):
        if name == "gmm":
            raise SynthgenError("out of order")
        return load(name)

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


def test_a_generator_of_images_is_left_out(quick, monkeypatch):
    cls = type("Pictures", (registry.load("gmm"),), {"accepts": ("images",)})
    load = registry.load
    monkeypatch.setattr(synthgen.compare.registry, "load", lambda name: cls if name == "gmm" else load(name))
    said = []
    assert compare.best(as_table(frame()), say=said.append).name == "trees"
    assert said == ["auto: gmm was left out: gmm does not take tables"]


def test_where_none_can_be_fitted_the_last_reason_is_the_error(three, monkeypatch):
    trials(monkeypatch, {name: SynthgenError(f"{name} is out of order") for name in [*NAMES, "trees+"]})
    with pytest.raises(SynthgenError, match=r"trees\+ is out of order"):
        compare.best(as_table(frame()))


def test_where_none_is_installed_it_says_so(monkeypatch):
    monkeypatch.setattr(synthgen.compare.registry, "available", dict)
    monkeypatch.setattr(synthgen.compare, "PRESETS", [])
    with pytest.raises(SynthgenError, match="no generator for tables is installed"):
        compare.best(as_table(frame()))


@pytest.mark.parametrize("seconds", [1e-9, 0.01])
def test_hardly_any_time_still_gives_a_choice(quick, seconds):
    assert compare.best(as_table(frame()), seconds=seconds).name in quick


def test_an_interruption_is_passed_on(quick):
    with pytest.raises(Interrupted):
        compare.best(as_table(frame()), interrupted=lambda: True)


def test_dropped_columns_are_not_measured(quick):
    table = frame().assign(noise=np.random.default_rng(1).normal(size=450))
    assert compare.best(as_table(table), {"drop": ["noise"]}).name in quick


def test_a_given_column_is_drawn_too(quick):
    assert compare.best(as_table(frame()), {"given": ["label"]}).name in quick


def test_quick_generators_come_first():
    names = compare._quickest_first()
    assert names[:2] == ["trees", "gmm"]
    assert sorted(names) == sorted(registry.available())


def test_detection_tells_noise_from_structure():
    table = as_table(frame(1000))
    real, other = table.take(np.arange(500)), table.take(np.arange(500, 1000))
    shuffled = as_table(
        frame(1000)[500:].assign(number=np.random.default_rng(0).permutation(frame(1000)["number"][500:]))
    )
    features = Features(real, table.schema)
    real, other, shuffled = (features.matrix(t) for t in (real, other, shuffled))
    assert detection(real, other).auc.value < 0.6
    assert detection(real, shuffled).auc.value > 0.75
