"""Each family, and each part that families share, against a truth in closed form."""

import itertools
import math

import numpy as np
import pytest
import torch
from synthgen_autoregressive import Autoregressive
from synthgen_diffusion import LEAST, SPREAD, Diffusion
from synthgen_gan import GAN
from synthgen_vae import VAE
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from synthgen.errors import Interrupted, SynthgenError
from synthgen.generator import recipe_for
from synthgen.nn.backbones import Condition, Perceptron
from synthgen.nn.convolutions import Grow, Shrink, UNet
from synthgen.nn.coverage import coverage
from synthgen.nn.density import Centre
from synthgen.nn.heads import Head
from synthgen.nn.similarity import ssim
from synthgen.nn.subspace import Subspace
from synthgen.nn.texture import Texture
from synthgen.nn.tokens import Patches
from synthgen.nn.tones import Tones
from synthgen.records import Records
from synthgen.space import EMPTY, Space
from synthgen.training import Objective, Recipe, Training

CONTEXT = Space((1,), (2,), (False,))
ODD = [(1, 8, 8), (3, 13, 10), (1, 28, 28), (4, 33, 9)]  # channels, height, width


def reals(n):
    return Space((n,), (0,) * n, (False,) * n)


def build(cls, space, context=EMPTY, **settings):
    torch.manual_seed(0)
    return cls(space, context, cls.Config(**settings)).eval()


def none(n):
    return torch.zeros(n, 0)


def frequencies(x, sizes):
    """The share of each combination of codes (n, columns)."""
    found = torch.zeros(sizes)
    return found.index_put_(tuple(x.long().T), torch.tensor(1 / len(x)), accumulate=True)


# Diffusion: with the exact denoiser in the network's place, what is drawn has the exact distribution.

MEAN = torch.tensor([1.0, -0.5])
COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.5]])
JOINT = torch.tensor([[0.30, 0.05, 0.10], [0.05, 0.40, 0.10]])


def gaussian_denoiser(noisy, noise, c):
    """E[x | x + σ ε] = μ + Σ (Σ + σ² I)⁻¹ (x + σ ε − μ), in the units in which numbers are diffused."""
    mean, covariance = MEAN * SPREAD, COVARIANCE * SPREAD**2
    gain = covariance @ torch.linalg.inv(covariance + noise[:, None, None].square() * torch.eye(2))
    return mean + (gain @ (noisy - mean)[:, :, None])[..., 0]


def label_denoiser(noisy, noise, c):
    """The posterior of two labels with a joint distribution, given their noisy one-hot vectors."""
    scores = noisy / noise[:, None].square()
    joint = (scores[:, :2, None] + scores[:, None, 2:] + JOINT.log()).flatten(1).softmax(1).reshape(-1, 2, 3)
    return torch.cat([joint.sum(2), joint.sum(1)], 1)


@pytest.fixture
def exact_gaussian(monkeypatch):
    model = build(Diffusion, reals(2), width=8, depth=1, draws=32, rounds=0)
    monkeypatch.setattr(model, "denoise", gaussian_denoiser)
    return model


@pytest.fixture
def exact_labels(monkeypatch):
    model = build(Diffusion, Space((2,), (2, 3), (False, False)), width=8, depth=1, draws=32, rounds=0)
    monkeypatch.setattr(model, "denoise", label_denoiser)
    return model


@pytest.mark.parametrize(("draws", "bound"), [(16, 0.15), (64, 0.05)])
def test_diffusion_with_the_exact_denoiser_draws_the_gaussian(exact_gaussian, draws, bound):
    exact_gaussian.config = exact_gaussian.config.model_copy(update={"draws": draws})
    x = exact_gaussian.sample(20_000, none(20_000))
    torch.testing.assert_close(x.mean(0), MEAN, atol=bound, rtol=0)
    torch.testing.assert_close(x.T.cov(), COVARIANCE, atol=bound, rtol=0)


def test_diffusion_with_the_exact_posterior_draws_the_labels(exact_labels):
    x = exact_labels.sample(20_000, none(20_000))
    torch.testing.assert_close(frequencies(x, (2, 3)), JOINT, atol=0.02, rtol=0)


def test_diffusion_completes_the_gaussian_by_its_conditional(exact_gaussian):
    x = torch.tensor([2.5, 0.0]).expand(4000, 2)
    known = torch.tensor([True, False]).expand(x.shape)
    drawn = exact_gaussian.complete(x, known, none(len(x)))
    assert torch.equal(drawn[:, 0], x[:, 0])
    gain = COVARIANCE[1, 0] / COVARIANCE[0, 0]
    assert float(drawn[:, 1].mean()) == pytest.approx(float(MEAN[1] + gain * (2.5 - MEAN[0])), abs=0.35)
    deviation = math.sqrt(COVARIANCE[1, 1] - gain * COVARIANCE[0, 1])
    assert float(drawn[:, 1].std()) == pytest.approx(deviation, rel=0.2)


