"""Images of a report: distances in a named feature space, classes, a network trained on them, nearest real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthgen.data import Images, as_dataset
from synthgen.data.images import read_images
from synthgen.errors import SynthgenError
from synthgen.metrics.classifier import train_classifier
from synthgen.metrics.extractors import Extractor, find_extractor
from synthgen.metrics.neighbours import nearest
from synthgen.metrics.pictures import frechet_distance, inception_score, kernel_distance, neighbourhoods, scaled
from synthgen.metrics.score import Score
from synthgen.metrics.statistics import proportion
from synthgen.report.blocks import Finding, Gallery, Rows, Section, Shares
from synthgen.report.disclosure import copies_section, unseen_section
from synthgen.report.membership import membership_section
from synthgen.report.sides import Matrix, Side, Sides

Progress = Callable[[float], None]

LEAST = 20  # images below which every figure is noise
MOST = 5000  # images of each kind whose features are taken
BLURRED = 500  # means of a class
BLENDED = 10  # images in a mean
COMPONENTS = 64  # of the features, in which the attacks search
TESTED = 5000  # images that the small network is tested on
SHOWN = 8  # rows of a gallery
BESIDE = 4  # nearest real images
APART = 30  # images of a class below which it has no figure of its own
SETS = ("value", "fresh", "copies", "independent")


@dataclass(frozen=True)
class Pictures:
    """What a report on images compares: images with their features (n, d)."""

    real: tuple[Images, Matrix]
    synthetic: tuple[Images, Matrix]
    holdout: tuple[Images, Matrix] | None
    extractor: Extractor


def read_others(real: Images, others: Mapping[str, Any], names: Mapping[str, str], source: Any) -> dict[str, Images]:
    """All images at the size and with the classes of the real ones; the real ones as small as the synthetic.

    Args:
        real: what was trained on.
        others: `synthetic` and `holdout`: paths, Images or None.
        names: what to call each in an error.
        source: the path that `real` was read from, so that it can be read at another size.

    Raises:
        SynthgenError: one holds a table, classes that the real images lack, sizes that cannot be matched, or too few.
    """
    given = others["synthetic"]
    drawn = given if isinstance(given, Images) else _read(given, names["synthetic"], names["real"])
    if drawn.schema.shape != real.schema.shape and isinstance(source, str | Path):
        real = read_images(Path(source), schema=drawn.schema.model_copy(update={"classes": real.schema.classes}))
    found: dict[str, Any] = {"real": real, "synthetic": drawn}
    if (held := others["holdout"]) is not None:
        path = isinstance(held, str | Path)
        found["holdout"] = _read(held, names["holdout"], names["real"], real) if path else as_dataset(held)
    for role, images in found.items():
        if not isinstance(images, Images):
            raise SynthgenError(f"{names[role]} is a table, and {names['real']} holds images")
        if images.schema.shape != real.schema.shape:
            sizes = [f"{i.schema.width} x {i.schema.height} {i.schema.mode}" for i in (images, real)]
            raise SynthgenError(
                f"{names[role]} holds images of {sizes[0]}, {names['real']} of {sizes[1]}; make them alike"
            )
        if len(images) < LEAST:
            raise SynthgenError(f"{names[role]} holds {len(images)} images; a report needs at least {LEAST}")
        found[role] = _classed(images, real, names[role], names["real"])
    return found


def _read(path: Any, name: str, real_name: str, like: Images | None = None) -> Images:
    found = as_dataset(path) if like is None else as_dataset(path, like.schema.model_copy(update={"classes": ()}))
    if not isinstance(found, Images):
        raise SynthgenError(f"{name} is a table, and {real_name} holds images")
    # read under a schema without classes, images lose theirs: their folders still say them
    return found if like is None else _labelled(found, as_dataset(path))


def _labelled(images: Images, native: Any) -> Images:
    schema = images.schema.model_copy(update={"classes": native.schema.classes})
    return Images(images.pixels, native.labels, schema, images.notes, images.files)


def _classed(images: Images, real: Images, name: str, real_name: str) -> Images:
    """The same with labels as the real images number their classes."""
    own, known = images.schema.classes, real.schema.classes
    if bool(own) != bool(known):
        which = [n if c else f"{n} has none" for n, c in ((name, own), (real_name, known))]
        raise SynthgenError(f"only one has classes: {', '.join(which)}; put images into the same folders")
    if strange := [c for c in own if c not in known]:
        raise SynthgenError(
            f"{name} holds the class {strange[0]!r}, which {real_name} lacks; it has {', '.join(known[:10])}"
        )
    index = np.array([known.index(c) for c in own] or [0])
    return Images(images.pixels, index[images.labels], real.schema, images.notes, images.files)


def image_sections(
    images: Mapping[str, Images], features: str, seed: int, each: Progress
) -> tuple[list[Section], list[str]]:
    """All sections of a report on images, and notes on what was sampled and in which features."""
    extractor, rng = find_extractor(features), np.random.default_rng(seed)
    some = {role: x.take(rng.permutation(len(x))[:MOST]) for role, x in images.items()}
    total, done, found = sum(map(len, some.values())), 0, dict[str, NDArray[np.float32]]()
    for role, x in some.items():
        found[role] = extractor(x.pixels, lambda share, x=x, done=done: each(0.5 * (done + share * len(x)) / total))  # type: ignore[misc]
        done += len(x)
    matrices = dict(zip(found, scaled(found["real"], *list(found.values())[1:]), strict=True))
    pairs = {role: (some[role], matrices[role]) for role in some}
    pictures = Pictures(pairs["real"], pairs["synthetic"], pairs.get("holdout"), extractor)
    scale = float(found["real"].std())
    sections = [
        fidelity_section(pictures, lambda x: extractor(x).astype(np.float64) / scale, rng),
        *class_sections(pictures, seed, lambda share: each(0.5 + 0.25 * share)),
        gallery_section(pictures, rng),
        *disclosure_sections(pictures, seed, lambda share: each(0.75 + 0.25 * share)),
    ]
    each(1.0)
    notes = [f"Features: {extractor.name}. {extractor.about}"]
    notes += [f"Of {role} images {MOST} were drawn." for role, x in images.items() if len(x) > MOST]
    if pictures.holdout is None:
        notes.append(
            "No holdout was given: images are compared with a half of the real ones; the floor is the other half."
        )
    return sections, [*notes, *(note for x in images.values() for note in x.notes)]


def class_means(images: Images, n: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Means (n, height, width, channels) of ten images of one class each: right on average, and blurred."""
    labels = images.labels[rng.integers(0, len(images), n)]
    rows = {k: np.flatnonzero(images.labels == k) for k in np.unique(labels)}
    picked = (images.pixels[rng.choice(rows[k], BLENDED)] for k in labels)
    return np.stack([p.mean(axis=0).round().astype(np.uint8) for p in picked])


