"""CSV in and out: every cell is text; a field too many or too few is an error with its line number."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import re
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from synthgen.data.formulas import unescape_table
from synthgen.data.limits import gunzip
from synthgen.errors import SynthgenError
from synthgen.schema import Dialect

DELIMITERS = ",;\t|"
_FOREIGN = {b"PK\x03\x04": "a zip or Excel file", b"\xd0\xcf\x11\xe0": "an old Excel file", b"%PDF": "a PDF"}
_FOREIGN |= {b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"\x7fELF": "a program"}


def read_csv(path: Path, told: Dialect | None = None, escaped: bool = True) -> tuple[pa.Table, Dialect]:
    """Read a CSV file, gzipped or not, as columns of strings, and find out how it is written.

    Args:
        path: the file.
        told: how it is written; found out where None.
        escaped: take off the ' before what a spreadsheet would run, if what was told does not say otherwise.

    Raises:
        SynthgenError: the file is empty, binary, ragged, or not in the encoding told.
    """
    raw = _bytes(path)
    for magic, what in _FOREIGN.items():
        if raw.startswith(magic):
            raise SynthgenError(f"{path} is {what}; save the table as .csv or .parquet")
    encoding = told.encoding if told else _find_encoding(raw, path)
    try:
        text = raw.decode(encoding).removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError) as error:
        raise SynthgenError(f"{path} is not in encoding {encoding}: {error}") from error
    if not text.strip():
        raise SynthgenError(f"{path} is empty")
    if "\x00" in text:
        raise SynthgenError(f"{path} is a binary file, no table of text")
    dialect = told or _find_dialect(text, encoding)
    dialect = dialect.model_copy(update={"escaped": dialect.escaped and escaped})
    table = _parse(text, dialect, path)
    return unescape_table(table) if dialect.escaped else table, dialect


def _bytes(path: Path) -> bytes:
    raw = path.read_bytes()
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return gunzip(raw, path)
    except (EOFError, zlib.error) as error:
        raise SynthgenError(f"{path} is a damaged gzip file: {error}") from error


def _find_encoding(raw: bytes, path: Path) -> str:
    """UTF-16 by its mark or its zeros, else UTF-8 if it is valid, else Windows-1252."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = raw[:1000]
    if len(head) >= 4 and head[1::2].count(0) > 0.4 * len(head) > 4 * head[::2].count(0):
        return "utf-16-le"
    if len(head) >= 4 and head[::2].count(0) > 0.4 * len(head) > 4 * head[1::2].count(0):
        return "utf-16-be"
    if 0 in head:
        raise SynthgenError(f"{path} is a binary file, no table of text")
    try:
        raw.decode("utf-8")
        return "utf-8-sig" if raw.startswith(b"\xef\xbb\xbf") else "utf-8"
    except UnicodeDecodeError:
        return "cp1252" if not any(b in raw for b in b"\x81\x8d\x8f\x90\x9d") else "latin-1"


def _find_dialect(text: str, encoding: str) -> Dialect:
    """The delimiter that cuts the first lines into the most fields, the same number in each."""
    head = text[:200_000]
    quote = "'" if re.match(r"'(?:[^']|'')*' ?(?:[,;\t|]|\r?\n)", head) else '"'  # not that before a formula
    best, fields = ",", 0
    for delimiter in DELIMITERS:
        rows = list(zip(range(200), _reader(head, Dialect(delimiter=delimiter, quote=quote, space=True)), strict=False))
        sizes = [len(row) for _, row in rows if row][: max(1, len(rows) - 1)]  # the last may be cut off
        regular = sum(s == sizes[0] for s in sizes) / len(sizes) if sizes else 0
        if sizes and sizes[0] > 1 and regular > 0.9 and sizes[0] > fields:
            best, fields = delimiter, sizes[0]
    space = fields > 1 and _blank_follows(head.splitlines()[1:200], best, quote)
    newline: Literal["\n", "\r\n"] = "\r\n" if "\r\n" in head else "\n"
    return Dialect(delimiter=best, quote=quote, encoding=encoding, space=space, newline=newline)


def _blank_follows(lines: list[str], delimiter: str, quote: str) -> bool:
    """Whether a blank follows each delimiter, in lines without quotes, or before quotes where all lines have some."""
    lines = lines[:-1] or lines  # the last may be cut off
    pieces = [piece for line in lines if quote not in line for piece in line.split(delimiter)[1:]]
    if not pieces:
        text = "\n".join(lines)
        return f"{delimiter} {quote}" in text and delimiter + quote not in text
    return all(piece.startswith(" ") for piece in pieces)


