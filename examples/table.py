"""Fit on a real table, generate as many rows, and say how faithful and how disclosive they are.

python examples/table.py [TABLE] [OUT] [REPORT]
"""

import sys
import time
from pathlib import Path

import numpy as np

import synthgen

source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("planes.csv")
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("synthetic.csv")
page = Path(sys.argv[3]) if len(sys.argv) > 3 else out.with_suffix(".html")

table = synthgen.read(source)
rows = np.random.default_rng(0).permutation(len(table))
holdout, train = (table.take(part) for part in np.split(rows, [len(rows) // 3]))

start = time.perf_counter()
synthesizer = synthgen.Synthesizer("trees").fit(train)
synthesizer.write(out, len(table))
seconds = time.perf_counter() - start
print(f"{out}: {len(table)} rows like those of {source.name}, fitted on two thirds of them in {seconds:.1f} s")
for note in synthesizer.notes:
    print(note)

report = synthgen.evaluate(train, out, holdout)
report.write(page)
print(f"{page}: what they are worth. Figures beside those of fresh real rows:")
for score in report:
    if score.headline:
        print(f"{score.value:8.3f} {score.fresh:8.3f}  {score.name}: {score.about}")
for finding in report.verdict:
    print(f"{finding.kind:>10}: {finding.text}")
