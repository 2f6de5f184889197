"""Models on disk: whole or not at all, and every change to one is noticed."""

import ast
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import synthgen.artifact
from synthgen import Synthesizer, artifact
from synthgen.errors import Interrupted, SynthgenError

MANIFEST = {"name": "tree", "größe": 3, "nested": {"a": [1, 2.5, None, True]}}
WEIGHTS = {
    "a": torch.tensor([[1.0, -0.0], [1e-30, 3.0]]),
    "b.c": torch.arange(5, dtype=torch.int16),
    "empty": torch.zeros(0, 4),
    "flags": torch.tensor([True, False]),
}


@pytest.fixture
def stored(tmp_path):
    artifact.save(tmp_path / "model", MANIFEST, WEIGHTS)
    return tmp_path / "model"


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"label": rng.choice(list("abc"), 60), "number": rng.integers(0, 5, 60)})
    return Synthesizer("trees", rounds=0).fit(frame)


def rewrite(folder, change):
    """Change the manifest as someone would who knows how its hash is made."""
    body = json.loads((folder / "manifest.json").read_text("utf-8"))
    del body["sha256"]
    change(body)
    body["sha256"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(body), "utf-8")


def test_what_is_saved_comes_back(stored):
    manifest, weights = artifact.load(stored)
    assert manifest == MANIFEST
    assert weights.keys() == WEIGHTS.keys()
    for name, tensor in WEIGHTS.items():
        assert weights[name].dtype == tensor.dtype
        assert torch.equal(weights[name], tensor)


def test_a_transposed_tensor_and_a_parameter_are_saved_by_value(tmp_path):
    weights = {"t": torch.arange(6.0).reshape(2, 3).T, "p": torch.nn.Parameter(torch.ones(2))}
    artifact.save(tmp_path / "model", {}, weights)
    loaded = artifact.load(tmp_path / "model")[1]
    assert torch.equal(loaded["t"], weights["t"])
    assert not loaded["p"].requires_grad


def test_nothing_but_the_two_files_is_left_behind(stored):
    assert sorted(p.name for p in stored.iterdir()) == ["manifest.json", "weights.safetensors"]
    assert list(stored.parent.iterdir()) == [stored]


def test_the_same_model_is_the_same_bytes(stored):
    artifact.save(stored.parent / "again", MANIFEST, WEIGHTS)
    for name in ("manifest.json", "weights.safetensors"):
        assert (stored / name).read_bytes() == (stored.parent / "again" / name).read_bytes()


@pytest.mark.parametrize("keep", [0, 1, 7, 100, -1])
@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
def test_a_truncated_file_is_noticed(stored, name, keep):
    data = (stored / name).read_bytes()
    (stored / name).write_bytes(data[:keep] if keep >= 0 else data.rstrip()[:-1])
    with pytest.raises(SynthgenError, match=f"damaged.*{name}"):
        artifact.load(stored)


