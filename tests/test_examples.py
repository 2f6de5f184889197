"""The examples run, with and without arguments, on settings that take seconds."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import synthgen
from synthgen import Recipe

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(tmp_path, monkeypatch, capsys):
    """Runs an example in an empty folder, with a few steps of training, and returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(Recipe, "total", lambda self, n: 10)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_images_shows_digits(example, tmp_path):
    assert "sheet.png: 100 images like those of digits" in example("images.py")
    digits = synthgen.read(tmp_path / "digits")
    assert (len(digits), digits.schema.classes) == (1797, tuple("0123456789"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (10 * 32 + 9 * 2, 10 * 32 + 9 * 2)


def test_images_takes_a_folder(example, pictures, tmp_path):
    example("images.py", pictures, "shapes.png")
    assert [p.name for p in tmp_path.iterdir()] == ["shapes.png"]


@pytest.mark.slow
def test_custom_losses_run_without_arguments(example, tmp_path):
    out = example("custom_loss.py")
    assert re.fullmatch(r"VAE: manufacturer depends on engine by \d\.\d\d .*\nFair: manufacturer .*\n", out)
    assert [p.name for p in tmp_path.iterdir()] == ["structured.png"]


def test_a_custom_loss_takes_a_folder(example, pictures, tmp_path):
    assert example("custom_loss.py", pictures) == ""
    assert [p.name for p in tmp_path.iterdir()] == ["structured.png"]


def test_a_custom_loss_takes_a_table(example, people_csv, tmp_path):
    out = example("custom_loss.py", people_csv, "sport", "town")
    assert out.startswith("VAE: sport depends on town by ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_fair_table_is_fair(people_csv, monkeypatch, capsys):
    """Sport follows town in the table; the loss takes that away."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", ["custom_loss.py", str(people_csv), "sport", "town"])
    monkeypatch.setattr(Recipe, "total", lambda self, n: 400)
    runpy.run_path(str(EXAMPLES / "custom_loss.py"))
    vae, fair = (float(v) for v in re.findall(r" by (\d\.\d\d) ", capsys.readouterr().out))
    people = pd.read_csv(people_csv)
    assert (people.sport == people.town.map({"Oslo": "ski", "Lima": "surf", "Cairo": "run"})).mean() > 0.8
    assert vae > 0.5
    assert fair < 0.25


@pytest.mark.slow
def test_private_prints_the_prices_and_a_verdict(example):
    pytest.importorskip("opendp")
    out = example("private.py")
    assert "for the number of records, with noise of" in out
    assert "column 'engines': kind numeric, minimum 1.0, maximum 4.0" in out
    assert re.search(r"^ +(differs|faithful): ", out, re.M)


@pytest.mark.slow
def test_release_publishes_and_checks(example, tmp_path):
    pytest.importorskip("opendp")
    out = example("release.py")
    assert re.match(r"released: 2000 rows; \d+ queries add up to epsilon", out)
    assert re.search(r"^ +year: 0\.\d+ from what was paid for", out, re.M)
    assert (tmp_path / "released" / "README.md").is_file()


@pytest.mark.slow
def test_augment_says_whether_it_helps(example):
    pytest.importorskip("imblearn")
    out = example("augment.py")
    assert "2847 aircraft, 60 with turbojets" in out
    assert len(re.findall(r"^(?:linear|boosted) +(?:nothing|weights|synthgen) +0\.\d{3} +[01]\.\d{3}$", out, re.M)) == 6
    assert re.search(r"^boosted: .* higher in \d of 6, by [+-]0\.\d{3} in the mean$", out, re.M)


@pytest.mark.slow
def test_ray_generates_what_is_asked_for_once(tmp_path):
    pytest.importorskip("ray")
    command = [sys.executable, str(EXAMPLES / "ray_generate.py"), str(EXAMPLES / "planes.csv"), "70000", "rows"]
    env = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("rows: 70000 rows of 9 columns in 2 new parts")
    assert [p.name for p in tmp_path.iterdir()] == ["rows"]
