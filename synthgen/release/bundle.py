"""Bundle: the folder that is published. What may be in it is a list; all else is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from synthgen import artifact
from synthgen.codec import LABEL, Codec, ImageCodec
from synthgen.codec.rare import RARE
from synthgen.data import ImageSchema
from synthgen.dp.certificate import read_certificate
from synthgen.errors import BudgetError, ResourceError, SynthgenError, near
from synthgen.files import replacing
from synthgen.release.card import card
from synthgen.release.croissant import croissant
from synthgen.release.datapackage import datapackage
from synthgen.release.facts import Facts, file_of
from synthgen.release.fidelity import distances
from synthgen.release.records import check_shards, draw
from synthgen.release.seen import Seen
from synthgen.release.sums import ALLOWED, SUMS, listed, write_sums
from synthgen.release.terms import Terms
from synthgen.report.certificate import certificate_page
from synthgen.schema import Schema
from synthgen.synthesizer import Synthesizer

CARD, LICENCE, MODEL = "README.md", "LICENSE", "model"
PACKAGE, CROISSANT = "datapackage.json", "croissant.json"
CERTIFICATE, PAGE = artifact.CERTIFICATE, artifact.PAGE
NO_BUDGET = (
    "a release needs a privacy budget: --epsilon and --delta, such as --epsilon 1 --delta 1e-6; "
    "or say --no-formal-guarantee, and the release will say so too"
)
NO_MODEL = (
    "a model that was fitted without a privacy budget holds exact values and counts of the real data; "
    "leave out --with-model, or give --epsilon and --delta"
)


def release(
    synthesizer: Synthesizer,
    path: str | Path,
    n: int,
    *,
    seed: int = 0,
    terms: Terms = Terms(),  # noqa: B008 (immutable)
    shards: int = 1,
    with_model: bool = False,
    no_formal_guarantee: bool = False,
    report: Callable[[float], None] = lambda done: None,
) -> Facts:
    """Draw n records and write all that is published with them: a folder, whole or not at all.

    Nothing in it was computed from the real data without being paid for. The same model, seed and terms give the same
    bytes.

    Args:
        synthesizer: fitted, under a privacy budget unless `no_formal_guarantee`.
        path: of the folder; an earlier release there is replaced.
        n: number of records.
        seed: of the draw.
        terms: what a person says of it.
        shards: number of Parquet files.
        with_model: put the model beside the records.
        no_formal_guarantee: the model was fitted without a budget, and the release says so.
        report: called with the share of records drawn.

    Raises:
        BudgetError: the model has no certificate, and nobody said that it need not have one.
        SynthgenError: something else than a release is in the way, or the terms do not fit the model.
        ResourceError: the disk is full or the place not writable.
    """
    path = Path(path)
    check_place(path)
    check_model(synthesizer, no_formal_guarantee)
    if with_model and no_formal_guarantee:
        raise SynthgenError(NO_MODEL)
    check_terms(synthesizer.codec, terms)
    check_shards(synthesizer.codec, n, shards)
    with replacing(path) as folder:
        folder.mkdir()
        seen = Seen(synthesizer.codec, synthesizer.counted)
        schema = draw(folder, synthesizer, n, seed, shards, seen, report)
        facts = _facts(folder, synthesizer, seed, terms, with_model, seen, schema)
        _write_documents(folder, synthesizer, facts)
        write_sums(folder)
    return facts


def check_place(path: Path) -> None:
    """Raise SynthgenError where a release could not be written, or would take the place of something else."""
    if path.name in ("", ".."):
        raise SynthgenError(f"{path} names no new folder; give one, such as -o bundle")
    if not path.absolute().parent.is_dir():
        raise SynthgenError(f"there is no folder {path.parent} to write {path.name} into")
    if not os.access(path.absolute().parent, os.W_OK):
        raise ResourceError(f"cannot write into {path.absolute().parent}: permission denied")
    if not (path.exists() or path.is_symlink()):
        return
    if path.is_symlink() or not path.is_dir() or not (is_bundle(path) or not any(path.iterdir())):
        raise SynthgenError(f"{path} exists and is no release of synthgen; give another -o or remove it")
    if strange := sorted(name for name in listed(path) if not ALLOWED.fullmatch(name)):
        raise SynthgenError(f"{path} holds {strange[0]}, which is no part of a release; move it, or give another -o")


def is_bundle(path: Path) -> bool:
    """Whether a folder looks like a release."""
    return (path / SUMS).is_file() and (path / PACKAGE).is_file()


def check_model(synthesizer: Synthesizer, no_formal_guarantee: bool) -> None:
    """Raise BudgetError where a model was fitted without a budget and nobody says so, or the other way round."""
    if synthesizer.certificate is not None:
        if no_formal_guarantee:
            raise SynthgenError("the model has a guarantee, and a certificate; leave out --no-formal-guarantee")
        return
    if not no_formal_guarantee:
        raise BudgetError(NO_BUDGET)
    codec = synthesizer.codec
    if isinstance(codec, ImageCodec):
        for (code,), count in zip(codec.context.codes, codec.context.counts, strict=True):
            if count < RARE:
                raise SynthgenError(
                    f"class {codec.image_schema.classes[code]!r} is that of {count} images only, and its name would "
                    f"tell of them; join it to another, or leave it out (at least {RARE} are needed)"
                )


def check_terms(codec: Codec, terms: Terms) -> None:
    """Raise SynthgenError where what a person says cannot be published, or does not fit the model."""
    terms.check()
    schema = codec.dataset_schema
    check_target(terms, [LABEL] if isinstance(schema, ImageSchema) else schema.names)


def check_target(terms: Terms, names: Sequence[str]) -> None:
    """Raise SynthgenError where the target is none of the columns."""
    if terms.target and terms.target not in names:
        raise SynthgenError(f"--target {terms.target!r} is no column; {near(terms.target, names)}")


def _facts(
    folder: Path,
    synthesizer: Synthesizer,
    seed: int,
    terms: Terms,
    with_model: bool,
    seen: Seen,
    schema: Schema | ImageSchema,
) -> Facts:
    body, codec = synthesizer.certificate, synthesizer.codec
    assert synthesizer.name is not None
    return Facts(
        terms=terms,
        generator=synthesizer.name,
        records=seen.records,
        seed=seed,
        schema=schema,
        missing={c.name: seen.missing(c.name) for c in schema.columns} if isinstance(schema, Schema) else {},
        distances=distances(codec, synthesizer.counted, seen, read_certificate(body)) if body else [],
        certificate=body,
        files=[file_of(folder, name) for name in sorted(listed(folder)) if name.endswith((".csv", ".parquet"))],
        model=with_model,
    )


def _write_documents(folder: Path, synthesizer: Synthesizer, facts: Facts) -> None:
    texts = {CARD: card(facts), PACKAGE: as_json(datapackage(facts)), CROISSANT: as_json(croissant(facts))}
    if facts.certificate is not None:
        body = as_json(facts.certificate)
        texts |= {CERTIFICATE: body, PAGE: certificate_page(json.loads(body))}  # in the order of the file beside it
    if licence := facts.terms.terms_of_use:
        texts[LICENCE] = licence.text
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    if facts.model:
        synthesizer.save(folder / MODEL)


def as_json(body: Any) -> str:
    """JSON as all files of a release have it."""
    return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
