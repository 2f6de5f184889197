"""The commands, from the outside: what they print, write and return."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

import synthgen


def test_list_names_every_generator(command):
    told = command("list")
    assert told.code == 0
    assert [line.split()[0] for line in told.out.splitlines()][:3] == sorted(synthgen.registry.available())[:3]
    assert json.loads(command("list", "--json").out).keys() == synthgen.registry.available().keys()


@pytest.mark.parametrize("name", ["trees", "autoregressive", "gmm"])
def test_info_of_a_generator_names_its_settings(command, name):
    told = command("info", name)
    assert told.code == 0
    for setting in synthgen.registry.load(name).Config.model_fields:
        assert setting in told.out


def test_info_of_a_model_names_its_columns(command, trees_model):
    told = json.loads(command("info", trees_model, "--json").out)
    assert told["columns"]["id"] == "id"
    assert told["given"] == ["town"]
    assert told["rows"] == 600


def test_schema_is_printed_edited_and_read(command, people_csv, tmp_path):
    printed = json.loads(command("schema", people_csv).out)
    kinds = {c["name"]: c["kind"] for c in printed["columns"]}
    assert kinds["joined"] == "datetime"
    next(c for c in printed["columns"] if c["name"] == "age").update(minimum=0, maximum=120)
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(printed))
    fitted = command("fit", people_csv, "-o", tmp_path / "m", "-g", "trees", "-s", "rounds=0", "--schema", path)
    assert fitted.code == 0, fitted.err


def test_fit_and_generate(command, people_csv, tmp_path):
    model, out = tmp_path / "m", tmp_path / "new.csv"
    fitted = command("fit", people_csv, "-o", model, "-g", "trees", "-s", "rounds=5", "--json")
    assert fitted.code == 0, fitted.err
    assert json.loads(fitted.out)["generator"] == "trees"
    assert command("generate", model, "-n", "321", "-o", out).code == 0
    lines = out.read_text().splitlines()
    assert len(lines) == 322
    assert lines[0] == people_csv.read_text().splitlines()[0]


def test_the_same_seed_writes_the_same_bytes(command, trees_model, tmp_path):
    outs = [tmp_path / name for name in ("a.csv", "b.csv", "c.csv")]
    for out, seed in zip(outs, (7, 7, 8), strict=True):
        assert command("generate", trees_model, "-n", "200", "-o", out, "--seed", seed).code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes() != outs[2].read_bytes()


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_every_ending_is_written_and_read(command, trees_model, tmp_path, ending):
    out = tmp_path / f"new{ending}"
    assert command("generate", trees_model, "-n", "50", "-o", out).code == 0
    assert len(synthgen.read(out)) == 50


def test_given_holds_in_every_row(command, trees_model, network_model, tmp_path):
    for model in (trees_model, network_model):
        out = tmp_path / "lima.csv"
        assert command("generate", model, "-n", "300", "-o", out, "--given", "town=Lima").code == 0
        rows = pd.read_csv(out)
        assert (rows.town == "Lima").all()
        assert (rows.sport == "surf").mean() > 0.6  # .9 in the data, .3 without the condition


def test_given_file_holds_row_by_row(command, trees_model, tmp_path):
    wanted = tmp_path / "wanted.csv"
    wanted.write_text("town\nOslo\nLima\nCairo\n")
    out = tmp_path / "new.csv"
    assert command("generate", trees_model, "--given-file", wanted, "-n", "6", "-o", out).code == 0
    assert pd.read_csv(out).town.tolist() == ["Oslo", "Lima", "Cairo"] * 2


def test_impute_fills_the_gaps_and_nothing_else(command, network_model, people, tmp_path):
    rng = np.random.default_rng(0)
    holes = people.assign(sport=people.sport.where(rng.random(len(people)) < 0.7))
    holes.to_csv(tmp_path / "holes.csv", index=False)
    told = command("impute", network_model, tmp_path / "holes.csv", "-o", tmp_path / "full.csv", "--json")
    assert told.code == 0, told.err
    full = pd.read_csv(tmp_path / "full.csv")
    gaps = holes.sport.isna()
    assert json.loads(told.out)["filled"] == gaps.sum() + holes.wage.isna().sum()
    assert full.notna().all().all()
    assert (full.sport[~gaps] == holes.sport[~gaps]).all()
    assert (full.sport[gaps] == people.sport[gaps]).mean() > 0.7  # the commonest alone would be right in .45


def test_anomalies_finds_the_age_of_a_million(command, network_model, people, tmp_path):
    people.assign(age=people.age.where(people.index != 17, 1_000_000)).to_csv(tmp_path / "odd.csv", index=False)
    told = command("anomalies", network_model, tmp_path / "odd.csv", "-o", tmp_path / "judged.csv", "--json")
    assert told.code == 0, told.err
    assert json.loads(told.out)["worst_row"] == 18
    assert pd.read_csv(tmp_path / "judged.csv").anomaly.idxmax() == 17


def test_auto_says_which_and_why(command, people_csv, tmp_path):
    told = command("fit", people_csv, "-o", tmp_path / "m", "--max-time", "6s", "--json")
    assert told.code == 0, told.err
    chosen = json.loads(told.out)
    assert chosen["generator"] in synthgen.registry.available()
    assert "real rows" in chosen["reason"]


def test_max_time_ends_with_a_usable_model(command, people_csv, tmp_path):
    fit = command("fit", people_csv, "-o", tmp_path / "m", "-g", "autoregressive", "--max-time", "1s")
    assert fit.code == 0, fit.err
    assert command("generate", tmp_path / "m", "-n", "10", "-o", tmp_path / "new.csv").code == 0


def test_quiet_prints_the_result_only(command, people_csv, tmp_path):
    told = command("fit", people_csv, "-o", tmp_path / "m", "-g", "trees", "-s", "rounds=0", "--quiet")
    assert told.err == ""
    assert told.out.count("\n") == 1


def test_a_model_takes_the_place_of_an_older_one(command, people_csv, tmp_path):
    for _ in range(2):
        assert command("fit", people_csv, "-o", tmp_path / "m", "-g", "trees", "-s", "rounds=0").code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("again", ["autoregressive", "auto"])
def test_resumed_is_as_if_it_never_stopped(command, people_csv, tmp_path, monkeypatch, again):
    settings = ["-s", "epochs=8", "-s", "width=16"]
    fit = ["fit", people_csv, "-o", tmp_path / "m", *settings]
    calls = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["synthgen.cli.fit"], "interruptible", lambda: nullcontext(lambda: next(calls) == 40))
        stopped = command(*fit, "-g", "autoregressive")
    assert stopped.code == 130
    assert stopped.err.splitlines()[-1].endswith("go on with the same command and --resume")
    assert os.listdir(tmp_path) == ["m.checkpoint"]
    resumed = command(*fit, "-g", again, "--resume")
    assert resumed.code == 0, resumed.err
    assert os.listdir(tmp_path) == ["m"]
    assert command("fit", people_csv, "-o", tmp_path / "whole", "-g", "autoregressive", *settings).code == 0
    for name in ("m", "whole"):
        assert command("generate", tmp_path / name, "-n", "100", "-o", tmp_path / f"{name}.csv").code == 0
    assert (tmp_path / "m.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.slow
def test_ctrl_c_ends_in_a_line(people_csv, tmp_path):
    arguments = ["fit", people_csv, "-o", tmp_path / "m", "-g", "autoregressive", "-s", "epochs=100000"]
    process = subprocess.Popen([sys.executable, "-m", "synthgen", *arguments], stderr=subprocess.PIPE, text=True)
    time.sleep(15)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("synthgen: interrupted")
    assert not (tmp_path / "m").exists()


def test_the_module_runs_as_the_command_does():
    told = subprocess.run([sys.executable, "-m", "synthgen", "--version"], capture_output=True, text=True, check=True)
    assert synthgen.__version__ in told.stdout
    assert find_spec("synthgen_trees") is not None
