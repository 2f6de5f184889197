"""Rules that real rows obey: planted ones are found, each once, and noise has none."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.data import as_table
from synthgen.metrics.features import Features
from synthgen.metrics.structure import MOST, Rule, broken, find, units

NAN = np.nan
N = 3000


def rules(frame, kinds=None):
    """Rules of a frame of figures; columns that begin with a capital are labels."""
    counts = kinds or ["" if name[0].isupper() else "numeric" for name in frame]
    return find(list(frame), counts, frame.to_numpy(float))


def texts(frame, kinds=None):
    return {rule.text for rule in rules(frame, kinds)}


def noise(seed, n=N):
    """Independent columns of few values, many, skewed, mostly zero, partly missing, partly pooled (-1)."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "few": rng.integers(0, 3, n),
            "some": rng.integers(0, 40, n),
            "many": rng.integers(0, n // 6, n),
            "ids": rng.permutation(n),
            "normal": rng.normal(size=n),
            "heavy": rng.lognormal(0, 2, n).round(1),
            "zeros": np.where(rng.random(n) < 0.8, 0, rng.exponential(size=n)),
            "gaps": np.where(rng.random(n) < 0.3, NAN, rng.integers(0, 9, n)),
            "sparse": np.where(rng.random(n) < 0.98, NAN, rng.integers(0, 2, n)),
            "far": rng.normal(1e6, 1, n),
            "Label": rng.integers(0, 5, n),
            "Skewed": rng.geometric(0.3, n) - 1,
            "Pooled": rng.integers(-1, 200, n),
            "Rare": rng.random(n) < 0.01,
        }
    ).astype(float)


@pytest.mark.parametrize("n", [60, 400, N])
@pytest.mark.parametrize("seed", range(20))
def test_noise_has_no_rules(seed, n):
    assert rules(noise(seed, n)) == []


def planted(seed=0, n=N):
    """Noise, and columns that rules bind: a chain, an equivalence, dates in order, a sum, gaps in common."""
    rng = np.random.default_rng(seed + 1000)
    frame = noise(seed, n)
    town, start = rng.integers(0, 60, n), rng.integers(0, 1000, n)
    end = start + rng.integers(0, 90, n)
    part, rest, gone = rng.normal(50, 9, n).round(2), rng.normal(50, 9, n).round(2), rng.random(n) < 0.2
    bound = {
        "Town": town,
        "Code": 59 - town,
        "State": town % 7,
        "Coast": town % 7 < 3,
        "start": start,
        "end": end,
        "last": end + rng.integers(1, 60, n),
        "part": part,
        "rest": rest,
        "all": part + rest,
        "x": np.where(gone, NAN, rng.normal(-900, 50, n)),
        "y": np.where(gone, NAN, rng.normal(-900, 50, n)),
    }
    order = rng.permutation(len(frame.columns) + len(bound))
    both = frame.assign(**{name: np.asarray(values, dtype=float) for name, values in bound.items()})
    return both[[both.columns[i] for i in order]]


def sides(text):
    """A text as a set of words where the order of columns does not matter."""
    return text if " < " in text or " <= " in text or "determines" in text else frozenset(text.split())


@pytest.mark.parametrize("seed", range(5))
def test_planted_rules_are_found_and_nothing_else(seed):
    found = {sides(text) for text in texts(planted(seed))}
    town = {"'Town' determines 'State'", "'Code' determines 'State'"} & found
    assert len(town) == 1
    expected = {
        "'State' determines 'Coast'",
        "'start' <= 'end'",
        "'end' < 'last'",
        sides("'Town' and 'Code' determine each other"),
        sides("whether 'x' is missing and whether 'y' is missing determine each other"),
        sides("'part' + 'rest' = 'all'"),
    }
    orders = {"'part' < 'all'", "'rest' < 'all'", "'part' <= 'all'", "'rest' <= 'all'"}  # noise of 50 ± 9 may say so
    assert found - town - orders == expected


def test_a_rule_tells_what_independent_columns_would_do():
    rule = next(rule for rule in rules(planted()) if rule.text == "'State' determines 'Coast'")
    town = np.arange(60)
    share = np.mean([np.mean((town % 7 < 3)[:, None] != (town % 7 < 3)[None, :])])
    assert rule.independent == pytest.approx(share, abs=0.03)
    assert (rule.kind, rule.columns) == ("determines", ("State", "Coast"))


