"""Clipping: the sum of the gradients of single records, each clipped on its own, by several routes.

Source: Abadi et al., Deep learning with differential privacy, 2016; Goodfellow, Efficient per-example gradient
computations, 2015.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from synthgen.dp import noise
from synthgen.dp.ghosts import FORMULAS, Part, Whole, joined
from synthgen.nn.precision import records_apart

MEMORY = 1 << 30  # bytes for the gradients of single records; a batch that needs more is worked on in parts
MARGIN = 1 - 2**-10  # of the bound is used; the rest is for what rounding in float32 moves between records

Loss = Callable[[Tensor, Tensor], Tensor]

ROUTES = ("fused", "hooks", "vmap", "vmap, same draws")  # the last: a loss may toss one coin for a whole batch


class ClippedSum:
    """The sum over records of their gradients, each clipped to a norm of at most `bound` over all parameters.

    A record whose gradient is not finite adds nothing. Adding or removing a record moves the sum by at most `bound`.

    Args:
        module: whose trainable parameters are meant.
        loss: records (B, *shape) and contexts (B, width) to (B,); row i from record i only.
        bound: the largest L2 norm of a record's part.
        route: to the gradients of single records, the one of ROUTES that `self_check` chose: in one pass for layers
            whose formulas are known (ghosts.py), by Opacus' hooks, or by `torch.func`.
    """

    def __init__(self, module: nn.Module, loss: Loss, bound: float, route: str = ROUTES[0]) -> None:
        if not 0 < bound < math.inf:
            raise ValueError(f"the bound of a gradient's norm is {bound}")
        self.module, self.loss, self.bound, self.route = module, loss, bound, route
        self.parameters = [p for p in module.parameters() if p.requires_grad and p.numel()]
        self._owners = owners(module, loss)
        self._whole = _Lossy(module, loss)
        self._parts = {"fused": self._fused, "hooks": self._by_hooks}.get(route, self._by_vmap)
        self._at_once = 0  # records worked on together; found when one is there

    def __call__(self, x: Tensor, c: Tensor, shares: Tensor | None = None) -> list[Tensor]:
        """The sum, a float64 tensor for each trainable parameter.

        Args:
            x: records (B, *shape).
            c: contexts (B, width).
            shares: of the bound, that each record may use (B,); all of it where none are given.
        """
        sums = [torch.zeros_like(p, dtype=torch.float64) for p in self.parameters]
        bounds = self.bound * (x.new_ones(len(x), dtype=torch.float64) if shares is None else shares)
        if not len(x):
            return sums
        with records_apart():
            self._at_once = self._at_once or max(1, MEMORY // self._bytes(x[:1], c[:1]))
            for part in zip(*(torch.split(t, self._at_once) for t in (x, c, bounds)), strict=True):
                for total, more in zip(sums, self._clipped(*part), strict=True):
                    total += more
        return sums

    def _clipped(self, x: Tensor, c: Tensor, bounds: Tensor) -> list[Tensor]:
        sound = finite_rows(x) & finite_rows(c)
        if not bool(sound.all()):  # a network need not even see them: some would stop with an error
            x, c = (t.masked_fill(~sound.reshape(-1, *[1] * (t.dim() - 1)), 0.0) for t in (x, c))
        with undone(self._owners):
            parts = self._parts(x, c)
        norms = torch.stack([p.squares() for p in parts]).sum(0).sqrt()
        kept, weight = norms.isfinite() & sound, shrunk(norms, bounds)
        return [p.total(weight, kept).reshape(q.shape) for p, q in zip(parts, self.parameters, strict=True)]

    def _bytes(self, x: Tensor, c: Tensor) -> int:
        """About how much memory a record takes, found with one that is made of zeros."""
        if self.route != "fused":
            return 65536 + 16 * sum(p.numel() for p in self.parameters)
        numbers: list[int] = []

        def count(layer: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
            fed = given[0].numel() if given and isinstance(given[0], Tensor) else 0
            times = math.prod(layer.kernel_size) if isinstance(layer, nn.Conv2d) else 1
            numbers.append(out.numel() + fed * times)

        layers = [m for m in self.module.modules() if type(m) in FORMULAS]
        with torch.no_grad(), undone(self._owners), _hooked(layers, count):
            self.loss(torch.zeros_like(x), torch.zeros_like(c))
        return 65536 + 24 * sum(numbers)  # as fed, and twice in float64

    def _fused(self, x: Tensor, c: Tensor) -> list[Part]:
        """In one pass forwards and one backwards, to the outputs of layers and not to their parameters."""
        used: list[tuple[nn.Module, tuple[Any, ...], Tensor]] = []

        def remember(layer: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
            out = out if out.requires_grad else out.detach().requires_grad_()
            used.append((layer, given, out))
            return out

        layers = [m for m in self.module.modules() if type(m) in FORMULAS]
        with _frozen(self.parameters), _hooked(layers, remember):
            losses = self.loss(x, c).sum()
        slopes = torch.autograd.grad(losses, [out for _, _, out in used], materialize_grads=True)
        found: dict[int, Part] = {}
        for (layer, given, _), slope in zip(used, slopes, strict=True):
            given = tuple(g.detach() if isinstance(g, Tensor) else g for g in given)
            for name, part in FORMULAS[type(layer)](layer, given, slope, len(x)).items():
                key = id(layer.get_parameter(name))
                found[key] = joined(found[key], part) if key in found else part
        for p in (p for layer in layers for p in layer.parameters(recurse=False)):  # a layer that was not used
            found.setdefault(id(p), Whole(torch.zeros_like(p).expand(len(x), *p.shape)))
        return [found[id(p)] for p in self.parameters]

    def _by_vmap(self, x: Tensor, c: Tensor) -> list[Part]:
        """By `torch.func`, one record at a time as the loss sees it."""
        named = {f"module.{name}": p for name, p in self.module.named_parameters() if p.requires_grad and p.numel()}

        def of_one(weights: dict[str, Tensor], x: Tensor, c: Tensor) -> Tensor:
            return functional_call(self._whole, weights, (x[None], c[None]))

        draws = "same" if self.route.endswith("same draws") else "different"
        each = vmap(grad(of_one), (None, 0, 0), randomness=draws)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # torch knows no quick way
            found = each({name: p.detach().contiguous() for name, p in named.items()}, x, c)
        return [Whole(found[name]) for name in named]

    def _by_hooks(self, x: Tensor, c: Tensor) -> list[Part]:
        """By Opacus, which knows formulas for many kinds of layers."""
        wrap = noise.library("opacus.grad_sample").GradSampleModule
        with _unmarked(self.module), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
            wrap(self.module, loss_reduction="sum")
            self.loss(x, c).sum().backward()  # type: ignore[no-untyped-call]
            return [Whole(p.grad_sample) for p in self.parameters]  # type: ignore[attr-defined]


class _Lossy(nn.Module):
    """A module whose output is the sum of its loss, so that its parameters can be exchanged for a call."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.loss(x, c).sum()


