"""SynthDataset and SynthStream: records as a model draws them, for PyTorch's DataLoader, beside real ones if wanted.

Chunk k of a model's records depends on the seed and k alone, so that whichever worker draws it, it is the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch.utils.data import Dataset as MapStyle
from torch.utils.data import IterableDataset, get_worker_info

from synthgen.augment.items import Form, Rows, items_of
from synthgen.errors import SynthgenError
from synthgen.inference import chunks
from synthgen.synthesizer import Synthesizer

KEPT = 16  # chunks: about a million rows, or 16 thousand images

Transform = Callable[[Any], Any]


class _Source:
    """Items of real records and of those that a model draws; what both classes share.

    Args:
        model: a folder that `save` wrote, or a fitted Synthesizer.
        n: how many records to draw.
        real: records to mix in: what `fit` takes.
        target: the column of a table to be predicted.
        given: values to hold, as in `Synthesizer.generate`: `{"label": "owl"}` draws owls only.
        seed: the same seed gives the same records.
        form: "tensor"; or "pil" for images, "dict" of columns for rows.
        transform: called on each input.
        mark: whether each item says in third place if it is synthetic.
        device: where records are drawn, if the model is a folder; on "cuda" a DataLoader must start workers by "spawn".

    Raises:
        SynthgenError: the model cannot be read or hold what is given, or the real records are none of its kind.
    """

    def __init__(
        self,
        model: str | Path | Synthesizer,
        n: int,
        *,
        real: Any = None,
        target: str | None = None,
        given: Any = None,
        seed: int = 0,
        form: Form = "tensor",
        transform: Transform | None = None,
        mark: bool = False,
        device: str = "cpu",
    ) -> None:
        if int(n) != n or n < 0 or (n == 0 and real is None):
            raise SynthgenError(f"{n!r} records were asked for; ask for at least 1")
        if form not in get_args(Form) or seed < 0:
            raise SynthgenError(f"form {form!r} is one of {', '.join(get_args(Form))}, and seed {seed} at least 0")
        self.model, self.n, self.seed, self.transform, self.mark, self.device = model, n, seed, transform, mark, device
        self._loaded: Synthesizer | None = None
        self._drawn: OrderedDict[int, Rows] = OrderedDict()
        fitted = self._fitted()
        self._items = items_of(fitted.codec, form, target)
        self._given = fitted._given_table(given)
        self._real: Rows | None = None
        if real is not None:
            records = fitted._like(real)
            fitted.codec.check(records)
            self._real = self._items.rows(records)

    @property
    def classes(self) -> list[str]:
        """The classes that the targets are indices of; none where numbers are predicted."""
        return self._items.classes

    @property
    def names(self) -> list[str]:
        """What each number of a row's vector is; none for images."""
        return list(getattr(self._items, "names", []))

    @property
    def reals(self) -> int:
        """How many real records there are."""
        return 0 if self._real is None else len(self._real.targets)

    def _fitted(self) -> Synthesizer:
        """The model; a folder is read once in each process."""
        if isinstance(self.model, Synthesizer):
            return self.model
        if self._loaded is None:
            self._loaded = Synthesizer.load(self.model, self.device)
        return self._loaded

    def _chunk(self, k: int) -> Rows:
        """The records of chunk k."""
        model = self._fitted()
        start = k * model.codec.chunk
        size = min(model.codec.chunk, self.n - start)
        given = None
        if self._given is not None:
            given = self._given.take(np.arange(start, start + size) % len(self._given))
        return self._items.rows(model._chunk(self.seed, k, start, size, given))

    def _item(self, rows: Rows, i: int, synthetic: bool) -> tuple[Any, ...]:
        """Input, target, and whether it is synthetic if that is wanted."""
        value = self._items.input(rows, i)
        value = self.transform(value) if self.transform else value
        return (value, rows.targets[i], synthetic) if self.mark else (value, rows.targets[i])

    def __getstate__(self) -> dict[str, Any]:
        """What a worker is started with: a model that has a folder is read there again."""
        return {**self.__dict__, "_loaded": None}


class SynthDataset(_Source, MapStyle[tuple[Any, ...]]):
    """Real records, if any, and then n drawn ones, by index: so many of each in every epoch, exactly.

    >>> DataLoader(SynthDataset("model", 5000, real="photos"), shuffle=True, num_workers=2)  # doctest: +SKIP

    Its arguments are those of SynthStream. Chunks are drawn when they are first asked for, and the last 16 are kept:
    for more than a million rows, or 16 thousand images, shuffle a SynthStream instead.
    """

    def __len__(self) -> int:
        return self.reals + self.n

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Item `index`: (input, target), or (input, target, synthetic)."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        index %= len(self)
        if self._real is not None and index < self.reals:
            return self._item(self._real, index, synthetic=False)
        k, i = divmod(index - self.reals, self._fitted().codec.chunk)
        return self._item(self._kept(k), i, synthetic=True)

    def draw(self) -> SynthDataset:
        """Draw everything now, once for all workers, which otherwise each draw for themselves; returns itself."""
        for k, _, _ in chunks(self.n, self._fitted().codec.chunk):
            self._drawn[k] = self._chunk(k)
        return self

    def _kept(self, k: int) -> Rows:
        """Chunk k, which is kept for a while."""
        if k not in self._drawn:
            while len(self._drawn) >= KEPT:
                self._drawn.popitem(last=False)
            self._drawn[k] = self._chunk(k)
        self._drawn.move_to_end(k)
        return self._drawn[k]


class SynthStream(_Source, IterableDataset[tuple[Any, ...]]):
    """The same records one after the other, in memory that does not grow with n.

    One pass gives every real record and n drawn ones, exactly, real ones spread evenly among the drawn ones. Workers of
    a DataLoader, and processes of torch.distributed, share the chunks: together they give the same records, each once,
    however many they are. A chunk holds 65 536 rows, or 1024 images; of fewer chunks than workers, some have none.
    A stream has no length, for that of a worker is its own; `reals + n` is that of all together.
    """

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Items as of SynthDataset, the records of a chunk in random order."""
        worker, workers = _share()
        size = self._fitted().codec.chunk
        rng = np.random.default_rng([self.seed, worker, workers])
        mine = [k for k, _, _ in chunks(self.n, size) if k % workers == worker]
        real = rng.permutation(np.arange(worker, self.reals, workers))
        total, done, told = sum(min(size, self.n - k * size) for k in mine), 0, 0
        for k in mine:
            rows = self._chunk(k)
            for i in rng.permutation(len(rows.targets)):
                yield self._item(rows, int(i), synthetic=True)
                done += 1
                while told < len(real) * done // total:
                    yield self._true(int(real[told]))
                    told += 1
        for i in real[told:]:
            yield self._true(int(i))

    def _true(self, i: int) -> tuple[Any, ...]:
        assert self._real is not None
        return self._item(self._real, i, synthetic=False)


def _share() -> tuple[int, int]:
    """Which of the parts of a stream is this worker's, and how many there are, over all processes."""
    info = get_worker_info()
    worker, workers = (info.id, info.num_workers) if info else (0, 1)
    rank, world = 0, 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return rank * workers + worker, world * workers
