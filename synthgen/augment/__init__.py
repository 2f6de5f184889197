"""Augment training sets: synthetic records beside real ones, and whether they help is measured first.

The names are loaded on first use: each needs packages that the others do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthgen.augment.dataset import SynthDataset, SynthStream
    from synthgen.augment.gain import Gain
    from synthgen.augment.measure import does_it_help
    from synthgen.augment.rows import augmented
    from synthgen.augment.sampler import SynthSampler

__all__ = ["Gain", "SynthDataset", "SynthSampler", "SynthStream", "augmented", "does_it_help"]
_HOME = {
    "Gain": "gain",
    "SynthDataset": "dataset",
    "SynthSampler": "sampler",
    "SynthStream": "dataset",
    "augmented": "rows",
    "does_it_help": "measure",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'synthgen.augment' has no attribute {name!r}")
    return getattr(import_module(f"synthgen.augment.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
