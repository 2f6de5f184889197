"""Every generator of the toolkit passes the conformance kit, and the kit catches what it is there to catch."""

import contextlib
import itertools
import math
from typing import ClassVar

import pytest
import torch
from pydantic import Field
from torch import nn

from synthgen import registry
from synthgen.errors import Interrupted, SynthgenError
from synthgen.generator import Generator
from synthgen.testing import checks
from synthgen.training import Objective, Recipe

OWN = [n for n, point in registry.available().items() if registry.distribution(point) == "synthgen-toolkit"]
LATENT = {"steps": 150, "learning_rate": 4e-3, "width": 8, "depth": 1, "latent": 8, "components": 20, "rounds": 20}
GAN = {"steps": 150, "learning_rate": 2e-3, "ema": 0.98, "width": 8, "depth": 1, "latent": 8, "rounds": 20}
# what makes each family quick, as so little data allows
QUICK = {
    ("autoencoder", "table"): LATENT,
    ("autoencoder", "images"): LATENT,
    ("autoregressive", "table"): {"steps": 150, "width": 16},
    ("autoregressive", "images"): {"steps": 300, "width": 16, "channels": 8, "levels": (4, 4), "learning_rate": 5e-3},
    ("diffusion", "table"): {"steps": 400, "learning_rate": 5e-3, "width": 16, "depth": 2, "rounds": 20},
    ("diffusion", "images"): {"steps": 60, "learning_rate": 3e-3, "width": 8, "depth": 1, "draws": 8},
    ("gan", "table"): GAN,
    ("gan", "images"): GAN,
    ("gmm", "images"): {"components": 4},
    ("vae", "table"): LATENT,
    ("vae", "images"): LATENT,
}
SLOW = {"autoencoder", "diffusion", "gan", "vae"}


def on(kind, cls, **settings):
    """The checks of a class that are on one kind of dataset."""
    return [c for c in checks(cls, **settings) if str(c).endswith("[images]") == (kind == "images")]


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{check}", marks=[pytest.mark.slow] * (name in SLOW))
        for name in OWN
        for kind in ("table", "images")
        for check in on(kind, registry.load(name), **QUICK.get((name, kind), {}))
    ],
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

    def bound(self, x, c):
        return self.score(x, c) - 1

    def reconstruction(self, x, c):
        return -self.score(x, c)

    def score(self, x, c):
        return (self.scores(c) * (x[:, None] == self.states).all(2)).sum(1)

    def sample(self, n, c):
        return self.states[torch.multinomial(self.scores(c).exp(), 1)[:, 0]]

    def complete(self, x, known, c):
        fits = ((x[:, None] == self.states) | ~known[:, None]).all(2)
        return self.states[torch.multinomial(self.scores(c).exp() * fits, 1)[:, 0]]

    def to_latent(self, x, c):
        return self.space.embed(x)

    def from_latent(self, z, c):
        return self.space.collapse(z)


class Kernel(Generator):
    """One of the images that it has seen, with a little noise: correct in everything, for few images."""

    accepts: ClassVar[tuple[str, ...]] = ("images",)
    noise = 0.1

    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        self.register_buffer("kept", torch.zeros(0, *space.shape))
        self.register_buffer("labels", torch.zeros(0, context.width))

    def fit(self, records, training):
        x, c = records.tensor()
        order = torch.randperm(len(x))
        if training.restored:
            order = training.restored["order"]
        for _ in range(2):
            training.checkpoint(lambda: {"order": order})
        self.kept, self.labels = x[order], c[order]

    def scores(self, x, known, c):
        """Log-odds (B, kept) of the images that a record may have come from."""
        k, x, kept = known.flatten(1).float(), x.flatten(1), self.kept.flatten(1)
        apart = (k * x.square()).sum(1, keepdim=True) - 2 * (k * x) @ kept.T + k @ kept.square().T
        same = (c[:, None] == self.labels).all(2)
        return (-0.5 * apart / self.noise**2).masked_fill(~same, -torch.inf)

    def sample(self, n, c):
        x = torch.zeros(n, *self.space.shape)
        return self.complete(x, torch.zeros(x.shape, dtype=torch.bool), c)

    def complete(self, x, known, c):
        one = self.kept[torch.multinomial(self.scores(x, known, c).softmax(1), 1)[:, 0]]
        return torch.where(known, x, one + self.noise * torch.randn_like(one))

    def log_prob(self, x, c):
        scale = self.space.width * math.log(self.noise * math.sqrt(2 * math.pi))
        every = torch.ones(x.shape, dtype=torch.bool)
        return self.scores(x, every, c).logsumexp(1) - math.log(len(self.kept)) - scale

    def bound(self, x, c):
        return self.log_prob(x, c) - 1

    def reconstruction(self, x, c):
        return -self.log_prob(x, c)

    def to_latent(self, x, c):
        return 2 * x.flatten(1)

    def from_latent(self, z, c):
        return (z / 2).reshape(len(z), *self.space.shape)


# Faults; each is mixed into a class that has none.


class Undocumented:
    """A setting without a description."""

    class Config(Generator.Config):
        width: int = 3


