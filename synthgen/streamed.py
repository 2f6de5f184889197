"""StreamedRecords: the encoded records of a table on disk, as a sample in memory or batch by batch from a file."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen.codec.categorical import Ints
from synthgen.codec.table import TableCodec
from synthgen.data.stream import TableStream, sample_rows
from synthgen.errors import ResourceError
from synthgen.memory import show_size
from synthgen.records import Encoder, Records


class Store:
    """The records of a table on disk, encoded when they are asked for.

    Args:
        stream: the table.
        codec: what encodes it.
        seed: of what an encoding leaves open, and of the sample.
        room: records that are held in memory at most.
        folder: where a nameless file with all records may lie, which is gone with this process.
    """

    def __init__(self, stream: TableStream, codec: TableCodec, seed: int, room: int, folder: Path) -> None:
        self.stream, self.codec, self.seed, self.folder = stream, codec, seed, folder
        self.rows, self.room = len(stream), min(room, len(stream))
        self._file: Any = None

    @property
    def _columns(self) -> int:
        return len(self.codec.modelled)

    @property
    def _kind(self) -> np.dtype[Any]:
        """Of a number in the file: two bytes where all are codes."""
        sizes = (*self.codec.space.sizes, *self.codec.context_space.sizes)
        return np.dtype(np.uint16 if min(sizes) > 0 and max(sizes) < 2**16 else np.float32)

    @cached_property
    def sample(self) -> tuple[Tensor, Tensor]:
        """Records and contexts of `room` rows, drawn at random, in their order."""
        rows = sample_rows(self.rows, self.room, self.seed)
        x, codes = np.empty((self.room, self._columns), np.float32), np.empty((self.room, len(self.codec.given)), int)
        at = 0
        for some, given in self._encoded(rows):
            x[at : at + len(some)], codes[at : at + len(some)] = some, given
            at += len(some)
        return torch.from_numpy(x), self.codec.embed_context(codes)

    def read(self, index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The records and contexts of some rows."""
        width = self._columns + len(self.codec.given)
        found = np.empty((len(index), width), self._kind)
        for place in index.argsort():  # as they lie
            self.file.seek(int(index[place]) * found.itemsize * width)
            found[place] = np.frombuffer(self.file.read(found.itemsize * width), self._kind)
        x = torch.from_numpy(found[:, : self._columns].astype(np.float32))
        return x, self.codec.embed_context(found[:, self._columns :].astype(int))

    @property
    def file(self) -> Any:
        """All records, as rows of numbers, each followed by the codes of its context."""
        if self._file is None:
            self._file = self._written()
        return self._file

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def notes(self, name: str) -> list[str]:
        """Sentences on what a generator was fitted on."""
        found, sampled = [], "sample" in self.__dict__ and self.room < self.rows
        sample = f"a sample of {self.room} of {self.rows} rows, the columns' frequencies are from all"
        if self._file is not None:
            found.append(f"{name} was trained on all {self.rows} rows, from disk")
        if sampled and found:
            found.append(f"what followed the training of {name} saw {sample}")
        elif sampled:
            found.append(f"{name} was fitted on {sample}")
        return found

    def _encoded(self, rows: NDArray[np.int64] | None = None) -> Iterator[tuple[NDArray[np.float32], Ints]]:
        """One pass: records and codes of contexts, of some rows or all."""
        start = 0
        for k, block in enumerate(self.stream.blocks([*self.codec.modelled, *self.codec.given])):
            size = len(block)
            if rows is not None:
                here = slice(*np.searchsorted(rows, [start, start + size]))
                block = block.take(rows[here] - start)
            x, _ = self.codec.encode(block, np.random.default_rng([self.seed, 0, k]))
            yield x.numpy(), self.codec.learned_context(block)
            start += size

    def _written(self) -> Any:
        need = self.rows * (self._columns + len(self.codec.given)) * self._kind.itemsize
        text = f"all records take {show_size(need)} on disk, beside the output"
        if shutil.disk_usage(self.folder).free < 1.05 * need:
            raise ResourceError(f"{text}, which is not free there; fit with --sample ROWS, or make room")
        file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 (closed by `close`, and nameless from the start)
        try:
            for x, codes in self._encoded():
                file.write(np.hstack([x, codes]).astype(self._kind).tobytes())
            file.flush()
        except OSError as error:
            file.close()
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise ResourceError(f"{text}, which is full; fit with --sample ROWS, or make room") from error
            raise
        except BaseException:
            file.close()
            raise
        return file


class StreamedRecords(Records):
    """Records of a `Store`: `batches` go through all from disk, `tensor` holds a uniform sample of them."""

    def __init__(self, store: Store, device: torch.device | str = "cpu", encoders: tuple[Encoder, ...] = ()) -> None:
        self._store, self._device, self._encoders = store, torch.device(device), encoders

    def __len__(self) -> int:
        return self._store.rows

    def tensor(self) -> tuple[Tensor, Tensor]:
        """A uniform sample, as large as memory allows: (room, *shape) and (room, context.width)."""
        return self._ready(*self._store.sample)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over all records in random order, `size` at a time; the last batch may be smaller."""
        for index in torch.split(torch.randperm(len(self)), size):
            yield self._ready(*self._store.read(index.numpy()))

    def to(self, device: torch.device) -> StreamedRecords:
        """The same records, each brought to another device when it is asked for."""
        return StreamedRecords(self._store, device, self._encoders)

    def mapped(self, encoder: Encoder) -> StreamedRecords:
        """The same records, each encoded on its own when it is asked for."""
        return StreamedRecords(self._store, self._device, (*self._encoders, encoder))

    def _ready(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        x, c = x.to(self._device), c.to(self._device)
        for encoder in self._encoders:
            x = encoder.encode(x)
        return x, c
