"""Records of a model in PyTorch: those that `generate` draws, each once, however many workers draw them."""

import pickle
import warnings
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from synthgen import Synthesizer, SynthgenError
from synthgen.augment import SynthDataset, SynthStream
from synthgen.codec import ImageCodec
from synthgen.data import read_images

CHUNK = 16


@pytest.fixture
def small_chunks(monkeypatch, pictures, tmp_path):
    """A model of pictures that draws 16 at a time."""
    monkeypatch.setattr(ImageCodec, "chunk", CHUNK)
    Synthesizer("gmm").fit(pictures).save(tmp_path / "model")
    return tmp_path / "model"


def key(item):
    return (item[0].numpy().tobytes(), int(item[1]))


def shared(monkeypatch, stream, workers):
    """What each of some workers yields."""
    parts = []
    for worker in range(workers):
        info = SimpleNamespace(id=worker, num_workers=workers)
        monkeypatch.setattr("synthgen.augment.dataset.get_worker_info", lambda info=info: info)
        parts.append(list(stream))
    return parts


def test_images_are_those_that_generate_draws(pictures_model):
    data = SynthDataset(pictures_model, 40, seed=3, mark=True)
    drawn = Synthesizer.load(pictures_model).generate(40, seed=3)
    assert len(data) == 40
    assert data.classes == list(drawn.schema.classes)
    for i in (0, 7, 39, -1):
        x, y, synthetic = data[i]
        assert np.array_equal((x * 255).round().byte().permute(1, 2, 0).numpy(), drawn.pixels[i])
        assert int(y) == drawn.labels[i]
        assert synthetic
    with pytest.raises(IndexError):
        data[40]


def test_images_come_as_pillow_s_and_through_a_transform(pictures_model):
    drawn = Synthesizer.load(pictures_model).generate(3)
    images = SynthDataset(pictures_model, 3, form="pil")
    assert np.array_equal(np.asarray(images[1][0]), drawn.pixels[1])
    sizes = SynthDataset(pictures_model, 3, form="pil", transform=lambda image: image.size)
    assert sizes[2][0] == (8, 8)


def test_what_is_given_is_held(pictures_model):
    data = SynthDataset(pictures_model, 20, given={"label": "line"})
    assert {data.classes[int(y)] for _, y in (data[i] for i in range(20))} == {"line"}


def test_rows_are_those_that_generate_draws(people, trees_model):
    data = SynthDataset(trees_model, 50, target="sport", form="dict", seed=1)
    frame = Synthesizer.load(trees_model).generate(50, seed=1)
    items = [data[i] for i in range(50)]
    assert set(items[0][0]) == {"town", "age", "wage", "joined"}
    assert [data.classes[int(y)] for _, y in items] == frame["sport"].tolist()
    for name in ("age", "wage"):
        np.testing.assert_allclose([float(x[name]) for x, _ in items], frame[name].astype(float), rtol=1e-6)
    codes = Counter((row, int(x["town"])) for (x, _), row in zip(items, frame["town"], strict=True))
    assert len(codes) == frame["town"].nunique()
    assert min(code for _, code in codes) >= 1


def test_vectors_of_rows_are_standardised_and_named(people, trees_model):
    data = SynthDataset(trees_model, 2000, target="wage", real=people)
    x = torch.stack([data[i][0] for i in range(len(data))])
    assert x.shape == (len(people) + 2000, len(data.names))
    towns = [i for i, name in enumerate(data.names) if name.startswith("town=")]
    assert len(towns) == 3
    assert torch.equal(x[:, towns].sum(1), torch.ones(len(x)))
    age = x[: len(people), data.names.index("age")]
    assert abs(float(age.mean())) < 0.1
    assert float(age.std()) == pytest.approx(1, abs=0.1)
    assert np.array_equal(np.float32([float(data[i][1]) for i in range(9)]), people["wage"][:9].astype("f4"), True)
    assert data.classes == []
    reached = SynthDataset(trees_model, 5, target="age", real=people)
    empty = reached.names.index("wage is missing")
    assert [bool(reached[i][0][empty]) for i in range(len(people))] == people["wage"].isna().tolist()


def test_a_class_that_the_model_does_not_know_is_left_out_of_losses(people, trees_model):
    odd = people.assign(sport=["golf", None, *people["sport"][2:]])
    data = SynthDataset(trees_model, 1, target="sport", real=odd)
    assert [int(data[i][1]) for i in (0, 1)] == [-100, -100]
    assert int(data[2][1]) >= 0


