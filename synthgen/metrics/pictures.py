"""Pictures: how far two sets of feature vectors are from each other, whatever network or table the features are from.

All functions take matrices (n, d) of finite numbers, one record per row, and hold at most a block of the n x n
matrices in memory. Their figures depend on the unit of the features, so scale these first with `scaled`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from synthgen.errors import SynthgenError

BLOCK = 1 << 22  # entries of the matrices held at once
ROUNDING = 1e-12  # of squared norms: what two equal records, multiplied out, may seem to lie apart
TIES = 1 + 1e-9  # radii are this much larger, since the same distance comes out in two ways

Matrix = NDArray[np.float64]


def scaled(real: NDArray[np.floating], *others: NDArray[np.floating]) -> list[Matrix]:
    """All matrices divided by one number, the standard deviation of all entries of the real one.

    One per dimension would let those explode that are nearly constant.
    """
    unit = float(np.std(real, dtype=np.float64)) or 1.0
    return [np.asarray(x, np.float64) / unit for x in (real, *others)]


class Distance(NamedTuple):
    """A figure and its standard error."""

    value: float
    error: float


def kernel_distance(a: Matrix, b: Matrix) -> Distance:
    """Squared maximum mean discrepancy of two sets with the kernel (x·y / d + 1)³: "KID" on Inception's features.

    Unbiased, so that it may be negative; 0 where both are of one distribution. The error counts the chance of both
    sets, and holds for equal distributions too, where that of the first order vanishes. Often given times 1000.
    Source: Bińkowski et al., Demystifying MMD GANs, 2018; Gretton et al., A kernel two-sample test, 2012.

    Args:
        a: features (n, d), n at least 2.
        b: features (m, d), m at least 2.

    Raises:
        SynthgenError: a set is too small.
    """
    _check_size(min(len(a), len(b)), 2)
    n, m = len(a), len(b)
    aa, bb, ab = _kernel(a, a, within=True), _kernel(b, b, within=True), _kernel(a, b)
    value = aa.rows.mean() + bb.rows.mean() - 2 * ab.rows.mean()
    # each record's part in the value tells the variance of first order, but counts that of second order twice
    first = 4 * (aa.rows - ab.rows).var(ddof=1) / n + 4 * (bb.rows - ab.columns).var(ddof=1) / m
    second = 2 * aa.variance / n**2 + 2 * bb.variance / m**2 + 4 * ab.variance / (n * m)
    return Distance(float(value), float(np.sqrt(max(first - second, second, 0))))


class _Kernel(NamedTuple):
    """Means of a kernel matrix by rows and columns, and the variance of what these do not explain."""

    rows: Matrix
    columns: Matrix
    variance: float


def _kernel(x: Matrix, y: Matrix, within: bool = False) -> _Kernel:
    """The kernel between two sets; `within` one, no record is paired with itself."""
    n, m = len(x), len(y)
    rows, columns, squares = np.empty(n), np.zeros(m), 0.0
    for part in _parts(n, m):
        base = x[part] @ y.T / x.shape[1] + 1
        k = base * base * base
        if within:
            k[np.arange(len(k)), np.arange(n)[part]] = 0
        rows[part] = k.sum(axis=1)
        columns += k.sum(axis=0)
        squares += np.vdot(k, k)
    rows, columns = rows / (m - within), columns / (n - within)
    left = squares / (n * (m - within)) - rows @ rows / n - columns @ columns / m + rows.mean() ** 2
    return _Kernel(rows, columns, float(left))


def frechet_distance(a: Matrix, b: Matrix) -> float:
    """Squared Fréchet distance of two normal distributions with the sets' means and covariances.

    It is "FID" on Inception's features only. Biased upwards, by more the fewer the records: compare it only at equal
    numbers, and with that of two real sets. Source: Heusel et al., GANs trained by a two time-scale rule, 2017.

    Args:
        a: features (n, d), n at least 2.
        b: features (m, d), m at least 2.

    Raises:
        SynthgenError: a set is too small.
    """
    _check_size(min(len(a), len(b)), 2)
    # with C = R'R of each set, the trace of the root of the product of both is the sum of singular values of R S'
    roots = [np.asarray(np.linalg.qr(x - x.mean(axis=0), mode="r")) / np.sqrt(len(x) - 1) for x in (a, b)]
    common = np.linalg.norm(roots[0] @ roots[1].T, "nuc")
    spread = sum(np.vdot(root, root) for root in roots)
    shift = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return max(0.0, float(shift + spread - 2 * common))


class Neighbourhoods(NamedTuple):
    """What share of each set lies near the other; see `neighbourhoods`."""

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhoods(real: Matrix, fake: Matrix, k: int = 5) -> Neighbourhoods:
    """Precision, recall, density and coverage at once, from balls that reach to each record's k-th neighbour.

    Precision: the share of fake records in a ball of a real one. Recall: of real ones in a ball of a fake one.
    Density: how many of the real balls a fake record lies in, per k. Coverage: the share of real balls that hold a
    fake record. Of fresh real records at equal numbers, density is 1 and coverage 1 - 2^-k on average, whatever the
    dimension; precision and recall are the smaller the higher it is, and generous to outliers.
    Source: Kynkäänniemi et al., Improved precision and recall metric, 2019; Naeem et al., Reliable fidelity and
    diversity metrics, 2020.

    Args:
        real: features (n, d).
        fake: features (m, d).
        k: which neighbour the balls reach to.

    Raises:
        SynthgenError: a set has no k + 1 records.
    """
    _check_size(min(len(real), len(fake)), k + 1)
    centre = real.mean(axis=0)
    real, fake = real - centre, fake - centre
    own, other = (_radii(x, k) for x in (real, fake))
    nearest, recalled = np.full(len(real), np.inf), np.zeros(len(real), dtype=bool)
    precise = balls = 0
    for part, squares in _squares(fake, real):
        inside = squares <= own
        precise += int(inside.any(axis=1).sum())
        balls += int(inside.sum())
        recalled |= (squares <= other[part, None]).any(axis=0)
        nearest = np.minimum(nearest, squares.min(axis=0))
    coverage = float((nearest <= own).mean())
    return Neighbourhoods(precise / len(fake), float(recalled.mean()), balls / (k * len(fake)), coverage)


def _radii(x: Matrix, k: int) -> Matrix:
    """Squared distance (n,) of each record to its k-th neighbour, which is not itself."""
    return TIES * np.concatenate([np.partition(squares, k, axis=1)[:, k] for _, squares in _squares(x, x)])


def _squares(x: Matrix, y: Matrix) -> Iterator[tuple[slice, Matrix]]:
    """Squared distances (rows, m) for some rows of x at a time; exactly 0 between equal records."""
    size, other = ((z * z).sum(axis=1) for z in (x, y))
    for part in _parts(len(x), len(y)):
        sizes = size[part, None] + other
        squares = sizes - 2 * (x[part] @ y.T)
        yield part, np.where(squares < ROUNDING * sizes, 0, squares)


def _parts(n: int, m: int) -> Iterator[slice]:
    """Pieces of n rows, such that a piece of an n x m matrix fits in a block."""
    step = max(1, BLOCK // m)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _check_size(n: int, least: int) -> None:
    if n < least:
        raise SynthgenError(f"a set of {n} is too small to be compared; give at least {least} records")


def inception_score(probabilities: Matrix) -> float:
    """How sure a classifier is of each record and how evenly it names all classes, from 1 to the number of classes.

    It sees no real record, and ranks sets only where its classes are theirs. Biased downwards for few records.
    Source: Salimans et al., Improved techniques for training GANs, 2016.

    Args:
        probabilities: of the classes, (n, classes); each row sums to 1.
    """
    return float(np.exp(rel_entr(probabilities, probabilities.mean(axis=0)).sum(axis=1).mean()))
