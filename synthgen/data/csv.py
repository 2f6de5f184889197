"""CSV in and out: every cell is text; a field too many or too few is an error with its line number."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import csv
import gzip
import io
import re
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from synthgen.data.formulas import unescape, unescape_names
from synthgen.errors import SynthgenError
from synthgen.memory import check_unpacked
from synthgen.schema import Dialect

DELIMITERS = ",;\t|"
HEAD = 200_000  # characters that the dialect is found in
ROWS = 10_000  # taken apart together where Arrow cannot
_FOREIGN = {b"PK\x03\x04": "a zip or Excel file", b"\xd0\xcf\x11\xe0": "an old Excel file", b"%PDF": "a PDF"}
_FOREIGN |= {b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"\x7fELF": "a program"}
# Arrow's threads give back what they read, for which they need Python: without this an early end would abort them
atexit.register(time.sleep, 0.1)


def read_csv(
    path: Path, told: Dialect | None = None, escaped: bool = True, private: bool = False
) -> tuple[pa.Table, Dialect]:
    """Read a CSV file, gzipped or not, as columns of strings, and find out how it is written.

    Args:
        path: the file.
        told: how it is written; found out where None.
        escaped: take off the ' before what a spreadsheet would run, if what was told does not say otherwise.
        private: no record changes how another is read: what is not told is found out by the marks at the beginning
            and the header line, and what is not in the encoding is replaced.

    Raises:
        SynthgenError: the file is empty, binary, ragged, or not in the encoding told.
    """
    file = CsvFile.open(path, told, escaped, private)
    return pa.concat_tables(file.blocks(1 << 26)), file.dialect


@dataclass(frozen=True)
class CsvFile:
    """A CSV file whose bytes were all looked at once: how it is written, the names of its columns, and its cells."""

    path: Path
    dialect: Dialect
    names: tuple[str, ...]
    quoted: bool  # whether a quote occurs
    characters: int  # in all
    errors: str = "strict"  # what is done about bytes that are not in the encoding

    @classmethod
    def open(cls, path: Path, told: Dialect | None = None, escaped: bool = True, private: bool = False) -> Self:
        """Find out how a file is written where it is not told; arguments and errors are those of `read_csv`."""
        with _opened(path) as file:
            start = file.read(8)
        for magic, what in _FOREIGN.items():
            if start.startswith(magic):
                raise SynthgenError(f"{path} is {what}; save the table as .csv or .parquet")
        encoding = told.encoding if told else _marked(start) if private else _find_encoding(path)
        errors = "replace" if private else "strict"
        seen, head, count = set[str](), "", 0
        for text in _texts(path, encoding, errors):
            if "\x00" in text:
                raise SynthgenError(f"{path} is a binary file, no table of text")
            seen |= {c for c in "\"'" if c in text} | set(text.lstrip()[:1])
            count += len(text)
            head += text[: HEAD - len(head)]
            if told and told.quote in text:
                seen.add(told.quote)
        if not seen:
            raise SynthgenError(f"{path} is empty")
        dialect = told or (_header_dialect if private else _find_dialect)(head, encoding)
        try:
            header = next(row for row in _reader(_lines(path, encoding, errors), dialect) if row)
        except (StopIteration, csv.Error) as error:
            raise SynthgenError(f"{path} has no header line that can be read: {error}") from error
        names = [name.strip() for name in header]
        if not escaped:
            dialect = dialect.model_copy(update={"escaped": False})
        if dialect.escaped:
            names = unescape_names(names)
        return cls(path, dialect, tuple(names), dialect.quote in seen, count, errors)

    def blocks(self, size: int) -> Iterator[pa.Table]:
        """The cells as strings, about so many bytes of text at a time.

        Raises:
            SynthgenError: a line has other fields than the header.
        """
        skip = 1  # the header
        for block in self._by_hand() if self.dialect.space and self.quoted else self._by_arrow(size):
            rows = block.slice(skip)
            skip -= block.num_rows - rows.num_rows
            cells = [unescape(c) for c in rows.columns] if self.dialect.escaped else rows.columns
            yield pa.table(cells, names=list(self.names))  # here the cells of all CSV files come by

    def _by_arrow(self, size: int) -> Iterator[pa.Table]:
        names = [f"f{i}" for i in range(len(self.names))]
        texts = _texts(self.path, self.dialect.encoding, self.errors)
        stream = pa.PythonFile(io.BufferedReader(_Recoded(texts)), "r")
        try:
            with self._reading(stream, names, size) as batches:
                for batch in batches:
                    columns = [pc.utf8_ltrim(c, " ") for c in batch.columns] if self.dialect.space else batch.columns
                    yield pa.table(columns, names=names)
        except pa.ArrowInvalid as error:
            if "straddling" in str(error):
                text = f"{self.path} holds a record of more than {size >> 20} MiB, or a quote that is not closed"
                raise SynthgenError(f"{text}; correct it, or save the table as .parquet") from error
            raise SynthgenError(self._where_ragged() or f"{self.path}: {error}") from error

    def _reading(self, stream: pa.NativeFile, names: list[str], size: int) -> pacsv.CSVStreamingReader:
        return pacsv.open_csv(
            stream,
            pacsv.ReadOptions(column_names=names, block_size=size),
            pacsv.ParseOptions(
                delimiter=self.dialect.delimiter,
                quote_char=self.dialect.quote,
                newlines_in_values=self.quoted,
                ignore_empty_lines=len(names) > 1,
            ),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        )

    def _by_hand(self) -> Iterator[pa.Table]:
        """Row by row, since Arrow knows no quotes that follow a blank."""
        names = [f"f{i}" for i in range(len(self.names))]
        rows = (row for row in _reader(_lines(self.path, self.dialect.encoding, self.errors), self.dialect) if row)
        while part := list(islice(rows, ROWS)):
            if any(len(row) != len(names) for row in part):
                raise SynthgenError(self._where_ragged() or f"{self.path} is ragged")
            yield pa.table([pa.array(column, pa.string()) for column in zip(*part, strict=True)], names=names)

    def _where_ragged(self) -> str | None:
        """The first line whose number of fields differs from the header's."""
        reader = _reader(_lines(self.path, self.dialect.encoding, self.errors), self.dialect)
        start = 1
        with contextlib.suppress(csv.Error):
            for row in reader:
                if row and len(row) != len(self.names):
                    return (
                        f"{self.path}, line {start}: {len(row)} fields where the header has {len(self.names)} "
                        f"(delimiter {self.dialect.delimiter!r}); correct it, or tell the delimiter with --delimiter"
                    )
                start = reader.line_num + 1
        return None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, those inside where it is gzipped."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[misc]
        except (OSError, EOFError, zlib.error) as error:
            if not zipped:
                raise
            raise SynthgenError(f"{path} is a damaged gzip file: {error}") from error


