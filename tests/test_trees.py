"""Sequential trees: how they grow, what they draw, and what stored ones are refused."""

import numpy as np
import pytest
import synthgen_trees
import torch
from sklearn.tree import DecisionTreeRegressor
from synthgen_trees import SIZES, Trees, choose_leaf, descend, features, to_arrays

from synthgen import Synthesizer
from synthgen.errors import SynthgenError
from synthgen.records import Records
from synthgen.space import EMPTY, Space
from synthgen.training import Training

SPACE = Space((4,), (3, 6, 40, 200), (False, False, True, False))


def dependent(n=1500):
    """Four columns: a label, twice the label plus a coin, a number around it, and a name that it decides."""
    rng = np.random.default_rng(0)
    label = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    pair = 2 * label + rng.integers(0, 2, n)
    number = np.clip(rng.normal(8 + 12 * label, 2), 0, 39).round()
    name = 50 * label + rng.integers(0, 20, n) * 2
    return torch.tensor(np.stack([label, pair, number, name], axis=1), dtype=torch.float32)


def fit(x, space, c=None, context=EMPTY, seconds=None, **settings):
    torch.manual_seed(0)
    model = Trees(space, context, Trees.Config(**settings))
    training = Training(seconds=seconds)
    model.fit(Records(x, c), training)
    model.validate()
    return model, training


def draw(model, n, c=None, seed=1):
    torch.manual_seed(seed)
    return model.sample(n, torch.zeros(n, 0) if c is None else c)


@pytest.fixture(scope="module")
def fitted():
    return fit(dependent(), SPACE, rounds=30)[0]


def test_of_pure_noise_the_largest_leaves_are_best():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 50, (6000, 4)).astype(np.float32)
    y = features(np.full(20, 300), True)[rng.integers(0, 20, 6000)]
    assert choose_leaf(x, y, rng) == SIZES[-1] // 2


@pytest.mark.parametrize("ordered", [True, False])
def test_of_a_function_the_smallest_leaves_are_best(ordered):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 100, (6000, 1)).astype(np.float32)
    target = (x[:, 0].astype(int) * 7) % 20
    y = features(np.bincount(target, minlength=20), ordered)[target]
    assert choose_leaf(x, y, rng) == SIZES[0]


def test_fewer_records_than_a_leaf_still_give_a_size():
    rng = np.random.default_rng(0)
    assert choose_leaf(rng.random((10, 2)).astype(np.float32), rng.random((10, 3)), rng) in SIZES


