"""Datasets on disk and in memory: `read` and `write`; a table is a `.csv`, `.csv.gz` or `.parquet` file."""

from pathlib import Path

from synthgen.data.table import Table, TableWriter, as_table, read_table
from synthgen.errors import SynthgenError
from synthgen.schema import Dialect

__all__ = ["Table", "TableWriter", "as_table", "read", "write"]


def read(path: str | Path, dialect: Dialect | None = None) -> Table:
    """Read a dataset; how a CSV is written is found out unless `dialect` tells.

    Raises:
        SynthgenError: the file is missing, empty, ragged, binary, or of a kind that is not read.
    """
    path = Path(path)
    if path.is_dir():
        raise SynthgenError(f"{path} is a folder; tables are .csv, .csv.gz or .parquet files")
    return read_table(path, dialect)


def write(table: Table, path: str | Path) -> None:
    """Write a table as the ending of `path` says, looking like what it was read from; whole or not at all.

    Raises:
        SynthgenError: the ending is not known.
        ResourceError: the disk is full or the place not writable.
    """
    with TableWriter(path, table.schema) as writer:
        writer.write(table)