@pytest.mark.parametrize("place", [0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_flipped_bit_in_the_weights_is_noticed(stored, place):
    data = bytearray((stored / "weights.safetensors").read_bytes())
    data[int(place * len(data))] ^= 4
    (stored / "weights.safetensors").write_bytes(data)
    with pytest.raises(SynthgenError, match="damaged"):
        artifact.load(stored)


def test_a_flipped_bit_anywhere_in_the_manifest_is_noticed(stored):
    data = (stored / "manifest.json").read_bytes()
    meaning = json.loads(data)
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 4
        (stored / "manifest.json").write_bytes(changed)
        try:
            if json.loads(changed) == meaning:  # a blank became another blank
                continue
        except ValueError:
            pass
        with pytest.raises(SynthgenError, match=r"damaged|format"):
            artifact.load(stored)


@pytest.mark.parametrize("number", [2, 99, "1", None])
def test_another_format_is_refused_and_says_what_to_do(stored, number):
    rewrite(stored, lambda body: body.update(format=number))
    with pytest.raises(SynthgenError, match=r"has format .* this synthgen reads 1; install"):
        artifact.load(stored)


@pytest.mark.parametrize("text", ["[]", "3", '"text"', "", "{", "[" * 100_000])
def test_a_manifest_that_is_no_object_is_damage(stored, text):
    (stored / "manifest.json").write_text(text)
    with pytest.raises(SynthgenError, match="damaged"):
        artifact.load(stored)


def test_a_manifest_that_is_no_text_is_damage(stored):
    (stored / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SynthgenError, match="damaged"):
        artifact.load(stored)


def test_weights_that_match_their_hash_but_are_no_tensors_are_damage(stored):
    (stored / "weights.safetensors").write_bytes(b"no tensors")
    rewrite(stored, lambda body: body.update(weights_sha256=hashlib.sha256(b"no tensors").hexdigest()))
    with pytest.raises(SynthgenError, match=r"damaged.*weights\.safetensors"):
        artifact.load(stored)


def test_missing_weights_are_damage(stored):
    (stored / "weights.safetensors").unlink()
    with pytest.raises(SynthgenError, match=r"damaged.*weights\.safetensors: No such file"):
        artifact.load(stored)


def test_a_folder_without_a_manifest_is_no_model(stored):
    (stored / "manifest.json").unlink()
    with pytest.raises(SynthgenError, match=r"is no model: a folder with manifest\.json"):
        artifact.load(stored)


def test_what_is_absent_or_a_file_is_no_model(tmp_path):
    (tmp_path / "file").write_text("text")
    for name in ("absent", "file", "file/inside"):
        with pytest.raises(SynthgenError, match="is no model"):
            artifact.load(tmp_path / name)


def test_an_old_model_is_replaced(stored):
    artifact.save(stored, {"name": "new"}, {"w": torch.ones(1)})
    manifest, weights = artifact.load(stored)
    assert manifest["name"] == "new"
    assert list(weights) == ["w"]
    assert list(stored.parent.iterdir()) == [stored]


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "model").mkdir()
    artifact.save(tmp_path / "model", MANIFEST, WEIGHTS)
    assert artifact.load(tmp_path / "model")[0]["name"] == "tree"


def test_what_is_no_model_is_never_overwritten(tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    (folder / "precious").write_text("data")
    file.write_text("data")
    for path in (folder, file):
        with pytest.raises(SynthgenError, match="exists and is no model"):
            artifact.save(path, MANIFEST, WEIGHTS)
    assert (folder / "precious").read_text() == file.read_text() == "data"


def test_a_failed_save_leaves_the_old_model(stored, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("power cut")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(RuntimeError):
        artifact.save(stored, {"name": "new"}, {"w": torch.ones(1)})
    assert artifact.load(stored)[0]["name"] == "tree"
    assert list(stored.parent.iterdir()) == [stored]


def test_nothing_here_can_run_code():
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(Path(synthgen.artifact.__file__).read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module])
    }
    assert not imported & {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal", "subprocess", "importlib"}


def test_a_stored_synthesizer_draws_the_same_rows(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = Synthesizer.load(tmp_path / "model", device="cpu")
    pd.testing.assert_frame_equal(again.generate(200, seed=3), fitted.generate(200, seed=3))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("nodes", torch.zeros(3, 5, dtype=torch.int32)),
        ("donors", torch.zeros(3, dtype=torch.int64)),
        ("correction.ratio.bins", torch.zeros(1, dtype=torch.uint8)),
    ],
)
def test_weights_of_another_model_are_refused(fitted, tmp_path, name, other):
    fitted.save(tmp_path / "model")
    manifest, weights = artifact.load(tmp_path / "model")
    artifact.save(tmp_path / "model", manifest, {**weights, name: other})
    with pytest.raises(SynthgenError, match=f"stored weight {name!r} is"):
        Synthesizer.load(tmp_path / "model", device="cpu")


@pytest.mark.parametrize("key", ["plugin", "config", "recipe", "codec", "seed", "chunk", "kind", "returns", "rows"])
def test_a_manifest_that_lacks_an_entry_is_refused(fitted, tmp_path, key):
    fitted.save(tmp_path / "model")
    rewrite(tmp_path / "model", lambda body: body.pop(key))
    with pytest.raises(SynthgenError, match=f"damaged: {key}: Field required"):
        Synthesizer.load(tmp_path / "model", device="cpu")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda b: b["plugin"].update(name="gone", distribution="their-package"), "install package their-package"),
        (lambda b: b["config"].update(trees=0), "setting trees"),
        (lambda b: b["config"].update(colour=1), "no setting 'colour'"),
        (lambda b: b["codec"].update(columns={}), "stored codec is damaged"),
        (lambda b: b.update(chunk=1000), "generates in chunks of 1000"),
        (lambda b: b.update(codec=3), "stored codec is damaged"),
        (lambda b: b.update(plugin=3), "damaged"),
        (lambda b: b.update(plugin={}), "damaged"),
        (lambda b: b.update(config=3), "damaged"),
        (lambda b: b.update(recipe=[]), "damaged"),
        (lambda b: b["config"].update(device="cpu"), "no setting 'device'"),
    ],
    ids=["gone", "bound", "unknown", "columns", "chunk", "codec", "plugin", "noname", "config", "recipe", "device"],
)
def test_a_manifest_that_makes_no_sense_is_refused_in_a_sentence(fitted, tmp_path, change, complaint):
    fitted.save(tmp_path / "model")
    rewrite(tmp_path / "model", change)
    with pytest.raises(SynthgenError, match=complaint):
        Synthesizer.load(tmp_path / "model", device="cpu")


def test_a_checkpoint_is_no_model_yet(tmp_path):
    frame = pd.DataFrame({"a": list("xy") * 20, "b": list("xyyx") * 10})
    with pytest.raises(Interrupted):
        Synthesizer("trees", rounds=0).fit(frame, checkpoint=tmp_path / "work", interrupted=lambda: True)
    with pytest.raises(SynthgenError, match=r"unfinished work; finish it with: .*--resume"):
        Synthesizer.load(tmp_path / "work", device="cpu")
