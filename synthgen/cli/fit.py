"""`synthgen fit`: learn from a table or from images, write a model."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthgen.cli.console import Console, duration, interruptible
from synthgen.cli.options import (
    Seconds,
    Size,
    check_file,
    check_folder,
    image_options,
    output_options,
    read_data,
    read_images,
    reading_options,
    say_mark,
    settings_of,
)
from synthgen.cli.private import Request, fit_private
from synthgen.cli.ranks import speaks, together
from synthgen.errors import Interrupted, ResourceError, SynthgenError

if TYPE_CHECKING:
    from synthgen.data import Dataset, TableStream


@click.command()
@click.argument("data", type=click.Path())
@click.option("-o", "out", type=click.Path(), required=True, help="Folder for the model.")
@click.option("-g", "generator", default="auto", help="A generator (synthgen list), or auto: measured on a sample.")
@click.option("--schema", "schema_path", type=click.Path(), help="A schema file (synthgen schema).")
@click.option("--drop", multiple=True, metavar="COL", help="Leave a column out.")
@click.option("--given", multiple=True, metavar="COL", help="Condition on a column, so that its value can be chosen.")
@click.option("-s", "settings", multiple=True, metavar="KEY=VALUE", help="A setting (synthgen info NAME).")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="The same seed gives the same model.  [0]")
@click.option("--device", default="auto", help="auto, cpu, cuda or mps.")
@click.option("--max-time", type=Seconds(), help="End by then with a usable model, such as 10m.")
@click.option("--sample", type=click.IntRange(10), metavar="ROWS", help="Fit on so many rows, drawn at random.")
@click.option("--memory", type=Size(), help="Stay under so much memory, such as 2g.  [most of what is free]")
@click.option("--resume", is_flag=True, help="Go on from where an interrupted fit of the same model stopped.")
@click.option("--epsilon", type=float, help="Fit under differential privacy with this epsilon, such as 1.")
@click.option("--delta", type=float, help="Its delta, such as 1e-6: less than one in the number of records.")
@click.option("--ledger", type=click.Path(), help="A private file that adds up what all fits on these data have spent.")
@click.option("--privacy-unit", metavar="COL", help="Protect all records of a person together, whom a column names.")
@click.option("--unit-records", type=click.IntRange(1), help="How many records of each person are kept.  [1]")
@click.option("--keep-rare", is_flag=True, help="Keep values that fewer than 5 records hold.")
@click.option("--preview", type=click.Path(), help="Where a sheet of images drawn so far goes.  [OUT.preview.png]")
@image_options
@reading_options
@output_options
@together
def fit(
    data: str,
    out: str,
    generator: str,
    schema_path: str | None,
    drop: tuple[str, ...],
    given: tuple[str, ...],
    settings: tuple[str, ...],
    seed: int | None,
    device: str,
    max_time: float | None,
    sample: int | None,
    memory: int | None,
    resume: bool,
    epsilon: float | None,
    delta: float | None,
    ledger: str | None,
    privacy_unit: str | None,
    unit_records: int | None,
    keep_rare: bool,
    preview: str | None,
    size: int | None,
    aspect: str | None,
    strict: bool,
    delimiter: str | None,
    encoding: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Learn from DATA and write a model.

    DATA is a table (.csv, .csv.gz or .parquet), or a folder of images or a .zip of one, whose subfolders are classes.
    """
    start = time.monotonic()
    console = Console(quiet, as_json, silent=not speaks())
    if speaks():
        _check_model_path(Path(out))
    if epsilon is not None or delta is not None or ledger is not None or privacy_unit is not None or unit_records:
        if privacy_unit == "" or (unit_records and privacy_unit is None):
            raise SynthgenError("--privacy-unit names the column that tells persons apart; say which")
        refused: dict[str, object] = {"--seed": seed is not None, "--sample": sample, "--resume": resume}
        refused |= {"--keep-rare": keep_rare, "--preview": preview, "--strict": strict, "--memory": memory}
        private = Request(
            data,
            out,
            generator,
            schema_path,
            {"drop": drop, "given": given, "device": device, "max_time": max_time},
            settings,
            epsilon,
            delta,
            ledger,
            (privacy_unit or "", unit_records or 1),
            dict[str, Any](delimiter=delimiter, encoding=encoding, size=size, aspect=aspect),
        )
        fit_private(private, [option for option, said in refused.items() if said], console)
        return
    sheet = Path(preview) if preview else _beside(Path(out), "preview.png")
    check_file(sheet)
    from synthgen import Synthesizer
    from synthgen.distributed import current

    options: dict[str, Any] = {"device": device, "seed": seed or 0, "given": given, "drop": drop}
    options |= {"keep_rare": keep_rare, "sample": sample, "max_time": max_time}
    options |= settings_of(settings, reserved=[*options, "schema"])
    if generator != "auto":
        Synthesizer(generator, **options)  # complains about settings before any data is read
    limits = {"memory": memory, "sample": sample, "dropped": drop}
    images = {"size": size, "aspect": aspect, "strict": strict}
    dataset = read_dataset(data, schema_path, delimiter, encoding, console, limits, **images)
    say_mark(console, data)
    if preview and dataset.kind == "table":
        raise SynthgenError(f"{data} is a table; --preview is for images")
    checkpoint = _beside(Path(out), "checkpoint")
    if generator == "auto" and resume:
        generator, found = current().json(lambda: _unfinished(checkpoint))
        options |= found
    with interruptible() as interrupted:
        dataset = _heeding(dataset, console, interrupted)
        generator, options, reason = chosen(generator, dataset, options, console, interrupted)
        if max_time is not None:
            options["max_time"] = max(1.0, max_time - (time.monotonic() - start))
        synthesizer = Synthesizer(generator, **options)
        show = _previewer(sheet, console) if dataset.kind == "images" else None
        try:
            synthesizer.fit(
                dataset,
                report=console.progress(f"fitting {generator}"),
                preview=show,
                checkpoint=checkpoint,
                resume=resume,
                interrupted=interrupted,
            )
        except Interrupted:
            kept = "what was learned is kept: go on with the same command and --resume"
            raise Interrupted(f"interrupted; {kept if checkpoint.exists() else 'nothing was written'}") from None
    if not speaks():
        return
    synthesizer.save(out)
    _remove(checkpoint)
    for note in synthesizer.notes:
        console.say(note)
    took = time.monotonic() - start
    shape = synthesizer.codec.space.shape
    about = f"{' x '.join(map(str, shape))}" if len(shape) == 3 else f"{len(shape) and shape[0]} columns"
    ending = ".csv" if dataset.kind == "table" else ""
    console.result(
        f"{out}: {generator} fitted on {synthesizer.rows} {dataset.noun}, {about}, in {duration(took)}; "
        f"generate with: synthgen generate {out} -n 1000 -o synthetic{ending}",
        model=str(out),
        generator=generator,
        reason=reason,
        rows=synthesizer.rows,
        shape=shape,
        seconds=round(took, 2),
        notes=synthesizer.notes,
    )


