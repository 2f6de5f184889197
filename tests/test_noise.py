"""Noise against the laws it claims. Nothing here can be seeded, so tests fail at odds of a million to one only."""

import importlib
import logging
import math

import numpy as np
import pytest
import torch
from scipy import stats

from synthgen.dp import noise
from synthgen.errors import ResourceError

ODDS = 1e-6


def normal(values, sigma=1.0):
    """The smaller of the p-values of spread, both tails, and of shape."""
    lower = stats.chi2.cdf((values / sigma) @ (values / sigma), len(values))
    return min(2 * lower, 2 * (1 - lower), stats.kstest(values / sigma, "norm").pvalue)


def fits(counts, chances):
    """p-value of counts under the chances of their cells."""
    return stats.chisquare(counts, np.asarray(chances) / np.sum(chances) * np.sum(counts)).pvalue


@pytest.fixture
def bare(monkeypatch):
    """A machine without the packages that only private fits need."""

    def absent(module):
        raise ImportError(module)

    monkeypatch.setattr(noise.importlib, "import_module", absent)


def test_gaussian_noise_is_normal():
    assert normal(noise.gaussian(200_000, 3.0), 3.0) > ODDS


@pytest.mark.usefixtures("bare")
def test_gaussian_noise_is_normal_without_randomgen_too():
    assert normal(noise.gaussian(200_000, 3.0), 3.0) > ODDS


@pytest.mark.parametrize("shape", [0, 1, 7, (), (3, 5), (0, 4)])
@pytest.mark.parametrize("packages", [True, False])
def test_noise_has_the_shape_asked_for(shape, packages, request):
    if not packages:
        request.getfixturevalue("bare")
    drawn = noise.gaussian(shape, 2.0)
    assert np.shape(drawn) == np.shape(np.zeros(shape))
    assert np.asarray(drawn).dtype == np.float64


@pytest.mark.parametrize("packages", [True, False])
def test_no_seed_repeats_noise_and_noise_moves_no_seeded_generator(packages, request):
    if not packages:
        request.getfixturevalue("bare")
    drawn, states = [], []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        drawn.append(np.concatenate([noise.gaussian(5, 1.0), noise.uniform(5), noise.chosen(1000, 0.5)[:5]]))
        states.append((torch.rand(3).tolist(), np.random.random(3).tolist()))
    assert not set(drawn[0][:10]) & set(drawn[1][:10])
    assert states[0] == states[1]


def test_uniform_numbers_fill_the_open_interval():
    u = noise.uniform(200_000)
    assert 0 < u.min() < u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > ODDS


def test_sizes_of_poisson_samples_are_binomial():
    sizes = np.array([len(noise.chosen(50, 0.3)) for _ in range(5000)])
    law, middle = stats.binom(50, 0.3), np.arange(8, 23)
    counts = [np.sum(sizes < 8), *(np.sum(sizes == k) for k in middle), np.sum(sizes > 22)]
    assert fits(counts, [law.cdf(7), *law.pmf(middle), law.sf(22)]) > ODDS


def test_records_are_chosen_alike_and_independently():
    picked = np.zeros((4000, 8), bool)
    for row in picked:
        row[noise.chosen(8, 0.25)] = True
    pattern = picked @ (1 << np.arange(8))
    ones = np.array([bin(k).count("1") for k in range(256)])
    law = 0.25**ones * 0.75 ** (8 - ones)
    few = law * len(picked) < 25
    counts = np.bincount(pattern, minlength=256)
    assert fits([*counts[~few], counts[few].sum()], [*law[~few], law[few].sum()]) > ODDS


def test_rate_one_chooses_all():
    assert noise.chosen(5000, 1.0).tolist() == list(range(5000))
    assert noise.chosen(0, 0.5).tolist() == []


@pytest.mark.parametrize("step", [2.0**-20, 1.5 * 2**-20, 0.1])
def test_what_is_on_the_grid_is_a_multiple_of_its_step(step):
    values = noise.gaussian(10_000, 1.0)
    rounded = noise.on_grid(values, step)
    multiples = np.rint(rounded / step)
    assert np.array_equal(multiples * step, rounded)
    assert np.abs(rounded - values).max() <= step / 2 * (1 + 1e-9)


