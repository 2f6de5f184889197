"""The audit: what right guesses prove, that sound fits prove less than they claim, and that broken ones prove more.

Neither noise nor coins can be seeded: bounds of sound fits are those of 99.9 % confidence, and far from their claims;
broken fits give themselves away in every run.
"""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import make_people
from torch import nn

from synthgen import Generator
from synthgen.dp.audit import audit
from synthgen.dp.audit.bounds import bound_of_games, bound_of_guesses, chance
from synthgen.dp.audit.canaries import pulled
from synthgen.dp.audit.game import LABEL, canary, play
from synthgen.dp.budget import Budget
from synthgen.dp.ledger import TRAINING, Charge
from synthgen.errors import BudgetError, SynthgenError

pytest.importorskip("opendp")
pytest.importorskip("opacus")

SURE = 0.999
EPSILON, DELTA = 2.0, 1e-7


def by_enumeration(m, r, v, epsilon, delta):
    """The theorem's bound, written out."""
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    mass = [math.comb(r, w) * p**w * (1 - p) ** (r - w) for w in range(r + 1)]
    worst = max((sum(mass[v - i : v]) / i for i in range(1, v + 1)), default=0.0)
    return min(1.0, sum(mass[v:]) + 2 * m * delta * worst)


@pytest.mark.parametrize(("m", "r", "v"), [(1, 1, 1), (8, 8, 8), (8, 8, 5), (20, 10, 9), (20, 10, 0), (5, 0, 0)])
@pytest.mark.parametrize("epsilon", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.1])
def test_the_chance_of_right_guesses_is_that_of_the_theorem(m, r, v, epsilon, delta):
    assert chance(m, r, v, epsilon, delta) == pytest.approx(by_enumeration(m, r, v, epsilon, delta), rel=1e-9)


@pytest.mark.parametrize("r", [5, 20, 1000])
def test_guesses_that_are_all_right_prove_what_is_known_in_closed_form(r):
    p = 0.05 ** (1 / r)  # p^r = 0.05
    assert bound_of_guesses(r, r, r, 0.0, 0.95) == pytest.approx(math.log(p / (1 - p)), abs=1e-5)


