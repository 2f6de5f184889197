"""Reports on images, from folders and arrays to verdicts: what is right, wrong, copied, and refused."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import CLASSES, draw_pictures
from PIL import Image

import synthgen
from synthgen.data import Images, ImageSchema, write
from synthgen.data.images import read_images
from synthgen.errors import SynthgenError
from synthgen.metrics import classifier, extractors
from synthgen.metrics.classifier import train_classifier
from synthgen.report import image_classes
from synthgen.report import images as module
from synthgen.report.blocks import Gallery, Rows
from synthgen.report.image_inputs import read_others

NAMES = {"real": "the real", "synthetic": "the new", "holdout": "the others"}
whole_network = extractors.random_network


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A random network for tiny pictures, and a small classifier that is hardly trained."""
    small = replace(whole_network((8, 16, 24)), size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractors, "random_network", lambda: small)
        patch.setattr(image_classes, "train_classifier", partial(train_classifier, steps=40))
        patch.setattr(classifier, "WIDTH", 8)
        patch.setattr(classifier, "SIZE", 16)
        yield


def drawn(folder, seeds):
    """60 pictures for each seed."""
    return Images.join([read_images(draw_pictures(folder / str(seed), seed=seed)) for seed in seeds])


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Real, fresh and held-out pictures of one process, 240 each."""
    folder = tmp_path_factory.mktemp("drawn")
    return [drawn(folder, range(start, start + 4)) for start in (0, 4, 8)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three folders of 60."""
    folder = tmp_path_factory.mktemp("folders")
    return [draw_pictures(folder / name, seed=seed) for seed, name in enumerate(("real", "new", "others"))]


def judge(*given, **options):
    return synthgen.evaluate(*given, features="random", **options)


@pytest.fixture(scope="module")
def fresh_report(sets):
    return judge(*sets)


@pytest.fixture(scope="module")
def copied_report(sets):
    """On the training pictures themselves."""
    return judge(sets[0], sets[0], sets[2])


def findings(report, kind):
    return [f.text for f in report.verdict if f.kind == kind]


def section(report, name):
    return next((s for s in report.sections if s.name == name), None)


def table(report, name, title):
    return next(b for b in section(report, name).blocks if isinstance(b, Rows) and b.title == title)


def changed(images, pixels=None, labels=None, **schema):
    """Images with other pixels, labels or schema."""
    return Images(
        images.pixels if pixels is None else pixels,
        images.labels if labels is None else labels,
        images.schema.model_copy(update=schema),
    )


def flat(images):
    """The same without classes."""
    return changed(images, labels=np.zeros_like(images.labels), classes=())


def test_fresh_pictures_of_the_same_process_pass_everywhere(fresh_report):
    report = fresh_report
    assert findings(report, "differs") == []
    assert findings(report, "leaks") == []
    assert findings(report, "useless") == []
    assert "cannot be told from real ones" in findings(report, "faithful")[0]
    kernel = report["fidelity.kernel"]
    assert kernel.low < 0 < kernel.high
    assert kernel.independent > 10 * abs(kernel.fresh)
    for name in ("fidelity.precision", "fidelity.coverage", "fidelity.density"):
        assert report[name].value == pytest.approx(report[name].fresh, abs=0.15)
    assert report["utility.network"].value > 0.9
    assert report["disclosure.copies"].value == 0
    assert report["disclosure.nearest_share"].low < 0.5 < report["disclosure.nearest_share"].high
    assert report.setup.kind == "images"
    assert [side[1] for side in (report.setup.real, report.setup.synthetic, report.setup.holdout)] == [240] * 3


def test_the_training_pictures_themselves_are_faithful_and_leak(copied_report):
    report = copied_report
    assert findings(report, "differs") == []
    assert any("copied: 100.00% of synthetic records" in text for text in findings(report, "leaks"))
    assert any("Membership leaks" in text for text in findings(report, "leaks"))
    assert report["disclosure.copies"].value == 1
    assert report["disclosure.near_copies"].value == 1
    assert report["disclosure.nearest_share"].value > 0.95
    assert report["disclosure.copies"].fresh == 0


