"""Leaves of trees found without descending: each answer leaves a set of leaves over, and the first that remains is it.

A question whose answer is "greater" removes the leaves on its left (Lucchese et al., QuickScorer, 2015). The sets that
all questions about one column leave over are looked up at once, by the column's code, in rows of eight words.
"""

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROW = 32  # bytes that are looked up at once: numpy copies rows of so many without a loop
WORDS = ROW // 8  # of a set of many leaves
BITS = 62  # of a word: what floats can count, without the sign
FULL = 2**BITS - 1
PIECE = 8192  # records whose sets stay in the processor's cache

Sets = NDArray[Any]  # (records, words) of bits


def intersect(
    tables: Mapping[int, Sets], codes: Mapping[int, NDArray[Any]] | Sequence[NDArray[Any]], out: Sets, spare: Sets
) -> None:
    """The leaves (n, words) that all columns leave over, into `out`.

    Args:
        tables: for columns that are asked for, the sets (codes, words) that each code leaves over.
        codes: (n,) of each of these columns.
        out: (n, words).
        spare: of the same shape.
    """
    into = out
    for column, table in tables.items():
        np.take(table, codes[column], axis=0, out=into, mode="clip")
        if into is spare:
            np.bitwise_and(out, spare, out=out)
        into = spare
    if into is out:
        out.fill(-1)


def lowest(sets: Sets) -> Sets:
    """The number of the lowest bit of each word, of int32 or int64; below 0 where there is none. Overwrites `sets`."""
    bits, real, offset = (23, np.float32, 127) if sets.dtype == np.int32 else (52, np.float64, 1023)
    np.bitwise_and(sets, -sets, out=sets)
    exponent = sets.astype(real).view(sets.dtype)
    exponent >>= bits
    exponent -= offset
    return exponent


class Top:
    """The top of a tree, cut off below at most 248 exits: leaves, or nodes that a descent goes on from.

    Args:
        nodes: (nodes, 4 or more) of one tree: feature or -1, threshold, left and right child. Children come after
            their parent.
        weight: (nodes,) records that come by each node; what most come by is not cut off.
        ranks: for each feature, the places of its codes, which the thresholds are compared with.
    """

    def __init__(self, nodes: NDArray[Any], weight: NDArray[Any], ranks: Sequence[NDArray[Any]]) -> None:
        inner = _heaviest(nodes, weight)
        exits: list[int] = []
        questions: list[tuple[int, int, int]] = []  # node, and the exits on its left
        stack = [(0, False)]
        first: dict[int, int] = {}
        while stack:  # from left to right
            node, asked = stack.pop()
            if asked:
                questions.append((node, first[node], len(exits)))
                stack.append((int(nodes[node, 3]), False))
            elif node in inner:
                first[node] = len(exits)
                stack += [(node, True), (int(nodes[node, 2]), False)]
            else:
                exits.append(node)
        self.exits = np.array(exits)
        self.tables: dict[int, Sets] = {}
        for node, start, stop in questions:
            feature, threshold = int(nodes[node, 0]), nodes[node, 1]
            if feature not in self.tables:
                self.tables[feature] = np.full((len(ranks[feature]), WORDS), FULL, dtype=np.int64)
            kept = ~(2**stop - 2**start)
            words = [kept >> BITS * word & FULL for word in range(WORDS)]
            self.tables[feature][ranks[feature] > threshold] &= np.array(words)

    def reach(self, codes: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
        """The exits (n,), as nodes, that records reach whose features have these codes, (n,) each."""
        found = np.empty(len(codes[0]), dtype=np.int64)
        for start in range(0, len(found), PIECE):
            piece = {feature: codes[feature][start : start + PIECE] for feature in self.tables}
            left, spare = np.empty((2, len(found[start : start + PIECE]), WORDS), dtype=np.int64)
            intersect(self.tables, piece, left, spare)
            word = lowest((left != 0).view(np.int32).ravel()) >> 3  # the first that is not empty
            place = lowest(left.ravel()[np.arange(0, left.size, WORDS) + word])
            found[start : start + PIECE] = self.exits[word * BITS + place]
        return found


def _heaviest(nodes: NDArray[Any], weight: NDArray[Any]) -> set[int]:
    """The inner nodes that most records come by, and fewer than there are bits: with each also its parent."""
    chosen: set[int] = set()
    waiting = [(-weight[0], 0)] if nodes[0, 0] >= 0 else []
    while waiting and len(chosen) < BITS * WORDS - 1:
        node = heapq.heappop(waiting)[1]
        chosen.add(node)
        for child in map(int, nodes[node, 2:4]):
            if nodes[child, 0] >= 0:
                heapq.heappush(waiting, (-weight[child], child))
    return chosen
