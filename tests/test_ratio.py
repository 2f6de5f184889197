"""The estimated log-ratio of two densities, against the exact one."""

import itertools

import numpy as np
import pytest
import torch

from synthgen.nn.ratio import BINS, DEPTH, DensityRatio

REAL = np.array([[0.20, 0.05, 0.05], [0.05, 0.25, 0.40]])  # probability of each pair of codes
DRAWN = np.array([[0.10, 0.20, 0.20], [0.20, 0.15, 0.15]])
PAIRS = np.array(list(itertools.product(range(2), range(3))), dtype=np.int16)


def draw(table, n, seed):
    return PAIRS[np.random.default_rng(seed).choice(len(PAIRS), n, p=table.ravel())]


def fit(real, drawn, sizes=(2, 3), ordered=(False, False), rounds=150, seed=0, **options):
    ratio = DensityRatio(sizes, ordered)
    ratio.fit(real, drawn, rounds, np.random.default_rng(seed), **options)
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
@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 1000])
def test_every_code_has_a_bin(size, ordered):
    sample = (np.arange(4000) * 7 % size).astype(np.int16)[:, None]
    ratio = fit(sample, sample[::-1], (size,), (ordered,), rounds=2)
    assert ratio.bins.shape == (size,)
    assert int(ratio.bins.max()) == min(size, BINS) - 1
    if ordered:
        assert bool((ratio.bins.int().diff() >= 0).all())
    assert np.isfinite(ratio(np.arange(size, dtype=np.int16)[:, None])).all()


def test_the_same_random_numbers_give_the_same_ratio():
    real, drawn = draw(REAL, 15_000, 1), draw(DRAWN, 15_000, 2)  # more rows than a tree is grown on
    one, same, other = (fit(real, drawn, rounds=10, seed=s) for s in (5, 5, 6))
    assert torch.equal(one.values, same.values)
    assert torch.equal(one.questions, same.questions)
    assert not torch.equal(one.values, other.values)


@pytest.mark.parametrize("rounds", [0, 1, 7])
def test_it_stops_when_it_is_told(rounds):
    asked = []

    def go_on(done):
        asked.append(done)
        return len(asked) <= rounds

    ratio = fit(draw(REAL, 500, 1), draw(DRAWN, 500, 2), rounds=20, go_on=go_on)
    assert len(ratio.values) == len(ratio.questions) == rounds
    assert asked == [k / 20 for k in range(rounds + 1)]
    assert (ratio(PAIRS) == 0).all() == (rounds == 0)
    ratio.validate()


def test_stopping_early_is_a_prefix_of_the_whole():
    real, drawn = draw(REAL, 500, 1), draw(DRAWN, 500, 2)
    whole, half = fit(real, drawn, rounds=10), fit(real, drawn, rounds=5)
    assert torch.equal(whole.values[:5], half.values)


@pytest.mark.parametrize("column", [-1, 2, 300])
def test_questions_for_columns_that_are_not_there_are_refused(fitted, column):
    copy = DensityRatio((2, 3), (False, False))
    copy.bins, copy.values, copy.questions = fitted.bins, fitted.values, fitted.questions.clone()
    copy.validate()
    copy.questions[3, DEPTH - 1, 0] = column
    with pytest.raises(ValueError, match="not there"):
        copy.validate()


def test_more_questions_than_values_are_refused(fitted):
    copy = DensityRatio((2, 3), (False, False))
    copy.bins, copy.questions, copy.values = fitted.bins, fitted.questions, fitted.values[1:]
    with pytest.raises(ValueError, match="density ratio"):
        copy.validate()