@contextlib.contextmanager
def _unmarked(module: nn.Module) -> Iterator[None]:
    """A block after which what Opacus put on modules and parameters is gone: it holds records and their gradients."""
    before = [(marked, set(vars(marked))) for marked in (*module.modules(), *module.parameters())]
    try:
        yield
    finally:
        for handle in vars(module).get("autograd_grad_sample_hooks", ()):
            handle.remove()
        for marked, names in before:
            for name in set(vars(marked)) - names:
                delattr(marked, name)
        module.zero_grad()


@contextlib.contextmanager
def _hooked(layers: Sequence[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """A block in which a hook is called after each layer."""
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _frozen(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """A block in which no gradient is kept for some parameters."""
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_()


KINDS = (list, dict, set)  # of attributes that are changed in place


def owners(module: nn.Module, function: Callable[..., Any]) -> list[nn.Module]:
    """The module, and the one whose method a function is."""
    owner = getattr(function, "__self__", None)
    return [owner, module] if isinstance(owner, nn.Module) else [module]


@contextlib.contextmanager
def undone(roots: Sequence[nn.Module]) -> Iterator[None]:
    """A block after which modules hold what they held: what a loss writes into them comes from the records.

    Attributes, buffers, parameters that are not trained, lists and the like; what it writes elsewhere is its author's.
    """
    modules = {id(m): m for root in roots for m in root.modules()}.values()
    tensors = {id(t): t for m in modules for t in (*m.buffers(False), *m.parameters(False)) if not t.requires_grad}
    kept = [(t, t.detach().clone()) for t in tensors.values()]
    held = [
        (m, dict(vars(m)), [(v, v.copy()) for v in vars(m).values() if type(v) in (list, dict, set)]) for m in modules
    ]
    try:
        yield
    finally:
        for module, names, collections in held:
            vars(module).clear()
            vars(module).update(names)
            for now, before in collections:
                now.clear()
                now.extend(before) if isinstance(now, list) else now.update(before)
        for tensor, old in kept:
            tensor.data.copy_(old)


def forgetting(module: nn.Module, loss: Loss) -> Loss:
    """The loss, after which nothing that it wrote into modules is left."""

    def forgetful(x: Tensor, c: Tensor) -> Tensor:
        with undone(owners(module, loss)):
            return loss(x, c)

    return forgetful


def finite_rows(t: Tensor) -> Tensor:
    """Which rows of (B, …) hold finite numbers only, (B,)."""
    return t.flatten(1).isfinite().all(1)


def shrunk(norms: Tensor, bounds: Tensor) -> Tensor:
    """Factors (B,) that bring gradients of these norms to at most their bounds (B,)."""
    return (MARGIN * bounds / norms).clamp(max=1)