def test_the_most_telling_rule_comes_first():
    shares = [rule.independent for rule in rules(planted())]
    assert shares == sorted(shares, reverse=True)


def test_planted_rules_hold_in_fresh_rows_and_are_broken_by_shuffled_ones():
    real = planted(0)
    fresh = planted(1)[real.columns]
    rng = np.random.default_rng(7)
    for rule in rules(real):
        assert broken(rule, fresh.to_numpy()) == 0
        shuffled = rng.permuted(fresh.to_numpy(), axis=0)
        assert broken(rule, shuffled) == pytest.approx(rule.independent, abs=0.05)


@pytest.mark.parametrize(
    ("rows", "share"),
    [
        ([[0, 10], [1, 20]], 0),
        ([[0, 20], [1, 20]], 1 / 2),
        ([[0, 20], [1, 10]], 1),
        ([[5, 20], [0, 10]], 0),  # 5 is no value of the real column: nothing is known of it
        ([[5, 20], [0, 20]], 1),
        ([[NAN, 20], [0, NAN], [1, 20], [1, 10]], 1 / 2),
        ([[0, 77]], 1),
        ([[NAN, NAN]], 0),
    ],
)
def test_rows_that_contradict_a_dependence_are_counted(rows, share):
    real = pd.DataFrame({"a": np.arange(600) % 3, "b": np.array([10, 20, 20])[np.arange(600) % 3]})
    (rule,) = (r for r in rules(real) if r.kind == "determines")
    assert rule.text == "'a' determines 'b'"
    assert broken(rule, np.array(rows, dtype=float)) == pytest.approx(share)


def test_a_row_that_breaks_an_equivalence_from_either_side_breaks_it_once():
    real = pd.DataFrame({"A": np.arange(600) % 3, "b": (np.arange(600) % 3) * 10})
    (rule,) = rules(real)
    assert rule.text == "'A' and 'b' determine each other"
    rows = [[0, 0], [0, 10], [-1, 20], [-1, 99]]  # of a label and a number that are both new nothing is known
    assert broken(rule, np.array(rows)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("gap", "text", "share"), [(0, "'a' <= 'b'", 1 / 4), (1, "'a' < 'b'", 2 / 4)])
def test_an_order_is_strict_where_real_rows_have_no_ties(gap, text, share):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 100, N)
    (rule,) = rules(pd.DataFrame({"a": a, "b": a + rng.integers(gap, 50, N)}))
    assert rule.text == text
    rows = np.array([[1, 2], [2, 2], [3, 2], [1, 9], [NAN, 1], [1, NAN]])
    assert broken(rule, rows) == pytest.approx(share)


def test_columns_that_are_equal_are_named_once():
    a = np.random.default_rng(0).integers(0, 50, N)
    (rule,) = rules(pd.DataFrame({"a": a, "b": a, "c": a}))
    assert rule.text == "'a', 'b' and 'c' are equal"
    assert broken(rule, np.array([[1, 1, 1], [1, 2, 1], [1, 1, 2], [NAN, 1, 1]])) == pytest.approx(1 / 2)


def test_a_class_of_many_columns_has_a_short_text():
    a = np.random.default_rng(0).integers(0, 50, N)
    (rule,) = rules(pd.DataFrame({f"C{i}": a for i in range(9)}))
    assert rule.text == "'C0', 'C1', 'C2', 'C3', 'C4' and 4 more determine each other"
    assert len(rule.columns) == 9


def test_a_dependence_may_have_one_exception_in_a_thousand_rows_but_not_ten():
    a = np.random.default_rng(0).integers(0, 30, 10_000)
    for exceptions, found in ((0, True), (9, True), (100, False)):
        b = a % 4
        b[:exceptions] = 9
        assert ("'a' determines 'b'" in texts(pd.DataFrame({"a": a, "b": b}))) == found


def test_an_order_may_have_one_exception_in_a_thousand_rows_but_not_ten():
    a = np.random.default_rng(0).integers(0, 30, 10_000)
    for exceptions, found in ((0, True), (9, True), (100, False)):
        b = a + 5
        b[:exceptions] = -9
        assert bool(texts(pd.DataFrame({"a": a, "b": b}))) == found


