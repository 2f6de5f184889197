"""How much memory there is, how much may be used, and what files may take: no stranger's takes the machine down."""

import os
import re
import sys
from pathlib import Path

from synthgen.errors import ResourceError, SynthgenError

SHARE = 0.8  # of the free memory that is used where no one says
RATIO = 100  # of what gzip packs; text seldom packs better, so that what is within it is never refused
LEAST = 2 << 30  # bytes below which nothing is refused where no one says: small tables may just do
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_GROUPS = Path("/sys/fs/cgroup")


def parse_size(text: str) -> int:
    """Bytes of a size such as 2g, 500M or 1.5 GiB.

    Raises:
        SynthgenError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not match or float(match[1]) <= 0:
        raise SynthgenError(f"{text!r} is no size; write 500m or 2g")
    return int(float(match[1]) * _UNITS[match[2]])


def show_size(count: float) -> str:
    """Bytes as people say them."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def limit() -> int:
    """Bytes that this process may hold by default: what it does, and most of what is free."""
    share = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes that torchrun started here
    return max(LEAST, resident() + int(SHARE * free())) // max(1, share)


def free() -> int:
    """Bytes that no one uses: on the machine, or in the group that limits this process if that is less."""
    known = [n for n in (_of_machine(), *_of_groups()) if n is not None]
    return max(0, min(known, default=8 << 30))


def resident() -> int:
    """Bytes that this process holds; 0 where that cannot be known."""
    pages = _read(Path("/proc/self/statm")).split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0


def check_unpacked(path: Path, size: int) -> None:
    """Refuse a packed file of which so many bytes were unpacked, where only a bomb has so many.

    Raises:
        ResourceError: it unpacks to more than text does, and more than this machine should hold of one file.
    """
    if size > RATIO * path.stat().st_size and size > (most := limit() // 4):
        raise ResourceError(f"{path} unpacks to more than {show_size(most)}; unpack it yourself if you trust it")


def check_size(path: Path, rows: int, columns: int, told: bool = True) -> None:
    """Refuse a table whose numbers alone would fill this machine, which a packed file of a few bytes may declare.

    Raises:
        ResourceError: it has more cells than there is memory for.
    """
    if (need := 8 * rows * columns) > limit():
        if not told:  # how many rows there are is private
            raise ResourceError(f"{path} needs more memory than there is")
        raise ResourceError(
            f"{path} declares {rows} rows of {columns} columns, at least {show_size(need)}, and there are "
            f"{show_size(limit())}; take fewer rows or columns"
        )


def _of_machine() -> int | None:
    if match := re.search(r"MemAvailable:\s+(\d+) kB", _read(Path("/proc/meminfo"))):
        return int(match[1]) << 10
    if sys.platform == "win32":
        return None
    names = [n for n in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES") if n in os.sysconf_names]
    return os.sysconf(names[0]) * os.sysconf("SC_PAGE_SIZE") if names else None


def _of_groups() -> list[int]:
    """What is left below each limit of the control groups that this process is in, version 1 or 2."""
    found = []
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = _GROUPS / controllers
        names = ("memory.max", "memory.current")
        if controllers:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        inner = top / path.lstrip("/")
        for folder in (f for f in (inner, *inner.parents) if f.is_relative_to(top)):
            most, used = (_read(folder / name).strip() for name in names)
            cached = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
            if most.isdigit() and used.isdigit():
                idle = cached.get("total_inactive_file") or cached.get("inactive_file") or 0  # is given back
                found.append(int(most) - int(used) + int(idle))
    return found


def _read(path: Path) -> str:
    """What a file of the system says, nothing where there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""
