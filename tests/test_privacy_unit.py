"""Tables of which one person holds several records: some of each are kept, and noise hides them together."""

import numpy as np
import pyarrow as pa
import pytest

from synthgen.dp import noise
from synthgen.dp.budget import Budget
from synthgen.dp.domain import learn_domain
from synthgen.dp.table import PrivateTable, sigma_of
from synthgen.errors import BudgetError, SynthgenError

pytest.importorskip("opendp")

GENEROUS = 1e5  # an epsilon under which noise is far below one
MOST = 3


def visits(people=300, seed=0):
    """Records of patients, one to ten of each."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), rng.integers(1, 11, people))
    n = len(who)
    ward = rng.choice(["A", "B", "C"], n, p=[0.6, 0.3, 0.1])
    day = np.datetime64("2019-01-01") + rng.integers(0, 700, n)
    return pa.table({"who": [f"P{i}" for i in who], "ward": ward, "age": rng.integers(1, 99, n), "day": pa.array(day)})


def private(data, most=MOST, unit="who", epsilon=GENEROUS):
    return PrivateTable(data, Budget(epsilon, 1e-3), unit=unit, most=most)


@pytest.fixture
def quiet(monkeypatch):
    """No noise, and records that are kept of a person whoever else is there."""
    keys = np.random.default_rng(0).random(100_000)
    monkeypatch.setattr("synthgen.dp.table.discrete_gaussian", lambda counts, sigma: counts)
    monkeypatch.setattr("synthgen.dp.table.uniform", lambda n: keys[:n])


EDGES = np.linspace(0, 100, 11)
HOSTILE = pa.table(
    {
        "who": ["X"] * 10,
        "ward": [f"mine {i // 3}" for i in range(10)],
        "age": [1, 1, 1, 1, 1, 99, 99, 99, 99, 99],
        "day": pa.array(["1066-10-14"] * 5 + ["2999-01-01"] * 5).cast(pa.date32()),
    }
)


@pytest.mark.parametrize("rows", [1, 2, 3, 10])
@pytest.mark.parametrize("most", [1, 3, 7])
def test_one_person_more_changes_each_answer_by_at_most_what_noise_is_made_for(quiet, rows, most):
    data = visits()
    for extra in (HOSTILE[:rows], HOSTILE.set_column(1, "ward", pa.array(["A"] * 10))[:rows]):
        a, b = private(data, most), private(pa.concat_tables([data, extra.cast(data.schema)]), most)
        questions = [lambda t: [t.count(0.1)], lambda t: t.histogram("age", EDGES, 0.1)]
        questions += [lambda t, n=n: [*t.forms(n, 0.1).values()] for n in a.names]
        questions += [lambda t, p=p: [*t.date_forms("day", p, 0.1).values()] for p in ("day", "time", "step")]
        for ask in questions:
            change = np.array(ask(a)) - np.array(ask(b))
            assert np.sqrt((change**2).sum()) <= min(rows, most)
        common = a.labels("ward", 0.1, 1e-6)
        assert set(common) == set(b.labels("ward", 0.1, 1e-6)) == {"A", "B", "C"}
        assert np.linalg.norm([n - b.labels("ward", 0.1, 1e-6)[k] for k, n in common.items()]) <= min(rows, most)


def test_of_each_person_some_records_are_kept_and_nobody_can_repeat_which():
    data = visits(200)
    sizes = np.array([c.as_py() for c in data["who"].value_counts().field(1)])
    kept = []
    for _ in range(2):
        np.random.seed(0)
        table = private(data)
        counts = np.unique(table.persons(), return_counts=True)[1]
        assert sorted(counts) == sorted(np.minimum(sizes, MOST))
        assert table.persons().dtype == np.int64
        kept.append(table.cells(["age"]))
        assert len(kept[-1]) == len(table.persons())
    assert kept[0] != kept[1]
    assert kept[0].column_names == ["ward", "age", "day"]


def test_each_record_of_a_person_is_as_likely_to_be_kept():
    data = pa.table({"who": ["a"] * 10 + ["b"], "x": [str(i) for i in range(11)]})
    counts = np.zeros(11)
    for _ in range(2000):
        kept = private(data).cells(["x"])["x"].to_pylist()
        assert len(kept) == MOST + 1
        counts[np.array(kept, dtype=int)] += 1
    assert counts[:10] == pytest.approx(np.full(10, 600), abs=110)
    assert counts[10] == 2000


def test_a_record_of_nobody_is_a_person_of_its_own():
    data = pa.table({"who": [None, "", " ", "a", "a", " a", "NA", "NA"], "x": ["1"] * 8})
    persons = private(data, most=1).persons()
    assert len(persons) == len(set(persons)) == 5


@pytest.mark.parametrize("who", [[1, 1, 2], [b"\xff\x01", b"\xff\x01", b"\xff\x02"], [[1], [1], [2]], [1.5, 1.5, 2.5]])
def test_persons_are_told_apart_by_cells_of_any_type(who):
    persons = private(pa.table({"who": who, "x": ["1"] * 3}), most=2).persons()
    assert persons[0] == persons[1] != persons[2]


def test_without_a_unit_each_record_is_a_person():
    table = PrivateTable(visits(), Budget(1.0, 1e-6), most=5)
    assert table.sensitivity == 1
    assert "who" in table.names
    assert len(set(table.persons())) == len(visits())


def test_noise_grows_with_what_a_person_may_change_and_prices_stay(monkeypatch):
    scales = []
    monkeypatch.setattr("synthgen.dp.table.discrete_gaussian", lambda counts, sigma: scales.append(sigma) or counts)
    for most in (1, 5):
        table = private(visits(), most)
        table.count(0.02)
        assert table.sensitivity == most
        assert table.deviation(0.02) == scales[-1] == most * 5.0
        charge = table.budget.ledger[-1]
        assert (charge.scale, charge.rho) == (sigma_of(0.02), 0.02)
        charge.check()


def law(sigma):
    k = np.arange(-5000, 5001)
    weight = np.exp(-(k**2) / (2 * sigma**2))
    return k, weight / weight.sum()


@pytest.mark.parametrize("sigma", [1.0, 5.0, 40.0])
@pytest.mark.parametrize("delta", [0.3, 1e-3, 1e-9])
@pytest.mark.parametrize("most", [1, 2, 7])
def test_labels_of_one_person_pass_with_at_most_delta(sigma, delta, most):
    k, chance = law(sigma)
    tau = noise.threshold(sigma, delta, most)
    for labels in range(1, most + 1):  # so many, as often each as may be
        assert labels * chance[most - labels + 1 + k >= tau].sum() <= delta
    assert most == 1 or tau > noise.threshold(sigma, delta)


def test_labels_of_one_person_do_not_pass():
    data = pa.concat_tables([visits(), HOSTILE.cast(visits().schema)])
    for most in (1, 5, 10):
        for _ in range(20):
            assert set(private(data, most).labels("ward", 0.05, 1e-6)) <= {"A", "B", "C"}


def test_a_domain_is_learned_with_the_noise_of_its_unit():
    domain = learn_domain(private(visits(3000), epsilon=10.0), None, None)
    kinds = {c.name: c.kind for c in domain.surrogate.schema.columns}
    assert kinds == {"ward": "categorical", "age": "numeric", "day": "datetime"}
    assert set(domain.surrogate.data["ward"].to_pylist()) == {"A", "B", "C"}
    days = domain.surrogate.data["day"].to_pylist()
    assert min(days) >= "2019-01-01"
    assert max(days) <= "2020-12-31"
    with pytest.raises(BudgetError, match="too small"):
        learn_domain(private(visits(30), most=50, epsilon=1.0), None, None)


def test_a_wrong_unit_is_an_error_in_words():
    with pytest.raises(SynthgenError, match="no column 'whom'; did you mean 'who'"):
        private(visits(), unit="whom")
    for most in (0, -1):
        with pytest.raises(BudgetError, match="at least 1"):
            private(visits(), most=most)
