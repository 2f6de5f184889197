"""Distributed: one fit by several processes, which torchrun starts, and all that these tell each other.

Processes are told apart by their rank; the main one, of rank 0, decides whatever depends on a clock, a key press or a
file. Nothing is pickled: tensors, JSON and safetensors go between them.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

MEETING = timedelta(minutes=5)  # that processes wait for each other at the start
PATIENCE = timedelta(days=1)  # that they wait while one works for all
COURTESY = 5  # seconds that a process whose fellow is gone waits for that one's last words
PIECE = 1 << 28  # bytes that are sent at once
LOST = "another process of this fit ended, and this one with it"

Tensors = dict[str, Tensor]


class Group:
    """The processes of a fit as one of them sees them; with `world` 1 nothing is sent, and nothing costs.

    Args:
        rank: of this process.
        world: how many there are.
        local: which of those on this machine it is.

    Raises:
        ConnectionError: any method, when another process has ended.
    """

    def __init__(self, rank: int = 0, world: int = 1, local: int = 0) -> None:
        self.rank, self.world, self.local = rank, world, local

    @property
    def main(self) -> bool:
        """Whether this process decides, writes and prints."""
        return self.rank == 0

    def part(self, rows: Tensor) -> Tensor:
        """The rows (n, …) of a batch that are this process's; every row is one's, and some may have none."""
        return rows if self.world == 1 else torch.tensor_split(rows, self.world)[self.rank]

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes, the same bits on each."""
        if self.world == 1:
            return
        flat = torch.cat([t.flatten() for t in tensors])
        with _peers():
            dist.all_reduce(flat)
        for tensor, piece in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(piece.view_as(tensor))

    def add_up(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Sum the gradients of parameters, and a loss () that is returned; one that no process used keeps none."""
        if self.world == 1:
            return loss
        used, total = loss.new_tensor([float(p.grad is not None) for p in parameters]), loss.clone()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        self.sum([*gradients, used, total])
        for p, gradient, count in zip(parameters, gradients, used.tolist(), strict=True):
            p.grad = gradient if count else None
        return total

    def to_main(self, tensor: Tensor) -> Tensor:
        """The sum over all processes on the main one; elsewhere it means nothing."""
        if self.world > 1:
            with _peers():
                dist.reduce(tensor, 0)
        return tensor

    def spread(self, tensor: Tensor) -> Tensor:
        """The main process's tensor, written over that of the others."""
        if self.world > 1:
            with _peers():
                for piece in torch.split(tensor.view(-1), PIECE):
                    dist.broadcast(piece, 0)
        return tensor

    def agree(self, value: float) -> float:
        """The main process's number."""
        return value if self.world == 1 else float(self.spread(torch.tensor([value], dtype=torch.float64)))

    def tensors(self, work: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """What the main process makes, which works alone meanwhile."""
        if self.world == 1:
            return work()
        return load(self._told(lambda: _packed(work())))

    def json(self, work: Callable[[], Any]) -> Any:
        """The same of what can be written as JSON."""
        return work() if self.world == 1 else json.loads(self._told(lambda: json.dumps(work()).encode()))

    def level(self, modules: Sequence[nn.Module]) -> None:
        """Give all processes the main one's weights and random numbers."""
        if self.world == 1:
            return
        told = self.tensors(lambda: {f"{k}.{n}": t for k, m in enumerate(modules) for n, t in m.state_dict().items()})
        torch.set_rng_state(self.spread(torch.get_rng_state()))
        for k, module in enumerate(modules):
            module.load_state_dict({n.partition(".")[2]: t for n, t in told.items() if n.startswith(f"{k}.")})

    def deal(self, parts: Callable[[int], Tensors]) -> Tensors:
        """What the main process has for this one.

        Args:
            parts: called there, with each rank in turn.
        """
        if not self.main:
            with _peers():
                length = torch.zeros(1, dtype=torch.int64)
                dist.recv(length, 0)
                data = torch.empty(int(length), dtype=torch.uint8)
                for piece in torch.split(data, PIECE):
                    dist.recv(piece, 0)
            return load(data.numpy().tobytes())
        for rank in range(1, self.world):
            data = torch.frombuffer(bytearray(_packed(parts(rank))), dtype=torch.uint8)
            with _peers():
                dist.send(torch.tensor([len(data)]), rank)
                for piece in torch.split(data, PIECE):
                    dist.send(piece, rank)
        return parts(0)

    @contextlib.contextmanager
    def own_draws(self, device: torch.device, *place: int) -> Iterator[None]:
        """A block with random numbers that no other process draws; after it all go on as if none had been drawn.

        Args:
            device: where they are drawn.
            place: numbers that tell this block from others, the same in all processes.
        """
        if self.world == 1:
            yield
            return
        seed = np.random.SeedSequence([torch.initial_seed(), *place, self.rank]).generate_state(1, np.uint64)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(seed[0] >> np.uint64(1)))
            yield

    def _told(self, work: Callable[[], bytes]) -> bytes:
        """Bytes that the main process makes; where it fails to, the others end as well."""
        data = b""
        if self.main:
            try:
                with alone():
                    data = work()
            except BaseException:
                with contextlib.suppress(ConnectionError):
                    self.spread(torch.tensor([-1]))
                raise
        length = int(self.spread(torch.tensor([len(data)])))
        if length < 0:
            raise ConnectionError(LOST)
        buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8) if self.main else torch.empty(length).byte()
        return self.spread(buffer).numpy().tobytes()


ALONE = Group()
_GROUP: ContextVar[Group] = ContextVar("the processes of this fit", default=ALONE)
_STORE: list[Any] = []  # where the first process that fails says so


def current() -> Group:
    """The processes that work together now."""
    return _GROUP.get()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """A block in which this process asks and tells the others nothing."""
    token = _GROUP.set(ALONE)
    try:
        yield
    finally:
        _GROUP.reset(token)


@contextlib.contextmanager
def joined() -> Iterator[Group]:
    """A block in which this process works with those that torchrun started beside it, if it was started so.

    Raises:
        ConnectionError: they do not meet.
    """
    if current().world > 1 or "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        yield current()
        return
    local, cuda = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.is_available() and dist.is_nccl_available()
    if cuda and local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    with _peers("the processes of this fit do not find each other at MASTER_ADDR and MASTER_PORT"):
        store, rank, world = next(iter(rendezvous("env://", timeout=MEETING)))
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
    _STORE[:] = [store]
    token = _GROUP.set(Group(rank, world, local))
    try:
        yield current()
    finally:
        _GROUP.reset(token)
    dist.destroy_process_group()  # not after an error: it might wait for others


def was_said(error: BaseException) -> bool:
    """Whether another process has failed before this one and says why, so that this one can end in silence."""
    if not _STORE:
        return False
    key = "the first process to fail"
    with contextlib.suppress(RuntimeError):  # the store has gone with its process
        if isinstance(error, ConnectionError):  # whoever caused it is about to speak
            _STORE[0].wait([key], timedelta(seconds=COURTESY))
        if _STORE[0].add(key, 1) > 1:
            time.sleep(1)  # torchrun ends the others as soon as this one does
            return True
    return False


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as safetensors, each by itself and in order."""
    return save({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()})


@contextlib.contextmanager
def _peers(text: str = LOST) -> Iterator[None]:
    """A block in which an error means that another process is gone."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ConnectionError(text) from error
