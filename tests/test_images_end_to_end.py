"""Images in, images out: what every command and the library promise of them."""

import csv
import itertools
import json
import os
import sys
import zipfile
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from conftest import CLASSES, draw_pictures
from PIL import Image

import synthgen
from synthgen import Synthesizer, artifact
from synthgen.codec import ImageCodec
from synthgen.data import Images
from synthgen.errors import ResourceError, SynthgenError
from synthgen.training import Training

TINY = {
    "gmm": {},
    "vae": {"steps": 30, "width": 8, "components": 6},
    "diffusion": {"steps": 30, "width": 8, "depth": 1},
}
CHEAP = {
    "autoencoder": {"steps": 5, "width": 8, "components": 6},
    "autoregressive": {"steps": 5, "width": 8, "channels": 8},
    "gan": {"steps": 5, "width": 8},
}
ALL = TINY | CHEAP
FIT = sys.modules["synthgen.cli.fit"]  # the name in the package is that of the command


def fitted(name, data, **options):
    return Synthesizer(name, device="cpu", **{**ALL[name], **options}).fit(data)


def flags(name):
    return [flag for key, value in ALL[name].items() for flag in ("-s", f"{key}={value}")]


def files(folder):
    """What a folder holds, by path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def listed(folder):
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def noise(folder, classes=("a", "b"), each=6, shape=(6, 6, 3)):
    """Pictures of nothing, `each` of every class; in the folder itself where there are none."""
    rng = np.random.default_rng(0)
    for name in classes or ("",):
        for i in range(each):
            save(rng.integers(0, 256, shape), folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def diffusion_model(pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "diffusion"
    fitted("diffusion", pictures).save(path)
    return path


@pytest.fixture(params=["pictures_model", "latent_model", "diffusion_model"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("n", [1, 7, 60])
def test_exactly_as_many_images_come_each_in_the_folder_of_its_class(command, model, tmp_path, n):
    told = command("generate", model, "-n", n, "-o", tmp_path / "out", "--json")
    assert told.code == 0, told.err
    assert json.loads(told.out)["rows"] == n
    rows, found = listed(tmp_path / "out"), files(tmp_path / "out")
    assert len(rows) == n == len(found) - 1
    assert [int(row["file_name"][-12:-4]) for row in rows] == list(range(1, n + 1))
    for row in rows:
        assert row["label"] in CLASSES
        assert row["file_name"].split("/")[0] == row["label"]
        with Image.open(tmp_path / "out" / row["file_name"]) as image:
            assert (image.mode, image.size) == ("RGB", (8, 8))


def test_a_zip_holds_the_same(command, model, tmp_path):
    for name in ("out", "out.zip", "again.zip"):
        assert command("generate", model, "-n", "9", "-o", tmp_path / name).code == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files(tmp_path / "out")
    assert (tmp_path / "out.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()


def test_the_same_seed_writes_the_same_bytes(command, model, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert command("generate", model, "-n", "12", "-o", tmp_path / name, "--seed", seed).code == 0
    a, b, c = (files(tmp_path / name) for name in "abc")
    assert a == b != c


def test_a_class_can_be_held(command, model, tmp_path):
    told = command("generate", model, "-n", "25", "-o", tmp_path / "out", "--given", "label=line")
    assert told.code == 0, told.err
    assert {row["label"] for row in listed(tmp_path / "out")} == {"line"}
    assert {name.split("/")[0] for name in files(tmp_path / "out")} == {"line", "metadata.csv"}


def test_classes_can_be_held_image_by_image(command, model, tmp_path):
    (tmp_path / "wanted.csv").write_text('label\nbox\nbar\n""\n')
    wanted = ["--given-file", tmp_path / "wanted.csv"]
    assert command("generate", model, "-n", "9", "-o", tmp_path / "out", *wanted).code == 0
    labels = [row["label"] for row in listed(tmp_path / "out")]
    assert (labels[::3], labels[1::3]) == (["box"] * 3, ["bar"] * 3)
    assert set(labels[2::3]) <= set(CLASSES)


def test_without_a_choice_classes_come_in_their_proportions(pictures_model):
    names = pd.Series(Synthesizer.load(pictures_model).generate(2000).names)
    for name, count in CLASSES.items():
        assert (names == name).mean() == pytest.approx(count / 60, abs=0.06)


def test_the_classes_look_as_they_should(pictures_model):
    """Bars are red, boxes green, lines blue."""
    synthesizer = Synthesizer.load(pictures_model)
    for channel, name in enumerate(CLASSES):
        colour = synthesizer.generate(50, given={"label": name}).pixels.mean((0, 1, 2))
        assert colour.argmax() == channel
        assert colour[channel] > 1.5 * np.delete(colour, channel).max()


def test_a_stream_is_the_whole_in_pieces(model, monkeypatch, tmp_path):
    synthesizer = Synthesizer.load(model)
    monkeypatch.setattr(ImageCodec, "chunk", 20)
    parts = list(synthesizer.stream(50, seed=2))
    assert [len(p) for p in parts] == [20, 20, 10]
    whole = synthesizer.generate(50, seed=2)
    assert Images.join(parts).digest() == whole.digest()
    assert parts[0].digest() == synthesizer.generate(20, seed=2).digest()
    done = []
    synthesizer.write(tmp_path / "out", 50, seed=2, report=done.append)
    assert done == [0.4, 0.8, 1.0]
    written = synthgen.read(tmp_path / "out")
    order = np.argsort([int(f[-12:-4]) for f in written.files])
    assert np.array_equal(written.pixels[order], whole.pixels)
    assert [written.names[i] for i in order] == whole.names


@pytest.mark.parametrize("name", ALL)
def test_a_stored_model_draws_the_same_images(pictures, tmp_path, name):
    synthesizer = fitted(name, pictures)
    synthesizer.save(tmp_path / "m")
    drawn = synthesizer.generate(15)
    assert isinstance(drawn, Images)
    assert drawn.schema == synthgen.read(pictures).schema
    assert Synthesizer.load(tmp_path / "m", "cpu").generate(15).digest() == drawn.digest()


def test_the_library_takes_a_folder_and_gives_images(pictures):
    images = Synthesizer("gmm", seed=1).fit(str(pictures)).generate(5)
    assert isinstance(images, Images)
    assert (len(images), images.pixels.shape, images.pixels.dtype) == (5, (5, 8, 8, 3), np.uint8)
    assert set(images.names) <= set(CLASSES)
    twin = Synthesizer("gmm", seed=1).fit(synthgen.read(pictures)).generate(5, given={"label": "box"})
    assert twin.names == ["box"] * 5


def test_a_frame_of_classes_is_held(pictures_model):
    asked = pd.DataFrame({"label": ["line", "box"]})
    assert Synthesizer.load(pictures_model).generate(5, given=asked).names == ["line", "box", "line", "box", "line"]


def test_latents_lead_there_and_back(latent_model, pictures):
    synthesizer, images = Synthesizer.load(latent_model), synthgen.read(pictures)
    z = synthesizer.encode(images)
    assert z.shape == (60, 24)
    assert z.dtype == np.float32
    assert np.array_equal(z, synthesizer.encode(pictures))
    back = synthesizer.decode(z, given={"label": "box"})
    assert (len(back), set(back.names)) == (60, {"box"})
    assert back.digest() == synthesizer.decode(z, given={"label": "box"}).digest()


def test_a_path_leads_from_one_image_to_the_other(latent_model, pictures):
    synthesizer, images = Synthesizer.load(latent_model), synthgen.read(pictures)
    a, b = images.take([0]), images.take([59])
    path = synthesizer.interpolate(a, b, steps=7)
    assert path.names == ["bar"] * 3 + ["line"] * 4
    ends = [synthesizer.decode(synthesizer.encode(end), given={"label": end.names[0]}) for end in (a, b)]
    assert np.array_equal(path.pixels[[0]], ends[0].pixels)
    assert np.abs(path.pixels[[-1]].astype(int) - ends[1].pixels).max() <= 1
    assert len(synthesizer.interpolate(steps=3)) == 3
    assert synthesizer.interpolate(seed=1).digest() == synthesizer.interpolate(seed=1).digest()


def test_interpolate_draws_a_strip_or_a_folder(command, latent_model, pictures, tmp_path):
    ends = [pictures, f"{pictures}:60"]
    told = command("interpolate", latent_model, *ends, "-o", tmp_path / "strip.png", "-n", "5")
    assert told.code == 0, told.err
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (5 * 8 + 4 * 2, 8)
    assert command("interpolate", latent_model, *ends, "-o", tmp_path / "path", "-n", "5").code == 0
    assert len(synthgen.read(tmp_path / "path")) == 5
    assert command("interpolate", latent_model, "-o", tmp_path / "path.zip", "-n", "4").code == 0
    assert len(synthgen.read(tmp_path / "path.zip")) == 4


@pytest.mark.parametrize(
    ("fixture", "measure"),
    [("pictures_model", "log_prob"), ("latent_model", "bound"), ("diffusion_model", "reconstruction")],
)
def test_anomalies_are_a_table_of_files_and_say_what_they_are_judged_by(
    command, request, tmp_path, pictures, fixture, measure
):
    told = command(
        "anomalies", request.getfixturevalue(fixture), pictures, "-o", tmp_path / "judged.csv", "--json", "--seed", "1"
    )
    assert told.code == 0, told.err
    assert json.loads(told.out)["measure"] == measure
    table = pd.read_csv(tmp_path / "judged.csv")
    assert list(table.columns) == ["file", "label", "anomaly"]
    assert sorted(table.file) == [name for name in files(pictures) if name.endswith(".png")]
    assert (table.file.str.split("/").str[0] == table.label).all()
    assert np.isfinite(table.anomaly).all()
    said = command("anomalies", request.getfixturevalue(fixture), pictures, "-o", tmp_path / "again.csv", "--seed", "1")
    assert {"log_prob": "log-density", "bound": "lower bound", "reconstruction": "reconstruction"}[measure] in said.out
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "judged.csv").read_bytes()


def test_the_strange_image_is_found(command, pictures_model, tmp_path):
    odd = draw_pictures(tmp_path / "odd", seed=5)
    with Image.open(odd / "box" / "007.png") as image:
        save(255 - np.asarray(image), odd / "box" / "007.png")
    told = command("anomalies", pictures_model, odd, "-o", tmp_path / "judged.csv")
    assert told.code == 0, told.err
    assert "the strangest record is box/007.png" in told.out


def test_a_part_of_images_is_filled_and_the_rest_is_kept(command, tmp_path, pictures, pictures_model, diffusion_model):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 4:] = 255
    save(mask, tmp_path / "mask.png")
    before = synthgen.read(pictures)
    for number, model in enumerate((pictures_model, diffusion_model)):
        out = tmp_path / f"filled{number}"
        told = command("impute", model, pictures, "-o", out, "--mask", tmp_path / "mask.png", "--json")
        assert told.code == 0, told.err
        assert json.loads(told.out)["filled"] == 12 * 60
        filled = synthgen.read(out)
        assert filled.names == before.names
        assert np.array_equal(filled.pixels[:, mask == 0], before.pixels[:, mask == 0])
        assert not np.array_equal(filled.pixels[:, mask > 0], before.pixels[:, mask > 0])


def test_each_image_may_have_a_mask_of_its_own(pictures_model, pictures, monkeypatch):
    synthesizer, images = Synthesizer.load(pictures_model), synthgen.read(pictures)
    monkeypatch.setattr(ImageCodec, "chunk", 20)
    known = np.random.default_rng(0).random((60, 8, 8)) < 0.5
    filled = synthesizer.inpaint(images, known, seed=3)
    assert np.array_equal(filled.pixels[known], images.pixels[known])
    assert synthesizer.inpaint(pictures, known, seed=3).digest() == filled.digest()
    assert synthesizer.inpaint(images, np.ones((8, 8), bool)).digest() == images.digest()


def test_filling_beats_the_mean_of_the_class(pictures_model, pictures):
    """Half of a line tells where the other half is."""
    images = synthgen.read(pictures)
    lines = images.take(images.labels == images.schema.classes.index("line"))
    known = np.zeros((8, 8), bool)
    known[:, :4] = True
    truth = lines.pixels[:, :, 4:, 2].astype(float)
    filled = Synthesizer.load(pictures_model).inpaint(lines, known).pixels[:, :, 4:, 2]
    assert np.abs(filled - truth).mean() < 0.5 * np.abs(truth.mean(0) - truth).mean()


def test_trees_refuse_images_and_name_who_takes_them(command, pictures, tmp_path):
    told = command("fit", pictures, "-o", tmp_path / "m", "-g", "trees")
    assert (told.code, told.out) == (2, "")
    assert told.err.count("\n") == 1
    assert "trees takes tables, not images; generators that do: " in told.err
    for name in ALL:
        assert name in told.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["impute", "{images}", "{table}", "-o", "{out}", "--mask", "m.png"],
        ["anomalies", "{images}", "{table}", "-o", "{out}.csv"],
        ["interpolate", "{latent}", "{table}", "-o", "{out}.png"],
        ["impute", "{network}", "{folder}", "-o", "{out}.csv"],
        ["anomalies", "{network}", "{folder}", "-o", "{out}.csv"],
        ["interpolate", "{rows}", "{folder}", "-o", "{out}.csv"],
        ["generate", "{images}", "-n", "5", "-o", "{out}.csv"],
        ["generate", "{network}", "-n", "5", "-o", "{out}"],
        ["impute", "{network}", "{table}", "-o", "{out}.csv", "--mask", "m.png"],
        ["impute", "{images}", "{folder}", "-o", "{out}"],
        ["interpolate", "{rows}", "-o", "{out}.png"],
    ],
    ids=lambda a: " ".join(a[:3]),
)
def test_tables_and_images_are_told_apart(command, request, tmp_path, pictures, people_csv, arguments):
    places = {"folder": pictures, "table": people_csv, "out": tmp_path / "out"}
    fixtures = {"images": "pictures_model", "latent": "latent_model", "network": "network_model", "rows": "rows_model"}
    for name, fixture in fixtures.items():
        if f"{{{name}}}" in arguments:
            places[name] = request.getfixturevalue(fixture)
    told = command(*(a.format(**places) for a in arguments))
    assert (told.code, told.out) == (2, ""), told
    assert told.err.count("\n") == 1, told.err
    assert any(word in told.err for word in ("images", "table", "ending")), told.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def rows_model(people_csv, tmp_path_factory):
    """A model of a table that has latents."""
    path = tmp_path_factory.mktemp("models") / "rows"
    Synthesizer("vae", width=8, epochs=1, components=5).fit(people_csv).save(path)
    return path


@pytest.mark.parametrize("method", ["anomalies", "encode", "interpolate", "inpaint"])
def test_the_library_tells_tables_and_images_apart(latent_model, pictures_model, rows_model, people, pictures, method):
    more = [np.ones((8, 8), bool)] if method == "inpaint" else []
    images = Synthesizer.load(pictures_model if method == "inpaint" else latent_model)
    with pytest.raises(SynthgenError, match="fitted on images, not on tables"):
        getattr(images, method)(people, *more)
    with pytest.raises(SynthgenError, match="the model was fitted on tables"):
        getattr(Synthesizer.load(rows_model), method)(synthgen.read(pictures), *more)


def test_images_are_no_table_of_gaps(latent_model, network_model, people, pictures):
    with pytest.raises(SynthgenError, match="the model was fitted on images; it cannot fill rows"):
        Synthesizer.load(latent_model).impute(people)
    with pytest.raises(SynthgenError, match="Images is no table"):
        Synthesizer.load(network_model).impute(synthgen.read(pictures))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--drop", "label"], "images have no columns to declare, drop or give"),
        (["--given", "colour"], "images have no columns to declare, drop or give"),
        (["--schema", "schema.json"], "--schema, --delimiter and --encoding are for tables"),
        (["--delimiter", ";"], "--schema, --delimiter and --encoding are for tables"),
        (["--encoding", "latin-1"], "--schema, --delimiter and --encoding are for tables"),
        (["--size", "0"], "--size"),
        (["--size", "5000"], "give 1 to 4096 pixels"),
        (["--aspect", "cropp"], "did you mean 'crop'"),
        (["--preview", "no/sheet.png"], "there is no folder"),
        (["--preview", "."], "is a folder; give the name of a file"),
    ],
)
def test_options_that_images_have_not(command, pictures, tmp_path, arguments, text):
    told = command("fit", pictures, "-o", tmp_path / "m", "-g", "gmm", *arguments)
    assert told.code == 2
    assert text in told.err
    assert told.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--size", "8"], ["--aspect", "pad"], ["--strict"], ["--preview", "x.png"]])
def test_options_that_tables_have_not(command, people_csv, tmp_path, arguments):
    told = command("fit", people_csv, "-o", tmp_path / "m", "-g", "trees", *arguments)
    assert told.code == 2
    assert "is a table; " in told.err
    assert list(tmp_path.iterdir()) == []


def test_the_label_may_be_named_when_fitting(command, pictures, tmp_path):
    assert command("fit", pictures, "-o", tmp_path / "m", "-g", "gmm", "--given", "label").code == 0


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("classes", [("only",), ()], ids=["one class", "no classes"])
def test_one_class_and_none(tmp_path, name, classes):
    synthesizer = fitted(name, noise(tmp_path / "in", classes, each=12))
    images = synthesizer.generate(6)
    assert images.schema.classes == classes
    assert images.names == [classes[0] if classes else ""] * 6
    synthesizer.write(tmp_path / "out", 6)
    assert set(os.listdir(tmp_path / "out")) >= {"metadata.csv", *classes}
    if not classes:
        with pytest.raises(SynthgenError, match="which have no classes"):
            synthesizer.generate(1, given={"label": "x"})


@pytest.mark.parametrize("name", ALL)
def test_a_class_with_one_image(tmp_path, name):
    folder = noise(noise(tmp_path / "in", ("many",), each=15), ("one",), each=1)
    images = fitted(name, folder).generate(4, given={"label": "one"})
    assert images.names == ["one"] * 4


@pytest.mark.parametrize("n", [1, 9])
def test_fewer_than_ten_images_are_refused(command, tmp_path, n):
    told = command("fit", noise(tmp_path / "in", (), each=n), "-o", tmp_path / "m", "-g", "gmm")
    assert told.code == 2
    assert told.err == f"synthgen: there are {n} images; at least 10 are needed to learn from\n"


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 3), (5, 12, 3), (1, 20), (7, 7, 4), (6, 6, 2)], ids=str)
def test_any_shape_will_do(tmp_path, name, shape):
    folder = tmp_path / "in"
    rng = np.random.default_rng(0)
    for i in range(12):
        save(rng.integers(0, 256, shape), folder / "ab"[i % 2] / f"{i}.png")
    images = fitted(name, folder).generate(3)
    assert images.pixels.shape == (3, *shape[:2], shape[2] if len(shape) == 3 else 1)


def test_hundreds_of_classes(tmp_path):
    folder = noise(tmp_path / "in", [f"c{i:03d}" for i in range(150)], each=2, shape=(3, 3))
    synthesizer = fitted("gmm", folder)
    assert synthesizer.generate(5, given={"label": "c123"}).names == ["c123"] * 5
    assert len(set(synthesizer.generate(400).names)) > 100


def test_a_size_can_be_told(command, pictures, tmp_path):
    for size in (7, 100):
        told = command("fit", pictures, "-o", tmp_path / "m", "-g", "gmm", "--size", size)
        assert told.code == 0, told.err
        assert f"60 of 60 images were resized to {size} x {size}" in told.err
        assert command("generate", tmp_path / "m", "-n", "1", "-o", tmp_path / "out").code == 0
        assert synthgen.read(tmp_path / "out", size=size).pixels.shape == (1, size, size, 3)


def test_a_sample_of_the_images_is_fitted_on(command, pictures, tmp_path):
    told = command("fit", pictures, "-o", tmp_path / "m", "-g", "gmm", "--sample", "20", "--json")
    assert told.code == 0, told.err
    assert json.loads(command("info", tmp_path / "m", "--json").out)["rows"] == 20


@pytest.mark.parametrize("bands", [2, 4])
def test_transparency_is_learned_and_written(command, tmp_path, bands):
    """A disc on nothing: alpha is 255 in the middle and 0 in the corners, and comes out so."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8] - 3.5
    disc = x**2 + y**2 < 10
    for i in range(30):
        pixels = rng.integers(0, 256, (8, 8, bands))
        pixels[disc] = rng.integers(90, 110, (int(disc.sum()), bands))
        pixels[..., -1] = 255 * disc
        save(pixels, tmp_path / "in" / f"{i}.png")
    told = command("fit", tmp_path / "in", "-o", tmp_path / "m", "-g", "gmm")
    assert told.code == 0, told.err
    assert command("generate", tmp_path / "m", "-n", "20", "-o", tmp_path / "out").code == 0
    drawn = synthgen.read(tmp_path / "out")
    assert drawn.schema.channels == bands
    assert (drawn.pixels[:, disc, -1] > 200).mean() > 0.95
    assert (drawn.pixels[:, ~disc, -1] < 55).mean() > 0.95
    assert np.abs(drawn.pixels[:, disc, :-1].astype(float) - 100).mean() < 15
    assert (drawn.pixels[drawn.pixels[..., -1] == 0][:, :-1] == 255).all()


