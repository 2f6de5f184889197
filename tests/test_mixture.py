"""The mixture: its density, its conditionals and EM, each against an independent computation."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from synthgen.nn.mixture import BATCH, EM, Mixture

WEIGHT = np.array([0.3, 0.7])
MEAN = np.array([[-1.0, 0.5], [2.0, -1.0]])
COVARIANCE = np.array([[[1.0, 0.6], [0.6, 0.8]], [[0.5, -0.2], [-0.2, 1.5]]])
LABELS = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])


def mixture(sizes, weight, mean, covariance, table):
    """A mixture with the parameters given; `table` (components, sum of sizes) holds probabilities."""
    made = Mixture(sizes)
    made.log_weight = torch.tensor(weight, dtype=torch.float64).log()
    made.log_table = torch.tensor(table, dtype=torch.float32).log()
    made.mean = torch.tensor(mean, dtype=torch.float64)
    made.factor = torch.linalg.cholesky(torch.tensor(covariance, dtype=torch.float64))
    made.validate()
    return made


@pytest.fixture(scope="module")
def mixed():
    """Two components over a real column, three labels, and another real column."""
    return mixture((0, 3, 0), WEIGHT, MEAN, COVARIANCE, LABELS)


@pytest.fixture(scope="module")
def coded():
    """Three components over codes alone, of sizes 2, 3 and 4."""
    rng = np.random.default_rng(0)
    table = np.concatenate([rng.dirichlet(np.ones(k), 3) for k in (2, 3, 4)], axis=1)
    return mixture((2, 3, 4), [0.2, 0.3, 0.5], np.zeros((3, 0)), np.zeros((3, 0, 0)), table)


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(1)
    return np.stack([rng.normal(0, 2, 50), rng.integers(0, 3, 50), rng.normal(0, 2, 50)], axis=1)


def every(sizes):
    return torch.tensor(list(itertools.product(*map(range, sizes))), dtype=torch.float32)


def parts(points, known):
    """Weight times density of the known columns of points under each component, by scipy."""
    real = [i for i, j in enumerate((0, 2)) if known[j]]
    columns = []
    for k in range(2):
        p = np.full(len(points), WEIGHT[k])
        if known[1]:
            p = p * LABELS[k][points[:, 1].astype(int)]
        if real:
            gauss = multivariate_normal(MEAN[k][real], COVARIANCE[k][np.ix_(real, real)])
            p = p * gauss.pdf(points[:, [(0, 2)[i] for i in real]])
        columns.append(p)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("known", list(itertools.product([True, False], repeat=3)))
def test_log_prob_equals_that_of_scipy(mixed, points, known):
    x = torch.tensor(points, dtype=torch.float32)
    found = mixed.log_prob(x, torch.tensor(known).expand(x.shape))
    np.testing.assert_allclose(found, np.log(parts(points, known).sum(axis=1)), atol=1e-4)


def test_known_everything_is_the_default(mixed, points):
    x = torch.tensor(points, dtype=torch.float32)
    torch.testing.assert_close(mixed.log_prob(x), mixed.log_prob(x, torch.ones(x.shape, dtype=torch.bool)))


def test_each_row_has_its_own_pattern(mixed, points):
    x = torch.tensor(points, dtype=torch.float32)
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    expected = [np.log(parts(points[i : i + 1], known[i]).sum()) for i in range(len(x))]
    np.testing.assert_allclose(mixed.log_prob(x, known), expected, atol=1e-4)


def test_more_records_than_a_batch_are_scored_alike(mixed, points):
    x = torch.tensor(points, dtype=torch.float32)
    many = x.repeat(BATCH // len(x) + 2, 1)
    torch.testing.assert_close(mixed.log_prob(many)[-len(x) :], mixed.log_prob(x))


def test_probabilities_of_codes_sum_to_one(coded):
    assert float(coded.log_prob(every((2, 3, 4))).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_density_integrates_to_the_label_probability(mixed):
    grid = np.linspace(-9, 9, 241)
    area = (grid[1] - grid[0]) ** 2
    a, b = np.meshgrid(grid, grid)
    for label in range(3):
        x = np.stack([a.ravel(), np.full(a.size, label), b.ravel()], axis=1)
        total = float(mixed.log_prob(torch.tensor(x)).exp().sum()) * area
        assert total == pytest.approx(WEIGHT @ LABELS[:, label], abs=1e-3)


def test_sample_frequencies_are_the_probabilities(coded):
    torch.manual_seed(0)
    n = 50_000
    x = coded.sample(n).long()
    found = torch.bincount((x[:, 0] * 3 + x[:, 1]) * 4 + x[:, 2], minlength=24) / n
    torch.testing.assert_close(found, coded.log_prob(every((2, 3, 4))).exp(), atol=0.01, rtol=0)


def test_sample_moments_are_those_of_the_mixture(mixed):
    torch.manual_seed(0)
    x = mixed.sample(50_000).numpy()
    overall = WEIGHT @ MEAN
    spread = sum(w * (c + np.outer(m - overall, m - overall)) for w, m, c in zip(WEIGHT, MEAN, COVARIANCE, strict=True))
    np.testing.assert_allclose(x[:, [0, 2]].mean(axis=0), overall, atol=0.05)
    np.testing.assert_allclose(np.cov(x[:, [0, 2]].T), spread, atol=0.1)
    np.testing.assert_allclose(np.bincount(x[:, 1].astype(int)) / len(x), WEIGHT @ LABELS, atol=0.01)


@pytest.mark.parametrize("pattern", [(1, 0, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 0)])
def test_draws_given_some_columns_of_a_gaussian_have_the_closed_form(pattern):
    mean = np.array([1.0, -2.0, 0.5])
    root = np.array([[1.0, 0, 0], [0.8, 0.7, 0], [-0.5, 0.3, 0.9]])
    covariance = root @ root.T
    one = mixture((0, 0, 0), [1.0], mean[None], covariance[None], np.zeros((1, 0)))
    value = np.array([2.0, -1.0, 1.5])
    known = np.array(pattern, dtype=bool)
    gain = covariance[np.ix_(~known, known)] @ np.linalg.inv(covariance[np.ix_(known, known)])
    centre = mean[~known] + gain @ (value - mean)[known]
    spread = covariance[np.ix_(~known, ~known)] - gain @ covariance[np.ix_(known, ~known)]
    torch.manual_seed(0)
    n = 40_000
    drawn = one.draw(torch.tensor(value, dtype=torch.float32).expand(n, 3), torch.tensor(known).expand(n, 3)).numpy()
    assert (drawn[:, known] == value[known]).all()
    np.testing.assert_allclose(drawn[:, ~known].mean(axis=0), centre, atol=0.04)
    np.testing.assert_allclose(np.atleast_2d(np.cov(drawn[:, ~known].T)), spread, atol=0.06)


def test_draws_given_a_real_number_are_of_the_right_component(mixed):
    value = 0.4
    share = WEIGHT * norm.pdf(value, MEAN[:, 0], np.sqrt(COVARIANCE[:, 0, 0]))
    share /= share.sum()
    centre = MEAN[:, 1] + COVARIANCE[:, 0, 1] / COVARIANCE[:, 0, 0] * (value - MEAN[:, 0])
    torch.manual_seed(0)
    n = 40_000
    known = torch.tensor([True, False, False]).expand(n, 3)
    drawn = mixed.draw(torch.tensor([value, 0, 0]).expand(n, 3), known).numpy()
    np.testing.assert_allclose(np.bincount(drawn[:, 1].astype(int)) / n, share @ LABELS, atol=0.015)
    assert drawn[:, 2].mean() == pytest.approx(share @ centre, abs=0.05)


def test_draws_given_a_code_have_the_conditional_frequencies(coded):
    torch.manual_seed(0)
    n = 40_000
    known = torch.tensor([False, True, False]).expand(n, 3)
    drawn = coded.draw(torch.tensor([0.0, 2, 0]).expand(n, 3), known).long()
    joint = coded.log_prob(every((2, 3, 4))).exp().reshape(2, 3, 4)[:, 2]
    found = torch.bincount(drawn[:, 0] * 4 + drawn[:, 2], minlength=8).reshape(2, 4) / n
    assert bool((drawn[:, 1] == 2).all())
    torch.testing.assert_close(found, joint / joint.sum(), atol=0.015, rtol=0)


def clusters(n, seed=0):
    """Records of two well separated clusters, each with a favourite label; a share of 0.35 is the second."""
    rng = np.random.default_rng(seed)
    second = rng.random(n) < 0.35
    z = np.where(second[:, None], [3.0, 2.0], [-3.0, 0.0]) + rng.normal(size=(n, 2)) @ [[0.5, 0.3], [0, 0.4]]
    label = np.where(rng.random(n) < 0.9, second, 1 - second)
    return torch.tensor(np.column_stack([z[:, 0], label, z[:, 1]]), dtype=torch.float32), second


@pytest.mark.parametrize("seed", range(4))
def test_em_recovers_two_clusters(seed):
    x, second = clusters(3000)
    torch.manual_seed(seed)
    found = Mixture((0, 2, 0))
    em = EM(found, x, components=2, passes=60)
    for _ in em.steps():
        pass
    em.maximise()
    found.validate()
    order = found.mean[:, 0].argsort()
    z = x[:, [0, 2]].double().numpy()
    for k, group in zip(order, (~second, second), strict=True):
        assert found.log_weight[k].exp().item() == pytest.approx(group.mean(), abs=0.02)
        np.testing.assert_allclose(found.mean[k], z[group].mean(axis=0), atol=0.05)
        np.testing.assert_allclose(found.factor[k] @ found.factor[k].T, np.cov(z[group].T), atol=0.05)
        frequency = np.bincount(x[:, 1].numpy().astype(int)[group]) / group.sum()
        np.testing.assert_allclose(found.log_table[k].exp(), frequency, atol=0.02)


def test_one_component_is_mean_and_covariance():
    x, _ = clusters(2000)
    found = Mixture((0, 2, 0))
    em = EM(found, x, components=1, passes=200)
    for _ in em.steps():
        pass
    em.maximise()
    z = x[:, [0, 2]].double().numpy()
    np.testing.assert_allclose(found.mean[0], z.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(found.factor[0] @ found.factor[0].T, np.cov(z.T), rtol=0.02, atol=0.02)


def test_the_likelihood_of_the_data_rises():
    x, _ = clusters(2000)
    torch.manual_seed(0)
    shares, means = zip(*EM(Mixture((0, 2, 0)), x, components=20, passes=15).steps(), strict=True)
    assert means[-1] > means[0] + 0.5
    assert shares == tuple((k + 1) / 15 for k in range(15))


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_going_on_from_a_state_equals_never_stopping(stop):
    x, _ = clusters(BATCH * 2 - 100)  # two steps per pass

    def em():
        torch.manual_seed(0)
        return EM(Mixture((0, 2, 0)), x, components=8, passes=3)

    whole, first, second = em(), em(), em()
    for _ in whole.steps():
        pass
    for _ in itertools.islice(first.steps(), stop):
        pass
    second.load({name: t.clone() for name, t in first.state().items()})
    for _ in second.steps():
        pass
    one, other = whole.mixture.state_dict(), second.mixture.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(map(torch.equal, whole.statistics, second.statistics))


def test_a_label_that_a_component_never_saw_is_not_impossible():
    x = torch.tensor([[0.0, -2], [0, -2.1], [1, 2], [1, 2.1]] * 20)
    torch.manual_seed(0)
    found = Mixture((2, 0))
    em = EM(found, x, components=2, passes=20)
    for _ in em.steps():
        pass
    em.maximise()
    assert bool(found.log_prob(torch.tensor([[0.0, 2], [1, -2]])).isfinite().all())


def test_constant_reals_and_equal_records_do_not_break_em():
    found = Mixture((0, 0, 2))
    em = EM(found, torch.zeros(50, 3), components=5, passes=5)
    for _ in em.steps():
        pass
    em.maximise()
    found.validate()
    assert bool(found.log_prob(torch.zeros(1, 3)).isfinite())


@pytest.mark.parametrize("spoil", ["short", "none", "flat"])
def test_parts_that_contradict_each_other_are_refused(spoil):
    made = mixture((0, 3, 0), WEIGHT, MEAN, COVARIANCE, LABELS)
    if spoil == "short":
        made.mean = made.mean[:1]
    if spoil == "none":
        for name in ("log_weight", "log_table", "mean", "factor"):
            setattr(made, name, getattr(made, name)[:0])
    if spoil == "flat":
        made.factor = made.factor.clone()
        made.factor[1, 1, 1] = 0
    with pytest.raises(ValueError, match="mixture"):
        made.validate()
