"""Utility of tables: what a model trained on synthetic rows is worth, beside one trained on real rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import SynthgenError, near
from synthgen.metrics.neighbours import Geometry
from synthgen.metrics.score import Score
from synthgen.metrics.statistics import Estimate
from synthgen.metrics.utility import Result, Task, evaluate, known
from synthgen.report.blocks import Block, Finding, Rows, Section
from synthgen.report.floors import shuffled
from synthgen.report.inputs import Tables

Matrix = NDArray[np.float64]
Progress = Callable[[float], None]

CLASSES = 50
LEAST = 10  # rows to learn from, or to test on
CODES = 10  # whole numbers of a target that are taken for classes
KINDS = {"boosted": "boosted trees", "linear": "linear model"}
TRAINED_ON = ("real", "synthetic", "real + synthetic", "independent columns")


def choose_target(tables: Tables, target: str | None) -> tuple[str | None, str]:
    """The column to predict, and a sentence when it was not named: the last one, if it has few labels.

    Raises:
        SynthgenError: there is no such column among those that are compared.
    """
    names = tables.features.names
    if target is not None:
        if target not in tables.real.table.data.column_names:
            raise SynthgenError(f"there is no column {target!r}; {near(target, names)}")
        if target not in names:
            kind = tables.real.table.schema[target].kind
            raise SynthgenError(
                f"column {target!r} is of kind {kind}, which cannot be predicted; choose another --target"
            )
        if len(names) < 2:
            raise SynthgenError(f"there is no column besides {target!r} that could predict it; leave out --target")
        return target, ""
    last = names[-1]
    if not tables.features.numeric(last) and 2 <= len(tables.features.labels[last]) <= CLASSES and len(names) > 1:
        return last, f"Utility is measured by predicting {last!r}, the last column; choose another with --target."
    return None, "Utility was not measured: name the column to predict with --target."


def utility_section(
    tables: Tables, target: str, rows: tuple[Matrix, Matrix, Matrix], each: Progress, seed: int = 0
) -> Section:
    """Models that predict the target: given real rows to train on, synthetic ones, and real ones to test on."""
    column = tables.features.names.index(target)
    codes = _codes(tables, target)
    given = (_coded(m, column, codes) for m in rows)
    task = _task(tables, target, rows[2], codes)
    rng = np.random.default_rng(seed)
    real, drawn, test = (known(task, m) for m in given)
    real = real[rng.permutation(len(real))[: max(len(drawn), LEAST)]]
    one = len(np.unique(real[:, column])) < 2  # of what there is nothing to learn
    if len(test) < LEAST or (task.classes and one) or not _enough(real, task):
        return Section("utility", "Utility", f"Too few real rows hold a value of {target!r} to learn from.")
    trained = dict(zip(TRAINED_ON, (real, drawn, np.concatenate([real, drawn]), shuffled(real, rng)), strict=True))
    geometry, found = Geometry(tables.features, tables.real.matrix), dict[tuple[str, str], Result]()
    for kind in KINDS:
        for name, some in trained.items():
            if _enough(some, task):
                split = [_inputs(geometry, task, kind, part) for part in (some, test)]
                found[kind, name] = evaluate(task, kind, split[0], split[1], seed)
            each(len(found) / (len(KINDS) * len(trained)))
    scores = [score for kind in KINDS for score in _scores(kind, found, bool(task.classes))]
    if not scores:
        return Section("utility", "Utility", f"Too few synthetic rows hold a value of {target!r} to learn from.")
    blocks: list[Block] = [_table(found, task)]
    if task.classes:
        blocks.append(_by_class(found, task))
    figure = "area under the ROC curve" if task.classes else "error in deviations of the target (less is better)"
    return Section(
        "utility",
        f"Predicting {target!r}",
        "Models trained on synthetic rows are tested on unseen real ones, beside the same trained on as many real "
        f"rows. The figure is the {figure}.",
        tuple(scores),
        (_worth(scores[0], found["boosted", "real"].figure, target, bool(task.classes)),),
        tuple(blocks),
    )


def _enough(rows: Matrix, task: Task) -> bool:
    """Whether a model can learn from these: of classes there are two rows each or more, on average."""
    return len(rows) >= max(LEAST, 2 * len(np.unique(rows[:, task.column])) if task.classes else 0)


def _codes(tables: Tables, target: str) -> Matrix:
    """Values of a number that is a code of classes: whole, and not many; none where it is a quantity."""
    if not tables.features.numeric(target) or tables.schema[target].kind != "numeric":
        return np.empty(0)
    y = tables.real.matrix[:, tables.features.names.index(target)]
    values = np.unique(y[~np.isnan(y)])
    return values if len(values) <= CODES and (values == np.round(values)).all() else np.empty(0)


def _coded(rows: Matrix, column: int, codes: Matrix) -> Matrix:
    """Rows whose target is the index of its class, -1 where it has none."""
    if not len(codes):
        return rows
    place = np.searchsorted(codes, rows[:, column]).clip(max=len(codes) - 1)
    rows = rows.copy()
    rows[:, column] = np.where(codes[place] == rows[:, column], place, -1)
    return rows


def _task(tables: Tables, target: str, test: Matrix, codes: Matrix) -> Task:
    column = tables.features.names.index(target)
    if len(codes):
        return Task(column, tuple(f"{v:g}" for v in codes))
    if tables.features.numeric(target):
        y = test[:, column]
        y = y[~np.isnan(y)]
        most = float(np.abs(y).max(initial=0)) or 1.0  # the square of a huge number overflows
        y = y / most if len(y) else np.zeros(1)
        return Task(column, (), float(y.mean()) * most, float(y.std()) * most or 1.0)
    return Task(column, tuple(tables.features.labels[target].to_pylist()[:CLASSES]))


def _range(task: Task) -> tuple[float, float]:
    """What is farther than a million deviations has no square that a number holds."""
    return task.centre - 1e6 * task.scale, task.centre + 1e6 * task.scale


def _inputs(geometry: Geometry, task: Task, kind: str, rows: Matrix) -> tuple[Matrix, Matrix]:
    """What a model sees: features for trees, points for a linear model, both without the target."""
    y = rows[:, task.column] if task.classes else np.clip(rows[:, task.column], *_range(task))
    if kind == "boosted":
        return np.delete(rows, task.column, axis=1), y
    return geometry(rows)[:, geometry.columns != task.column].astype(np.float64), y


def _scores(kind: str, found: dict[tuple[str, str], Result], classes: bool) -> list[Score]:
    if (kind, "synthetic") not in found:
        return []
    own, real, chance = (found[kind, k].figure for k in ("synthetic", "real", "independent columns"))
    about = (
        f"AUC on real rows of {KINDS[kind]} trained on synthetic ones"
        if classes
        else f"error on real rows, in deviations, of {KINDS[kind]} trained on synthetic ones"
    )
    floors = {"fresh": real.value, "copies": real.value, "independent": chance.value}
    headline = kind == "boosted"
    if classes:
        return [Score.of(f"utility.{kind}", own, about, "more", 1.0, floors, headline)]
    return [Score.of(f"utility.{kind}", own, about, "less", 0.0, floors, headline)]


def _table(found: dict[tuple[str, str], Result], task: Task) -> Rows:
    rows = tuple((KINDS[k], name, r.figure.value, r.figure.low, r.figure.high) for (k, name), r in found.items())
    return Rows("Trained on, tested on unseen real rows", ("model", "trained on", "figure", "from", "to"), rows)


def _by_class(found: dict[tuple[str, str], Result], task: Task) -> Rows:
    shown = [name for name in ("real", "synthetic", "real + synthetic") if ("boosted", name) in found]
    rows = tuple(
        (label, *(None if np.isnan(v := found["boosted", name].by_class[k]) else float(v) for name in shown))
        for k, label in enumerate(task.classes)
    )
    return Rows("Boosted trees, by class (that class against the rest)", ("class", *shown), rows)


def _worth(score: Score, real: Estimate, target: str, classes: bool) -> Finding:
    assert score.fresh is not None
    assert score.independent is not None
    assert score.low is not None
    assert score.high is not None
    sign = 1 if classes else -1
    gap, range_ = sign * (score.fresh - score.value), sign * (score.fresh - score.independent)
    clear = score.high < real.low if classes else score.low > real.high
    figure = "AUC" if classes else "error"
    beside = f"{figure} {score.value:.3f}; trained on real rows {score.fresh:.3f}"
    if range_ < 0.02:
        text = f"{target!r} can hardly be predicted from real rows ({figure} {score.fresh:.3f}): utility says little."
        return Finding("unseen", text)
    lost = "little" if gap < 0.1 * range_ else f"{min(gap / range_, 1):.0%} of their worth"
    text = f"Boosted trees that predict {target!r} lose {lost} when trained on synthetic rows ({beside})."
    if gap >= 0.25 * range_ and not clear:
        return Finding("unseen", f"{text} So few real rows cannot tell that from chance.")
    return Finding("useful" if gap < 0.25 * range_ else "useless", text)
