"""Cells of a raw column: the text of each, the form it is written in, and the number or date that it holds.

Each cell is looked at on its own, and none raises: an error would tell of it, and so would a change in how the others
are read.
"""

from __future__ import annotations

import calendar
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from numpy.typing import NDArray

from synthgen.errors import BudgetError
from synthgen.formats import PATTERNS, DateFormat

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DECIMALS = {"whole": 0, **{f"decimals {k}": k for k in range(1, 7)}, "decimals 8": 8}  # 8: or more, or an exponent
FORMS = ("missing", *DECIMALS, "text", "date")  # a cell has one of them
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
MARKERS = ("", "NA", "N/A", "n/a", "na", "NaN", "nan", "NULL", "null", "Null", "None", "none", "?")
NOTHING = pa.scalar(None, pa.string())

ZONES = ("Z", "+00:00")
_ZONE = r"(?:Z|\+00:00)?$"
_FIELDS = {
    "%Y": "[0-9]{4}",
    "%y": "[0-9]{2}",
    "%m": "(?:0[1-9]|1[0-2])",
    "%d": "(?:0[1-9]|[12][0-9]|3[01])",
    "%b": f"(?:{'|'.join(calendar.month_abbr[1:])})",
    "%B": f"(?:{'|'.join(calendar.month_name[1:])})",
    "%H": "(?:[01][0-9]|2[0-3])",
    "%I": "(?:0[1-9]|1[0-2])",
    "%p": "(?:AM|PM)",
    "%M": "[0-5][0-9]",
    "%S": "[0-5][0-9]",
    "%f": "[0-9]{6}",
    "%-m": "(?:0?[1-9]|1[0-2])",  # leading zeros may be missing; of %f, digits at the end
    "%-d": "(?:0?[1-9]|[12][0-9]|3[01])",
    "%-H": "(?:[01]?[0-9]|2[0-3])",
    "%-I": "(?:0?[1-9]|1[0-2])",
    "%-f": "[0-9]{1,6}",
}


def regex(pattern: str) -> str:
    """A regular expression of what a strptime pattern writes, `%-d` being a day that may lack its leading zero.

    Raises:
        BudgetError: the pattern holds a field that is not known here, such as %z.
    """
    parts = re.split("(%-?.)", pattern)
    if unknown := [p for p in parts[1::2] if p not in _FIELDS]:
        raise BudgetError(
            f"dates written as {pattern!r} cannot be had under a budget: {unknown[0]} is not known there; declare a "
            "pattern without it, and a time zone that all share as its suffix"
        )
    return "".join(_FIELDS[p] if i % 2 else re.escape(p) for i, p in enumerate(parts))


def loose(pattern: str) -> str:
    """The pattern of which zeros may be missing that say nothing."""
    return re.sub("%([mdHIf])", r"%-\1", pattern)


def _days() -> dict[str, str]:
    """Ways to write a day: strict ones before loose ones, month first before day first, as in `PATTERNS`."""
    known = [p for p, unit in PATTERNS.items() if unit == "D"]
    found = {p: regex(p) for pattern in known for p in (pattern, loose(pattern))} | {"": ""}
    del found[loose("%Y%m%d")]
    found["%Y%m%d"] = found["%Y%m%d"].replace(_FIELDS["%Y"], "(?:19|20)[0-9]{2}")  # else a number
    return found


def _times() -> dict[str, str]:
    """Ways to write what follows a day, with its zone; and times without a day."""
    after = [p.removeprefix("%Y-%m-%d") for p in PATTERNS if re.match("%Y-%m-%d.", p)]
    alone = [p for p in PATTERNS if p.startswith("%H")]
    return {"": ""} | {t + zone: regex(t) + re.escape(zone) for t in (*after, *alone) for zone in ("", *ZONES)}


# the parts of a date, and the forms of each; a form stands for those that no form before it matches
PARTS = {
    "day": _days(),
    "time": _times(),
    "step": {
        "day": rf"(?:|[T ]?(?:00:00(?::00(?:\.0+)?)?|12:00(?::00)? AM){_ZONE})",
        "hour": rf"[T ]?[0-9]{{2}}:00(?::00(?:\.0+)?)?(?: [AP]M)?{_ZONE}",
        "minute": rf"[T ]?[0-9]{{2}}:[0-9]{{2}}(?::00(?:\.0+)?)?(?: [AP]M)?{_ZONE}",
        "second": rf"[^.]*(?:\.0+)?{_ZONE}",
        "finer": ".*",
    },
}
DATE = "^(?P<day>{})?(?P<time>{})?$".format(*("|".join(filter(None, PARTS[p].values())) for p in ("day", "time")))


