"""Leaves that are found without descending are those that sklearn descends to."""

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from synthgen.nn.leaves import BITS, PIECE, WORDS, Top, lowest

MOST = BITS * WORDS


@pytest.mark.parametrize("leaves", [1, 2, 60, 130, MOST, 2000])
def test_exits_are_leaves_or_above_them(leaves):
    rng = np.random.default_rng(0)
    records = rng.integers(0, 40, (PIECE + 1000, 5))
    target = rng.random(len(records)) if leaves > 1 else np.zeros(len(records))
    tree = DecisionTreeRegressor(max_leaf_nodes=max(leaves, 2), random_state=0).fit(records, target)
    grown = tree.tree_
    columns = [np.maximum(grown.feature, -1), np.floor(grown.threshold), grown.children_left, grown.children_right]
    places = [rng.permutation(40) for _ in range(5)]  # a code's, in each column
    codes = [np.argsort(place)[column] for place, column in zip(places, records.T, strict=True)]
    top = Top(np.stack(columns, axis=1).astype(np.int32), grown.n_node_samples, places)
    found = top.reach(codes)
    assert (np.asarray(tree.decision_path(records)[np.arange(len(records)), found]) == 1).all()
    assert len(top.exits) == min(leaves, MOST) == len(set(top.exits))
    if leaves <= MOST:
        np.testing.assert_array_equal(found, tree.apply(records))


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_the_lowest_bit_of_every_word(kind):
    bits = np.iinfo(kind).bits - 2
    words = np.random.default_rng(0).integers(1, 2**bits, 1000).astype(kind) << np.arange(1000) % 7 & 2**bits - 1
    expected = [(int(word) & -int(word)).bit_length() - 1 for word in words]
    found = lowest(words.copy())
    np.testing.assert_array_equal(found[words > 0], np.array(expected)[words > 0])
    assert (found[words == 0] < 0).all()
