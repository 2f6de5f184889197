"""Ranks: the processes of a command that torchrun started, of which only one speaks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from synthgen.errors import Interrupted, ResourceError, SynthgenError

P = ParamSpec("P")


def speaks() -> bool:
    """Whether this process prints and writes: the only one, or the main one of several."""
    return not _several() or os.environ["RANK"] == "0"


def _several() -> bool:
    return os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" in os.environ


def together(command: Callable[P, None]) -> Callable[P, None]:
    """A command that works with the processes which torchrun started beside it; the first to fail says why.

    Raises:
        ResourceError: another process ended without a word.
    """

    @wraps(command)
    def run(*given: P.args, **named: P.kwargs) -> None:
        if not _several():
            command(*given, **named)
            return
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch's store would say on its own that one is gone
        from synthgen import distributed

        try:
            with distributed.joined():
                command(*given, **named)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, Interrupted) and not speaks():  # all stop at once; the main one knows what is kept
                time.sleep(1)  # torchrun ends the others as soon as this one does
                sys.exit(error.exit_code)
            if distributed.was_said(error):
                sys.exit(_code(error))
            if isinstance(error, ConnectionError) and not isinstance(error, BrokenPipeError):
                text = f"{error}; it may have run out of memory, or its machine cannot be reached"
                raise ResourceError(text) from error
            raise

    return run


def _code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return Interrupted.exit_code
    if isinstance(error, ConnectionError):
        return ResourceError.exit_code
    return error.exit_code if isinstance(error, SynthgenError) else 1
