"""Structure: what holds in nearly every real row, such as `start <= end`, and how many synthetic rows break it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise, product
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.features import Features

Matrix = NDArray[np.float64]
Codes = NDArray[np.int32]
Reduced = tuple[list[list[int]], list[list[int]]]
Kind = Literal["determines", "order", "equal", "sum"]

ROWS = 20_000  # in which rules are looked for
WORK = 400_000_000  # cells that are compared, for all pairs of columns together
RARELY = 0.001  # share of real rows that may break a rule
TELLING = 0.01  # share that would break it if columns were independent, else it says nothing
SELDOM = 0.01  # real rows break it at most so often as independent ones
EVIDENCE = 30  # breaches to expect of independent columns: to see none is then no luck
REPEATS = 5  # rows per value, the commonest set aside, of a column that determines another
SUMMED = 30  # columns among which sums are looked for
MOST = 50  # rules that are named
SHOWN = 6  # columns that one text names


class Map(NamedTuple):
    """The first view decides the second; a value that real rows lack says nothing."""

    views: tuple[int, int]
    keys: Matrix
    values: Matrix

    def __call__(self, rows: Matrix) -> Matrix:
        x, y = (_view(rows, j) for j in self.views)
        at = np.searchsorted(self.keys, x).clip(max=len(self.keys) - 1)
        return np.where((self.keys[at] == x) & ~np.isnan(y), self.values[at] != y, np.nan)


class Order(NamedTuple):
    """The first column is at most the second, or less than it where `strict`."""

    views: tuple[int, int]
    strict: bool = False

    def __call__(self, rows: Matrix) -> Matrix:
        low, high = rows[:, self.views].T
        return np.where(np.isnan(low) | np.isnan(high), np.nan, low >= high if self.strict else low > high)


class Sum(NamedTuple):
    """The first two columns add up to the third, but for rounding."""

    views: tuple[int, int, int]

    def __call__(self, rows: Matrix) -> Matrix:
        a, b, c = rows[:, self.views].T
        with np.errstate(over="ignore", invalid="ignore"):
            gap = np.abs(a + b - c)
        return np.where(np.isnan(gap), np.nan, gap > 1e-6 * np.maximum(np.abs(a), np.abs(b)))


Condition = Map | Order | Sum  # called on rows (n, columns): 1 where broken, 0 where it holds, NaN where it is silent
Draft = tuple[Kind, str, tuple[Condition, ...]]  # the text is a form to fill with names


@dataclass(frozen=True)
class Rule:
    """What real rows obey.

    Args:
        kind: `determines` (one column decides another, or whether it is missing), `order`, `equal` or `sum`.
        columns: that it is about.
        text: the rule in words.
        independent: share of rows that break it where columns are drawn independently.
        conditions: each of which a row must meet.
    """

    kind: Kind
    columns: tuple[str, ...]
    text: str
    independent: float
    conditions: tuple[Condition, ...] = field(repr=False, compare=False)


def broken(rule: Rule, rows: Matrix) -> float:
    """Share in [0, 1] of the rows a rule speaks of that break it, of features (n, columns) like the real ones.

    A row with an unknown value or a missing cell is not spoken of; 0 where none is.
    """
    return _judged(rule.conditions, rows)[0]


def units(features: Features) -> list[str]:
    """What the figures of each column count, as `find` takes it: `numeric`, the unit of dates, "" for labels."""
    columns = [features.schema[name] for name in features.names]
    return [(c.date.unit if c.date else c.kind) if features.numeric(c.name) else "" for c in columns]


def find(names: Sequence[str], units: Sequence[str], real: Matrix) -> list[Rule]:
    """At most 50 rules that nearly all real rows obey and independent columns break, most telling first.

    Args:
        names: of the columns.
        units: what their figures count, "" for labels; only columns of one unit are compared.
        real: features (n, columns), as `Features.matrix` gives them.
    """
    rng = np.random.default_rng(0)
    size = int(np.clip(WORK // max(1, len(names)) ** 2, 1000, ROWS))
    rows = real[rng.permutation(len(real))[:size]]  # in no order: neighbours may be alike
    if rows.size == 0:
        return []
    shuffled = rng.permuted(rows, axis=0)
    rules = []
    for kind, form, conditions in (*_ordered(rows, units), *_summed(rows, units), *_determined(rows, units, real)):
        independent, (share, spoken) = _judged(conditions, shuffled)[0], _judged(conditions, real)
        tells = independent >= TELLING and independent * spoken >= EVIDENCE
        if tells and share <= min(RARELY, SELDOM * independent):
            rules.append(Rule(kind, *_words(form, conditions, names), independent, conditions))
    equal = [set(rule.columns) for rule in rules if rule.kind == "equal"]
    rules = [r for r in rules if r.kind == "equal" or not any(e >= set(r.columns) for e in equal)]
    return sorted(rules, key=lambda rule: -rule.independent)[:MOST]


def _judged(conditions: Sequence[Condition], rows: Matrix) -> tuple[float, int]:
    """Of the rows that any condition speaks of, the share that breaks one, and how many they are."""
    verdicts = np.fmax.reduce([condition(rows) for condition in conditions])
    spoken = int(np.count_nonzero(~np.isnan(verdicts)))
    return float(np.nansum(verdicts)) / max(1, spoken), spoken


def _view(rows: Matrix, j: int) -> Matrix:
    """A column, or whether it is missing: the views beyond the last column."""
    width = rows.shape[1]
    return rows[:, j] if j < width else np.isnan(rows[:, j - width]).astype(float)


def _words(form: str, conditions: Sequence[Condition], names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The columns of a rule, and the rule in words."""
    views = list(dict.fromkeys(view for condition in conditions for view in condition.views))
    nouns = [repr(names[j]) if j < len(names) else f"whether {names[j - len(names)]!r} is missing" for j in views]
    shown = nouns if len(nouns) <= SHOWN else [*nouns[: SHOWN - 1], f"{len(nouns) - SHOWN + 1} more"]
    text = form.format(*nouns, all=f"{', '.join(shown[:-1])} and {shown[-1]}")
    return tuple(dict.fromkeys(names[j % len(names)] for j in views)), text


