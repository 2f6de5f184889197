"""Budgets: a hard cap in rho and delta, a ledger that is written before anything is looked at."""

import json

import pytest

from synthgen.dp.accounting import epsilon_of, rho_of
from synthgen.dp.budget import THRESHOLDS, Budget
from synthgen.dp.ledger import Charge, keeper, recorded
from synthgen.errors import BudgetError, ResourceError


def price(rho, delta=0.0, what="question"):
    return Charge(what, "discrete Gaussian", (2 * rho) ** -0.5 if rho > 0 else 1.0, rho, delta)


@pytest.mark.parametrize("epsilon", [0, -1, float("nan"), float("inf")])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(BudgetError, match="epsilon"):
        Budget(epsilon, 1e-6)


@pytest.mark.parametrize("delta", [-1e-9, 0, 1, 2, float("nan")])
def test_delta_must_lie_between_zero_and_one(delta):
    with pytest.raises(BudgetError, match="delta"):
        Budget(1.0, delta)


def test_the_ledger_begins_empty_and_keeps_charges_in_order():
    budget = Budget(1.0, 1e-6)
    assert budget.ledger == []
    charges = [price(budget.rho / 4, what="bounds"), price(budget.rho / 2, 1e-8, "training")]
    for charge in charges:
        budget.charge(charge)
    assert budget.ledger == charges


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_the_whole_budget_can_be_spent_but_no_more(epsilon):
    budget = Budget(epsilon, 1e-6)
    for part in range(10):
        budget.charge(price(budget.rho / 10, what=f"part {part}"))
    assert budget.spent() == pytest.approx(epsilon, rel=1e-6)
    assert budget.spent() <= epsilon
    with pytest.raises(BudgetError, match="one more costs rho"):
        budget.charge(price(budget.rho * 1e-6, what="one more"))
    assert len(budget.ledger) == 10


def test_thresholds_have_a_part_of_delta_and_no_more():
    budget = Budget(1.0, 1e-6)
    budget.charge(price(1e-5, 1e-6 * THRESHOLDS))
    with pytest.raises(BudgetError):
        budget.charge(price(1e-5, 1e-12))
    assert budget.rho == pytest.approx(rho_of(1.0, 1e-6 * (1 - THRESHOLDS)))


@pytest.mark.parametrize(("rho", "delta"), [(-0.1, 0.0), (0.001, -1e-9), (float("nan"), 0.0), (0.001, float("nan"))])
def test_a_price_that_is_none_is_refused(rho, delta):
    budget = Budget(1.0, 1e-6)
    with pytest.raises(BudgetError, match="negative"):
        budget.charge(Charge("bounds", "discrete Gaussian", 1.0, rho, delta))
    assert budget.ledger == []


def test_what_cannot_be_written_down_is_not_charged(tmp_path):
    budget = Budget(1.0, 1e-6, keeper(tmp_path / "missing" / "ledger.jsonl", "data"))
    with pytest.raises(ResourceError, match="ledger"):
        budget.charge(price(1e-3))
    assert budget.ledger == []


def test_charges_of_several_fits_add_up_by_source(tmp_path):
    path = tmp_path / "ledger.jsonl"
    assert recorded(path, "a") == {}
    for source, rho in (("a", 0.001), ("a", 0.002), ("b", 0.004)):
        Budget(1.0, 1e-6, keeper(path, source)).charge(price(rho, 1e-9))
    assert [[c.rho for c in charges] for charges in recorded(path, "a").values()] == [[0.001], [0.002]]
    assert list(recorded(path, "b").values()) == [[price(0.004, 1e-9)]]
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 3


@pytest.mark.parametrize("text", ["{\n", '{"source": "a"}\n', "[]\n", '{"source": "a", "rho": "x", "fit": "1"}\n'])
def test_a_damaged_ledger_is_no_empty_one(tmp_path, text):
    path = tmp_path / "ledger.jsonl"
    path.write_text(text)
    with pytest.raises(BudgetError, match="cannot be read"):
        recorded(path, "a")


def test_two_fits_spend_less_than_the_sum_of_their_epsilons_and_more_than_one():
    rho = rho_of(1.0, 1e-6)
    assert 1 < epsilon_of(2 * rho, 1e-6) < 2
