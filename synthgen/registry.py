"""The generators that are installed: entry points of the group `synthgen.generators`, no globals."""

import ast
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.errors import SynthgenError, near

if TYPE_CHECKING:
    from synthgen.generator import Generator

GROUP = "synthgen.generators"


def available() -> dict[str, EntryPoint]:
    """Name to entry point of every installed generator, without importing one.

    Raises:
        SynthgenError: two distributions claim one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        other = found.setdefault(point.name, point)
        # the same entry seen twice (an editable install beside its metadata) is no clash
        if other.value != point.value or distribution(other) != distribution(point):
            raise SynthgenError(
                f"two packages call a generator {point.name!r}: {distribution(other)} ({other.value}) and "
                f"{distribution(point)} ({point.value}); uninstall one"
            )
    return found


def distribution(point: EntryPoint) -> str:
    """Name of the distribution that an entry point comes from."""
    return point.dist.name if point.dist else "unknown"


def about(point: EntryPoint) -> str:
    """First sentence of the module that an entry point names, read without importing it."""
    try:
        spec = find_spec(point.module)
        source = Path(spec.origin).read_text("utf-8") if spec and spec.origin else ""
        text = ast.get_docstring(ast.parse(source)) or ""
    except (ImportError, OSError, SyntaxError, ValueError):
        return "its module cannot be read"
    return " ".join(text.split("\n\n")[0].split())


def load(name: str) -> type["Generator"]:
    """The generator class registered as `name`.

    Raises:
        SynthgenError: the name is unknown, its module fails to import, or it is no Generator.
    """
    from synthgen.generator import Generator

    points = available()
    if name not in points:
        raise SynthgenError(f"no generator is called {name!r}; {near(name, points)}")
    try:
        cls = points[name].load()
    except Exception as error:  # a stranger's module may raise anything at import
        source = distribution(points[name])
        raise SynthgenError(
            f"generator {name!r} of package {source} fails to import: {type(error).__name__}: {error}; "
            f"repair or uninstall {source}"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, Generator)):
        raise SynthgenError(f"{points[name].value}, registered as {name!r}, is no synthgen.Generator")
    return cls