def test_noise_is_far_from_real_pictures_and_useless(sets):
    real, _, others = sets
    noise = np.random.default_rng(0).integers(0, 256, real.pixels.shape, np.uint8)
    report = judge(real, changed(real, noise), others)
    assert any("differ far from real ones" in text for text in findings(report, "differs"))
    assert any("have a synthetic one nearby" in text for text in findings(report, "differs"))
    assert findings(report, "useless")
    assert report["fidelity.precision"].value == 0
    assert report["fidelity.coverage"].value == 0
    assert report["fidelity.kernel"].low > report["fidelity.kernel"].fresh


def test_blurred_class_means_are_worse_than_fresh_pictures_and_the_figure_says_how_much(sets):
    real, _, others = sets
    blurred = module.class_means(real, 240, np.random.default_rng(0))
    assert blurred.shape == real.pixels.shape
    labels = np.random.default_rng(0)
    labels = real.labels[labels.integers(0, 240, 240)]  # class_means draws them so
    report = judge(real, changed(real, blurred, labels), others)
    kernel = report["fidelity.kernel"]
    assert kernel.value == pytest.approx(kernel.independent, rel=0.3)
    assert findings(report, "differs")


def test_a_class_that_is_never_drawn_is_named(sets):
    real, fresh, others = sets
    report = judge(real, fresh.take(np.flatnonzero(fresh.labels != 2)), others)
    assert "Classes that were never drawn: 'line'." in findings(report, "differs")
    assert table(report, "classes", "By class").rows[2][1:] == (0, None)
    assert report["fidelity.classes"].value == pytest.approx(1 / 6)


def test_an_empty_folder_is_a_class_that_was_never_drawn(folders, tmp_path, command):
    new = draw_pictures(tmp_path / "new", seed=5)
    for file in (new / "box").iterdir():
        file.unlink()
    told = command("report", folders[0], new, "--features", "random")
    assert told.code == 0, told.err
    assert "Classes that were never drawn: 'box'." in told.out


def test_the_balance_of_classes_is_a_distance_that_can_be_counted(sets):
    real, fresh, others = sets
    rows = {k: np.flatnonzero(fresh.labels == k) for k in range(3)}
    turned = fresh.take(np.concatenate([rows[0][:40], rows[1][:80], np.resize(rows[2], 120)]))
    report = judge(real, turned, others)
    # of 240: 120, 80, 40 real, 40, 80, 120 synthetic
    assert report["fidelity.classes"].value == pytest.approx(1 / 3)
    assert report["fidelity.classes"].fresh == 0
    (text,) = [t for t in findings(report, "differs") if "other shares" in t]
    assert "17% of synthetic images are of class 'bar', 50% of real ones" in text


def test_a_chance_imbalance_is_none(sets):
    real, fresh, _ = sets
    some = np.random.default_rng(1).permutation(240)[:120]
    assert not [t for t in findings(judge(real, fresh.take(some)), "differs") if "class" in t.lower()]


def test_classes_are_numbered_as_the_real_ones_are(sets):
    real, fresh, others = sets
    order = np.array([2, 0, 1])
    renamed = changed(fresh, labels=order[fresh.labels], classes=("box", "line", "bar"))
    assert list(renamed.names) == list(fresh.names)
    report = judge(real, renamed, others)
    assert report["fidelity.classes"].value == 0
    assert report["utility.network"].value > 0.9


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    return [drawn(folder, range(start, start + 20)) for start in (100, 200, 300)]


def test_one_copy_in_a_hundred_is_found(many):
    real, fresh, others = many
    copied = fresh.pixels.copy()
    copied[:12] = real.pixels[:12]
    report = judge(flat(real), flat(changed(fresh, copied)), flat(others))
    assert report["disclosure.copies"].value == pytest.approx(0.01)
    (text,) = [t for t in findings(report, "leaks") if "copied" in t]
    assert text.startswith("Training records are copied: 1.00% of synthetic records equal a training record, 0.00%")
    calm = judge(flat(real), flat(fresh), flat(others))
    assert findings(calm, "leaks") == []


