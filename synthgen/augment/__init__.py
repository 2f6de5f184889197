"""Augment training sets: rows of rare classes are drawn, and whether they help is measured first.

The names are loaded on first use, so that the command's `--help` costs milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthgen.augment.gain import Gain
    from synthgen.augment.measure import does_it_help
    from synthgen.augment.rows import augmented

__all__ = ["Gain", "augmented", "does_it_help"]
_HOME = {"Gain": "gain", "augmented": "rows", "does_it_help": "measure"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'synthgen.augment' has no attribute {name!r}")
    return getattr(import_module(f"synthgen.augment.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
