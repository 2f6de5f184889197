"""Fits under a budget of every family: what is charged, what is refused, what comes out."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import make_people
from torch import nn

from synthgen import Synthesizer, registry
from synthgen.data.images import Images, ImageSchema
from synthgen.dp.budget import Budget
from synthgen.dp.certificate import check_certificate
from synthgen.dp.prepare import Unit
from synthgen.dp.records import PrivateRecords
from synthgen.errors import BudgetError, SynthgenError
from synthgen.generator import Generator
from synthgen.space import EMPTY, Space
from synthgen.training import Objective, Recipe, Training

pytest.importorskip("opendp")

QUICK = {
    "autoencoder": {"width": 8, "depth": 1, "latent": 4},
    "autoregressive": {"width": 8, "embedding": 4},
    "diffusion": {"width": 8, "depth": 1, "draws": 4},
    "gan": {"width": 8, "depth": 1, "latent": 4},
    "vae": {"width": 8, "depth": 1, "latent": 4},
}
LOOP = {"steps": 5, "batch_size": 200}


@pytest.fixture(scope="module")
def people():
    return make_people(3000).drop(columns=["id", "joined"])


def figures(n=300, side=8):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, n)
    pixels = np.where(label[:, None, None, None], 200, 40) + rng.integers(0, 30, (n, side, side, 1))
    return Images(
        pixels.astype(np.uint8), label, ImageSchema(mode="L", height=side, width=side, classes=("dark", "light"))
    )


@pytest.mark.parametrize("name", ["marginals", *QUICK])
def test_every_family_that_can_be_private_is(name, people, tmp_path):
    settings = {**QUICK.get(name, {}), **(LOOP if name in QUICK else {})}
    budget = Budget(3.0, 1e-6)
    fitted = Synthesizer(name, **settings).fit(people, budget=budget)
    assert 0.99 * budget.epsilon < budget.spent() <= budget.epsilon
    assert "add up to epsilon" in check_certificate(fitted.certificate)
    fitted.save(tmp_path / "m")
    drawn = Synthesizer.load(tmp_path / "m").generate(200)
    assert list(drawn.columns) == list(people.columns)
    assert set(drawn.town) <= set(people.town)


@pytest.mark.parametrize("name", ["gmm", *QUICK])
def test_images_can_be_private(name, tmp_path):
    settings = {**QUICK[name], **LOOP} if name in QUICK else {}
    if name == "autoregressive":
        settings |= {"width": 16, "channels": 8, "levels": (4, 4)}
    fitted = Synthesizer(name, **settings).fit(figures(), budget=Budget(8.0, 1e-5))
    drawn = fitted.generate(20)
    assert drawn.pixels.shape == (20, 8, 8, 1)
    assert drawn.schema.classes == ("dark", "light")
    assert "images are 8 x 8 pixels of mode L" in fitted.certificate["public"]


def test_a_class_that_few_images_have_is_not_named():
    images = figures()
    labels = images.labels.copy()
    labels[0] = 2
    schema = images.schema.model_copy(update={"classes": ("dark", "light", "CANARY")})
    fitted = Synthesizer("vae", **QUICK["vae"], **LOOP).fit(
        Images(images.pixels, labels, schema), budget=Budget(8.0, 1e-5)
    )
    assert fitted.generate(5).schema.classes == ("dark", "light")


def test_a_column_can_be_given(people):
    fitted = Synthesizer("marginals", given=["town"]).fit(people, budget=Budget(3.0, 1e-6))
    drawn = fitted.generate(500, given={"town": "Oslo"})
    assert set(drawn.town) == {"Oslo"}
    assert (drawn.sport == "ski").mean() > 0.6


def test_a_time_limit_takes_steps_and_not_the_end(people):
    budget = Budget(3.0, 1e-6)
    fitted = Synthesizer("vae", max_time=3.0, **QUICK["vae"], steps=100_000).fit(people, budget=budget)
    [training] = [q for q in fitted.certificate["queries"] if q["steps"] > 1]
    assert 1 < training["steps"] < 20_000
    assert budget.spent() > 2.9


@pytest.mark.parametrize("name", ["marginals", "vae"])
def test_a_person_is_protected_whole(name, people):
    table = people.assign(person=np.arange(len(people)) // 3)
    settings = {**QUICK.get(name, {}), **(LOOP if name in QUICK else {})}
    fitted = Synthesizer(name, **settings).fit(table, budget=Budget(3.0, 1e-6), unit=Unit("person", 2))
    assert fitted.certificate["unit"] == "person: column 'person', at most 2 records of each"
    assert abs(fitted.certificate["records"] - 2000) < 400
    assert "person" not in fitted.generate(10)
    assert "person" in check_certificate(fitted.certificate)


# who cannot be private


class Simple(Generator):
    """A stranger's: independent logits of each column."""

    codes: ClassVar[int] = 16
    accepts: ClassVar[tuple[str, ...]] = ("table",)
    recipe: ClassVar[Recipe] = Recipe(epochs=5, learning_rate=0.1)

    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        self.logits = nn.ParameterList([nn.Parameter(torch.zeros(k)) for k in space.sizes])

    def loss(self, x, c):
        chances = [logits.log_softmax(0) for logits in self.logits]
        return -sum(p[x[:, j].long()] for j, p in enumerate(chances))

    def sample(self, n, c):
        return torch.stack([torch.multinomial(p.softmax(0), n, replacement=True) for p in self.logits], 1).float()