@pytest.mark.parametrize("code", [0, 1])
def test_diffusion_completes_labels_by_their_conditional(exact_labels, code):
    x = torch.tensor([float(code), 0.0]).expand(4000, 2)
    known = torch.tensor([True, False]).expand(x.shape)
    drawn = exact_labels.complete(x, known, none(len(x)))
    assert torch.equal(drawn[:, 0], x[:, 0])
    torch.testing.assert_close(frequencies(drawn[:, 1:], (3,)), JOINT[code] / JOINT[code].sum(), atol=0.08, rtol=0)


def test_diffusion_keeps_whatever_is_known(exact_gaussian):
    x = torch.randn(500, 2)
    known = torch.rand(500, 2) < 0.5
    assert torch.equal(exact_gaussian.complete(x, known, none(500))[known], x[known])


def test_diffusion_with_a_silent_network_knows_the_standard_normal_and_equal_labels(monkeypatch):
    model = build(Diffusion, Space((2,), (0, 4), (False, False)), width=8, depth=1, draws=64, rounds=0)
    monkeypatch.setattr(model, "_network", lambda noisy, noise, c, guided=True: torch.zeros_like(noisy))
    x = model.sample(20_000, none(20_000))
    assert float(x[:, 0].mean()) == pytest.approx(0, abs=0.04)
    assert float(x[:, 0].std()) == pytest.approx(1, abs=0.04)
    torch.testing.assert_close(frequencies(x[:, 1:], (4,)), torch.full((4,), 0.25), atol=0.02, rtol=0)


def test_diffusion_with_a_silent_network_loses_one_for_each_standard_normal(monkeypatch):
    """What is left to learn has variance 1 at every level of noise."""
    model = build(Diffusion, reals(3), width=8, depth=1)
    monkeypatch.setattr(model, "_network", lambda noisy, noise, c, guided=True: torch.zeros_like(noisy))
    for level in (LEAST, 0.3, 40.0):
        lost = model._wrong(torch.randn(20_000, 3), none(20_000), torch.full((20_000,), level))
        assert float(lost.mean()) == pytest.approx(1, abs=0.05)


def test_guidance_weighs_the_context():
    space, noisy, noise = reals(2), torch.randn(50, 2), torch.full((50,), 0.5)
    models = [build(Diffusion, space, CONTEXT, width=8, depth=1, guidance=g) for g in (0.0, 1.0, 2.0)]
    for model in models:
        for part in model.denoiser.blocks:
            nn.init.ones_(part.outer.weight)  # at first a block does nothing
    one, other = (CONTEXT.embed(torch.full((50, 1), code)) for code in (0.0, 1.0))
    with torch.no_grad():
        free, plain, twice = (model.denoise(noisy, noise, one) for model in models)
        assert torch.equal(free, models[0].denoise(noisy, noise, other))
        assert float((plain - models[1].denoise(noisy, noise, other)).abs().max()) > 1e-3
    torch.testing.assert_close(twice, free + 2 * (plain - free), atol=1e-5, rtol=0)


# Variational autoencoder


@pytest.mark.slow
def test_the_bound_of_a_vae_nears_the_density_of_a_gaussian_from_below():
    torch.manual_seed(0)
    load = torch.tensor([[0.9, 0.0], [0.7, 0.6], [-0.5, 0.8], [0.0, -0.9]])
    exact = MultivariateNormal(torch.zeros(4), load @ load.T + 0.1 * torch.eye(4))
    x, fresh = exact.sample((3000,)), exact.sample((3000,))
    model = build(VAE, reals(4), latent=2, width=8, depth=1, beta=1, components=1, rounds=0)
    model.fit(Records(x), Training(Recipe(steps=600, batch_size=128, learning_rate=5e-3)))
    with torch.no_grad():
        bound = float(model.bound(fresh, none(3000)).mean())
    truth = float(exact.log_prob(fresh).mean())
    assert truth - 4 * 0.3 < bound < truth + 0.02


def test_the_divergence_of_a_vae_is_that_of_torch(monkeypatch):
    model = build(VAE, reals(3), latent=5, width=8, depth=1, beta=0.7)
    x = torch.randn(100, 3)
    monkeypatch.setattr(model.head, "loss", lambda y, x: torch.zeros(len(x)))
    with torch.no_grad():
        mean, deviation = model.posterior(x, none(100))
        exact = torch.distributions.kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum(1)
        torch.testing.assert_close(model.loss(x, none(100)), 0.7 * exact, atol=1e-4, rtol=1e-4)


# Autoregressive network on images


