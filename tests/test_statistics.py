"""Intervals and tests, against scipy, scikit-learn, published figures, enumeration and simulation."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from synthgen.metrics.statistics import Estimate, above_chance, auc, difference, placements, proportion, spread


def wilson(hits, n):
    found = stats.binomtest(hits, n).proportion_ci(method="wilson")
    return Estimate(hits / n, found.low, found.high)


@pytest.mark.parametrize("level", [0.05, 0.001])
@pytest.mark.parametrize(("hits", "n"), [(0, 7), (1, 1), (3, 10), (9, 10), (50, 50), (17, 2000), (1999, 2000)])
def test_the_interval_of_a_share_is_that_of_scipy(hits, n, level):
    theirs = stats.binomtest(hits, n).proportion_ci(1 - level, method="exact")
    assert proportion(hits, n, level) == pytest.approx((hits / n, theirs.low, theirs.high))


@pytest.mark.parametrize("n", [1, 5, 12])
def test_the_interval_of_a_share_always_holds(n):
    shares, found = np.linspace(0, 1, 101), [proportion(k, n) for k in range(n + 1)]
    chances = stats.binom.pmf(np.arange(n + 1), n, shares[:, None])
    held = np.array([[e.low <= p <= e.high for e in found] for p in shares])
    assert ((chances * held).sum(axis=1) >= 0.95 - 1e-12).all()


def test_half_a_hit_lies_between_none_and_one():
    none, half, one = (proportion(hits, 20) for hits in (0, 0.5, 1))
    assert all(a < b < c for a, b, c in zip(none[::2], half[::2], one[::2], strict=True))
    assert none.low <= half.low <= one.low


def test_a_share_of_nothing_is_unknown():
    found = proportion(0, 0)
    assert np.isnan(found.value)
    assert (found.low, found.high) == (0, 1)


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_interval_of_a_difference_is_that_of_newcombe(a, b, low, high):
    # his table II, method 10, which adds up intervals of Wilson
    found = difference(wilson(*a), wilson(*b))
    assert found == pytest.approx((a[0] / a[1] - b[0] / b[1], low, high), abs=1e-4)
    turned = difference(wilson(*b), wilson(*a))
    assert turned == pytest.approx((-found.value, -found.high, -found.low))


@pytest.mark.parametrize(("n", "m"), [(10, 10), (8, 15)])
def test_the_interval_of_a_difference_of_shares_always_holds(n, m):
    found = [[difference(proportion(i, n), proportion(j, m)) for j in range(m + 1)] for i in range(n + 1)]
    low, high = (np.array([[e[k] for e in row] for row in found]) for k in (1, 2))
    for p in np.linspace(0, 1, 21):
        for q in np.linspace(0, 1, 21):
            chances = np.outer(stats.binom.pmf(np.arange(n + 1), n, p), stats.binom.pmf(np.arange(m + 1), m, q))
            assert chances[(low <= p - q + 1e-12) & (p - q <= high + 1e-12)].sum() >= 0.95


def test_placements_are_shares_of_pairs_with_ties_counted_half():
    positive, negative = np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 2.0, 3.0])
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    a, b = placements(positive, negative)
    assert a == pytest.approx(wins.mean(axis=1))
    assert b == pytest.approx(wins.mean(axis=0))


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_the_auc_is_that_of_scikit_learn(digits):
    rng = np.random.default_rng(digits)
    positive, negative = rng.normal(0.7, size=80).round(digits), rng.normal(size=130).round(digits)
    label = np.repeat([1, 0], [80, 130])
    found = auc([positive], [negative]).value
    assert found == pytest.approx(roc_auc_score(label, np.concatenate([positive, negative])))
    assert auc([negative], [positive]).value == pytest.approx(1 - found)


@pytest.mark.parametrize(("shift", "digits"), [(0.0, 9), (1.0, 9), (1.0, 0)])
def test_the_interval_of_an_auc_is_as_wide_as_by_the_bootstrap(shift, digits):
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(shift, size=150).round(digits), rng.normal(size=250).round(digits)
    found = auc([positive], [negative])
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    drawn = [wins[rng.integers(0, 150, 150)][:, rng.integers(0, 250, 250)].mean() for _ in range(1500)]
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.12)


@pytest.mark.parametrize("truth", [0.5, 0.7, 0.9])
def test_the_interval_of_an_auc_is_that_of_exponential_scores(truth):
    # Hanley and McNeil (1982): closed variance where both scores are exponential
    rng, n, m = np.random.default_rng(0), 120, 80
    q1, q2 = truth / (2 - truth), 2 * truth**2 / (1 + truth)
    variance = (truth * (1 - truth) + (n - 1) * (q1 - truth**2) + (m - 1) * (q2 - truth**2)) / (n * m)
    found = [
        auc([rng.exponential(truth / (1 - truth), n)], [rng.exponential(1, m)], 0.3) for _ in range(200)
    ]  # at 0.3 no interval is cut at 1
    widths = [e.high - e.low for e in found]
    assert np.mean([e.value for e in found]) == pytest.approx(truth, abs=0.01)
    assert np.mean(np.square(widths)) == pytest.approx((2 * stats.norm.ppf(0.85)) ** 2 * variance, rel=0.08)


def test_the_interval_of_an_auc_holds_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = stats.norm.cdf(1 / np.sqrt(2))
    found = [auc([rng.normal(1, size=60)], [rng.normal(size=90)]) for _ in range(1000)]
    assert 0.92 < np.mean([e.low <= truth <= e.high for e in found]) < 0.98


def test_folds_are_averaged_and_never_compared():
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(1, size=(2, 50)), rng.normal(size=(2, 50))
    parts = [auc([p], [n]).value for p, n in zip(positive, negative, strict=True)]
    shifted = auc([positive[0], positive[1] + 100], [negative[0], negative[1] + 100])
    assert shifted.value == pytest.approx(np.mean(parts))
    assert shifted == pytest.approx(auc(list(positive), list(negative)))


def test_the_interval_of_a_perfect_auc_is_not_a_point():
    found = auc([np.arange(20.0) + 50], [np.arange(40.0)])
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(1 - stats.norm.ppf(0.975) * 0.5 / 20)


@pytest.mark.parametrize("level", [0.3, 0.05, 0.01])
@pytest.mark.parametrize(("m", "n", "place"), [(2, 3, 1), (3, 4, 2), (5, 5, 1), (4, 6, 6), (1, 9, 1), (6, 4, 3)])
def test_what_chance_explains_is_exact_in_small_numbers(m, n, place, level):
    counts = []
    for ranks in combinations(range(m + n), m):  # every order is equally likely
        others = sorted(set(range(m + n)) - set(ranks), reverse=True)
        counts.append(sum(rank > others[place - 1] for rank in ranks))
    counts, limit = np.array(counts), above_chance(m, n, place, level)
    assert (counts > limit).mean() <= level + 1e-9
    assert limit == 0 or (counts > limit - 1).mean() > level - 1e-9


@pytest.mark.parametrize("draw", ["normal", "standard_cauchy", "exponential"])
@pytest.mark.parametrize(("m", "n", "place"), [(200, 300, 3), (300, 100, 1), (50, 400, 40)])
def test_scores_that_say_nothing_exceed_chance_as_rarely_as_promised(m, n, place, draw):
    rng, level, runs = np.random.default_rng(0), 0.05, 2000
    others, own = getattr(rng, draw)(size=(runs, n)), getattr(rng, draw)(size=(runs, m))
    threshold = np.sort(others, axis=1)[:, [n - place]]
    alarms = ((own > threshold).sum(axis=1) > above_chance(m, n, place, level)).mean()
    assert alarms < level + 4 * np.sqrt(level * (1 - level) / runs)
    assert alarms > level / 4  # and it is no wider than it must be


def test_a_spread_is_that_of_a_normal_value():
    samples = np.random.default_rng(0).normal(9, 2, size=20_000).tolist()
    assert spread(samples, 3.0) == pytest.approx((3, 3 - 1.96 * 2, 3 + 1.96 * 2), abs=0.1)
    assert spread(samples, 3.0, 0.3173) == pytest.approx((3, 1, 5), abs=0.05)
    assert tuple(spread([1.0] * 5, 1.0)) == (1, 1, 1)


def test_an_estimate_reads_as_a_figure_with_its_interval():
    assert str(Estimate(0.5, 0.25, 0.75)) == "0.500 (0.250 to 0.750)"
