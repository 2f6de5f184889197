"""Private steps: the one way in which gradients of real records reach a model under a budget.

Each step draws a Poisson sample of the records, clips the gradient of every record on its own, sums in float64, adds
noise that nobody can repeat, and divides by a number fixed beforehand (Abadi et al., Deep learning with differential
privacy, 2016). Nothing else that is seen of the records leaves this file: no loss, no count, no time to stop.
No command uses it yet.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from synthgen.dp import noise
from synthgen.dp.clipping import ClippedSum

GRID = 2.0**-20  # of the bound: the step to which noisy sums are rounded


@dataclass(frozen=True)
class Plan:
    """What is fixed and public before a training begins.

    Attributes:
        rate: probability that a record is in a step's sample.
        sigma: deviation of the noise over the bound of the clipped gradients.
        steps: how many are made, whatever happens.
        divisor: of the noisy sums: about the size of a sample, from a public or noisy count of the records.
    """

    rate: float
    sigma: float
    steps: int
    divisor: float

    def __post_init__(self) -> None:
        if not (0 < self.rate <= 1 and self.sigma >= 0 and self.steps >= 1 and 0 < self.divisor < math.inf):
            raise ValueError(f"no plan of a training: {self}")


def private_gradient(clipped: ClippedSum, x: Tensor, c: Tensor, plan: Plan) -> list[Tensor]:
    """One step's gradient, with a privacy loss of one sampled Gaussian query: a tensor for each trainable parameter."""
    rows = torch.from_numpy(noise.chosen(len(x), plan.rate)).to(x.device)
    with _fresh_draws(x.device):
        sums = clipped(x[rows], c[rows])
    parts = torch.cat([s.flatten() for s in sums]).cpu().numpy()
    noisy = torch.from_numpy(noised(parts, plan.sigma * clipped.bound, GRID * clipped.bound) / plan.divisor)
    pieces = torch.split(noisy, [p.numel() for p in clipped.parameters])
    return [g.reshape(p.shape).to(p) for g, p in zip(pieces, clipped.parameters, strict=True)]


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
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    ema: float = 0.998,
    before: Callable[[int], None] | None = None,
) -> Iterator[int]:
    """The training: all steps of the plan, yielding the number of those done; then averaged weights stay in the module.

    AdamW with a warm-up and a cosine decay, as in `Training.train`.

    Args:
        clipped: what is summed.
        x: records (N, *shape), on the module's device.
        c: contexts (N, width).
        plan: rate, noise, steps, divisor.
        learning_rate: peak of the schedule.
        weight_decay: AdamW's.
        momentum: AdamW's decay of the mean gradient.
        ema: decay of the weights' moving average, which is kept.
        before: called with a step's number before it looks at a record, to write down its price.
    """
    parameters = clipped.parameters
    optimizer = torch.optim.AdamW(parameters, learning_rate, betas=(momentum, 0.99), weight_decay=weight_decay)
    averages = [p.detach().clone() for p in parameters]
    warmup = min(100, plan.steps // 10 + 1)
    clipped.module.train()
    for step in range(plan.steps):
        if before:
            before(step)
        for p, g in zip(parameters, private_gradient(clipped, x, c, plan), strict=True):
            p.grad = g
        rate = min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        optimizer.param_groups[0]["lr"] = learning_rate * rate
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, list[Tensor](parameters), 1 - min(ema, (1 + step) / (10 + step)))
        yield step + 1
    with torch.no_grad():
        torch._foreach_copy_(list[Tensor](parameters), averages)
    clipped.module.eval()
