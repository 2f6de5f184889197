"""Correction: what a family gets wrong is put right as a whole, by importance resampling under a density ratio.

For each record some candidates are drawn, and of all together as many are kept as there are records, with odds that an
estimated ratio of real to drawn records gives (Rubin, The SIR algorithm, 1987): each costs the same number of them.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgen.nn.ratio import MOST_ODDS, DensityRatio
from synthgen.nn.resident import Resident
from synthgen.space import Space
from synthgen.training import State, Training

CELLS = 128  # of a real number, by its normal score
COPIES = 2  # drawn records for each real one, that the ratio is learned from
MOST = 200_000  # real records that it is learned from
PIECE = 4096  # records drawn between two looks at the clock
LEAST = 1000  # drawn records, without which nothing is learned
SOME = 8192  # contexts whose candidates the frequencies of columns are compared on
RAKES = 5  # passes over the columns
PLACES = 40  # of a column, whose frequencies are compared: those of finer ones are known badly
PRIOR = 10  # records in each place that are thought to be right

Codes = NDArray[np.int16]
Draw = Callable[[Tensor], Tensor]


class Correction(Resident):
    """Picks records of a table, of codes or normal scores, among candidates.

    Args:
        space: of the records.
        context: of what is given with each.
        rounds: trees of the density ratio; 0 leaves everything as it is.
        candidates: drawn for each record that is kept; 1 as well.
    """

    shift: Tensor

    def __init__(self, space: Space, context: Space, rounds: int, candidates: int) -> None:
        super().__init__()
        self.context, self.rounds, self.candidates = context, rounds if candidates > 1 else 0, candidates
        self.real = [k == 0 for k in space.sizes]
        self.sizes = [*context.sizes, *(k or CELLS for k in space.sizes)]
        self.starts = np.cumsum([0, *self.sizes[:-1]])
        self.ratio = DensityRatio(self.sizes, context.ordered + space.ordered)
        self.register_buffer("shift", torch.zeros(sum(self.sizes)))  # of the odds, by the codes of a record

    def fit(
        self,
        draw: Draw,
        x: Tensor,
        c: Tensor,
        training: Training,
        state: Callable[[], State] = dict,
        start: float = 0.9,
    ) -> None:
        """Learn how records (N, columns) with contexts (N, width) differ from those that `draw` makes of contexts.

        Args:
            draw: contexts (n, width) to records (n, columns).
            x: the real records.
            c: their contexts.
            training: gives the deadline, which may come before all is drawn or all trees are grown.
            state: what a checkpoint keeps of the family's own work.
            start: share of the whole fit that is done before.
        """
        if not self.rounds:
            return

        def go_on(done: float) -> bool:
            training.progress(start + (1 - start) * done)
            training.checkpoint(state)
            return not training.should_stop()

        rows = torch.randperm(len(x))[:MOST]
        x, c = x[rows], c[rows]
        real, many, some = self._codes(x, c), c.repeat(COPIES, 1), c[:SOME]
        drawn = self._drawn(draw, many, lambda done: go_on(0.3 * done))
        if len(drawn) < min(LEAST, len(many)):
            return
        seed = int(torch.randint(2**31, ()))
        self.ratio.fit(real, drawn, self.rounds, seed, lambda done: go_on(0.3 + 0.4 * done))
        pool = self._drawn(draw, some.repeat(self.candidates, 1), lambda done: go_on(0.7 + 0.3 * done))
        if len(pool) == len(some) * self.candidates:
            self._rake(real, pool, _groups(some.cpu()))

    def _drawn(self, draw: Draw, c: Tensor, go_on: Callable[[float], bool]) -> Codes:
        """Codes of records that are drawn for contexts (n, width), or for the first of them before time was up."""
        parts = []
        for k, part in enumerate(torch.split(c, PIECE)):
            if not go_on(k * PIECE / len(c)):
                break
            parts.append(self._codes(draw(part), part))
        return np.concatenate(parts) if parts else np.zeros((0, len(self.sizes)), dtype=np.int16)

    def _rake(self, real: Codes, pool: Codes, group: Tensor) -> None:
        """Shift odds until the columns of what is picked from a pool have the frequencies of the real ones.

        Where weights are very unequal, what fits as a whole may be wrong column by column (Deming and Stephan, On a
        least squares adjustment of a sampled frequency table, 1940).
        """
        odds, every, size = self._odds(pool), group.repeat(self.candidates), group.bincount()
        columns = range(len(self.context.sizes), len(self.sizes))
        places = {j: torch.from_numpy(self.ratio.cut(real[:, j], j, PLACES).astype(np.int64)) for j in columns}
        for _ in range(RAKES):
            for j, place in places.items():
                own, bins = self.shift[self.starts[j] : self.starts[j] + self.sizes[j]], place[pool[:, j]]
                picked = torch.bincount(bins, _inclusion(odds, every, size), PLACES)
                wanted = torch.bincount(place[real[:, j]], minlength=PLACES) * (len(group) / len(real))
                step = ((wanted + PRIOR) / (picked + PRIOR)).log()
                odds += step[bins]
                own += step[place].float()

    def sample(self, draw: Draw, c: Tensor) -> Tensor:
        """A record (n, columns) for each context (n, width), picked among the candidates that `draw` makes.

        Contexts that are equal pick from all their candidates together: among few, the likeliest would be too rare.
        """
        if not len(self.ratio.values):
            return draw(c)
        every = c.repeat(self.candidates, 1)
        x = draw(every)
        group = _groups(c.cpu())
        picked = _pick(self._odds(self._codes(x, every)), group.repeat(self.candidates), group.bincount())
        rows = torch.empty_like(picked)
        rows[group.argsort()] = picked
        return x[rows.to(x.device)]

    def _odds(self, codes: Codes) -> Tensor:
        """Log of how likely records of codes (n, columns) are to be kept, (n,)."""
        odds, shift = self.ratio(codes), self.shift.numpy()
        for j, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            odds += shift[start : start + size][codes[:, j]]
        return torch.from_numpy(odds).double()

    def _codes(self, x: Tensor, c: Tensor) -> Codes:
        """Codes of contexts and records; a number's is the cell of (0, 1) that its normal score falls into."""
        codes = np.empty((len(self.sizes), len(x)), dtype=np.int16)  # column after column, as all who ask for codes do
        first = len(self.context.sizes)
        codes[:first] = self.context.collapse(c.cpu()).numpy().T
        for row, column, real in zip(codes[first:], x.cpu().T, self.real, strict=True):
            row[:] = (torch.special.ndtr(column) * CELLS).clamp(0, CELLS - 1).numpy() if real else column.numpy()
        return codes.T

    def validate(self) -> None:
        """Raise ValueError where stored parts contradict each other, or their sums might overflow."""
        self.ratio.validate()
        if bool((self.shift.abs() > MOST_ODDS).any()):
            raise ValueError("the odds of a code are beyond all bounds")


