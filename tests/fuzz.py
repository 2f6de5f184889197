"""Readers of files that strangers wrote, valid files for each, and ways to spoil them. As a script, a long campaign.

    python tests/fuzz.py READER [CASES] [SEED]

A new reader is a function that takes a path and gives a Reader, in READERS.
"""

import gzip
import hashlib
import json
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from synthgen.errors import SynthgenError


class Reader(NamedTuple):
    """Valid contents, how to spoil one, and what reads it."""

    valid: list
    spoil: Callable
    read: Callable


ODD = [b"", b"\x00", b"\xff", b"\xfe\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"'", b'"']
ODD += [b",", b";", b"\n", b"\r", b"\t", b"\x1b[2J", "\u202e".encode(), b"=1+1", b"1e999", b"-inf", b"nan", b"\x1f\x8b"]
ODD += [b"9" * 400, b"[" * 200, b"{" * 200, b"../", b"\\", b"%s", b"\xc3\x28", b"\xf0\x9f\x8e\x89", b"0000-00-00"]


def spoil_bytes(data, rng, others):
    """Some of: bytes changed, cut out, put in, doubled, cut off, taken from another file."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, len(data) + 1))
        end = at + int(rng.integers(0, min(64, len(data) - at) + 1))
        match rng.integers(0, 7):
            case 0 if data:
                data[at % len(data)] = rng.integers(0, 256)
            case 1 if data:
                data[at % len(data)] ^= 1 << rng.integers(0, 8)
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = ODD[rng.integers(0, len(ODD))]
            case 4:
                data[at:at] = data[at:end] * int(rng.integers(1, 4))
            case 5 if rng.random() < 0.2:
                del data[at:]
            case 6:
                other = others[rng.integers(0, len(others))]
                start = int(rng.integers(0, len(other) + 1))
                data[at:end] = other[start : start + 64]
    return bytes(data)


VALUES = [None, True, False, 0, 1, -1, 2, 1.5, -0.0, 1e308, float("nan"), float("inf"), 2**31, 2**63, -(2**63), 10**400]
VALUES += ["", "x", "\x00", "\x1b[2J", "\u202e", "=1+1", "é" * 500, "nan", "1e999", "%Y", "%", "[", "(", "\\"]
VALUES += [[], {}, [[]], [None], {"": None}, ["x"] * 50, [0] * 50, {"kind": "numeric"}]


def nodes(body, path=()):
    """The paths of all values within a value."""
    yield path
    children = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, child in children:
        yield from nodes(child, (*path, key))


def spoil_json(body, rng, others):
    """Some values replaced, left out, doubled, given another name, or taken from elsewhere."""
    body = deepcopy(body)
    for _ in range(rng.integers(1, 4)):
        paths = list(nodes(body))[1:]
        if not paths:
            return VALUES[rng.integers(0, len(VALUES))]
        *way, last = paths[rng.integers(0, len(paths))]
        parent = body
        for key in way:
            parent = parent[key]
        match rng.integers(0, 6):
            case 0 | 1 | 2:
                parent[last] = deepcopy(VALUES[rng.integers(0, len(VALUES))])
            case 3:
                del parent[last]
            case 4 if isinstance(parent, list):
                parent.insert(last, deepcopy(parent[last]))
            case 4:
                parent[str(VALUES[rng.integers(0, len(VALUES))])[:50]] = parent.pop(last)
            case 5:
                node, (*steps, end) = body, paths[rng.integers(0, len(paths))]
                for key in steps:
                    node = node[key]
                value = node[end] if isinstance(end, int) or end in node else None
                parent[last] = deepcopy(value)
    return body


def mixed_frame():
    n = 24
    return pd.DataFrame(
        {
            "id": [f"P{i:04d}" for i in range(n)],
            "town": [["Oslo", "Lima", "=x", "Zoë"][i % 4] for i in range(n)],
            "wage": [1234.5 * i if i % 5 else None for i in range(n)],
            "joined": [f"2020-01-{1 + i % 28:02d}" for i in range(n)],
            "yes": [["yes", "no"][i % 2] for i in range(n)],
        }
    )


def tables(folder):
    from synthgen.data.table import read_table

    text = mixed_frame().to_csv(index=False)
    valid = [text, text.replace(",", ";").replace(".", ","), text.replace(",", "\t"), "a, b\n" + '1, "x, y"\n' * 9]
    valid = [t.encode() for t in [*valid, "x\n1\n\n3\n", "'a','b'\n'1','2'\n"]]
    valid += [text.encode("utf-16"), b"\xef\xbb\xbf" + valid[0], text.encode("latin-1")]
    valid.append(gzip.compress(valid[0], mtime=0))
    path = folder / "x.csv"

    def read(data):
        path.write_bytes(data)
        _ = read_table(path).schema

    return Reader(valid, spoil_bytes, read)


def parquets(folder):
    from synthgen.data import find_mark
    from synthgen.data.cells import column_values
    from synthgen.data.table import read_table

    frame = mixed_frame()
    arrow = pa.Table.from_pandas(frame.assign(joined=pd.to_datetime(frame["joined"])))
    odd = {
        "nested": pa.array([[1, 2], None, []]),
        "struct": pa.array([{"a": 1}, None, {"a": 2}]),
        "decimal": pa.array([1, 2, None]).cast(pa.decimal128(38, 2)),
        "bytes": pa.array([b"a", b"\xff", None]),
        "labels": pa.array(["a", "b", None]).dictionary_encode(),
        "time": pa.array([1, 2, None], pa.time64("us")),
    }
    valid = []
    for table, options in [
        (arrow, {}),
        (arrow.replace_schema_metadata({"synthgen": '{"synthetic": true}'}), {"compression": "none"}),
        (arrow.select(["wage", "town"]), {"compression": "zstd", "data_page_version": "2.0"}),
        *((pa.table({name: column}), {"compression": "gzip"}) for name, column in odd.items()),
    ]:
        file = BytesIO()
        pq.write_table(table, file, **options)
        valid.append(file.getvalue())
    path = folder / "x.parquet"

    def read(data):
        path.write_bytes(data)
        find_mark(path)
        table = read_table(path)
        for column in table.schema.columns:
            column_values(column, table.data[column.name].combine_chunks())

    return Reader(valid, spoil_bytes, read)


def pictures(folder):
    from synthgen.data import find_mark
    from synthgen.data.images import digest_of_files, read_images

    valid, rng = [], np.random.default_rng(0)
    for kind, mode in zip(
        ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"], ["RGBA", "L", "RGB", "P", "RGB", "L"], strict=True
    ):
        file = BytesIO()
        pixels = Image.fromarray(rng.integers(0, 255, (6, 5, 4), np.uint8))
        pixels.convert(mode).save(file, kind)
        valid.append(file.getvalue())
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = BytesIO()
        with zipfile.ZipFile(file, "w", compression) as archive:
            for i, data in enumerate(valid[:2]):
                archive.writestr(f"{'ab'[i]}/{i}.png", data)
            archive.writestr("metadata.csv", "file_name,label\n0.png,x\n1.png,y\n")
        valid.append(file.getvalue())
    (folder / "in").mkdir()
    image, packed = folder / "in" / "x.png", folder / "x.zip"

    def read(data):
        place = packed if b"PK" in data[:4] else folder / "in"
        (packed if place == packed else image).write_bytes(data)
        find_mark(place)
        digest_of_files(place)
        read_images(place)

    return Reader(valid, spoil_bytes, read)


def schemas(folder):
    from synthgen.cli.options import read_schema
    from synthgen.data import as_table
    from synthgen.data.cells import column_values

    table = as_table(mixed_frame().astype({"wage": str}))
    path = folder / "schema.json"
    whole = json.loads(table.schema.to_json())
    for column in whole["columns"]:
        column.pop("dtype", None), column.pop("pandas", None)
    csv = {"delimiter": ",", "quote": '"', "encoding": "utf-8", "space": False, "newline": "\n", "escaped": True}
    columns = [
        {"name": "wage", "kind": "numeric", "minimum": 0, "maximum": 1e6, "missing": ["nan"]},
        {"name": "joined", "kind": "datetime", "minimum": "2019-01-01", "maximum": "2021-01-01"},
        {"name": "town", "kind": "categorical", "categories": ["Oslo", "Lima"]},
    ]
    ruled = {"synthgen_schema": 1, "columns": columns, "rules": ["combinations: town, joined"], "csv": csv}

    def spoil(body, rng, others):
        if rng.random() < 0.2:
            return spoil_bytes(json.dumps(body).encode(), rng, [b"{}"])
        return json.dumps(spoil_json(body, rng, others)).encode()

    def read(data):
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        known = table.declare(read_schema(str(path)))
        for column in known.schema.columns:
            column_values(column, known.data[column.name].combine_chunks())

    return Reader([whole, ruled], spoil, read)


def models(folder):
    from synthgen import Synthesizer, registry

    known = registry.available()
    frame = pd.concat([mixed_frame()] * 3, ignore_index=True)
    small = {"trees": {"rounds": 0}, "gmm": {"passes": 1}}
    valid, made = [], {}
    for name, settings in small.items():
        model = Synthesizer(name, given=["yes"], **settings).fit(frame)
        model.save(folder / name)
        manifest = json.loads((folder / name / "manifest.json").read_text())
        valid.append((manifest, (folder / name / "weights.safetensors").read_bytes()))
        made[name] = valid[-1]
    path = folder / "m"
    path.mkdir()

    def spoil(case, rng, others):
        manifest, weights = case
        if rng.random() < 0.3:
            head = 8 + int.from_bytes(weights[:8], "little")  # the sizes and types of tensors
            if rng.random() < 0.5:
                weights = spoil_bytes(weights[:head], rng, [others[0][1]]) + weights[head:]
            else:
                weights = weights[:head] + spoil_bytes(weights[head:], rng, [others[0][1]])
        else:
            manifest = spoil_json(manifest, rng, others)
        return manifest, weights

    def read(case):
        manifest, weights = case
        if isinstance(manifest, dict):  # as whoever made it would
            manifest = dict(manifest) | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
            manifest.pop("sha256", None)
            manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        (path / "manifest.json").write_text(json.dumps(manifest), "utf-8")
        (path / "weights.safetensors").write_bytes(weights)
        with patch.object(registry, "available", lambda: known):  # looking for plugins takes longer than all else
            Synthesizer.load(path, device="cpu").generate(2)

    return Reader(valid, spoil, read)


def proofs(folder):
    """Certificates and ledgers."""
    from synthgen.dp.budget import Budget
    from synthgen.dp.certificate import certificate, check_certificate
    from synthgen.dp.ledger import Charge, entries, keeper

    budget, path = Budget(4.0, 1e-6), folder / "ledger"
    budget.keep = keeper(path, "data")
    budget.charge(Charge("rows", "discrete Gaussian", 4.0, 1 / 32))
    budget.charge(Charge("best", "exponential", 0.4, 0.02))
    bodies = [certificate(budget, "marginals", 100, []), path.read_bytes()]

    def spoil(case, rng, others):
        return spoil_bytes(case, rng, [others[1]]) if isinstance(case, bytes) else spoil_json(case, rng, others)

    def read(case):
        if isinstance(case, bytes):
            path.write_bytes(case)
            entries(path)
        else:
            check_certificate(case)

    return Reader(bodies, spoil, read)


def gates(folder):
    from synthgen.report.gate import read_gate

    path = folder / "policy.toml"
    valid = [b'["fidelity.*"]\nmax = 0.6\n[a.b]\nmin_low = -1e3\n', b'["a.b"]\nmax_excess = 0.1\nmin = 1\n']

    def read(data):
        path.write_bytes(data)
        read_gate(path)

    return Reader(valid, spoil_bytes, read)


READERS = {
    "csv": tables,
    "parquet": parquets,
    "images": pictures,
    "schema": schemas,
    "model": models,
    "proof": proofs,
    "gate": gates,
}


def campaign(name, cases, seed, folder, say=lambda text: None):
    """Read spoilt files; how many were refused and what came out that is no SynthgenError, by where it was raised."""
    reader, rng = READERS[name](folder), np.random.default_rng([seed, len(name)])
    refused, broken = 0, {}
    for i in range(cases):
        case = reader.spoil(reader.valid[rng.integers(0, len(reader.valid))], rng, reader.valid)
        try:
            reader.read(case)
        except SynthgenError:
            refused += 1
        except Exception as error:
            trace = error.__traceback__
            ours = []
            while trace:
                if "/synthgen/" in (file := trace.tb_frame.f_code.co_filename):
                    ours.append(f"{Path(file).name}:{trace.tb_lineno}")
                trace = trace.tb_next
            broken.setdefault(f"{type(error).__name__} {ours[-1:]} {str(error)[:150]}"[:230], (i, case))
            say(f"{i}: {type(error).__name__}: {str(error)[:200]} {ours}")
    return refused, broken


if __name__ == "__main__":
    warnings.simplefilter("error")
    which, cases, seed = [*sys.argv[1:], *["1000", "1"][len(sys.argv) - 2 :]][:3]
    with TemporaryDirectory() as place:
        start = time.process_time()
        refused, broken = campaign(which, int(cases), int(seed), Path(place), say=lambda text: print(text, flush=True))
        print(
            f"{which}: {cases} cases, {refused} refused, {len(broken)} broken, {time.process_time() - start:.0f} CPU-s"
        )
