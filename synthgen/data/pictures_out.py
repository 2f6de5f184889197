"""Pictures out: a folder or a .zip of PNG files by class, and sheets of many images in one."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthgen.data.formulas import escape_names, is_formula
from synthgen.data.images import Images, ImageSchema
from synthgen.data.marks import Mark, png_info
from synthgen.data.pictures_in import METADATA, hidden, on_white
from synthgen.errors import SynthgenError
from synthgen.files import replacing

_HEADERS = (b"file_name,label\n", b"file_name\n", b"file_name,label", b"file_name")
GAP = 2  # pixels between the images of a sheet
_NUMBERED = re.compile(r"\d{8,}\.png")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')  # by some system or other
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # on Windows


class ImageWriter:
    """Writes images one set after the other into a folder or a `.zip`, which appears whole when the block ends.

    They become `CLASS/00000001.png` and so on, numbered through all classes; a metadata.csv lists them, and where
    some are `marked` says with 1 or 0 which are synthetic.

    Raises:
        SynthgenError: `path` is something else than an earlier output.
        ResourceError: the disk is full or the place not writable.
    """

    def __init__(self, path: str | Path, schema: ImageSchema, mark: Mark | None = None, marked: bool = False) -> None:
        self.path, self.schema, self.marked, self._info = Path(path), schema, marked, png_info(mark)
        check_image_output(self.path)
        self._folders = _folders(schema.classes)
        self._labels: list[NDArray[np.int64]] = []
        self._synthetic: list[bool] = []
        self._written = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._put = self._open(stack.enter_context(replacing(self.path)), stack)
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def _open(self, temporary: Path, stack: ExitStack) -> Callable[[str, bytes], None]:
        """What puts a file of some name into the output."""
        return self._into_zip(temporary, stack) if _one_file(self.path) else self._into_folder(temporary)

    def write(self, images: Images, synthetic: bool = True) -> None:
        """Append images whose schema is the writer's; all of them are synthetic, or none."""
        if images.schema != self.schema:
            raise ValueError(f"the writer was told {self.schema!r} and got {images.schema!r}")
        for pixels, label in zip(images.pixels, images.labels, strict=True):
            self._written += 1
            data = io.BytesIO()
            _picture(pixels).save(data, "PNG", compress_level=6, pnginfo=self._info if synthetic else None)
            self._add(self._written, int(label), data.getvalue())
        self._labels.append(images.labels)
        self._synthetic += [synthetic] * len(images)

    def _add(self, number: int, label: int, data: bytes) -> None:
        self._put(self._name(number, label), data)

    def _name(self, number: int, label: int) -> str:
        return (f"{self._folders[label]}/" if self._folders else "") + f"{number:08d}.png"

    def _into_folder(self, folder: Path) -> Callable[[str, bytes], None]:
        folder.mkdir()
        for inner in self._folders:
            (folder / inner).mkdir(parents=True, exist_ok=True)

        def put(name: str, data: bytes) -> None:
            (folder / name).write_bytes(data)

        return put

    def _into_zip(self, file: Path, stack: ExitStack) -> Callable[[str, bytes], None]:
        archive = stack.enter_context(zipfile.ZipFile(file, "w"))

        def put(name: str, data: bytes) -> None:
            entry = zipfile.ZipInfo(name)  # of no time, so that the same images are the same bytes
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 1)

        return put

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if kind is None:
            text = io.StringIO(newline="")
            rows = csv.writer(text, lineterminator="\n")
            rows.writerow(["file_name"] + ["label"] * bool(self._folders) + ["synthetic"] * self.marked)
            classes = escape_names(list(self.schema.classes))
            for number, label in enumerate((int(i) for labels in self._labels for i in labels), 1):
                name, marks = self._name(number, label), [int(self._synthetic[number - 1])] * self.marked
                rows.writerow([name, *([classes[label]] if self._folders else []), *marks])
            self._put(METADATA, text.getvalue().encode())
        return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def check_image_output(path: str | Path) -> None:
    """Raise SynthgenError where images could not be written, or would take the place of something else."""
    path = Path(path)
    if path.name in ("", ".."):
        raise SynthgenError(f"{path} names no new folder; give one, such as -o images")
    if not path.absolute().parent.is_dir():
        raise SynthgenError(f"there is no folder {path.parent} to write {path.name} into")
    file = _one_file(path) and path.is_file()
    if (path.exists() or path.is_symlink()) and not file and (_one_file(path) or not _is_output(path)):
        raise SynthgenError(f"{path} exists and is no folder of generated images; give another -o or remove it")


def _one_file(path: Path) -> bool:
    return path.suffix.lower() in (".zip", ".tar")


def _is_output(path: Path) -> bool:
    """Whether a folder is empty or looks like what ImageWriter makes, so that nobody's own images are replaced."""
    if path.is_symlink() or not path.is_dir():
        return False
    with suppress(OSError):  # what cannot be looked at is not replaced either
        files = [file for file in path.rglob("*") if not file.is_dir()]
        if (path / METADATA).is_file():
            with (path / METADATA).open("rb") as stream:
                listed = stream.readline(100).removesuffix(b",synthetic\n") in _HEADERS
            return listed and all(_NUMBERED.fullmatch(file.name) or file == path / METADATA for file in files)
        return not any(path.iterdir())
    return False


def _folders(classes: tuple[str, ...]) -> list[str]:
    """For each class a folder that every system can have, none twice; a class that is safe keeps its name."""
    safe = ["/".join(map(_safe, name.split("/"))) for name in classes]
    taken = {name for name, folder in zip(classes, safe, strict=True) if name == folder}
    for i, folder in enumerate(safe):
        if folder != classes[i]:
            while folder in taken:
                folder += "_"
            taken.add(folder)
            safe[i] = folder
    return safe


def _safe(part: str) -> str:
    part = "".join(c if c.isprintable() else "_" for c in part)
    part = _FORBIDDEN.sub("_", part).encode("utf-8", "replace")[:200].decode("utf-8", "ignore")
    if part != part.rstrip(". "):
        part = part.rstrip(". ") + "_"
    if hidden(part) or _DEVICE.match(part) or is_formula(part + "/"):
        part = "_" + part.lstrip(".")
    return part + "_" if part == METADATA or _NUMBERED.fullmatch(part) else part or "_"


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def sheet(images: Images, columns: int, scale: int = 1) -> Image.Image:
    """The images row by row in a grid with gaps, on white.

    Args:
        images: at least one.
        columns: images in a row.
        scale: each pixel becomes a square of so many.

    Raises:
        SynthgenError: there are no images.
    """
    if not len(images):
        raise SynthgenError("there are no images to show on a sheet")
    columns = max(1, min(columns, len(images)))
    width, height = images.schema.width * scale, images.schema.height * scale
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP), "white")
    for i, pixels in enumerate(images.pixels):
        large = on_white(_picture(pixels)).resize((width, height), Image.Resampling.NEAREST)
        page.paste(large, (i % columns * (width + GAP), i // columns * (height + GAP)))
    return page


def write_sheet(path: str | Path, images: Images, columns: int, scale: int = 1, mark: Mark | None = None) -> None:
    """Write a sheet as a PNG, whole or not at all; `mark` is what it says of itself.

    Raises:
        SynthgenError: there are no images.
        ResourceError: the disk is full or the place not writable.
    """
    page = sheet(images, columns, scale)
    with replacing(path) as new:
        page.save(new, "PNG", pnginfo=png_info(mark))
