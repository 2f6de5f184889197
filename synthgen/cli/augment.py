"""`synthgen augment`: measure whether drawn records help to learn a class, and add them to the real ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from synthgen.cli.console import Console, duration, interruptible
from synthgen.cli.options import (
    Seconds,
    check_apart,
    image_options,
    output_options,
    read_data,
    read_images,
    reading_options,
    settings_of,
)
from synthgen.errors import Interrupted, SynthgenError

if TYPE_CHECKING:
    from synthgen.augment.gain import Gain
    from synthgen.augment.labelled import Ints, Labelled
    from synthgen.data import Dataset

DEFAULT = "gmm"  # quick, and seldom worse than others (docs/augment.md)
REPEATS = {"table": 3, "images": 1}
RESERVED = ("seed", "device", "max_time", "schema", "drop", "given", "sample", "keep_rare")


@click.command()
@click.argument("data", type=click.Path())
@click.option("--target", metavar="COL", help="The column that holds the classes; of images the folders are.")
@click.option(
    "--strategy",
    "strategy",
    multiple=True,
    default=("balance",),
    show_default="balance",
    metavar="balance|N|CLASS=N",
    help="All classes as many as the largest; N records in the proportions of the classes; or N of a class, "
    "which may be given again.",
)
@click.option("-o", "out", type=click.Path(), required=True, help="Where real and drawn records go.")
@click.option("-g", "generator", metavar="NAME", help="A generator (synthgen list).  [gmm]")
@click.option("-s", "settings", multiple=True, metavar="KEY=VALUE", help="A setting (synthgen info NAME).")
@click.option("--no-measure", is_flag=True, help="Add records without measuring whether they help.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2, 20), help="Parts of a cross-validation.")
@click.option("--repeats", type=click.IntRange(1, 100), help="Cross-validations.  [3; of images 1]")
@click.option("--only-synthetic", is_flag=True, help="Write the drawn records only.")
@click.option("--together", is_flag=True, help="Fit one generator that is told the class, not one for each class.")
@click.option("--mark", metavar="COL", help="The column that says which are drawn.  [synthetic]")
@click.option("--schema", "schema_path", type=click.Path(), help="A schema file (synthgen schema).")
@click.option("--drop", multiple=True, metavar="COL", help="Leave a column out, also of what is written.")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="The same seed gives the same records.")
@click.option("--device", default="auto", help="auto, cpu, cuda or mps.")
@click.option(
    "--max-time", type=Seconds(), help="About what all may take, such as 10m: fewer splits are measured, two at least."
)
@image_options
@reading_options
@output_options
def augment(
    data: str,
    target: str | None,
    strategy: tuple[str, ...],
    out: str,
    generator: str | None,
    settings: tuple[str, ...],
    no_measure: bool,
    folds: int,
    repeats: int | None,
    only_synthetic: bool,
    together: bool,
    mark: str | None,
    schema_path: str | None,
    drop: tuple[str, ...],
    seed: int,
    device: str,
    max_time: float | None,
    size: int | None,
    aspect: str | None,
    strict: bool,
    delimiter: str | None,
    encoding: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Add records of rare classes to DATA, having measured whether models learn more with them.

    DATA is a table, or a folder of images or a .zip of one, whose subfolders are the classes. OUT has the real
    records first, then the drawn ones, and is written whatever was measured.
    """
    start, console = time.monotonic(), Console(quiet, as_json)
    from synthgen.augment.labelled import labelled
    from synthgen.augment.output import MARK, mark_name
    from synthgen.augment.rows import Wanted, few
    from synthgen.data import Table, check_place, holds_images

    kind = "images" if holds_images(data) else "table"
    generator, repeats = generator or DEFAULT, repeats or REPEATS[kind]
    options = _options(generator, settings, device, max_time and max_time / (folds + 2))
    tabular: dict[str, Any] = {"--schema": schema_path, "--delimiter": delimiter, "--encoding": encoding}
    tabular |= {"--drop": drop, "--mark": mark}
    dataset = _read(data, tabular, {"size": size, "aspect": aspect, "strict": strict}, console)
    check_place(out, kind)
    check_apart(out, data)
    known, notes = labelled(dataset, target)
    counts = Wanted.of(strategy).counts(known)
    if only_synthetic and not counts.sum():
        raise SynthgenError("nothing is to be added: all classes are as many as the largest; give --strategy N")
    if max_time is not None and kind == "table" and not together:  # a fit for each class
        options["max_time"] /= max(1, int((counts > 0).sum()))
    name = mark_name(dataset.data.column_names, mark) if isinstance(dataset, Table) else MARK
    for note in [*notes, *few(known, counts)]:
        console.say(note)
    gain = drawn = None
    with interruptible() as pressed:
        job = _Job(dataset, target, strategy, generator, options, seed, together, console, pressed)
        if counts.sum():
            gain = None if no_measure else job.measure(folds, repeats, max_time and max_time * 2 / 3)
            drawn = job.draw(known, counts)
        if pressed():
            raise Interrupted("interrupted; nothing was written")
    _write(out, None if only_synthetic else dataset, drawn, name, dataset, generator)
    seconds, kept = time.monotonic() - start, 0 if only_synthetic else len(dataset)
    added = {label: int(n) for label, n in zip(known.classes, counts, strict=True) if n}
    what = f"{counts.sum()} drawn by {generator}" if added else "none added: all classes are as many as the largest"
    console.result(
        "\n".join([*_lines(gain), f"{out}: {kept} real {dataset.noun}, {what}, in {duration(seconds)}"]),
        out=str(out),
        generator=generator,
        real=kept,
        added=added,
        mark=name,
        measured=gain.to_dict() if gain else None,
        seconds=round(seconds, 2),
    )


