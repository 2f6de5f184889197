"""Synthesizer: datasets in, datasets out. It ties a codec to a generator, and is saved as an artifact."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import BaseModel, ValidationError

from synthgen import __version__, artifact, registry
from synthgen.codec import TableCodec, fit_codec
from synthgen.codec.columns import UNKNOWN, Ints
from synthgen.codec.table import chunks, column_values, typed_column, unknown_value
from synthgen.data import Table, as_table
from synthgen.data.table import render
from synthgen.dp.budget import Budget
from synthgen.errors import BudgetError, SynthgenError, near
from synthgen.generator import ABILITIES, Completes, Generator, HasLogProb
from synthgen.records import Records
from synthgen.schema import Schema, explain
from synthgen.training import Recipe, State, Training

CHUNK = 65_536  # records drawn under one seed; shards and workers only choose which chunks they draw
LEAST_ROWS = 10
UNSEEN = 10.0  # nats that a label never seen adds to an anomaly score

Given = Mapping[str, Any]


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
        self._frame = "pandas"

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
            self._codec = TableCodec.from_state(restored[0]["codec"])
        else:
            self._codec, self.notes = fit_codec(
                table, schema, self.given, codes=self.cls.codes, reals=self.cls.reals, keep_rare=self.keep_rare
            )
        x, _ = self.codec.encode(table, rng)
        c = self.codec.embed_context(self.codec.encode_context(table))
        self._rows = len(table)

        def save(state: State) -> None:
            if checkpoint:
                artifact.save(checkpoint, {**self._manifest(), "checkpoint": mark}, state)

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
        self._frame = (
            "pandas" if table.frame is not None or not hasattr(data, "__arrow_c_stream__") else "arrow"
        )
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
            raise SynthgenError(
                f"the table has {len(table)} rows; at least {LEAST_ROWS} are needed to learn from"
            )
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
        parts = list(self.stream(n, seed=seed, given=given))
        whole = Table(
            pa.concat_tables([p.data for p in parts]), parts[0].dialect, parts[0].frame, parts[0].declared
        )
        return whole.data if self._frame == "arrow" else whole.to_pandas()

    def stream(self, n: int, *, seed: int = 0, given: Given | Any = None) -> Iterator[Table]:
        """Draw n new records as tables of at most 65 536, one at a time in memory."""
        if n < 1:
            raise SynthgenError(f"{n} records were asked for; ask for at least 1")
        rows = self._given_table(given)
        for k, start, size in chunks(n, CHUNK):
            part = rows.take(np.arange(start, start + size) % len(rows)) if rows is not None else None
            yield self._chunk(seed, k, start, size, part)

    def _chunk(self, seed: int, k: int, start: int, size: int, given: Table | None) -> Table:
        """Chunk k of a generation: drawn under `SeedSequence([seed, k])` alone."""
        sequence = np.random.SeedSequence([seed, k])
        rng = np.random.default_rng(sequence)
        names = given.data.column_names if given is not None else []
        asked = (
            self.codec.encode_context(given) if given is not None else _nothing(size, len(self.codec.given))
        )
        context = self.codec.draw_context(asked, rng)
        c = self.codec.embed_context(context).to(self.device)
        with seeded(int(sequence.generate_state(1, np.uint64)[0] >> 1), self.device), torch.no_grad():
            if given is not None and any(name in self.codec.modelled for name in names):
                x, known = (t.to(self.device) for t in self.codec.encode(given, rng))
                drawn = self._completer().complete(x, known, c)
            else:
                drawn = self.model.sample(size, c)
        fixed = {n: self._values(n, given) for n in names} if given is not None else None
        return self.codec.decode(drawn.cpu(), context, rng, start, fixed)

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
            values = self._values(name, table)
            codes = codec.encode(values)
            if (bad := np.flatnonzero(codes == UNKNOWN)).size:
                raise unknown_value(codec, name, str(table.data[name][int(bad[0])]))
        if any(name in self.codec.modelled for name in table.data.column_names):
            self._completer()
        return table

    def _values(self, name: str, table: Table) -> Any:
        return column_values(self.codec.table_schema[name], table.data[name].combine_chunks())

    def _completer(self) -> Completes:
        """The generator, if it can hold columns that were not named at the fit."""
        return self._able("complete", "; or fit it again and name the columns with --given")

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
        whole = pa.concat_tables([t.data for t in self.impute_stream(data, seed=seed, draws=draws)])
        return whole if self._frame == "arrow" else whole.to_pandas()

    def impute_stream(self, data: Any, *, seed: int = 0, draws: int = 15) -> Iterator[Table]:
        """The same, a piece at a time."""
        self._completer()
        table = as_table(data)
        missing = [n for n in self.codec.modelled if n not in table.data.column_names]
        if len(missing) == len(self.codec.modelled):
            raise SynthgenError("the table has none of the model's columns")
        for k, start, size in chunks(len(table), max(1, CHUNK // draws)):
            yield self._fill(table.take(np.arange(start, start + size)), seed, k, draws)

    def _fill(self, table: Table, seed: int, k: int, draws: int) -> Table:
        """Fill the empty cells of one piece."""
        sequence = np.random.SeedSequence([seed, k])
        rng = np.random.default_rng(sequence)
        x, known = self.codec.encode(table, rng)
        for j, name in enumerate(self.codec.modelled):
            if name in table.data.column_names:
                known[:, j] &= torch.from_numpy(~_empty(self._values(name, table)))
        if bool(known.all()):
            return table
        context = self.codec.draw_context(self.codec.encode_context(table), rng)
        c = self.codec.embed_context(context).repeat(draws, 1).to(self.device)
        with seeded(int(sequence.generate_state(1, np.uint64)[0] >> 1), self.device), torch.no_grad():
            args = x.repeat(draws, 1).to(self.device), known.repeat(draws, 1).to(self.device)
            drawn = self._completer().complete(*args, c).cpu().reshape(draws, *x.shape)
        data = table.data
        for j, name in enumerate(self.codec.modelled):
            gaps = ~known[:, j].numpy()
            if not gaps.any():
                continue
            column = self.codec.table_schema[name]
            best = typed_column(column, self.codec.consensus(name, drawn[:, :, j].numpy(), rng))
            data = _put(data, name, gaps, best, render(column, best))
        return Table(data, table.dialect, table.frame, table.declared)

    def anomalies(self, data: Any, *, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
        """How unlikely each record is: minus the log-density in the table's own units, (n,).

        A label that no training record held adds 10. Empty cells are drawn, not judged.

        Raises:
            SynthgenError: the generator has no `log_prob`, or a column is missing.
        """
        judge: HasLogProb = self._able("log_prob")
        table = as_table(data)
        for name in (*self.codec.modelled, *self.codec.given):
            if name not in table.data.column_names:
                raise SynthgenError(
                    f"the table has no column {name!r}; {near(name, table.data.column_names)}"
                )
        scores = []
        for k, start, size in chunks(len(table), CHUNK):
            part = table.take(np.arange(start, start + size))
            sequence = np.random.SeedSequence([seed, k])
            rng = np.random.default_rng(sequence)
            x, known = self.codec.encode(part, rng)
            c = self.codec.embed_context(self.codec.draw_context(self.codec.encode_context(part), rng))
            x, known, c = x.to(self.device), known.to(self.device), c.to(self.device)
            with seeded(int(sequence.generate_state(1, np.uint64)[0] >> 1), self.device), torch.no_grad():
                if not bool(known.all()) and isinstance(judge, Completes):
                    x = judge.complete(x, known, c)
                log_prob = judge.log_prob(x, c).cpu().numpy().astype(float)
            scores.append(self.codec.log_volume(part, x.cpu()) - log_prob + UNSEEN * self.codec.unseen(part))
        return np.concatenate(scores)

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
        return {
            "synthgen": __version__,
            "plugin": {"name": self.name, "distribution": registry.distribution(point), "version": version},
            "config": self.config.model_dump(mode="json"),
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
            "rows": self._rows,
            "frame": self._frame,
            "chunk": CHUNK,
            "codec": self.codec.state(),
        }

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Self:
        """Read a model that `save` wrote. No code runs but that of the installed generator it names.

        Raises:
            SynthgenError: it is damaged, from a newer format, or its generator is not installed.
        """
        manifest, weights = artifact.load(path)
        try:
            plugin, config, recipe = manifest["plugin"], manifest["config"], manifest["recipe"]
            codec, frame, rows = manifest["codec"], manifest["frame"], manifest["rows"]
            seed, chunk = manifest["seed"], manifest["chunk"]
        except (KeyError, TypeError) as error:
            raise SynthgenError(f"the model {path} is damaged: its manifest lacks {error}") from error
        if "checkpoint" in manifest:
            raise SynthgenError(
                f"{path} is unfinished work; finish it with: synthgen fit DATA -o MODEL --resume"
            )
        if plugin["name"] not in registry.available():
            raise SynthgenError(
                f"the model {path} needs generator {plugin['name']!r}; install package {plugin['distribution']}"
            )
        if chunk != CHUNK:
            raise SynthgenError(f"the model {path} generates in chunks of {chunk}, this synthgen in {CHUNK}")
        self = cls(plugin["name"], seed=seed, device=device, **config, **recipe)
        self._codec = TableCodec.from_state(codec)
        self._frame, self._rows = frame, rows
        self.given = tuple(self.codec.context.names)
        model = self.cls(self.codec.space, self.codec.context_space, self.config)
        model.load_weights(weights)
        self._model = model.to(self.device).eval()
        return self


def parse_settings(cls: type[Generator], settings: Mapping[str, Any]) -> tuple[BaseModel, Recipe]:
    """Settings to a generator's config and the recipe of its training.

    Raises:
        SynthgenError: one is unknown or out of its bounds.
    """
    own, loop = cls.Config.model_fields, Recipe.model_fields
    for key in settings:
        if key not in own and key not in loop:
            raise SynthgenError(f"{cls.__name__.lower()} has no setting {key!r}; {near(key, [*own, *loop])}")
    try:
        config = cls.Config(**{k: v for k, v in settings.items() if k in own})
        defaults = cls.recipe.model_dump()
        return config, Recipe(
            **{**defaults, **{k: v for k, v in settings.items() if k in loop and k not in own}}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise SynthgenError(f"setting {explain(error)} (given: {first['input']!r})") from error


def resolve_device(name: str) -> torch.device:
    """The device to compute on; "auto" takes CUDA or MPS where there is one.

    Raises:
        SynthgenError: the device is unknown or absent.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if present[d]))
    kind = name.split(":")[0]
    if kind not in present:
        raise SynthgenError(f"no device is called {name!r}; {near(kind, present)}")
    if not present[kind]:
        raise SynthgenError(f"this machine has no {kind} device; use --device cpu")
    return torch.device(name)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's random numbers from `seed` inside the block, and as they were after it."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


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


def _nothing(n: int, columns: int) -> Ints:
    return np.full((n, columns), UNKNOWN)


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _empty(values: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if isinstance(values, np.ndarray):
        return np.isnan(values)
    return np.asarray(pc.is_null(values))


def _put(data: pa.Table, name: str, gaps: Any, typed: pa.Array, text: pa.Array) -> pa.Table:
    """The table with some cells of a column replaced; the column is added where it was absent."""
    if name not in data.column_names:
        return data.append_column(name, typed)
    cells = data[name].combine_chunks()
    if pa.types.is_dictionary(cells.type):
        cells = pc.cast(cells, cells.type.value_type)
    new = text if pa.types.is_string(cells.type) else pc.cast(typed, cells.type, safe=False)
    return data.set_column(data.column_names.index(name), name, pc.if_else(pa.array(gaps), new, cells))
