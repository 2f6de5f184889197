import numpy as np
import pytest
import torch

from synthgen.errors import SynthgenError
from synthgen.metrics.classifier import train_classifier


def marks(n, seed, side=12, channels=1):
    """Images of three classes: an upright bar, a lying bar, a dot; somewhere, on noise."""
    rng = np.random.default_rng(seed)
    pixels, labels = rng.integers(0, 60, (n, side, side, channels), np.uint8), rng.integers(0, 3, n)
    for image, label in zip(pixels, labels, strict=True):
        y, x = rng.integers(0, side - 3, 2)
        image[slice(None) if label == 0 else slice(y, y + 3), slice(None) if label == 1 else slice(x, x + 3)] += 150
    if channels in (2, 4):
        pixels[..., -1] = 255
    return pixels, labels


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_it_learns_what_is_easy(channels):
    (pixels, labels), (fresh, truth) = marks(200, 0, channels=channels), marks(150, 1, channels=channels)
    trained = train_classifier(pixels, labels, 3, steps=30)
    assert (trained.predictions(fresh) == truth).mean() > 0.9
    odds = trained.probabilities(fresh)
    assert odds.shape == (150, 3)
    assert odds.sum(axis=1) == pytest.approx(1)


def test_labels_that_mean_nothing_teach_nothing():
    pixels, labels = marks(200, 0)
    trained = train_classifier(pixels, np.random.default_rng(2).permutation(labels), 3, steps=30)
    fresh, truth = marks(300, 1)
    assert 0.15 < (trained.predictions(fresh) == truth).mean() < 0.55


def test_a_class_without_images_is_not_named():
    pixels, labels = marks(200, 0)
    trained = train_classifier(pixels[labels < 2], labels[labels < 2], 3, steps=30)
    assert (trained.predictions(marks(150, 1)[0]) < 2).mean() > 0.95


def test_images_that_weigh_nothing_teach_nothing():
    pixels, labels = marks(200, 0)
    weights = (labels < 2).astype(float)
    trained = train_classifier(pixels, labels, 3, steps=30, weights=weights)
    assert (trained.predictions(marks(150, 1)[0]) < 2).mean() > 0.95
    plain, ones = (
        train_classifier(pixels, labels, 3, 5, weights=w).probabilities(pixels) for w in (None, weights * 0 + 1)
    )
    assert np.array_equal(plain, ones)


def test_a_seed_gives_the_same_network_and_leaves_the_callers_numbers_alone():
    pixels, labels = marks(100, 0)
    before = torch.random.get_rng_state()
    first, second, other = (train_classifier(pixels, labels, 3, 10, seed).probabilities(pixels) for seed in (3, 3, 4))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_sets_of_any_size_do():
    pixels, labels = marks(3, 0, side=40)
    trained = train_classifier(pixels, labels, 3, steps=5)
    assert trained.predictions(pixels[:1]).shape == (1,)
    with pytest.raises(SynthgenError, match="no images"):
        train_classifier(pixels[:0], labels[:0], 3)


def test_training_reports_its_share_and_stops_when_told_to():
    shares = []

    def report(done):
        shares.append(done)
        if done >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_classifier(*marks(20, 0), 3, steps=10, report=report)
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.slow
def test_it_names_real_digits():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8)
    trained = train_classifier(pixels[:1200], labels[:1200], 10, steps=200)
    assert (trained.predictions(pixels[1200:]) == labels[1200:]).mean() > 0.93