def discrete(sigma, reach=60):
    """Integers and their chances under the discrete Gaussian law."""
    k = np.arange(-reach, reach + 1)
    weight = np.exp(-(k**2) / (2 * sigma**2))
    return k, weight / weight.sum()


@pytest.mark.parametrize("sigma", [0.5, 2.3])
def test_discrete_noise_follows_its_law(sigma):
    drawn = noise.discrete_gaussian(np.full((100, 100), 7, np.int64), sigma)
    assert drawn.shape == (100, 100)
    assert drawn.dtype == np.int64
    k, chance = discrete(sigma)
    common = chance * drawn.size >= 25
    counts = np.array([np.sum(drawn - 7 == i) for i in k])
    assert fits([*counts[common], drawn.size - counts[common].sum()], [*chance[common], chance[~common].sum()]) > ODDS


def test_no_counts_need_no_noise():
    assert noise.discrete_gaussian(np.zeros((0, 3), np.int64), 1.0).shape == (0, 3)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_discrete_noise_needs_a_scale(sigma):
    with pytest.raises(ValueError, match="scale"):
        noise.discrete_gaussian(np.zeros(3, np.int64), sigma)
    with pytest.raises(ValueError, match="scale"):
        noise.threshold(sigma, 1e-6)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 7.7, 40.0])
@pytest.mark.parametrize("delta", [0.3, 1e-3, 1e-6, 1e-12])
def test_a_label_of_one_record_passes_with_at_most_delta(sigma, delta):
    k, chance = discrete(sigma, 600)
    tau = noise.threshold(sigma, delta)
    passes = chance[1 + k >= tau].sum()
    assert passes <= delta
    # a threshold two lower would let it pass: no label is hidden in vain
    assert chance[1 + k >= tau - 2.001].sum() > delta * (1 - 1e-9)


def test_delta_of_a_threshold_is_small():
    with pytest.raises(ValueError, match="threshold"):
        noise.threshold(1.0, 0.6)


@pytest.mark.parametrize(("sensitivity", "epsilon"), [(1.0, 1.0), (2.0, 3.0)])
def test_choices_follow_the_exponential_law(sensitivity, epsilon):
    scores = np.array([0.0, 1.0, 1.5, -2.0, 1.0])
    counts = np.bincount([noise.exponential(scores, sensitivity, epsilon) for _ in range(4000)], minlength=5)
    assert fits(counts, np.exp(epsilon * scores / (2 * sensitivity))) > ODDS


def test_far_better_choices_are_always_made():
    assert {noise.exponential([0.0, 1e6, -math.inf], 1.0, 1.0) for _ in range(50)} == {1}
    assert {noise.exponential([1e300, -1e300], 1e-300, 1.0) for _ in range(50)} == {0}


@pytest.mark.parametrize("scores", [[], [math.nan, 1.0], [math.inf, 1.0], [-math.inf]])
def test_scores_must_be_numbers(scores):
    with pytest.raises(ValueError, match="choice"):
        noise.exponential(scores, 1.0, 1.0)


@pytest.mark.parametrize(("sensitivity", "epsilon"), [(0, 1), (1, 0), (1, -1), (math.inf, 1), (1, math.nan)])
def test_prices_of_choices_must_be_numbers(sensitivity, epsilon):
    with pytest.raises(ValueError, match="choice"):
        noise.exponential([1.0, 2.0], sensitivity, epsilon)


@pytest.mark.usefixtures("bare")
def test_a_missing_package_is_named_with_how_to_install_it():
    with pytest.raises(ResourceError, match=r"opendp.*pip install 'synthgen-toolkit\[dp\]'") as caught:
        noise.discrete_gaussian(np.zeros(3, np.int64), 1.0)
    assert caught.value.exit_code == 4


def test_importing_a_package_leaves_logging_alone(tmp_path, monkeypatch):
    (tmp_path / "talkative.py").write_text("import logging\nlogging.basicConfig(level=logging.DEBUG)\n")
    monkeypatch.syspath_prepend(tmp_path)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    noise.library("talkative")
    assert (root.handlers, root.level) == ([], level)
    importlib.reload(importlib.import_module("talkative"))  # by itself it would have changed both
    assert root.handlers
    root.setLevel(level)
