"""Rows per second and memory of generating in shards: by one process, by several, and by Ray; and whether all agree.

python tests/benchmarks/shards.py MODEL -n 10M --shards 20 [--workers 2] [--engines serial,processes] [--keep FOLDER]
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from synthgen.cli.options import Count

EVERY = 0.2  # seconds between two looks at the processes


def watch(command):
    """Wall and CPU seconds of a command, peak memory in MiB of its largest process and of all together."""
    start, cpu, alone, together = time.monotonic(), {}, 0, 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        seen = family(process.pid)
        cpu |= {pid: seconds for pid, (seconds, _) in seen.items()}
        sizes = [size for _, size in seen.values()]
        alone, together = max([alone, *sizes]), max(together, sum(sizes))
        time.sleep(EVERY)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return time.monotonic() - start, sum(cpu.values()), alone / 2**20, together / 2**20


def family(pid):
    """CPU seconds and resident bytes of a process and of all that it started, as Linux tells them."""
    parents, found = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            own = int(place.name)
            parents[own] = int(fields[1])
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            found[own] = seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    members = {pid}
    while more := {own for own, parent in parents.items() if parent in members} - members:
        members |= more
    return {own: figures for own, figures in found.items() if own in members}


def digest(folder):
    """One hash of all parts."""
    parts = sorted(folder.glob("part-*"))
    return hashlib.sha256(b"".join(hashlib.sha256(p.read_bytes()).digest() for p in parts)).hexdigest()[:16]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("-n", default="10M")
    parser.add_argument("--shards", default="20")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--engines", default="serial,processes,ray")
    parser.add_argument("--keep", help="folder for the parts; they are removed by default")
    asked = parser.parse_args()
    rows, seen = Count().convert(asked.n, None, None), set()
    place = Path(asked.keep or tempfile.mkdtemp())
    options = {"serial": [], "processes": ["--workers", asked.workers], "ray": ["--engine", "ray"]}
    options["ray"] += [] if os.environ.get("RAY_ADDRESS") else ["--workers", asked.workers]
    print("engine     rows/s (wall)  rows/s (CPU)  wall s  CPU s  MiB of one  MiB of all  GiB on disk  parts")
    for engine in asked.engines.split(","):
        out = place / engine
        command = [sys.executable, "-m", "synthgen", "generate", asked.model, "-n", asked.n, "--shards", asked.shards]
        wall, cpu, alone, together = watch([*command, *options[engine], "-o", str(out), "--quiet", "--json"])
        size, parts = sum(p.stat().st_size for p in out.iterdir()) / 2**30, digest(out)
        seen.add(parts)
        print(
            f"{engine:10} {rows / wall:13.0f} {rows / cpu:13.0f} {wall:7.0f} {cpu:6.0f} {alone:11.0f} {together:11.0f} "
            f"{size:12.2f}  {parts}",
            flush=True,
        )
        if not asked.keep:
            shutil.rmtree(out)
    print("all parts are the same, byte for byte" if len(seen) == 1 else "THE PARTS DIFFER")


if __name__ == "__main__":
    main()