def _determined(rows: Matrix, units: Sequence[str], real: Matrix) -> Iterator[Draft]:
    """Views whose value decides that of others; -1, which stands for many labels, decides nothing."""
    views, labels = np.concatenate([rows.T, np.isnan(rows.T)]), np.array([not u for u in units] + [False] * len(units))
    ranks = np.array([np.unique(view, return_inverse=True)[1] for view in views], dtype=np.int32)
    codes = np.where(np.isnan(views), -1, ranks)
    rates = np.array([_rate(c) for c in codes])
    kept = np.flatnonzero(rates >= TELLING)
    sources = np.where(labels[:, None] & (views == -1), -1, codes)
    classes, pairs = _decides(sources[kept], codes[kept])
    drafts = [[pair] for pair in pairs] + [_both_ways(alike) for alike in classes]
    drafts.sort(key=lambda links: -max(rates[kept[b]] for _, b in links))
    for links in drafts[:MOST]:
        form = "{} determines {}" if len(links) == 1 else "{all} determine each other"
        yield "determines", form, tuple(_learn(real, kept[a], kept[b], labels[kept[a]]) for a, b in links)


def _both_ways(alike: list[int]) -> list[list[int]]:
    """Pairs that tie the members of a class to one another."""
    return [pair for a, b in pairwise(alike) for pair in ([a, b], [b, a])]


def _rate(codes: Codes) -> float:
    """How often two given cells of a column differ."""
    counts = np.bincount(codes[codes >= 0])
    return float(1 - np.sum((counts / counts.sum()) ** 2)) if len(counts) else 0.0


