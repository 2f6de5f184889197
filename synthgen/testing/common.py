"""The checks that are the same for every kind of dataset."""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from synthgen.errors import Interrupted, SynthgenError
from synthgen.generator import Generator, HasLatents, abilities
from synthgen.testing.kit import Kit, seeded
from synthgen.training import Objective, State

JUDGES = {"log_prob": -1, "bound": -1, "reconstruction": 1}  # abilities by which strange records are told


def common_checks(cls: type[Generator]) -> list[Callable[[Kit], None]]:
    """The checks of these that apply to a generator class."""
    found: list[Callable[[Kit], None]] = [
        _samples_fit_the_space,
        _same_seed_same_records,
        _stored_weights_give_the_same_records,
        _bad_weights_are_refused,
        _ends_in_time,
        _goes_on_after_an_interruption,
    ]
    if cls.loss is not Generator.loss or cls.objectives is not Generator.objectives:
        found += [_loss_is_per_record, _every_parameter_learns]
    able = abilities(cls)
    if "complete" in able:
        found += [_completes_what_is_unknown]
    if "latents" in able:
        found += [_latents_lead_back]
    if set(JUDGES) & set(able):
        found += [_strange_records_stand_out]
    return found


def config_is_documented(kit: Kit) -> None:
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
    spoilt = tensor.clone(memory_format=torch.contiguous_format)
    spoilt.view(-1)[0] = torch.nan
    for bad in ({**weights, name: spoilt}, {n: t for n, t in weights.items() if n != name}):
        try:
            kit.build().load_weights(bad)
        except SynthgenError:
            continue
        raise AssertionError("damaged weights were taken without a word")


def _ends_in_time(kit: Kit) -> None:
    """Without time left, `fit` still ends, with a model that draws."""
    model = kit.fit(kit.build(), kit.records(), seconds=1e-6)
    kit.valid(kit.draw(model, 50))


def _goes_on_after_an_interruption(kit: Kit) -> None:
    """`fit` calls `training.checkpoint` between rounds; going on from its state ends where no stop would have."""
    kept: list[State] = []
    whole = kit.fitted()
    assert kit.rounds, "fit never asked training.checkpoint whether to stop"
    try:
        # late, when a family may be at its second piece of work
        kit.fit(kit.build(), kit.records(), stop=max(1, int(0.8 * kit.rounds)), save=kept.append)
    except Interrupted:
        assert kept, "the fit was interrupted, but nothing was kept"
    else:
        raise AssertionError("fit asked training.checkpoint whether to stop, and went on when it should")
    state = {name: t.clone() for name, t in kept[-1].items()}
    resumed = kit.fit(kit.build(), kit.records(), restored=state)
    same = torch.allclose(kit.draw(resumed, 100), kit.draw(whole, 100), atol=1e-4)
    assert same, "a fit that was interrupted and resumed differs from one that was not"


def _loss_is_per_record(kit: Kit) -> None:
    """A loss returns one number per record, and a record's number does not depend on the others."""
    model, (x, c) = kit.build(given=True), kit.records(32, given=True).tensor()
    # every other record becomes like the first: merely another order would not change batch statistics
    like_first = [torch.cat([t[:1], t[:1].expand(31, *t.shape[1:])]) for t in (x, c)]
    for objective in model.objectives():
        whole, changed = _losses(objective, x, c), _losses(objective, *like_first)
        assert whole.shape == (32,), f"a loss has shape {tuple(whole.shape)}, not (32,): leave the mean to the loop"
        moved = float((changed[0] - whole[0]).abs()) / max(1.0, float(whole[0].abs()))
        assert moved < 1e-4, "a record's loss depends on other records: batch statistics? use GroupNorm, not BatchNorm"


def _losses(objective: Objective, x: Tensor, c: Tensor) -> Tensor:
    with seeded(4):
        return objective.loss(x if objective.sees_data else len(x), c).detach()


def _every_parameter_learns(kit: Kit) -> None:
    """Each parameter gets a gradient from some loss."""
    model = kit.build(given=True)
    x, c = kit.records(64, given=True).tensor()
    with seeded(4):
        for objective in model.objectives():
            for _ in range(4):  # some parts may be left out at random
                objective.loss(x if objective.sees_data else len(x), c).sum().backward()  # type: ignore[no-untyped-call]
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None and p.numel()]
    assert not idle, f"no loss depends on parameter {idle[0]!r}"


def _completes_what_is_unknown(kit: Kit) -> None:
    """`complete` leaves known cells alone, each row by its own pattern, and fills the rest validly."""
    x = kit.records(64).tensor()[0]
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    filled = kit.filled(x, known)
    assert filled.shape == x.shape, f"records of shape {tuple(x.shape)} came back as {tuple(filled.shape)}"
    assert torch.equal(filled[known], x[known]), "complete changed cells that are known"
    kit.valid(filled)


def _latents_lead_back(kit: Kit) -> None:
    """`from_latent` of `to_latent` of a record is much like it, compared with another record."""
    model, (x, c) = kit.ability(HasLatents), kit.records(200).tensor()
    with seeded(0), torch.no_grad():
        z = model.to_latent(x, c)
        assert z.shape == (len(x), z.numel() // len(x)), f"latents of {len(x)} records have shape {tuple(z.shape)}"
        back = model.from_latent(z, c)
    assert back.shape == x.shape, f"records of shape {tuple(x.shape)} came back as {tuple(back.shape)}"
    kit.valid(back)
    own, other = float(kit.unlike(back, x).mean()), float(kit.unlike(back, x.roll(1, 0)).mean())
    assert own < 0.6 * other, f"what comes back is {own:.2f} from the record, and {other:.2f} from another one"


def _strange_records_stand_out(kit: Kit) -> None:
    """What judges records gives each a finite number, and on average a worse one to those such as there are none."""
    model, (x, c) = kit.fitted(), kit.records(200).tensor()
    for name in JUDGES.keys() & set(abilities(kit.cls)):
        scores = []
        for records in (x, kit.strange(x)):
            with seeded(0), torch.no_grad():
                score = getattr(model, name)(records, c)
            assert score.shape == (len(x),), f"{name} of {len(x)} records has shape {tuple(score.shape)}"
            assert bool(score.isfinite().all()), f"{name} is not finite"
            scores.append(JUDGES[name] * float(score.mean()))
        assert scores[1] > scores[0], f"by {name}, records such as there are none are no stranger than real ones"
