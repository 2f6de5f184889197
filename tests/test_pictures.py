import warnings
from importlib import import_module

import numpy as np
import pytest
import torch

from synthgen.errors import SynthgenError
from synthgen.metrics import pictures
from synthgen.metrics.pictures import (
    frechet_distance,
    inception_score,
    kernel_distance,
    neighbourhoods,
    scaled,
)


def normal(n, seed, d=8, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (n, d))


def clusters(sizes, seed):
    """Well separated clusters in 6 dimensions, so many records of each."""
    centres = 20 * np.eye(6)
    return np.concatenate(
        [centre + normal(size, seed + i, 6) for i, (centre, size) in enumerate(zip(centres, sizes, strict=False))]
    )


class Passed(torch.nn.Module):
    """A network of other people's metrics that leaves features as they are."""

    num_features = 8

    def forward(self, x):
        return x


def of_torchmetrics(name, module, **options):
    """A metric of other people's on features (n, 8)."""
    pytest.importorskip("torchmetrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it keeps all features
        return getattr(import_module(f"torchmetrics.image.{module}"), name)(feature=Passed(), **options)


def compared(metric, a, b):
    metric.set_dtype(torch.float64)
    metric.update(torch.tensor(a), real=True)
    metric.update(torch.tensor(b), real=False)
    return metric.compute()


def test_all_is_scaled_by_one_number_of_the_real_features():
    a, b = scaled(np.float32([[1, 3], [5, 7]]), np.float32([[1, 1]]))
    assert a.dtype == b.dtype == np.float64
    assert a.std() == pytest.approx(1)
    assert b.tolist() == [[pytest.approx(5**-0.5)] * 2]
    assert scaled(np.ones((2, 2)))[0].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(("n", "m"), [(60, 60), (40, 70), (2, 3)])
def test_the_kernel_distance_is_the_mean_over_pairs(n, m):
    a, b = normal(n, 0), normal(m, 1, shift=0.3)

    def mean(x, y, within):
        values = [(u @ v / 8 + 1) ** 3 for i, u in enumerate(x) for j, v in enumerate(y) if not within or i != j]
        return np.mean(values)

    expected = mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)
    assert kernel_distance(a, b).value == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert kernel_distance(b, a) == pytest.approx(kernel_distance(a, b))


def test_the_kernel_distance_agrees_with_torchmetrics():
    a, b = normal(200, 0), normal(200, 1, shift=0.2)
    value, _ = compared(of_torchmetrics("KernelInceptionDistance", "kid", subsets=1, subset_size=200), a, b)
    assert kernel_distance(a, b).value == pytest.approx(float(value), rel=1e-6)


@pytest.mark.parametrize(("n", "m", "shift"), [(60, 60, 0.0), (40, 90, 0.0), (60, 60, 0.3), (90, 40, 0.1)])
def test_the_error_of_the_kernel_distance_is_how_much_it_varies(n, m, shift):
    found = [kernel_distance(normal(n, 2 * i), normal(m, 2 * i + 1, shift=shift)) for i in range(300)]
    values, errors = np.array(found).T
    assert np.sqrt((errors**2).mean()) / values.std() == pytest.approx(1, abs=0.25)
    if not shift:
        assert abs(values.mean()) < 4 * values.std() / 300**0.5


def test_the_kernel_distance_of_two_draws_is_about_0_and_grows_with_the_shift():
    distances = [kernel_distance(normal(300, 0), normal(300, 1, shift=shift)) for shift in (0, 0.1, 0.3, 1)]
    assert abs(distances[0].value) < 4 * distances[0].error
    values = [d.value for d in distances]
    assert values == sorted(values)
    assert distances[3].value > 10 * distances[3].error


def test_of_constant_records_nothing_is_uncertain():
    assert kernel_distance(np.ones((5, 3)), np.ones((4, 3))) == pytest.approx((0, 0), abs=1e-9)


def test_the_frechet_distance_of_normal_sets_is_that_of_the_formula():
    x = normal(500, 0)
    white = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T  # covariance 1, exactly
    turned, _ = np.linalg.qr(normal(8, 1))
    a = white * np.arange(1, 9) @ turned
    b = (white[::-1] * np.linspace(4, 0, 8) + 0.5) @ turned
    expected = 8 * 0.5**2 + ((np.arange(1, 9) - np.linspace(4, 0, 8)) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)


