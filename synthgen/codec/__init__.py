"""Codecs: a dataset to one tensor and back. `fit_codec` and `fit_image_codec` make the one that fits the dataset."""

from synthgen.codec.base import Codec
from synthgen.codec.fit import fit_codec
from synthgen.codec.image import LABEL, ImageCodec, fit_image_codec
from synthgen.codec.table import TableCodec

__all__ = ["LABEL", "Codec", "ImageCodec", "TableCodec", "fit_codec", "fit_image_codec"]
