"""Writers that are killed: every output is the old one or the new one, whole, and the next writer tidies up.

As a script, this file is the process whose children are killed. SYNTHGEN_KILLS says how many.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from synthgen import Schema, artifact, infer_schema, read, write
from synthgen.data import Images, ImageSchema, Table, write_sheet
from synthgen.data.images import read_images
from synthgen.dp.ledger import Charge, entries, keeper
from synthgen.files import replacing

KILLS = int(os.environ.get("SYNTHGEN_KILLS", "20"))
ROWS, PICTURES = 30_000, 60


def table(path, k):
    write(Table(pa.table({"k": [str(k)] * ROWS, "text": ["some words, and more"] * ROWS})), path)


def table_found(path):
    found = read(path).data
    assert found.num_rows == ROWS
    (k,) = set(found["k"].to_pylist())
    return int(k)


def images(path, k):
    pixels = np.full((PICTURES, 6, 6, 1), k, np.uint8)
    schema = ImageSchema(mode="L", height=6, width=6, classes=("a", "b"))
    write(Images(pixels, np.arange(PICTURES) % 2, schema), path)


def images_found(path):
    found = read_images(path, strict=True)
    assert len(found) == PICTURES
    (k,) = set(found.pixels.ravel().tolist())
    return k


def model(path, k):
    artifact.save(path, {"k": k}, {"w": torch.full((200_000,), float(k))}, page=f"<p>{k}</p>" * 1000)


def model_found(path):
    manifest, weights = artifact.load(path)
    assert set(weights["w"].tolist()) == {float(manifest["k"])}
    return manifest["k"]


def sheet(path, k):
    schema = ImageSchema(mode="L", height=60, width=60)
    write_sheet(path, Images(np.full((40, 60, 60, 1), k, np.uint8), np.zeros(40, np.int64), schema), columns=1)


def sheet_found(path):
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    (k,) = set(pixels.ravel().tolist()) - {255}  # white between them
    return k


def schema(path, k):
    text = infer_schema(pa.table({f"c{k}": pa.array(range(9))} | {f"x{i}": pa.array(range(9)) for i in range(300)}))
    with replacing(path) as new:
        new.write_text(text.to_json(), "utf-8")


def schema_found(path):
    found = Schema.from_json(path.read_text("utf-8"))
    assert len(found.columns) == 301
    return int(found.names[0][1:])


def page(path, k):
    with replacing(path) as new:  # as reports are written
        new.write_text(f"<html>{k}\n" * 200_000 + "</html>", "utf-8")


def page_found(path):
    lines = path.read_text("utf-8").splitlines()
    assert (lines[-1], len(lines)) == ("</html>", 200_001)
    (line,) = set(lines[:-1])
    return int(line.removeprefix("<html>"))


def ledger(path, k):
    keeper(path, "data")("fit", Charge("x" * 20_000, "discrete Gaussian", 1.0, 0.5))


def ledger_found(path):
    return len(entries(path)) - 1


OUTPUTS = {
    "model": (model, model_found),
    "table.csv": (table, table_found),
    "table.csv.gz": (table, table_found),
    "table.parquet": (table, table_found),
    "images": (images, images_found),
    "images.zip": (images, images_found),
    "sheet.png": (sheet, sheet_found),
    "schema.json": (schema, schema_found),
    "report.html": (page, page_found),
    "ledger": (ledger, ledger_found),
}


def writing(make, path, done):
    """The number of a child that writes an output again and again, and says after each time which one is there."""
    child = os.fork()
    if child:
        return child
    try:
        for k in range(1, 250):
            make(path, k)
            os.write(done, bytes([k]))
        time.sleep(60)
    finally:
        os._exit(1)


def kill_one(folder, name):
    """Kill a writer at any moment; what is there then, and after the next writer."""
    make, found = OUTPUTS[name]
    folder.mkdir()
    path, start = folder / name, time.monotonic()
    make(path, 0)
    took = time.monotonic() - start
    told, done = os.pipe()
    child = writing(make, path, done)
    time.sleep(random.uniform(0, 5 * took))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    os.close(done)
    with open(told, "rb") as pipe:
        before = pipe.read()[-1:] or b"\0"
    left, now = [p.name for p in folder.iterdir() if p.name != name], found(path)
    make(path, 0)
    after = [p.name for p in folder.iterdir()]
    return {"output": name, "before": before[0], "now": now, "left": left, "after": after, "again": found(path)}


def drive(folder, kills):
    for i in range(kills):
        print(json.dumps(kill_one(folder / str(i), list(OUTPUTS)[i % len(OUTPUTS)])), flush=True)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    run = subprocess.run(
        [sys.executable, __file__, folder, str(KILLS)], stdout=subprocess.PIPE, text=True, timeout=100 + 5 * KILLS
    )
    found = [json.loads(line) for line in run.stdout.splitlines()]
    leftovers = sum(bool(kill["left"]) for kill in found)
    print(
        f"\n{len(found)} kills of {len({kill['output'] for kill in found})} outputs, {leftovers} in the middle of one"
    )
    return found


@pytest.mark.slow
def test_every_output_is_the_old_one_or_the_new_one(killed):
    assert len(killed) == KILLS
    for kill in killed:
        assert kill["now"] in (kill["before"], kill["before"] + 1), kill


@pytest.mark.slow
def test_the_next_writer_removes_what_a_killed_one_left(killed):
    for kill in killed:
        assert kill["after"] == [kill["output"]], kill
        assert kill["again"] == (0 if kill["output"] != "ledger" else kill["now"] + 1)


@pytest.mark.slow
def test_kills_came_in_the_middle_of_writing(killed):
    assert sum(bool(kill["left"]) for kill in killed if kill["output"] != "ledger") >= KILLS // 5


if __name__ == "__main__":
    drive(Path(sys.argv[1]), int(sys.argv[2]))
