"""Columns of a report on tables: what each holds, real beside synthetic, in a table and in pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.data.cells import column_values
from synthgen.metrics.statistics import LEVEL, above_chance, proportion
from synthgen.report.blocks import Block, Cell, Finding, Rows, Shares, listed
from synthgen.report.inputs import Tables

Matrix = NDArray[np.float64]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 40
BARS = 12
COMMON = 1 / 3  # of the rows: a value that would hide all others in a histogram
NOTABLE = 0.01  # of synthetic numbers
SENTENCES = {
    "new": "Synthetic rows hold labels that no real row has, in {}.",
    "lost": "Labels of 5 real rows or more do not occur in synthetic rows, in {}.",
    "fractions": "Numbers that are whole in real rows have fractions in synthetic ones, in {}.",
    "beyond": "Numbers of synthetic rows lie beyond all real ones, in {}.",
}
DATE_PARTS = {
    "weekday": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "month": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}


def column_block(tables: Tables, distance: Matrix, fresh: Matrix) -> tuple[list[Block], list[Finding]]:
    """A table of all columns, one of the quantiles of numbers, and findings on what no real row holds, or no more."""
    names, rows, said = tables.features.names, list[tuple[Cell, ...]](), dict[str, list[str]]()
    for j in np.argsort(fresh - distance):
        name = names[j]
        remarks = _of_numbers(tables, j) if tables.features.numeric(name) else _of_labels(tables, name)
        missing = [float(np.isnan(r.matrix[:, j]).mean()) for r in (tables.real, tables.synthetic)]
        text = "; ".join(f"{what}: {detail}" for what, detail in remarks.items())
        rows.append((name, tables.schema[name].kind, float(distance[j]), float(fresh[j]), *missing, text))
        for what in remarks:
            said.setdefault(what, []).append(name)
    header = ("column", "kind", "distance", "fresh real", "missing, real", "missing, synthetic", "remarks")
    blocks: list[Block] = [Rows("All columns, the farthest first", header, tuple(rows))]
    if quantiles := _quantiles(tables):
        head = ("column", "rows", *(f"{q:.0%}" for q in QUANTILES))
        blocks.append(Rows("Quantiles of numbers and dates", head, tuple(quantiles)))
    return blocks, [Finding("differs", SENTENCES[what].format(listed(of))) for what, of in said.items()]


def _of_numbers(tables: Tables, j: int) -> dict[str, str]:
    """Fractions where real rows have none, and numbers beyond all real ones."""
    real, drawn = (rows.matrix[:, j] for rows in (tables.real, tables.synthetic))
    real, drawn = real[~np.isnan(real)], drawn[~np.isnan(drawn)]
    if not len(real) or not len(drawn):
        return {}
    fractions = float((drawn != np.round(drawn)).mean()) if (real == np.round(real)).all() else 0.0
    beyond = float(((drawn < real.min()) | (drawn > real.max())).mean())
    # of fresh real rows some lie beyond, too: they are as likely at any rank
    chance = above_chance(len(drawn), len(real), 2, LEVEL / len(tables.features.names)) / len(drawn)
    found = (("fractions", fractions, NOTABLE), ("beyond", beyond, max(NOTABLE, chance)))
    return {what: f"{share:.1%}" for what, share, least in found if share > least}


def _counts(tables: Tables, name: str, role: str) -> dict[str, int]:
    rows = {"real": tables.real, "synthetic": tables.synthetic, "holdout": tables.holdout}[role]
    if rows is None:
        return {}
    cells = column_values(tables.schema[name], rows.table.data[name].combine_chunks())
    counts = pc.value_counts(cells.drop_null())
    return dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True))


def _of_labels(tables: Tables, name: str) -> dict[str, str]:
    """Labels that were lost or are new."""
    real, drawn, unseen = (_counts(tables, name, role) for role in ("real", "synthetic", "holdout"))
    # a label that chance alone would leave out is not lost
    share = len(tables.synthetic) / len(tables.real)
    lost = sorted((k for k, n in real.items() if n >= 5 and n * share >= 10 and k not in drawn), key=lambda k: -real[k])
    new = sorted((k for k in drawn if k not in real and k not in unseen), key=lambda k: -drawn[k])
    # a label that one row holds foretells others that none holds yet (Good 1953)
    foretold = sum(n == 1 for n in real.values()) / max(1, sum(real.values()))
    if new and proportion(sum(drawn[k] for k in new), sum(drawn.values())).low <= foretold:
        new = []
    return {what: listed(these, 3) for what, these in (("lost", lost), ("new", new)) if these}


def _quantiles(tables: Tables) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for j, name in enumerate(tables.features.names):
        if tables.features.numeric(name):
            for role, source in (("real", tables.real), ("synthetic", tables.synthetic)):
                x = source.matrix[:, j]
                x = x[~np.isnan(x)]
                cells = _written(tables, name, np.quantile(x, QUANTILES)) if len(x) else ["–"] * len(QUANTILES)
                rows.append((name, role, *cells))
    return rows


def _written(tables: Tables, name: str, values: Matrix) -> list[str]:
    """Numbers as people write them, dates as the column does."""
    column = tables.schema[name]
    if column.kind == "datetime" and column.date is not None:
        return [str(t) for t in column.date.render(np.round(values)).to_pylist()]
    return [f"{v:.4g}" if abs(v) < 1000 else f"{v:.0f}" for v in values]


def column_shares(tables: Tables, names: Sequence[str]) -> list[Block]:
    """A histogram or bars for each column; of dates also weekdays and months."""
    blocks: list[Block] = []
    for name in names:
        if tables.features.numeric(name):
            blocks += _histogram(tables, name)
        else:
            blocks.append(_bars(tables, name))
        if tables.schema[name].kind == "datetime":
            blocks += _date_parts(tables, name)
    return blocks


def _values(tables: Tables, name: str) -> tuple[Matrix, Matrix]:
    j = tables.features.names.index(name)
    return tables.real.matrix[:, j], tables.synthetic.matrix[:, j]


def _histogram(tables: Tables, name: str) -> list[Block]:
    """Shares of both in bins; a value that a third of real rows hold is said and left out, or it hides the rest."""
    real, drawn = (x[np.isfinite(x)] for x in _values(tables, name))
    if not len(real):
        return []
    remarks, sizes = list[str](), [len(tables.real), len(tables.synthetic)]
    values, counts = np.unique(real, return_counts=True)
    if counts.max() > COMMON * len(real) and len(values) > 2:
        atom = values[counts.argmax()]
        held = (f"{(x == atom).sum() / n:.1%}" for x, n in zip((real, drawn), sizes, strict=True))
        remarks.append(
            "{} is left out: {} of real rows hold it, {} of synthetic ones.".format(
                *_written(tables, name, atom[None]), *held
            )
        )
        real, drawn = (x[x != atom] for x in (real, drawn))
    edges, labels = _bins(real)
    outside = float(((real < edges[0]) | (real > edges[-1])).mean())
    if outside:
        remarks.append(f"The outermost bins hold what lies beyond them ({outside:.1%}).")
    shares = [
        np.histogram(np.clip(x, edges[0], edges[-1]), edges)[0] / n for x, n in zip((real, drawn), sizes, strict=True)
    ]
    return [_shares(name, _written(tables, name, labels), shares, " ".join(remarks), continuous=True)]


def _bins(real: Matrix) -> tuple[Matrix, Matrix]:
    """Edges of at most 40 bins, and what is written at them.

    The bins at the ends take the outermost half per cent, or one outlier would flatten the picture. Of whole numbers
    each bin holds as many, or they would look like a comb.
    """
    low, high = np.quantile(real, [0.005, 0.995])
    if (real == np.round(real)).all():
        step = np.ceil((high - low + 1) / BINS)
        labels = np.arange(np.floor(low), high + step + 0.5, step)
        return labels - 0.5, labels
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    return edges, edges


def _bars(tables: Tables, name: str) -> Block:
    real, drawn = (_counts(tables, name, role) for role in ("real", "synthetic"))
    n, m = len(tables.real), len(tables.synthetic)
    apart = {k: abs(real.get(k, 0) / n - drawn.get(k, 0) / m) for k in {*real, *drawn}}
    common = sorted(apart, key=lambda k: (-real.get(k, 0), -drawn.get(k, 0), k))
    # the commonest, and those that differ most
    chosen = (
        common
        if len(common) <= BARS
        else list(dict.fromkeys([*common[: BARS - 4], *sorted(apart, key=lambda k: (-apart[k], k))[:4]]))
    )
    shares = [np.array([c.get(k, 0) / total for k in chosen]) for c, total in ((real, n), (drawn, m))]
    left, labels = [1 - float(s.sum()) for s in shares], list(chosen)
    if max(left) > 1e-9:
        labels.append(f"({len(common) - len(chosen)} others and missing)" if len(common) > len(chosen) else "(missing)")
        shares = [np.append(s, max(0.0, rest)) for s, rest in zip(shares, left, strict=True)]
    return _shares(name, labels, shares)


def _date_parts(tables: Tables, name: str) -> list[Block]:
    """Shares of weekdays and months; hours where dates have a time."""
    unit = tables.schema[name].date.unit if tables.schema[name].date else "us"  # type: ignore[union-attr]
    blocks: list[Block] = []
    stamps = []
    for x in _values(tables, name):
        stamps.append(np.round(x[~np.isnan(x)]).astype(np.int64).astype(f"M8[{unit}]"))
    if not all(len(s) for s in stamps):
        return []
    parts = {
        "weekday": [(s.astype("M8[D]").astype(np.int64) + 3) % 7 for s in stamps],
        "month": [s.astype("M8[M]").astype(np.int64) % 12 for s in stamps],
    }
    for part, codes in parts.items():
        labels = DATE_PARTS[part]
        shares = [np.bincount(c, minlength=len(labels)) / len(c) for c in codes]
        blocks.append(_shares(f"{name}: {part}", labels, shares))
    return blocks


def _shares(
    title: str, labels: Sequence[str], shares: Sequence[Matrix], about: str = "", continuous: bool = False
) -> Shares:
    series = {who: tuple(map(float, s)) for who, s in zip(("real", "synthetic"), shares, strict=True)}
    return Shares(title, tuple(labels), series, continuous, about)
