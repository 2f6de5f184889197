"""`synthgen fit --epsilon` and `synthgen verify`: fits under a privacy budget, and what they promise."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from synthgen.cli.console import Console, duration
from synthgen.cli.options import check_folder, output_options, settings_of
from synthgen.errors import BudgetError, SynthgenError

AUTO = "marginals"  # a fixed public rule: no other generator comes near it under a budget
REASONS = {
    "--seed": "known noise protects nothing",
    "--max-time": "how long a fit takes would tell of the data",
    "--sample": "say --epsilon for all records; sampling is not accounted for yet",
    "--resume": "a fit under a budget takes seconds",
    "--keep-rare": "what few records hold is what it protects",
    "--given": "frequencies of given columns are not paid for yet; use conditions when generating",
    "--preview": "it is for images",
}


class Request(NamedTuple):
    """What a private fit was asked for."""

    data: str
    out: str
    generator: str
    schema_path: str | None
    drop: tuple[str, ...]
    settings: tuple[str, ...]
    device: str
    epsilon: float | None
    delta: float | None
    ledger: str | None


def fit_private(
    asked: Request, refused: Sequence[str], delimiter: str | None, encoding: str | None, console: Console
) -> None:
    """Fit under a budget and write the model with its certificate.

    Raises:
        BudgetError: epsilon or delta is missing, or an option cannot be had under a budget.
    """
    start = time.monotonic()
    if asked.epsilon is None or asked.delta is None:
        raise BudgetError("a privacy budget needs both --epsilon and --delta, such as --epsilon 1 --delta 1e-6")
    if refused:
        raise BudgetError(f"{refused[0]} cannot be had under a privacy budget: {REASONS[refused[0]]}")
    from synthgen import Synthesizer
    from synthgen.data import holds_images
    from synthgen.data.table import read_table
    from synthgen.dp.budget import Budget
    from synthgen.dp.ledger import keeper
    from synthgen.dp.prepare import fingerprint
    from synthgen.schema import Dialect, Schema

    if holds_images(asked.data):
        raise BudgetError("images cannot be fitted under a privacy budget yet")
    declared = Schema.from_json(_text(asked.schema_path), asked.schema_path) if asked.schema_path else None
    dialect = Dialect(delimiter=delimiter or ",", encoding=encoding or "utf-8") if delimiter or encoding else None
    table = read_table(Path(asked.data), dialect)
    keep, said = (lambda fit, charge: None), ""
    if asked.ledger:
        check_folder(Path(asked.ledger))
        source = fingerprint(table)
        keep, said = keeper(asked.ledger, source), _before(asked.ledger, source, asked.delta)
    budget = Budget(asked.epsilon, asked.delta, keep)
    name = AUTO if asked.generator == "auto" else asked.generator
    own = dict[str, Any](
        settings_of(asked.settings, reserved=["seed", "given", "sample", "max_time", "schema", "drop"])
    )
    synthesizer = Synthesizer(name, schema=declared, drop=asked.drop, device=asked.device, **own)
    synthesizer.fit(table, budget=budget, report=console.progress(f"fitting {name}"))
    synthesizer.save(asked.out)
    assert synthesizer.certificate is not None
    for note in [*synthesizer.notes, *([said] if said else []), *_warnings(synthesizer.certificate)]:
        console.say(note)
    total = synthesizer.certificate["records"]
    console.result(
        f"{asked.out}: {name} fitted on about {total} records under epsilon {budget.epsilon:g} and delta "
        f"{budget.delta:g} (spent: {budget.spent():.4g}), record-level, in {duration(time.monotonic() - start)}; "
        f"check it with: synthgen verify {asked.out}",
        model=asked.out,
        generator=name,
        records=total,
        certificate=synthesizer.certificate,
    )


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SynthgenError(f"cannot read the schema {path}: {error}") from error


def _before(ledger: str, source: str, delta: float) -> str:
    """What earlier fits on the same data have spent, with this one added when it is done."""
    from synthgen.dp.accounting import total_epsilon
    from synthgen.dp.ledger import queries, recorded

    fits = recorded(ledger, source)
    if not fits:
        return ""
    times = "once" if len(fits) == 1 else f"{len(fits)} times"
    spent = total_epsilon(queries(charge for charges in fits.values() for charge in charges), delta)
    return (
        f"these data were fitted {times} before: together those fits spent epsilon {spent:.3g} at delta {delta:g}; "
        "whoever holds all models has the protection of the sum"
    )


def _warnings(certificate: dict[str, Any]) -> list[str]:
    """What a steward should know of the figures; judged by the noisy number of records, never the exact one."""
    delta, records = certificate["delta"], certificate["records"]
    if delta * records > 0.1:
        return [f"delta {delta:g} is large for about {records} records: choose less than {0.1 / records:.0e}"]
    return []


@click.command()
@click.argument("model", type=click.Path())
@output_options
def verify(model: str, quiet: bool, as_json: bool) -> None:
    """Check a model: its hashes, and that the queries of its certificate add up to what it claims."""
    from synthgen import artifact
    from synthgen.dp.certificate import check_certificate

    manifest, _ = artifact.load(model)
    body = manifest.get("certificate")
    if body is None:
        text = "the model is whole; it was fitted without a privacy budget: no formal guarantee"
    else:
        text = f"the model is whole; {check_certificate(body)}"
    Console(quiet, as_json).result(text, certificate=json.loads(json.dumps(body)))
