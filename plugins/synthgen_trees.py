"""Sequential trees: p(x) = Π_j p(x_j | x_<j), each factor the leaves of a distributional regression tree.

A tree for column j splits where the distributions of x_j differ most in maximum mean discrepancy (Ćevid et
al., Distributional Random Forests, 2022): it is a regression tree on features of x_j, whose leaves keep the
codes that fell into them. Drawing follows a record to its leaf and picks one of those codes (Reiter, Using
CART to generate partially synthetic public use microdata, 2005). How small leaves may be is chosen per column
on held-out records, so that what cannot be predicted is not copied.

What the sequence gets wrong is then corrected as a whole: for each record some candidates are drawn, and one
is picked with odds that an estimated density ratio of real to drawn records gives (importance resampling,
Rubin 1987).
"""

import itertools
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.tree import DecisionTreeRegressor
from torch import Tensor

from synthgen import Generator, Records, Space, Training
from synthgen.nn.correction import Correction
from synthgen.nn.leaves import Top
from synthgen.nn.resident import Resident

Codes = NDArray[np.int16]
SIZES = (10, 20, 40, 80, 160, 320)  # smallest leaves that are tried
HELD_OUT = 20_000  # records at most that the choice is made on
BOOLEAN = 2
MANY = 20_000  # records for which it pays to look at a tree as a whole


class Tree(NamedTuple):
    """One tree as arrays: a node asks whether a feature is above a threshold; a leaf holds codes."""

    nodes: NDArray[np.int32]  # (nodes, 6): feature, threshold, left, right, first donor, number of donors
    donors: Codes  # (records,) codes of the training records, leaf by leaf


