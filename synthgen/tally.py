"""Tally: the distinct cells of a column with the records that hold each; beyond a cap, a uniform sample of them.

A tally is a function of the cells alone, not of how they were cut into blocks: tallies of parts merge to the tally of
the whole, in any order. Beyond the cap it keeps the distinct cells of smallest hash, each with its exact count (Cohen
and Kaplan, Summarizing data using bottom-k sketches, 2007), and besides the extremes of numbers and what it is told to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
CAP = 100_000  # distinct cells of a column that are all counted
_END = 2**64  # of the hashes


@dataclass(frozen=True)
class Tally:
    """What a column holds.

    Args:
        cells: distinct cells in the order of their first appearance, null among them.
        counts: records that hold each; 0 for a cell that is only known to occur.
        records: in all.
        nulls: records that hold null.
        bound: distinct cells of a smaller hash are all among `cells`; None where all are.
    """

    cells: pa.Array
    counts: Ints
    records: int
    nulls: int
    bound: int | None = None

    @classmethod
    def of(cls, cells: pa.Array | pa.ChunkedArray) -> Tally:
        """The tally of all cells. Types that have no order or equality hold no distinct ones."""
        if pa.types.is_nested(cells.type):
            return cls(pa.nulls(0), np.zeros(0, np.int64), len(cells), cells.null_count)
        kind = plain_type(cells.type)
        text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        found = pc.value_counts(pc.cast(cells, pa.string() if text else kind))
        return cls(found.field(0), np.asarray(found.field(1)), len(cells), cells.null_count)

    @property
    def complete(self) -> bool:
        """Whether all distinct cells are here."""
        return self.bound is None

    @property
    def present(self) -> tuple[pa.Array, Ints]:
        """The distinct cells without null, and their counts."""
        valid = pc.is_valid(self.cells)
        return self.cells.filter(valid), self.counts[np.asarray(valid)]

    @property
    def distinct(self) -> int:
        """How many distinct cells there are, null aside; beyond the cap with a deviation of 1 in sqrt(cap)."""
        cells, _ = self.present
        return len(cells) if self.bound is None else int(self._sampled(cells).sum() * (_END / self.bound))

    def unique(self, aside: Collection[str] = ()) -> bool:
        """Whether no two records hold the same, but for texts set aside; beyond the cap by the sampled cells."""
        cells, counts = self.present
        judged = self._sampled(cells)
        if aside and pa.types.is_string(cells.type):
            judged &= ~np.asarray(pc.is_in(cells, pa.array(sorted(aside))))
        return bool((counts[judged] <= 1).all())

    def _sampled(self, cells: pa.Array) -> NDArray[np.bool_]:
        """Which cells are here by their hash, and not for what they are."""
        return np.ones(len(cells), bool) if self.bound is None else _hashes(cells) < np.uint64(self.bound)

    def witnessed(self, cells: Iterable[str]) -> Tally:
        """The tally with texts that are known to occur, for what must hold of all cells."""
        known = set(self.cells.to_pylist())
        new = pa.array([c for c in dict.fromkeys(cells) if c not in known], self.cells.type)
        return replace(
            self, cells=pa.concat_arrays([self.cells, new]), counts=np.append(self.counts, np.zeros(len(new), np.int64))
        )


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the cells of a column whose type may be that of a dictionary."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def merge(parts: Collection[Tally], cap: int = CAP, always: Collection[str] = ()) -> Tally:
    """The tally of several parts of one column together.

    Args:
        parts: one or more.
        cap: how many distinct cells are kept.
        always: texts that are kept whatever their hash.
    """
    records, nulls = sum(p.records for p in parts), sum(p.nulls for p in parts)
    cells = pa.chunked_array([p.cells for p in parts])
    if not len(cells):
        return Tally(cells.combine_chunks(), np.zeros(0, np.int64), records, nulls)
    encoded = pc.dictionary_encode(cells, null_encoding="encode").combine_chunks()
    counts = np.concatenate([p.counts for p in parts])
    summed = np.bincount(np.asarray(encoded.indices), counts, len(encoded.dictionary)).astype(np.int64)
    bounds = [p.bound for p in parts if p.bound is not None]
    whole = Tally(encoded.dictionary, summed, records, nulls, min(bounds, default=None))
    return _trimmed(whole, cap, always) if bounds or len(whole.cells) > cap else whole


def _trimmed(tally: Tally, cap: int, always: Collection[str]) -> Tally:
    """The tally with at most `cap` cells by their hash."""
    hashes, valid = _hashes(tally.cells), np.asarray(pc.is_valid(tally.cells))
    inside = hashes[valid] if tally.bound is None else hashes[valid & (hashes < np.uint64(tally.bound))]
    if len(inside) <= cap and tally.bound is None:
        return tally
    bound = tally.bound if len(inside) <= cap else int(np.partition(inside, cap)[cap])
    assert bound is not None, "more cells than the cap are bounded"
    kept = (hashes < np.uint64(bound)) | ~valid | _extreme(tally.cells)
    if pa.types.is_string(tally.cells.type) and always:
        kept |= np.asarray(pc.is_in(tally.cells, pa.array(sorted(always))))
    return replace(tally, cells=tally.cells.filter(pa.array(kept)), counts=tally.counts[kept], bound=bound)


def _hashes(cells: pa.Array) -> NDArray[np.uint64]:
    """A hash of each cell, the same everywhere and always; of null any."""
    if pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type):
        return pd.util.hash_array(cells.fill_null(0).to_numpy(zero_copy_only=False))
    texts = pc.cast(cells, pa.string()).fill_null("").to_numpy(zero_copy_only=False)
    return pd.util.hash_array(texts.astype(object), categorize=False)


def _extreme(cells: pa.Array) -> NDArray[np.bool_]:
    """Which cells are the least and the greatest number."""
    if pa.types.is_string(cells.type):
        whole = pc.match_substring_regex(cells, r"^-?\d+$").fill_null(False)
        cells = pc.cast(pc.if_else(whole, cells, pa.scalar(None, pa.string())), pa.float64())
    elif pa.types.is_float16(cells.type):
        cells = pc.cast(cells, pa.float32())
    elif not (pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)):
        return np.zeros(len(cells), bool)
    ends = pc.min_max(cells)
    return np.asarray(pc.or_(pc.equal(cells, ends["min"]), pc.equal(cells, ends["max"])).fill_null(False))


class Counter:
    """Tallies a column block by block, in memory that does not grow with the records."""

    def __init__(self, kind: pa.DataType, cap: int = CAP, always: Collection[str] = ()) -> None:
        self.cap, self.always = cap, always
        self._whole = Tally.of(pa.array([], kind))
        self._parts: list[Tally] = []
        self._waiting = 0

    def add(self, cells: pa.Array | pa.ChunkedArray) -> None:
        """Count the cells of a block."""
        part = Tally.of(cells)
        self._parts.append(part)
        self._waiting += len(part.cells)
        if self._waiting > max(self.cap, len(self._whole.cells)) or len(self._parts) > 64:
            self.tally()

    def tally(self) -> Tally:
        """The tally of all that was added."""
        if self._parts:
            self._whole = merge([self._whole, *self._parts], self.cap, self.always)
            self._parts, self._waiting = [], 0
        return self._whole
