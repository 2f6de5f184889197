import pytest

from synthgen.dp.budget import Budget, Charge
from synthgen.errors import BudgetError


@pytest.mark.parametrize("epsilon", [0, -1, float("nan")])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(BudgetError, match="epsilon"):
        Budget(epsilon, 0.0)


@pytest.mark.parametrize("delta", [-1e-9, 1, 2, float("nan")])
def test_delta_must_be_in_the_unit_interval(delta):
    with pytest.raises(BudgetError, match="delta"):
        Budget(1.0, delta)


def test_the_ledger_begins_empty_and_keeps_charges_in_order():
    budget = Budget(1.0, 1e-6)
    assert budget.ledger == []
    budget.charge("bounds", 0.25)
    budget.charge("training", 0.5, 1e-6)
    assert budget.ledger == [Charge("bounds", 0.25, 0.0), Charge("training", 0.5, 1e-6)]


def test_the_whole_budget_can_be_spent_but_no_more():
    budget = Budget(1.0, 0.5)
    budget.charge("a", 0.75, 0.25)
    budget.charge("b", 0.25, 0.25)
    with pytest.raises(BudgetError):
        budget.charge("c", 1e-6)


def test_rounding_does_not_refuse_the_last_of_many_equal_parts():
    budget = Budget(0.3, 0.0)
    for part in range(3):
        budget.charge(f"part {part}", 0.1)  # 0.1 + 0.1 + 0.1 > 0.3 in floats
    assert len(budget.ledger) == 3


@pytest.mark.parametrize(("epsilon", "delta"), [(1.1, 0.0), (0.5, 0.1), (float("inf"), 0.0)])
def test_a_price_beyond_the_cap_is_refused_and_not_entered(epsilon, delta):
    budget = Budget(1.0, 1e-3)
    with pytest.raises(BudgetError, match="training costs"):
        budget.charge("training", epsilon, delta)
    assert budget.ledger == []


@pytest.mark.parametrize(("epsilon", "delta"), [(-0.1, 0.0), (0.1, -1e-9), (float("nan"), 0.0), (0.1, float("nan"))])
def test_a_price_that_is_none_is_refused(epsilon, delta):
    budget = Budget(1.0, 0.5)
    with pytest.raises(BudgetError, match="negative"):
        budget.charge("bounds", epsilon, delta)
    assert budget.ledger == []


def test_without_delta_none_can_be_spent():
    with pytest.raises(BudgetError):
        Budget(1.0, 0.0).charge("gaussian noise", 0.1, 1e-12)


def test_charging_nothing_is_allowed():
    budget = Budget(1.0, 0.0)
    budget.charge("public", 0.0)
    assert budget.ledger == [Charge("public", 0.0, 0.0)]
