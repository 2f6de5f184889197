"""Releases: what is in them, what is not, and that whatever is changed in one is found."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import draw_pictures, make_people
from PIL import Image

from synthgen import Synthesizer
from synthgen.codec import TableCodec
from synthgen.dp.bins import Part
from synthgen.dp.budget import Budget
from synthgen.dp.prepare import Unit
from synthgen.errors import SynthgenError
from synthgen.release import Terms, release, verify
from synthgen.release.card import plain
from synthgen.release.cells import Cells
from synthgen.release.fidelity import expected
from synthgen.schema import Column, Schema

pytest.importorskip("opendp")

PLANES = Path(__file__).parents[1] / "examples" / "planes.csv"
CANARIES = ["CANARY-7f3a", "98765432", "N10156", "N102UW", "N999DN"]
ALWAYS = {"README.md", "SHA256SUMS", "schema.json", "datapackage.json", "croissant.json"}
CERTIFICATE = {"certificate.json", "certificate.html"}
TABLE = ALWAYS | CERTIFICATE | {"data/records.csv", "data/records.parquet"}
MODEL = {f"model/{name}" for name in ("manifest.json", "weights.safetensors", *CERTIFICATE)}
TERMS = Terms(title="Planes | of 2013", licence="CC0-1.0", date="2026-01-31", publisher="Example", target="engine")


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def content(folder):
    return {name: (folder / name).read_bytes() for name in files(folder)}


def sums_again(folder):
    """Make all hashes right, as a careful forger would."""
    package, croissant = (json.loads((folder / n).read_bytes()) for n in ("datapackage.json", "croissant.json"))
    for resource in package["resources"]:
        resource["hash"] = "sha256:" + hashlib.sha256((folder / resource["path"]).read_bytes()).hexdigest()
    croissant["distribution"] = [f for f in croissant["distribution"] if (folder / f.get("contentUrl", "")).exists()]
    for file in croissant["distribution"]:
        if "sha256" in file:
            file["sha256"] = hashlib.sha256((folder / file["contentUrl"]).read_bytes()).hexdigest()
    (folder / "datapackage.json").write_text(json.dumps(package))
    (folder / "croissant.json").write_text(json.dumps(croissant))
    names = sorted(files(folder) - {"SHA256SUMS"})
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def edit(name, old, new, count=1):
    """A forgery that puts one text for another."""

    def forge(folder):
        text = (folder / name).read_text("utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, count), "utf-8")

    return forge


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    """The planes with a row that nobody else is like."""
    frame = pd.read_csv(PLANES, dtype=str, keep_default_na=False)[
        ["tailnum", "year", "manufacturer", "seats", "engine"]
    ]
    frame.loc[7, "manufacturer"], frame.loc[7, "seats"] = CANARIES[:2]
    path = tmp_path_factory.mktemp("release") / "planes.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(planes, tmp_path_factory):
    path = tmp_path_factory.mktemp("release") / "model"
    known = Schema(columns=(Column(name="year", kind="numeric", minimum=1950, maximum=2013),))
    Synthesizer("marginals", schema=known).fit(planes, budget=Budget(3.0, 1e-6)).save(path)
    return path


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """A release of the planes."""
    path = tmp_path_factory.mktemp("release") / "planes"
    release(Synthesizer.load(model), path, 800, terms=TERMS)
    return path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A release of pictures."""
    folder = tmp_path_factory.mktemp("release")
    fitted = Synthesizer("gmm").fit(
        draw_pictures(folder / "raw"), budget=Budget(40.0, 1e-4)
    )  # so much that all classes are found
    release(fitted, folder / "shapes", 30, terms=Terms(licence="CC-BY-4.0", date="2026-01-31"))
    return folder / "shapes"


@pytest.fixture(scope="module")
def open_model(planes, tmp_path_factory):
    path = tmp_path_factory.mktemp("release") / "open"
    Synthesizer("marginals").fit(planes).save(path)
    return path


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_a_release_holds_what_is_on_the_list_and_nothing_else(made, drawn, model, tmp_path):
    assert files(made) == TABLE | {"LICENSE"}
    pictures = {name for name in files(drawn) if re.fullmatch(r"images/(bar|box|line)/\d{8}\.png", name)}
    assert len(pictures) == 30
    assert files(drawn) == ALWAYS | CERTIFICATE | {"LICENSE", "images/metadata.csv"} | pictures
    release(Synthesizer.load(model), tmp_path / "more", 50, with_model=True)
    assert files(tmp_path / "more") == TABLE | MODEL
    assert verify(tmp_path / "more").records == 50
    assert [p.name for p in tmp_path.iterdir()] == ["more"]


