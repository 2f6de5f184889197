"""How the cells of a text column are written: numbers and dates, found by our own rules, parsed and rendered.

`NA` may be Namibia and `00123` is not 123: a column is numeric or a date only if every cell is one, or one
of the usual markers of a missing value.
"""

import re
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float64]

# accepted as "no value" in a column whose other cells are all numbers, or all dates
MISSING = frozenset(
    "|NA|N/A|n/a|na|#N/A|NaN|nan|NAN|NULL|null|Null|None|none|?|-|--|.|missing|Missing".split("|")  # noqa: SIM905
)
# a number overflowed, or was divided by zero: the column is numeric, its cell is an error until declared missing
NOT_FINITE = frozenset(s + w for s in ("", "-", "+") for w in ("inf", "Inf", "INF", "infinity", "Infinity"))

_CURRENCY = "$€£¥₹"


class NumberFormat(BaseModel):
    """How numbers are written: `1.50`, `-3`, `1e-07`, `1,234.5`, `0,5`, `$12`, `45%`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decimals: tuple[int, int] | None = Field(
        (0, 0), description="fewest and most digits after the point; null: as many as a float needs"
    )
    point: Literal[".", ","] = "."
    group: Literal["", ",", "'", " ", "."] = ""
    prefix: str = ""
    suffix: str = ""

    @property
    def pattern(self) -> str:
        """Regular expression of a number without its prefix and suffix."""
        whole = rf"[1-9][0-9]{{0,2}}(?:{re.escape(self.group)}[0-9]{{3}})*" if self.group else "[1-9][0-9]*"
        point = re.escape(self.point)
        return rf"^[+-]?(?:(?:0|{whole})(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?$"

    def bare(self, texts: pa.StringArray) -> pa.StringArray:
        """The texts without prefix and suffix."""
        if self.prefix:
            texts = pc.replace_substring_regex(texts, "^(-?)" + re.escape(self.prefix), r"\1")
        return pc.replace_substring_regex(texts, re.escape(self.suffix) + "$", "") if self.suffix else texts

    def plain(self, bare: pa.StringArray) -> pa.StringArray:
        """Bare numbers as a computer writes them."""
        if self.group:
            bare = pc.replace_substring(bare, self.group, "")
        if self.point == ",":
            bare = pc.replace_substring(bare, ",", ".")
        return pc.utf8_ltrim(bare, "+")

    def parse(self, texts: pa.StringArray) -> Floats:
        """Numbers of texts; NaN where a text is none, infinite where it is too large."""
        bare = self.bare(texts)
        number = pc.match_substring_regex(bare, self.pattern)
        plain = self.plain(pc.if_else(number, bare, pa.scalar(None, pa.string())))
        values = np.array(pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False), dtype=float)
        return np.where(np.asarray(pc.is_in(texts, pa.array(sorted(NOT_FINITE)))), np.inf, values)

    def extremes(self, texts: pa.StringArray) -> list[str]:
        """Those of some texts that have the fewest and the most digits after the point, or an exponent."""
        bare = self.bare(texts)
        number = pc.match_substring_regex(bare, self.pattern)
        texts, plain = texts.filter(number), self.plain(bare.filter(number))
        exponent = texts.filter(pc.match_substring_regex(plain, "[eE]"))[:1].to_pylist()
        digits = np.asarray(_digits(plain))
        return exponent + ([texts[int(i)].as_py() for i in (digits.argmin(), digits.argmax())] if len(digits) else [])

    def render(self, values: Floats) -> pa.StringArray:
        """Texts of finite numbers; what is NaN becomes null."""
        missing = np.isnan(values)
        if self.decimals is None:
            texts = pc.cast(pa.array(values), pa.string())
        else:
            texts = _fixed(np.where(missing, 0.0, values), *self.decimals)
        if self.group:
            texts = pa.array([_grouped(t, self.group, self.point) for t in texts.to_pylist()], pa.string())
        elif self.point == ",":
            texts = pc.replace_substring(texts, ".", ",")
        if self.prefix:
            texts = pc.replace_substring_regex(texts, "^(-?)", r"\1" + self.prefix.replace("\\", r"\\"))
        if self.suffix:
            texts = pc.binary_join_element_wise(texts, self.suffix, "")
        return pc.if_else(pa.array(missing), pa.scalar(None, pa.string()), texts)


def _fixed(values: Floats, fewest: int, most: int) -> pa.StringArray:
    """Numbers with `most` digits after the point, of which zeros go as long as `fewest` stay (0, 1 or all)."""
    if np.abs(values).max(initial=0.0) < 10.0 ** (37 - most):
        rounded = np.round(values, most) + 0.0  # no negative zero
        texts = pc.cast(pc.cast(pa.array(rounded), pa.decimal128(38, most)), pa.string())
    else:
        texts = pa.array([f"{v:.{most}f}" for v in values], pa.string())
    if most == 0 or fewest == most:
        return texts
    texts = pc.utf8_rtrim(texts, "0")
    if fewest == 0:
        return pc.utf8_rtrim(texts, ".")
    return pc.if_else(pc.ends_with(texts, "."), pc.binary_join_element_wise(texts, "0", ""), texts)


def _grouped(text: str, group: str, point: str) -> str:
    whole, dot, rest = text.partition(".")
    return re.sub(r"(?<=\d)(?=(?:\d{3})+$)", group, whole) + (point if dot else "") + rest


def find_number_format(texts: list[str], decimal_comma: bool = False) -> NumberFormat | None:
    """How these distinct cells write numbers, or None if one of them is no number.

    `decimal_comma` settles `1,234`: true in files whose delimiter is not a comma.
    """
    finite = pa.array([t for t in texts if t not in NOT_FINITE], pa.string())
    if not len(finite):
        return None
    for candidate in _candidates(str(finite[0]), decimal_comma):
        affixed = f"^-?{re.escape(candidate.prefix)}.*{re.escape(candidate.suffix)}$"
        if not pc.all(pc.match_substring_regex(finite, affixed)).as_py():
            continue
        bare = candidate.bare(finite)
        if pc.all(pc.match_substring_regex(bare, candidate.pattern)).as_py():
            return candidate.model_copy(update={"decimals": _decimals(candidate.plain(bare))})
    return None


def _candidates(first: str, decimal_comma: bool) -> list[NumberFormat]:
    """The number formats worth trying for a column, the likely ones first, judged by one of its cells."""
    prefix = next((s for s in _CURRENCY if first.lstrip("-").startswith(s)), "")
    suffix = next((s for s in (" %", "%", " €", "€") if first.endswith(s)), "")
    affixes = {"prefix": prefix, "suffix": suffix}
    commas = [NumberFormat(group=",", **affixes), NumberFormat(point=",", **affixes)]
    others = [NumberFormat(group="'", **affixes), NumberFormat(group=".", point=",", **affixes)]
    others.append(NumberFormat(group=" ", **affixes))
    return [NumberFormat(**affixes), *(commas[::-1] if decimal_comma else commas), *others]


def _decimals(plain: pa.StringArray) -> tuple[int, int] | None:
    """Fewest and most digits after the point; None with exponents or more digits than decimals hold."""
    if pc.any(pc.match_substring_regex(plain, "[eE]")).as_py():
        return None
    extremes = pc.min_max(_digits(plain)).as_py()
    fewest, most = extremes["min"], extremes["max"]
    if most > 15:
        return None
    return (fewest if fewest == most else min(fewest, 1) if fewest < 2 else 0, most)


def _digits(plain: pa.StringArray) -> pa.Int32Array:
    """How many digits follow the point."""
    return pc.utf8_length(pc.replace_substring_regex(plain, r"^[^.]*\.?", ""))


_DATES = ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y%m%d"]
_DATES += ["%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y"]
_TIMES = {" %H:%M:%S": "s", "T%H:%M:%S": "s", " %H:%M": "s", "T%H:%M": "s", " %H:%M:%S.%f": "us"}
_TIMES |= {"T%H:%M:%S.%f": "us", " %I:%M:%S %p": "s", " %I:%M %p": "s"}
PATTERNS: dict[str, Literal["D", "s", "us"]] = dict.fromkeys(_DATES, "D")
PATTERNS |= {d + t: unit for d in _DATES for t, unit in _TIMES.items()}  # type: ignore[misc]
PATTERNS |= {"%H:%M:%S": "s", "%H:%M": "s", "%Y-%m": "D"}


class DateFormat(BaseModel):
    """How dates are written, as a strptime pattern, and the step they advance by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: str
    unit: Literal["D", "s", "us"] = "D"
    suffix: str = ""  # a time zone that all cells share, such as Z
    padded: bool = True  # 01/02/2020 rather than 1/2/2020

    def parse(self, texts: pa.StringArray) -> Floats:
        """Units since 1970 of texts; NaN where a text is no such date."""
        series = pd.Series(texts.to_numpy(zero_copy_only=False), dtype=object)
        if self.suffix:
            ends = series.str.endswith(self.suffix)
            series = series.str.removesuffix(self.suffix).where(ends)
        stamps = pd.to_datetime(series, format=self.pattern, errors="coerce").to_numpy()
        return _units(stamps, self.unit)

    def reads(self, texts: list[str]) -> bool:
        """Whether every text is such a date, written exactly so."""
        values = self.parse(pa.array(texts, pa.string()))
        return not np.isnan(values).any() and self.render(values).to_pylist() == texts

    def render(self, values: Floats) -> pa.StringArray:
        """Texts of dates; what is NaN becomes null."""
        distinct, index = np.unique(values[~np.isnan(values)], return_inverse=True)
        stamps = pd.to_datetime(distinct.round().astype(np.int64).astype(f"M8[{self.unit}]").astype("M8[us]"))
        if self.padded:
            texts = list(stamps.strftime(self.pattern) + self.suffix)
        else:  # %-d is not known everywhere
            forms = stamps.strftime(self.pattern.replace("%d", "{0.day}").replace("%m", "{0.month}")) + self.suffix
            texts = [form.format(stamp) for form, stamp in zip(forms, stamps, strict=True)]
        result = np.full(len(values), None, dtype=object)
        result[~np.isnan(values)] = np.asarray(texts, dtype=object)[index]
        return pa.array(result, pa.string())


