"""What users get wrong: one line on stderr that says what to do, the right exit code, nothing half-written."""

import csv
import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_images import claiming, pack, picture, png, put

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
    judges = "autoencoder, autoregressive, diffusion, gmm, vae"
    fails(2, judges, "anomalies", trees_model, people_csv, "-o", tmp_path / "new.csv")


def test_a_table_without_the_models_columns(fails, network_model, tmp_path):
    (tmp_path / "t.csv").write_text(GOOD)
    fails(2, "none of the model's columns", "impute", network_model, tmp_path / "t.csv", "-o", tmp_path / "o.csv")
    fails(2, "has no column 'town'", "anomalies", network_model, tmp_path / "t.csv", "-o", tmp_path / "o.csv")


IMAGES = ("-g", "gmm", "--quiet")


def tree(folder):
    """All that is below a folder, files with their bytes."""
    return {p.relative_to(folder).as_posix(): p.is_file() and p.read_bytes() for p in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "holds no image: no file that ends in .png"),
        ({"notes.txt": b"hello", "a/b/table.csv": b"a,b"}, "holds no image: no file that ends in .png"),
        ({".hidden/1.png": png(), ".2.png": png()}, "holds no image: no file that ends in .png"),
        ({"a.png": b"hello", "b.jpg": b"", "c.gif": bytes(99)}, "no image that can be read (a.png: it is no PNG"),
        ({"a.png": claiming(9000, 9000)}, "(a.png: it has 9000 x 9000 pixels, more than 64 million)"),
        ({"a.png": claiming(60_000, 60_000)}, "(a.png: Image size (3600000000 pixels) exceeds limit"),
        ({"a.png": png()[:-30]}, "holds no image that can be read (a.png: "),
        ({"a.png": png(), "cat/b.png": png()}, "folders are classes: put every image into one, or none"),
        ({"a.png": png(), "metadata.csv": b"file_name,label\nb.png,cat\n"}, "no label for a.png"),
        ({f"{i}.png": png() for i in range(9)}, "there are 9 images; at least 10"),
        ({"manifest.json": b"{}"}, "is a model; give the data: a file, or a folder of images"),
    ],
    ids=["empty", "no image", "hidden", "text", "large", "huge", "cut", "beside classes", "label", "nine", "model"],
)
def test_bad_folders_of_images(fails, tmp_path, files, text):
    (tmp_path / "in").mkdir()
    for name, data in files.items():
        put(tmp_path / "in" / name, data)
    fails(2, text, "fit", tmp_path / "in", "-o", tmp_path / "m", *IMAGES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("../out.png", "whose path climbs out of the folder"),
        ("/tmp/out.png", "whose path is not relative"),
        ("a\\..\\..\\out.png", "whose path climbs out of the folder"),
        ("C:\\out.png", "whose path is not relative"),
        ("readme.txt", "holds no image"),
    ],
)
def test_bad_zips_of_images(fails, tmp_path, name, text):
    (tmp_path / "in").mkdir()
    pack(tmp_path / "in" / "set.zip", {name: png()})
    fails(2, text, "fit", tmp_path / "in" / "set.zip", "-o", tmp_path / "m", *IMAGES)
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["set.zip"]


