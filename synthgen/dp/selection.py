"""Selection: of all pairs of columns, those whose joint counts are worth their noise, chosen one after the other.

In the manner of AIM (McKenna, Mullins, Sheldon and Miklau, 2022): columns are measured alone first; then, again and
again, the exponential mechanism points to a pair that the model so far gets most wrong, the pair is measured with
Gaussian noise, and the model is fitted anew. Different from there: the price of a marginal grows with its cells to the
power 2/3, which makes the sum of errors least (Zhang et al., PrivSyn, 2021); pairs see coarse codes, and records get
their fine codes back from the columns' own histograms.

Nothing here sees a record: all looks are through `Records`, and all else is made of noisy counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen.nn.graphical import Columns, Graphical, Measured, cells, spaced, tree_cells

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALONE = 0.15  # of rho, for the columns one by one
CHOICE = 0.2  # of the price of a typical pair, for pointing to it
ROUNDS = 2.0  # pairs per column that rho is divided among, were all of TYPICAL cells
TYPICAL = 120
POWER = 2 / 3
GROUPS = 10.0  # codes of a numeric column as pairs see it
CLEAR = 1150.0  # records per deviation of noise for which ROUNDS and GROUPS were found; they grow as its cube root
RARE = 3.0  # deviations of noise below which a label goes with the other rare ones
FIRM = 6.0  # deviations that a group of numbers should hold
LIMIT = 200_000  # cells of a junction tree
STEPS, LAST = 60, 400  # of the fit, after each pair and at the end
SPLIT = 16  # columns for each pair that is chosen between two fits: pairs grow as their square, time should not


class Records(Protocol):
    """What may be asked about records of codes; who answers adds the noise and charges rho (zCDP) for it.

    Neighbours differ by one record, added or removed: it changes one cell of each marginal by one.
    """

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many codes each column has; public."""

    @property
    def total(self) -> int:
        """About how many records there are; paid before."""

    def measure(self, columns: Sequence[int], rho: float) -> tuple[Floats, float]:
        """Counts of joint codes in their shape with Gaussian noise, and its deviation sqrt(1 / 2 rho)."""

    def choose(
        self,
        candidates: Sequence[tuple[Sequence[int], Floats]],
        weights: Sequence[float],
        rho: float,
        penalties: Sequence[float],
    ) -> int:
        """A candidate of columns and guessed counts with about the largest weight · (|counts - guess|₁ - penalty).

        By the exponential mechanism with epsilon = sqrt(8 rho) and sensitivity max(weights).
        """

    def merged(self, groups: Sequence[Ints]) -> Records:
        """The same records with code v of column j renamed to groups[j][v]; groups are made of noisy counts."""


