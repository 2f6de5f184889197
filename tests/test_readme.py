"""What the README shows runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCKS = re.findall(r"^```(sh|python) run\n(.*?)^```", README, re.M | re.S)


def test_there_is_a_block_of_each_kind():
    assert sorted(kind for kind, _ in BLOCKS) == ["python", "python", "sh", "sh", "sh", "sh"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "text"), BLOCKS, ids=[text.split()[0] for _, text in BLOCKS])
def test_blocks_run(kind, text, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shell = ["bash", "-euo", "pipefail", "-c", text]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        shell if kind == "sh" else [sys.executable, "-W", "error", "-c", text],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_the_example_says_where_the_result_lies_and_how_close_it_is(tmp_path):
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / "table.py", ROOT / "examples" / "planes.csv", tmp_path / "new.csv"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(tmp_path / "new.csv") in ran.stdout
    assert "fidelity.detection" in ran.stdout
    assert (tmp_path / "new.html").stat().st_size > 10_000
    assert len((tmp_path / "new.csv").read_text().splitlines()) == 3323


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_command_of_the_pages_exists(page):
    from synthgen.cli import app

    for name in re.findall(r"^synthgen (\w+)", page.read_text("utf-8"), re.M):
        assert name in app.commands


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http|#)([^)#]+)[^)]*\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
