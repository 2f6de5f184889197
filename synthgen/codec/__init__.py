"""Codecs: a dataset to one tensor and back. `fit_codec` makes the one that fits the dataset."""

from synthgen.codec.table import TableCodec, fit_codec

__all__ = ["TableCodec", "fit_codec"]
