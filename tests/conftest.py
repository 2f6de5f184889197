"""Fixtures that several files share."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from synthgen.cli import main

torch.set_num_threads(1)  # small models only lose by more, above all beside other work


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys) -> Command:
    """Runs `synthgen ARGUMENTS` in this process."""

    def run(*arguments: object) -> Outcome:
        code = 0
        capsys.readouterr()
        try:
            main([str(a) for a in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


def make_people(n: int, seed: int = 0) -> pd.DataFrame:
    """A mixed table: `sport` follows `town`, `wage` follows `age`, some cells are missing."""
    rng = np.random.default_rng(seed)
    town = rng.choice(["Oslo", "Lima", "Cairo"], n, p=[0.5, 0.3, 0.2])
    age = rng.integers(18, 80, n)
    wage = np.round(200 * age * rng.lognormal(0, 0.2, n), 2)
    sport = np.where(rng.random(n) < 0.9, pd.Series(town).map({"Oslo": "ski", "Lima": "surf", "Cairo": "run"}), "chess")
    return pd.DataFrame(
        {
            "id": [f"P{i:06d}" for i in range(n)],
            "town": town,
            "age": age,
            "wage": np.where(rng.random(n) < 0.1, np.nan, wage),
            "sport": sport,
            "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
        }
    )


CLASSES = {"bar": 30, "box": 20, "line": 10}


def draw_pictures(folder: Path, size: tuple[int, int] = (8, 8), seed: int = 0) -> Path:
    """60 pictures of three classes: red upright bars, green boxes, blue lines, on a dark noisy ground."""
    rng = np.random.default_rng(seed)
    height, width = size
    for name, count in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 40, (height, width, 3), np.uint8)
            y, x = rng.integers(0, height - 2), rng.integers(0, width - 2)
            rows = np.s_[:] if name == "bar" else np.s_[y : y + (3 if name == "box" else 2)]
            columns = np.s_[:] if name == "line" else np.s_[x : x + (3 if name == "box" else 2)]
            pixels[rows, columns, list(CLASSES).index(name)] += 200
            Image.fromarray(pixels).save(folder / name / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures") / "shapes")


@pytest.fixture(scope="session")
def pictures_model(pictures, tmp_path_factory):
    """A mixture on the pictures."""
    from synthgen import Synthesizer

    path = tmp_path_factory.mktemp("models") / "pictures"
    Synthesizer("gmm").fit(pictures).save(path)
    return path


@pytest.fixture(scope="session")
def latent_model(pictures, tmp_path_factory):
    """A variational autoencoder on the pictures, hardly trained."""
    from synthgen import Synthesizer

    path = tmp_path_factory.mktemp("models") / "latent"
    Synthesizer("vae", steps=30, width=8, latent=24, components=6).fit(pictures).save(path)
    return path


@pytest.fixture(scope="session")
def people() -> pd.DataFrame:
    return make_people(600)


@pytest.fixture(scope="session")
def people_csv(people, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "people.csv"
    people.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def trees_model(people_csv, tmp_path_factory):
    """A model of the trees, with `town` as context."""
    from synthgen import Synthesizer

    path = tmp_path_factory.mktemp("models") / "trees"
    Synthesizer("trees", given=["town"], rounds=20).fit(people_csv).save(path)
    return path


@pytest.fixture(scope="session")
def network_model(people_csv, tmp_path_factory):
    """A model of the autoregressive network."""
    from synthgen import Synthesizer

    path = tmp_path_factory.mktemp("models") / "network"
    Synthesizer("autoregressive", width=16, epochs=15).fit(people_csv).save(path)
    return path
