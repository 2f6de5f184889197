"""Shares of records: overlaid histograms of a number, or bars of labels side by side."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from synthgen.report.blocks import Cell, Rows, Shares
from synthgen.report.charts.svg import LETTER, WIDTH, Axis, drawing, label, legend, line, path, roles, tag
from synthgen.report.charts.words import THIN, breadth, isolated, percent, short

MOST = 24  # labels with bars
LISTED = 60  # rows of figures
LEFT, RIGHT = 38, 4  # margins of a histogram
TALL = 130  # pixels of a histogram's plot
BAR, GAP, BETWEEN = 9, 2, 8  # pixels
NAMES, VALUES = 124, 44  # pixels beside the bars


def shares(block: Shares) -> Markup:
    """A picture of the shares, real filled and synthetic outlined."""
    classes = roles(block.series)
    keys, top = legend([(n, partial(_swatch, c)) for n, c in zip(block.series, classes, strict=True)], WIDTH)
    parts, height = (_histogram if block.continuous else _bars)(block, classes, top)
    title = Markup("{} of {}").format("Histogram" if block.continuous else "Bars", isolated(block.title))
    return drawing(title, _largest_gap(block), WIDTH, height, keys, *parts)


def shares_figures(block: Shares) -> Rows:
    """The shares as a table, one bin or label in a row."""
    columns = block.series.values()
    rows = tuple((name, *_cells(values)) for name, *values in zip(_places(block), *columns, strict=False))
    about = "" if len(rows) <= LISTED else f"The first {LISTED} of {len(rows)}."
    return Rows(block.title, ("bin" if block.continuous else "label", *block.series), rows[:LISTED], about)


def _cells(values: list[float]) -> list[Cell]:
    return [percent(v) for v in values]


def _places(block: Shares) -> list[str]:
    """What the shares are of: labels, or from where to where."""
    return (
        [f"{a} – {b}" for a, b in pairwise(block.labels)]
        if block.continuous
        else [_given(name) for name in block.labels]
    )


def _given(name: str) -> str:
    return name if name.strip() else "(blank)"


def _largest_gap(block: Shares) -> Markup:
    """One sentence for those who cannot see the picture."""
    table = np.nan_to_num(list(block.series.values()))
    if not table.size:
        return Markup("There is nothing to show.")
    at = int(np.argmax(table.max(axis=0) - table.min(axis=0)))
    given = (Markup("{} {}").format(isolated(name), percent(values[at])) for name, values in block.series.items())
    place = isolated(_places(block)[at])
    return Markup("The shares are furthest apart at {}: {}.").format(place, Markup(", ").join(given))


def _swatch(class_: str, x: float, y: float) -> Markup:
    return tag("rect", x=x + 1, y=y - 5, width=18, height=10, class_=f"bar {class_}")


def _histogram(block: Shares, classes: list[str], top: float) -> tuple[list[Markup], float]:
    """Steps with an axis of shares at the left and some bounds of bins below."""
    heights = [np.nan_to_num(values).tolist() for values in block.series.values()]
    highest = max((h for values in heights for h in values), default=0.0)
    x = Axis(0, max(1, len(block.labels) - 1), LEFT, WIDTH - RIGHT)
    y = Axis(0, highest * 1.05 or 1.0, top + TALL, top + 4)
    hundreds = Axis(0, 100 * y.high, y.start, y.end)
    parts = [_level(f"{value:g}{THIN}%" if value else "0", hundreds(value)) for value, _ in hundreds.ticks(4)]
    for values, class_ in sorted(zip(heights, classes, strict=True), key=lambda each: each[1] != "real"):
        parts += _steps(values, class_, x, y)
    parts.append(line(LEFT, y(0), WIDTH - RIGHT, y(0), "axis"))
    return [*parts, *_bounds(block.labels, x, top + TALL)], top + TALL + 22


def _level(share: str, y: float) -> Markup:
    return line(LEFT, y, WIDTH - RIGHT, y, "grid") + label(LEFT - 6, y + 4, share, text_anchor="end")


def _steps(values: list[float], class_: str, x: Axis, y: Axis) -> list[Markup]:
    """The outline over the bins; with an area below it for real records, and a light edge for the others."""
    corners = [(x(i + side), y(v)) for i, v in enumerate(values) for side in (0, 1)]
    if not corners:
        return []
    outline = path([(corners[0][0], y(0)), *corners, (corners[-1][0], y(0))])
    if class_ == "real":
        return [tag("path", d=outline, class_="bar real")]
    return [tag("path", d=outline, class_="halo"), tag("path", d=outline, class_=f"line {class_}")]


def _bounds(labels: tuple[str, ...], x: Axis, bottom: float) -> list[Markup]:
    """A few bounds of bins, as many as have room."""
    if not labels:
        return []
    widest = LETTER * max(breadth(short(text, 14)) for text in labels) + 14
    shown = max(2, min(5, len(labels), int((WIDTH - LEFT - RIGHT) / widest)))
    places = sorted({round(i) for i in np.linspace(0, len(labels) - 1, shown)})
    anchors = {0: "start", len(labels) - 1: "end"}
    return [
        line(x(i), bottom, x(i), bottom + 4, "axis")
        + label(x(i), bottom + 17, labels[i], 14, text_anchor=anchors.get(i, "middle"))
        for i in places
    ]


def _bars(block: Shares, classes: list[str], top: float) -> tuple[list[Markup], float]:
    """For each label one bar of each series, with its share behind it."""
    longest = max(np.nan_to_num([v[:MOST] for v in block.series.values()]).ravel().tolist(), default=0.0)
    x = Axis(0, longest or 1.0, NAMES, WIDTH - VALUES)
    parts, y, each = [], top + 4, len(classes) * (BAR + GAP) + BETWEEN
    for i, name in enumerate(block.labels[:MOST]):
        middle = y + (each - BETWEEN - GAP) / 2
        parts.append(label(NAMES - 8, middle + 4, _given(name), int(NAMES / LETTER) - 2, text_anchor="end"))
        for j, (values, class_) in enumerate(zip(block.series.values(), classes, strict=True)):
            parts += _bar(x, y + j * (BAR + GAP), values[i], class_)
        y += each
    if len(block.labels) > MOST:
        parts.append(label(NAMES, y + 8, f"and {len(block.labels) - MOST} more labels", class_="faint"))
        y += 18
    parts.append(line(NAMES, top, NAMES, y - BETWEEN + 2, "axis"))
    return parts, y + 2


def _bar(x: Axis, y: float, share: float, class_: str) -> list[Markup]:
    width = max(0.0, float(np.nan_to_num(x(share) - x(0))))
    return [
        tag("rect", x=x(0), y=y, width=width, height=BAR, class_=f"bar {class_}"),
        label(x(0) + width + 5, y + BAR - 0.5, percent(share), class_="small"),
    ]
