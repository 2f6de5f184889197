import csv
import zipfile

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from synthgen.data.images import Images, ImageSchema, read_images
from synthgen.data.pictures_out import ImageWriter, check_image_output, sheet, write_sheet
from synthgen.errors import ResourceError, SynthgenError


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def some(n=7, mode="RGB", classes=("cat", "dog"), size=(5, 4), seed=0):
    rng = np.random.default_rng(seed)
    schema = ImageSchema(mode=mode, height=size[0], width=size[1], classes=classes)
    pixels = rng.integers(0, 255, (n, *size, schema.channels), np.uint8)
    labels = np.sort(rng.permutation(n) % max(1, len(classes)))
    return Images(pixels, labels, schema)


def wrote(path, *parts):
    with ImageWriter(path, parts[0].schema) as writer:
        for images in parts:
            writer.write(images)
    return path


@pytest.mark.parametrize("name", ["out", "out.zip"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("classes", [(), ("only",), ("cat", "dog"), ("a", "a/b"), ("a/b", "a/c"), ("Ä é", "日本")])
def test_what_is_written_is_read_again(tmp_path, name, mode, classes):
    images = some(mode=mode, classes=classes)
    again = read_images(wrote(tmp_path / name, images), strict=True)
    assert again.digest() == images.digest()
    assert again.notes == ()
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_files_are_numbered_through_all_calls(tmp_path):
    images = some(5)
    wrote(tmp_path / "out", images.take([4, 0]), images.take([1, 3]))
    files = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*"))
    assert files == ["cat/00000002.png", "cat/00000003.png", "dog/00000001.png", "dog/00000004.png", "metadata.csv"]
    assert (tmp_path / "out" / "metadata.csv").read_text().splitlines() == [
        "file_name,label",
        "dog/00000001.png,dog",
        "cat/00000002.png,cat",
        "cat/00000003.png,cat",
        "dog/00000004.png,dog",
    ]


def test_without_classes_the_metadata_has_one_column(tmp_path):
    wrote(tmp_path / "out", some(2, classes=()))
    assert (tmp_path / "out" / "metadata.csv").read_bytes() == b"file_name\n00000001.png\n00000002.png\n"


def test_a_zip_has_the_same_layout_and_the_same_bytes_each_time(tmp_path):
    images = some()
    wrote(tmp_path / "out", images)
    first, second = (wrote(tmp_path / f"{name}.zip", images).read_bytes() for name in "ab")
    assert first == second
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        for name in archive.namelist():
            assert archive.read(name) == (tmp_path / "out" / name).read_bytes()
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        assert len(archive.namelist()) == 8


STRANGE = ("..", "../x", "/etc", "a\\b", "a_b", "nul\0", "", ".hidden", "a//b", "metadata.csv", "x/00000001.png", "x")
STRANGE = (*STRANGE, "C:", "end.", "__MACOSX", "Thumbs.db", "é" * 300, "line\nbreak", "a,b", "con*?", "CON", "aux.x")


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_no_class_name_leads_out_of_the_folder(tmp_path, name):
    schema = ImageSchema(mode="L", height=3, width=3, classes=STRANGE)
    n = len(STRANGE)
    pixels = np.arange(n, dtype=np.uint8).repeat(9).reshape(n, 3, 3, 1)
    (tmp_path / "in").mkdir()
    path = wrote(tmp_path / "in" / name, Images(pixels, np.arange(n), schema))
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert [p.name for p in path.parent.iterdir()] == [name]
    images = read_images(path, strict=True)
    assert sorted(images.pixels[:, 0, 0, 0].tolist()) == list(range(n))
    assert len(images.schema.classes) == n
    read = dict(zip(images.names, (STRANGE[i] for i in images.pixels[:, 0, 0, 0]), strict=True))
    assert [read[name] for name in ("a_b", "x", "a,b")] == ["a_b", "x", "a,b"]  # safe names stay
    if name == "out":
        with (path / "metadata.csv").open(newline="", encoding="utf-8") as file:
            assert [row["label"] for row in csv.DictReader(file)] == list(STRANGE)


def test_nothing_of_a_source_but_its_pixels_is_written(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "secret person")
    image, folder = Image.new("RGB", (6, 6), (9, 99, 199)), tmp_path / "in"
    folder.mkdir()
    image.save(folder / "1.jpg", exif=exif, comment=b"secret words")
    image.save(folder / "2.png", pnginfo=texts, exif=exif, dpi=(72, 72), icc_profile=b"secret profile")
    images = read_images(folder)
    for file in wrote(tmp_path / "out", images).glob("*.png"):
        data = file.read_bytes()
        at, kinds = 8, []
        while at < len(data):
            kinds.append(data[at + 4 : at + 8])
            at += 12 + int.from_bytes(data[at : at + 4])
        assert kinds == [b"IHDR", b"IDAT", b"IEND"]
    assert not any(b"secret" in file.read_bytes() for file in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["out", "out.zip"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_output_appears_whole_or_not_at_all(tmp_path, name, error):
    images = some()
    with pytest.raises(error), ImageWriter(tmp_path / name, images.schema) as writer:
        writer.write(images)
        assert not (tmp_path / name).exists()
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_class_without_a_place_leaves_nothing_behind(tmp_path):
    deep = some(classes=("/".join(["d" * 200] * 30), "b"))
    with pytest.raises(ResourceError, match="cannot write"):
        wrote(tmp_path / "out", deep)
    assert list(tmp_path.iterdir()) == []
    assert len(read_images(wrote(tmp_path / "out.zip", deep))) == 7


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_an_earlier_output_is_replaced(tmp_path, name):
    wrote(tmp_path / name, some(9))
    new = some(3, seed=1)
    with pytest.raises(ValueError, match="stop"), ImageWriter(tmp_path / name, new.schema) as writer:
        writer.write(new)
        raise ValueError("stop")
    assert len(read_images(tmp_path / name)) == 9
    assert read_images(wrote(tmp_path / name, new)).digest() == new.digest()
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    assert len(read_images(wrote(tmp_path / "out", some()))) == 7


def test_no_images_are_a_folder_with_an_empty_list(tmp_path):
    wrote(tmp_path / "out", some(0, classes=()))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["metadata.csv"]


@pytest.mark.parametrize(
    "files",
    [
        {"out": b"a file"},
        {"out/mine.txt": b""},
        {"out/1.png": b"", "out/metadata.csv": b"file_name,label\n1.png,a\n"},  # a person's own images
        {"out/00000001.png": b"", "out/metadata.csv": b"file_name,text\n00000001.png,a\n"},
    ],
)
def test_what_is_no_earlier_output_is_not_replaced(tmp_path, files):
    for name, data in files.items():
        put(tmp_path / name, data)
    for act in (check_image_output, lambda path: ImageWriter(path, some().schema)):
        with pytest.raises(SynthgenError, match="out exists and is no folder of generated images; give another -o or"):
            act(tmp_path / "out")
    assert all((tmp_path / name).read_bytes() == data for name, data in files.items())


def test_outputs_that_cannot_be_are_told_early(tmp_path, monkeypatch):
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name, told in [("folder.zip", "exists and is"), ("link", "exists and is"), ("no/out", "there is no folder")]:
        with pytest.raises(SynthgenError, match=told):
            check_image_output(tmp_path / name)
    monkeypatch.chdir(tmp_path / "real")
    for name in (".", "..", "/"):
        with pytest.raises(SynthgenError, match="names no new folder"):
            check_image_output(name)
    check_image_output("new")
    check_image_output("new.zip")


def test_images_of_another_schema_are_refused(tmp_path):
    with pytest.raises(ValueError, match="the writer was told"), ImageWriter(tmp_path / "out", some().schema) as writer:
        writer.write(some(mode="L"))
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_shows_images_row_by_row():
    images = some(5, size=(3, 4))
    page = np.asarray(sheet(images, columns=2))
    assert page.shape == (3 * 3 + 2 * 2, 2 * 4 + 2, 3)
    for i, pixels in enumerate(images.pixels):
        y, x = i // 2 * 5, i % 2 * 6
        assert np.array_equal(page[y : y + 3, x : x + 4], pixels)
        page = page.copy()
        page[y : y + 3, x : x + 4] = 255
    assert (page == 255).all()


def test_a_sheet_may_enlarge_pixels():
    images = some(1, mode="L", size=(3, 4))
    page = np.asarray(sheet(images, columns=9, scale=3))
    assert np.array_equal(page[:, :, 0], images.pixels[0, :, :, 0].repeat(3, 0).repeat(3, 1))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_on_a_sheet_lies_on_white(mode):
    images = some(1, mode=mode)
    pixels = images.pixels[0].astype(float)
    alpha = pixels[..., -1:] / 255
    expected = pixels[..., :-1] * alpha + 255 * (1 - alpha)
    assert np.abs(np.asarray(sheet(images, 1)) - expected).max() <= 1


def test_a_sheet_is_written_as_png(tmp_path):
    images = some()
    write_sheet(tmp_path / "sheet.png", images, 3, 2)
    with Image.open(tmp_path / "sheet.png") as file:
        assert file.format == "PNG"
        assert np.array_equal(np.asarray(file), np.asarray(sheet(images, 3, 2)))
    with pytest.raises(SynthgenError, match="no images"):
        write_sheet(tmp_path / "none.png", images.take([]), 3)
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]
