"""Verify a release: its files, its certificate, what its documents claim, and every record."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from synthgen import __version__, artifact
from synthgen.data import ImageSchema
from synthgen.dp.certificate import check_certificate, digest
from synthgen.errors import SynthgenError
from synthgen.release.bundle import CARD, CROISSANT, MODEL, PACKAGE
from synthgen.release.conform import check_images, check_rows, read_schema
from synthgen.release.croissant import CONTEXT, record_sets
from synthgen.release.datapackage import table_schema
from synthgen.release.facts import claims
from synthgen.release.records import SCHEMA
from synthgen.release.sums import SUMS, check_sums
from synthgen.release.terms import FIGURE
from synthgen.report.certificate import certificate_page
from synthgen.schema import Schema

NEEDED = {CARD, PACKAGE, CROISSANT, SCHEMA, SUMS}


class Verified(NamedTuple):
    """What was found.

    Attributes:
        records: how many.
        noun: what they are called.
        generator: that drew them.
        certificate: as JSON; None where there is no guarantee.
        promise: the certificate in a sentence.
        sha256: of the list of all hashes: what names this release and no other.
    """

    records: int
    noun: str
    generator: str
    certificate: dict[str, Any] | None
    promise: str
    sha256: str


def verify(path: str | Path, report: Callable[[float], None] = lambda done: None) -> Verified:
    """Check a release, in memory that does not grow with its records.

    Args:
        path: of the folder.
        report: called with the share done.

    Raises:
        SynthgenError: the first thing that does not hold.
    """
    folder = Path(path)
    names = check_sums(folder, lambda done: report(done / 2))
    if lost := sorted(NEEDED - names):
        raise SynthgenError(f"{folder}: {lost[0]} is missing; copy the release again")
    certificate, promise = _certificate(folder, names)
    package = _json(folder, PACKAGE)
    told = _claims(package, PACKAGE, folder)
    records, generator = told.get("records"), told.get("generator")
    if not isinstance(records, int) or not isinstance(generator, str):
        raise SynthgenError(f"{folder / PACKAGE} does not say how many records there are, or what drew them")
    _check_claims(folder, certificate, claims(certificate, generator, records), told)
    _check_model(folder, names, certificate)
    schema = read_schema(_json(folder, SCHEMA), (folder / SCHEMA).read_text("utf-8"), folder / SCHEMA)
    rows = isinstance(schema, Schema)
    for name in names:
        if name.startswith("images/" if rows else "data/"):
            raise SynthgenError(
                f"{folder}: {name} is no part of a release of {'rows' if rows else 'images'}; remove it"
            )
    _check_hashes(folder, package)
    _check_records(folder, names, schema, records, lambda done: report((1 + done) / 2))
    if told.get("version") == __version__:  # another one may describe the same schema in other words
        _check_described(folder, package, schema)
    sums = hashlib.sha256((folder / SUMS).read_bytes()).hexdigest()
    return Verified(records, "rows" if rows else "images", generator, certificate, promise, sums)


def _check_records(
    folder: Path, names: set[str], schema: Schema | ImageSchema, records: int, report: Callable[[float], None]
) -> None:
    try:
        if isinstance(schema, Schema):
            check_rows(folder, names, schema, records, report)
        else:
            check_images(folder, names, schema, records, report)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:  # a schema may say anything
        raise SynthgenError(f"{folder / SCHEMA} is damaged: its columns cannot be as it says") from error


def _certificate(folder: Path, names: set[str]) -> tuple[dict[str, Any] | None, str]:
    """The certificate, added up again, and what it promises."""
    both = {artifact.CERTIFICATE, artifact.PAGE}
    if not both & names:
        return None, "no formal guarantee"
    if lost := sorted(both - names):
        raise SynthgenError(f"{folder}: {lost[0]} is missing; copy the release again")
    body = _json(folder, artifact.CERTIFICATE)
    said = check_certificate(body)
    page, same = _text(folder, artifact.PAGE), body["versions"].get("synthgen") == __version__
    if page != certificate_page(body) and (same or digest(body) not in page):  # another version has other words
        raise SynthgenError(f"{folder / artifact.PAGE} is not the page of the certificate beside it")
    return body, said


def _json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SynthgenError(f"{folder / name} is no JSON that can be read") from error


def _claims(body: Any, name: str, folder: Path) -> dict[str, Any]:
    found = body.get("synthgen") if isinstance(body, dict) else None
    if not isinstance(found, dict):
        raise SynthgenError(f"{folder / name} does not say what the release claims")
    return found


def _check_claims(folder: Path, certificate: Any, wanted: dict[str, Any], told: dict[str, Any]) -> None:
    """Compare what the documents say with the certificate, and with each other."""
    if certificate is not None and certificate["generator"] != wanted["generator"]:
        raise SynthgenError(f"{folder / PACKAGE} says that {wanted['generator']!r} drew it; the certificate does not")
    text = _text(folder, CARD)
    front = re.search(r"^synthgen: (\{.*\})$", text.partition("\n---\n")[0], re.MULTILINE)
    card = _parsed(front[1]) if front else None
    for name, found in ((PACKAGE, told), (CARD, card)):
        if not isinstance(found, dict) or found != wanted | {k: told.get(k) for k in ("seed", "version")}:
            key = next((k for k in wanted if not isinstance(found, dict) or found.get(k) != wanted[k]), "its claims")
            raise SynthgenError(f"{folder / name}: what it says of {key} is not what the certificate and the data say")
    croissant = _json(folder, CROISSANT)
    if croissant.get("rai:hasSyntheticData") is not True:
        raise SynthgenError(f"{folder / CROISSANT} does not say that the data are synthetic")
    _check_words(folder / CARD, text, wanted)
    _check_words(folder / PACKAGE, str(_json(folder, PACKAGE).get("description")), wanted)
    _check_words(folder / CROISSANT, str(croissant.get("description")), wanted)


def _check_words(path: Path, text: str, wanted: dict[str, Any]) -> None:
    """Every ε and δ that a document writes is the certificate's; without one there is none, and it says so."""
    told = {"ε": wanted.get("epsilon"), "δ": wanted.get("delta")}
    for match in FIGURE.finditer(text):
        if told[match[1]] is None or f"{float(match[2]):g}" != f"{told[match[1]]:g}":
            raise SynthgenError(f"{path} says “{match[0]}”, which the certificate does not")
    if told["ε"] is None and "no formal guarantee" not in text.lower():
        raise SynthgenError(f"{path} does not say that there is no formal guarantee")