class Marginals(NamedTuple):
    """What was learned: a model of coarse codes, and of each column the fine codes' groups and noisy shares."""

    model: Graphical
    groups: list[Ints]
    shares: list[Floats]

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Fine codes (n, columns) int64."""
        coarse = self.model.sample(n, generator)
        return torch.stack([self._fine(j, coarse[:, j], generator) for j in range(coarse.shape[1])], dim=1)

    def _fine(self, j: int, coarse: Tensor, generator: torch.Generator) -> Tensor:
        group = torch.from_numpy(self.groups[j])
        inside = group == torch.arange(self.model.sizes[j])[:, None]
        share = torch.from_numpy(self.shares[j]) + 1e-9  # a group in which nothing was found is even
        return spaced(inside * share, coarse, generator)


def learn_marginals(records: Records, rho: float, ordered: Sequence[bool], target: int | None = None) -> Marginals:
    """Learn the distribution of records, for exactly rho.

    Args:
        records: behind a budget.
        rho: to spend, all of it.
        ordered: of each column, whether its codes are an order, so that neighbours may be merged.
        target: a column that later is predicted from the others; its pairs are measured without asking.

    Raises:
        ValueError: rho is not greater than 0.
    """
    if not rho > 0:
        raise ValueError(f"rho is {rho:g}; it must be greater than 0")
    columns = len(records.sizes)
    alone = rho * (ALONE if columns > 1 else 1.0)
    single = [records.measure((j,), alone / columns) for j in range(columns)]
    shares = [nearest(counts, records.total) for counts, _ in single]
    noise = math.sqrt(ROUNDS * columns / (2 * rho))
    scale = (records.total / noise / CLEAR) ** (1 / 3)
    groups = [merge(h, o, noise, scale) for h, o in zip(shares, ordered, strict=True)]
    coarse = records.merged(groups)
    search = _Search(coarse, [_grouped(c, s, g) for (c, s), g in zip(single, groups, strict=True)], rho - alone, scale)
    if columns > 1:
        search.run(target)
    return Marginals(search.fitted(LAST), groups, shares)


class _Search:
    """What is measured so far, and what is left to spend."""

    def __init__(self, records: Records, single: Sequence[tuple[Floats, float]], left: float, scale: float) -> None:
        self.records, self.left = records, left
        self.unit = left / (ROUNDS * len(single) * scale)
        self.measured = [Measured((j,), torch.from_numpy(c), s) for j, (c, s) in enumerate(single)]
        self.model = Graphical(records.sizes)
        pairs = itertools.combinations(range(len(single)), 2)
        self.candidates: list[Columns] = [p for p in pairs if cells(p, records.sizes) <= LIMIT]

    def run(self, target: int | None) -> None:
        """Spend all that is left."""
        first = [p for p in self.candidates if target in p]
        part = min(1.0, self.left / 2 / max(self.unit, sum(map(self._price, first))))  # they take half at most
        for pair in first:
            self._measure(pair, part * self._price(pair))
        at_once = math.ceil(len(self.records.sizes) / SPLIT)
        while self.left > 0:
            self.model = self.fitted(STEPS)
            guesses = {p: self._guess(p) for p in self._open()}
            for _ in range(at_once):
                if self.left > 0 and (offers := [(p, guesses[p]) for p in self._open() if p in guesses]):
                    pair, _ = offers[self._chosen(offers)]
                    self._measure(pair, self._price(pair))

    def fitted(self, steps: int) -> Graphical:
        """The model of all that is measured, from where the last one ended."""
        model = self.model.extended(m.columns for m in self.measured)
        model.fit(self.measured, self.records.total, steps)
        return model

    def _price(self, pair: Columns) -> float:
        return self.unit * (cells(pair, self.records.sizes) / TYPICAL) ** POWER

    def _measure(self, pair: Columns, price: float) -> None:
        rho = price if 1.5 * price < self.left else self.left  # a small rest would buy nothing
        self.left = self.left - rho if rho < self.left else 0.0
        counts, sigma = self.records.measure(pair, rho)
        self.measured.append(Measured(pair, torch.from_numpy(counts), sigma))

    def _open(self) -> list[Columns]:
        """Pairs that are not measured yet and do not make the junction tree too large, else those that are measured."""
        known = list(dict.fromkeys(m.columns for m in self.measured))
        now = tree_cells(self.records.sizes, known)
        new: list[Columns] = [p for p in self.candidates if p not in known and self._fits(p, known, now)]
        return new or [c for c in known if len(c) == 2] or known

    def _fits(self, pair: Columns, known: list[Columns], now: int) -> bool:
        """Whether the tree can take a pair: surely if one of its columns might join all cliques."""
        sizes = self.records.sizes
        # 4: the tree is found greedily
        return 4 * now * min(sizes[j] for j in pair) <= LIMIT or tree_cells(sizes, [*known, pair]) <= LIMIT

    def _guess(self, columns: Columns) -> Floats:
        return self.model.marginal(columns).double().numpy() * self.records.total

    def _chosen(self, offers: Sequence[tuple[Columns, Floats]]) -> int:
        """Which pair gains most: its error now less that of noise, E|N(0, σ²)| = σ sqrt(2/π) in each cell."""
        rho = min(self.unit, self.left) * CHOICE
        self.left -= rho
        sigmas = [math.sqrt(1 / (2 * min(self._price(p), self.left))) for p, _ in offers]
        penalties = [math.sqrt(2 / math.pi) * s * guess.size for s, (_, guess) in zip(sigmas, offers, strict=True)]
        return self.records.choose(offers, [1.0] * len(offers), rho, penalties)


def nearest(counts: Floats, total: float) -> Floats:
    """The counts without negative ones and of the right total that are nearest: max(counts - t, 0)."""
    high = np.sort(counts)[::-1]
    excess = (np.cumsum(high) - total) / np.arange(1, len(high) + 1)
    return np.maximum(counts - excess[np.flatnonzero(high > excess)[-1]], 0)


def merge(counts: Floats, ordered: bool, noise: float, scale: float) -> Ints:
    """The group of each code: what pairs need not tell apart.

    Labels that noise would hide become one group. Of numbers, a code that is frequent by itself stays alone; the
    others join neighbours in groups of about the same mass, of which a column of mostly zeros has many small ones:
    these may tell the most.
    """
    if not ordered:
        rare = counts < RARE * noise
        names = np.cumsum(~rare) - 1
        return np.where(rare, names[-1] + 1, names) if rare.sum() > 1 else np.arange(len(counts))
    most = GROUPS * scale
    alone = counts >= counts.sum() / most
    enough = max(counts[~alone].sum() / most, FIRM * noise)
    groups, held = [-1], math.inf
    for count, apart in zip(counts, alone, strict=True):
        new = apart or held >= enough or (held + count / 2 > enough and held > RARE * noise)
        groups.append(groups[-1] + int(new))
        held = math.inf if apart else count + (0.0 if new else held)
    return np.array(groups[1:])


def _grouped(counts: Floats, sigma: float, groups: Ints) -> tuple[Floats, float]:
    """Counts of groups, and the deviation of their noise: that of a group of mean size."""
    return np.bincount(groups, counts).astype(np.float64), sigma * math.sqrt(len(counts) / (groups.max() + 1))
