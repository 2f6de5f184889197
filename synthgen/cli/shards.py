"""`synthgen generate --shards`: the parts of a generation, by one process, several, or Ray."""

from __future__ import annotations

import functools
import time
from typing import Any, NamedTuple

import click

from synthgen.cli.console import Console, duration
from synthgen.cli.options import Command
from synthgen.errors import Interrupted, SynthgenError

ENGINES = ("processes", "ray")
FORMATS = ("parquet", "csv", "csv.gz", "webdataset")


class Request(NamedTuple):
    """What the options ask for."""

    shards: int | None
    shard: int | None
    workers: int | None
    engine: str
    format: str | None

    def check(self, out: str) -> None:
        """Raise SynthgenError where options contradict each other or the name of the output."""
        alone = {"--shard": self.shard, "--engine": self.engine == "ray" or None, "--format": self.format}
        for option, value in alone.items():
            if self.shards is None and value is not None:
                raise SynthgenError(f"{option} is for a folder of parts; say how many with --shards")
        if self.shard is not None and (self.workers or self.engine == "ray"):
            raise SynthgenError("--shard makes one part, in one process; leave --workers and --engine out")
        if self.shards is not None and self.shard is not None and self.shard >= self.shards:
            raise SynthgenError(f"there is no shard {self.shard}; those of {self.shards} are 0 to {self.shards - 1}")
        if self.shards is not None and out.endswith((".csv", ".csv.gz", ".parquet", ".zip", ".tar")):
            raise SynthgenError(f"{out} is one file, and shards are the files of a folder; give -o FOLDER")


def shard_options(command: Command) -> Command:
    """The options of parts, which the command gets as its `request`."""

    @click.option("--shards", type=click.IntRange(1), help="Write a folder OUT of so many parts.")
    @click.option("--shard", type=click.IntRange(0), help="Make only this part, from 0 on, as a job of an array does.")
    @click.option("--workers", type=click.IntRange(1), help="Processes that draw.  [1]")
    @click.option("--engine", type=click.Choice(ENGINES), default="processes", help="What makes parts.  [processes]")
    @click.option("--format", type=click.Choice(FORMATS), help="Of parts.  [parquet; webdataset for images]")
    @functools.wraps(command)
    def run(**given: Any) -> Any:
        own = {name: given.pop(name) for name in Request._fields}
        return command(**given, request=Request(**own))

    return run


def make_shards(
    request: Request,
    console: Console,
    model: str,
    out: str,
    n: int,
    *,
    given: dict[str, str],
    given_file: str | None,
    seed: int,
    device: str,
    raw: bool,
    prefix: str,
) -> None:
    """Make the parts of a folder that are not there yet, or one of them, and say so."""
    from synthgen.shards import Shards, make_all

    start = time.monotonic()
    options: dict[str, Any] = {"seed": seed, "format": request.format, "device": device, "raw": raw, "prefix": prefix}
    shards = Shards.begin(model, out, n, request.shards or 1, given=given, given_file=given_file, **options)
    report = console.progress("generating")
    if request.shard is not None:
        _make_one(shards, request.shard, console, report)
        return
    made = make_all(shards, engine=request.engine, workers=request.workers, report=report)  # type: ignore[arg-type]
    seconds = time.monotonic() - start
    there = f", {shards.plan.shards - len(made)} of which were there" if len(made) < shards.plan.shards else ""
    console.result(
        f"{out}: {n} records in {shards.plan.shards} parts{there}, in {duration(seconds)}",
        out=str(out),
        rows=n,
        shards=shards.plan.shards,
        made=len(made),
        seconds=round(seconds, 2),
    )


def _make_one(shards: Any, shard: int, console: Console, report: Any) -> None:
    """Make one part, unless it is there."""
    start = time.monotonic()
    there = shards.done(shard)
    try:
        part = there or shards.make(shard, report)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; shard {shard} is not made: go on with the same command") from error
    seconds = time.monotonic() - start
    console.result(
        f"{part.path}: {part.records} records" + (", there already" if there else f" in {duration(seconds)}"),
        out=str(part.path),
        shard=shard,
        rows=part.records,
        sha256=part.sha256,
        seconds=round(seconds, 2),
    )
