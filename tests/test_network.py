"""No network: no command opens a connection, asks for an address or starts a program, and nothing could."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import draw_pictures, make_people

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("synthgen/**/*.py")) + sorted(ROOT.glob("plugins/*.py"))
TALKS = {"socket", "ssl", "http", "urllib", "ftplib", "smtplib", "xmlrpc", "requests", "httpx", "aiohttp", "urllib3"}
TALKS |= {"subprocess", "webbrowser", "asyncio", "socketserver", "huggingface_hub", "sentry_sdk"}
TALKS |= {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "code", "codeop"}
RUNS = {"eval", "exec", "compile", "__import__", "system", "popen", "execv", "spawnv", "posix_spawn"}
ALLOWED = {  # who else may import or call one of them, and why
    ("testing/common.py", "subprocess"): "an author's kit starts a second Python to see that both draw alike",
    ("release/croissant.py", "urllib"): "quotes an address, and opens none",
}

SITE = """
import os, sys

def hook(event, arguments):
    talks = event.startswith(("socket.connect", "socket.bind", "socket.send", "socket.get", "urllib", "http", "ftplib"))
    if talks or event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "webbrowser.open"):
        if event == "socket.gethostname":
            return
        with open(os.environ["SYNTHGEN_CALLS"], "a") as file:
            file.write(f"{event} {arguments}\\n")
        raise OSError("there is no network")

sys.addaudithook(hook)
"""

DRIVER = """
import json, sys
from synthgen.cli import main
for arguments in json.load(open(sys.argv[1])):
    try:
        main(arguments)
    except SystemExit as end:
        if end.code:
            sys.exit(f"{arguments}: {end.code}")
print("all done")
"""


def imported(path):
    """The packages that a file imports, wherever in it, and the names of the functions that it calls."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id + "()"
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("system", "popen")
        ):
            yield node.func.attr + "()"


def test_nothing_is_imported_that_talks_runs_or_unpickles():
    wrong = TALKS | {name + "()" for name in RUNS}
    found = {(path.relative_to(ROOT).as_posix(), name) for path in FILES for name in imported(path) if name in wrong}
    assert found <= {(f"synthgen/{file}", name) for file, name in ALLOWED}


@pytest.mark.slow
def test_no_command_tries_to_reach_the_network(tmp_path):
    pytest.importorskip("opendp")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    people = make_people(900).drop(columns=["id", "joined"])
    people[:600].to_csv(tmp_path / "real.csv", index=False)
    people[600:].to_csv(tmp_path / "held.csv", index=False)
    pictures = draw_pictures(tmp_path / "pictures")
    for file in pictures.glob("*/*[5-9].png"):
        file.unlink()  # features of few images are no less looked for
    real, held, model, new = (str(tmp_path / name) for name in ("real.csv", "held.csv", "model", "new.csv"))
    budget = ["--epsilon", "3", "--delta", "1e-6"]
    quick = ["-g", "vae", "-s", "steps=5"]
    commands = [
        ["list"],
        ["info", "trees"],
        ["schema", real],
        ["fit", real, "-o", model, "--max-time", "6s"],  # -g auto, which fits several
        ["fit", real, "-o", model, *quick],
        ["info", model],
        ["generate", model, "-n", "300", "-o", new],
        ["anomalies", model, held, "-o", new],
        ["interpolate", model, "-o", new],
        ["fit", real, "-o", model, "-g", "gmm", "-s", "passes=2"],
        ["impute", model, held, "-o", new],
        ["report", real, new, "--holdout", held, "-o", str(tmp_path / "page.html")],
        ["compare", real, "-g", "marginals", "-o", str(tmp_path / "compare.html")],
        ["fit", real, "-o", f"{model}-dp", "-g", "marginals", *budget, "--ledger", str(tmp_path / "ledger")],
        ["verify", f"{model}-dp", "--ledger", str(tmp_path / "ledger"), "--page", str(tmp_path / "proof.html")],
        ["generate", f"{model}-dp", "-n", "30", "-o", f"{new}.gz"],
        ["augment", real, "--target", "sport", "--repeats", "1", "-o", str(tmp_path / "more.csv")],
        ["release", f"{model}-dp", "-n", "30", "-o", str(tmp_path / "released"), "--title", "People"],
        ["verify", str(tmp_path / "released")],
        ["audit", real, "-g", "marginals", *budget, "--canaries", "20", "--preparations", "4"],
        ["fit", str(pictures), "-o", f"{model}-pictures", *quick, "-s", "width=8"],
        ["generate", f"{model}-pictures", "-n", "30", "-o", str(tmp_path / "drawn")],
        ["report", str(pictures), str(tmp_path / "drawn"), "-o", str(tmp_path / "images.html")],
    ]
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    calls = tmp_path / "calls"
    calls.touch()
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "SYNTHGEN_CALLS": str(calls), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, tmp_path / "commands.json"], env=environment, capture_output=True, text=True
    )
    assert calls.read_text() == ""
    assert done.stdout.endswith("all done\n"), done.stderr[-2000:]


def test_the_watch_sees_what_it_should(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SITE)
    code = """
import socket, subprocess, urllib.request
for call in (
    lambda: urllib.request.urlopen("http://x.example"),
    lambda: socket.create_connection(("127.0.0.1", 9)),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
    lambda: subprocess.run(["true"]),
):
    try:
        call()
    except OSError:
        pass
    else:
        raise SystemExit("it went through")
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "SYNTHGEN_CALLS": str(tmp_path / "calls")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert len((tmp_path / "calls").read_text().splitlines()) >= 4
