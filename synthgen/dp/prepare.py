"""Prepare: from a raw table and a budget to a codec and to records that answer priced questions only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from synthgen.codec import LABEL, Codec, ImageCodec, TableCodec, fit_codec
from synthgen.codec.base import Context
from synthgen.codec.rare import UNKNOWN
from synthgen.data import Images, Table
from synthgen.data.images import KEPT_SIDE, ImageSchema, digest_of_files, read_images, survey
from synthgen.data.pictures_in import Aspect
from synthgen.distributed import current
from synthgen.dp.bins import Part
from synthgen.dp.budget import Budget
from synthgen.dp.domain import learn_domain
from synthgen.dp.records import PrivateRecords
from synthgen.dp.sketch import Sketch
from synthgen.dp.table import PrivateTable
from synthgen.errors import BudgetError, SynthgenError, near
from synthgen.schema import Column, Schema

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CODES = 64  # of a column
MADE = 20_000  # records that are made up of what is known
IMAGES = {"form": 0.01, "rows": 0.01, "labels": 0.03}  # of rho, for modes and sizes, number and classes of images
SIDE = 32  # pixels of images of many sizes
MOST_SKETCH = 0.999  # the rest is for rounding
MOST_NUMBERS = 3072  # of an image that others are made up of
FEW = 0.02  # share of coloured images below which all become grey


class Unit(NamedTuple):
    """Whose records are told together: the column that names a person, and how many records of each are kept."""

    column: str = ""
    most: int = 1

    def __str__(self) -> str:
        return f"person: column {self.column!r}, at most {self.most} records of each" if self.column else "record"


class Private(NamedTuple):
    """What a private fit starts from.

    Args:
        codec: fitted on a surrogate, which is made of noisy counts.
        records: behind the budget.
        declared: what was taken as public.
        notes: what was done, a sentence each.
        counted: noisy counts of parts of a table's columns.
    """

    codec: Codec
    records: PrivateRecords
    declared: list[str]
    notes: list[str]
    counted: dict[str, list[Part]] = {}  # noqa: RUF012 (immutable)


def prepared_once(prepare: Callable[[], Private], budget: Budget) -> Private:
    """What is prepared of the data, by the main process alone where several fit together.

    The others are told what was paid for, and hold no record before a training deals them theirs.
    """
    group = current()
    if group.world == 1:
        return prepare()
    made: list[Private] = []

    def told() -> dict[str, Any]:
        made.append(prepare())
        codec, records, declared, notes, _ = made[0]  # what was counted is kept with the model, by the main process
        return {
            "kind": codec.kind,
            "codec": codec.state(),
            "total": records.total,
            "declared": declared,
            "notes": notes,
        }

    public = group.json(told)
    known = group.tensors(lambda: dict(zip("xc", made[0].records.known, strict=True)))
    if group.main:
        return made[0]
    codec = (ImageCodec if public["kind"] == "images" else TableCodec).from_state(public["codec"])
    x, c, spaces = known["x"], known["c"], (codec.space, codec.context_space)
    records = PrivateRecords(x[:0], c[:0], *spaces, (x, c), public["total"], budget)
    return Private(codec, records, public["declared"], public["notes"])


def prepare_table(
    table: Table,
    declared: Schema | None,
    drop: Sequence[str],
    given: Sequence[str],
    budget: Budget,
    codes: int,
    unit: Unit = Unit(),  # noqa: B008 (immutable)
) -> Private:
    """Learn the domain of a table within a part of the budget, and encode its records behind the rest.

    Args:
        table: the raw table.
        declared: a person's schema; all that it says is public and free.
        drop: columns to leave out.
        given: a column to condition on.
        budget: that pays.
        codes: of a column, at most.
        unit: of privacy.

    Raises:
        BudgetError: the budget is too small, or what is asked for cannot be paid.
        SynthgenError: a column is not there.
    """
    names = table.data.column_names
    for name in (*drop, *given, *([unit.column] if unit.column else []), *(declared.names if declared else ())):
        if name not in names:
            raise SynthgenError(f"there is no column {name!r}; {near(name, names)}")
    if unit.column in (*drop, *given):
        raise BudgetError(f"column {unit.column!r} names the persons; it can be neither dropped nor given")
    for column in declared.columns if declared else ():
        if isinstance(column.minimum, float) and isinstance(column.maximum, float) and column.minimum > column.maximum:
            raise SynthgenError(f"column {column.name!r} is declared with minimum {column.minimum} above its maximum")
    if declared and (rules := [r.text for r in declared.parsed_rules() if r.kind == "combinations"]):
        raise BudgetError(
            f"the rule {rules[0]!r} lists what occurs in the data, which no budget pays for yet; remove it"
        )
    if len(given) > 1:
        raise BudgetError("under a privacy budget one column can be given: how often several occur together costs more")
    kept = [name for name in names if name not in drop]
    private = PrivateTable(table.data.select(kept), budget, unit.column, unit.most)
    known = declared.drop([n for n in (*drop, unit.column) if n in declared.names]) if declared else None
    domain = learn_domain(private, known, table.dialect)
    schema = domain.surrogate.schema
    codec, _ = fit_codec(domain.surrogate, schema, given, codes=min(codes or CODES, CODES), keep_rare=True)
    numeric = [c.name for c in schema.columns if c.kind == "numeric"]
    some = domain.surrogate.take(np.arange(min(MADE, len(domain.surrogate))))
    # each record is encoded on its own, and nothing of how that goes is told
    x, c = (_encoded(codec, rows) for rows in (Table(private.cells(numeric)), some))
    persons = private.persons() if unit.column else None
    spaces = codec.space, codec.context_space
    records = PrivateRecords(*x, *spaces, c, domain.total, budget, persons, private.sensitivity)
    return Private(codec, records, _said(known), domain.notes, domain.counted)


def _encoded(codec: Codec, rows: Table) -> tuple[Tensor, Tensor]:
    """Records and embedded contexts; a context that the codec does not know is the commonest that it does."""
    x, _ = codec.encode(rows, np.random.default_rng(0))
    context = codec.encode_context(rows)
    if codec.context.counts:
        commonest = np.array(codec.context.codes)[np.argmax(codec.context.counts)]
        context = np.where(context == UNKNOWN, commonest, context)
    return x, codec.embed_context(context)


class Folder(NamedTuple):
    """Images that are not read yet: where they lie, a public side of squares, and how they become squares."""

    path: str | Path
    size: int | None = None
    aspect: Aspect = "crop"


def read_private_images(folder: Folder, budget: Budget) -> Images:
    """Read images in the mode and size that most have, which the budget pays for."""
    path, size, aspect = folder
    modes, sizes = survey(path)
    private = PrivateTable(pa.table({"mode": modes, "size": sizes}), budget)
    price, passed = IMAGES["form"] * budget.rho / 2, budget.thresholds / 4
    held = private.labels("mode", price, passed)
    mode = "RGB" if held.get("RGB", 0) > FEW * sum(held.values()) else "L"
    width = height = size or SIDE
    if size is None:
        common = private.labels("size", price, passed)
        best = max(common, key=lambda name: common[name], default="")
        if best and common[best] > sum(held.values()) / 2:
            width, height = (int(side) for side in best.split(" x "))
            if max(width, height) > KEPT_SIDE:
                width = height = KEPT_SIDE
    form = ImageSchema.model_validate({"mode": mode, "width": width, "height": height})
    return read_images(path, aspect=aspect, form=form)


def prepare_images(images: Images, budget: Budget, sketch: float = 0.5) -> Private:
    """Learn the classes of images within a part of the budget, and encode the images behind the rest.

    An image of a class that is held by too few to be named has no finite number, and counts as none.

    Args:
        images: of one size and mode, which are public.
        budget: that pays.
        sketch: share of what is left of it that images are made up with (sketch.py), which families start from.

    Raises:
        BudgetError: the budget is too small to tell classes from noise.
    """
    private = PrivateTable(pa.table({LABEL: pa.array(images.names)}), budget)
    rows, labels = (IMAGES[what] * budget.rho for what in ("rows", "labels"))
    total, found = private.count(rows), dict[str, int]()
    if images.schema.classes:
        found = private.labels(LABEL, labels, budget.thresholds / 2)
        found = {name: max(1, n) for name, n in sorted(found.items()) if name}
        if not found:
            raise BudgetError(
                f"a budget of epsilon {budget.epsilon:g} is too small to learn the classes of about {total} images; "
                "put them into one folder, or take a larger epsilon"
            )
    schema = images.schema.model_copy(update={"classes": tuple(found)})
    counts = list(found.values())
    context = Context(names=[LABEL], codes=[[i] for i in range(len(found))], counts=counts) if found else Context()
    codec = ImageCodec(image_schema=schema, context=context)
    index = {name: i for i, name in enumerate(found)}
    label = np.array([index.get(name, -1 if found else 0) for name in images.names])
    x, _ = codec.encode(images, np.random.default_rng(0))
    made, of = _sketched(
        x, label, np.array(counts or [total], dtype=float), budget, min(sketch, MOST_SKETCH) * budget.left
    )
    x[label < 0] = torch.nan
    c, known = (codec.embed_context(np.maximum(k, 0)[:, None][:, : len(context.names)]) for k in (label, of))
    records = PrivateRecords(x, c, codec.space, codec.context_space, (made, known), total, budget)
    size = f"images are {schema.width} x {schema.height} pixels of mode {schema.mode}"
    return Private(codec, records, [size], [])


def _sketched(x: Tensor, label: Ints, held: Floats, budget: Budget, rho: float) -> tuple[Tensor, Ints]:
    """Made-up images and their classes, of images (N, channels, height, width); large ones are smaller meanwhile."""
    times = math.ceil(math.sqrt(math.prod(x.shape[1:]) / MOST_NUMBERS))
    small = functional.avg_pool2d(x, times, ceil_mode=True) if times > 1 else x
    vectors = small.flatten(1).double().numpy()
    made, of = Sketch(vectors, label, held, budget, rho).draw(min(MADE, max(len(held), round(held.sum()))))
    drawn = torch.from_numpy(made).float().reshape(-1, *small.shape[1:])
    if times > 1:
        drawn = functional.interpolate(drawn, size=x.shape[2:], mode="bilinear")
    return drawn, of


def _said(declared: Schema | None) -> list[str]:
    """What a schema declares, a sentence each."""
    return [_of(column) for column in declared.columns] if declared else []


def _of(column: Column) -> str:
    parts = [f"kind {column.kind}"]
    parts += [f"{len(column.categories)} categories"] if column.categories else []
    parts += [f"{end} {v}" for end, v in (("minimum", column.minimum), ("maximum", column.maximum)) if v is not None]
    return f"column {column.name!r}: {', '.join(parts)}"


def fingerprint(data: Table | str | Path) -> str:
    """A hash of a raw table, or of the files of images: the name of the data in a ledger, which is private."""
    return (data.digest() if isinstance(data, Table) else digest_of_files(data)).hex()
