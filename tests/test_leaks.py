"""Leaks: no row, however hostile, moves a training by more than its bound, and nothing of a row is in what is given.

For every generator that can be private, also for those of other packages.
"""

import math
import random
import struct

import numpy as np
import pytest
import torch
from conftest import make_people
from laws import STRANGERS, Script, flat, held, show
from PIL import Image

from synthgen import Synthesizer, registry
from synthgen.dp import records as private_records
from synthgen.dp.budget import Budget
from synthgen.dp.clipping import ClippedSum
from synthgen.dp.records import PrivateRecords
from synthgen.dp.rehearsal import rehearse
from synthgen.dp.selfcheck import HALF, _moved, _random, _Still, self_check
from synthgen.errors import BudgetError
from synthgen.nn.precision import records_apart
from synthgen.space import EMPTY, Space
from synthgen.training import Recipe, Training

pytest.importorskip("opendp")
pytest.importorskip("dp_accounting")
pytest.importorskip("opacus")

SMALL = {  # what makes each family quick
    "autoencoder": {"width": 8, "depth": 1, "latent": 4, "steps": 5},
    "autoregressive": {"width": 16, "steps": 5},
    "diffusion": {"width": 8, "depth": 1, "draws": 4, "steps": 5},
    "gan": {"width": 8, "depth": 1, "latent": 4, "steps": 5},
    "vae": {"width": 8, "depth": 1, "latent": 4, "steps": 5},
}
TABLELESS = ["gmm"]  # which learns from what is known of images, and of tables nothing
PRIVATE = [n for n in registry.available() if registry.load(n).private and n not in TABLELESS]
KINDS = [(name, kind) for name in PRIVATE for kind in registry.load(name).accepts]
SPACES = {
    "table": [Space((3,), (3, 6, 12), (False, True, True)), Space((3,), (0, 0, 5), (False,) * 3)],
    "images": [Space((1, 8, 8)), Space((3, 8, 8))],
}
CONTEXT = Space((1,), (2,), (False,))
BOUND = 1.0


def config_of(name):
    return registry.load(name).Config(**{k: v for k, v in SMALL.get(name, {}).items() if k != "steps"})


@pytest.fixture
def name(request):
    """A generator; those of other packages may be refused, which is well."""
    cls = registry.load(request.param)
    try:
        rehearse(cls, config_of(request.param), request.param, cls.accepts[0])
    except BudgetError:
        if registry.distribution(registry.available()[request.param]) == "synthgen-toolkit":
            raise
        pytest.skip("it is refused")
    return request.param


@pytest.fixture(scope="module")
def measured(request):
    """The largest change of a clipped sum, of each generator."""
    found = {}
    yield found
    rows = [f"{name:16} {kind:8} {route:18} {worst:.6f}" for (name, kind, route), worst in found.items()]
    show(request, "largest change of a clipped sum by one row, over the bound", rows)


def hostile(space, x):
    """Rows made of an ordinary one: numbers of all kinds, and codes at the ends."""
    sizes = torch.tensor(space.sizes) if space.sizes else torch.zeros(space.shape)
    for value in (math.nan, math.inf, -math.inf, 1e30, -1e30, 1e19, 1e-30):
        yield torch.where(sizes == 0, value * torch.ones_like(x), x)
    for scale in (1000.0, -1000.0, 0.0):
        yield torch.where(sizes == 0, scale * x, x)
    for end in (0.0, 1.0):
        yield torch.where(sizes > 0, end * (sizes - 1).clamp(min=0), x)


def change(clipped, space, context):
    """How far one row moves a clipped sum, over the bound: the largest of hostile ones, and of any that are there."""
    rng = torch.Generator().manual_seed(7)
    x, c = _random(space, rng), context.embed(_random(context, rng))
    with _moved(clipped.module), records_apart(), _Still():
        without, moves = flat(clipped(x[:HALF], c[:HALF])), []
        for row in (x[-1:], *hostile(space, x[-1:])):
            given = flat(clipped(torch.cat([row, x[:HALF]]), c[[-1, *range(HALF)]]))
            assert given.isfinite().all()
            moves.append(float((given - without).norm()) / clipped.bound)
    return max(moves)