def test_copies_are_sought_among_all_pictures_though_few_are_compared(sets, monkeypatch):
    monkeypatch.setattr(module, "MOST", 60)
    real, fresh, others = sets
    pixels = np.concatenate([real.pixels[:120], fresh.pixels[120:]])
    report = judge(real, changed(fresh, pixels), others)
    assert report["disclosure.copies"].value == 0.5
    assert "Of 240 real images 60 were drawn; exact copies are sought among all." in report.setup.notes
    assert report["fidelity.classes"].value == 0


def test_more_features_than_pictures_raise_no_alarm(sets, monkeypatch):
    monkeypatch.setattr(extractors, "random_network", whole_network)  # 640 features
    report = judge(*(flat(x.take(np.s_[:60])) for x in sets))
    assert findings(report, "leaks") == []
    assert not any("cannot leak" in text for text in findings(report, "unseen"))


def test_galleries_show_synthetic_pictures_beside_the_nearest_training_pictures(sets, fresh_report):
    real, fresh, _ = sets
    galleries = section(fresh_report, "gallery").blocks
    assert len(galleries) == 2
    known, seen = ({p.tobytes() for p in x.pixels} for x in (fresh, real))
    for gallery in galleries:
        assert gallery.pictures.shape == (8, 5, 8, 8, 3)
        assert gallery.columns[0] == "synthetic"
        assert len(gallery.captions) == 8
        assert all(row[0].tobytes() in known for row in gallery.pictures)
        assert all(p.tobytes() in seen for row in gallery.pictures for p in row[1:])
    classes = [caption.split(" (distance ")[0] for caption in galleries[0].captions]
    assert set(classes) <= set(CLASSES)


def test_copies_stand_beside_their_originals(copied_report):
    for gallery in section(copied_report, "gallery").blocks:
        assert (gallery.pictures[:, 0] == gallery.pictures[:, 1]).all()
        assert all(caption.endswith("(distance 0.00)") for caption in gallery.captions)


def test_tables_tell_of_each_class(fresh_report):
    report = fresh_report
    rows = table(report, "classes", "By class").rows
    assert [row[:2] for row in rows] == [("bar", 120), ("box", 80), ("line", 40)]
    assert all(abs(row[2]) < 100 for row in rows)
    accuracy = table(report, "utility", "Accuracy by class")
    assert accuracy.header == ("class", "trained on real", "trained on synthetic", "trained on real + synthetic")
    assert [row[0] for row in accuracy.rows] == list(CLASSES)
    assert all(0 <= cell <= 1 for row in accuracy.rows for cell in row[1:])
    overall = table(report, "utility", "Accuracy on real images").rows
    assert overall[1][1] == report["utility.network"].value
    # weighted by how many there are, accuracies by class are the overall one
    assert np.dot([row[2] for row in accuracy.rows], [120, 80, 40]) / 240 == pytest.approx(overall[1][1])


def test_a_class_of_few_pictures_has_no_figure(sets):
    real, fresh, others = (x.take(np.s_[:60]) for x in sets)
    rows = table(judge(real, fresh, others), "classes", "By class").rows
    assert [row[2] is None for row in rows] == [False, True, True]


def test_json_holds_figures_and_no_pixels(fresh_report, tmp_path):
    report, path = fresh_report, tmp_path / "report.json"
    report.write(path)
    found = json.loads(path.read_text("utf-8"))
    galleries = [b for s in found["sections"] for b in s["blocks"] if b["block"] == "gallery"]
    assert [set(b) for b in galleries] == [{"block", "title", "captions", "about"}] * 2
    assert found["scores"]["fidelity.kernel"]["value"] == pytest.approx(report["fidelity.kernel"].value, abs=1e-6)
    assert path.stat().st_size < 100_000


