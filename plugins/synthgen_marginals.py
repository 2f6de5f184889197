"""Marginals: p(x) = exp(Σ_c θ_c(x_c)) / Z, of largest entropy among tables with the noisy marginals that were measured.

Pairs of columns are chosen one after the other by what the model still gets wrong (McKenna, Mullins, Sheldon and
Miklau, AIM, 2022). Under a privacy budget every count is noisy and paid for; without one, counts are exact.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from synthgen import Generator, Records, Space, Training
from synthgen.dp.codes import joint_counts, renamed
from synthgen.dp.records import PrivateRecords
from synthgen.dp.selection import Marginals as Learned
from synthgen.dp.selection import learn_marginals
from synthgen.nn.graphical import Graphical, cells, tree_cells

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

END = -1  # of a clique
IMPOSSIBLE = -50.0  # log-probability
MOST_CELLS = 20_000_000  # of a junction tree; fits end with a hundredth of that


class Exact:
    """Records of codes that anyone may count: no noise, no price."""

    def __init__(self, codes: Ints, sizes: Sequence[int]) -> None:
        self.codes, self.sizes, self.total = codes, tuple(sizes), len(codes)

    def measure(self, columns: Sequence[int], rho: float) -> tuple[Floats, float]:
        """Counts of joint codes; the deviation of what noise would have cost rho weighs them."""
        return joint_counts(self.codes, self.sizes, columns).astype(float), (2 * rho) ** -0.5

    def choose(
        self,
        candidates: Sequence[tuple[Sequence[int], Floats]],
        weights: Sequence[float],
        rho: float,
        penalties: Sequence[float],
    ) -> int:
        """The candidate that is farthest from the truth."""
        apart = [np.abs(self.measure(c, rho)[0] - guess).sum() for c, guess in candidates]
        return int(np.argmax(np.array(weights) * (np.array(apart) - np.array(penalties))))

    def merged(self, groups: Sequence[Ints]) -> "Exact":
        """The same records with other codes."""
        return Exact(*renamed(self.codes, groups))


class Marginals(Generator):
    """Graphical model of marginals, noisy ones under a privacy budget: the strong private generator for tables."""

    class Config(Generator.Config):
        precision: float = Field(
            5.0, gt=0, le=1000, description="rho that is spent where there is no budget: more means finer codes"
        )

    accepts: ClassVar[tuple[str, ...]] = ("table",)
    codes: ClassVar[int] = 64

    config: Config
    cliques: Tensor
    potentials: Tensor
    groups: Tensor
    shares: Tensor

    def __init__(self, space: Space, context: Space, config: Config) -> None:
        super().__init__(space, context, config)
        self.sizes = (*context.sizes, *space.sizes)  # what is given is part of the model, and comes first
        self.register_buffer("cliques", torch.empty(0, dtype=torch.int64))
        self.register_buffer("potentials", torch.empty(0))
        self.register_buffer("groups", torch.zeros(sum(self.sizes), dtype=torch.int64))
        self.register_buffer("shares", torch.zeros(sum(self.sizes), dtype=torch.float64))

    def fit(self, records: Records | PrivateRecords, training: Training) -> None:
        training.once(self, lambda: self._learn(records, training))

    def _learn(self, records: Records | PrivateRecords, training: Training) -> None:
        """Measure marginals, and keep a model of them."""
        training.checkpoint(dict)  # it takes seconds: there is nothing to go on from
        training.progress(0.1)
        ordered = (*self.context.ordered, *self.space.ordered)
        if isinstance(records, PrivateRecords):
            self._keep(learn_marginals(records.codes(), records.budget.left, ordered))
        else:
            x, c = records.tensor()
            codes = torch.cat([self.context.collapse(c), x], dim=1).long().cpu().numpy()
            self._keep(learn_marginals(Exact(codes, self.sizes), self.config.precision, ordered))
        training.progress(1.0)

    def _keep(self, learned: Learned) -> None:
        cliques = [torch.tensor([*c, END]) for c in learned.model.potentials]
        self.cliques = torch.cat(cliques)
        self.potentials = torch.cat([t.flatten().float() for t in learned.model.potentials.values()])
        self.groups = torch.from_numpy(np.concatenate(learned.groups))
        self.shares = torch.from_numpy(np.concatenate(learned.shares))

    def _learned(self) -> Learned:
        """The model that the buffers hold."""
        groups = [g.numpy() for g in torch.split(self.groups.cpu(), list(self.sizes))]
        shares = [s.numpy() for s in torch.split(self.shares.cpu(), list(self.sizes))]
        coarse, potentials, start = [int(g.max()) + 1 for g in groups], dict[tuple[int, ...], Tensor](), 0
        for clique in _cliques(self.cliques.tolist()):
            shape = [coarse[j] for j in clique]
            end = start + int(np.prod(shape))
            potentials[clique] = self.potentials[start:end].cpu().reshape(shape)
            start = end
        return Learned(Graphical(coarse, potentials), groups, shares)

    def sample(self, n: int, c: Tensor) -> Tensor:
        random, learned = torch.Generator().manual_seed(int(torch.randint(2**62, ()))), self._learned()
        given = self.context.collapse(c.cpu()).long()
        if not given.shape[1]:
            return learned.sample(n, random).float().to(c.device)
        drawn = torch.zeros(n, len(self.space.sizes))
        for codes in given.unique(dim=0):  # type: ignore[no-untyped-call]
            rows = (given == codes).all(dim=1)
            known = learned._replace(model=_given(learned.model, learned.groups, codes.tolist()))
            drawn[rows] = known.sample(int(rows.sum()), random)[:, len(codes) :].float()
        return drawn.to(c.device)

    def validate(self) -> None:
        groups = torch.split(self.groups, list(self.sizes))
        if any(g.unique().tolist() != list(range(int(g.max()) + 1)) for g in groups) or (self.shares < 0).any():  # type: ignore[no-untyped-call]
            raise ValueError("the groups of codes are none")
        coarse, cliques = [int(g.max()) + 1 for g in groups], _cliques(self.cliques.tolist())
        if any([*c] != sorted({*c} & {*range(len(coarse))}) or not c for c in cliques):
            raise ValueError("the cliques name columns that are none")
        if {(j,) for j in range(len(coarse))} - {*cliques}:
            raise ValueError("a column has no potentials of its own")
        if sum(cells(c, coarse) for c in cliques) != len(self.potentials):
            raise ValueError("the potentials have another shape than their cliques")
        if tree_cells(coarse, cliques) > MOST_CELLS:  # a small file may ask for more memory than there is
            raise ValueError("the cliques hang together too closely")
        self._learned()


def _given(model: Graphical, groups: Sequence[Ints], codes: Sequence[int]) -> Graphical:
    """The model given the codes of its first columns: what contradicts them has next to no probability."""
    potentials = dict(model.potentials)
    for j, code in enumerate(codes):
        evidence = torch.full((model.sizes[j],), IMPOSSIBLE)
        evidence[groups[j][code]] = 0
        potentials[j,] = potentials[j,] + evidence
    return Graphical(model.sizes, potentials)


def _cliques(flat: list[int]) -> list[tuple[int, ...]]:
    found, clique = [], list[int]()
    for j in flat:
        if j == END:
            found.append(tuple(clique))
            clique = []
        else:
            clique.append(j)
    return found
