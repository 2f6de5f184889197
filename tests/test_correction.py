"""What picks drawn records: importance resampling, tone curves, and work in batches."""

import pytest
import torch
from synthgen_trees import Trees

from synthgen.errors import Interrupted
from synthgen.nn.batches import in_batches
from synthgen.nn.correction import Correction, Uncorrected, correction
from synthgen.nn.density import Joint
from synthgen.nn.tones import Tones
from synthgen.space import EMPTY, Space
from synthgen.training import Training

PAIR = Space((2,), (2, 0), (False, True))
CLASS = Space((1,), (2,), (False,))


def independent(c):
    """Records whose number knows nothing of their label."""
    return torch.stack([(torch.rand(len(c)) < 0.5).float(), torch.randn(len(c))], 1)


def real(n):
    label = (torch.rand(n) < 0.5).float()
    return torch.stack([label, torch.randn(n) * 0.6 + 1.6 * label - 0.8], 1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_records_are_picked_so_that_columns_depend_as_in_the_real_ones():
    x, c = real(4000), torch.zeros(4000, 0)
    fixed = Correction(PAIR, EMPTY, 100, 16)
    fixed.fit(independent, x, c, Training())
    drawn = fixed.sample(independent, c)
    assert drawn.shape == x.shape
    apart = [t[t[:, 0] == 1, 1].mean() - t[t[:, 0] == 0, 1].mean() for t in (x, drawn, independent(c))]
    assert apart[2].abs() < 0.15
    assert apart[1] > 0.7 * apart[0]


def test_the_context_is_part_of_what_is_compared():
    c = CLASS.embed((torch.rand(4000, 1) < 0.5).float())
    x = independent(c)
    x[:, 0] = c[:, 1]
    fixed = Correction(PAIR, CLASS, 50, 8)
    fixed.fit(independent, x, c, Training())
    assert (fixed.sample(independent, c)[:, 0] == c[:, 1]).float().mean() > 0.9


@pytest.mark.parametrize("classes", [0, 2])
def test_what_is_drawn_too_rarely_is_found_among_the_candidates_of_all_equal_contexts(classes):
    def rarely(c):
        label = (torch.rand(len(c)) < 0.15).float()
        return torch.stack([label, torch.randn(len(c)) * 0.6 + 1.6 * label - 0.8], 1)

    x, given = real(4000), (torch.rand(4000, 1) < 0.5).float()
    c = CLASS.embed(given) if classes else torch.zeros(4000, 0)
    fixed = Correction(PAIR, CLASS if classes else EMPTY, 100, 8)
    fixed.fit(rarely, x, c, Training())
    label = fixed.sample(rarely, c)[:, 0]
    assert float(label.mean()) == pytest.approx(0.5, abs=0.05)  # .41 if each picked among its own
    assert float(label[:2000].mean()) == pytest.approx(float(label[2000:].mean()), abs=0.08)  # not the likeliest first


def test_columns_keep_their_frequencies_where_few_candidates_fit():
    space = Space((2,), (4, 4), (False, False))
    label = torch.multinomial(torch.tensor([0.7, 0.1, 0.1, 0.1]), 4000, replacement=True).float()
    x, c = torch.stack([label, label], 1), torch.zeros(4000, 0)  # two names for one thing

    def apart(c):
        return torch.stack([label[torch.randint(4000, (len(c),))] for _ in range(2)], 1)

    fixed = Correction(space, EMPTY, 50, 4)
    fixed.fit(apart, x, c, Training())
    drawn = fixed.sample(apart, c)
    for j in range(2):
        share, real = (t[:, j].long().bincount(minlength=4) / 4000 for t in (drawn, x))
        assert float((share - real).abs().sum() / 2) < 0.02


@pytest.mark.parametrize(("rounds", "seconds"), [(0, None), (50, 1e-9)])
def test_without_rounds_or_time_records_stay_as_they_are_drawn(rounds, seconds):
    fixed = Correction(PAIR, EMPTY, rounds, 16)
    fixed.fit(independent, real(100), torch.zeros(100, 0), Training(seconds=seconds))
    torch.manual_seed(1)
    plain = independent(torch.zeros(50, 0))
    torch.manual_seed(1)
    assert torch.equal(fixed.sample(independent, torch.zeros(50, 0)), plain)


def test_the_clock_and_ctrl_c_are_heeded_while_candidates_are_drawn():
    asked = []

    def slow(c):
        asked.append(len(c))
        return independent(c)

    fixed = Correction(PAIR, EMPTY, 50, 16)
    with pytest.raises(Interrupted):
        fixed.fit(slow, real(20_000), torch.zeros(20_000, 0), Training(interrupted=lambda: len(asked) > 1))
    assert sum(asked) < 20_000


def test_what_works_in_numpy_stays_on_the_cpu():
    for module in (Correction(PAIR, EMPTY, 50, 16), Joint(PAIR, EMPTY), Trees(PAIR, EMPTY, Trees.Config())):
        assert {t.device.type for t in module.to("meta").state_dict().values()} == {"cpu"}


@pytest.mark.parametrize("name", ["shift", "ratio.values"])
def test_odds_that_would_overflow_are_refused(name):
    fixed = Correction(PAIR, EMPTY, 20, 4)
    fixed.fit(independent, real(500), torch.zeros(500, 0), Training())
    fixed.validate()
    fixed.get_buffer(name).fill_(3e38)
    with pytest.raises(ValueError, match="beyond all bounds"):
        fixed.validate()


def test_images_are_not_corrected():
    assert isinstance(correction(Space((1, 8, 8)), EMPTY, 50, 16), Uncorrected)
    assert isinstance(correction(PAIR, EMPTY, 50, 16), Correction)


def test_tones_begin_as_the_identity_and_end_with_the_real_quantiles():
    tones = Tones(2, (-1.0, 1.0))
    x = torch.rand(500, 2, 3) * 2 - 1
    assert torch.allclose(tones(x), x, atol=1e-5)
    goal = x.sign() * x.abs().sqrt()
    tones.fit(x, goal)
    assert torch.allclose(tones(x), goal, atol=0.05)
    assert tones(torch.full((1, 2), 9.0)).max() <= 1


def test_batches_join_to_the_whole():
    a, b = torch.arange(10.0), torch.arange(10.0, 20.0)
    sizes = []

    def add(x, y):
        sizes.append(len(x))
        return x + y

    assert torch.equal(in_batches(add, 4, a, b), a + b)
    assert sizes == [4, 4, 2]
