"""Card: the README.md of a release, for people, with the front matter that Hugging Face reads."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from synthgen.data import ImageSchema
from synthgen.dp.certificate import PERSON
from synthgen.release.facts import Facts, figures
from synthgen.report.certificate import MUCH, RISKY
from synthgen.schema import Column, Schema

SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M"}
SHOWN = 6  # labels of a column
POOL = "_RARE_"  # what a codec calls rare labels together
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$!&=])")


class Line(NamedTuple):
    """A column in the card: its name, what it is, what it holds, and how often nothing."""

    name: str
    kind: str
    holds: str
    missing: str


def card(facts: Facts) -> str:
    """The complete text, to be written in UTF-8."""
    promise, schema = facts.promise, facts.schema
    return _template().render(
        front=front_matter(facts),
        facts=facts,
        terms=facts.terms,
        licence=facts.terms.terms_of_use,
        promise=promise,
        figures=figures(promise) if promise else "",
        person=promise is not None and promise.level == PERSON,
        one=promise.level if promise else "record",
        factor=_factor(promise.epsilon) if promise else "",
        weak=promise is not None and promise.epsilon > MUCH,
        risky=promise is not None and promise.delta * promise.records > RISKY,
        sure=_sure(promise.epsilon) if promise else "",
        images=isinstance(schema, ImageSchema),
        schema=schema,
        lines=[] if isinstance(schema, ImageSchema) else [_line(facts, c) for c in schema.columns],
        pooled=isinstance(schema, Schema) and any(POOL in (c.categories or ()) for c in schema.columns),
        rules=schema.rules if isinstance(schema, Schema) else (),
        sharded=sum(file.path.endswith(".parquet") for file in facts.files) > 1,
    )


@cache
def _template() -> Template:
    environment = Environment(  # it makes Markdown; `plain` escapes what others wrote
        loader=PackageLoader("synthgen.release", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain, "count": "{:,}".format}
    return environment.get_template("card.md")


def plain(text: str) -> str:
    """Text that Markdown shows as it is written, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join("".join(c if c.isprintable() else " " for c in text).split()))


def front_matter(facts: Facts) -> str:
    """What the Hub and `datasets` read, one entry a line; values are JSON, which is YAML too."""
    terms, images = facts.terms, isinstance(facts.schema, ImageSchema)
    licence = terms.terms_of_use
    found: dict[str, Any] = {"license": licence.hub if licence else "unknown", "pretty_name": terms.name}
    if licence and licence.hub == "other":
        found |= {"license_name": licence.spdx.lower()} | ({"license_link": licence.url} if licence.url else {})
    found["tags"] = ["synthetic", *(["differential-privacy"] if facts.certificate else [])]
    found["size_categories"] = [next((s for most, s in SIZES.items() if facts.records < most), "n>10M")]
    if terms.target:
        found["task_categories"] = [_task(facts)]
    path = "images/**" if images else "data/*.parquet"
    found["configs"] = [{"config_name": "default", "data_files": [{"split": "train", "path": path}]}]
    found["synthgen"] = facts.claims
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.items())


def _task(facts: Facts) -> str:
    if isinstance(facts.schema, ImageSchema):
        return "image-classification"
    return f"tabular-{'regression' if facts.schema[facts.terms.target].kind == 'numeric' else 'classification'}"


def _line(facts: Facts, column: Column) -> Line:
    missing = facts.missing[column.name]
    return Line(plain(column.name), _kind(column), _holds(column), _percent(missing) if missing else "never")


def _kind(column: Column) -> str:
    words = {
        "numeric": "number",
        "categorical": "label",
        "datetime": "date",
        "id": "made-up id",
        "text": "made-up text",
    }
    return words.get(column.kind, column.kind)


def _holds(column: Column) -> str:
    if column.kind == "numeric" and isinstance(column.minimum, float | int) and column.maximum is not None:
        low, high = f"{column.minimum:.12g}", f"{column.maximum:.12g}"
        return low if low == high else f"{low} to {high}"
    if column.kind == "datetime" and column.minimum is not None:
        return f"{column.minimum} to {column.maximum}"
    labels = [f"“{plain(label)}”" for label in (column.categories or ())[:SHOWN]]
    more = len(column.categories or ()) - len(labels)
    return ", ".join(labels) + (f" and {more} more" if more else "")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "less than 0.1 %"


def _factor(epsilon: float) -> str:
    """e^epsilon, rounded up."""
    return "more than 100 million" if epsilon > 18 else f"{math.ceil(100 * math.exp(epsilon) - 1e-9) / 100:,.2f}"


def _sure(epsilon: float) -> str:
    """How sure of a record's being there somebody may become who was undecided, rounded up."""
    percent = math.ceil(100 / (1 + math.exp(-epsilon)) - 1e-9)
    return f"at most {percent} % sure" if percent < 99 else "nearly certain"
