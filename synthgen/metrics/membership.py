"""Membership: could an attacker who holds the synthetic records say who was in the training data?

Several attacks score records that were trained on and others that were not; each is judged by how many of the former
it finds at few false alarms, and all of them by what they find where there is a known leak, and none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier

from synthgen.metrics.features import learnable
from synthgen.metrics.neighbours import Points, nearest
from synthgen.metrics.statistics import LEVEL, Estimate, above_chance, auc, proportion

Floats = NDArray[np.float64]

NEAR = 10  # neighbours that an attack looks at
ISOLATED = 0.1  # of the records: those farthest from others
RATES = (0.001, 0.01, 0.1)  # false alarms
LEAKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)  # shares of training records that controls copy
TINY = 1e-6
MATERIAL = 1.25  # by how much an attacker's odds must rise for a leak to count: what an epsilon of 0.22 would allow
MATERIAL_AUC = 0.53


class Finding(NamedTuple):
    """How many members an attack finds at one rate of false alarms.

    `chance` is the most that could be found by chance, with all attacks and rates counted.
    """

    rate: float
    found: Estimate
    chance: float

    @property
    def exceeds(self) -> bool:
        """Whether more is found than chance explains."""
        return self.found.value > self.chance

    @property
    def leaks(self) -> bool:
        """Whether that is enough to matter: the odds rise by a quarter."""
        return self.exceeds and self.found.value >= MATERIAL * self.rate


class Attack(NamedTuple):
    """One attack on one population of records."""

    name: str
    records: str
    auc: Estimate
    at: tuple[Finding, ...]

    @property
    def exceeds(self) -> bool:
        """Whether it finds more than chance at any rate, or overall."""
        return self.auc.low > 0.5 or any(f.exceeds for f in self.at)

    @property
    def leaks(self) -> bool:
        """Whether that is enough to matter."""
        return (self.auc.low > 0.5 and self.auc.value > MATERIAL_AUC) or any(f.leaks for f in self.at)


@dataclass(frozen=True)
class Round:
    """Records under attack, with distances to their nearest synthetic and reference records.

    Args:
        members: how many of them, from the start, were trained on.
        synthetic: distances (n, k) to synthetic records.
        reference: distances (n, k) to real records that are under no attack.
        odds: log-odds (n,) that boosted trees give each for being synthetic rather than real.
    """

    members: int
    synthetic: NDArray[np.floating]
    reference: NDArray[np.floating]
    odds: Floats

    def copied(self, points: Points, copies: Points) -> Round:
        """The same if the synthetic records held these copies, too."""
        if not len(copies):
            return self
        near = nearest(points, copies, NEAR)[0]
        near[:, min(NEAR, len(copies)) :] = np.inf
        return replace(self, synthetic=np.sort(np.concatenate([self.synthetic, near], axis=1), axis=1)[:, :NEAR])


def log_odds(synthetic: Floats, reference: Floats, judged: Floats, seed: int = 0) -> Floats:
    """Log-odds (n,) of `judged` for being synthetic, by boosted trees fitted on two sets of records."""
    n = min(len(synthetic), len(reference))
    rng = np.random.default_rng(seed)
    x = np.concatenate([part[rng.permutation(len(part))[:n]] for part in (synthetic, reference)])
    model = HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=seed)
    return np.asarray(model.fit(learnable(x), np.repeat([1, 0], n)).decision_function(judged), dtype=np.float64)


def _simple(r: Round) -> dict[str, Floats]:
    """Scores (n,) of the attacks that learn nothing; high means trained on."""
    s, t = (np.log(d + TINY) for d in (r.synthetic, r.reference))
    inside = (r.synthetic <= r.reference[:, [NEAR // 2]]).sum(axis=1)
    return {
        "nearest record": -s[:, 0],
        "nearest, against real": t[:, 0] - s[:, 0],
        "density, against real": (t - s).mean(axis=1),
        "share of neighbours": inside + 0.5 * np.tanh(t[:, 0] - s[:, 0]),
        "boosted density ratio": r.odds,
    }


def _learned(r: Round, simple: dict[str, Floats], seed: int) -> Floats:
    """Scores (n,) of a classifier that has seen half of the answers, and of another for the other half."""
    x = np.stack([*simple.values(), *np.log(r.synthetic.T + TINY), *np.log(r.reference.T + TINY)], axis=1)
    member = np.arange(len(x)) < r.members
    half = np.random.default_rng(seed).random(len(x)) < 0.5
    scores = np.full(len(x), 0.5)  # the middle rank, where there is nothing to learn from
    for fitted, judged in ((half, ~half), (~half, half)):
        if len(np.unique(member[fitted])) == 2 and judged.any():
            model = HistGradientBoostingClassifier(
                max_iter=50, learning_rate=0.05, max_leaf_nodes=8, early_stopping=False, random_state=seed
            )
            # an almost even score would be decided by the half it comes from
            scores[judged] = _ranks(model.fit(x[fitted], member[fitted]).decision_function(x[judged]))
    return scores


def _ranks(x: Floats) -> Floats:
    """Ranks (n,) in [0, 1]; those of ties are equal, else members, who come first, would lie below others."""
    return np.asarray((stats.rankdata(x) - 0.5) / len(x))


def attack(rounds: Sequence[Round], seed: int = 0) -> list[Attack]:
    """All attacks, on all records and on the most isolated ones, with intervals that count how many there are.

    Args:
        rounds: records that are attacked with different reference records.
        seed: breaks ties, and halves the records for the attack that learns.
    """
    scores: dict[str, list[Floats]] = {}
    for i, r in enumerate(rounds):
        simple = _simple(r)
        for name, score in {**simple, "trained classifier": _learned(r, simple, seed + i)}.items():
            scores.setdefault(name, []).append(score)
    populations = {"all": [np.ones(len(r.odds), dtype=bool) for r in rounds], "isolated": [_lonely(r) for r in rounds]}
    level = LEVEL / (len(scores) * len(populations) * (len(RATES) + 1))
    rng = np.random.default_rng(seed)
    found = []
    for records, kept in populations.items():
        if not any(k.any() for k in kept):
            continue
        for name, parts in scores.items():
            jittered = [p + 1e-9 * rng.standard_normal(len(p)) for p in parts]
            inside, outside = (
                [
                    p[k & ((np.arange(len(p)) < r.members) == member)]
                    for p, k, r in zip(jittered, kept, rounds, strict=True)
                ]
                for member in (True, False)
            )
            if all(len(p) for p in (*inside, *outside)):
                at = tuple(_at(np.concatenate(inside), np.concatenate(outside), rate, level) for rate in RATES)
                found.append(Attack(name, records, auc(inside, outside, level), at))
    return found


def _lonely(r: Round) -> NDArray[np.bool_]:
    """The records farthest from reference records, whom an outlier's fate awaits (Meeus et al. 2023)."""
    far = r.reference.mean(axis=1)
    return np.asarray(far >= np.quantile(far, 1 - ISOLATED))


