"""Laws of private fits: what must hold whatever a private table holds. Each is a function that raises AssertionError.

Most of them hold the answers of the mechanisms still: two neighbouring tables then get the same answers, unless these
are far apart. Whatever still differs between two fits, of what they ask, pay, draw or tell, comes from the data itself.
Noise cannot be seeded: where a law draws some, a right implementation breaks it less than once in a million runs.
"""

import io
import json
import math
import random
import re
import sys
import tempfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats
from torch import nn

from synthgen import Generator, Synthesizer, registry
from synthgen.cli import main
from synthgen.data import Images, as_table
from synthgen.data.images import ImageSchema
from synthgen.dp import accounting, ledger, noise, sgd
from synthgen.dp.budget import Budget
from synthgen.dp.certificate import certificate, check_certificate
from synthgen.dp.clipping import ROUTES, ClippedSum
from synthgen.dp.codes import PrivateCodes
from synthgen.dp.ledger import CHOICE, COUNTS, SUM, TRAINING, Charge
from synthgen.dp.prepare import Unit, prepare_images, prepare_table
from synthgen.dp.records import PrivateRecords
from synthgen.dp.rehearsal import rehearse
from synthgen.dp.selection import learn_marginals
from synthgen.dp.selfcheck import _Still
from synthgen.dp.sgd import Plan, private_gradient
from synthgen.dp.table import PrivateTable
from synthgen.errors import BudgetError, ResourceError, SynthgenError
from synthgen.space import EMPTY, Space
from synthgen.training import Objective, Recipe, Training

ODDS = 1e-6
BOUND = 0.7
FINE = 1e-6  # relative: what rounding adds

LAWS = {}


def show(request, title, rows):
    """Print lines in the middle of a run of tests."""
    find = request.config.pluginmanager.getplugin
    report = find("terminalreporter")
    if rows and report:
        with find("capturemanager").global_and_fixture_disabled():
            report.ensure_newline()
            report.section(title)
            for row in rows:
                report.write_line(row)


def law(check):
    """Enter a law by its name."""
    LAWS[check.__name__.removeprefix("check_").replace("_", " ")] = check
    return check


# what was asked, and at which price


class Paid(NamedTuple):
    """A charge that is in the ledger."""

    charge: Charge


class Answer(NamedTuple):
    """A mechanism's, before its noise: what it was given, and the deviation, sensitivity and epsilon, or rate."""

    mechanism: str
    values: np.ndarray
    scale: float
    epsilon: float = 0.0


COUNTED, CHOSEN, SUMMED, SAMPLED = "discrete_gaussian", "exponential", "noised", "chosen"
COARSE = 20  # counts are answered in multiples of it
NOISE = 2.0  # of all trainings


class Script:
    """Mechanisms that answer neighbours alike, and remember in which order they were paid and asked.

    Args:
        before: what a neighbour's script remembers; an answer is repeated where it was about as much.
    """

    def __init__(self, before=()):
        self.events, self.before, self.keys = [], before, np.random.default_rng(0).random(100_000)

    def keep(self, fit, charge):
        self.events.append(Paid(charge))

    def budget(self, epsilon=50.0):
        return Budget(epsilon, 1e-3, self.keep)

    def discrete_gaussian(self, counts, sigma):
        known, counts = self.before[len(self.events) :][:1], np.array(counts, float)
        self.events.append(Answer(COUNTED, counts, sigma))
        same = known and isinstance(known[0], Answer) and known[0].values.shape == counts.shape
        if same and np.abs(known[0].values - counts).sum() < COARSE / 2:
            counts = known[0].values
        return (np.floor(counts / COARSE + 0.5) * COARSE).astype(np.int64)

    def exponential(self, scores, sensitivity, epsilon):
        self.events.append(Answer(CHOSEN, np.array(scores, float), sensitivity, epsilon))
        return 7 * len(self.events) % len(scores)

    def noised(self, sums, deviation, step):
        self.events.append(Answer(SUMMED, np.array(sums, float), deviation))
        return 0.1 * deviation * np.cos(np.arange(sums.size)).reshape(sums.shape)

    def chosen(self, n, rate):
        self.events.append(Answer(SAMPLED, np.zeros(0), rate))
        return np.arange(n)

    def uniform(self, n):
        return self.keys[:n]


@contextmanager
def still():
    """A block in which a loss draws the same for every record, whoever else is in its batch."""
    with torch.random.fork_rng(), _Still():
        yield


