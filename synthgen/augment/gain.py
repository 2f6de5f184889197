"""Gain: figures of strategies with intervals, their paired differences, and what follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from synthgen.augment.figures import FIGURES, Figure
from synthgen.augment.strategies import NOTHING, SYNTHGEN
from synthgen.metrics.statistics import LEVEL, Estimate

Floats = NDArray[np.float64]
Values = Mapping[tuple[str, str, str], Floats]  # of splits (n,), by learner, strategy and figure

DECIDING = [f for f in FIGURES if f.decides]
ADVICE = {"class weights": "with class weights", "duplication": "duplicated", "SMOTE": "with SMOTE"}


def corrected(values: Floats, ratio: float, level: float = LEVEL) -> Estimate:
    """The mean of a figure over splits, with the corrected resampled t interval of Nadeau and Bengio (2003).

    Training parts overlap, so that splits tell less than as many independent ones: the variance of their mean is
    taken for (1 / n + ratio) times that of one.

    Args:
        values: of the splits (n,); those that are NaN are left out.
        ratio: of test to training records, 1 / (folds - 1).
        level: one minus the coverage of the interval.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Estimate(float(values.mean()) if len(values) else float("nan"), float("-inf"), float("inf"))
    error = np.sqrt((1 / len(values) + ratio) * values.var(ddof=1))
    reach = float(stats.t.ppf(1 - level / 2, len(values) - 1) * error)
    return Estimate(float(values.mean()), float(values.mean()) - reach, float(values.mean()) + reach)


class Verdict(NamedTuple):
    """What follows for a learner, or for all: `gain`, `no gain`, or `loss` against doing nothing."""

    learner: str
    kind: str
    text: str


