"""Fit on a real table, generate as many rows, and say how close they are beside what fresh real rows get.

python examples/table.py [TABLE] [OUT]
"""

import sys
import time
from pathlib import Path

import numpy as np

import synthgen
from synthgen.metrics.fidelity import closeness

source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("planes.csv")
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("synthetic.csv")

table = synthgen.read(source)
rows = np.random.default_rng(0).permutation(len(table))
fresh, holdout, train = (table.take(part) for part in np.split(rows, [len(rows) // 4, len(rows) // 2]))

start = time.perf_counter()
synthesizer = synthgen.Synthesizer("trees").fit(train)
synthesizer.write(out, len(table))
seconds = time.perf_counter() - start

synthetic = synthgen.read(out)
print(f"{out}: {len(synthetic)} rows like those of {source.name}, fitted on half of them in {seconds:.1f} s")
print(f"{'':12}{'synthetic':>10}{'fresh real':>12}{'ideal':>8}")
for score in closeness(holdout, synthetic.take(np.arange(len(fresh))), fresh, table.schema):
    print(f"{score.name:12}{score.value:10.3f}{score.floor:12.3f}{score.ideal:8.1f}   {score.about}")
for note in synthesizer.notes:
    print(note)