def test_the_page_shows_the_galleries(fresh_report, tmp_path):
    path = tmp_path / "report.html"
    fresh_report.write(path)
    text = path.read_text("utf-8")
    assert text.count("data:image/png;base64") >= 2
    assert "blurred class means" in text


def test_a_flat_folder_has_no_classes_and_no_network(tmp_path, command):
    folders = []
    for seed, name in enumerate(("real", "new", "others")):
        folders.append(tmp_path / name)
        write(flat(read_images(draw_pictures(tmp_path / "drawn" / name, seed=seed))), folders[-1])
    report = judge(*folders)
    assert section(report, "classes") is None
    assert section(report, "utility") is None
    assert not [s.name for s in report if s.name.startswith("utility")]
    assert {"fidelity", "gallery", "membership", "copies"} <= {s.name for s in report.sections}
    assert section(report, "gallery").blocks[0].captions[0].startswith("(distance")
    told = command("report", folders[0], folders[1], "--holdout", folders[2], "--features", "random")
    assert told.code == 0, told.err


def test_one_class_alone_is_none(sets):
    bars = [x.take(np.flatnonzero(x.labels == 0)) for x in sets]
    report = judge(*(changed(x, classes=("bar",)) for x in bars))
    assert section(report, "classes") is None
    assert section(report, "fidelity") is not None


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_grey_and_transparent_pictures_are_compared_too(sets, mode, tmp_path):
    folders = []
    for name, images in zip(("real", "new", "others"), sets, strict=True):
        grey, colours = images.pixels.mean(axis=3, keepdims=True).astype(np.uint8), images.pixels
        alpha = np.where(grey > 60, 255, 128).astype(np.uint8)
        pixels = {"L": grey, "LA": np.concatenate([grey, alpha], 3), "RGBA": np.concatenate([colours, alpha], 3)}[mode]
        folders.append(tmp_path / name)
        write(changed(images, pixels, mode=mode), folders[-1])
    report = judge(*folders)
    assert findings(report, "differs") == []
    assert findings(report, "leaks") == []
    assert section(report, "gallery").blocks[0].pictures.shape == (8, 5, 8, 8, len(mode))
    assert read_images(folders[0]).schema.mode == mode


def test_what_lies_under_full_transparency_does_not_count(sets):
    real, fresh = (x.take(np.s_[:120]) for x in sets[:2])
    rng = np.random.default_rng(0)

    def hidden(images, change):
        pixels = np.concatenate([images.pixels, np.full((*images.pixels.shape[:3], 1), 255, np.uint8)], 3)
        pixels[:, :4, :, 3] = 0
        if change:
            pixels[:, :4, :, :3] = rng.integers(0, 256, pixels[:, :4, :, :3].shape)
        return changed(images, pixels, mode="RGBA")

    plain, other = (judge(hidden(flat(real), False), hidden(flat(fresh), c)) for c in (False, True))
    assert other["fidelity.kernel"].value == pytest.approx(plain["fidelity.kernel"].value, abs=1e-3)


def test_without_a_holdout_halves_are_compared_and_disclosure_is_not_judged(folders):
    report = judge(*folders[:2])
    assert any("Disclosure could not be judged" in text for text in findings(report, "unseen"))
    assert not [s.name for s in report if s.name.startswith("disclosure")]
    assert any("images are compared with a half of the real ones" in note for note in report.setup.notes)
    assert report["fidelity.classes"].fresh is None
    assert report.setup.holdout is None
    assert findings(report, "leaks") == []


def test_the_least_that_can_be_compared_is_twenty_pictures(sets):
    least = [x.take(np.random.default_rng(0).permutation(60)[:20]) for x in sets]
    assert judge(*least)["fidelity.kernel"].value is not None
    assert judge(*least[:2])["fidelity.kernel"].value is not None


