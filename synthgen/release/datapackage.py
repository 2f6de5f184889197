"""Data Package (v2, datapackage.org) of a release, for Frictionless and what else reads it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from synthgen.data import ImageSchema
from synthgen.data.cells import parse_type
from synthgen.release.facts import Facts, File
from synthgen.release.records import CSV, IMAGES
from synthgen.release.seen import DAY, SECOND
from synthgen.schema import Column, Dialect, Schema

PROFILE = "https://datapackage.org/profiles/2.0/datapackage.json"
VERSION = "1.0.0"
STANDARD = {"delimiter", "quote", "encoding", "space", "newline"}  # of a dialect, as Table Dialect knows it too


def datapackage(facts: Facts) -> dict[str, Any]:
    """The descriptor, as JSON. Only the CSV is a table to it; hashes of all files are in SHA256SUMS."""
    terms, licence = facts.terms, facts.terms.terms_of_use
    found: dict[str, Any] = {
        "$schema": PROFILE,
        "name": terms.slug,
        "title": terms.name,
        "description": facts.summary,
        "version": VERSION,
        "keywords": ["synthetic data", *(["differential privacy"] if facts.certificate else [])],
        "resources": [_resource(facts, file) for file in facts.files if file.path.endswith(".csv")],
        "synthgen": facts.claims,
    }
    if licence:
        known = {"path": licence.url} if licence.url else {}
        found["licenses"] = [{"name": licence.spdx, "title": licence.title, **known}]
    if terms.publisher:
        found["contributors"] = [{"title": terms.publisher, "roles": ["publisher"]}]
    if terms.source:
        found["sources"] = [{"title": terms.source}]
    if terms.url:
        found["homepage"] = terms.url
    if terms.date:
        found["created"] = f"{terms.date}T00:00:00Z"
    return found


def _resource(facts: Facts, file: File) -> dict[str, Any]:
    schema = facts.schema
    dialect = (schema.csv if isinstance(schema, Schema) else None) or Dialect()
    further = {name: value for name, value in dialect.model_dump().items() if name not in STANDARD}
    return {
        "name": "records" if file.path == CSV else IMAGES,
        "path": file.path,
        "type": "table",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": dialect.encoding,
        "bytes": file.size,
        "hash": f"sha256:{file.sha256}",
        "dialect": {"delimiter": dialect.delimiter, "quoteChar": dialect.quote, "lineTerminator": dialect.newline},
        "schema": table_schema(schema),
        **({"synthgen": further} if further else {}),  # what else its cells went through, such as escapes
    }


def table_schema(schema: Schema | ImageSchema) -> dict[str, Any]:
    """The Table Schema of the CSV."""
    if isinstance(schema, Schema):
        return {"fields": [field(column) for column in schema.columns], "missingValues": [""]}
    label = {"name": "label", "type": "string", "constraints": {"enum": list(schema.classes)}}
    return {
        "fields": [{"name": "file_name", "type": "string"}, *([label] if schema.classes else [])],
        "missingValues": [""],
    }


def field(column: Column) -> dict[str, Any]:
    """A column as Table Schema has it."""
    stored = parse_type(column.dtype) if column.dtype else pa.string()
    found: dict[str, Any] = {"name": column.name, "type": "string"}
    limits: dict[str, Any] = {} if column.missing or column.kind == "empty" else {"required": True}
    if column.kind == "numeric" or (column.kind == "id" and pa.types.is_integer(stored)):
        found["type"] = "integer" if pa.types.is_integer(stored) else "number"
    elif column.kind == "datetime" and column.date is not None:
        standard = {DAY: ("date", "default"), SECOND: ("datetime", "default"), f"{SECOND}.%f": ("datetime", "default")}
        plain = standard if column.date.suffix in ("", "Z") else {}
        found["type"], found["format"] = plain.get(column.date.pattern, ("string", "default"))
    elif column.kind == "boolean" and pa.types.is_boolean(stored):
        found["type"] = "boolean"
    elif column.categories is not None and found["type"] == "string":
        limits["enum"] = list(column.categories)
    if found["type"] in ("integer", "number", "date", "datetime"):
        whole = found["type"] == "integer"
        ends = {"minimum": column.minimum, "maximum": column.maximum}
        limits |= {k: int(v) if whole and isinstance(v, float) else v for k, v in ends.items() if v is not None}
    return found | ({"constraints": limits} if limits else {})