def _reader(text: str, dialect: Dialect) -> Any:
    csv.field_size_limit(1 << 24)
    return csv.reader(
        io.StringIO(text, newline=""),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        skipinitialspace=dialect.space,
    )


def _parse(text: str, dialect: Dialect, path: Path) -> pa.Table:
    try:
        header = next(row for row in _reader(text, dialect) if row)
    except (StopIteration, csv.Error) as error:
        raise SynthgenError(f"{path} has no header line that can be read: {error}") from error
    names = [f"f{i}" for i in range(len(header))]
    if dialect.space and dialect.quote in text:  # Arrow knows no quotes that follow a blank
        rows = [row for row in _reader(text, dialect) if row]
        if ragged := _where_ragged(text, dialect, len(header), path):
            raise SynthgenError(ragged)
        cells = [pa.array(column, pa.string()) for column in zip(*rows[1:], strict=True)]
        cells = cells or [pa.array([], pa.string()) for _ in header]
        return pa.table(cells, names=names).rename_columns([name.strip() for name in header])
    try:
        columns = pacsv.read_csv(
            pa.BufferReader(text.encode()),
            pacsv.ReadOptions(column_names=names, block_size=1 << 26),
            pacsv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote,
                newlines_in_values=dialect.quote in text,
                ignore_empty_lines=len(header) > 1,
            ),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise SynthgenError(_where_ragged(text, dialect, len(header), path) or f"{path}: {error}") from error
    data = columns.slice(1)
    if dialect.space:
        data = pa.table([pc.utf8_ltrim(c, " ") for c in data.columns], names=names)
    return data.rename_columns([name.strip() for name in header])


def _where_ragged(text: str, dialect: Dialect, width: int, path: Path) -> str | None:
    """The first line whose number of fields differs from the header's."""
    reader = _reader(text, dialect)
    start = 1
    with contextlib.suppress(csv.Error):
        for row in reader:
            if row and len(row) != width:
                return (
                    f"{path}, line {start}: {len(row)} fields where the header has {width} "
                    f"(delimiter {dialect.delimiter!r}); correct the line, or tell the delimiter with --delimiter"
                )
            start = reader.line_num + 1
    return None


class CsvWriter:
    """Writes columns of texts as CSV, quoting only what needs it."""

    def __init__(self, path: Path, dialect: Dialect, compress: bool = False) -> None:
        self.dialect = dialect
        # a fixed time in the header, so that the same rows are the same bytes
        self._raw = path.open("wb")
        self._file: IO[bytes] = gzip.GzipFile("", "wb", 6, self._raw, 0) if compress else self._raw  # type: ignore[assignment]
        self._started = False

    def __enter__(self) -> Self:
        return self

    def write(self, names: list[str], columns: list[pa.Array]) -> None:
        """Append rows; the first call writes the header before them."""
        if not self._started:
            self._put([pa.array([n]) for n in names], self.dialect.encoding)
            self._started = True
        # the mark of UTF-16 and UTF-8 stands once, at the beginning
        marks = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le"}
        self._put(columns, marks.get(self.dialect.encoding, self.dialect.encoding))

    def _put(self, columns: list[pa.Array], encoding: str) -> None:
        cells = [self._quoted(c, alone=len(columns) == 1) for c in columns]
        lines = pc.binary_join_element_wise(*cells, self.dialect.delimiter + " " * self.dialect.space)
        ends = pc.binary_join_element_wise(lines, self.dialect.newline, "")
        for part in ends.chunks if isinstance(ends, pa.ChunkedArray) else [ends]:
            offsets, data = part.buffers()[1:]
            start, stop = (
                int.from_bytes(offsets[i * 4 : i * 4 + 4], "little") for i in (part.offset, part.offset + len(part))
            )
            text = bytes(data[start:stop]) if data is not None else b""
            plain = encoding in ("utf-8", "ascii")
            self._file.write(text if plain else text.decode().encode(encoding, errors="replace"))

    def _quoted(self, cells: pa.Array, alone: bool) -> pa.Array:
        d, q = self.dialect.delimiter, self.dialect.quote
        needs = pc.match_substring_regex(cells, f"[{re.escape(d)}{re.escape(q)}\r\n]|^ ")
        if alone:  # an empty line would be no record
            needs = pc.or_(needs, pc.equal(cells, ""))
        if not pc.any(needs).as_py():
            return cells
        quoted = pc.binary_join_element_wise(q, pc.replace_substring(cells, q, q + q), q, "")
        return pc.if_else(needs, quoted, cells)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._raw.close()
