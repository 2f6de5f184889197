"""Attacks on membership: none where nothing leaks, all leaks that are planted, and controls that tell their reach."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from synthgen.metrics import membership
from synthgen.metrics.membership import (
    LEAKS,
    RATES,
    Attack,
    Finding,
    Round,
    attack,
    controls,
    log_odds,
    smallest,
    worst,
)
from synthgen.metrics.neighbours import nearest
from synthgen.metrics.statistics import Estimate

D = 4
ATTACKS = 6
LEARNED = "trained classifier"


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for one another stall small trees on a busy machine."""
    with threadpool_limits(1):
        yield


def normal(rng, n):
    return rng.normal(size=(n, D)).astype(np.float32)


def measured(members, outsiders, reference, synthetic):
    """A round of attacks on points."""
    x = np.concatenate([members, outsiders])
    near = [nearest(x, among, membership.NEAR)[0].astype(float) for among in (synthetic, reference)]
    return Round(len(members), *near, log_odds(synthetic, reference, x))


def round_of(seed, n=100, copied=0.0, draw=normal):
    """n members and as many others; a share of the members is among twice as many synthetic records."""
    rng = np.random.default_rng(seed)
    members, outsiders, reference, synthetic = (draw(rng, k * n) for k in (1, 1, 2, 2))
    leaked = round(copied * n)
    synthetic[:leaked] = members[:leaked]
    return measured(members, outsiders, reference, synthetic)


def by(attacks, name, records="all"):
    (found,) = [a for a in attacks if (a.name, a.records) == (name, records)]
    return found


@pytest.mark.parametrize("n", [30, 100])
def test_independent_synthetic_records_leak_in_hardly_any_of_twenty_runs(n):
    assert sum(any(a.exceeds for a in attack([round_of(seed, n)], seed)) for seed in range(20)) <= 2


def test_rounds_are_pooled_without_false_alarms():
    runs = [[round_of(2 * seed, 50), round_of(2 * seed + 1, 50)] for seed in range(20)]
    assert sum(any(a.exceeds for a in attack(rounds)) for rounds in runs) <= 2


def test_the_attacks_and_populations_are_all_there():
    found = attack([round_of(0), round_of(1)])
    assert len(found) == len({(a.name, a.records) for a in found}) == 2 * ATTACKS
    assert {a.records for a in found} == {"all", "isolated"}
    assert all(tuple(f.rate for f in a.at) == RATES for a in found)


@pytest.mark.parametrize("seed", range(3))
def test_copies_of_a_fifth_of_the_members_are_found(seed):
    found = attack([round_of(seed, 200, copied=0.2)])
    nearest_record = by(found, "nearest record")
    assert nearest_record.leaks
    assert all(f.leaks for f in nearest_record.at[1:])
    # each copy lies below all distances of others, and of the rest as many do as chance allows
    share = nearest_record.at[1].found.value
    assert 0.2 <= share < 0.26
    assert nearest_record.auc.value == pytest.approx(0.2 + 0.8 * 0.5, abs=0.06)


def test_copies_of_all_members_are_found_by_all_attacks_on_distances():
    found = attack([round_of(0, 150, copied=1.0), round_of(1, 150, copied=1.0)])
    for name in ("nearest record", "nearest, against real", LEARNED):
        a = by(found, name)
        assert a.auc.value > 0.95
        assert a.at[1].found.value > 0.9
    assert all(by(found, a.name).leaks for a in found)


def test_near_copies_are_found_too():
    rng = np.random.default_rng(0)
    members, outsiders, reference = (normal(rng, n) for n in (200, 200, 400))
    blurred = (members + 0.05 * rng.normal(size=members.shape)).astype(np.float32)
    assert by(attack([measured(members, outsiders, reference, blurred)]), "nearest record").leaks


def crowd_and_loners(rng, n):
    """Nine in ten in a tight crowd, one in ten far out."""
    x = normal(rng, n)
    return (x * np.where(np.arange(n) % 10 == 0, 8, 0.5)[:, None]).astype(np.float32)


