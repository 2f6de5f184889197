"""Cells: the parts of a column whose noisy counts were paid for, and in which of them a value lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.dp.bins import Part

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Cells:
    """Parts of a column, and one more for what lies in none of them.

    Args:
        parts: texts, of which "" is a missing value, single values, and ranges of values.

    Attributes:
        size: number of cells, the last for what lies in no part.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts, self.size = list(parts), len(parts) + 1

    def place(self, values: Any) -> Ints:
        """The cell (n,) of each value, as codecs take them: floats with NaN, or texts with nulls."""
        codes = np.full(len(values), self.size - 1)
        if isinstance(values, np.ndarray):
            for ranges in (True, False):  # a value of its own is not counted with the range around it
                for code, part in enumerate(self._parts):
                    if not isinstance(part.low, str) and (part.high != part.low) is ranges:
                        codes[_within(values, part)] = code
            gap = np.isnan(values)
        else:
            labels = pa.array([str(part.low) for part in self._parts], pa.string())
            codes = np.asarray(pc.fill_null(pc.index_in(values, labels), self.size - 1)).astype(np.int64)
            gap = np.asarray(pc.is_null(values))
        empty = [code for code, part in enumerate(self._parts) if part.low == ""]
        codes[gap] = empty[0] if empty else self.size - 1
        return codes


def _within(values: Floats, part: Part) -> NDArray[np.bool_]:
    """Which values lie in a part of numbers, whose ends are values on its grid."""
    low, high = float(part.low), float(part.high)
    room = part.step / 2 if part.step else 1e-9 * max(1.0, abs(low), abs(high))
    return np.asarray((values >= low - room) & (values < high + room))
