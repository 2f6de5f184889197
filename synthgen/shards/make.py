"""Shards: a model, a plan and a folder; each part is made whole or not at all, and its hash stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from synthgen.artifact import fingerprint
from synthgen.data.table import Table, read_table
from synthgen.devices import one_thread
from synthgen.errors import SynthgenError
from synthgen.files import replacing
from synthgen.shards.plan import FORMATS, PLAN, Format, Plan, file_hash
from synthgen.synthesizer import Synthesizer

DONE = "_done"


class Part(NamedTuple):
    """A shard that is made."""

    shard: int
    path: Path
    records: int
    sha256: str


@dataclass(frozen=True)
class Shards:
    """A generation in parts. It can be pickled, and `make` called for any part on any machine that sees its paths.

    Args:
        model: folder of the fitted model.
        out: folder of the parts.
        plan: what they hold.
        given_file: a table of values to hold.
    """

    model: Path
    out: Path
    plan: Plan
    given_file: Path | None = None

    @classmethod
    def begin(
        cls,
        model: str | Path,
        out: str | Path,
        n: int,
        shards: int,
        *,
        seed: int = 0,
        format: Format | None = None,
        given: Mapping[str, Any] | None = None,
        given_file: str | Path | None = None,
        device: str = "auto",
        raw: bool = False,
        prefix: str = "",
    ) -> Self:
        """Lay a plan into a new folder, or go on with one where the same plan lies.

        Args:
            model: folder of the fitted model.
            out: folder of the parts; it is created.
            n: records in all.
            shards: parts; each holds whole chunks, so that there cannot be more than chunks.
            seed: the same seed gives the same records.
            format: of the parts; "parquet" of tables and "webdataset" of images by default.
            given: values to hold in all records.
            given_file: a table of values to hold, whose rows are taken in turn.
            device: "auto", "cpu", "cuda" or "mps".
            raw: in a CSV, put no ' before what a spreadsheet would run.
            prefix: begins the name of each column of a table.

        Raises:
            SynthgenError: the model, the format, the number of shards or what is given will not do, or the folder was
                begun with another plan or holds something else.
            ResourceError: the place cannot be written.
        """
        synthesizer = load(Path(model), device)
        kind = synthesizer.codec.kind
        format = format or next(f for f, of in FORMATS.items() if of == kind)
        if not format or FORMATS.get(format) != kind:
            able = ", ".join(f for f, of in FORMATS.items() if of == kind)
            raise SynthgenError(f"shards of {synthesizer.noun} have no format {format!r}; give {able}")
        plan = Plan.of(
            model=fingerprint(model),
            n=n,
            shards=shards,
            chunk=synthesizer.codec.chunk,
            seed=seed,
            format=format,
            device=device,
            raw=raw,
            prefix=prefix,
            given={name: v.item() if isinstance(v, np.generic) else v for name, v in (given or {}).items()},
            given_file=file_hash(Path(given_file)) if given_file else "",
        )
        synthesizer.check_given(read_given(Path(given_file), plan.given_file) if given_file else given)
        _claim(Path(out), plan)
        return cls(Path(model), Path(out), plan, Path(given_file) if given_file else None)

    def path(self, shard: int) -> Path:
        """Where a part lies."""
        return self.out / self.plan.name(shard)

    def record(self, shard: int) -> Path:
        """Where the hash of a part stands, as `sha256sum --check` reads it."""
        return self.out / DONE / f"{shard:05d}.sha256"

    def done(self, shard: int) -> Part | None:
        """The part, if its file is what its record says."""
        path, record = self.path(shard), self.record(shard)
        if not path.is_file() or not record.is_file():
            return None
        found = file_hash(path)
        same = record.read_text("utf-8", "replace") == _line(path, found)
        return Part(shard, path, len(self.plan.records(shard)), found) if same else None

    def make(self, shard: int, report: Callable[[float], None] = lambda done: None) -> Part:
        """Make a part, whether it was there or not. The same bytes come whoever makes it.

        Args:
            shard: its number, from 0 on.
            report: called with the share done.

        Raises:
            SynthgenError: there is no such shard, or model, given file or plan are no longer what they were.
            ResourceError: the disk is full or the place not writable.
        """
        path, plan = self.path(shard), self.plan
        synthesizer = load(self.model, plan.device, plan.model)
        if self.given_file is not None and file_hash(self.given_file) != plan.given_file:
            raise SynthgenError(f"{self.given_file} was changed since the shards were begun")
        given = read_given(self.given_file, plan.given_file) if self.given_file is not None else plan.given
        records = plan.records(shard)
        with one_thread():
            parts = synthesizer.stream(plan.n, seed=plan.seed, given=given, only=plan.held(shard))
            look: dict[str, Any] = {"raw": plan.raw, "prefix": plan.prefix}
            synthesizer.write(path, len(records), **look, report=report, parts=parts, first=records.start)
        plan.check(self.out)
        found = file_hash(path)
        self.record(shard).parent.mkdir(exist_ok=True)  # a copy may have left out an empty folder
        with replacing(self.record(shard)) as new:
            new.write_text(_line(path, found), "utf-8")
        return Part(shard, path, len(records), found)


def load(model: Path, device: str, known: str = "") -> Synthesizer:
    """A model: where it is known by its fingerprint, once for all parts that a process makes.

    Raises:
        SynthgenError: there is none, it is damaged, or not the one that is known.
    """
    found = fingerprint(model)
    if not known:
        _load.cache_clear()  # to be looked at anew
    if known not in ("", found):
        raise SynthgenError(f"the model {model} was changed since the shards were begun")
    return _load(model, device, found)


@lru_cache(maxsize=1)
def _load(model: Path, device: str, fingerprint: str) -> Synthesizer:
    return Synthesizer.load(model, device)


@lru_cache(maxsize=1)
def read_given(path: Path, known: str) -> Table:
    """A table of values to hold, known by its hash, once for all parts that a process makes."""
    return read_table(path)


def _line(path: Path, sha256: str) -> str:
    return f"{sha256}  {path.name}\n"


def _claim(out: Path, plan: Plan) -> None:
    """Make the folder with its plan, unless the same plan lies there."""
    if not out.absolute().parent.is_dir():
        raise SynthgenError(f"there is no folder {out.parent} to put {out.name} into")
    if out.exists() and not out.is_dir():
        raise SynthgenError(f"{out} is a file; shards are the files of a folder: give -o FOLDER")
    if not (out / PLAN).exists():
        own = (DONE, PLAN, f".{PLAN}.")
        if out.is_dir() and (others := sorted(p.name for p in out.iterdir() if not p.name.startswith(own))):
            raise SynthgenError(f"{out} holds {others[0]} and no plan of shards; give a new or an empty folder")
        with replacing(out / PLAN) as new:
            (out / DONE).mkdir(parents=True, exist_ok=True)
            new.write_text(plan.text(), "utf-8")
    plan.check(out)