@pytest.mark.parametrize("name", PRIVATE, indirect=True)
def test_no_row_moves_a_clipped_sum_by_more_than_its_bound(name, measured, monkeypatch):
    routes = []

    def checked(module, loss, space, context=EMPTY):
        routes.append(self_check(module, loss, space, context))
        worst = change(ClippedSum(module, loss, BOUND, routes[-1]), space, context)
        key = name, kind, routes[-1]
        measured[key] = max(worst, measured.get(key, 0.0))
        return routes[-1]

    monkeypatch.setattr(private_records, "self_check", checked)
    cls = registry.load(name)
    config = config_of(name)
    for kind in cls.accepts if name != "marginals" else ():
        for space in SPACES[kind] if cls.codes == 0 or cls.reals else SPACES[kind][:1]:
            rng = torch.Generator().manual_seed(0)
            x = torch.cat([_random(space, rng) for _ in range(8)])
            c = CONTEXT.embed(torch.arange(len(x))[:, None] % 2.0)
            script = Script()
            with held(script):
                made = PrivateRecords(x, c, space, CONTEXT, (x[:20], c[:20]), 40, script.budget())
                cls(space, CONTEXT, config).fit(made, Training(Recipe(steps=2, batch_size=32)))
    assert bool(routes) == (name != "marginals")
    assert all(worst <= 1 for key, worst in measured.items() if key[0] == name)


# what is given out

CANARIES = 50
SHARED = "CANARY"  # no canary is in a name of synthgen's own


def numbers(n):
    """Numbers with two decimals that no file holds by chance."""
    rng = random.Random(1)
    return [rng.randrange(10**9, 10**10) + rng.randrange(1, 10) / 10 + 0.07 for _ in range(n)]