def texts(column: pa.ChunkedArray) -> pa.Array:
    """Cells (n,) as texts without blanks around them, "" where there is none; times of a zone are those of UTC."""
    flat = column.combine_chunks()
    if isinstance(flat, pa.ExtensionArray):
        flat = flat.storage
    if t.is_dictionary(flat.type):
        flat = pc.cast(flat, flat.type.value_type)
    if t.is_timestamp(flat.type):
        flat = pc.cast(flat, pa.timestamp("us"), safe=False)
    return pc.fill_null(pc.utf8_trim_whitespace(_strings(flat)), "")


def _strings(cells: pa.Array) -> pa.Array:
    """Cells of any type as texts; which way is taken does not change what a cell that could go both ways becomes."""
    kind = cells.type
    simple = (t.is_integer, t.is_floating, t.is_decimal, t.is_boolean, t.is_null, t.is_date, t.is_time, t.is_timestamp)
    if any(is_simple(kind) for is_simple in simple):
        return pc.cast(cells, pa.string())
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        try:
            cells.validate(full=True)
            return pc.cast(cells, pa.string())
        except pa.ArrowInvalid:  # some bytes are not UTF-8
            cells = pc.cast(cells, pa.binary())
    return pa.array([_told(cell) for cell in cells], pa.string())


def _told(cell: pa.Scalar) -> str | None:
    """The text of a cell that Arrow cannot write: bytes, lists, and whatever else there may be."""
    try:
        value = cell.as_py()
    except Exception:  # of any kind: it would tell of the cell
        return None
    if not isinstance(value, bytes):
        return None if value is None else str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def without_markers(cells: pa.Array) -> pa.Array:
    """Texts (n,); what says that there is no value becomes ""."""
    return pc.if_else(pc.is_in(cells, pa.array(MARKERS)), "", cells)


def forms(cells: pa.Array) -> Ints:
    """The index in FORMS of the form of each cell, (n,)."""
    whole = pc.match_substring_regex(cells, r"^[+-]?[0-9]{1,18}$")
    point = pc.match_substring_regex(cells, r"^[+-]?[0-9]{0,15}\.[0-9]{1,6}$")
    length = pc.utf8_length(pc.replace_substring_regex(cells, r"^[^.]*\.", ""))
    decimals = pc.binary_join_element_wise("decimals ", pc.cast(length, pa.string()), "")
    number = pc.match_substring_regex(cells, NUMBER)
    form = pc.if_else(whole, "whole", pc.if_else(point, decimals, pc.if_else(number, "decimals 8", "text")))
    form = pc.if_else(pc.match_substring_regex(cells, DATE), "date", form)
    return np.asarray(pc.index_in(pc.if_else(pc.equal(cells, ""), "missing", form), pa.array(FORMS)))


def date_forms(cells: pa.Array, part: str) -> Ints:
    """The index in PARTS[part] of the form of that part of each cell that is a date, (dates,)."""
    dates = pc.extract_regex(cells.filter(pc.not_equal(cells, "")), DATE).drop_null()
    found = pc.dictionary_encode(pc.struct_field(dates, "day" if part == "day" else "time"))
    matches = [pc.match_substring_regex(found.dictionary, f"^{form}$") for form in PARTS[part].values()]
    return np.argmax(np.array(matches), axis=0)[np.asarray(found.indices)]


def values(cells: pa.Array, date: DateFormat | None = None) -> Floats:
    """Numbers of cells, or dates in units since 1970, (n,); NaN where a cell is none."""
    if date is None:
        number = pc.if_else(pc.match_substring_regex(cells, NUMBER), cells, NOTHING)
        found = np.array(pc.cast(pc.utf8_ltrim(number, "+"), pa.float64()).to_numpy(zero_copy_only=False), dtype=float)
        return np.where(np.isfinite(found), found, np.nan)
    # pandas sees only what has the very form: else one cell of more digits would change how it reads the others
    form = f"^{regex(loose(date.pattern))}{re.escape(date.suffix)}$"
    encoded = pc.dictionary_encode(pc.if_else(pc.match_substring_regex(cells, form), cells, NOTHING))
    return np.append(date.parse(encoded.dictionary), np.nan)[np.asarray(encoded.indices.fill_null(-1))]


def stamps(ticks: Floats, date: DateFormat) -> pa.Array:
    """Units since 1970 (n,) as Arrow's timestamps, null where they are NaN."""
    gaps = np.isnan(ticks)
    return pa.array(np.where(gaps, 0, ticks).astype(np.int64).astype(f"M8[{date.unit}]").astype("M8[us]"), mask=gaps)