class Required:
    """A setting without a default."""

    class Config(Generator.Config):
        width: int = Field(description="of it")


class Squeezing:
    """One record loses its first dimension."""

    def sample(self, n, c):
        return super().sample(n, c).squeeze(0)


class Double:
    """Records of another type."""

    def sample(self, n, c):
        return super().sample(n, c).double() if n == 7 else super().sample(n, c)


class Stubborn:
    """Always the same records, whatever the seed."""

    def sample(self, n, c):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return super().sample(n, c)


class Forgetful:
    """What it learned is partly outside of `state_dict`."""

    scale = 0.0

    def fit(self, records, training):
        super().fit(records, training)
        self.scale = 1.0

    def sample(self, n, c):
        return super().sample(n, c) * self.scale


class Credulous:
    """Takes any weights."""

    def load_weights(self, weights):
        self.load_state_dict(weights, strict=False)


class Unchecked:
    """Takes any numbers."""

    def load_weights(self, weights):
        super().load_weights({name: t.nan_to_num() for name, t in weights.items()})


class Independent:
    """One column is drawn regardless of the others."""

    def sample(self, n, c):
        x = super().sample(n, c)
        x[:, 3] = x[torch.randperm(n), 3]
        return x


class Grey:
    """The mean of some images, not one."""

    def sample(self, n, c):
        some = torch.stack([super(Grey, self).sample(n, c) for _ in range(10)])
        return some[0] if c.shape[1] else some.mean(0)


class Negative:
    """What should be bright is dark."""

    def sample(self, n, c):
        return super().sample(n, c) * (1 if c.shape[1] else -1)


class Deaf:
    """Draws without regard to the context."""

    def sample(self, n, c):
        return super().sample(n, c[torch.randperm(n)])


class Late:
    """Needs more time than there is."""

    def fit(self, records, training):
        super().fit(records, training)
        if training.should_stop():
            raise SynthgenError("not ready yet")


class Unstoppable:
    """Never asks whether to stop."""

    def fit(self, records, training):
        training.checkpoint = lambda state: None
        super().fit(records, training)


class Heedless:
    """Asks whether to stop, and does not."""

    def fit(self, records, training):
        with contextlib.suppress(Interrupted):
            super().fit(records, training)


class Restarting:
    """Begins anew instead of going on."""

    def fit(self, records, training):
        if training.restored:
            torch.rand(1)
        training.restored = None
        super().fit(records, training)


class Batchwise:
    """The loss of a record depends on the others."""

    def loss(self, x, c):
        return super().loss(x, c) + x[:, 1].mean()


class Averaging:
    """Every record is told the mean loss of the batch."""

    def loss(self, x, c):
        return super().loss(x, c).mean().expand(len(x))


class Twofold:
    """No fault: a second loss that sees no record."""

    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        self.second = nn.Linear(1, 1)

    def objectives(self):
        return [*super().objectives(), Objective(self.second, self.idle, sees_data=False)]

    def idle(self, n, c):
        return self.second(c.sum(1, keepdim=True))[:n, 0].square()


class Gossiping(Twofold):
    """The second loss depends on the other contexts."""

    def idle(self, n, c):
        return super().idle(n, c) + c[:, :1].sum()


class Idle:
    """A parameter that nothing depends on."""

    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        self.idle = nn.Parameter(torch.zeros(3))


class Unnormalised:
    """The probabilities do not sum to one."""

    def log_prob(self, x, c):
        return super().log_prob(x, c) + 0.1


class Overwriting:
    """Completing changes cells that are known."""

    def complete(self, x, known, c):
        drawn = super().complete(x, known, c).contiguous()
        drawn.flatten(1)[:, 0] = 0
        return drawn


class Blind:
    """Completing ignores what is known."""

    def complete(self, x, known, c):
        return torch.where(known, x, super().complete(x, torch.zeros_like(known), c))


class Astray:
    """Latents lead to the record of another."""

    def from_latent(self, z, c):
        return super().from_latent(z.roll(1, 0), c)


class Deep:
    """Latents are no vectors."""

    def to_latent(self, x, c):
        return super().to_latent(x, c)[..., None]

    def from_latent(self, z, c):
        return super().from_latent(z[..., 0], c)


class Impartial:
    """All records are the same to it."""

    def bound(self, x, c):
        return torch.zeros(len(x))


class Contrary:
    """Real records are the strange ones."""

    def reconstruction(self, x, c):
        return -super().reconstruction(x, c)


class Columnar:
    """Judgements in a column."""

    def bound(self, x, c):
        return super().bound(x, c)[:, None]


class Infinite:
    """What is strange is infinitely so."""

    def reconstruction(self, x, c):
        return torch.full((len(x),), torch.inf)


