"""Text: tables and verdicts of a report, as a terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence

from synthgen.cli.console import one_line
from synthgen.report.blocks import Cell, Rows
from synthgen.report.gate import Check
from synthgen.report.result import Report

WORDS = {"useless": "lost", "private": "no leak"}  # of the verdict, where a person says it otherwise


def report_text(found: Report, checks: Sequence[Check]) -> str:
    """The verdict, the scores beside their floors, and what a gate says."""
    verdict = [f"{WORDS.get(f.kind, f.kind):>9}  {one_line(f.text)}" for f in found.verdict]
    rows = tuple((one_line(s.name), s.value, _interval(s.low, s.high), s.fresh, s.copies, s.independent) for s in found)
    header = ("", "value", "95 % interval", "fresh real", "copies", "independent")
    failed = [f"FAILED {one_line(c.text)}" for c in checks if not c.passed]
    passed = [f"all {len(checks)} thresholds hold"] if checks and not failed else []
    return "\n".join([*verdict, "", *rows_text(Rows("", header, rows)), *([""] if checks else []), *failed, *passed])


def rows_text(table: Rows) -> list[str]:
    """The lines of a table: the first column to the left, figures to the right."""
    cells = [list(table.header), *([_cell(c) for c in row] for row in table.rows)]
    widths = [max(len(row[j]) for row in cells) for j in range(len(table.header))]
    return [
        "  ".join(c.ljust(w) if j == 0 else c.rjust(w) for j, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]


def _cell(cell: Cell) -> str:
    if cell is None:
        return "–"
    return f"{cell:.3f}" if isinstance(cell, float) else one_line(str(cell))


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
