"""PrivateRecords: encoded records behind a budget. They answer questions whose price is paid before."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgen.distributed import current
from synthgen.dp.budget import Budget
from synthgen.dp.clipping import ClippedSum, owners, undone
from synthgen.dp.codes import PrivateCodes
from synthgen.dp.ledger import SUM, Charge
from synthgen.dp.selfcheck import self_check
from synthgen.dp.sgd import GRID, Plan, _fresh_draws, noised, private_steps
from synthgen.errors import BudgetError
from synthgen.nn.batches import in_batches
from synthgen.nn.precision import records_apart
from synthgen.records import Encoder, Records
from synthgen.space import Space
from synthgen.training import Objective, Training

Ints = NDArray[np.int64]

AT_ONCE = 4096
TIMED = 3  # steps
WARM, MOST_WARM = 0.3, 300  # share of the steps, and steps, that are made on made-up records first


class PrivateRecords:
    """Encoded records and their contexts behind a budget: no length, no tensor.

    A family whose `fit` is `training.train(self.objectives(), records)` needs no more than that. One that wants more
    asks for what is made up, or pays.

    Args:
        x: records (N, *shape).
        c: embedded contexts (N, context.width).
        space: of the records.
        context: of the contexts, before they are embedded.
        known: records and contexts that are made up of what was paid for, with about the right frequencies.
        total: about how many records there are, which was paid for.
        budget: that every answer is charged to.
        persons: of each record, (N,), where neighbours differ by a person's records; none where by one record.
        most: records of a person.
    """

    def __init__(
        self,
        x: Tensor,
        c: Tensor,
        space: Space,
        context: Space,
        known: tuple[Tensor, Tensor],
        total: int,
        budget: Budget,
        persons: Ints | None = None,
        most: int = 1,
    ) -> None:
        self._x, self._c, self._persons, self._most = x, c, persons, most
        self.space, self.context, self.known, self.total, self.budget = space, context, known, total, budget
        self.trained = dict[str, str | float]()  # what else is public of a training

    def __len__(self) -> int:
        raise _refusal("how many records there are")

    def tensor(self) -> tuple[Tensor, Tensor]:
        """Refused: it would be a look at all records that nothing pays for."""
        raise _refusal("the records themselves")

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Refused, as above."""
        raise _refusal("the records themselves")

    def to(self, device: torch.device) -> PrivateRecords:
        """The same records on another device."""
        return self._like(self._x.to(device), self._c.to(device), self.space, self.known)

    def mapped(self, encoder: Encoder) -> PrivateRecords:
        """The same records, each encoded on its own."""
        made = (encoder.encode(self.known[0]), self.known[1])
        with self._alone(encoder.encode):
            x = encoder.encode(self._x) if len(self._x) else made[0][:0]  # one of several processes, before its share
            return self._like(x, self._c, encoder.space, made)

    @contextlib.contextmanager
    def _alone(self, function: Callable[..., Tensor]) -> Iterator[None]:
        """A block in which a function may see each record by itself, and after which it left no trace."""
        with _fresh_draws(self._x.device), records_apart(), undone(owners(nn.Module(), function)):
            yield

    def _like(self, x: Tensor, c: Tensor, space: Space, known: tuple[Tensor, Tensor]) -> PrivateRecords:
        same = PrivateRecords(x, c, space, self.context, known, self.total, self.budget, self._persons, self._most)
        same.trained = self.trained
        return same

    def codes(self) -> PrivateCodes:
        """Contexts and records of codes, that answer for marginals."""
        _check_alone()
        codes = torch.cat([self.context.collapse(self._c), self._x], dim=1).numpy().astype(np.int64)
        return PrivateCodes(codes, self.context.sizes + self.space.sizes, self.total, self.budget, self._most)

    def train(
        self, training: Training, objectives: Sequence[Objective], until: float, share: float, later: float
    ) -> None:
        """What `Training.train` does with records behind a budget: the whole training is charged, then made.

        Raises:
            BudgetError: too little is left.
            SynthgenError: the network cannot be fitted under a budget.
            Interrupted: the user asked to stop.
        """
        seeing, others = ([o for o in objectives if o.sees_data is sees] for sees in (True, False))
        if len(seeing) != 1:
            raise ValueError("exactly one objective of a family sees the data of a private fit")
        for objective in objectives:
            objective.module.to(training.device).train()
        module, loss, recipe = seeing[0].module, seeing[0].loss, training.recipe
        clipped = ClippedSum(module, loss, recipe.clip, self_check(module, loss, self.space, self.context))
        rate, steps = recipe.plan(self.total, share)
        # what is known is learned first: it is free, and noise hides the rest
        warm = min(WARM, MOST_WARM / recipe.total(len(self.known[0])))
        training.train(objectives, Records(*self.known), until=WARM, share=warm)
        if math.isfinite(training.seconds_left):
            steps = min(steps, self._affordable(clipped, rate, training, until))
        group, what = current(), f"training of {type(module).__name__}"
        steps = int(group.agree(steps))
        sigma = group.json(lambda: self.budget.training(what, rate, steps, later))
        plan = Plan(rate, sigma, steps, rate * self.total, recipe)
        self.trained |= {"sampler": "Poisson", "clip": recipe.clip, "gradients": clipped.route, "divisor": plan.divisor}
        own = self._own_share().to(training.device)
        for step in private_steps(clipped, own._x, own._c, plan, others, self._contexts, own._persons):
            training.progress(step / steps)
            training.checkpoint(dict)
        for objective in objectives:
            objective.module.eval()

    def _affordable(self, clipped: ClippedSum, rate: float, training: Training, until: float) -> int:
        """How many steps there is time for, as those on made-up records take: those on real ones may not tell."""
        x, c = (t.repeat(-(-round(rate * self.total) // len(t)), *[1] * (t.dim() - 1)) for t in self.known)
        x, c = (current().part(t[: round(rate * self.total)]).to(training.device) for t in (x, c))
        start = time.monotonic()
        for _ in range(TIMED):
            current().sum(clipped(x, c))
        seconds = (time.monotonic() - start) / TIMED
        return max(1, int(training.seconds_left * until / seconds))

    def _own_share(self) -> PrivateRecords:
        """The records of this process, where several train together: each record, or person, is with one of them."""
        group = current()
        if group.world == 1:
            return self

        def share(rank: int) -> dict[str, Tensor]:
            of = np.arange(len(self._x)) if self._persons is None else self._persons
            rows = np.flatnonzero(of % group.world == rank)
            told = {"x": self._x[rows], "c": self._c[rows]}
            if self._persons is not None:
                told["persons"] = torch.from_numpy(np.unique(of[rows], return_inverse=True)[1].astype(np.int64))
            return told

        dealt = group.deal(share)
        same = self._like(dealt["x"], dealt["c"], self.space, self.known)
        same._persons = dealt["persons"].numpy() if "persons" in dealt else None
        return same

    def _contexts(self, n: int) -> Tensor:
        """Contexts (n, width) by their known frequencies."""
        c = self.known[1]
        return c[torch.randint(len(c), (n,))] if len(c) else c.new_zeros(n, self.context.width)

    def normal(self, vectors: Callable[[Tensor, Tensor], Tensor], bound: float, share: float) -> tuple[Tensor, Tensor]:
        """Normal vectors with about the mean and covariance of those that records are turned into, class by class.

        Noise is added to the sums of vectors and of their outer products, clipped to a norm (the Gaussian mechanism
        on sufficient statistics). A class is a combination of codes of the context.

        Args:
            vectors: records (B, *shape) and contexts (B, width) to vectors (B, d).
            bound: the largest norm of a vector; longer ones are shortened.
            share: of the whole rho, that a training left for this.

        Returns:
            vectors (n, d) and contexts (n, width).
        """
        _check_alone()
        rho = share * self.budget.rho
        sigma = math.sqrt(1 / (2 * rho))
        self.budget.charge(Charge("means and covariances of latent vectors", SUM, sigma, rho))
        given = self.known[1]
        classes = given.unique(dim=0) if given.shape[1] else given[:1]  # type: ignore[no-untyped-call]
        drawn, of = [], []
        for c in classes:
            mine = (self._c == c).all(1)
            with self._alone(vectors):
                z = in_batches(vectors, AT_ONCE, self._x[mine], self._c[mine]).double()
            z = z.where(z.isfinite().all(1, keepdim=True), 0.0)
            z = z * (bound / z.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
            some = int((self.known[1] == c).all(1).sum())
            weight = bound**-1 / self._most / math.sqrt(2)
            sums = torch.cat([z.sum(0)[None] * bound, z.T @ z]) * (weight / bound)
            noisy = torch.from_numpy(noised(sums.numpy(), sigma, GRID)) / (weight / bound)
            count = max(1.0, some / len(self.known[1]) * self.total)
            mean, second = noisy[0] / bound / count, (noisy[1:] + noisy[1:].T) / 2 / count
            drawn.append(_normal(mean, second - mean[:, None] * mean, max(1, some)))
            of.append(c.expand(len(drawn[-1]), -1))
        return torch.cat(drawn).float(), torch.cat(of)


def _normal(mean: Tensor, covariance: Tensor, n: int) -> Tensor:
    """Normal vectors (n, d); of the covariance only what is positive counts."""
    values, directions = torch.linalg.eigh(covariance)
    scale = values.clamp(min=1e-6).sqrt()
    return mean + (torch.randn(n, len(mean), dtype=mean.dtype) * scale) @ directions.T


def _check_alone() -> None:
    """Refuse a question that several processes would ask at once: it was paid for once."""
    if current().world > 1:
        raise BudgetError(
            "the generator asks for more than its training, and not within training.once: several processes cannot "
            "fit it under a budget; one can"
        )


def _refusal(what: str) -> BudgetError:
    return BudgetError(
        f"the generator looks at {what} besides its training, which no budget pays for; it cannot be fitted under one"
    )