def test_where_a_column_is_missing_may_be_decided_by_another():
    reviews = np.random.default_rng(0).integers(0, 5, N).astype(float)
    last = np.where(reviews == 0, NAN, np.random.default_rng(1).normal(-50, 9, N))
    (rule,) = rules(pd.DataFrame({"reviews": reviews, "last": last}))
    assert rule.text == "'reviews' determines whether 'last' is missing"
    assert broken(rule, np.array([[0, NAN], [0, 3], [2, 3], [2, NAN]])) == 1 / 2


def test_only_columns_of_one_unit_are_compared():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 100, N)
    frame = pd.DataFrame({"a": a, "b": a + rng.integers(0, 50, N)})
    assert texts(frame, ["D", "D"]) == {"'a' <= 'b'"}
    for kinds in (["D", "s"], ["numeric", "D"], ["", "numeric"], ["", ""]):
        assert texts(frame, kinds) == set()


def test_labels_that_are_pooled_decide_nothing():
    rng = np.random.default_rng(0)
    town = rng.integers(-1, 40, N)
    state = np.where(town < 0, rng.integers(0, 5, N), town % 5)
    (rule,) = rules(pd.DataFrame({"Town": town, "State": state}))
    assert rule.text == "'Town' determines 'State'"
    assert broken(rule, np.array([[-1, 3], [-1, 4], [0, 0], [0, 3]])) == 1 / 2


def test_a_column_that_is_nearly_an_id_decides_nothing():
    rng = np.random.default_rng(0)
    ids = np.where(rng.random(N) < 0.7, -1, np.arange(N))  # one value is common, the others are not
    assert texts(pd.DataFrame({"ids": ids, "B": ids < 0, "C": rng.integers(0, 3, N) * (ids >= 0)})) == set()


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"a": [], "b": []}),
        pd.DataFrame({"a": [1], "b": [2]}),
        pd.DataFrame({"a": [NAN] * N, "b": [NAN] * N}),
        pd.DataFrame({"a": [1] * N, "b": [2] * N, "C": [0] * N}),
        pd.DataFrame({"a": np.arange(N), "b": [3] * N}),
        pd.DataFrame({"a": np.arange(20) % 2, "b": np.arange(20) % 2}),  # too few to tell
    ],
)
def test_what_has_nothing_to_tell_has_no_rules(frame):
    assert rules(frame.astype(float)) == []


def test_at_most_fifty_rules_are_named():
    a = np.random.default_rng(0).integers(0, 2**12, 40_000)
    bits = {f"B{i}": a >> i & 1 for i in range(12)}
    pairs = {f"P{i},{j}": 2 * bits[f"B{i}"] + bits[f"B{j}"] for i in range(12) for j in range(i)}
    assert len(rules(pd.DataFrame(bits | pairs))) == MOST


def test_rules_are_the_same_each_time_and_whatever_the_order_of_rows():
    frame = planted()
    once, shuffled = rules(frame), rules(frame.sample(frac=1, random_state=0))
    assert once == rules(frame)
    assert {rule.text for rule in once} == {rule.text for rule in shuffled}


def test_a_table_gives_names_and_units():
    a = np.random.default_rng(0).integers(0, 400, N)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(a, "D")
    later = days + pd.to_timedelta(np.random.default_rng(1).integers(0, 200, N), "D")
    town = np.array(["Rome", "Oslo", "Bern", "Nice"])[a % 4]
    frame = pd.DataFrame({"n": a * 0.5, "start": days, "end": later, "town": town, "code": a % 4 + 0.5})
    table = as_table(frame)
    features = Features(table, table.schema)
    found = {rule.text for rule in find(features.names, units(features), features.matrix(table))}
    assert "'start' <= 'end'" in found
    assert units(features)[1] == units(features)[2] not in ("", units(features)[0])
    assert "'town' and 'code' determine each other" in found or "'code' and 'town' determine each other" in found


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    width=st.integers(1, 6),
    levels=st.integers(1, 6),
    gaps=st.floats(0, 1),
)
def test_a_rule_holds_in_the_rows_it_was_found_in(seed, n, width, levels, gaps):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, levels, (n, width)).astype(float).cumsum(axis=1)
    rows[rng.random((n, width)) < gaps] = NAN
    for rule in find([str(j) for j in range(width)], ["numeric"] * width, rows):
        assert isinstance(rule, Rule)
        assert broken(rule, rows) <= 0.001
        assert 0.01 <= rule.independent <= 1
