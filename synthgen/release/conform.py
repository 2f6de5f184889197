"""Conform: whether every record of a release is as its schema says, read a piece at a time."""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image
from pydantic import ValidationError

from synthgen.data import ImageSchema, Table
from synthgen.data.cells import column_values
from synthgen.data.images import MAX_SIDE
from synthgen.data.pictures_in import shown
from synthgen.data.table import TableWriter
from synthgen.errors import SynthgenError
from synthgen.release.records import CSV, IMAGES
from synthgen.release.records import SCHEMA as FILE
from synthgen.schema import Column, Schema

AT_ONCE = 65_536  # rows
METADATA = f"{IMAGES}/metadata.csv"

Report = Callable[[float], None]


def check_rows(folder: Path, names: set[str], schema: Schema, expected: int, report: Report) -> None:
    """Check that the rows of the Parquet files are as many and as the schema says, and that the CSV holds the same.

    Raises:
        SynthgenError: it names the first file and column, or line, that is not.
    """
    files = sorted(name for name in names if name.endswith(".parquet"))
    _check_shards(folder, files)
    with _readable(folder, CSV), (folder / CSV).open("rb") as text, tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "part.csv"
        header = _as_csv(place, schema, Table(pa.table({name: pa.array([], pa.string()) for name in schema.names})))
        rows, line = 0, _compare(folder, text.read(len(header)), header, 1)
        for name in files:
            for part in _parts(folder, name, schema):
                for column in schema.columns:
                    _check_column(f"{folder / name}", column, part.data[column.name].combine_chunks())
                _check_rules(f"{folder / name}", schema, part)
                written = _as_csv(place, schema, part)[len(header) :]
                line = _compare(folder, text.read(len(written)), written, line)
                rows += len(part)
                report(min(1.0, rows / max(1, expected)))
        if text.read(1):
            raise SynthgenError(f"{folder / CSV} has more rows than the Parquet")
    if rows != expected:
        raise SynthgenError(f"{folder}: there are {rows} rows, and {expected} are claimed")


def _check_shards(folder: Path, files: list[str]) -> None:
    """Raise SynthgenError where a Parquet file of several is missing, or there is none."""
    numbers = [re.fullmatch(r"data/records-(\d{5})-of-(\d{5})\.parquet", name) for name in files]
    whole = files == ["data/records.parquet"] or (
        bool(files) and [m and (int(m[1]), int(m[2])) for m in numbers] == [(i, len(files)) for i in range(len(files))]
    )
    if not whole:
        raise SynthgenError(
            f"{folder}: the Parquet files are not one, nor all of several: {', '.join(files) or 'none'}"
        )


@contextmanager
def _readable(folder: Path, name: str) -> Iterator[None]:
    """A block in which what cannot be read of a file is an error that names it."""
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SynthgenError(f"{folder / name} cannot be read: {said}") from error


def _parts(folder: Path, name: str, schema: Schema) -> Iterator[Table]:
    with _readable(folder, name):
        file = pq.ParquetFile(folder / name)
        found, told = file.schema_arrow, schema.columns
        if found.names != [c.name for c in told]:
            raise SynthgenError(f"{folder / name}: its columns are not those of {FILE}")
        for column in told:
            if str(found.field(column.name).type) != column.dtype:
                kind = found.field(column.name).type
                raise SynthgenError(
                    f"{folder / name}: column {column.name!r} is {kind}, and {FILE} says {column.dtype}"
                )
        for batch in file.iter_batches(AT_ONCE):
            yield Table(pa.Table.from_batches([batch]).replace_schema_metadata(None), schema.csv, None, schema)


def _check_column(where: str, column: Column, cells: pa.Array) -> None:
    values = column_values(column, cells)
    numbers = isinstance(values, np.ndarray)
    gaps = int(np.isnan(values).sum()) if numbers else values.null_count
    if gaps and not column.missing and column.kind != "empty":
        raise SynthgenError(f"{where}: column {column.name!r} has an empty cell, and {FILE} says that none is empty")
    if column.categories is not None and not numbers:
        known = pc.is_in(values, pa.array(column.categories, pa.string()))
        strange = values.filter(pc.and_(pc.invert(known), pc.is_valid(values)))
        if len(strange):
            raise SynthgenError(
                f"{where}: column {column.name!r} holds {strange[0].as_py()!r}, which {FILE} does not list"
            )
    for bound, sign, name in ((column.minimum, -1, "minimum"), (column.maximum, 1, "maximum")):
        if bound is None or not numbers:
            continue
        limit = (
            float(column.date.parse(pa.array([bound]))[0]) if column.date and isinstance(bound, str) else float(bound)
        )
        if (sign * (values[~np.isnan(values)] - limit) > 0).any():
            raise SynthgenError(f"{where}: column {column.name!r} holds a value beyond the {name} {bound} of {FILE}")


