"""The estimated log-ratio of two densities, against the exact one."""

import itertools
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from synthgen.nn.ratio import BINS, STEP, DensityRatio

REAL = np.array([[0.20, 0.05, 0.05], [0.05, 0.25, 0.40]])  # probability of each pair of codes
DRAWN = np.array([[0.10, 0.20, 0.20], [0.20, 0.15, 0.15]])
PAIRS = np.array(list(itertools.product(range(2), range(3))), dtype=np.int16)


def draw(table, n, seed):
    return PAIRS[np.random.default_rng(seed).choice(len(PAIRS), n, p=table.ravel())]


def fit(real, drawn, sizes=(2, 3), ordered=(False, False), rounds=150, seed=0, **options):
    ratio = DensityRatio(sizes, ordered)
    ratio.fit(real, drawn, rounds, seed, **options)
    return ratio


@pytest.fixture(scope="module")
def fitted():
    return fit(draw(REAL, 20_000, 1), draw(DRAWN, 20_000, 2))


def test_it_is_near_the_exact_log_ratio(fitted):
    np.testing.assert_allclose(fitted(PAIRS), np.log(REAL / DRAWN).ravel(), atol=0.15)


def test_unequal_sample_sizes_do_not_shift_it():
    ratio = fit(draw(REAL, 5_000, 1), draw(DRAWN, 20_000, 2))
    np.testing.assert_allclose(ratio(PAIRS), np.log(REAL / DRAWN).ravel(), atol=0.25)


def test_of_two_equal_samples_it_is_zero():
    sample = draw(REAL, 5_000, 1)
    np.testing.assert_allclose(fit(sample, sample)(PAIRS), 0, atol=1e-6)


def test_resampling_with_it_moves_the_joint_to_the_truth(fitted):
    candidates = draw(DRAWN, 80_000, 3).reshape(8, -1, 2)
    noise = np.random.default_rng(4).gumbel(size=candidates.shape[:2])
    pick = (fitted(candidates.reshape(-1, 2)).reshape(8, -1) + noise).argmax(axis=0)
    kept = candidates[pick, np.arange(len(pick))]
    found = np.zeros_like(REAL)
    np.add.at(found, (kept[:, 0], kept[:, 1]), 1 / len(kept))
    before, after = (0.5 * np.abs(table - REAL).sum() for table in (DRAWN, found))
    assert before > 0.3
    assert after < 0.15 * before + 0.05


def test_a_trend_over_many_ordered_codes_is_found():
    n = 20_000
    rng = np.random.default_rng(0)
    real = (1000 * rng.beta(2, 1, n)).astype(np.int16)[:, None]  # density 2x, the other is 1
    drawn = rng.integers(0, 1000, n).astype(np.int16)[:, None]
    ratio = fit(real, drawn, (1000,), (True,))
    codes = np.array([[100], [300], [500], [700], [900]], dtype=np.int16)
    np.testing.assert_allclose(ratio(codes), np.log(2 * (codes[:, 0] + 0.5) / 1000), atol=0.4)


def test_among_many_names_the_common_ones_are_told_apart():
    rng = np.random.default_rng(0)
    p = np.full(500, 0.5 / 499)
    p[321] = 0.5
    real = rng.choice(500, 10_000, p=p).astype(np.int16)[:, None]
    drawn = rng.integers(0, 500, 10_000).astype(np.int16)[:, None]
    found = fit(real, drawn, (500,), (False,))(np.array([[321], [5]], dtype=np.int16))
    assert found[0] > 3  # log 250 were it not for the damping
    assert found[1] == pytest.approx(np.log(0.5), abs=0.3)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("size", [1, 2, 254, 255, 256, 1000])
def test_every_code_has_a_bin(size, ordered):
    sample = (np.arange(4000) * 7 % size).astype(np.int16)[:, None]
    ratio = fit(sample, sample[::-1], (size,), (ordered,), rounds=2)
    assert ratio.bins.shape == (size,)
    assert int(ratio.bins.max()) == min(size, BINS) - 1
    if ordered:
        assert bool((ratio.bins.int().diff() >= 0).all())
    assert np.isfinite(ratio(np.arange(size, dtype=np.int16)[:, None])).all()


def wide(n, seed):
    """Records of three columns that depend, of many codes and few."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 200, n), rng.integers(0, 5, n)
    a = np.where(rng.random(n) < 0.1 * seed, b * 17, a)
    return np.stack([a, b, 1000 * rng.beta(1 + seed, 1, n)], axis=1).astype(np.int16)


def test_the_leaves_are_those_of_the_library():
    real, drawn = wide(3000, 2), wide(6000, 0)
    sizes, ordered = (200, 5, 1000), (True, False, True)
    made = []

    def make(**options):
        made.append(HistGradientBoostingClassifier(**options))
        return made[-1]

    with mock.patch("synthgen.nn.ratio.HistGradientBoostingClassifier", make):
        ratio = fit(real, drawn, sizes, ordered, rounds=120)
    fresh = wide(2000, 1)
    truth = made[0].decision_function(ratio._bin(fresh).T)
    assert np.abs(truth).max() > 1
    np.testing.assert_allclose(ratio(fresh), truth, atol=1e-4)


def test_the_same_seed_gives_the_same_ratio():
    real, drawn = wide(2000, 2), wide(2000, 0)
    options = {"sizes": (200, 5, 1000), "ordered": (True, False, True), "rounds": 10}
    one, same, other = (fit(real, drawn, seed=s, **options) for s in (5, 5, 6))
    assert torch.equal(one.values, same.values)
    assert torch.equal(one.questions, same.questions)
    assert not torch.equal(one.values, other.values)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_it_stops_when_it_is_told(steps):
    asked = []

    def go_on(done):
        asked.append(done)
        return len(asked) <= steps

    rounds = 2 * STEP + 7
    ratio = fit(draw(REAL, 500, 1), draw(DRAWN, 500, 2), rounds=rounds, go_on=go_on)
    assert len(ratio.values) == len(ratio.questions) == len(ratio.remaining) == min(steps * STEP, rounds)
    assert asked == [k * STEP / rounds for k in range(min(steps + 1, 3))]
    assert (ratio(PAIRS) == 0).all() == (steps == 0)
    ratio.validate()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("questions", lambda t: t[3, 5].copy_(torch.tensor([-1, 0]))),
        ("questions", lambda t: t[3, 5].copy_(torch.tensor([2, 0]))),
        ("questions", lambda t: t[3, 5].copy_(torch.tensor([0, -1]))),
        ("questions", lambda t: t[3, 5].copy_(torch.tensor([0, BINS]))),
        ("remaining", lambda t: t[3, 5].zero_()),
        ("remaining", lambda t: t[3, 5].fill_(-1)),
        ("bins", lambda t: t[0].fill_(BINS)),
        ("values", lambda t: t.resize_(7, t.shape[1])),
        ("remaining", lambda t: t.resize_(7, t.shape[1])),
    ],
)
def test_damage_is_refused(fitted, name, change):
    copy = DensityRatio((2, 3), (False, False))
    for own in ("bins", "questions", "remaining", "values"):
        setattr(copy, own, getattr(fitted, own).clone())
    copy.validate()
    change(getattr(copy, name))
    with pytest.raises(ValueError, match=r"density ratio|bin"):
        copy.validate()