def test_guesses_at_random_prove_nothing_and_delta_makes_guesses_prove_less():
    assert bound_of_guesses(1000, 1000, 500, 1e-5, 0.95) == 0
    assert bound_of_guesses(1000, 1000, 0, 1e-5, 0.95) == 0
    bounds = [bound_of_guesses(1000, 100, 90, delta, 0.95) for delta in (0.0, 1e-5, 1e-4, 1e-2)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > 1.5 > bounds[-1]


def test_more_guesses_than_canaries_are_refused():
    with pytest.raises(ValueError, match="guesses"):
        chance(10, 11, 5, 1.0, 0.0)


def test_randomised_response_never_proves_more_than_it_costs():
    rng, m, epsilon = np.random.default_rng(0), 200, 1.0
    right = rng.binomial(m, math.exp(epsilon) / (1 + math.exp(epsilon)), 2000)
    bounds = {v: bound_of_guesses(m, m, int(v), 0.0, 0.95) for v in np.unique(right)}
    too_much = np.mean([bounds[v] > epsilon for v in right])
    assert too_much < 0.07  # 0.05 is allowed; five deviations of the mean are 0.02
    assert np.mean([bounds[v] for v in right]) > 0.6


def test_games_prove_what_clopper_and_pearson_allow():
    # each of four probabilities errs with 0.0125; of n out of n the bound is 0.0125^(1/n)
    low = 0.0125 ** (1 / 100)
    assert bound_of_games(100, 100, 0, 0.0, 0.95) == pytest.approx(math.log(low / (1 - low)), rel=1e-6)
    assert bound_of_games(100, 0, 100, 0.0, 0.95) == pytest.approx(math.log(low / (1 - low)), rel=1e-6)
    assert bound_of_games(100, 100, 0, 0.5, 0.95) == pytest.approx(math.log((low - 0.5) / (1 - low)), rel=1e-6)
    assert bound_of_games(100, 50, 50, 0.0, 0.95) == bound_of_games(100, 0, 0, 0.0, 0.95) == 0


def test_pulls_are_scored_by_their_likelihood_ratio():
    from scipy.stats import norm

    y, sigma, q = np.array([-1.0, 0.0, 0.4, 2.0]), 0.8, 0.1
    ratio = ((1 - q) * norm.pdf(y, 0, sigma) + q * norm.pdf(y, 1, sigma)) / norm.pdf(y, 0, sigma)
    assert pulled(y, Charge("", TRAINING, sigma, 0.0, rate=q)) == pytest.approx(np.log(ratio))
    always = Charge("", TRAINING, sigma, 0.0, rate=1.0)
    assert pulled(y, always) == pytest.approx(norm.logpdf(y, 1, sigma) - norm.logpdf(y, 0, sigma))


class Small(Generator):
    """A linear map that reconstructs records: what a family needs least of."""

    accepts = ("table",)
    codes = 8

    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        self.map = nn.Linear(space.width, space.width)

    def loss(self, x, c):
        y = self.space.embed(x)
        return (self.map(y) - y).square().sum(1)

    def sample(self, n, c):
        return torch.zeros(n, *self.space.shape)


class Guided(Small):
    """Another part beside it, that sees no record; both are told contexts of the width they know."""

    def objectives(self):
        from synthgen import Objective

        return [*super().objectives(), Objective(self.map, self.blind, sees_data=False)]

    def blind(self, n, c):
        assert c.shape == (n, self.context.width)
        return self.map.weight.sum().square().expand(n)


class Refused(Small):
    private = False


@pytest.fixture(scope="module")
def people():
    return make_people(1500).drop(columns=["id", "joined"])


def attacked(people, generator=Small, epsilon=EPSILON, **options):
    options = {"settings": {"steps": 30}, "times": 1} | options
    return audit(people, generator, epsilon, DELTA, confidence=SURE, **options)


@pytest.mark.parametrize("generator", [Small, Guided])
def test_a_sound_training_proves_less_than_it_claims(people, generator):
    found = attacked(people, generator)
    assert "gradients of 30 steps" in found.attack
    assert found.lower < EPSILON < found.largest
    assert 0 < found.right < found.guesses <= found.canaries == 1000


def test_a_training_without_noise_proves_more(people, monkeypatch):
    monkeypatch.setattr("synthgen.dp.sgd.noised", lambda sums, deviation, step: sums)
    found = attacked(people)
    assert found.lower > EPSILON
    assert found.leaks


def test_a_training_without_clipping_proves_more(people, monkeypatch):
    monkeypatch.setattr("synthgen.dp.clipping.shrunk", lambda norms, bounds: torch.ones_like(norms))
    with pytest.raises(SynthgenError, match="cannot be told apart"):  # the self-check would have refused it
        attacked(people)
    monkeypatch.setattr("synthgen.dp.records.self_check", lambda *_: "fused")
    assert attacked(people).lower > EPSILON


def test_a_training_on_all_records_that_is_charged_as_one_on_samples_proves_more(people, monkeypatch):
    monkeypatch.setattr("synthgen.dp.sgd.sample", lambda n, rate, persons: (np.arange(n), np.ones(n)))
    assert attacked(people, settings={"steps": 60, "batch_size": 32}).lower > EPSILON


def test_the_canaries_leave_the_model_as_it_would_be(people):
    """The bait takes no part in it: its weights, and what canaries pull at, are gone."""
    models = []

    class Kept(Small):
        def fit(self, records, training):
            super().fit(records, training)
            models.append(self)

    attacked(people, Kept)
    assert models[-1].state_dict().keys() == {"map.weight", "map.bias"}


def test_marginals_prove_less_than_they_claim_and_more_without_noise(people, monkeypatch):
    found = attacked(people, "marginals", settings={})
    assert "noisy marginals" in found.attack
    assert found.lower < EPSILON
    monkeypatch.setattr("synthgen.dp.codes.discrete_gaussian", lambda counts, sigma: counts)
    assert attacked(people, "marginals", epsilon=1.0, canaries=300, settings={}).lower > 1  # of few cells, few canaries


def test_a_finished_model_can_be_attacked_alone(people):
    nearest = attacked(people, black_box=True)
    assert "nearest of" in nearest.attack
    assert nearest.lower < EPSILON

    class Strange(Small):
        def reconstruction(self, x, c):
            return self.loss(x, c)

    assert "reconstruction" in attacked(people, Strange, black_box=True).attack


def test_a_generator_that_cannot_be_private_is_refused_with_its_reason(people):
    with pytest.raises(BudgetError, match="Refused cannot be fitted under a privacy budget"):
        attacked(people, Refused)
    with pytest.raises(BudgetError, match="trees cannot be fitted under a privacy budget"):
        attacked(people, "trees", settings={})


def game(people, times=40, epsilon=1.0):
    from synthgen.data import as_table

    return play(as_table(people[["town", "age"]]), None, (), lambda: Budget(epsilon, DELTA), times, SURE)


def every_label(self, name, rho, delta):
    return dict(Counter(self._cells[name].to_pylist()))


def test_a_sound_preparation_proves_less_than_it_claims(people):
    found = game(people)
    assert 0.1 < found.claimed < 1
    assert found.lower < found.claimed < found.largest


def test_a_preparation_that_names_every_label_proves_more(people, monkeypatch):
    monkeypatch.setattr("synthgen.dp.table.PrivateTable.labels", every_label)
    found = game(people)
    assert found.attack == "its label is named"
    assert found.lower > found.claimed


def test_a_preparation_that_counts_records_exactly_proves_more(people, monkeypatch):
    monkeypatch.setattr("synthgen.dp.table.PrivateTable.count", lambda self, rho: self._rows)
    found = game(people)
    assert found.attack == "more records are counted"
    assert found.lower > found.claimed


def test_the_odd_record_is_odd_in_every_column():
    import pyarrow as pa

    columns = {"age": pa.array(["3", "40", ""]), "job": pa.array(["a", "b", "1"]), "day": pa.array(["2020-01-01"] * 3)}
    odd, number = canary(columns)
    assert float(odd["age"]) == pytest.approx(number)
    assert number > 40_000
    assert odd["job"] == odd["day"] == LABEL


def test_the_command_prints_claims_and_bounds(command, people, tmp_path):
    path = tmp_path / "people.csv"
    people.to_csv(path, index=False)
    known = ("audit", path, "-g", "marginals", "--epsilon", 2, "--delta", "1e-5", "--preparations", 3)
    done = command(*known)
    assert done.code == 0, done.err
    assert "claimed epsilon 2 at delta 1e-05" in done.out
    assert "audited lower bound" in done.out
    assert done.out.endswith("an audit can find a leak; it cannot prove that there is none\n")
    assert "so few preparations could not have shown more" in done.err
    body = json.loads(command(*known, "--json", "-q", "--sample", 600).out)
    assert body["claimed"] == 2
    assert body["leaks"] is False
    assert body["preparation"]["times"] == 3


def test_the_command_ends_with_3_where_there_is_a_leak(command, people, tmp_path, monkeypatch):
    path = tmp_path / "people.csv"
    people[["town", "age"]].to_csv(path, index=False)
    monkeypatch.setattr("synthgen.dp.table.PrivateTable.labels", every_label)
    done = command("audit", path, "-g", "marginals", "--epsilon", 1, "--delta", "1e-5", "--preparations", 40)
    assert done.code == 3
    assert "audited lower bound" in done.out
    assert "there is a leak" in done.err


def test_the_command_refuses_what_cannot_be_private(command, people, tmp_path):
    path = tmp_path / "people.csv"
    people.to_csv(path, index=False)
    done = command("audit", path, "-g", "trees", "--epsilon", 1, "--delta", "1e-5")
    assert done.code == 3
    assert "trees cannot be fitted under a privacy budget" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["vae", "autoencoder", "gan", "autoregressive", "diffusion"])
def test_every_family_that_trains_proves_less_than_it_claims(people, generator):
    found = attacked(people, generator, settings={"steps": 20, "width": 8})
    assert "gradients of 20 steps" in found.attack
    assert found.lower < EPSILON