def _groups(c: Tensor) -> Tensor:
    """The number of the group of each context (n, width), where equal ones are together."""
    return torch.unique(c, dim=0, return_inverse=True)[1] if c.shape[1] else torch.zeros(len(c), dtype=torch.long)


def _inclusion(odds: Tensor, group: Tensor, size: Tensor) -> Tensor:
    """Inclusion probabilities (n,), in proportion to exp(odds) or 1; a group's add up to its `size` (groups,)."""
    top = torch.full(size.shape, -torch.inf, dtype=odds.dtype).scatter_reduce(0, group, odds, "amax")
    weight = torch.exp(odds - top[group]).clamp(min=1e-12)
    certain = torch.zeros(len(odds), dtype=torch.bool)
    while True:
        left = size - torch.zeros_like(top).index_add(0, group, certain.double())
        total = torch.zeros_like(top).index_add(0, group, weight.masked_fill(certain, 0.0))
        chance = torch.where(certain, 1.0, weight * (left / total)[group])
        if not bool((chance > 1).any()):
            return chance
        certain = chance >= 1


def _pick(odds: Tensor, group: Tensor, size: Tensor) -> Tensor:
    """Candidates (n,), none twice and group by group, of which so many are picked as `size` (groups,) says.

    A comb of distance 1, laid on their probabilities end to end, picks them (Madow, On the theory of systematic
    sampling, 1949).
    """
    mixed = torch.randperm(len(odds))
    order = mixed[group[mixed].argsort(stable=True)]
    comb = (_inclusion(odds, group, size)[order].cumsum(0) + torch.rand(()) * 0.99 + 0.005).floor()
    return order[comb.diff(prepend=torch.zeros(1, dtype=comb.dtype)) > 0]


class Uncorrected(nn.Module):
    """No correction, for images: trees on pixels tell little."""

    def fit(self, draw: Draw, x: Tensor, c: Tensor, training: Training) -> None:
        """Nothing is learned."""

    def sample(self, draw: Draw, c: Tensor) -> Tensor:
        """What `draw` makes of the contexts."""
        return draw(c)

    def validate(self) -> None:
        """Nothing can contradict itself."""


def correction(space: Space, context: Space, rounds: int, candidates: int) -> Correction | Uncorrected:
    """What picks the records of a space."""
    return Uncorrected() if len(space.shape) == 3 else Correction(space, context, rounds, candidates)
