"""The training loop: what it converges to, what it refuses, and that a stop costs nothing."""

import itertools
import math

import pytest
import torch
from torch import nn

import synthgen.training
from synthgen.errors import Interrupted, SynthgenError
from synthgen.records import Records
from synthgen.training import Objective, Recipe, Training

WEIGHT = torch.tensor([[1.5], [-0.7]])


def line(n):
    """Records of two features and a noisy linear answer."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=rng)
    y = x @ WEIGHT + 0.3 + 0.1 * torch.randn(n, 1, generator=rng)
    return Records(torch.cat([x, y], dim=1))


def linear():
    model = nn.Linear(2, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def squares(model):
    """Half the squared error of each record."""
    return Objective(model, lambda x, c: 0.5 * (model(x[:, :2])[:, 0] - x[:, 2]) ** 2)


def noisy(model):
    """The same with part of the features left out at random: every step draws random numbers."""
    return Objective(model, lambda x, c: (model(x[:, :2] * (torch.rand(len(x), 2) < 0.7))[:, 0] - x[:, 2]) ** 2)


def values(*models):
    return [p.detach().clone() for m in models for p in m.parameters()]


def interrupt_after(steps):
    calls = itertools.count(1)
    return lambda: next(calls) >= steps


def clock(monkeypatch, tick):
    """Time that goes on by `tick` seconds whenever it is asked for."""
    now = itertools.count()
    monkeypatch.setattr(synthgen.training.time, "monotonic", lambda: next(now) * tick)


def test_least_squares_ends_at_the_closed_form():
    records, model = line(32), linear()  # 32 records are one batch
    Training(Recipe(epochs=1500, learning_rate=0.02, weight_decay=0)).train([squares(model)], records)
    data = records.tensor()[0]
    design = torch.cat([data[:, :2], torch.ones(32, 1)], dim=1)
    exact = torch.linalg.lstsq(design, data[:, 2:]).solution[:, 0]
    found = torch.cat([model.weight.detach()[0], model.bias.detach()])
    torch.testing.assert_close(found, exact, atol=1e-3, rtol=0)


def test_gaussian_likelihood_ends_at_mean_and_deviation():
    x = 2 + 3 * torch.randn(32, 1, generator=torch.Generator().manual_seed(1))
    model = nn.Module()
    model.mean, model.log_scale = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
    loss = lambda x, c: 0.5 * ((x[:, 0] - model.mean) / model.log_scale.exp()) ** 2 + model.log_scale  # noqa: E731
    Training(Recipe(epochs=2000, learning_rate=0.05, weight_decay=0)).train([Objective(model, loss)], Records(x))
    assert model.mean.item() == pytest.approx(float(x.mean()), abs=5e-3)
    assert model.log_scale.exp().item() == pytest.approx(float(x.std(correction=0)), abs=5e-3)


def test_the_context_reaches_the_loss():
    x, c = torch.zeros(40, 1), torch.eye(2).repeat(20, 1)
    model = nn.Linear(2, 1, bias=False)
    objective = Objective(model, lambda x, c: (model(c)[:, 0] - c[:, 1] * 3) ** 2)
    Training(Recipe(epochs=1000, learning_rate=0.05, weight_decay=0)).train([objective], Records(x, c))
    torch.testing.assert_close(model.weight.detach(), torch.tensor([[0.0, 3.0]]), atol=0.05, rtol=0)


# 100 records are batches of 32, 32, 32 and 4: four steps per epoch
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 7, 8, 11, 12])
def test_resuming_equals_never_stopping(steps):
    records, recipe = line(100), Recipe(epochs=3, learning_rate=0.05)

    def train(**options):
        torch.manual_seed(3)
        model, other = linear(), linear()
        adversary = Objective(other, lambda n, c: (other(torch.randn(n, 2))[:, 0] - 1) ** 2, sees_data=False)
        Training(recipe, **options).train([noisy(model), adversary], records)
        return values(model, other), torch.get_rng_state()

    whole, whole_rng = train()
    kept = []
    with pytest.raises(Interrupted):
        train(save=kept.append, interrupted=interrupt_after(steps))
    state = {name: t.clone() for name, t in kept[-1].items()}
    resumed, resumed_rng = train(restored=state)
    assert all(map(torch.equal, whole, resumed))
    assert torch.equal(whole_rng, resumed_rng)


def test_resuming_twice_equals_never_stopping():
    records, recipe = line(100), Recipe(epochs=3)

    def train(**options):
        torch.manual_seed(3)
        model = linear()
        Training(recipe, **options).train([noisy(model)], records)
        return values(model)

    state = None
    for _ in range(2):
        kept = []
        with pytest.raises(Interrupted):
            train(save=kept.append, restored=state, interrupted=interrupt_after(3))
        state = {name: t.clone() for name, t in kept[-1].items()}
    assert int(state["stage 0.step"]) == 6
    assert all(map(torch.equal, train(), train(restored=state)))


def test_without_time_the_weights_stay_as_they_began():
    model, training = linear(), Training(seconds=1e-9)
    training.train([squares(model)], line(50))
    assert not model.training
    assert all(bool((p == 0).all()) for p in values(model))
    (note,) = training.notes
    assert note.startswith("time allowed 0 of 60 training steps")


def test_a_deadline_ends_the_schedule_early(monkeypatch):
    clock(monkeypatch, tick=1.0)
    done, steps, model = [], itertools.count(), linear()
    Training(
        Recipe(epochs=1000, learning_rate=0.05),
        seconds=500,
        report=lambda share, **figures: done.append(share),
        interrupted=lambda: next(steps) < 0,
    ).train([squares(model)], line(200))
    assert 10 < next(steps) < 500  # of 7000
    assert done == sorted(done)
    assert done[-1] > 0.9
    assert not model.training
    assert float((model.weight.detach() - WEIGHT.T).abs().max()) < 0.5


@pytest.mark.parametrize("ema", [0, 0.5, 0.998])
def test_the_weights_kept_are_the_moving_average(ema):
    model, seen = linear(), []

    def look():
        seen.append(model.weight.detach().clone())
        return False

    Training(Recipe(epochs=30, ema=ema), interrupted=look).train([squares(model)], line(100))
    average = torch.zeros(1, 2)
    for step, weight in enumerate(seen):
        decay = min(ema, (1 + step) / (10 + step))  # short memory while there is little to remember
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(model.weight.detach(), average, atol=1e-5, rtol=0)


def test_weight_decay_draws_idle_directions_to_zero():
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    objective = Objective(model, lambda x, c: 0 * model(x)[:, 0])
    Training(Recipe(epochs=50, learning_rate=0.1, weight_decay=1, ema=0)).train([objective], Records(torch.ones(32, 1)))
    assert 0 < float(model.weight.detach()) < 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_an_error_with_advice(bad):
    model = linear()
    objective = Objective(model, lambda x, c: model(x[:, :2])[:, 0] + bad)
    with pytest.raises(SynthgenError, match=r"no longer finite after 1 steps.*learning_rate=0\.001"):
        Training().train([objective], line(50))


@pytest.mark.parametrize(
    "reduce", [lambda t: t.mean(), lambda t: t[:, None], lambda t: t[1:]], ids=["mean", "column", "cut"]
)
def test_a_loss_is_one_number_per_record(reduce):
    model = linear()
    objective = Objective(model, lambda x, c: reduce(model(x[:, :2])[:, 0]))
    with pytest.raises(ValueError, match="not one number per record"):
        Training().train([objective], line(50))


def test_only_one_objective_may_see_the_data():
    with pytest.raises(ValueError, match="at most one"):
        Training().train([squares(linear()), squares(linear())], line(50))


def test_an_objective_that_sees_no_data_is_told_the_number_of_records():
    model, seen = linear(), []

    def loss(n, c):
        seen.append(n)
        return model(torch.ones(n, 2))[:, 0]

    Training(Recipe(epochs=1)).train([Objective(model, loss, sees_data=False)], line(100))
    assert sorted(seen) == [4, 32, 32, 32]


def test_every_record_is_seen_once_per_epoch():
    model, seen = linear(), []

    def loss(x, c):
        seen.append(x[:, 2])
        return model(x[:, :2])[:, 0]

    records = line(100)
    Training(Recipe(epochs=2)).train([Objective(model, loss)], records)
    everyone = records.tensor()[0][:, 2].sort().values
    for epoch in (seen[:4], seen[4:]):
        assert torch.equal(torch.cat(epoch).sort().values, everyone)


@pytest.mark.parametrize(("n", "size"), [(1, 32), (10, 32), (512, 32), (1600, 100), (8192, 512), (1_000_000, 512)])
def test_small_tables_take_smaller_batches(n, size):
    assert Recipe(batch_size=512).batch(n) == size


def test_a_batch_is_never_larger_than_asked():
    assert Recipe(batch_size=7).batch(10_000) == 7


def test_progress_is_at_most_one_and_carries_figures():
    seen = []
    Training(report=lambda share, **figures: seen.append((share, figures))).progress(1.7, loss=2.0)
    assert seen == [(1.0, {"loss": 2.0})]
    Training().progress(0.5)  # nobody listens


def test_without_a_limit_there_is_always_time():
    training = Training()
    assert training.seconds_left == math.inf
    assert not training.should_stop()
    assert training.done(0.25) == 0.25


def test_the_time_spent_counts_as_work_done(monkeypatch):
    clock(monkeypatch, tick=1.0)
    training = Training(seconds=4)
    assert training.done(0.0) == pytest.approx(0.25)
    assert training.done(0.9) == 0.9
    assert training.seconds_left == 1
    assert training.should_stop()


def test_no_state_is_taken_before_a_checkpoint_is_due():
    Training(save=pytest.fail).checkpoint(lambda: pytest.fail("nothing is due"))


def test_a_checkpoint_is_kept_when_its_time_has_come(monkeypatch):
    clock(monkeypatch, tick=25.0)
    kept = []
    training = Training(save=kept.append)
    for k in range(5):
        training.checkpoint(lambda k=k: {"k": torch.tensor(k)})
    assert [int(s["k"]) for s in kept] == [2]  # 75 s after the start; 60 s more have not passed since
    training.checkpoint(lambda: {"k": torch.tensor(9)})


def test_an_interruption_keeps_the_state_first():
    kept = []
    with pytest.raises(Interrupted):
        Training(save=kept.append, interrupted=lambda: True).checkpoint(lambda: {"a": torch.ones(1)})
    assert list(kept[0]) == ["a"]


def test_an_interruption_without_a_place_to_save_still_stops():
    with pytest.raises(Interrupted):
        Training(interrupted=lambda: True).checkpoint(lambda: pytest.fail("nowhere to keep it"))


def test_notes_come_in_order():
    training = Training()
    training.note("first")
    training.note("second")
    assert training.notes == ["first", "second"]
