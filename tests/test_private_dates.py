"""Dates under a budget: recognised, read and written as they are, and nobody's own date is told."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthgen import Synthesizer
from synthgen.codec import fit_codec
from synthgen.data import Table, read_table
from synthgen.dp.budget import Budget
from synthgen.dp.cells import PARTS
from synthgen.dp.domain import SHARES, date_format, learn_domain
from synthgen.dp.table import PrivateTable
from synthgen.errors import BudgetError
from synthgen.formats import DateFormat
from synthgen.schema import Column, Schema

pytest.importorskip("opendp")

BUDGET = (3.0, 1e-6)
N = 4000
RNG = np.random.default_rng(0)
DAYS = np.datetime64("2015-01-01") + RNG.integers(0, 6 * 365, N)
STAMPS = pd.DatetimeIndex(DAYS.astype("M8[s]") + RNG.integers(0, 86_400, N))


def written(form, stamps=STAMPS):
    """Texts of the dates, a tenth of them missing."""
    texts = stamps.strftime(form.replace("%-", "%")).to_numpy()
    if "%-" in form:
        texts = np.array([f"{s.month}/{s.day}/{s.year}" for s in stamps])
    return np.where(np.arange(N) % 10 == 3, "", texts).tolist()


def learned(cells, declared=None, epsilon=BUDGET[0]):
    private = PrivateTable(pa.table({"when": cells}), Budget(epsilon, BUDGET[1]))
    domain = learn_domain(private, Schema(columns=(declared,)) if declared else None, None)
    column = domain.surrogate.schema["when"]
    texts = domain.surrogate.data["when"].to_pylist()
    return private, column, [t for t in texts if t], sum(not t for t in texts) / len(texts)


def share_of_years(ticks, first=2015, last=2020):
    years = ticks.astype("M8[Y]").astype(int) + 1970
    return np.mean((years >= first) & (years <= last))


FORMS = ["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%-m/%-d/%Y", "%d.%m.%y", "%Y%m%d", "%d %B %Y", "%b %d, %Y", "%Y-%m"]
FORMS += ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00", "%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p", "%H:%M"]


@pytest.mark.parametrize("form", FORMS)
def test_dates_are_learned_as_they_are_written(form):
    private, column, texts, gaps = learned(written(form))
    assert column.kind == "datetime"
    assert column.date.reads(texts)
    assert column.date.pattern + column.date.suffix == form.replace("%-", "%")
    assert column.date.padded == ("%-" not in form)
    assert gaps == pytest.approx(0.1, abs=0.03)
    ticks = column.date.parse(pa.array(texts)).astype(np.int64).astype(f"M8[{column.date.unit}]")
    if form != "%H:%M":
        assert share_of_years(ticks) > 0.85
        middle = np.median(ticks.astype("M8[D]").astype(int)) - np.datetime64("2015-01-01").astype(int)
        assert middle == pytest.approx(3 * 365, abs=100)
    spent = sum(c.rho for c in private.budget.ledger)
    assert spent <= sum(SHARES.values()) * private.budget.rho * (1 + 1e-9)
    assert sum(SHARES.values()) <= 0.2 + 1e-12


@pytest.mark.parametrize(
    ("cells", "step"),
    [
        (pa.array(DAYS), "D"),
        (pa.array(DAYS.astype("M8[us]")), "D"),
        (pa.array(STAMPS.to_numpy().astype("M8[ns]")), "s"),
        (pa.array(STAMPS.floor("h").to_numpy()), "h"),
        (pa.array(STAMPS.to_numpy().astype("M8[us]"), pa.timestamp("us", "Europe/Oslo")), "s"),
    ],
    ids=["date32", "midnights", "nanoseconds", "hours", "zoned"],
)
def test_dates_that_a_file_stores_as_such_keep_their_step(cells, step):
    _, column, texts, gaps = learned(cells)
    assert column.kind == "datetime"
    assert gaps == 0
    stamps = pd.to_datetime(pd.Series(texts), format=column.date.pattern).to_numpy()
    assert (stamps == stamps.astype(f"M8[{step}]")).all()
    finer = {"D": "M8[M]", "h": "M8[D]", "s": "M8[m]"}[step]
    assert (stamps != stamps.astype(finer)).any()
    assert share_of_years(stamps) > 0.85


def test_a_strange_date_does_not_show_and_what_is_none_is_missing():
    cells = written("%Y-%m-%d")
    cells[:6] = ["1066-10-14", "2999-12-31", "2019-02-30", "yesterday", "9" * 400, "2019-01-01T25:00"]
    private = PrivateTable(pa.table({"when": cells}), Budget(*BUDGET))
    surrogate = learn_domain(private, None, None).surrogate
    texts = [t for t in surrogate.data["when"].to_pylist() if t]
    assert share_of_years(np.array(texts, "M8[D]")) > 0.85
    assert not {"1066-10-14", "2999-12-31", "2019-02-30"} & set(texts)
    codec, _ = fit_codec(surrogate, surrogate.schema, codes=16, keep_rare=True)
    x, held = codec.encode(Table(private.cells([])), np.random.default_rng(0))
    size = codec.space.sizes[0]
    assert x[:6, 0].tolist() == [1, size - 1, 0, 0, 0, 0]  # the first and the last code, and that of what is missing
    assert held[:6].all()


def test_dates_beyond_what_was_learned_and_unreadable_ones_are_delivered_without_an_error():
    cells = ["1066-10-14", "2019-02-30", "abc", "", *written("%Y-%m-%d")]
    private, *_ = learned(cells)
    delivered = private.cells([])["when"]
    assert pa.types.is_timestamp(delivered.type)
    assert delivered[:4].is_null().to_pylist() == [False, True, True, True]
    assert delivered.null_count == 3 + N // 10


def test_many_cells_that_are_no_dates_make_a_missing_share():
    cells = written("%Y-%m-%d")
    cells[::4] = ["unknown"] * len(cells[::4])
    _, column, _, gaps = learned(cells)
    assert column.kind == "datetime"
    assert gaps == pytest.approx(0.25 + 0.75 * 0.1, abs=0.05)


def test_what_is_declared_of_a_date_is_free():
    said = Column(name="when", kind="datetime", date=DateFormat(pattern="%d/%m/%Y"), minimum="01/01/2016")
    private, column, texts, _ = learned(written("%d/%m/%Y"), said)
    assert not [c for c in private.budget.ledger if "forms of the dates" in c.what]
    assert min(column.date.parse(pa.array(texts))) >= column.date.parse(pa.array(["01/01/2016"]))[0]
    bounded = said.model_copy(update={"maximum": "30/06/2018", "date": None})
    private, column, texts, _ = learned(written("%d/%m/%Y"), bounded)
    ticks = column.date.parse(pa.array(texts)).astype(np.int64).astype("M8[D]")
    assert str(ticks.max())[:7] == "2018-06"
    assert len([c for c in private.budget.ledger if "forms of the dates" in c.what]) == 2


def test_a_declared_way_of_writing_that_no_list_holds_is_read():
    said = Column(name="when", kind="datetime", date=DateFormat(pattern="%Y|%d|%m"))
    _, column, texts, gaps = learned(written("%Y|%d|%m"), said)
    assert column.date.reads(texts)
    assert gaps == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(
    ("declared", "cells", "said"),
    [
        (Column(name="when", kind="datetime"), ["soon", "later"] * 500, "how it is written is not known"),
        (Column(name="when", kind="datetime", date=DateFormat(pattern="%Y %z")), ["x"] * 500, "%z is not known"),
    ],
)
def test_a_declared_date_that_cannot_be_read_is_refused_in_words(declared, cells, said):
    with pytest.raises(BudgetError, match=said):
        learned(cells, declared)


def test_numbers_of_eight_digits_stay_numbers():
    cells = [str(n) for n in RNG.integers(10_000_000, 99_999_999, 2000)]
    assert learned(cells)[1].kind == "numeric"


def test_day_first_is_told_from_month_first_by_those_days_that_only_it_can_read():
    days = dict.fromkeys(PARTS["day"], 0)
    times = dict.fromkeys(PARTS["time"], 0) | {"": 1000}
    month = date_format(days | {"%m/%d/%Y": 950, "%d/%m/%Y": 50}, times, 20.0)
    day = date_format(days | {"%m/%d/%Y": 450, "%d/%m/%Y": 550}, times, 20.0)
    loose = date_format(days | {"%m/%d/%Y": 20, "%-m/%-d/%Y": 380, "%d/%m/%Y": 150, "%-d/%-m/%Y": 450}, times, 20.0)
    assert [month.pattern, day.pattern, loose.pattern] == ["%m/%d/%Y", "%d/%m/%Y", "%d/%m/%Y"]
    assert [month.padded, day.padded, loose.padded] == [True, True, False]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_generated_dates_are_written_as_the_dates_of_the_file(tmp_path, ending):
    source, out = tmp_path / f"in.{ending}", tmp_path / "out.csv"
    table = pa.table({"day": written("%d/%m/%Y"), "time": written("%Y-%m-%d %H:%M:%S"), "sport": ["ski", "run"] * 2000})
    if ending == "csv":
        table.to_pandas().to_csv(source, index=False)
    else:
        pq.write_table(table, source)
    Synthesizer("marginals").fit(source, budget=Budget(*BUDGET)).write(out, 1000)
    new = read_table(out)
    assert new.schema["day"].date == DateFormat(pattern="%d/%m/%Y")
    assert new.schema["time"].date == DateFormat(pattern="%Y-%m-%d %H:%M:%S", unit="s")
    years = {t[-4:] for t in new.data["day"].to_pylist() if t}
    assert {str(y) for y in range(2016, 2020)} <= years
    assert 30 < new.data["day"].to_pylist().count("") < 200


def test_rules_of_dates_hold_in_what_is_generated():
    start, end = STAMPS.strftime("%Y-%m-%d"), (STAMPS + pd.Timedelta("30D")).strftime("%Y-%m-%d")
    columns = tuple(Column(name=n, kind="datetime") for n in ("start", "end"))
    table = pa.table({"start": start.tolist(), "end": end.tolist()})
    schema = Schema(columns=columns, rules=("start <= end",))
    frame = Synthesizer("marginals", schema=schema).fit(table, budget=Budget(*BUDGET)).generate(500)
    assert (frame.start <= frame.end).all()