def _units(stamps: NDArray[np.datetime64], unit: str) -> Floats:
    """Datetimes as floats that count units since 1970, NaT as NaN."""
    counts = stamps.astype(f"M8[{unit}]").astype(np.int64).astype(float)
    return np.where(np.isnat(stamps), np.nan, counts)


def find_date_format(texts: list[str]) -> DateFormat | None:
    """How these distinct cells write dates, or None if one of them is no date.

    Where day and month could be either, month first is taken for slashes and day first for dots.
    """
    suffix = _shared_zone(texts)
    bare = [t.removesuffix(suffix) for t in texts]
    shape = _shape(bare[0])
    for pattern, unit in PATTERNS.items():
        if not _could_be(pattern, shape) or (pattern == "%Y%m%d" and not _plausible_days(bare)):
            continue
        for padded in (True, False):
            found = DateFormat(pattern=pattern, unit=unit, suffix=suffix, padded=padded)
            # what is written must be what was read: strptime also takes 1/2/2020 for 01/02/2020
            if all(found.reads(some) for some in (texts[:50], texts)):
                return found
    return None


def _shared_zone(texts: list[str]) -> str:
    zones = {m.group(0) if (m := re.search(r"(?<=\d)(?:Z|[+-]\d\d:?\d\d)$", t)) else "" for t in texts}
    zone = zones.pop()
    return zone if not zones and (zone == "Z" or any(":" in t.removesuffix(zone) for t in texts[:1])) else ""


def _shape(text: str) -> str:
    """The separators of a text, digits and letters taken out."""
    return re.sub(r"[A-Za-z0-9]+", "x", text)


def _could_be(pattern: str, shape: str) -> bool:
    return _shape(re.sub("%.", "x", pattern).replace("xxx", "x")) == shape


def _plausible_days(texts: list[str]) -> bool:
    """Eight digits are taken for a day only in a column of many, none of them far from our time."""
    return len(texts) >= 10 and all(len(t) == 8 and "1900" <= t[:4] <= "2100" for t in texts)