def test_what_reading_changed_is_said(command, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        (tmp_path / "in").mkdir(exist_ok=True)
        if i < 2:
            Image.fromarray(rng.integers(0, 65536, (6, 6), np.uint16)).save(tmp_path / "in" / f"{i}.png")
        elif i < 5:
            Image.fromarray(rng.integers(0, 256, (6, 6, 4), np.uint8), "CMYK").save(tmp_path / "in" / f"{i}.jpg")
        else:
            save(rng.integers(0, 256, (6, 6, 3)), tmp_path / "in" / f"{i}.png")
    told = command("fit", tmp_path / "in", "-o", tmp_path / "m", "-g", "gmm", "--json")
    assert told.code == 0, told.err
    for text in ("2 of 12 images were reduced from 16 to 8 bits", "3 of 12 images were converted from CMYK to RGB"):
        assert text in told.err
        assert any(text in note for note in json.loads(told.out)["notes"])


def test_strict_refuses_what_cannot_be_read(command, tmp_path):
    folder = noise(tmp_path / "in", each=8)
    (folder / "a" / "3.png").write_bytes(b"no picture")
    fit = ["fit", folder, "-o", tmp_path / "m", "-g", "gmm"]
    told = command(*fit, "--strict")
    assert (told.code, told.out) == (2, "")
    assert "a/3.png cannot be read" in told.err
    assert not (tmp_path / "m").exists()
    told = command(*fit)
    assert told.code == 0
    assert "1 of 16 files cannot be read and was left out: a/3.png" in told.err


@pytest.mark.parametrize("name", ["diffusion", "gan"])
def test_previews_are_shown_and_change_nothing(command, pictures, tmp_path, monkeypatch, name):
    fit = ["fit", pictures, "-g", name, *flags(name), "-s", "steps=3"]
    assert command(*fit, "-o", tmp_path / "plain").code == 0
    assert not (tmp_path / "plain.preview.png").exists()
    monkeypatch.setattr(Training, "save_every", 0.0)
    told = command(*fit, "-o", f"{tmp_path / 'shown'}/")
    assert told.code == 0, told.err
    assert told.err.count("what is drawn so far: ") == 1
    with Image.open(tmp_path / "shown.preview.png") as sheet:
        assert sheet.size == (8 * 8 + 7 * 2, 8 * 8 + 7 * 2)  # 64 of them
    told = command(*fit, "-o", tmp_path / "m", "--preview", tmp_path / "sheet.png")
    assert told.code == 0, told.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "plain", "sheet.png", "shown", "shown.preview.png"]
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("plain", "shown", "m")]
    assert weights[0] == weights[1] == weights[2]


