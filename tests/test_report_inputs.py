"""What users hand to a report: wrong tables are refused in one line that says which; strangers' formats are read."""

import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

import synthgen
from synthgen.data import as_table
from synthgen.errors import SynthgenError
from synthgen.report import evaluate as evaluating
from synthgen.report.inputs import comparable

NAMES = {"real": "real.csv", "synthetic": "made.csv", "holdout": "held.csv"}


def make_rows(n=120, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame(
        {
            "id": [f"P{seed}{i:05d}" for i in range(n)],
            "x": np.round(x, 3),
            "y": np.where(rng.random(n) < 0.2, np.nan, np.round(1000 * np.exp(x + rng.normal(size=n)), 2)),
            "count": rng.poisson(4, n),
            "day": pd.Timestamp("2021-03-01") + pd.to_timedelta(rng.integers(0, 400, n), unit="D"),
            "town": rng.choice(["Oslo", "Lima", "São Paulo"], n),
            "grade": rng.choice(["1", "2", "3"], n),
            "member": np.where(x > 0, "1", "0"),
        }
    )


@pytest.fixture(scope="module")
def frames():
    return [make_rows(seed=seed) for seed in range(3)]


@pytest.fixture
def files(frames, tmp_path):
    """Paths of real, synthetic and held-out rows; `files(role=...)` writes others in their place."""

    def write(**others):
        paths = []
        for frame, name in zip(frames, ("real", "made", "held"), strict=True):
            given = others.get(name, frame)
            if isinstance(given, pd.DataFrame):
                given.to_csv(tmp_path / f"{name}.csv", index=False)
            elif isinstance(given, bytes):
                (tmp_path / f"{name}.csv").write_bytes(given)
            paths.append(given if isinstance(given, Path) else tmp_path / f"{name}.csv")
        return paths

    return write


@pytest.fixture
def refused(command, tmp_path):
    """A report that must fail in one line that holds all texts, and write nothing."""

    def check(real, made, held, *texts, options=()):
        before = sorted(tmp_path.iterdir())
        places = ("-o", tmp_path / "page.html", "--json", tmp_path / "page.json")
        told = command("report", real, made, "--holdout", held, *places, *options)
        assert told.code == 2, told
        assert told.out == ""
        assert told.err.startswith("synthgen: ")
        assert told.err.count("\n") == 1
        assert "Traceback" not in told.err
        for text in texts:
            assert text in told.err
        assert sorted(tmp_path.iterdir()) == before

    return check


@pytest.mark.parametrize("role", ["made", "held"])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f.drop(columns="x"), "lacks column 'x', unlike real.csv; give a table with its columns"),
        (lambda f: f.drop(columns=["x", "town"]), "lacks columns 'x', 'town', unlike real.csv"),
        (lambda f: f.assign(z=1), "has column 'z', unlike real.csv; drop what is extra"),
        (
            lambda f: f.drop(columns="x").assign(z=1),
            "lacks column 'x' and has column 'z', unlike real.csv; give a table with its columns only",
        ),
        (lambda f: f.rename(columns={"town": "Town"}), "lacks column 'town' and has column 'Town'"),
        (lambda f: f.assign(x=[*f.x[:-1], "oops"]), "column 'x' holds 'oops', which is no number"),
        (lambda f: f.assign(x="oops"), "column 'x' holds 'oops', which is no number"),
        (lambda f: f.assign(day=[*f.day[:-1].astype(str), "2021-02-30"]), "column 'day' holds '2021-02-30'"),
        (lambda f: f.assign(x=[*f.x[:-1], "1e999"]), "column 'x' holds an infinite number"),
        (lambda f: f[:1], "has 1 row; a report needs at least 20"),
        (lambda f: f[:19], "has 19 rows; a report needs at least 20"),
        (lambda f: b"", "is empty"),
        (lambda f: b"id,x\n", "no rows"),
        (lambda f: b"PAR1" + bytes(100), "no readable Parquet"),
        (lambda f: b"PK\x03\x04" + bytes(100), "Excel"),
        (lambda f: bytes(range(256)) * 40, "binary file"),
        (lambda f: b"id,x\n" + b"1,2\n" * 30 + b"3\n", "fields where the header has 2"),
        (lambda f: Path("nowhere.csv"), "there is no file nowhere.csv"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(refused, files, frames, role, change, text):
    given = change(frames[1 if role == "made" else 2])
    refused(*files(**{role: given}), text, given.name if isinstance(given, Path) else f"{role}.csv")


@pytest.mark.parametrize(
    ("real", "text"),
    [
        (make_rows(1), "real.csv has 1 row; a report needs at least 20"),
        (b"", "real.csv is empty"),
        (b"id,x\n", "real.csv: the table has a header but no rows"),
        (Path("nowhere.csv"), "there is no file or folder nowhere.csv"),
        (make_rows().assign(x=[np.inf, *range(119)]), "real.csv: column 'x' holds an infinite number"),
    ],
    ids=["one row", "empty", "header", "missing", "infinite"],
)
def test_real_tables_that_nothing_can_be_compared_with_are_refused(refused, files, real, text):
    refused(*files(real=real), text)


def test_a_table_without_a_column_to_compare_is_refused(refused, files):
    real, made, held = (pd.DataFrame({"id": [f"u{s}{i}" for i in range(40)], "k": 1}) for s in range(3))
    refused(*files(real=real, made=made, held=held), "real.csv has no column to compare: all are ids")


def test_a_table_beside_images_is_refused(refused, files, tmp_path):
    (tmp_path / "pictures").mkdir()
    for i in range(30):
        Image.new("L", (8, 8), i).save(tmp_path / "pictures" / f"{i}.png")
    pictures = tmp_path / "pictures"
    real, made, held = files()
    refused(real, pictures, held, "pictures holds images, and real.csv is a table")
    refused(real, made, pictures, "pictures holds images, and real.csv is a table")
    refused(pictures, made, pictures, "made.csv is a table, and pictures")


def test_an_empty_folder_is_refused(refused, files, tmp_path):
    (tmp_path / "folder").mkdir()
    real, made, held = files()
    refused(real, tmp_path / "folder", held, "folder holds no image")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("twon", "there is no column 'twon'; did you mean 'town'?"),
        ("id", "column 'id' is of kind id, which cannot be predicted"),
        ("", "there is no column ''"),
    ],
)
def test_targets_that_are_none_are_refused(refused, files, target, text):
    refused(*files(), text, options=("--target", target))


