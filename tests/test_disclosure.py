"""Copies, and attacks on attributes, uniqueness and links, against exact counts and planted leaks."""

import numpy as np
import pytest
from scipy import stats

from synthgen.metrics.disclosure import (
    LINKS,
    copies,
    inference,
    linkability,
    near_copies,
    near_share,
    singling_out,
    success,
)
from synthgen.metrics.statistics import difference, proportion

NAN = np.nan


def normal(seed, n, d=4):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("copied", [0, 1, 37, 200])
def test_copies_are_counted_exactly(copied):
    rng = np.random.default_rng(0)
    train, rows = rng.normal(size=(500, 3)), rng.normal(size=(200, 3))
    rows[:copied] = train[rng.permutation(500)[:copied]]
    found = copies(train, rows)
    assert found.tolist() == [True] * copied + [False] * (200 - copied)


def test_copies_agree_with_sets_of_rows():
    rng = np.random.default_rng(0)
    train, rows = (rng.integers(-1, 4, (n, 3)).astype(float) for n in (60, 300))
    held = {tuple(row) for row in train}
    assert copies(train, rows).tolist() == [tuple(row) in held for row in rows]
    assert 0 < copies(train, rows).mean() < 1


def test_a_copy_has_the_same_gaps():
    train = np.array([[1, NAN, 2], [0.0, 1, 2]])
    rows = np.array([[1, NAN, 2], [1, 2, NAN], [1, 2, 2], [-0.0, 1, 2], [NAN, NAN, NAN]])
    assert copies(train, rows).tolist() == [True, False, False, True, False]


@pytest.mark.parametrize("seed", range(5))
def test_fresh_records_are_as_near_to_either_side(seed):
    found = near_share(normal(seed, 800), normal(seed + 100, 800), normal(seed + 200, 800))
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.11


@pytest.mark.parametrize(("d", "m"), [(2, 800), (12, 200), (30, 800)])
def test_the_interval_of_the_nearest_share_holds_where_a_few_records_are_nearest_to_many(d, m):
    found = [near_share(normal(3 * s, 200, d), normal(3 * s + 1, 200, d), normal(3 * s + 2, m, d)) for s in range(100)]
    assert np.mean([e.low < 0.5 < e.high for e in found]) > 0.9


def test_records_that_share_their_nearest_count_as_one():
    train, holdout = normal(0, 100), normal(1, 100)
    found = near_share(train, holdout, np.repeat(train[:5], 40, axis=0))
    assert found == pytest.approx(proportion(5, 5))


def test_copies_are_nearer_to_what_they_copy():
    train, holdout = normal(0, 600), normal(1, 600)
    assert near_share(train, holdout, train[::2])[::2] == (1, 1)
    assert near_share(holdout, train, train[::2])[:2] == (0, 0)
    assert near_share(train, train, holdout).value == 0.5  # all are ties


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_copies_of_some_shift_the_share_by_half_as_much(share):
    train, holdout, synthetic = (normal(seed, 2000) for seed in range(3))
    synthetic[: round(share * 2000)] = train[: round(share * 2000)]
    found = near_share(train, holdout, synthetic)
    assert found.value == pytest.approx(0.5 + share / 2, abs=0.04)
    assert found.low > 0.5


def test_the_nearest_share_compares_equally_many():
    train, holdout, synthetic = normal(0, 3000), normal(1, 500), normal(2, 800)
    assert near_share(train, holdout, synthetic) == near_share(train[:500], holdout, synthetic)
    assert near_share(holdout, train, synthetic) == near_share(holdout, train[:500], synthetic)


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_fresh_records_have_as_many_near_copies_as_held_out_ones(rate):
    theirs, own = near_copies(normal(0, 1500), normal(1, 1500), normal(2, 1500), rate)
    assert own.value == pytest.approx(rate, abs=1 / 1500)
    assert theirs.low < rate < theirs.high


@pytest.mark.parametrize("count", [0, 90, 600])
def test_near_copies_are_counted(count):
    train, holdout = normal(0, 600), normal(1, 600)
    synthetic = train + 1e-3 * normal(2, 600)
    synthetic[count:] += 50
    theirs, own = near_copies(train, holdout, synthetic)
    assert theirs.value == count / 600
    assert own.value == pytest.approx(0.01, abs=1 / 600)


