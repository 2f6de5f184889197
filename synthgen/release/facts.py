"""Facts: all that the documents of a release say, each of them once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from synthgen import __version__
from synthgen.data import ImageSchema
from synthgen.dp.certificate import Certificate, digest, read_certificate
from synthgen.release.fidelity import Distance
from synthgen.release.terms import Terms
from synthgen.schema import Schema

NONE, DP = "none", "differential privacy"


class File(NamedTuple):
    """A file of a bundle: its path there, its bytes, and their hash."""

    path: str
    size: int
    sha256: str


def file_of(folder: Path, path: str) -> File:
    """What there is to say of a file of a bundle."""
    with (folder / path).open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return File(path, (folder / path).stat().st_size, found)


@dataclass(frozen=True)
class Facts:
    """What the documents of a release say.

    Args:
        terms: what a person says of it.
        generator: name of the family.
        records: how many were released.
        seed: of their draw.
        schema: of the released records.
        missing: share of the records without a value, by column.
        distances: from what was paid for, by column.
        certificate: of the fit, as JSON; None where there is no guarantee.
        files: the data.
        model: whether the model lies beside them.
    """

    terms: Terms
    generator: str
    records: int
    seed: int
    schema: Schema | ImageSchema
    missing: dict[str, float]
    distances: Sequence[Distance]
    certificate: dict[str, Any] | None
    files: Sequence[File]
    model: bool

    @property
    def noun(self) -> str:
        """What the records are called."""
        return "images" if isinstance(self.schema, ImageSchema) else "rows"

    @property
    def promise(self) -> Certificate | None:
        """The certificate, read."""
        return None if self.certificate is None else read_certificate(self.certificate)

    @property
    def claims(self) -> dict[str, Any]:
        """What `synthgen verify` holds against the certificate and the data; the same in all documents."""
        return claims(self.certificate, self.generator, self.records) | {"seed": self.seed, "version": __version__}

    @property
    def summary(self) -> str:
        """What it is, in one sentence for catalogues."""
        said = f"{self.terms.description.strip()} " if self.terms.description.strip() else ""
        made = f"{said}Synthetic data: {self.records} {self.noun} drawn from a generative model ({self.generator})"
        if (promise := self.promise) is None:
            return f"{made} without differential privacy: no formal guarantee protects the real records."
        return f"{made} that was fitted under {promise.level}-level differential privacy, {figures(promise)}."


def figures(promise: Certificate) -> str:
    """Epsilon and delta as every document writes them."""
    return f"ε = {promise.epsilon:g} and δ = {promise.delta:g}"


def claims(certificate: dict[str, Any] | None, generator: str, records: int) -> dict[str, Any]:
    """What a release claims of itself, as JSON."""
    found: dict[str, Any] = {"synthetic": True, "generator": generator, "records": records, "guarantee": NONE}
    if certificate is not None:
        promise = read_certificate(certificate)
        found |= {"guarantee": DP, "epsilon": promise.epsilon, "delta": promise.delta}
        found |= {"unit": promise.unit, "certificate": digest(certificate)}
    return found
