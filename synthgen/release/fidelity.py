"""Fidelity that costs nothing: released columns beside the noisy counts that their fit has paid for.

Total variation distance, over the parts of a column that were counted and what lies in none of them, between the
released records and the noisy shares; beside it what noise and the number of released records make on their own.
Nothing here sees a record of the real data: both sides are results of the fit already (post-processing; Dwork and
Roth, The algorithmic foundations of differential privacy, 2014, proposition 2.1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.codec import Codec, ImageCodec
from synthgen.dp.bins import Part
from synthgen.dp.certificate import Certificate
from synthgen.release.seen import Seen

Floats = NDArray[np.float64]


class Distance(NamedTuple):
    """How far a released column is from what was paid for.

    Attributes:
        column: its name.
        value: share of the records that would have to change, between 0 and 1.
        noise: what it would be on average if the model were perfect.
    """

    column: str
    value: float
    noise: float


def distances(
    codec: Codec, counted: Mapping[str, Sequence[Part]], seen: Seen, certificate: Certificate
) -> list[Distance]:
    """The distance of each column whose frequencies were paid for.

    Args:
        codec: of the model.
        counted: the parts of its columns, with their noisy counts.
        seen: the released records, counted in the same parts.
        certificate: of the fit.
    """
    found = []
    for name, held in seen.held.items():
        sigma, total = _deviation(certificate, name), certificate.records
        if sigma is None or len(held) < 3:
            continue
        if isinstance(codec, ImageCodec):
            counts = np.array([*codec.context.counts, 0.0])
            held = np.append(held, 0)
        else:
            counts = np.array([*(part.held for part in counted[name]), 0.0])
        noise = np.full(len(counts), sigma / total)
        counts[-1], noise[-1] = max(0.0, total - counts.sum()), noise[-1] * math.sqrt(len(counts) - 1)
        paid = np.maximum(counts, 0) / np.maximum(counts, 0).sum()
        value = float(np.abs(held / held.sum() - paid).sum() / 2)
        found.append(Distance(name, value, expected(paid, noise, seen.records)))
    return found


def expected(shares: Floats, noise: Floats, n: int) -> float:
    """The mean distance between noisy shares and the shares of n records drawn from the true ones.

    Each cell is apart by about a normal variable, of mean size sqrt(2 / pi) times its deviation.

    Args:
        shares: of the cells (k,).
        noise: deviations of their noise (k,).
        n: number of records drawn.
    """
    return float(np.sqrt(noise**2 + shares * (1 - shares) / n).sum() / 2 * math.sqrt(2 / math.pi))


def _deviation(certificate: Certificate, name: str) -> float | None:
    """Of the noise of a column's counts: the least of its queries, so that noise is not made out to be larger."""
    asked = [f"labels of {name!r}", f"histogram of {name!r}"]
    last = {c.what: c.scale for c in certificate.queries if c.what in asked}  # later answers replace earlier ones
    if not last:
        return None  # all of it was declared, and its frequencies only the generator has learned
    return min(last.values()) * _most(certificate.unit)


def _most(unit: str) -> int:
    """How many records of a person are kept, by which noise grows."""
    match = re.search(r"at most (\d+) records of each$", unit)
    return int(match[1]) if match else 1
