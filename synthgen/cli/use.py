"""`synthgen impute`, `anomalies` and `interpolate`: what a model says of records that exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthgen.cli.console import Console, one_line
from synthgen.cli.options import check_file, output_options, raw_option, read_like, reading_options
from synthgen.errors import SynthgenError

if TYPE_CHECKING:
    from synthgen.codec import Codec
    from synthgen.data import Dataset

JUDGES = {
    "log_prob": "minus the log-density",
    "bound": "minus a lower bound of the log-density",
    "reconstruction": "the error of reconstruction",
}


@click.command()
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("-o", "out", type=click.Path(), required=True, help="A table file; for images a folder or a .zip.")
@click.option(
    "--draw",
    is_flag=True,
    help="Fill with a random draw, which keeps the spread, not with the likeliest value.",
)
@click.option("--mask", type=click.Path(), help="For images: a picture that is white where they are to be filled.")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="The same seed fills alike.")
@reading_options
@raw_option
@output_options
def impute(
    model: str,
    data: str,
    out: str,
    draw: bool,
    mask: str | None,
    seed: int,
    delimiter: str | None,
    encoding: str | None,
    raw_csv: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fill the empty cells of a table, or a part of images, by what MODEL has learned."""
    from synthgen import Synthesizer
    from synthgen.data import Images, check_place, write, writer
    from synthgen.data.pictures_in import read_mask
    from synthgen.schema import unescaped

    console = Console(quiet, as_json)
    synthesizer = Synthesizer.load(model)
    codec = synthesizer.codec
    check_place(out, codec.kind)
    dataset = read_like(data, codec, console, delimiter, encoding, raw_csv)
    if isinstance(dataset, Images):
        if mask is None:
            raise SynthgenError("say which part of the images is to be filled: --mask PICTURE, white there")
        missing = read_mask(Path(mask), codec.dataset_schema.height, codec.dataset_schema.width)
        write(synthesizer.inpaint(dataset, ~missing, seed=seed), out)
        filled = int(missing.sum()) * len(dataset)
        text = f"{out}: {filled} pixels filled in {len(dataset)} images"
        console.result(text, out=out, rows=len(dataset), filled=filled)
        return
    if mask is not None:
        raise SynthgenError("--mask is for images; of a table, the empty cells are filled")
    report, done = console.progress("imputing"), 0
    filled = synthesizer.gaps(dataset)
    with writer(out, unescaped(dataset.schema) if raw_csv else dataset.schema) as output:
        for part in synthesizer.impute_stream(dataset, seed=seed, draws=1 if draw else 15):
            output.write(part)  # type: ignore[arg-type]
            done += len(part)
            report(done / len(dataset))
    console.result(
        f"{out}: {filled} empty cells filled in {len(dataset)} records",
        out=str(out),
        rows=len(dataset),
        filled=filled,
    )


@click.command()
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("-o", "out", type=click.Path(), required=True, help="A .csv, .csv.gz or .parquet file.")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="For the cells that are empty.")
@reading_options
@raw_option
@output_options
def anomalies(
    model: str,
    data: str,
    out: str,
    seed: int,
    delimiter: str | None,
    encoding: str | None,
    raw_csv: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say how strange each record of DATA is.

    The output is DATA with a column more, or a table of the images' files: minus the log-density of the record
    under MODEL, or a bound of it, or the error of its reconstruction, whichever the generator has. It says which.
    """
    import pyarrow as pa

    from synthgen import Synthesizer
    from synthgen.data import Images, Table, check_place, write

    console = Console(quiet, as_json)
    check_place(out, "table")
    synthesizer = Synthesizer.load(model)
    dataset = read_like(data, synthesizer.codec, console, delimiter, encoding, raw_csv)
    scores = synthesizer.anomalies(dataset, seed=seed)
    judge = synthesizer.judged_by
    if isinstance(dataset, Images):
        table, places = (
            Table(pa.table({"file": dataset.files, "label": dataset.names})),
            list(map(one_line, dataset.files)),
        )
    else:
        table, places = dataset, [f"row {i + 1}" for i in range(len(dataset))]
    name = "anomaly" if "anomaly" not in table.data.column_names else "anomaly_score"
    marked = table.data.append_column(name, pa.array(scores.round(4)))
    write(Table(marked, table.dialect), out, raw=raw_csv)
    worst = int(scores.argmax())
    console.result(
        f"{out}: column {name!r} holds {JUDGES[judge]}; the strangest record is {places[worst]}",
        out=str(out),
        column=name,
        measure=judge,
        worst_row=worst + 1,
    )


@click.command()
@click.argument("model", type=click.Path())
@click.argument("a", default="random")
@click.argument("b", default="random")
@click.option("-o", "out", type=click.Path(), required=True, help="A table file; for images a .png, or a folder.")
@click.option("-n", "steps", default=10, type=click.IntRange(2, 10_000), help="Records on the path, ends included.")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="For random ends.")
@raw_option
@output_options
def interpolate(
    model: str, a: str, b: str, out: str, steps: int, seed: int, raw_csv: bool, quiet: bool, as_json: bool
) -> None:
    """Draw a path of records from A to B along the latents of MODEL.

    A and B are each `random`, or a dataset whose first record is meant: DATA or DATA:ROW, such as data.csv:17.
    For images, a .png output is a strip of the path.
    """
    from synthgen import Synthesizer
    from synthgen.data import check_place, write, write_sheet
    from synthgen.data.table import as_table

    console = Console(quiet, as_json)
    synthesizer = Synthesizer.load(model)
    strip = synthesizer.codec.kind == "images" and out.endswith(".png")
    if strip:
        check_file(Path(out))
    else:
        check_place(out, synthesizer.codec.kind)
    ends = [None if end == "random" else _record(end, synthesizer.codec, console, raw_csv) for end in (a, b)]
    path = synthesizer.interpolate(*ends, steps=steps, seed=seed)
    if strip:
        write_sheet(out, path, columns=steps, mark=synthesizer.mark)
    elif synthesizer.codec.kind == "images":
        write(path, out, mark=synthesizer.mark)
    else:
        drawn = as_table(path).declare(synthesizer.codec.dataset_schema)
        write(drawn, out, mark=synthesizer.mark, raw=raw_csv)
    console.result(f"{out}: {steps} {synthesizer.noun} from {a} to {b}", out=out, rows=steps)


def _record(end: str, codec: Codec, console: Console, raw: bool) -> Dataset:
    """The record that DATA or DATA:ROW means, alone in its dataset."""
    path, colon, row = end.rpartition(":")
    if Path(end).exists() or not colon:
        path, row = end, "1"
    dataset = read_like(path, codec, console, None, None, raw)
    if not row.isdecimal() or not 1 <= int(row) <= len(dataset):
        raise SynthgenError(f"{path} has {dataset.noun} 1 to {len(dataset)}, not {row!r}")
    return dataset.take([int(row) - 1])
