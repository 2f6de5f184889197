"""The conformance kit: what every generator must do, as checks that its author can run.

from synthgen.testing import checks

@pytest.mark.parametrize("check", checks(MyGenerator), ids=str)
def test_conformance(check):
    check()
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from synthgen.errors import Interrupted, SynthgenError
from synthgen.generator import Completes, Generator, HasLogProb, abilities
from synthgen.records import Records
from synthgen.space import EMPTY, Space
from synthgen.training import State, Training

CPU = torch.device("cpu")


class Check:
    """One check of one generator; calling it raises AssertionError with what to mend."""

    def __init__(self, function: Callable[[Kit], None], kit: Kit) -> None:
        self._function, self._kit = function, kit
        self.__doc__ = function.__doc__

    def __call__(self) -> None:
        """Run the check."""
        self._function(self._kit)

    def __str__(self) -> str:
        return self._function.__name__.removeprefix("_")


def checks(cls: type[Generator], **settings: Any) -> list[Check]:
    """The checks that apply to a generator class.

    Args:
        cls: the generator.
        settings: values for its Config; the defaults otherwise.
    """
    kit = Kit(cls, settings)
    every = [
        _config_is_documented,
        _samples_fit_the_space,
        _same_seed_same_records,
        _stored_weights_give_the_same_records,
        _bad_weights_are_refused,
        _learns_how_columns_depend,
        _follows_the_context,
        _ends_in_time,
        _goes_on_after_an_interruption,
    ]
    if cls.loss is not Generator.loss:
        every += [_loss_is_per_record, _every_parameter_learns]
    if "log_prob" in abilities(cls):
        every += [_probabilities_sum_to_one]
    if "complete" in abilities(cls):
        every += [_completes_what_is_unknown, _completions_depend_on_what_is_known]
    return [Check(function, kit) for function in every]


class Kit:
    """A generator class with small spaces and records to try it on."""

    def __init__(self, cls: type[Generator], settings: dict[str, Any]) -> None:
        self.cls, self.config = cls, cls.Config(**settings)
        real = cls.codes == 0 or cls.reals
        # two codes, three codes, a number (in the view that the class asks for), a copy of the three codes
        self.space = Space((4,), (2, 3, 0 if real else 40, 3), (False, False, True, False))
        self.context = Space((1,), (2,), (False,))
        self._fitted: dict[bool, Generator] = {}

    def records(self, n: int = 600, given: bool = False) -> Records:
        """Records whose third and fourth columns follow the second, and the first the context."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            label = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), n, replacement=True).float()
            score = (label - 1) * 1.2 + 0.3 * torch.randn(n)
            number = score if self.space.sizes[2] == 0 else ((score + 2) * 10).round().clamp(0, 39)
            flag = (torch.rand(n) < 0.5).float()
        x = torch.stack([flag, label, number, label], dim=1)
        return Records(x, self.context.embed(flag[:, None])) if given else Records(x)

    def build(self, space: Space | None = None, given: bool = False) -> Generator:
        """A generator that has learned nothing yet."""
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return self.cls(space or self.space, self.context if given else EMPTY, self.config)

    def fit(self, model: Generator, records: Records, **options: Any) -> Generator:
        """Fit a generator on records."""
        with torch.random.fork_rng():
            torch.manual_seed(2)
            model.fit(records, Training(self.cls.recipe, **options))
        return model.eval()

    def fitted(self, given: bool = False) -> Generator:
        """A generator fitted on the records, the same object each time."""
        if given not in self._fitted:
            self._fitted[given] = self.fit(self.build(given=given), self.records(given=given))
        return self._fitted[given]

    def draw(self, model: Generator, n: int, c: Tensor | None = None, seed: int = 3) -> Tensor:
        """N records of a generator."""
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            return model.sample(n, torch.zeros(n, 0) if c is None else c)

    def contexts(self, codes: Tensor) -> Tensor:
        """Embedded contexts of codes (n,)."""
        return self.context.embed(codes[:, None].float())

    def ability(self, protocol: type) -> Any:
        """The fitted generator, which has an ability."""
        model = self.fitted()
        assert isinstance(model, protocol)
        return model

    def valid(self, x: Tensor) -> None:
        """Assert that records lie in the space."""
        assert x.dtype == torch.float32, f"records are float32, not {x.dtype}"
        assert bool(x.isfinite().all()), "records hold numbers that are not finite"
        for j, size in enumerate(self.space.sizes):
            if size:
                codes = x[:, j]
                whole = bool((codes == codes.round()).all() and (codes >= 0).all() and (codes < size).all())
                assert whole, f"column {j} holds something else than codes below {size}"


