"""Synthesizer: datasets in, datasets out. It ties a codec to a generator, and is saved as an artifact."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from synthgen import __version__, artifact, registry
from synthgen.codec import LABEL, Codec, ImageCodec, TableCodec, fit_codec, fit_image_codec
from synthgen.codec.stream import fit_stream
from synthgen.data import Dataset, Images, Table, TableStream, as_dataset, as_table, holds_images, open_table
from synthgen.data.stream import sample_rows
from synthgen.data.table import read_table
from synthgen.devices import resolve_device, seeded
from synthgen.distributed import current
from synthgen.dp.bins import Part
from synthgen.dp.budget import Budget, check_training
from synthgen.dp.certificate import certificate
from synthgen.dp.prepare import (
    Folder,
    Private,
    Unit,
    prepare_images,
    prepare_table,
    prepared_once,
    read_private_images,
)
from synthgen.dp.rehearsal import rehearse
from synthgen.errors import BudgetError, SynthgenError, near
from synthgen.estimator import Estimator
from synthgen.fitted import PLURAL, Fitted, Returns, installed
from synthgen.generator import Generator, parse_settings, recipe_for
from synthgen.inference import Chunk
from synthgen.records import Records
from synthgen.report.certificate import certificate_page
from synthgen.schema import Schema, explain
from synthgen.streamed import Store, StreamedRecords
from synthgen.training import State, Training

LEAST_RECORDS = 10
PREVIEW = 64  # records


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
    certificate: dict[str, Any] | None = None
    counted: dict[str, list[Part]] = {}


class Synthesizer(Fitted, Estimator):
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
        self._parameters = {"generator": generator, "given": given, "schema": schema, "drop": drop, "sample": sample}
        self._parameters |= {"seed": seed, "device": device, "max_time": max_time, "keep_rare": keep_rare, **settings}
        self.name = generator if isinstance(generator, str) else None
        self.cls = registry.load(generator) if isinstance(generator, str) else generator
        self.settings = settings
        self.config, self.recipe = parse_settings(self.cls, settings)
        self.given, self.schema, self.drop, self.sample = tuple(given), schema, tuple(drop), sample
        self.seed, self.max_time, self.keep_rare = seed, max_time, keep_rare
        super().__init__(self.name or self.cls.__name__, resolve_device(device))
        self.notes: list[str] = []
        self.counted = dict[str, list[Part]]()  # what a private fit paid for: noisy counts of parts of columns
        self._rows = 0

    def fit(
        self,
        data: Any,
        y: None = None,
        *,
        budget: Budget | None = None,
        unit: Unit = Unit(),  # noqa: B008 (immutable)
        report: Callable[..., None] | None = None,
        preview: Callable[[Dataset], None] | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        interrupted: Callable[[], bool] | None = None,
    ) -> Self:
        """Learn from a dataset.

        Args:
            data: a path, a pandas frame, anything with an Arrow stream, a Table, a TableStream, or Images. The file
                of a path whose fit does not fit in memory is read block by block.
            y: ignored; scikit-learn passes it.
            budget: a privacy budget, which pays for every look at the data; only some generators can be fitted
                under one.
            unit: whose records are protected together under a budget; each record by itself unless a column names
                persons.
            report: called with the share done and figures such as the loss.
            preview: called now and then with a few records drawn from what is learned so far.
            checkpoint: folder to keep unfinished work in.
            resume: go on from the checkpoint where there is one.
            interrupted: asked between rounds whether to stop.

        Raises:
            SynthgenError: the data, the schema or the checkpoint does not fit.
            BudgetError: the budget is too small, or what was asked for cannot be had under one.
            Interrupted: `interrupted` said so; the checkpoint holds what was learned.
        """
        if budget is not None:
            return self._fit_private(data, budget, unit, report, interrupted)
        dataset = self._prepare(data)
        self.recipe = recipe_for(self.cls, dataset.kind, self.settings)
        group = current()
        mark = self._fingerprint(dataset) if checkpoint or group.world > 1 else ""
        if group.json(lambda: mark) != mark:
            raise SynthgenError("this process was given other data or settings than the main one; give all the same")
        restored = _restore(Path(checkpoint), mark) if checkpoint and resume and group.main else None
        if restored:
            self._codec, self.notes = _codec(dataset.kind, restored[0]["codec"]), restored[0]["notes"]
        elif group.main:
            self._codec, notes = self._fit_codec(dataset)
            self.notes += notes
        state = self._same_start(dataset.kind, restored[1] if restored else {})
        self._rows = len(dataset)
        folder = Path(checkpoint).absolute().parent if checkpoint else Path(tempfile.gettempdir())
        room = getattr(dataset, "room", 0)
        room = restored[0].get("room", room) if restored else room  # what is free may be other than it was

        def save(state: State) -> None:
            if checkpoint:
                more = {"checkpoint": mark, "notes": self.notes, "room": room}
                artifact.save(checkpoint, {**self._manifest(), **more}, state)

        with self._encoded(dataset, room, folder) as records, seeded(self.seed, self.device):
            self._model = model = self._build().to(self.device)
            training = Training(
                self.recipe,
                device=self.device,
                seconds=self.max_time,
                report=report,
                save=save if checkpoint and group.main else None,
                restored=state or None,
                interrupted=interrupted,
                preview=(lambda: self._show(preview)) if preview and group.main else None,
            )
            model.fit(records, training)
            self._note(training)
        self._model = model.eval()
        return self

    @property
    def rows(self) -> int:
        """How many records it was fitted on, a sample of which a generator may have seen; 0 before."""
        return self._rows

    def _same_start(self, kind: str, state: State) -> State:
        """Take the main process's codec and the state to go on from, where several fit together."""
        group = current()
        if group.world == 1:
            return state
        told = group.json(lambda: {"codec": self.codec.state(), "notes": self.notes})
        if not group.main:
            self._codec, self.notes = _codec(kind, told["codec"]), told["notes"]
        return dict(group.tensors(lambda: state))

    def _note(self, training: Training) -> None:
        """Keep what a training has to say."""
        self.notes += training.notes
        if current().world > 1 and not training.stages:
            self.notes.append(f"{self._called} learns in one process; the others only waited for it")

    def _fit_private(
        self,
        data: Any,
        budget: Budget,
        unit: Unit,
        report: Callable[..., None] | None,
        interrupted: Callable[[], bool] | None,
    ) -> Self:
        """Learn from a dataset under a budget: nothing of it is seen but what the budget pays for."""
        if self.sample or self.keep_rare or self.seed:
            raise BudgetError("under a privacy budget there is no sample, keep_rare or seed of a fit")
        prepared = prepared_once(lambda: self._prepare_private(data, budget, unit), budget)
        self._codec, self._rows, self.notes = prepared.codec, prepared.records.total, prepared.notes
        self.counted, kind = prepared.counted, self._codec.kind
        self.recipe = recipe_for(self.cls, kind, self.settings, private=True)
        self._returns = "images" if kind == "images" else "pandas"
        self._model = model = self._build().to(self.device)
        seconds = self.max_time
        training = Training(self.recipe, device=self.device, seconds=seconds, report=report, interrupted=interrupted)
        model.fit(prepared.records, training)  # type: ignore[arg-type]
        self._note(training)
        if current().main:
            declared, trained = prepared.declared, prepared.records.trained
            self.certificate = certificate(budget, self._called, self._rows, declared, str(unit), trained)
        self._model = model.eval()
        return self

    def _prepare_private(self, data: Any, budget: Budget, unit: Unit) -> Private:
        """The records behind the budget, after a rehearsal."""
        name = self._called
        if isinstance(data, str | Path) and holds_images(data):
            data = Folder(data)
        kind = "images" if isinstance(data, Folder | Images) else "table"
        if kind not in self.cls.accepts:
            raise SynthgenError(f"{name} takes {PLURAL[self.cls.accepts[0]]}, not {PLURAL[kind]}")
        if kind == "images" and (self.schema is not None or self.drop or set(self.given) - {LABEL} or unit.column):
            raise SynthgenError("images have no columns to declare, drop or give, nor one that names a person")
        self.recipe = recipe_for(self.cls, kind, self.settings, private=True)
        if rehearse(self.cls, self.config, name, kind):
            check_training(budget, self.recipe.steps)
        if kind == "images":
            images = read_private_images(data, budget) if isinstance(data, Folder) else data
            return prepare_images(images, budget, self.cls.sketch)
        table = read_table(Path(data), private=True) if isinstance(data, str | Path) else as_table(data)
        return prepare_table(table, self.schema, self.drop, self.given, budget, self.cls.codes, unit)

    @contextlib.contextmanager
    def _encoded(self, dataset: Dataset | TableStream, room: int, folder: Path) -> Iterator[Records]:
        """The records of a dataset: in memory, or of a stream as it can give them."""
        if not isinstance(dataset, TableStream):
            x, _ = self.codec.encode(dataset, np.random.default_rng([self.seed, 0]))
            yield Records(x, self.codec.embed_context(self.codec.learned_context(dataset)))
            return
        assert isinstance(self.codec, TableCodec), "streams are tables"
        store = Store(dataset, self.codec, self.seed, room, folder)
        try:
            yield StreamedRecords(store)
            self.notes += store.notes(self.name or self.cls.__name__)
        finally:
            store.close()

    def _prepare(self, data: Any) -> Dataset | TableStream:
        """The records to learn from."""
        self.notes = []
        dataset = self._opened(data)
        if dataset.kind not in self.cls.accepts:
            raise SynthgenError(
                f"{self.name or self.cls.__name__} takes {PLURAL[self.cls.accepts[0]]}, not {PLURAL[dataset.kind]}; "
                f"generators that do: {installed(dataset.kind)}"
            )
        self._returns = "pandas"
        if isinstance(dataset, Images):
            self._returns = "images"
            if self.schema is not None or self.drop or set(self.given) - {LABEL}:
                raise SynthgenError(
                    "images have no columns to declare, drop or give; their classes can always be given"
                )
        else:
            if not isinstance(dataset, TableStream) and dataset.frame is None and hasattr(data, "__arrow_c_stream__"):
                self._returns = "arrow"
            dataset = self._prepare_table(dataset)
        if self.sample and self.sample < len(dataset):
            if isinstance(dataset, TableStream):
                dataset = dataset.sample(self.sample, self.seed).declare(dataset.schema)
            else:
                dataset = dataset.take(sample_rows(len(dataset), self.sample, self.seed))
        if len(dataset) < LEAST_RECORDS:
            text = f"there are {len(dataset)} {dataset.noun}"
            raise SynthgenError(f"{text}; at least {LEAST_RECORDS} are needed to learn from")
        return dataset

    def _opened(self, data: Any) -> Dataset | TableStream:
        """The dataset, in memory where it can be."""
        if isinstance(data, TableStream):
            return data
        if isinstance(data, str | Path) and not holds_images(data):
            return open_table(Path(data), sample=self.sample, dropped=self.drop, say=self.notes.append)
        return as_dataset(data)

    def _prepare_table(self, table: Table | TableStream) -> Table | TableStream:
        """The table with the columns to learn from, under the schema that is declared."""
        if self.schema is not None:
            table = table.declare(self.schema)
        names = table.types.names if isinstance(table, TableStream) else table.data.column_names
        for name in self.drop:
            if name not in names:
                raise SynthgenError(f"cannot drop {name!r}; {near(name, names)}")
        kept = [n for n in names if n not in self.drop]
        if isinstance(table, TableStream):  # whose schema takes a pass over the columns that are left
            known = table.declared and table.declared.drop(set(self.drop) & set(table.declared.names))
            return table.select(kept).declare(known)
        return table.select(kept).declare(table.schema.drop(self.drop))

    def _fit_codec(self, dataset: Dataset | TableStream) -> tuple[Codec, list[str]]:
        if isinstance(dataset, Images):
            return fit_image_codec(dataset), list(dataset.notes)
        if isinstance(dataset, TableStream):
            return fit_stream(dataset, self.given, self.cls.codes, self.cls.reals, self.keep_rare)
        cls, schema = self.cls, dataset.schema
        return fit_codec(dataset, schema, self.given, codes=cls.codes, reals=cls.reals, keep_rare=self.keep_rare)

    def _build(self) -> Generator:
        return self.cls(self.codec.space, self.codec.context_space, self.config)

    def _fingerprint(self, dataset: Dataset | TableStream) -> str:
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

    def save(self, path: str | Path) -> None:
        """Write the model as a folder, whole or not at all.

        Raises:
            SynthgenError: nothing is fitted, or the generator is not installed, so that none could load it.
            ResourceError: the disk is full or the place not writable.
        """
        page = certificate_page(self.certificate) if self.certificate else ""
        artifact.save(path, self._manifest(), self.model.state_dict(), page)

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
            certificate=self.certificate,
            counted=self.counted,
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
        self.given, self.certificate = tuple(codec.context.names), manifest.certificate
        self.counted = manifest.counted
        self._parameters |= {"given": self.given, **self.settings}
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
