"""Plan: what is generated, and which chunks of it each shard holds; a file of the output folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synthgen import __version__
from synthgen.errors import SynthgenError
from synthgen.schema import explain

PLAN = "_plan.json"  # who reads the folder as a dataset passes over names that begin with _ or .

Format = Literal["parquet", "csv", "csv.gz", "webdataset"]
FORMATS: dict[Format, str] = {"parquet": "table", "csv": "table", "csv.gz": "table", "webdataset": "images"}


class Plan(BaseModel):
    """Everything that the bytes of the shards depend on, so that each can be made without the others.

    The records are made in chunks, each of which depends on the seed and its number alone. Of C chunks, shard i of S
    holds those from i * C // S to (i + 1) * C // S: shards in order are the chunks in order, and sizes differ by at
    most one chunk.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    synthgen: str = __version__
    model: str = Field(description="fingerprint of the model")
    n: int = Field(ge=1, description="records in all")
    shards: int = Field(ge=1)
    chunk: int = Field(ge=1, description="records drawn under one seed")
    seed: int = Field(ge=0)
    format: Format
    device: str = "auto"
    raw: bool = Field(False, description="whether cells that a spreadsheet would run are left as they are")
    prefix: str = Field("", description="begins the name of each column")
    given: dict[str, Any] = Field({}, description="values held in all records")
    given_file: str = Field("", description="hash of a file whose rows are held, in turn")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.shards > self.chunks:
            raise SynthgenError(
                f"{self.n} records are {self.chunks} chunks of {self.chunk}, and a shard holds whole chunks; "
                f"ask for at most {self.chunks} shards"
            )
        return self

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """A plan of these fields.

        Raises:
            SynthgenError: one is out of its bounds.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise SynthgenError(f"no plan of shards: {explain(error)}") from error

    @property
    def chunks(self) -> int:
        """Number of chunks in all."""
        return -(-self.n // self.chunk)

    def held(self, shard: int) -> range:
        """The chunks of a shard.

        Raises:
            SynthgenError: there is no such shard.
        """
        if not 0 <= shard < self.shards:
            raise SynthgenError(f"there is no shard {shard}; those of {self.shards} are 0 to {self.shards - 1}")
        return range(shard * self.chunks // self.shards, (shard + 1) * self.chunks // self.shards)

    def records(self, shard: int) -> range:
        """The records of a shard, by their number in the whole."""
        chunks = self.held(shard)
        return range(chunks.start * self.chunk, min(chunks.stop * self.chunk, self.n))

    def name(self, shard: int) -> str:
        """The name of a shard's file."""
        self.held(shard)
        ending = "tar" if self.format == "webdataset" else self.format
        return f"part-{shard:05d}-of-{self.shards:05d}.{ending}"

    def text(self) -> str:
        """The plan as JSON."""
        return json.dumps(self.model_dump(), indent=1, ensure_ascii=False) + "\n"

    def check(self, folder: Path) -> None:
        """Raise SynthgenError unless the plan that lies in a folder is this one."""
        try:
            there = Plan.model_validate_json((folder / PLAN).read_bytes())
        except (OSError, ValidationError, SynthgenError) as error:
            reason = explain(error) if isinstance(error, ValidationError) else error
            raise SynthgenError(f"{folder / PLAN} is no plan of shards: {reason}; give another -o") from error
        old, new = there.model_dump(), self.model_dump()
        if differs := [name for name in new if old[name] != new[name]]:
            first = differs[0]
            raise SynthgenError(
                f"{folder} was begun with another plan: its {first.replace('_', ' ')} is {old[first]!r}, "
                f"not {new[first]!r}; give the same again, or another -o"
            )


def file_hash(path: Path) -> str:
    """The sha256 of a file.

    Raises:
        SynthgenError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SynthgenError(f"cannot read {path}: {error.strerror or error}") from error
