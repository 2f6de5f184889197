"""The command `synthgen`: parses, calls the library, prints. Torch is imported only by commands that need it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthgen import __version__
from synthgen.console import Console, duration, interruptible, printable
from synthgen.errors import Interrupted, ResourceError, SynthgenError, near

if TYPE_CHECKING:
    from synthgen.data import Table
    from synthgen.schema import Dialect, Schema

Command = Callable[..., Any]


class Group(click.Group):
    """Offers the near name when a command is unknown."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with a better error."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"no command {args[0]!r}; {near(args[0], self.commands)}", ctx) from error


class Seconds(click.ParamType[float]):
    """A time such as 90, 90s, 10m or 1.5h, in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Text to seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", str(value).strip())
        if not match or float(match[1]) <= 0:
            self.fail(f"{value!r} is no time; write 90s, 10m or 1h", param, ctx)
        return float(match[1]) * {"h": 3600, "m": 60, "min": 60}.get(match[2], 1)


def output_options(command: Command) -> Command:
    """--quiet and --json."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)
    return click.option("--quiet", "-q", is_flag=True, help="Print the result and errors only.")(command)


def reading_options(command: Command) -> Command:
    """How a CSV is written, where that is not found out."""
    command = click.option("--encoding", help="Encoding of a CSV, such as latin-1. Found out by default.")(command)
    return click.option("--delimiter", help="Delimiter of a CSV. Found out by default.")(command)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="synthgen")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def app(debug: bool) -> None:
    """Fit a generative model on your own table, generate new records like it."""


@app.command("list")
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


@app.command()
@click.argument("what", metavar="NAME|MODEL")
@output_options
def info(what: str, quiet: bool, as_json: bool) -> None:
    """Describe a generator and its settings, or a fitted model."""
    from synthgen.describe import describe_generator, describe_model

    text, fields = describe_model(what) if Path(what).exists() else describe_generator(what)
    Console(quiet, as_json).result(text, **fields)


@app.command()
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
    """Infer what the columns of DATA are, as a file to edit and give to fit --schema."""
    from synthgen.codec.repair import dependences
    from synthgen.files import replacing

    console = Console(quiet)
    if out:
        _check_folder(Path(out))
    table = _read(data, schema_path, delimiter, encoding)
    text = table.schema.to_json()
    for a, b in dependences(table.data):
        console.say(f'{a!r} determines {b!r} in every row; a rule keeps it so: "combinations: {a}, {b}"')
    if out is None:
        print(text, end="")
        return
    with replacing(out) as temporary:
        temporary.write_text(text, "utf-8")
    console.result(f"{out}: {len(table.schema.columns)} columns")


@app.command()
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

    options: dict[str, Any] = {
        **_settings(settings),
        "device": device,
        "seed": seed,
        "given": given,
        "drop": drop,
    }
    options |= {"keep_rare": keep_rare, "sample": sample, "max_time": max_time}
    if generator != "auto":
        Synthesizer(generator, **options)  # complains about settings before any data is read
    table = _read(data, schema_path, delimiter, encoding)
    reason = ""
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
        checkpoint = Path(out).with_name(Path(out).name + ".checkpoint")
        try:
            synthesizer.fit(
                table,
                report=console.progress(f"fitting {generator}"),
                checkpoint=checkpoint,
                resume=resume,
                interrupted=interrupted,
            )
        except Interrupted:
            raise Interrupted(
                f"interrupted; what was learned is kept: go on with the same command, -g {generator} --resume"
            ) from None
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


