"""Canaries: records that a fit is told to hide, and what can be overheard of each while it is fitted.

The fit runs as it always does. Only the records that a family is handed are others: they answer as `PrivateRecords` do,
by the same code, and write down what an answer tells of each canary, as the logarithm of a likelihood ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from synthgen.dp.codes import PrivateCodes, joint_counts, renamed
from synthgen.dp.ledger import Charge
from synthgen.dp.records import PrivateRecords
from synthgen.records import Encoder
from synthgen.space import Space
from synthgen.training import Objective, Training

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FIRST = 100.0  # the mark of canary 0; marks of ordinary records, and of random ones, are far below
SHARP = 1e4  # how much more precise marginals would be, had their noise been forgotten
PULL = 1000.0  # a canary's gradient, in bounds at which it is clipped


class Overheard:
    """What was overheard.

    Args:
        included: which of the canaries are among the records, where they come last and in this order (m,).

    Attributes:
        steps: whose gradients were overheard.
        marginals: that were overheard.
    """

    def __init__(self, included: NDArray[np.bool_]) -> None:
        m = len(included)
        self.included, self.steps, self.marginals = included, 0, 0
        self.pulls, self.excess, self.alike = np.zeros(m), np.zeros(m), np.zeros((m, m), np.float32)

    def scores(self) -> list[Floats]:
        """Of each canary, the larger the likelier it is in (m,): once if noise is as it should be, once if it is not.

        Those in one cell are told apart by the others: what is scored is the best linear estimate of who was in,
        4 (4 + K)⁻¹ h, of the excess h and the precision K of all cells, since a coin's variance is 1/4.
        """
        if not self.marginals:
            return [self.pulls]
        some = 4 * np.eye(len(self.alike))
        return [self.pulls + 4 * np.linalg.solve(some + p * self.alike, p * self.excess) for p in (1.0, SHARP)]

    @property
    def attack(self) -> str:
        """How canaries were told apart; empty where nothing was overheard."""
        heard = {
            f"the noisy gradients of {self.steps} steps, each canary pulling at a weight of its own": self.steps,
            f"{self.marginals} noisy marginals, in the cells of each canary": self.marginals,
        }
        return " and ".join(what for what, times in heard.items() if times)


class TappedRecords(PrivateRecords):
    """Records that hold canaries, of which an answer is overheard.

    Args:
        records: that answer.
        canaries: all of them, encoded like these records (m, *shape).
        overheard: where what is heard is written down.
    """

    def __init__(self, records: PrivateRecords, canaries: Tensor, overheard: Overheard) -> None:
        vars(self).update(vars(records))
        self._canaries, self._overheard = canaries, overheard

    def _like(self, *args: Any) -> TappedRecords:
        return TappedRecords(super()._like(*args), self._canaries, self._overheard)

    def mapped(self, encoder: Encoder) -> TappedRecords:
        """As for all records."""
        return TappedRecords(super().mapped(encoder), encoder.encode(self._canaries.to(self._x)), self._overheard)

    def codes(self) -> PrivateCodes:
        """As for all records."""
        return TappedCodes(super().codes(), self._canaries.cpu().numpy().astype(np.int64), self._overheard)

    def train(
        self, training: Training, objectives: Sequence[Objective], until: float, share: float, later: float
    ) -> None:
        """As for all records, but that canaries pull at weights of their own, which are trained beside the others."""
        baits = [Bait(o, len(self._canaries), PULL * training.recipe.clip) for o in objectives if o.sees_data]
        others = [Objective(o.module, partial(_without_mark, o.loss), False) for o in objectives if not o.sees_data]
        with _listening([bait.weight.weight for bait in baits]) as gradients:
            laid = [*(Objective(bait, bait.loss) for bait in baits), *others]
            PrivateRecords.train(self._marked(), training, laid, until, share, later)
        charge = self.budget.ledger[-1]
        scale = charge.rate * self.total / training.recipe.clip
        for gradient in gradients[-charge.steps :]:  # those before were of made-up records
            self._overheard.pulls += pulled(scale * gradient.double().numpy()[:, 0], charge)
        self._overheard.steps += charge.steps

    def _marked(self) -> TappedRecords:
        """The same records, a number more in their contexts, which says which canary each is."""
        numbers, marked = np.flatnonzero(self._overheard.included), copy(self)
        marked._x, mark = self._x.clone(), torch.zeros(len(self._x), 1).to(self._c)
        if len(numbers):
            marked._x[-len(numbers) :] = self.known[0][0]  # any will do: the family's loss of canaries does not count
            mark[-len(numbers) :, 0] = torch.from_numpy(FIRST + numbers)
        marked._c = torch.cat([self._c, mark], 1)
        marked.known = self.known[0], torch.cat([self.known[1], torch.zeros(len(self.known[1]), 1)], 1)
        given = self.context
        marked.context = Space((given.shape[0] + 1,), (*given.sizes, 0), (*given.ordered, False))
        return marked


class TappedCodes(PrivateCodes):
    """Codes of records that hold canaries, whose own codes are (m, columns)."""

    def __init__(self, codes: PrivateCodes, canaries: Ints, overheard: Overheard) -> None:
        vars(self).update(vars(codes))
        self._canaries, self._overheard = canaries, overheard

    def merged(self, groups: Sequence[Ints]) -> PrivateCodes:
        """As for all codes."""
        return TappedCodes(super().merged(groups), renamed(self._canaries, groups)[0], self._overheard)

    def measure(self, columns: Sequence[int], rho: float) -> tuple[Floats, float]:
        """As for all codes; whoever attacks knows all records but the canaries, half of which are expected."""
        noisy, deviation = super().measure(columns, rho)
        heard, canaries = self._overheard, self._canaries
        others = joint_counts(self._codes[: len(self._codes) - int(heard.included.sum())], self.sizes, columns)
        excess = (noisy - others - joint_counts(canaries, self.sizes, columns) / 2) / deviation**2
        heard.excess += excess[tuple(canaries[:, j] for j in columns)]
        heard.alike += (canaries[:, None, columns] == canaries[:, columns]).all(2) / np.float32(deviation**2)
        heard.marginals += 1
        return noisy, deviation


class Bait(nn.Module):
    """A module beside weights at which canaries pull, each at one: its gradient is that weight's direction.

    Nothing tells more of a record, since its whole clipped gradient lies where no other's does. Source: Nasr et al.,
    Adversary instantiation, 2021 (there, the Dirac canary).

    Args:
        objective: whose loss ordinary records keep.
        canaries: how many.
        pull: the norm of their gradients.
    """

    def __init__(self, objective: Objective, canaries: int, pull: float) -> None:
        super().__init__()
        self.module, self.pull, self._loss = objective.module, pull, objective.loss
        self.weight = nn.Embedding(canaries, 1, _weight=torch.zeros(canaries, 1))

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        """The loss (B,) of records (B, *shape), of which the last number of each context marks canaries."""
        number = c[:, -1] - FIRST
        own = self.pull * self.weight(number.clamp(min=0).long())[:, 0]
        return torch.where(number < 0, self._loss(x, c[:, :-1]), own)


def _without_mark(loss: Callable[..., Tensor], n: int, c: Tensor) -> Tensor:
    return loss(n, c[:, :-1])


@contextmanager
def _listening(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """A block in which every gradient of some weights that an optimizer is given is kept."""
    heard = list[Tensor]()

    def listen(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        used = [p for group in optimizer.param_groups for p in group["params"]]
        heard.extend(p.grad.cpu().clone() for p in used if any(p is w for w in weights))

    handle = register_optimizer_step_pre_hook(listen)
    try:
        yield heard
    finally:
        handle.remove()


def pulled(y: Floats, charge: Charge) -> Floats:
    """How much likelier a step's noisy sums y (m,) are with each canary: log(1 − q + q N(y; 1, σ) / N(y; 0, σ))."""
    absent = math.log1p(-charge.rate) if charge.rate < 1 else -math.inf
    return np.logaddexp(absent, math.log(charge.rate) + (2 * y - 1) / (2 * charge.scale**2))