def test_the_only_column_cannot_be_predicted(refused, files):
    only = [make_rows(seed=s)[["town"]] for s in range(3)]
    refused(*files(real=only[0], made=only[1], held=only[2]), "no column besides 'town'", options=("--target", "town"))


def test_a_holdout_that_is_the_training_data_is_refused(refused, files, frames):
    text = "120 of 120 rows of held.csv are in real.csv, too; a holdout has rows that the generator has not seen"
    refused(*files(held=frames[0]), text)
    refused(*files(held=frames[0].sample(frac=1, random_state=0)), text)
    real, made, _ = files()
    refused(real, made, real, "rows of real.csv (holdout) are in real.csv (real), too")


def test_a_holdout_of_few_distinct_rows_that_is_the_training_data_is_refused(refused, files, frames):
    some = [f[["town", "grade"]] for f in frames]
    refused(*files(real=some[0], made=some[1], held=some[0]), "rows of held.csv are in real.csv, too")


def test_a_holdout_that_mostly_is_the_training_data_is_refused(refused, files, frames):
    mostly = pd.concat([frames[0][:70], frames[2][:50]])
    refused(*files(held=mostly), "70 of 120 rows of held.csv are in real.csv, too")


def test_files_of_one_name_are_told_apart(refused, files, tmp_path, frames):
    real, _, held = files()
    (tmp_path / "other").mkdir()
    frames[1].drop(columns="x").to_csv(tmp_path / "other" / "real.csv", index=False)
    refused(
        real, tmp_path / "other" / "real.csv", held, "real.csv (synthetic) lacks column 'x', unlike real.csv (real)"
    )


HOSTILE = {
    "x": "<script>alert(1)</script>",
    "y": "two\nlines",
    "count": "\u202edesrever",
    "day": "{{ 7 * 7 }}",
    "town": "=1+1",
    "grade": "日本語 🎉",
    "member": "'; DROP TABLE",
}


@pytest.mark.parametrize("name", HOSTILE.values())
def test_hostile_column_names_are_refused_in_one_line(refused, files, frames, name):
    real, made, held = (f.rename(columns=HOSTILE) for f in frames)
    refused(*files(real=real, made=made.drop(columns=name), held=held), "made.csv lacks column")
    refused(*files(real=real, made=made.assign(**{name + "\x1b[31m": 1}), held=held), "made.csv has column")