def test_the_same_seed_gives_the_same_report(folders):
    first, second = (judge(*folders, seed=3) for _ in range(2))
    assert [(s.name, s.value, s.low, s.high) for s in first] == [(s.name, s.value, s.low, s.high) for s in second]


def test_progress_rises_to_the_end(folders):
    done = []
    judge(*folders, report=done.append)
    assert done == sorted(done)
    assert done[-1] == 1
    assert len(done) > 20


def test_classes_that_cannot_be_learned_say_nothing_of_utility(sets):
    rng = np.random.default_rng(0)
    mixed = [changed(x, labels=rng.permutation(x.labels)) for x in sets]
    balanced = [x.take(np.concatenate([np.flatnonzero(x.labels == k)[:40] for k in range(3)])) for x in mixed]
    report = judge(*balanced)
    assert any("can hardly be learned" in text for text in findings(report, "unseen"))
    assert findings(report, "useless") == []


def test_features_are_named_beside_the_figures(fresh_report):
    report = fresh_report
    assert report.setup.notes[0].startswith("Features: random network at 64 px. Convolutions")
    assert "random network" in report["fidelity.kernel"].about
    assert "KID" not in report["fidelity.kernel"].about


@pytest.mark.slow
def test_the_whole_network_and_a_trained_classifier_agree(folders, monkeypatch):
    monkeypatch.setattr(extractors, "random_network", whole_network)
    monkeypatch.setattr(image_classes, "train_classifier", train_classifier)
    monkeypatch.setattr(classifier, "WIDTH", 32)
    monkeypatch.setattr(classifier, "SIZE", 32)
    report = judge(*folders)
    assert findings(report, "differs") == []
    assert report["utility.network"].value > 0.95


def larger(folder, seed, size=70):
    """Pictures of a size that reading makes smaller."""
    return draw_pictures(folder, (size, size), seed)


def test_larger_real_pictures_are_read_at_the_size_of_the_synthetic_ones(tmp_path):
    real, others = larger(tmp_path / "real", 0), larger(tmp_path / "others", 2)
    new = draw_pictures(tmp_path / "new", (32, 32), 1)
    for file in (new / "bar").iterdir():
        file.unlink()  # so that its classes have other numbers than those of the real ones
    first = read_images(real)
    assert first.schema.width == 64
    found = read_others(first, {"synthetic": new, "holdout": others}, NAMES, real)
    for role, folder in (("real", real), ("synthetic", new), ("holdout", others)):
        images = found[role]
        assert images.schema == ImageSchema(mode="RGB", height=32, width=32, classes=tuple(CLASSES))
        assert images.names == [file.split("/")[0] for file in images.files]
        # what a model fitted at 32 pixels sees
        assert (images.pixels == read_images(folder, size=32).pixels).all()
    assert found["real"].notes == ("the real: 60 of 60 images were resized to 32 x 32, like the new",)
    report = judge(real, new, others)
    assert "real: 60 of 60 images were resized to 32 x 32, like new" in report.setup.notes
    assert "Classes that were never drawn: 'bar'." in findings(report, "differs")


def test_labels_stay_right_where_a_picture_cannot_be_read(tmp_path):
    real, new = larger(tmp_path / "real", 0), draw_pictures(tmp_path / "new", (32, 32), 1)
    (real / "bar" / "007.png").write_bytes((real / "bar" / "007.png").read_bytes()[:300])
    found = read_others(read_images(real), {"synthetic": new, "holdout": None}, NAMES, real)["real"]
    assert len(found) == 59
    assert found.names == [file.split("/")[0] for file in found.files]
    assert any("1 of 60 files cannot be read and was left out: bar/007.png" in note for note in found.notes)


def test_a_class_whose_pictures_cannot_be_read_is_none(tmp_path):
    real, new = larger(tmp_path / "real", 0), draw_pictures(tmp_path / "new", (32, 32), 1)
    (real / "arc").mkdir()
    (real / "arc" / "0.png").write_bytes((real / "bar" / "007.png").read_bytes()[:300])
    found = read_others(read_images(real), {"synthetic": new, "holdout": None}, NAMES, real)["real"]
    assert found.schema.classes == tuple(CLASSES)
    assert found.names == [file.split("/")[0] for file in found.files]