def test_zips_that_are_none(fails, tmp_path):
    (tmp_path / "set.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    fails(2, "cannot be read as a zip", "fit", tmp_path / "set.zip", "-o", tmp_path / "m", *IMAGES)
    fails(2, "there is no file", "fit", tmp_path / "none.zip", "-o", tmp_path / "m", *IMAGES)


def test_a_model_is_no_data(fails, pictures_model, trees_model, tmp_path):
    for model in (pictures_model, trees_model):
        fails(2, "is a model; give the data", "fit", model, "-o", tmp_path / "m", *IMAGES)
    out = tmp_path / "out.csv"
    fails(2, "is a model; give the data", "anomalies", pictures_model, pictures_model, "-o", out)


def test_data_that_are_not_there(fails, pictures_model, network_model, tmp_path):
    none, out = tmp_path / "none", tmp_path / "out"
    fails(2, "there is no file", "fit", none, "-o", tmp_path / "m", *IMAGES)
    for model in (pictures_model, network_model):
        fails(2, "there is no file or folder", "anomalies", model, none, "-o", f"{out}.csv")
    fails(2, "there is no file or folder", "impute", pictures_model, none, "-o", out, "--mask", none)


def test_bad_masks(fails, pictures_model, pictures, tmp_path):
    put(tmp_path / "text.png", b"white")
    put(tmp_path / "huge.png", claiming(60_000, 60_000))
    for mask in ("none.png", "text.png", "huge.png", "."):
        impute = ["impute", pictures_model, pictures, "-o", tmp_path / "out", "--mask", tmp_path / mask]
        fails(2, "cannot read the mask", *impute)


def test_bad_ends_of_a_path(fails, latent_model, pictures, tmp_path):
    out = tmp_path / "path.png"
    for end in (f"{pictures}:0", f"{pictures}:61", f"{pictures}:", f"{pictures}:one", f"{pictures}:-1"):
        fails(2, "has images 1 to 60, not", "interpolate", latent_model, end, "-o", out)
    fails(2, "there is no file or folder", "interpolate", latent_model, "randm", "-o", out)
    fails(2, "-n", "interpolate", latent_model, "-n", "1", "-o", out)


def test_what_is_given_to_images(fails, pictures_model, tmp_path):
    generate = ["generate", pictures_model, "-n", "4", "-o", tmp_path / "out"]
    fails(2, "there is no class 'bix'; did you mean 'box'", *generate, "--given", "label=bix")
    fails(2, "did you mean 'label'", *generate, "--given", "lable=box")
    (tmp_path / "wanted.csv").write_text("colour\nred\nblue\n")
    fails(2, "'colour' cannot be given for these images", *generate, "--given-file", tmp_path / "wanted.csv")
    (tmp_path / "wanted.csv").write_text("label\nbox\nbix\nbox\n")
    fails(2, "4 records are no multiple of the 3 rows", *generate, "--given-file", tmp_path / "wanted.csv")


def test_outputs_of_images_that_would_replace_something(fails, pictures_model, latent_model, pictures, tmp_path):
    """Folders of a person's own stay, whatever they are called."""
    for name in ("mine", "mine.png", "mine.csv", "mine.zip"):
        put(tmp_path / name / "1.png", png())
    put(tmp_path / "file", b"mine")
    (tmp_path / "mask.png").write_bytes(png(picture("L")))
    before = tree(tmp_path)
    mine, no = tmp_path / "mine", "exists and is no folder of generated images; give another -o or remove it"
    generate, mask = ["generate", pictures_model, "-n", "3", "-o"], ["--mask", tmp_path / "mask.png"]
    fails(2, no, *generate, mine)
    fails(2, no, *generate, tmp_path / "mine.zip")
    fails(2, no, *generate, tmp_path / "file")
    fails(2, no, *generate, pictures_model)
    fails(2, "names no new folder", *generate, ".")
    fails(2, "is no folder; give -o FOLDER, a .zip or a .tar", *generate, tmp_path / "mine.csv")
    fails(2, "is no folder; give -o FOLDER, a .zip or a .tar", *generate, tmp_path / "new.parquet")
    fails(2, "there is no folder", *generate, tmp_path / "no" / "out")
    fails(2, no, "impute", pictures_model, pictures, "-o", mine, *mask)
    fails(2, "is a folder; give the name", "interpolate", latent_model, "-o", tmp_path / "mine.png")
    fails(2, "is a folder; give the name", "anomalies", pictures_model, pictures, "-o", tmp_path / "mine.csv")
    fit = ["fit", pictures, *IMAGES, "-o"]
    fails(2, "exists and is no model", *fit, mine)
    fails(2, "names no new folder", *fit, "..")
    fails(2, "is a folder; give the name", *fit, tmp_path / "m", "--preview", mine)
    assert tree(tmp_path) == before


def test_nothing_is_written_outside_of_the_output(command, tmp_path):
    """Class names may be anything where a metadata.csv tells them."""
    names = ["..", "../..", "/etc", "a/b", "CON", "con.txt", "a\\b", "x" * 300, "two\nlines", ".", "~", "\u202e"]
    with (tmp_path / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "label"])
        rows.writerows([f"{k}-{i}.png", name] for k, name in enumerate(names) for i in range(2))
    for k in range(len(names)):
        for i in range(2):
            put(tmp_path / "in" / f"{k}-{i}.png", png(picture(size=(3, 3), seed=k)))
    (tmp_path / "metadata.csv").rename(tmp_path / "in" / "metadata.csv")
    (tmp_path / "work").mkdir()
    told = command("fit", tmp_path / "in", "-o", tmp_path / "work" / "m", *IMAGES)
    assert told.code == 0, told.err
    before = tree(tmp_path)
    for name in ("out", "out.zip"):
        told = command("generate", tmp_path / "work" / "m", "-n", "60", "-o", tmp_path / "work" / name)
        assert told.code == 0, told.err
    after = tree(tmp_path)
    assert {name: after.pop(name) for name in before} == before
    assert {name.split("/")[1] for name in after} == {"out", "out.zip"}
    told = command("info", tmp_path / "work" / "m")
    assert "\u202e" not in told.out
    assert told.out.count("\n") == 5


