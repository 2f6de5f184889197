"""open_table: a table in memory where it fits there to be fitted, else one that stays on disk; refused before the work.

What a fit holds at its peak, in bytes, for n rows of d columns that take b bytes a row in Arrow's memory:

    in memory      BASE + n (2 b + CELL d)
    block by block BASE + BLOCK (4 b + CELL d) + tallies + r CELL d, for r records in memory

The tallies hold up to CAP cells of each column that has many distinct ones, and twice while they are merged. On tables
of 30 000 to 11 600 000 rows the estimate was 5 to 65 % above what was held.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from synthgen.data.stream import BLOCK, BYTES, TableStream
from synthgen.data.table import Table, reading
from synthgen.distributed import current
from synthgen.errors import ResourceError
from synthgen.memory import limit, show_size
from synthgen.schema import Dialect, Schema

BASE = 768 << 20  # Python, PyTorch and the other libraries, and what a fit needs however few the rows
CELL = 60  # bytes of a cell that is encoded and fitted
OBJECT = 100  # bytes of a distinct cell and its count, besides its text
SKETCH = 40 << 20  # bytes that tell which ids and words a column of texts holds, in another pass
MOST = 1 << 20  # records in memory: more teach a generator little, and take it long
FEWEST = 1 << 14


@dataclass(frozen=True)
class Estimate:
    """What fitting a table would take.

    Args:
        rows: how many there are, or about.
        columns: how many are read.
        row: bytes of a row in Arrow's memory.
        tallies: bytes of what is counted of all columns.
    """

    rows: int
    columns: int
    row: float
    tallies: int

    @property
    def whole(self) -> int:
        """Bytes with the table in memory."""
        return self.of_rows(self.rows)

    def of_rows(self, rows: int) -> int:
        """Bytes with so many of its rows in memory."""
        return int(BASE + rows * (2 * self.row + CELL * self.columns))

    @property
    def least(self) -> int:
        """Bytes block by block, with the fewest records in memory that are worth a fit."""
        return self.streamed(min(self.rows, FEWEST))

    def streamed(self, records: int) -> int:
        """Bytes block by block, with so many records in memory."""
        block = min(self.rows, BLOCK) * (4 * self.row + CELL * self.columns)
        return int(BASE + block + self.tallies + records * CELL * self.columns)

    def room(self, most: int) -> int:
        """Records that fit in memory beside all else, in so many bytes: all, or a number of three binary digits.

        What is free differs a little each time; the records should not.
        """
        free = max(1, (most - self.streamed(0)) // (CELL * self.columns))
        return self.rows if self.rows <= min(free, MOST) else min(MOST, _rounded(free))


def _rounded(number: int) -> int:
    """A number with all but its first three binary digits 0."""
    small = max(0, number.bit_length() - 3)
    return number >> small << small


def estimate(stream: TableStream, dropped: Collection[str] = ()) -> Estimate:
    """What fitting a table would take, judged by its first rows and its size."""
    names = [n for n in stream.types.names if n not in dropped] or stream.types.names
    with reading(stream.path):
        head, rows = _first_of_csv(stream) if stream.csv else _first_of_parquet(stream)
    head, size = head.select(names), max(1, head.num_rows)
    return Estimate(rows, len(names), head.nbytes / size, sum(_tally(c, stream.cap, rows) for c in head.columns))


def _first_of_csv(stream: TableStream) -> tuple[pa.Table, int]:
    """The first rows, and about how many there are."""
    assert stream.csv is not None
    head = next(stream.csv.blocks(BYTES))
    texts = sum(int(pc.sum(pc.utf8_length(c)).as_py() or 0) for c in head.columns)
    each = (texts + head.num_rows * head.num_columns) / max(1, head.num_rows)  # a delimiter or line end for each cell
    return head, max(head.num_rows, int(stream.csv.characters / max(1.0, each)))


def _first_of_parquet(stream: TableStream) -> tuple[pa.Table, int]:
    """The first rows, and how many there are."""
    with pq.ParquetFile(stream.path) as file:
        batch = next(file.iter_batches(BLOCK), None)
        return pa.Table.from_batches([batch] if batch else [], file.schema_arrow), file.metadata.num_rows


def _tally(cells: pa.ChunkedArray, cap: int, rows: int) -> int:
    """Bytes that the distinct cells of a column take while they are counted."""
    if pa.types.is_nested(cells.type) or pa.types.is_null(cells.type) or not len(cells):
        return 0
    seen = pc.count_distinct(cells).as_py()
    if few := seen <= len(cells) / 20:  # they soon come again
        cap = min(cap, 4 * seen)
    sketch = SKETCH if pa.types.is_string(cells.type) and not few and rows > cap else 0
    return int(min(cap, rows) * (OBJECT + 4 * cells.nbytes / len(cells))) + sketch


def open_table(
    path: str | Path,
    dialect: Dialect | None = None,
    declared: Schema | None = None,
    *,
    memory: int | None = None,
    sample: int | None = None,
    dropped: Collection[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Table | TableStream:
    """Open a table to fit: in memory where the fit stays under a limit, else as a stream, which is said.

    Args:
        path: a `.csv`, `.csv.gz` or `.parquet` file.
        dialect: how a CSV is written; found out by default.
        declared: a person's schema.
        memory: bytes that the whole process may hold; most of what is free by default.
        sample: rows that are drawn and fitted, where not all are.
        dropped: columns that are left out.
        say: called with a sentence when the table is not read into memory.

    Raises:
        SynthgenError: as `read_table` raises it.
        ResourceError: the fit would need more memory, however it reads.
    """
    path = Path(path)
    stream = TableStream.open(path, dialect, declared)
    need = estimate(stream, dropped)
    most = int(current().agree(limit() if memory is None else memory))  # or some processes would stream, others not
    if need.whole <= most:
        return stream.read().declare(declared)
    about = f"{path} has {'about ' if stream.csv else ''}{need.rows:,} rows of {need.columns} columns".replace(",", " ")
    if sample is not None and need.of_rows(sample) > most:
        raise ResourceError(
            f"{about}, and a sample of {sample} needs about {show_size(need.of_rows(sample))}, more than "
            f"{show_size(most)} allowed; take a smaller --sample, --drop columns, or allow more with --memory"
        )
    if need.least > most:
        raise ResourceError(
            f"{about}: a fit needs about {show_size(need.least)} even block by block, more than {show_size(most)} "
            "allowed; --drop columns, allow more with --memory, or use a machine that has it"
        )
    say(
        f"{about}: a fit in memory needs about {show_size(need.whole)}, more than {show_size(most)} allowed; "
        "it is read block by block"
    )
    return replace(stream, room=need.room(most), about=need.rows)
