"""Noise: randomness that nobody can repeat, and the mechanisms that answer one question with it.

No seed reaches this file: whoever knew the seed could subtract the noise. Keys come from the operating system and
are used once, so that neither a fork nor a copy of the process's memory repeats or betrays what was drawn.
"""

import contextlib
import importlib
import logging
import math
import os
import secrets
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from synthgen.errors import ResourceError

INSTALL = "pip install 'synthgen-toolkit[dp]'"

Array = NDArray[np.float64]


def library(module: str) -> Any:
    """A module of a package that only private fits need, imported now.

    Raises:
        ResourceError: the package is not installed; the text says how to install it.
    """
    try:
        with _logging_untouched():
            return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ResourceError(f"a privacy budget needs the package {name}, which is not here: {INSTALL}") from error


@contextlib.contextmanager
def _logging_untouched() -> Iterator[None]:
    """A block in which `logging.basicConfig`, which Opacus calls when imported, changes nothing."""
    root, blank = logging.getLogger(), logging.NullHandler()
    root.addHandler(blank)  # basicConfig does nothing where there is a handler
    try:
        yield
    finally:
        root.removeHandler(blank)


def uniform(n: int) -> Array:
    """Numbers (n,) from (0, 1), each of the middles of 2^52 equal parts as likely as any other."""
    bits = np.frombuffer(os.urandom(8 * n), np.uint64) >> np.uint64(12)
    return (bits.astype(np.float64) + 0.5) * 2.0**-52  # exact: 53 bits


def chosen(n: int, rate: float) -> NDArray[np.int64]:
    """Indices of a Poisson sample: each of range(n) is in it with probability `rate`, independently of the others."""
    return np.flatnonzero(uniform(n) < rate)


def gaussian(shape: int | tuple[int, ...], sigma: float) -> Array:
    """Normal noise of mean 0 and deviation `sigma` in float64: of AES-128 in counter mode, else of system bits."""
    try:
        cipher = library("randomgen").AESCounter
    except ResourceError:
        return sigma * _box_muller(math.prod(np.atleast_1d(shape).tolist())).reshape(shape)
    key = int.from_bytes(os.urandom(16), "big")
    return sigma * np.random.Generator(cipher(key=key)).standard_normal(shape)


def _box_muller(n: int) -> Array:
    """Standard normal numbers (n,). Source: Box and Muller, A note on the generation of normal deviates, 1958."""
    radius, angle = np.sqrt(-2 * np.log(uniform(-(-n // 2)))), 2 * np.pi * uniform(-(-n // 2))
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]


def on_grid(values: Array, step: float) -> Array:
    """Values rounded to multiples of `step`, so that their last bits do not betray what noise was added to.

    Source: Haney et al., Precision-based attacks and interval refining, 2022.
    """
    return np.rint(values / step) * step


def discrete_gaussian(counts: NDArray[np.int64], sigma: float) -> NDArray[np.int64]:
    """Counts with discrete Gaussian noise, drawn exactly: 1 / (2 σ²)-zCDP where one record changes them by 1 in L2.

    OpenDP asks to say that its proof has not been vetted yet ("contrib"). Source: Canonne, Kamath and Steinke, The
    discrete Gaussian for differential privacy, 2020.

    Args:
        counts: integers of any shape.
        sigma: scale, greater than 0.

    Raises:
        ResourceError: OpenDP is not installed.
        ValueError: the scale is not positive and finite.
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"the scale of noise is {sigma}")
    if counts.size == 0:
        return counts.copy()
    dp = library("opendp.prelude")
    dp.enable_features("contrib")
    domain = dp.vector_domain(dp.atom_domain(T="i64"))
    mechanism = dp.m.make_gaussian(domain, dp.l2_distance(T="f64"), scale=float(sigma))
    return np.array(mechanism(counts.ravel().tolist()), np.int64).reshape(counts.shape)


def threshold(sigma: float, delta: float, most: int = 1) -> float:
    """The noisy count τ that a label must reach (≥ τ) to be named, for discrete Gaussian noise of scale `sigma`.

    Of the labels that one person alone holds, any passes with probability at most `delta`. With k = `most` records
    these are at most k labels, each counted at most k times, so each may pass with δ / k (union bound):
    P(k + Z ≥ τ) ≤ P(Y ≥ τ − k − 1) = δ / k for normal Y, as P(Z ≥ m) ≤ P(Y ≥ m − 1) for every integer m ≥ 1.
    Source: Canonne, Kamath and Steinke, 2020, Proposition 25; Korolova et al., Releasing search queries and clicks
    privately, 2009.

    Args:
        sigma: scale of the noise as it is drawn.
        delta: in (0, 1/2].
        most: how many records a person has, at least 1.

    Raises:
        ValueError: a parameter is out of bounds.
    """
    if not (0 < sigma < math.inf and 0 < delta <= 0.5 and most >= 1):
        raise ValueError(f"no threshold for noise of scale {sigma}, delta {delta} and {most} records of a person")
    return 1.0 + most - sigma * float(ndtri(delta / most)) * (1 + 1e-12)  # the last digits of ndtri are not certain


def exponential(scores: Sequence[float] | Array, sensitivity: float, epsilon: float) -> int:
    """An index, drawn with probability proportional to exp(ε score / (2 sensitivity)): ε-DP and ε²/8-zCDP.

    Drawn exactly, by rejection in rational arithmetic: an index is proposed uniformly and kept with probability
    exp(−ε (best − score) / (2 sensitivity)). Sources: McSherry and Talwar, Mechanism design via differential privacy,
    2007, Theorem 6; for zCDP Cesar and Rogers, Bounding, concentrating, and truncating, 2021.

    Args:
        scores: of the choices, none NaN or +∞; −∞ is never chosen.
        sensitivity: how far one record moves any score at most.
        epsilon: the price.

    Raises:
        ValueError: there is no choice, or a number is out of bounds.
    """
    values = np.asarray(scores, np.float64)
    best = float(values.max(initial=-math.inf))
    if not (math.isfinite(best) and 0 < sensitivity < math.inf and 0 < epsilon < math.inf):
        raise ValueError(f"no choice by scores up to {best}, sensitivity {sensitivity} and epsilon {epsilon}")
    open_to_choice = np.flatnonzero(values > -math.inf).tolist()
    rate = Fraction(epsilon) / (2 * Fraction(sensitivity))
    while True:
        index = open_to_choice[secrets.randbelow(len(open_to_choice))]
        if _happens((Fraction(best) - Fraction(float(values[index]))) * rate):
            return int(index)


def _happens(gamma: Fraction) -> bool:
    """True with probability exp(−γ), exactly. Source: Canonne, Kamath and Steinke, 2020, Algorithm 1."""
    while gamma > 1:
        if not _happens(Fraction(1)):
            return False
        gamma -= 1
    k = 1
    while secrets.randbelow(gamma.denominator * k) < gamma.numerator:
        k += 1
    return k % 2 == 1
