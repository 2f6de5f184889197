"""Marks: what synthgen draws says that it is synthetic, in the metadata of Parquet files and of each PNG."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from synthgen import __version__
from synthgen.data.pictures_in import is_image, source

KEY = "synthgen"
MOST = 10_000  # characters of a mark that is read
NO_GUARANTEE = "no formal guarantee"
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'e:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
    "</rdf:RDF></x:xmpmeta>"
)

Mark = Mapping[str, Any]


def mark(generator: str, certificate: Mapping[str, Any] | None) -> Mark:
    """What drawn records say of themselves.

    Args:
        generator: name of the family that drew them.
        certificate: of the model, if it was fitted under a privacy budget.
    """
    promise = {k: certificate[k] for k in ("epsilon", "delta", "unit")} if certificate else {"epsilon": NO_GUARANTEE}
    return {"synthetic": True, "generator": generator, "synthgen": __version__, **promise}


def with_mark(schema: pa.Schema, mark: Mark | None) -> pa.Schema:
    """An Arrow schema with a mark in its metadata."""
    return schema if mark is None else schema.with_metadata({KEY: json.dumps(mark)})


def png_info(mark: Mark | None) -> PngInfo | None:
    """The text chunks of a PNG: the mark, and what IPTC calls a picture that a trained model made."""
    if mark is None:
        return None
    info = PngInfo()
    info.add_text("Software", f"synthgen {__version__}")
    info.add_itxt(KEY, json.dumps(mark))
    info.add_itxt("XML:com.adobe.xmp", _XMP)
    return info


def find_mark(path: str | Path) -> dict[str, Any] | None:
    """The mark of a Parquet file, or of the first image of a folder or `.zip`; None where there is none to be read."""
    path = Path(path)
    with suppress(Exception):  # decoders of what strangers wrote raise anything
        text = _of_images(path) if path.is_dir() or path.suffix.lower() == ".zip" else _of_parquet(path)
        found = json.loads(text) if len(text) <= MOST else None
        return found if isinstance(found, dict) and found.get("synthetic") is True else None
    return None


def note_of_mark(path: str | Path) -> str | None:
    """A sentence about records that are marked as synthetic."""
    found = find_mark(path)
    if found is None:
        return None
    by = (
        f" by {found['generator']} of synthgen {found.get('synthgen')}"
        if isinstance(found.get("generator"), str)
        else ""
    )
    return f"{Path(path).name} is marked as synthetic, made{by}: what is learned from it is a model's view, not data"


def _of_parquet(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            return ""
    return (pq.read_schema(path).metadata or {}).get(KEY.encode(), b"").decode()


def _of_images(path: Path) -> str:
    with source(path) as files:
        for name in sorted(filter(is_image, files.names))[:1]:
            with files.open(name) as stream, Image.open(stream, formats=("PNG",)) as image:
                return str(image.info.get(KEY, ""))
    return ""
