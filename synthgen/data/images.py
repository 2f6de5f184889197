"""Images: a folder or a .zip of picture files becomes one array of bytes, whatever their formats, sizes and modes."""

from __future__ import annotations

import csv
import hashlib
import io
import posixpath
import unicodedata
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median_low
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from synthgen.data.formulas import unescape_names
from synthgen.data.pictures_in import (
    ENDINGS,
    METADATA,
    Aspect,
    Header,
    Source,
    decode,
    fit,
    is_image,
    is_opaque,
    on_white,
    read_header,
    reason,
    shown,
    source,
)
from synthgen.errors import ResourceError, SynthgenError, near
from synthgen.memory import show_size

Mode = Literal["L", "LA", "RGB", "RGBA"]

MAX_SIDE = 4096
MAX_MEMORY = 16 << 30
FIT_BASE = 1280 << 20  # bytes of what a fit of images holds besides them
FIT_BYTE = 12  # bytes for each of the images': once as it is, and as numbers of four bytes, which generators copy
KEPT_SIDE = 64  # images of one size up to this are left as they are


class ImageSchema(BaseModel):
    """What each image of a set is: its mode, its size in pixels, and the classes there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode
    height: int = Field(ge=1, le=MAX_SIDE)
    width: int = Field(ge=1, le=MAX_SIDE)
    classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> ImageSchema:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"class {max(self.classes, key=self.classes.count)!r} is listed twice")
        return self

    @property
    def channels(self) -> int:
        """Bytes per pixel."""
        return len(self.mode)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size and mode.

    Args:
        pixels: bytes (n, height, width, channels).
        labels: the index of each image's class (n,); zeros where there are no classes.
        schema: what the images are.
        notes: sentences about what reading did to them.
        files: path of each in the folder it was read from; none for images made otherwise.
    """

    kind: ClassVar[Literal["images"]] = "images"
    noun: ClassVar[str] = "images"

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    schema: ImageSchema
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def names(self) -> list[str]:
        """The class of each image, "" where there are none."""
        return [self.schema.classes[i] for i in self.labels] if self.schema.classes else [""] * len(self)

    def take(self, rows: Any) -> Images:
        """Some images, by index."""
        files = tuple(np.array(self.files)[rows].tolist()) if self.files else ()
        return Images(self.pixels[rows], self.labels[rows], self.schema, self.notes, files)

    @classmethod
    def join(cls, parts: Sequence[Images]) -> Images:
        """Images of one schema, one after the other."""
        pixels, labels = (np.concatenate([getattr(p, name) for p in parts]) for name in ("pixels", "labels"))
        return cls(pixels, labels, parts[0].schema, parts[0].notes, tuple(f for p in parts for f in p.files))

    def digest(self) -> bytes:
        """A hash of all that the images are; notes do not count."""
        made = hashlib.sha256(self.schema.model_dump_json().encode())
        made.update(np.ascontiguousarray(self.pixels, np.uint8).data)
        made.update(np.ascontiguousarray(self.labels, "<i8").data)
        return made.digest()


