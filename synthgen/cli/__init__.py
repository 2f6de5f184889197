"""The command `synthgen`: parses, calls the library, prints. Torch is imported by commands that need it only."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from synthgen import __version__
from synthgen.cli.audit import audit
from synthgen.cli.augment import augment
from synthgen.cli.compare import compare
from synthgen.cli.console import remark
from synthgen.cli.fit import fit
from synthgen.cli.generate import generate
from synthgen.cli.inspect import info, list_, schema
from synthgen.cli.release import release
from synthgen.cli.report import report
from synthgen.cli.use import anomalies, impute, interpolate
from synthgen.cli.verify import verify
from synthgen.errors import Interrupted, ResourceError, SynthgenError, near


class Group(click.Group):
    """Offers the near name when a command is unknown."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with a better error."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"no command {args[0]!r}; {near(args[0], self.commands)}", ctx) from error


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="synthgen")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def app(debug: bool) -> None:
    """Fit a generative model on your own table or images, generate new records like them."""


for command in (
    list_,
    info,
    schema,
    fit,
    generate,
    impute,
    anomalies,
    interpolate,
    report,
    compare,
    augment,
    release,
    verify,
    audit,
):
    app.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; every error is one line on stderr and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal need not know every letter that data hold
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
            "out of memory; fit on fewer records with --sample, drop columns with --drop, or shrink images with --size",
            ResourceError.exit_code,
        )
    if isinstance(error, OSError):
        _exit(f"{error.filename or 'standard output'}: {error.strerror or error}", ResourceError.exit_code)
    if isinstance(error, UnicodeEncodeError):
        _exit("a name or a value that is given is no text in UTF-8", 2)
    _exit(f"unexpected {type(error).__name__}: {error}; please report it, with the output of --debug", 1)


def _exit(text: str, code: int) -> None:
    print(f"synthgen: {remark(text)}", file=sys.stderr)
    sys.exit(code)