@contextmanager
def held(script):
    """A block in which mechanisms answer as in a script, and any price is low enough."""
    made = ledger.keeper

    def keeper(path, source):
        write = made(path, source)
        return lambda fit, charge: (write(fit, charge), script.keep(fit, charge))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthgen.dp.budget.noise_for", lambda *asked: NOISE)
        patch.setattr("synthgen.dp.budget.total_epsilon", lambda *asked: 0.0)
        patch.setattr(ledger, "keeper", keeper)
        patch.setattr(noise, SAMPLED, script.chosen)
        for module in [m for name, m in sys.modules.items() if name.startswith("synthgen.dp.") and m is not noise]:
            if hasattr(module, "_fresh_draws"):
                patch.setattr(module, "_fresh_draws", lambda device: still())
            for name in (COUNTED, CHOSEN, SUMMED, "uniform"):
                if hasattr(module, name):
                    patch.setattr(module, name, getattr(script, name))
        yield


def played(run, data, before=()):
    """What a run asks and pays for, and what comes of it: with the states of all seeded generators after it."""
    script = Script(before)
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with held(script):
        outcome = run(script, data)
    return script.events, [outcome, random.getstate(), np.random.get_state(), torch.get_rng_state()]


def check_neighbours(run, *tables):
    """Neighbours of the first table move each answer by what is paid for, and nothing else of what comes of a run."""
    first, outcome = played(run, tables[0])
    check_paid(first)
    for table in tables[1:]:
        events, other = played(run, table, first)
        check_paid(events)
        assert [e for e in first if isinstance(e, Paid)] == [e for e in events if isinstance(e, Paid)]
        assert [type(e) for e in first] == [type(e) for e in events]
        for charge, one, two in zip(paid(first), answers(first), answers(events), strict=True):
            check_moved(charge, one, two)
        alike(outcome, other)


def paid(events):
    return [e.charge for e in events if isinstance(e, Paid)]


def answers(events):
    """Those to each charge."""
    groups = []
    for event in events:
        if isinstance(event, Paid):
            groups.append([])
        else:
            assert groups, "an answer was given before anything was paid"
            groups[-1].append(event)
    return groups


def check_paid(events):
    """Each charge has the answers that it pays for, and each answer was paid before."""
    for charge, given in zip(paid(events), answers(events), strict=True):
        kinds = [a.mechanism for a in given]
        if charge.mechanism == TRAINING:
            samples, sums = given[::2], given[1::2]
            assert kinds == [SAMPLED, SUMMED] * len(sums), f"{charge.what}: {kinds}"
            assert len(sums) <= charge.steps, f"{len(sums)} steps were made, {charge.steps} were paid"
            assert all(a.scale <= charge.rate for a in samples), "records were more likely in a sample than was paid"
        elif charge.mechanism == SUM:
            assert set(kinds) == {SUMMED}, f"{charge.what}: {kinds}"
        else:
            assert kinds == [CHOSEN if charge.mechanism == CHOICE else COUNTED], f"{charge.what}: {kinds}"


def check_moved(charge, one, two):
    """Answers to a charge are no farther apart than its noise hides."""
    assert [a._replace(values=None) for a in one] == [a._replace(values=None) for a in two], charge.what
    if charge.mechanism == CHOICE:
        apart = np.abs(one[0].values - two[0].values).max() / one[0].scale
        assert one[0].epsilon <= charge.scale
        assert apart <= 1 + FINE, f"{charge.what}: scores moved {apart} times as far as they may"
        return
    moves = [distance(a.values, b.values) / a.scale for a, b in zip(one, two, strict=True) if a.mechanism != SAMPLED]
    # of a training each step is paid for by itself
    moved = max(moves) if charge.mechanism == TRAINING else math.hypot(*moves)
    assert moved * charge.scale <= 1 + FINE, f"{charge.what}: moved {moved * charge.scale} times as far as it may"


def distance(one, two):
    """Of two lists in L2; where one is longer, its entries are those of the other with some put between: the least."""
    short, long = sorted((one.ravel(), two.ravel()), key=len)
    extra = len(long) - len(short)
    least = np.full((len(short) + 1, extra + 1), np.inf)
    least[0] = np.r_[0, np.cumsum(long[:extra] ** 2)]
    for i in range(1, len(short) + 1):
        for k in range(extra + 1):
            put = least[i, k - 1] + long[i + k - 1] ** 2 if k else np.inf
            least[i, k] = min(least[i - 1, k] + (short[i - 1] - long[i + k - 1]) ** 2, put)
    return math.sqrt(least[-1, -1])


