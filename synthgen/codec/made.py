"""Columns that are made, not modelled: constants, ids and free text. None of their training values is copied."""

from __future__ import annotations

import math
import string
from collections import Counter
from itertools import islice, product
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, model_validator

ALPHABETS = [
    string.digits,
    "0123456789abcdef",
    "0123456789ABCDEF",
    string.ascii_uppercase,
    string.ascii_lowercase,
]
ALPHABETS += [string.digits + string.ascii_uppercase, string.digits + string.ascii_lowercase]
ALPHABETS += [string.ascii_letters, string.digits + string.ascii_letters]
CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"


class _Made(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    missing: float = Field(0.0, ge=0, le=1)

    def make(self, n: int, start: int, rng: np.random.Generator) -> pa.Array:
        """The cells of n rows, of which the first is row number `start` of its generation."""
        cells = np.array(self.texts(n, start, rng), dtype=object)
        if self.missing:
            cells[rng.random(n) < self.missing] = None
        return pa.array(cells, pa.string())

    def texts(self, n: int, start: int, rng: np.random.Generator) -> list[str | None]:
        """The cells before some go missing."""
        raise NotImplementedError


class Constant(_Made):
    """A column that holds one value, or none at all."""

    kind: Literal["constant"] = "constant"
    value: str | None = None

    def texts(self, n: int, start: int, rng: np.random.Generator) -> list[str | None]:
        """The value, n times."""
        return [self.value] * n


class Id(_Made):
    """Fresh, distinct ids written like the training ids: each position has the characters seen there.

    All begin with `prefix`, which no training id does; row i gets the i-th of them in a scrambled order.
    """

    kind: Literal["id"] = "id"
    prefix: str
    alphabets: list[str] = Field(max_length=256)

    @model_validator(mode="after")
    def _consistent(self) -> Id:
        if not all(self.alphabets):
            raise ValueError("an id's alphabet is empty")
        return self

    def texts(self, n: int, start: int, rng: np.random.Generator) -> list[str | None]:
        """Ids of rows start .. start + n."""
        sizes = [len(a) for a in self.alphabets]
        total = math.prod(sizes)
        stride = next(s for s in range(int(total * 0.618) | 1, total * 2 + 3, 2) if math.gcd(s, total) == 1)
        found: list[str | None] = []
        for row in range(start, start + n):
            beyond, number = divmod(row, total)
            number = number * stride % total
            digits = []
            for alphabet in reversed(self.alphabets):
                number, digit = divmod(number, len(alphabet))
                digits.append(alphabet[digit])
            found.append(self.prefix + "".join(reversed(digits)) + (str(beyond) if beyond else ""))
        return found


def fit_id(texts: list[str], missing: float = 0.0) -> Id:
    """Find the pattern of distinct ids: the alphabet of each position in those of the commonest length."""
    known = set(texts)
    length = Counter(map(len, known)).most_common(1)[0][0]
    columns = [set(position) for position in zip(*(t for t in known if len(t) == length), strict=True)]
    alphabets = [_alphabet(seen) for seen in columns]
    if all(len(a) == 1 for a in alphabets):
        alphabets.append(string.digits)
    number = all(set(a) <= set(string.digits) for a in alphabets)
    for size in range(1, len(alphabets) + 12):
        if size > len(alphabets):  # every id of this length is taken: make longer ones
            alphabets.append(string.digits if number else alphabets[-1])
        head = [a.lstrip("0") or "1" if number and i == 0 and len(a) > 1 else a for i, a in enumerate(alphabets[:size])]
        used = {t[:size] for t in known}
        free = next((p for p in islice(map("".join, product(*head)), len(used) + 1) if p not in used), None)
        if free is not None:
            return Id(prefix=free, alphabets=alphabets[size:] or [string.digits] * 6, missing=missing)
    raise AssertionError("a longer id is always free")


def _alphabet(seen: set[str]) -> str:
    """The smallest usual alphabet that holds the characters seen at a position."""
    if len(seen) == 1:
        return next(iter(seen))
    return next((a for a in ALPHABETS if seen <= set(a)), "".join(sorted(seen)))


class Text(_Made):
    """Made-up words, in number and length like those of the training texts.

    Each text holds the syllable `mark`, which no training text does, so that none can be a copy.
    """

    kind: Literal["text"] = "text"
    mark: str
    words: list[NonNegativeFloat]
    letters: list[NonNegativeFloat]
    capital: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> Text:
        if not sum(self.words) > 0 or not sum(self.letters) > 0:
            raise ValueError("a text's words have no length")
        return self

    def texts(self, n: int, start: int, rng: np.random.Generator) -> list[str | None]:
        """N made-up texts."""
        counts = 1 + rng.choice(len(self.words), n, p=_shares(self.words))
        lengths = 1 + rng.choice(len(self.letters), int(counts.sum()), p=_shares(self.letters))
        capitals = rng.random(len(lengths)) < self.capital
        letters = _syllables(int(lengths.sum()) + 2 * len(lengths), rng)
        found: list[str | None] = []
        word = at = 0
        for count in counts:
            made = []
            for i in range(count):
                size = int(lengths[word])
                text = letters[at : at + size]
                text = self.mark + text[len(self.mark) :] if i == 0 else text
                made.append(text.capitalize() if capitals[word] else text)
                word, at = word + 1, at + size + size % 2
            found.append(" ".join(made))
        return found


def _syllables(n: int, rng: np.random.Generator) -> str:
    """A text of n letters, consonants and vowels in turn."""
    pair = [np.array(list(letters))[rng.integers(0, len(letters), n // 2 + 1)] for letters in (CONSONANTS, VOWELS)]
    return "".join(np.stack(pair, axis=1).ravel())


def _shares(weights: list[float]) -> NDArray[np.float64]:
    return np.array(weights) / np.sum(weights)


def fit_text(texts: list[str], missing: float = 0.0) -> Text:
    """Count words and letters of texts, and find a syllable that none of them holds."""
    everything = "\n".join(texts).lower()
    triples = map("".join, product(CONSONANTS[::-1], VOWELS[::-1], CONSONANTS[::-1]))
    longer = map("".join, product(CONSONANTS[::-1], VOWELS[::-1], CONSONANTS[::-1], VOWELS, CONSONANTS))
    mark = next(m for m in (*triples, *longer) if m not in everything)
    words = [t.split() or ["x"] for t in texts]
    number = np.bincount([min(len(w), 60) - 1 for w in words])
    flat = [w for ws in words for w in ws]
    letters = np.bincount([min(len(w), 20) - 1 for w in flat])
    capital = sum(w[0].isupper() for w in flat) / len(flat)
    return Text(mark=mark, words=number.tolist(), letters=letters.tolist(), capital=capital, missing=missing)
