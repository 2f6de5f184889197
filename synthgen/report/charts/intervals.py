"""Values with their intervals: a chart of several, and the strip of one score."""

from __future__ import annotations

import math

from markupsafe import Markup

from synthgen.metrics.score import Score
from synthgen.report.blocks import Interval, Intervals, Rows
from synthgen.report.charts.svg import LETTER, WIDTH, Axis, drawing, label, legend, line, path, spanning, tag
from synthgen.report.charts.words import estimate, isolated, number

EDGE, ROW = 6, 42  # pixels
STRIP, THICK = 150, 24  # pixels of a strip
FLOORS = ("ideal", "independent", "copies", "fresh")  # what a score stands beside; the last is drawn above the others


def intervals(block: Intervals) -> Markup:
    """A picture of the values one below the other, each under its name, with chance as a dashed tick."""
    chances = [row.chance for row in block.rows if row.chance is not None]
    keys, top = legend([("value with interval", _dot_key), *([("chance", _tick_key)] if chances else [])], WIDTH)
    held = [v for row in block.rows for v in (row.value, row.low, row.high)]
    x = spanning([*held, *chances], EDGE, WIDTH - EDGE)
    bottom = top + ROW * len(block.rows) + 4
    parts = [line(x(value), top, x(value), bottom, "grid") for value, _ in x.ticks()]
    for i, row in enumerate(block.rows):
        parts += _row(row, x, top + ROW * i + 16)
    parts += [line(EDGE, bottom, WIDTH - EDGE, bottom, "axis"), *_ticks(x, bottom + 15)]
    parts.append(label(WIDTH - EDGE, bottom + 32, f"{block.x} →", 54, class_="faint", text_anchor="end"))
    return drawing(isolated(block.title), _told(block), WIDTH, bottom + 38, keys, *parts)


def intervals_figures(block: Intervals) -> Rows:
    """The values with their bounds, one in a row."""
    rows = tuple((row.name, row.value, row.low, row.high, row.chance) for row in block.rows)
    return Rows(block.title, ("", block.x, "from", "to", "chance"), rows)


def _told(block: Intervals) -> Markup:
    """One sentence for those who cannot see the picture."""
    rows = (Markup("{} {}").format(isolated(r.name), estimate(r.value, r.low, r.high)) for r in block.rows[:12])
    return Markup("{}: {}.").format(isolated(block.x), Markup("; ").join(rows) or "no values")


def _row(row: Interval, x: Axis, y: float) -> list[Markup]:
    """Name and figures above, the interval below."""
    figures = estimate(row.value, row.low, row.high)
    room = int((WIDTH - 2 * EDGE) / LETTER) - len(figures) - 4
    parts = [label(EDGE, y, row.name, room), label(WIDTH - EDGE, y, figures, text_anchor="end", class_="strong")]
    if row.chance is not None:
        parts.append(line(x(row.chance), y + 4, x(row.chance), y + 20, "line chance"))
    return parts + _dot(x, y + 12, row.value, row.low, row.high)


def _dot(x: Axis, y: float, value: float, low: float | None, high: float | None) -> list[Markup]:
    """A dot on its interval, each only where it is known."""
    parts = []
    if low is not None and high is not None and math.isfinite(low + high):
        parts.append(line(x(low), y, x(high), y, "line synthetic"))
    if math.isfinite(value):
        parts.append(tag("circle", cx=x(value), cy=y, r=4.5, class_="mark synthetic"))
    return parts


def _ticks(x: Axis, y: float) -> list[Markup]:
    """The figures below an axis; the outermost stay inside."""
    parts = []
    for value, name in x.ticks():
        anchor = "start" if x(value) < x.start + 8 else "end" if x(value) > x.end - 8 else "middle"
        parts.append(label(x(value), y, name, text_anchor=anchor))
    return parts


def _dot_key(x: float, y: float) -> Markup:
    return line(x, y, x + 20, y, "line synthetic") + tag("circle", cx=x + 10, cy=y, r=4.5, class_="mark synthetic")


def _tick_key(x: float, y: float) -> Markup:
    return line(x + 10, y - 8, x + 10, y + 8, "line chance")


def strip(score: Score) -> Markup:
    """A score on one small axis: dot and interval, fresh real, copies, independent columns, and the ideal."""
    beside = {kind: value for kind in FLOORS if _known(value := getattr(score, kind))}
    values = [*beside.values(), *filter(_known, (score.value, score.low, score.high))]
    low, high = min(values, default=0.0), max(values, default=0.0)
    room = 0.06 * (high - low) or 1.0
    x, y = Axis(low - room, high + room, 2, STRIP - 2), THICK / 2
    floors = [sign(kind, x(value), y) for kind, value in beside.items()]
    told = "; ".join(f"{kind} {number(value)}" for kind, value in beside.items())
    words = f"synthetic {estimate(score.value, score.low, score.high)}; {told}"
    dot = _dot(x, y, score.value, score.low, score.high)
    return drawing(f"Position of {score.name}", words, STRIP, THICK, line(2, y, STRIP - 2, y, "axis"), *floors, *dot)


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def sign(kind: str, x: float, y: float) -> Markup:
    """How a floor is drawn: fresh a full tick, independent a hollow one, copies a cross, the ideal a thin line."""
    if kind == "copies":
        cross = path([(x - 4, y - 4), (x + 4, y + 4)]) + path([(x - 4, y + 4), (x + 4, y - 4)])
        return tag("path", d=cross, class_="line copies solid")
    if kind == "ideal":
        return line(x, y - 11, x, y + 11, "ideal")
    return tag("rect", x=x - 2.5, y=y - 8, width=5, height=16, class_=f"tick {kind}")


def key(kind: str) -> Markup:
    """The same for the legend of a table of strips; `value` is the dot."""
    drawn = _dot_key(1, 11) if kind == "value" else sign(kind, 11, 11)
    return tag("svg", drawn, viewBox="0 0 22 22", width="22", height="22", aria_hidden="true")
