"""Artifact: a fitted model on disk, a folder of `manifest.json` and `weights.safetensors`. No pickle, no code.

A model that was fitted under a privacy budget has its certificate beside it, as JSON and as a page: copies for people,
which are never read for what they say.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from synthgen.errors import SynthgenError
from synthgen.files import replacing

FORMAT = 1
MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
CERTIFICATE, PAGE = "certificate.json", "certificate.html"


def save(path: str | Path, manifest: dict[str, Any], weights: dict[str, Tensor], page: str = "") -> None:
    """Write the folder whole or not at all; a model that was there before is replaced.

    Args:
        path: of the folder.
        manifest: what can be written as JSON; its certificate, if it has one, also gets a file of its own.
        weights: by name.
        page: the certificate for people.

    Raises:
        SynthgenError: something that is no model is in the way.
        ResourceError: the disk is full or the place is not writable.
    """
    path = Path(path)
    if path.exists() and not is_artifact(path) and not (path.is_dir() and not any(path.iterdir())):
        raise SynthgenError(f"{path} exists and is no model of synthgen; give another -o or remove it")
    data = save_tensors({name: t.detach().cpu().contiguous() for name, t in weights.items()})
    body = {"format": FORMAT, **manifest, "weights_sha256": hashlib.sha256(data).hexdigest()}
    if page:
        body["page_sha256"] = hashlib.sha256(page.encode()).hexdigest()
    body["sha256"] = _digest(body)
    with replacing(path) as folder:
        folder.mkdir()
        (folder / WEIGHTS).write_bytes(data)
        (folder / MANIFEST).write_text(_text(body), "utf-8")
        if manifest.get("certificate") is not None:
            (folder / CERTIFICATE).write_text(_text(manifest["certificate"]), "utf-8")
        if page:
            (folder / PAGE).write_bytes(page.encode())


def load(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The manifest and the weights of a stored model.

    Raises:
        SynthgenError: there is none, it is damaged or changed, or a newer synthgen wrote it.
    """
    path = Path(path)
    if not is_artifact(path):
        raise SynthgenError(f"{path} is no model: a folder with {MANIFEST} and {WEIGHTS} was expected")
    damaged = f"the model {path} is damaged or was changed; fit it again or copy it again"
    try:
        text = (path / MANIFEST).read_text("utf-8")
        manifest = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
        if not isinstance(manifest, dict):
            raise ValueError
    except (OSError, ValueError, RecursionError) as error:
        raise SynthgenError(f"{damaged} ({MANIFEST} is unreadable)") from error
    if manifest.get("format") != FORMAT:
        raise SynthgenError(
            f"the model {path} has format {manifest.get('format')!r}, this synthgen reads {FORMAT}; "
            "install the version that wrote it or a newer one"
        )
    if manifest.pop("sha256", None) != _digest(manifest):
        raise SynthgenError(f"{damaged} ({MANIFEST} does not match its hash)")
    del manifest["format"]
    try:
        data = (path / WEIGHTS).read_bytes()
    except OSError as error:
        raise SynthgenError(f"{damaged} ({WEIGHTS}: {error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != manifest.pop("weights_sha256", None):
        raise SynthgenError(f"{damaged} ({WEIGHTS} does not match its hash)")
    _check_copies(path, manifest, manifest.pop("page_sha256", None))
    try:
        return manifest, load_tensors(data)
    except SafetensorError as error:
        raise SynthgenError(f"{damaged} ({WEIGHTS}: {error})") from error


def fingerprint(path: str | Path) -> str:
    """A hash that tells a stored model from all others: of its manifest, which holds that of the weights.

    Raises:
        SynthgenError: there is no model.
    """
    try:
        return hashlib.sha256((Path(path) / MANIFEST).read_bytes()).hexdigest()
    except OSError as error:
        raise SynthgenError(f"{path} is no model: a folder with {MANIFEST} and {WEIGHTS} was expected") from error


def _finite(text: str) -> float:
    """A number, where none that is infinite or NaN was ever written."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number of a model")
    return number


def _whole(text: str) -> int:
    if abs(number := int(text)) > 2**64:
        raise ValueError(f"{text} is no number of a model")
    return number


def is_artifact(path: Path) -> bool:
    """Whether a path looks like a stored model."""
    return (path / MANIFEST).is_file()


def _check_copies(path: Path, manifest: dict[str, Any], page: str | None) -> None:
    """Refuse a certificate that was put beside a model whose manifest says otherwise; there need not be any."""
    try:
        copy = path / CERTIFICATE
        told = not copy.exists() or json.loads(copy.read_bytes()) == manifest.get("certificate")
        shown = not (path / PAGE).exists() or hashlib.sha256((path / PAGE).read_bytes()).hexdigest() == page
    except (OSError, ValueError, RecursionError):
        told = shown = False
    if not (told and shown):
        raise SynthgenError(
            f"{path / (PAGE if told else CERTIFICATE)} is not the certificate of the model beside it; remove it: "
            f"synthgen verify {path} --page FILE.html writes what the model says"
        )


def _text(body: Any) -> str:
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