def chosen(
    generator: str,
    dataset: Dataset | TableStream,
    options: dict[str, Any],
    console: Console,
    interrupted: Callable[[], bool],
) -> tuple[str, dict[str, Any], str]:
    """The generator with its options, and why that one where it was to be found out on a sample."""
    if generator != "auto":
        return generator, options, ""
    from synthgen.compare import best
    from synthgen.distributed import current

    limit, say = options.get("max_time"), console.say
    some, seconds = _some(dataset, options.get("seed", 0)), limit and limit / 3
    name, settings, reason = current().json(
        lambda: best(some, options=options, seconds=seconds, say=say, interrupted=interrupted)
    )
    say(reason)
    return name, options | settings, reason


def read_dataset(
    data: str,
    schema_path: str | None,
    delimiter: str | None,
    encoding: str | None,
    console: Console,
    limits: dict[str, Any],
    **reading: Any,
) -> Dataset | TableStream:
    """The dataset, or what reads it block by block where it does not stay within the limits of `open_table`."""
    from synthgen.data import holds_images, open_table

    if holds_images(data):
        if schema_path or delimiter or encoding:
            raise SynthgenError(f"{data} holds images; --schema, --delimiter and --encoding are for tables")
        from synthgen.memory import limit

        return read_images(data, console, **reading, memory=limits["memory"] or limit())
    if any(reading.values()):
        raise SynthgenError(f"{data} is a table; --size, --aspect and --strict are for images")
    return read_data(data, schema_path, delimiter, encoding, opened=partial(open_table, **limits, say=console.say))


def _heeding(
    dataset: Dataset | TableStream, console: Console, interrupted: Callable[[], bool]
) -> Dataset | TableStream:
    """The dataset; one that is read block by block shows how far it is and can be stopped."""
    from synthgen.data import TableStream

    if not isinstance(dataset, TableStream):
        return dataset
    expected, seen, show = max(1, dataset.about), 0, console.progress("reading")

    def heed(rows: int) -> None:
        nonlocal seen
        if interrupted():
            raise Interrupted("interrupted")
        seen += rows
        show(seen % expected / expected)

    return replace(dataset, heed=heed)


def _some(dataset: Dataset | TableStream, seed: int) -> Dataset:
    """The dataset, of one on disk some rows that generators are measured on."""
    from synthgen.compare import SAMPLE
    from synthgen.data import TableStream

    if not isinstance(dataset, TableStream):
        return dataset
    return dataset.sample(min(SAMPLE, len(dataset)), seed).declare(dataset.schema)


def _previewer(path: Path, console: Console) -> Callable[[Dataset], None]:
    """A function that writes images to a sheet, and says so the first time; a fit does not fail with its preview."""
    said = False

    def show(images: Dataset) -> None:
        nonlocal said
        from synthgen.data import Images, write_sheet

        assert isinstance(images, Images)
        text = f"what is drawn so far: {path}"
        try:
            write_sheet(path, images, columns=min(16, max(8, len(images.schema.classes))))
        except SynthgenError as error:
            text = f"what is drawn so far cannot be shown: {error}"
        if not said:
            console.say(text)
        said = True

    return show


def _unfinished(checkpoint: Path) -> tuple[str, dict[str, Any]]:
    """Generator and settings of an interrupted fit, if there is one."""
    from synthgen import artifact

    if not checkpoint.exists():
        return "auto", {}
    manifest, _ = artifact.load(checkpoint)
    return manifest["plugin"]["name"], {**manifest["config"], **manifest["recipe"]}


def _beside(out: Path, what: str) -> Path:
    """Where something that goes with a model lies."""
    return out.with_name(f"{out.name}.{what}")


def _check_model_path(path: Path) -> None:
    """Complain before the work, not after it, where a model could not be saved."""
    if path.name in ("", ".."):
        raise SynthgenError(f"{path} names no new folder; give one, such as -o model")
    check_folder(path)
    if not os.access(path.absolute().parent, os.W_OK):
        raise ResourceError(f"cannot write into {path.absolute().parent}: permission denied")
    if path.exists() and not (path / "manifest.json").is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise SynthgenError(f"{path} exists and is no model of synthgen; give another -o or remove it")


def _remove(checkpoint: Path) -> None:
    if (checkpoint / "manifest.json").is_file():
        shutil.rmtree(checkpoint, ignore_errors=True)
