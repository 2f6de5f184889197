"""Sums: the hashes of all files of a release, and the check that it holds these files and no others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from synthgen.data.pictures_in import shown
from synthgen.errors import SynthgenError
from synthgen.release.facts import file_of

SUMS = "SHA256SUMS"
ALLOWED = re.compile(
    r"README\.md|LICENSE|SHA256SUMS|schema\.json|datapackage\.json|croissant\.json|certificate\.(json|html)"
    r"|data/records(-\d{5}-of-\d{5})?\.parquet|data/records\.csv"
    r"|images/metadata\.csv|images/([^\\\x00-\x1f]+/)?\d{8,}\.png"
    r"|model/(manifest\.json|weights\.safetensors|certificate\.(json|html))"
)
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def listed(folder: Path) -> set[str]:
    """The paths of all that is in a folder and is no folder, links and folders of nothing among them."""
    within = [p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir() or not any(p.iterdir())]
    return {p.relative_to(folder).as_posix() for p in within}


def write_sums(folder: Path) -> None:
    """Write the hashes of all files, in the form that `sha256sum -c` reads.

    Raises:
        ValueError: a file is none that a release may hold.
    """
    with (folder / SUMS).open("w", encoding="utf-8", newline="\n") as file:
        for name in sorted(listed(folder) - {SUMS}):
            if not ALLOWED.fullmatch(name):
                raise ValueError(f"a release cannot hold {name}")
            file.write(f"{file_of(folder, name).sha256}  {name}\n")


def check_sums(folder: Path, report: Callable[[float], None]) -> set[str]:
    """The paths of all files of a release, once it is certain that they are those that were written, and no others.

    Raises:
        SynthgenError: one is missing, changed, added or a link, or the list is none.
    """
    sums, there = _read_sums(folder), listed(folder)
    for name in sorted(there):
        if (folder / name).is_symlink():
            raise SynthgenError(f"{folder}: {shown(name)} is a link; a release holds files only")
        if name != SUMS and (name not in sums or not ALLOWED.fullmatch(name)):
            raise SynthgenError(f"{folder}: {shown(name)} is no part of the release; remove it")
    size = sum((folder / name).stat().st_size for name in there)
    done = 0
    for name, told in sums.items():
        if name not in there or not (folder / name).is_file():
            raise SynthgenError(f"{folder}: {shown(name)} is missing; copy the release again")
        found = file_of(folder, name)
        if found.sha256 != told:
            raise SynthgenError(f"{folder}: {shown(name)} was changed: its hash is not that of {SUMS}")
        report((done := done + found.size) / max(1, size))
    return there


def _read_sums(folder: Path) -> dict[str, str]:
    """Hashes by path; none leads out of the folder."""
    sums = dict[str, str]()
    try:
        if (folder / SUMS).is_symlink():
            raise SynthgenError(f"{folder}: {SUMS} is a link; a release holds files only")
        lines = (folder / SUMS).read_text("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SynthgenError(f"{folder}: {SUMS} cannot be read; copy the release again") from error
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise SynthgenError(f"{folder}: line {number} of {SUMS} is not a hash, two blanks and a path")
        name = match[2]
        if (
            name.startswith("/")
            or "\\" in name
            or {"", ".", ".."} & set(name.split("/"))
            or re.match("[A-Za-z]:", name)
        ):
            raise SynthgenError(
                f"{folder}: line {number} of {SUMS} names {shown(name)}, which leads out of the release"
            )
        if name in sums:
            raise SynthgenError(f"{folder}: {SUMS} names {shown(name)} twice")
        sums[name] = match[1]
    return sums
