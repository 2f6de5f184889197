"""Certificate: what a private fit promises, and every query that it paid for, so that anyone can add it up again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from synthgen import __version__
from synthgen.dp.accounting import total_epsilon
from synthgen.dp.budget import THRESHOLDS, Budget
from synthgen.dp.ledger import Charge, queries
from synthgen.errors import BudgetError, SynthgenError

FORMAT = 1
NEAR = 1e-3  # relative error within which two figures agree: accountants of another version round otherwise
MEANING = (
    "Record-level differential privacy: whatever is made of this model would have been about as likely, within a "
    "factor of e^epsilon and apart from a probability of delta, had any one record been left out or added. It says "
    "nothing of what is known of groups of people, and counts several records of one person as several persons."
)
ASSUMED = ("the names of the columns", "the types and the format in which the file stores them")


def certificate(budget: Budget, generator: str, records: int, declared: Sequence[str]) -> dict[str, Any]:
    """The certificate of a fit.

    Args:
        budget: with its ledger, complete.
        generator: name of the family.
        records: about how many there are, which was paid for.
        declared: what a schema declared of the data, and was taken as public.
    """
    return {
        "synthgen_certificate": FORMAT,
        "epsilon": budget.epsilon,
        "delta": budget.delta,
        "spent_epsilon": budget.spent(),
        "relation": "one record added or removed",
        "unit": "record",
        "meaning": MEANING,
        "fit": budget.fit,
        "generator": generator,
        "records": records,
        "public": [*ASSUMED, *declared],
        "accountant": "zero-concentrated differential privacy (Bun and Steinke 2016), converted as by Canonne, Kamath "
        "and Steinke (2020); thresholds are paid in delta",
        "delta_of_thresholds": budget.thresholds,
        "queries": [charge._asdict() for charge in budget.ledger],
        "randomness": "unseeded: OpenDP's discrete Gaussian, and the operating system's generator",
        "versions": {"synthgen": __version__} | {name: _version(name) for name in ("opendp", "numpy", "torch")},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def check_certificate(body: Any) -> str:
    """Add up a certificate again; a sentence that says what holds.

    Raises:
        SynthgenError: its figures contradict each other, or exceed what it claims.
    """
    try:
        if body["synthgen_certificate"] != FORMAT:
            raise SynthgenError(
                f"the certificate has format {body['synthgen_certificate']!r}, this synthgen reads {FORMAT}"
            )
        epsilon, delta, claimed = (float(body[key]) for key in ("epsilon", "delta", "spent_epsilon"))
        if not all(map(math.isfinite, (epsilon, delta, claimed))):
            raise ValueError("a figure is not finite")
        charges = charges_of(body)
        spent, passed = total_epsilon(queries(charges), delta * (1 - THRESHOLDS)), sum(c.delta for c in charges)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, BudgetError) as error:
        raise SynthgenError(f"the certificate is damaged: {error}; make it anew by fitting again") from error
    if abs(spent - claimed) > NEAR * max(1.0, spent):
        raise SynthgenError(
            f"the certificate says that epsilon {claimed:.6g} was spent; its queries add up to {spent:.6g}"
        )
    if spent > epsilon * (1 + NEAR) or passed > delta * THRESHOLDS * (1 + NEAR):
        raise SynthgenError(f"the queries of the certificate exceed its epsilon {epsilon:g} and delta {delta:g}")
    return f"{len(charges)} queries add up to epsilon {spent:.4g} of {epsilon:g} at delta {delta:g}, record-level"


def charges_of(body: Any) -> list[Charge]:
    """The queries of a certificate.

    Raises:
        ValueError: a price is not that of its noise.
    """
    charges = [Charge(**query) for query in body["queries"]]
    for charge in charges:
        charge.check()
    return charges
