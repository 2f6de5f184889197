"""Publish synthetic rows with a promise: fit under a budget, write the release, check it as its readers will.

python examples/release.py [TABLE] [EPSILON] [OUT]
"""

import sys
from pathlib import Path

import synthgen
from synthgen.dp.budget import Budget
from synthgen.release import Terms, release, verify
from synthgen.schema import Column, Schema

source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("planes.csv")
epsilon = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
out = sys.argv[3] if len(sys.argv) > 3 else "released"

# what everybody knows is declared: it costs nothing, and keeps noise from making up years such as 1107
planes = source.name == "planes.csv"
known = [Column(name="year", kind="numeric", minimum=1950, maximum=2013)] if planes else []
schema = Schema(columns=tuple(known)) if known else None
drop = ["tailnum"] if planes else []

fitted = synthgen.Synthesizer("marginals", schema=schema, drop=drop).fit(source, budget=Budget(epsilon, 1e-6))
terms = Terms(title=f"Synthetic {source.stem}", licence="CC0-1.0", source="what may be said of the real table")
facts = release(fitted, out, 2000, terms=terms)

found = verify(out)
print(f"{out}: {found.records} {found.noun}; {found.promise}")
for distance in facts.distances:
    print(f"{distance.column:>15}: {distance.value:.3f} from what was paid for, noise alone makes {distance.noise:.3f}")
