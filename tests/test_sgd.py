"""The private step: what one record can do to it, what noise and sampling it has, and whose gradients it sums.

Noise cannot be seeded, so every threshold is so far out that a right implementation fails once in a million runs.
"""

import importlib
import math

import numpy as np
import pytest
import torch
from laws import BOUND, check_rows
from torch import nn
from torch.nn import functional

from synthgen.dp import clipping, selfcheck, sgd
from synthgen.dp.clipping import ROUTES, ClippedSum
from synthgen.dp.selfcheck import self_check
from synthgen.dp.sgd import Plan, private_gradient, private_steps
from synthgen.errors import SynthgenError
from synthgen.nn.precision import records_apart
from synthgen.space import EMPTY, Space
from synthgen.training import Objective, Recipe


def table(*sizes):
    return Space((len(sizes),), sizes, (False,) * len(sizes))


def none(n):
    return torch.zeros(n, 0)


class Model(nn.Module):
    """A network and the loss that reconstructs records with it."""

    def __init__(self, network, space):
        super().__init__()
        self.network, self.space = network, space

    def loss(self, x, c):
        return (self.network(x) - x.flatten(1)).square().sum(1)


def mlp(*between):
    first, last = nn.Linear(4, 6), nn.Linear(6, 4)
    return Model(nn.Sequential(first, nn.Tanh(), *between, last), table(0, 0, 0, 0))


class Embedded(Model):
    """Codes of two columns, each looked up; the loss is a likelihood."""

    def __init__(self):
        super().__init__(nn.Embedding(7, 5), table(7, 7))
        self.out = nn.Linear(5, 7, bias=False)

    def loss(self, x, c):
        h = self.network(x.long())
        return functional.cross_entropy(self.out(h).mT, x.long(), reduction="none").sum(1)


class Bare(Model):
    """Parameters that no layer owns, one of them shared by all records."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4), table(0, 0, 0, 0))
        self.shared, self.rate = nn.Parameter(torch.ones(3)), nn.Linear(3, 4)

    def loss(self, x, c):
        told = self.rate(functional.silu(self.shared[None]))  # one row for all records
        return (self.network(x) * told - x).square().sum(1)


class Twice(Model):
    """A layer that is used twice, with noise between."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4), table(0, 0, 0, 0))

    def loss(self, x, c):
        h = self.network(x)
        h = functional.dropout(h + torch.randn_like(h) * torch.rand(len(h), 1), 0.3, self.training)
        return (self.network(h) - x).square().sum(1)


class Tied(Model):
    """A weight that is used outside of its layer too."""

    def __init__(self):
        super().__init__(nn.Linear(4, 6), table(0, 0, 0, 0))

    def loss(self, x, c):
        return (functional.linear(self.network(x).tanh(), self.network.weight.T) - x).square().sum(1)


class Coin(Model):
    """One coin for a whole batch, as where a random order is trained now and then."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4), table(0, 0, 0, 0))

    def loss(self, x, c):
        order = torch.randperm(4) if torch.rand(()) < 0.5 else torch.arange(4)
        return (self.network(x[:, order]) - x).square().sum(1)


class Attention(Model):
    """Rows of tokens, which attend to each other within a record."""

    def __init__(self):
        super().__init__(nn.Linear(3, 9), Space((1, 5, 3)))
        self.norm, self.out = nn.LayerNorm(3), nn.Linear(3, 3)

    def loss(self, x, c):
        q, k, v = self.network(self.norm(x[:, 0])).chunk(3, dim=-1)
        return (self.out(functional.scaled_dot_product_attention(q, k, v)) - x[:, 0]).square().sum((1, 2))


def convolutions():
    layers = [nn.Conv2d(2, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 2, 3, padding=1)]
    return Model(nn.Sequential(*layers, nn.Flatten()), Space((2, 6, 6)))


def vae():
    family = importlib.import_module("synthgen_vae").VAE
    return family(table(5, 0, 2, 40), EMPTY, family.Config(width=8, latent=3))


MODELS = {
    "mlp": (mlp, "fused"),
    "mlp with norm": (lambda: mlp(nn.LayerNorm(6)), "fused"),
    "embedding": (Embedded, "fused"),
    "bare": (Bare, "vmap"),
    "twice": (Twice, "fused"),
    "tied": (Tied, "vmap"),
    "coin": (Coin, "fused"),
    "attention": (Attention, "fused"),
    "convolutions": (convolutions, "fused"),
}


def trainable(module):
    return [p for p in module.parameters() if p.requires_grad]


def truth(model, x, c, bound):
    """Clipped gradients of records, one at a time, in a loop: (B, all parameters)."""
    rows = []
    for i in range(len(x)):
        loss = model.loss(x[i : i + 1], c[i : i + 1]).sum()
        g = torch.autograd.grad(loss, trainable(model), materialize_grads=True)
        g = torch.cat([t.flatten().double() for t in g])
        rows.append(g * min(1.0, clipping.MARGIN * bound / float(g.norm())))
    return torch.stack(rows)


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors]).double()


def records(space, n, seed=5):
    """Ordinary records: numbers, and codes where there are any."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *space.shape, generator=rng)
    for j, k in enumerate(space.sizes):
        if k:
            x[:, j] = torch.randint(k, (n,), generator=rng).float()
    return x


