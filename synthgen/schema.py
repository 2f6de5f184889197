"""Schema: what each column of a table is, inferred by stated rules, written as JSON, edited by a person."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synthgen.errors import SynthgenError, near
from synthgen.formats import MISSING, DateFormat, NumberFormat, find_date_format, find_number_format
from synthgen.rules import Rule
from synthgen.tally import Tally, plain_type

Kind = Literal["numeric", "categorical", "boolean", "datetime", "id", "text", "constant", "empty"]
MAX_COLUMNS = 1000

_BOOLEANS = [{"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"}, {"on", "off"}, {"0", "1"}]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dialect(_Strict):
    """How a CSV file is written."""

    delimiter: str = Field(",", min_length=1, max_length=1)
    quote: str = Field('"', min_length=1, max_length=1)
    encoding: str = "utf-8"
    space: bool = Field(False, description="a blank follows each delimiter")
    newline: Literal["\n", "\r\n"] = "\n"
    escaped: bool = Field(True, description="cells that a spreadsheet would run have a ' before them")


class Column(_Strict):
    """One column. What a person declares here is taken as known and public; null means: learn it.

    `missing` lists the texts that stand for no value (`""` is an empty cell); the first is written.
    `minimum` and `maximum` bound numbers (dates as text in the column's own format). `categories` lists all
    labels. `dtype` is the type in the source, null for text read from a CSV.
    """

    name: str
    kind: Kind
    missing: tuple[str, ...] = ()
    minimum: float | str | None = None
    maximum: float | str | None = None
    categories: tuple[str, ...] | None = None
    number: NumberFormat | None = None
    date: DateFormat | None = None
    dtype: str | None = None
    pandas: str | None = Field(None, description="dtype in a pandas frame")

    @model_validator(mode="after")
    def _consistent(self) -> "Column":
        if self.kind not in ("numeric", "datetime") and (self.minimum, self.maximum) != (None, None):
            raise ValueError(f"column {self.name!r} is {self.kind}: only numbers and dates have bounds")
        if self.kind not in ("categorical", "boolean") and self.categories is not None:
            raise ValueError(f"column {self.name!r} is {self.kind}: only categorical columns list categories")
        return self


class Schema(_Strict):
    """The columns of a table in order, the rules that its rows obey, and how its file was written.

    A rule is `"start <= end"` or `"combinations: country, city"` (only pairs that occur).
    """

    columns: tuple[Column, ...]
    rules: tuple[str, ...] = ()
    csv: Dialect | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Schema":
        names = [c.name for c in self.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"column {max(names, key=names.count)!r} is listed twice")
        for rule in self.parsed_rules():
            for name in rule.columns:
                if name not in names:
                    raise ValueError(f"rule {rule.text!r} names {name!r}; {near(name, names)}")
                kind = self[name].kind
                if rule.kind == "order" and kind not in ("numeric", "datetime"):
                    raise ValueError(
                        f"rule {rule.text!r}: column {name!r} is {kind}; only numbers and dates have an order"
                    )
        return self

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [c.name for c in self.columns]

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise SynthgenError(f"there is no column {name!r}; {near(name, self.names)}")

    def parsed_rules(self) -> list[Rule]:
        """The rules, taken apart."""
        return [Rule.parse(text, [c.name for c in self.columns]) for text in self.rules]

    def drop(self, names: Iterable[str]) -> "Schema":
        """The schema without some columns, and without the rules that name them."""
        gone = {self[name].name for name in names}
        rules = [r.text for r in self.parsed_rules() if not gone.intersection(r.columns)]
        columns = [c for c in self.columns if c.name not in gone]
        return Schema(columns=tuple(columns), rules=tuple(rules), csv=self.csv)

    def to_json(self) -> str:
        """The text of a schema file; fields that say nothing are left out, those to declare are shown."""
        body = self.model_dump(mode="json", exclude_none=True)
        for column, dumped in zip(self.columns, body["columns"], strict=True):
            if column.kind in ("numeric", "datetime"):
                dumped |= {"minimum": column.minimum, "maximum": column.maximum}
            if column.kind in ("categorical", "boolean"):
                dumped |= {"categories": column.categories}
            if column.number is not None:
                dumped["number"]["decimals"] = column.number.decimals  # null says something here: as many as needed
        return json.dumps({"synthgen_schema": 1, **body}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str | Path = "the schema") -> "Schema":
        """Read the text of a schema file.

        Raises:
            SynthgenError: it is no schema; the text says where and why.
        """
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SynthgenError(f"{source} is no JSON: {error}") from error
        if not isinstance(body, dict) or body.pop("synthgen_schema", None) != 1:
            raise SynthgenError(f'{source} is no schema: it does not begin with "synthgen_schema": 1')
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise SynthgenError(f"{source}: {explain(error)}") from error


def unescaped(schema: Schema) -> Schema:
    """The schema of a table whose CSV is written with cells as they are."""
    return schema.model_copy(update={"csv": (schema.csv or Dialect()).model_copy(update={"escaped": False})})


def explain(error: ValidationError) -> str:
    """The first complaint of pydantic in one sentence."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def infer_schema(
    data: pa.Table,
    dialect: Dialect | None = None,
    declared: Schema | None = None,
    frame: dict[str, str] | None = None,
) -> Schema:
    """Find out what each column is; columns that `declared` lists keep what it says.

    Args:
        data: the table; columns of strings are judged by how their cells are written.
        dialect: how the CSV file was written, None for other sources.
        declared: a person's schema; it may leave columns out.
        frame: dtypes of the pandas frame that the table came from.

    Raises:
        SynthgenError: a column has a type that no rule covers, or `declared` names one that is not there.
    """
    tallies = {name: Tally.of(cells) for name, cells in zip(data.column_names, data.columns, strict=True)}
    return schema_of(data.schema, tallies, dialect, declared, frame)