def _at(inside: Floats, outside: Floats, rate: float, level: float) -> Finding:
    """Members above the threshold that a share of outsiders is above."""
    place = max(1, round(rate * len(outside)))
    threshold = np.partition(outside, len(outside) - place)[len(outside) - place]
    hits = int((inside > threshold).sum())
    chance = above_chance(len(inside), len(outside), place, level) / len(inside)
    return Finding(rate, proportion(hits, len(inside), level), chance)


def worst(attacks: Sequence[Attack], rate: float) -> tuple[Attack, Finding]:
    """The attack that finds most at a rate of false alarms, relative to chance."""
    pairs = [(a, f) for a in attacks for f in a.at if f.rate == rate]
    return max(pairs, key=lambda pair: pair[1].found.value - pair[1].chance)


def controls(
    rounds: Sequence[Round], points: Sequence[Points], seed: int = 0, each: Callable[[float], None] | None = None
) -> tuple[list[Attack], dict[float, bool]]:
    """What the attacks find where nothing leaks, and whether they notice that a share of members was copied.

    Args:
        rounds: with distances to real records, neither members nor reference, in the place of synthetic ones.
        points: of the records of each round (n, d).
        seed: of the choice of copies.
        each: called with the share done.

    Returns:
        The attacks on the negative control; for each share of copies whether any attack finds it.
    """
    negative, noticed = attack(rounds, seed), {}
    for i, share in enumerate(LEAKS):
        copied = []
        for r, x in zip(rounds, points, strict=True):
            some = np.random.default_rng(seed).permutation(r.members)[: round(share * r.members)]
            copied.append(r.copied(x, x[some]))
        noticed[share] = any(a.leaks for a in attack(copied, seed))
        if each:
            each((i + 1) / len(LEAKS))
    return negative, noticed


def smallest(noticed: Mapping[float, bool]) -> float | None:
    """The smallest share of copies from which on all are noticed; None if not even the largest is."""
    found = None
    for share in sorted(noticed, reverse=True):
        if not noticed[share]:
            break
        found = share
    return found
