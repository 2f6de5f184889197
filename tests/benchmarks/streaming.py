"""Fit a table that is larger than the memory allowed, and show what that took and how good its rows are.

    python tests/benchmarks/streaming.py TRAIN TEST [--times 20] [--memory 2g] [-g trees] [-g autoregressive]

TRAIN and TEST are tables of the same columns, such as covertype.train.csv and covertype.test.csv. TRAIN is repeated
into one Parquet file, which each generator is fitted on by the command; then TRAIN itself is fitted in memory, and
streamed under --force. Seconds are CPU-seconds and the peak is the largest resident size, both of the whole command.
The figure is `detection`: the AUC with which boosted trees tell drawn rows from TEST's, whose halves give the floor.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthgen import read
from synthgen.data import Table
from synthgen.data.cells import column_values, typed_column
from synthgen.metrics.features import Features
from synthgen.metrics.fidelity import detection

DRAWN = 100_000


@click.command(help=__doc__)
@click.argument("train", type=click.Path(exists=True, path_type=Path))
@click.argument("test", type=click.Path(exists=True, path_type=Path))
@click.option("--times", default=20)
@click.option("--memory", default="2g")
@click.option("--force", default="1150m", help="A limit that TRAIN itself is streamed under.")
@click.option("-g", "--generator", "generators", multiple=True, default=("trees",))
@click.option("-s", "settings", multiple=True, help="KEY=VALUE for the generators.")
def main(
    train: Path,
    test: Path,
    times: int,
    memory: str,
    force: str,
    generators: tuple[str, ...],
    settings: tuple[str, ...],
) -> None:
    extra = [a for s in settings for a in ("-s", s)]
    holdout = read(test)
    half = len(holdout) // 2
    floor = auc(holdout.take(np.arange(half)), holdout.take(np.arange(half, 2 * half)))
    print(f"real rows: AUC {floor:.4f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        large, model, drawn = (Path(folder) / name for name in ("large.parquet", "model", "drawn.csv"))
        repeat(train, times, large)
        for name in generators:
            for label, data, limit in (
                (f"{times} times, {memory}", large, ["--memory", memory]),
                ("in memory", train, []),
                (f"streamed, {force}", train, ["--memory", force]),
            ):
                seconds, peak = command("fit", data, "-o", model, "-g", name, *limit, *extra, "-q")
                command("generate", model, "-n", DRAWN, "-o", drawn, "-q")
                print(f"{name}, {label}: {seconds:.0f} CPU-s, peak {peak:.2f} GiB, AUC {auc(holdout, read(drawn)):.4f}")


def repeat(path: Path, times: int, out: Path) -> None:
    """Write a table as Parquet, so many times below itself; numbers of a CSV become numbers."""
    table = read(path)
    columns = [typed_column(c, column_values(c, table.data[c.name].combine_chunks())) for c in table.schema.columns]
    data = pa.table(columns, names=table.schema.names)
    with pq.ParquetWriter(out, data.schema, compression="zstd") as writer:
        for _ in range(times):
            writer.write_table(data)


def command(*arguments: object) -> tuple[float, float]:
    """CPU-seconds and peak GiB of a command of synthgen in a process of its own."""
    code = (
        "import resource, sys; from synthgen.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally:\n"
        " u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime, u.ru_maxrss)"
    )
    run = [sys.executable, "-c", code, *map(str, arguments)]
    out = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True, env=os.environ).stdout
    seconds, peak = map(float, out.splitlines()[-1].split())
    return seconds, peak * (1 if sys.platform == "darwin" else 1024) / 2**30


def auc(holdout: Table, rows: Table) -> float:
    """How well boosted trees tell rows from held-out ones."""
    n = min(len(holdout), len(rows), DRAWN)
    features = Features(holdout, holdout.schema)
    return detection(*(features.matrix(t.take(np.arange(n))) for t in (holdout, rows))).auc.value


if __name__ == "__main__":
    main()
