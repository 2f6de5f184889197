"""evaluate: judge synthetic records, ours or a stranger's, by real ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from synthgen.data import Dataset, Images, Table, as_dataset
from synthgen.errors import SynthgenError
from synthgen.report import dependence, disclosure, fidelity, utility
from synthgen.report.blocks import Section
from synthgen.report.floors import floors
from synthgen.report.inputs import Tables, comparable, name_of, told_apart
from synthgen.report.membership import membership_section
from synthgen.report.result import Report, Setup
from synthgen.report.sides import table_sides
from synthgen.schema import Schema

NO_CLAIM = "No formal guarantee is claimed for these synthetic records."
MOST = 10_000  # rows of the reference, and of what is compared with it

Progress = Callable[[float], None]


def evaluate(
    real: Any,
    synthetic: Any,
    holdout: Any = None,
    *,
    target: str | None = None,
    schema: Schema | None = None,
    features: str = "auto",
    seed: int = 0,
    claim: str = NO_CLAIM,
    names: Mapping[str, str] | None = None,
    report: Progress | None = None,
) -> Report:
    """Judge synthetic records by real ones: how faithful, how useful, how disclosive.

    >>> synthgen.evaluate("train.csv", "synthetic.csv", "test.csv").to_frame()  # doctest: +SKIP

    Args:
        real: what the generator was fitted on: a path, a pandas frame, anything with an Arrow stream, or Images.
        synthetic: what it made, of the same columns or classes.
        holdout: real records that the generator has not seen. Without them, halves of the real ones are compared and
            disclosure cannot be judged.
        target: column to predict, for utility; the last one by default, if it has few labels.
        schema: what is known of the columns; the rest is inferred from the real rows.
        features: of images: "auto", or a path of a network.
        seed: of all that is drawn. The same seed gives the same report.
        claim: what is claimed about formal guarantees; printed, not checked.
        names: what to call `real`, `synthetic` and `holdout`; their files by default.
        report: called with the share done.

    Raises:
        SynthgenError: the datasets do not fit each other, or a column is not there.
    """
    each, start = report or (lambda done: None), time.process_time()
    given = {"real": real, "synthetic": synthetic, "holdout": holdout}
    names = told_apart({role: name_of(data, role) for role, data in given.items()} | dict(names or {}))
    first = _read(real, names["real"])
    if isinstance(first, Images):
        from synthgen.report.image_inputs import read_others
        from synthgen.report.images import image_sections

        images = read_others(first, given, names, real)
        sections, notes = image_sections(images, features, seed, each)
        sizes = [len(images[role]) if role in images else None for role in given]
    else:
        tables = _tables(first.declare(schema) if schema else first, synthetic, holdout, names)
        sections, notes = table_sections(tables, target, seed, each)
        notes = [*tables.notes, *notes]
        sizes = [len(rows) if rows else None for rows in (tables.real, tables.synthetic, tables.holdout)]
    sides = [(names[role], size) for role, size in zip(given, sizes, strict=True) if size is not None]
    seconds = round(time.process_time() - start, 1)
    setup = Setup(first.kind, sides[0], sides[1], sides[2] if len(sides) > 2 else None, claim, tuple(notes), seconds)
    return Report(setup, tuple(sections))


def _read(data: Any, name: str) -> Dataset:
    """A dataset; what cannot be read is named."""
    try:
        return as_dataset(data)
    except SynthgenError as error:
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error


def _tables(real: Table, synthetic: Any, holdout: Any, names: dict[str, str]) -> Tables:
    others: list[Table | None] = []
    for role, data in (("synthetic", synthetic), ("holdout", holdout)):
        found = None if role == "holdout" and data is None else _read(data, names[role])
        if isinstance(found, Images):
            raise SynthgenError(f"{names[role]} holds images, and {names['real']} is a table")
        others.append(found)
    assert others[0] is not None
    return comparable(real, others[0], others[1], names)


def table_sections(tables: Tables, target: str | None, seed: int, each: Progress) -> tuple[list[Section], list[str]]:
    """All sections of a report on tables, and notes on what was sampled."""
    chosen, said = utility.choose_target(tables, target)
    notes = [said] if said else []
    unseen = tables.holdout.matrix if tables.holdout else tables.real.matrix
    if not tables.holdout:
        notes.append(
            "No holdout was given: fidelity compares with a half of the real rows, and its floor is the other half."
        )
    rows = floors(tables.real.matrix, tables.synthetic.matrix, unseen, MOST, seed)
    notes.append(f"Distances and detection compare {len(rows.reference)} rows with as many.")
    sections: list[Section | None] = [
        fidelity.detection_section(tables, rows, _part(each, 0.0, 0.15)),
        fidelity.column_section(tables, rows, [chosen] if chosen else []),
        dependence.dependence_section(tables, rows),
        dependence.structure_section(tables, rows),
    ]
    each(0.3)
    if chosen:
        # without a holdout one half of the real rows is predicted by models of the other
        halves = rows.fresh, rows.synthetic, rows.reference
        parts = (tables.real.matrix, tables.synthetic.matrix, unseen) if tables.holdout else halves
        sections.append(utility.utility_section(tables, chosen, parts, _part(each, 0.3, 0.5), seed))
    records = table_sides(tables)
    if records is None:
        sections.append(disclosure.unseen_section())
    else:
        attacked = membership_section(records, _part(each, 0.5, 0.85), seed)
        alike = any(f.kind in ("leaks", "private") for f in attacked.findings)  # or the attacks say that they are not
        sections.append(attacked)
        sections.append(disclosure.copies_section(records, tables.matrices()))
        sections.append(disclosure.inference_section(records, tables, chosen, _part(each, 0.85, 1.0), seed, alike))
    each(1.0)
    return [s for s in sections if s], notes


def _part(each: Progress, start: float, end: float) -> Progress:
    """Progress of a part, as progress of the whole."""
    return lambda done: each(start + (end - start) * done)
