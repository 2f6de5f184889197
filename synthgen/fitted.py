"""Fitted: what can be asked of a fitted generator. Datasets in, datasets out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen import inference, registry
from synthgen.codec import Codec, ImageCodec, TableCodec
from synthgen.data import Dataset, Images, ImageSchema, Mark, Table, as_dataset, as_table, mark, writer
from synthgen.devices import seeded
from synthgen.errors import SynthgenError
from synthgen.generator import ABILITIES, Generator, abilities
from synthgen.inference import Chunk, chunks
from synthgen.schema import unescaped

JUDGES = ("log_prob", "bound", "reconstruction")  # what anomalies are told by, the best first
PLURAL = {"table": "tables", "images": "images"}

Given = Mapping[str, Any]
Returns = Literal["pandas", "arrow", "images"]  # what `generate` gives


class Fitted:
    """A codec and a generator that belong together; `Synthesizer` fits them.

    Args:
        name: of the generator, for messages.
        device: where the generator lives.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self._called, self.device = name, device
        self._codec: Codec | None = None
        self._model: Generator | None = None
        self._returns: Returns = "pandas"
        self.certificate: dict[str, Any] | None = None

    @property
    def codec(self) -> Codec:
        """The fitted codec."""
        if self._codec is None:
            raise SynthgenError("this synthesizer is not fitted yet; call fit first")
        return self._codec

    @property
    def model(self) -> Generator:
        """The fitted generator."""
        if self._model is None:
            raise SynthgenError("this synthesizer is not fitted yet; call fit first")
        return self._model

    @property
    def noun(self) -> str:
        """What its records are called: "rows" or "images"."""
        return Images.noun if self.codec.kind == "images" else Table.noun

    def generate(self, n: int, *, seed: int = 0, given: Given | Any = None) -> Any:
        """Draw n new records, in the same kind of frame as was fitted on.

        Args:
            n: number of records; exactly so many come.
            seed: the same seed gives the same records.
            given: values to hold: `{"income": ">50K"}` for all records, or a table with a row for each
                (its rows are taken in turn).

        Raises:
            SynthgenError: a given column or value is unknown, or this generator cannot hold it.
        """
        return self._joined(list(self.stream(n, seed=seed, given=given)))

    def stream(
        self, n: int, *, seed: int = 0, given: Given | Any = None, only: range | None = None
    ) -> Iterator[Dataset]:
        """Draw n new records a chunk at a time: tables of at most 65 536 rows, or at most 1024 images.

        Args:
            n: as in `generate`.
            seed: as in `generate`.
            given: as in `generate`.
            only: numbers of the chunks that are drawn; all by default. No chunk depends on another.
        """
        if n < 1:
            raise SynthgenError(f"{n} records were asked for; ask for at least 1")
        rows = self._given_table(given)
        for k, start, size in islice(
            chunks(n, self.codec.chunk), *((None,) if only is None else (only.start, only.stop))
        ):
            part = rows.take(np.arange(start, start + size) % len(rows)) if rows is not None else None
            yield self._chunk(seed, k, start, size, part)

    def write(
        self,
        path: str | Path,
        n: int,
        *,
        seed: int = 0,
        given: Given | Any = None,
        raw: bool = False,
        prefix: str = "",
        report: Callable[[float], None] = lambda done: None,
        parts: Iterable[Dataset] | None = None,
        first: int = 0,
    ) -> None:
        """Draw n new records into a file or folder, in memory that does not grow with n.

        It looks like what was fitted on, and appears whole or not at all. Parquet files and images say that they
        are synthetic.

        Args:
            path: a `.csv`, `.csv.gz` or `.parquet` file for rows; a folder, a `.zip` or a `.tar` for images.
            n: number of records.
            seed: the same seed gives the same file.
            given: as in `generate`.
            raw: in a CSV, put no ' before what a spreadsheet would run.
            prefix: begins the name of each column of a table.
            report: called with the share done.
            parts: the records, where they are drawn elsewhere; those of `stream` by default.
            first: number of the first record, by which a `.tar` names its images.

        Raises:
            SynthgenError: the ending is unknown, or what is given cannot be held.
            ResourceError: the disk is full or the place not writable.
        """
        done = 0
        schema = self.codec.dataset_schema
        if isinstance(schema, ImageSchema) and (raw or prefix):
            raise SynthgenError("images have no columns to give a prefix to, and no cells to leave raw")
        schema = unescaped(schema) if raw else schema
        with writer(path, schema, self.mark, prefix, first) as output:
            for part in self.stream(n, seed=seed, given=given) if parts is None else parts:
                output.write(part)  # type: ignore[arg-type]
                report((done := done + len(part)) / n)

    @property
    def mark(self) -> Mark:
        """What drawn records say of themselves: that they are synthetic, by whom made, and what is promised."""
        return mark(self._called, self.certificate)

    def _chunk(self, seed: int, k: int, start: int, size: int, given: Table | None) -> Dataset:
        """Chunk k of a generation, from record `start` on."""
        random, codec = Chunk(seed, k), self.codec
        context = codec.draw_context(codec.asked(given, size), random.rng)
        c = codec.embed_context(context).to(self.device)
        with seeded(random.torch_seed, self.device), torch.no_grad():
            if given is not None and codec.completes(given):
                x, known = (t.to(self.device) for t in codec.encode(given, random.rng))
                drawn = self._able("complete").complete(x, known, c)
            else:
                drawn = self.model.sample(size, c)
        return codec.decode(drawn.cpu(), context, random.rng, start, codec.fixed(given) if given is not None else None)

    def check_given(self, given: Given | Any) -> None:
        """Raise SynthgenError where values cannot be held: unknown, of no training record, or beyond the generator."""
        if (rows := self._given_table(given)) is not None:
            self.codec.draw_context(self.codec.asked(rows, len(rows)), np.random.default_rng(0))

    def _given_table(self, given: Given | Any) -> Table | None:
        """What is given as a table, its columns and values checked."""
        if given is None or (isinstance(given, Mapping) and not given):
            return None
        if isinstance(given, Mapping):
            cells = {k: pa.array([v if isinstance(v, str) else _plain(v)]) for k, v in given.items()}
            given = Table(pa.table(cells))
        table = as_table(given)
        self.codec.asked(table, len(table))
        if self.codec.completes(table):
            self._able("complete", otherwise="; or fit it again and name the columns with --given")
        return table

    def _able(self, *wanted: str, otherwise: str = "") -> Any:
        """The generator, if it has one of some abilities.

        Raises:
            SynthgenError: it has none; the text names the installed generators that do.
        """
        if any(isinstance(self.model, ABILITIES[ability]) for ability in wanted):
            return self.model
        raise SynthgenError(
            f"{self._called} has no {' or '.join(wanted)}; generators that have it: "
            f"{installed(self.codec.kind, wanted)}{otherwise}"
        )

    def impute(self, data: Any, *, seed: int = 0, draws: int = 15) -> Any:
        """Fill the empty cells of a table, in the kind of frame that was fitted on.

        Args:
            data: a table with some or all of the model's columns; others pass through.
            seed: of the draws.
            draws: completions drawn per record; a cell gets the commonest label or the median number.
                With 1 it gets a random draw, which keeps the spread of the data.

        Raises:
            SynthgenError: the generator cannot complete records, or a cell is unreadable.
        """
        return self._joined(list(self.impute_stream(data, seed=seed, draws=draws)))

    def gaps(self, table: Table) -> int:
        """How many cells of a table `impute` would fill."""
        codec = self._codec_for("table", "rows")
        assert isinstance(codec, TableCodec)
        return int(inference.gaps(codec, table).sum())

    def impute_stream(self, data: Any, *, seed: int = 0, draws: int = 15) -> Iterator[Table]:
        """The same, a piece at a time."""
        codec = self._codec_for("table", "rows")
        assert isinstance(codec, TableCodec)
        return inference.impute(codec, self._able("complete"), self.device, as_table(data), seed, draws)

    def inpaint(self, images: Any, known: NDArray[np.bool_], *, seed: int = 0) -> Images:
        """Draw the pixels of images that are not known, given those that are.

        Args:
            images: a folder, a `.zip`, or Images of the model's size, mode and classes.
            known: (n, height, width) or (height, width), where the pixels are kept.
            seed: of the draws.

        Raises:
            SynthgenError: the generator cannot complete records, or was fitted on a table.
        """
        codec = self._codec_for("images", "images")
        assert isinstance(codec, ImageCodec)
        model, found = self._able("complete"), self._like(images)
        assert isinstance(found, Images)
        return inference.inpaint(codec, model, self.device, found, known, seed)

    def anomalies(self, data: Any, *, seed: int = 0) -> NDArray[np.float64]:
        """How unlikely each record is, (n,): larger is stranger. `judged_by` says what is measured.

        Minus the log-density in the data's own units, or a bound of it, or the error of reconstruction,
        whichever the generator has. A label that no training record held adds 10. Empty cells are drawn, not judged.

        Raises:
            SynthgenError: the generator has none of these, or a column is missing.
        """
        model = self._able(*JUDGES)
        return inference.anomalies(self.codec, model, self.judged_by, self.device, self._like(data), seed)

    @property
    def judged_by(self) -> str:
        """What `anomalies` measures: "log_prob", "bound" or "reconstruction"."""
        return next((a for a in JUDGES if isinstance(self.model, ABILITIES[a])), JUDGES[0])

    def encode(self, data: Any, *, seed: int = 0) -> NDArray[np.float32]:
        """Latent vectors of records, (n, latent).

        Raises:
            SynthgenError: the generator has no latents.
        """
        return inference.to_latent(self.codec, self._able("latents"), self.device, self._like(data), seed)

    def decode(self, latent: NDArray[np.float32], *, given: Given | None = None, seed: int = 0) -> Any:
        """Records of latent vectors (n, latent), in the kind of frame that was fitted on.

        Args:
            latent: the vectors.
            given: values of the context, for all; drawn where they are not given.
            seed: of the context and of what the codec draws within cells.
        """
        table, n = self._given_table(given), len(latent)
        rows = table.take(np.zeros(n, dtype=int)) if table is not None else None
        random = Chunk(seed, 0)
        context = self.codec.draw_context(self.codec.asked(rows, n), random.rng)
        return self._joined([self._from_latent(torch.from_numpy(latent), context, random)])

    def interpolate(self, a: Any = None, b: Any = None, *, steps: int = 8, seed: int = 0) -> Any:
        """A path of records between two, along the generator's latents.

        Args:
            a: a dataset whose first record is where the path begins; a random record by default.
            b: where it ends.
            steps: records on the path, both ends among them.
            seed: of random ends.

        Raises:
            SynthgenError: the generator has no latents.
        """
        model, random = self._able("latents"), Chunk(seed, 0)
        ends = [
            self._chunk(seed, k, 0, 1, None) if e is None else self._like(e).take([0]) for k, e in enumerate((a, b))
        ]
        z = [inference.to_latent(self.codec, model, self.device, end, seed) for end in ends]
        contexts = [self.codec.draw_context(self.codec.encode_context(end), random.rng) for end in ends]
        share = np.linspace(0, 1, steps)[:, None]
        path = inference.path(torch.from_numpy(z[0]), torch.from_numpy(z[1]), steps)
        context = np.where(share < 0.5, contexts[0], contexts[1])
        return self._joined([self._from_latent(path, context, random)])

    def _from_latent(self, z: Tensor, context: NDArray[np.int64], random: Chunk) -> Dataset:
        c = self.codec.embed_context(context).to(self.device)
        with seeded(random.torch_seed, self.device), torch.no_grad():
            x = self._able("latents").from_latent(z.to(self.device), c)
        return self.codec.decode(x.cpu(), context, random.rng)

    def _codec_for(self, kind: str, what: str) -> Codec:
        """The codec, where it is that of a kind of dataset."""
        if self.codec.kind != kind:
            raise SynthgenError(f"the model was fitted on {PLURAL[self.codec.kind]}; it cannot fill {what}")
        return self.codec

    def _like(self, data: Any) -> Dataset:
        """A dataset of the kind that was fitted on; the files of images become what the model knows."""
        known = self.codec.dataset_schema
        dataset = as_dataset(data, known if isinstance(known, ImageSchema) else None)
        if dataset.kind != self.codec.kind:
            raise SynthgenError(f"the model was fitted on {PLURAL[self.codec.kind]}, not on {PLURAL[dataset.kind]}")
        return dataset

    def _joined(self, parts: Sequence[Dataset]) -> Any:
        """Pieces as one dataset, for tables a frame of the kind that was fitted on."""
        whole: Dataset = type(parts[0]).join(parts)  # type: ignore[arg-type]
        if isinstance(whole, Images):
            return whole
        return whole.data if self._returns == "arrow" else whole.to_pandas()


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def installed(kind: str, wanted: Sequence[str] = ()) -> str:
    """The names of the installed generators that take a kind of dataset and have one of some abilities."""
    names = []
    for name in registry.available():
        with suppress(SynthgenError):  # one that cannot be loaded
            cls = registry.load(name)
            if kind in cls.accepts and (not wanted or set(wanted) & set(abilities(cls))):
                names.append(name)
    return ", ".join(names) or "none installed"