def check_model(model, expected):
    """The route chosen is the expected one, and its sum is that of the loop."""
    model.train()
    route = self_check(model, model.loss, model.space)
    assert route == expected
    x, bound = records(model.space, 7), 3.0
    with selfcheck._Still(), records_apart():  # so that both draw alike
        rows, found = truth(model, x, none(7), bound), ClippedSum(model, model.loss, bound, route)(x, none(7))
    assert (rows.norm(dim=1) > 0.99 * bound).any()
    assert [t.shape for t in found] == [p.shape for p in trainable(model)]
    assert {t.dtype for t in found} == {torch.float64}
    assert (flat(found) - rows.sum(0)).norm() < 1e-4 * bound


@pytest.mark.parametrize("name", MODELS)
def test_sums_are_those_of_one_gradient_at_a_time(name):
    make, expected = MODELS[name]
    torch.manual_seed(0)
    check_model(make(), expected)


def test_sums_of_a_family_are_those_of_one_gradient_at_a_time():
    check_model(vae(), "fused")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ["mlp", "mlp with norm", "embedding", "attention", "convolutions"])
def test_every_route_gives_the_same(name, route):
    torch.manual_seed(0)
    model = MODELS[name][0]().train()
    x = records(model.space, 5)
    found = flat(ClippedSum(model, model.loss, 2.0, route)(x, none(5)))
    assert (found - truth(model, x, none(5), 2.0).sum(0)).norm() < 1e-4


def test_contexts_reach_the_loss():
    network = nn.Linear(4, 2)

    def loss(x, c):
        return (network(torch.cat([x, c], 1)) - x).square().sum(1)

    route = self_check(network, loss, table(0, 3), table(2))
    x, c = records(table(0, 3), 6), torch.eye(2).repeat(3, 1)
    network.loss = loss
    found = ClippedSum(network, loss, 1.0, route)(x, c)
    assert (flat(found) - truth(network, x, c, 1.0).sum(0)).norm() < 1e-5


@pytest.mark.parametrize("route", ROUTES[:3])
def test_what_is_not_trained_gets_nothing(route):
    model = mlp()
    model.network[0].requires_grad_(False)
    model.unused = nn.Linear(3, 2)
    if route == "hooks":
        model.unused = nn.Identity()  # Opacus expects every layer to be used
    found = ClippedSum(model, model.loss, 1.0, route)(records(model.space, 5), none(5))
    assert [t.shape for t in found] == [p.shape for p in trainable(model)]
    assert (flat(found) - truth(model, records(model.space, 5), none(5), 1.0).sum(0)).norm() < 1e-5


def test_a_large_batch_is_worked_on_in_parts(monkeypatch):
    model, x = mlp(nn.LayerNorm(6)), records(table(0, 0, 0, 0), 50)
    at_once = flat(ClippedSum(model, model.loss, 1.0)(x, none(50)))
    monkeypatch.setattr(clipping, "MEMORY", 400_000)
    in_parts = ClippedSum(model, model.loss, 1.0)
    assert in_parts._at_once < 10
    assert (flat(in_parts(x, none(50))) - at_once).norm() < 1e-6


def test_no_record_adds_nothing():
    model = mlp()
    assert not flat(ClippedSum(model, model.loss, 1.0)(records(model.space, 0), none(0))).any()


