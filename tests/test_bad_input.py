"""What users get wrong: one line on stderr that says what to do, the right exit code, nothing half-written."""

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

FIT = ("-g", "trees", "-s", "rounds=0")
GOOD = "a,b\n" + "".join(f"{i},{'xyz'[i % 3]}\n" for i in range(40))


@pytest.fixture
def fails(command, tmp_path):
    """Runs a command that must fail with a code and a text, in one line, leaving no output behind."""

    def check(code, text, *arguments):
        before = sorted(p.name for p in tmp_path.iterdir())
        told = command(*arguments)
        assert told.code == code, told
        assert told.out == ""
        assert text in told.err
        assert told.err.startswith("synthgen: ")
        assert told.err.count("\n") == 1
        assert "Traceback" not in told.err
        assert sorted(p.name for p in tmp_path.iterdir()) == before

    return check


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("empty", b"", "is empty"),
        ("blank", b"\n\n  \n", "is empty"),
        ("header only", b"a,b\n", "no rows"),
        ("one row", b"a,b\n1,x\n", "there are 1 rows"),
        ("too long a line", GOOD.encode() + b"7,x,9\n8,y\n", "line 42: 3 fields where the header has 2"),
        ("too short a line", GOOD.replace("\n5,z\n", "\n5\n").encode(), "line 7: 1 fields where the header has 2"),
        ("two columns of one name", GOOD.replace("a,b", "a,a").encode(), "two columns are called 'a'"),
        ("no name", GOOD.replace("a,b", "a,").encode(), "column 2 has no name"),
        ("binary", bytes(range(256)) * 40, "binary file"),
        ("image", b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        ("excel", b"PK\x03\x04" + bytes(100), "Excel"),
        ("damaged gzip", gzip.compress(GOOD.encode())[:-9], "damaged gzip"),
        ("damaged parquet", b"PAR1" + bytes(100), "no readable Parquet"),
        ("infinite", GOOD.replace("\n3,", "\n1e400,").encode(), "infinite number"),
        ("minus infinite", GOOD.replace("\n3,", "\n-inf,").encode(), "infinite number"),
        ("ids only", b"a\n" + b"".join(b"%d\n" % i for i in range(50)), "no column is left to model"),
        ("constant", b"a,b\n" + b"1,x\n" * 30, "no column is left to model"),
        ("all missing", b"a,b\n" + b",\n" * 30, "no column is left to model"),
    ],
)
def test_bad_tables(fails, tmp_path, name, content, text):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    fails(2, text, "fit", path, "-o", tmp_path / "m", *FIT)


@pytest.mark.parametrize(
    "content",
    [
        "a\n" + "".join(f"{i % 7}\n" for i in range(60)),
        "ä ö,日本\n" + "".join(f"{i % 5},{'é🎉ж'[i % 3]}\n" for i in range(60)),
        "a,b,c\n" + "".join(f"{i % 7},,k\n" for i in range(60)),
        "a,b\n" + "".join(f"{i % 7},{1e300 if i % 9 else -1e300}\n" for i in range(60)),
        "a,y\n" + "".join(f"{i % 7},one\n" for i in range(60)),
        '"a,b",c\n' + "".join(f'"x,{i % 4}","q""{i % 3}"\n' for i in range(60)),
    ],
    ids=["one column", "unicode", "empty and constant columns", "huge numbers", "one class", "quoted"],
)
def test_odd_tables_that_are_fine(command, tmp_path, content):
    path, out = tmp_path / "table.csv", tmp_path / "new.csv"
    path.write_text(content, "utf-8")
    for generator in (FIT, ("-g", "autoregressive", "-s", "epochs=1"), ("-g", "gmm", "-s", "passes=2")):
        told = command("fit", path, "-o", tmp_path / "m", *generator)
        assert told.code == 0, told.err
        told = command("generate", tmp_path / "m", "-n", "30", "-o", out)
        assert told.code == 0, told.err
        assert out.read_text("utf-8").splitlines()[0] == content.splitlines()[0]