def _config_is_documented(kit: Kit) -> None:
    """Each setting has a default and a sentence; the class says what it is."""
    assert kit.cls.__doc__, "the class needs a docstring: `synthgen info` shows it"
    assert inspect.getmodule(kit.cls).__doc__, "the module needs a docstring: `synthgen list` shows it"
    for name, field in kit.cls.Config.model_fields.items():
        assert field.description, f"setting {name!r} needs a description"
        assert not field.is_required(), f"setting {name!r} needs a default"


def _samples_fit_the_space(kit: Kit) -> None:
    """Exactly n records of valid codes and finite numbers, one or many."""
    for n in (1, 7, 500):
        x = kit.draw(kit.fitted(), n)
        assert x.shape == (n, *kit.space.shape), f"{n} records were asked for, the shape is {tuple(x.shape)}"
        kit.valid(x)


def _same_seed_same_records(kit: Kit) -> None:
    """All randomness comes from torch's global generator, or is seeded by it."""
    first, again, other = (kit.draw(kit.fitted(), 200, seed=s) for s in (5, 5, 6))
    assert torch.equal(first, again), "two draws under one seed differ"
    assert not torch.equal(first, other), "draws under two seeds are the same"
    twin = kit.fit(kit.build(), kit.records())
    assert torch.equal(kit.draw(twin, 200, seed=5), first), "two fits under one seed differ"


def _stored_weights_give_the_same_records(kit: Kit) -> None:
    """`state_dict` holds all that was learned."""
    model, copy = kit.fitted(), kit.build()
    copy.load_weights({name: t.clone() for name, t in model.state_dict().items()})
    assert torch.equal(kit.draw(model, 100), kit.draw(copy.eval(), 100)), "something learned is not in state_dict()"


def _bad_weights_are_refused(kit: Kit) -> None:
    """Weights of another shape, missing ones, and numbers that are not finite are errors."""
    weights = kit.fitted().state_dict()
    name, tensor = next((n, t) for n, t in weights.items() if t.is_floating_point() and t.numel())
    spoilt = tensor.clone()
    spoilt.view(-1)[0] = torch.nan
    for bad in ({**weights, name: spoilt}, {n: t for n, t in weights.items() if n != name}):
        try:
            kit.build().load_weights(bad)
        except SynthgenError:
            continue
        raise AssertionError("damaged weights were taken without a word")


def _learns_how_columns_depend(kit: Kit) -> None:
    """Frequencies come out about right, and a column that is a copy of another stays so mostly."""
    x = kit.draw(kit.fitted(), 2000)
    frequency = x[:, 1].long().bincount(minlength=3) / len(x)
    distance = 0.5 * float((frequency - torch.tensor([0.5, 0.3, 0.2])).abs().sum())
    assert distance < 0.15, f"the frequencies of a column of three codes are off by {distance:.2f}"
    equal = float((x[:, 1] == x[:, 3]).float().mean())
    assert equal > 0.8, f"two columns that are always equal are so in {equal:.0%} of the records"


def _follows_the_context(kit: Kit) -> None:
    """Records are drawn for the contexts they are given: here the first column repeats it."""
    model = kit.fitted(given=True)
    codes = torch.arange(400) % 2
    x = kit.draw(model, 400, kit.contexts(codes))
    agree = float((x[:, 0] == codes).float().mean())
    assert agree > 0.8, f"a column that always repeats the context does so in {agree:.0%} of the records"