class Trees(Resident, Generator):
    """Sequential classification trees on codes, corrected by a density ratio. Seconds to fit."""

    class Config(Generator.Config):
        trees: int = Field(1, ge=1, le=100, description="trees per column; more are smoother and slower")
        leaf: int = Field(0, ge=0, description="fewest records in a leaf; 0 chooses it per column")
        rounds: int = Field(200, ge=0, le=10_000, description="boosting rounds of the correction; 0 for none")
        candidates: int = Field(4, ge=1, le=64, description="records drawn for each one that is kept")

    accepts: ClassVar[tuple[str, ...]] = ("table",)
    private: ClassVar[bool] = False  # each split looks at the records again; priced one by one, little would be left
    codes: ClassVar[int] = 1000

    config: Config
    nodes: Tensor
    donors: Tensor
    trees: Tensor
    ranks: Tensor

    def __init__(self, space: Space, context: Space, config: Config) -> None:
        super().__init__(space, context, config)
        self.sizes = context.sizes + space.sizes  # features: the context's codes, then the columns'
        self.ordered = context.ordered + space.ordered
        self.order = [len(context.sizes) + j for j in space.order]
        self.correction = Correction(space, context, config.rounds, config.candidates)
        self.register_buffer("nodes", torch.zeros(0, 6, dtype=torch.int32))
        self.register_buffer("donors", torch.zeros(0, dtype=torch.int16))
        self.register_buffer("trees", torch.zeros(0, 2, dtype=torch.int64))  # first node, first donor of each tree
        # per drawn column, the places of each nominal feature's codes when sorted by what they predict
        self.register_buffer("ranks", torch.zeros(0, sum(self.sizes), dtype=torch.int16))

    def fit(self, records: Records, training: Training) -> None:
        training.once(self, lambda: self._learn(records, training))

    def _learn(self, records: Records, training: Training) -> None:
        """Grow the trees, column by column."""
        x, c = records.tensor()
        codes = torch.cat([self.context.collapse(c), x], dim=1).numpy().astype(np.int16)
        seed = int(torch.randint(2**31, ()))
        grown: list[list[Tree]] = []
        ranks: list[Codes] = []
        state = training.restored or {}
        weight = 0.5 if self.config.rounds else 1.0
        for p, j in enumerate(self.order):
            if f"{p}.ranks" in state:
                trees = [
                    Tree(state[f"{p}.{t}.nodes"].numpy(), state[f"{p}.{t}.donors"].numpy())
                    for t in range(self.config.trees)
                ]
                rank = state[f"{p}.ranks"].numpy()
            else:
                rng = np.random.default_rng([seed, p])
                late = training.should_stop()
                trees, rank = self._grow_column(codes, j, [] if late else self._before(p), rng)
                if late:
                    training.note(f"time was up before column {j + 1} of {len(self.sizes)}: it is drawn by itself")
            grown.append(trees)
            ranks.append(rank)
            training.progress(weight * (p + 1) / len(self.order))
            training.checkpoint(lambda: _state(grown, ranks))
        self._store(grown, ranks)

        self.correction.fit(self._records, x, c, training, lambda: _state(grown, ranks), start=weight)

    def _before(self, p: int) -> list[int]:
        """Features that the p-th drawn column can be predicted from."""
        return [*range(len(self.context.sizes)), *self.order[:p]]

    def _grow_column(
        self, codes: Codes, j: int, before: list[int], rng: np.random.Generator
    ) -> tuple[list[Tree], Codes]:
        """The trees of column j, and the ranks of all features' codes by which they ask."""
        target = codes[:, j]
        points = features(np.bincount(target, minlength=self.sizes[j]), self.ordered[j])
        ranks = self._rank(codes, points[target], before)
        if not before:
            nodes = np.array([[-1, 0, 0, 0, 0, len(target)]], dtype=np.int32)
            return [Tree(nodes, rng.permutation(target))] * self.config.trees, ranks
        x = self._ranked(codes, ranks, before).astype(np.float32)
        leaf = self.config.leaf or choose_leaf(x, points[target], rng)
        share = None if self.config.trees == 1 else 0.8
        grow = [
            DecisionTreeRegressor(min_samples_leaf=leaf, max_features=share, random_state=int(rng.integers(2**31)))
            for _ in range(self.config.trees)
        ]
        return [to_arrays(tree.fit(x, points[target]), x, target, rng) for tree in grow], ranks

    def _rank(self, codes: Codes, points: NDArray[np.float64], before: list[int]) -> Codes:
        """Places of every feature's codes: their own order, or for nominal ones that of the target's mean.

        The mean is projected on its first principal component, and drawn to the middle for rare codes.
        """
        centred = points - points.mean(axis=0)
        direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
        y = centred @ direction
        places = []
        for i, size in enumerate(self.sizes):
            place = np.arange(size, dtype=np.int16)
            if i in before and not self.ordered[i] and size > BOOLEAN:
                counts = np.bincount(codes[:, i], minlength=size)
                mean = np.bincount(codes[:, i], y, minlength=size) / (counts + 5)
                place[np.argsort(mean, kind="stable")] = np.arange(size)
            places.append(place)
        return np.concatenate(places)

    def _ranked(self, codes: Codes, ranks: Codes, before: list[int]) -> Codes:
        """Features (n, len(before)) of records of codes: the ranks of the columns `before`."""
        starts = np.cumsum([0, *self.sizes])
        return np.stack([ranks[starts[i] : starts[i + 1]][codes[:, i]] for i in before], axis=1)

    def _store(self, grown: list[list[Tree]], ranks: list[Codes]) -> None:
        """Lay all trees end to end."""
        flat = [tree for trees in grown for tree in trees]
        firsts = np.cumsum([[0, 0]] + [[len(t.nodes), len(t.donors)] for t in flat], axis=0)[:-1]
        self.nodes = torch.from_numpy(np.concatenate([t.nodes for t in flat]))
        self.donors = torch.from_numpy(np.concatenate([t.donors for t in flat]))
        self.trees = torch.from_numpy(firsts)
        self.ranks = torch.from_numpy(np.stack(ranks))

    def sample(self, n: int, c: Tensor) -> Tensor:
        return self.correction.sample(self._records, c)

    def _records(self, c: Tensor) -> Tensor:
        """A record (n, columns) for each context (n, width), from the sequence alone."""
        codes = self._draw(c, np.random.default_rng(int(torch.randint(2**62, ()))))
        return torch.from_numpy(codes[len(self.context.sizes) :].astype(np.float32)).T

    def _draw(self, c: Tensor, rng: np.random.Generator) -> Codes:
        """Codes (columns, n) of records, the context's first, from the sequence alone."""
        n, first = len(c), len(self.context.sizes)
        codes = np.zeros((len(self.sizes), n), dtype=np.int16)
        codes[:first] = self.context.collapse(c).cpu().numpy().T
        start, count = self.nodes[:, 4:].T.contiguous().numpy()
        donors, firsts = self.donors.numpy(), self.trees.numpy().reshape(-1, self.config.trees, 2)
        for p, j in enumerate(self.order):
            tree = rng.integers(0, self.config.trees, n)
            leaf = np.empty(n, dtype=np.int64)
            for t, (root, _) in enumerate(firsts[p]):
                rows = np.flatnonzero(tree == t) if self.config.trees > 1 else slice(None)
                leaf[rows] = root + self._leaves(p, self._tree(p, t), codes[:, rows])
            place = (rng.random(n) * count[leaf]).astype(np.int64)
            place += start[leaf]
            place += firsts[p, tree, 1]
            codes[j] = donors[place]
        return codes

    def _tree(self, p: int, t: int) -> NDArray[np.int32]:
        """The nodes of the t-th tree of the p-th drawn column."""
        k = p * self.config.trees + t
        end = self.trees[k + 1, 0] if k + 1 < len(self.trees) else len(self.nodes)
        return self.nodes[self.trees[k, 0] : end].numpy()

    def _leaves(self, p: int, nodes: NDArray[np.int32], codes: Codes) -> NDArray[np.int64]:
        """The leaves (n,) that records of codes (columns, n) reach in a tree of the p-th drawn column."""
        before, n = self._before(p), codes.shape[1]
        starts = np.cumsum([0, *self.sizes])
        ranks = [self.ranks[p, starts[i] : starts[i + 1]].numpy() for i in before]
        node = np.zeros(n, dtype=np.int64)
        if n >= MANY and before:
            node = Top(nodes, _weights(nodes), ranks).reach([codes[i] for i in before])
        rows = np.flatnonzero(nodes[node, 0] >= 0)
        if len(rows):
            x = np.stack([rank[codes[i, rows]] for rank, i in zip(ranks, before, strict=True)], axis=1)
            node[rows] = descend(nodes, node[rows], x)
        return node

    def validate(self) -> None:
        nodes, trees = self.nodes.numpy(), self.trees.numpy()
        if len(trees) != len(self.order) * self.config.trees or len(self.ranks) != len(self.order):
            raise ValueError("the number of trees is not that of the columns")
        ends = np.append(trees[1:], [[len(nodes), len(self.donors)]], axis=0)
        if (trees[0] != 0).any() or (ends <= trees).any():
            raise ValueError("the trees are not laid end to end")
        for k, (first, end) in enumerate(zip(trees, ends, strict=True)):
            p = k // self.config.trees
            donors = self.donors.numpy()[first[1] : end[1]]
            _check_tree(nodes[first[0] : end[0]], donors, len(self._before(p)), self.sizes[self.order[p]])
        starts = np.cumsum([0, *self.sizes])
        if any((self.ranks[:, a:b] >= b - a).any() for a, b in itertools.pairwise(starts)) or (self.ranks < 0).any():
            raise ValueError("a tree ranks codes that are not there")
        self.correction.validate()