def _decides(sources: Codes, codes: Codes) -> Reduced:
    """Where cells of b hardly change among the rows that share a value of a, though a shuffled b would."""
    holds = np.zeros((len(codes), len(codes)), dtype=bool)
    for a, source in enumerate(sources):
        sizes = np.unique(source[source >= 0], return_counts=True)[1]
        if len(sizes) < 2 or sizes.sum() - sizes.max() < REPEATS * (len(sizes) - 1):
            continue  # nearly an id: it decides everything and means nothing
        order = np.argsort(source)[np.count_nonzero(source < 0) :]
        cells, same = codes[:, order], source[order][1:] == source[order][:-1]
        both = same & (cells[:, 1:] >= 0) & (cells[:, :-1] >= 0)
        changes, pairs = (both & (cells[:, 1:] != cells[:, :-1])).sum(axis=1), both.sum(axis=1)
        steady = np.flatnonzero(changes <= 2 * RARELY * pairs)  # a lone cell changes twice
        holds[a, steady] = [pairs[b] * _rate(cells[b]) >= EVIDENCE for b in steady]
    return _reduced(holds)


def _learn(real: Matrix, a: int, b: int, label: bool) -> Map:
    """The commonest value of b beside each value of a."""
    x, y = _view(real, a), _view(real, b)
    given = ~np.isnan(x) & ~np.isnan(y) & ~(label & (x == -1))
    (keys, left), (values, right) = (np.unique(z[given], return_inverse=True) for z in (x, y))
    cells, counts = np.unique(left * len(values) + right, return_counts=True)
    cells = cells[np.argsort(counts)]  # of cells with the same key the last one stays
    best = np.empty(len(keys), dtype=np.int64)
    best[cells // len(values)] = cells % len(values)
    return Map((a, b), keys, values[best])


def _ordered(rows: Matrix, units: Sequence[str]) -> Iterator[Draft]:
    """Columns of one unit that are at most others, or equal to them, where chance would have it otherwise."""
    columns = [j for j, unit in enumerate(units) if unit]
    unit, x = np.array([units[j] for j in columns]), np.ascontiguousarray(rows[:, columns].T)
    above, both = _above(x, x)
    chance, pairs = _above(np.random.default_rng(1).permuted(x, axis=1), x)
    holds = (above <= RARELY * both) & (chance >= np.maximum(EVIDENCE, TELLING * pairs))
    classes, ordered = _reduced(holds & (unit[:, None] == unit))
    for a, b in ordered:
        strict = bool(above[b, a] == both[a, b])
        yield "order", "{} < {}" if strict else "{} <= {}", (Order((columns[a], columns[b]), strict),)
    for alike in classes:
        yield "equal", "{all} are equal", tuple(Order((columns[a], columns[b])) for a, b in _both_ways(alike))


def _above(x: Matrix, y: Matrix) -> tuple[Matrix, Matrix]:
    """In how many columns of (a, n) and (b, n) row a is above row b, and in how many both are given."""
    above = [np.count_nonzero(one > y, axis=1) for one in x]
    given = [(~np.isnan(z)).astype(np.float32) for z in (x, y)]
    return np.array(above, dtype=float).reshape(len(x), len(y)), (given[0] @ given[1].T).astype(float)


def _reduced(holds: NDArray[np.bool_]) -> Reduced:
    """A transitive relation in few words: classes whose members stand for one another, and pairs that none imply."""
    if not len(holds):
        return [], []
    first = (holds & holds.T | np.eye(len(holds), dtype=bool)).argmax(axis=1)
    while (first != first[first]).any():
        first = first[first]
    heads = np.unique(first)
    between = holds[np.ix_(heads, heads)] & ~holds[np.ix_(heads, heads)].T
    implied = between.astype(np.float32) @ between > 0
    classes = [np.flatnonzero(first == head).tolist() for head in heads]
    return [c for c in classes if len(c) > 1], heads[np.argwhere(between & ~implied)].tolist()


def _summed(rows: Matrix, units: Sequence[str]) -> Iterator[Draft]:
    """Columns that are the sum of two others, neither of which is zero throughout."""
    columns = [j for j, unit in enumerate(units) if unit == "numeric"][:SUMMED]
    for (a, b), c in product(combinations(columns, 2), columns):
        rule = (Sum((a, b, c)),)
        if c in (a, b) or _judged(rule, rows[:200])[0] > 10 * RARELY or _judged(rule, rows)[0] > RARELY:
            continue
        total, parts = rows[:, [c]], rows[:, [a, b]]
        if np.sum((total < parts) | (total > parts), axis=0).min() >= max(EVIDENCE, TELLING * len(rows)):
            yield "sum", "{} + {} = {}", rule
