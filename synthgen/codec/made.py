"""Columns that are made, not modelled: constants, ids and free text. None of their training values is copied."""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, product, repeat
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
TRIES = 10_000  # beginnings of an id that are tried besides those seen
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


def fit_id(texts: Iterable[str], missing: float = 0.0, taken: Callable[[str], bool] | None = None) -> Id:
    """Find the pattern of distinct ids: the alphabet of each position in those of the commonest length.

    Args:
        texts: the ids.
        missing: share of the records that hold none.
        taken: whether an id may begin so; told by the texts by default.
    """
    known = dict.fromkeys(texts)
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
        some = islice(map("".join, product(*head)), len(used) + (1 if taken is None else TRIES))
        free = next((p for p in some if p not in used and not (taken and taken(p))), None)
        if free is not None:
            return Id(prefix=free, alphabets=alphabets[size:] or [string.digits] * 6, missing=missing)
    raise AssertionError("a longer id is always free")


class Prefixes:
    """Which beginnings some ids may have: one that is not `taken` none of them has.

    A bit for each hash of a beginning, length by length; beginnings longer than LONG are taken unless all ids are
    shorter.
    """

    LONG, BITS = 16, 1 << 24

    def __init__(self) -> None:
        self._seen = np.zeros((self.LONG + 1, self.BITS // 8), np.uint8)
        self._longest = 0

    def add(self, ids: list[str]) -> None:
        """Note the beginnings of ids."""
        texts = [t[: self.LONG] for t in ids]
        self._longest = max(self._longest, max(map(len, ids), default=0))
        points = np.array(texts, f"<U{self.LONG}").view(np.uint32).reshape(-1, self.LONG) if texts else ()
        for length, places in enumerate(_rolled(np.asarray(points, np.uint64).reshape(-1, self.LONG)), 1):
            bits = np.unique(places % np.uint64(self.BITS)).astype(np.int64)
            np.bitwise_or.at(self._seen[length], bits >> 3, (1 << (bits & 7)).astype(np.uint8))

    def merge(self, other: Prefixes) -> None:
        """Note all that another has."""
        self._seen |= other._seen
        self._longest = max(self._longest, other._longest)

    def taken(self, prefix: str) -> bool:
        """Whether an id may begin so."""
        if len(prefix) > self.LONG:
            return len(prefix) <= self._longest
        points = np.zeros((1, self.LONG), np.uint64)
        points[0, : len(prefix)] = [ord(c) for c in prefix]
        bit = int(list(_rolled(points))[len(prefix) - 1][0]) % self.BITS
        return bool(self._seen[len(prefix), bit >> 3] >> (bit & 7) & 1)


def _rolled(points: NDArray[np.uint64]) -> Iterator[NDArray[np.uint64]]:
    """Hashes (n,) of the beginnings of texts (n, length), one character longer each time."""
    found = np.zeros(len(points), np.uint64)
    for column in points.T:
        found = (found ^ (column + np.uint64(1))) * np.uint64(0x9E3779B97F4A7C15)
        found = found ^ (found >> np.uint64(29))
        yield found


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


def fit_text(texts: Iterable[str], missing: float = 0.0, counts: Iterable[int] | None = None) -> Text:
    """Count words and letters of texts, each held by one record or so many, and find a syllable that none holds."""
    words = Words()
    words.add(list(texts), counts)
    return words.fit(missing)


class Words:
    """What is counted of texts."""

    MOST_WORDS, MOST_LETTERS, AT_ONCE = 60, 20, 4096

    def __init__(self) -> None:
        self.words, self.letters = np.zeros(self.MOST_WORDS, np.int64), np.zeros(self.MOST_LETTERS, np.int64)
        self.capitals = 0
        self._runs = {3: np.zeros(27**3, bool), 5: np.zeros(27**5, bool)}  # of letters, that some text holds

    def add(self, texts: list[str], counts: Iterable[int] | None = None) -> None:
        """Count texts, each held by one record or so many."""
        for text, count in zip(texts, repeat(1) if counts is None else counts, strict=counts is not None):
            words = text.split() or ["x"]
            self.words[min(len(words), self.MOST_WORDS) - 1] += count
            for word in words:
                self.letters[min(len(word), self.MOST_LETTERS) - 1] += count
                self.capitals += count * word[0].isupper()
        for start in range(0, len(texts), self.AT_ONCE):
            part = "\n".join(texts[start : start + self.AT_ONCE]).lower()
            for length, seen in self._runs.items():
                seen[_codes(part, length)] = True

    def merge(self, other: Words) -> None:
        """Count all that another has."""
        self.words, self.letters = self.words + other.words, self.letters + other.letters
        self.capitals += other.capitals
        for length, seen in self._runs.items():
            seen |= other._runs[length]

    def fit(self, missing: float) -> Text:
        """The texts to make, of which a share is missing."""
        triples = map("".join, product(CONSONANTS[::-1], VOWELS[::-1], CONSONANTS[::-1]))
        longer = map("".join, product(CONSONANTS[::-1], VOWELS[::-1], CONSONANTS[::-1], VOWELS, CONSONANTS))
        mark = next(m for m in (*triples, *longer) if not self._runs[len(m)][_codes(m, len(m))[0]])
        words, letters = (np.trim_zeros(a, "b").tolist() for a in (self.words, self.letters))
        return Text(
            mark=mark, words=words, letters=letters, capital=self.capitals / int(self.letters.sum()), missing=missing
        )


def _codes(text: str, length: int) -> NDArray[np.int64]:
    """Numbers of all runs of so many letters in a text, 0 in the place of what is no letter."""
    letters = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 96
    letters[(letters < 1) | (letters > 26)] = 0
    size = max(0, len(letters) - length + 1)
    return sum((letters[i : i + size] * 27**i for i in range(length)), np.zeros(size, np.int64))
