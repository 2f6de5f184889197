"""Sketch: images made up of noisy sums. Few numbers say what the images of a class have in common.

A noisy mean and noisy principal components of all images; on these, for each class, a mixture of Gaussians by noisy
k-means with one noisy covariance. Each is a sum over records that are clipped to a norm, with Gaussian noise
(Dwork et al., Analyze Gauss, 2014; Su et al., Differentially private k-means clustering, 2016). Everything after a sum
only processes what it said.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from synthgen.dp.budget import Budget
from synthgen.dp.ledger import COUNTS, SUM, Charge
from synthgen.dp.noise import discrete_gaussian
from synthgen.dp.sgd import GRID, _fresh_draws, noised

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHARES = {"mean": 0.02, "lengths": 0.01, "components": 0.15, "means": 0.08, "clusters": 0.24, "covariances": 0.5}
BINS = 64  # of lengths
LONG = 0.9  # share of the images that are not shortened
FEW, MANY = 16, 50  # components
ROUNDS = 3  # of k-means
SURE = 60.0  # deviations of noise that a cluster should hold
MOST = 30  # clusters of a class
AROUND, WITHIN = 0.7, 0.45  # of the bound: how far images are from the mean of their class, and of their cluster


class Sketch:
    """Asks for the sums, within its part of the budget.

    Args:
        x: vectors (N, D) of numbers in [-1, 1].
        label: class of each (N,), from 0; -1 for those that do not count.
        held: about how many there are of each class, which was paid for.
        budget: that pays.
        rho: to spend.
    """

    def __init__(self, x: Floats, label: Ints, held: Floats, budget: Budget, rho: float) -> None:
        self._x, self._label = x[label >= 0], label[label >= 0]
        self.held, self.budget, self.rho = np.maximum(held, 1.0), budget, rho
        with _fresh_draws(torch.device("cpu")):
            self.random = np.random.default_rng(int(torch.randint(2**62, ())))

    def draw(self, n: int) -> tuple[Floats, Ints]:
        """Made-up vectors (n, D) and their classes (n,), as often as they are held."""
        mean, basis = self._components()
        centres, weights, spread = self._clusters()
        chance = self.held / self.held.sum()
        label = np.repeat(np.arange(len(chance)), np.maximum(1, np.round(chance * n)).astype(int))
        z = np.empty((len(label), basis.shape[1]))
        for k in range(len(chance)):
            mine = np.flatnonzero(label == k)
            cluster = self.random.choice(len(weights[k]), len(mine), p=weights[k] / weights[k].sum())
            z[mine] = centres[k][cluster] + self.random.normal(size=(len(mine), basis.shape[1])) @ spread[k].T
        return np.clip(mean + z @ basis.T, -1, 1), label

    def _sum(self, what: str, part: str, sums: Floats, times: int = 1) -> Floats:
        """Noisy sums of which one record moves all by 1 at most, for a part of rho."""
        rho = SHARES[part] * self.rho / times
        sigma = math.sqrt(1 / (2 * rho))
        self.budget.charge(Charge(what, SUM, sigma, rho))
        return noised(sums, sigma, GRID)

    def _components(self) -> tuple[Floats, Floats]:
        """The mean (D,) and principal components (D, d) of all; from then on only the components are looked at."""
        size = self._x.shape[1]
        longest = math.sqrt(size)
        mean = self._sum("mean of the images", "mean", self._x.sum(0) / longest) * longest / self.held.sum()
        x = self._x - mean
        rho = SHARES["lengths"] * self.rho
        self.budget.charge(Charge("lengths of the images", COUNTS, math.sqrt(1 / (2 * rho)), rho))
        counts = np.histogram(np.linalg.norm(x, axis=1), BINS, (0, 2 * longest))[0]
        below = np.maximum(discrete_gaussian(counts, math.sqrt(1 / (2 * rho))), 0).cumsum()
        self.bound = 2 * longest * (1 + int(np.searchsorted(below, LONG * below[-1]))) / BINS
        x = _shortened(x, self.bound)
        moment = _even(self._sum("principal components", "components", x.T @ x / self.bound**2))
        values, vectors = np.linalg.eigh(moment)
        edge = math.sqrt(2 * size / (2 * SHARES["components"] * self.rho))  # of the eigenvalues of noise
        rank = min(size, max(FEW, min(MANY, 2 * int((values > edge).sum()))))
        basis = vectors[:, ::-1][:, :rank]
        self._z = x @ basis
        self.spread = np.maximum(values[::-1][:rank], 0) * self.bound**2 / self.held.sum()
        return mean, basis

    def _clusters(self) -> tuple[list[Floats], list[Floats], list[Floats]]:
        """Of each class: centres (K, d), weights (K,), and a root (d, d) of the covariance about them."""
        classes, rank = len(self.held), self._z.shape[1]
        own = [self._z[self._label == k] for k in range(classes)]
        sums = self._sum("means of the classes", "means", np.stack([z.sum(0) for z in own]) / self.bound)
        means = sums * self.bound / self.held[:, None]
        centres, weights = self._k_means(own, means)
        within, outer = WITHIN * self.bound, np.empty((classes, rank, rank))
        for k, z in enumerate(own):
            about = _shortened(z - centres[k][_nearest(z, centres[k])], within) / within
            outer[k] = about.T @ about
        outer = self._sum("covariances of the classes", "covariances", outer)
        noise = math.sqrt(2 * rank / (2 * SHARES["covariances"] * self.rho))
        return (
            centres,
            weights,
            [_root(_even(o), noise) * within / math.sqrt(n) for o, n in zip(outer, self.held, strict=True)],
        )

    def _k_means(self, own: list[Floats], means: Floats) -> tuple[list[Floats], list[Floats]]:
        """Centres (K, d) and weights (K,) of the clusters of each class, by Lloyd's rounds with noisy sums."""
        around, rank = AROUND * self.bound, means.shape[1]
        deviation = math.sqrt(2) * math.sqrt(ROUNDS / (2 * SHARES["clusters"] * self.rho))  # of the noise of a count
        several = np.clip(self.held / (SURE * deviation), 1, MOST).astype(int)
        shape = [(k, rank) for k in several]
        centres = [
            m + 0.4 * self.random.normal(size=s) * np.sqrt(self.spread) for m, s in zip(means, shape, strict=True)
        ]
        weights = [np.full(k, n / k) for k, n in zip(several, self.held, strict=True)]
        for _ in range(ROUNDS):
            sums = [np.zeros((k, rank + 1)) for k in several]
            for k, z in enumerate(own):
                about = np.column_stack([_shortened(z - means[k], around) / around, np.ones(len(z))])
                np.add.at(sums[k], _nearest(z, centres[k]), about / math.sqrt(2))
            noisy = self._sum("clusters of the classes", "clusters", np.concatenate(sums), ROUNDS) * math.sqrt(2)
            for k, found in enumerate(np.split(noisy, np.cumsum(several)[:-1])):
                there = found[:, -1] > 5 * deviation
                weights[k] = np.where(there, found[:, -1], 1e-9)
                moved = means[k] + found[:, :-1] * around / np.maximum(found[:, -1:], 1)
                centres[k] = np.where(there[:, None], moved, centres[k])
        return centres, weights


def _shortened(x: Floats, bound: float) -> Floats:
    """Vectors (n, d), none longer than the bound."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x * np.minimum(1, bound / np.maximum(length, 1e-12))


def _nearest(z: Floats, centres: Floats) -> Ints:
    """Which of the centres (K, d) is nearest to each vector (n, d)."""
    return (np.square(centres).sum(1) - 2 * z @ centres.T).argmin(1)


def _even(matrix: Floats) -> Floats:
    return (matrix + matrix.T) / 2


def _root(covariance: Floats, noise: float) -> Floats:
    """A root of a covariance, less what noise adds to its eigenvalues where these are hardly larger."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(np.where(values < 2 * noise, values - noise, values), 0))
