"""The masked network: exact probabilities in every order, and draws that agree with them."""

import itertools

import pytest
import torch
from synthgen_autoregressive import Autoregressive

from synthgen.records import Records
from synthgen.space import EMPTY, Space
from synthgen.training import Recipe, Training

SIZES = (2, 3, 4)


def every(sizes):
    return torch.tensor(list(itertools.product(*map(range, sizes))), dtype=torch.float32)


def build(sizes, ordered=None, context=EMPTY, seed=0, **settings):
    """A network whose last layer is random too, so that it is far from uniform before any training."""
    torch.manual_seed(seed)
    space = Space((len(sizes),), sizes, ordered or (False,) * len(sizes))
    model = Autoregressive(space, context, Autoregressive.Config(**{"width": 16, "embedding": 8, **settings}))
    for name, p in model.named_parameters():
        if name.removeprefix("network.").partition(".")[0] in ("out", "fine", "absent", "leading", "bias"):
            torch.nn.init.normal_(p, std=0.7)
    return model.eval()


def none(n):
    return torch.zeros(n, 0)


@pytest.fixture(scope="module")
def joint():
    torch.manual_seed(5)
    return torch.distributions.Dirichlet(torch.full(SIZES, 0.6).flatten()).sample().reshape(SIZES)


@pytest.fixture(scope="module")
def fitted(joint):
    torch.manual_seed(0)
    codes = torch.multinomial(joint.flatten(), 8000, replacement=True)
    model = Autoregressive(Space((3,), SIZES, (False,) * 3), EMPTY, Autoregressive.Config(width=32, any_order=0.5))
    model.fit(Records(every(SIZES)[codes]), Training(Recipe(epochs=12, batch_size=256, learning_rate=1e-2)))
    return model


@pytest.mark.parametrize(
    ("sizes", "ordered"),
    [
        ((5,), (False,)),
        ((1, 3), (False, True)),
        ((3, 2, 4), (False, True, False)),
        ((81,), (True,)),
        ((65,), (False,)),
        ((65,), (True,)),
        ((100, 2), (True, False)),
        ((3, 70), (False, True)),
        ((67, 70), (True, False)),
        ((1000,), (True,)),
    ],
    ids=str,
)
def test_probabilities_sum_to_one(sizes, ordered):
    with torch.no_grad():
        x = every(sizes)
        total = build(sizes, ordered).log_prob(x, none(len(x))).double().exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("rank", list(itertools.permutations(range(3))), ids=str)
def test_probabilities_sum_to_one_in_every_order(rank):
    with torch.no_grad():
        total = build(SIZES).network.log_prob(every(SIZES), none(24), torch.tensor(rank)).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-4)


def test_probabilities_given_a_context_sum_to_one():
    context = Space((1,), (3,), (False,))
    model = build((3, 4), context=context)
    totals = []
    with torch.no_grad():
        for code in range(3):
            c = context.embed(torch.full((12, 1), float(code)))
            p = model.log_prob(every((3, 4)), c).exp()
            totals.append(p)
            assert float(p.sum()) == pytest.approx(1, abs=1e-4)
    assert float((totals[0] - totals[1]).abs().max()) > 1e-3


def test_a_factor_sees_only_the_columns_before_it():
    model = build((3, 4, 5))
    with torch.no_grad():
        p = model.log_prob(every((3, 4, 5)), none(60)).exp().reshape(3, 4, 5)
        first = p.sum((1, 2))
        for rank in ([0, 2, 1], [0, 1, 2]):
            other = model.network.log_prob(every((3, 4, 5)), none(60), torch.tensor(rank)).exp().reshape(3, 4, 5)
            torch.testing.assert_close(other.sum((1, 2)), first, atol=1e-5, rtol=0)


def test_sample_frequencies_are_the_probabilities():
    model, n = build((3, 2, 4)), 40_000
    torch.manual_seed(1)
    x = model.sample(n, none(n)).long()
    found = torch.bincount((x[:, 0] * 2 + x[:, 1]) * 4 + x[:, 2], minlength=24) / n
    with torch.no_grad():
        exact = model.log_prob(every((3, 2, 4)), none(24)).exp()
    torch.testing.assert_close(found, exact, atol=0.012, rtol=0)


