"""Certificate: what a private fit promises, and every query that it paid for, so that anyone can add it up again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthgen import __version__
from synthgen.dp.accounting import LEAST, total_epsilon
from synthgen.dp.budget import THRESHOLDS, Budget
from synthgen.dp.ledger import SUM, TRAINING, Charge, queries, recorded, source_of
from synthgen.errors import BudgetError, SynthgenError
from synthgen.schema import explain

FORMAT = 1
NEAR = 1e-3  # relative error within which two figures agree: accountants of another version round otherwise
MOST_STEPS, MOST_LOSS = 10**6, 100.0  # of all trainings: accountants would need more memory than there is
RECORD, PERSON = "record", "person"
ASSUMED = ("the names of the columns", "the types and the format in which the file stores them")
RELATION = {
    RECORD: "one record added or removed",
    PERSON: "all records of one person added or removed",
}
MEANING = {
    RECORD: "Record-level differential privacy: whatever is made of this model would have been about as likely, within "
    "a factor of e^epsilon and apart from a probability of delta, had any one record been left out or added. It says "
    "nothing of what is known of groups of people, and counts several records of one person as several persons.",
    PERSON: "Person-level differential privacy: whatever is made of this model would have been about as likely, within "
    "a factor of e^epsilon and apart from a probability of delta, had any one person been left out or added with all "
    "their records. It says nothing of what is known of groups of people, and takes for a person whoever has a value "
    "of their own in one column.",
}
ZCDP = (
    "zero-concentrated differential privacy (Bun and Steinke 2016), converted as by Canonne, Kamath and Steinke (2020)"
)
SAMPLED = (
    "privacy loss distributions by dp-accounting, and numerical composition by Opacus, of which the larger counts; "
    f"queries of which no more is known by {ZCDP}, at half of delta"
)
Fact = str | int | float | bool | None


class Certificate(BaseModel):
    """A stored certificate; `certificate` tells what its entries are."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    synthgen_certificate: Literal[1]
    epsilon: float = Field(ge=1e-6, lt=1e6)  # no less buys an answer
    delta: float = Field(ge=1e-100, lt=1)
    spent_epsilon: float = Field(ge=0)
    relation: str
    unit: str
    meaning: str
    fit: str
    generator: str
    records: int = Field(ge=0, le=10**15)
    public: list[str]
    accountant: str
    delta_of_thresholds: float
    queries: list[Charge]
    training: dict[str, Fact] = {}
    randomness: str
    versions: dict[str, str]

    @property
    def level(self) -> str:
        """Whether it is for records or for persons."""
        return self.unit.partition(":")[0]


def certificate(
    budget: Budget,
    generator: str,
    records: int,
    declared: Sequence[str],
    unit: str = RECORD,
    training: Mapping[str, Fact] = {},
) -> dict[str, Any]:
    """The certificate of a fit, as JSON.

    Args:
        budget: with its ledger, complete.
        generator: name of the family.
        records: about how many there are, which was paid for.
        declared: what a schema declared of the data, and was taken as public.
        unit: what is protected: "record", or "person: " and how persons are told apart and their records limited.
        training: what else is public of a training: its bound, how gradients were clipped, the sampler.
    """
    level, mechanisms = unit.partition(":")[0], {charge.mechanism for charge in budget.ledger}
    trained, gaussian = TRAINING in mechanisms, bool({TRAINING, SUM} & mechanisms)
    packages = ["opendp", "numpy", "torch", *["randomgen"] * gaussian, *["dp-accounting", "opacus"] * trained]
    return {
        "synthgen_certificate": FORMAT,
        "epsilon": budget.epsilon,
        "delta": budget.delta,
        "spent_epsilon": budget.spent(),
        "relation": RELATION[level],
        "unit": unit,
        "meaning": MEANING[level],
        "fit": budget.fit,
        "generator": generator,
        "records": records,
        "public": [*ASSUMED, *declared],
        "accountant": f"{SAMPLED if trained else ZCDP}; thresholds are paid in delta",
        "delta_of_thresholds": budget.thresholds,
        "queries": [charge._asdict() for charge in budget.ledger],
        "training": dict(training),
        "randomness": _randomness(gaussian),
        "versions": {"synthgen": __version__} | {name: _version(name) for name in packages},
    }