def schema_of(
    types: pa.Schema,
    tallies: Mapping[str, Tally],
    dialect: Dialect | None = None,
    declared: Schema | None = None,
    frame: dict[str, str] | None = None,
) -> Schema:
    """What `infer_schema` finds, from the names and types of columns and a tally of each."""
    if len(types) > MAX_COLUMNS:
        raise SynthgenError(
            f"the table has {len(types)} columns, at most {MAX_COLUMNS} are modelled; "
            "drop some (--drop) or split the table"
        )
    for column in declared.columns if declared else ():
        if column.name not in types.names:
            raise SynthgenError(f"the schema lists column {column.name!r}; {near(column.name, types.names)}")
    known = {c.name: c for c in declared.columns} if declared else {}
    comma = dialect is not None and dialect.delimiter != ","
    columns = []
    for name, kind in zip(types.names, types.types, strict=True):
        found = _infer_column(name, kind, tallies[name], comma, (frame or {}).get(name))
        columns.append(_declare(found, known[name], tallies[name], comma) if name in known else found)
    return Schema(columns=tuple(columns), rules=declared.rules if declared else (), csv=dialect)


def _declare(found: Column, declared: Column, tally: Tally, decimal_comma: bool) -> Column:
    """What a person said of a column, completed by how its cells are written."""
    update: dict[str, object] = {"dtype": found.dtype, "pandas": found.pandas}
    if found.kind == declared.kind:
        update |= {"number": declared.number or found.number, "date": declared.date or found.date}
    elif _textual(tally.cells.type) and (declared.kind, declared.number, declared.date) in [
        ("numeric", None, None),
        ("datetime", None, None),
    ]:
        gone = MISSING.union(declared.missing)
        texts = [t for t in tally.present[0].to_pylist() if t not in gone]
        if declared.kind == "numeric":
            numbers = [t for t in texts if find_number_format([t], decimal_comma)]
            update["number"] = find_number_format(numbers, decimal_comma) or NumberFormat(decimals=None)
        else:
            update["date"] = find_date_format(texts) or DateFormat(pattern="%Y-%m-%d")
    if "missing" not in declared.model_fields_set:
        update["missing"] = found.missing
    return declared.model_copy(update=update)