def test_smaller_real_pictures_are_read_at_the_size_of_the_synthetic_ones(tmp_path):
    real, new = draw_pictures(tmp_path / "real"), draw_pictures(tmp_path / "new", (12, 12), 1)
    report = judge(real, new)
    assert "real: 60 of 60 images were resized to 12 x 12, like new" in report.setup.notes


def test_paths_are_read_at_the_size_of_what_is_in_memory(tmp_path):
    folder = larger(tmp_path / "real", 0, 80)
    real = read_images(folder, size=72)
    new = larger(tmp_path / "new", 1, 80)
    found = read_others(real, {"synthetic": new, "holdout": None}, NAMES, real)
    assert found["synthetic"].schema == real.schema
    assert found["synthetic"].notes == ("the new: 60 of 60 images were resized to 72 x 72, like the real",)


def test_notes_of_reading_name_no_options_that_a_report_lacks(tmp_path):
    real, new = (larger(tmp_path / name, seed) for seed, name in enumerate(("real", "new")))
    notes = judge(real, new).setup.notes
    assert "real: 60 of 60 images were resized to 64 x 64" in notes
    assert not any("--size" in note or "model" in note for note in notes)


def test_grey_pictures_do_not_take_the_colour_from_real_ones(folders, tmp_path):
    new = read_images(folders[1])
    grey = changed(new, new.pixels.mean(axis=3, keepdims=True).astype(np.uint8), mode="L")
    write(grey, tmp_path / "grey")
    report = judge(folders[0], tmp_path / "grey")
    assert any("differ far from real ones" in text for text in findings(report, "differs"))
    assert "grey: L was read as RGB" in report.setup.notes
    turned = judge(tmp_path / "grey", folders[1])
    assert any("differ" in text for text in findings(turned, "differs"))
    assert "grey: L was read as RGB" in turned.setup.notes


def test_pictures_in_memory_of_another_size_or_mode_are_refused(sets, folders):
    real, fresh, others = sets
    small = changed(fresh, fresh.pixels[:, :6, :7], height=6, width=7)
    grey = changed(fresh, fresh.pixels[..., :1], mode="L")
    for given in ((real, small), (real, fresh, small), (folders[0], small, others)):
        with pytest.raises(
            SynthgenError, match=r"holds images of .* which cannot be compared with .*; make them alike"
        ):
            judge(*given)
    with pytest.raises(SynthgenError, match="holds images of 8 x 8 L, which cannot be compared with 8 x 8 RGB"):
        judge(real, grey)


def refused(command, *arguments, says):
    """One clear line, and exit code 2."""
    told = command("report", *arguments)
    assert told.code == 2, told.err
    assert told.out == ""
    lines = [line for line in told.err.splitlines() if line]
    assert len(lines) == 1, told.err
    assert says in lines[0]


@pytest.fixture
def random():
    return "--features", "random"


def test_a_class_that_the_real_pictures_lack_is_refused(folders, tmp_path, command, random):
    strange = draw_pictures(tmp_path / "odd", seed=5)
    (strange / "bar").rename(strange / "barn")
    says = "odd holds the class 'barn', which real lacks; it has 'bar', 'box', 'line'"
    refused(command, folders[0], strange, *random, says=says)
    refused(command, folders[0], folders[1], "--holdout", strange, *random, says=says)
    real = draw_pictures(tmp_path / "real", seed=6)
    for file in (real / "box").iterdir():
        file.unlink()
    refused(command, real, folders[1], *random, says="new holds the class 'box', which real lacks")


def test_classes_on_one_side_only_are_refused(folders, tmp_path, command, random):
    write(flat(read_images(folders[1])), tmp_path / "plain")
    says = "real has classes and plain none; put the images of both into folders, one a class"
    refused(command, folders[0], tmp_path / "plain", *random, says=says)
    says = "new has classes and plain none"
    refused(command, tmp_path / "plain", folders[1], *random, says=says)


