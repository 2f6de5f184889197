"""Clipping: the sum of the gradients of single records, each clipped on its own, by several routes.

Source: Abadi et al., Deep learning with differential privacy, 2016; Goodfellow, Efficient per-example gradient
computations, 2015.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from synthgen.dp import noise
from synthgen.errors import SynthgenError

MEMORY = 1 << 30  # bytes for the gradients of single records; a batch that needs more is worked on in parts
MARGIN = 1 - 2**-10  # of the bound is used; the rest is for what rounding in float32 moves between records

Loss = Callable[[Tensor, Tensor], Tensor]


class Route(NamedTuple):
    """A way to the gradients of single records: by `torch.func` or by Opacus' hooks.

    Attributes:
        ghost: for linear layers, keep what they were fed with and the slope of their outputs instead of their product
            (Goodfellow, Efficient per-example gradient computations, 2015).
        draws: whether random numbers in the loss are "different" or the "same" for all records of a batch; the latter
            allows a loss that tosses one coin for a whole batch.
    """

    name: str
    ghost: bool
    draws: str


ROUTES = (
    Route("fused", True, "different"),
    Route("hooks", False, ""),
    Route("vmap", False, "different"),
    Route("fused, same draws", True, "same"),
    Route("vmap, same draws", False, "same"),
)


class _Whole(NamedTuple):
    """Gradients of single records, (B, *shape)."""

    gradient: Tensor

    def squares(self) -> Tensor:
        return torch.linalg.vector_norm(self.gradient.flatten(1), dim=1, dtype=torch.float64).square()

    def total(self, weight: Tensor, kept: Tensor) -> Tensor:
        rows = self.gradient if bool(kept.all()) else self.gradient[kept]
        return torch.tensordot(weight[kept], rows.double(), 1)


class _Product(NamedTuple):
    """Gradients that are the sum over T uses of slopes (B, T, outer) times inputs (B, T, inner), in float64."""

    slope: Tensor
    fed: Tensor

    def squares(self) -> Tensor:
        alone = self.slope.square().sum(2) * self.fed.square().sum(2)  # of each use
        if alone.shape[1] == 1:
            return alone[:, 0]
        gram = (self.slope @ self.slope.mT) * (self.fed @ self.fed.mT)
        # uses may cancel but for what rounding leaves: never take the norm for smaller than it may be
        return gram.sum((1, 2)).clamp(min=0) + 1e-12 * alone.sqrt().sum(1).square()

    def total(self, weight: Tensor, kept: Tensor) -> Tensor:
        slope, fed = (self.slope, self.fed) if bool(kept.all()) else (self.slope[kept], self.fed[kept])
        return (slope * weight[kept, None, None]).flatten(0, 1).T @ fed.flatten(0, 1)


Parts = list[_Whole | _Product]  # of the gradient, one for each parameter


class ClippedSum:
    """The sum over records of their gradients, each clipped to a norm of at most `bound` over all parameters.

    A record whose gradient is not finite adds nothing. Adding or removing a record moves the sum by at most `bound`.

    Args:
        module: whose trainable parameters are meant.
        loss: records (B, *shape) and contexts (B, width) to (B,); row i from record i only.
        bound: the largest L2 norm of a record's part.
        route: the one that `self_check` chose.
    """

    def __init__(self, module: nn.Module, loss: Loss, bound: float, route: Route = ROUTES[0]) -> None:
        if not 0 < bound < math.inf:
            raise ValueError(f"the bound of a gradient's norm is {bound}")
        self.module, self.loss, self.bound, self.route = module, loss, bound, route
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self._whole = _Lossy(module, loss)
        linear = [m for m in module.modules() if type(m) is nn.Linear] if route.ghost else []
        self._layers = [m for m in linear if m.weight.requires_grad]
        self._calls: list[tuple[nn.Module, torch.Size]] = []
        ghosts = {id(p) for layer in self._layers for p in (layer.weight, layer.bias)}
        named = {f"module.{name}": p for name, p in module.named_parameters() if p.requires_grad}
        self._own = {name: p for name, p in named.items() if id(p) not in ghosts}
        self._shared = {name: p for name, p in named.items() if id(p) in ghosts}
        entries = sum(p.numel() for p in (self._own.values() if route.ghost else self.parameters))
        self._at_once = max(1, MEMORY // (16 * max(1, entries) + 65536))

    def __call__(self, x: Tensor, c: Tensor) -> list[Tensor]:
        """Records (B, *shape) and contexts (B, width) to a float64 tensor for each trainable parameter."""
        sums = [torch.zeros_like(p, dtype=torch.float64) for p in self.parameters]
        at_once = self._at_once
        for part in zip(torch.split(x, at_once), torch.split(c, at_once), strict=True) if len(x) else ():
            for total, more in zip(sums, self._clipped(*part), strict=True):
                total += more
        return sums

    def _clipped(self, x: Tensor, c: Tensor) -> list[Tensor]:
        sound = finite_rows(x) & finite_rows(c)
        if not bool(sound.all()):  # a network need not even see them: some would stop with an error
            x, c = (t.masked_fill(~sound.reshape(-1, *[1] * (t.dim() - 1)), 0.0) for t in (x, c))
        parts = self._by_hooks(x, c) if self.route.name == "hooks" else self._by_vmap(x, c)
        norms = torch.stack([p.squares() for p in parts]).sum(0).sqrt()
        kept, weight = norms.isfinite() & sound, shrunk(norms, self.bound)
        return [p.total(weight, kept).reshape(q.shape) for p, q in zip(parts, self.parameters, strict=True)]

    def _by_vmap(self, x: Tensor, c: Tensor) -> Parts:
        """By `torch.func`, one record at a time as the loss sees it; ghosts are added to what linear layers return."""
        if self._layers and not self._calls:
            self._calls = self._called(x[:1], c[:1])
        order = [layer for layer, _ in self._calls]
        own, shared = ({k: p.detach().contiguous() for k, p in ps.items()} for ps in (self._own, self._shared))

        def of_one(shifts: list[Tensor], own: dict[str, Tensor], x: Tensor, c: Tensor) -> tuple[Tensor, list[Tensor]]:
            fed: list[Tensor] = []

            def shift(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> Tensor:
                fed.append(given[0])
                if order[len(fed) - 1 :][:1] != [layer]:
                    raise SynthgenError("the layers of a private fit must be called in the same order at every step")
                return out + shifts[len(fed) - 1]

            with _hooked(self._layers, shift):
                return functional_call(self._whole, shared | own, (x[None], c[None])), fed

        each = vmap(grad(of_one, argnums=(0, 1), has_aux=True), (None, None, 0, 0), randomness=self.route.draws)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # torch knows no quick way
            (slopes, gradients), fed = each([x.new_zeros(shape) for _, shape in self._calls], own, x, c)
        found: dict[int, _Whole | _Product] = {id(p): _Whole(gradients[name]) for name, p in self._own.items()}
        for layer in self._layers:
            uses = [i for i, other in enumerate(order) if other is layer]
            slope = _joined([slopes[i] for i in uses], x, layer.out_features)
            found[id(layer.weight)] = _Product(slope, _joined([fed[i] for i in uses], x, layer.in_features))
            found[id(layer.bias)] = _Whole(slope.sum(1))
        return [found[id(p)] for p in self.parameters]

    def _called(self, x: Tensor, c: Tensor) -> list[tuple[nn.Module, torch.Size]]:
        """The linear layers in the order in which they are called for one record, and the shapes of what they return.

        These depend on no record, and are found with one that is made of zeros.
        """
        calls: list[tuple[nn.Module, torch.Size]] = []
        with torch.no_grad(), _hooked(self._layers, lambda layer, _, out: calls.append((layer, out.shape))):
            self.loss(torch.zeros_like(x), torch.zeros_like(c))
        return calls

    def _by_hooks(self, x: Tensor, c: Tensor) -> Parts:
        """By Opacus, which knows formulas for many kinds of layers."""
        wrap = noise.library("opacus.grad_sample").GradSampleModule
        with _unmarked(self.module), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
            wrap(self.module, loss_reduction="sum")
            self.loss(x, c).sum().backward()  # type: ignore[no-untyped-call]
            return [_Whole(p.grad_sample) for p in self.parameters]  # type: ignore[attr-defined]


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


def _joined(uses: list[Tensor], x: Tensor, width: int) -> Tensor:
    """What several uses of a layer had to do with it, (B, …, width) each, as (B, T, width) in float64."""
    nothing = x.new_zeros(len(x), 0, width, dtype=torch.float64)
    return torch.cat([nothing, *(u.reshape(len(x), -1, width) for u in uses)], 1)


def finite_rows(t: Tensor) -> Tensor:
    """Which rows of (B, …) hold finite numbers only, (B,)."""
    return t.flatten(1).isfinite().all(1)


def shrunk(norms: Tensor, bound: float) -> Tensor:
    """Factors (B,) that bring gradients of these norms to at most `bound`."""
    return (MARGIN * bound / norms).clamp(max=1)
