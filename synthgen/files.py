"""Outputs appear whole or not at all: write under a temporary name, then rename."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synthgen.errors import ResourceError, SynthgenError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    The block may create a file or a folder there. What stood at `path` before stays until the new one is
    complete; a file never takes the place of a folder. Nothing is left behind after an error.

    Raises:
        SynthgenError: a file was to take the place of a folder.
        ResourceError: the disk is full or the place cannot be written.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            yield new
            _flush(new)
            if path.is_dir() and not new.is_dir():
                raise SynthgenError(f"{path} is a folder; give the name of a file")
            if new.is_dir() and path.is_symlink():
                path.unlink()  # the link, not what it leads to
            if path.is_dir():  # rename cannot replace a folder that holds something
                old = path.with_name(f".{path.name}.{os.getpid()}.old")
                path.rename(old)
                new.rename(path)
                shutil.rmtree(old)
            else:
                new.replace(path)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise ResourceError(f"no space left to write {path}; nothing was written") from error
            raise ResourceError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if new.is_dir():
            shutil.rmtree(new, ignore_errors=True)
        else:
            new.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Force a file, or the files of a folder, to disk before they get their name."""
    if path.is_dir():
        os.sync()  # of thousands of files, one by one takes ten times as long; what follows then finds them done
    for file in (p for p in (path, *path.rglob("*")) if p.is_file()):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
