"""What is drawn says that it is synthetic: to any reader of Parquet and PNG, and to synthgen."""

import json
import zipfile
from io import BytesIO

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthgen import Synthesizer, __version__, read, write
from synthgen.data import find_mark, note_of_mark
from synthgen.data.marks import MOST, mark, png_info

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def test_parquet_says_so_in_its_metadata(command, trees_model, people_csv, tmp_path):
    out = tmp_path / "drawn.parquet"
    assert command("generate", trees_model, "-n", 50, "-o", out).code == 0
    said = json.loads(pq.read_schema(out).metadata[b"synthgen"])
    assert said == {
        "synthetic": True,
        "generator": "trees",
        "synthgen": __version__,
        "epsilon": "no formal guarantee",
    }
    first = out.read_bytes()
    assert command("generate", trees_model, "-n", 50, "-o", out).code == 0
    assert out.read_bytes() == first
    assert list(pd.read_parquet(out).columns) == list(read(out).data.column_names)
    told = command("fit", out, "-o", tmp_path / "m", "-g", "trees", "-s", "rounds=0")
    assert "drawn.parquet is marked as synthetic, made by trees of synthgen" in told.err
    told = command("report", out, people_csv, "-q")
    assert "marked as synthetic" not in told.err  # --quiet


def test_what_is_real_is_not_marked(command, network_model, people_csv, tmp_path):
    out = tmp_path / "filled.parquet"
    assert command("impute", network_model, people_csv, "-o", out).code == 0
    assert find_mark(out) is None
    write(read(people_csv), tmp_path / "same.parquet")
    assert find_mark(tmp_path / "same.parquet") is None


def test_a_report_says_that_the_real_records_are_marked(command, trees_model, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        assert command("generate", trees_model, "-n", 200, "-o", tmp_path / f"{name}.parquet", "--seed", seed).code == 0
    told = command("report", tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert told.code == 0, told.err
    assert "a.parquet is marked as synthetic" in told.err
    assert "b.parquet is marked" not in told.err


@pytest.mark.parametrize("name", ["drawn", "drawn.zip"])
def test_each_image_says_so_in_words_that_others_know(command, pictures_model, tmp_path, name):
    out = tmp_path / name
    assert command("generate", pictures_model, "-n", 6, "-o", out).code == 0
    if out.suffix == ".zip":
        with zipfile.ZipFile(out) as archive:
            files = [BytesIO(archive.read(n)) for n in archive.namelist() if n.endswith(".png")]
    else:
        files = sorted(out.rglob("*.png"))
    assert len(files) == 6
    for file in files:
        with Image.open(file) as image:
            image.load()
            assert json.loads(image.info["synthgen"])["generator"] == "gmm"
            assert image.info["Software"] == f"synthgen {__version__}"
            assert SOURCE in image.getxmp()["xmpmeta"]["RDF"]["Description"]["DigitalSourceType"]
    assert find_mark(out)["synthetic"] is True
    told = command("fit", out, "-o", tmp_path / "m", "-g", "gmm")
    assert "marked as synthetic" in told.err or told.code == 2  # six images are too few


def test_a_private_model_says_its_budget():
    certificate = {"epsilon": 1.0, "delta": 1e-6, "unit": "record", "queries": []}
    said = mark("marginals", certificate)
    assert (said["epsilon"], said["delta"], said["unit"]) == (1.0, 1e-6, "record")


def test_a_prefix_begins_every_column(command, trees_model, tmp_path):
    for ending in ("csv", "parquet"):
        out = tmp_path / f"drawn.{ending}"
        assert command("generate", trees_model, "-n", 20, "-o", out, "--prefix", "SYNTHETIC_").code == 0
        plain = tmp_path / f"plain.{ending}"
        assert command("generate", trees_model, "-n", 20, "-o", plain).code == 0
        table, same = read(out).data, read(plain).data
        assert table.column_names == ["SYNTHETIC_" + name for name in same.column_names]
        assert table.columns == same.columns


def test_images_take_no_prefix(command, pictures_model, tmp_path):
    told = command("generate", pictures_model, "-n", 3, "-o", tmp_path / "out", "--prefix", "S_")
    assert told.code == 2
    assert "images have no columns" in told.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"synthetic": 1}', "[" * 9000, "x" * (MOST + 1)])
def test_marks_that_are_none_are_none(tmp_path, text):
    import pyarrow as pa

    table = pa.table({"a": [1]}).replace_schema_metadata({"synthgen": text})
    pq.write_table(table, tmp_path / "x.parquet")
    assert find_mark(tmp_path / "x.parquet") is None
    assert note_of_mark(tmp_path / "x.parquet") is None


def test_what_cannot_be_read_has_no_mark(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1" + bytes(40))
    (tmp_path / "x.zip").write_bytes(b"PK")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(b"\x89PNG")
    for name in ("x.parquet", "x.zip", "folder", "absent", "absent.zip"):
        assert find_mark(tmp_path / name) is None


def test_the_mark_changes_no_pixel():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", pnginfo=png_info(mark("gmm", None)))
    assert (np.asarray(Image.open(file)) == pixels).all()


def test_frames_in_memory_bear_no_mark(trees_model):
    assert not Synthesizer.load(trees_model).generate(5).attrs


def test_rows_that_augment_draws_alone_are_marked(command, people_csv, tmp_path):
    rows = ["augment", people_csv, "--target", "sport", "--no-measure", "--strategy", "20", "--drop", "id"]
    assert command(*rows, "--only-synthetic", "-o", tmp_path / "new.parquet").code == 0
    assert find_mark(tmp_path / "new.parquet")["generator"] == "gmm"
    assert command(*rows, "-o", tmp_path / "both.parquet").code == 0
    assert find_mark(tmp_path / "both.parquet") is None  # its column says which are drawn
