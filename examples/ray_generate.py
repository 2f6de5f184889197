"""Generate on Ray: fit on a table, let a cluster draw new rows, read them as one dataset.

python examples/ray_generate.py [TABLE] [ROWS] [OUT]

The cluster is the one at RAY_ADDRESS, whose machines must all see the model and OUT under the same paths; without it,
Ray starts on this machine. Any shard can as well be made elsewhere: `shards.make(7)` is all that a job has to call.
"""

import sys
import tempfile
import time
from pathlib import Path

import pyarrow.dataset

from synthgen import Synthesizer
from synthgen.shards import Shards, make_all

source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("planes.csv")
rows = int(sys.argv[2]) if len(sys.argv) > 2 else 500_000
out = Path(sys.argv[3]) if len(sys.argv) > 3 else Path("rows")

with tempfile.TemporaryDirectory() as folder:
    model = Path(folder) / "model"
    Synthesizer("trees").fit(source).save(model)
    chunks = -(-rows // 65_536)  # records are drawn 65 536 at a time, and a shard holds whole chunks
    shards = Shards.begin(model, out, rows, min(chunks, 8))
    start = time.perf_counter()
    made = make_all(shards, engine="ray")
    seconds = time.perf_counter() - start

dataset = pyarrow.dataset.dataset(out)
print(f"{out}: {dataset.count_rows()} rows of {len(dataset.schema)} columns in {len(made)} new parts, {seconds:.0f} s")
