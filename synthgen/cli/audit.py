"""`synthgen audit`: attacks private fits, and says how much of a privacy loss that proves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synthgen.cli.console import Console
from synthgen.cli.options import output_options, read_data, reading_options, settings_of
from synthgen.errors import BudgetError

if TYPE_CHECKING:
    from synthgen.dp.audit import Audit


@click.command()
@click.argument("table", type=click.Path())
@click.option("-g", "generator", required=True, help="The generator to attack (synthgen list).")
@click.option("--epsilon", type=float, required=True, help="The claim: a privacy budget, such as 1.")
@click.option("--delta", type=float, required=True, help="Its delta, such as 1e-6.")
@click.option("--canaries", default=1000, type=click.IntRange(10, 10_000), help="Records put in or left out.")
@click.option("--preparations", default=200, type=click.IntRange(1, 100_000), help="With and without an odd record.")
@click.option("--black-box", is_flag=True, help="Attack the finished model only, not its fit.")
@click.option("--schema", "schema_path", type=click.Path(), metavar="FILE", help="What is declared of the columns.")
@click.option("--drop", multiple=True, metavar="COL", help="Leave a column out. Repeatable.")
@click.option("--sample", type=click.IntRange(10), metavar="ROWS", help="Audit on so many rows, drawn at random.")
@click.option("-s", "settings", multiple=True, metavar="KEY=VALUE", help="A setting (synthgen info NAME).")
@reading_options
@output_options
def audit(
    table: str,
    generator: str,
    epsilon: float,
    delta: float,
    canaries: int,
    preparations: int,
    black_box: bool,
    schema_path: str | None,
    drop: tuple[str, ...],
    sample: int | None,
    settings: tuple[str, ...],
    delimiter: str | None,
    encoding: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Attack private fits of a generator on TABLE, and compare what that proves with the epsilon they claim.

    Nothing is kept of these fits. The exit code is 3 where more is proved than is claimed.
    """
    import numpy as np

    from synthgen.dp import audit as library

    console, own = Console(quiet, as_json), settings_of(settings, reserved=["schema", "drop", "sample", "canaries"])
    dataset = read_data(table, schema_path, delimiter, encoding)
    if sample is not None and sample < len(dataset):
        dataset = dataset.take(np.random.default_rng(0).permutation(len(dataset))[:sample])
    shows = {what: console.progress(what) for what in ("fitting", "preparing")}
    found = library.audit(
        dataset,
        generator,
        epsilon,
        delta,
        canaries=canaries,
        times=preparations,
        black_box=black_box,
        schema=dataset.declared,
        drop=drop,
        settings=own,
        report=lambda what, done: shows[what.partition(" ")[0]](done),
    )
    game = found.preparation
    console.result(_text(found), **found._asdict() | {"preparation": game._asdict()}, leaks=found.leaks)
    limits = {"canaries": (found.largest, found.claimed), "preparations": (game.largest, game.claimed)}
    for name, (largest, claimed) in limits.items():
        if largest <= claimed:
            console.say(f"so few {name} could not have shown more than is claimed; take more")
    if found.leaks:
        raise BudgetError(f"{generator} gives away more than epsilon {epsilon:g} allows: there is a leak")


def _text(found: Audit) -> str:
    game, sure = found.preparation, f"{100 * found.confidence:g} % confidence"
    return "\n".join(
        [
            f"the fit: {found.right} of {found.guesses} guesses about {found.canaries} canaries are right, by "
            f"{found.attack}",
            f"  claimed epsilon {found.claimed:g} at delta {found.delta:g}",
            f"  audited lower bound {found.lower:.2f} ({sure})",
            f"  the largest this audit could have shown {found.largest:.2f}",
            f"its preparation alone: {game.times} runs with an odd record, {game.times} without",
            f"  claimed epsilon {game.claimed:.2g}",
            f"  audited lower bound {game.lower:.2f} ({sure}{', since ' + game.attack if game.lower else ''})",
            f"  the largest this audit could have shown {game.largest:.2f}",
            "an audit can find a leak; it cannot prove that there is none",
        ]
    )
