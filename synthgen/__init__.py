"""Generate synthetic tables: fit a generative model on real records, draw new ones.

The public names are loaded on first use, so that `import synthgen` (and the command's `--help`) costs
milliseconds instead of the seconds that torch takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthgen.data import read, write
    from synthgen.errors import SynthgenError
    from synthgen.generator import Generator
    from synthgen.records import Records
    from synthgen.report.evaluate import evaluate
    from synthgen.report.result import Report
    from synthgen.schema import Schema, infer_schema
    from synthgen.space import Space
    from synthgen.synthesizer import Synthesizer
    from synthgen.training import Objective, Recipe, Training

__version__ = "0.1.0"

__all__ = [
    "Generator",
    "Objective",
    "Recipe",
    "Records",
    "Report",
    "Schema",
    "Space",
    "Synthesizer",
    "SynthgenError",
    "Training",
    "evaluate",
    "infer_schema",
    "read",
    "write",
]
_HOME = {name: name.lower() for name in __all__[:10]} | {
    "Report": "report.result",
    "evaluate": "report.evaluate",
    "SynthgenError": "errors",
    "Objective": "training",
    "Recipe": "training",
    "infer_schema": "schema",
    "read": "data",
    "write": "data",
}


def __getattr__(name: str) -> object:
    if name in ("augment", "release", "shards"):
        return import_module(f"synthgen.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'synthgen' has no attribute {name!r}")
    return getattr(import_module(f"synthgen.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
