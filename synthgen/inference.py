"""What a fitted generator says of records that a user brings: how to fill their gaps, how strange they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen.codec import Codec, ImageCodec, TableCodec
from synthgen.codec.table import is_empty
from synthgen.data import Dataset, Images, Table
from synthgen.data.cells import render, typed_column
from synthgen.devices import seeded
from synthgen.errors import SynthgenError
from synthgen.generator import Completes, HasLatents

UNSEEN = 10.0  # nats that a label never seen adds to an anomaly score


class Chunk:
    """The random numbers of chunk k of a piece of work: those of `SeedSequence([seed, k])` alone."""

    def __init__(self, seed: int, k: int) -> None:
        sequence = np.random.SeedSequence([seed, k])
        self.rng = np.random.default_rng(sequence)
        self.torch_seed = int(sequence.generate_state(1, np.uint64)[0] >> 1)


def chunks(n: int, size: int) -> Iterator[tuple[int, int, int]]:
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


def impute(
    codec: TableCodec, model: Completes, device: torch.device, table: Table, seed: int, draws: int
) -> Iterator[Table]:
    """Fill the empty cells of a table, a piece at a time; see `Synthesizer.impute`."""
    if not any(name in table.data.column_names for name in codec.modelled):
        raise SynthgenError("the table has none of the model's columns")
    for k, start, size in chunks(len(table), max(1, codec.chunk // draws)):
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


def inpaint(
    codec: ImageCodec, model: Completes, device: torch.device, images: Images, known: NDArray[np.bool_], seed: int
) -> Images:
    """Draw the unknown pixels of images, a piece at a time; see `Synthesizer.inpaint`."""
    codec.check(images)
    everywhere = np.broadcast_to(known, (len(images), *images.pixels.shape[1:3]))
    parts = []
    for k, start, size in chunks(len(images), codec.chunk):
        part, random = images.take(np.arange(start, start + size)), Chunk(seed, k)
        x, _ = codec.encode(part, random.rng)
        held = torch.from_numpy(everywhere[start : start + size].copy())[:, None].expand(x.shape)
        context = codec.encode_context(part)
        with seeded(random.torch_seed, device), torch.no_grad():
            c = codec.embed_context(context).to(device)
            drawn = model.complete((x * held).to(device), held.to(device), c)
        painted = codec.decode(drawn.cpu(), context, random.rng)
        pixels = np.where(everywhere[start : start + size, ..., None], part.pixels, painted.pixels)
        parts.append(Images(pixels, part.labels, part.schema))
    return Images.join(parts)


def anomalies(
    codec: Codec, model: Any, judge: str, device: torch.device, data: Dataset, seed: int
) -> NDArray[np.float64]:
    """How unlikely each record is, (n,); see `Synthesizer.anomalies`."""
    scores = []
    for part, x, c, random in _pieces(codec, model, device, data, seed):
        with seeded(random.torch_seed, device), torch.no_grad():
            if judge == "reconstruction":
                score = model.reconstruction(x, c).cpu().numpy().astype(float)
            else:
                log_prob = getattr(model, judge)(x, c).cpu().numpy().astype(float)
                score = codec.log_volume(part, x.cpu()) - log_prob
        scores.append(score + UNSEEN * codec.unseen(part))
    return np.concatenate(scores)


def to_latent(codec: Codec, model: HasLatents, device: torch.device, data: Dataset, seed: int) -> NDArray[np.float32]:
    """Latent vectors of records, (n, latent); see `Synthesizer.encode`."""
    found = []
    for _, x, c, random in _pieces(codec, model, device, data, seed):
        with seeded(random.torch_seed, device), torch.no_grad():
            found.append(model.to_latent(x, c).cpu().numpy())
    return np.concatenate(found)


def path(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Vectors (steps, latent) from a (1, latent) to b.

    On the arc between them, whose points are about as long as its ends: of Gaussian vectors, those on the
    straight line are shorter than any that a decoder has seen (White, Sampling generative networks, 2016).
    """
    share = torch.linspace(0, 1, steps)[:, None]
    angle = torch.arccos(torch.cosine_similarity(a, b).clamp(-1, 1))
    if float(angle) < 1e-3:
        return torch.lerp(a, b, share)
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()


def _pieces(
    codec: Codec, model: Any, device: torch.device, data: Dataset, seed: int
) -> Iterator[tuple[Dataset, Tensor, Tensor, Chunk]]:
    """The records of a dataset with their contexts on the device, a chunk at a time; empty cells are drawn."""
    codec.check(data)
    for k, start, size in chunks(len(data), codec.chunk):
        part, random = data.take(np.arange(start, start + size)), Chunk(seed, k)
        x, known = (t.to(device) for t in codec.encode(part, random.rng))
        context = codec.draw_context(codec.encode_context(part), random.rng)
        c = codec.embed_context(context).to(device)
        if not bool(known.all()) and isinstance(model, Completes):
            with seeded(random.torch_seed, device), torch.no_grad():
                x = model.complete(x, known, c)
        yield part, x, c, random
