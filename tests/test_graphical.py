import itertools

import pytest
import torch

from synthgen.nn.graphical import Graphical, Measured, cells, junction_tree, spaced, tree_cells

SIZES = (2, 3, 2, 4, 2)
GRAPHS = [
    [],
    [(0, 1)],
    [(0, 1), (1, 2), (2, 3), (3, 4)],
    [(0, 1), (1, 2), (2, 3), (0, 3)],  # a cycle, which needs a chord
    [(0, 1), (2, 3)],  # two parts and a column of its own
    [(0, 1, 2), (2, 3), (2, 4), (3,)],
    list(itertools.combinations(range(5), 2)),
]


def random_model(cliques, seed=0, sizes=SIZES):
    g = torch.Generator().manual_seed(seed)
    return Graphical(sizes, {c: 2 * torch.randn([sizes[j] for j in c], generator=g) for c in cliques})


def enumerated(model):
    """All probabilities, in the shape of the sizes, by the definition."""
    log = torch.zeros(model.sizes)
    for c, theta in model.potentials.items():
        log = log + theta.reshape([s if j in c else 1 for j, s in enumerate(model.sizes)])
    return torch.softmax(log.flatten().double(), 0).reshape(model.sizes)


def summed(joint, columns):
    rest = [j for j in range(joint.dim()) if j not in columns]
    kept = [j for j in range(joint.dim()) if j in columns]
    table = joint.sum(rest) if rest else joint
    return table.permute([kept.index(j) for j in columns])


@pytest.mark.parametrize("cliques", GRAPHS)
def test_every_marginal_equals_enumeration(cliques):
    model = random_model(cliques)
    joint = enumerated(model)
    for size in range(1, 6):
        for columns in itertools.permutations(range(5), size):
            torch.testing.assert_close(model.marginal(columns).double(), summed(joint, columns), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cliques", GRAPHS)
def test_a_junction_tree_holds_every_clique_and_column_and_intersects_running(cliques):
    tree = junction_tree(SIZES, cliques)
    assert tree.parents[0] == -1
    assert {j for c in tree.cliques for j in c} == set(range(5))
    assert all(any({*c} <= {*k} for k in tree.cliques) for c in cliques)
    assert not any({*a} <= {*b} for a, b in itertools.permutations(tree.cliques, 2))
    for i in range(1, len(tree.cliques)):
        before = {j for c in tree.cliques[:i] for j in c}
        assert 0 <= tree.parents[i] < i
        assert {*tree.cliques[i]} & before <= {*tree.cliques[tree.parents[i]]}
    assert tree_cells(SIZES, cliques) == sum(cells(c, SIZES) for c in tree.cliques)


def test_running_intersection_on_random_graphs():
    g = torch.Generator().manual_seed(0)
    for _ in range(50):
        pairs = [tuple(sorted(torch.randperm(9, generator=g)[:2].tolist())) for _ in range(10)]
        tree = junction_tree([2] * 9, pairs)
        for j in range(9):  # the cliques of a column hang together: one of them alone has a parent without it
            tops = [
                i
                for i, c in enumerate(tree.cliques)
                if j in c and (tree.parents[i] < 0 or j not in tree.cliques[tree.parents[i]])
            ]
            assert len(tops) == 1


@pytest.mark.parametrize("cliques", GRAPHS[1:])
def test_exact_marginals_are_reproduced(cliques):
    truth = random_model(cliques, seed=1)
    measured = [Measured(c, 1000 * truth.marginal(c), 1.0) for c in cliques]
    model = Graphical(SIZES).extended(cliques)
    assert model.fit(measured, 1000, 2000) < 1  # sum of squares of deviations of one count
    for c in cliques:
        torch.testing.assert_close(model.marginal(c), truth.marginal(c), atol=2e-3, rtol=0)


def test_what_is_not_measured_stays_independent():
    truth = random_model([(0, 1), (1, 2)], seed=2)
    model = Graphical(SIZES).extended([(0, 1), (1, 2)])
    model.fit([Measured(c, 1000 * truth.marginal(c), 1.0) for c in [(0, 1), (1, 2)]], 1000, 2000)
    p = model.marginal((0, 1, 2))
    given = p / p.sum((0, 2), keepdim=True)
    torch.testing.assert_close(given, given.sum(2, keepdim=True) * given.sum(0, keepdim=True), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.marginal((3,)), torch.full((4,), 0.25))


def test_several_measurements_weigh_by_their_precision():
    model = Graphical((2,)).extended([(0,)])
    model.fit([Measured((0,), torch.tensor([80.0, 20]), 1.0), Measured((0,), torch.tensor([20.0, 80]), 2.0)], 100, 500)
    torch.testing.assert_close(model.marginal((0,)), torch.tensor([0.68, 0.32]), atol=1e-3, rtol=0)


def test_negative_counts_and_contradictions_give_a_distribution():
    model = Graphical((2, 2)).extended([(0, 1), (0,)])
    wrong = [Measured((0, 1), torch.tensor([[90.0, -30], [5, -5]]), 3.0), Measured((0,), torch.tensor([10.0, 90]), 3.0)]
    model.fit(wrong, 100, 500)
    p = model.marginal((0, 1))
    assert torch.isfinite(p).all()
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)