# what is refused


def coupled(x, network):
    return (network(x - x.mean(0)) - x).square().sum(1)


def coupled_by_order(x, network):
    return (network(x) - x[torch.randperm(len(x))]).square().sum(1)


def coupled_by_largest(x, network):
    losses = (network(x) - x).square().sum(1)
    return losses / losses.detach().max()


@pytest.mark.parametrize("loss", [coupled, coupled_by_order, coupled_by_largest])
def test_a_loss_that_mixes_records_is_refused(loss):
    network = nn.Linear(4, 4)
    with pytest.raises(SynthgenError, match="other records"):
        self_check(network, lambda x, c: loss(x, network), table(0, 0, 0, 0))


def test_batch_statistics_are_refused():
    model = mlp(nn.BatchNorm1d(6)).train()
    before = {k: t.clone() for k, t in model.state_dict().items()}
    with pytest.raises(SynthgenError, match="other records"):
        self_check(model, model.loss, model.space)
    assert all(torch.equal(t, before[k]) for k, t in model.state_dict().items())


@pytest.mark.parametrize("shape", [(-1, 1), ()])
def test_a_loss_must_be_one_number_per_record(shape):
    model = mlp()
    with pytest.raises(SynthgenError, match="one number for each"):
        self_check(
            model, lambda x, c: model.loss(x, c).reshape(shape) if shape else model.loss(x, c).sum(), model.space
        )


def test_a_network_that_no_route_can_take_is_refused():
    network = nn.Linear(4, 4)

    def loss(x, c):  # for each record another way, which transforms cannot follow; nor can Opacus
        rows = [r @ network.weight.T * (2 if float(r.detach()[0]) > 0 else 1) for r in x]
        return (torch.stack(rows) - x).square().sum(1)

    with pytest.raises(SynthgenError, match="budget"):
        self_check(network, loss, table(0, 0, 0, 0))


def test_layers_in_a_changing_order_are_told_apart():
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    order = [one, two]

    def loss(x, c):
        return (order[1](order[0](x)) - x).square().sum(1)

    model, x = nn.ModuleList([one, two]), torch.randn(3, 4)
    model.loss, clipped = loss, ClippedSum(model, loss, 1.0)
    for _ in range(2):
        order.reverse()
        assert (flat(clipped(x, none(3))) - truth(model, x, none(3), 1.0).sum(0)).norm() < 1e-6


def test_the_self_check_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    model = Tied()  # tries all routes up to the third
    weights, marks = flat(model.parameters()), [set(vars(m)) for m in (*model.modules(), *model.parameters())]
    hooks = [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()]
    self_check(model, model.loss, model.space)
    assert torch.equal(flat(model.parameters()), weights)
    assert [set(vars(m)) for m in (*model.modules(), *model.parameters())] == marks
    assert [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()] == hooks
    assert all(p.grad is None for p in model.parameters())


def test_hooks_leave_no_gradients_of_records_behind():
    model = mlp(nn.LayerNorm(6)).train()
    marks = [set(vars(m)) for m in (*model.modules(), *model.parameters())]
    ClippedSum(model, model.loss, 1.0, ROUTES[1])(records(model.space, 5), none(5))
    assert [set(vars(m)) for m in (*model.modules(), *model.parameters())] == marks
    assert all(p.grad is None for p in model.parameters())


def test_losses_draw_in_secret_and_leave_seeded_draws_alone():
    model = Twice().train()
    x = records(model.space, 30)
    after, gradients = [], []
    for _ in range(2):
        torch.manual_seed(0)
        clipped = ClippedSum(model, model.loss, 1.0)
        gradients.append(flat(private_gradient(clipped, x, none(30), Plan(1.0, 0.0, 1, 1.0))))
        after.append(torch.rand(3).tolist())
    assert after[0] == after[1]
    assert not torch.equal(*gradients)


# the bound; the other laws of a step, and mutants that they must catch, are in laws.py and test_mutants.py


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_gives_a_row_more_than_the_bound(route):
    check_rows(route)