def read_images(
    path: str | Path,
    size: int | None = None,
    aspect: Aspect = "crop",
    strict: bool = False,
    schema: ImageSchema | None = None,
    report: Callable[[float], None] | None = None,
    form: ImageSchema | None = None,
    memory: int | None = None,
) -> Images:
    """Read the images of a folder or a `.zip` of one, in the order of their paths.

    The folder that an image lies in is its class. Without `size` and `schema`, images of one size up to 64 pixels
    stay as they are and others become squares. Alpha that is opaque everywhere is left out.

    Args:
        path: the folder or the `.zip`.
        size: the side of the squares that the images become, in pixels.
        aspect: how an image gets another shape.
        strict: a file that cannot be read is an error, not a note.
        schema: a model's, whose mode, size and classes the images get.
        report: called with the share done.
        form: the mode and size that images get, whatever theirs; their classes are then the paths of their folders.
        memory: bytes that this process may hold when the images are fitted, where they are to be.

    Raises:
        SynthgenError: there is no image, none that can be read, a class that `schema` lacks, or a hostile zip.
        ResourceError: the images do not fit in memory.
    """
    if size is not None and not 1 <= size <= MAX_SIDE:
        raise SynthgenError(f"size {size} is no side of an image; give 1 to {MAX_SIDE} pixels")
    if aspect not in get_args(Aspect):
        raise SynthgenError(f"there is no aspect {aspect!r}; {near(aspect, get_args(Aspect))}")
    with source(Path(path)) as files:
        classes = _classes(files) if form is None else _folders(files)
        reading = _Reading(files, strict, report or (lambda done: None))
        headers = reading.headers(list(classes))
        target = schema or form or _common(headers, size)
        if memory is not None:
            _check_fit(len(headers), target, memory)
        if schema and schema.classes:
            _check_classes(files.path, schema, {classes[h.name]: h.name for h in headers})
        pixels, kept, opaque = reading.pixels(headers, target, aspect)
    notes = (*reading.notes(len(classes)), *_notes(kept, target, aspect, "the size of the model" if schema else ""))
    names = [classes[h.name] for h in kept]
    if not schema:
        if opaque and not form and target.mode.endswith("A"):
            target, pixels = target.model_copy(update={"mode": target.mode[:-1]}), pixels[..., :-1].copy()
        target = target.model_copy(update={"classes": tuple(sorted(set(names))) if any(names) else ()})
    index = {name: i for i, name in enumerate(target.classes)}
    return Images(
        pixels, np.array([index.get(name, 0) for name in names], np.int64), target, notes, tuple(h.name for h in kept)
    )


def survey(path: str | Path) -> tuple[list[str], list[str]]:
    """The mode (L or RGB) and the size, as "28 x 28", of each image whose header can be read."""
    with source(Path(path)) as files:
        headers = _Reading(files, False, lambda done: None).headers(list(_folders(files)))
    return ["L" if h.grey else "RGB" for h in headers], [f"{h.size[0]} x {h.size[1]}" for h in headers]


def digest_of_files(path: str | Path) -> bytes:
    """A hash of the images of a folder or a `.zip` as they lie there, with their names."""
    made = hashlib.sha256()
    with source(Path(path)) as files:
        for name in sorted(filter(is_image, files.names)):
            data = b""
            with suppress(Exception), files.open(name) as stream:  # what cannot be read is no image either
                data = stream.read()
            made.update(name.encode("utf-8", "surrogateescape") + b"\0" + hashlib.sha256(data).digest())
    return made.digest()


def _classes(files: Source) -> dict[str, str]:
    """The images in order, each with its class: the path of its folder, or what a metadata.csv says."""
    path, names = files.path, sorted(filter(is_image, files.names))
    if not names:
        links = "; links to folders are not followed" if files.links else ""
        raise SynthgenError(f"{path} holds no image: no file that ends in {', '.join(ENDINGS)}{links}")
    root = _root(names, {posixpath.dirname(name) for name in files.names if posixpath.basename(name) == METADATA})
    found = {name: _clean(posixpath.dirname(name)[len(root) :].strip("/")) for name in names}
    direct, inner = ([name for name in names if bool(found[name]) == deep] for deep in (False, True))
    if direct and inner:
        raise SynthgenError(
            f"{path} holds images both directly ({shown(direct[0])}) and in folders ({shown(inner[0])}); "
            "folders are classes: put every image into one, or none"
        )
    file = posixpath.join(root, METADATA)
    return _renamed(files, found, file) if inner else _labelled(files, found, file)


def _folders(files: Source) -> dict[str, str]:
    """The images in order, each with the path of its folder as its class, which no other image has a say in."""
    return {name: _clean(posixpath.dirname(name)) for name in sorted(filter(is_image, files.names))}


def _root(names: list[str], marked: set[str]) -> str:
    """The folder whose folders are classes: the top one, or what lies in it alone and holds classes or metadata."""
    shared = posixpath.commonpath([posixpath.dirname(name) for name in names])
    for folder in ("", *accumulate(shared.split("/"), posixpath.join)):
        if folder in marked:
            return folder
    below = (name[len(shared) :].strip("/").split("/") for name in names)
    return shared if len({parts[0] for parts in below if len(parts) > 1}) > 1 else ""


