"""`synthgen generate`: draw new records, a chunk at a time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from synthgen.cli.console import Console, duration
from synthgen.cli.options import assignments, output_options, raw_option
from synthgen.errors import SynthgenError


@click.command()
@click.argument("model", type=click.Path())
@click.option("-n", "n", type=click.IntRange(1), help="Number of records; as many as --given-file has by default.")
@click.option(
    "-o",
    "out",
    type=click.Path(),
    required=True,
    help="A .csv, .csv.gz or .parquet file; for images a folder or a .zip.",
)
@click.option("--given", multiple=True, metavar="COL=VALUE", help="Hold a column at a value in every record.")
@click.option("--given-file", type=click.Path(), help="A table of values to hold; its rows are taken in turn.")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="The same seed gives the same records.")
@click.option("--device", default="auto", help="auto, cpu, cuda or mps.")
@click.option(
    "--prefix", default="", metavar="TEXT", help="Begin the name of each column with it, as in SYNTHETIC_age."
)
@raw_option
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
    quiet: bool,
    as_json: bool,
) -> None:
    """Draw new records from MODEL."""
    start = time.monotonic()
    console = Console(quiet, as_json)
    if given and given_file:
        raise SynthgenError("give --given or --given-file, not both")
    if n is None and given_file is None:
        raise SynthgenError("say how many records with -n")
    from synthgen import Synthesizer
    from synthgen.data import check_place
    from synthgen.data.table import read_table

    synthesizer = Synthesizer.load(model, device)
    codec = synthesizer.codec
    check_place(out, codec.kind)
    held: Any = assignments(given, codec.dataset_schema.names if codec.kind == "table" else codec.context.names)
    if given_file is not None:
        held = read_table(Path(given_file), raw=raw_csv)
        n = n or len(held)
        if n % len(held):
            raise SynthgenError(f"{n} records are no multiple of the {len(held)} rows of {given_file}")
    assert n is not None
    report = console.progress("generating")
    synthesizer.write(out, n, seed=seed, given=held, raw=raw_csv, prefix=prefix, report=report)
    seconds = time.monotonic() - start
    console.result(
        f"{out}: {n} {synthesizer.noun} in {duration(seconds)}", out=str(out), rows=n, seconds=round(seconds, 2)
    )