def alike(one, two):
    """Two outcomes are the same to the last bit."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert [*one] == [*two], "the data told in which order something is, or what there is"
        alike([*one.values()], [*two.values()])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            alike(a, b)
    elif isinstance(one, torch.Tensor):
        assert one.shape == two.shape
        assert torch.equal(one.nan_to_num(), two.nan_to_num()), "a tensor, or the state of torch's random numbers"
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, two)
    else:
        assert one == two


# tables and images, and what one record or one person more may be

N = 412
HOSTILE = {"town": "CANARY-7f3a", "age": "1e30", "wage": "0.1234567", "when": "1066-10-14", "note": "CANARY-9b2c"}
EMPTY_ROW = dict.fromkeys(HOSTILE, "")
ODD = {"town": "Bern", "age": "-99999", "wage": "NaN", "when": "next week", "note": "=1+1"}
COMMON = {"town": "Cairo", "age": "30", "wage": "3000.5", "when": "2019-05-05", "note": "note 7"}


def people(*more):
    """A table of texts; the rows given come first."""
    rng = np.random.default_rng(3)
    own = {
        "town": rng.choice(["Oslo", "Lima", "Cairo"], N, p=[0.5, 0.3, 0.2]),
        "age": rng.integers(18, 80, N).astype(str),
        "wage": np.round(rng.lognormal(8, 0.5, N), 2).astype(str),
        "when": (np.datetime64("2019-01-01") + rng.integers(0, 700, N)).astype(str),
        "note": [f"note {i}" for i in range(N)],
    }
    return pa.table({name: [row[name] for row in more] + list(cells) for name, cells in own.items()})


TABLES = tuple(people(*more) for more in ((), (HOSTILE,), (EMPTY_ROW,), (ODD,), (COMMON,)))


def visits(*more):
    """A table of which a person holds several rows; those given come last, and are all of one person."""
    table = people().add_column(0, "who", pa.array([f"P{i // 3}" for i in range(N)]))
    new = pa.table({name: [row.get(name, "X") for row in more] for name in table.column_names}, schema=table.schema)
    return pa.concat_tables([table, new]).combine_chunks()


VISITS = visits(), visits(*[HOSTILE] * 7), visits(HOSTILE, EMPTY_ROW, ODD, HOSTILE)
UNIT = Unit("who", 3)


def told_of_table(given=(), unit=Unit()):  # noqa: B008
    """A run that prepares a table: what it learns, and the records that both tables hold, as encoded."""

    def run(script, data):
        prepared = prepare_table(as_table(data), None, [], given, script.budget(), 16, unit)
        records, more = prepared.records, len(data) - N
        own = slice(None, N) if unit.column else slice(more, None)
        assert records._most == unit.most
        assert (records._persons is not None) == bool(unit.column)
        known = prepared.codec.state(), records.known, records.total, records._most, prepared.declared, prepared.notes
        return [*known, records._x[own], records._c[own]]

    return run


@law
def check_table():
    """Preparing a table tells of it only what is noisy and paid for."""
    check_neighbours(told_of_table(), *TABLES)


@law
def check_given():
    """So it is where a column is given."""
    check_neighbours(told_of_table(["town"]), *TABLES[:2])


@law
def check_persons():
    """So it is where neighbours differ by a person of several rows."""
    check_neighbours(told_of_table(unit=UNIT), *VISITS)


def shapes(*more):
    """Images of two classes; those more, of classes by name, come first."""
    rng = np.random.default_rng(2)
    names = [*more, *rng.choice(["bar", "box"], N).tolist()]
    classes = sorted({*names})
    pixels = np.concatenate([np.full((len(more), 4, 4, 1), 255), rng.integers(0, 255, (N, 4, 4, 1))]).astype(np.uint8)
    schema = ImageSchema(width=4, height=4, mode="L", classes=tuple(classes))
    return Images(pixels, np.array([classes.index(name) for name in names]), schema)


@law
def check_images():
    """Preparing images tells of their classes only what is noisy and paid for."""

    def run(script, data):
        prepared = prepare_images(data, script.budget())
        records, more = prepared.records, len(data) - N
        known = prepared.codec.state(), records.known, records.total, prepared.declared, prepared.notes
        return [*known, records._x[more:], records._c[more:]]

    check_neighbours(run, shapes(), shapes("bar"), shapes("CANARY"))


# codes


def codes_of(*more):
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, N)
    own = np.stack([first, (first + rng.integers(0, 2, N)) % 4, rng.integers(0, 3, N)], axis=1)
    return np.concatenate([np.array(more, dtype=np.int64).reshape(-1, 3), own])


@law
def check_codes():
    """Marginals and choices among them tell of records only what is noisy and paid for."""

    def run(script, codes):
        private = PrivateRecords(
            torch.from_numpy(codes).float(),
            torch.zeros(len(codes), 0),
            Space((3,), (4, 4, 3), (False,) * 3),
            EMPTY,
            (torch.zeros(1, 3), torch.zeros(1, 0)),
            400,
            script.budget(),
        ).codes()
        learned = learn_marginals(private, 1.0, (False, True, False))
        return [learned.groups, learned.shares, *learned.model.potentials.values()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthgen.dp.selection.STEPS", 3)
        patch.setattr("synthgen.dp.selection.LAST", 3)
        check_neighbours(run, codes_of(), codes_of([3, 0, 2]), codes_of([0, 3, 0]))


@law
def check_codes_of_persons():
    """A person of several records moves answers by what noise is made for."""

    def run(script, codes):
        private = PrivateCodes(codes, (4, 4, 3), 400, script.budget(), 3)
        private.measure([0, 1], 0.5)
        private.choose([((0, 1), np.zeros((4, 4))), ((1, 2), np.zeros((4, 3)))], [1.0, 1.0], 0.5, [0.0, 1.0])

    check_neighbours(run, codes_of(), codes_of(*[[3, 0, 2]] * 3))


@law
def check_choice():
    """A choice among marginals is as likely as the exponential mechanism makes it."""
    codes, times, rho = np.zeros((3, 2), dtype=np.int64), 4000, 0.5
    private = PrivateCodes(codes, (2, 2), 3, SimpleNamespace(charge=lambda charge: None))
    offers = [((0,), np.array([3.0, 0.0])), ((1,), np.array([1.0, 1.0]))]  # off by 0 and by 3
    picked = sum(private.choose(offers, [1.0, 1.0], rho, [0.0, 0.0]) for _ in range(times))
    odds = math.exp(3 * math.sqrt(8 * rho) / 2)
    assert stats.binomtest(picked, times, odds / (1 + odds)).pvalue > ODDS


# trainings


class Level(nn.Module):
    """Where records are, about; and another that tries to be there without seeing any."""

    def __init__(self, width):
        super().__init__()
        self.layer, self.other = nn.Linear(width, width), nn.Linear(1, width)

    def loss(self, x, c):
        return (self.layer(torch.randn_like(x)) - x).square().sum(1)

    def pleasing(self, n, c):
        return (self.other(torch.ones(n, 1)) * (1 + c[:, :1])).square().sum(1)

    def objectives(self):
        return [Objective(self.layer, self.loss), Objective(self.other, self.pleasing, sees_data=False)]


def numbers(*more):
    """Records of three numbers, and contexts of two classes."""
    rng = torch.Generator().manual_seed(0)
    x = torch.cat([torch.tensor(more).reshape(-1, 3), torch.randn(40, 3, generator=rng)])
    return x, torch.eye(2)[(torch.arange(len(x)) + len(more)) % 2]


MANY = [math.nan] * 3, [1e30] * 3, [-1e5, 0.0, 1.0]
REALS, TWO = Space((3,), (0, 0, 0), (False,) * 3), Space((1,), (2,), (False,))


def behind(script, x, c, persons=None, most=1):
    """Records of numbers behind a budget; what is known of them is nothing like them."""
    known = torch.ones(30, 3), torch.eye(2)[torch.arange(30) % 3 // 2]
    return PrivateRecords(x, c, REALS, TWO, known, 64, script.budget(), persons, most)


@law
def check_training():
    """Steps, rates and divisor of a training are those that were paid; only clipped and noisy sums depend on records.

    The second table has a third more records, so that whatever is made of their number shows.
    """

    def run(script, data):
        model, records, done = Level(3), behind(script, *data), []
        training = Training(
            Recipe(steps=4, batch_size=32, learning_rate=0.1), report=lambda *d, **f: done.append((d, f))
        )
        records.train(training, model.objectives(), 1.0, 1.0, 0.0)
        return [model.state_dict(), done]

    check_neighbours(run, numbers(), *(numbers(row) for row in MANY))
    x, c = numbers()
    events = [played(run, data) for data in ((x, c), (x.repeat(2, 1)[:53], c.repeat(2, 1)[:53]))]
    alike(events[0][1], events[1][1])


@law
def check_training_of_persons():
    """The records of a person share the bound of a training."""

    def run(script, data):
        x, c = data
        persons = np.concatenate([np.zeros(len(x) - 40, int), 1 + np.arange(40)])
        model = Level(3)
        training = Training(Recipe(steps=2, batch_size=32))
        behind(script, x, c, persons, 3).train(training, model.objectives(), 1.0, 1.0, 0.0)
        return model.state_dict()

    check_neighbours(run, numbers(), numbers([1e3, 0.0, 1.0], [1e3, 0.0, 2.0], [1e4, 1.0, 1.0]))


@law
def check_latents():
    """Moments of latent vectors are clipped, noisy and paid for, class by class."""

    def run(script, data):
        records = behind(script, *data, most=2)
        return records.normal(lambda x, c: x + 0 * torch.randn_like(x), 2.0, 0.1)

    x, c = numbers(MANY[1], MANY[1])  # of one person
    check_neighbours(run, numbers(), *(numbers(row) for row in MANY), (x, c), (x, torch.cat([c[:1], c[:1], c[2:]])))


def family_law(name, kind, **settings):
    """A law: a family that fits records behind a budget looks at nothing but what is paid for."""

    def check():
        cls = registry.load(name)
        space = {"table": Space((3,), (3, 6, 12), (False, True, True)), "images": Space((1, 8, 8))}[kind]
        rng = torch.Generator().manual_seed(0)
        x = torch.rand(40, *space.shape, generator=rng) * 2 - 1
        last = [torch.full_like(x[:1], math.nan), torch.full_like(x[:1], 1e30)]
        if space.sizes:
            x = ((x + 1) / 2 * torch.tensor(space.sizes)).floor()
            last = [torch.tensor([space.sizes]).float() - 1, torch.zeros(1, 3)]
        known = x[:20].flip(0), torch.eye(2)[torch.arange(20) % 2]
        config, recipe = cls.Config(**settings), Recipe(steps=2, batch_size=32)

        def run(script, x):
            c = torch.eye(2)[torch.arange(len(x)) % 2]
            model = cls(space, TWO, config)
            model.fit(PrivateRecords(x, c, space, TWO, known, 40, script.budget()), Training(recipe))
            return model.state_dict()

        check_neighbours(run, x, *(torch.cat([x, row]) for row in last))

    return check


# the step


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 4))

    def loss(self, x, c):
        return (self.network(x) - x).square().sum(1)


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors]).double()


def none(n):
    return torch.zeros(n, 0)


def rows_that_harm(x):
    """A row, and hostile ones made of it."""
    return [x, 1000 * x, 0 * x, math.nan * x, math.inf * x, torch.full_like(x, 1e30), torch.full_like(x, -1e19)]


@law
def check_rows(route=ROUTES[0]):
    """With or without a row, however hostile, the sum before noise differs by the bound at most."""
    torch.manual_seed(0)
    model, rng = Net().train(), torch.Generator().manual_seed(5)
    clipped, plan = ClippedSum(model, model.loss, BOUND, route), Plan(1.0, 0.0, 1, 8.0)
    x = torch.randn(9, 4, generator=rng)
    without = flat(private_gradient(clipped, x[1:], none(8), plan))
    for row in rows_that_harm(x[:1]):
        given = flat(private_gradient(clipped, torch.cat([row, x[1:]]), none(9), plan))
        assert given.isfinite().all()
        allowed = BOUND * (1 + 1e-5) if row.isfinite().all() else 1e-5
        assert (given - without).norm() * plan.divisor <= allowed


@law
def check_noise():
    """Without gradients there is noise of the right law, and nothing else."""
    network = nn.Linear(400, 500, bias=False)
    clipped = ClippedSum(network, lambda x, c: 0 * network(x).sum(1), BOUND)
    plan = Plan(0.1, 1.3, 1, 4.0)
    drawn = flat(private_gradient(clipped, torch.randn(20, 400), none(20), plan)).numpy() * plan.divisor
    drawn = drawn / (plan.sigma * BOUND)
    lower = stats.chi2.cdf(drawn @ drawn, len(drawn))
    assert min(lower, 1 - lower, stats.kstest(drawn, "norm").pvalue) > ODDS


@law
def check_counts():
    """Noise on counts has the deviation that was paid, times the sensitivity."""
    for unit, most in (("", 1), ("who", 4)):
        data = pa.table({"who": [""], "x": ["1"]})
        table = PrivateTable(data, SimpleNamespace(charge=lambda charge: None), unit, most)
        drawn = table._noisy("nothing", np.zeros(20_000, np.int64), 0.005) / (10.0 * most)
        # rounding to integers adds 1/12 to a variance of 100 or more; the law of a sum of squares is about normal
        assert abs(np.mean(drawn**2) - 1) < 5 * math.sqrt(2 / len(drawn)) + 1e-3


@law
def check_seeds():
    """The same seeds give other noise, samples and choices, and no draw moves a seeded generator."""
    drawn, states = [], []
    for _ in range(2):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        picked = [float(noise.exponential(np.zeros(2), 1.0, 1.0)) for _ in range(40)]
        counts = noise.discrete_gaussian(np.zeros(20, np.int64), 1000.0)
        with sgd._fresh_draws(torch.device("cpu")):
            fresh = torch.rand(20)
        one = [sgd.noised(np.zeros(20), 1.0, 2**-20), noise.uniform(20), counts, picked, fresh.numpy()]
        drawn.append([*one, noise.chosen(1000, 0.5)[:20]])
        states.append([random.getstate(), np.random.get_state(), torch.get_rng_state()])
    assert not any(np.array_equal(a, b) for a, b in zip(*drawn, strict=True))
    alike(*states)


@law
def check_grid():
    """What is noised is on the grid, whatever it was before."""
    step = sgd.GRID * BOUND
    noisy = sgd.noised(np.random.default_rng().normal(size=1000), 1.3 * BOUND, step)
    assert np.array_equal(np.rint(noisy / step) * step, noisy)


class Counted:
    """In the place of a clipped sum: remembers what batches it was given."""

    bound, parameters = 1.0, (nn.Parameter(torch.zeros(1)),)

    def __init__(self):
        self.batches = []

    def __call__(self, x, c, shares):
        assert (shares == 1).all()
        self.batches.append(x[:, 0].tolist())
        return [torch.zeros(1, dtype=torch.float64)]


@law
def check_samples():
    """Batches vary in size as Poisson samples do, and forget what was in the last one."""
    n, rate, steps = 100, 0.2, 2000
    counted, x = Counted(), torch.arange(n).float()[:, None]
    for _ in range(steps):
        private_gradient(counted, x, none(n), Plan(rate, 1.0, 1, 1.0))
    sizes = np.array([len(b) for b in counted.batches])
    variance = n * rate * (1 - rate)
    assert abs((sizes.mean() - n * rate) / math.sqrt(variance / steps)) < 6
    assert abs(((sizes - n * rate) ** 2).mean() / variance - 1) < 6 * math.sqrt(2 / steps)
    again = [len(set(a) & set(b)) for a, b in zip(counted.batches[::2], counted.batches[1::2], strict=True)]
    common = rate**2
    assert abs(np.mean(again) - n * common) < 6 * math.sqrt(n * common * (1 - common) / len(again))
    seen = np.bincount(np.concatenate(counted.batches).astype(int), minlength=n)
    assert (np.abs(seen - steps * rate) < 6 * math.sqrt(steps * rate * (1 - rate))).all()


# labels


@law
def check_labels():
    """Texts that one record, or one person alone holds, pass a threshold with at most delta."""
    delta, records = 0.01, 12_000
    for most in (1, 4):
        texts, who = [f"{i // most}" for i in range(records)], [f"P{i // most}" for i in range(records)]
        data = pa.table({"who": who, "x": texts})
        table = PrivateTable(data, SimpleNamespace(charge=lambda charge: None), "who", most)
        passed = len(table.labels("x", 0.005, delta))
        assert passed <= stats.binom(records // most, delta).isf(ODDS / 10)
        k = np.arange(-500, 501)
        for sigma in (1.0, 10.0):
            chance = np.exp(-(k**2) / (2 * sigma**2))
            assert chance[most + k >= noise.threshold(sigma, delta, most)].sum() <= delta * chance.sum()


# who is refused, and what it costs


class Stranger(Generator):
    """A generator of someone else's, as it should be; a subclass does one thing wrong."""

    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        self.layer = nn.Linear(space.width, space.width)

    def loss(self, x, c):
        y = self.space.embed(x)
        return (self.layer(y) - y).square().sum(1)