def test_hostile_column_names_reach_the_page_as_text(frames):
    real, made = (f.rename(columns=HOSTILE).drop(columns="id") for f in frames[:2])
    made["<script>alert(1)</script>"] = 7.5
    report = synthgen.evaluate(real, made, target="two\nlines")
    page = report.to_html()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page.replace("<bdi>\u202edesrever</bdi>", "") or "<bdi>" in page
    assert json.loads(report.to_json())["sections"]
    assert any("<script>" in f.text for f in report.verdict)


# What strangers write ----------------------------------------------------------------------------------------------


def read_by(made, real, tmp_path, **options):
    """The synthetic rows as they are compared, and what is said about them."""
    real.to_csv(tmp_path / "real.csv", index=False)
    if isinstance(made, pd.DataFrame):
        made.to_csv(tmp_path / "made.csv", index=False, **options)
        made = tmp_path / "made.csv"
    tables = comparable(as_table(tmp_path / "real.csv"), as_table(made), None, NAMES)
    return tables.synthetic.matrix, " ".join(tables.notes)


@pytest.fixture
def plain(frames, tmp_path):
    return read_by(frames[1], frames[0], tmp_path)[0]


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        (lambda f: f.assign(grade=f.grade.astype(float)), {}, ""),
        (lambda f: f.assign(member=f.member.astype(float)), {}, "made.csv: column 'member': '1.0' was read as '1'"),
        (lambda f: f.assign(member=f.member == "1"), {}, "column 'member': 'True' was read as '1'"),
        (lambda f: f.assign(member=np.where(f.member == "1", "yes", "no")), {}, "was read as"),
        (lambda f: f.assign(town=f.town.str.upper()), {}, "was read as"),
        (lambda f: f.assign(town=" " + f.town + "  "), {}, "was read as"),
        (lambda f: f.assign(count=f["count"].astype(float)), {}, ""),
        *((lambda f: f, {"na_rep": text}, "") for text in ("NaN", "None", "NULL", "nan", "NA", "<NA>", "?", "n/a")),
        (lambda f: f, {"date_format": "%d.%m.%Y"}, "column 'day': its dates are written like %d.%m.%Y"),
        (lambda f: f, {"date_format": "%Y-%m-%dT%H:%M:%S"}, "column 'day': its dates are written like"),
        (lambda f: f, {"sep": ";", "decimal": ","}, "column 'y': its numbers are written in another format"),
        (lambda f: f, {"decimal": ","}, "column 'x': its numbers are written in another format"),
        (lambda f: f, {"sep": "\t", "encoding": "utf-16"}, ""),
        (lambda f: f, {"encoding": "utf-8-sig", "lineterminator": "\r\n"}, ""),
        (lambda f: f, {"encoding": "latin-1"}, ""),
        (lambda f: f, {"quoting": 1}, ""),
        (lambda f: f[f.columns[::-1]], {}, "made.csv has its columns in another order than real.csv"),
        (lambda f: f.drop(columns="id"), {}, "made.csv lacks column 'id', which would not be compared"),
        (lambda f: f.assign(id="same"), {}, ""),
    ],
)
def test_what_strangers_write_is_read_as_it_is_meant(frames, plain, tmp_path, change, options, text):
    found, notes = read_by(change(frames[1]), frames[0], tmp_path, **options)
    np.testing.assert_allclose(found, plain)
    assert text in notes
    assert bool(text) == bool(notes)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f,
        lambda f: f.convert_dtypes(),
        lambda f: f.astype({"town": "category", "grade": "category"}),
        lambda f: f.astype({"grade": int, "count": float}),
        lambda f: f.assign(day=f.day.dt.date, x=f.x.astype(str)),
        lambda f: f.assign(day=f.day.dt.strftime("%m/%d/%Y")),
        lambda f: f.assign(day=f.day.dt.tz_localize("UTC")),
        lambda f: f.assign(town=[None, *f.town[1:]], y=f.y.astype("Float64")),
        lambda f: pa.Table.from_pandas(f),
        lambda f: pa.table({n: pa.array(f[n].astype(str)).cast(pa.large_string()) for n in f}),
        lambda f: pa.table({n: pa.array(f[n].astype(str)).cast(pa.string_view()) for n in f}),
        lambda f: pa.Table.from_pandas(f.assign(count=f["count"].astype(int))).replace_schema_metadata(None),
    ],
)
def test_typed_rows_are_read_as_texts_are(frames, plain, tmp_path, change):
    made = change(frames[1])
    found, _ = read_by(as_table(made), frames[0], tmp_path)
    town = list(frames[0].columns).index("town") - 1
    if isinstance(made, pd.DataFrame) and made.town.isna().any():
        assert np.isnan(found[0, town])
        found[0, town] = plain[0, town]
    np.testing.assert_allclose(found, plain)