def _labelled(files: Source, found: dict[str, str], file: str) -> dict[str, str]:
    """Classes from the column `label` of a metadata.csv, as image folders of Hugging Face have it."""
    labels = _labels(files, file)
    if not labels:
        return found
    for name in found:
        label = labels.get(base := posixpath.basename(name))
        if label is None or (label == "" and any(labels.values())):
            raise SynthgenError(f"{files.path}: {file} has no label for {shown(base)}; add one, or remove the image")
        found[name] = _clean(label)
    return found


def _renamed(files: Source, found: dict[str, str], file: str) -> dict[str, str]:
    """Classes of folders, or what a metadata.csv that lists every image calls them: no folder can have every name."""
    labels, home = _labels(files, file), posixpath.dirname(file)
    paths = {name: posixpath.relpath(name, home) if home else name for name in found}
    if labels and all(labels.get(path) for path in paths.values()):
        return {name: _clean(labels[path]) for name, path in paths.items()}
    return found


def _labels(files: Source, file: str) -> dict[str, str]:
    """The columns `file_name` and `label` of a metadata.csv; empty where it has none, or is not there."""
    if file not in files.names:
        return {}
    try:
        with files.open(file) as stream:
            rows = list(csv.DictReader(io.StringIO(stream.read().decode("utf-8-sig"), newline="")))
    except Exception as error:
        raise SynthgenError(f"{files.path}: {file} cannot be read: {reason(error)}; correct or remove it") from error
    if not rows or not {"file_name", "label"} <= set(rows[0]):
        return {}
    meant = unescape_names([row["label"] or "" for row in rows])
    return dict(zip([row["file_name"] for row in rows], meant, strict=True))


def _clean(name: str) -> str:
    """A class as text that can be written: composed as keyboards type it, without bytes that are no UTF-8."""
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _check_classes(path: Path, schema: ImageSchema, found: dict[str, str]) -> None:
    """Raise SynthgenError where a class, given with an image of it, is none of the schema's."""
    for name, example in found.items():
        if name not in schema.classes:
            said = f"is of class {name!r}, which the model does not know" if name else "lies in no folder of a class"
            raise SynthgenError(f"{path}: {shown(example)} {said}; {near(name, schema.classes)}")


def _common(headers: list[Header], size: int | None) -> ImageSchema:
    """The mode and size that suit all; whether their alpha says anything shows when they are decoded."""
    sizes = {h.size for h in headers}
    width, height = next(iter(sizes))
    if size or len(sizes) > 1 or max(width, height) > KEPT_SIDE:
        width = height = size or min(KEPT_SIDE, median_low([min(h.size) for h in headers]))
    mode = "L" if all(h.grey for h in headers) else "RGB"
    alpha = "A" if any(h.alpha for h in headers) else ""
    return ImageSchema.model_validate({"mode": mode + alpha, "height": height, "width": width})