def _randomness(gaussian: bool) -> str:
    """Where noise came from, as the functions of `noise` draw it."""
    source = "unseeded: OpenDP's discrete Gaussian, and the operating system's generator"
    cipher = gaussian and _version("randomgen")
    return f"{source}, which also gives the keys of AES-128 in counter mode for Gaussian noise" if cipher else source


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def digest(body: Any) -> str:
    """A name for a certificate that no other has."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]


def read_certificate(body: Any) -> Certificate:
    """A certificate, its entries of the right kind and within bounds.

    Raises:
        SynthgenError: it is of another format, or damaged.
    """
    try:
        if isinstance(body, dict) and body.get("synthgen_certificate", FORMAT) != FORMAT:
            raise SynthgenError(
                f"the certificate has format {body['synthgen_certificate']!r}, this synthgen reads {FORMAT}"
            )
        found = Certificate.model_validate(body)
        for charge in found.queries:
            charge.check()
        _check_size([c for c in found.queries if c.mechanism == TRAINING])
        if found.relation != RELATION.get(found.level):
            raise ValueError(f"it protects a {found.unit!r}, and says that neighbours have {found.relation!r}")
    except ValidationError as error:
        raise SynthgenError(f"the certificate is damaged: {explain(error)}") from error
    except (ValueError, ArithmeticError) as error:
        raise SynthgenError(f"the certificate is damaged: {error}") from error
    return found


def _check_size(trainings: Sequence[Charge]) -> None:
    """Raise ValueError where trainings are larger or less noisy than any fit's, so that none could count them."""

    def loss(charge: Charge) -> float:  # no step's mean privacy loss exceeds it, by convexity and by that of χ²
        square = charge.scale**-2
        return charge.steps * charge.rate / 2 * min(square, charge.rate * math.expm1(min(square, 700)))

    least = min((c.scale for c in trainings), default=LEAST)
    if least < LEAST or sum(c.steps for c in trainings) > MOST_STEPS or sum(map(loss, trainings)) > MOST_LOSS:
        raise ValueError("its trainings have more steps or less noise than any that protects")


def check_certificate(body: Any) -> str:
    """Add up a certificate again; a sentence that says what holds.

    Raises:
        SynthgenError: its figures contradict each other, or exceed what it claims.
    """
    found = read_certificate(body)
    epsilon, delta, claimed = found.epsilon, found.delta, found.spent_epsilon
    try:
        spent, passed = _added(found.queries, delta)
    except (BudgetError, ValueError, ArithmeticError, MemoryError) as error:
        raise SynthgenError(f"the certificate is damaged: {error}") from error
    if not abs(spent - claimed) <= NEAR * max(1.0, spent):
        raise SynthgenError(
            f"the certificate says that epsilon {claimed:.6g} was spent; its queries add up to {spent:.6g}"
        )
    if not (spent <= epsilon * (1 + NEAR) and passed <= delta * THRESHOLDS * (1 + NEAR)):
        raise SynthgenError(f"the queries of the certificate exceed its epsilon {epsilon:g} and delta {delta:g}")
    return (
        f"{len(found.queries)} queries add up to epsilon {spent:.4g} of {epsilon:g} at delta {delta:g}, "
        f"{found.level}-level"
    )


def _added(charges: Iterable[Charge], delta: float) -> tuple[float, float]:
    """Epsilon of queries at a delta less the share of thresholds, and the delta that their thresholds cost."""
    charges = list(charges)
    return total_epsilon(queries(charges), delta * (1 - THRESHOLDS)), sum(c.delta for c in charges)


class Together(NamedTuple):
    """How many fits of the same data a ledger holds, finished or not, and what they spent in all."""

    fits: int
    epsilon: float
    delta: float


def check_ledger(body: Any, path: str | Path) -> Together:
    """Compare a certificate with the ledger that its fit wrote.

    Raises:
        SynthgenError: the ledger does not hold the fit, or other queries of it.
        BudgetError: the ledger cannot be read.
    """
    found = read_certificate(body)
    if not Path(path).is_file():
        raise SynthgenError(f"there is no ledger {path}; give the file that --ledger named when the model was fitted")
    source = source_of(path, found.fit)
    if source is None:
        raise SynthgenError(f"the ledger {path} does not hold the fit {found.fit!r} of this model: it is another's")
    fits = recorded(path, source)
    _compare(found.queries, fits[found.fit])
    epsilon, passed = _added((c for charges in fits.values() for c in charges), found.delta)
    return Together(len(fits), epsilon, found.delta * (1 - THRESHOLDS) + passed)


def _compare(told: Sequence[Charge], kept: Sequence[Charge]) -> None:
    """Raise SynthgenError at the first query that a certificate tells otherwise than a ledger kept it."""
    for i, (one, other) in enumerate(zip(told, kept, strict=False), 1):
        for name, mine, yours in zip(Charge._fields, one, other, strict=True):
            if mine != yours:
                raise SynthgenError(
                    f"query {i} of the certificate, {one.what!r}, has {name} {mine!r}; the ledger says {yours!r}"
                )
    if len(told) > len(kept):
        raise SynthgenError(
            f"query {len(kept) + 1} of the certificate, {told[len(kept)].what!r}, is missing in the ledger"
        )
    if len(told) < len(kept):
        raise SynthgenError(
            f"query {len(told) + 1} of the ledger, {kept[len(told)].what!r}, is missing in the certificate"
        )
