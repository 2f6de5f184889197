"""Private tables: what is told of them is noisy and paid for, and there is no other way in."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synthgen.data import as_table
from synthgen.dp.budget import Budget
from synthgen.dp.codes import PrivateCodes
from synthgen.dp.domain import SHARES, learn_domain
from synthgen.dp.prepare import prepare_table
from synthgen.dp.table import PrivateTable
from synthgen.errors import BudgetError
from synthgen.schema import Column, Schema

pytest.importorskip("opendp")

GENEROUS = 1000.0  # an epsilon under which noise is far below one


def people(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    town = rng.choice(["Oslo", "Lima", "Cairo"], n, p=[0.5, 0.3, 0.2])
    wage = np.round(rng.lognormal(8, 0.5, n), 2)
    frame = pd.DataFrame(
        {
            "town": np.where(rng.random(n) < 0.1, "", town),
            "age": rng.integers(18, 80, n),
            "wage": wage,
            "gain": np.where(rng.random(n) < 0.9, 0, rng.integers(1000, 90_000, n)),
            "name": [f"person {i}" for i in range(n)],
        }
    )
    return as_table(pa.table({c: pa.array(frame[c].astype(str).tolist(), pa.string()) for c in frame}))


def private(epsilon=GENEROUS, table=None):
    return PrivateTable((table or people()).data, Budget(epsilon, 1e-6))


def test_every_answer_is_charged_before_it_is_given():
    table = private()
    questions = [
        lambda: table.count(1.0),
        lambda: table.forms("age", 1.0),
        lambda: table.labels("town", 1.0, 1e-9),
        lambda: table.histogram("age", np.arange(0.0, 101, 10), 1.0),
    ]
    for i, ask in enumerate(questions):
        ask()
        assert len(table.budget.ledger) == i + 1
    assert sum(c.rho for c in table.budget.ledger) == pytest.approx(4.0)
    assert sum(c.delta for c in table.budget.ledger) == pytest.approx(1e-9)


def test_what_cannot_be_paid_is_not_answered():
    table = private(0.1)
    for ask in (
        lambda: table.count(1.0),
        lambda: table.forms("age", 1.0),
        lambda: table.labels("town", 1.0, 1e-9),
        lambda: table.histogram("age", np.arange(3.0), 1.0),
    ):
        with pytest.raises(BudgetError):
            ask()
    assert table.budget.ledger == []


def test_a_private_table_has_no_length_and_no_cells_in_the_open():
    table = private()
    for name in ("data", "schema", "to_pandas", "column", "num_rows", "unique"):
        assert not hasattr(table, name)
    with pytest.raises(TypeError):
        len(table)
    records = PrivateCodes(np.zeros((5, 1), dtype=np.int64), [2], 5, Budget(1.0, 1e-6))
    for name in ("tensor", "batches", "shape"):
        assert not hasattr(records, name)
    with pytest.raises(TypeError):
        len(records)


def test_answers_are_right_when_there_is_hardly_any_noise():
    table = private()
    assert abs(table.count(100.0) - 4000) <= 1
    forms = table.forms("wage", 100.0)
    assert sum(forms.values()) == pytest.approx(4000, abs=10)
    assert forms["decimals 2"] > 3000
    labels = table.labels("town", 100.0, 1e-9)
    assert set(labels) == {"", "Oslo", "Lima", "Cairo"}
    assert sum(labels.values()) == pytest.approx(4000, abs=5)


def test_numbers_of_many_decimals_and_with_exponents_are_numbers():
    cells = [str(float(x)) for x in np.random.default_rng(0).random(500)] + ["1e-05"] * 100 + ["2.5E+3"] * 100
    table = PrivateTable(pa.table({"x": cells}), Budget(GENEROUS, 1e-6))
    assert table.forms("x", 100.0)["decimals 8"] == pytest.approx(700, abs=5)
    domain = learn_domain(PrivateTable(pa.table({"x": cells}), Budget(GENEROUS, 1e-6)), None, None)
    assert domain.surrogate.schema["x"].kind == "numeric"


def test_noise_has_the_deviation_that_was_paid_for():
    table = private(1e5)
    counts = [table.count(0.005) for _ in range(400)]  # sigma 10
    assert np.std(counts) == pytest.approx(10, rel=0.25)
    assert np.mean(counts) == pytest.approx(4000, abs=4)


def test_a_label_of_one_record_does_not_pass_a_threshold():
    data = pa.table({"job": ["clerk"] * 500 + ["CANARY-7f3a"]})
    found = [PrivateTable(data, Budget(1e5, 1e-3)).labels("job", 0.05, 1e-4) for _ in range(50)]
    assert all(set(labels) <= {"clerk"} for labels in found)
    assert sum("clerk" in labels for labels in found) == 50


def test_one_record_more_changes_one_cell_of_each_answer_by_one(monkeypatch):
    for place in ("table", "codes"):
        monkeypatch.setattr(f"synthgen.dp.{place}.discrete_gaussian", lambda counts, sigma: counts)
    data, more = (
        people(200).data,
        pa.table({"town": ["NaN"], "age": ["1e999"], "wage": ["-0"], "gain": [""], "name": ["x"]}),
    )
    a, b = (PrivateTable(d, Budget(GENEROUS, 1e-6)) for d in (data, pa.concat_tables([data, more])))
    edges = np.linspace(-10, 1e6, 50)
    for name in data.column_names:
        for ask in (lambda t, n=name: list(t.forms(n, 0.1).values()), lambda t, n=name: t.histogram(n, edges, 0.1)):
            change = np.abs(np.array(ask(a)) - np.array(ask(b)))
            assert change.sum() <= 1
    assert b.count(0.1) - a.count(0.1) == 1


def test_a_domain_is_learned_within_its_share():
    table = private(3.0)
    domain = learn_domain(table, None, None)
    assert abs(domain.total - 4000) < 200
    kinds = {c.name: c.kind for c in domain.surrogate.schema.columns}
    assert kinds == {"town": "categorical", "age": "numeric", "wage": "numeric", "gain": "numeric", "name": "id"}
    assert sum(c.rho for c in table.budget.ledger) <= sum(SHARES.values()) * table.budget.rho * (1 + 1e-9)
    assert "'name'" in domain.notes[0]


def test_a_surrogate_holds_nothing_that_few_records_hold():
    domain = learn_domain(private(3.0), None, None)
    assert not {c for c in domain.surrogate.data["name"].to_pylist() if "person" in c}
    wages = np.array([float(w) for w in domain.surrogate.data["wage"].to_pylist()])
    real = {float(w) for w in people().data["wage"].to_pylist()}
    assert np.mean([w in real for w in wages]) < 0.2


def test_a_declared_column_costs_nothing():
    schema = Schema(columns=(Column(name="town", kind="categorical", categories=("Oslo", "Lima", "Cairo")),))
    table = private(3.0)
    learn_domain(table, schema, None)
    assert not [c for c in table.budget.ledger if "'town'" in c.what]


def test_a_budget_too_small_for_the_table_is_refused_in_words():
    with pytest.raises(BudgetError, match="too small"):
        learn_domain(private(0.001, people(100)), None, None)


def test_records_are_encoded_each_on_its_own():
    codes = prepare_table(people(), None, ["name"], [], Budget(50.0, 1e-6), 16).records.codes()
    assert max(codes.sizes) <= 16
    counts, sigma = codes.measure([0], 1.0)
    assert sigma == pytest.approx(np.sqrt(0.5))
    assert counts.sum() == pytest.approx(4000, abs=20)


@pytest.mark.parametrize("cell", ["NaN", "1e999", "abc", "", "-1e30", "٣", "=1+1"])
def test_a_strange_cell_is_no_error_that_would_tell_of_it(cell):
    data = people(400).data
    odd = pa.table({name: [cell] for name in data.column_names})
    prepare_table(as_table(pa.concat_tables([data, odd])), None, ["name"], [], Budget(50.0, 1e-6), 16)


def test_rules_that_list_what_occurs_are_refused():
    schema = Schema(
        columns=(Column(name="town", kind="categorical"), Column(name="age", kind="numeric")),
        rules=("combinations: town, age",),
    )
    with pytest.raises(BudgetError, match="no budget pays"):
        prepare_table(people(100), schema, [], [], Budget(1.0, 1e-6), 16)
