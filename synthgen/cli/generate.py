"""`synthgen generate`: draw new records, a chunk at a time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from synthgen.cli.console import Console, duration
from synthgen.cli.options import Count, assignments, check_apart, output_options, raw_option
from synthgen.cli.shards import Request, make_shards, shard_options
from synthgen.errors import SynthgenError


@click.command()
@click.argument("model", type=click.Path())
@click.option("-n", "n", type=Count(), help="Number of records, such as 5000 or 100M; by default that of --given-file.")
@click.option(
    "-o",
    "out",
    type=click.Path(),
    required=True,
    help="A .csv, .csv.gz or .parquet file; for images a folder, a .zip or a .tar; with --shards a folder.",
)
@click.option("--given", multiple=True, metavar="COL=VALUE", help="Hold a column at a value in every record.")
@click.option("--given-file", type=click.Path(), help="A table of values to hold; its rows are taken in turn.")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="The same seed gives the same records.")
@click.option("--device", default="auto", help="auto, cpu, cuda or mps.")
@click.option(
    "--prefix", default="", metavar="TEXT", help="Begin the name of each column with it, as in SYNTHETIC_age."
)
@raw_option
@shard_options
@output_options
def generate(
    model: str,
    n: int | None,
    out: str,
    given: tuple[str, ...],
    given_file: str | None,
    seed: int,
    device: str,
    prefix: str,
    raw_csv: bool,
    request: Request,
    quiet: bool,
    as_json: bool,
) -> None:
    """Draw new records from MODEL."""
    start = time.monotonic()
    console = Console(quiet, as_json)
    request.check(out)
    if given and given_file:
        raise SynthgenError("give --given or --given-file, not both")
    if n is None and given_file is None:
        raise SynthgenError("say how many records with -n")
    check_apart(out, given_file)
    from synthgen.data import check_place
    from synthgen.data.table import read_table
    from synthgen.shards import draw, load

    synthesizer = load(Path(model), device)
    codec = synthesizer.codec
    values = assignments(given, codec.dataset_schema.names if codec.kind == "table" else codec.context.names)
    held: Any = values
    if given_file is not None:
        held = read_table(Path(given_file), raw=raw_csv)
        n = n or len(held)
        if n % len(held):
            raise SynthgenError(f"{n} records are no multiple of the {len(held)} rows of {given_file}")
    assert n is not None
    if request.shards is not None:
        options = {"given": values, "given_file": given_file, "seed": seed, "device": device}
        make_shards(request, console, model, out, n, raw=raw_csv, prefix=prefix, **options)  # type: ignore[arg-type]
        return
    check_place(out, codec.kind)
    parts = None
    if request.workers is not None and request.workers > 1:
        told = Path(given_file) if given_file else values
        parts = draw(Path(model), n, request.workers, seed=seed, given=told, device=device)
    report = console.progress("generating")
    synthesizer.write(out, n, seed=seed, given=held, raw=raw_csv, prefix=prefix, report=report, parts=parts)
    seconds = time.monotonic() - start
    console.result(
        f"{out}: {n} {synthesizer.noun} in {duration(seconds)}", out=str(out), rows=n, seconds=round(seconds, 2)
    )
