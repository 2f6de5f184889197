"""Report: what was measured, in words, figures and pictures; for people as a page, for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen import __version__
from synthgen.errors import SynthgenError, near
from synthgen.files import replacing
from synthgen.metrics.score import Score
from synthgen.report.blocks import Finding, Section, plain

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
WARNING = "Computed from real data and not charged to any privacy budget: not for publication."


@dataclass(frozen=True)
class Setup:
    """What a report is about.

    Args:
        kind: "table" or "images".
        real: what the training records are called, and how many there are.
        synthetic: the same of the synthetic ones.
        holdout: the same of real records that no generator has seen; None where there are none.
        claim: what is claimed about formal guarantees.
        notes: what was left out, sampled, or taken for what; a sentence each.
        seconds: CPU-seconds that the report took.
    """

    kind: str
    real: tuple[str, int]
    synthetic: tuple[str, int]
    holdout: tuple[str, int] | None
    claim: str
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """Scores of synthetic records beside those of fresh real ones, in sections, with a verdict in words.

    >>> synthgen.evaluate("train.csv", "synthetic.csv", "test.csv")["fidelity.detection"].value  # doctest: +SKIP
    """

    setup: Setup
    sections: tuple[Section, ...]

    @property
    def scores(self) -> list[Score]:
        """All scores, in the order of the sections."""
        return [score for section in self.sections for score in section.scores]

    @property
    def verdict(self) -> list[Finding]:
        """The sentences of all sections."""
        return [finding for section in self.sections for finding in section.findings]

    def __getitem__(self, name: str) -> Score:
        for score in self.scores:
            if score.name == name:
                return score
        raise SynthgenError(f"the report has no score {name!r}; {near(name, (s.name for s in self.scores))}")

    def __iter__(self) -> Iterator[Score]:
        return iter(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it; the fields are those of the classes in `synthgen.report.blocks`."""
        return {
            "synthgen_report": FORMAT,
            "synthgen": __version__,
            "warning": WARNING,
            "setup": plain(self.setup),
            "verdict": plain(self.verdict),
            "scores": {s.name: plain(s) | {"excess": plain(s.excess)} for s in self.scores},
            "sections": [
                plain(section) | {"scores": [s.name for s in section.scores], "findings": []}
                for section in self.sections
            ],
        }

    def to_json(self) -> str:
        """The text of a report file."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False) + "\n"

    def to_frame(self) -> pd.DataFrame:
        """The scores as a pandas frame, one in a row, indexed by name."""
        import pandas as pd

        rows = [{k: getattr(s, k) for k in s.__dataclass_fields__} | {"excess": s.excess} for s in self.scores]
        return pd.DataFrame(rows).set_index("name")

    def to_html(self) -> str:
        """The page: one self-contained document."""
        from synthgen.report.html import page

        return page(self)

    def _repr_html_(self) -> str:
        from synthgen.report.html import summary

        return summary(self)

    def write(self, path: str | Path) -> None:
        """Write the page (`.html`) or the JSON (`.json`), whole or not at all.

        Raises:
            SynthgenError: the ending is neither.
            ResourceError: the disk is full or the place not writable.
        """
        path = Path(path)
        if path.suffix not in (".html", ".json"):
            raise SynthgenError(f"{path} is no place for a report; give a name that ends in .html or .json")
        text = self.to_html() if path.suffix == ".html" else self.to_json()
        with replacing(path) as temporary:
            temporary.write_text(text, "utf-8")