def _ends_in_time(kit: Kit) -> None:
    """Without time left, `fit` still ends, with a model that draws."""
    model = kit.fit(kit.build(), kit.records(), seconds=1e-6)
    kit.valid(kit.draw(model, 50))


def _goes_on_after_an_interruption(kit: Kit) -> None:
    """`fit` calls `training.checkpoint` between rounds; going on from its state ends where no stop would have."""
    kept: list[State] = []
    calls = itertools.count()
    try:
        kit.fit(kit.build(), kit.records(), save=kept.append, interrupted=lambda: next(calls) >= 1)
    except Interrupted:
        assert kept, "the fit was interrupted, but nothing was kept"
    else:
        raise AssertionError("fit never asked training.checkpoint whether to stop")
    state = {name: t.clone() for name, t in kept[-1].items()}
    resumed = kit.fit(kit.build(), kit.records(), restored=state)
    same = torch.allclose(kit.draw(resumed, 100), kit.draw(kit.fitted(), 100), atol=1e-4)
    assert same, "a fit that was interrupted and resumed differs from one that was not"


def _loss_is_per_record(kit: Kit) -> None:
    """`loss` returns one number per record, and a record's number does not depend on the others."""
    model, (x, c) = kit.build(), kit.records(32).tensor()

    def loss(records: Tensor) -> Tensor:
        torch.manual_seed(4)
        return model.loss(records, c[: len(records)]).detach()

    with torch.random.fork_rng():
        whole = loss(x)
        assert whole.shape == (32,), f"loss has shape {tuple(whole.shape)}, not (32,): leave the mean to the loop"
        changed = x.clone()
        changed[1:] = x[:1]  # merely another order would not change batch statistics
        moved = float((loss(changed)[0] - whole[0]).abs())
    assert moved < 1e-4, "a record's loss depends on other records: batch statistics? use GroupNorm, not BatchNorm"


def _every_parameter_learns(kit: Kit) -> None:
    """Each parameter gets a gradient from some loss."""
    model = kit.build(given=True)
    x, c = kit.records(64, given=True).tensor()
    for objective in model.objectives():
        for _ in range(4):  # some parts may be left out at random
            objective.loss(x if objective.sees_data else len(x), c).sum().backward()  # type: ignore[no-untyped-call]
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None and p.numel()]
    assert not idle, f"no loss depends on parameter {idle[0]!r}"


def _probabilities_sum_to_one(kit: Kit) -> None:
    """exp(log_prob) sums to 1 over a space of two coded columns, by enumeration."""
    space = Space((2,), (2, 3), (False, False))
    model = kit.fit(kit.build(space), Records(kit.records().tensor()[0][:, :2]))
    assert isinstance(model, HasLogProb)
    every = torch.tensor(list(itertools.product(range(2), range(3))), dtype=torch.float32)
    with torch.no_grad():
        total = float(model.log_prob(every, torch.zeros(6, 0)).exp().sum())
    assert abs(total - 1) < 1e-3, f"the probabilities of all records sum to {total:.4f}"


def _completes_what_is_unknown(kit: Kit) -> None:
    """`complete` leaves known cells alone, each row by its own pattern, and fills the rest validly."""
    model = kit.ability(Completes)
    x = kit.records(64).tensor()[0]
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    spoilt = torch.where(known, x, torch.zeros(()))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        filled = model.complete(spoilt, known, torch.zeros(64, 0))
    assert torch.equal(filled[known], x[known]), "complete changed cells that are known"
    kit.valid(filled)


def _completions_depend_on_what_is_known(kit: Kit) -> None:
    """Given the fourth column, the second is its copy, mostly; so it is the other way round."""
    model = kit.ability(Completes)
    x = kit.records(300).tensor()[0]
    for target, source in ((1, 3), (3, 1)):
        known = torch.ones(x.shape, dtype=torch.bool)
        known[:, target] = False
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            filled = model.complete(x, known, torch.zeros(300, 0))
        equal = float((filled[:, target] == filled[:, source]).float().mean())
        assert equal > 0.8, f"column {target} should be drawn equal to column {source}, and is in {equal:.0%} of rows"
