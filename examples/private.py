"""Fit a table under differential privacy, read the certificate, and say what the privacy cost.

python examples/private.py [TABLE] [EPSILON]
"""

import sys
from pathlib import Path

import numpy as np

import synthgen
from synthgen.dp.budget import Budget
from synthgen.schema import Column, Schema

source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("planes.csv")
epsilon = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0

table = synthgen.read(source)
rows = np.random.default_rng(0).permutation(len(table))
holdout, train = (table.take(part) for part in np.split(rows, [len(rows) // 3]))

# what is declared is public and costs nothing; all else is learned by queries that the budget pays for
known = [Column(name="engines", kind="numeric", minimum=1, maximum=4)] if source.name == "planes.csv" else []
schema = Schema(columns=tuple(known)) if known else None

synthesizer = synthgen.Synthesizer("marginals", schema=schema).fit(train, budget=Budget(epsilon, 1e-6))
for query in synthesizer.certificate["queries"][:5]:
    print(f"paid rho {query['rho']:.2g} for the {query['what']}, with noise of {query['scale']:.1f}")
print(f"... and {len(synthesizer.certificate['queries']) - 5} more; public: {synthesizer.certificate['public']}")

report = synthgen.evaluate(train, synthesizer.generate(len(train)), holdout)
for finding in report.verdict:
    print(f"{finding.kind:>10}: {finding.text}")
