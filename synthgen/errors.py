"""What can go wrong for a user: one line of text and an exit code each."""

from collections.abc import Iterable
from difflib import get_close_matches


class SynthgenError(Exception):
    """A mistake or a limit that one sentence explains. `exit_code` is the command's exit status."""

    exit_code = 2


class InputError(SynthgenError, ValueError):
    """A mistake in what scikit-learn passes on, which expects a ValueError."""


class BudgetError(SynthgenError):
    """A privacy budget is missing, too small or spent."""

    exit_code = 3


class ResourceError(SynthgenError):
    """The machine gave out: disk, memory, or a package that is not installed."""

    exit_code = 4


class GateFailed(SynthgenError):
    """A report was made, and a threshold that a person set is not met."""

    exit_code = 5


class Interrupted(SynthgenError):
    """The user stopped the work; what was learned so far lies in a checkpoint if the text says so."""

    exit_code = 130


def near(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the likely one, else all that there are."""
    names = [str(k) for k in known]
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"known: {shown}" if names else "there are none"