class Batched(Simple):
    """Batch statistics in its loss."""

    def loss(self, x, c):
        return super().loss(x, c) * (1 + x.mean())


class Curious(Simple):
    """Looks at the records after its training."""

    def fit(self, records, training):
        super().fit(records, training)
        records.tensor()


class Counting(Simple):
    """Asks how many records there are."""

    def fit(self, records, training):
        if len(records) > 100:
            super().fit(records, training)


class Keeping(Simple):
    """Keeps the records that its loss sees, in one of many ways."""

    def __init__(self, space, context, config, way="in place"):
        super().__init__(space, context, config)
        self.way, self.bag, self.net = way, [], nn.Linear(1, space.sizes[0])
        self.logits = self.net
        self.register_buffer("kept", torch.zeros(1))
        self.codebook = nn.Parameter(torch.zeros(1), requires_grad=False)

    def loss(self, x, c):
        seen = x.detach().sum()[None]
        if self.way == "in place":
            self.kept += seen
        elif self.way == "bound anew":
            self.kept = self.kept + seen
        elif self.way == "data":
            self.kept.data.copy_(seen)
        elif self.way == "frozen parameter":
            self.codebook.data.copy_(seen)
        elif self.way == "new buffer":
            self.register_buffer("fresh", seen)
        elif self.way == "list":
            self.bag.append(seen)
        else:
            self.cache = seen
        return nn.functional.cross_entropy(self.net(x.new_ones(len(x), 1)), x[:, 0].long(), reduction="none")


class Unwilling(Simple):
    """Says that it cannot."""

    private: ClassVar[bool] = False


class Broken(Simple):
    """Ends with an error."""

    def fit(self, records, training):
        raise KeyError("records")


def test_a_strangers_generator_is_private_by_writing_nothing(people):
    budget = Budget(5.0, 1e-6)
    drawn = Synthesizer(Simple).fit(people, budget=budget).generate(2000)
    real = (people.town == "Oslo").mean()
    assert abs((drawn.town == "Oslo").mean() - real) < 0.1
    assert budget.spent() > 4.9


WAYS = ["in place", "bound anew", "data", "frozen parameter", "new buffer", "list", "attribute"]


