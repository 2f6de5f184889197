"""Fit every generator on folders of images, time it, score what it draws, and keep a sheet of it.

    python tests/benchmarks/images.py DATA --scorer SCRIPT [--python PYTHON] [-d NAME]... [-g NAME]... [--sheets FOLDER]

DATA holds NAME/train and NAME/test, folders of images in folders of classes. CPU-seconds are those of `fit` and of
drawing so many images, in one process after imports. SCRIPT is called with --train --test --synth --json, and writes
a JSON object of figures; --python names the interpreter that has what it imports.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from synthgen import Synthesizer, read, registry
from synthgen.data import write_sheet


@click.command(help=__doc__)
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--scorer", type=click.Path(exists=True))
@click.option("--python", default=sys.executable)
@click.option("-d", "--dataset", "datasets", multiple=True, default=("mnist", "fashion_mnist"))
@click.option("-g", "--generator", "generators", multiple=True)
@click.option("-s", "settings", multiple=True, help="KEY=VALUE for the generators.")
@click.option("-n", default=5000)
@click.option("--seed", default=0)
@click.option("--sheets", type=click.Path(path_type=Path), help="Where a sheet of each goes.")
def main(
    data: Path,
    scorer: str | None,
    python: str,
    datasets: tuple[str, ...],
    generators: tuple[str, ...],
    settings: tuple[str, ...],
    n: int,
    seed: int,
    sheets: Path | None,
) -> None:
    able = [name for name in registry.available() if "images" in registry.load(name).accepts]
    options = dict(s.split("=", 1) for s in settings)
    for dataset in datasets:
        train, test = data / dataset / "train", data / dataset / "test"
        images = read(train)
        for name in generators or able:
            start = time.process_time()
            synthesizer = Synthesizer(name, seed=seed, **options).fit(images)
            fitted = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                synthesizer.write(Path(folder, "drawn"), n, seed=seed)
                figures = {"fit": fitted - start, "generate": time.process_time() - fitted}
                if sheets:
                    classes = images.schema.classes or ("",)
                    given = {"label": list(classes) * 8} if images.schema.classes else None
                    shown = synthesizer.generate(8 * len(classes), given=given and _frame(given), seed=seed)
                    write_sheet(sheets / f"{dataset}-{name}.png", shown, columns=len(classes))
                if scorer:
                    scores = Path(folder, "scores.json")
                    places = ["--train", train, "--test", test, "--synth", Path(folder, "drawn"), "--json", scores]
                    subprocess.run([python, scorer, *places, "--no-floor"], check=True, stdout=subprocess.DEVNULL)
                    figures |= json.loads(scores.read_text())
            print(json.dumps({"dataset": dataset, "generator": name, **options, **figures}), flush=True)


def _frame(columns: dict[str, list[str]]) -> object:
    import pandas as pd

    return pd.DataFrame(columns)


if __name__ == "__main__":
    main()
