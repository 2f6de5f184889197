"""Images of a report: distances in a named feature space, classes, nearest real ones, what attackers find."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthgen.data import Images
from synthgen.metrics.extractors import Extractor, find_extractor
from synthgen.metrics.neighbours import nearest
from synthgen.metrics.pictures import frechet_distance, kernel_distance, neighbourhoods, scaled
from synthgen.metrics.score import Score
from synthgen.report.blocks import Finding, Gallery, Section
from synthgen.report.disclosure import copies_section, unseen_section
from synthgen.report.image_classes import class_sections
from synthgen.report.image_inputs import Pictures
from synthgen.report.membership import membership_section
from synthgen.report.sides import Matrix, Side, Sides

Progress = Callable[[float], None]

MOST = 5000  # images of each kind whose features are taken
BLURRED = 500  # means of a class
BLENDED = 10  # images in a mean
COMPONENTS = 64  # of the features, in which the attacks search
SHOWN = 8  # rows of a gallery
BESIDE = 4  # nearest real images
SETS = ("value", "fresh", "copies", "independent")


def image_sections(
    images: Mapping[str, Images], features: str, seed: int, each: Progress
) -> tuple[list[Section], list[str]]:
    """All sections of a report on images, and notes on what was sampled and in which features."""
    extractor, rng = find_extractor(features), np.random.default_rng(seed)
    some = {role: x.take(rng.permutation(len(x))[:MOST]) for role, x in images.items()}
    found = _features(some, extractor, lambda share: each(0.5 * share))
    matrices = dict(zip(found, scaled(*found.values()), strict=True))
    pairs = {role: (some[role], matrices[role]) for role in some}
    pictures = Pictures(images, pairs["real"], pairs["synthetic"], pairs.get("holdout"), extractor)
    scale = float(found["real"].std(dtype=np.float64)) or 1.0
    sections = [
        fidelity_section(pictures, lambda x: extractor(x).astype(np.float64) / scale, rng),
        *class_sections(pictures, seed, lambda share: each(0.5 + 0.25 * share)),
        gallery_section(pictures, rng),
        *disclosure_sections(pictures, seed, lambda share: each(0.75 + 0.25 * share)),
    ]
    each(1.0)
    return sections, _notes(pictures)


def _features(images: Mapping[str, Images], extractor: Extractor, each: Progress) -> dict[str, NDArray[np.float32]]:
    """Features (n, d) of each kind of images, the real ones first."""
    total, done, found = sum(map(len, images.values())), 0, dict[str, NDArray[np.float32]]()
    for role, x in images.items():

        def report(share: float, before: int = done, n: int = len(x)) -> None:
            each((before + share * n) / total)

        found[role] = extractor(x.pixels, report)
        done += len(x)
    return found


def _notes(pictures: Pictures) -> list[str]:
    notes = [f"Features: {pictures.extractor.name}. {pictures.extractor.about}"]
    for role, x in pictures.whole.items():
        if len(x) > MOST:
            notes.append(f"Of {len(x)} {role} images {MOST} were drawn; exact copies are sought among all.")
    if pictures.holdout is None:
        notes.append(
            "No holdout was given: images are compared with a half of the real ones; the floor is the other half."
        )
    return [*notes, *(note for x in pictures.whole.values() for note in x.notes)]


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
    unseen = pictures.unseen[1]
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
    reduce, whole = _components(pictures.real[1], pictures.holdout[1]), pictures.whole
    records = Sides(*(reduce(x) for _, x in (pictures.real, pictures.holdout, pictures.synthetic)))
    keys = _keys(whole["real"]), _keys(whole["holdout"]), _keys(whole["synthetic"])
    return [membership_section(records, each, seed), copies_section(records, keys)]


def _components(real: Matrix, unseen: Matrix) -> Callable[[Matrix], Side]:
    """The projection on the leading principal components, as points and as features.

    They are those of as many real images as held-out ones: of real ones alone, they would tell these apart.
    """
    n = min(len(real), len(unseen))
    x = np.concatenate([real[:n], unseen[:n]])
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