def test_dates_that_are_missing_by_name_are_missing(frames, tmp_path):
    made = frames[1].assign(day=["NaT", *frames[1].day[1:].astype(str)])
    found, notes = read_by(made, frames[0], tmp_path)
    assert np.isnan(found[:, 3]).tolist() == [True] + [False] * 119
    assert not notes


def test_a_label_for_what_is_missing_is_found_where_a_stranger_left_the_cell_empty(frames, tmp_path):
    real = frames[0].assign(town=frames[0].town.replace("Lima", "?"))
    made = frames[1].assign(town=frames[1].town.replace("Lima", None))
    found, notes = read_by(made, real, tmp_path)
    assert not np.isnan(found[:, 4]).any()
    assert "column 'town': missing cells were read as '?'" in notes


def test_labels_that_are_the_real_ones_are_left_as_they_are(frames, tmp_path):
    real = frames[0].assign(town=np.where(frames[0].x > 0, "None", np.where(frames[0].x > -0.5, "oslo", "Oslo")))
    made = frames[1].assign(town=np.where(frames[1].x > 0, "None", np.where(frames[1].x > -0.5, "oslo", "Oslo")))
    found, notes = read_by(made, real, tmp_path)
    assert not np.isnan(found[:, 4]).any()
    assert len(np.unique(found[:, 4])) == 3
    assert not notes


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("x", [[1.0]] * 120, "column 'x' has the type list<item: double>, where numbers were expected"),
        ("day", list(range(120)), "column 'day' has the type int64, where dates were expected"),
        ("x", [pd.Timestamp("2020-01-01")] * 120, "column 'x' has the type timestamp"),
        ("town", [{"a": 1}] * 120, "where labels were expected"),
        ("town", [b"x"] * 120, "column 'town' has the type binary, where labels were expected"),
    ],
)
def test_columns_of_another_type_are_refused(frames, name, values, text):
    arrow = pa.Table.from_pandas(frames[1])
    made = arrow.set_column(arrow.column_names.index(name), name, pa.array(values))
    with pytest.raises(SynthgenError, match=r"^synthetic: ") as caught:
        synthgen.evaluate(frames[0], made)
    assert text in str(caught.value)


@pytest.mark.parametrize("data", [None, 3, [1, 2], {"a": 1}, np.zeros((30, 2))])
@pytest.mark.parametrize("role", range(2))
def test_what_is_no_table_is_refused(frames, data, role):
    given = [data if i == role else frame for i, frame in enumerate(frames)]
    with pytest.raises(SynthgenError, match=f"{('real', 'synthetic')[role]}: {type(data).__name__} is no table"):
        synthgen.evaluate(*given)


# What is odd, and not wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", range(3))
def test_constant_and_empty_columns_are_compared(frames, role):
    odd = [f.drop(columns="id") for f in frames]
    odd[role] = odd[role].assign(x=1.5, y=np.nan, town="Oslo", grade=None, day=None)
    report = synthgen.evaluate(*odd, target="member")
    assert "differs" in [f.kind for f in report.verdict]
    json.loads(report.to_json(), parse_constant=pytest.fail)


@pytest.mark.parametrize("role", range(1, 3))
def test_a_table_without_any_value_is_compared(frames, role):
    empty = [f[["x", "town", "member"]] for f in frames]
    empty[role] = empty[role].assign(x=np.nan, town=None, member=None)
    report = synthgen.evaluate(*empty, target="member")
    assert report["fidelity.detection"].value > 0.9


def test_a_label_seen_once_is_no_obstacle(frames):
    real, made = (f[["x", "town", "member"]].copy() for f in frames[:2])
    real.loc[0, "town"], made.loc[0, "town"] = "Atlantis", "Avalon"
    report = synthgen.evaluate(real, made, target="town")
    assert "utility.boosted" in [s.name for s in report]


def test_ten_thousand_labels_are_compared():
    rng = np.random.default_rng(0)
    real, made = (
        pd.DataFrame({"city": pd.Categorical([f"c{i}" for i in rng.integers(0, 10_000, n)]), "x": rng.normal(size=n)})
        for n in (20_000, 1000)
    )
    report = synthgen.evaluate(real, made, target="city")
    assert report["fidelity.columns"].excess == pytest.approx(0, abs=0.03)
    assert report.to_html()


