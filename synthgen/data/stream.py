"""TableStream: a table that stays on disk, read block by block as often as it is looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgen.data.csv import CsvFile
from synthgen.data.table import EMPTY, Table, check_names, is_parquet, reading
from synthgen.errors import SynthgenError
from synthgen.formats import MISSING, NOT_FINITE
from synthgen.schema import Column, Dialect, Schema, schema_of
from synthgen.tally import CAP, Counter, Tally

BLOCK = 65_536  # rows
BYTES = 16 << 20  # of a CSV's text, taken apart together; no record may be longer
OFFENDERS = 5  # texts of a block that a format cannot read, which are looked at


@dataclass(frozen=True, eq=False)
class TableStream:
    """Records as rows of a `.parquet`, `.csv` or `.csv.gz` file, of which a block at a time is in memory.

    It tells what a `Table` of the same file tells, and in the same words.

    Args:
        path: the file.
        types: names and types of the columns.
        csv: how the file is read where it is a CSV.
        declared: a schema that a person wrote; the rest is inferred.
        cap: distinct cells of a column that are all counted.
        room: records that a generator may hold in memory.
        about: how many rows are expected.
        heed: called with each block's number of rows, in all passes; what it raises ends them.
    """

    kind: ClassVar[Literal["table"]] = "table"
    noun: ClassVar[str] = "rows"

    path: Path
    types: pa.Schema
    csv: CsvFile | None = None
    declared: Schema | None = None
    cap: int = CAP
    room: int = 1 << 20
    about: int = 0
    heed: Callable[[int], None] = lambda rows: None

    @classmethod
    def open(cls, path: Path, dialect: Dialect | None = None, declared: Schema | None = None) -> TableStream:
        """Look at a file without reading its cells.

        Raises:
            SynthgenError: as `read_table` raises it.
        """
        with reading(path):
            if is_parquet(path):
                with pq.ParquetFile(path) as file:
                    types, csv = file.schema_arrow.remove_metadata(), None
            else:
                csv = CsvFile.open(path, dialect)
                check_names(list(csv.names))
                types = pa.schema([(name, pa.string()) for name in csv.names])
        check_names(types.names)
        return cls(path, types, csv, declared)

    def __len__(self) -> int:
        return self._counted[0]

    @property
    def tallies(self) -> dict[str, Tally]:
        """The tally of each column, of which those of many distinct cells are not complete."""
        return self._counted[1]

    @cached_property
    def schema(self) -> Schema:
        """The declared schema, completed by what is inferred: from all cells, as of a table in memory."""
        known = dict(self.tallies)
        dialect = self.csv.dialect if self.csv else None
        schema = schema_of(self.types, known, dialect, self.declared)
        while found := self._witnesses([c for c in schema.columns if self._is_guess(c)]):
            known |= {name: known[name].witnessed(texts) for name, texts in found.items()}
            before, schema = schema, schema_of(self.types, known, dialect, self.declared)
            if [c.kind for c in before.columns] == [c.kind for c in schema.columns]:
                break
        return schema

    def declare(self, schema: Schema | None) -> TableStream:
        """The same table under a person's schema."""
        return replace(self, declared=schema)

    def select(self, names: Sequence[str]) -> TableStream:
        """Some columns, in the order given."""
        return replace(self, types=pa.schema([self.types.field(name) for name in names]))

    def blocks(self, names: Sequence[str] | None = None) -> Iterator[Table]:
        """One pass over the rows of some columns, or all: `BLOCK` at a time, the last block may be smaller.

        Raises:
            SynthgenError: the file is damaged or ragged.
        """
        wanted = self.types.names if names is None else list(names)
        dialect = self.csv.dialect if self.csv else None
        with reading(self.path):
            for data in _even(self._pieces(wanted)):
                self.heed(len(data))
                yield Table(data.combine_chunks(), dialect, None, self.declared)

    def sample(self, n: int, seed: int, names: Sequence[str] | None = None) -> Table:
        """So many rows, drawn at random, as a table in memory: those that `sample_rows` names."""
        rows, start, parts = sample_rows(len(self), n, seed), 0, []
        for block in self.blocks(names):
            here = slice(*np.searchsorted(rows, [start, start + len(block)]))
            parts.append(block.take(rows[here] - start))
            start += len(block)
        whole = Table.join(parts)
        return replace(whole, data=whole.data.combine_chunks())

    def read(self) -> Table:
        """All rows, in memory."""
        if not (blocks := list(self.blocks())):
            raise SynthgenError(EMPTY)
        table = Table.join(blocks)
        return replace(table, data=table.data.combine_chunks())

    def digest(self) -> bytes:
        """A hash of the file, of how it is read, and of what is declared."""
        digest = hashlib.sha256(repr((self.types, self.csv, self.declared)).encode())
        with self.path.open("rb") as file:
            while chunk := file.read(1 << 22):
                self.heed(0)
                digest.update(chunk)
        return digest.digest()

    @cached_property
    def _counted(self) -> tuple[int, dict[str, Tally]]:
        """The first pass."""
        said = {c.name: c.missing for c in self.declared.columns} if self.declared else {}
        always = {name: {"", *MISSING, *NOT_FINITE, *said.get(name, ())} for name in self.types.names}
        counters = {f.name: Counter(f.type, self.cap, always[f.name]) for f in self.types}
        rows = 0
        for block in self.blocks():
            rows += len(block)
            for name, counter in counters.items():
                counter.add(block.data[name])
        if not rows:
            raise SynthgenError(EMPTY)
        return rows, {name: counter.tally() for name, counter in counters.items()}

    def _pieces(self, names: list[str]) -> Iterator[pa.Table]:
        if self.csv:
            for piece in self.csv.blocks(BYTES):
                yield piece.select(names)
            return
        with pq.ParquetFile(self.path, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(BLOCK, columns=names):
                batch.validate(full=True)  # a hostile file may hold text that is no UTF-8, or indices that lead astray
                yield pa.Table.from_batches([batch]).replace_schema_metadata(None).select(names)

    def _is_guess(self, column: Column) -> bool:
        """Whether a column of texts was taken for numbers or dates by some of them."""
        tally = self.tallies[column.name]
        return (
            column.kind in ("numeric", "datetime", "id") and not tally.complete and pa.types.is_string(tally.cells.type)
        )

    def _witnesses(self, columns: list[Column]) -> dict[str, list[str]]:
        """Texts that the formats of columns cannot read, or that show how the numbers are written."""
        found: dict[str, list[str]] = {}
        for block in self.blocks([c.name for c in columns]) if columns else ():
            for column in columns:
                gone = pa.array(sorted({"", *MISSING, *column.missing}))
                texts = pc.unique(block.data[column.name].combine_chunks())
                texts = texts.filter(pc.invert(pc.is_in(texts, gone)))
                found[column.name] = _odd(column, pc.drop_null(texts), found.get(column.name, []))
        return {name: texts for name, texts in found.items() if texts}


def _odd(column: Column, texts: pa.Array, known: list[str]) -> list[str]:
    """Texts that a column's format cannot read; of numbers, besides, those of the fewest and the most digits."""
    if column.date is not None:
        values = column.date.parse(texts)
        same = np.asarray(pc.equal(column.date.render(values), texts).fill_null(False))
        return [*known, *texts.filter(pa.array(~same))[:OFFENDERS].to_pylist()]
    if column.number is None:
        return known
    bad = texts.filter(pa.array(np.isnan(column.number.parse(texts))))[:OFFENDERS].to_pylist()
    return [*known, *bad, *column.number.extremes(texts)]


def _even(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows of pieces in blocks of BLOCK."""
    waiting: list[pa.Table] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += piece.num_rows
        while count >= BLOCK:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, BLOCK)
            waiting, count = [whole.slice(BLOCK)], count - BLOCK
    if count:
        yield pa.concat_tables(waiting)


def sample_rows(rows: int, n: int, seed: int) -> NDArray[np.int64]:
    """The numbers of n rows of so many, in order: those of the smallest hashes, whoever asks and however it reads."""
    kept, hashes = np.zeros(0, np.int64), np.zeros(0, np.uint64)
    key = np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)
    for start in range(0, rows, 1 << 20):
        more = np.arange(start, min(rows, start + (1 << 20)))
        kept, hashes = np.append(kept, more), np.append(hashes, _mixed(more.astype(np.uint64), key))
        if len(kept) > n:
            few = np.argpartition(hashes, n - 1)[:n]
            kept, hashes = kept[few], hashes[few]
    return np.sort(kept)


def _mixed(x: NDArray[np.uint64], key: Any) -> NDArray[np.uint64]:
    """Hashes of counters: SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014)."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + key
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