def _check_rules(where: str, schema: Schema, part: Table) -> None:
    for rule in schema.parsed_rules():
        if rule.kind != "order":
            continue
        low, high = (column_values(schema[n], part.data[n].combine_chunks()) for n in rule.columns)
        if (low > high).any() or (rule.strict and (low == high).any()):
            raise SynthgenError(f"{where}: a row breaks the rule {rule.text!r} of {FILE}")


def _as_csv(place: Path, schema: Schema, part: Table) -> bytes:
    """Rows as a release writes them, with a header."""
    written = [column.model_copy(update={"missing": ("",)}) for column in schema.columns]
    with TableWriter(place, schema.model_copy(update={"columns": tuple(written)})) as output:
        output.write(part)
    return place.read_bytes()


def _compare(folder: Path, found: bytes, written: bytes, line: int) -> int:
    """The number of the line after these, which are those of the Parquet."""
    if found == written:
        return line + written.count(b"\n")
    same = next(
        (i for i, (a, b) in enumerate(zip(found, written, strict=False)) if a != b), min(len(found), len(written))
    )
    raise SynthgenError(f"{folder / CSV}, line {line + written[:same].count(10)}: not what the Parquet holds")


def check_images(folder: Path, names: set[str], schema: ImageSchema, expected: int, report: Report) -> None:
    """Check that the images are as many and as the schema says, each of one class and in the folder of that class.

    Raises:
        SynthgenError: it names the first file that is not.
    """
    with _readable(folder, METADATA), (folder / METADATA).open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        fields = ["file_name", "label"] if schema.classes else ["file_name"]
        if reader.fieldnames != fields:
            raise SynthgenError(f"{folder / METADATA}: its columns are not {' and '.join(fields)}")
        listed, folders = set[str](), dict[str, str]()
        for row in reader:
            name = f"{IMAGES}/{row['file_name']}"
            if name not in names or name in listed:
                raise SynthgenError(
                    f"{folder / METADATA} lists {shown(name)}, which is not there, or was listed before"
                )
            listed.add(name)
            _check_class(folder, name, row.get("label"), schema, folders)
            _check_image(folder, name, schema)
            report(min(1.0, len(listed) / max(1, expected)))
    if others := sorted(n for n in names if n.endswith(".png") and n not in listed):
        raise SynthgenError(f"{folder / METADATA} does not list {shown(others[0])}")
    if len(listed) != expected:
        raise SynthgenError(f"{folder}: there are {len(listed)} images, and {expected} are claimed")
    if set(folders) != set(schema.classes):
        raise SynthgenError(f"{folder}: the classes of the images are not those of {FILE}")


def _check_class(folder: Path, name: str, label: str | None, schema: ImageSchema, folders: dict[str, str]) -> None:
    """Raise SynthgenError where an image is of no class of the schema, or a class has two folders, or two have one."""
    if not schema.classes:
        return
    place = name.rpartition("/")[0]
    if label not in schema.classes:
        raise SynthgenError(f"{folder / METADATA}: {shown(name)} is of class {label!r}, which {FILE} does not list")
    if folders.setdefault(str(label), place) != place or [*folders.values()].count(place) > 1:
        raise SynthgenError(f"{folder}: {shown(name)} is of class {label!r}, and lies in the folder of another")


def _check_image(folder: Path, name: str, schema: ImageSchema) -> None:
    try:
        with Image.open(folder / name, formats=["PNG"]) as image:
            form = image.mode, image.width, image.height
            if max(form[1:]) <= MAX_SIDE:
                image.load()
    except Exception as error:  # decoders raise anything
        raise SynthgenError(f"{folder}: {shown(name)} is no image that can be read") from error
    if form != (schema.mode, schema.width, schema.height):
        wanted = f"{schema.width} x {schema.height} pixels of mode {schema.mode}"
        raise SynthgenError(f"{folder}: {shown(name)} is not of {wanted}, as {FILE} says")


def read_schema(body: Any, text: str, source: Path) -> Schema | ImageSchema:
    """The schema of a release.

    Raises:
        SynthgenError: it is none.
    """
    if not (isinstance(body, dict) and "synthgen_images" in body):
        return Schema.from_json(text, source)
    try:
        return ImageSchema.model_validate({k: v for k, v in body.items() if k != "synthgen_images"})
    except ValidationError as error:
        raise SynthgenError(f"{source} is no schema of images") from error