@pytest.fixture(scope="module")
def grown():
    """Two trees of sklearn on whole numbers, and the same laid end to end."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 30, (800, 3))
    target = ((x[:, 0] > 12) * 2 + (x[:, 1] + x[:, 2] > 30)).astype(np.int16)
    y = np.eye(4)[target]
    trees = [DecisionTreeRegressor(min_samples_leaf=leaf, random_state=0).fit(x, y) for leaf in (5, 60)]
    arrays = [to_arrays(t, x.astype(np.float32), target, rng) for t in trees]
    return x.astype(np.int16), target, trees, arrays


def test_descending_ends_in_the_leaves_of_sklearn(grown):
    _, _, trees, arrays = grown
    fresh = np.random.default_rng(1).integers(-3, 35, (3000, 3)).astype(np.int16)
    for tree, (nodes, _) in zip(trees, arrays, strict=True):
        np.testing.assert_array_equal(descend(nodes, np.zeros(3000, dtype=int), fresh), tree.apply(fresh))


@pytest.mark.parametrize("trees", [1, 3])
def test_many_records_draw_what_few_would(people, trees, monkeypatch):
    """Looking at trees as a whole, and descending where they are too large for that, finds the same leaves."""
    model = Synthesizer("trees", trees=trees, leaf=2, rounds=0, keep_rare=True).fit(people).model
    monkeypatch.setattr(synthgen_trees, "MANY", 10**9)
    few = model._draw(torch.zeros(5000, 0), np.random.default_rng(0))
    monkeypatch.setattr(synthgen_trees, "MANY", 0)
    np.testing.assert_array_equal(few, model._draw(torch.zeros(5000, 0), np.random.default_rng(0)))


def test_a_leaf_keeps_the_codes_of_its_records(grown):
    x, target, trees, arrays = grown
    for tree, (nodes, donors) in zip(trees, arrays, strict=True):
        leaves = tree.apply(x)
        for leaf in np.unique(leaves):
            first, count = nodes[leaf, 4:]
            assert sorted(donors[first : first + count]) == sorted(target[leaves == leaf])
        assert len(donors) == len(x)


def test_names_get_an_indicator_each():
    counts = np.array([5, 0, 9, 1])
    np.testing.assert_array_equal(features(counts, False), np.eye(4)[:, [2, 0, 3]])


def test_beyond_forty_names_the_rare_ones_are_alike():
    counts = np.arange(1, 101)
    found = features(counts, False)
    assert found.shape == (100, 40)
    np.testing.assert_array_equal(found.sum(axis=1), np.arange(100) >= 60)


def test_ordered_codes_get_cosines_of_their_place():
    counts = np.array([10, 30, 40, 20])
    place = np.array([0.05, 0.25, 0.6, 0.9])  # middles of their shares
    found = features(counts, True)
    for k in range(1, 7):
        np.testing.assert_allclose(found[:, k - 1], np.sqrt(2 / k) * np.cos(k * np.pi * place))
    np.testing.assert_array_equal(found[:, 6:], np.eye(4)[:, [2, 1, 3, 0]])  # heaviest first


def test_light_codes_get_no_indicator_of_their_own():
    assert features(np.full(100, 10), True).shape == (100, 6)


@pytest.mark.parametrize("trees", [1, 3])
def test_every_code_drawn_was_seen_in_that_column(trees):
    x = dependent(300)
    model, _ = fit(x, SPACE, rounds=5, trees=trees)
    drawn = draw(model, 3000)
    for j in range(4):
        assert set(drawn[:, j].tolist()) <= set(x[:, j].tolist())


def test_how_columns_depend_is_learned(fitted):
    x = draw(fitted, 5000).numpy()
    assert np.mean(x[:, 1] // 2 == x[:, 0]) > 0.99
    assert np.mean(x[:, 3] // 50 == x[:, 0]) > 0.97
    for label in range(3):
        number = x[x[:, 0] == label, 2]
        assert number.mean() == pytest.approx(8 + 12 * label, abs=0.5)
        assert number.std() == pytest.approx(2, abs=0.4)
    np.testing.assert_allclose(np.bincount(x[:, 0].astype(int)) / len(x), [0.5, 0.3, 0.2], atol=0.05)


def test_independent_columns_stay_so():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.integers(0, 4, (4000, 2)), dtype=torch.float32)
    model, _ = fit(x, Space((2,), (4, 4), (False, True)), rounds=30)
    drawn = draw(model, 20_000).long()
    joint = torch.bincount(drawn[:, 0] * 4 + drawn[:, 1], minlength=16) / len(drawn)
    torch.testing.assert_close(joint, torch.full((16,), 1 / 16), atol=0.015, rtol=0)


def test_the_correction_moves_draws_to_the_truth():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 8000))
    x = torch.tensor(np.stack([a, b, a ^ b], axis=1), dtype=torch.float32)
    space = Space((3,), (2, 2, 2), (False,) * 3)
    odd = []
    for rounds in (0, 60):
        model, _ = fit(x, space, rounds=rounds, leaf=3000)  # leaves too large to see the exclusive or
        drawn = draw(model, 8000).long()
        odd.append(float((drawn[:, 2] != drawn[:, 0] ^ drawn[:, 1]).float().mean()))
    assert odd[0] > 0.3
    assert odd[1] < odd[0] / 2


def test_the_context_is_followed():
    rng = np.random.default_rng(0)
    context = Space((1,), (3,), (False,))
    given = torch.tensor(rng.integers(0, 3, (900, 1)), dtype=torch.float32)
    x = torch.cat([given, torch.tensor(rng.integers(0, 5, (900, 1)), dtype=torch.float32)], dim=1)
    model, _ = fit(x, Space((2,), (3, 5), (False, True)), context.embed(given), context, rounds=20)
    asked = torch.arange(600)[:, None] % 3
    assert float((draw(model, 600, context.embed(asked.float()))[:, :1] == asked).float().mean()) > 0.99


@pytest.mark.parametrize(
    ("sizes", "ordered"),
    [
        ((1,), (False,)),
        ((1000,), (True,)),
        ((1000, 1000), (True, False)),
        ((2, 1, 1000, 2), (False, True, False, True)),
    ],
)
def test_columns_of_one_or_many_codes(sizes, ordered):
    rng = np.random.default_rng(0)
    x = torch.tensor(np.stack([rng.integers(0, k, 500) for k in sizes], axis=1), dtype=torch.float32)
    model, _ = fit(x, Space((len(sizes),), sizes, ordered), rounds=5)
    drawn = draw(model, 1000)
    assert drawn.shape == (1000, len(sizes))
    assert bool(((drawn >= 0) & (drawn < torch.tensor(sizes)) & (drawn == drawn.round())).all())


def test_ten_records_are_enough():
    model, _ = fit(dependent(10), SPACE)
    assert draw(model, 100).shape == (100, 4)


def test_without_time_columns_are_drawn_by_themselves_and_it_says_so():
    x = dependent()
    model, training = fit(x, SPACE, seconds=1e-9)
    assert len(training.notes) == 4
    assert "time was up before column 1 of 4" in training.notes[0]
    drawn = draw(model, 5000)
    found = torch.bincount(drawn[:, 0].long(), minlength=3) / 5000
    torch.testing.assert_close(found, torch.bincount(x[:, 0].long()) / len(x), atol=0.03, rtol=0)
    assert np.mean((drawn[:, 1] // 2 == drawn[:, 0]).numpy()) < 0.6


@pytest.mark.parametrize("trees", [1, 4])
def test_the_number_of_trees_is_that_asked_for(trees):
    model, _ = fit(dependent(200), SPACE, rounds=0, trees=trees)
    assert len(model.trees) == 4 * trees
    assert len(model.correction.ratio.values) == 0


def test_no_leaf_is_smaller_than_asked():
    model, _ = fit(dependent(500), SPACE, rounds=0, leaf=70)
    leaves = model.nodes[model.nodes[:, 0] < 0]
    assert int(leaves[:, 5].min()) >= 70


def broken(fitted, **changes):
    weights = {name: t.clone() for name, t in fitted.state_dict().items()}
    for name, change in changes.items():
        change(weights[name.replace("__", ".")])
    return weights


def inner(nodes):
    return (nodes[:, 0] >= 0).nonzero()[0, 0]


def leaf(nodes):
    return (nodes[:, 0] < 0).nonzero()[-1, 0]


def put(row, column, value):
    """Set one field of the first inner node or of the last leaf."""

    def change(nodes):
        nodes[row(nodes), column] = value

    return change


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": put(inner, 2, 0)},
        {"nodes": put(inner, 3, -1)},
        {"nodes": put(inner, 3, 1_000_000)},
        {"nodes": put(inner, 0, 4)},
        {"nodes": put(inner, 0, 3)},
        {"nodes": put(leaf, 5, 0)},
        {"nodes": put(leaf, 5, 1_000_000)},
        {"nodes": put(leaf, 4, -1_000_000)},
        {"nodes": put(leaf, 4, 1_000_000)},
        {"donors": lambda donors: donors.fill_(-1)},
        {"donors": lambda donors: donors.fill_(250)},
        {"trees": lambda trees: trees.fill_(1_000_000)},
        {"trees": lambda trees: trees[:, 1].fill_(1_000_000)},
        {"trees": lambda trees: trees[1:, 0].sub_(10_000)},
        {"correction__ratio__questions": lambda questions: questions.fill_(9)},
    ],
    ids=[
        "loop",
        "back",
        "away",
        "column beyond",
        "column not drawn yet",
        "empty leaf",
        "long leaf",
        "leaf before",
        "leaf beyond",
        "negative code",
        "code beyond",
        "roots",
        "donors",
        "disorder",
        "correction",
    ],
)
def test_stored_trees_that_contradict_themselves_are_refused(fitted, changes):
    copy = Trees(SPACE, EMPTY, fitted.config)
    with pytest.raises(SynthgenError, match="contradict each other"):
        copy.load_weights(broken(fitted, **changes))


@pytest.mark.parametrize("name", ["nodes", "donors", "trees", "ranks", "correction.ratio.values"])
def test_stored_trees_that_lack_a_part_are_refused(fitted, name):
    weights = broken(fitted)
    weights[name] = weights[name][:0]
    with pytest.raises(SynthgenError, match="contradict each other"):
        Trees(SPACE, EMPTY, fitted.config).load_weights(weights)


def test_stored_trees_draw_the_same(fitted):
    copy = Trees(SPACE, EMPTY, fitted.config)
    copy.load_weights(broken(fitted))
    assert torch.equal(draw(copy, 500), draw(fitted, 500))
