"""What the command line shows: the result on stdout, all else on stderr."""

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

MOST = 300  # characters of a name in a remark


class Console:
    """Prints for people, or JSON for programs; `quiet` leaves out what is not a result, `silent` that as well."""

    def __init__(self, quiet: bool = False, as_json: bool = False, silent: bool = False) -> None:
        self.quiet, self.as_json, self.silent = quiet or silent, as_json, silent
        self._line = False

    def say(self, text: str) -> None:
        """A remark, on stderr."""
        if not self.quiet:
            self._end_line()
            print(remark(text), file=sys.stderr)

    def result(self, text: str, **fields: Any) -> None:
        """The result, on stdout: the text, or with --json the fields."""
        if self.silent:
            return
        self._end_line()
        print(json_text(fields) if self.as_json else printable(text))

    def progress(self, what: str) -> Callable[..., None]:
        """A function to call with the share done and figures; shows them with the time left, now and then."""
        start = shown = time.monotonic()
        every = 0.2 if sys.stderr.isatty() else 15.0

        def report(done: float, **figures: float) -> None:
            nonlocal shown
            now = time.monotonic()
            if self.quiet or now - shown < every or now - start < 1:
                return
            shown = now
            left = f", {duration((now - start) * (1 - done) / done)} left" if done > 0.01 else ""
            values = "".join(f", {name} {value:.4g}" for name, value in figures.items())
            text = f"{what} {done:4.0%}{left}{values}"
            if sys.stderr.isatty():
                print(f"\r{text:<78.78}", end="", file=sys.stderr, flush=True)
                self._line = True
            else:
                print(text, file=sys.stderr, flush=True)

        return report

    def _end_line(self) -> None:
        if self._line:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)
            self._line = False


def printable(text: str) -> str:
    """The text without control characters, which data may smuggle into a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def one_line(text: str) -> str:
    """The same without line ends, behind which a name could pretend to be a line of ours."""
    return printable(text).replace("\n", "�")


def remark(text: str) -> str:
    """A sentence on one line, in which no name is so long that nobody would read on."""
    return one_line(re.sub(rf"\S{{{MOST},}}", lambda name: f"{name[0][: MOST - 1]}…", " ".join(text.split())))


def json_text(body: Any, indent: int | None = None) -> str:
    """JSON in which what does not print is written as an escape."""
    text = json.dumps(body, indent=indent, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into a flag, which the yielded function reads; a second one stops at once."""
    pressed = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