def _check_tree(nodes: NDArray[np.int32], donors: Codes, before: int, size: int) -> None:
    """Raise ValueError unless every descent ends in a leaf with donors, and all that is named is there."""
    feature, left, right, first, count = nodes[:, [0, 2, 3, 4, 5]].T.astype(np.int64)
    inner, own = feature >= 0, np.arange(len(nodes))
    # children come after their parent and stay in the tree
    if any((inner & ((child <= own) | (child >= len(nodes)))).any() for child in (left, right)):
        raise ValueError("a tree's branches lead astray")
    if (feature >= before).any():
        raise ValueError("a tree asks for a column that is not there")
    if (~inner & ((first < 0) | (count < 1) | (first + count > len(donors)))).any():
        raise ValueError("a leaf has no donors")
    if (donors < 0).any() or (donors >= size).any():
        raise ValueError("a tree holds codes that are not there")


def features(counts: NDArray[np.int64], ordered: bool) -> NDArray[np.float64]:
    """Features (codes, m) of a column's codes; trees split where their means differ.

    Names get an indicator each (of the 40 commonest: the Gini criterion). Ordered codes get cosines of their
    place among the records (a mean embedding of the distribution), and indicators of the heavy ones.
    """
    n = counts.sum()
    heavy = np.argsort(-counts, kind="stable")
    if not ordered:
        heavy = heavy[:40][counts[heavy[:40]] > 0]
        return (np.arange(len(counts))[:, None] == heavy).astype(float)
    place = (np.cumsum(counts) - counts / 2) / n
    waves = [np.sqrt(2 / k) * np.cos(np.pi * k * place) for k in range(1, 7)]
    atoms = [(np.arange(len(counts)) == code).astype(float) for code in heavy[:4] if counts[code] > 0.03 * n]
    return np.stack(waves + atoms, axis=1)