def test_the_same_model_seed_and_terms_give_the_same_bytes(model, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    release(Synthesizer.load(model), "again", 800, terms=TERMS)
    assert content(Path("again")) == content(made)
    release(Synthesizer.load(model), "other", 800, terms=TERMS, seed=1)
    assert content(Path("other"))["data/records.csv"] != content(made)["data/records.csv"]
    for data in content(made).values():
        assert str(tmp_path).encode() not in data
        assert str(model).encode() not in data


def test_nothing_that_one_record_alone_holds_is_in_any_byte(model, open_model, tmp_path):
    for source, formal in ((model, True), (open_model, False)):
        folder = tmp_path / source.name
        release(Synthesizer.load(source), folder, 3000, no_formal_guarantee=not formal, with_model=formal)
        table = pq.read_table(folder / "data/records.parquet").to_pandas().to_csv().encode()  # its pages are compressed
        for data in [*content(folder).values(), table]:
            assert not [canary for canary in CANARIES if canary.encode() in data]


def test_the_sums_are_those_of_coreutils(made):
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=made, check=True)
    assert len((made / "SHA256SUMS").read_text().splitlines()) == len(files(made)) - 1


def test_csv_and_parquet_hold_the_same_rows_as_the_schema_says(made):
    parquet, text = pd.read_parquet(made / "data/records.parquet"), pd.read_csv(made / "data/records.csv")
    assert len(parquet) == 800
    pd.testing.assert_frame_equal(parquet[["year", "seats"]], text[["year", "seats"]], check_dtype=False)
    assert parquet.manufacturer.tolist() == text.manufacturer.tolist()
    schema = Schema.from_json((made / "schema.json").read_text())
    assert set(schema["manufacturer"].categories) == set(parquet.manufacturer)
    assert (schema["year"].minimum, schema["year"].maximum) == (1950, 2013)  # as declared
    assert (schema["seats"].minimum, schema["seats"].maximum) == (parquet.seats.min(), parquet.seats.max())


def test_all_documents_say_the_same_and_that_it_is_synthetic(made):
    package, croissant = (json.loads((made / n).read_bytes()) for n in ("datapackage.json", "croissant.json"))
    card, certificate = (made / "README.md").read_text("utf-8"), json.loads((made / "certificate.json").read_bytes())
    assert package["synthgen"]["epsilon"] == certificate["epsilon"] == 3.0
    assert package["synthgen"]["records"] == 800
    assert "record-level differential privacy, ε = 3 and δ = 1e-06" in card
    assert "ε = 3 and δ = 1e-06" in croissant["description"]
    assert croissant["rai:hasSyntheticData"] is True
    assert package["licenses"][0]["name"] == "CC0-1.0"
    assert "# Planes \\| of 2013" in card
    assert "anonym" not in card.lower()
    assert 'task_categories: ["tabular-classification"]' in card


def test_the_front_matter_is_yaml(made):
    yaml = pytest.importorskip("yaml")
    front = yaml.safe_load((made / "README.md").read_text("utf-8").split("---\n")[1])
    assert (front["license"], front["pretty_name"]) == ("cc0-1.0", "Planes | of 2013")
    assert front["tags"] == ["synthetic", "differential-privacy"]
    assert front["size_categories"] == ["n<1K"]
    assert front["synthgen"]["records"] == 800


def test_verify_says_what_holds(command, made, drawn):
    for folder, said in ((made, "800 rows by marginals"), (drawn, "30 images by gmm")):
        done = command("verify", folder)
        assert done.code == 0, done.err
        assert said in done.out
        assert "add up to epsilon" in done.out
        assert hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest() in done.out


def flipped(name):
    def forge(folder):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(bytes(data))

    return forge


@pytest.mark.parametrize("name", sorted((TABLE | {"LICENSE"}) - {"SHA256SUMS"}))
def test_one_bit_of_any_file_is_missed(command, copy, name):
    flipped(name)(copy)
    done = command("verify", copy)
    assert done.code == 2
    assert f"{name} was changed" in done.err