def test_ten_thousand_columns(fails, tmp_path):
    row = ",".join(map(str, range(10_000)))
    (tmp_path / "wide.csv").write_text("\n".join([",".join(f"c{i}" for i in range(10_000)), *[row] * 12]) + "\n")
    fails(2, "10000 columns, at most 1000", "fit", tmp_path / "wide.csv", "-o", tmp_path / "m", *FIT)


@pytest.mark.parametrize("generator", ["trees", "autoregressive", "gmm"])
def test_fifty_thousand_categories_are_pooled_with_a_message(command, tmp_path, generator):
    rng = np.random.default_rng(0)
    names = rng.permutation(np.repeat(np.arange(50_000), 2))
    lines = (f"city{i:05d} of the plain,{i % 3}\n" for i in names)
    path = tmp_path / "cities.csv"
    path.write_text("city,k\n" + "".join(lines))
    schema = {"synthgen_schema": 1, "columns": [{"name": "city", "kind": "categorical"}]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    settings = {"trees": "rounds=0", "autoregressive": "epochs=1", "gmm": "passes=1"}[generator]
    arguments = ["-g", generator, "-s", settings, "--max-time", "4s"]
    told = command("fit", path, "-o", tmp_path / "m", "--schema", tmp_path / "schema.json", *arguments)
    assert told.code == 0, told.err
    assert "held by fewer than 5 records" in told.err
    told = command("fit", path, "-o", tmp_path / "m", "--schema", tmp_path / "schema.json", "--keep-rare", *arguments)
    assert told.code == 0, told.err
    assert "beyond the" in told.err


def test_a_wrong_encoding_told(fails, tmp_path):
    (tmp_path / "t.csv").write_bytes(GOOD.replace("x", "é").encode("latin-1"))
    fails(2, "not in encoding utf-8", "fit", tmp_path / "t.csv", "-o", tmp_path / "m", "--encoding", "utf-8", *FIT)
    fails(2, "not in encoding utf-9", "fit", tmp_path / "t.csv", "-o", tmp_path / "m", "--encoding", "utf-9", *FIT)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-g", "tres"], "did you mean 'trees'?"),
        (["-g", "trees", "-s", "leafs=3"], "did you mean 'leaf'?"),
        (["-g", "trees", "-s", "leaf"], "write -s KEY=VALUE"),
        (["-g", "trees", "-s", "leaf=-1"], "greater than or equal to 0"),
        (["-g", "trees", "-s", "leaf=many"], "valid integer"),
        (["-g", "trees", "-s", "seed=3"], "use --seed"),
        (["-g", "trees", "--seed", "-1"], "--seed"),
        (["-g", "trees", "--max-time", "soon"], "write 90s, 10m or 1h"),
        (["-g", "trees", "--given", "c"], "did you mean"),
        (["-g", "trees", "--drop", "c"], "cannot drop 'c'"),
        (["-g", "trees", "--device", "tpu"], "no device is called 'tpu'"),
        (["-g", "trees", "--no-such"], "--no-such"),
        (["-g", "trees", "--schema", "absent.json"], "cannot read the schema"),
        (["-g", "trees", "--delimiter", ";;"], "the delimiter is one character"),
    ],
)
def test_bad_options_of_fit(fails, people_csv, tmp_path, arguments, text):
    text = "there is no column 'c'" if "--given" in arguments else text
    fails(2, text, "fit", people_csv, "-o", tmp_path / "m", *arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-n", "5", "--given", "twn=Oslo"], "did you mean 'town'?"),
        (["-n", "5", "--given", "town=Osla"], "did you mean 'Oslo'?"),
        (["-n", "5", "--given", "town"], "write --given COLUMN=VALUE"),
        (["-n", "5", "--given", "sport=ski"], "autoregressive, diffusion, gmm"),
        (["-n", "5", "--given", "id=P000001"], "only modelled columns can be given"),
        (["-n", "0"], "-n"),
        ([], "say how many records with -n"),
        (["-n", "5", "--given-file", "absent.csv"], "there is no file absent.csv"),
    ],
)
def test_bad_options_of_generate(fails, trees_model, tmp_path, arguments, text):
    fails(2, text, "generate", trees_model, "-o", tmp_path / "new.csv", *arguments)


@pytest.mark.parametrize("arguments", [["fitt"], ["lst"], ["info", "tres"], ["info"]])
def test_bad_commands(fails, arguments):
    fails(2, "", *arguments)


