"""`synthgen verify`: what a release or a model promises, added up again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthgen.cli.console import Console
from synthgen.cli.options import check_apart, check_file, output_options
from synthgen.errors import SynthgenError

if TYPE_CHECKING:
    from synthgen.dp.certificate import Together


@click.command()
@click.argument("what", metavar="RELEASE|MODEL", type=click.Path())
@click.option("--ledger", type=click.Path(), metavar="FILE", help="Compare with the ledger that its fit wrote.")
@click.option("--page", type=click.Path(), metavar="FILE", help="Write its certificate as a page, such as proof.html.")
@output_options
def verify(what: str, ledger: str | None, page: str | None, quiet: bool, as_json: bool) -> None:
    """Check a release or a model: its files, its records, and that its certificate adds up to what it claims."""
    from synthgen.release.sums import SUMS

    if page:
        check_file(Path(page))
        check_apart(page, what, ledger)
        if Path(page).exists() and Path(page).suffix.lower() not in (".html", ".htm"):
            raise SynthgenError(f"{page} exists and is no page; give another --page")
    console = Console(quiet, as_json)
    if (Path(what) / SUMS).exists():
        _verify_release(what, ledger, page, console)
    else:
        _verify_model(what, ledger, page, console)


def _verify_release(release: str, ledger: str | None, page: str | None, console: Console) -> None:
    from synthgen.release import verify as checked

    found = checked(release, console.progress("checking"))
    said = [f"the release is whole: {found.records} {found.noun} by {found.generator}, as described; {found.promise}"]
    fields: dict[str, Any] = {"certificate": None}
    if found.certificate is not None:
        more, fields = _certified(found.certificate, ledger, page)
        said += more
    elif ledger or page:
        raise SynthgenError(f"the release {release} has no formal guarantee: it has no certificate")
    console.result(
        "; ".join([*said, f"its name is {found.sha256}"]),
        **fields,
        records=found.records,
        generator=found.generator,
        release_sha256=found.sha256,
    )


def _verify_model(model: str, ledger: str | None, page: str | None, console: Console) -> None:
    from synthgen import artifact
    from synthgen.dp.certificate import check_certificate

    body = artifact.load(model)[0].get("certificate")
    if body is None:
        if ledger or page:
            raise SynthgenError(f"the model {model} was fitted without a privacy budget: it has no certificate")
        console.result(
            "the model is whole; it was fitted without a privacy budget: no formal guarantee", certificate=None
        )
        return
    said = f"the model is whole; {check_certificate(body)}"
    more, fields = _certified(body, ledger, page)
    console.result("; ".join([said, *more]), **fields)


def _certified(body: Any, ledger: str | None, page: str | None) -> tuple[list[str], dict[str, Any]]:
    """What else there is to say of a certificate: of its ledger, its page, its name."""
    from synthgen.dp.certificate import check_ledger, digest
    from synthgen.files import replacing
    from synthgen.report.certificate import certificate_page

    said, name = list[str](), digest(body)
    found: dict[str, Any] = {"certificate": body, "sha256": name}
    if ledger:
        together = check_ledger(body, ledger)
        said.append(_all_fits(together))
        found["together"] = together._asdict()
    if page:
        with replacing(page) as new:
            new.write_text(certificate_page(body), "utf-8")
        said.append(f"its page is {page}")
    return [*said, f"certificate {name}"], found


def _all_fits(together: Together) -> str:
    times = "once" if together.fits == 1 else f"{together.fits} times"
    return (
        f"the ledger says the same: these data were fitted {times}, finished or not, for epsilon "
        f"{together.epsilon:.4g} at delta {together.delta:.3g} in all"
    )
