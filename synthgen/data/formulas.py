"""Cells of a CSV that a spreadsheet would run: written with a ' before them, and read without it.

What begins with = + - @, a tab, a line end or a NUL is taken for a formula (OWASP, "CSV injection"), unless it is a
number, or signs alone, which compute nothing. A formula gets one ' more than it has, so that taking one off is exact.
Each cell is judged by itself: what one record holds says nothing of how another is read.
"""

from __future__ import annotations

from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

Cells = TypeVar("Cells", pa.Array, pa.ChunkedArray)

_STARTS = "[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n\\x00]"  # four of them as wide as a Chinese character
_NUMBER = (
    r"^[+-][$€£¥₹]?(?:[0-9]+|[0-9]{1,3}(?:[,.' ][0-9]{3})+)?(?:[.,][0-9]*)?(?:[eE][+-]?[0-9]+)?(?: ?[%€])?$"
    r"|^[+-](?i:inf|infinity)$|^[=+@-]+$"
)


def escape(cells: Cells) -> Cells:
    """Texts with a ' before each that a spreadsheet would run; nulls stay."""
    runs = pc.match_substring_regex(cells, f"^'*{_STARTS}")
    if not pc.any(runs).as_py():
        return cells
    runs = pc.and_not(runs, pc.match_substring_regex(cells, _NUMBER))
    return pc.if_else(runs, pc.binary_join_element_wise("'", cells, ""), cells)


def unescape(cells: Cells) -> Cells:
    """Texts as they were before `escape`."""
    if not pc.any(pc.starts_with(cells, "'")).as_py():
        return cells
    return pc.replace_substring_regex(cells, f"^'('*{_STARTS})", r"\1")


def escape_names(names: list[str]) -> list[str]:
    """The same for the names of columns."""
    return list(escape(pa.array(names, pa.string())).to_pylist())


def unescape_names(names: list[str]) -> list[str]:
    """Texts as they were before `escape_names`."""
    return list(unescape(pa.array(names, pa.string())).to_pylist())


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run a text."""
    return not text.startswith("'") and escape_names([text]) != [text]
