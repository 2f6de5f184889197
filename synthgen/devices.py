"""Where tensors live, and random numbers that leave the caller's alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from synthgen.distributed import current
from synthgen.errors import SynthgenError, near


def resolve_device(name: str) -> torch.device:
    """The device to compute on; "auto" takes CUDA or MPS where there is one, and of several processes each its own.

    Raises:
        SynthgenError: the device is unknown or absent.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(d for d in ("cuda", "mps", "cpu") if present[d])
    kind = name.split(":")[0]
    if kind not in present:
        raise SynthgenError(f"no device is called {name!r}; {near(kind, present)}")
    if not present[kind]:
        raise SynthgenError(f"this machine has no {kind} device; use --device cpu")
    return _own_gpu() if name == "cuda" and current().world > 1 else torch.device(name)


def _own_gpu() -> torch.device:
    """The GPU of this process among those of its machine."""
    local, count = current().local, torch.cuda.device_count()
    if local >= count:
        raise SynthgenError(
            f"this machine has {count} GPUs for more processes; give torchrun --nproc-per-node {count}, "
            "or synthgen --device cpu"
        )
    return torch.device("cuda", local)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's random numbers from `seed` inside the block, and as they were after it."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """A block in which torch computes on one thread: sums come out the same on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