@pytest.mark.parametrize("name", ALL)
def test_a_generator_that_cannot_draw_before_it_is_whole_is_fitted_all_the_same(pictures, monkeypatch, name):
    monkeypatch.setattr(Training, "save_every", 0.0)
    seen = []
    whole = fitted(name, pictures, **({} if name == "gmm" else {"steps": 3}))
    shown = Synthesizer(name, **whole.settings, device="cpu").fit(pictures, preview=seen.append)
    assert shown.generate(5).digest() == whole.generate(5).digest()
    assert all(len(images) == 64 and set(images.names) == set(CLASSES) for images in seen)


def test_a_preview_that_cannot_be_written_does_not_end_the_fit(command, pictures, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise ResourceError("no space left")

    monkeypatch.setattr(Training, "save_every", 0.0)
    monkeypatch.setattr("synthgen.data.write_sheet", fail)
    told = command("fit", pictures, "-o", tmp_path / "m", "-g", "diffusion", *flags("diffusion"), "-s", "steps=3")
    assert told.code == 0, told.err
    assert told.err.count("cannot be shown: no space left") == 1


@pytest.mark.parametrize("name", ALL)
def test_resumed_is_as_if_it_never_stopped(command, pictures, tmp_path, monkeypatch, name):
    fit = ["fit", pictures, "-g", name, *flags(name)]
    calls = itertools.count()
    after = 3 if name in CHEAP else 1 if name == "gmm" else 12
    with monkeypatch.context() as patch:
        patch.setattr(FIT, "interruptible", lambda: nullcontext(lambda: next(calls) == after))
        stopped = command(*fit, "-o", tmp_path / "m")
    assert stopped.code == 130, stopped.err
    assert stopped.err.splitlines()[-1].endswith("go on with the same command and --resume")
    assert os.listdir(tmp_path) == ["m.checkpoint"]
    resumed = command(*fit, "-o", tmp_path / "m", "--resume")
    assert resumed.code == 0, resumed.err
    assert os.listdir(tmp_path) == ["m"]
    assert command(*fit, "-o", tmp_path / "whole").code == 0
    drawn = [Synthesizer.load(tmp_path / model).generate(9).digest() for model in ("m", "whole")]
    assert drawn[0] == drawn[1]


def test_a_checkpoint_of_other_images_is_not_gone_on_with(command, pictures, tmp_path, monkeypatch):
    fit = ["-o", tmp_path / "m", "-g", "vae", *flags("vae")]
    with monkeypatch.context() as patch:
        patch.setattr(FIT, "interruptible", lambda: nullcontext(lambda: True))
        assert command("fit", pictures, *fit).code == 130
    other = draw_pictures(tmp_path / "other", seed=1)
    told = command("fit", other, *fit, "--resume")
    assert told.code == 2
    assert "was made with other data or settings" in told.err
    told = command("fit", pictures, *fit, "--resume", "--size", "6")
    assert told.code == 2
    assert "was made with other data or settings" in told.err
    told = command("generate", tmp_path / "m.checkpoint", "-n", "3", "-o", tmp_path / "out")
    assert told.code == 2
    assert "is unfinished work" in told.err


HARM = {
    "no classes": lambda m: m["codec"]["image_schema"].pop("classes"),
    "fewer classes": lambda m: m["codec"]["image_schema"].update(classes=["bar", "box"]),
    "more classes": lambda m: m["codec"]["image_schema"].update(classes=["bar", "box", "line", "star"]),
    "no schema": lambda m: m["codec"].pop("image_schema"),
    "no codec": lambda m: m.pop("codec"),
    "no context": lambda m: m["codec"].pop("context"),
    "another mode": lambda m: m["codec"]["image_schema"].update(mode="L"),
    "another size": lambda m: m["codec"]["image_schema"].update(height=9),
    "a huge size": lambda m: m["codec"]["image_schema"].update(height=10**9),
    "a table": lambda m: m.update(kind="table"),
    "another kind": lambda m: m.update(kind="sound"),
    "no kind": lambda m: m.pop("kind"),
    "another chunk": lambda m: m.update(chunk=65_536),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("fixture", ["pictures_model", "latent_model"])
def test_a_damaged_model_is_told_in_a_line(command, request, tmp_path, fixture, harm):
    manifest, weights = artifact.load(request.getfixturevalue(fixture))
    HARM[harm](manifest)
    artifact.save(tmp_path / "m", manifest, weights)
    told = command("generate", tmp_path / "m", "-n", "3", "-o", tmp_path / "out")
    assert (told.code, told.out) == (2, ""), told
    assert told.err.count("\n") == 1, told.err
    assert "unexpected" not in told.err
    assert os.listdir(tmp_path) == ["m"]


def test_info_tells_what_the_images_are(command, pictures_model, latent_model):
    told = command("info", pictures_model)
    assert told.code == 0, told.err
    for text in ("gmm (synthgen-toolkit", "60 images", "can be given: label\n", "8 x 8 RGB", "bar, box, line"):
        assert text in told.out
    fields = json.loads(command("info", latent_model, "--json").out)
    assert fields["images"] == {"mode": "RGB", "height": 8, "width": 8, "classes": ["bar", "box", "line"]}
    assert (fields["rows"], fields["columns"], fields["given"]) == (60, {}, ["label"])
    assert {"bound", "latents"} <= set(fields["abilities"])


def test_info_of_images_without_classes(command, tmp_path):
    fitted("gmm", noise(tmp_path / "in", (), each=10)).save(tmp_path / "m")
    told = command("info", tmp_path / "m")
    assert "can be given: nothing\n" in told.out
    assert "classes: none" in told.out


@pytest.mark.parametrize(("arguments", "name"), [(["--max-time", "20s"], "gmm"), (["-s", "steps=2"], "diffusion")])
def test_auto_on_images_says_which_and_why(command, pictures, tmp_path, arguments, name):
    told = command("fit", pictures, "-o", tmp_path / "m", *arguments, "--json")
    assert told.code == 0, told.err
    fields = json.loads(told.out)
    assert fields["generator"] == name
    assert fields["reason"].startswith(f"auto chose {name}: ")
    assert fields["shape"] == [3, 8, 8]


def test_what_was_generated_can_be_fitted_on(command, pictures_model, tmp_path):
    assert command("generate", pictures_model, "-n", "40", "-o", tmp_path / "out.zip").code == 0
    told = command("fit", tmp_path / "out.zip", "-o", tmp_path / "m", "-g", "gmm")
    assert told.code == 0, told.err
    assert Synthesizer.load(tmp_path / "m").codec.dataset_schema.mode == "RGB"


def test_images_become_what_the_model_knows(command, pictures_model, tmp_path):
    """Other sizes, modes and fewer classes are no obstacle to being judged."""
    rng = np.random.default_rng(0)
    for i in range(3):
        save(rng.integers(0, 256, (20, 30)), tmp_path / "in" / "box" / f"{i}.png")
    told = command("anomalies", pictures_model, tmp_path / "in", "-o", tmp_path / "judged.csv")
    assert told.code == 0, told.err
    assert "3 of 3 images were resized to 8 x 8" in told.err
    assert len(Synthesizer.load(pictures_model).anomalies(tmp_path / "in")) == 3
    (tmp_path / "in" / "box").rename(tmp_path / "in" / "cylinder")
    told = command("anomalies", pictures_model, tmp_path / "in", "-o", tmp_path / "judged.csv")
    assert told.code == 2
    assert "'cylinder', which the model does not know" in told.err


def test_a_setting_may_hold_several_values(command, pictures, tmp_path):
    fit = ["fit", pictures, "-o", tmp_path / "m", "-g", "autoregressive", *flags("autoregressive")]
    told = command(*fit, "-s", "levels=4,3")
    assert told.code == 0, told.err
    assert json.loads(command("info", tmp_path / "m", "--json").out)["config"]["levels"] == [4, 3]
    assert len(Synthesizer.load(tmp_path / "m").generate(3)) == 3
    told = command(*fit, "-s", "levels=4,x")
    assert told.code == 2
    assert "setting levels" in told.err


def test_info_says_what_settings_take_and_what_is_different_for_images(command):
    told = command("info", "vae").out
    assert "[likelihood or ssim]" in told
    assert "a multiple of 8" in told
    assert "takes: table, images" in told
    assert "int, ..." in command("info", "autoregressive").out
    recipe = synthgen.registry.load("vae").image_recipe
    assert f"; {recipe.steps} for images" in told
    assert f"; {recipe.epochs} for images" not in told
