"""`synthgen fit`: learn from a table, write a model."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import click

from synthgen.cli.console import Console, duration, interruptible
from synthgen.cli.options import Seconds, check_folder, output_options, read_data, reading_options, settings_of
from synthgen.errors import Interrupted, ResourceError, SynthgenError


@click.command()
@click.argument("data", type=click.Path())
@click.option("-o", "out", type=click.Path(), required=True, help="Folder for the model.")
@click.option("-g", "generator", default="auto", help="A generator (synthgen list), or auto: measured on a sample.")
@click.option("--schema", "schema_path", type=click.Path(), help="A schema file (synthgen schema).")
@click.option("--drop", multiple=True, metavar="COL", help="Leave a column out.")
@click.option("--given", multiple=True, metavar="COL", help="Condition on a column, so that its value can be chosen.")
@click.option("-s", "settings", multiple=True, metavar="KEY=VALUE", help="A setting (synthgen info NAME).")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="The same seed gives the same model.")
@click.option("--device", default="auto", help="auto, cpu, cuda or mps.")
@click.option("--max-time", type=Seconds(), help="End by then with a usable model, such as 10m.")
@click.option("--sample", type=click.IntRange(10), metavar="ROWS", help="Fit on so many rows, drawn at random.")
@click.option("--resume", is_flag=True, help="Go on from where an interrupted fit of the same model stopped.")
@click.option("--keep-rare", is_flag=True, help="Keep values that fewer than 5 records hold.")
@reading_options
@output_options
def fit(
    data: str,
    out: str,
    generator: str,
    schema_path: str | None,
    drop: tuple[str, ...],
    given: tuple[str, ...],
    settings: tuple[str, ...],
    seed: int,
    device: str,
    max_time: float | None,
    sample: int | None,
    resume: bool,
    keep_rare: bool,
    delimiter: str | None,
    encoding: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Learn from DATA (.csv, .csv.gz or .parquet) and write a model."""
    start = time.monotonic()
    console = Console(quiet, as_json)
    _check_model_path(Path(out))
    from synthgen import Synthesizer

    options: dict[str, Any] = {"device": device, "seed": seed, "given": given, "drop": drop}
    options |= {"keep_rare": keep_rare, "sample": sample, "max_time": max_time}
    options |= settings_of(settings, reserved=[*options, "schema"])
    if generator != "auto":
        Synthesizer(generator, **options)  # complains about settings before any data is read
    table = read_data(data, schema_path, delimiter, encoding)
    reason = ""
    checkpoint = Path(out).with_name(Path(out).name + ".checkpoint")
    if generator == "auto" and resume and checkpoint.exists():
        generator, found = _unfinished(checkpoint)
        options |= found
    with interruptible() as interrupted:
        if generator == "auto":
            from synthgen.compare import best

            choice = best(
                table,
                options=options,
                seconds=max_time and max_time / 3,
                say=console.say,
                interrupted=interrupted,
            )
            generator, reason = choice.name, choice.reason
            options |= choice.settings
            console.say(reason)
        if max_time is not None:
            options["max_time"] = max(1.0, max_time - (time.monotonic() - start))
        synthesizer = Synthesizer(generator, **options)
        try:
            synthesizer.fit(
                table,
                report=console.progress(f"fitting {generator}"),
                checkpoint=checkpoint,
                resume=resume,
                interrupted=interrupted,
            )
        except Interrupted:
            text = "interrupted; what was learned is kept: go on with the same command and --resume"
            raise Interrupted(text) from None
    synthesizer.save(out)
    _remove(checkpoint)
    for note in synthesizer.notes:
        console.say(note)
    seconds = time.monotonic() - start
    modelled = len(synthesizer.codec.modelled) + len(synthesizer.codec.given)
    console.result(
        f"{out}: {generator} fitted on {len(table)} rows, {modelled} columns, in {duration(seconds)}; "
        f"generate with: synthgen generate {out} -n 1000 -o synthetic.csv",
        model=str(out),
        generator=generator,
        reason=reason,
        rows=len(table),
        columns=modelled,
        seconds=round(seconds, 2),
        notes=synthesizer.notes,
    )


def _unfinished(checkpoint: Path) -> tuple[str, dict[str, Any]]:
    """Generator and settings of an interrupted fit."""
    from synthgen import artifact

    manifest, _ = artifact.load(checkpoint)
    return manifest["plugin"]["name"], {**manifest["config"], **manifest["recipe"]}


def _check_model_path(path: Path) -> None:
    """Complain before the work, not after it, where a model could not be saved."""
    check_folder(path)
    if not os.access(path.absolute().parent, os.W_OK):
        raise ResourceError(f"cannot write into {path.absolute().parent}: permission denied")
    if path.exists() and not (path / "manifest.json").is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise SynthgenError(f"{path} exists and is no model of synthgen; give another -o or remove it")


def _remove(checkpoint: Path) -> None:
    if (checkpoint / "manifest.json").is_file():
        shutil.rmtree(checkpoint, ignore_errors=True)
