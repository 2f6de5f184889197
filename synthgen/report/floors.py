"""Floors: what a score stands beside: fresh real records, copies of the training records, independent columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Floors:
    """Rows of equal number, as features (n, columns).

    Args:
        reference: real rows that all others are compared with.
        synthetic: rows that are judged.
        fresh: further real rows.
        copies: training rows, drawn with replacement.
        independent: training rows whose columns were shuffled, each on its own.
    """

    reference: Matrix
    synthetic: Matrix
    fresh: Matrix
    copies: Matrix
    independent: Matrix

    def compared(self) -> dict[str, Matrix]:
        """All that is compared with the reference, by the name of a score's field."""
        rows = {"fresh": self.fresh, "copies": self.copies, "independent": self.independent}
        return {"value": self.synthetic, **rows}


def floors(real: Matrix, synthetic: Matrix, unseen: Matrix, most: int, seed: int = 0) -> Floors:
    """Draw all from real rows, synthetic rows and unseen real rows, the latter halved; at most `most` rows each."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(unseen))
    n = min(len(unseen) // 2, len(synthetic), most)
    own = real[rng.integers(0, len(real), n)]
    return Floors(
        reference=unseen[order[:n]],
        synthetic=synthetic[rng.permutation(len(synthetic))[:n]],
        fresh=unseen[order[n : 2 * n]],
        copies=own,
        independent=shuffled(real[rng.permutation(len(real))[:n]], rng),
    )


def shuffled(rows: Matrix, rng: np.random.Generator) -> Matrix:
    """Rows with each column shuffled on its own: right column by column, wrong together."""
    return np.stack([rng.permutation(column) for column in rows.T], axis=1)