def test_too_few_pictures_are_refused(folders, tmp_path, command, random):
    few = tmp_path / "few"
    (few / "bar").mkdir(parents=True)
    for i in range(19):
        (few / "bar" / f"{i}.png").write_bytes((folders[1] / "bar" / f"{i:03d}.png").read_bytes())
    refused(command, folders[0], few, *random, says="few holds 19 images; a report needs at least 20")
    refused(command, few, folders[1], *random, says="few holds 19 images; a report needs at least 20")
    for i in range(18):
        (few / "bar" / f"{i}.png").unlink()
    refused(command, folders[0], few, *random, says="few holds 1 image; a report needs at least 20")


def test_a_table_beside_pictures_is_refused(folders, people_csv, command, random):
    refused(command, folders[0], people_csv, *random, says="people.csv is a table, and real holds images")
    held = ("--holdout", people_csv)
    refused(command, *folders[:2], *held, *random, says="people.csv is a table, and real holds images")
    refused(command, people_csv, folders[0], *random, says="real holds images, and people.csv is a table")


def test_folders_without_pictures_are_refused(folders, tmp_path, command, random):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture")
    refused(command, folders[0], tmp_path / "empty", *random, says="empty holds no image")
    refused(command, tmp_path / "empty", folders[0], *random, says="empty holds no image")
    refused(command, folders[0], tmp_path / "gone", *random, says="there is no file")


def test_a_model_is_no_data(folders, pictures_model, command, random):
    says = "is a model; give the data: a file, or a folder of images"
    refused(command, folders[0], pictures_model, *random, says=says)
    refused(command, *folders[:2], "--holdout", pictures_model, *random, says=says)
    refused(command, pictures_model, folders[0], *random, says=str(pictures_model))


def test_unknown_features_are_refused(folders, command):
    refused(command, *folders[:2], "--features", "randon", says="did you mean 'random'?")
    refused(command, *folders[:2], "--features", "gone.pt", says="gone.pt is no file")


@pytest.mark.parametrize("ending", [".pt", ".pt2"])
def test_a_damaged_network_is_refused(folders, tmp_path, command, ending):
    path = tmp_path / f"network{ending}"
    path.write_bytes(b"PK\x03\x04 and no more")
    refused(command, *folders[:2], "--features", path, says="is no network that can be read")


def test_a_picture_that_cannot_be_read_is_left_out_with_a_note(folders, tmp_path, command, random):
    new = draw_pictures(tmp_path / "new", seed=5)
    (new / "bar" / "000.png").write_bytes(b"no picture")
    told = command("report", folders[0], new, *random)
    assert told.code == 0
    assert "new: 1 of 60 files cannot be read and was left out: bar/000.png" in told.err


def test_the_command_prints_the_verdict_and_writes_everything(folders, tmp_path, command, random):
    page, figures = tmp_path / "page.html", tmp_path / "figures.json"
    held = ("--holdout", folders[2])
    told = command("report", *folders[:2], *held, *random, "-o", page, "--json", figures, "--quiet")
    assert told.code == 0, told.err
    assert told.err == ""
    assert "The images cannot be told from real ones" in told.out
    assert "fidelity.kernel" in told.out
    assert page.stat().st_size > 10_000
    assert json.loads(figures.read_text())["setup"]["kind"] == "images"


def test_pictures_of_all_sizes_become_squares_and_are_compared(tmp_path):
    folders = []
    for seed, name in enumerate(("real", "new")):
        folder = draw_pictures(tmp_path / name, seed=seed)
        Image.open(folder / "bar" / "000.png").resize((20, 11)).save(folder / "bar" / "000.png")
        folders.append(folder)
    report = judge(*folders)
    assert isinstance(section(report, "gallery").blocks[0], Gallery)
    assert section(report, "gallery").blocks[0].pictures.shape[2:] == (8, 8, 3)