@pytest.mark.parametrize("levels", [(2,), (4, 4), (2, 3, 5), (8, 5, 5, 5)], ids=str)
def test_codes_and_the_numbers_that_make_them_up_are_the_same_thing(levels, monkeypatch):
    tokens = Patches(Space((1, 4, 4)), levels, 8)
    count = math.prod(levels)
    codes = torch.arange(4 * count).reshape(-1, 4).float() % count
    seen = []
    monkeypatch.setattr(tokens, "_image", lambda numbers: seen.append(numbers) or torch.zeros(len(numbers), 16))
    tokens.decode(codes)
    numbers = torch.cat(seen)
    assert numbers.shape == (len(codes), len(levels), 2, 2)
    assert float(numbers.min()) == -1
    assert float(numbers.max()) == 1
    assert len(numbers.transpose(1, 3).reshape(-1, len(levels)).unique(dim=0)) == count
    monkeypatch.setattr(tokens, "_quantised", lambda x: numbers)
    assert torch.equal(tokens.encode(torch.zeros(len(codes), 1, 4, 4)), codes)


def test_numbers_of_images_lie_on_their_levels_and_the_gradient_passes_the_rounding():
    torch.manual_seed(0)
    tokens, x = Patches(Space((1, 8, 8)), (3, 5), 8), torch.randn(6, 1, 8, 8)
    for i, count in enumerate((3, 5)):
        level = (tokens._quantised(x)[:, i] + 1) / 2 * (count - 1)
        torch.testing.assert_close(level, level.round(), atol=1e-5, rtol=0)
    free = torch.tanh(tokens.inner(tokens.shrink(x, torch.ones(6, 1))))
    weight = torch.randn_like(free)
    slopes = [torch.autograd.grad((weight * t).sum(), tokens.inner.weight)[0] for t in (tokens._quantised(x), free)]
    assert float(slopes[0].abs().max()) > 0
    torch.testing.assert_close(*slopes, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("shape", ODD, ids=str)
def test_a_patch_is_known_where_all_of_its_pixels_are(shape):
    tokens = Patches(Space(shape), (4, 4), 8)
    known = torch.rand(20, *shape, generator=torch.Generator().manual_seed(0)) < 0.97
    rows, columns = tokens.shrink.rows, tokens.shrink.columns
    unit = 2 << (tokens.shrink.levels - 1)
    expected = torch.ones(20, rows, columns, dtype=torch.bool)
    for i, j in itertools.product(range(rows), range(columns)):
        expected[:, i, j] = known[:, :, i * unit : (i + 1) * unit, j * unit : (j + 1) * unit].flatten(1).all(1)
    assert torch.equal(tokens.known(known), expected.flatten(1))
    assert tokens.encode(torch.zeros(2, *shape)).shape == (2, rows * columns)
    assert tokens.decode(torch.zeros(2, rows * columns)).shape == (2, *shape)


def test_probabilities_of_the_codes_of_small_images_sum_to_one():
    model = build(Autoregressive, Space((1, 2, 4)), levels=(2, 2), channels=8, width=16)
    nn.init.normal_(model.network.out.weight, std=0.3)
    network = model.network.eval()
    codes = torch.tensor(list(itertools.product(range(4), repeat=2)), dtype=torch.float32)
    with torch.no_grad():
        exact, turned = (network.log_prob(codes, none(16), torch.tensor(rank)).exp() for rank in ([0, 1], [1, 0]))
        drawn = network.draw(torch.zeros(20_000, 2), None, none(20_000))
        second = torch.tensor([[False, True]]).expand(20_000, 2)
        filled = network.draw(torch.full((20_000, 2), 3.0), second, none(20_000))
    assert float(exact.sum()) == pytest.approx(1, abs=1e-5)
    assert float(turned.sum()) == pytest.approx(1, abs=1e-5)
    assert exact.std() > 0.01
    torch.testing.assert_close(frequencies(drawn, (4, 4)), exact.reshape(4, 4), atol=0.02, rtol=0)
    assert (filled[:, 1] == 3).all()
    given = turned.reshape(4, 4)[:, 3]
    torch.testing.assert_close(frequencies(filled[:, :1], (4,)), given / given.sum(), atol=0.02, rtol=0)


# Generative adversarial network


@pytest.mark.slow
def test_a_gan_learns_mean_and_deviation_of_a_gaussian():
    torch.manual_seed(0)
    x = 1 + 0.5 * torch.randn(2000, 1)
    model = build(GAN, reals(1), width=8, depth=1, latent=4, candidates=1, rounds=0)
    recipe = GAN.recipe.model_copy(update={"steps": 600, "batch_size": 128, "learning_rate": 2e-3, "ema": 0.99})
    model.fit(Records(x), Training(recipe))
    with torch.no_grad():
        made, drawn = model.maker(torch.randn(4000, 4), none(4000)), model.sample(4000, none(4000))
    for numbers in (made, drawn):  # drawn ones have been put right by their quantiles
        assert float(numbers.mean()) == pytest.approx(1, abs=0.2)
        assert float(numbers.std()) == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("own", ["critic", "maker"])
def test_each_side_of_a_gan_trains_itself_alone(own):
    model = build(GAN, Space((2,), (0, 3), (False, False)), CONTEXT, width=8, depth=1, latent=4)
    other = {"critic": "maker", "maker": "critic"}[own]
    before = {name: t.clone() for name, t in model.state_dict().items()}
    objective = next(o for o in model.objectives() if o.module is getattr(model, own))
    x = torch.stack([torch.randn(64), torch.randint(3, (64,)).float()], 1)
    records = Records(x, CONTEXT.embed(torch.randint(2, (64, 1)).float()))
    Training(Recipe(steps=3, weight_decay=0)).train([objective], records)
    moved = {name.split(".")[0] for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert moved == {own}
    assert all(p.grad is None for p in getattr(model, other).parameters())


def test_the_critic_s_loss_has_no_gradient_in_the_maker():
    model = build(GAN, reals(2), width=8, depth=1, latent=4)
    model.loss(torch.randn(10, 2), none(10)).sum().backward()
    assert all(p.grad is None for p in model.maker.parameters())
    assert any(p.grad is not None for p in model.critic.parameters())


def test_the_maker_of_a_gan_is_told_how_many_and_sees_no_record():
    model, seen = build(GAN, reals(2), width=8, depth=1, latent=4), []
    critic, maker = model.objectives()
    assert (critic.sees_data, maker.sees_data) == (True, False)

    def pleasing(n, c):
        seen.append((n, c.shape))
        return maker.loss(n, c)

    blind = Objective(maker.module, pleasing, sees_data=False)
    Training(Recipe(epochs=1)).train([critic, blind], Records(torch.randn(70, 2)))
    assert sorted(seen) == [(6, (6, 0)), (32, (32, 0)), (32, (32, 0))]


# Mixtures of Gaussians on principal components

PIXELS = 16


@pytest.fixture
def subspace():
    """Two classes of images of 4 x 4 pixels, each three Gaussians on five directions."""
    torch.manual_seed(0)
    made = Subspace((1, 4, 4), 2, 5)
    made.mean.copy_(0.1 * torch.randn(2, PIXELS))
    made.basis.copy_(0.08 * torch.randn(2, 5, PIXELS))
    made.noise.copy_(torch.tensor([0.05, 0.1]))
    for mixture in made.mixtures:
        mixture.log_weight = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()
        mixture.log_table = torch.zeros(3, 0)
        mixture.mean = 0.7 * torch.randn(3, 5, dtype=torch.float64)
        mixture.factor = torch.linalg.cholesky(torch.stack([torch.randn(40, 5).double().T.cov() for _ in range(3)]))
    made.validate()
    return made


def explicit(made, k, pixels=slice(None)):
    """The mixture over some pixels of class k with its full covariances."""
    mixture, a = made.mixtures[k], made.basis[k].double().T
    mean = made.mean[k].double() + mixture.mean @ a.T
    noise = made.noise[k].double().square() * torch.eye(PIXELS)
    covariance = a @ mixture.factor @ mixture.factor.mT @ a.T + noise
    gauss = MultivariateNormal(mean[:, pixels], covariance[:, pixels][:, :, pixels])
    return MixtureSameFamily(Categorical(logits=mixture.log_weight), gauss)


def test_the_density_on_components_is_that_of_full_covariances(subspace):
    x, label = 0.3 * torch.randn(40, 1, 4, 4), torch.arange(40) % 2
    found = subspace.log_prob(x, label)
    for k in (0, 1):
        exact = explicit(subspace, k).log_prob(x[label == k].flatten(1).double())
        torch.testing.assert_close(found[label == k].double(), exact, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("gone", [[0, 1, 4, 5], [15], list(range(8))], ids=str)
@pytest.mark.parametrize("k", [0, 1])
def test_images_are_completed_by_the_conditional_mixture(subspace, k, gone):
    n, unknown = 20_000, torch.zeros(PIXELS, dtype=torch.bool)
    unknown[gone] = True
    x = explicit(subspace, k).sample((1,))[0]
    whole, seen = explicit(subspace, k), explicit(subspace, k, ~unknown)
    share = (seen.mixture_distribution.logits + seen.component_distribution.log_prob(x[~unknown])).softmax(0)
    mean, covariance = whole.component_distribution.mean, whole.component_distribution.covariance_matrix
    wrong = (x - mean)[:, ~unknown, None]
    gain = covariance[:, unknown][:, :, ~unknown] @ torch.linalg.inv(covariance[:, ~unknown][:, :, ~unknown])
    expected = (share[:, None] * (mean[:, unknown] + (gain @ wrong)[..., 0])).sum(0)
    torch.manual_seed(1)
    images = x.float().reshape(1, 1, 4, 4).expand(n, 1, 4, 4)
    known = ~unknown.reshape(1, 1, 4, 4).expand(n, 1, 4, 4)
    drawn = subspace.complete(images, known, torch.full((n,), k)).flatten(1)
    assert torch.equal(drawn[:, ~unknown], x.float()[~unknown].expand(n, -1))
    torch.testing.assert_close(drawn[:, unknown].mean(0).double(), expected, atol=0.01, rtol=0)


def test_samples_of_a_subspace_have_its_moments(subspace):
    torch.manual_seed(1)
    exact = explicit(subspace, 1)
    x = subspace.sample(torch.ones(40_000, dtype=torch.long)).flatten(1).double()
    torch.testing.assert_close(x.mean(0), exact.mean, atol=0.01, rtol=0)
    # pixels are drawn without their noise
    torch.testing.assert_close(x.var(0), exact.variance - 0.01, atol=0.01, rtol=0.1)


def test_a_subspace_learns_the_density_of_images_of_few_directions():
    torch.manual_seed(0)
    load = 0.15 * torch.randn(PIXELS, 3)
    exact = MultivariateNormal(0.2 * torch.randn(PIXELS), load @ load.T + 0.05**2 * torch.eye(PIXELS))
    x, fresh = exact.sample((2000,)), exact.sample((2000,))
    made = Subspace((1, 4, 4), 1, 3)
    label = torch.zeros(2000, dtype=torch.long)
    shares = list(made.fit(x.reshape(-1, 1, 4, 4), label, components=1, passes=10))
    assert shares == pytest.approx([k / 10 for k in range(1, 11)])
    found = float(made.log_prob(fresh.reshape(-1, 1, 4, 4), label).mean())
    assert found == pytest.approx(float(exact.log_prob(fresh).mean()), abs=0.2)


def test_texture_is_the_identity_until_it_gives_drawn_images_the_contrasts_of_real_ones():
    torch.manual_seed(0)
    real = (torch.rand(400, 2, 9, 10) < 0.3) * 2.0 - 1
    blurred = nn.functional.avg_pool2d(real, 3, 1, 1, count_include_pad=False)
    texture = Texture(2)
    torch.testing.assert_close(texture(blurred), blurred, atol=1e-5, rtol=0)
    texture.fit(blurred, real)
    fresh = (torch.rand(400, 2, 9, 10) < 0.3) * 2.0 - 1
    sharp = texture(nn.functional.avg_pool2d(fresh, 3, 1, 1, count_include_pad=False))
    assert sharp.abs().max() <= 1
    steps = [float((x[..., 1:] - x[..., :-1]).abs().mean()) for x in (fresh, blurred, sharp)]
    assert abs(steps[0] - steps[2]) < 0.3 * abs(steps[0] - steps[1])


def test_drawing_starts_at_the_mean_of_what_is_given():
    space = Space((2,), (3, 0), (False, False))
    centre = Centre(space, CONTEXT)
    c = CONTEXT.embed(torch.tensor([[0.0], [0.0], [1.0], [1.0]]).repeat(500, 1))
    x = torch.tensor([[0.0, 1.0], [1.0, 3.0], [2.0, -1.0], [2.0, -1.0]]).repeat(500, 1)
    centre.fit(x, c, Training())
    mean = centre.sample(c[:3])
    torch.testing.assert_close(mean[0], torch.tensor([0.5, 0.5, 0, 2.0]), atol=0.01, rtol=0)
    torch.testing.assert_close(mean[2], torch.tensor([0, 0, 1.0, -1.0]), atol=0.01, rtol=0)


def test_drawn_pixels_have_the_tones_of_the_real_ones():
    torch.manual_seed(0)
    x = torch.where(torch.rand(1500, 1, 1, 1) < 0.3, 0.9, -0.9) * torch.rand(1500, 1, 4, 4) ** 0.2
    made = Subspace((1, 4, 4), 1, 3)
    label = torch.zeros(1500, dtype=torch.long)
    for _ in made.fit(x, label, components=4, passes=10):
        pass
    apart = (made.sample(label).flatten().sort().values - x.flatten().sort().values).abs()
    assert float(apart.mean()) < 0.1


def test_tones_are_the_identity_until_they_map_quantiles():
    torch.manual_seed(0)
    tones, drawn = Tones(2, (-1.0, 1.0)), torch.rand(3000, 2, 3) * 2 - 1
    torch.testing.assert_close(tones(drawn), drawn, atol=1e-5, rtol=0)
    tones.fit(drawn, torch.stack([drawn[:, 0] ** 3, 0.1 * drawn[:, 1].flip(0)], 1))
    torch.testing.assert_close(tones(drawn)[:, 0], drawn[:, 0] ** 3, atol=0.02, rtol=0)
    torch.testing.assert_close(tones(drawn)[:, 1], 0.1 * drawn[:, 1], atol=0.005, rtol=0)


# Heads

MIXED = Space((4,), (3, 0, 2, 0), (False, False, False, False))


def mixed_records(n):
    codes = torch.stack([torch.randint(3, (n,)), torch.randint(2, (n,))], 1).float()
    return torch.stack([codes[:, 0], torch.randn(n), codes[:, 1], torch.randn(n)], 1)


def test_the_log_density_of_a_head_is_that_of_torch():
    torch.manual_seed(0)
    head, x, y = Head(MIXED), mixed_records(50), torch.randn(50, MIXED.width)
    nn.init.normal_(head.deviation.value)
    deviation = head.log_deviation(torch.zeros(1))[0].exp()
    exact = Categorical(logits=y[:, :3]).log_prob(x[:, 0]) + Categorical(logits=y[:, 4:6]).log_prob(x[:, 2])
    exact = exact + Normal(y[:, 3], deviation[0]).log_prob(x[:, 1]) + Normal(y[:, 6], deviation[1]).log_prob(x[:, 3])
    torch.testing.assert_close(head.log_prob(y, x), exact)


def test_the_log_density_of_pixels_is_that_of_torch():
    torch.manual_seed(0)
    space = Space((3, 4, 5))
    head, x, y = Head(space), torch.rand(20, *space.shape) * 2 - 1, torch.randn(20, space.width)
    nn.init.normal_(head.deviation.value)
    exact = Independent(Normal(y.reshape(x.shape), head.log_deviation(torch.zeros(1))[0].exp()), 3).log_prob(x)
    torch.testing.assert_close(head.log_prob(y, x), exact, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(head.loss(y, x), -exact, atol=1e-3, rtol=1e-4)
    by = Head(space, "ssim")
    by.load_state_dict(head.state_dict())
    torch.testing.assert_close(by.loss(y, x), 60 * (1 - ssim(y.reshape(x.shape), x)) - exact, atol=1e-3, rtol=1e-4)


def test_the_deviation_of_a_head_has_a_least():
    head = Head(reals(2))
    torch.testing.assert_close(head.log_deviation(torch.zeros(1))[0].exp(), torch.full((2,), 1.02), atol=1e-3, rtol=0)
    nn.init.constant_(head.deviation.value, -1e4)
    torch.testing.assert_close(head.log_deviation(torch.zeros(1))[0].exp(), torch.full((2,), 0.02))


def test_structural_similarity_is_refused_for_tables():
    with pytest.raises(SynthgenError, match="ssim compares images"):
        Head(MIXED, "ssim")


def test_calibrated_outputs_have_the_frequencies_of_the_records():
    torch.manual_seed(0)
    head, y, x = Head(MIXED), 2 * torch.randn(4000, MIXED.width) + torch.arange(7), mixed_records(4000)
    x[:, 0] = (torch.rand(4000) < 0.1).float() * 2  # the middle label never occurs
    head.calibrate(lambda given: given, x, y)
    drawn = torch.cat([head.draw(y) for _ in range(10)])
    for j, size in ((0, 3), (2, 2)):
        found, wanted = (frequencies(t[:, j : j + 1], (size,)) for t in (drawn, x))
        torch.testing.assert_close(found, wanted, atol=0.01, rtol=0)


def test_a_head_draws_by_its_probabilities_and_with_its_noise():
    torch.manual_seed(0)
    head, y = Head(MIXED), torch.randn(1, MIXED.width)
    with torch.no_grad():
        head.deviation.value.copy_(torch.tensor([-1.0, -0.3]))
        x = head.draw(y.expand(40_000, -1))
        deviation = head.log_deviation(torch.zeros(1))[0].exp()
    torch.testing.assert_close(frequencies(x[:, :1], (3,)), y[0, :3].softmax(0), atol=0.015, rtol=0)
    for number, (column, place) in enumerate(((1, 3), (3, 6))):
        assert float(x[:, column].mean()) == pytest.approx(float(y[0, place]), abs=0.05)
        assert float(x[:, column].std()) == pytest.approx(float(deviation[number]), rel=0.05)


def test_relaxed_labels_are_whole_and_have_a_gradient():
    torch.manual_seed(0)
    y = torch.randn(500, MIXED.width, requires_grad=True)
    relaxed = Head(MIXED).relax(y, 0.5)
    assert bool(((relaxed[:, :3] == 0) | ((relaxed[:, :3] - 1).abs() < 1e-6)).all())
    torch.testing.assert_close(relaxed[:, 3], y[:, 3])
    slope = torch.autograd.grad((relaxed * torch.arange(7)).sum(), y)[0]
    assert bool((slope.abs().sum(0) > 0)[[0, 1, 2, 4, 5]].all())


# Structural similarity


def similarity_in_a_loop(a, b, size, span):
    """The formula of Wang et al., window by window, in numpy."""
    c1, c2, found = (0.01 * span) ** 2, (0.03 * span) ** 2, []
    channels, height, width = a.shape
    for k, i, j in itertools.product(range(channels), range(height - size + 1), range(width - size + 1)):
        u, v = (t[k, i : i + size, j : j + size].ravel() for t in (a, b))
        covariance = np.cov(u, v, bias=True)
        top = (2 * u.mean() * v.mean() + c1) * (2 * covariance[0, 1] + c2)
        found.append(top / ((u.mean() ** 2 + v.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)))
    return np.mean(found)


@pytest.mark.parametrize(("shape", "size"), [((1, 9, 8), 7), ((3, 7, 12), 7), ((2, 4, 6), 4)])
def test_structural_similarity_is_that_of_a_loop_over_windows(shape, size):
    rng = np.random.default_rng(0)
    a = rng.uniform(-1, 1, (5, *shape))
    b = np.clip(a + 0.4 * rng.normal(size=a.shape), -1, 1)
    found = ssim(torch.tensor(a), torch.tensor(b))
    np.testing.assert_allclose(found, [similarity_in_a_loop(u, v, size, 2.0) for u, v in zip(a, b, strict=True)])
    torch.testing.assert_close(found, ssim(torch.tensor(b), torch.tensor(a)))
    torch.testing.assert_close(ssim(torch.tensor(a), torch.tensor(a)), torch.ones(5, dtype=torch.float64))
    assert float(found.max()) < 0.95


# Coverage


def test_coverage_tells_fresh_records_from_collapsed_ones():
    torch.manual_seed(0)
    real, fresh = torch.randn(1000, 5), torch.randn(1000, 5)
    assert coverage(real, real) == 1
    assert coverage(real, fresh) == pytest.approx(0.97, abs=0.02)
    assert coverage(real, real[:20].repeat(50, 1)) < 0.2
    assert coverage(real, fresh + 20) == 0
    half = torch.where(real[:, :1] < 0, real, -real)  # one of two modes
    assert coverage(torch.cat([real[:, :1].sign() * 10, real[:, 1:]], 1), half - torch.tensor([10.0, 0, 0, 0, 0])) < 0.7


# Backbones


def test_a_condition_of_nothing_is_one_for_all():
    condition, net = Condition(0, 16), Perceptron(3, 2, 16, 32, 2)
    e = condition(none(5))
    assert e.shape == (1, 16)
    x = torch.randn(5, 3)
    torch.testing.assert_close(net(x, e), net(x, e.expand(5, 16)), atol=1e-2, rtol=1e-2)  # may compute in bfloat16


def test_an_unguided_condition_does_not_depend_on_the_context():
    torch.manual_seed(0)
    condition = Condition(4, 16, levels=True).eval()
    one, other, level = torch.randn(5, 4), torch.randn(5, 4), torch.rand(5)
    assert torch.equal(condition(one, level, guided=False), condition(other, level, guided=False))
    assert not torch.equal(condition(one, level), condition(other, level))
    assert not torch.equal(condition(one, level), condition(one, 2 * level))


def test_contexts_are_dropped_in_training_alone():
    torch.manual_seed(0)
    condition = Condition(4, 16, drop=0.3)
    c = torch.randn(1, 4).expand(4000, 4)
    hidden = (condition(c) == condition(c, guided=False)).all(1)
    assert float(hidden.float().mean()) == pytest.approx(0.3, abs=0.04)
    assert not bool((condition.eval()(c) == condition(c, guided=False)).all(1).any())


@pytest.mark.parametrize("shape", ODD, ids=str)
def test_image_networks_keep_odd_sizes(shape):
    torch.manual_seed(0)
    x, e, z = torch.randn(2, *shape), torch.randn(2, 6), torch.randn(2, 5)
    unet, shrink, grow = UNet(shape, 6, 8), Shrink(shape, 6, 8, 1, 5), Grow(5, 6, shape, 8, 1)
    assert unet(x, e).shape == x.shape
    assert unet(x.flatten(1), e).shape == x.shape
    assert shrink(x, e).shape == (2, 5)
    assert grow(z, e).shape == (2, math.prod(shape))


@pytest.mark.parametrize("shape", ODD, ids=str)
def test_images_cut_into_patches_and_joined_are_the_same(shape):
    x = torch.randn(2, *shape)
    for framed in (UNet(shape, 1, 8), Shrink(shape, 1, 8, 1, 0)):
        assert torch.equal(framed.join(framed.cut(x)), x)


@pytest.mark.parametrize("shape", ODD[:2], ids=str)
def test_image_networks_treat_each_record_by_itself(shape):
    torch.manual_seed(0)
    x, e, z = torch.randn(4, *shape), torch.randn(4, 6), torch.randn(4, 5)
    nets = [(UNet(shape, 6, 8), x), (Shrink(shape, 6, 8, 1, 5), x), (Grow(5, 6, shape, 8, 1), z)]
    for net, given in nets:
        if isinstance(net, UNet):
            nn.init.normal_(net.last.weight)
        changed = given.clone()
        changed[1:] += 1
        with torch.no_grad():
            whole, other = net(given, e), net(changed, e)
        assert torch.equal(whole[0], other[0])
        assert not torch.equal(whole[1], other[1])


# Training in several parts, previews, steps


class Pair(nn.Module):
    """A module trained first, and one that learns what the first one ended at."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 1), nn.Linear(1, 1)

    def fit(self, records, training):
        noisy = lambda x, c: (self.first(x * (torch.rand_like(x) < 0.8))[:, 0] - x.sum(1)) ** 2  # noqa: E731
        training.train([Objective(self.first, noisy)], records, until=0.4, share=0.4)
        with torch.no_grad():
            y = Records(self.first(records.tensor()[0]))
        training.train([Objective(self.second, lambda y, c: (self.second(y + torch.randn_like(y)) - y)[:, 0] ** 2)], y)


def fit_pair(**options):
    torch.manual_seed(3)
    model = Pair()
    records = Records(torch.randn(100, 2, generator=torch.Generator().manual_seed(0)))
    model.fit(records, Training(Recipe(epochs=5, learning_rate=0.05), **options))  # 8 steps, then 20
    return [p.detach().clone() for p in model.parameters()], torch.get_rng_state()


@pytest.mark.parametrize("step", [1, 4, 7, 8, 9, 12, 20, 28])
def test_a_fit_of_two_parts_goes_on_in_either(step):
    whole, rng = fit_pair()
    kept, rounds = [], itertools.count(1)
    with pytest.raises(Interrupted):
        fit_pair(save=kept.append, interrupted=lambda: next(rounds) == step)
    resumed, same_rng = fit_pair(restored={name: t.clone() for name, t in kept[-1].items()})
    assert all(map(torch.equal, whole, resumed))
    assert torch.equal(rng, same_rng)


def test_a_fit_of_two_parts_may_be_interrupted_in_both():
    state = None
    for step in (5, 10):
        kept, rounds = [], itertools.count(1)
        with pytest.raises(Interrupted):
            fit_pair(save=kept.append, restored=state, interrupted=lambda r=rounds, s=step: next(r) == s)
        state = {name: t.clone() for name, t in kept[-1].items()}
    assert int(state["stage 0.step"]) == 8
    assert int(state["stage 1.step"]) == 7
    assert all(map(torch.equal, fit_pair()[0], fit_pair(restored=state)[0]))


def test_previews_see_averaged_weights_and_change_nothing(monkeypatch):
    monkeypatch.setattr(Training, "save_every", -1.0)  # a preview after every step
    records = Records(torch.randn(64, 2, generator=torch.Generator().manual_seed(0)))

    shown = []

    def train(preview):
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        seen = []

        def loss(x, c):
            seen.append(model.weight.detach().clone())
            return (model(x + 0.1 * torch.randn_like(x))[:, 0] - x[:, 0]) ** 2

        recipe = Recipe(steps=12, learning_rate=0.05, ema=0.9)
        look = lambda: shown.append((model.weight.detach().clone(), model.training, torch.rand(3)))  # noqa: E731
        Training(recipe, preview=look if preview else None).train([Objective(model, loss)], records)
        return model.weight.detach(), seen, torch.get_rng_state()

    (one, seen, rng), (other, _, other_rng) = train(preview=True), train(preview=False)
    assert torch.equal(one, other)
    assert torch.equal(rng, other_rng)
    assert len(shown) == 12
    average = seen[0]
    for step, (weight, (found, training, _)) in enumerate(zip(seen[1:], shown, strict=False)):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
        torch.testing.assert_close(found, average, atol=1e-6, rtol=0)
        assert not training


def test_steps_take_the_place_of_epochs():
    assert Recipe(epochs=5, steps=7).total(10_000) == 7
    assert Recipe(epochs=5, batch_size=100).total(10_000) == 500
    done = []
    report = lambda share, **figures: done.append(share)  # noqa: E731
    objective = Objective(model := nn.Linear(1, 1), lambda x, c: model(x)[:, 0] ** 2)
    Training(Recipe(epochs=1000, steps=30), report=report).train([objective], Records(torch.ones(64, 1)))
    assert len(done) == 3  # every tenth step


def test_epochs_given_for_images_take_the_place_of_the_family_s_steps():
    assert recipe_for(VAE, "images", {}).steps == VAE.image_recipe.steps > 0
    assert recipe_for(VAE, "images", {"epochs": 3}) == VAE.image_recipe.model_copy(update={"epochs": 3, "steps": 0})
    assert recipe_for(VAE, "images", {"epochs": 3, "steps": 5}).steps == 5
    assert recipe_for(VAE, "table", {"steps": 5}) == VAE.recipe.model_copy(update={"steps": 5})