def _check_hashes(folder: Path, package: dict[str, Any]) -> None:
    """The other documents describe the data, all of them, with the hashes that their files have."""
    sums = dict(line.split("  ", 1)[::-1] for line in (folder / SUMS).read_text("utf-8").splitlines())
    data = {name for name in sums if name.endswith((".csv", ".parquet"))}
    for name, told in (
        (PACKAGE, {str(r.get("path")): r.get("hash") for r in _dicts(package, "resources")}),
        (
            CROISSANT,
            {str(f.get("contentUrl")): f.get("sha256") for f in _dicts(_json(folder, CROISSANT), "distribution")},
        ),
    ):
        if lost := sorted(path for path in data if path not in told and (name, path[-4:]) != (PACKAGE, "quet")):
            raise SynthgenError(f"{folder / name} does not describe {lost[0]}")
        for path, found in told.items():
            if found is not None and str(found).removeprefix("sha256:") != sums.get(path):
                raise SynthgenError(f"{folder / name}: the hash of {path} is not that of the file")


def _check_described(folder: Path, package: dict[str, Any], schema: Schema | ImageSchema) -> None:
    """The other documents say of the columns what the schema says."""
    if any(r.get("schema") != table_schema(schema) for r in _dicts(package, "resources")):
        raise SynthgenError(f"{folder / PACKAGE} says something else of the columns than {SCHEMA}")
    croissant = _json(folder, CROISSANT)
    if croissant.get("recordSet") != record_sets(schema) or croissant.get("@context") != CONTEXT:
        raise SynthgenError(f"{folder / CROISSANT} says something else of the columns than {SCHEMA}")


def _dicts(body: Any, key: str) -> list[dict[str, Any]]:
    found = body.get(key) if isinstance(body, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _check_model(folder: Path, names: set[str], certificate: Any) -> None:
    """A model beside the records is whole, and is what the certificate speaks of."""
    if not any(name.startswith(f"{MODEL}/") for name in names):
        return
    body = artifact.load(folder / MODEL)[0].get("certificate")
    if (body and digest(body)) != (certificate and digest(certificate)):
        raise SynthgenError(f"{folder / MODEL} is another model than the certificate is of")


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SynthgenError(f"{folder / name} cannot be read") from error


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
