"""Engines: who makes the shards. This process, a few beside it, or Ray; the parts are the same, byte for byte."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any, Literal

from synthgen.artifact import fingerprint
from synthgen.data import Dataset
from synthgen.devices import one_thread
from synthgen.errors import Interrupted, ResourceError, SynthgenError, near
from synthgen.shards.make import Part, Shards, load, read_given
from synthgen.shards.plan import file_hash

Engine = Literal["processes", "ray"]
Report = Callable[[float], None]
DIED = "a worker died, as when memory runs out; give fewer --workers"


def make_all(
    shards: Shards,
    *,
    engine: Engine = "processes",
    workers: int | None = None,
    report: Report = lambda done: None,
) -> list[Part]:
    """Make the parts that are not there yet. A script that asks for workers needs `if __name__ == "__main__":`.

    Args:
        shards: whose.
        engine: "processes" of this machine, or "ray": the cluster at RAY_ADDRESS, or one on this machine.
        workers: how many processes; with one, this one makes them. Of Ray, the processors of a local cluster.
        report: called with the share done.

    Returns:
        Those that were made now.

    Raises:
        Interrupted: Ctrl-C; workers are stopped and what is done stays.
        ResourceError: the disk is full, a worker died, or Ray is not installed.
    """
    if engine not in _ENGINES:
        raise SynthgenError(f"there is no engine {engine!r}; {near(engine, _ENGINES)}")
    total = shards.plan.shards
    left = [i for i in range(total) if not shards.done(i)]
    made: list[Part] = []

    def share(part: float) -> None:
        report((total - len(left) + len(made) + part) / total)

    def state() -> str:
        return f"{total - len(left) + len(made)} of {total} shards are done: go on with the same command"

    try:
        for part in _ENGINES[engine](shards, left, workers, share):
            made.append(part)
            share(0.0)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {state()}") from error
    except BrokenProcessPool as error:
        raise ResourceError(f"{DIED}; {state()}") from error
    except ResourceError as error:
        raise ResourceError(f"{str(error).removesuffix('; nothing was written')}; {state()}") from error
    return made


def draw(
    model: Path, n: int, workers: int, *, seed: int, given: Mapping[str, Any] | Path | None, device: str
) -> Iterator[Dataset]:
    """The chunks of a generation in their order, drawn by processes; a few of them wait in memory.

    Args:
        model: folder of the fitted model.
        n: records in all.
        workers: how many processes.
        seed: the same seed gives the same records.
        given: values to hold, or a file of them.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        ResourceError: a worker died.
    """
    known, rows = fingerprint(model), file_hash(given) if isinstance(given, Path) else ""
    chunks = iter(range(-(-n // load(model, device, known).codec.chunk)))
    waiting: deque[Future[Dataset]] = deque()
    try:
        with _pool(workers) as pool:
            while True:
                for k in chunks:
                    waiting.append(_submit(pool, _chunk, model, known, device, n, seed, given, rows, k))
                    if len(waiting) > workers:
                        break
                if not waiting:
                    break
                yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ResourceError(DIED) from error


def _chunk(
    model: Path, known: str, device: str, n: int, seed: int, given: Mapping[str, Any] | Path | None, rows: str, k: int
) -> Dataset:
    held = read_given(given, rows) if isinstance(given, Path) else given
    with one_thread():
        return next(load(model, device, known).stream(n, seed=seed, given=held, only=range(k, k + 1)))


def _processes(shards: Shards, left: list[int], workers: int | None, share: Report) -> Iterator[Part]:
    if not workers or workers == 1:
        for i in left:
            yield shards.make(i, share)
        return
    with _pool(min(workers, max(len(left), 1))) as pool:
        for future in as_completed([_submit(pool, shards.make, i) for i in left]):
            yield future.result()


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Processes that are stopped at once when the block fails, and that end with this one, however it ends."""
    before = set(active_children())
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start)
    try:
        yield pool
    except BaseException:
        for child in set(active_children()) - before:
            child.terminate()
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _submit(pool: Executor, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """As the pool does; a process that starts for it never hears of Ctrl-C, which is the parent's to tell."""
    if not hasattr(signal, "pthread_sigmask"):
        return pool.submit(function, *arguments)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, *arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start() -> None:
    """In a new process: end when the parent does."""

    def watch() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_ray(shards: Shards, left: list[int], workers: int | None, share: Report) -> Iterator[Part]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anyone
    try:
        import ray
    except ImportError as error:
        raise ResourceError("--engine ray needs Ray: pip install 'synthgen-toolkit[ray]'") from error
    address = os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
    owner = not ray.is_initialized()
    if owner:
        try:
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **local)
        except (ConnectionError, RuntimeError) as error:
            raise ResourceError(
                f"no Ray answers at {address or 'this machine'}: start one, or correct RAY_ADDRESS"
            ) from error
    make = ray.remote(num_cpus=1)(_make)
    waiting = [make.remote(shards, i) for i in left]
    try:
        while waiting:
            (ready,), waiting = ray.wait(waiting)
            yield ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise ResourceError(DIED) from error
    finally:
        for task in waiting:
            ray.cancel(task, force=True)
        if owner:
            ray.shutdown()


def _make(shards: Shards, shard: int) -> Part:
    return shards.make(shard)


_ENGINES: dict[str, Callable[[Shards, list[int], int | None, Report], Iterator[Part]]] = {
    "processes": _processes,
    "ray": _on_ray,
}
