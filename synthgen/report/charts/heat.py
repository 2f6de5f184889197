"""Values between all pairs of names, as a square of shades."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from synthgen.report.blocks import Cell, Heat, Rows
from synthgen.report.charts.gallery import data_uri
from synthgen.report.charts.svg import LETTER, drawing, label, tag
from synthgen.report.charts.words import breadth, isolated, number, short

SHADES = (  # from nothing to the most; each darker than the one before
    (248, 247, 251),
    (226, 220, 239),
    (196, 184, 222),
    (163, 144, 202),
    (128, 103, 179),
    (93, 64, 150),
    (57, 27, 107),
)
NOTHING = (221, 221, 221)
ONE_BY_ONE = 40  # names up to which each cell is an element that says what it is
WRITTEN = 15  # names up to which cells hold their figures, and the table is whole
LARGEST = 20  # pairs that are listed otherwise
LETTERS = 16  # of a name
WIDE = 640  # pixels of a square of many names

Cells = NDArray[np.float64]


def heat(block: Heat) -> Markup:
    """A picture of the values: cells with titles, or one small image where there are very many."""
    values, n = _square(block), len(block.names)
    size = 26.0 if n <= WRITTEN else max(15.0, 390 / n) if n <= ONE_BY_ONE else WIDE / n
    longest = max((breadth(short(name, LETTERS)) for name in block.names), default=0.0)
    left = LETTER * longest + 10
    top = left * 0.82 + 6  # of labels that rise by 55 degrees
    cells = _cells(block, values, left, top, size) if n <= ONE_BY_ONE else [_image(values, block.most, left, top, size)]
    parts = [*_names(block.names, left, top, size), *cells, *_scale(block.most, left, top + n * size + 16)]
    width = max(left + n * size + 0.57 * left, left + 190)
    return drawing(isolated(block.title), _largest_told(block), width, top + n * size + 44, *parts)


def heat_figures(block: Heat) -> Rows:
    """All values where there are few names, and the largest otherwise."""
    values = _square(block)
    if len(block.names) <= WRITTEN:
        rows: list[tuple[Cell, ...]] = [(n, *row) for n, row in zip(block.names, values.tolist(), strict=True)]
        return Rows(block.title, ("", *block.names), tuple(rows))
    largest = tuple((block.names[i], block.names[j], float(values[i, j])) for i, j in _order(values)[:LARGEST])
    return Rows(block.title, ("", "and", "value"), largest, f"The {LARGEST} largest.")


def _square(block: Heat) -> Cells:
    return np.asarray(block.values, dtype=np.float64).reshape(len(block.names), len(block.names))


def _order(values: Cells) -> list[tuple[int, int]]:
    """Pairs with a value, the largest first."""
    rows, columns = np.triu_indices(len(values), 1)
    found = values[rows, columns]
    given = [k for k in np.argsort(-found, kind="stable") if not np.isnan(found[k])]
    return [(int(rows[k]), int(columns[k])) for k in given]


def _largest_told(block: Heat) -> Markup:
    """One sentence for those who cannot see the picture."""
    values = _square(block)
    told = (Markup("{} {}").format(_pair(block.names, i, j), number(values[i, j])) for i, j in _order(values)[:3])
    largest = Markup("; ").join(told) or "none"
    return Markup("{} names; the largest values: {}.").format(len(block.names), largest)


def _pair(names: tuple[str, ...], i: int, j: int) -> Markup:
    return Markup("{} and {}").format(isolated(names[i]), isolated(names[j]))


def _colour(value: float, most: float) -> tuple[int, int, int]:
    """The shade of a value, between two of the scale."""
    if math.isnan(value):
        return NOTHING
    at = min(1.0, max(0.0, value / (most or 1.0))) * (len(SHADES) - 1)
    (low, high), part = list(pairwise(SHADES))[min(int(at), len(SHADES) - 2)], at - min(int(at), len(SHADES) - 2)
    red, green, blue = (round(a + part * (b - a)) for a, b in zip(low, high, strict=True))
    return red, green, blue


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{c:02x}" for c in colour)


def _cells(block: Heat, values: Cells, left: float, top: float, size: float) -> list[Markup]:
    parts = []
    for i, j in np.ndindex(*values.shape):
        value, x, y = float(values[i, j]), left + j * size, top + i * size
        title = tag("title", Markup("{}: {}").format(_pair(block.names, i, j), number(value)))
        colour = _colour(value, block.most)
        cell = tag("rect", x=x, y=y, width=size - 1, height=size - 1, fill=_hex(colour))
        figure = label(x + size / 2, y + size / 2 + 3, number(value, 2), class_=_ink(colour)) if size > 20 else ""
        parts.append(tag("g", title, cell, figure if not math.isnan(value) else ""))
    return parts


def _ink(colour: tuple[int, int, int]) -> str:
    """Black letters on light shades and white ones on dark, whichever has more contrast (WCAG's luminance)."""
    linear = [(c / 255 / 12.92) if c < 11 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return "cell" if np.dot(linear, (0.2126, 0.7152, 0.0722)) > 0.179 else "cell light"


def _image(values: Cells, most: float, left: float, top: float, size: float) -> Markup:
    """All cells as pixels of one image, which stays small for hundreds of names."""
    pixels = np.array([[_colour(v, most) for v in row] for row in values], dtype=np.uint8)
    side = size * len(values)
    return tag("image", href=data_uri(Image.fromarray(pixels)), x=left, y=top, width=side, height=side, class_="pixels")


def _names(names: tuple[str, ...], left: float, top: float, size: float) -> list[Markup]:
    """Names at the left and, rising, above; every so manyth where there is no room for all."""
    parts = []
    for i in range(0, len(names), max(1, math.ceil(14 / size))):
        middle = size * (i + 0.5)
        parts.append(label(left - 6, top + middle + 4, names[i], LETTERS, text_anchor="end"))
        turned = f"translate({left + middle + 3:.0f} {top - 6:.0f}) rotate(-55)"
        parts.append(label(0, 0, names[i], LETTERS, transform=turned))
    return parts


def _scale(most: float, x: float, y: float) -> list[Markup]:
    """What the shades mean."""
    parts = [label(x, y + 10, "0")]
    for i in range(10):
        fill = _hex(_colour((i + 0.5) / 10, 1))
        parts.append(tag("rect", x=x + 12 + 10 * i, y=y, width=10, height=12, fill=fill))
    return [*parts, label(x + 118, y + 10, number(most, 2))]