def _sets(
    pictures: Pictures, embed: Callable[[Any], Matrix], rng: np.random.Generator
) -> tuple[Matrix, dict[str, Matrix]]:
    """The reference, and as many features of each kind that is compared with it."""
    unseen = (pictures.holdout or pictures.real)[1]
    order = rng.permutation(len(unseen))
    n = min(len(unseen) // 2, len(pictures.synthetic[1]))
    real = pictures.real[1]
    blurred = embed(class_means(pictures.real[0], min(n, BLURRED), rng))
    parts = (pictures.synthetic[1][:n], unseen[order[n : 2 * n]], real[rng.integers(0, len(real), n)], blurred)
    return unseen[order[:n]], dict(zip(SETS, parts, strict=True))


def fidelity_section(pictures: Pictures, embed: Callable[[Any], Matrix], rng: np.random.Generator) -> Section:
    """Distances and neighbourhoods in the feature space."""
    reference, sets = _sets(pictures, embed, rng)
    where, inception = f"in features of {pictures.extractor.name}", pictures.extractor.is_inception
    kernel = {name: kernel_distance(reference, x) for name, x in sets.items()}
    own = kernel["value"]
    interval = tuple(1000 * v for v in (own.value, own.value - 1.96 * own.error, own.value + 1.96 * own.error))
    about = f"kernel distance (x 1000) from held-out images {where}{' (KID)' if inception else ''}"
    floors = {k: 1000 * d.value for k, d in kernel.items()}
    scores = [Score.of("fidelity.kernel", interval, about, "less", 0.0, floors, headline=True)]  # type: ignore[arg-type]
    frechet = {k: frechet_distance(reference, sets[k]) for k in SETS[:3]}  # too few blurred means for a covariance
    name = "FID" if inception else "Fréchet distance"
    about = f"{name} {where}, of {len(reference)} images; it depends on how many"
    scores.append(Score.of("fidelity.frechet", frechet["value"], about, "less", 0.0, frechet))
    near = {k: neighbourhoods(reference, x) for k, x in sets.items()}
    for field, about in (
        ("precision", "share of synthetic images that lie among real ones"),
        ("recall", "share of real images that lie among synthetic ones"),
        ("density", "how many real neighbourhoods a synthetic image lies in, relative to a real one"),
        ("coverage", "share of real images whose neighbourhood holds a synthetic one"),
    ):
        values = {k: float(getattr(near[k], field)) for k in SETS}
        better: Literal["near", "more"] = "near" if field == "density" else "more"
        scores.append(Score.of(f"fidelity.{field}", values["value"], about, better, values["fresh"], values))
    return Section(
        "fidelity",
        "How close are the images?",
        f"All figures are taken {where}, and rank images in this space and no other. {pictures.extractor.about}",
        tuple(scores),
        (_close(scores[0]), *_spread(near)),
    )


def _close(score: Score) -> Finding:
    assert score.fresh is not None
    assert score.independent is not None
    assert score.low is not None
    part = (score.value - score.fresh) / max(score.independent - score.fresh, 1e-9)
    floors = f"fresh real images {score.fresh:.0f}, blurred class means {score.independent:.0f}"
    beside = f"kernel distance {score.value:.0f}; {floors}"
    if score.low <= score.fresh or part < 0.02:
        return Finding("faithful", f"The images cannot be told from real ones by their features ({beside}).")
    if part < 0.1:
        return Finding("faithful", f"The images are close to real ones ({beside}).")
    strength = "visibly" if part < 0.3 else "far"
    return Finding("differs", f"The images differ {strength} from real ones ({beside}).")


def _spread(near: Mapping[str, Any]) -> list[Finding]:
    """Whether part of the real images is never drawn."""
    own, fresh = near["value"].coverage, near["fresh"].coverage
    if own < 0.5 * fresh:
        return [
            Finding(
                "differs",
                f"Only {own:.0%} of real images have a synthetic one nearby; {fresh:.0%} have a fresh real one.",
            )
        ]
    return []


def class_sections(pictures: Pictures, seed: int, each: Progress) -> list[Section]:
    """Balance of classes, and what a network learns from the synthetic images; nothing where there are no classes."""
    real, drawn = pictures.real[0], pictures.synthetic[0]
    names, test = real.schema.classes, (pictures.holdout or pictures.real)[0].take(np.s_[:TESTED])
    if len(names) < 2:
        return []
    counts = [np.bincount(x.labels, minlength=len(names)) / len(x) for x in (real, drawn, test)]
    distance, floor = (float(0.5 * np.abs(counts[0] - c).sum()) for c in counts[1:])
    unseen = pictures.holdout is not None
    score = Score(
        "fidelity.classes",
        distance,
        "total variation of the classes' shares",
        "less",
        0.0,
        fresh=floor if unseen else None,
    )
    lost = [names[k] for k in np.flatnonzero((counts[0] > 0) & (counts[1] == 0))]
    findings = [Finding("differs", f"Classes that were never drawn: {', '.join(map(repr, lost[:5]))}.")] if lost else []
    shares = {"real": tuple(map(float, counts[0])), "synthetic": tuple(map(float, counts[1]))}
    balance = Section(
        "classes",
        "Classes",
        "Shares of the classes, and how far the images of each are from real ones of the same class.",
        (score,),
        tuple(findings),
        (Shares("Classes", names, shares), _by_class(pictures)),
    )
    return [balance, _utility(pictures, test, seed, each)]


def _by_class(pictures: Pictures) -> Rows:
    (real, x), (drawn, y) = pictures.holdout or pictures.real, pictures.synthetic
    rows: list[tuple[str, int, float | None]] = []
    for k, name in enumerate(real.schema.classes):
        a, b = x[real.labels == k], y[drawn.labels == k]
        enough = min(len(a), len(b)) >= APART
        rows.append((name, len(b), 1000 * kernel_distance(a, b).value if enough else None))
    return Rows("By class", ("class", "synthetic images", "kernel distance (x 1000)"), tuple(rows))


def _utility(pictures: Pictures, test: Images, seed: int, each: Progress) -> Section:
    """A small network trained on synthetic images, on as many real ones, on both and on blurred means."""
    real, drawn = pictures.real[0], pictures.synthetic[0]
    if pictures.holdout is None:  # do not test on what was trained on
        real, test = real.take(np.s_[len(real) // 2 :]), real.take(np.s_[: len(real) // 2])
    n, classes = min(len(real), len(drawn)), len(real.schema.classes)
    sets = {
        "real": (real.pixels[:n], real.labels[:n]),
        "synthetic": (drawn.pixels[:n], drawn.labels[:n]),
        "real + synthetic": (
            np.concatenate([real.pixels[:n], drawn.pixels[:n]]),
            np.concatenate([real.labels[:n], drawn.labels[:n]]),
        ),
    }
    hits = dict[str, NDArray[np.bool_]]()
    for i, (name, (x, y)) in enumerate(sets.items()):
        network = train_classifier(x, y, classes, seed=seed, report=lambda share, i=i: each((i + share) / len(sets)))  # type: ignore[misc]
        hits[name] = network.predictions(test.pixels) == test.labels
        if name == "real":
            sure = [inception_score(network.probabilities(p.pixels)) for p in (drawn, test)]
    figure = {name: proportion(int(h.sum()), len(h)) for name, h in hits.items()}
    own, beside = figure["synthetic"], figure["real"]
    about = "accuracy on real images of a small network trained on synthetic ones"
    floors = {"fresh": beside.value, "copies": beside.value, "independent": 1 / classes}
    scores = [Score.of("utility.network", own, about, "more", 1.0, floors, headline=True)]
    legacy = "legacy: Inception score by a small network of these classes; it sees no real image, and is no Inception's"
    scores.append(Score("utility.inception_score", sure[0], legacy, "near", sure[1], fresh=sure[1]))
    lost = (beside.value - own.value) / max(beside.value - 1 / classes, 1e-9)
    text = f"trained on synthetic images, a network names {own.value:.1%} of real ones; on real ones {beside.value:.1%}"
    how = "Little" if lost < 0.05 else f"{lost:.0%} of the worth"
    finding = Finding("useful" if lost < 0.15 else "useless", f"{how} is lost: {text}.")
    rows = tuple(
        (name, *(float(h[test.labels == k].mean()) if (test.labels == k).any() else None for h in hits.values()))
        for k, name in enumerate(real.schema.classes)
    )
    return Section(
        "utility",
        "Training on the images",
        "A small network learns the classes from synthetic images and is tested on real ones. It is blind to blur: "
        "high accuracy does not mean faithful images.",
        tuple(scores),
        (finding,),
        (
            Rows(
                "Accuracy on real images",
                ("trained on", "accuracy", "from", "to"),
                tuple((k, *e) for k, e in figure.items()),
            ),
            Rows("Accuracy by class", ("class", *(f"trained on {k}" for k in hits)), rows),
        ),
    )


def gallery_section(pictures: Pictures, rng: np.random.Generator) -> Section:
    """Synthetic images beside the nearest training images: some at random, and those that are nearest."""
    (real, x), (drawn, y) = pictures.real, pictures.synthetic
    distance, index = nearest(y.astype(np.float32), x.astype(np.float32), BESIDE)
    columns = ("synthetic", *(f"nearest real, {i + 1}" for i in range(index.shape[1])))
    galleries = []
    for title, rows in (
        ("Some images beside the nearest training images", rng.permutation(len(y))[:SHOWN]),
        ("The images that are nearest to a training image", np.argsort(distance[:, 0], kind="stable")[:SHOWN]),
    ):
        pixels = np.stack([np.concatenate([drawn.pixels[[i]], real.pixels[index[i]]]) for i in rows])
        names = (f"{drawn.names[i]} " if drawn.names[i] else "" for i in rows)
        captions = tuple(f"{name}(distance {distance[i, 0]:.2f})" for name, i in zip(names, rows, strict=True))
        galleries.append(Gallery(title, pixels, captions, columns))
    return Section("gallery", "Look at them", "Nearest in the feature space.", blocks=tuple(galleries))


def disclosure_sections(pictures: Pictures, seed: int, each: Progress) -> list[Section]:
    """Membership and copies, in the leading principal components of the features."""
    if pictures.holdout is None:
        return [unseen_section()]
    reduce = _components(pictures.real[1])
    real, unseen, drawn = pictures.real, pictures.holdout, pictures.synthetic
    records = Sides(reduce(real[1]), reduce(unseen[1]), reduce(drawn[1]))
    keys = _keys(real[0]), _keys(unseen[0]), _keys(drawn[0])
    return [membership_section(records, each, seed), copies_section(records, keys)]


def _components(x: Matrix) -> Callable[[Matrix], Side]:
    """The projection on the leading principal components, as points and as features."""
    mean = x.mean(axis=0)
    vectors = np.linalg.eigh(np.cov((x - mean).T))[1][:, ::-1][:, :COMPONENTS]

    def project(y: Matrix) -> Side:
        found = (y - mean) @ vectors
        return Side(found.astype(np.float32), found)

    return project


def _keys(images: Images) -> Matrix:
    """A number (n, 1) for each image, equal where all pixels are."""
    digests = (hashlib.sha256(p.tobytes()).digest()[:6] for p in images.pixels)
    return np.array([float(int.from_bytes(d)) for d in digests])[:, None]
