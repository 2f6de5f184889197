"""Training: how long, how fast and where a generator learns, and the one loop that all losses share."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from synthgen.distributed import current
from synthgen.errors import Interrupted, SynthgenError
from synthgen.records import Records

FEW = 0.25  # share of the steps below which it is said that time was short

State = dict[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """A module and the per-record loss that trains it; a GAN has two.

    `loss(x, c)` maps records (B, *shape) and contexts (B, width) to (B,), row i from record i only.
    With `sees_data=False` it is called as `loss(n, c)` and touches no record.
    """

    module: nn.Module
    loss: Callable[..., Tensor]
    sees_data: bool = True


class Recipe(BaseModel):
    """The loop's numbers. A family states its own defaults; `-s epochs=10` overrides one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(30, ge=1, le=100_000, description="passes over the records, where steps is 0")
    steps: int = Field(0, ge=0, le=100_000_000, description="steps of the training; 0: as many as the epochs make")
    batch_size: int = Field(512, ge=1, le=1_000_000, description="records per step; small tables use fewer")
    learning_rate: float = Field(5e-3, gt=0, le=1, description="peak of the cosine schedule")
    weight_decay: float = Field(1e-2, ge=0, le=1, description="AdamW's decay")
    momentum: float = Field(0.9, ge=0, lt=1, description="AdamW's decay of the mean gradient")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the weights' moving average, which is kept")
    clip: float = Field(1.0, gt=0, le=1e6, description="largest norm of a record's gradient under a privacy budget")

    def batch(self, n: int) -> int:
        """Records per step for a table of n: a sixteenth of it at most, so that small tables take steps too."""
        return min(self.batch_size, max(32, n // 16))

    def total(self, n: int) -> int:
        """Steps of the training for n records."""
        return self.steps or self.epochs * math.ceil(n / self.batch(n))

    def plan(self, n: int, share: float) -> tuple[float, int]:
        """Probability that a record is in a step's sample, and steps, of a private training on about n records."""
        return min(1.0, self.batch(n) / n), max(1, round(self.total(n) * share))


class Trains(Protocol):
    """Records that go through a training by themselves, since only they may look at what they hold."""

    def train(
        self, training: "Training", objectives: Sequence[Objective], until: float, share: float, later: float
    ) -> None:
        """What `Training.train` does."""


class Learns(Protocol):
    """A module that takes the weights which it has elsewhere."""

    def state_dict(self) -> dict[str, Any]:
        """Its weights by name."""

    def load_weights(self, weights: State) -> None:
        """Take such weights."""

    def to(self, device: torch.device) -> Any:
        """Move to a device."""


class Training:
    """What a generator's `fit` is given: a device, a deadline, and ways to report, save and be stopped.

    Args:
        recipe: numbers of the loop.
        device: where tensors live.
        seconds: time allowed from now on; None for no limit.
        report: called with the share done in [0, 1] and figures to show, such as the loss.
        save: called with the state to keep when a checkpoint is due.
        restored: the state that a checkpoint kept, to go on from.
        interrupted: whether the user asked to stop.
        preview: called now and then, while the modules hold averaged weights.
    """

    save_every = 60.0  # seconds between checkpoints, and between previews

    def __init__(
        self,
        recipe: Recipe | None = None,
        *,
        device: torch.device | str = "cpu",
        seconds: float | None = None,
        report: Callable[..., None] | None = None,
        save: Callable[[State], None] | None = None,
        restored: State | None = None,
        interrupted: Callable[[], bool] | None = None,
        preview: Callable[[], None] | None = None,
    ) -> None:
        self.recipe = recipe or Recipe()
        self.device = torch.device(device)
        self.restored = restored
        self._start = self._saved = time.monotonic()
        self._seconds = seconds
        self._report = report
        self._save = save
        self._interrupted = interrupted
        self._preview, self._previewed = preview, self._start
        self._stages: list[State] = []  # what each call of `train` ended with
        self.notes: list[str] = []

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return math.inf if self._seconds is None else self._start + self._seconds - time.monotonic()

    def should_stop(self) -> bool:
        """Whether the time is up: finish with what there is, as a usable model."""
        return self._seconds is not None and current().agree(self.seconds_left) <= 0

    def note(self, text: str) -> None:
        """Tell the user something about the fit, in a sentence."""
        self.notes.append(text)

    def progress(self, done: float, **figures: float) -> None:
        """Report the share of the work done, in [0, 1], and figures to show beside it."""
        if self._report:
            self._report(min(1.0, done), **figures)

    def checkpoint(self, state: Callable[[], State]) -> None:
        """To be called between rounds of work: keeps `state()` when it is time or the user interrupts.

        Raises:
            Interrupted: the user asked to stop; the state has been kept.
        """
        stop = bool(current().agree(self._interrupted is not None and self._interrupted()))
        if self._save and (stop or time.monotonic() - self._saved > self.save_every):
            ended = {f"{_stage(k)}{name}": t for k, stage in enumerate(self._stages) for name, t in stage.items()}
            self._save(ended | state())
            self._saved = time.monotonic()
        if stop:
            current().agree(True)  # the main process has kept it
            raise Interrupted("interrupted")

    def once(self, model: Learns, work: Callable[[], None]) -> None:
        """Do work that needs no loop; of several processes the main one does it, and gives the others what it learned.

        A family's `fit` calls this for all that it does besides `train`, so that processes cannot come to different
        ends, or look at records twice that a budget pays for once.

        Args:
            model: the generator, whose weights the work changes.
            work: to be done.
        """
        group = current()
        if group.world == 1:
            work()
            return

        def learned() -> State:
            work()
            return {f"weights.{name}": t for name, t in model.state_dict().items()} | {"rng": torch.get_rng_state()}

        told = dict(group.tensors(learned))
        if not group.main:
            torch.set_rng_state(told["rng"])
            model.load_weights(_part(told, "weights."))
            model.to(self.device)

    def look(self, shown: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        """To be called between rounds of work: shows a preview when it is time, within the block `shown`."""
        if self._preview and time.monotonic() - self._previewed > self.save_every:
            with shown(), torch.random.fork_rng():
                self._preview()
            self._previewed = time.monotonic()

    def train(
        self,
        objectives: Sequence[Objective],
        records: Records | Trains,
        until: float = 1.0,
        share: float = 1.0,
        later: float = 0.0,
    ) -> None:
        """Minimise the mean of each objective's loss in turn; the modules end with averaged weights.

        AdamW with a warm-up and a cosine decay that ends when the steps or the time do, whichever is
        sooner, so that every stop is the end of a schedule. Goes on from a checkpoint where there is one.
        A family may call it several times, for one part after the other.

        Args:
            objectives: what is trained.
            records: what it is trained on.
            until: share of the time allowed by which this call ends.
            share: of the recipe's steps that this call takes.
            later: share of a privacy budget, where there is one, to leave for what comes after.

        Raises:
            SynthgenError: a loss is no longer finite.
            Interrupted: the user asked to stop.
        """
        if not isinstance(records, Records):
            records.train(self, objectives, until, share, later)
            return
        if sum(o.sees_data for o in objectives) > 1:
            raise ValueError("at most one objective of a family may see the data")
        for objective in objectives:
            objective.module.to(self.device).train()
        current().level([objective.module for objective in objectives])
        loop = _Loop(self, objectives, records.to(self.device), until, share)
        prefix = _stage(len(self._stages))
        if self.restored and (state := _part(self.restored, prefix)):
            loop.load(state)
        for _ in loop.steps():
            self.checkpoint(lambda: {f"{prefix}{name}": t for name, t in loop.state().items()})
            self.look(loop.averaged)
        if loop.step < FEW * loop.total:
            self.note(f"time allowed {loop.step} of {loop.total} training steps: draws are rougher than they could be")
        self._stages.append(loop.state() | {"ended": torch.tensor(True)})
        loop.finish()

    def done(self, share: float, until: float = 1.0) -> float:
        """The share done of work that may take until a share of the time, by steps or by time; 1 ends it."""
        if self._seconds is None:
            return share
        return current().agree(max(share, (1 - self.seconds_left / max(self._seconds, 1e-9)) / until))

    @property
    def stages(self) -> int:
        """How many calls of `train` there were."""
        return len(self._stages)


class _Loop:
    """The state of one call of `Training.train`: optimisers, averages, position."""

    def __init__(
        self, training: Training, objectives: Sequence[Objective], records: Records, until: float, share: float
    ) -> None:
        self.training, self.objectives, self.records = training, objectives, records
        self.until = until
        recipe = training.recipe
        self.batch = recipe.batch(len(records))
        self.total = max(1, round(recipe.total(len(records)) * share))
        self.ended = False
        self.warmup = min(100, self.total // 10 + 1)
        self.parameters = [[p for p in o.module.parameters() if p.requires_grad] for o in objectives]
        self.optimizers = [
            torch.optim.AdamW(ps, recipe.learning_rate, betas=(recipe.momentum, 0.99), weight_decay=recipe.weight_decay)
            for ps in self.parameters
        ]
        self.averages = [[p.detach().clone() for p in ps] for ps in self.parameters]
        self.step = 0
        self.epoch_rng = torch.get_rng_state()

    def steps(self) -> Iterator[int]:
        """Run to the end of the schedule, yielding after every step."""
        per_epoch = math.ceil(len(self.records) / self.batch)
        while self._done() < 1:
            skip = self.step % per_epoch  # more than 0 only just after a checkpoint was restored
            now = torch.get_rng_state()
            if skip:
                torch.set_rng_state(self.epoch_rng)
            self.epoch_rng = torch.get_rng_state()
            for i, (x, c) in enumerate(self.records.batches(self.batch)):
                if i < skip:
                    continue
                if skip and i == skip:
                    torch.set_rng_state(now)
                done = self._done()
                if done >= 1:
                    return
                self._descend(x, c, done)
                yield self.step

    def _done(self) -> float:
        return 1.0 if self.ended else self.training.done(self.step / self.total, self.until)

    def _descend(self, x: Tensor, c: Tensor, done: float) -> None:
        """One step of every objective."""
        recipe = self.training.recipe
        rate = min(1.0, (self.step + 1) / self.warmup) * 0.5 * (1 + math.cos(math.pi * done))
        decay = min(recipe.ema, (1 + self.step) / (10 + self.step))
        figures: dict[str, float] = {}
        with current().own_draws(self.training.device, self.training.stages, self.step):
            for k, (objective, optimizer) in enumerate(zip(self.objectives, self.optimizers, strict=True)):
                optimizer.param_groups[0]["lr"] = recipe.learning_rate * rate
                optimizer.zero_grad(set_to_none=True)
                loss = self._gradient(objective, self.parameters[k], x, c)
                optimizer.step()
                with torch.no_grad():
                    torch._foreach_lerp_(self.averages[k], list[Tensor](self.parameters[k]), 1 - decay)
                figures["loss" if k == 0 else f"loss {k + 1}"] = float(loss)
        self.step += 1
        if not all(map(math.isfinite, figures.values())):
            raise SynthgenError(
                f"the loss is no longer finite after {self.step} steps; "
                f"try a smaller rate, such as -s learning_rate={recipe.learning_rate / 5:g}"
            )
        if self.step % 10 == 0:
            self.training.progress(done, **figures)

    def _gradient(self, objective: Objective, parameters: list[nn.Parameter], x: Tensor, c: Tensor) -> Tensor:
        """The mean loss () of a batch, and its gradient in the parameters; each process works on its part of it."""
        group, loss = current(), x.new_zeros(())
        own, given = group.part(x), group.part(c)
        if len(own):
            losses = objective.loss(own if objective.sees_data else len(own), given)
            if losses.shape != (len(own),):
                raise ValueError(f"a loss has shape {tuple(losses.shape)}, not one number per record")
            loss = losses.mean() * (len(own) / len(x))
            loss.backward(inputs=parameters)  # type: ignore[no-untyped-call]
        return group.add_up(parameters, loss.detach())

    def finish(self) -> None:
        """Leave the averaged weights in the modules."""
        with torch.no_grad():
            for ps, average in zip(self.parameters, self.averages, strict=True):
                torch._foreach_copy_(list[Tensor](ps), average)
        for objective in self.objectives:
            objective.module.eval()

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """A block in which the modules hold the averaged weights."""
        own = [[p.detach().clone() for p in ps] for ps in self.parameters]
        self.finish()
        try:
            yield
        finally:
            with torch.no_grad():
                for ps, weights in zip(self.parameters, own, strict=True):
                    torch._foreach_copy_(list[Tensor](ps), weights)
            for objective in self.objectives:
                objective.module.train()

    def state(self) -> State:
        """Everything that going on from here needs."""
        state = {"step": torch.tensor(self.step), "rng": torch.get_rng_state(), "epoch_rng": self.epoch_rng}
        for k, objective in enumerate(self.objectives):
            state |= {f"{k}.module.{name}": t for name, t in objective.module.state_dict().items()}
            state |= {f"{k}.average.{i}": t for i, t in enumerate(self.averages[k])}
            for i, entry in self.optimizers[k].state_dict()["state"].items():
                state |= {f"{k}.optimizer.{i}.{name}": t for name, t in entry.items()}
        return state

    def load(self, state: State) -> None:
        """Go back to what `state` returned."""
        self.step, self.ended = int(state["step"]), "ended" in state
        for k, objective in enumerate(self.objectives):
            objective.module.load_state_dict(_part(state, f"{k}.module."))
            self.averages[k] = [state[f"{k}.average.{i}"] for i in range(len(self.averages[k]))]
            entries: dict[int, dict[str, Any]] = {}
            for name, tensor in _part(state, f"{k}.optimizer.").items():
                i, field = name.split(".", 1)
                entries.setdefault(int(i), {})[field] = tensor
            groups = self.optimizers[k].state_dict()["param_groups"]
            self.optimizers[k].load_state_dict({"state": entries, "param_groups": groups})
        self.epoch_rng = state["epoch_rng"]
        torch.set_rng_state(state["rng"])


def _stage(number: int) -> str:
    """Prefix of the state of a call of `train`."""
    return f"stage {number}."


def _part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
