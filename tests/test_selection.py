import numpy as np
import pytest
import torch

from synthgen.dp.selection import learn_marginals, merge, nearest


class Answers:
    """Records in the open, answered as the protocol says; notes what is paid and what is asked."""

    def __init__(self, codes, sizes, seed=0, total=None, ledger=None, asked=None):
        self.codes, self.sizes, self.total = codes, tuple(sizes), len(codes) if total is None else total
        self.random = np.random.default_rng(seed)
        self.ledger, self.asked = ([] if ledger is None else ledger), ([] if asked is None else asked)

    def counts(self, columns):
        shape = [self.sizes[j] for j in columns]
        place = np.ravel_multi_index([self.codes[:, j] for j in columns], shape)
        return np.bincount(place, minlength=np.prod(shape)).reshape(shape).astype(float)

    def measure(self, columns, rho):
        assert rho > 0
        self.ledger.append(rho)
        self.asked.append(tuple(columns))
        sigma = np.sqrt(1 / (2 * rho))
        counts = self.counts(columns)
        return counts + self.random.normal(0, sigma, counts.shape), float(sigma)

    def choose(self, candidates, weights, rho, penalties):
        assert rho > 0
        assert len(candidates) == len(weights) == len(penalties)
        self.ledger.append(rho)
        error = np.array([np.abs(self.counts(c) - guess).sum() for c, guess in candidates])
        score = np.array(weights) * (error - np.array(penalties))
        return int(np.argmax(score * np.sqrt(8 * rho) / (2 * max(weights)) + self.random.gumbel(size=len(score))))

    def merged(self, groups):
        codes = np.column_stack([g[self.codes[:, j]] for j, g in enumerate(groups)])
        sizes = [int(g.max()) + 1 for g in groups]
        return Answers(codes, sizes, 1, self.total, self.ledger, self.asked)


def planted(n=5000, columns=6, seed=0):
    """Codes of 4; column 1 tells 0, column 4 tells 2; the others are alone."""
    g = np.random.default_rng(seed)
    codes = g.integers(0, 4, (n, columns))
    for a, b in ((0, 1), (2, 4)):
        codes[:, b] = np.where(g.random(n) < 0.8, codes[:, a], codes[:, b])
    return codes


def learned(codes, rho=0.02, target=None, sizes=None, ordered=None):
    sizes = sizes or [4] * codes.shape[1]
    records = Answers(codes, sizes)
    return records, learn_marginals(records, rho, ordered or [False] * len(sizes), target)


def test_planted_dependencies_are_asked_for_first():
    records, _ = learned(planted())
    pairs = [c for c in records.asked if len(c) == 2]
    assert set(pairs[:2]) == {(0, 1), (2, 4)}


def test_samples_have_the_planted_dependencies_and_no_others():
    codes = planted()
    _, model = learned(codes, rho=0.1)
    x = model.sample(5000, torch.Generator().manual_seed(0)).numpy()
    for a, b in ((0, 1), (2, 4), (0, 2), (3, 5)):
        assert (x[:, a] == x[:, b]).mean() == pytest.approx((codes[:, a] == codes[:, b]).mean(), abs=0.04)


@pytest.mark.parametrize("rho", [1e-4, 3.0])
@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("target", [None, 0])
def test_the_budget_is_spent_to_the_last(rho, columns, target):
    records, model = learned(planted(500, 5)[:, :columns], rho, target)
    assert sum(records.ledger) == pytest.approx(rho, rel=1e-9)
    assert model.sample(10, torch.Generator().manual_seed(0)).shape == (10, columns)


def test_every_column_is_asked_alone_before_pairs():
    records, _ = learned(planted())
    assert records.asked[:6] == [(j,) for j in range(6)]
    assert all(len(c) == 2 for c in records.asked[6:])


def test_pairs_with_the_target_come_without_a_choice():
    records, _ = learned(planted(), target=3)
    assert set(records.asked[6:11]) == {(0, 3), (1, 3), (2, 3), (3, 4), (3, 5)}


def test_a_target_of_many_codes_leaves_half_for_other_pairs():
    codes = np.random.default_rng(0).integers(0, 40, (20_000, 6))
    records, _ = learned(codes, rho=0.5, target=0, sizes=[40] * 6)
    assert sum(records.ledger[:11]) < 0.6 * 0.5
    assert sum(records.ledger) == pytest.approx(0.5)


def test_many_columns_are_chosen_several_at_once():
    codes = np.random.default_rng(0).integers(0, 2, (300, 20))
    records, model = learned(codes, sizes=[2] * 20)
    assert sum(records.ledger) == pytest.approx(0.02)
    assert len(model.model.potentials) > 20


def test_the_total_is_not_taken_from_the_records():
    codes = planted()
    answers = Answers(codes, [4] * 6, total=4000)
    model = learn_marginals(answers, 0.1, [False] * 6)
    assert [s.sum() for s in model.shares] == pytest.approx([4000] * 6)


def test_fine_codes_come_back_by_their_own_shares():
    g = np.random.default_rng(0)
    codes = np.column_stack([np.minimum(g.geometric(0.1, 20_000), 60) - 1, g.integers(0, 3, 20_000)])
    _, model = learned(codes, rho=1.0, sizes=[60, 3], ordered=[True, False])
    assert model.model.sizes[0] < 40
    x = model.sample(20_000, torch.Generator().manual_seed(0)).numpy()
    gap = np.bincount(x[:, 0], minlength=60) - np.bincount(codes[:, 0], minlength=60)
    assert np.abs(gap).sum() / 2 / 20_000 < 0.02


@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan")])
def test_nothing_is_learned_for_nothing(rho):
    with pytest.raises(ValueError, match="rho"):
        learned(planted(100), rho)


def test_the_nearest_counts_are_a_projection():
    g = np.random.default_rng(0)
    y = g.normal(5, 20, 30)
    x = nearest(y, 100.0)
    assert x.min() >= 0
    assert x.sum() == pytest.approx(100)
    for _ in range(200):
        other = g.dirichlet(np.full(30, 0.3)) * 100
        assert np.square(x - y).sum() <= np.square(other - y).sum()
    assert nearest(np.array([-5.0, -9.0]), 10.0) == pytest.approx([7.0, 3.0])


def test_rare_labels_become_one_group():
    assert merge(np.array([500.0, 2, 300, 1, 0]), False, 10, 1).tolist() == [0, 2, 1, 2, 2]
    assert merge(np.array([500.0, 2, 300]), False, 10, 1).tolist() == [0, 1, 2]
    assert merge(np.array([1.0, 2, 3]), False, 10, 1).tolist() == [0, 0, 0]


def test_numbers_are_merged_with_neighbours_only():
    groups = merge(np.full(100, 50.0), True, 5, 1)
    assert groups[0] == 0
    assert set(np.diff(groups)) == {0, 1}
    assert groups.max() + 1 == 10


def test_a_frequent_number_stays_alone_and_the_others_share_the_rest():
    counts = np.r_[9000.0, np.full(50, 20.0)]
    groups = merge(counts, True, 5, 1)
    assert (groups == 0).sum() == 1
    assert 5 < groups.max() <= 12


def test_noise_makes_groups_larger():
    counts = np.full(100, 50.0)
    assert merge(counts, True, 300, 1).max() + 1 <= 3
