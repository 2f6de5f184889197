"""The page of a certificate: for whoever must decide whether what it promises is enough, and sign."""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from synthgen.dp.accounting import rho_of
from synthgen.dp.budget import THRESHOLDS
from synthgen.dp.certificate import PERSON, digest, read_certificate
from synthgen.dp.ledger import CHOICE, COUNTS, COUNTS_OF_MANY, SUM, TRAINING, Charge
from synthgen.report.charts.words import THIN, named, number, prose, text

BELIEFS = (0.01, 0.1, 0.5)
MUCH = 3.0  # an epsilon above which the factor alone, over 20, rules out little
RISKY = 0.1  # delta times records from which on delta is called large


class Price(NamedTuple):
    """A query in words: what was asked, how it was answered, rho, and its share of the budget; 0 of a training."""

    what: str
    how: str
    rho: str
    share: float


class Belief(NamedTuple):
    """A probability that someone gives to a record's being there: before, and how far a model can move it."""

    before: str
    least: str
    most: str


def certificate_page(body: Any) -> str:
    """The complete document, as text to be written in UTF-8.

    Args:
        body: of a certificate, as it is stored.

    Raises:
        SynthgenError: it is damaged.
    """
    found = read_certificate(body)
    whole = rho_of(found.epsilon, found.delta * (1 - THRESHOLDS))
    return _template().render(
        certificate=found,
        person=found.level == PERSON,
        one="person" if found.level == PERSON else "record",
        factor=_factor(found.epsilon),
        several=_factor(5 * found.epsilon),
        beliefs=[_belief(before, found.epsilon) for before in BELIEFS],
        weak=found.epsilon > MUCH,
        risky=found.delta * found.records > RISKY,
        rare=_one_in(found.delta),
        thresholds=sum(c.delta for c in found.queries),
        prices=[_price(charge, found.level, whole) for charge in found.queries],
        largest=max((c.rho for c in found.queries), default=0.0) / whole,
        digest=digest(body),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("synthgen.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"name": named, "prose": prose, "percent": _percent, "plain": _plain, "sha256": _sha256}
    return environment.get_template("certificate.html")


def _sha256(style: str) -> str:
    """The digest by which a browser knows the one style sheet that may be applied."""
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def _plain(value: float) -> str:
    """A figure that a person chose, as they wrote it."""
    return f"{value:g}" if 1e-3 <= abs(value) < 1e6 else number(value)


def _figure(value: float) -> str:
    """Three digits of a figure that was computed."""
    return number(value, max(0, 2 - math.floor(math.log10(value)))) if 1e-5 < value < 1e6 else number(value)


def _percent(share: float) -> str:
    whole, point, rest = _figure(100 * share).partition(".")
    return whole + (point + rest).rstrip(".0") + f"{THIN}%"


def _one_in(delta: float) -> str:
    """A small probability, never made smaller by more than rounding does."""
    return f"one in {number(math.floor((1 + 1e-9) / delta))}" if delta > 1e-15 else "less than one in 10¹⁵"


def _factor(epsilon: float) -> str:
    """e^epsilon, never made smaller by more than rounding does."""
    if epsilon > 20:
        return "more than 100 millions"
    factor = math.exp(epsilon) * (1 - 1e-9)
    return number(math.ceil(100 * factor) / 100, 2) if epsilon < 3 else number(math.ceil(factor))


def _belief(before: float, epsilon: float) -> Belief:
    """Odds change by a factor of e^epsilon at most; bounds are rounded outwards."""
    odds, factor = before / (1 - before), math.exp(min(epsilon, 100))
    least, most = (p / (1 + p) for p in (odds / factor, odds * factor))
    least, most = math.floor(1000 * least + 1e-6) / 10, math.ceil(1000 * most - 1e-6) / 10
    return Belief(_percent(before), f"{least:g}{THIN}%", f"{most:g}{THIN}%")


def _price(charge: Charge, level: str, whole: float) -> Price:
    """A query in words; `whole` is the rho of the budget."""
    own, noise = f"what one {level} can change", f"noise of deviation {_figure(charge.scale)}"
    how = {
        COUNTS: f"Counts with discrete Gaussian {noise}",
        COUNTS_OF_MANY: f"Counts with discrete Gaussian {noise} × {own}",
        SUM: f"Sums with Gaussian {noise} × {own}",
        CHOICE: f"A random choice, better ones more likely: exponential mechanism of epsilon {_figure(charge.scale)}",
        TRAINING: f"Gradient descent of {number(charge.steps)} steps, each on a random sample in which a {level} is "
        f"with a probability of {_percent(charge.rate)}; Gaussian {noise} × {own}",
    }[charge.mechanism]
    if charge.delta:
        how += f"; a text of one {level} alone passes with a probability of {_one_in(charge.delta)}"
    return Price(charge.what, how, _figure(charge.rho) if charge.rho else "", charge.rho / whole)
