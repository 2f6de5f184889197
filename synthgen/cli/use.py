"""`synthgen impute` and `anomalies`: what a model says of records that exist."""

from __future__ import annotations

from pathlib import Path

import click

from synthgen.cli.console import Console
from synthgen.cli.options import output_options, read_data, reading_options


@click.command()
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("-o", "out", type=click.Path(), required=True, help="A .csv, .csv.gz or .parquet file.")
@click.option(
    "--draw",
    is_flag=True,
    help="Fill with a random draw, which keeps the spread, not with the likeliest value.",
)
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="The same seed fills alike.")
@reading_options
@output_options
def impute(
    model: str,
    data: str,
    out: str,
    draw: bool,
    seed: int,
    delimiter: str | None,
    encoding: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fill the empty cells of DATA by what MODEL has learned."""
    from synthgen import Synthesizer
    from synthgen.data import TableWriter
    from synthgen.data.table import check_output
    from synthgen.inference import gaps

    console = Console(quiet, as_json)
    check_output(Path(out))
    synthesizer = Synthesizer.load(model)
    table = read_data(data, None, delimiter, encoding, synthesizer.codec.table_schema)
    report, done = console.progress("imputing"), 0
    filled = int(gaps(synthesizer.codec, table).sum())
    with TableWriter(out, table.schema) as writer:
        for part in synthesizer.impute_stream(table, seed=seed, draws=1 if draw else 15):
            writer.write(part)
            done += len(part)
            report(done / len(table))
    console.result(
        f"{out}: {filled} empty cells filled in {len(table)} records",
        out=str(out),
        rows=len(table),
        filled=filled,
    )


@click.command()
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("-o", "out", type=click.Path(), required=True, help="A .csv, .csv.gz or .parquet file.")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="For the cells that are empty.")
@reading_options
@output_options
def anomalies(
    model: str,
    data: str,
    out: str,
    seed: int,
    delimiter: str | None,
    encoding: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say how unlikely each record of DATA is.

    The output is DATA with a column more: minus the log-density of the record under MODEL.
    """
    import pyarrow as pa

    from synthgen import Synthesizer
    from synthgen.data import Table, write
    from synthgen.data.table import check_output

    console = Console(quiet, as_json)
    check_output(Path(out))
    synthesizer = Synthesizer.load(model)
    table = read_data(data, None, delimiter, encoding, synthesizer.codec.table_schema)
    scores = synthesizer.anomalies(table, seed=seed)
    name = "anomaly" if "anomaly" not in table.data.column_names else "anomaly_score"
    marked = table.data.append_column(name, pa.array(scores.round(4)))
    write(Table(marked, table.dialect), out)
    worst = int(scores.argmax())
    console.result(
        f"{out}: column {name!r} holds minus the log-density; the strangest record is row {worst + 1}",
        out=str(out),
        column=name,
        worst_row=worst + 1,
    )