def _textual(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _infer_column(name: str, source: pa.DataType, tally: Tally, decimal_comma: bool, pandas: str | None) -> Column:
    kind, labelled = plain_type(source), pa.types.is_dictionary(source)
    dtype = None if pandas is None and kind == pa.string() and not labelled else str(source)
    base = Column(name=name, kind="empty", dtype=dtype, pandas=pandas)
    if pa.types.is_null(kind) or tally.nulls == tally.records:
        return base.model_copy(update={"missing": ("",)})
    if _textual(kind):
        return _infer_text(base, tally, decimal_comma, labelled)
    missing = ("",) if tally.nulls else ()
    if pa.types.is_boolean(kind) or labelled:
        return base.model_copy(update={"kind": "boolean" if not labelled else "categorical", "missing": missing})
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if number:
        return _infer_numeric(base, tally, missing)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        unit: Literal["D", "us"] = "D" if pa.types.is_date(kind) else "us"
        pattern = "%Y-%m-%d" if unit == "D" else "%Y-%m-%d %H:%M:%S.%f"
        update = {"kind": "datetime", "missing": missing, "date": DateFormat(pattern=pattern, unit=unit)}
        return base.model_copy(update=update)
    raise SynthgenError(f"column {name!r} has type {kind}, which is not modelled; drop it (--drop {name})")


def _infer_numeric(base: Column, tally: Tally, missing: tuple[str, ...]) -> Column:
    """A column that is stored as numbers."""
    if pa.types.is_integer(tally.cells.type):
        texts = pc.cast(tally.present[0], pa.string()).to_pylist()
        kind = _number_kind(base.name, texts, tally, tally.records - tally.nulls)
        return base.model_copy(update={"kind": kind, "missing": missing, "number": NumberFormat()})
    return base.model_copy(update={"kind": "numeric", "missing": missing, "number": NumberFormat(decimals=None)})


def _infer_text(base: Column, tally: Tally, decimal_comma: bool, labelled: bool) -> Column:
    """A column of strings."""
    texts, counts = tally.present
    frequency = dict(zip(texts.to_pylist(), counts.tolist(), strict=True))
    empty = frequency.pop("", 0) + tally.nulls
    distinct = list(frequency)
    total = tally.records - empty
    blank = ("",) if empty else ()
    if not distinct:
        return base.model_copy(update={"missing": ("",)})
    if labelled:
        return base.model_copy(update={"kind": "categorical", "missing": blank})
    if len(distinct) == 1 and not empty:
        return base.model_copy(update={"kind": "constant"})
    if len(distinct) == 2 and {t.lower() for t in distinct} in _BOOLEANS:
        return base.model_copy(update={"kind": "boolean", "missing": blank})
    markers = [t for t in distinct if t in MISSING]
    values = [t for t in distinct if t not in MISSING]
    by_count = sorted([*blank, *markers], key=lambda t: -(frequency.get(t, empty)))
    number = find_number_format(values, decimal_comma) if values else None
    date = find_date_format(values) if values and (number is None or len(values[0]) == 8) else None
    if date:
        return base.model_copy(update={"kind": "datetime", "missing": tuple(by_count), "date": date})
    if number:
        kind = _number_kind(base.name, values, tally, total - sum(frequency[m] for m in markers))
        return base.model_copy(update={"kind": kind, "missing": tuple(by_count), "number": number})
    return base.model_copy(update={"kind": _text_kind(distinct, tally, total), "missing": blank})


def _number_kind(name: str, distinct: list[str], tally: Tally, total: int) -> Kind:
    """Integers are an id if no two are equal and they count up, are long, or are called an id.

    Large ones that are called an id may repeat: they name things elsewhere, and are not to be copied.
    """
    named = re.search(r"(?:^|[_\W])(?:id|Id|ID)$|[a-z](?:Id|ID)$|^(?:uuid|key|index|no)$", name) is not None
    many, unique = _many(distinct, tally, total)
    if many < max(10, total // (10 if named else 1)) and not unique:
        return "numeric"
    if not all(re.fullmatch(r"-?\d+", t) for t in distinct):
        return "numeric"
    numbers = [int(t) for t in distinct]
    if not unique:
        return "id" if named and max(numbers) > 10 * total else "numeric"
    serial = max(numbers) - min(numbers) == total - 1
    return "id" if serial or named or min(map(len, distinct)) >= 9 else "numeric"


def _text_kind(distinct: list[str], tally: Tally, total: int) -> Kind:
    """Strings: an id if no two are equal and they are single words; text if most are distinct, or many
    are and they are long.
    """
    words = sum(len(t.split()) for t in distinct) / len(distinct)
    many, unique = _many(distinct, tally, total)
    if unique and words < 1.5 and max(map(len, distinct)) <= 64:
        return "id"
    text = many >= max(10, total // 2) or (many >= max(50, total // 10) and words >= 4)
    return "text" if text else "categorical"


def _many(distinct: list[str], tally: Tally, total: int) -> tuple[int, bool]:
    """How many distinct values there are, and whether they are ten or more of which no two records hold the same."""
    if tally.complete:
        return len(distinct), len(distinct) == total >= 10
    return tally.distinct, tally.unique(MISSING)
