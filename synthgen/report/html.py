"""The page of a report: one document without scripts that opens anywhere, offline, and prints well."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from numbers import Real

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from synthgen import __version__
from synthgen.metrics.score import Score
from synthgen.report.blocks import Block, Cell, Finding, FindingKind, Intervals, Lines, Rows, Shares
from synthgen.report.charts import figures, picture
from synthgen.report.charts.intervals import key, strip
from synthgen.report.charts.svg import tag
from synthgen.report.charts.words import estimate, isolated, named, prose, text
from synthgen.report.result import WARNING, Report

LABELS: dict[FindingKind, str] = {
    "faithful": "✓ faithful",
    "differs": "Δ differs",
    "useful": "✓ useful",
    "useless": "✗ not useful",
    "leaks": "! leaks",
    "private": "○ not found",
    "unseen": "? not seen",
}
GROUPS: tuple[tuple[str, tuple[FindingKind, ...]], ...] = (
    ("What is faithful", ("faithful",)),
    ("What differs", ("differs",)),
    ("Useful or not", ("useful", "useless")),
    ("What leaks", ("leaks",)),
    ("Looked for and not found", ("private",)),
    ("What could not be seen", ("unseen",)),
)
MANY, TOGETHER = 30, 20  # charts of a kind above which they are folded away, and how many of them into one fold


def page(report: Report) -> str:
    """The complete document, as text to be written in UTF-8."""
    return _template().render(
        report=report,
        title=Markup("{} beside {}").format(isolated(report.setup.synthetic[0]), isolated(report.setup.real[0])),
        warning=WARNING,
        version=__version__,
        units="rows" if report.setup.kind == "table" else "images",
        independent="independent columns" if report.setup.kind == "table" else "blurred class means",
        verdict=_grouped(report.verdict),
        labels=LABELS,
        headline=[score for score in report.scores if score.headline],
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("synthgen.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text,  # figures and names look the same in text and charts
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"name": named, "prose": prose, "estimate": _estimate, "good": _good, "sha256": _sha256}
    environment.filters |= {"picture": picture, "figures": figures, "strip": strip, "key": key}
    environment.filters |= {"runs": _runs, "numeric": _numeric}
    environment.tests |= {"small": _small}
    return environment.get_template("page.html")


def _sha256(style: str) -> str:
    """The digest by which a browser knows the one style sheet that may be applied."""
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def _estimate(score: Score) -> str:
    return estimate(score.value, score.low, score.high)


def _good(score: Score) -> str:
    """Which way is good, in words and with an arrow."""
    ideal = f"{score.ideal:.3g}".removeprefix("0") or "0"
    return {"less": "↓ lower", "more": "↑ higher", "near": f"→ near {ideal}"}[score.better]


def _grouped(findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    """The sentences under their headings; none is empty."""
    groups = ((heading, [f for f in findings if f.kind in kinds]) for heading, kinds in GROUPS)
    return [(heading, found) for heading, found in groups if found]


def _runs(blocks: Iterable[Block]) -> list[tuple[str, list[Block]]]:
    """Blocks that stand together, each run with the words on its fold, or none where it is open.

    Charts of one size go into one grid; where there are very many, twenty of them into one fold.
    """
    runs: list[tuple[str, list[Block]]] = []
    for columns, group in groupby(blocks, lambda block: isinstance(block, Shares)):
        run = list(group)
        if columns and len(run) > MANY:
            runs += [_fold(run, i) for i in range(0, len(run), TOGETHER)]
        else:
            runs += [("", list(together)) for _, together in groupby(run, _small)]
    return runs


def _fold(run: list[Block], first: int) -> tuple[Markup, list[Block]]:
    """Some charts of many, under the numbers and names of the first and the last."""
    fold = run[first : first + TOGETHER]
    ends = named(fold[0].title, 30), named(fold[-1].title, 30)
    return Markup("{}–{}: {} … {}").format(first + 1, first + len(fold), *ends), fold


def _small(block: Block) -> bool:
    """Whether a block is a chart of the size of a telephone, so that several stand in a row."""
    return isinstance(block, Shares | Lines | Intervals)


def _numeric(rows: Rows) -> list[bool]:
    """Which columns hold figures, and are flush right."""
    return [any(_is_figure(row[j]) for row in rows.rows if j < len(row)) for j in range(len(rows.header))]


def _is_figure(cell: Cell) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool)


def summary(report: Report) -> str:
    """The verdict and the headline scores for a notebook: a fragment that brings no style and needs none."""
    findings = (
        tag("li", tag("strong", LABELS[finding.kind]), " ", finding.text)
        for _, group in _grouped(report.verdict)
        for finding in group
    )
    head = ("score", "synthetic (95 % interval)", "fresh real", "copies", "independent", "good")
    scores = ((s.about, _estimate(s), s.fresh, s.copies, s.independent, _good(s)) for s in report.scores if s.headline)
    compared = (named(report.setup.synthetic[0]), " beside ", named(report.setup.real[0]))
    return tag(
        "div",
        tag("p", tag("strong", *compared)),
        tag("ul", *findings),
        tag(
            "table",
            tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head))),
            tag("tbody", *(_row(cells) for cells in scores)),
        ),
        tag("p", tag("em", WARNING)),
    )


def _row(cells: Sequence[object]) -> Markup:
    return tag("tr", tag("th", cells[0], scope="row"), *(tag("td", cell) for cell in cells[1:]))
