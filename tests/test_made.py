import json
import re
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.codec.made import ALPHABETS, Constant, Id, Text, fit_id, fit_text

exactly = settings(deadline=None, max_examples=60, derandomize=True)
RNG = np.random.default_rng(0)
UUIDS = [str(uuid.UUID(int=i * 0x1234567_89ABCDEF_12345678_9ABCDEF + 77)) for i in range(200)]


def ids(known, n=1000, start=0):
    return fit_id(known).make(n, start, np.random.default_rng(0)).to_pylist()


@pytest.mark.parametrize(
    ("known", "pattern"),
    [
        ([f"C{i:05}" for i in range(500)], r"C\d{5}"),
        ([f"AB-{i:04}-x" for i in range(0, 9000, 7)], r"AB-\d{4}-x"),
        ([f"{i:06}" for i in range(300)], r"\d{6}"),
        ([f"{i * 7919:08x}" for i in range(300)], r"[0-9a-f]{8}"),
        (UUIDS, r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        ([str(i) for i in range(1000, 9000)], r"[1-9]\d{3}"),
    ],
)
def test_ids_keep_the_pattern(known, pattern):
    made = ids(known, 100)
    assert all(re.fullmatch(pattern, text) for text in made)
    assert len(set(made)) == 100
    assert not set(made) & set(known)


@pytest.mark.parametrize(
    "known", [[f"C{i:05}" for i in range(500)], [str(i) for i in range(1, 1001)], UUIDS, ["a", "b"], ["7"]]
)
def test_ids_are_distinct_over_many_rows_and_new(known):
    made = ids(known, 100_000)
    assert len(set(made)) == 100_000
    assert not set(made) & set(known)


def test_ids_do_not_depend_on_how_the_rows_are_cut():
    known = [f"C{i:05}" for i in range(500)]
    chunks = [ids(known, 300, start) for start in range(0, 3000, 300)]
    assert [text for chunk in chunks for text in chunk] == ids(known, 3000)


def test_whole_numbers_stay_whole_numbers():
    known = [str(i) for i in range(1, 1001)]
    made = ids(known, 5000)
    assert all(re.fullmatch(r"[1-9]\d*", text) for text in made)
    assert len({int(text) for text in made}) == 5000
    assert not {int(text) for text in made} & set(range(1, 1001))


@exactly
@given(
    alphabet=st.sampled_from([*ALPHABETS, "äöü€-"]),
    known=st.data(),
    width=st.integers(1, 6),
)
def test_ids_over_any_alphabet_are_distinct_and_new(alphabet, known, width):
    texts = known.draw(
        st.lists(st.text(alphabet, min_size=width, max_size=width), min_size=1, max_size=40, unique=True)
    )
    made = ids(texts, 2000)
    assert len(set(made)) == 2000
    assert not set(made) & set(texts)


@exactly
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=30, unique=True))
def test_ids_of_any_text_are_distinct_and_new(known):
    made = ids(known, 500)
    assert len(set(made)) == 500
    assert not set(made) & set(known)


def test_ids_of_an_alphabet_that_is_used_up_grow_longer():
    known = [str(i) for i in range(10)]
    made = ids(known, 50)
    assert min(map(len, made)) >= 2
    assert not set(made) & set(known)


def test_the_order_of_the_training_ids_does_not_matter():
    known = [f"C{i:05}" for i in range(500)]
    assert ids(known) == ids(known[::-1])


def test_texts_are_made_up_of_as_many_words():
    rng = np.random.default_rng(1)
    known = [" ".join(["word"] * n) for n in rng.integers(2, 6, 500)]
    made = fit_text(known).make(4000, 0, rng).to_pylist()
    counts = np.bincount([len(t.split()) for t in made], minlength=7) / 4000
    truth = np.bincount([len(t.split()) for t in known], minlength=7) / 500
    assert np.abs(counts - truth).max() < 0.05
    assert {len(w) for t in made for w in t.split()[1:]} == {4}


def test_no_text_is_a_copy():
    known = [f"{a}{b}{c}" for a in "bcdfgz" for b in "aeiou" for c in "bcdfgz"]
    made = fit_text(known).make(20_000, 0, np.random.default_rng(2)).to_pylist()
    assert not {t.lower() for t in made} & set(known)


@exactly
@given(st.lists(st.text(max_size=20), min_size=1, max_size=30))
def test_texts_are_made_of_any_text(known):
    made = fit_text(known).make(50, 0, np.random.default_rng(3)).to_pylist()
    assert all(made)
    assert not set(made) & set(known)


def test_texts_are_capitalised_as_often():
    text = fit_text(["Big small small small"] * 9)
    words = " ".join(text.make(4000, 0, np.random.default_rng(4)).to_pylist()).split()
    assert np.mean([w[0].isupper() for w in words]) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("value", ["same", None])
def test_a_constant_is_repeated(value):
    assert Constant(value=value).make(3, 0, RNG).to_pylist() == [value] * 3


@pytest.mark.parametrize("made", [Constant(value="x", missing=0.3), fit_id(["a1", "a2"], 0.3), fit_text(["a b"], 0.3)])
def test_the_share_of_missing_cells(made):
    cells = made.make(10_000, 0, np.random.default_rng(5))
    assert cells.null_count / 10_000 == pytest.approx(0.3, abs=0.03)


def test_nothing_is_missing_where_nothing_was():
    assert fit_id(["a1", "a2"]).make(100, 0, RNG).null_count == 0


@pytest.mark.parametrize("made", [Constant(value="x", missing=0.5), fit_id(UUIDS, 0.1), fit_text(["One two", "three"])])
def test_the_state_is_json(made):
    assert type(made).model_validate(json.loads(json.dumps(made.model_dump(mode="json")))) == made


def test_no_training_value_is_in_the_state():
    names = ["Ada Lovelace", "Grace Hopper", "Emmy Noether"]
    state = json.dumps(fit_text(names).model_dump()) + json.dumps(fit_id(["secret01", "secret02"]).model_dump())
    assert not any(name in state for name in [*names, "secret01", "secret02"])


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (Id, {"prefix": "", "alphabets": ["ab", ""]}),
        (Id, {"prefix": "", "alphabets": ["ab"] * 257}),
        (Text, {"mark": "x", "words": [1], "letters": [1], "capital": 2}),
        (Text, {"mark": "x", "words": [], "letters": [1], "capital": 0}),
        (Text, {"mark": "x", "words": [0], "letters": [1], "capital": 0}),
        (Constant, {"missing": -0.1}),
    ],
)
def test_a_damaged_state_is_refused(kind, bad):
    with pytest.raises(ValueError, match="validation error"):
        kind.model_validate(bad)
