"""Names and cells that attack terminals and browsers, through every command: nothing of them does any harm."""

import json
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

EVIL = {
    "escape": "\x1b[2J\x1b]0;owned\x07\x1b[31m",
    "c1": "\x9b31mred",
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": "\" onload='alert(1)' x=\"",
    "bidi": "\u202eevil\u2066\u200b",
    "line": "a\nsynthgen: all is well\rover",
    "nul": "nul\x00byte",
    "long": "N" * 10_000,
    "formula": "=cmd|' /C calc'!A0",
}
GENERATOR = ["-g", "autoregressive", "-s", "epochs=1", "-s", "width=8"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A Parquet file whose columns and labels are all evil, in a folder and under a name that are, too."""
    rng, n = np.random.default_rng(0), 240
    labels = list(EVIL.values())
    frame = pd.DataFrame({name: np.array(labels, object)[rng.integers(0, len(labels), n)] for name in labels})
    frame["number \x1b[31m"] = rng.normal(size=n)
    frame["n\nm"] = np.where(rng.random(n) < 0.1, None, rng.integers(0, 9, n).astype(object))
    frame["n\nm"] = frame["n\nm"].astype(float)
    folder = tmp_path_factory.mktemp("hostile") / "\x1b[31m <b>\u202e"
    folder.mkdir()
    frame[:120].to_parquet(folder / "real\x1b[2J.parquet")
    frame[120:].to_parquet(folder / "held.parquet")
    return folder


class Page(HTMLParser):
    """Tags and attributes of a page that would run anything."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "iframe", "object", "embed", "link", "base", "form"):
            self.found.append(tag)
        self.found += [name for name, value in attributes if name.startswith("on") or "javascript:" in (value or "")]


def check_text(text):
    odd = {c for c in text if not c.isprintable() and c != "\n"}
    assert not odd, (odd, text[:500])
    assert not re.search("^synthgen: all is well", text, re.MULTILINE), text[:500]


def check_page(path):
    text = Path(path).read_text("utf-8")
    assert not Page(text).found
    hidden = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t\u2068\u2069\u00ad"}
    assert not hidden, hidden


@pytest.fixture
def harmless(command):
    def run(*arguments, code=0):
        told = command(*arguments)
        assert told.code == code, told.err[:2000]
        check_text(told.out)
        check_text(told.err)
        return told

    return run


@pytest.mark.slow
def test_every_command_on_a_table(harmless, hostile):
    real, held = hostile / "real\x1b[2J.parquet", hostile / "held.parquet"
    model, new, page = hostile / "model\x1b[0m", hostile / "new\x1b[0m.parquet", hostile / "page\u202e.html"
    harmless("schema", real)
    harmless("schema", real, "-o", hostile / "schema.json")
    harmless("fit", real, "-o", model, *GENERATOR, "--given", EVIL["script"])
    harmless("info", model)
    shown = json.loads(harmless("info", model, "--json").out)
    assert EVIL["line"] in shown["columns"]  # JSON says what is there, in escapes
    harmless("verify", model)
    for out in (new, hostile / "new\x1b.csv"):
        harmless("generate", model, "-n", 120, "-o", out, "--given", f"{EVIL['bidi']}={EVIL['escape']}")
        harmless("impute", model, real, "-o", out)
        harmless("anomalies", model, real, "-o", out)
    harmless("generate", model, "-n", 120, "-o", new, "--json")
    harmless("report", real, new, "--holdout", held, "-o", page, "--junit", hostile / "j.xml", "--target", EVIL["line"])
    check_page(page)
    harmless("report", real, new, "--json", "-")
    harmless("compare", real, "-g", "marginals", "--max-time", "20s", "-o", hostile / "compare.html")
    check_page(hostile / "compare.html")


@pytest.mark.slow
@pytest.mark.parametrize("name", EVIL)
def test_every_error_about_a_name(harmless, hostile, trees_model, name):
    evil, real = EVIL[name], hostile / "real\x1b[2J.parquet"
    argument = evil.replace("\x00", "")  # which no argument can hold
    out = hostile / "none.csv"
    for option in ("--drop", "--given"):
        told = harmless("fit", real, "-o", hostile / "m", "-g", "trees", option, "none" + argument, code=2)
        assert len(told.err) < 12 * 400
    harmless("fit", real, "-o", hostile / "m", "-g", argument or "x", code=2)
    harmless("fit", real, "-o", hostile / "m", "-s", argument, code=2)
    harmless("generate", trees_model, "-n", 3, "-o", out, "--given", f"town={argument}", code=2)
    harmless("generate", trees_model, "-n", 3, "-o", out, "--given", f"{argument}=1", code=2)
    harmless("info", argument[:100].replace("/", "") or "x", code=2)
    harmless("fit", argument[:100].replace("/", "") + ".csv", "-o", hostile / "m", code=2)
    (hostile / "bad.csv").write_bytes(f'"{evil}","{evil}"\n1,2\n'.encode())
    harmless("fit", hostile / "bad.csv", "-o", hostile / "m", code=2)
    body = {"synthgen_schema": 1, "columns": [{"name": evil, "kind": evil}]}
    (hostile / "bad.json").write_text(json.dumps(body))
    harmless("fit", real, "-o", hostile / "m", "--schema", hostile / "bad.json", code=2)
    body["columns"][0]["kind"] = "numeric"
    (hostile / "bad.json").write_text(json.dumps(body))
    harmless("fit", real, "-o", hostile / "m", "--schema", hostile / "bad.json", "-g", "trees", code=2)
    (hostile / "bad.toml").write_text(json.dumps(evil) + " = 3\n")
    harmless("report", real, real, "--gate", hostile / "bad.toml", code=2)
    assert not out.exists()


@pytest.mark.slow
def test_every_command_on_images(harmless, tmp_path):
    rng = np.random.default_rng(0)
    classes = ["\x1b[31mred", "<script>alert(1)", "\u202eevil", "a\nsynthgen: all is well"]
    for name in classes:
        folder = tmp_path / "in" / name.replace("/", "")
        folder.mkdir(parents=True)
        for i in range(10):
            Image.fromarray(rng.integers(0, 255, (6, 6), np.uint8)).save(folder / f"\x1b[2J{i}\n.png")
    (folder / "bro\x1b[31mken\n.png").write_bytes(b"\x89PNG")
    model, page = tmp_path / "m", tmp_path / "page.html"
    harmless("fit", tmp_path / "in", "-o", model, "-g", "vae", "-s", "steps=3", "-s", "width=8", "-s", "latent=4")
    harmless("info", model)
    harmless("generate", model, "-n", 40, "-o", tmp_path / "out")
    harmless("generate", model, "-n", 4, "-o", tmp_path / "no", "--given", "class=\x1b[31mblue", code=2)
    harmless("anomalies", model, tmp_path / "in", "-o", tmp_path / "scores.csv")
    harmless("interpolate", model, "-o", tmp_path / "strip.png")
    harmless("report", tmp_path / "in", tmp_path / "out", "-o", page)
    check_page(page)
    assert all(c.isprintable() for path in (tmp_path / "out").rglob("*") for c in path.name)
