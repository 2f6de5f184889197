"""What `synthgen info` says of a generator and of a fitted model."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from synthgen import artifact, registry
from synthgen.cli.console import one_line
from synthgen.errors import SynthgenError, near
from synthgen.generator import Generator, abilities
from synthgen.synthesizer import Synthesizer
from synthgen.training import Recipe


def describe_generator(name: str) -> tuple[str, dict[str, Any]]:
    """Text and fields about an installed generator: what it takes, what it can do, its settings."""
    if name not in registry.available():
        raise SynthgenError(f"{name!r} is no generator and no model; {near(name, registry.available())}")
    cls = registry.load(name)
    point = registry.available()[name]
    settings = _settings(cls.Config.model_fields, {})
    if cls.loss is not Generator.loss:
        settings |= _settings(Recipe.model_fields, cls.recipe.model_dump())
        if "images" in cls.accepts and "table" in cls.accepts:
            for key, value in cls.image_recipe.model_dump().items():
                unused = key == "epochs" and cls.image_recipe.steps > 0
                if key in settings and value != settings[key]["default"] and not unused:
                    settings[key]["description"] += f"; {value} for images"
    able = abilities(cls)
    fields = {
        "name": name,
        "package": registry.distribution(point),
        "about": " ".join((cls.__doc__ or "").split()),
        "accepts": list(cls.accepts),
        "abilities": able,
        "private": cls.private,
        "settings": settings,
    }
    lines = [
        f"{name} ({fields['package']}): {fields['about']}",
        f"takes: {', '.join(cls.accepts)}",
        f"can: {', '.join(['sample', *able])}",
        "settings (-s KEY=VALUE):",
        *(f"  {key} = {s['default']}  {s['description']} [{s['type']}]" for key, s in settings.items()),
    ]
    return "\n".join(lines), fields


def _settings(fields: dict[str, Any], defaults: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for key, field in fields.items():
        bounds = [_bound(m) for m in field.metadata]
        kind = _kind(field.annotation)
        found[key] = {
            "default": defaults.get(key, field.default),
            "type": ", ".join([kind, *filter(None, bounds)]),
            "description": field.description or "",
        }
    return found


def _kind(annotation: Any) -> str:
    """What a setting takes, in a word."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " or ".join(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return f"{_kind(get_args(annotation)[0])}, ..."
    return getattr(annotation, "__name__", str(annotation))


def _bound(constraint: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "a multiple of"}
    return " ".join(f"{sign} {getattr(constraint, k)}" for k, sign in signs.items() if hasattr(constraint, k))


def describe_model(path: str) -> tuple[str, dict[str, Any]]:
    """Text and fields about a fitted model: generator, settings, columns, what can be given."""
    manifest, weights = artifact.load(path)
    synthesizer = Synthesizer.load(path, device="cpu")
    codec = synthesizer.codec
    table = codec.kind == "table"
    kinds = {c.name: c.kind for c in codec.dataset_schema.columns} if table else {}
    images = {} if table else codec.dataset_schema.model_dump()
    able = abilities(synthesizer.cls)
    size = sum(t.nbytes for t in weights.values())
    fields = {
        "model": path,
        "plugin": manifest["plugin"],
        "synthgen": manifest["synthgen"],
        "config": manifest["config"],
        "rows": manifest["rows"],
        "columns": kinds,
        "images": images,
        "given": codec.context.names,
        "abilities": able,
        "bytes": size,
    }
    free = ["any modelled column"] if table and "complete" in able else []
    given = " or ".join(filter(None, [_listed(codec.context.names), *free]))
    plugin = manifest["plugin"]
    lines = [
        f"{path}: {plugin['name']} ({plugin['distribution']} {plugin['version']}), "
        f"{manifest['rows']} {synthesizer.noun}, {size / 1e6:.1f} MB of weights",
        f"settings: {_listed([f'{k}={v}' for k, v in manifest['config'].items()])}",
        f"can be given: {given or ('nothing; name columns when fitting: --given COL' if table else 'nothing')}",
    ]
    if table:
        lines += ["columns:", *(f"  {_listed([name])}: {kind}" for name, kind in kinds.items())]
    else:
        schema = codec.dataset_schema
        lines += [
            f"images: {schema.width} x {schema.height} {schema.mode}",
            f"classes: {_listed(schema.classes) or 'none'}",
        ]
    return "\n".join(lines), fields


def _listed(names: Sequence[str]) -> str:
    """Names that data gave, on one line."""
    return one_line(", ".join(names))