class Gain(NamedTuple):
    """What cross-validation found.

    Args:
        values: figures (splits,) by learner, strategy and figure.
        ratio: of test to training records.
        classes: of the target.
        counts: records of each that were measured on.
        scored: the classes that figures are averaged over; of two, the rarer one.
        planned: splits that were to be measured.
    """

    values: Values
    ratio: float
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    scored: list[int]
    planned: int

    @property
    def learners(self) -> list[str]:
        """Their names."""
        return list(dict.fromkeys(learner for learner, _, _ in self.values))

    @property
    def strategies(self) -> list[str]:
        """Their names, that of the generator's rows last."""
        return list(dict.fromkeys(strategy for _, strategy, _ in self.values))

    @property
    def splits(self) -> int:
        """How many were measured."""
        return len(next(iter(self.values.values())))

    @property
    def level(self) -> float:
        """One minus the coverage of differences' intervals: all on which verdicts rest hold at 95 % (Bonferroni)."""
        return LEVEL / (len(self.learners) * len(DECIDING))

    def estimate(self, learner: str, strategy: str, figure: str) -> Estimate:
        """A figure with its 95 % interval, which does not leave what the figure can be."""
        found = corrected(self.values[learner, strategy, figure], self.ratio)
        low, high = next(f.bounds for f in FIGURES if f.key == figure)
        return found._replace(low=max(low, found.low), high=min(high, found.high))

    def difference(self, learner: str, figure: str, a: str, b: str, tests: int = 1) -> Estimate:
        """How much more strategy a gets than b on the same splits, with an interval at `level` for so many tests."""
        values = self.values[learner, a, figure] - self.values[learner, b, figure]
        return corrected(values, self.ratio, self.level / tests)

    def best_other(self, learner: str, figure: str) -> str:
        """The strategy without a generator that has the highest mean."""
        rest = [s for s in self.strategies if s != SYNTHGEN]
        return max(rest, key=lambda s: self.estimate(learner, s, figure).value)

    def better(self, learner: str, figure: str, strategy: str) -> bool:
        """Whether a strategy is shown to be better than each of the others.

        To be better than all, it must pass the test against every one: that needs no further correction (Berger,
        1982), while the best of them, chosen by its luck in these splits, is no easier to beat for it.
        """
        rest = [s for s in self.strategies if s != strategy]
        return all(self.difference(learner, figure, strategy, s).low > 0 for s in rest)

    def verdict(self, learner: str) -> Verdict:
        """What follows for one learner."""
        won = [f for f in DECIDING if self.better(learner, f.key, SYNTHGEN)]
        lost = [f for f in DECIDING if self.difference(learner, f.key, SYNTHGEN, NOTHING).high < 0]
        if won:
            return Verdict(learner, "gain", f"{learner}: gain: {self._sentence(learner, won[0])}")
        if lost:
            return Verdict(learner, "loss", f"{learner}: loss: {self._sentence(learner, lost[0], NOTHING)}")
        texts = "; ".join(self._sentence(learner, f) for f in DECIDING)
        return Verdict(learner, "no gain", f"{learner}: no gain: {texts}")

    def _sentence(self, learner: str, figure: Figure, rival: str | None = None) -> str:
        rival = rival or self.best_other(learner, figure.key)
        mine, theirs = (self.estimate(learner, s, figure.key).value for s in (SYNTHGEN, rival))
        found = self.difference(learner, figure.key, SYNTHGEN, rival)
        return (
            f"{figure.name} {mine:.3f} with {SYNTHGEN}'s rows, {theirs:.3f} with {rival}, "
            f"difference {found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        )

    def overall(self) -> Verdict:
        """What follows for all: use the rows, or your own alone, and with which learner something else."""
        verdicts = [self.verdict(learner) for learner in self.learners]
        gains, losses = ([v.learner for v in verdicts if v.kind == kind] for kind in ("gain", "loss"))
        if gains:
            but = [v.learner for v in verdicts if v.kind != "gain"]
            rest = f", not for {' and '.join(but)}" if but else ""
            return Verdict("", "gain", f"gain: train {' and '.join(gains)} with the drawn rows{rest}")
        worse = f"; with the drawn rows, {' and '.join(losses)} gets worse" if losses else ""
        return Verdict("", "loss" if losses else "no gain", f"no gain: train on your own rows{self._advice()}{worse}")

    def _advice(self) -> str:
        """What else is shown to be better than nothing."""
        found = []
        for learner in self.learners:
            for strategy in [s for s in self.strategies if s in ADVICE]:
                if any(self.difference(learner, f.key, strategy, NOTHING, len(ADVICE)).low > 0 for f in DECIDING):
                    found.append(f"{ADVICE[strategy]} for {learner}")
                    break
        return f", {' and '.join(found)}" if found else ""

    def notes(self) -> Iterator[str]:
        """What a reader of the figures has to know."""
        if len(self.classes) > 2:
            yield f"figures are means over {len(self.scored)} of {len(self.classes)} classes, each against the rest"
        else:
            k = self.scored[0]
            yield f"figures are those of class {self.classes[k]!r}, which {self.counts[k]} of {sum(self.counts)} have"
        if self.splits < self.planned:
            yield f"{self.splits} of {self.planned} splits were measured in the time given"
        for learner in self.learners:
            mine, plain = (self.estimate(learner, s, "calibration_intercept").value for s in (SYNTHGEN, NOTHING))
            if abs(mine) > abs(plain) + 0.5:
                yield (
                    f"{learner}: probabilities learned with the drawn rows are off by {mine:+.1f} in log-odds "
                    f"({plain:+.1f} without): calibrate them, or choose the threshold on real rows"
                )

    def rows(self, learner: str) -> list[tuple[str | None, ...]]:
        """A line for each strategy: its name and figures with 95 % intervals, none where it is not determined."""
        found = {s: [self.estimate(learner, s, f.key) for f in FIGURES] for s in self.strategies}
        return [(s, *(str(e) if np.isfinite(e).all() else None for e in estimates)) for s, estimates in found.items()]

    def to_dict(self) -> dict[str, Any]:
        """All figures, differences and verdicts, for JSON."""
        overall = self.overall()
        return {
            "verdict": overall.kind,
            "reason": overall.text,
            "splits": self.splits,
            "level": self.level,
            "scored": [self.classes[k] for k in self.scored],
            "notes": list(self.notes()),
            "learners": {learner: self._learner(learner) for learner in self.learners},
        }

    def _learner(self, learner: str) -> dict[str, Any]:
        verdict = self.verdict(learner)
        return {
            "verdict": verdict.kind,
            "reason": verdict.text,
            "figures": {
                s: {f.key: _finite(self.estimate(learner, s, f.key)) for f in FIGURES} for s in self.strategies
            },
            "differences": {
                s: {f.key: _finite(self.difference(learner, f.key, SYNTHGEN, s)) for f in FIGURES}
                for s in self.strategies
                if s != SYNTHGEN
            },
        }


def _finite(estimate: Estimate) -> dict[str, float | None]:
    """An estimate for JSON, which has no infinity."""
    return {k: float(v) if np.isfinite(v) else None for k, v in estimate._asdict().items()}
