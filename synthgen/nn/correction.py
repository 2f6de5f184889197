"""Correction: what a family gets wrong is put right as a whole, by importance resampling under a density ratio.

For each record some candidates are drawn, and one is picked with odds that an estimated ratio of real to drawn
records gives (Rubin, The SIR algorithm, 1987). None is rejected: each record costs the same number of candidates.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgen.nn.ratio import DensityRatio
from synthgen.space import Space
from synthgen.training import State, Training

CELLS = 128  # of a real number, by its normal score
COPIES = 2  # drawn records for each real one, that the ratio is learned from
MOST = 200_000  # real records that it is learned from
PIECE = 4096  # records drawn between two looks at the clock
LEAST = 1000  # drawn records, without which nothing is learned

Draw = Callable[[Tensor], Tensor]


class Correction(nn.Module):
    """Picks records of a table, of codes or normal scores, among candidates.

    Args:
        space: of the records.
        context: of what is given with each.
    """

    def __init__(self, space: Space, context: Space) -> None:
        super().__init__()
        self.context, self.real = context, [k == 0 for k in space.sizes]
        sizes = [*context.sizes, *(k or CELLS for k in space.sizes)]
        self.ratio = DensityRatio(sizes, context.ordered + space.ordered)

    def fit(
        self,
        draw: Draw,
        x: Tensor,
        c: Tensor,
        rounds: int,
        training: Training,
        state: Callable[[], State] = dict,
        start: float = 0.9,
    ) -> None:
        """Learn how records (N, columns) with contexts (N, width) differ from those that `draw` makes of contexts.

        Args:
            draw: contexts (n, width) to records (n, columns).
            x: the real records.
            c: their contexts.
            rounds: trees of the ratio; 0 leaves everything as it is.
            training: gives the deadline, which may come before all is drawn or all trees are grown.
            state: what a checkpoint keeps of the family's own work.
            start: share of the whole fit that is done before.
        """

        def go_on(done: float) -> bool:
            training.progress(start + (1 - start) * done)
            training.checkpoint(state)
            return not training.should_stop()

        rows = torch.randperm(len(x))[:MOST]
        x, c = x[rows], c[rows]
        many = c.repeat(COPIES, 1)
        parts: list[Tensor] = []
        for k, part in enumerate(torch.split(many, PIECE) if rounds else ()):
            if not go_on(0.5 * k * PIECE / len(many)):
                break
            parts.append(draw(part))
        if sum(map(len, parts)) < min(LEAST, len(many)):
            return
        drawn = torch.cat(parts)
        codes = self._codes(drawn, many[: len(drawn)])
        seed = int(torch.randint(2**31, ()))
        self.ratio.fit(self._codes(x, c), codes, rounds, seed, lambda done: go_on(0.5 + 0.5 * done))

    def sample(self, draw: Draw, c: Tensor, candidates: int) -> Tensor:
        """A record (n, columns) for each context (n, width), picked among so many for each that `draw` makes.

        Contexts that are equal pick from all their candidates together: among few, the likeliest would be too rare.
        """
        if candidates == 1 or not len(self.ratio.values):
            return draw(c)
        every = c.repeat(candidates, 1)
        x = draw(every)
        odds = torch.from_numpy(self.ratio(self._codes(x, every)))
        group = _groups(c.cpu())
        picked = _pick(odds.double(), group.repeat(candidates), group.bincount())
        rows = torch.empty_like(picked)
        rows[group.argsort()] = picked
        return x[rows.to(x.device)]

    def _codes(self, x: Tensor, c: Tensor) -> NDArray[np.int16]:
        """Codes of contexts and records; a number's is the cell of (0, 1) that its normal score falls into."""
        columns = [
            (torch.special.ndtr(x[:, j]) * CELLS).clamp(0, CELLS - 1) if r else x[:, j] for j, r in enumerate(self.real)
        ]
        return torch.cat([self.context.collapse(c), torch.stack(columns, 1)], 1).cpu().numpy().astype(np.int16)

    def validate(self) -> None:
        """Raise ValueError where stored parts contradict each other."""
        self.ratio.validate()


def _groups(c: Tensor) -> Tensor:
    """The number of the group of each context (n, width), where equal ones are together."""
    return torch.unique(c, dim=0, return_inverse=True)[1] if c.shape[1] else torch.zeros(len(c), dtype=torch.long)


def _pick(odds: Tensor, group: Tensor, size: Tensor) -> Tensor:
    """Candidates (n,), none twice and group by group, of which so many are picked as `size` (groups,) says.

    Each is in with a probability in proportion to exp(odds), or for certain where that would be above 1
    (Madow, On the theory of systematic sampling, 1949).
    """
    mixed = torch.randperm(len(odds))
    order = mixed[group[mixed].argsort(stable=True)]
    group, odds = group[order], odds[order]
    top = torch.full(size.shape, -torch.inf, dtype=odds.dtype).scatter_reduce(0, group, odds, "amax")
    weight = torch.exp(odds - top[group]).clamp(min=1e-12)
    certain = torch.zeros(len(odds), dtype=torch.bool)
    while True:
        left = size - torch.zeros_like(top).index_add(0, group, certain.double())
        total = torch.zeros_like(top).index_add(0, group, weight.masked_fill(certain, 0.0))
        chance = torch.where(certain, 1.0, weight * (left / total)[group])
        if not bool((chance > 1).any()):
            break
        certain = chance >= 1
    # chances of a group sum to its size: a comb of distance 1 takes so many of it
    comb = (chance.cumsum(0) + torch.rand(()) * 0.99 + 0.005).floor()
    return order[comb.diff(prepend=torch.zeros(1, dtype=comb.dtype)) > 0]


class Uncorrected(nn.Module):
    """No correction, for images: trees on pixels tell little."""

    def fit(self, draw: Draw, x: Tensor, c: Tensor, rounds: int, training: Training) -> None:
        """Nothing is learned."""

    def sample(self, draw: Draw, c: Tensor, candidates: int) -> Tensor:
        """What `draw` makes of the contexts."""
        return draw(c)

    def validate(self) -> None:
        """Nothing can contradict itself."""


def correction(space: Space, context: Space) -> Correction | Uncorrected:
    """What picks the records of a space."""
    return Uncorrected() if len(space.shape) == 3 else Correction(space, context)
