"""Columns of a report on tables: what each holds, real beside synthetic, in a table and in pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgen.data.cells import column_values
from synthgen.report.blocks import Block, Cell, Finding, Rows, Shares, listed
from synthgen.report.inputs import Tables

Matrix = NDArray[np.float64]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 40
BARS = 12
DATE_PARTS = {
    "weekday": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "month": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}


def column_block(tables: Tables, distance: Matrix, fresh: Matrix) -> tuple[list[Block], list[Finding]]:
    """A table of all columns, one of the quantiles of numbers, and findings on labels that came or went."""
    names, rows, findings = tables.features.names, list[tuple[Cell, ...]](), list[Finding]()
    gone, new = list[str](), list[str]()
    for j in np.argsort(fresh - distance):
        name = names[j]
        remarks = _labels(tables, name) if not tables.features.numeric(name) else ""
        missing = [float(np.isnan(r.matrix[:, j]).mean()) for r in (tables.real, tables.synthetic)]
        rows.append((name, tables.schema[name].kind, float(distance[j]), float(fresh[j]), *missing, remarks))
        gone += [name] if "lost" in remarks else []
        new += [name] if "new" in remarks else []
    if new:
        findings.append(Finding("differs", f"Synthetic rows hold labels that no real row has, in {listed(new)}."))
    if gone:
        findings.append(
            Finding("differs", f"Labels of 5 real rows or more do not occur in synthetic rows, in {listed(gone)}.")
        )
    header = ("column", "kind", "distance", "fresh real", "missing, real", "missing, synthetic", "labels")
    blocks: list[Block] = [Rows("All columns, the farthest first", header, tuple(rows))]
    if quantiles := _quantiles(tables):
        head = ("column", "rows", *(f"{q:.0%}" for q in QUANTILES))
        blocks.append(Rows("Quantiles of numbers and dates", head, tuple(quantiles)))
    return blocks, findings


def _counts(tables: Tables, name: str, role: str) -> dict[str, int]:
    rows = {"real": tables.real, "synthetic": tables.synthetic, "holdout": tables.holdout}[role]
    if rows is None:
        return {}
    cells = column_values(tables.schema[name], rows.table.data[name].combine_chunks())
    counts = pc.value_counts(cells.drop_null())
    return dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True))


def _labels(tables: Tables, name: str) -> str:
    """Labels that were lost or are new."""
    real, drawn, unseen = (_counts(tables, name, role) for role in ("real", "synthetic", "holdout"))
    # a label that chance alone would leave out is not lost
    share = len(tables.synthetic) / len(tables.real)
    lost = sorted((k for k, n in real.items() if n >= 5 and n * share >= 10 and k not in drawn), key=lambda k: -real[k])
    new = sorted((k for k in drawn if k not in real and k not in unseen), key=lambda k: -drawn[k])
    parts = [f"{what}: {listed(these, 3)}" for what, these in (("lost", lost), ("new", new)) if these]
    return "; ".join(parts)


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
    real, drawn = _values(tables, name)
    given = real[np.isfinite(real)]
    if not len(given):
        return []
    # beyond the outermost half per cent the bins at the ends take all, or one outlier would flatten the picture
    low, high = np.quantile(given, [0.005, 0.995])
    whole = bool((given == np.round(given)).all()) and high - low <= BINS
    edges = np.arange(low - 0.5, high + 1) if whole else np.linspace(low, high if high > low else low + 1, BINS + 1)
    shares = [np.histogram(np.clip(x[~np.isnan(x)], edges[0], edges[-1]), edges)[0] / len(x) for x in (real, drawn)]
    outside = float(((given < low) | (given > high)).mean())
    about = f"The outermost bins hold what lies beyond them ({outside:.1%} of real rows)." if outside else ""
    labels = _written(tables, name, edges + 0.5 if whole else edges)
    return [_shares(name, labels, shares, about, continuous=True)]


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
