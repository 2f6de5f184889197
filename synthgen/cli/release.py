"""`synthgen release`: fit under a privacy budget, draw new records, write all that is published with them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthgen.cli.console import Console, duration, interruptible
from synthgen.cli.options import (
    Count,
    Seconds,
    check_apart,
    image_options,
    output_options,
    read_data,
    reading_options,
    settings_of,
)
from synthgen.cli.private import Request, fitted_privately, read_privately
from synthgen.errors import BudgetError, Interrupted, SynthgenError

if TYPE_CHECKING:
    from synthgen import Synthesizer
    from synthgen.release import Terms


@click.command()
@click.argument("data", type=click.Path())
@click.option("-n", "n", type=Count(), required=True, help="Number of records to release, such as 5000 or 1M.")
@click.option("-o", "out", type=click.Path(), required=True, help="Folder for the release.")
@click.option("--epsilon", type=float, help="Fit under differential privacy with this epsilon, such as 1.")
@click.option("--delta", type=float, help="Its delta, such as 1e-6: less than one in the number of records.")
@click.option("-g", "generator", default="auto", help="A generator (synthgen list).")
@click.option("--schema", "schema_path", type=click.Path(), help="A schema file: all that it declares is public.")
@click.option("--drop", multiple=True, metavar="COL", help="Leave a column out.")
@click.option("--given", multiple=True, metavar="COL", help="Condition on a column.")
@click.option("-s", "settings", multiple=True, metavar="KEY=VALUE", help="A setting (synthgen info NAME).")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="Of the records that are drawn.")
@click.option("--device", default="auto", help="auto, cpu, cuda or mps.")
@click.option("--max-time", type=Seconds(), help="Fit no longer than that, such as 10m.")
@click.option("--ledger", type=click.Path(), help="A private file that adds up what all fits on these data have spent.")
@click.option("--privacy-unit", metavar="COL", help="Protect all records of a person together, whom a column names.")
@click.option("--unit-records", type=click.IntRange(1), help="How many records of each person are kept.  [1]")
@click.option("--title", default="", help="A name for the release.")
@click.option("--description", default="", help="What it is, in a paragraph.")
@click.option("--license", "licence", default="", metavar="SPDX", help="A licence, such as CC0-1.0 or CC-BY-4.0.")
@click.option("--publisher", default="", help="Who answers for it.")
@click.option("--source", default="", help="What may be said of the real data.")
@click.option("--url", default="", help="Where it will be found.")
@click.option("--date", default="", help="Of publication, as 2026-01-31; none by default.")
@click.option("--target", default="", metavar="COL", help="A column that is to be predicted.")
@click.option("--shards", default=1, type=click.IntRange(1, 10_000), help="Number of Parquet files.")
@click.option("--with-model", is_flag=True, help="Publish the model too.")
@click.option("--no-formal-guarantee", is_flag=True, help="Fit without a budget; the release says so.")
@image_options
@reading_options
@output_options
def release(data: str, n: int, out: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Publish synthetic records like those of DATA, with all that those who sign and those who use them need.

    DATA is a table, a folder of images, or a model that was fitted before: then nothing further is spent.
    """
    start = time.monotonic()
    console = Console(quiet, as_json)
    from synthgen.release import Terms
    from synthgen.release import release as write
    from synthgen.release.bundle import NO_MODEL, check_model, check_place, check_terms

    terms = Terms(**{name: options.pop(name) for name in Terms._fields})
    shown = {name: options.pop(name) for name in ("shards", "with_model", "no_formal_guarantee")}
    seed = options.pop("seed")
    check_place(Path(out))
    check_apart(out, data)
    if options["ledger"]:
        check_apart(options["ledger"], out)
    terms.check()
    if shown["with_model"] and shown["no_formal_guarantee"]:
        raise SynthgenError(NO_MODEL)
    if not _is_model(data):  # what is found out after a private fit comes too late: it was paid for
        _check_early(data, options, terms, n, shown["shards"])
    fitted, said = _fitted(data, options, shown["no_formal_guarantee"], console)
    for note in said:
        console.say(note)
    try:
        check_model(fitted, shown["no_formal_guarantee"])
        check_terms(fitted.codec, terms)
        facts = write(fitted, out, n, seed=seed, terms=terms, report=console.progress("drawing"), **shown)
    except (SynthgenError, KeyboardInterrupt) as error:
        raise _spent(error, fitted, _is_model(data)) from error
    promise = facts.promise
    kept = f"{promise.level}-level, epsilon {promise.epsilon:g} and delta {promise.delta:g}" if promise else ""
    console.result(
        f"{out}: {n} {facts.noun} by {facts.generator}, {kept or 'no formal guarantee'}, in "
        f"{duration(time.monotonic() - start)}; check it with: synthgen verify {out}",
        out=out,
        claims=facts.claims,
        fidelity=[distance._asdict() for distance in facts.distances],
    )