def test_a_success_has_its_excess_over_others():
    found = success(30, 100, 10, 50)
    assert (found.members, found.others) == (proportion(30, 100), proportion(10, 50))
    assert found.excess == difference(found.members, found.others)
    assert not found.leaks
    strict = success(30, 100, 10, 50, level=0.001).excess
    assert strict.low < found.excess.low < found.excess.value == strict.value < found.excess.high < strict.high


@pytest.mark.parametrize(("members", "others", "leaks"), [(50, 10, True), (10, 50, False), (20, 20, False)])
def test_only_an_excess_that_is_certain_leaks(members, others, leaks):
    assert success(members, 100, others, 100).leaks == leaks


def infer(members, others, synthetic, columns, numeric):
    parts = members, others, synthetic
    points = tuple(np.nan_to_num(part, nan=9).astype(np.float32) for part in parts)
    return inference(columns, np.arange(members.shape[1]), points, parts, numeric)


def bound(seed, n=500):
    """Three labels far apart, and a fourth that is their sum."""
    x = 4.0 * np.random.default_rng(seed).integers(0, 4, (n, 3))
    return np.column_stack([x, x.sum(axis=1)])


def test_what_follows_from_other_columns_is_no_leak():
    found = infer(bound(0), bound(1), bound(2, 3000), [3], [False] * 4)[3]
    assert found.members.value == found.others.value == 1
    assert not found.leaks


def secret(seed, n=500):
    """Three numbers, and a label of ten that has nothing to do with them."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.normal(size=(n, 3)), rng.integers(0, 10, n)])


def test_a_random_attribute_leaks_exactly_where_it_was_memorised():
    members, others = secret(0), secret(1)
    fresh = infer(members, others, secret(2), [3], [True] * 3 + [False])[3]
    assert fresh.members.value == pytest.approx(0.1, abs=0.05)
    assert not fresh.leaks
    copied = infer(members, others, members, [3], [True] * 3 + [False])[3]
    assert copied.members.value == 1
    assert copied.others.value == pytest.approx(0.1, abs=0.05)
    assert copied.leaks
    half = np.concatenate([members[:250], secret(2, 250)])
    assert infer(members, others, half, [3], [True] * 3 + [False])[3].members.value == pytest.approx(0.55, abs=0.06)


def test_each_column_is_secret_in_turn_and_the_level_counts_them():
    members, others = secret(0, 200), secret(1, 200)
    one, all_four = (infer(members, others, secret(2), columns, [True] * 3 + [False]) for columns in ([3], range(4)))
    assert list(all_four) == [0, 1, 2, 3]
    assert all_four[3].members == one[3].members
    assert all_four[3].excess.low < one[3].excess.low
    assert not any(s.leaks for s in all_four.values())


@pytest.mark.parametrize(("off", "known"), [(0.0, True), (0.04, True), (0.06, False)])
def test_a_number_is_known_within_a_twentieth_of_its_middle_range(off, known):
    x = np.linspace(0, 1, 401)
    reach = np.diff(np.quantile(x, [0.05, 0.95]))[0]
    synthetic = np.column_stack([np.arange(401.0), x])
    moved = synthetic + np.array([0, off * reach])
    found = infer(moved, moved, synthetic, [1], [True, True])[1]
    assert found.members.value == found.others.value == known
    labels = infer(moved, moved, synthetic, [1], [True, False])[1]  # as labels only equal ones are
    assert labels.members.value == (off == 0)


def test_a_gap_is_inferred_as_a_gap():
    place = np.arange(40.0)
    synthetic = np.column_stack([place, np.where(place < 20, NAN, place)])
    members = np.column_stack([place, np.where(place < 10, NAN, 1e6)])  # gaps, where gaps and where numbers are guessed
    others = np.column_stack([place, np.full(40, 1e6)])
    found = infer(members, others, synthetic, [1], [True, True])[1]
    assert (found.members.value, found.others.value) == (0.25, 0)


def test_inference_hides_all_dimensions_of_the_secret_column():
    rows = np.column_stack([np.zeros(300), np.random.default_rng(0).integers(0, 2, 300)])
    one_hot = np.column_stack([np.zeros(300), rows[:, 1], 1 - rows[:, 1]]).astype(np.float32)
    said = []
    found = inference([1], np.array([0, 1, 1]), (one_hot,) * 3, (rows,) * 3, [True, False], said.append)[1]
    assert found.members.value == pytest.approx(0.5, abs=0.1)  # all look alike: the first is guessed
    assert said == [1.0]


def people(seed, n=400):
    """Two numbers and three labels; with five columns most rows are unique."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.normal(size=(n, 2)), rng.integers(0, 5, (n, 3))])


