"""Sides: training records, others, and synthetic ones, as an attacker compares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.neighbours import Geometry, Points
from synthgen.report.inputs import Tables

Matrix = NDArray[np.float64]


class Side(NamedTuple):
    """Records as points (n, d) and as features (n, columns)."""

    points: Points
    rows: Matrix

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, some: slice | NDArray[np.int64]) -> Side:
        """Some records."""
        return Side(self.points[some], self.rows[some])

    def join(self, other: Side) -> Side:
        """These records, and others after them."""
        return Side(np.concatenate([self.points, other.points]), np.concatenate([self.rows, other.rows]))


@dataclass(frozen=True)
class Sides:
    """Records in random order.

    Args:
        members: that were trained on.
        others: real records that were not.
        synthetic: what an attacker holds.
    """

    members: Side
    others: Side
    synthetic: Side


def table_sides(tables: Tables) -> Sides | None:
    """The three kinds of rows; none without a holdout."""
    if tables.holdout is None:
        return None
    geometry, rng = Geometry(tables.features, tables.real.matrix), np.random.default_rng(1)
    orders = (rows.matrix[rng.permutation(len(rows))] for rows in (tables.real, tables.holdout, tables.synthetic))
    return Sides(*(Side(geometry(matrix), matrix) for matrix in orders))
