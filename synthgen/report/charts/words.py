"""Words and figures as a page shows them: short figures, intervals, and names that can do no harm."""

from __future__ import annotations

import math
import re
import unicodedata
from numbers import Integral, Real

from markupsafe import Markup, escape

NONE = "–"
THIN = "\u202f"  # a thin space that does not break, between thousands and before %
_JOINERS = "\u00ad\u200c\u200d"  # invisible, but part of how words and emoji are written
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def text(value: object) -> str:
    """A cell, name or sentence for people; markup stays what it is."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, Real) else clean(str(value))


def number(value: Real | float, decimals: int | None = None) -> str:
    """A figure such as .536, 12.34, 1 234 567 or 2.1×10⁻⁸; a dash where it is no number."""
    x = float(value)
    if math.isnan(x):
        return NONE
    sign, size = "−" if x < 0 else "", abs(x)
    if math.isinf(x):
        return sign + "∞"
    if isinstance(value, Integral) or x == 0:
        return sign + f"{round(size):,}".replace(",", THIN)
    if decimals is None and size < 1e-5:
        mantissa, exponent = f"{size:.1e}".split("e")
        return f"{sign}{mantissa}×10{str(int(exponent)).translate(_RAISED)}"
    digits = f"{size:,.{_decimals(size) if decimals is None else decimals}f}".replace(",", THIN)
    if not digits.strip("0."):
        return "0"
    return sign + (digits[1:] if digits.startswith("0.") else digits)


def _decimals(size: float) -> int:
    """Three decimals below 10, fewer above; two significant digits of what three would round away."""
    if size < 0.001:
        return 1 - math.floor(math.log10(size))
    return max(0, 3 - max(0, math.floor(math.log10(size))))


def estimate(value: float, low: float | None, high: float | None) -> str:
    """A value with its interval, as precise as the interval is narrow: .536 (.52–.55)."""
    if low is None or high is None or not math.isfinite(low + high):
        return number(value)
    least = 2 if abs(value) < 10 else 0
    decimals = max(least, min(6, math.ceil(-math.log10((high - low) / 2)))) if high > low else 3
    between = " to " if low < 0 else "–"
    shown = number(value, max(3, decimals)) if abs(value) < 10 else number(value)
    return f"{shown} ({number(low, decimals)}{between}{number(high, decimals)})"


def percent(share: float) -> str:
    """A share as a percentage: 34 %, 3.4 %, <0.1 %."""
    if math.isnan(share):
        return NONE
    if 0 < share < 0.0005:
        return f"<0.1{THIN}%"
    return f"{100 * share:.{1 if 0 < share < 0.0995 else 0}f}{THIN}%"


def clean(value: str) -> str:
    """The same text with what would be invisible, reorder the rest or break the page written out: ␀, ‹U+202E›."""
    return "".join(c if _harmless(c) else _written(c) for c in value)


def _harmless(c: str) -> bool:
    return c.isprintable() or c in _JOINERS or unicodedata.category(c) == "Zs"


def _written(c: str) -> str:
    return chr(0x2400 + ord(c)) if ord(c) < 32 else f"‹U+{ord(c):04X}›"


def short(value: str, limit: int) -> str:
    """The text without its end where it is wider than so many letters."""
    value, width, kept = clean(value), 0.0, 0
    for i, c in enumerate(value):
        width += _width(c)
        if width <= limit - 1:  # room for the dots
            kept = i + 1
        if width > limit:
            return value[:kept].rstrip("\u200d ") + "…"
    return value


def breadth(value: str) -> float:
    """How many small letters are as wide as the text."""
    return sum(_width(c) for c in clean(value))


def prose(sentence: str) -> str:
    """A sentence in which no name is so long that nobody would read on."""
    return re.sub(r"\S{60,}", lambda name: short(name[0], 60), clean(sentence))


def _width(c: str) -> float:
    """Capitals count a quarter more, Chinese letters twice, accents that stand alone not at all."""
    if unicodedata.combining(c):
        return 0
    if unicodedata.east_asian_width(c) in "WF":
        return 2
    return 1.25 if c.isupper() or c in "mw" else 1


def isolated(name: str) -> Markup:
    """A name for titles and descriptions, apart from its neighbours where it is written from right to left."""
    name = short(name, 120)
    leftward = any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in name)
    return escape(f"\u2068{name}\u2069" if leftward else name)


def named(value: str, limit: int = 48) -> Markup:
    """A name in running text: apart from its neighbours' direction, and shortened with all of it in a title."""
    whole, brief = clean(value), short(value, limit)
    title = Markup("") if brief == whole else Markup(' title="{}"').format(whole)
    return Markup("<bdi{}>{}</bdi>").format(title, escape(brief))