def test_real_records_come_first_and_each_epoch_has_exactly_as_many(pictures, pictures_model):
    data = SynthDataset(pictures_model, 25, real=pictures, mark=True)
    real = read_images(pictures)
    assert np.array_equal(data[4][0].permute(1, 2, 0).numpy() * 255, real.pixels[4])
    marks = torch.cat([mark for _, _, mark in DataLoader(data, batch_size=16, shuffle=True)])
    assert marks.sum() == 25
    assert len(marks) == len(real) + 25
    streamed = SynthStream(pictures_model, 25, real=pictures, mark=True)
    told = [mark for _, _, mark in streamed]
    assert sum(told) == 25
    assert len(told) == len(real) + 25
    half = told[: len(told) // 2]
    assert sum(half) == pytest.approx(25 / 2, abs=2)  # evenly among them


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_workers_share_a_stream(workers, small_chunks, pictures, monkeypatch):
    stream = SynthStream(small_chunks, 70, real=pictures, seed=5)
    parts = [Counter(map(key, part)) for part in shared(monkeypatch, stream, workers)]
    data = SynthDataset(small_chunks, 70, real=pictures, seed=5)
    assert sum(parts, Counter()) == Counter(key(data[i]) for i in range(len(data)))
    assert sum(bool(part) for part in parts) == workers


def test_processes_share_a_stream(small_chunks, monkeypatch):
    whole = Counter(map(key, SynthStream(small_chunks, 70)))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    found = Counter()
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        for part in shared(monkeypatch, SynthStream(small_chunks, 70), 2):
            found += Counter(map(key, part))
    assert found == whole


def test_seeds_tell_records_apart_and_leave_other_draws_alone(small_chunks):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one, same, other = (SynthDataset(small_chunks, 20, seed=s)[18][0] for s in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_few_chunks_are_kept(small_chunks, monkeypatch):
    monkeypatch.setattr("synthgen.augment.dataset.KEPT", 2)
    drawn = []
    data = SynthDataset(small_chunks, 70)
    chunk = data._chunk
    monkeypatch.setattr(data, "_chunk", lambda k: drawn.append(k) or chunk(k))
    for i in (0, 1, 17, 0, 40, 0, 17):
        data[i]
    assert drawn == [0, 1, 2, 1]


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_dataloader_s_workers_draw_the_same(start, pictures, pictures_model):
    data = SynthDataset(pictures_model, 30, real=pictures, seed=2)
    data = pickle.loads(pickle.dumps(data))  # as a worker is started
    stream = SynthStream(Synthesizer.load(pictures_model), 30, real=pictures, seed=2)
    expected = Counter(key(data[i]) for i in range(len(data)))
    options = {"num_workers": 2, "multiprocessing_context": start, "persistent_workers": True, "batch_size": 7}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # of Python 3.12 and later
        loaders = [DataLoader(stream, **options)]
        loaders += (
            [DataLoader(data, shuffle=True, **options)] if start == "fork" else []
        )  # starts of processes are dear
        for loader in loaders:
            for _ in range(2):
                assert Counter(key(item) for x, y in loader for item in zip(x, y, strict=True)) == expected


def test_what_is_drawn_before_is_drawn_once_for_all(small_chunks):
    data = SynthDataset(small_chunks, 70).draw()
    assert len(data._drawn) == 5
    assert key(data[69]) == key(SynthDataset(small_chunks, 70)[69])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "name the column"),
        ({"target": "sprot"}, "did you mean 'sport'"),
        ({"target": "id"}, "no column 'id' can be the target"),
        ({"target": "sport", "form": "pil"}, '"tensor" or "dict"'),
        ({"target": "sport", "n": 0}, "at least 1"),
        ({"target": "sport", "given": {"town": "Atlantis"}}, "Atlantis"),
        ({"target": "sport", "real": "nosuch.csv"}, "nosuch.csv"),
    ],
)
def test_mistakes_are_said_in_one_sentence(options, said, trees_model):
    with pytest.raises(SynthgenError, match=said):
        SynthDataset(trees_model, **{"n": 5, **options})


def test_mistakes_with_images_are_said(pictures_model, people):
    for options, said in (
        ({"target": "label"}, "images have their classes"),
        ({"form": "dict"}, '"tensor" or "pil"'),
        ({"real": people}, "fitted on images"),
    ):
        with pytest.raises(SynthgenError, match=said):
            SynthDataset(pictures_model, 5, **options)
