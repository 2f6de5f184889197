import codecs
import gzip

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from synthgen.data import Table, read, write
from synthgen.data.csv import CsvFile
from synthgen.data.table import read_table
from synthgen.errors import SynthgenError
from synthgen.schema import Dialect

ROWS = [["name", "n", "note"], ["Zoë", "1", "a"], ["Bo", "2", "b"], ["", "3", "c"]]


def text(delimiter=",", newline="\n"):
    return "".join(delimiter.join(row) + newline for row in ROWS)


def put(tmp_path, content, name="in.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(table):
    return [table.data.column_names, *(list(r.values()) for r in table.data.to_pylist())]


def again(tmp_path, path, name="out.csv"):
    write(read(path), tmp_path / name)
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_the_delimiter_is_found(tmp_path, delimiter):
    table = read(put(tmp_path, text(delimiter)))
    assert table.dialect == Dialect(delimiter=delimiter)
    assert rows(table) == ROWS


def test_the_delimiter_is_the_one_that_cuts_lines_alike(tmp_path):
    table = read(put(tmp_path, "a;b\n1,5;2\n3;4,25\n7;8\n"))
    assert table.dialect.delimiter == ";"
    assert rows(table) == [["a", "b"], ["1,5", "2"], ["3", "4,25"], ["7", "8"]]


def test_one_column_needs_no_delimiter(tmp_path):
    table = read(put(tmp_path, "x\n1\n2\n"))
    assert rows(table) == [["x"], ["1"], ["2"]]


def test_an_empty_cell_in_one_column_is_a_row(tmp_path):
    assert rows(read(put(tmp_path, 'x\n1\n""\n3\n'))) == [["x"], ["1"], [""], ["3"]]


def test_quotes_hide_delimiters_quotes_and_line_ends(tmp_path):
    table = read(put(tmp_path, 'a,b\n"x, y","say ""hi"""\n"two\nlines",z\n'))
    assert rows(table) == [["a", "b"], ["x, y", 'say "hi"'], ["two\nlines", "z"]]


def test_single_quotes_around_the_header_are_quotes(tmp_path):
    table = read(put(tmp_path, "'a','b'\n'x, y','z'\n'u','v'\n"))
    assert table.dialect.quote == "'"
    assert rows(table) == [["a", "b"], ["x, y", "z"], ["u", "v"]]


@pytest.mark.parametrize(
    ("encoding", "mark", "found"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8", codecs.BOM_UTF8, "utf-8-sig"),
        ("utf-16-le", codecs.BOM_UTF16_LE, "utf-16"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "utf-16"),
        ("utf-16-le", b"", "utf-16-le"),
        ("utf-16-be", b"", "utf-16-be"),
        ("latin-1", b"", "cp1252"),
    ],
)
def test_the_encoding_is_found(tmp_path, encoding, mark, found):
    table = read(put(tmp_path, mark + text().encode(encoding)))
    assert rows(table) == ROWS
    assert table.dialect.encoding == found


def test_windows_quotes_are_read(tmp_path):
    assert rows(read(put(tmp_path, "a,b\n“x”,€\n".encode("cp1252")))) == [["a", "b"], ["“x”", "€"]]


def test_bytes_that_windows_does_not_know_are_latin_1(tmp_path):
    assert read(put(tmp_path, b"a,b\n\x81,\xe9\n")).dialect.encoding == "latin-1"


def test_gzip_is_read_whatever_its_ending(tmp_path):
    for name in ("in.csv.gz", "in.csv"):
        assert rows(read(put(tmp_path, gzip.compress(text().encode()), name))) == ROWS


def test_gzip_is_written_the_same_each_time(tmp_path):
    path = put(tmp_path, text())
    first, second = (again(tmp_path, path, f"{name}.csv.gz") for name in "ab")
    assert first == second
    assert gzip.decompress(first).decode() == text()


@pytest.mark.parametrize(
    ("content", "line", "fields"),
    [
        ("a,b\n1,2\n3\n", 3, 1),
        ("a,b\n1,2\n3,4,5\n6,7\n", 3, 3),
        ('a,b\n"1\n1",2\n3,4,5\n', 4, 3),
        ("a,b\n1,2\n\n3,4,5\n", 4, 3),
        ("a,b\r\n1,2\r\n3,4,5\r\n", 3, 3),
    ],
)
def test_a_ragged_line_is_an_error_with_its_number(tmp_path, content, line, fields):
    with pytest.raises(SynthgenError, match=f"line {line}: {fields} fields where the header has 2"):
        read(put(tmp_path, content), Dialect())


def test_a_ragged_line_in_a_long_file_is_found(tmp_path):
    lines = ["a,b"] + [f"{i},x" for i in range(5000)]
    lines[4321] += ",y"
    with pytest.raises(SynthgenError, match="line 4322: 3 fields where the header has 2"):
        read(put(tmp_path, "\n".join(lines)))


def test_blank_lines_between_records_are_left_out(tmp_path):
    assert rows(read(put(tmp_path, "a,b\n1,2\n\n3,4\n\n"))) == [["a", "b"], ["1", "2"], ["3", "4"]]


def test_blank_lines_before_the_header_are_left_out(tmp_path):
    assert rows(read(put(tmp_path, "\n\na,b\n1,2\n3,4\n"))) == [["a", "b"], ["1", "2"], ["3", "4"]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a,b,a\n1,2,3\n", "two columns are called 'a'"),
        ("a,,c\n1,2,3\n", "column 2 has no name"),
        ("a, ,c\n1,2,3\n", "column 2 has no name"),
        ("", "is empty"),
        ("\n \n\n", "is empty"),
        ("\ufeff", "is empty"),
        ("a,b\n", "has a header but no rows"),
        ("a,b", "has a header but no rows"),
        (b"a,b\n1,\x00\n", "is a binary file"),
        (bytes(range(256)) * 8, "is a binary file"),
        (b"PK\x03\x04rest", "is a zip or Excel file"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\x89PNG\r\n", "is a PNG image"),
        (gzip.compress(b"a,b\n1,2\n" * 50)[:-12], "is a damaged gzip file"),
        (gzip.compress(b"a,b\n1,2\n")[:12] + b"xxxxxxxxxxxx", "is a damaged gzip file"),
        (b"\x1f\x8b", "is a damaged gzip file"),
    ],
)
def test_what_is_no_table_is_an_error_that_says_why(tmp_path, content, told):
    with pytest.raises(SynthgenError, match=told):
        read(put(tmp_path, content))


def test_a_wrong_or_unknown_encoding_is_an_error(tmp_path):
    path = put(tmp_path, "a,b\né,2\n".encode("latin-1"))
    for encoding in ("utf-8", "no-such"):
        with pytest.raises(SynthgenError, match=f"is not in encoding {encoding}"):
            read(path, Dialect(encoding=encoding))


def test_the_told_dialect_wins(tmp_path):
    told = Dialect(delimiter=";", quote="'")
    table = read(put(tmp_path, "a,b;c\n'1;2';3\n"), told)
    assert table.dialect == told
    assert rows(table) == [["a,b", "c"], ["1;2", "3"]]


def test_a_blank_after_each_delimiter_is_no_part_of_the_cells(tmp_path):
    table = read(put(tmp_path, "a, b, c\n1, x, 2\n3, y z, 4\n5, w, 6\n"))
    assert table.dialect.space
    assert rows(table) == [["a", "b", "c"], ["1", "x", "2"], ["3", "y z", "4"], ["5", "w", "6"]]


def test_quotes_after_a_blank_are_quotes(tmp_path):
    table = read(put(tmp_path, 'a, b\n1, "x, y"\n2, "z"\n3, w\n'))
    assert rows(table) == [["a", "b"], ["1", "x, y"], ["2", "z"], ["3", "w"]]


def test_a_last_line_without_an_end_is_read(tmp_path):
    assert rows(read(put(tmp_path, "a,b\n1,2\n3,4"))) == [["a", "b"], ["1", "2"], ["3", "4"]]


@pytest.mark.parametrize(
    "content",
    [
        *(text(d, n).encode() for d in ",;\t|" for n in ("\n", "\r\n")),
        codecs.BOM_UTF8 + text().encode(),
        text().encode("utf-16-le"),
        text().encode("utf-16-be"),
        codecs.BOM_UTF16_LE + text().encode("utf-16-le"),
        text().encode("cp1252"),
        b"a,b\n\x81,\xe9\n",
        b"a, b\n1, x\n2, y\n3, z\n",
        b'a,b\n"x, y","say ""hi"""\n"two\nlines",z\n',
        b'a,b\r\n"two\r\nlines",z\r\n',
        b'x\n1\n""\n3\n',
        b'a,b\n" x",y\n',
        b'a,b\n"$1,234.50",1e5\n$7.00,2e7\n',
    ],
)
def test_what_is_read_and_written_is_the_same_bytes(tmp_path, content):
    assert again(tmp_path, put(tmp_path, content)) == content


def test_big_endian_utf_16_is_written_as_utf_16(tmp_path):
    out = again(tmp_path, put(tmp_path, codecs.BOM_UTF16_BE + text().encode("utf-16-be")))
    assert out.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    assert out.decode("utf-16") == text()


def test_a_missing_cell_is_written_as_the_first_missing_text(tmp_path):
    table = read(put(tmp_path, "a,b\n1.5,x\nNA,y\nNA,\n"))
    gone = table.data.set_column(0, "a", pa.array([None, "1.5", None]))
    write(Table(gone, table.dialect, declared=table.schema), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "a,b\nNA,x\n1.5,y\nNA,\n"


def test_a_character_that_the_encoding_lacks_is_written_as_a_question_mark(tmp_path):
    write(Table(pa.table({"a": ["é☃"]}), Dialect(encoding="latin-1")), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == b"a\n\xe9?\n"


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
tables = st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[cells] * width), min_size=1, max_size=6))


