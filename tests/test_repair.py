import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.codec.repair import Combinations, dependences, observe, repair
from synthgen.errors import SynthgenError
from synthgen.schema import Column, Schema

exactly = settings(deadline=None, max_examples=80, derandomize=True)
CITIES = Combinations(
    columns=["country", "city"],
    cells=[["FR", "Paris"], ["FR", "Lyon"], ["DE", "Bonn"], [None, None]],
    counts=[10, 5, 5, 1],
)


def numbers(*rules, names="abcd"):
    return Schema(columns=tuple(Column(name=n, kind="numeric") for n in names), rules=rules)


def mend(values, schema, combinations=(), held=None, step=1.0, seed=0):
    """What is left of the values after the repair."""
    mended = dict(values)
    steps = dict.fromkeys(values, step)
    repair(mended, schema, list(combinations), held or {}, steps, np.random.default_rng(seed))
    return mended


def columns(**values):
    return {name: np.array(cells, dtype=float) for name, cells in values.items()}


def mask(*cells):
    return np.array(cells, dtype=bool)


def labels(**values):
    return {name: pa.array(cells, pa.string()) for name, cells in values.items()}


def rows(values):
    return list(
        zip(*(v.tolist() if isinstance(v, np.ndarray) else v.to_pylist() for v in values.values()), strict=True)
    )


def test_two_free_values_out_of_order_change_places():
    assert rows(mend(columns(a=[1, 5, 3], b=[2, 4, 3]), numbers("a <= b"))) == [(1, 2), (4, 5), (3, 3)]


def test_a_strict_order_parts_equal_values_by_a_step():
    assert rows(mend(columns(a=[3, 5], b=[3, 4]), numbers("a < b"), step=0.5)) == [(3, 3.5), (4, 5)]


def test_the_greater_may_be_named_first():
    assert rows(mend(columns(a=[1], b=[2]), numbers("a >= b"))) == [(2, 1)]


def test_missing_values_keep_every_order():
    values = columns(a=[np.nan, 5, np.nan], b=[1, np.nan, np.nan])
    mended = mend(values, numbers("a <= b"))
    assert all(np.array_equal(mended[n], values[n], equal_nan=True) for n in values)


@pytest.mark.parametrize("sign", ["<", "<="])
def test_what_keeps_the_rules_is_left_alone(sign):
    values = columns(a=[1, 2, -5], b=[2, 7, 0])
    assert rows(mend(values, numbers(f"a {sign} b"))) == rows(values)


@exactly
@given(st.lists(st.tuples(*[st.integers(-5, 5)] * 4), min_size=1, max_size=20))
def test_a_chain_is_mended_to_sorted_rows(table):
    values = columns(**dict(zip("abcd", zip(*table, strict=True), strict=True)))
    mended = mend(values, numbers("a <= b", "b <= c", "c <= d"))
    assert rows(mended) == [tuple(sorted(row)) for row in rows(values)]


@pytest.mark.parametrize("rules", list(itertools.permutations(["a <= b", "b <= c", "c <= d"])))
def test_the_order_of_the_rules_of_a_chain_does_not_matter(rules):
    table = list(itertools.permutations(range(4)))
    values = columns(**dict(zip("abcd", zip(*table, strict=True), strict=True)))
    assert rows(mend(values, numbers(*rules))) == [(0, 1, 2, 3)] * len(table)


@exactly
@given(
    st.lists(st.tuples(*[st.integers(-2, 2)] * 4), min_size=1, max_size=20),
    st.permutations(["a < b", "b < c", "c < d"]),
)
def test_a_strict_chain_is_mended_whatever_the_values(table, rules):
    values = columns(**dict(zip("abcd", zip(*table, strict=True), strict=True)))
    assert all(a < b < c < d for a, b, c, d in rows(mend(values, numbers(*rules))))


@pytest.mark.parametrize("table", [itertools.product(range(3), repeat=4)])
def test_one_value_above_several(table):
    values = columns(**dict(zip("abcd", zip(*table, strict=True), strict=True)))
    mended = mend(values, numbers("a <= d", "b <= d", "c <= d"))
    assert all(max(a, b, c) <= d for a, b, c, d in rows(mended))
    assert [sorted(r) for r in rows(mended)] == [sorted(r) for r in rows(values)]


def test_a_held_value_stays_and_the_free_one_is_mirrored():
    values = columns(a=[5, 5], b=[3, 3])
    below = mend(values, numbers("a <= b"), held={"b": mask(1, 0)})
    above = mend(values, numbers("a <= b"), held={"a": mask(1, 0)})
    assert rows(below) == [(1, 3), (3, 5)]
    assert rows(above) == [(5, 7), (3, 5)]


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_held_value_of_a_strict_order_is_passed_by_a_step(name):
    mended = mend(columns(a=[3], b=[3]), numbers("a < b"), held={name: mask(1)}, step=0.25)
    assert rows(mended) == [(3, 3.25) if name == "a" else (2.75, 3)]


