"""Synthesizer: datasets in, datasets out. It ties a codec to a generator, and is saved as an artifact."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from synthgen import __version__, artifact, inference, registry
from synthgen.codec import LABEL, Codec, ImageCodec, TableCodec, fit_codec, fit_image_codec
from synthgen.data import Dataset, Images, ImageSchema, Table, as_dataset, as_table, writer
from synthgen.devices import resolve_device, seeded
from synthgen.dp.budget import Budget
from synthgen.errors import BudgetError, SynthgenError, near
from synthgen.generator import ABILITIES, Generator, abilities, parse_settings, recipe_for
from synthgen.inference import Chunk, chunks
from synthgen.records import Records
from synthgen.schema import Schema, explain
from synthgen.training import State, Training

LEAST_RECORDS = 10
PREVIEW = 64  # records
JUDGES = ("log_prob", "bound", "reconstruction")  # what anomalies are told by, the best first
PLURAL = {"table": "tables", "images": "images"}

Given = Mapping[str, Any]
Returns = Literal["pandas", "arrow", "images"]  # what `generate` gives


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
    kind: Literal["table", "images"]
    returns: Returns
    chunk: int
    codec: Any
    checkpoint: str = ""


class Synthesizer:
    """A generator of records like yours: fit it on a table or on images, generate as many new ones as you like.

    >>> Synthesizer("trees", seed=1).fit(frame).generate(1000)  # doctest: +SKIP

    Args:
        generator: name of an installed generator (`synthgen list`), or a Generator class.
        given: columns to condition on: their values can be chosen when generating, with any generator.
            The classes of images always can.
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
        self.settings = settings
        self.config, self.recipe = parse_settings(self.cls, settings)
        self.given, self.schema, self.drop, self.sample = tuple(given), schema, tuple(drop), sample
        self.seed, self.max_time, self.keep_rare = seed, max_time, keep_rare
        self.device = resolve_device(device)
        self.notes: list[str] = []
        self._codec: Codec | None = None
        self._model: Generator | None = None
        self._rows = 0
        self._returns: Returns = "pandas"

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

    def fit(
        self,
        data: Any,
        *,
        budget: Budget | None = None,
        report: Callable[..., None] | None = None,
        preview: Callable[[Dataset], None] | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        interrupted: Callable[[], bool] | None = None,
    ) -> Self:
        """Learn from a dataset.

        Args:
            data: a path, a pandas frame, anything with an Arrow stream, a Table, or Images.
            budget: a privacy budget; no generator can be fitted under one yet.
            report: called with the share done and figures such as the loss.
            preview: called now and then with a few records drawn from what is learned so far.
            checkpoint: folder to keep unfinished work in.
            resume: go on from the checkpoint where there is one.
            interrupted: asked between rounds whether to stop.

        Raises:
            SynthgenError: the data, the schema or the checkpoint does not fit.
            BudgetError: there is a budget.
            Interrupted: `interrupted` said so; the checkpoint holds what was learned.
        """
        if budget is not None:
            raise BudgetError("fitting under a privacy budget is not built yet")
        dataset = self._prepare(data)
        self.recipe = recipe_for(self.cls, dataset.kind, self.settings)
        mark = self._fingerprint(dataset) if checkpoint else ""
        restored = _restore(Path(checkpoint), mark) if checkpoint and resume else None
        rng = np.random.default_rng([self.seed, 0])
        if restored:
            self._codec, self.notes = _codec(dataset.kind, restored[0]["codec"]), restored[0]["notes"]
        else:
            self._codec, self.notes = self._fit_codec(dataset)
        x, _ = self.codec.encode(dataset, rng)
        c = self.codec.embed_context(self.codec.learned_context(dataset))
        self._rows = len(dataset)

        def save(state: State) -> None:
            if checkpoint:
                artifact.save(checkpoint, {**self._manifest(), "checkpoint": mark, "notes": self.notes}, state)

        with seeded(self.seed, self.device):
            self._model = model = self._build().to(self.device)
            training = Training(
                self.recipe,
                device=self.device,
                seconds=self.max_time,
                report=report,
                save=save if checkpoint else None,
                restored=restored[1] if restored else None,
                interrupted=interrupted,
                preview=(lambda: self._show(preview)) if preview else None,
            )
            model.fit(Records(x, c), training)
            self.notes += training.notes
        self._model = model.eval()
        return self

    def _prepare(self, data: Any) -> Dataset:
        """The records to learn from."""
        dataset = as_dataset(data)
        if dataset.kind not in self.cls.accepts:
            raise SynthgenError(
                f"{self.name or self.cls.__name__} takes {PLURAL[self.cls.accepts[0]]}, not {PLURAL[dataset.kind]}; "
                f"generators that do: {_installed(dataset.kind)}"
            )
        self._returns = "pandas"
        if isinstance(dataset, Images):
            self._returns = "images"
            if self.schema is not None or self.drop or set(self.given) - {LABEL}:
                raise SynthgenError(
                    "images have no columns to declare, drop or give; their classes can always be given"
                )
        else:
            if dataset.frame is None and hasattr(data, "__arrow_c_stream__"):
                self._returns = "arrow"
            dataset = self._prepare_table(dataset)
        if self.sample and self.sample < len(dataset):
            rows = np.random.default_rng([self.seed, 1]).choice(len(dataset), self.sample, replace=False)
            dataset = dataset.take(np.sort(rows))
        if len(dataset) < LEAST_RECORDS:
            text = f"there are {len(dataset)} {dataset.noun}"
            raise SynthgenError(f"{text}; at least {LEAST_RECORDS} are needed to learn from")
        return dataset

    def _prepare_table(self, table: Table) -> Table:
        """The table with the columns to learn from, under the schema that is declared."""
        if self.schema is not None:
            table = table.declare(self.schema)
        for name in self.drop:
            if name not in table.data.column_names:
                raise SynthgenError(f"cannot drop {name!r}; {near(name, table.data.column_names)}")
        schema = table.schema.drop(self.drop)
        return table.select([n for n in table.data.column_names if n not in self.drop]).declare(schema)

    def _fit_codec(self, dataset: Dataset) -> tuple[Codec, list[str]]:
        if isinstance(dataset, Images):
            return fit_image_codec(dataset), list(dataset.notes)
        cls, schema = self.cls, dataset.schema
        return fit_codec(dataset, schema, self.given, codes=cls.codes, reals=cls.reals, keep_rare=self.keep_rare)

    def _build(self) -> Generator:
        return self.cls(self.codec.space, self.codec.context_space, self.config)

    def _fingerprint(self, dataset: Dataset) -> str:
        """A hash of the dataset and of everything that shapes the fit."""
        shape = (self.name, self.config, self.recipe, self.given, self.seed, self.keep_rare)
        return hashlib.sha256(repr(shape).encode() + dataset.digest()).hexdigest()

    def _show(self, preview: Callable[[Dataset], None]) -> None:
        try:
            drawn = self._preview()
        except Exception:  # a generator need not be able to draw before it is whole, and may then raise anything
            return
        preview(drawn)

    def _preview(self) -> Dataset:
        """A few records of the unfinished model, of all classes in turn."""
        contexts = np.array(self.codec.context.codes).reshape(-1, len(self.codec.context.names))
        wanted = contexts[np.arange(PREVIEW) % len(contexts)] if len(contexts) else np.zeros((PREVIEW, 0), dtype=int)
        random = Chunk(self.seed, 0)
        with seeded(random.torch_seed, self.device), torch.no_grad():
            drawn = self.model.sample(PREVIEW, self.codec.embed_context(wanted).to(self.device))
        return self.codec.decode(drawn.cpu(), wanted, random.rng)

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

    def stream(self, n: int, *, seed: int = 0, given: Given | Any = None) -> Iterator[Dataset]:
        """Draw n new records a chunk at a time: tables of at most 65 536 rows, or at most 1024 images."""
        if n < 1:
            raise SynthgenError(f"{n} records were asked for; ask for at least 1")
        rows = self._given_table(given)
        for k, start, size in chunks(n, self.codec.chunk):
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
        """Draw n new records into a file or folder, in memory that does not grow with n.

        It looks like what was fitted on, and appears whole or not at all.

        Args:
            path: a `.csv`, `.csv.gz` or `.parquet` file for rows; a folder or a `.zip` for images.
            n: number of records.
            seed: the same seed gives the same file.
            given: as in `generate`.
            report: called with the share done.

        Raises:
            SynthgenError: the ending is unknown, or what is given cannot be held.
            ResourceError: the disk is full or the place not writable.
        """
        done = 0
        with writer(path, self.codec.dataset_schema) as output:
            for part in self.stream(n, seed=seed, given=given):
                output.write(part)  # type: ignore[arg-type]
                report((done := done + len(part)) / n)

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
            f"{self.name or type(self.model).__name__} has no {' or '.join(wanted)}; generators that have it: "
            f"{_installed(self.codec.kind, wanted)}{otherwise}"
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
            kind=self.codec.kind,
            returns=self._returns,
            chunk=self.codec.chunk,
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
        codec = _codec(manifest.kind, manifest.codec)
        if manifest.chunk != codec.chunk:
            raise SynthgenError(
                f"the model {path} generates in chunks of {manifest.chunk}, this synthgen in {codec.chunk}"
            )
        self = cls(plugin.name, seed=manifest.seed, device=device)
        self.settings = {**manifest.recipe, **manifest.config}
        self.config, self.recipe = parse_settings(self.cls, self.settings)
        self._codec, self._returns, self._rows = codec, manifest.returns, manifest.rows
        self.given = tuple(codec.context.names)
        model = self._build()
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


def _codec(kind: str, state: Any) -> Codec:
    return (ImageCodec if kind == "images" else TableCodec).from_state(state)


def _installed(kind: str, wanted: Sequence[str] = ()) -> str:
    """The names of the installed generators that take a kind of dataset and have one of some abilities."""
    names = []
    for name in registry.available():
        with suppress(SynthgenError):  # one that cannot be loaded
            cls = registry.load(name)
            if kind in cls.accepts and (not wanted or set(wanted) & set(abilities(cls))):
                names.append(name)
    return ", ".join(names) or "none installed"


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