def in_table(folder):
    """A file with a table in which each of 50 cells is unique, and what may tell of those."""
    people, values = make_people(400), numbers(CANARIES // 2)
    texts = [f"{SHARED}-{secret:012x}" for secret in np.random.default_rng(5).integers(0, 2**48, CANARIES // 2)]
    people["note"] = "none"
    for i, (text, value) in enumerate(zip(texts, values, strict=True)):
        people.loc[i, ["town", "sport", "note"][i % 3]] = text
        people.loc[100 + i, "wage"] = value
    people.drop(columns=["id"]).to_csv(folder / "data.csv", index=False)
    told = [text.encode() for text in texts] + [str(value)[:10].encode() for value in values]
    return folder / "data.csv", told + [struct.pack(order + "d", value) for value in values for order in "<>"]


def in_images(folder):
    """A folder of images of which 50 have a unique row of pixels, and of which one has a class of its own."""
    rng, told = np.random.default_rng(5), [SHARED.encode()]
    for i in range(200):
        pixels = np.full((8, 8), 40 + 100 * (i % 2), np.uint8)
        if i < CANARIES:
            pixels[3] = rng.integers(0, 256, 8)
            row = pixels[3].astype(np.float32) / np.float32(127.5) - 1
            told += [pixels[3].tobytes(), row.tobytes(), row.astype(float).tobytes(), str(pixels[3].tolist()).encode()]
        place = folder / "shapes" / (f"{SHARED}-class" if i == 7 else "ab"[i % 2])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{SHARED}-{i:03d}.png")
    return folder / "shapes", told


def settings(name):
    return [word for key, value in SMALL.get(name, {}).items() for word in ("-s", f"{key}={value}")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), KINDS, indirect=["name"])
def test_nothing_of_a_row_is_in_any_file_of_a_model(name, kind, command, tmp_path):
    data, canaries = (in_table if kind == "table" else in_images)(tmp_path)
    options = ["--epsilon", 3, "--delta", "1e-6", "--ledger", tmp_path / "ledger"]
    done = command("fit", data, "-o", tmp_path / "model", "-g", name, *options, *settings(name))
    assert done.code == 0, done.err
    checked = command("verify", tmp_path / "model", "--ledger", tmp_path / "ledger", "--page", tmp_path / "page.html")
    assert checked.code == 0, checked.err
    new = tmp_path / ("new.csv" if kind == "table" else "new")
    drawn = command("generate", tmp_path / "model", "-n", 50, "-o", new)
    assert drawn.code == 0, drawn.err
    files = [f for f in (tmp_path / "model").rglob("*") if f.is_file()]
    assert {"manifest.json", "weights.safetensors", "certificate.json"} <= {f.name for f in files}
    given = {f.name: f.read_bytes() for f in [*files, tmp_path / "ledger", tmp_path / "page.html"]}
    said = [text for told in (done, checked, drawn) for text in (told.out, told.err)]
    given |= {f"said {i}": text.encode() for i, text in enumerate(said)}
    if kind == "table":
        given["drawn"] = new.read_bytes()
    assert len(canaries) >= CANARIES
    assert not [(where, canary) for where, text in given.items() for canary in canaries if canary in text]


def test_canaries_can_be_found(command, tmp_path):
    """Without a budget there are some, in the very same files."""
    data, canaries = in_table(tmp_path)
    assert command("fit", data, "-o", tmp_path / "model", "-g", "marginals", "--keep-rare").code == 0
    told = (tmp_path / "model" / "manifest.json").read_bytes()
    assert sum(canary in told for canary in canaries) >= CANARIES // 2


# noise


@pytest.mark.parametrize(("name", "kind"), [pair for pair in KINDS if pair[1] == "table"], indirect=["name"])
def test_seeds_repeat_no_fit(name, kind, monkeypatch):
    monkeypatch.setattr("synthgen.dp.budget.noise_for", lambda *asked: 1.0)
    monkeypatch.setattr("synthgen.dp.budget.total_epsilon", lambda *asked: 0.0)
    frame, weights = make_people(200)[["town", "sport"]], []
    for _ in range(2):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        fitted = Synthesizer(name, **SMALL.get(name, {})).fit(frame, budget=Budget(10.0, 1e-6))
        weights.append(fitted.model.state_dict())
    if name == "marginals":
        assert not torch.equal(weights[0]["shares"], weights[1]["shares"])
        return
    changed = [not torch.equal(w, weights[1][k]) for k, w in weights[0].items() if k in trainable(fitted.model)]
    assert np.mean(changed) > 0.5  # some are not trained here


def trainable(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


# refusals


@pytest.fixture(scope="module")
def people_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("refused") / "data.csv"
    make_people(300)[["town", "age", "sport"]].to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", [name for name in registry.available() if name not in PRIVATE])
def test_a_family_that_cannot_be_private_is_refused_for_free(name, command, people_file, tmp_path):
    refused(command, people_file, tmp_path, name)


@pytest.mark.parametrize("cls", STRANGERS)
def test_a_stranger_that_cannot_be_private_is_refused_for_free(cls, command, people_file, tmp_path, monkeypatch):
    monkeypatch.setattr("synthgen.registry.load", lambda name: cls)
    refused(command, people_file, tmp_path, "gan")
    budget = Budget(1.0, 1e-6)
    with pytest.raises(BudgetError, match="cannot be fitted under a privacy budget"):
        Synthesizer(cls).fit(people_file, budget=budget)
    assert budget.ledger == []


def refused(command, data, folder, name):
    options = ["--epsilon", 1, "--delta", "1e-6", "--ledger", folder / "ledger"]
    done = command("fit", data, "-o", folder / "model", "-g", name, *options)
    assert done.code == 3, done.err
    assert "cannot be fitted under a privacy budget" in done.err
    assert [*folder.iterdir()] == []