def choose_leaf(x: NDArray[np.float32], y: NDArray[np.float64], rng: np.random.Generator) -> int:
    """The fewest records in a leaf with which a tree grown on two thirds predicts the held-out third best.

    One tree with the smallest leaves serves for all sizes: a record is predicted by the lowest node on its
    path that holds enough. Half the best size is returned: several small errors matter less than one large.
    """
    rows = rng.permutation(len(x))[:HELD_OUT]
    held, rest = np.split(rows, [len(rows) // 3])
    tree = DecisionTreeRegressor(min_samples_leaf=SIZES[0], random_state=int(rng.integers(2**31)))
    arrays = tree.fit(x[rest], y[rest]).tree_
    means, sizes = arrays.value[:, :, 0], arrays.n_node_samples
    parent = np.full(arrays.node_count, -1)
    for children in (arrays.children_left, arrays.children_right):
        parent[children[children >= 0]] = np.flatnonzero(children >= 0)
    node = tree.apply(x[held])
    losses = []
    for size in SIZES:
        while (small := (sizes[node] < size) & (parent[node] >= 0)).any():
            node = np.where(small, parent[node], node)
        losses.append(((y[held] - means[node]) ** 2).sum())
    return max(SIZES[0], SIZES[int(np.argmin(losses))] // 2)


def to_arrays(tree: DecisionTreeRegressor, x: NDArray[np.float32], target: Codes, rng: np.random.Generator) -> Tree:
    """A fitted tree as arrays, its leaves filled with the codes of all records in random order."""
    grown = tree.tree_
    leaf = tree.apply(x)
    shuffled = rng.permutation(len(leaf))
    order = shuffled[np.argsort(leaf[shuffled], kind="stable")]
    counts = np.bincount(leaf, minlength=grown.node_count)
    first = np.cumsum(counts) - counts
    threshold = np.floor(grown.threshold)  # features are whole numbers
    columns = [grown.feature, threshold, grown.children_left, grown.children_right, first, counts]
    nodes = np.stack(columns, axis=1).astype(np.int32)
    nodes[grown.children_left < 0, :4] = [-1, 0, 0, 0]
    return Tree(nodes, target[order])


def descend(nodes: NDArray[np.int32], start: NDArray[np.int64], x: Codes) -> NDArray[np.int64]:
    """The leaf of a tree that each record of features x (n, q) reaches from its node `start` (n,)."""
    node = start.copy()
    active = np.flatnonzero(nodes[node, 0] >= 0)
    while len(active):
        asked = nodes[node[active]]
        right = x[active, asked[:, 0]] > asked[:, 1]
        node[active] = np.where(right, asked[:, 3], asked[:, 2])
        active = active[nodes[node[active], 0] >= 0]
    return node


def _weights(nodes: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many training records came by each node of a tree, (nodes,)."""
    weight = nodes[:, 5].astype(np.int64)
    levels: list[NDArray[np.integer]] = [np.zeros(1, dtype=np.int64)]
    while len(inner := levels[-1][nodes[levels[-1], 0] >= 0]):
        levels.append(nodes[inner, 2:4].ravel())
    for level in levels[::-1]:
        inner = level[nodes[level, 0] >= 0]
        weight[inner] = weight[nodes[inner, 2]] + weight[nodes[inner, 3]]
    return weight


def _state(grown: list[list[Tree]], ranks: list[Codes]) -> dict[str, Tensor]:
    """What resuming needs: the trees that are grown."""
    state = {f"{p}.ranks": torch.from_numpy(rank) for p, rank in enumerate(ranks)}
    for p, trees in enumerate(grown):
        for t, tree in enumerate(trees):
            state |= {
                f"{p}.{t}.nodes": torch.from_numpy(tree.nodes),
                f"{p}.{t}.donors": torch.from_numpy(tree.donors),
            }
    return state