def test_a_near_command_is_offered(command):
    assert "did you mean 'generate'?" in command("generat").err


def test_outputs_with_no_place(fails, people_csv, trees_model, tmp_path):
    (tmp_path / "mine").write_text("mine")
    fails(2, "there is no folder", "fit", people_csv, "-o", tmp_path / "no" / "m", *FIT)
    fails(2, "exists and is no model", "fit", people_csv, "-o", tmp_path / "mine", *FIT)
    fails(2, "there is no folder", "generate", trees_model, "-n", "5", "-o", tmp_path / "no" / "new.csv")
    fails(2, "no ending that a table can have", "generate", trees_model, "-n", "5", "-o", tmp_path / "new.xlsx")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_outputs_where_one_may_not_write(fails, people_csv, trees_model, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    fails(4, "permission denied", "fit", people_csv, "-o", closed / "m", *FIT)
    fails(4, "cannot write", "generate", trees_model, "-n", "5", "-o", closed / "new.csv")


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_full_disk(trees_model, tmp_path, ending):
    """A limit on the size of files stands for a disk that fills up."""
    out = tmp_path / f"new{ending}"
    out.write_text("older")
    told = subprocess.run(
        [sys.executable, "-m", "synthgen", "generate", trees_model, "-n", "20000", "-o", out],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 4, told.stderr
    assert told.stderr == f"synthgen: no space left to write {out}; nothing was written\n"
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    assert out.read_text() == "older"


def test_full_disk_while_saving_a_model(people_csv, tmp_path):
    told = subprocess.run(
        [sys.executable, "-m", "synthgen", "fit", people_csv, "-o", tmp_path / "m", *FIT, "--quiet"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 4, told.stderr
    assert told.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def _flip(path, place=-20):
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(bytes(data))


def _newer(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))


DAMAGE = {
    "weights truncated": (lambda m: os.truncate(m / "weights.safetensors", 500), "damaged"),
    "weights flipped": (lambda m: _flip(m / "weights.safetensors"), "damaged"),
    "weights gone": (lambda m: (m / "weights.safetensors").unlink(), "damaged"),
    "manifest flipped": (lambda m: _flip(m / "manifest.json", 300), "damaged"),
    "manifest truncated": (lambda m: os.truncate(m / "manifest.json", 500), "damaged"),
    "manifest gone": (lambda m: (m / "manifest.json").unlink(), "is no model"),
    "newer": (_newer, "has format 99"),
    "gone": (shutil.rmtree, "is no model"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_models(fails, trees_model, people_csv, tmp_path, kind):
    harm, text = DAMAGE[kind]
    model = tmp_path / "m"
    shutil.copytree(trees_model, model)
    harm(model)
    fails(2, text, "generate", model, "-n", "5", "-o", tmp_path / "new.csv")
    fails(2, text, "impute", model, people_csv, "-o", tmp_path / "new.csv")


def test_a_model_without_its_plugin(fails, trees_model, tmp_path, monkeypatch):
    from synthgen import registry

    left = {n: p for n, p in registry.available().items() if n != "trees"}
    monkeypatch.setattr(registry, "available", lambda: left)
    text = "needs generator 'trees'; install package synthgen-toolkit"
    fails(2, text, "generate", trees_model, "-n", "5", "-o", tmp_path / "new.csv")


def test_what_a_family_lacks_names_those_that_have_it(fails, trees_model, people_csv, tmp_path):
    fails(2, "autoregressive, diffusion, gmm", "impute", trees_model, people_csv, "-o", tmp_path / "new.csv")
    fails(2, "autoencoder, autoregressive, diffusion, gmm, vae", "anomalies", trees_model, people_csv, "-o", tmp_path / "new.csv")


def test_a_table_without_the_models_columns(fails, network_model, tmp_path):
    (tmp_path / "t.csv").write_text(GOOD)
    fails(2, "none of the model's columns", "impute", network_model, tmp_path / "t.csv", "-o", tmp_path / "o.csv")
    fails(2, "has no column 'town'", "anomalies", network_model, tmp_path / "t.csv", "-o", tmp_path / "o.csv")
