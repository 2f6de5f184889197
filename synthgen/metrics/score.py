"""Score: one figure, which way is good, and what it means."""

from typing import NamedTuple


class Score(NamedTuple):
    """A figure beside its floor: what a fresh real sample of the same size gets."""

    name: str
    value: float
    floor: float | None
    ideal: float
    about: str
