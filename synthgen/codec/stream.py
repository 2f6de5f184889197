"""fit_stream: learn how to encode a table that is read block by block."""

from __future__ import annotations

from collections.abc import Sequence

from synthgen.codec.fit import Exact, Known, fit_columns, with_counts
from synthgen.codec.sketch import SAMPLE, sketch
from synthgen.codec.table import TableCodec
from synthgen.data.cells import column_values
from synthgen.data.stream import TableStream


def fit_stream(
    stream: TableStream, given: Sequence[str] = (), codes: int = 0, reals: bool = False, keep_rare: bool = False
) -> tuple[TableCodec, list[str]]:
    """What `fit_codec` learns from a table in memory, from all rows.

    The same codec comes out where no column has more distinct cells than the stream counts; of others the masses of
    cells are exact, and their borders about right (`Numbers`).

    Raises:
        SynthgenError: a given column is unknown or not modelled, or cells contradict the schema.
    """
    known: dict[str, Known] = {name: Exact(tally) for name, tally in stream.tallies.items()}
    large = [c for c in stream.schema.columns if not stream.tallies[c.name].complete]
    if large:
        names = [c.name for c in large]
        sample = stream.sample(SAMPLE, 0, names)
        sketches = {
            c.name: sketch(c, stream.tallies[c.name], column_values(c, sample.data[c.name].combine_chunks()))
            for c in large
        }
        for block in stream.blocks(names):
            for c in large:
                sketches[c.name].add(column_values(c, block.data[c.name].combine_chunks()))
        known |= sketches
    codec, notes = fit_columns(known, stream.schema, given, codes, reals, keep_rare)
    return with_counts(codec, stream.blocks), notes