def test_a_target_with_nearly_as_many_labels_as_rows_cannot_be_learned():
    rng = np.random.default_rng(0)
    real, made = (pd.DataFrame({"x": rng.normal(size=60), "y": pd.Categorical(rng.permutation(60) // 2)}) for _ in "ab")
    report = synthgen.evaluate(real, made, target="y")
    section = next(s for s in report.sections if s.name == "utility")
    assert section.about == "Too few real rows hold a value of 'y' to learn from."
    assert not section.scores


def test_huge_numbers_are_compared(frames):
    real, made = (f[["x", "count", "member"]].copy() for f in frames[:2])
    real.loc[3, "x"], made.loc[:2, "x"] = 1e308, -1e308
    for target in ("member", "x"):
        report = synthgen.evaluate(real, made, target=target)
        json.loads(report.to_json(), parse_constant=pytest.fail)
        assert all(np.isfinite(s.value) for s in report)


def test_a_holdout_that_overlaps_is_noted(files, frames, command):
    overlapping = pd.concat([frames[2][:100], frames[0][:20]])
    told = command("report", *files()[:2], "--holdout", files(held=overlapping)[2])
    assert told.code == 0
    assert "20 of 120 rows of held.csv equal a row of real.csv" in told.err


# Where it is written -----------------------------------------------------------------------------------------------


@pytest.fixture
def unmeasured(monkeypatch):
    """Nothing may be measured."""

    def fail(*_, **__):
        raise AssertionError("it was measured")

    monkeypatch.setattr(evaluating, "table_sections", fail)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-o", "nowhere/page.html"), "there is no folder nowhere to write page.html into"),
        (("--json", "nowhere/page.json"), "there is no folder nowhere"),
        (("--junit", "nowhere/checks.xml"), "there is no folder nowhere"),
        (("-o", "page.pdf"), "give -o a name that ends in .html"),
        (("-o", "."), "is a folder"),
        (("--json", "."), "is a folder"),
        (("--json", "made.csv"), "made.csv is read or written already"),
        (("--json", "new.json", "--junit", "./new.json"), "new.json is read or written already"),
        (("--gate", "nowhere.toml"), "cannot read the gate nowhere.toml"),
        (("--model", "nowhere"), "nowhere"),
        (("--schema", "nowhere.json"), "cannot read the schema nowhere.json"),
        (("--delimiter", "ab"), "the delimiter is one character"),
        (("--seed", "-1"), "-1"),
        (("--seed", "x"), "x"),
    ],
)
def test_places_and_options_are_checked_before_anything_is_measured(
    files, command, tmp_path, monkeypatch, options, text
):
    real, made, _ = files()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    told = command("report", real, made, *options)
    assert told.code == 2
    assert text in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "gate", ["max = 0.6", "", "[a]\n", '["fidelity.detection"]\nmost = 1', "[[[", '["fidelity.detection"]\nmax = "1"']
)
def test_a_gate_is_read_before_anything_is_measured(files, command, tmp_path, gate):
    real, made, _ = files()
    (tmp_path / "gate.toml").write_text(gate)
    told = command("report", real, made, "--gate", tmp_path / "gate.toml")
    assert told.code == 2
    assert "gate.toml" in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("options", [("-o", "page.html"), ("--json", "page.json"), ("--junit", "checks.xml")])
def test_a_full_disk_leaves_no_half_of_a_file(files, command, tmp_path, monkeypatch, options):
    real, made, _ = files()
    (tmp_path / options[1]).write_bytes(b"before")
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)

    def full(path, text, *_):
        path.write_bytes(text[:100].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    told = command("report", real, made, *options)
    assert told.code == 4
    assert told.err.splitlines()[-1] == f"synthgen: no space left to write {options[1]}; nothing was written"
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / options[1]).read_bytes() == b"before"


@pytest.mark.parametrize("where", ["detection_section", "column_section"])
def test_an_interrupted_report_leaves_nothing(files, command, tmp_path, monkeypatch, where):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluating.fidelity, where, interrupt)
    real, made, _ = files()
    before = sorted(tmp_path.iterdir())
    told = command("report", real, made, "-o", tmp_path / "page.html", "--json", tmp_path / "page.json")
    assert told.code == 130
    assert told.out == ""
    assert told.err.splitlines()[-1] == "synthgen: interrupted; nothing was written"
    assert sorted(tmp_path.iterdir()) == before
