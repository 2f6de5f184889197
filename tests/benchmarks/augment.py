"""Measure on real tables where drawn rows help to learn a rare class, and print the tables of docs/augment.md.

    python tests/benchmarks/augment.py DATA [-t CASE]... [-g NAME] [--together] [--strategy balance|N|CLASS=N]
    python tests/benchmarks/augment.py DATA --draws 5 [--share 0.02] ...

DATA holds NAME.train.csv for the tables below. Of each, rows are drawn at random, so many of the rare class that they
have the share that is said. The figures are those of `does_it_help`, which is `synthgen augment`. With --draws,
training rows are drawn so many times instead, and models are tested on NAME.test.csv: intervals are over the draws.
"""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pyarrow as pa
from scipy import stats

from synthgen import read
from synthgen.augment import Gain, does_it_help
from synthgen.augment.drawing import Fitting
from synthgen.augment.figures import figures
from synthgen.augment.gain import corrected
from synthgen.augment.labelled import Labelled, labelled
from synthgen.augment.learners import TableLearners
from synthgen.augment.rows import Wanted
from synthgen.augment.strategies import SYNTHGEN, Strategy, others
from synthgen.data import Table


class Case(NamedTuple):
    """A table, its target and rare class, and how many rows are drawn with which share of it."""

    table: str
    target: str
    rare: str
    rows: int
    share: float


CASES = {
    "adult 1 %, 2000": Case("adult", "income", ">50K", 2000, 0.01),
    "adult 1 %, 5000": Case("adult", "income", ">50K", 5000, 0.01),
    "magic 2 %, 2000": Case("magic", "class", "h", 2000, 0.02),
    "default_credit 5 %, 2000": Case("default_credit", "default.payment.next.month", "1", 2000, 0.05),
    "shoppers 15 %, 2000": Case("shoppers", "Revenue", "TRUE", 2000, 0.15),
    "spambase 4 %, 1000": Case("spambase", "spam", "1", 1000, 0.04),
    "covertype, 7 classes, 3000": Case("covertype", "Cover_Type", "4", 3000, 0.01),
}


@click.command(help=__doc__)
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("-t", "--case", "cases", multiple=True, default=tuple(CASES))
@click.option("-g", "--generator", default="gmm")
@click.option("-s", "settings", multiple=True, help="KEY=VALUE for the generator.")
@click.option("--strategy", multiple=True, default=("balance",))
@click.option("--together", is_flag=True, help="One generator of all classes.")
@click.option("--draws", default=0, help="Test on held-out rows, so many times.")
@click.option("--share", type=float, help="Of the rare class, in place of the case's own.")
@click.option("--repeats", default=3)
@click.option("--seed", default=0)
def main(
    data: Path,
    cases: tuple[str, ...],
    generator: str,
    settings: tuple[str, ...],
    strategy: tuple[str, ...],
    together: bool,
    draws: int,
    share: float | None,
    repeats: int,
    seed: int,
) -> None:
    options: dict[str, Any] = dict(s.split("=", 1) for s in settings)
    for name in cases:
        start, case = time.process_time(), CASES[name]
        case = case._replace(share=share or case.share)
        if draws:
            for line in held_out(data, case, Fitting(generator, {"seed": seed, **options}, together), strategy, draws):
                print(line, flush=True)
            continue
        table = drawn(data, case, seed)
        found = does_it_help(
            table,
            CASES[name].target,
            strategy,
            generator,
            repeats=repeats,
            seed=seed,
            options=options,
            together=together,
        )
        for learner in found.learners:
            print("| " + " | ".join([name, learner, *_cells(found, learner)]) + " |", flush=True)
        seconds = time.process_time() - start
        print(
            json.dumps({"case": name, "generator": generator, "cpu": round(seconds, 1), **found.to_dict()}), flush=True
        )


def drawn(data: Path, case: Case, seed: int) -> Table:
    """Rows of a table, of which the rare class has its share; the target says whether a row is of it."""
    table: Table = read(data / f"{case.table}.train.csv")
    rare = np.array(table.data[case.target].to_pylist()) == case.rare
    rng, few = np.random.default_rng(seed), round(case.rows * case.share)
    rows = [rng.choice(np.flatnonzero(rare), few, False), rng.choice(np.flatnonzero(~rare), case.rows - few, False)]
    return table.take(np.sort(np.concatenate(rows)))


def held_out(data: Path, case: Case, fitting: Fitting, strategy: tuple[str, ...], draws: int) -> list[str]:
    """For each learner, strategy and deciding figure its mean, and how it differs from nothing, over training sets."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    test = _binary(read(data / f"{case.table}.test.csv"), case)
    test = test.take(np.sort(np.random.default_rng(99).permutation(len(test))[:5000]))
    for seed in range(draws):
        known, _ = labelled(_binary(drawn(data, case, 1000 + seed), case), case.target)
        counts = Wanted.of(strategy).counts(known)
        y = np.array([known.classes.index(label) for label in test.data[case.target].to_pylist()])
        judged = Labelled(test.declare(known.data.schema), y, known.classes, case.target)
        learners = TableLearners(known, judged)
        for way in [*others(known), Strategy(SYNTHGEN, lambda k, c, s: fitting.fit(k, c).draw(c, s))]:
            added = way.add(known, counts, seed)
            for learner in learners.names:
                scores = figures(
                    y, learners.predict(learner, added, way.weighted, 0, lambda done: None), [known.rarest]
                )
                found.setdefault((learner, way.name), []).append((scores["roc_auc"], scores["average_precision"]))
    lines = []
    for (learner, name), values in found.items():
        gain = np.array(values) - np.array(found[learner, "nothing"])
        reach = stats.t.ppf(0.975, draws - 1) * gain.std(axis=0, ddof=1) / np.sqrt(draws)
        cells = [
            f"{np.mean(v):.3f}, {g:+.3f} ± {r:.3f}"
            for v, g, r in zip(zip(*values, strict=True), gain.mean(axis=0), reach, strict=True)
        ]
        lines.append(f"| {case.table} | {learner} | {name} | {' | '.join(cells)} |")
    return lines


def _binary(table: Table, case: Case) -> Table:
    """The same with a target that says whether a row is of the rare class."""
    place = table.data.column_names.index(case.target)
    cells = ["rare" if label == case.rare else "other" for label in table.data[case.target].to_pylist()]
    return Table(table.data.set_column(place, case.target, pa.array(cells)), table.dialect)


def _cells(found: Gain, learner: str) -> list[str]:
    """Average precision and ROC AUC of each strategy, and how the generator's rows differ from the best other."""
    cells = []
    for figure in ("average_precision", "roc_auc"):
        for strategy in found.strategies:
            value, low, _ = corrected(found.values[learner, strategy, figure], found.ratio)
            cells.append(f"{value:.3f} ± {value - low:.3f}")
        value, low, high = found.difference(learner, figure, SYNTHGEN, found.best_other(learner, figure))
        cells.append(f"{value:+.3f} ({low:+.3f} to {high:+.3f})")
    return [*cells, found.verdict(learner).kind]


if __name__ == "__main__":
    main()
