"""Lines through points, with bands around them, on linear or logarithmic axes."""

from __future__ import annotations

import math
from functools import partial

from markupsafe import Markup

from synthgen.report.blocks import Lines, Rows, Series
from synthgen.report.charts.svg import WIDTH, Axis, drawing, label, legend, line, path, roles, spanning, tag
from synthgen.report.charts.words import isolated, number

LEFT, RIGHT, TALL = 46, 10, 230  # pixels
POINTS = 200  # of a line at most: more could not be seen
LISTED = 12  # points of each line among the figures
MARKS = 5  # on a line of many points

Point = tuple[float, float]


def lines(block: Lines) -> Markup:
    """A picture of the lines, told apart by colour, dashes and markers."""
    classes = roles(series.name for series in block.series)
    keys, top = legend([(s.name, partial(_key, c)) for s, c in zip(block.series, classes, strict=True)], WIDTH)
    top += 26  # the name of the vertical axis
    x = spanning((v for s in block.series for v in s.x), LEFT, WIDTH - RIGHT, block.log)
    y = spanning((v for s in block.series for v in (*s.y, *s.low, *s.high)), top + TALL, top, block.log)
    parts = [keys, *_frame(block, x, y)]
    for series, class_ in zip(block.series, classes, strict=True):
        parts += _line(series, class_, x, y)
    return drawing(isolated(block.title), _ends(block), WIDTH, top + TALL + 40, *parts)


def lines_figures(block: Lines) -> Rows:
    """Some points of each line, evenly among them."""
    rows = tuple(
        (series.name, *(values[i] for values in (series.x, series.y)), *_band(series, i))
        for series in block.series
        for i in _some(range(len(series.x)), LISTED)
    )
    about = f"At most {LISTED} points of each line." if any(len(s.x) > LISTED for s in block.series) else ""
    return Rows(block.title, ("line", block.x, block.y, "from", "to"), rows, about)


def _band(series: Series, i: int) -> tuple[float | None, float | None]:
    return (series.low[i], series.high[i]) if series.low and series.high else (None, None)


def _ends(block: Lines) -> Markup:
    """One sentence for those who cannot see the picture."""
    told = (
        Markup("{} goes from {} at {} to {} at {}").format(
            isolated(s.name), *(number(v) for v in (s.y[0], s.x[0], s.y[-1], s.x[-1]))
        )
        for s in block.series
        if s.x
    )
    names = isolated(block.y), isolated(block.x)
    return Markup("{} against {}: {}.").format(*names, Markup("; ").join(told) or "no points")


def _some(every: range, most: int) -> list[int]:
    """At most so many of them, the first and the last included."""
    if len(every) <= most:
        return list(every)
    return [every[round(i * (len(every) - 1) / (most - 1))] for i in range(most)]


def _frame(block: Lines, x: Axis, y: Axis) -> list[Markup]:
    """Grid, ticks and the names of the axes, none of them turned."""
    left, right, top, bottom = LEFT, WIDTH - RIGHT, y.end, y.start
    parts = [label(0, top - 12, f"↑ {block.y}", 54, class_="faint")]
    parts.append(label(right, bottom + 34, f"{block.x} →", 54, class_="faint", text_anchor="end"))
    for value, name in y.ticks():
        parts += [line(left, y(value), right, y(value), "grid"), label(left - 6, y(value) + 4, name, text_anchor="end")]
    for value, name in x.ticks():
        anchor = "end" if x(value) > right - 12 else "middle"
        parts += [line(x(value), top, x(value), bottom + 4, "grid")]
        parts += [label(x(value), bottom + 17, name, text_anchor=anchor)]
    return [*parts, line(left, bottom, right, bottom, "axis")]


def _line(series: Series, class_: str, x: Axis, y: Axis) -> list[Markup]:
    """The band, the line and a few markers on it."""
    chosen = _some(range(len(series.x)), POINTS)
    points = _placed(series.x, series.y, chosen, x, y)
    if not points:
        return []
    parts = [tag("path", d=path(points), class_=f"line {class_}")]
    if series.low and series.high:
        lower, upper = (_placed(series.x, bound, chosen, x, y) for bound in (series.low, series.high))
        parts.insert(0, tag("path", d=path([*lower, *reversed(upper)]) + "Z", class_=f"band {class_}"))
    marked = points if len(points) <= 2 * MARKS else [points[i] for i in _some(range(len(points)), MARKS + 2)[1:-1]]
    return parts + [mark(class_, *point) for point in marked]


def _placed(xs: tuple[float, ...], ys: tuple[float, ...], chosen: list[int], x: Axis, y: Axis) -> list[Point]:
    """The pixels of those points that are figures, and above zero on logarithmic axes."""
    points = ((xs[i], ys[i]) for i in chosen)
    return [(x(a), y(b)) for a, b in points if math.isfinite(a + b) and (not x.log or min(a, b) > 0)]


def mark(class_: str, x: float, y: float) -> Markup:
    """The marker of a series: a shape that its class stands for, on a light edge."""
    corners = {
        "real": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        "fresh": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        "copies": ((0, -5), (5, 4), (-5, 4)),
        "independent": ((0, -5), (5, 0), (0, 5), (-5, 0)),
        "other0": ((0, 5), (5, -4), (-5, -4)),
        "other1": ((0, -5), (5, 0), (0, 5), (-5, 0)),
    }
    if class_ == "chance":
        return Markup("")
    if class_ not in corners:
        return tag("circle", cx=x, cy=y, r=4, class_=f"mark {class_}")
    return tag("path", d=path((x + a, y + b) for a, b in corners[class_]) + "Z", class_=f"mark {class_}")


def _key(class_: str, x: float, y: float) -> Markup:
    return line(x, y, x + 20, y, f"line {class_}") + mark(class_, x + 10, y)
