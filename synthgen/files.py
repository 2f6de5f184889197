"""Outputs appear whole or not at all: written under a temporary name, then swapped; what a kill left is removed."""

import ctypes
import errno
import os
import platform
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from synthgen.errors import ResourceError, SynthgenError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    The block may create a file or a folder there. What stood at `path` before stays until the new one is
    complete; a file never takes the place of a folder. Nothing is left behind after an error; what a killed process
    left for the same `path` is removed, or put back if it is all there is.

    Raises:
        SynthgenError: a file was to take the place of a folder.
        ResourceError: the disk is full or the place cannot be written.
    """
    path = Path(path)
    _tidy(path)
    new = _beside(path, "tmp")
    try:
        try:
            yield new
            _flush(new)
            if path.is_dir() and not new.is_dir():
                raise SynthgenError(f"{path} is a folder; give the name of a file")
            if new.is_dir() and (path.is_symlink() or path.is_dir()):  # no rename takes the place of these at once
                _swap(new, path)
            else:
                new.replace(path)
        except OSError as error:
            if error.errno in _FULL:
                raise ResourceError(f"no space left to write {path}; nothing was written") from error
            raise ResourceError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        _remove(new)


def _beside(path: Path, ending: str) -> Path:
    """A hidden name that tells which process, on which machine, is writing `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}-{_machine()}.{ending}")


def _machine() -> str:
    """A short name for this machine: processes of another cannot be asked whether they live."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _swap(new: Path, path: Path) -> None:
    """Let a folder take the place of whatever is at `path`, which comes to `new`, in one step where there is one."""
    if _exchange(new, path):
        return
    old = _beside(path, "old")  # between the two renames there is nothing at `path`; `_tidy` puts back what was
    path.rename(old)
    new.rename(path)
    _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names at once; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return rename is not None and not rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)


def _tidy(path: Path) -> None:
    """Remove what processes of this machine that are no more left beside `path`, or put it back if `path` is gone."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.(\d+)-{_machine()}\.(tmp|old)")
    with suppress(OSError):
        found = [(file, match) for file in path.absolute().parent.iterdir() if (match := ours.fullmatch(file.name))]
        for file, match in found:
            if _lives(int(match[1])):
                continue
            if match[2] == "old" and not os.path.lexists(path):
                file.rename(path)
            else:
                _remove(file)


def _lives(process: int) -> bool:
    """Whether another process of this number is there; what bears our own number is from one before us."""
    if process == os.getpid():
        return False
    if os.name != "posix":
        return True  # there, asking would interrupt it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # it is another user's
    with suppress(OSError):  # one that has ended, and whose parent has not asked how
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Force a file, or the files of a folder, to disk before they get their name."""
    if path.is_dir():
        os.sync()  # of thousands of files, one by one takes ten times as long; what follows then finds them done
    for file in (p for p in (path, *path.rglob("*")) if p.is_file()):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
