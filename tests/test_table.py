from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthgen.data import Table, TableWriter, as_table, read, write
from synthgen.data.cells import column_values, parse_type, render, typed_column
from synthgen.errors import ResourceError, SynthgenError
from synthgen.formats import DateFormat, NumberFormat
from synthgen.schema import Column, Schema

ENDINGS = [".csv", ".csv.gz", ".parquet"]


class Stream:
    """An Arrow stream that is no Arrow table."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def texts(**columns):
    return Table(pa.table(columns))


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "int": np.array([3, 1, 2], dtype="int16"),
            "float": [0.5, np.nan, 1.5],
            "flag": [True, False, True],
            "label": pd.Categorical(["x", None, "y"], categories=["y", "x"]),
            "when": pd.to_datetime(["2020-01-01 00:00", None, "2021-01-01 12:00"]),
            "zoned": pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"], utc=True),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "text": ["a", "b", None],
        }
    )


def test_a_pandas_frame_comes_back_with_its_dtypes(frame):
    back = as_table(frame).to_pandas()
    assert back.dtypes.astype(str).tolist() == frame.dtypes.astype(str).tolist()
    for name in frame:
        assert back[name].isna().tolist() == frame[name].isna().tolist()
        assert back[name].dropna().tolist() == frame[name].dropna().tolist()


def test_the_index_of_a_frame_is_no_column():
    assert as_table(pd.DataFrame({"a": [1, 2]}, index=["x", "y"])).data.column_names == ["a"]


def test_column_names_that_are_no_strings_become_strings():
    assert as_table(pd.DataFrame([[1, 2]], columns=[0, "b"])).data.column_names == ["0", "b"]


@pytest.mark.parametrize("columns", [["a", "a"], [1, "1"]])
def test_a_frame_with_two_columns_of_one_name_is_an_error(columns):
    with pytest.raises(SynthgenError, match="two columns are called"):
        as_table(pd.DataFrame([[1, 2]], columns=columns))


@pytest.mark.parametrize("cells", [[1, "a"], ["a", 1.5], [True, "no"]])
def test_a_frame_column_of_mixed_types_is_an_error(cells):
    with pytest.raises(SynthgenError, match="values of different types"):
        as_table(pd.DataFrame({"a": cells}))


def test_an_arrow_stream_is_taken():
    table = pa.table({"a": [1, 2, None]})
    assert as_table(Stream(table)).data.equals(table)
    assert as_table(table).data.equals(table)


def test_a_stream_of_several_chunks_becomes_one():
    chunked = pa.table({"a": pa.chunked_array([[1], [2, 3]])})
    table = as_table(Stream(chunked))
    assert table.data["a"].num_chunks == 1
    assert len(table) == 3


def test_a_table_is_taken_as_it_is():
    table = texts(a=["1"])
    assert as_table(table) is table


@pytest.mark.parametrize("thing", [[1, 2], {"a": [1]}, None, np.zeros((2, 2))])
def test_what_is_no_table_is_an_error(thing):
    with pytest.raises(SynthgenError, match=f"{type(thing).__name__} is no table"):
        as_table(thing)


@pytest.mark.parametrize("rows", [pd.DataFrame({"a": []}), pa.table({"a": pa.nulls(0)})])
def test_a_table_without_rows_is_an_error(rows):
    with pytest.raises(SynthgenError, match="no rows"):
        as_table(rows)


def test_parquet_comes_back_with_its_types(tmp_path, frame):
    data = as_table(frame.drop(columns="label")).data
    data = data.append_column("label", pa.array(["x", None, "y"]).dictionary_encode())
    write(Table(data), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet").data.equals(data)


def test_a_parquet_file_is_known_by_its_beginning(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.data")
    assert read(tmp_path / "x.data").data["a"].to_pylist() == [1]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 50, b"a,b\n1,2\n"])
def test_a_bad_parquet_file_is_an_error(tmp_path, content):
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(SynthgenError, match=r"x\.parquet is no readable Parquet file"):
        read(path)


def test_a_folder_and_a_missing_file_are_errors(tmp_path):
    with pytest.raises(SynthgenError, match="holds no image"):
        read(tmp_path)
    with pytest.raises(SynthgenError, match="is a folder"):
        as_table(tmp_path)
    with pytest.raises(SynthgenError, match=r"there is no file .*none\.csv"):
        read(tmp_path / "none.csv")


def test_take_and_select():
    table = texts(a=["1", "2", "3"], b=["x", "y", "z"])
    assert table.take(np.array([2, 0])).data.to_pydict() == {"a": ["3", "1"], "b": ["z", "x"]}
    assert table.select(["b"]).data.column_names == ["b"]


def test_declare_puts_a_schema_over_what_is_inferred():
    table = texts(a=["1", "2", "2"])
    declared = table.declare(Schema(columns=(Column(name="a", kind="categorical"),)))
    assert [t.schema["a"].kind for t in (table, declared)] == ["numeric", "categorical"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_several_parts_become_one_file(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    parts = [texts(a=["1", "2"], b=["x", "y"]), texts(a=["3"], b=["z"])]
    with TableWriter(path, parts[0].schema) as writer:
        for part in parts:
            writer.write(part)
    assert read(path).data.equals(pa.concat_tables(p.data for p in parts).combine_chunks())
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_between_parts_leaves_the_old_file_untouched(tmp_path, ending, error):
    path = tmp_path / f"x{ending}"
    path.write_bytes(b"old")
    table = texts(a=["1"])
    with pytest.raises(error), TableWriter(path, table.schema) as writer:
        writer.write(table)
        raise error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_part_with_other_columns_leaves_nothing(tmp_path, ending):
    table = texts(a=["1"])
    with pytest.raises((KeyError, ValueError)), TableWriter(tmp_path / f"x{ending}", table.schema) as writer:
        writer.write(table)
        writer.write(texts(other=["1"]))
    assert names(tmp_path) == []


def test_the_old_file_can_be_read_while_the_new_one_is_written(tmp_path):
    path, table = tmp_path / "x.csv", texts(a=["1"])
    write(table, path)
    with TableWriter(path, table.schema) as writer:
        writer.write(texts(a=["2"]))
        assert path.read_text() == "a\n1\n"
    assert path.read_text() == "a\n2\n"


@pytest.mark.parametrize("name", ["x.txt", "x", "x.xlsx", "csv"])
def test_an_unknown_ending_is_an_error(tmp_path, name):
    with pytest.raises(SynthgenError, match=r"has no ending that a table can have: \.csv, \.csv\.gz, \.parquet"):
        write(texts(a=["1"]), tmp_path / name)


def test_a_folder_is_never_replaced(tmp_path):
    (tmp_path / "parts.csv").mkdir()
    (tmp_path / "parts.csv" / "0").write_text("mine")
    with pytest.raises(SynthgenError, match=r"parts\.csv is a folder; give the name of a file"):
        write(texts(a=["1"]), tmp_path / "parts.csv")
    assert (tmp_path / "parts.csv" / "0").read_text() == "mine"


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SynthgenError, match="there is no folder"):
        write(texts(a=["1"]), tmp_path / "none" / "x.csv")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_a_resource_error(tmp_path, monkeypatch, ending):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match="no space left"):
        write(texts(a=["1"]), tmp_path / f"x{ending}")
    assert names(tmp_path) == []


def test_a_frame_is_written_as_csv(tmp_path, frame):
    write(as_table(frame), tmp_path / "x.csv")
    back = pd.read_csv(tmp_path / "x.csv")
    assert back["int"].tolist() == [3, 1, 2]
    assert back["float"].fillna(-1).tolist() == [0.5, -1, 1.5]
    assert back["flag"].tolist() == [True, False, True]
    assert back["label"].fillna("").tolist() == ["x", "", "y"]
    assert pd.to_datetime(back["when"]).isna().tolist() == [False, True, False]
    assert pd.to_datetime(back["when"])[2] == pd.Timestamp("2021-01-01 12:00")
    assert back["nullable"].fillna(-1).tolist() == [1, -1, 3]


def test_large_integers_are_written_exactly(tmp_path):
    numbers = [2**53 + 1, 2**62 + 1, 2**53 + 1]
    write(as_table(pa.table({"a": numbers})), tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text().split() == ["a", *map(str, numbers)]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.int64(), pa.uint16(), pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.large_string()),
        *(pa.bool_(), pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.decimal128(10, 2)),
        *(pa.timestamp("ns", "Europe/Berlin"), pa.dictionary(pa.int32(), pa.string())),
        pa.decimal256(50, 2),
    ],
)
def test_types_are_known_by_their_names(kind):
    assert parse_type(str(kind)) == kind


def test_values_of_numbers_and_dates():
    number = Column(name="x", kind="numeric", missing=("NA",), number=NumberFormat(decimals=(1, 1)))
    day = Column(name="x", kind="datetime", missing=("",), date=DateFormat(pattern="%Y-%m-%d"))
    assert np.array_equal(column_values(number, pa.array(["1.5", "NA", ""])), [1.5, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(column_values(day, pa.array(["1970-01-03", "", None])), [2, np.nan, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("kind", "told"), [("numeric", "column 'x' holds 'oops', which is no number"), ("datetime", "no date like")]
)
def test_a_cell_that_is_not_what_the_schema_says_is_an_error(kind, told):
    form = {"number": NumberFormat()} if kind == "numeric" else {"date": DateFormat(pattern="%Y-%m-%d")}
    with pytest.raises(SynthgenError, match=told):
        column_values(Column(name="x", kind=kind, **form), pa.array(["oops"]))


def test_an_empty_cell_is_missing_whatever_the_schema_lists():
    for missing in ((), ("NA",)):
        column = Column(name="x", kind="numeric", missing=missing, number=NumberFormat())
        assert np.isnan(column_values(column, pa.array(["1", ""]))).tolist() == [False, True]


@pytest.mark.parametrize(
    ("dtype", "values", "cells"),
    [
        ("int64", [1.0, np.nan, 3.0], [1, None, 3]),
        ("float", [0.5, np.nan, 1.5], [0.5, None, 1.5]),
        (None, [1.0, np.nan, 3.0], [1, None, 3]),
    ],
)
def test_decoded_numbers_get_the_type_of_their_source(dtype, values, cells):
    column = Column(
        name="x", kind="numeric", dtype=dtype, number=NumberFormat(decimals=None if dtype == "float" else (0, 0))
    )
    made = typed_column(column, np.array(values))
    assert made.to_pylist() == cells
    assert made.type == (parse_type(dtype) if dtype else pa.int64())


def test_render_writes_typed_cells_as_their_schema_says():
    number = Column(name="x", kind="numeric", missing=("NA",), number=NumberFormat(prefix="$", decimals=(2, 2)))
    assert render(number, pa.array([1.5, None])).to_pylist() == ["$1.50", "NA"]
    day = Column(name="x", kind="datetime", date=DateFormat(pattern="%d.%m.%Y"))
    assert render(day, pa.array([date(2020, 2, 1), None])).to_pylist() == ["01.02.2020", ""]