class _Reading:
    """Two passes over files: what their headers say, then pixels. Keeps what could not be read."""

    def __init__(self, files: Source, strict: bool, report: Callable[[float], None]) -> None:
        self.files, self.strict, self.report = files, strict, report
        self.lost: dict[str, str] = {}
        for folder in files.closed:
            self._lose(folder, PermissionError("the folder cannot be listed"))

    def headers(self, names: list[str]) -> list[Header]:
        """The headers that can be read."""
        found: list[Header] = []
        for i, name in enumerate(names):
            with self._guarded(name), self.files.open(name) as stream:
                found.append(read_header(name, stream))
            self.report(0.1 * (i + 1) / len(names))
        self._check_some(found)
        return found

    def pixels(
        self, headers: list[Header], target: ImageSchema, aspect: Aspect
    ) -> tuple[NDArray[np.uint8], list[Header], bool]:
        """The pixels that can be decoded (n, height, width, channels), their headers, and whether all are opaque."""
        made, size = _room(len(headers), target), (target.width, target.height)
        kept: list[Header] = []
        opaque = True
        for i, header in enumerate(headers):
            with self._guarded(header.name), self.files.open(header.name) as stream:
                image = decode(stream, size)
                solid = is_opaque(image)
                if not solid and not target.mode.endswith("A"):
                    image = on_white(image)
                image = fit(image.convert(target.mode), size, aspect)
                made[len(kept)] = np.asarray(image).reshape(made.shape[1:])
                kept.append(header)
                opaque &= solid
            self.report(0.1 + 0.9 * (i + 1) / len(headers))
        self._check_some(kept)
        return made[: len(kept)], kept, opaque

    def notes(self, images: int) -> Iterator[str]:
        """What was left out, of so many images."""
        if n := len(self.lost):
            files, was = images + len(self.files.closed), "was" if n == 1 else "were"
            yield f"{n} of {files} files cannot be read and {was} left out: {_first(self.lost)}"
        if links := self.files.links:
            yield f"links to folders, or out of the folder, were not followed: {_first(links)}"

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """Whatever goes wrong in the block means that the file cannot be read: decoders raise anything."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception as error:
            self._lose(name, error)

    def _lose(self, name: str, error: Exception) -> None:
        self.lost[name] = reason(error)
        if self.strict:
            what = f"{self.files.path}: {shown(name)} cannot be read: {self.lost[name]}"
            raise SynthgenError(f"{what}; correct or remove it, or read without --strict") from error

    def _check_some(self, headers: list[Header]) -> None:
        if not headers:
            if not self.lost:
                raise SynthgenError(f"{self.files.path} holds no image: no file that ends in {', '.join(ENDINGS)}")
            name, why = next(iter(self.lost.items()))
            raise SynthgenError(
                f"{self.files.path} holds no image that can be read ({shown(name)}: {why}); give others"
            )


def _room(n: int, schema: ImageSchema) -> NDArray[np.uint8]:
    """Memory for the pixels of n images."""
    shape = n, schema.height, schema.width, schema.channels
    need = n * schema.height * schema.width * schema.channels
    text = f"{n} images of {schema.width} x {schema.height} pixels need {need / 2**30:.1f} GiB"
    if need > MAX_MEMORY:
        raise ResourceError(f"{text}, more than {MAX_MEMORY >> 30}; choose a smaller --size, or fewer images")
    try:
        return np.empty(shape, np.uint8)
    except MemoryError as error:
        raise ResourceError(f"{text}, which this machine has not; choose a smaller --size") from error


def _check_fit(n: int, schema: ImageSchema, memory: int) -> None:
    """Raise ResourceError where a fit of n images would need more memory than allowed, before they are read."""
    need = FIT_BASE + FIT_BYTE * n * schema.height * schema.width * schema.channels
    if need > memory:
        raise ResourceError(
            f"a fit of {n} images of {schema.width} x {schema.height} pixels needs about {show_size(need)}, more than "
            f"{show_size(memory)} allowed; choose a smaller --size, fewer images, or allow more with --memory"
        )


def _notes(kept: list[Header], target: ImageSchema, aspect: Aspect, why: str) -> Iterator[str]:
    """What was done to images; `why` tells where their size is from, if no option chose it."""

    def these(headers: list[Header]) -> str:
        return f"{len(headers)} of {len(kept)} images {'was' if len(headers) == 1 else 'were'}"

    w, h = target.width, target.height
    if resized := [header for header in kept if header.size != (w, h)]:
        shape = "a square" if w == h else "that shape"
        done = {"crop": f", cropped to {shape}", "pad": f", padded to {shape}", "stretch": ", stretched"}[aspect]
        same = all(header.size[0] * h == header.size[1] * w for header in resized)
        others = " or ".join(other for other in get_args(Aspect) if other != aspect)
        end = f", {why}" if why else f"; other: --size PX, --aspect {others}"
        yield f"{these(resized)} resized to {w} x {h}{'' if same else done}{end}"
    if deep := [header for header in kept if header.deep]:
        yield f"{these(deep)} reduced from 16 to 8 bits a channel"
    if odd := [header for header in kept if header.odd]:
        yield f"{these(odd)} converted from {' and '.join(sorted({header.mode for header in odd}))} to RGB"


def _first(names: Collection[str]) -> str:
    """The first three, of perhaps more."""
    return ", ".join([shown(name) for name in names][:3]) + (", ..." if len(names) > 3 else "")