def test_uses_of_a_layer_that_cancel_hide_no_large_gradient():
    network = nn.Linear(4, 1, bias=False)
    tiny = 2.0**-24
    weights = [2.0**60 * w for w in (1, tiny - 1, tiny * (tiny - 1))]  # they add up to 2^12, below any rounding

    def loss(x, c):
        return sum(w * network(x)[:, 0] for w in weights)

    for x in records(table(0, 0, 0, 0), 20).split(1):
        found = ClippedSum(network, loss, BOUND)(x, none(1))
        assert flat(found).norm() <= BOUND


# the training


def line(n):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=rng)
    return torch.cat([x, x @ torch.tensor([[1.5], [-0.7]]) + 0.3], 1)


def rate(learning_rate):
    return Recipe(learning_rate=learning_rate, weight_decay=0)


def straight():
    model = nn.Linear(2, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    model.loss = lambda x, c: (model(x[:, :2])[:, 0] - x[:, 2]).square()
    return model


def test_without_noise_it_ends_at_least_squares():
    x, model = line(200), straight()
    clipped = ClippedSum(model, model.loss, 100.0)
    done = list(private_steps(clipped, x, none(200), Plan(0.5, 0.0, 400, 100.0, rate(0.05))))
    assert done == list(range(1, 401))
    assert torch.allclose(flat(model.parameters()), torch.tensor([1.5, -0.7, 0.3]).double(), atol=0.01)


def test_much_data_and_little_noise_come_close():
    x, model = line(20_000), straight()
    clipped = ClippedSum(model, model.loss, 1.0)
    list(private_steps(clipped, x, none(len(x)), Plan(0.02, 1.0, 200, 400.0, rate(0.1))))
    assert torch.allclose(flat(model.parameters()), torch.tensor([1.5, -0.7, 0.3]).double(), atol=0.2)


def test_objectives_that_see_no_record_learn_in_turn():
    x, model, other = line(50), straight(), nn.Linear(1, 1)
    seen = []

    def pleasing(n, c):
        seen.append((n, c.shape))
        return other(torch.ones(n, 1))[:, 0].square()

    before = flat(other.parameters()).clone()
    others = [Objective(other, pleasing, sees_data=False)]
    plan = Plan(0.5, 1.0, 3, 25.0, rate(0.1))
    list(private_steps(ClippedSum(model, model.loss, 1.0), x, none(50), plan, others, lambda n: torch.zeros(n, 2)))
    assert seen == [(25, (25, 2))] * 3
    assert (flat(other.parameters()) != before).all()


def test_persons_are_sampled_with_all_their_records_which_share_the_bound():
    persons = np.array([0, 0, 1, 2, 2, 2])
    for _ in range(50):
        rows, shares = sgd.sample(6, 0.5, persons)
        assert all((persons[rows] == p).sum() in (0, (persons == p).sum()) for p in range(3))
        assert np.allclose(shares, 1 / np.bincount(persons)[persons[rows]])
    model, x = straight(), 1000 * line(6)
    clipped = ClippedSum(model, model.loss, BOUND)
    of_person = flat(clipped(x[3:], none(3), torch.full((3,), 1 / 3)))
    assert of_person.norm() <= BOUND


def test_empty_batches_are_steps_of_noise():
    model = straight()
    clipped = ClippedSum(model, model.loss, 1.0)
    steps = list(private_steps(clipped, line(5), none(5), Plan(1e-9, 1.0, 20, 1.0, rate(0.1))))
    assert len(steps) == 20
    assert flat(model.parameters()).abs().min() > 0


def test_gradients_depend_on_the_divisor_and_not_on_the_batch():
    x, model = line(40), straight()
    clipped = ClippedSum(model, model.loss, 1.0)
    one, two = (flat(private_gradient(clipped, x, none(40), Plan(1.0, 0.0, 1, d))) for d in (1.0, 10.0))
    assert torch.allclose(one, 10 * two)
    assert torch.allclose(one, flat(clipped(x, none(40))), atol=1e-5)


@pytest.mark.parametrize("plan", [(0, 1, 1, 1), (1.1, 1, 1, 1), (0.1, -1, 1, 1), (0.1, 1, 0, 1), (0.1, 1, 1, 0)])
def test_a_plan_must_make_sense(plan):
    with pytest.raises(ValueError, match="plan"):
        Plan(*plan)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.inf, math.nan])
def test_a_bound_must_be_positive(bound):
    model = mlp()
    with pytest.raises(ValueError, match="bound"):
        ClippedSum(model, model.loss, bound)
