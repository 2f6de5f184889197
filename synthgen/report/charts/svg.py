"""What all charts are made of: elements, axes, legends, and one look for each kind of records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from synthgen.report.charts.words import breadth, clean, number, short, text

WIDTH = 360  # pixels of a chart, so that one fits a telephone without being scaled
LETTER = 6.7  # pixels of a letter, about
ROLES = (  # a word in the name of a series, and the class that gives it colour, dashes and marker
    ("synthetic", "synthetic"),
    ("fresh", "fresh"),
    ("held", "fresh"),
    ("holdout", "fresh"),
    ("cop", "copies"),
    ("independent", "independent"),
    ("chance", "chance"),
    ("real", "real"),
)
_EMPTY = ("path", "rect", "circle", "image", "img")


def tag(element: str, *content: object, **attributes: object) -> Markup:
    """An element with everything in it escaped; `class_` is class, `text_anchor` text-anchor, None is left out."""
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _attribute(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(text(part)) for part in content)
    return Markup(f"<{element}{given}/>" if element in _EMPTY else f"<{element}{given}>{inner}</{element}>")


def _attribute(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else clean(str(value))


def drawing(title: str, description: str, width: float, height: float, *content: object) -> Markup:
    """A picture of so many pixels that says in words what it shows."""
    box = f"0 0 {width:.0f} {height:.0f}"
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}"}
    words = (tag("title", title), tag("desc", description))
    return tag("svg", *words, *content, viewBox=box, role="img", **size)


def label(x: float, y: float, content: str, limit: int = 40, **attributes: object) -> Markup:
    """Text at a point, shortened to so many letters, with the whole of it in a title."""
    brief = short(content, limit)
    whole = "" if brief == clean(content) else tag("title", content)
    return tag("text", brief, whole, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("path", d=path([(x1, y1), (x2, y2)]), class_=class_)


def path(points: Iterable[tuple[float, float]]) -> str:
    """The path through points, to a tenth of a pixel."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}".replace(".0", "") for x, y in points)


def _role(name: str, others: int) -> str:
    """The class of a series: by its name, or the next of those that stand for no kind of records."""
    known = (class_ for word, class_ in ROLES if word in name.lower())
    return next(known, f"other{others % 3}")


def roles(names: Iterable[str]) -> list[str]:
    """The classes of several series, none twice as long as there are enough."""
    found: list[str] = []
    for name in names:
        others = sum(class_.startswith("other") for class_ in found)
        class_ = _role(name, others)
        found.append(class_ if class_ not in found else _role("", others))
    return found


@dataclass(frozen=True)
class Axis:
    """Where values lie: `low` at pixel `start`, `high` at pixel `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Round values with how they are written."""
        if self.log:
            return self._decades(most)
        step = _round_step((self.high - self.low) / most)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(i * step, number(i * step, decimals)) for i in range(first, last + 1)]

    def _decades(self, most: int) -> list[tuple[float, str]]:
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        step = max(1, -(-(last - first) // most))
        values = (10.0**e for e in range(last, first - 1, -step))
        return [(v, number(v, max(0, -round(math.log10(v)))) if v > 1e-5 else number(v)) for v in values]


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    least = max(least, 1e-12)
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def spanning(values: Iterable[float], start: float, end: float, log: bool = False) -> Axis:
    """An axis that holds all values; all of [0, 1] where they are shares that fill half of it."""
    held = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [1.0]
    low, high = min(held), max(held)
    if log:
        first = math.floor(math.log10(low))
        return Axis(10.0**first, 10.0 ** max(math.ceil(math.log10(high)), first + 1), start, end, log=True)
    if low >= 0 and high <= 1 and high - low > 0.5:
        return Axis(0, 1, start, end)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis(0 if 0 <= low <= room else low - room, high + room, start, end)


def legend(entries: Sequence[tuple[str, Callable[[float, float], Markup]]], width: float) -> tuple[Markup, float]:
    """Keys with their names in as many lines as they need, and the pixels that takes; a key draws itself at a point."""
    x, y, parts = 0.0, 10.0, []
    for name, key in entries:
        needed = 26 + LETTER * min(breadth(name), 46) + 14
        if x and x + needed - 14 > width:
            x, y = 0.0, y + 18
        parts += [key(x, y), label(x + 26, y + 4, name, 46)]
        x += needed
    return tag("g", *parts), y + 12