class Coupled(Stranger):
    def loss(self, x, c):
        y = self.space.embed(x)
        return (self.layer(y - y.mean(0)) - y).square().sum(1)


class Normed(Stranger):
    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        self.norm = nn.BatchNorm1d(space.width)

    def loss(self, x, c):
        y = self.space.embed(x)
        return (self.norm(self.layer(y)) - y).square().sum(1)


class Looking(Stranger):
    def fit(self, records, training):
        super().fit(records, training)
        self.layer.bias.data += records.tensor()[0].mean()


class Unwilling(Stranger):
    private = False


STRANGERS = Coupled, Normed, Looking, Unwilling


def refuses(ask):
    try:
        ask()
    except BudgetError:
        return True
    return False


@law
def check_strangers():
    """A generator that cannot be private is refused."""
    rehearse(Stranger, Stranger.Config(), "honest", "table")
    accepted = [cls.__name__ for cls in STRANGERS if not refuses(partial(rehearse, cls, cls.Config(), "", "table"))]
    assert not accepted, f"accepted: {accepted}"


@law
def check_refusals():
    """What cannot be had is refused before anything is charged."""
    for options in ({}, {"seed": 3}, {"sample": 20}, {"keep_rare": True}, {"given": ["town", "note"]}):
        script = Script()
        budget = script.budget()
        budget.epsilon = 10.0  # trainings may cost no more than 20
        with held(script), suppress(SynthgenError):
            Synthesizer(Stranger if options else Looking, **options).fit(people(), budget=budget)
            raise AssertionError("it was fitted")
        assert not paid(script.events), "it was charged before it was refused"