@pytest.mark.parametrize("name", sorted(TABLE | {"LICENSE"}))
def test_a_file_that_is_gone_is_missed(command, copy, name):
    (copy / name).unlink()
    assert command("verify", copy).code == 2


def swap_rows(folder):
    lines = (folder / "data/records.csv").read_text().splitlines(keepends=True)
    other = next(i for i in range(2, len(lines)) if lines[i] != lines[1])
    lines[1], lines[other] = lines[other], lines[1]
    (folder / "data/records.csv").write_text("".join(lines))


def append_row(folder):
    text = (folder / "data/records.csv").read_text()
    (folder / "data/records.csv").write_text(text + text.splitlines()[-1] + "\n")


def parquet_with(change):
    """A forgery of the rows, in the Parquet and in the CSV."""

    def forge(folder):
        table = pq.read_table(folder / "data/records.parquet")
        frame = change(table.to_pandas())
        pq.write_table(
            type(table).from_pandas(frame, table.schema, preserve_index=False), folder / "data/records.parquet"
        )
        frame.to_csv(folder / "data/records.csv", index=False)

    return forge


def add_images(folder):
    (folder / "images").mkdir()
    (folder / "images/metadata.csv").touch()


def foreign_model(folder):
    Synthesizer("marginals").fit(make_people(200)[["town", "age"]]).save(folder / "model")


