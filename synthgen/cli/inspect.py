"""`synthgen list`, `info` and `schema`: what there is."""

from __future__ import annotations

import json
from pathlib import Path

import click

from synthgen.cli.console import Console, json_text
from synthgen.cli.options import check_file, output_options, read_data, reading_options


@click.command("list")
@output_options
def list_(quiet: bool, as_json: bool) -> None:
    """List the generators that are installed."""
    from synthgen import registry

    found = {
        name: {"package": registry.distribution(p), "about": registry.about(p)}
        for name, p in registry.available().items()
    }
    width = max(map(len, found), default=0)
    lines = [f"{name:<{width}}  {entry['about']} ({entry['package']})" for name, entry in found.items()]
    Console(quiet, as_json).result("\n".join(lines), **found)


@click.command()
@click.argument("what", metavar="NAME|MODEL")
@output_options
def info(what: str, quiet: bool, as_json: bool) -> None:
    """Describe a generator and its settings, or a fitted model."""
    from synthgen.cli.describe import describe_generator, describe_model

    text, fields = describe_model(what) if Path(what).exists() else describe_generator(what)
    Console(quiet, as_json).result(text, **fields)


@click.command()
@click.argument("data", type=click.Path())
@click.option("-o", "out", type=click.Path(), help="Write the schema here instead of printing it.")
@click.option("--schema", "schema_path", type=click.Path(), help="What is already known; the rest is inferred.")
@reading_options
@click.option("--quiet", "-q", is_flag=True, help="Print the result and errors only.")
def schema(
    data: str,
    out: str | None,
    schema_path: str | None,
    delimiter: str | None,
    encoding: str | None,
    quiet: bool,
) -> None:
    """Find out what the columns of DATA are.

    The output is a file to edit, and to give to fit --schema.
    """
    from synthgen.codec.repair import dependences
    from synthgen.files import replacing

    console = Console(quiet)
    if out:
        check_file(Path(out))
    table = read_data(data, schema_path, delimiter, encoding)
    text = table.schema.to_json()
    for a, b in dependences(table.data):
        console.say(f'{a!r} determines {b!r} in every row; a rule keeps it so: "combinations: {a}, {b}"')
    if out is None:
        print(json_text(json.loads(text), indent=1))
        return
    with replacing(out) as temporary:
        temporary.write_text(text, "utf-8")
    console.result(f"{out}: {len(table.schema.columns)} columns")
