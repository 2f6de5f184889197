"""Blocks: what a report shows, as data. A page draws them, JSON lists them, neither computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.score import Score

Cell = str | float | int | bool | None
FindingKind = Literal["faithful", "differs", "useful", "useless", "leaks", "private", "unseen"]


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict.

    `faithful`, `useful` and `private` say what was looked for and not found; `differs`, `useless` and `leaks` what
    was found; `unseen` what this report could not have seen.
    """

    kind: FindingKind
    text: str


@dataclass(frozen=True)
class Rows:
    """A table of cells. Figures stay figures; None is a dash."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    about: str = ""


@dataclass(frozen=True)
class Shares:
    """Shares of records, real beside synthetic: overlaid histograms of a number, or bars of labels.

    Args:
        title: the column.
        labels: of the bars; of a histogram the bounds of its bins, one more than there are bins.
        series: shares by name, the same length each.
        continuous: whether it is a histogram.
        about: what to notice.
    """

    title: str
    labels: tuple[str, ...]
    series: dict[str, tuple[float, ...]]
    continuous: bool = False
    about: str = ""


@dataclass(frozen=True)
class Series:
    """One line through points; `low` and `high` bound a band around it."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Lines:
    """Lines in one picture, such as ROC curves. With `log` both axes are logarithmic."""

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    log: bool = False
    about: str = ""


@dataclass(frozen=True)
class Interval:
    """A value with its interval; `chance` is where it would lie if there were nothing to find."""

    name: str
    value: float
    low: float
    high: float
    chance: float | None = None


@dataclass(frozen=True)
class Intervals:
    """Values with their intervals, one below the other, on one axis."""

    title: str
    x: str
    rows: tuple[Interval, ...]
    about: str = ""


@dataclass(frozen=True)
class Heat:
    """A square of values between all pairs of names, from 0 to `most`; NaN on the diagonal."""

    title: str
    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    most: float = 1.0
    about: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures in rows, each row with a caption; the first of a row is the synthetic one where `nearest` says so.

    Args:
        title: of the gallery.
        pictures: bytes (rows, columns, height, width, channels), channels 1, 2, 3 or 4 as Pillow's L, LA, RGB, RGBA.
        captions: one for each row.
        columns: a heading for each column, or none.
    """

    title: str
    pictures: NDArray[np.uint8]
    captions: tuple[str, ...]
    columns: tuple[str, ...] = ()
    about: str = ""


Block = Rows | Shares | Lines | Intervals | Heat | Gallery


@dataclass(frozen=True)
class Section:
    """One part of a report: its scores, what they mean, and what a person would look at."""

    name: str
    title: str
    about: str
    scores: tuple[Score, ...] = ()
    findings: tuple[Finding, ...] = ()
    blocks: tuple[Block, ...] = ()


def listed(names: Sequence[str], most: int = 5, quote: bool = True) -> str:
    """Names in a sentence: the first few, and how many more there are."""
    shown = ", ".join(repr(n) if quote else n for n in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def plain(value: Any) -> Any:
    """A block, score or section as JSON has it; galleries keep their captions only, NaN becomes null."""
    if isinstance(value, Gallery):
        return {"block": "gallery", "title": value.title, "captions": list(value.captions), "about": value.about}
    if hasattr(value, "__dataclass_fields__"):
        fields = {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
        named = {"block": type(value).__name__.lower()} if isinstance(value, Block) else {}
        return named | fields
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