FAULTS = {
    Undocumented: ("config_is_documented", Joint),
    Squeezing: ("samples_fit_the_space", Joint, Kernel),
    Double: ("samples_fit_the_space", Joint, Kernel),
    Stubborn: ("same_seed_same_records", Joint, Kernel),
    Forgetful: ("stored_weights_give_the_same_records", Joint, Kernel),
    Credulous: ("bad_weights_are_refused", Joint),
    Unchecked: ("bad_weights_are_refused", Joint, Kernel),
    Independent: ("learns_how_columns_depend", Joint),
    Grey: ("learns_the_images", Kernel),
    Negative: ("learns_the_images", Kernel),
    Deaf: ("follows_the_context", Joint, Kernel),
    Late: ("ends_in_time", Joint, Kernel),
    Unstoppable: ("goes_on_after_an_interruption", Joint, Kernel),
    Heedless: ("goes_on_after_an_interruption", Joint, Kernel),
    Restarting: ("goes_on_after_an_interruption", Joint, Kernel),
    Batchwise: ("loss_is_per_record", Joint),
    Averaging: ("loss_is_per_record", Joint),
    Gossiping: ("loss_is_per_record", Joint),
    Idle: ("every_parameter_learns", Joint),
    Unnormalised: ("probabilities_sum_to_one", Joint),
    Overwriting: ("completes_what_is_unknown", Joint, Kernel),
    Blind: ("completions_depend_on_what_is_known", Joint, Kernel),
    Astray: ("latents_lead_back", Joint, Kernel),
    Deep: ("latents_lead_back", Joint, Kernel),
    Impartial: ("strange_records_stand_out", Joint, Kernel),
    Contrary: ("strange_records_stand_out", Joint, Kernel),
    Columnar: ("strange_records_stand_out", Joint, Kernel),
    Infinite: ("strange_records_stand_out", Joint, Kernel),
}
CASES = [(base, fault, check) for fault, (check, *bases) in FAULTS.items() for base in bases]


def mixed(fault, base):
    """A class with a fault."""
    return type(fault.__name__, (fault, base), {"__doc__": fault.__doc__, "__module__": __name__})


def failures(cls, **settings):
    failed = []
    for check in checks(cls, **settings):
        try:
            check()
        except (AssertionError, SynthgenError):
            failed.append(str(check))
    return failed


@pytest.mark.parametrize("cls", [Joint, Kernel, mixed(Twofold, Joint)])
def test_a_correct_generator_passes_every_check(cls):
    assert failures(cls) == []


@pytest.mark.parametrize("base", [Joint, Kernel])
def test_there_is_a_fault_for_every_check(base):
    known = {check for other, _, check in CASES if other is base} | {"config_is_documented"}
    assert {str(check).removesuffix("[images]") for check in checks(base)} == known


@pytest.mark.parametrize(("base", "fault", "check"), CASES, ids=[f"{f.__name__}-{b.__name__}" for b, f, _ in CASES])
def test_a_fault_fails_its_check_and_no_other(base, fault, check):
    shown = check + "[images]" * (base is Kernel and check != "config_is_documented")
    assert failures(mixed(fault, base)) == [shown]


def test_a_setting_without_a_default_fails_its_check():
    assert failures(mixed(Required, Joint), width=3) == ["config_is_documented"]


@pytest.mark.parametrize("base", [Joint, Kernel])
def test_a_class_without_a_docstring_fails_its_check(base):
    assert failures(type("Mute", (base,), {"__module__": __name__})) == ["config_is_documented"]


def test_checks_of_abilities_are_left_out_where_there_are_none():
    names = {str(check) for check in checks(registry.load("trees"))}
    assert not names & {"probabilities_sum_to_one", "completes_what_is_unknown", "loss_is_per_record"}
    assert not names & {"latents_lead_back", "strange_records_stand_out"}
    assert len(names) == 9


def test_checks_are_on_the_kinds_that_a_class_accepts():
    kinds = {cls.accepts: {"[images]" in str(c) for c in checks(cls)[1:]} for cls in (Joint, Kernel)}
    assert kinds == {("table",): {False}, ("images",): {True}}
    both = [str(c) for c in checks(registry.load("gmm"))]
    assert len(both) == len(set(both))
    assert {"follows_the_context", "follows_the_context[images]"} <= set(both)
    assert both.count("config_is_documented") == 1


def test_settings_reach_the_generator():
    names = {str(c): c for c in checks(registry.load("trees"), trees=2, rounds=0)}
    names["samples_fit_the_space"]()
    with pytest.raises(SynthgenError, match="greater than or equal"):
        checks(registry.load("trees"), trees=0)
    with pytest.raises(SynthgenError, match="no setting 'tress'"):
        checks(registry.load("trees"), tress=2)


def test_settings_reach_the_loop():
    assert failures(Joint, learning_rate=1e-9, weight_decay=0) == [
        "strange_records_stand_out",
        "learns_how_columns_depend",
        "follows_the_context",
        "completions_depend_on_what_is_known",
    ]


@pytest.mark.parametrize("base", [Joint, Kernel])
def test_every_check_says_what_it_is_for(base):
    assert all(check.__doc__ for check in checks(base))


@pytest.mark.parametrize("base", [Joint, Kernel])
def test_checks_leave_the_random_numbers_alone(base):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert failures(base) == []
    assert torch.equal(torch.get_rng_state(), before)