def test_the_loss_never_rises():
    truth = random_model(GRAPHS[3], seed=3)
    measured = [Measured(c, 500 * truth.marginal(c), 2.0) for c in GRAPHS[3]]
    losses = [Graphical(SIZES).extended(GRAPHS[3]).fit(measured, 500, steps) for steps in (0, 1, 5, 20, 100)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.01 * losses[0]


def test_an_extended_model_is_the_same_distribution():
    model = random_model([(0, 1), (2, 3)])
    wider = model.extended([(1, 2), (0, 4), (0, 1)])
    torch.testing.assert_close(enumerated(wider), enumerated(model))
    torch.testing.assert_close(wider.marginal((0, 3)), model.marginal((0, 3)))


@pytest.mark.parametrize("cliques", GRAPHS)
def test_sampled_frequencies_are_the_probabilities(cliques):
    model, n = random_model(cliques), 40_000
    x = model.sample(n, torch.Generator().manual_seed(0))
    assert x.shape == (n, 5)
    assert x.dtype == torch.long
    joint = enumerated(model)
    place = torch.zeros(n, dtype=torch.long)
    for j, size in enumerate(SIZES):
        place = place * size + x[:, j]
    found = torch.bincount(place, minlength=joint.numel()).double()
    expected = n * joint.flatten()
    assert (
        float(((found - expected) ** 2 / expected.clamp_min(1)).sum()) < 150
    )  # chi-square of 95 cells: 99.9 % below 145


def test_a_sampled_clique_is_nearer_than_chance():
    model, n = random_model([(0, 1)], sizes=(3, 4)), 10_000
    x = model.sample(n, torch.Generator().manual_seed(0))
    found = torch.bincount(x[:, 0] * 4 + x[:, 1], minlength=12)
    assert (found - n * model.marginal((0, 1)).flatten()).abs().max() < 1.1  # evenly spaced quantiles


def test_samples_are_seeded_and_in_random_order():
    model = random_model([(0, 1)])
    draw = [model.sample(2000, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    half = draw[0].double()[:1000].mean(0), draw[0].double()[1000:].mean(0)
    torch.testing.assert_close(half[0], half[1], atol=0.15, rtol=0)


def test_spaced_draws_never_take_what_has_no_weight():
    p = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0]], dtype=torch.float64)
    row = torch.tensor([0, 1] * 500)
    code = spaced(p, row, torch.Generator().manual_seed(0))
    assert (code[row == 0] == 1).all()
    assert torch.bincount(code[row == 1], minlength=4).tolist() == [250, 0, 250, 0]


def test_no_rows_and_one_code():
    model = Graphical((1, 3))
    assert model.sample(0, torch.Generator()).shape == (0, 2)
    assert (model.sample(5, torch.Generator().manual_seed(0))[:, 0] == 0).all()


def test_certainties_do_not_become_nan():
    theta = torch.tensor([[0.0, -500], [-500, -500], [-500, 0]])
    model = Graphical((3, 2, 2), {(0, 1): theta, (0, 2): theta})
    assert torch.isfinite(model.marginal((1, 2))).all()
    x = model.sample(100, torch.Generator().manual_seed(0))
    assert (x[:, 1] == x[:, 2]).all()


@pytest.mark.parametrize(
    "potentials", [{(1, 0): torch.zeros(3, 2)}, {(0, 0): torch.zeros(2, 2)}, {(0, 1): torch.zeros(3, 2)}]
)
def test_potentials_of_another_shape_or_order_are_refused(potentials):
    with pytest.raises(ValueError, match="potentials of columns"):
        Graphical((2, 3), potentials)
