"""Limits to what a small file may become in memory, so that no stranger's file takes the machine down."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path

from synthgen.errors import ResourceError

RATIO = 100  # text seldom packs better, so that what is within it is never refused
_PIECE = 1 << 22
_GROUPS = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory() -> int:
    """Bytes of memory that this machine, or the container that we run in, has."""
    with suppress(ValueError, OSError, AttributeError):  # not every system can say
        known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
        for file in _GROUPS:
            with suppress(ValueError, OSError):  # "max", or no such file
                known.append(int(file.read_text()))
        return min(known)
    return 1 << 34


def gunzip(packed: bytes, path: Path) -> bytes:
    """What is in a gzip file, one member after the other.

    Raises:
        zlib.error: it is damaged.
        EOFError: it is cut off.
        ResourceError: it unpacks to more than this machine should hold of one file.
    """
    most, pieces, size = max(RATIO * len(packed), memory() // 4), list[bytes](), 0
    rest = packed
    while rest.strip(b"\0"):  # which may follow the last member
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            pieces.append(member.decompress(rest, _PIECE))
            rest, size = member.unconsumed_tail, size + len(pieces[-1])
            if size > most:
                raise ResourceError(f"{path} unpacks to more than {most >> 20} MiB; unpack it yourself if you trust it")
            if not rest and not pieces[-1] and not member.eof:
                raise EOFError("it ends too early")
        rest = member.unused_data
    return b"".join(pieces)


def check_size(path: Path, rows: int, columns: int) -> None:
    """Refuse a table whose numbers alone would fill this machine, which a packed file of a few bytes may declare.

    Raises:
        ResourceError: it has more cells than there is memory for.
    """
    need = 8 * rows * columns
    if need > memory():
        raise ResourceError(
            f"{path} declares {rows} rows of {columns} columns, at least {need / 2**30:.0f} GiB, and there are "
            f"{memory() / 2**30:.0f}; take fewer rows or columns"
        )
