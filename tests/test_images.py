import io
import os
import stat
import struct
import tracemalloc
import warnings
import weakref
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from pydantic import ValidationError

from synthgen.data import images as reading
from synthgen.data.images import Images, ImageSchema, read_images
from synthgen.data.pictures_in import decode, fit
from synthgen.errors import ResourceError, SynthgenError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(mode="RGB", size=(6, 6), seed=0):
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], bands), np.uint8)
    return Image.fromarray(pixels if bands > 1 else pixels[:, :, 0])


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return np.asarray(image)


def png(image=None):
    data = io.BytesIO()
    (image or picture()).save(data, "PNG")
    return data.getvalue()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def claiming(width, height):
    """A PNG whose header tells any size."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def pack(path, entries, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def some(n=7, mode="RGB", classes=("cat", "dog"), size=(5, 4), seed=0):
    rng = np.random.default_rng(seed)
    schema = ImageSchema(mode=mode, height=size[0], width=size[1], classes=classes)
    pixels = rng.integers(0, 255, (n, *size, schema.channels), np.uint8)
    labels = np.sort(rng.permutation(n) % max(1, len(classes)))
    return Images(pixels, labels, schema)


def test_a_schema_tells_channels_and_shape():
    for channels, mode in enumerate(["L", "LA", "RGB", "RGBA"], 1):
        schema = ImageSchema(mode=mode, height=3, width=2)
        assert (schema.channels, schema.shape) == (channels, (channels, 3, 2))


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "CMYK"}, {"height": 0}, {"width": 4097}, {"classes": ("a", "a")}, {"colour": 1}],
)
def test_a_schema_is_checked(wrong):
    with pytest.raises(ValidationError):
        ImageSchema.model_validate({"mode": "L", "height": 3, "width": 2, **wrong})


def test_rows_can_be_taken_and_named():
    images = some()
    part = images.take([6, 0])
    assert (len(images), len(part)) == (7, 2)
    assert part.names == ["dog", "cat"]
    assert np.array_equal(part.pixels, images.pixels[[6, 0]])
    assert images.take(images.labels == 1).names == ["dog"] * 3
    assert some(classes=()).names == [""] * 7


def test_the_digest_is_of_schema_pixels_and_labels():
    images = some()
    assert images.digest() == some().digest() == Images(images.pixels, images.labels, images.schema, ("x",)).digest()
    pixels, labels = images.pixels.copy(), images.labels.copy()
    pixels[3, 2, 1, 0] ^= 1
    labels[0] ^= 1
    schema = images.schema.model_copy(update={"classes": ("cat", "cow")})
    others = [
        Images(pixels, images.labels, images.schema),
        Images(images.pixels, labels, images.schema),
        Images(images.pixels, images.labels, schema),
    ]
    assert len({i.digest() for i in [images, *others]}) == 4


def test_the_digest_does_not_depend_on_how_pixels_lie_in_memory():
    images = some()
    assert Images(np.asfortranarray(images.pixels), images.labels, images.schema).digest() == images.digest()


def test_the_folder_of_an_image_is_its_class(tmp_path):
    a, b, c = (save(picture(seed=i), tmp_path / name) for i, name in enumerate(["b/1.png", "a/9.bmp", "b/0.PNG"]))
    images = read_images(tmp_path)
    assert images.schema == ImageSchema(mode="RGB", height=6, width=6, classes=("a", "b"))
    assert images.labels.tolist() == [0, 1, 1]
    assert images.labels.dtype == np.int64
    assert np.array_equal(images.pixels, [b, c, a])
    assert images.notes == ()


def test_images_in_one_folder_have_no_class(tmp_path):
    save(picture(), tmp_path / "1.png")
    images = read_images(str(tmp_path))
    assert (images.schema.classes, images.labels.tolist(), len(images)) == ((), [0], 1)


def test_classes_may_be_nested(tmp_path):
    for name in ("a/1.png", "a/x/1.png", "b/y/1.png"):
        save(picture(), tmp_path / name)
    assert read_images(tmp_path).names == ["a", "a/x", "b/y"]


def test_a_folder_that_alone_holds_the_classes_is_the_root(tmp_path):
    for name in ("set/train/a/1.png", "set/train/b/1.png"):
        save(picture(), tmp_path / name)
    assert read_images(tmp_path).schema.classes == ("a", "b")


def test_a_single_folder_of_images_is_a_class(tmp_path):
    save(picture(), tmp_path / "only" / "1.png")
    assert read_images(tmp_path).schema.classes == ("only",)


def test_images_beside_classes_are_an_error(tmp_path):
    for name in ("1.png", "a/2.png"):
        save(picture(), tmp_path / name)
    with pytest.raises(SynthgenError, match=r"both directly \(1.png\) and in folders \(a/2.png\)"):
        read_images(tmp_path)


def test_what_systems_leave_and_other_files_are_ignored(tmp_path):
    save(picture(), tmp_path / "a" / "1.png")
    for name in (".hidden/1.png", "__MACOSX/a/1.png", "a/.1.png", "a/Thumbs.db", ".DS_Store", "a/notes.txt", "x.json"):
        put(tmp_path / name, b"nothing to see")
    images = read_images(tmp_path, strict=True)
    assert (images.names, images.notes) == (["a"], ())


@pytest.mark.parametrize("zipped", [False, True])
def test_class_names_are_unicode(tmp_path, zipped):
    names = ["Ärger", "日本語", "e\u0301te"]
    if zipped:
        path = pack(tmp_path / "in.zip", {f"{name}/1.png": png() for name in names})
    else:
        path = tmp_path
        for name in names:
            save(picture(), path / name / "1.png")
    assert set(read_images(path).schema.classes) == {"Ärger", "日本語", "éte"}


def test_a_folder_name_that_is_no_utf8_is_still_a_class(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system has no such names")
    put(tmp_path / os.fsdecode(b"\xff") / "1.png", png())
    put(tmp_path / os.fsdecode(b"\xff") / "2.png", b"text")
    images = read_images(tmp_path)
    assert images.schema.classes == ("\ufffd",)
    assert "?/2.png" in images.notes[0]


def test_labels_of_a_metadata_file(tmp_path):
    for name in "abc":
        save(picture(), tmp_path / f"{name}.png")
    (tmp_path / "metadata.csv").write_text(
        "\ufefffile_name,size,label\nc.png,1,cat\na.png,1,cat\nb.png,1,dog\n", "utf-8"
    )
    assert read_images(tmp_path).names == ["cat", "dog", "cat"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"file_name,label\na.png,x\n", "no label for b.png"),
        (b"file_name,label\na.png,x\nb.png,\n", "no label for b.png"),
        (b"file_name,label\n\xff", "metadata.csv cannot be read"),
    ],
)
def test_a_metadata_file_that_fits_not_is_an_error(tmp_path, text, told):
    for name in "ab":
        save(picture(), tmp_path / f"{name}.png")
    put(tmp_path / "metadata.csv", text)
    with pytest.raises(SynthgenError, match=told):
        read_images(tmp_path)


def test_a_metadata_file_without_labels_says_nothing(tmp_path):
    save(picture(), tmp_path / "a.png")
    for text in (b"file_name,caption\na.png,hello\n", b"file_name,label\na.png,\n"):
        put(tmp_path / "metadata.csv", text)
        assert read_images(tmp_path).schema.classes == ()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing", "there is no folder"),
        ("missing.zip", "there is no file"),
        ("file.png", "is a file; give a folder of images"),
        ("empty", r"holds no image: no file that ends in .png, .jpg, .*, .tiff$"),
    ],
)
def test_no_images_are_an_error_of_one_line(tmp_path, name, told):
    put(tmp_path / "file.png", png())
    put(tmp_path / "empty" / "readme.txt", b"")
    with pytest.raises(SynthgenError, match=told) as caught:
        read_images(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("options", [{"size": 0}, {"size": 5000}, {"aspect": "padd"}])
def test_options_are_checked(tmp_path, options):
    with pytest.raises(SynthgenError, match=r"give 1 to 4096|did you mean 'pad'"):
        read_images(tmp_path, **options)


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    root = tmp_path / "root"
    inside = save(picture(), root / "a" / "1.png")
    save(picture(seed=1), tmp_path / "secret.png")
    save(picture(seed=1), tmp_path / "other" / "1.png")
    (root / "a" / "2.png").symlink_to(root / "a" / "1.png")
    (root / "a" / "3.png").symlink_to(tmp_path / "secret.png")
    (root / "b").symlink_to(tmp_path / "other")
    (root / "a" / "loop").symlink_to(root)
    images = read_images(root)
    assert np.array_equal(images.pixels, [inside, inside])
    assert images.notes == ("links to folders, or out of the folder, were not followed: a/3.png, a/loop, b",)


def test_a_folder_of_links_to_folders_says_so(tmp_path):
    save(picture(), tmp_path / "other" / "1.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "other")
    with pytest.raises(SynthgenError, match="links to folders are not followed"):
        read_images(tmp_path / "root")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_each_mode_is_kept(tmp_path, mode, ending):
    saved = save(picture(mode), tmp_path / f"1.{ending}")
    images = read_images(tmp_path)
    assert images.schema.mode == mode
    assert np.array_equal(images.pixels.squeeze(0), saved.reshape(6, 6, -1))
    assert images.notes == ()


@pytest.mark.parametrize(
    ("modes", "common"),
    [("L RGB", "RGB"), ("L LA", "LA"), ("LA RGB", "RGBA"), ("RGB RGBA", "RGBA"), ("1 L", "L"), ("1 P", "RGB")],
)
def test_the_common_mode_loses_nothing(tmp_path, modes, common):
    for i, mode in enumerate(modes.split()):
        image = picture("L").convert(mode) if mode in "1P" else picture(mode)
        save(image, tmp_path / f"{i}.png")
    images = read_images(tmp_path)
    assert images.schema.mode == common
    for i, pixels in enumerate(images.pixels):
        with Image.open(tmp_path / f"{i}.png") as file:
            assert np.array_equal(pixels, np.asarray(file.convert(common)).reshape(pixels.shape))


def test_grey_pixels_in_colour_stay_colour(tmp_path):
    save(Image.new("RGB", (4, 4), (9, 9, 9)), tmp_path / "1.png")
    assert read_images(tmp_path).schema.mode == "RGB"


@pytest.mark.parametrize(("mode", "common"), [("LA", "L"), ("RGBA", "RGB")])
def test_alpha_that_is_opaque_everywhere_is_left_out(tmp_path, mode, common):
    images = [picture(common, seed=i) for i in range(2)]
    for i, image in enumerate(images):
        image = image.convert(mode)
        save(image, tmp_path / f"{i}.png")
    read = read_images(tmp_path)
    assert read.schema.mode == common
    assert np.array_equal(read.pixels, [np.asarray(i).reshape(6, 6, -1) for i in images])
    assert read.pixels.flags.c_contiguous
    image.putpixel((0, 0), (1,) * (len(mode) - 1) + (254,))
    save(image, tmp_path / "2.png")
    assert read_images(tmp_path).schema.mode == mode


def test_a_palette_becomes_colour(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([*RED, *BLUE, *GREEN])
    image.putpixel((0, 0), 0)
    save(image, tmp_path / "1.png")
    images = read_images(tmp_path)
    assert images.schema.mode == "RGB"
    assert images.pixels[0, 0, :2].tolist() == [list(RED), list(BLUE)]


@pytest.mark.parametrize("transparency", [0, b"\x00\xff\x80"])
def test_a_palette_with_transparency_has_alpha(tmp_path, transparency):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([*RED, *BLUE, *GREEN])
    image.putpixel((0, 0), 0)
    save(image, tmp_path / "1.png", transparency=transparency)
    images = read_images(tmp_path)
    assert images.schema.mode == "RGBA"
    assert images.pixels[0, 0, 0, 3] == 0
    assert images.pixels[0, 0, 1].tolist() == [*BLUE, 255]


@pytest.mark.parametrize(("mode", "key", "common"), [("L", 7, "LA"), ("RGB", (1, 2, 3), "RGBA")])
def test_a_colour_that_stands_for_transparency_is_alpha(tmp_path, mode, key, common):
    image = Image.new(mode, (2, 1), 0)
    image.putpixel((0, 0), key)
    save(image, tmp_path / "1.png", transparency=key)
    images = read_images(tmp_path)
    assert images.schema.mode == common
    assert images.pixels[0, 0, :, -1].tolist() == [0, 255]


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_the_first_frame_of_an_animation(tmp_path, ending):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if ending == "webp" else {}
    save(frames[0], tmp_path / f"1.{ending}", save_all=True, append_images=frames[1:], **options)
    images = read_images(tmp_path)
    assert len(images) == 1
    assert np.array_equal(images.pixels[0], np.asarray(frames[0]))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_are_scaled(tmp_path, ending):
    deep = np.array([[0, 255, 256], [40000, 65280, 65535]], np.uint16)
    save(Image.fromarray(deep), tmp_path / f"1.{ending}")
    save(picture("L", (3, 2)), tmp_path / "2.png")
    images = read_images(tmp_path)
    assert images.schema.mode == "L"
    assert np.array_equal(images.pixels[0, :, :, 0], deep // 256)
    assert images.notes == ("1 of 2 images was reduced from 16 to 8 bits a channel",)


def test_16_bits_in_colour_are_said(tmp_path):
    rows = b"\0" + struct.pack(">6H", 0, 255, 256, 40000, 65280, 65535)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    put(tmp_path / "1.png", data)
    images = read_images(tmp_path)
    assert images.pixels.ravel().tolist() == [0, 0, 1, 156, 255, 255]
    assert "16 to 8 bits" in images.notes[0]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_numbers_of_32_bits_cannot_be_read(tmp_path, dtype):
    save(Image.fromarray(np.eye(4, dtype=dtype)), tmp_path / "1.tif")
    with pytest.raises(SynthgenError, match="32 bits"):
        read_images(tmp_path)


@pytest.mark.parametrize(("mode", "ending"), [("CMYK", "jpg"), ("CMYK", "tif"), ("LAB", "tif"), ("YCbCr", "tif")])
def test_other_colour_spaces_become_rgb(tmp_path, mode, ending):
    if mode == "LAB":
        image = Image.merge("LAB", [Image.new("L", (8, 8), v) for v in (128, 128, 128)])
        expected = (119, 119, 119)
    else:
        image, expected = Image.new("RGB", (8, 8), (200, 30, 30)).convert(mode), (200, 30, 30)
    save(image, tmp_path / f"1.{ending}")
    images = read_images(tmp_path)
    assert images.schema.mode == "RGB"
    assert np.abs(images.pixels.astype(int) - expected).max() < 6
    assert images.notes == (f"1 of 1 images was converted from {mode} to RGB",)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (16, 8), RED)
    image.paste(BLUE, (8, 0, 16, 8))
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        save(image, tmp_path / str(turn) / "1.jpg", exif=exif, quality=100, subsampling=0)
        read = read_images(tmp_path / str(turn))
        with Image.open(tmp_path / str(turn) / "1.jpg") as file:
            upright = np.asarray(ImageOps.exif_transpose(file))
        assert np.array_equal(read.pixels[0], upright)
        assert upright.shape == ((16, 8, 3) if turn > 4 else (8, 16, 3))
        assert read.notes == ()


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_exif_orientation_of_other_formats(tmp_path, ending):
    image = picture(size=(10, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    save(image, tmp_path / f"1.{ending}", exif=exif, **({"lossless": True} if ending == "webp" else {}))
    images = read_images(tmp_path)
    assert images.notes == ()
    assert np.array_equal(images.pixels[0], np.asarray(image.transpose(Image.Transpose.ROTATE_270)))


def test_damaged_exif_is_no_reason_to_lose_an_image(tmp_path):
    image = picture("RGB", (8, 8))
    save(image, tmp_path / "1.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fjunk")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert len(read_images(tmp_path, strict=True)) == 1
    assert seen == []


def test_equal_small_sizes_stay(tmp_path):
    saved = save(picture(size=(64, 20)), tmp_path / "1.png")
    images = read_images(tmp_path)
    assert images.schema.shape == (3, 20, 64)
    assert np.array_equal(images.pixels[0], saved)
    assert images.notes == ()


def test_mixed_sizes_become_the_median_of_the_short_sides(tmp_path):
    for i, size in enumerate([(20, 30), (40, 25), (60, 50)]):
        save(picture(size=size), tmp_path / f"{i}.png")
    images = read_images(tmp_path)
    assert images.schema.shape == (3, 25, 25)
    assert images.notes == (
        "3 of 3 images were resized to 25 x 25, cropped to a square; other: --size PX, --aspect pad or stretch",
    )


def test_large_images_become_64(tmp_path):
    for i, side in enumerate([100, 64, 80]):
        save(picture(size=(side, side)), tmp_path / f"{i}.png")
    images = read_images(tmp_path)
    assert images.schema.shape == (3, 64, 64)
    assert images.notes == ("2 of 3 images were resized to 64 x 64; other: --size PX, --aspect pad or stretch",)


def test_a_side_can_be_told(tmp_path):
    save(picture(size=(10, 6)), tmp_path / "1.png")
    images = read_images(tmp_path, size=8, aspect="stretch")
    assert images.schema.shape == (3, 8, 8)
    assert images.notes == ("1 of 1 images was resized to 8 x 8, stretched; other: --size PX, --aspect crop or pad",)


def striped():
    """Red, green and blue thirds, side by side."""
    image = Image.new("RGB", (96, 32), GREEN)
    image.paste(RED, (0, 0, 32, 32))
    image.paste(BLUE, (64, 0, 96, 32))
    return image


def test_the_aspects(tmp_path):
    save(striped(), tmp_path / "1.png")
    crop, pad, stretch = (read_images(tmp_path, 24, aspect).pixels[0] for aspect in ("crop", "pad", "stretch"))
    assert (crop[:, 4:-4] == GREEN).all()
    assert (pad[:8] == 255).all()
    assert (pad[16:] == 255).all()
    assert pad[12, [2, 12, 21]].tolist() == stretch[3, [2, 12, 21]].tolist() == [list(RED), list(GREEN), list(BLUE)]
    assert (stretch[0] == stretch[-1]).all()


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (37, 111), (63, 64), (999, 7)])
def test_any_size_can_become_any_other(aspect, size):
    for other in [(1, 1), (64, 64), (7, 50)]:
        assert fit(picture(size=size), other, aspect).size == other


def test_padding_is_transparent_where_there_is_alpha(tmp_path):
    image = Image.new("RGBA", (20, 10), (*RED, 128))
    save(image, tmp_path / "1.png")
    pixels = read_images(tmp_path, 20, "pad").pixels[0]
    assert (pixels[:5, :, 3] == 0).all()
    assert (pixels[5:15] == (*RED, 128)).all()
    save(Image.new("RGBA", (20, 10), (*RED, 255)), tmp_path / "1.png")
    pixels = read_images(tmp_path, 20, "pad").pixels[0]
    assert pixels.shape == (20, 20, 3)
    assert (pixels[:5] == 255).all()


@pytest.mark.parametrize(("mode", "seen", "unseen"), [("RGBA", (*RED, 255), (*GREEN, 0)), ("LA", (9, 255), (250, 0))])
def test_what_is_transparent_does_not_colour_its_neighbours(tmp_path, mode, seen, unseen):
    image = Image.new(mode, (32, 32), seen)
    image.paste(unseen, (0, 0, 15, 32))
    save(image, tmp_path / "1.png")
    pixels = read_images(tmp_path, 8).pixels[0].reshape(-1, len(mode))
    visible = pixels[pixels[:, -1] > 20]
    assert np.abs(visible[:, :-1].astype(int) - seen[:-1]).max() < 12


def test_shrinking_keeps_the_mean(tmp_path):
    save(picture("L", (512, 512)), tmp_path / "1.png")
    assert abs(read_images(tmp_path, 1).pixels.item() - np.asarray(picture("L", (512, 512))).mean()) < 3


def test_a_large_jpeg_comes_out_as_if_decoded_whole(tmp_path):
    ramp = np.add.outer(np.arange(600), np.arange(900)) / 6
    save(Image.fromarray(ramp.astype(np.uint8)), tmp_path / "1.jpg", quality=95)
    with Image.open(tmp_path / "1.jpg") as file:
        whole = np.asarray(file.crop((150, 0, 750, 600)).resize((32, 32), Image.Resampling.BOX)).astype(int)
    assert np.abs(read_images(tmp_path, 32).pixels[0, :, :, 0] - whole).max() <= 2


def test_images_that_do_not_fit_in_memory_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_MEMORY", 100)
    save(picture(), tmp_path / "1.png")
    with pytest.raises(ResourceError, match="1 images of 6 x 6 pixels need"):
        read_images(tmp_path)


def test_full_size_images_are_not_kept(tmp_path, monkeypatch):
    made = []

    def watched(*arguments):
        assert sum(one() is not None for one in made) <= 1  # that of the round before
        image = decode(*arguments)
        made.append(weakref.ref(image))
        return image

    monkeypatch.setattr(reading, "decode", watched)
    for i in range(5):
        save(Image.new("RGB", (80, 80), (i, 0, 0)), tmp_path / f"{i}.png")
    assert read_images(tmp_path, 8).pixels[:, 4, 4, 0].tolist() == list(range(5))
    assert len(made) == 5


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("source", ["L", "LA", "RGB", "RGBA", "P"])
def test_images_become_what_a_model_knows(tmp_path, mode, source):
    image = picture("RGB").convert("P") if source == "P" else picture(source)
    save(image, tmp_path / "dog" / "1.png")
    schema = ImageSchema(mode=mode, height=3, width=5, classes=("cat", "dog"))
    images = read_images(tmp_path, schema=schema, size=20)
    assert (images.schema, images.labels.tolist()) == (schema, [1])
    assert images.pixels.shape == (1, 3, 5, len(mode))
    assert "resized to 5 x 3, cropped to that shape, the size of the model" in images.notes[0]


def test_alpha_that_a_model_lacks_is_laid_on_white(tmp_path):
    save(Image.new("RGBA", (2, 2), (*RED, 0)), tmp_path / "1.png")
    for mode in ("L", "RGB"):
        assert (read_images(tmp_path, schema=ImageSchema(mode=mode, height=2, width=2)).pixels == 255).all()


def test_alpha_that_images_lack_is_opaque(tmp_path):
    save(picture("RGB"), tmp_path / "1.png")
    images = read_images(tmp_path, schema=ImageSchema(mode="RGBA", height=6, width=6))
    assert (images.schema.mode, images.pixels[..., 3].min()) == ("RGBA", 255)


@pytest.mark.parametrize(
    ("folder", "told"),
    [("dogs", "class 'dogs', which the model does not know; did you mean 'dog'"), ("", "in no folder of a class")],
)
def test_a_class_that_a_model_lacks_is_an_error(tmp_path, folder, told):
    save(picture(), tmp_path / folder / "1.png")
    with pytest.raises(SynthgenError, match=told):
        read_images(tmp_path, schema=ImageSchema(mode="RGB", height=6, width=6, classes=("cat", "dog")))


def test_a_model_without_classes_does_not_ask_for_them(tmp_path):
    save(picture(), tmp_path / "dogs" / "1.png")
    images = read_images(tmp_path, schema=ImageSchema(mode="RGB", height=6, width=6))
    assert (images.names, images.labels.tolist()) == ([""], [0])


def truncated(kind, share=0.6):
    data = io.BytesIO()
    picture(size=(60, 60)).save(data, kind)
    return data.getvalue()[: int(len(data.getvalue()) * share)]


def fuzzed(kind):
    data = io.BytesIO()
    picture(size=(30, 30)).save(data, kind)
    return data.getvalue()[:20] + bytes(range(256)) * 4


HOSTILE = {
    "text.png": b"I am no image",
    "empty.jpg": b"",
    "cut.png": truncated("PNG"),
    "cut.jpg": truncated("JPEG"),
    "cut.gif": truncated("GIF", 0.01),
    "cut.webp": truncated("WEBP"),
    "cut.tif": truncated("TIFF"),
    "cut.bmp": truncated("BMP"),
    "vast.png": claiming(50_000, 50_000),
    "large.png": claiming(9_000, 9_000),
    "long.png": claiming(2**31 - 1, 1),
    "none.png": claiming(0, 10),
    "short.png": claiming(400, 400),
    "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    "foreign.png": b"P6 1 1 255 abc",
    **{f"fuzz.{kind.lower()}": fuzzed(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")},
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_that_cannot_be_read_is_left_out(tmp_path, name, zipped):
    good = png()
    if zipped:
        path = pack(tmp_path / "in.zip", {"good.png": good, name: HOSTILE[name]})
    else:
        path = tmp_path
        put(path / "good.png", good)
        put(path / name, HOSTILE[name])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        images = read_images(path)
        assert len(images) == 1
        assert images.schema.shape[1:] == (6, 6) or "resized" in images.notes[1]
        assert images.notes[0] == f"1 of 2 files cannot be read and was left out: {name}"
        with pytest.raises(SynthgenError, match=f"{name} cannot be read: [^\n]+$"):
            read_images(path, strict=True)
    assert seen == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("text.png", "it is no PNG, JPEG, BMP, GIF, WEBP or TIFF image"),
        ("large.png", "it has 9000 x 9000 pixels, more than 64 million"),
        ("cut.png", "image file is truncated"),
    ],
)
def test_why_a_file_cannot_be_read_is_told(tmp_path, name, why):
    put(tmp_path / name, HOSTILE[name])
    with pytest.raises(SynthgenError, match=f": {name} cannot be read: {why}.*; correct or remove it, or read without"):
        read_images(tmp_path, strict=True)


def test_the_first_three_are_named(tmp_path):
    save(picture(), tmp_path / "z.png")
    for name in "abcd":
        put(tmp_path / f"{name}.png", b"text")
    assert read_images(tmp_path).notes == ("4 of 5 files cannot be read and were left out: a.png, b.png, c.png, ...",)


def test_a_class_whose_images_cannot_be_read_is_none(tmp_path):
    save(picture(), tmp_path / "a" / "1.png")
    put(tmp_path / "b" / "1.png", b"text")
    assert read_images(tmp_path).schema.classes == ("a",)


@pytest.mark.parametrize("name", ["text.png", "cut.png"])
def test_no_image_that_can_be_read_is_an_error(tmp_path, name):
    put(tmp_path / name, HOSTILE[name])
    with pytest.raises(SynthgenError, match=rf"holds no image that can be read \({name}: "):
        read_images(tmp_path)


def test_a_file_too_large_is_left_out(tmp_path):
    save(picture(), tmp_path / "1.png")
    with (tmp_path / "2.png").open("wb") as file:
        file.write(png())
        file.truncate((64 << 20) + 1)  # a sparse file, which takes no room
    assert "left out: 2.png" in read_images(tmp_path).notes[0]


def test_a_file_name_of_two_lines_is_told_on_one(tmp_path):
    put(tmp_path / "a\nb\x1b.png", b"text")
    with pytest.raises(SynthgenError, match=r"a\?b\?\.png") as caught:
        read_images(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path):
    save(picture(), tmp_path / "1.png")
    os.mkfifo(tmp_path / "2.png")
    (tmp_path / "3.png").symlink_to("nowhere.png")
    (tmp_path / "4.png").symlink_to("4.png")
    assert read_images(tmp_path).notes == ("3 of 4 files cannot be read and were left out: 2.png, 3.png, 4.png",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_file_or_folder_without_permission_cannot_be_read(tmp_path):
    save(picture(), tmp_path / "a" / "1.png")
    save(picture(), tmp_path / "a" / "2.png")
    (tmp_path / "a" / "2.png").chmod(0)
    (tmp_path / "b").mkdir(mode=0)
    notes = read_images(tmp_path).notes
    (tmp_path / "b").chmod(0o700)
    assert notes == ("2 of 3 files cannot be read and were left out: b, a/2.png",)


def test_permission_is_missing_also_for_root(tmp_path, monkeypatch):
    save(picture(), tmp_path / "a" / "1.png")
    save(picture(), tmp_path / "b" / "1.png")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    images = read_images(tmp_path)
    assert images.notes == ("1 of 2 files cannot be read and was left out: b",)
    with pytest.raises(SynthgenError, match="b cannot be read: the folder cannot be listed"):
        read_images(tmp_path, strict=True)


def test_the_limit_of_pillow_is_not_touched(tmp_path, monkeypatch):
    save(picture(size=(50, 50)), tmp_path / "1.png")
    before = Image.MAX_IMAGE_PIXELS
    read_images(tmp_path)
    assert before == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # warns
    assert len(read_images(tmp_path)) == 1
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # raises
    with pytest.raises(SynthgenError, match="can be read"):
        read_images(tmp_path)


def test_an_interrupt_is_no_unreadable_file(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    save(picture(), tmp_path / "1.png")
    monkeypatch.setattr(reading, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_images(tmp_path)


def test_the_share_done_is_reported(tmp_path):
    for i in range(5):
        save(picture(), tmp_path / f"{i}.png")
    put(tmp_path / "9.png", b"text")
    done = []
    read_images(tmp_path, report=done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert len(done) == 11


def test_a_zip_is_read_like_its_folder(tmp_path):
    for i, name in enumerate(["b/2.png", "a/1.png", "b/1.png"]):
        save(picture(seed=i), tmp_path / "in" / name)
    files = sorted((tmp_path / "in").rglob("*.png"), reverse=True)
    for top in ("", "in/", "./", "deep/in/"):
        path = pack(
            tmp_path / "in.ZIP", {f"{top}{f.relative_to(tmp_path / 'in').as_posix()}": f.read_bytes() for f in files}
        )
        assert read_images(path).digest() == read_images(tmp_path / "in").digest()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "in.ZIP"]


def test_what_systems_leave_in_a_zip_is_ignored(tmp_path):
    entries = {"set/a/1.png": png(), "set/b/1.png": png(), "__MACOSX/set/a/._1.png": b"", "set/.DS_Store": b""}
    images = read_images(pack(tmp_path / "in.zip", entries), strict=True)
    assert (images.names, images.notes) == (["a", "b"], ())


def test_backslashes_in_a_zip_part_folders(tmp_path):
    assert read_images(pack(tmp_path / "in.zip", {"a\\1.png": png(), "b\\1.png": png()})).names == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("/etc/1.png", "not relative"),
        ("C:/1.png", "not relative"),
        ("\\\\host\\1.png", "not relative"),
        ("../1.png", "climbs"),
        ("a/../../1.png", "climbs"),
        ("a\\..\\1.png", "climbs"),
        ("../readme.txt", "climbs"),
    ],
)
def test_a_zip_that_points_out_of_itself_is_an_error(tmp_path, name, told):
    with pytest.raises(SynthgenError, match=told) as caught:
        read_images(pack(tmp_path / "in.zip", {"a/1.png": png(), name: png()}))
    assert "\n" not in str(caught.value)


def test_a_link_in_a_zip_is_an_error(tmp_path):
    link = zipfile.ZipInfo("a/1.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SynthgenError, match="which is a symbolic link"):
        read_images(tmp_path / "in.zip")


def patched(path, signature, offset, form, value):
    """Overwrite a field of every header of a kind."""
    data = bytearray(path.read_bytes())
    at = data.find(signature)
    while at >= 0:
        struct.pack_into(form, data, at + offset, value)
        at = data.find(signature, at + 4)
    path.write_bytes(data)
    return path


def test_an_encrypted_zip_is_an_error(tmp_path):
    path = pack(tmp_path / "in.zip", {"1.png": png()})
    patched(patched(path, b"PK\x01\x02", 8, "<H", 1), b"PK\x03\x04", 6, "<H", 1)
    with pytest.raises(SynthgenError, match="which is encrypted"):
        read_images(path)


def bomb(size):
    return png() + b"\0" * size


def test_a_bomb_is_left_out_before_it_is_unpacked(tmp_path):
    entries = {"good.png": png(), "ratio.png": bomb(3 << 20)}
    path = pack(tmp_path / "in.zip", entries, compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    images = read_images(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert images.notes == ("1 of 2 files cannot be read and was left out: ratio.png",)
    assert peak < 1 << 20


def test_a_small_file_that_packs_well_is_no_bomb(tmp_path):
    path = pack(tmp_path / "in.zip", {"1.png": bomb(1 << 19)}, compression=zipfile.ZIP_DEFLATED)
    assert len(read_images(path, strict=True)) == 1


def test_an_entry_that_lies_about_its_size_is_left_out(tmp_path):
    path = pack(tmp_path / "in.zip", {"a.png": bomb(3 << 20)}, compression=zipfile.ZIP_DEFLATED)
    patched(patched(path, b"PK\x01\x02", 24, "<I", 2000), b"PK\x03\x04", 22, "<I", 2000)
    with pytest.raises(SynthgenError, match=r"no image that can be read \(a.png: Bad CRC"):
        read_images(path)


@pytest.mark.parametrize("way", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_has_no_bound_is_not_unpacked(tmp_path, way):
    with pytest.raises(SynthgenError, match="neither stored nor deflated"):
        read_images(pack(tmp_path / "in.zip", {"a.png": png()}, compression=way))


def test_a_damaged_entry_is_left_out(tmp_path):
    path = pack(tmp_path / "in.zip", {"a.png": png(), "b.png": png(picture(seed=1))})
    data = bytearray(path.read_bytes())
    data[data.find(b"IDAT") + 10] ^= 255
    path.write_bytes(data)
    assert read_images(path).notes == ("1 of 2 files cannot be read and was left out: a.png",)


def test_a_damaged_zip_is_an_error(tmp_path):
    good = pack(tmp_path / "in.zip", {"a.png": png()}).read_bytes()
    for data in (b"", b"text", good[:-30], b"PK\x05\x06" + b"\xff" * 18):
        (tmp_path / "in.zip").write_bytes(data)
        with pytest.raises(SynthgenError, match=r"in.zip cannot be read as a zip: [^\n]+; pack it again"):
            read_images(tmp_path / "in.zip")


def test_a_zip_of_too_many_entries_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("synthgen.data.pictures_in.MAX_ENTRIES", 1)
    with pytest.raises(SynthgenError, match="2 entries, more than 1"):
        read_images(pack(tmp_path / "in.zip", {"a.png": png(), "b.png": png()}))
