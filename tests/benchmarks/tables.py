"""Fit every generator on real tables, time it, score its rows, and print the README's table of figures.

    python tests/benchmarks/tables.py DATA [--scorer SCRIPT] [--python PYTHON] [-t TABLE]... [-g NAME]... [--seeds 3]

DATA holds NAME.train.csv and NAME.test.csv for the tables below. CPU-seconds are those of `fit` and of generating as
many rows as were fitted on, in one process after imports. Figures are medians over the seeds.

SCRIPT scores a synthetic file: it is called with --train --test --synth --target --task --json, and writes a JSON
object of figures; --python names the interpreter that has what it imports. Without one, the only figure is
synthgen's own `detection` (`auc`) beside its floor.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from synthgen import Synthesizer, read, registry
from synthgen.metrics.features import Features
from synthgen.metrics.fidelity import detection

TARGETS = {
    "adult": ("income", "classification"),
    "shoppers": ("Revenue", "classification"),
    "magic": ("class", "classification"),
    "default_credit": ("default.payment.next.month", "classification"),
    "beijing": ("pm2.5", "regression"),
    "gas_turbine": ("NOX", "regression"),
    "spambase": ("spam", "classification"),
    "airbnb_chicago": ("room_type", "classification"),
    "covertype": ("Cover_Type", "classification"),
}


@click.command(help=__doc__)
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--scorer", type=click.Path(exists=True))
@click.option("--python", default=sys.executable)
@click.option("-t", "--table", "tables", multiple=True, default=tuple(TARGETS))
@click.option("-g", "--generator", "generators", multiple=True, default=("trees", "autoregressive", "gmm"))
@click.option("-s", "settings", multiple=True, help="KEY=VALUE for the generators.")
@click.option("--seeds", default=3)
def main(
    data: Path,
    scorer: str | None,
    python: str,
    tables: tuple[str, ...],
    generators: tuple[str, ...],
    settings: tuple[str, ...],
    seeds: int,
) -> None:
    for name in generators:
        registry.load(name)
    options = dict(s.split("=", 1) for s in settings)
    for table in tables:
        for name in generators:
            runs = [_run(data, table, name, options, seed, scorer, python) for seed in range(seeds)]
            figures = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            print(json.dumps({"table": table, "generator": name, **options, **figures}), flush=True)


def _run(
    data: Path, table: str, name: str, options: dict[str, str], seed: int, scorer: str | None, python: str
) -> dict[str, float]:
    train, test = data / f"{table}.train.csv", data / f"{table}.test.csv"
    target, task = TARGETS[table]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "synthetic.csv")
        start = time.process_time()
        real = read(train)
        synthesizer = Synthesizer(name, seed=seed, **options).fit(real)
        fitted = time.process_time()
        synthesizer.write(out, len(real), seed=seed)
        figures = {"fit": fitted - start, "generate": time.process_time() - fitted}
        if scorer is None:
            return figures | _own(test, out)
        scores = Path(folder, "scores.json")
        command = [python, scorer, "--train", train, "--test", test, "--synth", out, "--target", target, "--task", task]
        subprocess.run([*command, "--json", scores], check=True, stdout=subprocess.DEVNULL)
        return figures | json.loads(scores.read_text())


def _own(test: Path, out: Path) -> dict[str, float]:
    """AUC against half of the held-out rows, and that of the other half."""
    held = read(test)
    half = len(held) // 2
    rows = np.random.default_rng(0).permutation(len(held))
    features = Features(held, held.schema)
    reference, fresh = (features.matrix(held.take(part)) for part in (rows[:half], rows[half : 2 * half]))
    drawn = features.matrix(read(out))
    return {"auc": detection(reference, drawn).auc.value, "auc_real": detection(reference, fresh).auc.value}


if __name__ == "__main__":
    main()