def _options(generator: str, settings: tuple[str, ...], device: str, seconds: float | None) -> dict[str, Any]:
    """What a Synthesizer gets: complains about it before any data are read."""
    from synthgen import Synthesizer

    options: dict[str, Any] = {"device": device} | settings_of(settings, RESERVED)
    if seconds is not None:
        options["max_time"] = seconds  # of each fit, so that what is measured is what is used
    Synthesizer(generator, **options)
    return options


@dataclass(frozen=True)
class _Job:
    """What is asked for, and how to say how far it is."""

    dataset: Dataset
    target: str | None
    strategy: tuple[str, ...]
    generator: str
    options: dict[str, Any]
    seed: int
    together: bool
    console: Console
    pressed: Callable[[], bool]

    def measure(self, folds: int, repeats: int, seconds: float | None) -> Gain | None:
        """What cross-validation finds; nothing, and that is said, where a class is too small for it."""
        from synthgen.augment.measure import TooFew, does_it_help

        try:
            return does_it_help(
                self.dataset,
                self.target,
                self.strategy,
                self.generator,
                folds=folds,
                repeats=repeats,
                seed=self.seed,
                seconds=seconds,
                options=self.options,
                together=self.together,
                report=self.console.progress("measuring"),
                interrupted=self.pressed,
            )
        except TooFew as error:
            self.console.say(str(error))
            return None

    def draw(self, known: Labelled, counts: Ints) -> Dataset:
        """The records that are added."""
        from synthgen.augment.drawing import Fitting

        report = self.console.progress(f"fitting {self.generator}")
        options = {**self.options, "seed": self.seed}
        fitted = Fitting(self.generator, options, self.together, report, self.pressed).fit(known, counts)
        for note in fitted.notes:
            self.console.say(note)
        return fitted.draw(counts, self.seed, self.console.progress("generating")).data


def _write(out: str, real: Dataset | None, drawn: Dataset | None, name: str, like: Dataset, generator: str) -> None:
    """Real records, if they are wanted, and drawn ones."""
    from synthgen.augment.output import write_pictures, write_rows
    from synthgen.data import Images, mark

    made = mark(generator, None)
    if isinstance(like, Images):
        write_pictures(out, real, drawn, made)
    else:
        write_rows(out, real, drawn, name, like, made)


def _read(data: str, tabular: dict[str, Any], pictured: dict[str, Any], console: Console) -> Dataset:
    """The dataset; options of the other kind are refused."""
    from synthgen.data import holds_images

    images = holds_images(data)
    given = tabular if images else {f"--{option}": value for option, value in pictured.items()}
    if wrong := [option for option, value in given.items() if value]:
        what, others = ("images", "tables") if images else ("a table", "images")
        raise SynthgenError(f"{data} holds {what}; {wrong[0]} is for {others}")
    if images:
        found = read_images(data, console, **pictured)
        for note in found.notes:
            console.say(note)
        return found
    table = read_data(data, tabular["--schema"], tabular["--delimiter"], tabular["--encoding"])
    schema = table.schema.drop(tabular["--drop"])
    return table.select(schema.names).declare(schema)


def _lines(gain: Gain | None) -> list[str]:
    """The verdicts, and the figures behind them."""
    if gain is None:
        return []
    from synthgen.augment.figures import FIGURES
    from synthgen.cli.text import rows_text
    from synthgen.report.blocks import Rows

    lines = [gain.overall().text, *(f"  {gain.verdict(learner).text}" for learner in gain.learners)]
    for learner in gain.learners:
        header = (learner, *(f.name for f in FIGURES))
        lines += ["", *rows_text(Rows("", header, tuple(gain.rows(learner))))]
    return [*lines, "", *(f"{note[0].upper()}{note[1:]}." for note in gain.notes()), ""]
