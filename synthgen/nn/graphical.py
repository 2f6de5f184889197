"""Graphical model: p(x) = exp(Σ_c θ_c(x_c)) / Z, of all tables with given marginals the one of largest entropy.

Fitted to marginals, noisy or not, by mirror descent with belief propagation on a junction tree (McKenna, Sheldon and
Miklau, Graphical-model based estimation and inference for differential privacy, 2019). It knows nothing of privacy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Columns = tuple[int, ...]

GROW, SHRINK = 1.1, 0.5  # of the step, after one that went well and after one that did not


class Measured(NamedTuple):
    """Counts of the joint codes of some columns, in their shape, and the deviation of the noise in each."""

    columns: Columns
    counts: Tensor
    sigma: float


class Tree(NamedTuple):
    """Cliques in an order in which each comes after its parent; the parent of the first is -1.

    What a clique shares with all cliques before it, it shares with its parent (running intersection).
    """

    cliques: list[Columns]
    parents: list[int]


def cells(columns: Iterable[int], sizes: Sequence[int]) -> int:
    """How many joint codes some columns have."""
    return math.prod(sizes[j] for j in columns)


def tree_cells(sizes: Sequence[int], cliques: Iterable[Columns]) -> int:
    """Cells of all cliques of a junction tree: what a step of the fit costs."""
    return sum(cells(c, sizes) for c in _triangulated(sizes, cliques))


def junction_tree(sizes: Sequence[int], cliques: Iterable[Columns]) -> Tree:
    """A tree of cliques, each of the given ones within one of them and every column in at least one.

    Columns are eliminated by least cells, then fewest new edges; cliques are joined by a spanning tree of largest
    intersections (Koller and Friedman, Probabilistic graphical models, 2009, chapter 10).
    """
    found = _triangulated(sizes, cliques)
    order, parents, rest = [0], [-1], list(range(1, len(found)))
    while rest:
        pairs = itertools.product(rest, range(len(order)))
        new, parent = max(pairs, key=lambda p: len({*found[p[0]]} & {*found[order[p[1]]]}))
        order.append(new)
        parents.append(parent)
        rest.remove(new)
    return Tree([found[i] for i in order], parents)


def _triangulated(sizes: Sequence[int], cliques: Iterable[Columns]) -> list[Columns]:
    """Maximal cliques of the graph that greedy elimination leaves."""
    near: dict[int, set[int]] = {j: set() for j in range(len(sizes))}
    for a, b in itertools.chain.from_iterable(itertools.permutations(c, 2) for c in cliques):
        near[a].add(b)

    def price(j: int) -> tuple[int, int]:
        return cells(near[j], sizes) * sizes[j], sum(b not in near[a] for a, b in itertools.combinations(near[j], 2))

    found: list[set[int]] = []
    prices = {j: price(j) for j in near}
    while near:
        j = min(prices, key=lambda j: prices[j])
        around = near.pop(j)
        del prices[j]
        if not any({j, *around} <= c for c in found):
            found.append({j, *around})
        for a in around:
            near[a] = (near[a] | around) - {a, j}
        prices.update({a: price(a) for a in around})  # of others, new edges may have become fewer: they break ties only
    return [tuple(sorted(c)) for c in found]


class Graphical:
    """A distribution of codes, by potentials of some of its columns.

    Args:
        sizes: how many codes each column has.
        potentials: θ of cliques of columns, which ascend, in their shape; all there is to store. Columns without are
            independent and even.

    Raises:
        ValueError: columns do not ascend, or potentials have another shape.
    """

    def __init__(self, sizes: Sequence[int], potentials: Mapping[Columns, Tensor] | None = None) -> None:
        self.sizes, self.potentials = tuple(sizes), dict(potentials or {})
        for c, theta in self.potentials.items():
            if [*c] != sorted({*c}) or theta.shape != tuple(self.sizes[j] for j in c):
                raise ValueError(f"potentials of columns {c} have shape {tuple(theta.shape)}")
        self.tree = junction_tree(self.sizes, self.potentials)
        cliques, parents = self.tree
        smallest = sorted(range(len(cliques)), key=lambda i: cells(cliques[i], self.sizes))
        self._home = {c: next(i for i in smallest if {*c} <= {*cliques[i]}) for c in self.potentials}
        above = [cliques[p] if p >= 0 else () for p in parents]
        self._separators = [tuple(j for j in c if j in a) for c, a in zip(cliques, above, strict=True)]
        self._below = [{*c} for c in cliques]  # columns of a clique and of all that hang on it
        for i in range(len(parents) - 1, 0, -1):
            self._below[parents[i]] |= self._below[i]
        self._propagate()

    def extended(self, cliques: Iterable[Columns]) -> Graphical:
        """The same distribution, with room to learn more cliques."""
        new = {c: torch.zeros([self.sizes[j] for j in c]) for c in cliques if c not in self.potentials}
        return Graphical(self.sizes, {**self.potentials, **new})

    def fit(self, measured: Iterable[Measured], total: float, steps: int) -> float:
        """Learn potentials by so many steps down Σ (total · p(x_c) - counts)² / 2σ²; returns where that has come to.

        Steps go down the gradient by the marginals, which never leaves distributions; their length follows Armijo.

        Args:
            measured: of columns that have potentials; several of the same columns are averaged.
            total: of the counts of a marginal.
            steps: 200 suffice from near by.
        """
        data = _averaged(measured)
        before, slope, loss = self._slope(data, total)
        length = 1 / max([float(s.abs().max()) for s in slope.values()] + [1e-12])  # moves no potential by more than 1
        for _ in range(steps):
            old = self.potentials
            self.potentials = {**old, **{c: old[c] - length * s for c, s in slope.items()}}
            self._propagate()
            after, new_slope, new_loss = self._slope(data, total)
            promised = total * sum(float((s * (before[c] - after[c])).sum()) for c, s in slope.items())
            if loss - new_loss >= promised / 2:
                before, slope, loss, length = after, new_slope, new_loss, length * GROW
            else:
                self.potentials, length = old, length * SHRINK
        self._propagate()
        return loss

    def marginal(self, columns: Columns) -> Tensor:
        """Probabilities of the joint codes of some columns, in their shape, whether they share a clique or not."""
        top = max(i for i, below in enumerate(self._below) if {*columns} <= below)
        found, table = self._collected(top, {*columns}, ())
        return table.permute([found.index(j) for j in columns])

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Codes (n, columns) int64, in random order.

        Each clique is drawn given its parent, at evenly spaced quantiles: of a code there are as many as expected.
        """
        x = torch.zeros(n, len(self.sizes), dtype=torch.long)
        for i, clique in enumerate(self.tree.cliques):
            given = self._separators[i]
            new = tuple(j for j in clique if j not in given)
            p = self._conditional(i, given).double().permute([clique.index(j) for j in (*given, *new)])
            row = torch.zeros(n, dtype=torch.long)
            for j in given:
                row = row * self.sizes[j] + x[:, j]
            code = spaced(p.reshape(cells(given, self.sizes), -1), row, generator)
            for j in reversed(new):
                x[:, j], code = code % self.sizes[j], code // self.sizes[j]
        return x

    def _propagate(self) -> None:
        """Log-probabilities of each clique, by messages to the root and back."""
        cliques, parents, separators = self.tree.cliques, self.tree.parents, self._separators
        log = [torch.zeros([self.sizes[j] for j in c]) for c in cliques]
        for c, theta in self.potentials.items():
            log[self._home[c]] += self._spread(theta, c, self._home[c])
        up = [torch.zeros(())] * len(log)
        for i in range(len(log) - 1, 0, -1):
            up[i] = self._kept(i, log[i], separators[i], torch.logsumexp)
            log[parents[i]] += self._spread(up[i], separators[i], parents[i])
        log[0] -= torch.logsumexp(log[0].flatten(), 0)
        for i in range(1, len(log)):
            down = self._kept(parents[i], log[parents[i]], separators[i], torch.logsumexp)
            log[i] += self._spread(down - up[i], separators[i], i)
        self._log = log

    def _spread(self, table: Tensor, columns: Columns, i: int) -> Tensor:
        """A table of columns in order, to be added to that of clique i."""
        return table.reshape([self.sizes[j] if j in columns else 1 for j in self.tree.cliques[i]])

    def _kept(self, i: int, table: Tensor, columns: Collection[int], total: Callable[..., Tensor]) -> Tensor:
        """The table of some of clique i's columns, in order, by a sum over the others."""
        out = [k for k, j in enumerate(self.tree.cliques[i]) if j not in columns]
        return total(table, out) if out else table

    def _conditional(self, i: int, given: Columns) -> Tensor:
        """Probabilities of clique i given some of its columns, from logs, since probabilities may vanish."""
        shared = self._kept(i, self._log[i], given, torch.logsumexp)
        return (self._log[i] - self._spread(shared, given, i)).exp()

    def _collected(self, i: int, wanted: set[int], shared: Columns) -> tuple[list[int], Tensor]:
        """Columns wanted of clique i and below it, and those shared with its parent; their table, given the latter."""
        found, table = [*self.tree.cliques[i]], self._conditional(i, shared)
        for k in (k for k, p in enumerate(self.tree.parents) if p == i):
            if more := (wanted - {*found}) & self._below[k]:
                found, table = _product(found, table, *self._collected(k, more, self._separators[k]))
        out = [at for at, j in enumerate(found) if j not in wanted and j not in shared]
        return [j for j in found if j in wanted or j in shared], table.sum(out) if out else table

    def _slope(
        self, data: Mapping[Columns, tuple[Tensor, float]], total: float
    ) -> tuple[dict[Columns, Tensor], dict[Columns, Tensor], float]:
        """Marginals, the gradient by their counts, and the loss."""
        belief = [log.exp() for log in self._log]  # summed in a third of the time that logs take
        p = {c: self._kept(self._home[c], belief[self._home[c]], c, torch.sum) for c in data}
        apart = {c: total * p[c] - counts for c, (counts, _) in data.items()}
        loss = sum(weight * float(apart[c].square().sum()) / 2 for c, (_, weight) in data.items())
        return p, {c: weight * apart[c] for c, (_, weight) in data.items()}, loss


