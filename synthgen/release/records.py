"""Records of a release: drawn a chunk at a time into Parquet and CSV, or into a folder of images."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from synthgen.codec import Codec
from synthgen.data import Images, ImageSchema, Table
from synthgen.data.pictures_out import ImageWriter
from synthgen.data.table import TableWriter
from synthgen.errors import SynthgenError
from synthgen.fitted import Fitted
from synthgen.release.seen import Seen, published
from synthgen.schema import Schema

DATA, CSV, IMAGES = "data", "data/records.csv", "images"
SCHEMA = "schema.json"

Report = Callable[[float], None]


def check_shards(codec: Codec | type[Codec], n: int, shards: int) -> None:
    """Raise SynthgenError where so many records cannot be cut into so many files."""
    if n < 1 or shards < 1:
        raise SynthgenError(f"{n} records in {shards} files were asked for; ask for at least 1 of each")
    if shards > 1 and codec.kind == "images":
        raise SynthgenError("images are files of their own; --shards is for tables")
    if shards > (most := -(-n // codec.chunk)):
        raise SynthgenError(
            f"{n} records are {most} chunk{'s' * (most > 1)} of {codec.chunk}, and a shard has at least one; "
            f"choose --shards {most} or fewer"
        )


def draw(
    folder: Path, fitted: Fitted, n: int, seed: int, shards: int, seen: Seen, report: Report
) -> Schema | ImageSchema:
    """Draw n records into the new folder of a bundle, with their schema, which is returned.

    Args:
        folder: is there.
        fitted: a model.
        n: number of records.
        seed: of the draw.
        shards: number of Parquet files.
        seen: is shown all of them.
        report: called with the share done.
    """
    schema: Schema | ImageSchema
    if fitted.codec.kind == "images":
        schema = _images(folder, fitted, n, seed, seen, report)
        text = json.dumps({"synthgen_images": 1, **schema.model_dump()}, indent=1, ensure_ascii=False) + "\n"
    else:
        schema = _table(folder, fitted, n, seed, shards, seen, report)
        text = schema.to_json()
    (folder / SCHEMA).write_text(text, "utf-8")
    return schema


def _table(folder: Path, fitted: Fitted, n: int, seed: int, shards: int, seen: Seen, report: Report) -> Schema:
    form = published(fitted.codec.dataset_schema)
    chunks = -(-n // fitted.codec.chunk)
    (folder / DATA).mkdir()
    numbered = enumerate(fitted.stream(n, seed=seed))
    with TableWriter(folder / CSV, form) as text:
        for shard, parts in groupby(numbered, key=lambda pair: pair[0] * shards // chunks):
            with TableWriter(folder / parquet_name(shard, shards), form, fitted.mark) as output:
                for _, part in parts:
                    assert isinstance(part, Table)
                    output.write(part)
                    text.write(part)
                    seen.add(part)
                    report(seen.records / n)
    return seen.schema(form)


def parquet_name(shard: int, shards: int) -> str:
    """The path of a shard within a bundle."""
    return f"{DATA}/records.parquet" if shards == 1 else f"{DATA}/records-{shard:05d}-of-{shards:05d}.parquet"


def _images(folder: Path, fitted: Fitted, n: int, seed: int, seen: Seen, report: Report) -> ImageSchema:
    schema: ImageSchema = fitted.codec.dataset_schema
    with ImageWriter(folder / IMAGES, schema, fitted.mark) as output:
        for part in fitted.stream(n, seed=seed):
            assert isinstance(part, Images)
            output.write(part)
            seen.add(part)
            report(seen.records / n)
    for inner in sorted((folder / IMAGES).rglob("*"), reverse=True):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()  # its name would tell of a class that no released image is of
    return schema.model_copy(update={"classes": seen.classes()})
