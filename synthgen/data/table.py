"""Table: typed or textual columns in Arrow memory with their schema; read, written, taken from frames."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from synthgen.data.cells import render
from synthgen.data.csv import CsvWriter, read_csv
from synthgen.data.formulas import escape, escape_names
from synthgen.data.marks import Mark, with_mark
from synthgen.errors import ResourceError, SynthgenError
from synthgen.files import replacing
from synthgen.memory import check_size
from synthgen.schema import Dialect, Schema, infer_schema

EMPTY = "the table has a header but no rows"
ENDINGS = (".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True)
class Table:
    """Records as rows. Columns of a CSV are the texts of its cells; others have the types of their source.

    Args:
        data: the columns.
        dialect: how the CSV file was written; None for other sources.
        frame: pandas dtypes by column, when the table came from a pandas frame.
        declared: a schema that a person wrote; the rest is inferred.
    """

    kind: ClassVar[Literal["table"]] = "table"
    noun: ClassVar[str] = "rows"

    data: pa.Table
    dialect: Dialect | None = None
    frame: dict[str, str] | None = None
    declared: Schema | None = None

    def __len__(self) -> int:
        return int(self.data.num_rows)

    @cached_property
    def schema(self) -> Schema:
        """The declared schema, completed by what is inferred."""
        return infer_schema(self.data, self.dialect, self.declared, self.frame)

    def declare(self, schema: Schema | None) -> Table:
        """The same table under a person's schema."""
        return Table(self.data, self.dialect, self.frame, schema)

    def select(self, names: list[str]) -> Table:
        """Some columns, in the order given."""
        return Table(self.data.select(names), self.dialect, self.frame, self.declared)

    def take(self, rows: Any) -> Table:
        """Some rows, by index."""
        return Table(self.data.take(pa.array(rows)), self.dialect, self.frame, self.declared)

    def digest(self) -> bytes:
        """A hash of the cells and the schema."""
        digest = hashlib.sha256(repr(self.schema).encode())
        for column in self.data.columns:
            for part in column.combine_chunks().buffers():
                digest.update(part or b"")
        return digest.digest()

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Tables of the same columns, one below the other."""
        first = parts[0]
        return cls(pa.concat_tables([p.data for p in parts]), first.dialect, first.frame, first.declared)

    def to_pandas(self) -> pd.DataFrame:
        """The columns as a pandas frame, with the dtypes that the schema remembers."""
        types = {c.name: c.pandas for c in self.schema.columns if c.pandas}
        frame = self.data.to_pandas()
        for name, dtype in types.items():
            if str(frame[name].dtype) != dtype:
                # a float column asked to become int64 again may hold missing values that it did not have
                with contextlib.suppress(TypeError, ValueError):
                    frame[name] = frame[name].astype(dtype)
        return frame


def as_table(data: Any) -> Table:
    """A table from a Table, a path, a pandas frame, or anything with an Arrow stream.

    Raises:
        SynthgenError: it is none of these, or a column holds mixed types.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, str | Path):
        return read_table(Path(data))
    if isinstance(data, pd.DataFrame):
        names = [str(c) for c in data.columns]
        frame = data.set_axis(names, axis=1)
        check_names(names)
        try:
            arrow = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise SynthgenError(f"a column of the frame holds values of different types: {error.args[0]}") from error
        return _checked(arrow, frame={str(n): str(t) for n, t in frame.dtypes.items()})
    if hasattr(data, "__arrow_c_stream__"):
        return _checked(pa.table(data))
    raise SynthgenError(f"{type(data).__name__} is no table: give a path, a pandas frame or an Arrow stream")


def read_table(path: Path, dialect: Dialect | None = None, raw: bool = False, private: bool = False) -> Table:
    """Read a `.csv`, `.csv.gz` or `.parquet` file.

    Args:
        path: the file.
        dialect: how a CSV is written; found out by default.
        raw: the cells of a CSV as they are.
        private: nothing that is read or said depends on more than the record itself; see `read_csv`.
    """
    with reading(path):
        if is_parquet(path):
            return _checked(_read_parquet(path, private))
        data, found = read_csv(path, dialect, not raw, private)
        return _checked(data, found)