@app.command()
@click.argument("model", type=click.Path())
@click.option("-n", "n", type=click.IntRange(1), help="Number of records; as many as --given-file has by default.")
@click.option("-o", "out", type=click.Path(), required=True, help="A .csv, .csv.gz or .parquet file.")
@click.option("--given", multiple=True, metavar="COL=VALUE", help="Hold a column at a value in every record.")
@click.option("--given-file", type=click.Path(), help="A table of values to hold; its rows are taken in turn.")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="The same seed gives the same records.")
@click.option("--device", default="auto", help="auto, cpu, cuda or mps.")
@output_options
def generate(
    model: str,
    n: int | None,
    out: str,
    given: tuple[str, ...],
    given_file: str | None,
    seed: int,
    device: str,
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
    from synthgen.data import TableWriter, read
    from synthgen.data.table import check_output

    check_output(Path(out))
    synthesizer = Synthesizer.load(model, device)
    held: Any = _assignments(given, synthesizer.codec.table_schema.names)
    if given_file is not None:
        held = read(given_file)
        n = n or len(held)
        if n % len(held):
            raise SynthgenError(f"{n} records are no multiple of the {len(held)} rows of {given_file}")
    assert n is not None
    report, done = console.progress("generating"), 0
    with TableWriter(out, synthesizer.codec.table_schema) as writer:
        for part in synthesizer.stream(n, seed=seed, given=held):
            writer.write(part)
            done += len(part)
            report(done / n)
    seconds = time.monotonic() - start
    console.result(f"{out}: {n} records in {duration(seconds)}", out=str(out), rows=n, seconds=round(seconds, 2))


@app.command()
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

    console = Console(quiet, as_json)
    check_output(Path(out))
    synthesizer = Synthesizer.load(model)
    table = _read(data, None, delimiter, encoding, synthesizer.codec.table_schema)
    report, done = console.progress("imputing"), 0
    filled = 0
    with TableWriter(out, table.schema) as writer:
        for part in synthesizer.impute_stream(table, seed=seed, draws=1 if draw else 15):
            writer.write(part)
            done += len(part)
            report(done / len(table))
    console.result(
        f"{out}: {len(table)} records without gaps in modelled columns",
        out=str(out),
        rows=len(table),
        filled=filled,
    )


@app.command()
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
    """Add a column to DATA that says how unlikely each record is: minus its log-density."""
    import pyarrow as pa

    from synthgen import Synthesizer
    from synthgen.data import Table, write
    from synthgen.data.table import check_output

    console = Console(quiet, as_json)
    check_output(Path(out))
    synthesizer = Synthesizer.load(model)
    table = _read(data, None, delimiter, encoding, synthesizer.codec.table_schema)
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


def _read(
    path: str,
    schema_path: str | None,
    delimiter: str | None,
    encoding: str | None,
    known: Schema | None = None,
) -> Table:
    """A table, under the schema of a file or of a model."""
    from synthgen.data import read
    from synthgen.schema import Dialect, Schema

    declared = known
    if schema_path is not None:
        try:
            declared = Schema.from_json(Path(schema_path).read_text("utf-8"), schema_path)
        except (OSError, UnicodeDecodeError) as error:
            raise SynthgenError(f"cannot read the schema {schema_path}: {error}") from error
    dialect: Dialect | None = declared.csv if declared is not None and known is None else None
    if delimiter or encoding:
        base = dialect or Dialect()
        delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter or "", delimiter)
        if delimiter and len(delimiter) != 1:
            raise SynthgenError(f"the delimiter is one character, not {delimiter!r}")
        dialect = Dialect(
            delimiter=delimiter or base.delimiter,
            quote=base.quote,
            encoding=encoding or base.encoding,
            space=base.space,
        )
    table = read(path, dialect)
    if known is not None:
        present = [c for c in known.columns if c.name in table.data.column_names]
        declared = known.model_copy(update={"columns": tuple(present), "rules": ()})
    return table.declare(declared)


def _settings(pairs: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE options as a dict."""
    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise SynthgenError(f"-s {pair} is no setting; write -s KEY=VALUE")
        found[key] = value
    return found


def _assignments(pairs: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """COL=VALUE options as a dict; a column's name may hold an equals sign."""
    found = {}
    for pair in pairs:
        cuts = [i for i, c in enumerate(pair) if c == "="]
        if not cuts:
            raise SynthgenError(f"--given {pair} is no condition; write --given COLUMN=VALUE")
        cut = next((i for i in cuts if pair[:i] in names), cuts[0])
        if pair[:cut] not in names:
            raise SynthgenError(f"there is no column {pair[:cut]!r}; {near(pair[:cut], names)}")
        found[pair[:cut]] = pair[cut + 1 :]
    return found


def _check_folder(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise SynthgenError(f"there is no folder {path.parent} to write {path.name} into")


def _check_model_path(path: Path) -> None:
    """Complain before the work, not after it, where a model could not be saved."""
    _check_folder(path)
    if not os.access(path.absolute().parent, os.W_OK):
        raise ResourceError(f"cannot write into {path.absolute().parent}: permission denied")
    if path.exists() and not (path / "manifest.json").is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise SynthgenError(f"{path} exists and is no model of synthgen; give another -o or remove it")


def _remove(checkpoint: Path) -> None:
    import shutil

    if (checkpoint / "manifest.json").is_file():
        shutil.rmtree(checkpoint, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; every error is one line on stderr and an exit code."""
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    try:
        app.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="synthgen",
            standalone_mode=False,
        )
    except Exception as error:
        if debug:
            raise
        _fail(error)
    except KeyboardInterrupt:
        _exit("interrupted; nothing was written", Interrupted.exit_code)


def _fail(error: Exception) -> None:
    """End with one line and the code that says whose fault it is."""
    if isinstance(error, click.exceptions.Abort):
        _exit("interrupted; nothing was written", Interrupted.exit_code)
    if isinstance(error, click.ClickException):
        _exit(error.format_message(), 2)
    if isinstance(error, SynthgenError):
        _exit(str(error), error.exit_code)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ResourceError.exit_code)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        _exit(
            "out of memory; fit on fewer rows with --sample, or drop columns with --drop",
            ResourceError.exit_code,
        )
    if isinstance(error, OSError):
        _exit(f"{error.filename or 'a file'}: {error.strerror or error}", ResourceError.exit_code)
    _exit(f"unexpected {type(error).__name__}: {error}; please report it, with the output of --debug", 1)


def _exit(text: str, code: int) -> None:
    print(f"synthgen: {printable(' '.join(text.split()))}", file=sys.stderr)
    sys.exit(code)
