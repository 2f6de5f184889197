"""Images to records of reals and back, their classes as context."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from synthgen.codec import ImageCodec, fit_image_codec
from synthgen.codec.rare import UNKNOWN
from synthgen.data import Images, ImageSchema, as_table
from synthgen.errors import SynthgenError

MODES = ["L", "LA", "RGB", "RGBA"]


def some(mode="RGB", n=40, size=(5, 4), classes=("cat", "dog", "eel")):
    rng = np.random.default_rng(0)
    schema = ImageSchema(mode=mode, height=size[0], width=size[1], classes=classes)
    pixels = rng.integers(0, 256, (n, *size, schema.channels), np.uint8)
    if schema.mode.endswith("A"):
        pixels[: n // 4, ..., -1] = 255
        pixels[n // 4 : n // 2, ..., -1] = 0
    return Images(pixels, np.arange(n) % max(1, len(classes)), schema)


def rng():
    return np.random.default_rng(1)


def back(images):
    codec = fit_image_codec(images)
    return codec.decode(codec.encode(images, rng())[0], codec.encode_context(images), rng())


def on_white(images):
    colour, alpha = images.pixels[..., :-1].astype(float), images.pixels[..., -1:] / 255
    return colour * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize("mode", MODES)
def test_records_are_reals_between_minus_one_and_one(mode):
    images = some(mode)
    codec = fit_image_codec(images)
    x, held = codec.encode(images, rng())
    assert codec.space.shape == (len(mode), 5, 4)
    assert codec.space.sizes == ()
    assert x.shape == held.shape == (40, *codec.space.shape)
    assert x.dtype == torch.float32
    assert bool(held.all())
    assert float(x.abs().max()) <= 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_come_back_exactly(mode):
    every = np.arange(256, dtype=np.uint8).repeat(len(mode)).reshape(1, 16, 16, len(mode))
    for images in (some(mode), Images(every, np.zeros(1, np.int64), ImageSchema(mode=mode, height=16, width=16))):
        assert back(images).digest() == images.digest()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_seen_of_images_with_alpha_comes_back(mode):
    images = some(mode)
    found, alpha = back(images), images.pixels[..., -1]
    assert np.array_equal(found.pixels[..., -1], alpha)
    assert np.array_equal(found.pixels[alpha == 255], images.pixels[alpha == 255])
    assert np.abs(on_white(found) - on_white(images)).max() <= 0.51


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_hidden_under_transparent_pixels_is_neither_learned_nor_made(mode):
    images = some(mode)
    hidden = images.pixels[..., -1] == 0
    other = images.pixels.copy()
    other[hidden, :-1] = 77
    codec = fit_image_codec(images)
    x = [codec.encode(Images(p, images.labels, images.schema), rng())[0] for p in (images.pixels, other)]
    assert torch.equal(*x)
    assert (back(images).pixels[hidden, :-1] == 255).all()


@pytest.mark.parametrize("mode", MODES)
def test_any_numbers_become_images(mode):
    codec = fit_image_codec(some(mode))
    x = 3 * torch.randn(200, *codec.space.shape, generator=torch.Generator().manual_seed(0))
    x[0], x[1], x[2], x[3] = -1e30, 1e30, -1.0, 1.0
    images = codec.decode(x, np.zeros((200, 1), dtype=np.int64), rng())
    assert images.pixels.shape == (200, 5, 4, len(mode))
    assert (images.pixels[1] == 255).all()
    assert (images.pixels[3] == 255).all()
    assert (images.pixels[[0, 2], ..., -1] == 0).all()
    if mode.endswith("A"):
        assert (images.pixels[images.pixels[..., -1] == 0][:, :-1] == 255).all()


def test_classes_are_the_context():
    images = some()
    codec = fit_image_codec(images)
    assert codec.context.names == ["label"]
    assert codec.context_space.sizes == (3,)
    assert codec.encode_context(images)[:, 0].tolist() == images.labels.tolist()
    assert codec.embed_context(codec.encode_context(images)).shape == (40, 3)
    assert back(images).names == images.names


def test_without_classes_there_is_no_context():
    images = some(classes=())
    codec = fit_image_codec(images)
    assert codec.context.names == []
    assert codec.encode_context(images).shape == (40, 0)
    assert codec.embed_context(codec.encode_context(images)).shape == (40, 0)
    assert codec.draw_context(codec.asked(None, 7), rng()).shape == (7, 0)
    assert back(images).digest() == images.digest()
    with pytest.raises(SynthgenError, match="'label' cannot be given for these images, which have no classes"):
        codec.asked(as_table(pd.DataFrame({"label": ["cat"]})), 1)


def test_classes_are_drawn_by_their_frequencies_where_they_are_not_asked_for():
    images, labels = some(), np.repeat([0, 1, 2], [28, 8, 4])
    codec = fit_image_codec(Images(images.pixels, labels, images.schema))
    drawn = codec.draw_context(codec.asked(None, 10_000), rng())[:, 0]
    np.testing.assert_allclose(np.bincount(drawn) / 10_000, [0.7, 0.2, 0.1], atol=0.02)


def test_what_is_asked_for_becomes_codes():
    codec = fit_image_codec(some(classes=("1", "2", "eel")))
    asked = as_table(pd.DataFrame({"label": ["eel", None, "1"]}))
    assert codec.asked(asked, 3).tolist() == [[2], [UNKNOWN], [0]]
    assert codec.asked(as_table(pd.DataFrame({"label": [2, 1]})), 2).tolist() == [[1], [0]]
    assert not codec.completes(asked)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("label", "dgo", "there is no class 'dgo'; did you mean 'dog'"),
        ("label", "horse", "there is no class 'horse'; known: 'cat', 'dog', 'eel'"),
        ("lable", "cat", "'lable' cannot be given for these images; did you mean 'label'"),
    ],
)
def test_what_cannot_be_asked_for(column, value, told):
    with pytest.raises(SynthgenError, match=told):
        fit_image_codec(some()).asked(as_table(pd.DataFrame({column: [value]})), 1)


def test_a_class_that_no_record_holds_is_never_drawn():
    codec = fit_image_codec(some().take([0, 1, 3, 4]))  # no eel
    assert set(codec.draw_context(codec.asked(None, 500), rng())[:, 0].tolist()) == {0, 1}
    assert codec.asked(as_table(pd.DataFrame({"label": ["eel"]})), 1).tolist() == [[2]]


def test_the_volume_is_that_of_a_cube_of_8_bit_values():
    images = some("LA", n=3)
    codec = fit_image_codec(images)
    np.testing.assert_allclose(codec.log_volume(images, codec.encode(images, rng())[0]), 2 * 5 * 4 * np.log(2 / 255))


@pytest.mark.parametrize("other", [some("L"), some(size=(4, 5)), some(classes=("cat", "dog")), some(classes=())])
def test_images_of_another_kind_are_refused(other):
    codec = fit_image_codec(some())
    codec.check(some(n=3))
    with pytest.raises(SynthgenError, match="another size, mode or other classes"):
        codec.check(other)


@pytest.mark.parametrize("classes", [("cat", "dog", "eel"), ()])
def test_the_state_is_json_and_gives_the_codec_back(classes):
    codec = fit_image_codec(some("RGBA", classes=classes))
    assert ImageCodec.from_state(json.loads(json.dumps(codec.state()))) == codec


def without(state, *path):
    *folders, last = path
    for name in folders:
        state = state[name]
    del state[last]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: without(s, "image_schema"),
        lambda s: without(s, "image_schema", "classes"),
        lambda s: without(s, "image_schema", "mode"),
        lambda s: without(s, "context"),
        lambda s: without(s, "context", "codes"),
        lambda s: s["image_schema"].update(classes=["cat", "dog"]),
        lambda s: s["image_schema"].update(classes=["cat", "dog", "dog"]),
        lambda s: s["image_schema"].update(height=0),
        lambda s: s["image_schema"].update(width=10**6),
        lambda s: s["image_schema"].update(mode="CMYK"),
        lambda s: s["context"].update(names=["class"]),
        lambda s: s["context"].update(codes=[[0], [1], [3]]),
        lambda s: s["context"].update(codes=[[0], [1], [-1]]),
        lambda s: s["context"].update(codes=[[0, 1], [2], [0]]),
        lambda s: s["context"].update(counts=[14, 13]),
        lambda s: s["context"].update(counts=[14, 13, -1]),
        lambda s: s.update(extra=1),
    ],
)
def test_a_damaged_state_is_refused(change):
    state = fit_image_codec(some()).state()
    change(state)
    with pytest.raises(SynthgenError, match="the stored codec is damaged") as error:
        ImageCodec.from_state(state)
    assert "\n" not in str(error.value)
