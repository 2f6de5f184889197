"""Private steps: the one way in which gradients of real records reach a model under a budget.

Each step draws a Poisson sample of the records, clips the gradient of every record on its own, sums in float64, adds
noise that nobody can repeat, and divides by a number fixed beforehand (Abadi et al., Deep learning with differential
privacy, 2016). Nothing else that is seen of the records leaves this file: no loss, no count, no time to stop.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgen.distributed import current
from synthgen.dp import noise
from synthgen.dp.clipping import ClippedSum
from synthgen.training import Objective, Recipe

Ints = NDArray[np.int64]

GRID = 2.0**-20  # of the bound: the step to which noisy sums are rounded


@dataclass(frozen=True)
class Plan:
    """What is fixed and public before a training begins.

    Attributes:
        rate: probability that a record is in a step's sample.
        sigma: deviation of the noise over the bound of the clipped gradients.
        steps: how many are made, whatever happens.
        divisor: of the noisy sums: about the size of a sample, from a public or noisy count of the records.
        recipe: the optimizer's numbers.
    """

    rate: float
    sigma: float
    steps: int
    divisor: float
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        if not (0 < self.rate <= 1 and self.sigma >= 0 and self.steps >= 1 and 0 < self.divisor < math.inf):
            raise ValueError(f"no plan of a training: {self}")


def private_gradient(
    clipped: ClippedSum, x: Tensor, c: Tensor, plan: Plan, persons: Ints | None = None
) -> list[Tensor]:
    """One step's gradient, with a privacy loss of one sampled Gaussian query: a tensor for each trainable parameter.

    Where several processes train together, each draws from the records that it holds, at the same rate: as records are
    drawn independently of each other, all samples together are a Poisson sample of all records. The main process adds
    the clipped sums, then the noise, once; what the others hear is noisy.
    """
    group = current()
    chosen, shares = sample(len(x), plan.rate, persons)
    rows = torch.from_numpy(chosen).to(x.device)
    with _fresh_draws(x.device):
        sums = clipped(x[rows], c[rows], torch.from_numpy(shares).to(x.device))
    parts = group.to_main(torch.cat([s.flatten() for s in sums])).cpu().numpy()
    if group.main:
        parts = noised(parts, plan.sigma * clipped.bound, GRID * clipped.bound) / plan.divisor
    noisy = group.spread(torch.from_numpy(parts))
    pieces = torch.split(noisy, [p.numel() for p in clipped.parameters])
    return [g.reshape(p.shape).to(p) for g, p in zip(pieces, clipped.parameters, strict=True)]


def sample(n: int, rate: float, persons: Ints | None) -> tuple[Ints, noise.Array]:
    """A Poisson sample of records, or of persons with all their records.

    Args:
        n: how many records there are.
        rate: probability of each record or person.
        persons: of each record, (n,), numbered from 0.

    Returns:
        indices of records, and which share of the bound each may use: a person's records share it.
    """
    if persons is None:
        rows = noise.chosen(n, rate)
        return rows, np.ones(len(rows))
    records = np.bincount(persons, minlength=1)
    taken = np.zeros(len(records), dtype=bool)
    taken[noise.chosen(len(records), rate)] = True
    rows = np.flatnonzero(taken[persons])
    return rows, 1 / records[persons[rows]]


def noised(sums: noise.Array, deviation: float, step: float) -> noise.Array:
    """Sums with normal noise, on a grid."""
    return noise.on_grid(sums + noise.gaussian(sums.shape, deviation), step)


@contextlib.contextmanager
def _fresh_draws(device: torch.device) -> Iterator[None]:
    """A block with torch's random numbers seeded by the system; after it they go on as if nothing had been drawn.

    How many numbers a loss draws tells the size of its batch, which later seeded draws must not depend on.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(os.urandom(8), "big", signed=True))
        yield


def private_steps(
    clipped: ClippedSum,
    x: Tensor,
    c: Tensor,
    plan: Plan,
    others: Sequence[Objective] = (),
    contexts: Callable[[int], Tensor] | None = None,
    persons: Ints | None = None,
) -> Iterator[int]:
    """The training: all steps of the plan, yielding the number of those done; then averaged weights stay in the module.

    AdamW with a warm-up and a cosine decay, as in `Training.train`.

    Args:
        clipped: what is summed.
        x: records (N, *shape), on the module's device.
        c: contexts (N, width).
        plan: rate, noise, steps, divisor.
        others: objectives that see no record, trained in turn with it.
        contexts: how many to made-up contexts (n, width), which these are told.
        persons: of each record, (N,), where a person's records share the bound.
    """
    sources: list[Callable[[int], list[Tensor]]] = [lambda step: private_gradient(clipped, x, c, plan, persons)]
    trained = [_Descent(clipped.parameters, plan)]
    for other in others:
        assert contexts is not None
        trained.append(_Descent([p for p in other.module.parameters() if p.requires_grad], plan))
        sources.append(partial(_plain_gradient, other, trained[-1].parameters, contexts, round(plan.divisor), x.device))
    for step in range(plan.steps):
        for descent, source in zip(trained, sources, strict=True):
            descent.step(source(step), step)
        yield step + 1
    for descent in trained:
        descent.finish()


def _plain_gradient(
    objective: Objective,
    parameters: list[nn.Parameter],
    contexts: Callable[[int], Tensor],
    n: int,
    device: torch.device,
    step: int,
) -> list[Tensor]:
    """The gradient of an objective that sees no record."""
    group = current()
    own = len(group.part(torch.empty(n)))
    with group.own_draws(device, step):
        loss = objective.loss(max(own, 1), contexts(max(own, 1)).to(device)).mean() * (own / n)
        gradient = list(torch.autograd.grad(loss, parameters, materialize_grads=True))
    group.sum(gradient)
    return gradient


class _Descent:
    """An optimizer and the moving average of what it moves."""

    def __init__(self, parameters: list[nn.Parameter], plan: Plan) -> None:
        self.parameters, self.plan, recipe = parameters, plan, plan.recipe
        self.optimizer = torch.optim.AdamW(
            parameters, recipe.learning_rate, betas=(recipe.momentum, 0.99), weight_decay=recipe.weight_decay
        )
        self.averages = [p.detach().clone() for p in parameters]

    def step(self, gradient: list[Tensor], step: int) -> None:
        """One step with a gradient, a tensor for each parameter."""
        recipe, steps = self.plan.recipe, self.plan.steps
        for p, g in zip(self.parameters, gradient, strict=True):
            p.grad = g
        rate = min(1.0, (step + 1) / min(100, steps // 10 + 1)) * 0.5 * (1 + math.cos(math.pi * step / steps))
        self.optimizer.param_groups[0]["lr"] = recipe.learning_rate * rate
        self.optimizer.step()
        self.optimizer.zero_grad()  # the last gradient is no part of a model
        with torch.no_grad():
            decay = min(recipe.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.averages, list[Tensor](self.parameters), 1 - decay)

    def finish(self) -> None:
        """Leave the averages in place."""
        with torch.no_grad():
            torch._foreach_copy_(list[Tensor](self.parameters), self.averages)