FORGERIES = {
    "a cell of the CSV": (edit("data/records.csv", "Turbo-fan", "Turbo-jet"), "line 2|line"),
    "the order of the CSV": (swap_rows, r"records\.csv, line"),
    "a row more in the CSV": (append_row, "more rows than the Parquet"),
    "a row less": (parquet_with(lambda f: f[1:]), "799 rows, and 800 are claimed"),
    "a label": (parquet_with(lambda f: f.assign(engine="Steam")), "'engine' holds 'Steam'"),
    "a number": (parquet_with(lambda f: f.assign(year=2014)), "'year' holds a value beyond the maximum"),
    "a gap": (parquet_with(lambda f: f.assign(engine=None)), "'engine' has an empty cell"),
    "the card's epsilon": (edit("README.md", "ε = 3", "ε = 0.3"), r"README\.md says “ε = 0.3”"),
    "the card's claims": (edit("README.md", '"epsilon": 3.0', '"epsilon": 0.3'), "what it says of epsilon"),
    "the card's rows": (edit("README.md", '"records": 800', '"records": 8000'), "what it says of records"),
    "the package's delta": (edit("datapackage.json", '"delta": 1e-06', '"delta": 1e-09'), "what it says of delta"),
    "the package's rows": (edit("datapackage.json", '"records": 800', '"records": 900'), "README|900 are claimed"),
    "a type in the package": (edit("datapackage.json", '"type": "integer"', '"type": "number"'), "else of the columns"),
    "a field of croissant": (edit("croissant.json", '"sc:Integer"', '"sc:Float"'), "else of the columns"),
    "a file of croissant": (edit("croissant.json", "data/records.csv", "data/other.csv", -1), "does not describe"),
    "the generator": (edit("datapackage.json", '"generator": "marginals"', '"generator": "gan"'), "certificate"),
    "croissant": (edit("croissant.json", '"rai:hasSyntheticData": true', '"rai:hasSyntheticData": false'), "synthetic"),
    "croissant's delta": (edit("croissant.json", "δ = 1e-06", "δ = 1e-09"), "δ = 1e-09"),
    "the certificate's epsilon": (edit("certificate.json", '"epsilon": 3.0', '"epsilon": 0.3'), "exceed|certificate"),
    "the certificate's noise": (edit("certificate.json", '"rho": 0.0', '"rho": 0.1'), "damaged|certificate"),
    "the certificate's page": (edit("certificate.html", "epsilon 3", "epsilon 1", -1), "not the page"),
    "no certificate": (lambda f: [(f / n).unlink() for n in CERTIFICATE], "guarantee"),
    "half a certificate": (lambda f: (f / "certificate.html").unlink(), r"certificate\.html is missing"),
    "a type": (edit("schema.json", '"dtype": "int64"', '"dtype": "double"'), "is int64, and schema.json says double"),
    "a column": (edit("schema.json", '"name": "engine"', '"name": "engines"'), r"records\.csv, line 1:"),
    "a schema": (lambda f: (f / "schema.json").write_text("{}"), "no schema"),
    "a model": (foreign_model, "another model"),
    "a document": (lambda f: (f / "datapackage.json").write_text('{"resources": []}'), "what the release claims"),
    "a file more": (lambda f: (f / "notes.txt").write_text("hello"), r"notes\.txt is no part of the release"),
    "a hidden file": (lambda f: (f / "data/.raw.csv").write_text("hello"), r"data/\.raw\.csv is no part"),
    "images too": (add_images, "no part of a release of rows"),
    "a broken Parquet": (lambda f: (f / "data/records.parquet").write_bytes(b"PAR1"), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_verify_finds_a_forgery_whose_hashes_are_right(command, copy, forgery):
    forge, said = FORGERIES[forgery]
    forge(copy)
    sums_again(copy) if "resources" in (copy / "datapackage.json").read_text() else None
    done = command("verify", copy)
    assert done.code == 2, done.out
    assert done.err.count("\n") == 1
    assert re.search(said, done.err), done.err


@pytest.mark.parametrize(
    "path", ["../planes.csv", "/etc/passwd", "data/../../x", "C:/x", "a\\b", "./README.md", "data//x"]
)
def test_a_list_of_hashes_that_leads_out_of_the_release_is_refused(command, copy, path):
    with (copy / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  {path}\n")
    done = command("verify", copy)
    assert done.code == 2
    assert "leads out of the release" in done.err


def test_links_are_refused(command, copy, made):
    (copy / "data/records.csv").unlink()
    (copy / "data/records.csv").symlink_to(made / "data/records.csv")
    done = command("verify", copy)
    assert done.code == 2
    assert "records.csv is a link" in done.err


def test_lines_that_are_no_hashes_are_refused(command, copy):
    for text in ("", "hello\n", "\xff" * 70):
        (copy / "SHA256SUMS").write_text(text, "latin-1")
        assert command("verify", copy).code == 2


IMAGES = {
    "another size": (lambda f: Image.new("RGB", (9, 8)).save(first(f)), "is not of 8 x 8 pixels of mode RGB"),
    "another mode": (lambda f: Image.new("L", (8, 8)).save(first(f)), "is not of 8 x 8 pixels of mode RGB"),
    "no image": (lambda f: first(f).write_bytes(b"hello"), "is no image that can be read"),
    "one less": (lambda f: first(f).unlink(), "which is not there"),
    "one more": (lambda f: shutil.copy(first(f), f / "images/bar/00000099.png"), "does not list"),
    "another label": (edit("images/metadata.csv", "bar\n", "box\n"), "the folder of another"),
    "an unknown label": (edit("images/metadata.csv", "bar\n", "cup\n"), "'cup', which schema.json does not list"),
    "another class": (edit("schema.json", '"bar"', '"bars"'), "does not list"),
}


def first(folder):
    return min((folder / "images").rglob("*.png"))


@pytest.mark.parametrize("forgery", IMAGES)
def test_verify_finds_forged_images(command, drawn, tmp_path, forgery):
    folder = Path(shutil.copytree(drawn, tmp_path / "copy"))
    forge, said = IMAGES[forgery]
    forge(folder)
    sums_again(folder)
    done = command("verify", folder)
    assert done.code == 2
    assert re.search(said, done.err), done.err


def test_a_release_needs_a_budget_or_says_that_there_is_no_guarantee(command, planes, open_model, tmp_path):
    done = command("release", planes, "-n", 10, "-o", tmp_path / "b")
    assert done.code == 3
    assert "--no-formal-guarantee" in done.err
    assert command("release", open_model, "-n", 10, "-o", tmp_path / "b").code == 3
    assert list(tmp_path.iterdir()) == []


def test_without_a_guarantee_all_documents_say_so_and_nothing_is_from_the_real_table(open_model, command, tmp_path):
    done = command("release", open_model, "-n", 60, "-o", tmp_path / "b", "--no-formal-guarantee")
    assert done.code == 0, done.err
    assert "no formal guarantee" in done.out
    folder = tmp_path / "b"
    assert files(folder) == TABLE - CERTIFICATE
    for name in ("README.md", "datapackage.json", "croissant.json"):
        text = (folder / name).read_text("utf-8")
        assert "no formal guarantee" in text.lower(), name
        assert "ε" not in text
    rows = pd.read_csv(folder / "data/records.csv", dtype=str)
    resource = json.loads((folder / "datapackage.json").read_bytes())["resources"][0]
    fields = {field["name"]: field for field in resource["schema"]["fields"]}
    for name in ("manufacturer", "engine"):
        assert set(fields[name]["constraints"]["enum"]) == set(rows[name])
    assert fields["seats"]["constraints"]["maximum"] == rows.seats.astype(int).max()
    assert "no formal guarantee" in command("verify", folder).out


def test_a_guarantee_cannot_be_claimed_without_a_certificate(command, open_model, tmp_path):
    folder = tmp_path / "b"
    release(Synthesizer.load(open_model), folder, 60, no_formal_guarantee=True)
    for name in ("README.md", "datapackage.json"):
        edit(name, '"guarantee": "none"', '"guarantee": "differential privacy"')(folder)
    sums_again(folder)
    assert "what it says of guarantee" in command("verify", folder).err


def test_without_a_guarantee_a_class_of_few_images_is_refused(tmp_path):
    raw = draw_pictures(tmp_path / "raw")
    (raw / "patient-17").mkdir()
    shutil.copy(next((raw / "box").iterdir()), raw / "patient-17/000.png")
    fitted = Synthesizer("gmm").fit(raw)
    with pytest.raises(SynthgenError, match="'patient-17' is that of 1 image"):
        release(fitted, tmp_path / "b", 10, no_formal_guarantee=True)


def test_a_release_takes_the_place_of_a_release_and_of_nothing_else(command, model, made, tmp_path):
    folder = Path(shutil.copytree(made, tmp_path / "b"))
    assert command("release", model, "-n", 20, "-o", folder).code == 0
    assert verify(folder).records == 20
    (folder / "notes.txt").write_text("mine")
    done = command("release", model, "-n", 20, "-o", folder)
    assert done.code == 2
    assert "holds notes.txt, which is no part of a release" in done.err
    for other in (tmp_path / "mine", tmp_path / "file"):
        other.mkdir() if other.name == "mine" else other.touch()
        if other.is_dir():
            (other / "thesis.tex").touch()
        done = command("release", model, "-n", 20, "-o", other)
        assert done.code == 2
        assert "is no release of synthgen" in done.err
    assert (tmp_path / "mine/thesis.tex").exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--license", "CC-BY"], 2, "did you mean 'CC-BY-4.0'"),
        (["--date", "31.1.2026"], 2, "write it as 2026-01-31"),
        (["--title", "a\nb"], 2, "one line"),
        (["--title", "\x1b[31m"], 2, "invisible"),
        (["--url", "javascript:alert(1)"], 2, "no address"),
        (["--description", "with ε = 0.1"], 2, "states an ε or δ"),
        (["--target", "engin"], 2, "did you mean 'engine'"),
        (["--shards", "3"], 2, "choose --shards 1 or fewer"),
        (["--epsilon", "1"], 3, "both --epsilon and --delta"),
        (["--epsilon", "1", "--delta", "1e-6", "--no-formal-guarantee"], 2, "not both"),
        (["-o", "/nowhere/b"], 2, "there is no folder"),
        (["--unit-records", "3", "--epsilon", "1", "--delta", "1e-6"], 2, "--privacy-unit"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(command, planes, tmp_path, options, code, said):
    ledger = tmp_path / "ledger"
    done = command("release", planes, "-n", 10, "-o", tmp_path / "b", "--ledger", ledger, *options)
    assert done.code == code, done.err
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_model_was_fitted_already(command, model, tmp_path):
    done = command("release", model, "-n", 10, "-o", tmp_path / "b", "--epsilon", 1, "--delta", "1e-6")
    assert done.code == 2
    assert "leave out --epsilon" in done.err


def test_shards_are_whole_chunks_in_order(model, made, tmp_path, monkeypatch):
    monkeypatch.setattr(TableCodec, "chunk", 100)
    fitted = Synthesizer.load(_with_chunk(model, tmp_path / "model"))
    release(fitted, tmp_path / "one", 750)
    release(fitted, tmp_path / "three", 750, shards=3)
    names = [f"data/records-0000{i}-of-00003.parquet" for i in range(3)]
    assert files(tmp_path / "three") - set(names) == TABLE - {"data/records.parquet"}
    parts = [pd.read_parquet(tmp_path / "three" / name) for name in names]
    assert [len(part) for part in parts] == [300, 300, 150]
    pd.testing.assert_frame_equal(
        pd.concat(parts, ignore_index=True), pd.read_parquet(tmp_path / "one/data/records.parquet")
    )
    assert verify(tmp_path / "three").records == 750
    (tmp_path / "three" / names[1]).unlink()
    sums_again(tmp_path / "three")
    with pytest.raises(SynthgenError, match="nor all of several"):
        verify(tmp_path / "three")


def _with_chunk(model, path):
    from synthgen import artifact

    manifest, weights = artifact.load(model)
    artifact.save(path, manifest | {"chunk": TableCodec.chunk}, weights)
    return path


def test_persons_are_protected_in_the_cards_words(tmp_path):
    frame = make_people(900)[["town", "age", "sport"]].assign(person=np.arange(900) // 3)
    fitted = Synthesizer("marginals").fit(frame, budget=Budget(5.0, 1e-6), unit=Unit("person", 2))
    facts = release(fitted, tmp_path / "b", 300)
    card = (tmp_path / "b/README.md").read_text("utf-8")
    assert "person-level differential privacy, ε = 5" in card
    assert "depends on any one person's records only so far" in card
    assert "A factor of 148.42 is large" in card
    record = next(c for c in fitted.certificate["queries"] if c["what"] == "labels of 'town'")
    town = next(d for d in facts.distances if d.column == "town")
    assert town.noise > expected(np.array([1.0]), np.array([2 * record["scale"] / fitted.certificate["records"]]), 300)


def test_hostile_names_and_labels_are_shown_as_they_are_and_break_nothing(command, tmp_path):
    rng = np.random.default_rng(0)
    names = ["a|b", "`c` <script>", "ünï ☃ = -1", 'q"uote, comma', "ε = 9"]
    frame = pd.DataFrame({name: rng.choice(["x|y", "<b>", "=1+1", "ja, nein"], 400) for name in names})
    raw = tmp_path / "raw.csv"
    frame.to_csv(raw, index=False)
    options = ["--epsilon", 8, "--delta", "1e-6", "--license", "LicenseRef-Own", "--date", "2026-01-31"]
    done = command("release", raw, "-n", 200, "-o", tmp_path / "b", *options)
    assert done.code == 0, done.err
    assert "<script>" not in (tmp_path / "b/README.md").read_text("utf-8")
    done = command("verify", tmp_path / "b")
    assert done.code == 0, done.err


def test_plain_text_is_escaped_for_markdown():
    assert plain("a|b\n# c <i> [x](y) `z`") == r"a\|b \# c \<i\> \[x\](y) \`z\`"


def test_values_are_placed_in_the_parts_that_were_counted():
    cells = Cells([Part("", "", 5), Part(3.0, 3.0, 9), Part(0.0, 4.0, 20, 1.0), Part(5.0, 9.0, 20, 1.0)])
    values = np.array([np.nan, 3, 2, 4, 5, 9, 10, -1])
    assert cells.place(values).tolist() == [0, 1, 2, 2, 3, 3, 4, 4]
    import pyarrow as pa

    labels = Cells([Part("", "", 1), Part("b", "b", 1), Part("a", "a", 1)])
    assert labels.place(pa.array(["a", None, "c", "b"])).tolist() == [2, 0, 3, 1]


def test_the_distance_that_noise_makes_is_that_of_a_simulation():
    rng = np.random.default_rng(0)
    shares, noise, n = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.02, 0.02, 0.02, 0.04]), 400
    noisy = shares + noise * rng.standard_normal((4000, 4))
    drawn = rng.multinomial(n, shares, 4000) / n
    assert expected(shares, noise, n) == pytest.approx(np.abs(noisy - drawn).sum(1).mean() / 2, rel=0.05)


def test_released_columns_are_as_far_from_what_was_paid_as_noise_makes_them(model, tmp_path):
    """The generator learned labels of an even table well: what is left is noise."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.choice(list("abcdef"), 4000) for name in ("one", "two")})
    facts = release(Synthesizer("marginals").fit(frame, budget=Budget(2.0, 1e-6)), tmp_path / "b", 4000)
    assert [d.column for d in facts.distances] == ["one", "two"]
    for distance in facts.distances:
        assert distance.value < 4 * distance.noise


KILLED = """
import os, signal, sys
from synthgen.release import bundle
bundle.write_sums = lambda folder: os.kill(os.getpid(), signal.SIGKILL)
from synthgen.cli import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_after_a_kill_the_same_command_works_says_what_was_spent_and_leaves_nothing(command, planes, tmp_path):
    arguments = [
        "release",
        planes,
        "--drop",
        "tailnum",
        "--epsilon",
        3,
        "--delta",
        "1e-6",
        "-n",
        100,
        "-o",
        tmp_path / "b",
    ]
    arguments = [str(a) for a in [*arguments, "--ledger", tmp_path / "ledger"]]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "b").exists()
    again = command(*arguments)
    assert again.code == 0, again.err
    assert "fitted once before: together those fits spent epsilon" in again.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "ledger"]
    assert "fitted 2 times" in command("verify", tmp_path / "b", "--ledger", tmp_path / "ledger").out


@pytest.mark.slow
def test_a_disk_that_is_full_after_the_fit_says_what_was_spent(command, planes, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synthgen.release.bundle.write_sums", full)
    arguments = ["--drop", "tailnum", "--epsilon", 3, "--delta", "1e-6", "-n", 100, "-o", tmp_path / "b"]
    done = command("release", planes, *arguments)
    assert done.code == 4
    assert re.search(r"no space left .*; epsilon 3 is spent all the same", done.err)
    assert list(tmp_path.iterdir()) == []


def read_by_others(*command):
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("which", ["made", "drawn"])
def test_frictionless_and_croissant_accept_it(which, request):
    pytest.importorskip("frictionless")
    pytest.importorskip("mlcroissant")
    folder = request.getfixturevalue(which)
    done = read_by_others("-m", "frictionless", "validate", str(folder / "datapackage.json"))
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("VALID") == 1
    code = "import sys; from absl import app; from mlcroissant.scripts import validate; app.run(validate.main)"
    done = read_by_others("-c", code, "--jsonld", str(folder / "croissant.json"))
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    assert "Done." in done.stderr


LOADED = """
import sys
from datasets import load_dataset
rows = load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2])
print(len(rows), sorted(rows.features))
import mlcroissant
described = mlcroissant.Dataset(sys.argv[1] + "/croissant.json")
print(sum(1 for _ in described.records(described.metadata.record_sets[0].uuid)))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("made", "800 ['engine', 'manufacturer', 'seats', 'tailnum', 'year']\n800\n"),
        ("drawn", "30 ['image', 'label']\n30\n"),
    ],
)
def test_datasets_and_croissant_load_it(which, said, request, tmp_path):
    pytest.importorskip("datasets")
    pytest.importorskip("mlcroissant")
    done = read_by_others("-c", LOADED, str(request.getfixturevalue(which)), str(tmp_path))
    assert done.stdout == said, done.stderr


def test_no_model_of_exact_values_is_published(command, planes, open_model, tmp_path):
    for data in (planes, open_model):
        done = command("release", data, "-n", 30, "-o", tmp_path / "b", "--no-formal-guarantee", "--with-model")
        assert (done.code, "holds exact values" in done.err) == (2, True)
    assert not (tmp_path / "b").exists()


def test_a_delimiter_is_heeded_before_and_in_a_private_fit(command, planes, tmp_path):
    text = planes.read_text().replace(",", "^")
    (tmp_path / "odd.csv").write_text(text)
    options = ["--epsilon", 3, "--delta", "1e-6", "--delimiter", "^", "--target", "engine", "-o", tmp_path / "b"]
    assert command("release", tmp_path / "odd.csv", "-n", "1k", *options).code == 0
    (tmp_path / "tabs.csv").write_text(text.replace("^", "\t"))
    options[5] = "tab"
    assert command("release", tmp_path / "tabs.csv", "-n", 30, *options).code == 0


@pytest.mark.parametrize("day", ["20260131", "2026-W05-1", "2026-02-30", "today"])
def test_a_day_is_written_in_one_way(day):
    with pytest.raises(SynthgenError, match="is no day"):
        Terms(date=day).check()


def test_verify_finds_an_added_folder_of_nothing(command, copy):
    (copy / "secret").mkdir()
    assert command("verify", copy).code == 2