def test_a_leak_of_the_isolated_only_is_found_among_them():
    rng = np.random.default_rng(0)
    members, outsiders, reference, synthetic = (crowd_and_loners(rng, n) for n in (600, 600, 600, 600))
    exposed = members[::10]
    synthetic[::10] = exposed + 0.1 * normal(rng, len(exposed))
    found = attack([measured(members, outsiders, reference, synthetic)])
    isolated = by(found, "nearest, against real", "isolated")
    everyone = by(found, "nearest record")
    assert isolated.leaks
    assert isolated.auc.value > 0.9
    assert everyone.auc.high < isolated.auc.low  # among all records, those of the crowd have nearer ones


def test_the_isolated_are_a_tenth_farthest_from_reference_records():
    r = round_of(0, 300, draw=crowd_and_loners)
    lonely = membership._lonely(r)
    assert lonely.sum() == 60
    assert r.reference.mean(axis=1)[lonely].min() > r.reference.mean(axis=1)[~lonely].max()


def test_the_auc_of_an_attack_is_that_of_its_scores():
    rounds = [round_of(seed, copied=0.3) for seed in range(2)]
    found = by(attack(rounds), "nearest record")
    truths = [roc_auc_score(np.arange(200) < 100, -r.synthetic[:, 0]) for r in rounds]
    assert found.auc.value == pytest.approx(np.mean(truths), abs=0.002)  # ties are broken by chance


def test_findings_count_members_above_the_rate_of_others():
    inside, outside = np.arange(100.0) + 0.5, np.arange(100.0) - 20
    for rate, hits in ((0.001, 21), (0.01, 21), (0.1, 30)):
        found = membership._at(inside, outside, rate, 0.01)
        place = max(1, round(rate * 100))
        assert hits == (inside > np.sort(outside)[-place]).sum()
        assert found.found.value == hits / 100
        theirs = stats.binomtest(hits, 100).proportion_ci(0.99, method="exact")
        assert found.found[1:] == pytest.approx((theirs.low, theirs.high))
        assert found.chance == stats.betabinom.ppf(0.99, 100, place, 101 - place) / 100


def test_scores_that_say_nothing_leave_every_attack_undecided():
    equal = np.ones((60, membership.NEAR))
    found = attack([Round(30, equal, equal, np.zeros(60))])
    assert len(found) == 2 * ATTACKS
    for a in found:
        assert a.auc.low < 0.5 < a.auc.high
        assert not a.exceeds


@pytest.mark.parametrize("members", [10, 50])
def test_an_attack_that_cannot_learn_favours_neither_side(members):
    rounds = [round_of(seed, members) for seed in range(12)]
    assert by(attack(rounds), LEARNED).auc.value == pytest.approx(0.5, abs=0.15)


def test_halves_without_members_are_no_evidence():
    # where one half has members only, the other half is scored by nothing, and nothing must come of it
    n = membership.NEAR
    for seed in range(40):
        near = np.abs(np.random.default_rng(seed).normal(size=(4, n)))
        learned = membership._learned(Round(2, near, near, near[:, 0]), {"a": near[:, 0]}, seed)
        assert learned[:2].mean() == pytest.approx(learned[2:].mean(), abs=1e-9)


@pytest.mark.parametrize("members", [0, 20])
def test_without_members_or_others_there_is_no_attack(members):
    near = np.abs(np.random.default_rng(0).normal(size=(20, membership.NEAR)))
    assert attack([Round(members, near, near, near[:, 0])]) == []


def test_attacks_are_the_same_each_time():
    rounds = [round_of(0, copied=0.1)]
    assert attack(rounds, 3) == attack(rounds, 3)


def test_log_odds_are_those_of_two_normals():
    rng = np.random.default_rng(0)
    real, synthetic, judged = rng.normal(size=(3, 4000, 1))
    found = log_odds(synthetic + 1, real, judged)
    assert stats.spearmanr(found, judged[:, 0]).statistic > 0.95
    assert np.abs(found - (judged[:, 0] - 0.5)).mean() < 0.35  # the ratio of two normal densities


def test_log_odds_are_at_equal_numbers():
    rng = np.random.default_rng(0)
    real, many, judged = rng.normal(size=(300, 2)), rng.normal(size=(3000, 2)), rng.normal(size=(500, 2))
    assert np.mean(log_odds(many, real, judged)) == pytest.approx(0, abs=0.4)
    assert np.mean(log_odds(real, many, judged)) == pytest.approx(0, abs=0.4)


