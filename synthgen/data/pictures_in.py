"""Picture files: those of a folder or a .zip, and how one is decoded. Neither names nor bytes are trusted."""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from synthgen.errors import SynthgenError

Aspect = Literal["crop", "pad", "stretch"]

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
METADATA = "metadata.csv"
MAX_PIXELS = 64_000_000  # of one file, as its header declares them
MAX_FILE = 64 << 20
MAX_ENTRIES = 2_000_000

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")  # no other decoder of Pillow sees foreign bytes
_GREY = ("1", "L", "LA", "La")
_PLAIN = (*_GREY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX")

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its words on damaged files go to the terminal


class Unreadable(Exception):
    """Why a file is not decoded, though a decoder might."""


@dataclass
class Source:
    """Images and metadata.csv files by their paths with forward slashes, and how to open one.

    `links` were not followed; the folders `closed` could not be listed.
    """

    path: Path
    open: Callable[[str], IO[bytes]]
    names: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


@contextmanager
def source(path: Path) -> Iterator[Source]:
    """The files of a folder or a `.zip`; of a zip, nothing is written to disk.

    Raises:
        SynthgenError: it is neither, or a zip that is damaged, encrypted, or points out of itself.
    """
    zipped = path.suffix.lower() == ".zip"
    if os.path.isdir(path):
        yield _folder(path)
    elif not os.path.exists(path):
        raise SynthgenError(f"there is no {'file' if zipped else 'folder'} {path}")
    elif not zipped:
        raise SynthgenError(f"{path} is a file; give a folder of images, or a .zip of one")
    else:
        try:
            archive = zipfile.ZipFile(path)
        except Exception as error:  # of damaged bytes also struct.error, ValueError, NotImplementedError
            raise SynthgenError(f"{path} cannot be read as a zip: {reason(error)}; pack it again") from error
        with archive:
            yield _archive(path, archive)


def _folder(root: Path) -> Source:
    def opened(name: str) -> IO[bytes]:
        file = root / name
        if not file.is_file():  # opening a pipe would wait for ever
            raise Unreadable("there is no such file")
        if file.stat().st_size > MAX_FILE:
            raise Unreadable(f"it is larger than {MAX_FILE >> 20} MiB")
        return file.open("rb")

    def relative(file: str | Path) -> str:
        return Path(file).relative_to(root).as_posix()

    found, home = Source(root, opened), Path(os.path.realpath(root))
    for folder, inner, files in os.walk(root, onerror=lambda error: found.closed.append(relative(error.filename))):
        inner[:] = [name for name in inner if not hidden(name)]
        found.links += [relative(path) for name in inner if (path := Path(folder, name)).is_symlink()]
        for path in (Path(folder, name) for name in files if not hidden(name) and _is_read(name)):
            leaves = path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home)
            (found.links if leaves else found.names).append(relative(path))
    found.links.sort()
    found.closed.sort()
    return found


def _archive(path: Path, archive: zipfile.ZipFile) -> Source:
    entries: dict[str, zipfile.ZipInfo] = {}

    def opened(name: str) -> IO[bytes]:
        entry = entries[name]
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unreadable("it is packed neither stored nor deflated")  # others unpack without a bound
        if entry.file_size > max(1 << 20, min(MAX_FILE, 200 * entry.compress_size)):
            raise Unreadable("it unpacks to too much")
        with archive.open(entry) as stream:
            data = stream.read(MAX_FILE + 1)  # the size in the header may be a lie
        if len(data) > MAX_FILE:
            raise Unreadable("it unpacks to too much")
        return io.BytesIO(data)

    if (n := len(archive.infolist())) > MAX_ENTRIES:
        raise SynthgenError(f"{path} holds {n} entries, more than {MAX_ENTRIES}; split it")
    if sum(entry.compress_size for entry in archive.infolist()) > path.stat().st_size:
        raise SynthgenError(f"{path} holds entries that share their bytes, as only a bomb's do; pack it again")
    for entry in archive.infolist():
        name = _checked_name(path, entry)
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if not name.endswith("/") and not any(map(hidden, parts)) and _is_read(parts[-1]):
            entries["/".join(parts)] = entry
    return Source(path, opened, list(entries))


def _checked_name(path: Path, entry: zipfile.ZipInfo) -> str:
    """The path of an entry with forward slashes, if a plain folder could have made it."""
    name = entry.orig_filename.replace("\\", "/")  # `filename` ends at a NUL
    wrong = None
    if name.startswith("/") or re.match("[A-Za-z]:", name) or "\0" in name:
        wrong = "whose path is not relative"
    elif ".." in name.split("/"):
        wrong = "whose path climbs out of the folder"
    elif stat.S_ISLNK(entry.external_attr >> 16):
        wrong = "which is a symbolic link"
    elif entry.flag_bits & 1:
        wrong = "which is encrypted"
    if wrong:
        raise SynthgenError(f"{path} holds {shown(name)}, {wrong}; pack a folder of plain files")
    return name


def hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: what systems leave beside them."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db")


def is_image(name: str) -> bool:
    """Whether a file calls itself an image."""
    return name.lower().endswith(ENDINGS)


def _is_read(name: str) -> bool:
    return is_image(name) or name == METADATA


@dataclass(frozen=True)
class Header:
    """What a file says of its image before it is decoded. `size` is (width, height) of the upright image.

    `deep`: it has 16 bits a channel. `odd`: it is converted from a mode that is neither grey, RGB nor a palette.
    """

    name: str
    size: tuple[int, int]
    mode: str
    grey: bool
    alpha: bool
    deep: bool
    odd: bool


def read_header(name: str, stream: IO[bytes]) -> Header:
    """What is known before pixels are decoded. Raises Unreadable, and whatever Pillow does."""
    image = _lazy(stream)
    turned = False
    # Pillow would decode a PNG to look for EXIF behind its pixels; of a TIFF it gives the upright size
    if image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info):
        with suppress(Exception):  # damaged EXIF says nothing about the pixels
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    wide = image.mode.startswith("I")
    return Header(
        name,
        image.size[::-1] if turned else image.size,
        image.mode,
        grey=wide or image.mode in _GREY,
        alpha=image.has_transparency_data and not wide,
        deep=wide or any(";16" in str(tile) for tile in getattr(image, "tile", ())),
        odd=not wide and image.mode not in _PLAIN,
    )


def decode(stream: IO[bytes], size: tuple[int, int]) -> Image.Image:
    """The first frame, upright, in L, LA, RGB or RGBA; a JPEG far larger than `size` comes smaller, as it decodes so.

    Raises Unreadable, and whatever Pillow does.
    """
    image = _lazy(stream)
    image.draft(None, (4 * max(size), 4 * max(size)))
    image.load()
    with suppress(Exception):  # as above
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = "L" if image.mode in _GREY else "RGB"
    return image.convert(mode + "A" if image.has_transparency_data else mode)


def _lazy(stream: IO[bytes]) -> Image.Image:
    """The image, with its header read and its pixels not."""
    image = Image.open(stream, formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(f"it has {image.width} x {image.height} pixels, more than {MAX_PIXELS // 10**6} million")
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise Unreadable("its pixels are numbers of 32 bits, whose range is not known")
    return image


def is_opaque(image: Image.Image) -> bool:
    """Whether nothing would shine through."""
    return not image.mode.endswith("A") or image.getchannel("A").getextrema()[0] == 255


def on_white(image: Image.Image) -> Image.Image:
    """What is seen of an image with alpha on white paper, as RGB."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


def fit(image: Image.Image, size: tuple[int, int], aspect: Aspect) -> Image.Image:
    """The image in another size; where Pillow mixes colours, it weighs them by their alpha."""
    (w, h), (width, height) = image.size, size
    lanczos = Image.Resampling.LANCZOS
    if (w, h) == size:
        return image
    if aspect == "stretch" or w * height == h * width:
        return image.resize(size, lanczos, reducing_gap=3.0)
    if aspect == "crop":
        scale = min(w / width, h / height)
        x, y = max(0.0, w - width * scale) / 2, max(0.0, h - height * scale) / 2
        return image.resize(size, lanczos, box=(x, y, w - x, h - y), reducing_gap=3.0)
    scale = max(w / width, h / height)
    small = image.resize((max(1, round(w / scale)), max(1, round(h / scale))), lanczos, reducing_gap=3.0)
    # transparent white: where all images turn out to be opaque, their alpha is left out and white remains
    canvas = Image.new(image.mode, size, tuple(0 if band == "A" else 255 for band in image.getbands()))
    canvas.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
    return canvas


def reason(error: Exception) -> str:
    """What went wrong, on one line."""
    if isinstance(error, UnidentifiedImageError):  # its text tells the address of a buffer
        return f"it is no {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]} image"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.splitlines() or [type(error).__name__])[0]


def shown(name: str) -> str:
    """A path as part of a line of text."""
    return "".join(c if c.isprintable() else "?" for c in name)


def read_mask(path: Path, height: int, width: int) -> NDArray[np.bool_]:
    """Where a picture, in another size if need be, is light: (height, width).

    Raises:
        SynthgenError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            mask = on_white(decode(stream, (width, height))).convert("L").resize((width, height))
    except Exception as error:
        raise SynthgenError(f"cannot read the mask {path}: {reason(error)}") from error
    return np.asarray(mask) > 127
