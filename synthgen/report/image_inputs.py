"""Inputs of a report on images: real, synthetic and held-out ones in one size and mode, with the same classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.data import Images, ImageSchema, as_dataset, read
from synthgen.data.images import read_images
from synthgen.errors import SynthgenError
from synthgen.metrics.extractors import Extractor
from synthgen.report.blocks import listed
from synthgen.report.sides import Matrix

LEAST = 20  # images below which every figure is noise


@dataclass(frozen=True)
class Pictures:
    """What a report on images compares: images in random order with their features (n, d); `whole` holds all."""

    whole: Mapping[str, Images]
    real: tuple[Images, Matrix]
    synthetic: tuple[Images, Matrix]
    holdout: tuple[Images, Matrix] | None
    extractor: Extractor

    @property
    def unseen(self) -> tuple[Images, Matrix]:
        """What synthetic images are compared with: those held out, else the real ones."""
        return self.holdout or self.real


def read_others(real: Images, others: Mapping[str, Any], names: Mapping[str, str], source: Any) -> dict[str, Images]:
    """All images in one size and mode, with the classes of the real ones.

    The size is that of the synthetic images, or of those in memory, which stay as they are; the mode is the richest of
    all, so that none loses its colours. Images that were given as a path are read again where theirs is another.

    Args:
        real: what was trained on.
        others: `synthetic` and `holdout`: paths, Images or None.
        names: what to call each in an error.
        source: what `real` was given as, so that a path can be read at another size.

    Raises:
        SynthgenError: one holds a table, classes that the real images lack, sizes that cannot be matched, or too few.
    """
    given = {"real": source, "synthetic": others["synthetic"], "holdout": others["holdout"]}
    paths = {role: Path(x) for role, x in given.items() if isinstance(x, str | Path)}
    found = {"real": real}
    for role in ("synthetic", "holdout"):
        if given[role] is not None:
            found[role] = _images(given[role], names[role], names["real"])
    wanted, like = _common(found, paths)
    for role, images in found.items():
        if images.schema.shape != wanted.shape:
            if role not in paths:
                what = f"{names[role]} holds images of {_text(images.schema)}"
                raise SynthgenError(f"{what}, which cannot be compared with {_text(wanted)}; make them alike")
            images = _again(paths[role], images, wanted)
        if len(images) < LEAST:
            has = "1 image" if len(images) == 1 else f"{len(images)} images"
            raise SynthgenError(f"{names[role]} holds {has}; a report needs at least {LEAST}")
        images = _classed(images, found["real"], names[role], names["real"])
        found[role] = replace(images, notes=_notes(images, names[role], names[like]))
    return found


def _images(given: Any, name: str, real_name: str) -> Images:
    found = read(given) if isinstance(given, str | Path) else as_dataset(given)
    if not isinstance(found, Images):
        raise SynthgenError(f"{name} is a table, and {real_name} holds images")
    return found


def _common(found: Mapping[str, Images], paths: Mapping[str, Path]) -> tuple[ImageSchema, str]:
    """The size and mode that all get, and whose size that is."""
    fixed = [role for role in ("synthetic", "real", "holdout") if role in found and role not in paths]
    like = fixed[0] if fixed else "synthetic"
    modes = "".join(images.schema.mode for images in found.values())
    mode = ("RGB" if "R" in modes else "L") + ("A" if "A" in modes else "")
    return found[like].schema.model_copy(update={"mode": mode}), like


def _text(schema: ImageSchema) -> str:
    return f"{schema.width} x {schema.height} {schema.mode}"


def _again(path: Path, images: Images, wanted: ImageSchema) -> Images:
    """The same images, read in another size and mode: resizing twice would leave traces that no model makes."""
    again = read_images(path, schema=wanted.model_copy(update={"classes": ()}))
    label = dict(zip(images.files, images.labels.tolist(), strict=True))
    labels = np.array([label[name] for name in again.files], np.int64)
    own = images.schema
    notes = [f"{own.mode} was read as {wanted.mode}"] if own.mode != wanted.mode else []
    schema = wanted.model_copy(update={"classes": own.classes})
    return Images(again.pixels, labels, schema, (*again.notes, *notes), again.files)


def _notes(images: Images, name: str, like: str) -> tuple[str, ...]:
    """What reading did, whose words on sizes are about models and options of `fit`."""
    said = (note.split("; other: ")[0].replace("the size of the model", f"like {like}") for note in images.notes)
    return tuple(f"{name}: {note}" for note in said)


def _classed(images: Images, real: Images, name: str, real_name: str) -> Images:
    """The same with labels as the real images number their classes."""
    own, known = images.schema.classes, real.schema.classes
    if bool(own) != bool(known):
        one, other = (name, real_name) if own else (real_name, name)
        raise SynthgenError(f"{one} has classes and {other} none; put the images of both into folders, one a class")
    if strange := [c for c in own if c not in known]:
        raise SynthgenError(f"{name} holds the class {strange[0]!r}, which {real_name} lacks; it has {listed(known)}")
    index = np.array([known.index(c) for c in own] or [0], np.int64)
    schema = images.schema.model_copy(update={"classes": known})
    return Images(images.pixels, index[images.labels], schema, images.notes, images.files)
