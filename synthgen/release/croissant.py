"""Croissant 1.1 (mlcommons.org/croissant/1.1) of a release: JSON-LD by which catalogues and loaders know it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pyarrow as pa

from synthgen import __version__
from synthgen.data import ImageSchema
from synthgen.data.cells import parse_type
from synthgen.release.datapackage import VERSION
from synthgen.release.facts import Facts, File, figures
from synthgen.release.records import CSV, IMAGES
from synthgen.release.seen import DAY, SECOND
from synthgen.schema import Column, Schema

_TERMS = (  # that Croissant adds to schema.org
    "annotation arrayShape citeAs column containedIn equivalentProperty excludes extract field fileObject fileProperty "
    "fileSet format includes isArray isLiveDataset jsonPath key md5 parentField path readLines recordSet references "
    "regex repeated replace samplingRate sdVersion separator source subField transform unArchive value"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
LIMITS = "Drawn from a model: what it did not learn is not there. Do not decide on individuals by these data."
CONFORMS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]


def croissant(facts: Facts) -> dict[str, Any]:
    """The description, as JSON."""
    terms, licence = facts.terms, facts.terms.terms_of_use
    found: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": terms.name,
        "description": facts.summary,
        "version": VERSION,
        "citeAs": _citation(facts),
        "keywords": ["synthetic data", *(["differential privacy"] if facts.certificate else [])],
        "rai:hasSyntheticData": True,
        "rai:dataLimitations": LIMITS,
        "rai:personalSensitiveInformation": _protection(facts),
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"Drawn with seed {facts.seed} from a fitted generative model ({facts.generator})",
            "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": f"synthgen {__version__}"},
        },
        "prov:wasDerivedFrom": {"@type": "prov:Entity", "prov:label": terms.source or "Real records, not published"},
        "distribution": _distribution(facts),
        "recordSet": record_sets(facts.schema),
    }
    if licence:
        found["license"] = licence.url or licence.spdx
    if terms.publisher:
        found["creator"] = found["publisher"] = {"@type": "sc:Organization", "name": terms.publisher}
    if terms.url:
        found["url"] = terms.url
    if terms.date:
        found["datePublished"] = terms.date
    return found


def _citation(facts: Facts) -> str:
    terms = facts.terms
    said = {"title": terms.name, "author": terms.publisher, "year": terms.date[:4], "url": terms.url}
    body = ", ".join(f"{k} = {{{v}}}" for k, v in said.items() if v)
    return f"@misc{{{terms.slug}, {body}, note = {{Synthetic data}}}}"


def _protection(facts: Facts) -> str:
    promise = facts.promise
    if promise is None:
        return "No formal guarantee: the model saw the real records without differential privacy."
    return f"Protected by {promise.level}-level differential privacy, {figures(promise)}; see certificate.json."


def _distribution(facts: Facts) -> list[dict[str, Any]]:
    found = [_file_object(file) for file in facts.files if file.path.endswith((".csv", ".parquet"))]
    if isinstance(facts.schema, ImageSchema):
        found.append(
            {
                "@type": "cr:FileSet",
                "@id": "image-files",
                "name": "image-files",
                "encodingFormat": "image/png",
                "includes": f"{IMAGES}/**/*.png" if facts.schema.classes else f"{IMAGES}/*.png",
            }
        )
    return found


def _file_object(file: File) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path.rpartition("/")[2],
        "contentUrl": file.path,
        "contentSize": f"{file.size} B",
        "encodingFormat": "text/csv" if file.path.endswith(".csv") else "application/x-parquet",
        "sha256": file.sha256,
    }


def record_sets(schema: Schema | ImageSchema) -> list[dict[str, Any]]:
    """What a record is: the columns of the CSV, or an image and where it lies."""
    if isinstance(schema, ImageSchema):
        return [_image_set()]
    fields = [_field(column) for column in schema.columns]
    return [{"@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields}]


def _field(column: Column) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"records/{quote(column.name, safe='')}",
        "name": column.name,
        "dataType": _type(column),
        "source": {"fileObject": {"@id": CSV}, "extract": {"column": column.name}},
    }


def _type(column: Column) -> str:
    stored = parse_type(column.dtype) if column.dtype else pa.string()
    if column.date is not None:
        return {DAY: "sc:Date", SECOND: "sc:DateTime", f"{SECOND}.%f": "sc:DateTime"}.get(
            column.date.pattern, "sc:Text"
        )
    if pa.types.is_boolean(stored):
        return "sc:Boolean"
    if pa.types.is_integer(stored) and not column.missing:
        return "sc:Integer"
    number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return "sc:Float" if any(is_one(stored) for is_one in number) else "sc:Text"


def _image_set() -> dict[str, Any]:
    """Images with their paths, whose folder is their class."""

    def of_file(name: str, kind: str, part: str) -> dict[str, Any]:
        source = {"fileSet": {"@id": "image-files"}, "extract": {"fileProperty": part}}
        return {"@type": "cr:Field", "@id": f"images/{name}", "name": name, "dataType": kind, "source": source}

    fields = [of_file("image", "sc:ImageObject", "content"), of_file("file_name", "sc:Text", "fullpath")]
    return {"@type": "cr:RecordSet", "@id": "images", "name": "images", "field": fields}
