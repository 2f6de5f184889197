"""Datasets on disk and in memory: `read` and `write`.

A table is a `.csv`, `.csv.gz` or `.parquet` file, images are a folder or a `.zip` of one; they are also written as a
`.tar` for WebDataset.
"""

from pathlib import Path
from typing import Any

from synthgen.data.images import Images, ImageSchema, read_images
from synthgen.data.marks import Mark, find_mark, mark, note_of_mark
from synthgen.data.pictures_out import ImageWriter, check_image_output, write_sheet
from synthgen.data.pictures_tar import TarWriter, tarred
from synthgen.data.plan import open_table
from synthgen.data.stream import TableStream
from synthgen.data.table import ENDINGS, Table, TableWriter, as_table, check_output, read_table
from synthgen.errors import SynthgenError
from synthgen.schema import Dialect, Schema, unescaped

Dataset = Table | Images

__all__ = [
    "Dataset",
    "ImageSchema",
    "Images",
    "Mark",
    "Table",
    "TableStream",
    "as_dataset",
    "as_table",
    "check_place",
    "find_mark",
    "mark",
    "note_of_mark",
    "open_table",
    "read",
    "write",
    "write_sheet",
    "writer",
]


def holds_images(path: str | Path) -> bool:
    """Whether a path is that of images: a folder, or a `.zip` of one."""
    path = Path(path)
    return path.is_dir() or path.suffix.lower() == ".zip"


def read(path: str | Path, dialect: Dialect | None = None, **options: Any) -> Any:
    """Read a dataset: a Table from a file, Images from a folder or a `.zip` of one.

    Args:
        path: of the file or folder.
        dialect: how a CSV is written; found out by default.
        options: of images, see `read_images`: `size`, `aspect`, `strict`, `schema`.

    Raises:
        SynthgenError: it is missing, empty, ragged, damaged, or of a kind that is not read.
    """
    path = Path(path)
    if not holds_images(path):
        if any(v is not None and v is not False for v in options.values()):
            raise SynthgenError(f"{path} is a table; {', '.join(options)} are for images")
        return read_table(path, dialect)
    if (path / "manifest.json").is_file():
        raise SynthgenError(f"{path} is a model; give the data: a file, or a folder of images")
    return read_images(path, **{k: v for k, v in options.items() if v is not None})


def as_dataset(data: Any, schema: ImageSchema | None = None) -> Dataset:
    """A dataset from Images, a path, a pandas frame, anything with an Arrow stream, or a Table.

    Args:
        data: one of these.
        schema: what images that are read become.

    Raises:
        SynthgenError: it is none of these, or cannot be read.
    """
    if isinstance(data, Images):
        return data
    if isinstance(data, str | Path) and holds_images(data):
        return read_images(Path(data), schema=schema)
    return as_table(data)


def writer(
    path: str | Path, schema: Schema | ImageSchema, mark: Mark | None = None, prefix: str = "", first: int = 0
) -> TableWriter | ImageWriter:
    """A context manager with a `write` for datasets of a schema, which appear whole when its block ends.

    Args:
        path: of the file or folder.
        schema: of the datasets.
        mark: what Parquet files and images say of themselves, such as that they are synthetic.
        prefix: begins the name of each column of a table.
        first: number of the first image, by which a `.tar` names its images.
    """
    if isinstance(schema, ImageSchema):
        return TarWriter(path, schema, mark, first) if tarred(path) else ImageWriter(path, schema, mark)
    return TableWriter(path, schema, mark, prefix)


def write(dataset: Dataset, path: str | Path, mark: Mark | None = None, raw: bool = False) -> None:
    """Write a dataset, looking like what it was read from; whole or not at all.

    Args:
        dataset: a Table or Images.
        path: a `.csv`, `.csv.gz` or `.parquet` file; for images a folder or a `.zip`.
        mark: what Parquet files and images say of themselves.
        raw: in a CSV, put no ' before what a spreadsheet would run.

    Raises:
        SynthgenError: the ending is not known.
        ResourceError: the disk is full or the place not writable.
    """
    schema = unescaped(dataset.schema) if raw and isinstance(dataset, Table) else dataset.schema
    with writer(path, schema, mark) as output:
        output.write(dataset)  # type: ignore[arg-type]


def check_place(path: str | Path, kind: str) -> None:
    """Raise SynthgenError where a dataset of a kind, "table" or "images", could not be written."""
    path = Path(path)
    if kind == "images":
        if path.name.endswith(ENDINGS):
            raise SynthgenError(f"the model makes images, and {path} is no folder; give -o FOLDER, a .zip or a .tar")
        check_image_output(path)
    else:
        check_output(path)