def test_the_frechet_distance_agrees_with_torchmetrics():
    a, b = normal(100, 0), normal(150, 1, shift=0.2) @ np.diag(np.linspace(0.5, 2, 8))
    value = compared(of_torchmetrics("FrechetInceptionDistance", "fid"), a, b)
    assert frechet_distance(a, b) == pytest.approx(float(value), rel=1e-6)


def test_the_frechet_distance_needs_no_more_records_than_dimensions():
    from scipy.linalg import sqrtm

    a, b = normal(6, 0), normal(5, 1)
    root = sqrtm(np.cov(a.T) @ np.cov(b.T) + 1e-14 * np.eye(8)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize(("n", "m", "shift"), [(150, 150, 0.0), (100, 170, 0.5), (170, 100, 2.0)])
def test_neighbourhoods_agree_with_prdc(k, n, m, shift, capsys):
    prdc = pytest.importorskip("prdc")
    real, fake = normal(n, 0), normal(m, 1, shift=shift)
    expected = prdc.compute_prdc(real, fake, k)
    assert neighbourhoods(real, fake, k)._asdict() == pytest.approx(expected, abs=1e-12)


def test_neighbourhoods_are_those_of_the_definition():
    real, fake = np.array([[0.0], [1], [3], [7]]), np.array([[0.5], [2.5], [6], [40]])
    # to the nearest neighbour: real balls [-1, 1], [0, 2], [1, 5], [3, 11]; fake ones 2, 2, 3.5 and 34 to each side
    assert neighbourhoods(real, fake, 1) == (0.75, 1.0, 1.0, 1.0)


def test_copies_lie_in_all_balls_and_far_records_in_none():
    real = normal(300, 0)
    assert neighbourhoods(real, real.copy()) == (1, 1, pytest.approx(6 / 5), 1)
    assert neighbourhoods(real, real + 1e3) == (0, 0, 0, 0)


def test_records_that_are_repeated_have_balls_without_size():
    real = np.repeat(normal(3, 0, 1280), 10, axis=0)
    assert neighbourhoods(real, real + 1e-3) == (0, 0, 0, 0)
    assert neighbourhoods(real, real[::-1].copy()) == (1, 1, 2, 1)


def test_of_a_fresh_draw_density_and_coverage_are_those_expected():
    found = np.mean([neighbourhoods(normal(200, 2 * i), normal(200, 2 * i + 1)) for i in range(20)], axis=0)
    assert found[2:] == pytest.approx([1, 1 - 2**-5], abs=0.03)


def test_dropped_clusters_lower_recall_and_coverage_but_not_precision():
    real = clusters([60] * 6, 0)
    whole = neighbourhoods(real, clusters([60] * 6, 100))
    part = neighbourhoods(real, clusters([90] * 4, 200))
    assert part.precision > whole.precision - 0.05
    assert part.recall < whole.recall - 0.25
    assert part.coverage < whole.coverage - 0.25


def test_figures_do_not_depend_on_the_size_of_blocks(monkeypatch):
    a, b = normal(70, 0), normal(50, 1)
    whole = (*kernel_distance(a, b), *neighbourhoods(a, b))
    monkeypatch.setattr(pictures, "BLOCK", 160)
    assert (*kernel_distance(a, b), *neighbourhoods(a, b)) == pytest.approx(whole, rel=1e-10)


def test_sets_that_are_too_small_are_an_error():
    for measure, n in ((kernel_distance, 1), (frechet_distance, 1), (neighbourhoods, 5)):
        with pytest.raises(SynthgenError, match=f"a set of {n} is too small"):
            measure(normal(20, 0), normal(n, 1))


def test_the_inception_score_lies_between_1_and_the_number_of_classes():
    assert inception_score(np.eye(4)) == pytest.approx(4)
    assert inception_score(np.full((5, 4), 0.25)) == pytest.approx(1)
    assert inception_score(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1], [0, 1]])) == pytest.approx(
        np.exp(-0.4 * np.log(0.4) - 0.6 * np.log(0.6))
    )


def test_the_inception_score_agrees_with_torchmetrics():
    logits = torch.tensor(normal(100, 0))
    metric = of_torchmetrics("InceptionScore", "inception", splits=1)
    metric.update(logits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one split has no deviation
        value, _ = metric.compute()
    assert inception_score(logits.softmax(1).numpy()) == pytest.approx(float(value), rel=1e-6)
