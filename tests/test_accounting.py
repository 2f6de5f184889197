"""What noise costs: closed forms, other libraries, and the table of notes measured before."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from synthgen.dp import accounting
from synthgen.dp.accounting import Queries, Run, epsilon_of, noise_for, rho_of, total_epsilon
from synthgen.dp.noise import library
from synthgen.errors import BudgetError, ResourceError


def gaussian_epsilon(sigma, delta):
    """ε of one Gaussian query of sensitivity 1. Source: Balle and Wang, Improving the Gaussian mechanism, 2018."""

    def excess(epsilon):
        a, b = 0.5 / sigma, epsilon * sigma
        return stats.norm.cdf(a - b) - math.exp(epsilon + stats.norm.logcdf(-a - b)) - delta

    return optimize.brentq(excess, 0, 200) if excess(0) > 0 else 0.0


def sgd_epsilon(rate, sigma, steps, delta, **others):
    return total_epsilon(Queries((Run(rate, sigma, steps),), **others), delta)


RHOS = [1e-6, 1e-3, 0.05, 0.5, 3.0, 50.0]
DELTAS = [1e-12, 1e-6, 1e-3]


@pytest.mark.parametrize("rho", RHOS)
@pytest.mark.parametrize("delta", DELTAS)
def test_epsilon_of_rho_is_the_least_over_a_fine_grid(rho, delta):
    alpha = 1 + np.geomspace(1e-7, 1e9, 400_001)
    bound = alpha * rho - np.log(alpha * delta) / (alpha - 1) + np.log1p(-1 / alpha)
    assert epsilon_of(rho, delta) == pytest.approx(max(0, bound.min()), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("rho", RHOS)
@pytest.mark.parametrize("delta", DELTAS)
def test_opendp_converts_alike(rho, delta):
    dp = library("opendp.prelude")
    dp.enable_features("contrib")
    domain, metric = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    query = dp.c.make_zCDP_to_approxDP(dp.m.make_gaussian(domain, metric, scale=math.sqrt(0.5 / rho)))
    assert epsilon_of(rho, delta) == pytest.approx(query.map(1.0).epsilon(delta), rel=1e-6)


@pytest.mark.parametrize("rho", RHOS)
@pytest.mark.parametrize("delta", DELTAS)
def test_epsilon_of_rho_is_no_less_than_that_of_a_gaussian_query(rho, delta):
    assert epsilon_of(rho, delta) >= gaussian_epsilon(math.sqrt(0.5 / rho), delta)


@pytest.mark.parametrize("epsilon", [0.01, 1.0, 10.0, 500.0])
@pytest.mark.parametrize("delta", DELTAS)
def test_rho_is_the_inverse_on_the_safe_side(epsilon, delta):
    spent = epsilon_of(rho_of(epsilon, delta), delta)
    assert epsilon * (1 - 1e-7) < spent <= epsilon


def test_nothing_costs_nothing():
    assert epsilon_of(0.0, 1e-6) == 0


@pytest.mark.parametrize(("sigma", "delta"), [(0.8, 1e-5), (2.0, 1e-6), (5.0, 1e-5), (30.0, 1e-9)])
def test_one_step_on_all_records_is_a_gaussian_query(sigma, delta):
    exact = gaussian_epsilon(sigma, delta)
    assert exact <= sgd_epsilon(1.0, sigma, 1, delta) <= exact * 1.005 + 0.002


def test_steps_on_all_records_add_up_as_gaussian_queries_do():
    exact = gaussian_epsilon(2.0, 1e-6)
    assert exact <= sgd_epsilon(1.0, 20.0, 100, 1e-6) <= exact + 0.015


def test_other_gaussian_queries_are_counted_as_one_more():
    both = gaussian_epsilon(1 / math.sqrt(1 / 3.0**2 + 2 * 0.1), 1e-6)
    assert both <= sgd_epsilon(1.0, 3.0, 1, 1e-6, gaussian=(5**0.5,)) <= both + 0.015
    several = sgd_epsilon(1.0, 3.0, 1, 1e-6, gaussian=(10**0.5, 10**0.5))
    assert several == pytest.approx(sgd_epsilon(1.0, 3.0, 1, 1e-6, gaussian=(5**0.5,)))
    assert both <= sgd_epsilon(1.0, 3.0, 1, 1e-6, discrete=(10**0.5, 10**0.5)) <= both + 0.03


def test_without_a_training_all_is_added_up_in_rho():
    assert total_epsilon(Queries((), (5**0.5,), (10**0.5,), 0.2), 1e-6) == pytest.approx(epsilon_of(0.35, 1e-6))


def test_two_trainings_cost_more_than_one_and_less_than_both_apart():
    one = Run(0.02, 2.0, 200)
    both = total_epsilon(Queries((one, one)), 1e-6)
    assert both == pytest.approx(sgd_epsilon(0.02, 2.0, 400, 1e-6), abs=0.02)
    assert sgd_epsilon(0.02, 2.0, 200, 1e-6) < both < 2 * sgd_epsilon(0.02, 2.0, 200, 5e-7)


def test_other_queries_of_any_kind_cost_more():
    apart = sgd_epsilon(0.02, 2.0, 200, 5e-7) + epsilon_of(0.05, 5e-7)
    assert sgd_epsilon(0.02, 2.0, 200, 1e-6, rho=0.05) == pytest.approx(apart)
    assert sgd_epsilon(0.02, 2.0, 200, 1e-6, gaussian=(10**0.5,)) < apart


@pytest.mark.parametrize(
    ("rate", "sigma", "steps", "one", "other"),
    [
        (0.03125, 0.67, 64, 5.203, 5.217),
        (0.01, 1.0, 1000, 1.828, 1.839),
        (0.01, 0.6, 1000, 7.433, 7.445),
        (0.1, 5.0, 500, 1.806, 1.817),
        (0.01, 100.0, 10, 0.0005, 0.0101),
    ],
)
def test_known_values(rate, sigma, steps, one, other):
    assert one <= sgd_epsilon(rate, sigma, steps, 1e-5) <= other


def test_more_steps_records_and_less_noise_cost_more():
    usual = sgd_epsilon(0.02, 2.0, 200, 1e-6)
    assert sgd_epsilon(0.02, 2.0, 300, 1e-6) > usual
    assert sgd_epsilon(0.03, 2.0, 200, 1e-6) > usual
    assert sgd_epsilon(0.02, 1.8, 200, 1e-6) > usual
    assert sgd_epsilon(0.02, 2.0, 200, 1e-7) > usual


BEFORE = [
    Queries(),
    Queries(gaussian=(5.0,)),
    Queries(discrete=(5.0,)),
    Queries(rho=0.02),
    Queries((Run(0.01, 2.0, 9),)),
]


@pytest.mark.parametrize("before", BEFORE)
def test_the_noise_is_the_least_that_epsilon_pays_for(before):
    sigma = noise_for(2.0, 1e-6, 0.02, 300, before)
    spent = total_epsilon(before._replace(runs=(*before.runs, Run(0.02, sigma, 300))), 1e-6)
    assert 1.98 < spent <= 2.0


def test_a_small_epsilon_is_paid_for_exactly_too():
    assert 0.49 < sgd_epsilon(0.02, noise_for(0.5, 1e-6, 0.02, 300), 300, 1e-6) <= 0.5


def test_where_any_noise_will_do_there_is_still_some():
    assert noise_for(50.0, 1e-3, 0.001, 1) == accounting.LEAST


@pytest.mark.parametrize("before", [Queries(rho=1.0), Queries(gaussian=(1.0,)), Queries((Run(1.0, 1.0, 9),))])
def test_an_epsilon_that_is_spent_already_buys_no_training(before):
    with pytest.raises(BudgetError):
        noise_for(0.5, 1e-6, 0.02, 300, before)


@pytest.mark.parametrize(("factor", "fine"), [(0.97, True), (0.9, False), (1.1, False), (math.nan, False)])
def test_accountants_that_disagree_promise_nothing(monkeypatch, factor, fine):
    one = accounting._pld(Queries((Run(0.01, 1.0, 1000),)), 1e-5)
    monkeypatch.setattr(accounting, "_prv", lambda *_: one * factor)
    if fine:
        assert sgd_epsilon(0.01, 1.0, 1000, 1e-5) == pytest.approx(one)
    else:
        with pytest.raises(BudgetError, match="disagree"):
            sgd_epsilon(0.01, 1.0, 1000, 1e-5)


def test_without_an_accountant_there_is_no_promise(monkeypatch):
    def absent(module):
        raise ImportError(module)

    monkeypatch.setattr("synthgen.dp.noise.importlib.import_module", absent)
    with pytest.raises(ResourceError, match="pip install"):
        sgd_epsilon(0.01, 1.0, 1000, 1e-5)


@pytest.mark.parametrize("delta", [0.0, -1e-9, 1.0, math.nan])
def test_delta_must_be_between_0_and_1(delta):
    for call in (epsilon_of, rho_of):
        with pytest.raises(BudgetError, match="delta"):
            call(1.0, delta)
    with pytest.raises(BudgetError, match="delta"):
        sgd_epsilon(0.1, 1.0, 10, delta)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(BudgetError, match="epsilon"):
        rho_of(epsilon, 1e-6)
    with pytest.raises(BudgetError, match="epsilon"):
        noise_for(epsilon, 1e-6, 0.1, 10)


@pytest.mark.parametrize(
    "plan",
    [(0.0, 1.0, 10, 1e-6), (1.1, 1.0, 10, 1e-6), (0.1, 0.0, 10, 1e-6), (0.1, 1.0, 0, 1e-6)],
)
def test_what_makes_no_training_has_no_price(plan):
    with pytest.raises(BudgetError, match="training"):
        sgd_epsilon(*plan)
    with pytest.raises(BudgetError, match="rho"):
        epsilon_of(-1.0, 1e-6)
    with pytest.raises(BudgetError, match="negative"):
        total_epsilon(Queries(rho=-1.0), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("sigma", [0.5, 0.8, 2.0, 10.0])
@pytest.mark.parametrize("steps", [1, 30, 1000, 10_000])
@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_the_accountants_agree(rate, sigma, steps, delta):
    if steps * (math.expm1(1 / sigma**2)) * rate**2 > 30:
        pytest.skip("no one would pay for it")
    runs = (Run(rate, sigma, steps),)
    one = accounting._pld(Queries(runs), delta)
    assert abs(accounting._prv(runs, delta, one) - one) <= 0.03
