"""DensityRatio: how much likelier a record is among real records than among drawn ones.

Gradient boosting of the logistic loss between two samples estimates log p_real(x) - log p_drawn(x)
(Sugiyama et al., Density Ratio Estimation in Machine Learning, 2012). A record's leaves are found eight trees at a
time, without descending (see `nn.leaves`).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn

from synthgen.nn.leaves import PIECE, ROW, Sets, intersect, lowest

BINS = 255  # per column: what a question can tell apart
LEAVES = 31  # of a tree: their set fits into an int32
ALL = 2**LEAVES - 1  # the set of all leaves
MOST_ODDS = 1e4  # that a stored leaf may hold: sums stay finite
TOGETHER = ROW // 4  # trees whose leaves are found at once
JOINT = 4096  # combinations of bins of several columns that are looked up at once: their sets stay in the cache
STEP = 50  # trees grown between two looks at the clock

Bins = NDArray[np.uint8]


class DensityRatio(nn.Module):
    """Log-ratio of two densities on records of codes.

    Args:
        sizes: number of codes of each column.
        ordered: whether a column's codes are in order; others are told apart only among the first 254.
    """

    bins: Tensor
    questions: Tensor
    remaining: Tensor
    values: Tensor

    def __init__(self, sizes: Sequence[int], ordered: Sequence[bool]) -> None:
        super().__init__()
        self.sizes, self.ordered = tuple(sizes), tuple(ordered)
        self.register_buffer("bins", torch.zeros(sum(sizes), dtype=torch.uint8))  # bin of each column's codes
        # of each tree: column and greatest bin on the left, and the set of leaves that "greater" leaves over
        self.register_buffer("questions", torch.zeros(0, LEAVES - 1, 2, dtype=torch.int16))
        self.register_buffer("remaining", torch.zeros(0, LEAVES - 1, dtype=torch.int32))
        self.register_buffer("values", torch.zeros(0, LEAVES))

    def validate(self) -> None:
        """Raise ValueError where stored questions ask for what is not there."""
        columns, bins = self.questions.unbind(-1)
        if not len(self.questions) == len(self.remaining) == len(self.values):
            raise ValueError("the trees of the density ratio are not whole")
        if bool(((columns < 0) | (columns >= len(self.sizes)) | (bins < 0) | (bins >= BINS)).any()):
            raise ValueError("the questions of the density ratio name columns that are not there")
        if bool((self.bins >= BINS).any()):
            raise ValueError("a code has a bin that is not there")
        if bool((self.values.abs() > MOST_ODDS).any()):
            raise ValueError("a leaf of the density ratio is beyond all bounds")
        if bool((self.remaining < 2 ** (LEAVES - 1)).any()):  # the last leaf is on no question's left
            raise ValueError("the questions of the density ratio lead to no leaf")

    def forward(self, codes: NDArray[np.int16]) -> NDArray[np.float32]:
        """Log-ratios (B,) of records of codes (B, columns)."""
        binned, counts = self._bin(codes), [int(part.max()) + 1 for part in self._parts()]
        blocks = _blocks(counts)
        groups = list(self._groups(counts, blocks))
        total = np.zeros(len(codes), dtype=np.float32)
        for start in range(0, len(codes), PIECE):
            piece = binned[:, start : start + PIECE]
            joint = [np.ravel_multi_index(tuple(piece[block]), [counts[j] for j in block]) for block in blocks]
            left, spare = np.empty((2, piece.shape[1], TOGETHER), dtype=np.int32)
            sums = np.zeros(left.shape, dtype=np.float32)
            own = np.tile(np.arange(TOGETHER, dtype=np.int32) * LEAVES, (len(left), 1))
            for tables, values in groups:
                intersect(tables, joint, left, spare)
                leaf = lowest(left)
                leaf += own
                sums += np.take(values, leaf, mode="clip")
            total[start : start + PIECE] = sums.sum(axis=1)
        return total

    def _groups(
        self, counts: list[int], blocks: list[list[int]]
    ) -> Iterator[tuple[dict[int, Sets], NDArray[np.float32]]]:
        """For each few trees, the leaves that the bins of blocks of columns leave over, and the values of all."""
        questions, remaining, values = (t.numpy() for t in (self.questions, self.remaining, self.values))
        for start in range(0, len(values), TOGETHER):
            few = range(start, min(start + TOGETHER, len(values)))
            asked = set(questions[few, :, 0].ravel().tolist())
            tables = {j: np.full((counts[j], TOGETHER), ALL, dtype=np.int32) for j in range(len(counts))}
            for k in few:
                for j in np.unique(questions[k, :, 0]):
                    tables[j][:, k - start] = _answers(questions[k], remaining[k], j)[: counts[j]]
            joint = {b: _cross([tables[j] for j in block]) for b, block in enumerate(blocks) if asked & set(block)}
            all_values = np.zeros((TOGETHER, LEAVES), dtype=np.float32)  # 0 where a group has fewer trees
            all_values[: len(few)] = values[few]
            yield joint, all_values.ravel()

    def _parts(self) -> list[NDArray[np.uint8]]:
        """The bins of each column's codes."""
        return np.split(self.bins.numpy(), np.cumsum(self.sizes)[:-1])

    def _bin(self, codes: NDArray[np.int16]) -> Bins:
        """Codes (B, columns) to bins (columns, B)."""
        return np.stack([part[codes[:, j]] for j, part in enumerate(self._parts())])

    def fit(
        self,
        real: NDArray[np.int16],
        drawn: NDArray[np.int16],
        rounds: int,
        seed: int,
        go_on: Callable[[float], bool] = lambda done: True,
        rate: float = 0.3,
        damping: float = 5.0,
    ) -> None:
        """Boost for so many rounds, or until `go_on` (asked now and then with the share done) says no.

        Args:
            real: codes (N, columns).
            drawn: codes (M, columns) of records from the distribution to be corrected.
            rounds: trees to grow.
            seed: of the columns that each question may ask for.
            go_on: asked before every few trees.
            rate: share of each tree's step that is taken.
            damping: weight of the prior that a leaf's value is 0.
        """
        self.bins = torch.from_numpy(np.concatenate([self.cut(real[:, j], j) for j in range(len(self.sizes))]))
        binned = self._bin(np.concatenate([real, drawn])).T
        label = np.repeat([1, 0], [len(real), len(drawn)])
        weight = np.where(label == 1, len(drawn) / len(real), 1.0)
        boosted = HistGradientBoostingClassifier(
            learning_rate=rate, max_leaf_nodes=LEAVES, min_samples_leaf=5, l2_regularization=damping,
            max_features=0.5, early_stopping=False, warm_start=True, random_state=seed,
        )  # fmt: skip
        for done in range(0, rounds, STEP):
            if not go_on(done / rounds):
                break
            boosted.set_params(max_iter=min(done + STEP, rounds)).fit(binned, label, weight)
        # no public way leads to the trees; test_ratio.py compares what is made of them with the library's own answers
        trees = [_arrays(tree.nodes) for (tree,) in getattr(boosted, "_predictors", ())]
        if trees:
            parts = (np.stack(part) for part in zip(*trees, strict=True))
            self.questions, self.remaining, self.values = map(torch.from_numpy, parts)

    def cut(self, codes: NDArray[np.int16], j: int, bins: int = BINS) -> NDArray[np.uint8]:
        """The bin of each code of column j: equal masses where they are in order, the commonest alone elsewhere."""
        size = self.sizes[j]
        if size <= bins:
            return np.arange(size, dtype=np.uint8)
        counts = np.bincount(codes, minlength=size)
        if self.ordered[j]:
            middle = np.cumsum(counts) - counts / 2
            return np.minimum(middle / counts.sum() * bins, bins - 1).astype(np.uint8)
        place = np.empty(size, dtype=np.int64)
        place[np.argsort(-counts, kind="stable")] = np.arange(size)
        return np.minimum(place, bins - 1).astype(np.uint8)


