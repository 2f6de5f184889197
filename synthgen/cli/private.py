"""`synthgen fit --epsilon`: fits under a privacy budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from synthgen.cli.console import Console, duration, interruptible
from synthgen.cli.options import check_folder, read_data, read_schema, say_mark, settings_of
from synthgen.cli.ranks import speaks
from synthgen.errors import BudgetError, Interrupted, SynthgenError

if TYPE_CHECKING:
    from synthgen import Synthesizer
    from synthgen.data import Table
    from synthgen.dp.budget import Budget
    from synthgen.dp.prepare import Folder

AUTO = {"table": "marginals", "images": "gmm"}  # a fixed public rule, from measurements on public data
REASONS = {
    "--seed": "known noise protects nothing",
    "--sample": "say --epsilon for all records; sampling is not accounted for yet",
    "--memory": "what does not fit would tell how many rows there are, which is private",
    "--resume": "what an interrupted fit paid for is spent; fit again",
    "--keep-rare": "what few records hold is what it protects",
    "--strict": "which files can be read would tell of them",
    "--preview": "it shows unfinished work, which nothing pays for",
}


class Request(NamedTuple):
    """What a private fit was asked for."""

    data: str
    out: str
    generator: str
    schema_path: str | None
    options: dict[str, Any]
    settings: tuple[str, ...]
    epsilon: float | None
    delta: float | None
    ledger: str | None
    unit: tuple[str, int]
    reading: dict[str, Any]


def fit_private(asked: Request, refused: Sequence[str], console: Console) -> None:
    """Fit under a budget and write the model with its certificate.

    Raises:
        BudgetError: epsilon or delta is missing, or an option cannot be had under a budget.
    """
    start = time.monotonic()
    synthesizer, said = fitted_privately(asked, refused, console)
    if not speaks():
        return
    synthesizer.save(asked.out)
    for note in said:
        console.say(note)
    body, name = synthesizer.certificate, synthesizer.name
    assert body is not None
    console.result(
        f"{asked.out}: {name} fitted on about {body['records']} records under epsilon {body['epsilon']:g} and delta "
        f"{body['delta']:g} (spent: {body['spent_epsilon']:.4g}), {body['unit'].partition(':')[0]}-level, in "
        f"{duration(time.monotonic() - start)}; check it with: synthgen verify {asked.out}",
        model=asked.out,
        generator=name,
        records=body["records"],
        certificate=body,
    )


def fitted_privately(asked: Request, refused: Sequence[str], console: Console) -> tuple[Synthesizer, list[str]]:
    """A synthesizer fitted under a budget, and what its owner should know of the fit.

    Raises:
        BudgetError: epsilon or delta is missing, or an option cannot be had under a budget.
    """
    if asked.epsilon is None or asked.delta is None:
        raise BudgetError("a privacy budget needs both --epsilon and --delta, such as --epsilon 1 --delta 1e-6")
    if refused:
        raise BudgetError(f"{refused[0]} cannot be had under a privacy budget: {REASONS[refused[0]]}")
    from synthgen import Synthesizer
    from synthgen.data import holds_images
    from synthgen.dp.budget import Budget
    from synthgen.dp.prepare import Unit

    options = {**asked.options, **settings_of(asked.settings, reserved=["seed", "sample", "schema", *asked.options])}
    if asked.schema_path:
        options["schema"] = read_schema(asked.schema_path)
    budget = Budget(asked.epsilon, asked.delta)
    name = AUTO["images" if holds_images(asked.data) else "table"] if asked.generator == "auto" else asked.generator
    synthesizer = Synthesizer(name, **options)  # complains about settings before any data is read
    dataset, said = _read(asked, budget) if speaks() else (None, [])
    if not holds_images(asked.data):  # a mark of images is that of one record
        say_mark(console, asked.data)
    with interruptible() as interrupted:
        try:
            synthesizer.fit(
                dataset,
                budget=budget,
                unit=Unit(*asked.unit),
                report=console.progress(f"fitting {name}"),
                interrupted=interrupted,
            )
        except Interrupted:
            raise Interrupted(f"interrupted; there is no model, and epsilon {budget.spent():.3g} is spent") from None
        except KeyboardInterrupt:  # the second, which does not wait
            kept = f", and what the ledger {asked.ledger} says is spent" if asked.ledger else ""
            raise Interrupted(f"interrupted; there is no model{kept}") from None
    warnings = _warnings(synthesizer.certificate) if synthesizer.certificate else []
    return synthesizer, [*synthesizer.notes, *said, *warnings]


def _read(asked: Request, budget: Budget) -> tuple[Table | Folder, list[str]]:
    """The raw data, of which nothing is told that is not paid for; and what earlier fits on them have spent."""
    from synthgen.data import holds_images
    from synthgen.dp.prepare import Folder

    reading = asked.reading
    if holds_images(asked.data):
        if asked.schema_path or reading["delimiter"] or reading["encoding"]:
            raise SynthgenError(f"{asked.data} holds images; --schema, --delimiter and --encoding are for tables")
        said = _open_ledger(asked, asked.data, budget)
        return Folder(asked.data, reading["size"], reading["aspect"] or "crop"), said
    if reading["size"] or reading["aspect"]:
        raise SynthgenError(f"{asked.data} is a table; --size and --aspect are for images")
    table = read_privately(asked.data, asked.schema_path, reading["delimiter"], reading["encoding"])
    return table, _open_ledger(asked, table, budget)


def read_privately(path: str, schema_path: str | None, delimiter: str | None, encoding: str | None) -> Table:
    """A table, read so that no record changes how another is read."""
    from synthgen.data.table import read_table

    table: Table = read_data(
        path, schema_path, delimiter, encoding, opened=lambda file, dialect, _: read_table(file, dialect, private=True)
    )
    return table


def _open_ledger(asked: Request, data: Table | str, budget: Budget) -> list[str]:
    """Write what is charged to the ledger from now on; what earlier fits on the same data have spent, in a sentence."""
    if not asked.ledger:
        return []
    from synthgen.dp.accounting import total_epsilon
    from synthgen.dp.ledger import keeper, queries, recorded
    from synthgen.dp.prepare import fingerprint

    check_folder(Path(asked.ledger))
    source = fingerprint(data)
    budget.keep = keeper(asked.ledger, source)
    if not (fits := recorded(asked.ledger, source)):
        return []
    times = "once" if len(fits) == 1 else f"{len(fits)} times"
    before = [charge for charges in fits.values() for charge in charges]
    spent, delta = total_epsilon(queries(before), budget.delta), budget.delta + sum(c.delta for c in before)
    return [
        f"these data were fitted {times} before: together those fits spent epsilon {spent:.3g} at delta "
        f"{delta:g}; whoever holds all models has the protection of the sum"
    ]


def _warnings(certificate: dict[str, Any]) -> list[str]:
    """What a steward should know of the figures; judged by the noisy number of records, never the exact one."""
    delta, records = certificate["delta"], certificate["records"]
    if delta * records > 0.1:
        return [f"delta {delta:g} is large for about {records} records: choose less than {0.1 / records:.0e}"]
    return []