@settings(deadline=None, max_examples=80, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=tables,
    delimiter=st.sampled_from(",;\t|"),
    quote=st.sampled_from("\"'"),
    newline=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]),
)
@example([(" x", "\ty")], "\t", '"', "\n", "utf-8")
@example([("", "")], ",", '"', "\n", "utf-8")
@example([("\r", "\n")], ";", "'", "\r\n", "utf-16")
def test_any_cells_come_back(tmp_path, table, delimiter, quote, newline, encoding):
    dialect = Dialect(delimiter=delimiter, quote=quote, newline=newline, encoding=encoding)
    data = pa.table([pa.array(column) for column in zip(*table, strict=True)], [f"c{j}" for j in range(len(table[0]))])
    write(Table(data, dialect), tmp_path / "x.csv")
    assert read(tmp_path / "x.csv", dialect).data.equals(data)


@pytest.mark.parametrize("cell", ["plain", " x", "a, b", 'say "hi"', "two\nlines", ""])
def test_any_cell_comes_back_with_a_blank_after_the_delimiter(tmp_path, cell):
    dialect = Dialect(space=True)
    data = pa.table({"a": [cell, "u"], "b": ["v", cell]})
    write(Table(data, dialect), tmp_path / "x.csv")
    assert read(tmp_path / "x.csv", dialect).data.equals(data)


