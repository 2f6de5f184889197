"""A stranger's generator in a distribution of its own: installed beside synthgen, it stands among ours."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An environment with the plugin; synthgen and what it needs come from this one."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    site = next(home.glob("lib/python*/site-packages"))
    folders = [p for p in sys.path if p and Path(p).is_dir() and not p.endswith(("python3", "lib-dynload"))]
    (site / "outer.pth").write_text("\n".join(folders))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site]
    subprocess.run([*install, ROOT / "examples" / "rbm_plugin"], check=True)
    return home / "bin" / "python"


def run(python, *arguments):
    return subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_it_is_listed_with_its_package(python):
    listed = run(python, "-m", "synthgen", "list")
    assert "synthgen-rbm" in next(line for line in listed.splitlines() if line.startswith("rbm "))


@pytest.mark.slow
def test_it_passes_every_check(python):
    code = "from synthgen.testing import checks\nfrom synthgen_rbm import RBM\nfor check in checks(RBM): check()"
    run(python, "-c", code)


@pytest.mark.slow
def test_it_fits_and_generates(python, people_csv, tmp_path):
    run(python, "-m", "synthgen", "fit", people_csv, "-o", tmp_path / "m", "-g", "rbm", "-s", "epochs=2")
    run(python, "-m", "synthgen", "generate", tmp_path / "m", "-n", 77, "-o", tmp_path / "new.csv")
    assert len((tmp_path / "new.csv").read_text().splitlines()) == 78


@pytest.mark.slow
def test_it_fits_under_a_budget_by_writing_nothing(python, people_csv, tmp_path):
    pytest.importorskip("opendp")
    budget = ["--epsilon", 3, "--delta", "1e-5", "--drop", "id"]
    run(python, "-m", "synthgen", "fit", people_csv, "-o", tmp_path / "m", "-g", "rbm", "-s", "epochs=2", *budget)
    assert "add up to epsilon" in run(python, "-m", "synthgen", "verify", tmp_path / "m")
