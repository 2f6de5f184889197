"""Every generator of the toolkit passes the conformance kit, and the kit catches what it is there to catch."""

import itertools
from typing import ClassVar

import pytest
import torch
from pydantic import Field
from torch import nn

from synthgen import registry
from synthgen.errors import SynthgenError
from synthgen.generator import Generator
from synthgen.testing import checks
from synthgen.training import Recipe

OWN = [n for n, point in registry.available().items() if registry.distribution(point) == "synthgen-toolkit"]


@pytest.mark.parametrize(
    "check", [pytest.param(check, id=f"{name}-{check}") for name in OWN for check in checks(registry.load(name))]
)
def test_own_generators_conform(check):
    check()


class Joint(Generator):
    """A softmax over all records that there are: correct in everything, for spaces of few."""

    accepts: ClassVar[tuple[str, ...]] = ("table",)
    codes: ClassVar[int] = 40
    recipe: ClassVar[Recipe] = Recipe(epochs=10, batch_size=512, learning_rate=0.2, ema=0.9)

    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        states = torch.tensor(list(itertools.product(*map(range, space.sizes))), dtype=torch.float32)
        self.register_buffer("states", states, persistent=False)
        self.logits = nn.Parameter(0.1 * torch.randn(len(states)))
        self.given = nn.Parameter(torch.zeros(context.width, len(states)))

    def scores(self, c):
        return (self.logits + c @ self.given).log_softmax(1)

    def loss(self, x, c):
        return -self.score(x, c)

    def log_prob(self, x, c):
        return self.score(x, c)

    def score(self, x, c):
        return (self.scores(c) * (x[:, None] == self.states).all(2)).sum(1)

    def sample(self, n, c):
        return self.states[torch.multinomial(self.scores(c).exp(), 1)[:, 0]]

    def complete(self, x, known, c):
        fits = ((x[:, None] == self.states) | ~known[:, None]).all(2)
        return self.states[torch.multinomial(self.scores(c).exp() * fits, 1)[:, 0]]


class Undocumented(Joint):
    """A setting without a description."""

    class Config(Generator.Config):
        width: int = 3


class Required(Joint):
    """A setting without a default."""

    class Config(Generator.Config):
        width: int = Field(description="of it")


class Squeezing(Joint):
    """One record loses its first dimension."""

    def sample(self, n, c):
        return super().sample(n, c).squeeze(0)


class Double(Joint):
    """Records of another type."""

    def sample(self, n, c):
        return super().sample(n, c).double() if n == 7 else super().sample(n, c)


class Stubborn(Joint):
    """Always the same records, whatever the seed."""

    def sample(self, n, c):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return super().sample(n, c)


class Forgetful(Joint):
    """What it learned is partly outside of `state_dict`."""

    scale = 0.0

    def fit(self, records, training):
        super().fit(records, training)
        self.scale = 1.0

    def sample(self, n, c):
        return super().sample(n, c) * self.scale


class Credulous(Joint):
    """Takes any weights."""

    def load_weights(self, weights):
        self.load_state_dict(weights, strict=False)


class Independent(Joint):
    """One column is drawn regardless of the others."""

    def sample(self, n, c):
        x = super().sample(n, c)
        x[:, 3] = x[torch.randperm(n), 3]
        return x


class Deaf(Joint):
    """Draws without regard to the context."""

    def sample(self, n, c):
        return super().sample(n, torch.zeros_like(c))


class Late(Joint):
    """Needs more time than there is."""

    def fit(self, records, training):
        super().fit(records, training)
        if training.should_stop():
            raise SynthgenError("not ready yet")


class Unstoppable(Joint):
    """Never asks whether to stop."""

    def fit(self, records, training):
        training.checkpoint = lambda state: None
        super().fit(records, training)


class Restarting(Joint):
    """Begins anew instead of going on."""

    def fit(self, records, training):
        if training.restored:
            torch.rand(1)
        training.restored = None
        super().fit(records, training)


class Batchwise(Joint):
    """The loss of a record depends on the others."""

    def loss(self, x, c):
        return super().loss(x, c) + x[:, 1].mean()


class Averaging(Joint):
    """Every record is told the mean loss of the batch."""

    def loss(self, x, c):
        return super().loss(x, c).mean().expand(len(x))


class Idle(Joint):
    """A parameter that nothing depends on."""

    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        self.idle = nn.Parameter(torch.zeros(3))


class Unnormalised(Joint):
    """The probabilities do not sum to one."""

    def log_prob(self, x, c):
        return super().log_prob(x, c) + 0.1


class Overwriting(Joint):
    """Completing changes cells that are known."""

    def complete(self, x, known, c):
        drawn = super().complete(x, known, c)
        drawn[:, 0] = 0
        return drawn


class Blind(Joint):
    """Completing ignores what is known."""

    def complete(self, x, known, c):
        return torch.where(known, x, self.sample(len(x), c))


FAULTS = {
    Undocumented: "config_is_documented",
    Squeezing: "samples_fit_the_space",
    Double: "samples_fit_the_space",
    Stubborn: "same_seed_same_records",
    Forgetful: "stored_weights_give_the_same_records",
    Credulous: "bad_weights_are_refused",
    Independent: "learns_how_columns_depend",
    Deaf: "follows_the_context",
    Late: "ends_in_time",
    Unstoppable: "goes_on_after_an_interruption",
    Restarting: "goes_on_after_an_interruption",
    Batchwise: "loss_is_per_record",
    Averaging: "loss_is_per_record",
    Idle: "every_parameter_learns",
    Unnormalised: "probabilities_sum_to_one",
    Overwriting: "completes_what_is_unknown",
    Blind: "completions_depend_on_what_is_known",
}


def failures(cls, **settings):
    failed = []
    for check in checks(cls, **settings):
        try:
            check()
        except (AssertionError, SynthgenError):
            failed.append(str(check))
    return failed


def test_a_correct_generator_passes_every_check():
    assert failures(Joint) == []


def test_there_is_a_fault_for_every_check():
    assert {str(check) for check in checks(Joint)} == set(FAULTS.values())


@pytest.mark.parametrize(("cls", "check"), list(FAULTS.items()), ids=[cls.__name__ for cls in FAULTS])
def test_a_fault_fails_its_check_and_no_other(cls, check):
    assert failures(cls) == [check]


def test_a_setting_without_a_default_fails_its_check():
    assert failures(Required, width=3) == ["config_is_documented"]


def test_a_class_without_a_docstring_fails_its_check():
    assert failures(type("Mute", (Joint,), {"__module__": __name__})) == ["config_is_documented"]


def test_checks_of_abilities_are_left_out_where_there_are_none():
    names = {str(check) for check in checks(registry.load("trees"))}
    assert not names & {"probabilities_sum_to_one", "completes_what_is_unknown", "loss_is_per_record"}
    assert len(names) == 9


def test_settings_reach_the_generator():
    names = {str(c): c for c in checks(registry.load("trees"), trees=2, rounds=0)}
    names["samples_fit_the_space"]()
    with pytest.raises(ValueError, match="greater than or equal"):
        checks(registry.load("trees"), trees=0)


def test_every_check_says_what_it_is_for():
    assert all(check.__doc__ for check in checks(Joint))


def test_checks_leave_the_random_numbers_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert failures(Joint) == []
    assert torch.equal(torch.get_rng_state(), before)