@pytest.mark.parametrize("count", [0, 1, 4, 30])
def test_copies_are_added_as_if_they_had_been_synthetic(count):
    rng = np.random.default_rng(0)
    members, outsiders, reference, synthetic = (normal(rng, n) for n in (40, 40, 60, 60))
    x = np.concatenate([members, outsiders])
    added = measured(members, outsiders, reference, synthetic).copied(x, members[:count])
    whole = nearest(x, np.concatenate([synthetic, members[:count]]), membership.NEAR)[0]
    assert added.synthetic == pytest.approx(whole)
    assert (added.synthetic[:count, 0] == 0).all()


def control(seed, n):
    """A round in which other real records stand for synthetic ones, and its points."""
    rng = np.random.default_rng(seed)
    members, outsiders, reference, fresh = (normal(rng, k * n) for k in (1, 1, 2, 2))
    return measured(members, outsiders, reference, fresh), np.concatenate([members, outsiders])


def test_controls_notice_a_large_share_and_nothing_where_nothing_leaks():
    rounds, points = zip(*(control(seed, 250) for seed in range(2)), strict=True)
    said = []
    negative, noticed = controls(rounds, points, each=said.append)
    assert not any(a.leaks for a in negative)
    assert list(noticed) == list(LEAKS)
    assert noticed[0.1]
    assert not noticed[0.001]  # a quarter of a record
    assert smallest(noticed) <= 0.1
    assert said == pytest.approx(np.arange(1, 8) / 7)


def test_controls_of_very_few_records_notice_nothing():
    r, x = control(0, 8)
    negative, noticed = controls([r], [x])
    assert not any(a.leaks for a in negative)
    assert not any(noticed.values())
    assert smallest(noticed) is None


@pytest.mark.parametrize(
    ("noticed", "expected"),
    [
        ([False, False, True, True], 3),
        ([True, True, True, True], 1),
        ([False, False, False, False], None),
        ([True, False, True, True], 3),  # the first was luck
        ([True, True, True, False], None),
        ([False, True, False, True], 4),
    ],
)
def test_the_smallest_share_is_one_from_which_on_all_are_noticed(noticed, expected):
    assert smallest(dict(zip([1, 2, 3, 4], noticed, strict=True))) == expected
    assert smallest(dict(reversed(list(zip([1, 2, 3, 4], noticed, strict=True))))) == expected


def named(name, shares, auc=(0.5, 0.4, 0.6), chance=0.1):
    at = tuple(Finding(rate, Estimate(s, 0, 1), chance) for rate, s in zip(RATES, shares, strict=True))
    return Attack(name, "all", Estimate(*auc), at)


@pytest.mark.parametrize(
    ("shares", "auc", "exceeds", "leaks"),
    [
        ((0.1, 0.1, 0.1), (0.5, 0.4, 0.6), False, False),
        ((0, 0, 0.11), (0.5, 0.4, 0.6), True, False),  # more than chance, but hardly more than the rate
        ((0, 0, 0.13), (0.5, 0.4, 0.6), True, True),
        ((0.11, 0, 0), (0.5, 0.4, 0.6), True, True),
        ((0, 0, 0), (0.52, 0.51, 0.53), True, False),
        ((0, 0, 0), (0.54, 0.51, 0.57), True, True),
        ((0, 0, 0), (0.6, 0.5, 0.7), False, False),
    ],
)
def test_an_attack_leaks_where_it_exceeds_chance_by_enough_to_matter(shares, auc, exceeds, leaks):
    a = named("a", shares, auc)
    assert (a.exceeds, a.leaks) == (exceeds, leaks)


def test_the_worst_attack_is_that_which_most_exceeds_chance_at_its_rate():
    attacks = [named("a", (0.2, 0.0, 0.3)), named("b", (0.1, 0.2, 0.9))]
    assert [worst(attacks, rate)[0].name for rate in RATES] == ["a", "b", "b"]
    assert worst(attacks, 0.1)[1].found.value == 0.9