def _fitted(
    data: str, options: dict[str, Any], no_formal_guarantee: bool, console: Console
) -> tuple[Synthesizer, list[str]]:
    """The model that is released from, and what its owner should know of it."""
    from synthgen.release.bundle import NO_BUDGET

    private = {name: options.pop(name) for name in ("epsilon", "delta", "ledger", "privacy_unit", "unit_records")}
    if _is_model(data):
        return _stored(data, {**private, **options}), []
    if any(value is not None for value in private.values()):
        if no_formal_guarantee:
            raise SynthgenError("give a privacy budget or --no-formal-guarantee, not both")
        return _within_budget(data, private, options, console)
    if not no_formal_guarantee:
        raise BudgetError(NO_BUDGET)
    return _without_budget(data, options, console)


def _check_early(data: str, options: dict[str, Any], terms: Terms, n: int, shards: int) -> None:
    """Complain of what does not fit the data by their public names and kind, before anything is fitted."""
    from synthgen.codec import LABEL, ImageCodec, TableCodec
    from synthgen.data import holds_images
    from synthgen.release.bundle import check_target
    from synthgen.release.records import check_shards

    images = holds_images(data)
    check_shards(ImageCodec if images else TableCodec, n, shards)
    if terms.target:
        gone = {*options["drop"], options["privacy_unit"]}
        names = [LABEL] if images else [name for name in _names(data, options) if name not in gone]
        check_target(terms, names)


def _names(data: str, options: dict[str, Any]) -> list[str]:
    """The columns of a table, read as the fit will read it."""
    from synthgen.data import TableStream

    said = options["schema_path"], options["delimiter"], options["encoding"]
    if options["epsilon"] is not None:
        return read_privately(data, *said).data.column_names
    stream: TableStream = read_data(data, *said, opened=TableStream.open)
    return stream.types.names


def _is_model(data: str) -> bool:
    return (Path(data) / "manifest.json").is_file()


def _stored(model: str, options: dict[str, Any]) -> Synthesizer:
    """A model that was fitted before, whose fit nothing can change any more."""
    from synthgen import Synthesizer

    said = [k for k, v in options.items() if k != "device" and not (v is None or v is False or v in ((), "auto"))]
    if said:
        name = {"generator": "-g", "settings": "-s", "schema_path": "--schema"}.get(said[0], f"--{said[0]}")
        raise SynthgenError(f"{model} is a model, and was fitted already; leave out {name.replace('_', '-')}")
    return Synthesizer.load(model, options["device"])


def _within_budget(
    data: str, private: dict[str, Any], options: dict[str, Any], console: Console
) -> tuple[Synthesizer, list[str]]:
    unit, most = private["privacy_unit"], private["unit_records"]
    if unit == "" or (most and unit is None):
        raise SynthgenError("--privacy-unit names the column that tells persons apart; say which")
    asked = Request(
        data,
        "",
        options["generator"],
        options["schema_path"],
        {name: options[name] for name in ("drop", "given", "device", "max_time")},
        options["settings"],
        private["epsilon"],
        private["delta"],
        private["ledger"],
        (unit or "", most or 1),
        {name: options[name] for name in ("delimiter", "encoding", "size", "aspect")},
    )
    return fitted_privately(asked, ["--strict"] if options["strict"] else [], console)


def _without_budget(data: str, options: dict[str, Any], console: Console) -> tuple[Synthesizer, list[str]]:
    from synthgen import Synthesizer
    from synthgen.cli.fit import chosen, read_dataset

    kept = {name: options[name] for name in ("drop", "given", "device", "max_time")}
    kept |= settings_of(options["settings"], reserved=[*kept, "seed", "sample", "schema", "keep_rare"])
    reading = {name: options[name] for name in ("size", "aspect", "strict")}
    limits = {"memory": None, "sample": None, "dropped": options["drop"]}
    said = options["schema_path"], options["delimiter"], options["encoding"]
    dataset = read_dataset(data, *said, console, limits, **reading)
    with interruptible() as interrupted:
        name, kept, _ = chosen(options["generator"], dataset, kept, console, interrupted)
        fitted = Synthesizer(name, **kept)
        try:
            fitted.fit(dataset, report=console.progress(f"fitting {name}"), interrupted=interrupted)
        except Interrupted:
            raise Interrupted("interrupted; nothing was written") from None
    return fitted, fitted.notes


def _spent(error: BaseException, fitted: Synthesizer, stored: bool) -> SynthgenError:
    """The same error, with what the fit has cost that is lost by it."""
    kind = type(error) if isinstance(error, SynthgenError) else Interrupted
    said = str(error) or "interrupted; nothing was written"
    if fitted.certificate is None or stored:
        return kind(said)
    return kind(f"{said}; epsilon {fitted.certificate['spent_epsilon']:.3g} is spent all the same")
