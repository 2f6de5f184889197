"""Charts: each kind of block as a picture, and its figures as a table beside it."""

from __future__ import annotations

from markupsafe import Markup

from synthgen.report.blocks import Block, Gallery, Heat, Intervals, Lines, Rows, Shares
from synthgen.report.charts.gallery import gallery
from synthgen.report.charts.heat import heat, heat_figures
from synthgen.report.charts.intervals import intervals, intervals_figures
from synthgen.report.charts.lines import lines, lines_figures
from synthgen.report.charts.shares import shares, shares_figures


def picture(block: Block) -> Markup:
    """The markup of a block: an SVG, or a table of images; nothing for rows, which are a table already."""
    match block:
        case Shares():
            return shares(block)
        case Lines():
            return lines(block)
        case Intervals():
            return intervals(block)
        case Heat():
            return heat(block)
        case Gallery():
            return gallery(block)
        case Rows():
            return Markup("")


def figures(block: Block) -> Rows | None:
    """What a picture shows as a table, shortened where that is long; None for rows and galleries."""
    match block:
        case Shares():
            return shares_figures(block)
        case Lines():
            return lines_figures(block)
        case Intervals():
            return intervals_figures(block)
        case Heat():
            return heat_figures(block)
        case _:
            return None
