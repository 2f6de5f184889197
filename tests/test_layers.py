"""A module imports only from lower levels. The README draws the same table."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import synthgen

ROOT = Path(__file__).parents[1]
PLUGINS = "PLUGINS"
LAYERS = """
11 cli
10 release
9 compare · dp.audit · augment · shards
8 synthesizer · report.evaluate
7 fitted · estimator · report · baselines
6 inference · streamed · dp.prepare · dp.rehearsal · metrics.fidelity · metrics.membership · metrics.disclosure
5 codec · registry · testing · metrics · PLUGINS
4 codec.table · codec.image · metrics.features · dp.domain
3 data · codec.base · latent
2 data.csv · data.cells · codec.numeric · codec.categorical · codec.repair · nn.density · nn.correction · generator
2 artifact · dp
1 schema · files · memory · devices · training · nn
0 errors · distributed · space · records · rules · formats · tally
0 data.formulas · codec.made · codec.rare · metrics.score
"""
LEVEL = {
    name.strip(): int(level)
    for level, _, names in (line.partition(" ") for line in LAYERS.strip().splitlines())
    for name in names.split("·")
}
FILES = sorted(ROOT.glob("synthgen/**/*.py")) + sorted(ROOT.glob("plugins/*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return PLUGINS if parts[0] == "plugins" else ".".join(p for p in parts[1:] if p != "__init__")


def room(module: str) -> str:
    """The nearest entry of the table: `data.table` lives in `data`."""
    while module and module not in LEVEL:
        module = module.rpartition(".")[0]
    return module


def imported(path: Path) -> set[str]:
    """Modules of synthgen that a file imports, wherever in it; names of the package stand for their homes."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "synthgen":
            names = [alias.name for alias in node.names if not alias.name.startswith("__")]
            found |= {"synthgen." + synthgen._HOME.get(name, name) for name in names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.removeprefix("synthgen.") for name in found if name.startswith("synthgen")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: module_of(p) + ":" + p.stem)
def test_imports_come_from_lower_levels(path):
    own = module_of(path)
    if own in ("", "__main__"):
        return
    for other in imported(path):
        assert not other.startswith("synthgen_"), f"{own} imports the plugin {other}"
        # the rooms of one package share a level, as data.table and data do
        if room(other) != room(own):
            assert LEVEL[room(other)] < LEVEL[room(own)], f"{own} imports {other}"


def test_every_module_has_a_level():
    for path in FILES:
        assert not imported(path) or module_of(path) in ("", "__main__") or room(module_of(path))


def test_readme_draws_the_same_table():
    assert LAYERS.strip() in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("path", sorted(ROOT.glob("synthgen/metrics/*.py")), ids=lambda p: p.stem)
def test_metrics_know_no_generators(path):
    assert not imported(path) & {"generator", "training", "synthesizer"}


def test_every_module_opens_with_a_sentence():
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))) or path.name == "__main__.py", path


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["fit", "--help"]])
def test_help_and_list_load_neither_torch_nor_pandas(arguments):
    code = (
        "import sys; from synthgen.cli import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'pandas', 'pyarrow', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
