"""The mixture as a generator: densities and draws agree, with and without a context."""

import itertools

import pytest
import torch
from synthgen_gmm import GMM

from synthgen.errors import Interrupted, SynthgenError
from synthgen.records import Records
from synthgen.space import EMPTY, Space
from synthgen.training import Training

SIZES = (2, 3, 4)
CONTEXT = Space((1,), (2,), (False,))
N = 40_000


def every():
    return torch.tensor(list(itertools.product(*map(range, SIZES))), dtype=torch.float32)


def records(n=3000):
    """Codes that depend on each other and on a code that is given."""
    rng = torch.Generator().manual_seed(0)
    given = torch.randint(2, (n,), generator=rng)
    flag = torch.where(torch.rand(n, generator=rng) < 0.8, given, 1 - given)
    label = (flag + torch.randint(2, (n,), generator=rng)) % 3
    level = (label + torch.randint(2, (n,), generator=rng) * 2) % 4
    return torch.stack([flag, label, level], dim=1).float(), given[:, None].float()


def fit(x, c=None, context=EMPTY, space=None, **settings):
    torch.manual_seed(0)
    model = GMM(space or Space((3,), SIZES, (False,) * 3), context, GMM.Config(**settings))
    training = Training()
    model.fit(Records(x, c), training)
    return model.eval()


@pytest.fixture(scope="module")
def plain():
    return fit(records()[0], components=12)


@pytest.fixture(scope="module")
def conditional():
    x, given = records()
    return fit(x, CONTEXT.embed(given), CONTEXT, components=12)


def nothing(n):
    return torch.zeros(n, 0)


def asked(code, n):
    return CONTEXT.embed(torch.full((n, 1), float(code)))


def frequencies(x, columns=(0, 1, 2)):
    found = torch.zeros([SIZES[j] for j in columns])
    return found.index_put_(tuple(x[:, j].long() for j in columns), torch.tensor(1 / len(x)), accumulate=True)


def test_probabilities_sum_to_one(plain):
    assert float(plain.log_prob(every(), nothing(24)).exp().sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("code", [0, 1])
def test_probabilities_given_a_context_sum_to_one(conditional, code):
    assert float(conditional.log_prob(every(), asked(code, 24)).exp().sum()) == pytest.approx(1, abs=1e-4)


def test_the_fit_is_near_the_empirical_joint(plain):
    exact = plain.log_prob(every(), nothing(24)).exp().reshape(SIZES)
    assert 0.5 * float((exact - frequencies(records()[0])).abs().sum()) < 0.05


def test_samples_have_the_probabilities(plain):
    torch.manual_seed(1)
    exact = plain.log_prob(every(), nothing(24)).exp().reshape(SIZES)
    torch.testing.assert_close(frequencies(plain.sample(N, nothing(N))), exact, atol=0.012, rtol=0)


@pytest.mark.parametrize("code", [0, 1])
def test_samples_given_a_context_have_the_conditional_probabilities(conditional, code):
    torch.manual_seed(1)
    exact = conditional.log_prob(every(), asked(code, 24)).exp().reshape(SIZES)
    torch.testing.assert_close(frequencies(conditional.sample(N, asked(code, N))), exact, atol=0.012, rtol=0)
    assert float(exact.sum((1, 2))[code]) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("known", [p for p in itertools.product([True, False], repeat=3) if not all(p)], ids=str)
@pytest.mark.parametrize("code", [None, 1])
def test_completions_have_the_conditional_probabilities(plain, conditional, known, code):
    model = plain if code is None else conditional
    c = nothing if code is None else lambda n: asked(code, n)
    joint = model.log_prob(every(), c(24)).exp().reshape(SIZES)
    record = torch.tensor([1.0, 2.0, 3.0])
    part = joint[tuple(int(v) if k else slice(None) for v, k in zip(record, known, strict=True))]
    torch.manual_seed(1)
    drawn = model.complete(record.expand(N, 3), torch.tensor(known).expand(N, 3), c(N))
    assert bool((drawn == record)[:, torch.tensor(known)].all())
    found = frequencies(drawn, [j for j in range(3) if not known[j]])
    torch.testing.assert_close(found, part / part.sum(), atol=0.015, rtol=0)


def test_contexts_can_differ_from_row_to_row(conditional):
    codes = torch.arange(10_000) % 2
    torch.manual_seed(1)
    x = conditional.sample(10_000, CONTEXT.embed(codes[:, None].float()))
    assert float((x[:, 0] == codes).float().mean()) == pytest.approx(0.8, abs=0.05)


def test_real_columns_have_a_density():
    torch.manual_seed(0)
    label = torch.randint(2, (2000, 1)).float()
    x = torch.cat([label, 0.5 * torch.randn(2000, 1) + 2 * label - 1], dim=1)
    model = fit(x, space=Space((2,), (2, 0), (False, True)), components=4)
    grid = torch.linspace(-6, 6, 2401)
    for code in (0.0, 1.0):
        density = model.log_prob(torch.stack([torch.full_like(grid, code), grid], dim=1), nothing(2401)).exp()
        assert float(density.sum()) * 0.005 == pytest.approx(float((label == code).float().mean()), abs=0.02)
        mean = float((density * grid).sum() / density.sum())
        assert mean == pytest.approx(2 * code - 1, abs=0.05)


@pytest.mark.parametrize(("n", "components"), [(100, 5), (2000, 80), (50_000, 1500)])
def test_by_default_there_is_a_component_for_every_25_records(n, components, monkeypatch):
    monkeypatch.setattr("synthgen.nn.density.EM.steps", lambda self: iter(()))
    assert len(fit(torch.zeros(n, 3)).density.mixture.log_weight) == components


def test_more_components_than_records_are_as_many_as_records():
    assert len(fit(records(40)[0], components=100).density.mixture.log_weight) == 40


def test_an_interrupted_fit_goes_on_exactly():
    x, kept = records()[0], []
    space, config = Space((3,), SIZES, (False,) * 3), GMM.Config(components=6)
    asked = iter([False, False, False, True])
    torch.manual_seed(0)
    first = GMM(space, EMPTY, config)
    with pytest.raises(Interrupted):
        first.fit(Records(x), Training(save=kept.append, interrupted=lambda: next(asked)))
    torch.manual_seed(0)
    second = GMM(space, EMPTY, config)
    second.fit(Records(x), Training(restored={name: t.clone() for name, t in kept[0].items()}))
    whole = fit(x, components=6)
    assert all(torch.equal(t, second.state_dict()[name]) for name, t in whole.state_dict().items())


def test_without_time_the_model_is_usable():
    torch.manual_seed(0)
    model = GMM(Space((3,), SIZES, (False,) * 3), EMPTY, GMM.Config())
    model.fit(Records(records()[0]), Training(seconds=1e-9))
    model.validate()
    assert model.sample(100, nothing(100)).shape == (100, 3)


def test_stored_mixtures_that_contradict_themselves_are_refused(plain):
    weights = {**plain.state_dict(), "density.mixture.mean": plain.density.mixture.mean[:3]}
    with pytest.raises(SynthgenError, match="different numbers of components"):
        GMM(plain.space, EMPTY, plain.config).load_weights(weights)
