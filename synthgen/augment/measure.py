"""Measure: do drawn rows help? Cross-validation in which all that is added comes from the training folds alone."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sklearn.model_selection import RepeatedStratifiedKFold

from synthgen.augment.drawing import Fitting
from synthgen.augment.figures import figures
from synthgen.augment.gain import Gain, Values
from synthgen.augment.labelled import Ints, Labelled, labelled
from synthgen.augment.learners import ImageLearners, TableLearners
from synthgen.augment.rows import Wanted
from synthgen.augment.strategies import SYNTHGEN, Strategy, others
from synthgen.data import Images, as_dataset
from synthgen.errors import Interrupted, SynthgenError

SAMPLE = 20_000  # records that are measured on, at most
LEAST = 2  # records of a class in each test fold, on average, that it is scored by

Progress = Callable[[float], None]


class TooFew(SynthgenError):
    """A class has too few records for models to be scored by."""


def does_it_help(
    data: Any,
    target: str | None = None,
    strategy: Any = "balance",
    generator: Any = "gmm",
    *,
    folds: int = 5,
    repeats: int = 3,
    seed: int = 0,
    seconds: float | None = None,
    options: Mapping[str, Any] | None = None,
    together: bool = False,
    report: Progress = lambda done: None,
    interrupted: Callable[[], bool] | None = None,
) -> Gain:
    """Measure whether models learn more with a generator's rows than with class weights, duplicates, or nothing.

    In each of `folds` times `repeats` stratified splits, whatever is added is made from the training part alone, and
    every model is tested on the same untouched rest.

    Args:
        data: a path, a pandas frame, anything with an Arrow stream, a Table, or Images.
        target: the column that holds the classes; of images their folders are.
        strategy: "balance", so many records in the proportions of the classes, or so many of each: `{"yes": 100}`.
            Of a training part, as large a share is due as it has of all records.
        generator: name of an installed generator, or a Generator class.
        folds: parts that a repeat is cut into, each of which is once tested on.
        repeats: how often the records are cut afresh.
        seed: of the splits, the fits, and the models.
        seconds: that all may take; splits that do not fit in are left out.
        options: of Synthesizer.
        together: all classes share one generator, instead of one each.
        report: called with the share done.
        interrupted: asked whether to stop.

    Raises:
        SynthgenError: the target holds no classes, or the generator cannot be fitted.
        TooFew: fewer than two classes can be scored.
        Interrupted: `interrupted` said so.
    """
    dataset = as_dataset(data)
    known, _ = labelled(dataset, target)
    sample, share = _sampled(known, seed)
    scored = _scored(sample, folds)
    fitting = Fitting(generator, {"seed": seed, **(options or {})}, together, interrupted=interrupted)
    run = _Run(sample, Wanted.of(strategy), fitting, seed, share, scored, report)
    cuts = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        splits = list(cuts.split(np.zeros(len(sample.y)), sample.y))
    start = time.monotonic()
    for k, (train, test) in enumerate(splits):
        if seconds is not None and k > 1 and (time.monotonic() - start) * (k + 1) / k > seconds:
            break  # the next one would not be done in time
        run.split(k, sample.part(np.sort(train)), sample.part(np.sort(test)), len(splits))
    return Gain(
        run.values(), 1 / (folds - 1), sample.classes, tuple(int(n) for n in sample.counts), scored, len(splits)
    )


@dataclass
class _Run:
    """What is found, split by split."""

    known: Labelled
    wanted: Wanted
    fitting: Fitting
    seed: int
    share: float
    scored: list[int]
    report: Progress
    found: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)

    def split(self, k: int, train: Labelled, test: Labelled, splits: int) -> None:
        """Train every learner under every strategy, and test it."""
        counts = self.wanted.counts(train, self.share * len(train.y) / len(self.known.y))
        learners = (ImageLearners if isinstance(train.data, Images) else TableLearners)(train, test)
        strategies = [*others(train), Strategy(SYNTHGEN, self._drawn)]
        steps = splits * len(strategies) * len(learners.names)
        done = k * len(strategies) * len(learners.names)
        for strategy in strategies:
            self._heed(done, steps, 0.0)
            added = strategy.add(train, counts, self.seed + k)
            for name in learners.names:
                heed = partial(self._heed, done, steps)
                chances = learners.predict(name, added, strategy.weighted, self.seed, heed)
                for key, value in figures(test.y, chances, self.scored).items():
                    self.found.setdefault((name, strategy.name, key), []).append(value)
                done += 1
                self._heed(done, steps, 0.0)

    def _drawn(self, train: Labelled, counts: Ints, seed: int) -> Labelled | None:
        """Records of a generator that is fitted on these alone."""
        if not counts.sum():
            return None
        return self.fitting.fit(train, counts).draw(counts, seed)

    def _heed(self, done: int, steps: int, part: float) -> None:
        if self.fitting.interrupted and self.fitting.interrupted():
            raise Interrupted("interrupted; nothing was written")
        self.report((done + part) / steps)

    def values(self) -> Values:
        """Figures (splits,) by learner, strategy and figure."""
        return {key: np.array(values) for key, values in self.found.items()}


def _sampled(known: Labelled, seed: int) -> tuple[Labelled, float]:
    """At most so many records as are measured on, with the proportions of the classes, and their share of all."""
    if len(known.y) <= SAMPLE:
        return known, 1.0
    rows = np.random.default_rng([seed, 5]).permutation(len(known.y))[:SAMPLE]
    return known.part(np.sort(rows)), SAMPLE / len(known.y)


def _scored(known: Labelled, folds: int) -> list[int]:
    """The classes that figures are averaged over: of two the rarer one, of more all that the test folds have.

    Raises:
        TooFew: there are not enough records.
    """
    held = known.counts
    enough = [k for k, n in enumerate(held) if n >= LEAST * folds]
    if len(enough) < 2:
        rare = f"class {known.classes[known.rarest]!r} has {held[known.rarest]} {known.data.noun}"
        raise TooFew(
            f"nothing can be measured: {rare}, and {folds} folds need {LEAST * folds} of two classes; give fewer folds"
        )
    return [known.rarest] if (held > 0).sum() == 2 else enough
