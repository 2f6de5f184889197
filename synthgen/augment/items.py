"""Items: what a network in PyTorch is given of a record, real or drawn: an input and a target."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from synthgen.codec import Codec, ImageCodec, TableCodec
from synthgen.codec.categorical import Categorical
from synthgen.codec.numeric import Numeric
from synthgen.data import Images, Table
from synthgen.errors import SynthgenError, near

Form = Literal["tensor", "dict", "pil"]

NO_CLASS = -100  # of a record without one: the index that torch's losses leave out


class Rows(NamedTuple):
    """Records in the form in which they are kept.

    Args:
        inputs: (n, …), or of each column (n,).
        targets: classes (n,) as integers, or numbers (n,).
    """

    inputs: Any
    targets: Tensor


class Items(Protocol):
    """How records become items."""

    classes: list[str]

    def rows(self, data: Any) -> Rows:
        """The records of a dataset."""

    def input(self, rows: Rows, i: int) -> Any:
        """The input of record i."""


class Pictures:
    """Images as tensors (channels, height, width) of numbers in [0, 1], or as PIL's.

    Args:
        codec: that the model was fitted with.
        form: "tensor" or "pil".
    """

    def __init__(self, codec: ImageCodec, form: Form) -> None:
        if form == "dict":
            raise SynthgenError('images come in the form "tensor" or "pil"')
        self.form, self.classes = form, list(codec.image_schema.classes)

    def rows(self, data: Images) -> Rows:
        """Pixels (n, height, width, channels) as bytes, and class indices; 0 where there are no classes."""
        return Rows(data.pixels, torch.from_numpy(data.labels.astype(np.int64)))

    def input(self, rows: Rows, i: int) -> Any:
        """An image."""
        pixels: NDArray[np.uint8] = rows.inputs[i]
        if self.form == "pil":
            return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


class Cells:
    """Rows of a table as vectors of numbers, or as numbers and codes by column; ids and texts are left out.

    In a vector, a number is given in deviations from the column's mean, 0 where it is missing; where cells can be
    missing, another number says so. A label is a one-hot vector. Means, deviations and labels are those of the model.

    Args:
        codec: that the model was fitted with.
        form: "tensor" or "dict".
        target: the column to be predicted.
    """

    def __init__(self, codec: TableCodec, form: Form, target: str) -> None:
        if form == "pil":
            raise SynthgenError('rows come in the form "tensor" or "dict"')
        columns = {n: c for n, c in codec.columns.items() if isinstance(c, Numeric | Categorical)}
        if target not in columns:
            raise SynthgenError(f"no column {target!r} can be the target; {near(target, columns)}")
        self.codec, self.form, self.target = codec, form, target
        self.columns = {n: c for n, c in columns.items() if n != target}
        own = columns[target]
        self.classes = list(own.labels) if isinstance(own, Categorical) else []

    @property
    def names(self) -> list[str]:
        """What each number of a vector is."""
        return [name for column, codec in self.columns.items() for name in _names(column, codec)]

    def rows(self, data: Table) -> Rows:
        """Vectors (n, numbers) float32, or columns (n,): numbers float32 with NaN, codes of labels int64."""
        values = {name: self.codec.values(name, data) for name in (*self.columns, self.target)}
        target = values.pop(self.target)
        if self.classes:
            known = _codes(self.codec.columns[self.target], target)
            targets = torch.from_numpy(np.where(known < 0, NO_CLASS, known))
        else:
            targets = torch.from_numpy(target.astype(np.float32))
        if self.form == "dict":
            return Rows({n: _column(self.columns[n], v) for n, v in values.items()}, targets)
        blocks = [_block(self.columns[n], v) for n, v in values.items()]
        return Rows(
            torch.from_numpy(np.concatenate([np.zeros((len(data), 0)), *blocks], 1).astype(np.float32)), targets
        )

    def input(self, rows: Rows, i: int) -> Any:
        """A vector, or a dict of columns."""
        return {n: v[i] for n, v in rows.inputs.items()} if self.form == "dict" else rows.inputs[i].clone()


def items_of(codec: Codec, form: Form, target: str | None) -> Items:
    """How the records of a codec become items.

    Raises:
        SynthgenError: the target is missing or unknown, or the form is not one of these records.
    """
    if isinstance(codec, ImageCodec):
        if target is not None:
            raise SynthgenError("images have their classes as targets; give no other")
        return Pictures(codec, form)
    assert isinstance(codec, TableCodec)
    if target is None:
        raise SynthgenError("name the column to be predicted, such as target='income'")
    return Cells(codec, form, target)


def _codes(codec: Any, cells: Any) -> NDArray[np.int64]:
    """The index of each label (n,), -1 where it is missing or unknown."""
    return np.maximum(codec.encode(cells) - codec.nullable, -1)


def _column(codec: Numeric | Categorical, values: Any) -> Tensor:
    """A column as numbers, or as codes: 0 for a missing or unknown label, the others from 1."""
    if isinstance(codec, Numeric):
        return torch.from_numpy(values.astype(np.float32))
    return torch.from_numpy(_codes(codec, values) + 1)


def _block(codec: Numeric | Categorical, values: Any) -> NDArray[np.float64]:
    """A column as numbers (n, numbers) of a vector."""
    if isinstance(codec, Categorical):
        return np.eye(len(codec.labels) + 1)[_codes(codec, values) + 1][:, (not codec.nullable) :]
    mean, deviation = _moments(codec)
    missing = np.isnan(values)
    own = np.where(missing, 0.0, (values - mean) / deviation)
    return np.stack([own, missing] if codec.nullable else [own], axis=1)


def _names(column: str, codec: Numeric | Categorical) -> list[str]:
    """What each number of a column's block is."""
    if isinstance(codec, Categorical):
        return [f"{column}={label}" for label in ([""] if codec.nullable else []) + codec.labels]
    return [column, f"{column} is missing"] if codec.nullable else [column]


def _moments(codec: Numeric) -> tuple[float, float]:
    """Mean and deviation of a column, as the middles of its cells have them."""
    middle, mass = np.array(codec.low) / 2 + np.array(codec.high) / 2, np.array(codec.mass)
    mean = float(np.average(middle, weights=mass))
    return mean, float(np.sqrt(np.average((middle - mean) ** 2, weights=mass))) or 1.0
