"""`synthgen report`: judge synthetic records by real ones, write a page, JSON and JUnit, hold them to a gate."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from synthgen.cli.console import Console
from synthgen.cli.options import check_file, read_data, reading_options, say_mark
from synthgen.errors import GateFailed, SynthgenError


@click.command()
@click.argument("real", type=click.Path())
@click.argument("synthetic", type=click.Path())
@click.option("--holdout", type=click.Path(), help="Real records that the generator has not seen.")
@click.option("--target", metavar="COL", help="Column to predict, for utility.  [the last, if it has few labels]")
@click.option(
    "--model", type=click.Path(), help="The model that made SYNTHETIC: its schema is used and its claims shown."
)
@click.option("--schema", "schema_path", type=click.Path(), help="A schema file (synthgen schema).")
@click.option(
    "--features",
    default="auto",
    metavar="auto|PATH",
    help="Of images: the network in whose features they are compared.",
)
@click.option("-o", "out", type=click.Path(), help="Write the page here: one .html file.")
@click.option("--json", "json_path", type=click.Path(), help="Write all figures here; - prints them.")
@click.option("--junit", type=click.Path(), help="Write the checks of the gate here, as CI servers read them.")
@click.option("--gate", type=click.Path(), help="A policy.toml of thresholds; where one fails, the exit code is 5.")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="The same seed gives the same report.")
@reading_options
@click.option("--quiet", "-q", is_flag=True, help="Print the result and errors only.")
def report(
    real: str,
    synthetic: str,
    holdout: str | None,
    target: str | None,
    model: str | None,
    schema_path: str | None,
    features: str,
    out: str | None,
    json_path: str | None,
    junit: str | None,
    gate: str | None,
    seed: int,
    delimiter: str | None,
    encoding: str | None,
    quiet: bool,
) -> None:
    """Say how faithful, how useful and how disclosive SYNTHETIC is, beside REAL, which it was made from.

    All figures stand beside those of fresh real records, of copies, and of independent columns.
    """
    start, console = time.monotonic(), Console(quiet)
    taken = {Path(p).resolve() for p in (real, synthetic, holdout, model, schema_path, gate) if p}
    for path in (out, junit, json_path if json_path != "-" else None):
        if path is not None:
            check_file(Path(path))
            if Path(path).resolve() in taken:
                raise SynthgenError(f"{path} is read or written already; give each output a name of its own")
            taken.add(Path(path).resolve())
    if out is not None and Path(out).suffix != ".html":
        raise SynthgenError(f"{out} is no place for a page; give -o a name that ends in .html")
    from synthgen.cli.text import report_text
    from synthgen.files import replacing
    from synthgen.report.evaluate import evaluate
    from synthgen.report.gate import junit as as_junit
    from synthgen.report.gate import read_gate

    policy = read_gate(gate) if gate else None
    schema, claim = _of_model(model)
    found = evaluate(
        _real(real, schema, schema_path, delimiter, encoding),
        synthetic,
        _held(holdout, schema, delimiter, encoding),
        target=target,
        features=features,
        seed=seed,
        claim=claim,
        names={"real": Path(real).name} | ({"holdout": Path(holdout).name} if holdout else {}),
        report=console.progress("measuring"),
    )
    checks = policy.check(found) if policy else []
    for path, text in (
        (out, found.to_html if out else None),
        (json_path if json_path != "-" else None, found.to_json),
        (junit, lambda: as_junit(checks, found, time.monotonic() - start)),
    ):
        if path is not None and text is not None:
            with replacing(path) as temporary:
                temporary.write_text(text(), "utf-8")
    say_mark(console, real, holdout)
    for note in found.setup.notes:
        console.say(note)
    # in ASCII, so that the console, which lets no control characters through, changes nothing
    whole = json.dumps(found.to_dict(), indent=1, allow_nan=False) if json_path == "-" else report_text(found, checks)
    console.result(whole)
    failed = [c for c in checks if not c.passed]
    if failed:
        raise GateFailed(f"{len(failed)} of {len(checks)} thresholds of {gate} failed")


def _of_model(path: str | None) -> tuple[Any, str]:
    """The schema of the model that made the synthetic records, and what it claims."""
    from synthgen.report.evaluate import NO_CLAIM

    if path is None:
        return None, NO_CLAIM
    from synthgen import Synthesizer

    synthesizer = Synthesizer.load(path)
    return synthesizer.codec.dataset_schema, f"Made by a model of {synthesizer.name}. {NO_CLAIM}"


def _real(path: str, known: Any, schema_path: str | None, delimiter: str | None, encoding: str | None) -> Any:
    """The real records: a table that is read as told, with the columns that a model knows, or the path of images."""
    from synthgen.data import ImageSchema, holds_images

    if not Path(path).exists():
        raise SynthgenError(f"there is no file or folder {path}")
    if known is not None and isinstance(known, ImageSchema) != holds_images(path):
        raise SynthgenError(f"the model was not fitted on data like {path}")
    if holds_images(path):
        if schema_path or delimiter or encoding:
            raise SynthgenError(f"{path} holds images; --schema, --delimiter and --encoding are for tables")
        return path
    table = _table(path, schema_path, delimiter, encoding, None if schema_path else known)
    if known is not None:
        for name in known.names:
            if name not in table.data.column_names:
                raise SynthgenError(
                    f"{path} lacks column {name!r}, which the model makes; give the data it was fitted on"
                )
        table = table.select(known.names)
    return table


def _held(path: str | None, known: Any, delimiter: str | None, encoding: str | None) -> Any:
    """The held-out records: a table written like the real one, with the columns that a model knows, or a path."""
    from synthgen.data import ImageSchema, holds_images

    if path is None or not Path(path).exists() or holds_images(path):
        return path
    table = _table(path, None, delimiter, encoding, None)
    if known is None or isinstance(known, ImageSchema):
        return table
    return table.select([name for name in table.data.column_names if name in known.names])


def _table(path: str, *options: Any) -> Any:
    """A table; what cannot be read is named."""
    try:
        return read_data(path, *options)
    except SynthgenError as error:
        if Path(path).name in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
