"""`synthgen compare`: fit generators on a part of the data, judge each by the rest, say which suits."""

from __future__ import annotations

from pathlib import Path

import click

from synthgen.cli.console import Console, interruptible, one_line
from synthgen.cli.options import Seconds, check_file, output_options, read_data, reading_options
from synthgen.errors import Interrupted, SynthgenError


@click.command()
@click.argument("data", type=click.Path())
@click.option("-g", "generators", multiple=True, metavar="NAME", help="A generator; may be given again.  [all]")
@click.option("--target", metavar="COL", help="Column to predict, for utility.  [the last, if it has few labels]")
@click.option("--schema", "schema_path", type=click.Path(), help="A schema file (synthgen schema).")
@click.option("--drop", multiple=True, metavar="COL", help="Leave a column out.")
@click.option("--sample", type=click.IntRange(60), metavar="ROWS", help="Compare on so many rows, drawn at random.")
@click.option("--max-time", type=Seconds(), help="What all fits may take together, such as 10m.")
@click.option("--features", default="auto", metavar="auto|PATH", help="Of images: the network to compare them in.")
@click.option("-o", "out", type=click.Path(), help="Write the page here: one .html file.")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="The same seed gives the same comparison.")
@reading_options
@output_options
def compare(
    data: str,
    generators: tuple[str, ...],
    target: str | None,
    schema_path: str | None,
    drop: tuple[str, ...],
    sample: int | None,
    max_time: float | None,
    features: str,
    out: str | None,
    seed: int,
    delimiter: str | None,
    encoding: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Which generator for DATA? Fit each on two thirds, judge it by the rest, beside baselines."""
    console = Console(quiet, as_json)
    if out is not None:
        check_file(Path(out))
        if Path(out).suffix != ".html":
            raise SynthgenError(f"{out} is no place for a page; give -o a name that ends in .html")
    import numpy as np

    from synthgen import compare as library
    from synthgen.cli.text import WORDS, rows_text
    from synthgen.data import holds_images, read
    from synthgen.report.blocks import Rows

    given = {"--schema": schema_path, "--delimiter": delimiter, "--encoding": encoding, "--target": target}
    wrong = [name for name, value in {**given, "--drop": drop}.items() if value]
    if holds_images(data) and wrong:
        raise SynthgenError(f"{data} holds images; {wrong[0]} is for tables")
    dataset = read(data) if holds_images(data) else read_data(data, schema_path, delimiter, encoding)
    if sample is not None and sample < len(dataset):
        dataset = dataset.take(np.random.default_rng(seed).permutation(len(dataset))[:sample])
    with interruptible() as pressed:
        found = library.compare(
            dataset,
            generators,
            target=target,
            features=features,
            options={"drop": drop},
            seconds=max_time,
            seed=seed,
            name=Path(data).name,
            say=console.say,
            report=console.progress("comparing"),
            interrupted=pressed,
        )
        if pressed():
            raise Interrupted("interrupted; nothing was written")
    if out is not None:
        found.summary.write(out)
    table = next(b for b in found.summary.sections[0].blocks if isinstance(b, Rows))
    verdict = [f"{WORDS.get(f.kind, f.kind):>9}  {one_line(f.text)}" for f in found.summary.verdict]
    text = "\n".join([*verdict, "", *rows_text(table), *(["", f"{out}: the page"] if out else [])])
    console.result(
        text,
        best=found.best.name,
        reason=found.best.reason,
        candidates={name: {s.name: s.value for s in report} for name, report in found.reports.items()},
        leaks={name: [f.text for f in report.verdict if f.kind == "leaks"] for name, report in found.reports.items()},
    )
