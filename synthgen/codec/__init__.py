"""Codecs: a dataset to one tensor and back. `fit_codec` makes the one that fits the dataset."""

from synthgen.codec.fit import fit_codec
from synthgen.codec.table import TableCodec

__all__ = ["TableCodec", "fit_codec"]
