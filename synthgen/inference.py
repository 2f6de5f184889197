"""What a fitted generator says of records that a user brings: how to fill their gaps, how strange they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from synthgen.codec import TableCodec
from synthgen.data import Table
from synthgen.data.cells import render, typed_column
from synthgen.devices import seeded
from synthgen.errors import SynthgenError, near
from synthgen.generator import Completes, HasLogProb

UNSEEN = 10.0  # nats that a label never seen adds to an anomaly score
CHUNK = 65_536  # records drawn under one seed; shards and workers only choose which chunks they draw


class Chunk:
    """The random numbers of chunk k of a piece of work: those of `SeedSequence([seed, k])` alone."""

    def __init__(self, seed: int, k: int) -> None:
        sequence = np.random.SeedSequence([seed, k])
        self.rng = np.random.default_rng(sequence)
        self.torch_seed = int(sequence.generate_state(1, np.uint64)[0] >> 1)


def chunks(n: int, size: int = CHUNK) -> Iterator[tuple[int, int, int]]:
    """Number, first row and length of the pieces that n rows are made in."""
    for k, start in enumerate(range(0, n, size)):
        yield k, start, min(size, n - start)


def gaps(codec: TableCodec, table: Table) -> NDArray[np.bool_]:
    """Which cells of the modelled columns are empty, (n, columns); all of a column that is absent."""
    empty = np.ones((len(table), len(codec.modelled)), dtype=bool)
    for j, name in enumerate(codec.modelled):
        if name in table.data.column_names:
            empty[:, j] = is_empty(codec.values(name, table))
    return empty


def is_empty(values: Any) -> NDArray[np.bool_]:
    """Which cells of a column, as its codec takes them, hold nothing, (n,)."""
    return np.isnan(values) if isinstance(values, np.ndarray) else np.asarray(pc.is_null(values))


def impute(
    codec: TableCodec, model: Completes, device: torch.device, table: Table, seed: int, draws: int
) -> Iterator[Table]:
    """Fill the empty cells of a table, a piece at a time; see `Synthesizer.impute`."""
    if not any(name in table.data.column_names for name in codec.modelled):
        raise SynthgenError("the table has none of the model's columns")
    for k, start, size in chunks(len(table), max(1, CHUNK // draws)):
        part = table.take(np.arange(start, start + size))
        random = Chunk(seed, k)
        empty = gaps(codec, part)
        if not empty.any():
            yield part
            continue
        x, known = codec.encode(part, random.rng)
        known &= torch.from_numpy(~empty)  # a missing cell is to be filled, even if missing is a code
        context = codec.draw_context(codec.encode_context(part), random.rng)
        c = codec.embed_context(context).repeat(draws, 1).to(device)
        with seeded(random.torch_seed, device), torch.no_grad():
            records, held = x.repeat(draws, 1).to(device), known.repeat(draws, 1).to(device)
            drawn = model.complete(records, held, c).cpu().reshape(draws, *x.shape).numpy()
        data = part.data
        for j, name in enumerate(codec.modelled):
            if empty[:, j].any():
                typed = typed_column(codec.table_schema[name], codec.consensus(name, drawn[:, :, j], random.rng))
                data = _put(data, name, empty[:, j], typed, render(codec.table_schema[name], typed))
        yield Table(data, table.dialect, table.frame, table.declared)


def _put(data: pa.Table, name: str, empty: NDArray[np.bool_], typed: pa.Array, text: pa.Array) -> pa.Table:
    """The table with some cells of a column replaced; the column is added where it was absent."""
    if name not in data.column_names:
        return data.append_column(name, typed)
    cells = data[name].combine_chunks()
    if pa.types.is_null(cells.type):
        return data.set_column(data.column_names.index(name), name, typed)
    if pa.types.is_dictionary(cells.type):
        cells = pc.cast(cells, cells.type.value_type)
    new = text if pa.types.is_string(cells.type) else pc.cast(typed, cells.type, safe=False)
    return data.set_column(data.column_names.index(name), name, pc.if_else(pa.array(empty), new, cells))


def anomalies(
    codec: TableCodec, model: HasLogProb, device: torch.device, table: Table, seed: int
) -> NDArray[np.float64]:
    """Minus the log-density of each record, (n,); see `Synthesizer.anomalies`."""
    for name in (*codec.modelled, *codec.given):
        if name not in table.data.column_names:
            raise SynthgenError(f"the table has no column {name!r}; {near(name, table.data.column_names)}")
    scores = []
    for k, start, size in chunks(len(table)):
        part = table.take(np.arange(start, start + size))
        random = Chunk(seed, k)
        x, known = (t.to(device) for t in codec.encode(part, random.rng))
        c = codec.embed_context(codec.draw_context(codec.encode_context(part), random.rng)).to(device)
        with seeded(random.torch_seed, device), torch.no_grad():
            if not bool(known.all()) and isinstance(model, Completes):
                x = model.complete(x, known, c)
            log_prob = model.log_prob(x, c).cpu().numpy().astype(float)
        scores.append(codec.log_volume(part, x.cpu()) - log_prob + UNSEEN * codec.unseen(part))
    return np.concatenate(scores)
