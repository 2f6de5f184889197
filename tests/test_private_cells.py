"""Cells of any type and content: none raises, and none changes how another is read."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest

from synthgen.codec import fit_codec
from synthgen.data import Table
from synthgen.dp.budget import Budget
from synthgen.dp.cells import FORMS, PARTS, date_forms, forms, texts, values
from synthgen.dp.domain import learn_domain
from synthgen.dp.table import PrivateTable
from synthgen.formats import PATTERNS, DateFormat

pytest.importorskip("opendp")

CELLS = ["2020-01-01", "31/12/2019", "12/31/2019", "1/2/2020", "13/1/2020", "20200101", "12345678", "2020-01-01T00:00Z"]
CELLS += ["2020-01-01 10:30:00.123456", "2020-01-01 10:30:00.123456789", "12:30", "May 03, 2020", "0000-00-00", "now"]
CELLS += ["9999-12-31", "0001-01-01", "2020-01-01\n", "2020-01-01\x00", "٢٠٢٠-01-01", "today", "2.5", "1e999", "", "-"]
CELLS += [
    "NaN",
    "-inf",
    "+5",
    "--5",
    "1_000",
    "٣",
    "1e5",
    "9" * 400,
    "." + "0" * 9999,
    "x" * 100_000,
    "\x1b[31m",
    "=1+1",
]
CELLS += ["\u202eabc", "\ufeff1", "a\tb", "29/02/2019", "31.02.20", "24:00", "2020-13", "2020-01-01T23:59:60"]

BYTES = [b"\xff\xfe", b"12", b"", None, b"2020-01-01", b"\x00"]
FAR = [2**63 - 1, -(2**63) + 1, 0, 10**15]
HOSTILE = {
    "texts": pa.array(CELLS),
    "large": pa.array(CELLS, pa.large_string()),
    "views": pa.array(CELLS, pa.string_view()),
    "labels": pa.array(CELLS).dictionary_encode(),
    "not utf-8": pa.Array.from_buffers(pa.string(), 3, pa.array([b"\xff", b"12", b"x"]).buffers()),
    "bytes": pa.array(BYTES),
    "fixed": pa.array([b"\xff" * 4, b"1234", None], pa.binary(4)),
    "floats": pa.array([np.nan, np.inf, -np.inf, -0.0, 1e308, 5e-324, None, 0.1]),
    "halves": pa.array(np.array([np.nan, np.inf, 0.1], np.float16)),
    "whole": pa.array([2**64 - 1, 0, None], pa.uint64()),
    "decimals": pa.array([decimal.Decimal("1e20"), decimal.Decimal("-0.000001"), None], pa.decimal128(38, 6)),
    "wide": pa.array([decimal.Decimal(10) ** 60, None], pa.decimal256(76, 3)),
    "booleans": pa.array([True, False, None]),
    "nulls": pa.nulls(3),
    "seconds": pa.array(FAR).cast(pa.timestamp("s")),
    "nanoseconds": pa.array(FAR).cast(pa.timestamp("ns")),
    "zoned": pa.array(FAR).cast(pa.timestamp("us", "Europe/Oslo")),
    "dates": pa.array([2**31 - 1, -(2**31), 0, None], pa.int32()).cast(pa.date32()),
    "times": pa.array([datetime.time(1, 2, 3), None], pa.time64("us")),
    "wrong times": pa.array([-1, 2**31 - 1], pa.int32()).cast(pa.time32("s")),
    "durations": pa.array(FAR).cast(pa.duration("s")),
    "intervals": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
    "lists": pa.array([[1, 2], [], None, [None]]),
    "structs": pa.array([{"a": 1, "b": "x"}, None]),
    "maps": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
    "far in lists": pa.ListArray.from_arrays([0, 1, 4], pa.array(FAR).cast(pa.timestamp("s"))),
    "mixed": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["x", "y"])]),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["x", "y"])),
    "uuids": pa.array([b"\xff" * 16, None], pa.uuid()),
}


@pytest.mark.parametrize("cells", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("plain", ["12.5", "2020-01-01", "Oslo"])
def test_no_cell_raises(cells, plain):
    """Alone, and among others that make the column one of numbers, dates or labels."""
    private = PrivateTable(pa.table({"x": cells}), Budget(50.0, 1e-6))
    private.forms("x", 0.1), private.labels("x", 0.1, 1e-9), private.cells(["x"])
    private.histogram("x", np.arange(3.0), 0.1)
    crowd = pa.concat_arrays([texts(pa.chunked_array([cells])), pa.array([plain] * 500)])
    for column in (crowd, pa.concat_arrays([cells] * (500 // len(cells)))):
        data = pa.table({"x": column, "y": np.arange(len(column)) % 2})
        private = PrivateTable(data, Budget(50.0, 1e-6))
        surrogate = learn_domain(private, None, None).surrogate
        codec, _ = fit_codec(surrogate, surrogate.schema, codes=16, keep_rare=True)
        numeric = [c.name for c in surrogate.schema.columns if c.kind == "numeric"]
        codec.encode(Table(private.cells(numeric)), np.random.default_rng(0))


@pytest.mark.parametrize("cells", HOSTILE.values(), ids=HOSTILE)
def test_each_cell_has_its_text_whatever_the_others_are(cells):
    alone = [texts(pa.chunked_array([cells[i : i + 1]]))[0].as_py() for i in range(len(cells))]
    assert texts(pa.chunked_array([cells])).to_pylist() == alone
    assert texts(pa.chunked_array([cells[:1], cells[1:]])).to_pylist() == alone


def test_each_cell_is_read_on_its_own():
    cells = [cell for cell in texts(pa.chunked_array([CELLS])).to_pylist() if len(cell) < 1000]
    together = pa.array(cells)
    dates = [DateFormat(pattern=p, unit=u) for p, u in PATTERNS.items()]
    for date in [None, *dates, DateFormat(pattern="%Y-%m-%d", suffix="Z"), DateFormat(pattern="%d.%m", padded=False)]:
        alone = np.concatenate([values(pa.array([cell]), date) for cell in cells])
        assert np.array_equal(values(together, date), alone, equal_nan=True), date
    assert np.array_equal(forms(together), np.concatenate([forms(pa.array([cell])) for cell in cells]))


def test_of_each_date_each_part_has_one_form():
    cells = texts(pa.chunked_array([CELLS]))
    dates = np.sum(forms(cells) == FORMS.index("date"))
    for part in PARTS:
        found = date_forms(cells, part)
        assert len(found) == dates
        assert found.max() < len(PARTS[part])
