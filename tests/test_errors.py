import pytest

from synthgen.errors import BudgetError, Interrupted, ResourceError, SynthgenError, near


def test_near_proposes_the_likely_name():
    assert near("incme", ["age", "income", "city"]) == "did you mean 'income'?"


def test_near_lists_all_names_where_none_is_likely():
    assert near("zzz", ["age", "income"]) == "known: 'age', 'income'"


def test_near_lists_twelve_names_and_counts_the_rest():
    names = [f"x{i}" for i in range(15)]
    told = near("quite different", names)
    assert told == "known: " + ", ".join(f"'x{i}'" for i in range(12)) + " and 3 more"


def test_near_of_nothing():
    assert near("a", []) == "there are none"


def test_near_takes_names_that_are_no_strings():
    assert near("7", [1, 2]) == "known: '1', '2'"


def test_near_reads_an_iterator_once():
    assert near("agee", iter(["age"])) == "did you mean 'age'?"


@pytest.mark.parametrize(
    ("error", "code"), [(SynthgenError, 2), (BudgetError, 3), (ResourceError, 4), (Interrupted, 130)]
)
def test_every_error_is_a_synthgen_error_with_its_exit_code(error, code):
    assert issubclass(error, SynthgenError)
    assert error.exit_code == code