@pytest.mark.parametrize("size", [65, 100, 1000])
def test_sample_frequencies_of_two_digits_are_the_probabilities(size):
    model, n = build((size,), (True,)), 100_000
    torch.manual_seed(1)
    found = torch.bincount(model.sample(n, none(n))[:, 0].long(), minlength=size) / n
    with torch.no_grad():
        exact = model.log_prob(every((size,)), none(size)).exp()
    torch.testing.assert_close(found, exact, atol=0.01, rtol=0)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("size", [1, 2, 64, 65, 66, 80, 82, 999, 1000])
def test_no_code_is_out_of_range(size, ordered):
    model = build((3, size), (False, ordered))
    torch.manual_seed(0)
    known = torch.tensor([True, False]).expand(4000, 2)
    for x in (model.sample(4000, none(4000)), model.complete(torch.zeros(4000, 2), known, none(4000))):
        assert bool(((x >= 0) & (x < torch.tensor([3, size])) & (x == x.round())).all())


@pytest.mark.parametrize("pattern", list(itertools.product([True, False], repeat=3)), ids=str)
def test_completing_keeps_what_is_known(pattern):
    model = build((3, 70, 2), (False, True, False))
    x = torch.tensor([[2.0, 69, 1], [0, 0, 0], [1, 33, 0]])
    known = torch.tensor(pattern).expand(3, 3)
    torch.manual_seed(0)
    filled = model.complete(x, known, none(3))
    assert torch.equal(filled[known], x[known])
    assert bool(((filled >= 0) & (filled < torch.tensor([3, 70, 2]))).all())


def test_each_row_is_completed_by_its_own_pattern():
    model = build((3, 70, 2), (False, True, False))
    torch.manual_seed(0)
    x = torch.stack([torch.randint(k, (200,)) for k in (3, 70, 2)], dim=1).float()
    known = torch.rand(x.shape) < 0.5
    filled = model.complete(x, known, none(200))
    assert torch.equal(filled[known], x[known])


def test_what_an_unknown_cell_holds_does_not_matter():
    model = build((3, 70, 2), (False, True, False))
    known = torch.tensor([True, False, False]).expand(100, 3)
    filled = []
    for rest in (0.0, 1.0):
        torch.manual_seed(0)
        filled.append(model.complete(torch.full((100, 3), rest).where(~known, torch.ones(())), known, none(100)))
    assert torch.equal(*filled)


def test_the_network_learns_the_joint_table(fitted, joint):
    with torch.no_grad():
        found = fitted.log_prob(every(SIZES), none(24)).exp().reshape(SIZES)
    assert 0.5 * float((found - joint).abs().sum()) < 0.06


@pytest.mark.parametrize(
    "known", [p for p in itertools.product([True, False], repeat=3) if any(p) and not all(p)], ids=str
)
def test_completions_have_the_conditional_frequencies(fitted, joint, known):
    gone = [j for j in range(3) if not known[j]]
    best = joint.sum(gone).flatten().argmax()  # the likeliest of what is known, so that there is much data on it
    held = every([SIZES[j] for j in range(3) if known[j]])[best]
    x, place = torch.zeros(3), [slice(None)] * 3
    for j, code in zip([j for j in range(3) if known[j]], held, strict=True):
        x[j], place[j] = code, int(code)
    exact = joint[tuple(place)] / joint[tuple(place)].sum()
    n = 20_000
    torch.manual_seed(0)
    drawn = fitted.complete(x.expand(n, 3), torch.tensor(known).expand(n, 3), none(n)).long()
    found = torch.zeros(exact.shape)
    found.index_put_(tuple(drawn[:, j] for j in gone), torch.tensor(1 / n), accumulate=True)
    assert 0.5 * float((found - exact).abs().sum()) < 0.1


def test_the_order_of_training_can_be_fixed():
    model = build(SIZES, any_order=0)
    loss = model.loss(every(SIZES), none(24))
    torch.testing.assert_close(loss, -model.log_prob(every(SIZES), none(24)))


def test_two_valued_columns_are_drawn_first():
    assert build((3, 2, 4, 2)).network.order == [1, 3, 0, 2]