# budget and ledger


@law
def check_cap():
    """Nothing is charged beyond epsilon or delta, nor written down; nor is anything answered."""
    kept = []
    budget = Budget(1.0, 1e-6, lambda fit, charge: kept.append(charge))
    table = PrivateTable(people(), budget)
    table.count(0.5 * budget.rho), table.labels("town", 0.3 * budget.rho, 0.9 * budget.thresholds)
    assert refuses(lambda: table.count(0.3 * budget.rho))
    assert refuses(lambda: table.labels("town", 0.01 * budget.rho, 0.2 * budget.thresholds))
    assert refuses(lambda: budget.charge(Charge("training", TRAINING, 1.0, 0.0, rate=0.5, steps=50)))
    assert [c.rho for c in kept] == [0.5 * budget.rho, 0.3 * budget.rho]
    assert budget.ledger == kept


@law
def check_prices():
    """A price that is not that of its noise is refused, and each charge that is made adds to what is spent."""
    budget = Budget(10.0, 1e-3)
    for wrong in (
        Charge("counts", COUNTS, 1.0, 1e-9),
        Charge("choice", CHOICE, 1.0, 1e-9),
        Charge("counts", COUNTS, 1.0, 0.5, delta=-0.5),
        Charge("training", SUM, 5.0, 0.02, rate=0.01, steps=1),
    ):
        assert refuses(lambda wrong=wrong: budget.charge(wrong))
    asked = [Charge(m, m, 4.0, 2.0 if m == CHOICE else 1 / 32) for m in ledger.MECHANISMS if m != TRAINING]
    spent = 0.0
    for charge in asked:
        budget.charge(charge)
        assert budget.spent() > spent * 1.001
        spent = budget.spent()


