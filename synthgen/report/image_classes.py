"""Classes of a report on images: their balance, and what a network learns from the synthetic ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from synthgen.data import Images
from synthgen.metrics.classifier import train_classifier
from synthgen.metrics.pictures import inception_score, kernel_distance
from synthgen.metrics.score import Score
from synthgen.metrics.statistics import LEVEL, proportion
from synthgen.report.blocks import Finding, Rows, Section, Shares, listed
from synthgen.report.image_inputs import Pictures
from synthgen.report.sides import Matrix

Progress = Callable[[float], None]
Hits = dict[str, NDArray[np.bool_]]  # which test images a network names rightly, by what it was trained on

TESTED = 5000  # images that the small network is tested on
APART = 30  # images of a class below which it has no figure of its own
NOTABLE = 0.02  # of a class's share: what is worth a sentence


def class_sections(pictures: Pictures, seed: int, each: Progress) -> list[Section]:
    """Balance of classes, and what a network learns from the synthetic images; nothing where there are no classes."""
    if len(pictures.real[0].schema.classes) < 2:
        return []
    return [_balance(pictures), _utility(pictures, seed, each)]


def _balance(pictures: Pictures) -> Section:
    """Shares of the classes, and how far the images of each are from real ones."""
    names = pictures.real[0].schema.classes
    counts = {role: np.bincount(x.labels, minlength=len(names)) for role, x in pictures.whole.items()}
    share = {role: n / n.sum() for role, n in counts.items()}
    real, drawn = share["real"], share["synthetic"]
    floor = _variation(real, share["holdout"]) if "holdout" in share else None
    about = "total variation of the classes' shares"
    score = Score("fidelity.classes", _variation(real, drawn), about, "less", 0.0, fresh=floor)
    shares = {"real": tuple(map(float, real)), "synthetic": tuple(map(float, drawn))}
    return Section(
        "classes",
        "Classes",
        "Shares of the classes, and how far the images of each are from real ones of the same class.",
        (score,),
        tuple(_unbalanced(names, counts["real"], counts["synthetic"])),
        (Shares("Classes", names, shares), _by_class(pictures)),
    )


def _variation(p: Matrix, q: Matrix) -> float:
    return float(0.5 * np.abs(p - q).sum())


def _unbalanced(names: tuple[str, ...], real: NDArray[np.int64], drawn: NDArray[np.int64]) -> list[Finding]:
    """Classes that are never drawn, else the one whose share is farthest from the real one, if that is no chance."""
    if lost := [names[k] for k in np.flatnonzero((real > 0) & (drawn == 0))]:
        return [Finding("differs", f"Classes that were never drawn: {listed(lost)}.")]
    p, n = real / real.sum(), int(drawn.sum())
    worst = int(np.abs(drawn / n - p).argmax())
    share = proportion(int(drawn[worst]), n, LEVEL / len(names))
    if share.low <= p[worst] <= share.high or abs(share.value - p[worst]) < NOTABLE:
        return []
    text = f"{share.value:.0%} of synthetic images are of class {names[worst]!r}, {p[worst]:.0%} of real ones"
    return [Finding("differs", f"The classes are drawn in other shares: {text}.")]


def _by_class(pictures: Pictures) -> Rows:
    (real, x), (drawn, y) = pictures.unseen, pictures.synthetic
    rows: list[tuple[str, int, float | None]] = []
    for k, name in enumerate(real.schema.classes):
        a, b = x[real.labels == k], y[drawn.labels == k]
        enough = min(len(a), len(b)) >= APART
        rows.append((name, len(b), 1000 * kernel_distance(a, b).value if enough else None))
    return Rows("By class", ("class", "synthetic images", "kernel distance (x 1000)"), tuple(rows))


def _utility(pictures: Pictures, seed: int, each: Progress) -> Section:
    """A small network trained on synthetic images, on as many real ones and on both."""
    hits, sure, test = _networks(pictures, seed, each)
    figure, names = {name: proportion(int(h.sum()), len(h)) for name, h in hits.items()}, test.schema.classes
    own, beside = figure["synthetic"], figure["real"]
    about = "accuracy on real images of a small network trained on synthetic ones"
    floors = {"fresh": beside.value, "copies": beside.value, "independent": 1 / len(names)}
    legacy = "legacy: Inception score by a small network of these classes; it sees no real image, and is no Inception's"
    return Section(
        "utility",
        "Training on the images",
        "A small network learns the classes from synthetic images and is tested on real ones. It is blind to blur: "
        "high accuracy does not mean faithful images.",
        (
            Score.of("utility.network", own, about, "more", 1.0, floors, headline=True),
            Score("utility.inception_score", sure[0], legacy, "near", sure[1], fresh=sure[1]),
        ),
        (_worth(own.value, beside.value, 1 / len(names)),),
        (
            Rows(
                "Accuracy on real images",
                ("trained on", "accuracy", "from", "to"),
                tuple((k, *e) for k, e in figure.items()),
            ),
            _accuracy_by_class(hits, test),
        ),
    )


def _networks(pictures: Pictures, seed: int, each: Progress) -> tuple[Hits, list[float], Images]:
    """Which test images each network names rightly, how sure that of real ones is of synthetic and test images."""
    real, drawn = pictures.real[0], pictures.synthetic[0]
    test = pictures.unseen[0].take(np.s_[:TESTED])
    if pictures.holdout is None:  # do not test on what was trained on
        real, test = real.take(np.s_[len(real) // 2 :]), real.take(np.s_[: len(real) // 2])
    n, hits, sure = min(len(real), len(drawn)), Hits(), list[float]()
    first = real.take(np.s_[:n]), drawn.take(np.s_[:n])
    sets = {"real": first[0], "synthetic": first[1], "real + synthetic": Images.join(first)}
    for i, (name, x) in enumerate(sets.items()):

        def report(share: float, before: int = i) -> None:
            each((before + share) / len(sets))

        network = train_classifier(x.pixels, x.labels, len(real.schema.classes), seed=seed, report=report)
        hits[name] = network.predictions(test.pixels) == test.labels
        if name == "real":
            sure = [inception_score(network.probabilities(p.pixels)) for p in (drawn, test)]
    return hits, sure, test


def _worth(own: float, real: float, chance: float) -> Finding:
    """What is lost by training on synthetic images instead of real ones."""
    if real - chance < 0.1:
        text = f"a network trained on real images names {real:.1%} of others rightly, by chance {chance:.1%}"
        return Finding("unseen", f"The classes can hardly be learned from real images, so utility says little: {text}.")
    lost = (real - own) / (real - chance)
    text = f"trained on synthetic images, a network names {own:.1%} of real ones; on real ones {real:.1%}"
    how = "Little" if lost < 0.05 else f"{min(lost, 1):.0%} of the worth"
    return Finding("useful" if lost < 0.15 else "useless", f"{how} is lost: {text}.")


def _accuracy_by_class(hits: Hits, test: Images) -> Rows:
    rows = []
    for k, name in enumerate(test.schema.classes):
        of = test.labels == k
        rows.append((name, *(float(h[of].mean()) if of.any() else None for h in hits.values())))
    return Rows("Accuracy by class", ("class", *(f"trained on {k}" for k in hits)), tuple(rows))
