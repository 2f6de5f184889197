"""Codec: what turns a dataset into records of a space and back, and keeps the context that travels beside them."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import Tensor

from synthgen.codec.categorical import Ints
from synthgen.codec.rare import UNKNOWN
from synthgen.errors import SynthgenError
from synthgen.schema import explain
from synthgen.space import Space


class Context(BaseModel):
    """What is given beside each record, and the joint frequencies of its codes, drawn from where it is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: list[str] = []
    codes: list[list[int]] = []
    counts: list[int] = []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        shaped = len(self.codes) == len(self.counts) and all(len(row) == len(self.names) for row in self.codes)
        if not shaped or min(self.counts, default=0) < 0 or (self.codes and not sum(self.counts)):
            raise ValueError("the frequencies of what can be given contradict each other")
        return self

    @classmethod
    def count(cls, names: list[str], blocks: Iterable[Ints]) -> Self:
        """The context with the frequencies of codes, block by block (n, names); an UNKNOWN is the commonest one."""
        tally: Counter[tuple[int, ...]] = Counter()
        for codes in blocks:
            combos, counts = np.unique(codes, axis=0, return_counts=True)
            tally.update(dict(zip(map(tuple, combos.tolist()), counts.tolist(), strict=True)))
        combos, counts = np.array(list(tally)), np.array(list(tally.values()))
        for column in combos.T:
            if (unknown := column == UNKNOWN).any():
                column[unknown] = np.bincount(column[~unknown], counts[~unknown], 1).argmax()
        combos, place = np.unique(combos, axis=0, return_inverse=True)
        counts = np.bincount(place.ravel(), counts)
        return cls(names=names, codes=combos.tolist(), counts=counts.astype(int).tolist())

    def commonest(self) -> Ints:
        """The most frequent code of each column, (names,)."""
        codes, counts = np.array(self.codes), np.array(self.counts)
        return np.array([np.bincount(column, counts).argmax() for column in codes.T])


class Codec(BaseModel):
    """A fitted codec; `state()` is its JSON. `TableCodec` and `ImageCodec` add `encode` and `decode`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ClassVar[str]  # of dataset: "table" or "images"
    chunk: ClassVar[int]  # records generated under one seed
    context: Context = Context()

    @property
    @abstractmethod
    def space(self) -> Space:
        """Shape and sizes of the records."""

    @property
    @abstractmethod
    def context_space(self) -> Space:
        """Shape and sizes of the contexts, before they are embedded."""

    @property
    @abstractmethod
    def dataset_schema(self) -> Any:
        """The schema of the datasets that it makes."""

    @abstractmethod
    def encode(self, data: Any, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Records (n, *shape) float32 of a dataset, and which of their cells it holds, of the same shape."""

    @abstractmethod
    def encode_context(self, data: Any) -> Ints:
        """Codes (n, context columns) of what is given in a dataset; UNKNOWN where nothing is."""

    @abstractmethod
    def decode(self, x: Tensor, context: Ints, rng: np.random.Generator, start: int = 0, fixed: Any = None) -> Any:
        """Records (n, *shape) with their context codes to a dataset.

        Args:
            x: the records.
            context: (n, context columns).
            rng: draws what a record leaves open.
            start: number of the first record in its generation.
            fixed: what `fixed` returned for what is given.
        """

    @abstractmethod
    def asked(self, given: Any, n: int) -> Ints:
        """Context codes (n, context columns) that a table of what is given asks for; UNKNOWN where it does not.

        Raises:
            SynthgenError: it names what cannot be given, or a value never seen.
        """

    @abstractmethod
    def completes(self, given: Any) -> bool:
        """Whether a table of what is given names cells of the records themselves."""

    @abstractmethod
    def fixed(self, given: Any) -> Any:
        """The values of a table of what is given, for `decode`."""

    @abstractmethod
    def check(self, data: Any) -> None:
        """Raise SynthgenError where a dataset is not of the kind that was fitted on."""

    @abstractmethod
    def unseen(self, data: Any) -> Ints:
        """How many labels of each record no training record held, (n,)."""

    @abstractmethod
    def log_volume(self, data: Any, x: Tensor) -> NDArray[np.float64]:
        """Log of the volume that each record's cell has in the user's units, (n,)."""

    def learned_context(self, data: Any) -> Ints:
        """Context codes (n, context columns) of training records; a label too rare for a code is the commonest one."""
        codes = self.encode_context(data)
        return np.where(codes == UNKNOWN, self.context.commonest(), codes) if codes.shape[1] else codes

    def embed_context(self, codes: Ints) -> Tensor:
        """Context codes (n, columns) to what a generator is told: (n, width)."""
        return self.context_space.embed(torch.from_numpy(codes.astype(np.float32)))

    def draw_context(self, given: Ints, rng: np.random.Generator) -> Ints:
        """Fill the UNKNOWN codes of contexts (n, columns) from the joint frequencies, given the others.

        Raises:
            SynthgenError: no training record holds what is given.
        """
        combos, counts = np.array(self.context.codes), np.array(self.context.counts, dtype=float)
        result = given.copy()
        if not given.shape[1]:
            return result
        patterns, inverse = np.unique(given, axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            rows = np.flatnonzero(inverse.ravel() == k)
            fits = ((combos == pattern) | (pattern == UNKNOWN)).all(axis=1)
            if (pattern != UNKNOWN).all():
                continue
            if not fits.any():
                names = [n for n, code in zip(self.context.names, pattern, strict=True) if code != UNKNOWN]
                raise SynthgenError(f"no training record holds what is given for {', '.join(names)}")
            drawn = rng.choice(np.flatnonzero(fits), len(rows), p=counts[fits] / counts[fits].sum())
            result[rows] = combos[drawn]
        return result

    def state(self) -> dict[str, Any]:
        """The codec as JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_state(cls, state: Any) -> Self:
        """The codec that `state` came from.

        Raises:
            SynthgenError: the state contradicts itself.
        """
        try:
            return cls.model_validate(state)
        except ValidationError as error:
            raise SynthgenError(f"the stored codec is damaged: {explain(error)}") from error