@pytest.mark.parametrize("name", ["pictures", "pictures.zip"])
def test_full_disk_while_generating_images(pictures_model, tmp_path, name):
    put(tmp_path / "file", b"mine")
    told = subprocess.run(
        [sys.executable, "-m", "synthgen", "generate", pictures_model, "-n", "50", "-o", tmp_path / name],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 4, told.stderr
    assert told.stderr == f"synthgen: no space left to write {tmp_path / name}; nothing was written\n"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_ctrl_c_while_generating_leaves_nothing(pictures_model, tmp_path, name):
    generate = [sys.executable, "-m", "synthgen", "generate", pictures_model, "-n", "10000000", "-o", tmp_path / name]
    # a background job of a shell, as tests may be part of, is born deaf to Ctrl-C
    heeds = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(generate, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **heeds)
    while process.poll() is None and not list(tmp_path.iterdir()):
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err.strip() == "synthgen: interrupted; nothing was written"
    assert list(tmp_path.iterdir()) == []


def test_no_output_takes_the_place_of_what_is_read(command, people_csv, trees_model, pictures, tmp_path):
    data, folder = tmp_path / "in.csv", tmp_path / "photos"
    shutil.copy(people_csv, data)
    shutil.copytree(pictures, folder)
    before = data.read_bytes()
    for arguments in (
        ["augment", data, "--target", "sport", "--no-measure", "-o", data],
        ["augment", folder, "--no-measure", "-o", folder / "more"],
        ["generate", trees_model, "--given-file", data, "-o", data],
        ["verify", trees_model, "--page", trees_model / "page.html"],
    ):
        told = command(*arguments)
        assert (told.code, "which is read; give another name" in told.err) == (2, True), told.err
    assert data.read_bytes() == before
    assert not (folder / "more").exists()


def test_columns_of_no_type_and_stamps_of_nanoseconds(command, tmp_path):
    stamps = pa.array(np.arange(60) * 86_400_000_000_001, pa.timestamp("ns"))
    table = pa.table({"none": pa.nulls(60), "when": stamps, "n": np.arange(60) % 7, "y": ["a", "b"] * 30})
    pq.write_table(table, tmp_path / "t.parquet")
    assert command("fit", tmp_path / "t.parquet", "-o", tmp_path / "m", "-g", "gmm").code == 0
    assert command("generate", tmp_path / "m", "-n", 20, "-o", tmp_path / "new.parquet").code == 0
    assert pq.read_table(tmp_path / "new.parquet")["none"].null_count == 20
    more = ["--target", "y", "--strategy", "5", "--no-measure", "-o", tmp_path / "a.parquet"]
    told = command("augment", tmp_path / "t.parquet", *more)
    assert told.code == 0, told.err


@pytest.mark.parametrize("strategy", ["0", "a=0", "9" * 30, "a=5 a=7", "a=-1", "a=1.5"])
def test_a_strategy_that_is_none(command, people_csv, tmp_path, strategy):
    options = [part for text in strategy.split() for part in ("--strategy", text)]
    told = command("augment", people_csv, "--target", "sport", *options, "-o", tmp_path / "a.csv")
    assert (told.code, "is no strategy" in told.err) == (2, True)