def is_parquet(path: Path) -> bool:
    """Whether a file holds Parquet, or says so."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1" or path.suffix == ".parquet"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """A block that reads a table's file, and says what is wrong with it.

    Raises:
        SynthgenError: it is not there, a folder, damaged, or cannot be read.
        ResourceError: it needs more memory than there is.
    """
    if not path.exists():
        raise SynthgenError(f"there is no file {path}")
    if path.is_dir():
        raise SynthgenError(f"{path} is a folder, a table was expected: a file that ends in {', '.join(ENDINGS)}")
    try:
        yield
    except pa.ArrowMemoryError as error:
        raise ResourceError(f"{path} needs more memory than there is; take fewer rows or columns") from error
    except (pa.ArrowException, UnicodeError) as error:
        raise SynthgenError(f"{path} is no readable Parquet file: {_first_line(error)}") from error
    except OSError as error:
        raise SynthgenError(f"cannot read {path}: {error.strerror or _first_line(error)}") from error


def _read_parquet(path: Path, private: bool) -> pa.Table:
    with pq.ParquetFile(path) as file:
        check_size(path, file.metadata.num_rows, file.metadata.num_columns, told=not private)
        stored = file.read().replace_schema_metadata(None)
    stored.validate(full=True)  # a hostile file may hold text that is no UTF-8, or indices that lead astray
    return stored


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _checked(data: pa.Table, dialect: Dialect | None = None, frame: dict[str, str] | None = None) -> Table:
    check_names(data.column_names)
    if data.num_rows == 0:
        raise SynthgenError(EMPTY)
    return Table(data.combine_chunks(), dialect, frame)


def check_names(names: list[str]) -> None:
    """Raise SynthgenError where a column has no name, or two have the same."""
    for name in names:
        if not name.strip():
            raise SynthgenError(f"column {names.index(name) + 1} has no name; give every column one")
        if names.count(name) > 1:
            raise SynthgenError(f"two columns are called {name!r}; rename one")


class TableWriter:
    """Writes tables one after the other into one file, which appears whole when the block ends.

    In a CSV, cells that a spreadsheet would run get a ' before them, unless the schema's dialect says otherwise.

    Args:
        path: of the file.
        schema: of the tables.
        mark: what a Parquet file says of its rows.
        prefix: begins the name of each column.

    Raises:
        SynthgenError: the ending of `path` is not known.
        ResourceError: the disk is full or the place not writable.
    """

    def __init__(self, path: str | Path, schema: Schema, mark: Mark | None = None, prefix: str = "") -> None:
        self.path, self.schema, self.mark, self.prefix = Path(path), schema, mark, prefix
        self.dialect = schema.csv or Dialect()
        check_output(self.path)
        self._stack = contextlib.ExitStack()
        self._write: Callable[[pa.Table], None] | None = None

    def __enter__(self) -> Self:
        self._temporary = self._stack.enter_context(replacing(self.path))
        return self

    def write(self, table: Table) -> None:
        """Append the rows of a table whose columns are those of the schema."""
        if self._write is None:
            self._write = self._open(table.data.schema)
        self._write(table.data)

    def _open(self, schema: pa.Schema) -> Callable[[pa.Table], None]:
        if self.path.suffix == ".parquet":
            names = [self.prefix + name for name in schema.names]
            renamed = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
            marked = with_mark(renamed, self.mark)
            file = self._stack.enter_context(self._temporary.open("wb"))  # Arrow takes no name that is not UTF-8
            writer = self._stack.enter_context(pq.ParquetWriter(file, marked, compression="zstd"))
            return lambda data: writer.write_table(data.select(schema.names).rename_columns(names))
        csv = self._stack.enter_context(CsvWriter(self._temporary, self.dialect, compress=self.path.suffix == ".gz"))
        names = [self.prefix + name for name in self.schema.names]
        names = escape_names(names) if self.dialect.escaped else names
        return lambda data: csv.write(names, self._texts(data))

    def _texts(self, data: pa.Table) -> list[pa.Array]:
        texts = [render(c, data[c.name].combine_chunks()) for c in self.schema.columns]
        return [escape(cells) for cells in texts] if self.dialect.escaped else texts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def check_output(path: Path) -> None:
    """Raise SynthgenError where a table could not be written: unknown ending, no such folder, or one of its name."""
    if not path.name.endswith(ENDINGS):
        raise SynthgenError(f"{path} has no ending that a table can have: {', '.join(ENDINGS)}")
    if path.is_dir():
        raise SynthgenError(f"{path} is a folder; give the name of a file")
    if not path.absolute().parent.is_dir():
        raise SynthgenError(f"there is no folder {path.parent} to write {path.name} into")