def test_a_quote_that_is_not_closed_is_said(tmp_path):
    path = put(tmp_path, 'a,b\n1,2\n"3,4\n' + "5,6\n" * 30_000)
    with pytest.raises(SynthgenError, match="more than 0 MiB, or a quote that is not closed"):
        list(CsvFile.open(path).blocks(1 << 14))


def odd_records():
    """A last record that looks as if the file were written otherwise."""
    return [
        b"Bern\xe9,1\n",
        b"\xff\xfe,1\n",
        b"a;b;c;d;e,1\n",
        b"x, 1\n",
        b"'x',1\n",
        b"x,1\r\n",
        b"x\ty|z,1\n",
        "٣,١\n".encode(),
    ]


@pytest.mark.parametrize("odd", odd_records())
def test_read_privately_no_record_changes_how_another_is_read(tmp_path, odd):
    lines = ["town,number\n", *(f"Zürich {i},{i}\n" for i in range(30))]
    (tmp_path / "a.csv").write_bytes("".join(lines).encode())
    (tmp_path / "b.csv").write_bytes("".join(lines).encode() + odd)
    without, with_ = (read_table(tmp_path / f"{name}.csv", private=True) for name in "ab")
    assert with_.dialect == without.dialect
    assert with_.data.slice(0, 30).equals(without.data)


def test_read_privately_a_file_is_read_as_its_beginning_says(tmp_path):
    text = "town; n\r\nZürich; 1\r\nBern; 2\r\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "t.csv").write_bytes(text.encode(encoding))
        table = read_table(tmp_path / "t.csv", private=True)
        assert table.data.to_pydict() == {"town": ["Zürich", "Bern"], "n": ["1", "2"]}
        assert table.dialect == Dialect(delimiter=";", encoding=encoding, space=True, newline="\r\n")
