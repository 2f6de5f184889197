"""Augment: synthetic records beside real ones, for models that learn from both.

The public names are loaded on first use: each needs packages that the others do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthgen.augment.dataset import SynthDataset, SynthStream

_HOME = {
    "SynthDataset": "dataset",
    "SynthStream": "dataset",
}
__all__ = ["SynthDataset", "SynthStream"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'synthgen.augment' has no attribute {name!r}")
    return getattr(import_module(f"synthgen.augment.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(_HOME)
