"""What several commands take: times, tables, settings, conditions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthgen.errors import SynthgenError, near

if TYPE_CHECKING:
    from synthgen.cli.console import Console
    from synthgen.codec import Codec
    from synthgen.data import Dataset, Images
    from synthgen.schema import Dialect, Schema

Command = Callable[..., Any]


class Seconds(click.ParamType[float]):
    """A time such as 90, 90s, 10m or 1.5h, in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Text to seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", str(value).strip())
        if not match or float(match[1]) <= 0:
            self.fail(f"{value!r} is no time; write 90s, 10m or 1h", param, ctx)
        return float(match[1]) * {"h": 3600, "m": 60, "min": 60}.get(match[2], 1)


class Count(click.ParamType[int]):
    """A number of records such as 5000, 100k, 2.5M or 1G."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Text to a whole number from 1 to 2**62."""
        match = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)\s*([kKmMgG]?)", str(value).strip())
        count = (
            Fraction(match[1].replace("_", "")) * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()]
            if match
            else 0
        )
        if not 1 <= count <= 2**62 or count != int(count):
            self.fail(f"{value!r} is no number of records; write 5000, 100k, 2.5M or 1G", param, ctx)
        return int(count)


class Size(click.ParamType[int]):
    """A size such as 500m or 2g, in bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Text to bytes."""
        from synthgen.memory import parse_size

        try:
            return parse_size(str(value))
        except SynthgenError as error:
            self.fail(str(error), param, ctx)


def output_options(command: Command) -> Command:
    """--quiet and --json."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)
    return click.option("--quiet", "-q", is_flag=True, help="Print the result and errors only.")(command)


def reading_options(command: Command) -> Command:
    """How a CSV is written, where that is not found out."""
    command = click.option("--encoding", help="Encoding of a CSV, such as latin-1. Found out by default.")(command)
    return click.option("--delimiter", help="Delimiter of a CSV. Found out by default.")(command)


def raw_option(command: Command) -> Command:
    """--raw-csv, for commands that write a table."""
    about = "Read and write CSV cells as they are, with no ' before what a spreadsheet would run."
    return click.option("--raw-csv", is_flag=True, help=about)(command)


def image_options(command: Command) -> Command:
    """How images are read."""
    command = click.option("--strict", is_flag=True, help="A file that cannot be read is an error.")(command)
    command = click.option("--aspect", help="How images become squares: crop, pad or stretch.")(command)
    return click.option("--size", type=click.IntRange(1), metavar="PX", help="Make images squares of PX pixels.")(
        command
    )


def read_images(path: str, console: Console, **options: Any) -> Images:
    """The images of a folder or a `.zip`; what reading did to them is said by whoever fits them."""
    from synthgen.data import read

    images: Images = read(path, **options, report=console.progress("reading"))
    return images


def read_like(
    path: str, codec: Codec, console: Console, delimiter: str | None, encoding: str | None, raw: bool = False
) -> Dataset:
    """A dataset of the kind that a model was fitted on."""
    from synthgen.data import holds_images

    if not Path(path).exists():
        raise SynthgenError(f"there is no file or folder {path}")
    if codec.kind == "images":
        if not holds_images(path):
            raise SynthgenError(f"the model was fitted on images, and {path} is no folder of images")
        images = read_images(path, console, schema=codec.dataset_schema)
        for note in images.notes:
            console.say(note)
        return images
    if holds_images(path):
        raise SynthgenError(f"the model was fitted on a table, and {path} is a folder or a .zip")
    return read_data(path, None, delimiter, encoding, codec.dataset_schema, raw)


def read_schema(path: str) -> Schema:
    """The schema of a file.

    Raises:
        SynthgenError: there is none, or it is no schema.
    """
    from synthgen.schema import Schema

    try:
        text = Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SynthgenError(f"the schema {path} is no text in UTF-8; write one with: synthgen schema DATA") from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise SynthgenError(f"cannot read the schema {path}: {why}; write one with: synthgen schema DATA") from error
    return Schema.from_json(text, path)


def read_data(
    path: str,
    schema_path: str | None,
    delimiter: str | None,
    encoding: str | None,
    known: Schema | None = None,
    raw: bool = False,
    opened: Callable[[Path, Dialect | None, Schema | None], Any] | None = None,
) -> Any:
    """A table, under the schema of a file or of a model; what `opened` makes of it all where that is given.

    `raw` is as in `read_csv`.
    """
    from synthgen.data.table import read_table
    from synthgen.schema import Dialect

    declared = known
    if schema_path is not None:
        declared = read_schema(schema_path)
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
            escaped=base.escaped,
        )
    if opened is not None:
        return opened(Path(path), dialect, declared)
    table = read_table(Path(path), dialect, raw)
    if known is not None:
        present = [c for c in known.columns if c.name in table.data.column_names]
        declared = known.model_copy(update={"columns": tuple(present), "rules": ()})
    return table.declare(declared)


def say_mark(console: Console, *paths: str | None) -> None:
    """A remark on each dataset that is marked as synthetic, where a real one is expected."""
    from synthgen.data import note_of_mark

    for path in filter(None, paths):
        if note := note_of_mark(path):
            console.say(note)


def assignments(pairs: Sequence[str], names: Sequence[str]) -> dict[str, str]:
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


def check_folder(path: Path) -> None:
    """Complain where an output's folder does not exist."""
    if not path.absolute().parent.is_dir():
        raise SynthgenError(f"there is no folder {path.parent} to write {path.name} into")


def check_file(path: Path) -> None:
    """Complain where an output file's folder does not exist, or a folder has its name."""
    check_folder(path)
    if path.is_dir():
        raise SynthgenError(f"{path} is a folder; give the name of a file")


def check_apart(out: str, *read: str | None) -> None:
    """Complain where an output would take the place of what is read, or lie within it."""
    place = Path(out).resolve()
    for path in filter(None, read):
        if (source := Path(path).resolve()) in (place, *place.parents):
            raise SynthgenError(f"{out} is, or lies in, {source.name}, which is read; give another name")


def settings_of(pairs: Sequence[str], reserved: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE options as a dict; `reserved` keys have an option of their own."""
    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise SynthgenError(f"-s {pair} is no setting; write -s KEY=VALUE")
        if key in reserved:
            raise SynthgenError(f"{key} is no setting of a generator; use --{key.replace('_', '-')}")
        found[key] = value
    return found