def _chunks(path: Path) -> Iterator[bytes]:
    size = 0
    with _opened(path) as file:
        while chunk := file.read(1 << 20):
            size += len(chunk)
            if isinstance(file, gzip.GzipFile):
                check_unpacked(path, size)
            yield chunk


def _texts(path: Path, encoding: str, errors: str = "strict") -> Iterator[str]:
    """The text of a file, piece by piece, without the mark of its encoding."""
    try:
        decoder = codecs.getincrementaldecoder(encoding)(errors)
    except LookupError as error:
        raise SynthgenError(f"{path} is not in encoding {encoding}: {error}") from error
    first = True
    for chunk in chain(_chunks(path), [b""]):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise SynthgenError(f"{path} is not in encoding {encoding}: {error}") from error
        if text:
            yield text.removeprefix("\ufeff") if first else text
            first = False


class _Recoded(io.RawIOBase):
    """Texts as a file in UTF-8."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts, self._rest = texts, b""

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        self._rest = self._rest or next(self._texts, "").encode()
        some, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(some)] = some
        return len(some)


def _lines(path: Path, encoding: str, errors: str) -> Iterable[str]:
    return io.TextIOWrapper(io.BufferedReader(_Recoded(_texts(path, encoding, errors))), "utf-8", newline="")


def _marked(start: bytes) -> str:
    """The encoding that the first bytes of a file name, else UTF-8."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    return "utf-8-sig" if start.startswith(b"\xef\xbb\xbf") else "utf-8"


def _find_encoding(path: Path) -> str:
    """UTF-16 by its mark or its zeros, else UTF-8 if it is valid, else Windows-1252."""
    with _opened(path) as file:
        head = file.read(1000)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _marked(head)
    if len(head) >= 4 and head[1::2].count(0) > 0.4 * len(head) > 4 * head[::2].count(0):
        return "utf-16-le"
    if len(head) >= 4 and head[::2].count(0) > 0.4 * len(head) > 4 * head[1::2].count(0):
        return "utf-16-be"
    if 0 in head:
        raise SynthgenError(f"{path} is a binary file, no table of text")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in chain(_chunks(path), [b""]):
            decoder.decode(chunk, final=not chunk)
        return _marked(head)
    except UnicodeDecodeError:
        windows = not any(b in chunk for chunk in _chunks(path) for b in b"\x81\x8d\x8f\x90\x9d")
        return "cp1252" if windows else "latin-1"


def _find_dialect(text: str, encoding: str) -> Dialect:
    """The delimiter that cuts the first lines into the most fields, the same number in each."""
    head = text[:HEAD]
    quote = "'" if re.match(r"'(?:[^']|'')*' ?(?:[,;\t|]|\r?\n)", head) else '"'  # not that before a formula
    best, fields = ",", 0
    for delimiter in DELIMITERS:
        rows = list(
            zip(
                range(200),
                _reader(io.StringIO(head, newline=""), Dialect(delimiter=delimiter, quote=quote, space=True)),
                strict=False,
            )
        )
        sizes = [len(row) for _, row in rows if row][: max(1, len(rows) - 1)]  # the last may be cut off
        regular = sum(s == sizes[0] for s in sizes) / len(sizes) if sizes else 0
        if sizes and sizes[0] > 1 and regular > 0.9 and sizes[0] > fields:
            best, fields = delimiter, sizes[0]
    space = fields > 1 and _blank_follows(head.splitlines()[1:200], best, quote)
    newline: Literal["\n", "\r\n"] = "\r\n" if "\r\n" in head else "\n"
    return Dialect(delimiter=best, quote=quote, encoding=encoding, space=space, newline=newline)


def _header_dialect(text: str, encoding: str) -> Dialect:
    """The dialect of the first line that is not empty."""
    header = next(line for line in text.splitlines(keepends=True) if line.strip())
    found = _find_dialect(header, encoding)
    space = len(header.split(found.delimiter)) > 1 and _blank_follows([header], found.delimiter, found.quote)
    return found.model_copy(update={"space": space})


def _blank_follows(lines: list[str], delimiter: str, quote: str) -> bool:
    """Whether a blank follows each delimiter, in lines without quotes, or before quotes where all lines have some."""
    lines = lines[:-1] or lines  # the last may be cut off
    pieces = [piece for line in lines if quote not in line for piece in line.split(delimiter)[1:]]
    if not pieces:
        text = "\n".join(lines)
        return f"{delimiter} {quote}" in text and delimiter + quote not in text
    return all(piece.startswith(" ") for piece in pieces)


def _reader(lines: Iterable[str], dialect: Dialect) -> Any:
    csv.field_size_limit(1 << 24)
    return csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote, skipinitialspace=dialect.space)


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
