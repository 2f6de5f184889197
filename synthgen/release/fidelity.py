"""Fidelity that costs nothing: released columns beside the noisy counts that their fit has paid for.

Total variation distance, over the cells that a codec cuts a column into, between the released records and the noisy
frequencies; beside it what noise and the number of released records make on their own. Nothing here sees a record of
the real data: both sides are results of the fit already (post-processing, Dwork and Roth 2014, proposition 2.1).
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.codec import Codec, TableCodec
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


def distances(codec: Codec, seen: Seen, certificate: Certificate) -> list[Distance]:
    """The distance of each column whose frequencies were paid for.

    Args:
        codec: of the model.
        seen: the released records.
        certificate: of its fit.
    """
    found = []
    for name, held in seen.held.items():
        sigma = _deviation(certificate, name)
        paid = _paid(codec, name)
        if sigma is None or len(paid) < 2:
            continue
        value = float(np.abs(held / held.sum() - paid).sum() / 2)
        found.append(Distance(name, value, expected(paid, sigma / certificate.records, seen.records)))
    return found


def expected(shares: Floats, noise: float, n: int) -> float:
    """The mean distance between noisy shares and the shares of n records drawn from the true ones.

    Each cell is apart by about a normal variable, of mean size sqrt(2 / pi) times its deviation.

    Args:
        shares: of the cells (k,).
        noise: deviation of the noise of each.
        n: number of records drawn.
    """
    return float(np.sqrt(noise**2 + shares * (1 - shares) / n).sum() / 2 * math.sqrt(2 / math.pi))


def _paid(codec: Codec, name: str) -> Floats:
    """The noisy shares of a column's cells, which the codec keeps."""
    if isinstance(codec, TableCodec):
        masses = (codec.modelled | codec.given)[name].masses
    else:
        masses = np.array(codec.context.counts, dtype=float)
    return masses / masses.sum()


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