def spaced(p: Tensor, row: Tensor, generator: torch.Generator) -> Tensor:
    """Codes (n,) at evenly spaced quantiles of weights p (rows, codes) float64; row (n,) says whose each draw is."""
    order = torch.argsort(row + torch.rand(len(row), generator=generator, dtype=torch.float64))
    row, counts = row[order], torch.bincount(row, minlength=len(p))
    rank = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    quantile = (rank + torch.rand(len(p), generator=generator, dtype=torch.float64)[row]) / counts[row]
    upto = p.cumsum(1) / p.sum(1, keepdim=True).clamp_min(1e-300) + torch.arange(len(p))[:, None]
    found = torch.searchsorted(upto.flatten(), row + quantile, right=True) - row * p.shape[1]
    code = torch.empty_like(row)
    code[order] = found.clamp(0, p.shape[1] - 1)
    return code


def _product(a: list[int], x: Tensor, b: list[int], y: Tensor) -> tuple[list[int], Tensor]:
    """Columns of either table, and the product of both."""
    both = list(dict.fromkeys([*a, *b]))
    label = {j: at for at, j in enumerate(both)}  # einsum knows 52
    return both, torch.einsum(x, [label[j] for j in a], y, [label[j] for j in b], [label[j] for j in both])


def _averaged(measured: Iterable[Measured]) -> dict[Columns, tuple[Tensor, float]]:
    """Counts and weights by columns."""
    data: dict[Columns, tuple[Tensor, float]] = {}
    for columns, counts, sigma in measured:
        old, weight = data.get(columns, (torch.zeros(counts.shape), 0.0))
        new = weight + sigma**-2
        data[columns] = (old * weight + counts.float() * sigma**-2) / new, new
    return data
