"""Gate: thresholds for the scores of a report, which a pipeline checks; and JUnit, in which it shows them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from synthgen.errors import SynthgenError, near
from synthgen.metrics.score import Score
from synthgen.report.result import Report

NOUNS = {  # what a limit bounds: a field of the score, and what it is called
    "": ("value", "value"),
    "_excess": ("excess", "excess over fresh real records"),
    "_low": ("low", "lower end of the interval"),
    "_high": ("high", "upper end of the interval"),
}
KEYS = [bound + what for what in NOUNS for bound in ("max", "min")]
RELATIONS = {"max": ("above", "at most"), "min": ("below", "at least")}  # of what fails, and of what passes
SLACK = 1e-9  # 0.55 - 0.5 is above 0.05, by rounding alone
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # no XML may hold them, or no line of text


@dataclass(frozen=True)
class Check:
    """How one score stands to one limit.

    Args:
        score: its name.
        condition: the limit, such as `fidelity.detection max_excess 0.05`.
        value: what was compared with the bound; None where the report does not have it.
        passed: whether the limit is met.
        text: the outcome in one line.
    """

    score: str
    condition: str
    value: float | None
    passed: bool
    text: str


@dataclass(frozen=True)
class Limit:
    """One threshold for the scores that a pattern names; its key is one of a gate file."""

    pattern: str
    key: str
    bound: float

    def names(self, score: str) -> bool:
        """Whether it bounds the score of this name."""
        return score == self.pattern or fnmatchcase(score, self.pattern)

    def check(self, score: Score) -> Check:
        """Compare one score; what the score does not have is not met."""
        side, what = self.key[:3], self.key[3:]
        (field, noun), bound = NOUNS[what], repr(self.bound).removesuffix(".0")
        value, condition = getattr(score, field), f"{score.name} {self.key} {bound}"
        if value is None or value != value:
            return Check(score.name, condition, None, False, f"{score.name}: there is no {noun} to compare")
        beyond = value - self.bound if side == "max" else self.bound - value
        passed = bool(beyond <= SLACK)
        shown = bound if abs(beyond) <= SLACK else _apart(value, self.bound)
        text = f"{score.name}: {noun} {shown} is {RELATIONS[side][passed]} {bound}"
        return Check(score.name, condition, float(value), passed, text)


@dataclass(frozen=True)
class Gate:
    """Limits, and the file that they come from."""

    limits: tuple[Limit, ...]
    source: str

    def check(self, report: Report) -> list[Check]:
        """Compare every score that a limit names, in the order of the limits.

        Raises:
            SynthgenError: a limit names no score of the report, so that nothing would be checked.
        """
        checks = []
        for limit in self.limits:
            scores = [score for score in report if limit.names(score.name)]
            if not scores:
                known = near(limit.pattern, (score.name for score in report))
                raise SynthgenError(f"{self.source}: the report has no score {limit.pattern!r}; {known}")
            checks += [limit.check(score) for score in scores]
        return checks


def read_gate(path: str | Path) -> Gate:
    """Read the limits of a TOML file: a table for each score, or for all that a pattern such as `fidelity.*` names.

    Keys are `max` and `min` for the value, `max_excess` and `min_excess` for its distance from fresh real records,
    `max_low`, `min_low`, `max_high` and `min_high` for the ends of its interval.

    Raises:
        SynthgenError: the file cannot be read or holds anything else; the text says where.
    """
    try:
        limits = tuple(_limits(tomllib.loads(Path(path).read_text("utf-8-sig")), "", str(path)))
    except OSError as error:
        raise SynthgenError(f"cannot read the gate {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SynthgenError(f"{path} is no TOML: {_one_line(error)}") from error
    if not limits:
        raise SynthgenError(f'{path} sets no limit; write for example ["fidelity.detection"] and below it max = 0.6')
    return Gate(limits, str(path))


def _limits(table: dict[str, Any], name: str, source: str) -> Iterator[Limit]:
    """The limits of a table and of the tables in it; `[a.b]` and `["a.b"]` mean the same score."""
    if name and not table:
        raise SynthgenError(f"{source}: {name!r} sets no limit; keys are {', '.join(KEYS)}")
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _limits(value, f"{name}.{key}" if name else key, source)
        elif not name:
            raise SynthgenError(f'{source}: {key!r} belongs below a score\'s name, such as ["fidelity.detection"]')
        elif key not in KEYS:
            raise SynthgenError(f"{source}: {name!r} has an unknown key {key!r}; {near(key, KEYS)}")
        else:
            yield Limit(name, key, _number(value, f"{source}: {name!r} {key}"))


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SynthgenError(f"{where} is {value!r:.40}; give a number without quotes")
    if abs(value) > 1e300 or not isfinite(value):
        raise SynthgenError(f"{where} is no finite number; leave the key out where there is no limit")
    return float(value)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _apart(value: float, bound: float) -> str:
    """A figure in as few digits as leave it on its side of the bound."""
    texts = (f"{value:.{digits}g}" for digits in range(3, 18))
    return next(t for t in texts if float(t) != bound and (float(t) < bound) == (value < bound))


def junit(checks: Sequence[Check], report: Report, seconds: float) -> str:
    """JUnit XML with a test case for each check; without any, one for each headline score, which passes.

    Args:
        checks: from `Gate.check`; none where there is no gate.
        report: what was checked.
        seconds: that making the report took.
    """
    cases = [_checked(c) for c in checks] if checks else [_shown(s) for s in report if s.headline]
    failures = sum(case.find("failure") is not None for case in cases)
    counts: dict[str, Any] = {"tests": len(cases), "failures": failures, "errors": 0, "time": f"{seconds:.3f}"}
    root = _element("testsuites", name="synthgen report", **counts)
    suite = _element("testsuite", name="synthgen report", **counts)
    properties = _element("properties")
    for name, of in (("real", report.setup.real), ("synthetic", report.setup.synthetic)):
        properties.append(_element("property", name=name, value=f"{of[0]}: {of[1]} records"))
    suite.extend([properties, *cases])
    root.append(suite)
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _checked(check: Check) -> ET.Element:
    case = _case(check.score, check.condition)
    if check.passed:
        case.append(_element("system-out", check.text))
    else:
        case.append(_element("failure", check.text, message=check.text, type="limit"))
    return case


def _shown(score: Score) -> ET.Element:
    """A test case that only tells a score."""
    parts = [("value", score.value), ("low", score.low), ("high", score.high), ("fresh real records", score.fresh)]
    told = ", ".join(f"{name} {value:.4g}" for name, value in parts if value is not None)
    case = _case(score.name, score.name)
    case.append(_element("system-out", f"{told} ({score.about})"))
    return case


def _case(score: str, name: str) -> ET.Element:
    return _element("testcase", classname=f"synthgen.{score}", name=name, time=0)


def _element(tag: str, text: str | None = None, **attributes: Any) -> ET.Element:
    """An element without the characters that XML cannot hold."""
    element = ET.Element(tag, {key: CONTROLS.sub("", str(value)) for key, value in attributes.items()})
    element.text = None if text is None else CONTROLS.sub("", text)
    return element