@pytest.mark.parametrize("part", ["whole", "network"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_loss_writes_into_its_generator_is_forgotten(way, part):
    space = Space((2,), (3, 4), (False, False))
    model, x = Keeping(space, EMPTY, Keeping.Config(), way), torch.ones(50, 2)
    records = PrivateRecords(x, torch.zeros(50, 0), space, EMPTY, (0 * x, x[:, :0]), 50, Budget(5.0, 1e-6))
    before = model.net.bias.detach().clone()
    objective = Objective(model if part == "whole" else model.net, model.loss)
    records.train(Training(Recipe(steps=3, batch_size=20)), [objective], 1.0, 1.0, 0.0)
    assert (model.net.bias != before).any()
    left = [model.kept, model.codebook, getattr(model, "fresh", x[:0]), getattr(model, "cache", x[:0]), *model.bag]
    assert not any(t.any() for t in left)


@pytest.mark.parametrize("cls", [Batched, Curious, Counting, Unwilling, Broken], ids=lambda c: c.__name__)
def test_who_cannot_be_private_is_refused_before_anything_is_charged(cls, people):
    budget = Budget(5.0, 1e-6)
    with pytest.raises(BudgetError, match="cannot be fitted under"):
        Synthesizer(cls).fit(people, budget=budget)
    assert budget.ledger == []


@pytest.mark.parametrize("name", ["gmm", "trees"])
def test_families_that_cannot_be_private_are_refused_as_well(name, people):
    budget = Budget(5.0, 1e-6)
    with pytest.raises(BudgetError, match="cannot be fitted under"):
        Synthesizer(name).fit(people, budget=budget)
    assert budget.ledger == []


def test_own_families_say_whether_they_can():
    can = {n for n in registry.available() if n != "rbm" and registry.load(n).private}
    assert can == {"gmm", "marginals", *QUICK}


# records behind a budget


def behind(x, c=None, context=EMPTY, epsilon=1e5, most=1, persons=None):
    width = x.shape[1]
    space = Space((width,), (0,) * width, (False,) * width)
    c = torch.zeros(len(x), 0) if c is None else c
    return PrivateRecords(x, c, space, context, (x[:50], c[:50]), len(x), Budget(epsilon, 1e-6), persons, most)


def test_records_behind_a_budget_have_neither_length_nor_tensor():
    records = behind(torch.zeros(5, 2))
    for look in (records.tensor, records.__len__, lambda: records.batches(2)):
        with pytest.raises(BudgetError, match="no budget pays"):
            look()


def test_normal_vectors_have_the_mean_and_covariance_of_the_records():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 2, generator=rng) @ torch.tensor([[1.0, 0.5], [0.0, 0.5]]) + torch.tensor([0.5, -1.0])
    c = torch.eye(2)[(x[:, 0] > 5).long()]
    records = behind(x, c, Space((1,), (2,), (False,)))
    records.known = (torch.zeros(20_000, 2), c[:1].expand(20_000, 2))
    z, given = records.normal(lambda x, c: x, 20.0, 0.5)
    assert given.shape == (20_000, 2)
    assert torch.allclose(z.mean(0), torch.tensor([0.5, -1.0]), atol=0.05)
    assert torch.allclose(z.T.cov(), torch.tensor([[1.0, 0.5], [0.5, 0.5]]), atol=0.05)
    assert records.budget.ledger[-1].rho == pytest.approx(0.5 * records.budget.rho)


def test_one_record_moves_the_sums_of_vectors_by_their_bound_at_most(monkeypatch):
    seen = []
    monkeypatch.setattr("synthgen.dp.records.noised", lambda sums, sigma, grid: seen.append(sums) or sums)
    for last in (0.0, 1e30, -3.0, math.nan, math.inf):
        x = torch.cat([torch.randn(30, 3, generator=torch.Generator().manual_seed(0)), torch.full((1, 3), last)])
        seen.clear()
        for rows in (x, x[:-1]):
            behind(rows).normal(lambda x, c: x, 2.0, 0.1)
        assert np.linalg.norm(seen[0] - seen[1]) <= 1 + 1e-9


def test_training_on_nothing_but_budget_says_so(people):
    with pytest.raises(BudgetError):
        Synthesizer("vae", **QUICK["vae"], steps=10**7).fit(people, budget=Budget(0.05, 1e-6))


def test_training_needs_one_objective_that_sees_the_data():
    records = behind(torch.zeros(5, 2))
    with pytest.raises(ValueError, match="exactly one"):
        records.train(Training(), [], 1.0, 1.0, 0.0)


def test_a_schema_with_dates_and_a_budget_of_nothing(people):
    with pytest.raises(SynthgenError):
        Synthesizer("marginals", given=["nobody"]).fit(people, budget=Budget(1.0, 1e-6))
