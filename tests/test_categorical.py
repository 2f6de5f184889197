import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.codec.categorical import Categorical, fit_categorical
from synthgen.codec.rare import UNKNOWN
from synthgen.errors import SynthgenError
from synthgen.schema import Column

LABEL = Column(name="x", kind="categorical")
exactly = settings(deadline=None, max_examples=60, derandomize=True)


def spread(**counts):
    """Each label as often as told, `None` by the name `gone`."""
    return pa.array([None if k == "gone" else k for k, n in counts.items() for _ in range(n)], pa.string())


def fit(cells, cap=100, **options):
    return fit_categorical(cells, options.pop("column", LABEL), cap, **options)


def test_labels_are_ordered_by_frequency_then_by_name():
    codec, notes = fit(spread(b=5, c=9, a=5))
    assert codec.labels == ["c", "a", "b"]
    assert codec.masses.tolist() == pytest.approx([9 / 19, 5 / 19, 5 / 19])
    assert notes == []


def test_missing_cells_are_code_zero():
    codec, _ = fit(spread(a=6, gone=3))
    assert (codec.size, codec.nullable) == (2, True)
    assert codec.masses.tolist() == pytest.approx([3 / 9, 6 / 9])
    assert codec.encode(pa.array([None, "a"])).tolist() == [0, 1]
    assert codec.decode(np.array([0, 1])).to_pylist() == [None, "a"]


def test_a_missing_cell_where_none_was_missing_is_unknown():
    codec, _ = fit(spread(a=6))
    assert codec.encode(pa.array([None, "a"], pa.string())).tolist() == [UNKNOWN, 0]


def test_rare_labels_of_five_records_together_are_pooled():
    codec, notes = fit(spread(a=10, b=3, c=2))
    assert codec.labels == ["a", "_RARE_"]
    assert codec.pool == "_RARE_"
    assert codec.masses.tolist() == pytest.approx([10 / 15, 5 / 15])
    assert codec.encode(pa.array(["b", "c", "a", "never seen"])).tolist() == [1, 1, 0, 1]
    assert notes == [
        "column 'x': 2 labels held by fewer than 5 records (33 % of rows) are generated as '_RARE_'; "
        "--keep-rare keeps them"
    ]


def test_rare_labels_of_fewer_records_count_as_the_most_frequent():
    codec, notes = fit(spread(a=10, b=6, c=4))
    assert (codec.labels, codec.pool) == (["a", "b"], None)
    assert codec.masses.tolist() == pytest.approx([14 / 20, 6 / 20])
    assert codec.encode(pa.array(["c"])).tolist() == [UNKNOWN]
    assert len(notes) == 1
    assert "1 labels held by fewer than 5 records (20 % of rows) are counted as 'a'" in notes[0]


def test_a_column_that_holds_the_name_of_the_pool_gets_another():
    codec, _ = fit(spread(_RARE_=10, b=3, c=2))
    assert codec.labels == ["_RARE_", "_RARE_LABEL_"]
    assert codec.pool == "_RARE_LABEL_"


def test_keep_rare_keeps_every_label():
    codec, notes = fit(spread(a=10, b=1, c=1), keep_rare=True)
    assert codec.labels == ["a", "b", "c"]
    assert notes == []


def test_keep_rare_keeps_no_more_than_the_cap():
    codec, notes = fit(spread(a=10, b=9, c=8, d=7, gone=1), cap=4, keep_rare=True)
    assert codec.size == 4
    assert codec.labels == ["a", "b", "_RARE_"]
    assert "2 labels beyond the 4 most frequent" in notes[0]


def test_a_column_of_rare_labels_only_keeps_one():
    codec, _ = fit(spread(a=2, b=1))
    assert codec.labels[0] == "a"
    assert codec.masses.sum() == pytest.approx(1)


def test_labels_of_another_type_are_not_pooled_under_a_text():
    codec, _ = fit(spread(true=9, false=5, other=1), column=Column(name="x", kind="boolean", dtype="bool"))
    assert (codec.labels, codec.pool) == (["true", "false"], None)


@exactly
@given(
    counts=st.dictionaries(st.text(max_size=4), st.integers(1, 12), min_size=1, max_size=12),
    missing=st.integers(0, 4),
    cap=st.integers(3, 8),
    keep_rare=st.booleans(),
)
def test_codes_are_in_range_within_the_cap_and_masses_sum_to_one(counts, missing, cap, keep_rare):
    cells = pa.array([k for k, n in counts.items() for _ in range(n)] + [None] * missing, pa.string())
    codec, notes = fit(cells, cap, keep_rare=keep_rare)
    codes = codec.encode(cells)
    assert codec.size <= cap
    assert codec.masses.sum() == pytest.approx(1)
    assert ((codes >= UNKNOWN) & (codes < codec.size)).all()
    assert (UNKNOWN in codes) <= bool(notes)
    known = np.arange(codec.size)
    assert codec.encode(codec.decode(known)).tolist() == known.tolist()


def test_declared_categories_are_all_kept_in_their_order():
    column = Column(name="x", kind="categorical", categories=("low", "mid", "high"))
    codec, notes = fit(spread(high=6, low=1), column=column)
    assert codec.labels == ["low", "mid", "high"]
    assert codec.masses.tolist() == pytest.approx([1 / 7, 0, 6 / 7])
    assert notes == []


def test_a_label_that_is_not_declared_is_an_error():
    column = Column(name="x", kind="categorical", categories=("low", "high"))
    with pytest.raises(SynthgenError, match="column 'x' holds 'mid', which its declared categories do not list"):
        fit(spread(low=3, mid=1), column=column)


def test_the_state_is_json():
    codec, _ = fit(spread(a=10, b=3, c=2, gone=1))
    assert Categorical.model_validate(json.loads(json.dumps(codec.model_dump(mode="json")))) == codec


@pytest.mark.parametrize(
    "bad",
    [
        {"labels": [], "mass": []},
        {"labels": ["a", "a"], "mass": [0.5, 0.5]},
        {"labels": ["a"], "mass": [0.5, 0.5]},
        {"labels": ["a"], "mass": [1.0], "pool": "b"},
    ],
)
def test_a_damaged_state_is_refused(bad):
    with pytest.raises(ValueError, match="labels"):
        Categorical.model_validate(bad)