def exact_epsilon(sigma, delta):
    """Of the Gaussian mechanism of sensitivity 1 (Balle and Wang, 2018, Theorem 8)."""

    def excess(epsilon):
        one, two = (
            stats.norm.logcdf(1 / (2 * sigma) - epsilon * sigma),
            stats.norm.logcdf(-1 / (2 * sigma) - epsilon * sigma),
        )
        return math.exp(one) - math.exp(epsilon + two)

    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > delta else (low, middle)
    return high


@law
def check_accountant():
    """What trainings and queries cost is what a closed form says, or a little more."""
    sigma, delta = 4.0, 1e-5
    for asked, alone in (
        (accounting.Queries((accounting.Run(1.0, sigma, 4),)), sigma / 2),
        (accounting.Queries((accounting.Run(1.0, sigma, 2),), (sigma,), (sigma,)), sigma / 2),
        (accounting.Queries(gaussian=(sigma, sigma), discrete=(sigma, sigma)), sigma / 2),
    ):
        least = exact_epsilon(alone, delta)
        try:
            found = accounting.total_epsilon(asked, delta)
        except BudgetError as error:
            raise AssertionError(str(error)) from error
        assert least <= found <= 1.25 * least


@law
def check_disk():
    """A charge is on the disk, whole, before anything is answered; where it cannot be written nothing is."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path, flushed = Path(folder) / "ledger", []
        patch.setattr("os.fsync", lambda number: flushed.append(path.read_bytes()))
        budget, answered = Budget(1.0, 1e-6, ledger.keeper(path, "source")), []
        patch.setattr("synthgen.dp.table.discrete_gaussian", lambda counts, s: answered.append(flushed[-1:]) or counts)
        table = PrivateTable(people(), budget)
        for i in range(3):
            table.count(0.01 * budget.rho)
            assert answered[-1], "nothing was on the disk"
            lines = answered[-1][0].splitlines()
            assert [json.loads(line)["fit"] for line in lines] == [budget.fit] * (i + 1)
        broken = PrivateTable(people(), Budget(1.0, 1e-6, ledger.keeper(folder, "source")))
        with suppress(ResourceError):
            broken.count(0.01)
        assert len(answered) == 3


@law
def check_certificates():
    """A certificate holds every query that was paid, and adds up."""
    kept = []
    budget = Budget(1.0, 1e-6, lambda fit, charge: kept.append(charge))
    table = PrivateTable(people(), budget)
    table.count(0.2 * budget.rho), table.labels("town", 0.3 * budget.rho, 0.5 * budget.thresholds)
    PrivateCodes(codes_of(), (4, 4, 3), 400, budget).choose([((0,), np.zeros(4))], [1.0], 0.1 * budget.rho, [0.0])
    body = json.loads(json.dumps(certificate(budget, "marginals", 400, [])))
    assert [Charge(**query) for query in body["queries"]] == kept
    try:
        check_certificate(body)
    except SynthgenError as error:
        raise AssertionError(str(error)) from error


# all of it


@law
def check_command():
    """All that `synthgen fit` writes and says is the same for neighbours, once the answers are."""

    def run(script, data):
        with tempfile.TemporaryDirectory() as folder:
            place, told = Path(folder), io.StringIO()
            data.to_pandas().drop(columns="note").to_csv(place / "data.csv", index=False)
            arguments = ["fit", "data.csv", "-o", "model", "--epsilon", "50", "--delta", "0.001", "--ledger", "ledger"]
            with pytest.MonkeyPatch.context() as patch, redirect_stdout(told), redirect_stderr(told):
                patch.chdir(place)
                patch.setattr("os.urandom", bytes)
                patch.setattr("synthgen.synthesizer.rehearse", lambda *given: None)  # it asks what is made up
                with suppress(SystemExit):
                    main(arguments)
            if "large for about" not in told.getvalue():
                raise RuntimeError(told.getvalue())
            files = [place / "ledger", *sorted((place / "model").iterdir())]
            texts = {str(f.relative_to(place)): f.read_bytes() for f in files}
        texts["ledger"] = re.sub(rb'"source": "[^"]*"', b"", texts["ledger"])
        return [texts, re.sub(r"in [0-9.]+ ?\w+;|\r[^\n]*\r", "", told.getvalue())]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthgen.dp.selection.STEPS", 3)
        patch.setattr("synthgen.dp.selection.LAST", 3)
        check_neighbours(run, *TABLES[:2])


FAMILIES = {
    "autoencoder": {"width": 8, "depth": 1, "latent": 4},
    "autoregressive": {"width": 16, "channels": 8, "levels": (4, 4)},
    "diffusion": {"width": 8, "depth": 1, "draws": 4},
    "gan": {"width": 8, "depth": 1, "latent": 4},
    "vae": {"width": 8, "depth": 1, "latent": 4},
}
for family, chosen in FAMILIES.items():
    for kind in ("table", "images"):
        LAWS[f"{family}, {kind}"] = family_law(family, kind, **chosen)
