"""Small files that would become large ones, and files that say more than they hold: one sentence, no memory."""

import gzip
import struct
import zipfile
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from synthgen import memory
from synthgen.data import read
from synthgen.data.csv import _chunks
from synthgen.data.table import read_table
from synthgen.errors import ResourceError, SynthgenError
from synthgen.memory import check_size


@settings(deadline=None, max_examples=60, derandomize=True)
@given(members=st.lists(st.binary(max_size=3000), min_size=1, max_size=4), zeros=st.integers(0, 20))
def test_whatever_gzip_packs_is_unpacked(tmp_path_factory, members, zeros):
    packed = b"".join(gzip.compress(data) for data in members) + bytes(zeros)
    path = tmp_path_factory.getbasetemp() / "packed.csv.gz"
    path.write_bytes(packed)
    assert b"".join(_chunks(path)) == b"".join(members) == gzip.decompress(packed)


@pytest.mark.parametrize("cut", [2, 5, 12, 40, -1, -5])
def test_a_gzip_that_is_cut_off_is_damaged(tmp_path, cut):
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" * 1000)[:cut])
    with pytest.raises(SynthgenError, match="is a damaged gzip file"):
        read(path)


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, command):
    bomb = gzip.compress(b"a,b\n" + b"0,0\n" * 30_000_000)  # 120 MB in 117 kB
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(bomb)
    monkeypatch.setattr(memory, "limit", lambda: 200 << 20)
    with pytest.raises(ResourceError, match=r"bomb\.csv\.gz unpacks to more than 50 MiB"):
        read(path)
    assert command("fit", path, "-o", tmp_path / "m").code == 4


def test_a_parquet_file_of_a_few_bytes_that_declares_billions_of_rows(tmp_path, monkeypatch):
    path = tmp_path / "bomb.parquet"
    with pq.ParquetWriter(path, pa.schema({"a": pa.int64(), "b": pa.string()}), compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(pa.table({"a": np.zeros(1_000_000, np.int64), "b": ["x"] * 1_000_000}))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(memory, "limit", lambda: 100 << 20)
    with pytest.raises(ResourceError, match=r"declares 10000000 rows of 2 columns"):
        read(path)
    check_size(path, 1000, 1000)
    with pytest.raises(ResourceError, match=r"bomb\.parquet needs more memory than there is$"):
        read_table(path, private=True)  # how many rows there are is told to no one


def test_a_parquet_file_whose_texts_are_no_utf_8(tmp_path):
    path = tmp_path / "x.parquet"
    bad = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(struct.pack("<3i", 0, 1, 2)), pa.py_buffer(b"\xff\xfe")]
    )
    pq.write_table(pa.table({"a": bad}), path)
    with pytest.raises(SynthgenError, match="no readable Parquet file"):
        read(path)


@pytest.mark.parametrize("keep", [4, 8, 100, -1, -4, -8, -100])
def test_a_parquet_file_that_is_cut_off(tmp_path, keep):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SynthgenError, match="Parquet"):
        read(path)


def test_parquet_that_is_encrypted_or_nested_is_refused_in_a_sentence(tmp_path, command):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PARE" + bytes(100) + b"PARE")
    assert command("fit", path, "-o", tmp_path / "m").err.count("\n") == 1
    pq.write_table(pa.table({"a": [[{"b": [1]}]] * 30}), path)
    told = command("fit", path, "-o", tmp_path / "m", "-g", "trees")
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "which is not modelled; drop it (--drop a)" in told.err


def test_a_zip_whose_entries_share_their_bytes_is_refused(tmp_path):
    file, image = BytesIO(), BytesIO()
    Image.new("L", (8, 8)).save(image, "PNG")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("0.png", image.getvalue())
        first = archive.infolist()[0]
        for i in range(1, 50):  # entries of the directory that all point at the first
            entry = zipfile.ZipInfo(f"{i}.png")
            entry.header_offset, entry.CRC = first.header_offset, first.CRC
            entry.compress_size = entry.file_size = first.file_size
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry
        archive._didModify = True
    (tmp_path / "bomb.zip").write_bytes(file.getvalue())
    with pytest.raises(SynthgenError, match="share their bytes"):
        read(tmp_path / "bomb.zip")


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_of_an_image_of_many_pages_one_is_read(tmp_path, kind):
    frames = [Image.new("L", (8, 8), i) for i in range(200)]
    for i in range(12):
        frames[0].save(tmp_path / f"{i}.{kind.lower()}", kind, save_all=True, append_images=frames[1:])
    found = read(tmp_path)
    assert len(found) == 12
    assert found.pixels.max() == 0
