"""`synthgen verify`: what a model promises, added up again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthgen.cli.console import Console
from synthgen.cli.options import check_file, output_options
from synthgen.errors import SynthgenError

if TYPE_CHECKING:
    from synthgen.dp.certificate import Together


@click.command()
@click.argument("model", type=click.Path())
@click.option("--ledger", type=click.Path(), metavar="FILE", help="Compare with the ledger that its fit wrote.")
@click.option("--page", type=click.Path(), metavar="FILE", help="Write its certificate as a page, such as proof.html.")
@output_options
def verify(model: str, ledger: str | None, page: str | None, quiet: bool, as_json: bool) -> None:
    """Check a model: its files, and that the queries of its certificate add up to what it claims."""
    from synthgen import artifact
    from synthgen.dp.certificate import check_certificate, check_ledger, digest
    from synthgen.files import replacing
    from synthgen.report.certificate import certificate_page

    if page:
        check_file(Path(page))
    console, (manifest, _) = Console(quiet, as_json), artifact.load(model)
    body = manifest.get("certificate")
    if body is None:
        if ledger or page:
            raise SynthgenError(f"the model {model} was fitted without a privacy budget: it has no certificate")
        console.result(
            "the model is whole; it was fitted without a privacy budget: no formal guarantee", certificate=None
        )
        return
    said, found = [f"the model is whole; {check_certificate(body)}"], dict[str, Any](certificate=body)
    if ledger:
        together = check_ledger(body, ledger)
        said.append(_all_fits(together))
        found["together"] = together._asdict()
    if page:
        with replacing(page) as new:
            new.write_text(certificate_page(body), "utf-8")
        said.append(f"its page is {page}")
    name = digest(body)
    console.result("; ".join([*said, f"certificate {name}"]), **found, sha256=name)


def _all_fits(together: Together) -> str:
    times = "once" if together.fits == 1 else f"{together.fits} times"
    return (
        f"the ledger says the same: these data were fitted {times}, finished or not, for epsilon "
        f"{together.epsilon:.4g} at delta {together.delta:.3g} in all"
    )