def test_held_values_that_break_a_rule_between_themselves_are_an_error():
    values, held = columns(a=[1, 5], b=[2, 3]), {"a": mask(1, 1), "b": mask(1, 1)}
    with pytest.raises(SynthgenError, match="what is given breaks the rule 'a <= b': 5 and 3"):
        mend(values, numbers("a <= b"), held=held)


@exactly
@given(st.lists(st.tuples(*[st.integers(-5, 5)] * 3), min_size=1, max_size=20), st.sampled_from("abc"), st.booleans())
def test_a_chain_holds_around_a_held_value(table, name, strict):
    values = columns(**dict(zip("abc", zip(*table, strict=True), strict=True)))
    sign = "<" if strict else "<="
    schema = numbers(f"a {sign} b", f"b {sign} c", names="abc")
    mended = mend(values, schema, held={name: np.ones(len(table), dtype=bool)})
    assert mended[name].tolist() == values[name].tolist()
    assert all((a < b < c) if strict else (a <= b <= c) for a, b, c in rows(mended))


def test_a_rule_of_a_column_that_is_not_generated_is_passed_over():
    values = columns(a=[5], b=[3])
    assert rows(mend(values, numbers("a <= c", "c <= b"))) == [(5, 3)]


def test_combinations_that_occur_are_left_alone():
    values = labels(country=["FR", "DE", None], city=["Lyon", "Bonn", None])
    assert rows(mend(values, numbers(), [CITIES])) == rows(values)


def test_a_new_combination_keeps_its_first_column():
    values = labels(country=["FR"] * 300 + ["DE"] * 3, city=["Bonn"] * 300 + ["Paris"] * 3)
    mended = rows(mend(values, numbers(), [CITIES]))
    assert set(mended[:300]) == {("FR", "Paris"), ("FR", "Lyon")}
    assert set(mended[300:]) == {("DE", "Bonn")}
    assert np.mean([city == "Paris" for _, city in mended[:300]]) == pytest.approx(2 / 3, abs=0.1)


def test_a_new_combination_keeps_what_is_held():
    values = labels(country=["FR", "FR"], city=["Bonn", "Bonn"])
    mended = mend(values, numbers(), [CITIES], held={"city": mask(1, 0)})
    assert rows(mended)[0] == ("DE", "Bonn")
    assert rows(mended)[1][0] == "FR"


def test_held_cells_that_never_occurred_together_stay():
    values = labels(country=["FR"], city=["Bonn"])
    held = {"country": mask(1), "city": mask(1)}
    assert rows(mend(values, numbers(), [CITIES], held=held)) == [("FR", "Bonn")]


def test_combinations_of_numbers():
    allowed = Combinations(columns=["a", "b"], cells=[[1.0, "x"], [2.0, "y"], [None, "z"]], counts=[1, 1, 1])
    values = {"a": np.array([1.0, 2.0, np.nan]), "b": pa.array(["y", "y", "z"])}
    mended = mend(values, numbers(), [allowed])
    assert mended["b"].to_pylist() == ["x", "y", "z"]
    assert np.array_equal(mended["a"], values["a"], equal_nan=True)


def combos(counts):
    pairs = [pair for pair, n in counts.items() for _ in range(n)]
    values = labels(a=[p[0] for p in pairs], b=[p[1] for p in pairs])
    schema = Schema(columns=tuple(Column(name=n, kind="categorical") for n in "ab"), rules=("combinations: a, b",))
    (found,) = observe(schema, [values.__getitem__])
    return {tuple(c): n for c, n in zip(found.cells, found.counts, strict=True)}


def test_rare_combinations_are_not_learned():
    assert combos({("x", "1"): 6, ("y", None): 5, ("x", "2"): 4}) == {("x", "1"): 6, ("y", None): 5}


def test_rare_combinations_are_learned_where_all_are_rare():
    assert combos({("x", "1"): 2, ("y", "2"): 1}) == {("x", "1"): 2, ("y", "2"): 1}


def test_order_rules_need_no_observation():
    assert observe(numbers("a <= b"), [lambda _: None]) == []


def test_dependences_are_found_by_enumeration():
    city = ["Paris", "Lyon", "Bonn", "Kiel", "Paris", "Bonn"] * 20
    country = [{"Paris": "FR", "Lyon": "FR"}.get(c, "DE") for c in city]
    free = [str(i % 7) for i in range(120)]
    data = pa.table({"city": city, "country": country, "free": free, "serial": [str(i) for i in range(120)]})
    assert dependences(data) == [("city", "country")]


def test_columns_that_say_the_same_determine_each_other():
    data = pa.table({"a": ["x", "y"] * 10, "b": [1, None] * 10, "one": ["c"] * 20})
    assert dependences(data) == [("a", "b"), ("b", "a")]


def test_a_dependence_with_one_exception_is_none():
    data = pa.table({"a": ["x", "y"] * 50, "b": ["1", "2"] * 49 + ["2", "2"]})
    assert dependences(data) == []