KINDS = [True, True, False, False, False]


@pytest.mark.parametrize("seed", range(3))
def test_fresh_records_single_out_members_no_more_than_others(seed):
    found = singling_out(people(3 * seed), people(3 * seed + 1), people(3 * seed + 2), KINDS)
    assert not found.leaks
    assert abs(found.excess.value) < 0.1
    assert 0.05 < found.members.value < 0.9


def test_copies_single_out_members():
    train = people(0)
    found = singling_out(train, people(1), train, KINDS)
    assert found.leaks
    assert found.members.value > found.others.value + 0.1
    # a description of a copy fits at least the one it is a copy of
    assert found.members.value > 0.8


def test_what_tells_one_from_all_others_singles_out_only_whom_it_was_copied_from():
    train, others = np.arange(300.0)[:, None], np.arange(300.0, 600)[:, None]
    found = singling_out(train, others, train, [False])
    assert (found.members.value, found.others.value) == (1, 0)
    same = singling_out(train * 0, others * 0, train * 0, [False])
    assert (same.members.value, same.others.value) == (0, 0)  # what fits all fits no one


def test_of_a_number_only_the_ends_are_unique():
    x = np.arange(101.0)[:, None]
    found = singling_out(x, x + 0.5, x, [True])
    assert found.members.value == 2 / 101


def test_fresh_records_single_out_members_as_rarely_as_promised():
    runs = [[people(3 * s + k, 100) for k in range(3)] for s in range(100)]
    assert sum(singling_out(*run, KINDS).leaks for run in runs) <= 8


def test_gaps_are_described_as_gaps():
    x = np.full((200, 1), NAN)
    x[1:] = 5
    assert singling_out(x, np.full((200, 1), 5.0), x[:1].repeat(200, axis=0), [True]).members.value == 1
    assert singling_out(x * NAN, x * NAN, x * NAN, [True]).members.value == 0


def test_singling_out_is_the_same_each_time_and_differs_by_seed():
    parts = people(0), people(1), people(2)
    assert singling_out(*parts, KINDS, seed=1) == singling_out(*parts, KINDS, seed=1)
    assert singling_out(*parts, KINDS, seed=1) != singling_out(*parts, KINDS, seed=2)


@pytest.mark.parametrize("seed", range(3))
def test_fresh_records_link_members_no_more_than_others(seed):
    points = tuple(normal(3 * seed + k, 600, 6) for k in range(3))
    found = linkability(np.arange(6), points, 6)
    assert not found.leaks
    assert abs(found.excess.value) < 0.06


def test_copies_link_both_halves():
    members, others = normal(0, 600, 6), normal(1, 600, 6)
    found = linkability(np.arange(6), (members, others, members), 6)
    assert found.members.value == 1
    assert found.leaks


@pytest.mark.parametrize("m", [3, LINKS])
def test_where_all_are_near_all_are_linked(m):
    points = normal(0, 50, 4), normal(1, 50, 4), normal(2, m, 4)
    found = linkability(np.arange(4), points, 4)
    assert (found.members.value, found.others.value) == (1, 1)


def test_unrelated_halves_are_linked_by_chance():
    points = normal(0, 2000, 4), normal(1, 2000, 4), normal(2, 40, 4)
    found = linkability(np.arange(4), points, 4)
    none = stats.hypergeom(40, LINKS, LINKS).pmf(0)  # two draws of five of forty have none in common
    # near the middle records are neighbours of more: links are somewhat likelier than of random fives
    assert 1 - none - 0.03 < found.others.value < 1 - none + 0.25


def test_links_are_counted_by_the_columns_of_each_dimension():
    members, synthetic = normal(0, 200, 3), normal(1, 200, 3)
    dimensions = np.array([0, 0, 1])
    for seed in range(3):
        found = linkability(dimensions, (members, members, synthetic), 2, seed).members
        order = [np.argsort(np.abs(members[:, None, 2] - synthetic[:, 2]), axis=1)]
        order.append(np.argsort(((members[:, None, :2] - synthetic[:, :2]) ** 2).sum(axis=2), axis=1))
        linked = [bool({*a[:LINKS]} & {*b[:LINKS]}) for a, b in zip(*order, strict=True)]
        assert found.value == np.mean(linked)


def test_halves_of_columns_differ_by_seed():
    points = normal(0, 300, 6), normal(1, 300, 6), normal(2, 300, 6)
    assert len({linkability(np.arange(6), points, 6, seed).members.value for seed in range(6)}) > 1
