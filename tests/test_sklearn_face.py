"""Synthesizer as scikit-learn's own tools see it: cloned, searched over, scored."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import make_people
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils import get_tags

from synthgen import Schema, Synthesizer, SynthgenError
from synthgen.registry import load
from synthgen.schema import Column

PEOPLE = make_people(300)


def test_parameters_are_the_very_objects_handed_in():
    given, schema = ["town"], Schema(columns=(Column(name="age", kind="numeric", minimum=0),))
    made = Synthesizer("gmm", given=given, schema=schema, seed=3, components=4)
    found = made.get_params()
    assert found["given"] is given
    assert found["schema"] is schema
    assert (found["generator"], found["components"], found["seed"], found["device"]) == ("gmm", 4, 3, "auto")


@pytest.mark.parametrize("generator", ["trees", load("gmm")])
def test_clones_fit_the_same_model(generator):
    made = Synthesizer(generator, given=["town"], seed=3, keep_rare=True)
    again = clone(made.fit(PEOPLE))
    with pytest.raises(SynthgenError, match="not fitted"):
        again.generate(1)
    pd.testing.assert_frame_equal(again.fit(PEOPLE).generate(20), made.generate(20))


def test_parameters_can_be_set():
    made = Synthesizer("trees", rounds=0).fit(PEOPLE)
    assert made.set_params(seed=5, leaf=20) is made
    assert made.get_params()["rounds"] == 0
    assert (made.seed, made.config.leaf, made.config.rounds) == (5, 20, 0)
    with pytest.raises(SynthgenError, match="not fitted"):
        made.generate(1)
    with pytest.raises(SynthgenError, match="gmm has no setting"):
        made.set_params(generator="gmm")
    assert (made.name, made.get_params()["generator"]) == ("trees", "trees")  # as it was


def test_a_loaded_model_says_what_it_was_made_with(tmp_path):
    Synthesizer("trees", given=["town"], seed=2, rounds=0, leaf=30).fit(PEOPLE).save(tmp_path / "model")
    loaded = Synthesizer.load(tmp_path / "model")
    again = clone(loaded)
    assert (again.seed, again.config.leaf, tuple(again.given)) == (2, 30, ("town",))
    pd.testing.assert_frame_equal(again.fit(PEOPLE).generate(20), loaded.generate(20))


def test_a_search_compares_generators_and_settings():
    """A Gaussian of one component cannot show what the trees do, nor can trees with a single leaf."""
    grid = [
        {"generator": ["gmm"], "components": [1]},
        {"generator": ["trees"], "rounds": [0], "leaf": [10, 150]},
    ]
    search = GridSearchCV(Synthesizer("gmm"), grid, cv=KFold(2, shuffle=True, random_state=0), error_score="raise")
    search.fit(PEOPLE)
    assert search.best_params_ == {"generator": "trees", "rounds": 0, "leaf": 10}
    assert len(search.best_estimator_.generate(7)) == 7
    assert search.score(PEOPLE) <= 1


def test_a_target_is_ignored():
    scores = cross_val_score(Synthesizer("gmm", components=4), PEOPLE, PEOPLE["age"], cv=2)
    assert len(scores) == 2
    assert (scores >= 0).all()


def test_scores_are_low_for_what_is_easily_told():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    frame = pd.DataFrame(x, columns=["a", "b"])
    model = Synthesizer("gmm", components=1).fit(frame.iloc[:300])
    assert model.score(frame.iloc[300:]) > 0.7
    assert model.score(frame.iloc[300:] + 100) < 0.05
    assert model.score(frame.iloc[300:]) == model.score(frame.iloc[300:])


def test_scores_say_what_they_lack(pictures):
    model = Synthesizer("gmm", components=2)
    with pytest.raises(SynthgenError, match="not fitted"):
        model.score(PEOPLE)
    model.fit(PEOPLE)
    with pytest.raises(SynthgenError, match="at least 30"):
        model.score(PEOPLE.iloc[:29])
    with pytest.raises(SynthgenError, match="no column 'town'"):
        model.score(PEOPLE.drop(columns="town"))
    with pytest.raises(SynthgenError, match="images have no score"):
        Synthesizer("gmm", components=2).fit(pictures).score(pictures)


def test_it_is_no_classifier():
    assert not is_classifier(Synthesizer())
    assert get_tags(Synthesizer()).estimator_type is None


def test_scikit_learn_is_not_loaded_before_it_is_used():
    code = "import sys, synthgen; synthgen.Synthesizer; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
