"""Synthesizer: datasets in, datasets out. It ties a codec to a generator, and is saved as an artifact."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from synthgen import __version__, artifact, inference, registry
from synthgen.codec import TableCodec, fit_codec
from synthgen.codec.rare import UNKNOWN
from synthgen.codec.table import unknown_value
from synthgen.data import Table, TableWriter, as_table
from synthgen.devices import resolve_device, seeded
from synthgen.dp.budget import Budget
from synthgen.errors import BudgetError, SynthgenError, near
from synthgen.generator import ABILITIES, Generator, parse_settings
from synthgen.inference import CHUNK, Chunk, chunks, is_empty
from synthgen.records import Records
from synthgen.schema import Schema, explain
from synthgen.training import State, Training

LEAST_ROWS = 10

Given = Mapping[str, Any]


class _Plugin(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    distribution: str
    version: str


class _Manifest(BaseModel):
    """What a stored model says of itself, beside its weights."""

    model_config = ConfigDict(extra="forbid")

    synthgen: str
    plugin: _Plugin
    config: dict[str, Any]
    recipe: dict[str, Any]
    seed: int
    rows: int
    frame: Literal["pandas", "arrow"]
    chunk: int
    codec: Any
    checkpoint: str = ""


class Synthesizer:
    """A generator for tables: fit it on one, generate as many new rows as you like.

    >>> Synthesizer("trees", seed=1).fit(frame).generate(1000)  # doctest: +SKIP

    Args:
        generator: name of an installed generator (`synthgen list`), or a Generator class.
        given: columns to condition on: their values can be chosen when generating, with any generator.
        schema: what is known of the columns; the rest is inferred.
        drop: columns to leave out.
        sample: fit on so many rows, drawn at random; all by default.
        seed: of the fit. The same seed on the same machine gives the same model.
        device: "auto", "cpu", "cuda" or "mps".
        max_time: seconds that the fit may take; it ends with a usable model.
        keep_rare: keep values that fewer than 5 records hold.
        settings: parameters of the generator (`synthgen info NAME`) and of its training, such as epochs.

    Raises:
        SynthgenError: the generator or a setting is unknown, or out of its bounds.
    """

    def __init__(
        self,
        generator: str | type[Generator] = "trees",
        *,
        given: Sequence[str] = (),
        schema: Schema | None = None,
        drop: Sequence[str] = (),
        sample: int | None = None,
        seed: int = 0,
        device: str = "auto",
        max_time: float | None = None,
        keep_rare: bool = False,
        **settings: Any,
    ) -> None:
        self.name = generator if isinstance(generator, str) else None
        self.cls = registry.load(generator) if isinstance(generator, str) else generator
        self.config, self.recipe = parse_settings(self.cls, settings)
        self.given, self.schema, self.drop, self.sample = tuple(given), schema, tuple(drop), sample
        self.seed, self.max_time, self.keep_rare = seed, max_time, keep_rare
        self.device = resolve_device(device)
        self.notes: list[str] = []
        self._codec: TableCodec | None = None
        self._model: Generator | None = None
        self._rows = 0
        self._frame: Literal["pandas", "arrow"] = "pandas"

    @property
    def codec(self) -> TableCodec:
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

    def fit(
        self,
        data: Any,
        *,
        budget: Budget | None = None,
        report: Callable[..., None] | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        interrupted: Callable[[], bool] | None = None,
    ) -> Self:
        """Learn from a table: a path, a pandas frame, anything with an Arrow stream, or a Table.

        Args:
            data: the table.
            budget: a privacy budget; no generator can be fitted under one yet.
            report: called with the share done and figures such as the loss.
            checkpoint: folder to keep unfinished work in.
            resume: go on from the checkpoint where there is one.
            interrupted: asked between rounds whether to stop.

        Raises:
            SynthgenError: the table, the schema or the checkpoint does not fit.
            BudgetError: there is a budget.
            Interrupted: `interrupted` said so; the checkpoint holds what was learned.
        """
        if budget is not None:
            raise BudgetError("fitting under a privacy budget is not built yet")
        if "table" not in self.cls.accepts:
            raise SynthgenError(f"{self.name} takes {', '.join(self.cls.accepts)}, not tables")
        table, schema = self._prepare(data)
        mark = self._fingerprint(table) if checkpoint else ""
        restored = _restore(Path(checkpoint), mark) if checkpoint and resume else None
        rng = np.random.default_rng([self.seed, 0])
        if restored:
            self._codec, self.notes = TableCodec.from_state(restored[0]["codec"]), restored[0]["notes"]
        else:
            self._codec, self.notes = fit_codec(
                table,
                schema,
                self.given,
                codes=self.cls.codes,
                reals=self.cls.reals,
                keep_rare=self.keep_rare,
            )
        x, _ = self.codec.encode(table, rng)
        c = self.codec.embed_context(self.codec.encode_context(table))
        self._rows = len(table)

        def save(state: State) -> None:
            if checkpoint:
                artifact.save(checkpoint, {**self._manifest(), "checkpoint": mark, "notes": self.notes}, state)

        with seeded(self.seed, self.device):
            model = self.cls(self.codec.space, self.codec.context_space, self.config).to(self.device)
            training = Training(
                self.recipe,
                device=self.device,
                seconds=self.max_time,
                report=report,
                save=save if checkpoint else None,
                restored=restored[1] if restored else None,
                interrupted=interrupted,
            )
            model.fit(Records(x, c), training)
            self.notes += training.notes
        self._model = model.eval()
        return self

    def _prepare(self, data: Any) -> tuple[Table, Schema]:
        """The rows and columns to learn from."""
        table = as_table(data)
        self._frame = "pandas" if table.frame is not None or not hasattr(data, "__arrow_c_stream__") else "arrow"
        if self.schema is not None:
            table = table.declare(self.schema)
        for name in self.drop:
            if name not in table.data.column_names:
                raise SynthgenError(f"cannot drop {name!r}; {near(name, table.data.column_names)}")
        kept = [n for n in table.data.column_names if n not in self.drop]
        schema = table.schema.drop(self.drop)
        table = table.select(kept)
        if self.sample and self.sample < len(table):
            rows = np.random.default_rng([self.seed, 1]).choice(len(table), self.sample, replace=False)
            table = table.take(np.sort(rows))
        if len(table) < LEAST_ROWS:
            raise SynthgenError(f"the table has {len(table)} rows; at least {LEAST_ROWS} are needed to learn from")
        return table, schema

    def _fingerprint(self, table: Table) -> str:
        """A hash of the table and of everything that shapes the fit."""
        digest = hashlib.sha256(repr((self.name, self.config, self.recipe, self.given, self.seed)).encode())
        digest.update(repr((self.keep_rare, table.schema)).encode())
        for column in table.data.columns:
            for part in column.combine_chunks().buffers():
                digest.update(part or b"")
        return digest.hexdigest()

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

    def stream(self, n: int, *, seed: int = 0, given: Given | Any = None) -> Iterator[Table]:
        """Draw n new records as tables of at most 65 536, one at a time in memory."""
        if n < 1:
            raise SynthgenError(f"{n} records were asked for; ask for at least 1")
        rows = self._given_table(given)
        for k, start, size in chunks(n, CHUNK):
            part = rows.take(np.arange(start, start + size) % len(rows)) if rows is not None else None
            yield self._chunk(seed, k, start, size, part)

    def write(
        self,
        path: str | Path,
        n: int,
        *,
        seed: int = 0,
        given: Given | Any = None,
        report: Callable[[float], None] = lambda done: None,
    ) -> None:
        """Draw n new records into a `.csv`, `.csv.gz` or `.parquet` file, in memory that does not grow with n.

        The file looks like the one that was fitted on, and appears whole or not at all.

        Args:
            path: of the file.
            n: number of records.
            seed: the same seed gives the same file.
            given: as in `generate`.
            report: called with the share done.

        Raises:
            SynthgenError: the ending is unknown, or what is given cannot be held.
            ResourceError: the disk is full or the place not writable.
        """
        done = 0
        with TableWriter(path, self.codec.table_schema) as writer:
            for part in self.stream(n, seed=seed, given=given):
                writer.write(part)
                report((done := done + len(part)) / n)

    def _chunk(self, seed: int, k: int, start: int, size: int, given: Table | None) -> Table:
        """Chunk k of a generation, from row `start` on."""
        random = Chunk(seed, k)
        names = given.data.column_names if given is not None else []
        asked = np.full((size, len(self.codec.given)), UNKNOWN) if given is None else self.codec.encode_context(given)
        context = self.codec.draw_context(asked, random.rng)
        c = self.codec.embed_context(context).to(self.device)
        with seeded(random.torch_seed, self.device), torch.no_grad():
            if given is not None and any(name in self.codec.modelled for name in names):
                x, known = (t.to(self.device) for t in self.codec.encode(given, random.rng))
                drawn = self._able("complete").complete(x, known, c)
            else:
                drawn = self.model.sample(size, c)
        fixed = {name: self.codec.values(name, given) for name in names} if given is not None else None
        return self.codec.decode(drawn.cpu(), context, random.rng, start, fixed)

    def _given_table(self, given: Given | Any) -> Table | None:
        """What is given as a table, its columns and values checked."""
        if given is None or (isinstance(given, Mapping) and not given):
            return None
        if isinstance(given, Mapping):
            cells = {k: pa.array([v if isinstance(v, str) else _plain(v)]) for k, v in given.items()}
            given = Table(pa.table(cells))
        table = as_table(given)
        for name in table.data.column_names:
            codec = {**self.codec.modelled, **self.codec.given}.get(name)
            if codec is None:
                kind = self.codec.table_schema[name].kind
                raise SynthgenError(f"column {name!r} is {kind}; only modelled columns can be given")
            values = self.codec.values(name, table)
            if (bad := np.flatnonzero((codec.encode(values) == UNKNOWN) & ~is_empty(values))).size:
                raise unknown_value(codec, name, str(table.data[name][int(bad[0])]))
        if any(name in self.codec.modelled for name in table.data.column_names):
            self._able("complete", "; or fit it again and name the columns with --given")
        return table

    def _able(self, ability: str, otherwise: str = "") -> Any:
        """The generator, if it has an ability.

        Raises:
            SynthgenError: it has not; the text names the installed generators that have it.
        """
        if isinstance(self.model, ABILITIES[ability]):
            return self.model
        able = []
        for name in registry.available():
            try:
                cls = registry.load(name)
            except SynthgenError:
                continue
            able += [name] if hasattr(cls, ability) else []
        raise SynthgenError(
            f"{self.name or type(self.model).__name__} has no {ability}; generators that have it: "
            f"{', '.join(able) or 'none installed'}{otherwise}"
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

    def impute_stream(self, data: Any, *, seed: int = 0, draws: int = 15) -> Iterator[Table]:
        """The same, a piece at a time."""
        return inference.impute(self.codec, self._able("complete"), self.device, as_table(data), seed, draws)

    def anomalies(self, data: Any, *, seed: int = 0) -> NDArray[np.float64]:
        """How unlikely each record is: minus the log-density in the table's own units, (n,).

        A label that no training record held adds 10. Empty cells are drawn, not judged.

        Raises:
            SynthgenError: the generator has no `log_prob`, or a column is missing.
        """
        return inference.anomalies(self.codec, self._able("log_prob"), self.device, as_table(data), seed)

    def _joined(self, parts: list[Table]) -> Any:
        """Pieces as one frame of the kind that was fitted on."""
        whole = Table(pa.concat_tables([p.data for p in parts]), parts[0].dialect, parts[0].frame, parts[0].declared)
        return whole.data if self._frame == "arrow" else whole.to_pandas()

    def save(self, path: str | Path) -> None:
        """Write the model as a folder, whole or not at all.

        Raises:
            SynthgenError: nothing is fitted, or the generator is not installed, so that none could load it.
            ResourceError: the disk is full or the place not writable.
        """
        artifact.save(path, self._manifest(), self.model.state_dict())

    def _manifest(self) -> dict[str, Any]:
        if self.name is None:
            raise SynthgenError(
                f"{self.cls.__name__} is not installed under a name, so none could load the model; "
                "give it an entry point (README: write a plugin)"
            )
        point = registry.available()[self.name]
        version = point.dist.version if point.dist else ""
        return _Manifest(
            synthgen=__version__,
            plugin=_Plugin(name=self.name, distribution=registry.distribution(point), version=version),
            config=self.config.model_dump(mode="json"),
            recipe=self.recipe.model_dump(mode="json"),
            seed=self.seed,
            rows=self._rows,
            frame=self._frame,
            chunk=CHUNK,
            codec=self.codec.state(),
        ).model_dump()

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Self:
        """Read a model that `save` wrote. No code runs but that of the installed generator it names.

        Raises:
            SynthgenError: it is damaged, from a newer format, or its generator is not installed.
        """
        fields, weights = artifact.load(path)
        if fields.get("checkpoint"):
            raise SynthgenError(f"{path} is unfinished work; finish it with: synthgen fit DATA -o MODEL --resume")
        try:
            manifest = _Manifest.model_validate(fields)
        except ValidationError as error:
            raise SynthgenError(f"the model {path} is damaged: {explain(error)}") from error
        plugin = manifest.plugin
        if plugin.name not in registry.available():
            raise SynthgenError(
                f"the model {path} needs generator {plugin.name!r}; install package {plugin.distribution}"
            )
        if manifest.chunk != CHUNK:
            raise SynthgenError(f"the model {path} generates in chunks of {manifest.chunk}, this synthgen in {CHUNK}")
        self = cls(plugin.name, seed=manifest.seed, device=device)
        self.config, self.recipe = parse_settings(self.cls, {**manifest.recipe, **manifest.config})
        self._codec = TableCodec.from_state(manifest.codec)
        self._frame, self._rows = manifest.frame, manifest.rows
        self.given = tuple(self.codec.context.names)
        model = self.cls(self.codec.space, self.codec.context_space, self.config)
        model.load_weights(weights)
        self._model = model.to(self.device).eval()
        return self


def _restore(checkpoint: Path, mark: str) -> tuple[dict[str, Any], State] | None:
    """The manifest and state of a checkpoint, or None where there is none."""
    if not checkpoint.exists():
        return None
    manifest, state = artifact.load(checkpoint)
    if manifest.get("checkpoint") != mark:
        raise SynthgenError(
            f"{checkpoint} was made with other data or settings; give the same again, "
            "or remove it and fit without --resume"
        )
    return manifest, state


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
