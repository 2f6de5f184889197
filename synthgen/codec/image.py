"""ImageCodec: pixels to reals in [-1, 1] and back, the class beside them as context."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor

from synthgen.codec.base import Codec, Context
from synthgen.codec.categorical import Floats, Ints
from synthgen.codec.rare import UNKNOWN
from synthgen.data.images import Images, ImageSchema
from synthgen.data.table import Table
from synthgen.errors import SynthgenError, near
from synthgen.space import EMPTY, Space

LABEL = "label"  # what the class of an image is called where it is given


class ImageCodec(Codec):
    """Images to records and back; made by `fit_image_codec`.

    Colours are those seen on white, so that what lies hidden under transparent pixels is neither learned
    nor made; the transparency is a channel of its own.
    """

    kind: ClassVar[Literal["images"]] = "images"
    chunk: ClassVar[int] = 1024

    image_schema: ImageSchema

    @model_validator(mode="after")
    def _consistent(self) -> ImageCodec:
        names, codes, counts = self.context.names, self.context.codes, self.context.counts
        classes = len(self.image_schema.classes)
        named = names == ([LABEL] if classes else []) and bool(codes) == bool(classes)
        known = all(len(combo) == 1 and 0 <= combo[0] < classes for combo in codes)
        if not named or not known or len(codes) != len(counts) or any(n < 1 for n in counts):
            raise ValueError("the context's frequencies contradict the classes")
        return self

    @property
    def dataset_schema(self) -> ImageSchema:
        """The schema of the images that it makes."""
        return self.image_schema

    @cached_property
    def space(self) -> Space:
        """Shape of the records."""
        return Space(self.image_schema.shape)

    @cached_property
    def context_space(self) -> Space:
        """One column with the class, where there are classes."""
        classes = len(self.image_schema.classes)
        return Space((1,), (classes,), (False,)) if classes else EMPTY

    def encode(self, data: Images, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Records (n, channels, height, width) float32 of images, and that all their numbers are held."""
        x = torch.from_numpy(data.pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        if self.image_schema.mode.endswith("A"):
            colour, alpha = x[:, :-1], (x[:, -1:] + 1) / 2
            x = torch.cat([colour * alpha + (1 - alpha), x[:, -1:]], dim=1)
        return x, torch.ones(x.shape, dtype=torch.bool)

    def encode_context(self, data: Images) -> Ints:
        """Codes (n, 1) of the classes of images; (n, 0) where there are none."""
        return data.labels[:, None] if self.image_schema.classes else np.zeros((len(data), 0), dtype=np.int64)

    def decode(self, x: Tensor, context: Ints, rng: np.random.Generator, start: int = 0, fixed: None = None) -> Images:
        """Records (n, channels, height, width) with their context codes to images; the rest is for tables."""
        if self.image_schema.mode.endswith("A"):
            alpha = (x[:, -1:].clamp(-1, 1) + 1) / 2
            alpha = alpha * (alpha > 0.5 / 255)
            colour = torch.where(alpha > 0, (x[:, :-1] - (1 - alpha)) / alpha.clamp(min=0.5 / 255), 1.0)
            x = torch.cat([colour, 2 * alpha - 1], dim=1)
        pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
        labels = context[:, 0] if context.shape[1] else np.zeros(len(x), dtype=np.int64)
        return Images(pixels.contiguous().numpy(), labels, self.image_schema)

    def asked(self, given: Table | None, n: int) -> Ints:
        """Context codes (n, 1) that the column `label` of a table asks for; UNKNOWN where nothing is given.

        Raises:
            SynthgenError: there are no classes, or the table names another column or an unknown class.
        """
        if given is None:
            return np.full((n, len(self.context.names)), UNKNOWN)
        for name in given.data.column_names:
            if name not in self.context.names:
                known = f"; {near(name, self.context.names)}" if self.context.names else ", which have no classes"
                raise SynthgenError(f"{name!r} cannot be given for these images{known}")
        classes = self.image_schema.classes
        code = {label: i for i, label in enumerate(classes)} | {None: UNKNOWN, "": UNKNOWN}
        labels = [None if v is None else str(v) for v in given.data[LABEL].to_pylist()]
        for label in labels:
            if label not in code:
                raise SynthgenError(f"there is no class {label!r}; {near(str(label), classes)}")
        return np.array([code[label] for label in labels])[:, None]

    def completes(self, given: Table) -> bool:
        """Whether what is given is part of the record: never, the class is all that can be given."""
        return False

    def fixed(self, given: Table) -> None:
        """Values of records that are given: none."""

    def check(self, data: Images) -> None:
        """Raise SynthgenError where images have another size, mode or other classes than the codec's."""
        if data.schema != self.image_schema:
            raise SynthgenError("the images have another size, mode or other classes than the model's")

    def unseen(self, data: Images) -> Ints:
        """How many labels of each image no training image had, (n,): none, reading refuses them."""
        return np.zeros(len(data), dtype=np.int64)

    def log_volume(self, data: Images, x: Tensor) -> Floats:
        """Log of the volume of the cube of reals that an image of 8-bit values stands for, (n,)."""
        return np.full(len(data), np.log(2 / 255) * np.prod(self.image_schema.shape))


def fit_image_codec(images: Images) -> ImageCodec:
    """The codec of some images, with the frequencies of their classes."""
    labelled = bool(images.schema.classes)
    context = Context.count([LABEL], [images.labels[:, None]]) if labelled else Context()
    return ImageCodec(image_schema=images.schema, context=context)
