"""`synthgen report` as it is typed: what goes to stdout and stderr, files, gates, models, exit codes."""

import json
import subprocess
import sys
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from conftest import make_people

from synthgen import Synthesizer
from synthgen.report.evaluate import NO_CLAIM


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Real, synthetic and held-out people, none of whom any model has seen."""
    folder = tmp_path_factory.mktemp("people")
    paths = [folder / name for name in ("train.csv", "made.csv", "test.csv")]
    for seed, path in enumerate(paths):
        make_people(150, seed).to_csv(path, index=False)
    return paths


@pytest.fixture(scope="module")
def gates(tmp_path_factory):
    """A gate that all rows pass, and one that none can."""
    folder = tmp_path_factory.mktemp("gates")
    (folder / "easy.toml").write_text('["fidelity.*"]\nmin = 0\n["fidelity.detection"]\nmax = 0.999\n')
    (folder / "hard.toml").write_text('["fidelity.detection"]\nmax = 0.01\n["fidelity.pairs"]\nmin = 0\n')
    return folder / "easy.toml", folder / "hard.toml"


def test_the_verdict_and_all_scores_go_to_stdout_and_notes_to_stderr(command, tables, tmp_path):
    real, made, held = tables
    page, body, checks = tmp_path / "page.html", tmp_path / "figures.json", tmp_path / "checks.xml"
    told = command("report", real, made, "--holdout", held, "-o", page, "--json", body, "--junit", checks)
    assert told.code == 0
    found = json.loads(body.read_text("utf-8"))
    for name in found["scores"]:
        assert f"\n{name} " in told.out
    for finding in found["verdict"]:
        assert finding["text"] in told.out
    assert [line for line in told.err.splitlines() if not line.startswith("measuring")] == found["setup"]["notes"]
    assert found["setup"]["real"] == ["train.csv", 150]
    assert found["setup"]["synthetic"] == ["made.csv", 150]
    assert found["setup"]["holdout"] == ["test.csv", 150]
    assert found["setup"]["claim"] == NO_CLAIM
    assert page.read_text("utf-8").lower().startswith("<!doctype html>")
    cases = ET.parse(checks).getroot().iter("testcase")  # without a gate its headline scores, all passing
    assert [c.get("name") for c in cases] == [n for n, s in found["scores"].items() if s["headline"]]
    assert sorted(tmp_path.iterdir()) == [checks, body, page]


def test_figures_of_a_table_stand_below_their_header(command, tables):
    told = command("report", *tables[:2], "--quiet")
    assert told.err == ""
    lines = told.out.split("\n\n")[1].splitlines()
    assert lines[0].split() == ["value", "95", "%", "interval", "fresh", "real", "copies", "independent"]
    assert len({len(line) for line in lines}) == 1
    detection = lines[1].split()
    assert detection[0] == "fidelity.detection"
    assert all(0 <= float(x) <= 1 for x in detection[1:] if x != "to")


def test_json_on_stdout_is_nothing_but_json(command, tables, tmp_path):
    hostile = {"town": "\u202eto\x1bwn\nü", "sport": "日本 🎉"}
    paths = [tmp_path / p.name for p in tables[:2]]
    for source, path in zip(tables, paths, strict=False):
        pd.read_csv(source).rename(columns=hostile).to_csv(path, index=False)
    told = command("report", *paths, "--json", "-", "--seed", 3)
    assert told.code == 0
    found = json.loads(told.out)
    assert hostile["town"] in {row[0] for s in found["sections"] for b in s["blocks"] for row in b.get("rows", [])}
    assert found["setup"]["notes"][0] in told.err
    again = command("report", *paths, "--json", tmp_path / "figures.json", "--seed", 3)
    written = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert found["setup"].pop("seconds") >= 0 <= written["setup"].pop("seconds")
    assert found == written
    assert not {"\x1b", "\u202e"}.intersection(again.out + again.err)


def test_a_gate_that_holds_is_told(command, tables, gates, tmp_path):
    told = command("report", *tables[:2], "--gate", gates[0], "--junit", tmp_path / "checks.xml")
    assert told.code == 0
    suite = ET.parse(tmp_path / "checks.xml").getroot()[0]
    assert suite.get("failures") == "0"
    assert told.out.splitlines()[-1] == f"all {suite.get('tests')} thresholds hold"


def test_a_gate_that_fails_is_told_and_everything_is_written(command, tables, gates, tmp_path):
    places = "-o", tmp_path / "page.html", "--json", tmp_path / "all.json", "--junit", tmp_path / "checks.xml"
    told = command("report", *tables[:2], "--gate", gates[1], *places, "--quiet")
    assert told.code == 5
    failed = [line for line in told.out.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1
    assert failed[0].startswith("FAILED fidelity.detection: value 0.")
    assert failed[0].endswith("is above 0.01")
    assert "thresholds hold" not in told.out
    assert told.err == f"synthgen: 1 of 2 thresholds of {gates[1]} failed\n"
    suite = ET.parse(tmp_path / "checks.xml").getroot()[0]
    assert [suite.get(k) for k in ("tests", "failures")] == ["2", "1"]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_gate_that_fails_leaves_json_on_stdout_pure(command, tables, gates):
    told = command("report", *tables[:2], "--gate", gates[1], "--json", "-")
    assert told.code == 5
    assert json.loads(told.out)["synthgen_report"] == 1


def test_a_gate_for_a_score_that_the_report_lacks_is_an_error(command, tables, tmp_path):
    (tmp_path / "gate.toml").write_text('["disclosure.copies"]\nmax = 0.1\n')  # there is no holdout
    told = command("report", *tables[:2], "--gate", tmp_path / "gate.toml")
    assert told.code == 2
    assert "the report has no score 'disclosure.copies'" in told.err


def test_the_target_is_chosen_and_said(command, tables):
    named = command("report", *tables[:2], "--target", "sport")
    assert "predict 'sport'" in named.out
    unnamed = command("report", *tables[:2])
    assert "Utility was not measured: name the column to predict with --target." in unnamed.err


def test_a_schema_says_what_columns_are(command, tables, tmp_path):
    schema = {"synthgen_schema": 1, "columns": [{"name": "age", "kind": "categorical"}]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    told = command("report", *tables[:2], "--schema", tmp_path / "schema.json", "--json", "-")
    table = next(s for s in json.loads(told.out)["sections"] if s["name"] == "columns")["blocks"][0]
    assert {row[0]: row[1] for row in table["rows"]}["age"] == "categorical"


def test_a_schema_of_other_columns_is_refused(command, tables, tmp_path):
    schema = {"synthgen_schema": 1, "columns": [{"name": "aeg", "kind": "numeric"}]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    told = command("report", *tables[:2], "--schema", tmp_path / "schema.json")
    assert told.code == 2
    assert "the schema lists column 'aeg'; did you mean 'age'?" in told.err


def test_delimiter_and_encoding_are_those_of_real_rows(command, tables, tmp_path):
    for path in tables:
        frame = pd.read_csv(path).replace("Lima", "Málaga")
        frame.to_csv(tmp_path / path.name, index=False, sep="|", encoding="latin-1")
    real, made, held = (tmp_path / p.name for p in tables)
    pd.read_csv(tables[1]).replace("Lima", "Málaga").to_csv(made, index=False)
    options = "--holdout", held, "--delimiter", "|", "--encoding", "latin-1"
    told = command("report", real, made, *options)
    assert told.code == 0
    assert "no real row has" not in told.out


@pytest.fixture(scope="module")
def careful(tables, tmp_path_factory):
    """A model of people without their joining dates and ids, and what it made."""
    folder = tmp_path_factory.mktemp("careful")
    frame = pd.read_csv(tables[0]).drop(columns=["id", "joined"])
    synthesizer = Synthesizer("trees", rounds=5).fit(frame)
    synthesizer.save(folder / "model")
    synthesizer.generate(150, seed=0).to_csv(folder / "made.csv", index=False)
    return folder / "model", folder / "made.csv"


def test_a_model_says_which_columns_there_are_and_what_is_claimed(command, tables, careful):
    model, made = careful
    real, _, held = tables
    refused = command("report", real, made)
    assert refused.code == 2
    assert "made.csv lacks column 'joined'" in refused.err
    told = command("report", real, made, "--holdout", held, "--model", model, "--json", "-")
    assert told.code == 0
    found = json.loads(told.out)
    assert found["setup"]["claim"] == f"Made by a model of trees. {NO_CLAIM}"
    assert found["setup"]["holdout"] == ["test.csv", 150]
    assert not any("joined" in note for note in found["setup"]["notes"])
    table = next(s for s in found["sections"] if s["name"] == "columns")["blocks"][0]
    assert sorted(row[0] for row in table["rows"]) == ["age", "sport", "town", "wage"]


def test_the_model_of_other_data_is_refused(command, careful, tmp_path):
    for name in ("real", "made"):
        pd.DataFrame({"a": range(40), "b": list("xyzw") * 10}).to_csv(tmp_path / f"{name}.csv", index=False)
    told = command("report", tmp_path / "real.csv", tmp_path / "made.csv", "--model", careful[0])
    assert told.code == 2
    assert "real.csv lacks column 'town', which the model makes; give the data it was fitted on" in told.err
    assert told.err.count("\n") == 1


def test_a_model_of_images_is_no_model_of_tables(command, tables, pictures_model):
    told = command("report", *tables[:2], "--model", pictures_model)
    assert told.code == 2
    assert "the model was not fitted on data like" in told.err


def test_what_is_no_model_is_refused(command, tables):
    told = command("report", *tables[:2], "--model", tables[0])
    assert told.code == 2
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["only.csv"], ["a.csv", "b.csv", "c.csv"], ["a.csv", "b.csv", "--hold", "c"]]
)
def test_wrong_arguments_are_one_line(command, arguments):
    told = command("report", *arguments)
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_help_loads_neither_torch_nor_pandas_and_names_every_option():
    code = (
        "import sys; from synthgen.cli import main\n"
        "try: main(['report', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'pandas', 'pyarrow', 'sklearn', 'numpy', 'jinja2'} & set(sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    options = "holdout target model schema features output json junit gate seed delimiter encoding quiet"
    for option in options.replace("output", "").split():
        assert f"--{option}" in told