def _blocks(counts: Sequence[int]) -> list[list[int]]:
    """Columns of few bins together, so that one look at a table answers for all of them."""
    blocks: list[list[int]] = []
    size = JOINT + 1
    for j in sorted(range(len(counts)), key=lambda j: counts[j]):
        if size * counts[j] > JOINT:
            blocks.append([])
            size = 1
        blocks[-1].append(j)
        size *= counts[j]
    return blocks


def _cross(tables: Sequence[Sets]) -> Sets:
    """The sets that every combination of the columns' bins leaves over, (product of bins, words)."""
    joint = tables[0]
    for table in tables[1:]:
        joint = (joint[:, None] & table).reshape(-1, table.shape[1])
    return joint


def _answers(questions: NDArray[np.int16], remaining: NDArray[np.int32], column: int) -> NDArray[np.int32]:
    """The leaves that each bin (BINS,) of a column leaves over, in one tree."""
    table = np.full(BINS, ALL, dtype=np.int32)
    for k in np.flatnonzero(questions[:, 0] == column):
        table[questions[k, 1] + 1 :] &= remaining[k]
    return table


def _arrays(nodes: NDArray[np.void]) -> tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.float32]]:
    """Questions, remaining leaves and values of a fitted tree, whose leaves are numbered from the left."""
    questions = np.zeros((LEAVES - 1, 2), dtype=np.int16)
    remaining = np.full(LEAVES - 1, ALL, dtype=np.int32)
    values = np.zeros(LEAVES, dtype=np.float32)
    asked = reached = 0

    def walk(k: int) -> None:
        nonlocal asked, reached
        node = nodes[k]
        if node["is_leaf"]:
            values[reached] = node["value"]
            reached += 1
            return
        own, first = asked, reached
        asked += 1
        questions[own] = node["feature_idx"], np.floor(node["num_threshold"])
        walk(node["left"])
        remaining[own] = ALL & ~(2**reached - 2**first)
        walk(node["right"])

    walk(0)
    return questions, remaining, values
