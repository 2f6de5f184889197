"""Private steps: the one way in which gradients of real records reach a model under a budget.

Each step draws a Poisson sample of the records, clips the gradient of every record on its own, sums in float64, adds
noise that nobody can repeat, and divides by a number fixed beforehand (Abadi et al., Deep learning with differential
privacy, 2016). Nothing else that is seen of the records leaves this file: no loss, no count, no time to stop.
"""

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from synthgen.dp import noise
from synthgen.errors import SynthgenError
from synthgen.space import EMPTY, Space

MEMORY = 1 << 30  # bytes for the gradients of single records; a batch that needs more is worked on in parts
MARGIN = 1 - 2**-10  # of the bound is used; the rest is for what rounding in float32 moves between records
GRID = 2.0**-20  # of the bound: the step to which noisy sums are rounded

HALF = 3  # of the records of a self-check
AGREE = 1e-3  # of the bound: how far clipped sums of the self-check may be from the truth
STILL = {
    "rand": 0.4, "rand_like": 0.4, "uniform": 0.4, "randn": 0.6, "randn_like": 0.6, "normal": 0.6, "exponential": 0.7,
    "bernoulli": 1, "randint": 0, "randint_like": 0, "random": 0,
}  # fmt: skip

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


@dataclass(frozen=True)
class Plan:
    """What is fixed and public before a training begins.

    Attributes:
        rate: probability that a record is in a step's sample.
        sigma: deviation of the noise over the bound of the clipped gradients.
        steps: how many are made, whatever happens.
        divisor: of the noisy sums: about the size of a sample, from a public or noisy count of the records.
    """

    rate: float
    sigma: float
    steps: int
    divisor: float

    def __post_init__(self) -> None:
        if not (0 < self.rate <= 1 and self.sigma >= 0 and self.steps >= 1 and 0 < self.divisor < math.inf):
            raise ValueError(f"no plan of a training: {self}")


def private_gradient(clipped: ClippedSum, x: Tensor, c: Tensor, plan: Plan) -> list[Tensor]:
    """One step's gradient, with a privacy loss of one sampled Gaussian query: a tensor for each trainable parameter."""
    rows = torch.from_numpy(noise.chosen(len(x), plan.rate)).to(x.device)
    with _fresh_draws(x.device):
        sums = clipped(x[rows], c[rows])
    parts = torch.cat([s.flatten() for s in sums]).cpu().numpy()
    noisy = torch.from_numpy(noised(parts, plan.sigma * clipped.bound, GRID * clipped.bound) / plan.divisor)
    pieces = torch.split(noisy, [p.numel() for p in clipped.parameters])
    return [g.reshape(p.shape).to(p) for g, p in zip(pieces, clipped.parameters, strict=True)]


def noised(sums: noise.Array, deviation: float, step: float) -> noise.Array:
    """Sums with normal noise, on a grid."""
    return noise.on_grid(sums + noise.gaussian(sums.shape, deviation), step)


@contextlib.contextmanager
def _fresh_draws(device: torch.device) -> Iterator[None]:
    """A block with torch's random numbers seeded by the system; after it they go on as if nothing had been drawn.

    How many numbers a loss draws tells the size of its batch, which later seeded draws must not depend on.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(os.urandom(8), "big", signed=True))
        yield


def private_steps(
    clipped: ClippedSum,
    x: Tensor,
    c: Tensor,
    plan: Plan,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    ema: float = 0.998,
    before: Callable[[int], None] | None = None,
) -> Iterator[int]:
    """The training: all steps of the plan, yielding the number of those done; then averaged weights stay in the module.

    AdamW with a warm-up and a cosine decay, as in `Training.train`.

    Args:
        clipped: what is summed.
        x: records (N, *shape), on the module's device.
        c: contexts (N, width).
        plan: rate, noise, steps, divisor.
        learning_rate: peak of the schedule.
        weight_decay: AdamW's.
        momentum: AdamW's decay of the mean gradient.
        ema: decay of the weights' moving average, which is kept.
        before: called with a step's number before it looks at a record, to write down its price.
    """
    parameters = clipped.parameters
    optimizer = torch.optim.AdamW(parameters, learning_rate, betas=(momentum, 0.99), weight_decay=weight_decay)
    averages = [p.detach().clone() for p in parameters]
    warmup = min(100, plan.steps // 10 + 1)
    clipped.module.train()
    for step in range(plan.steps):
        if before:
            before(step)
        for p, g in zip(parameters, private_gradient(clipped, x, c, plan), strict=True):
            p.grad = g
        rate = min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        optimizer.param_groups[0]["lr"] = learning_rate * rate
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, list[Tensor](parameters), 1 - min(ema, (1 + step) / (10 + step)))
        yield step + 1
    with torch.no_grad():
        torch._foreach_copy_(list[Tensor](parameters), averages)
    clipped.module.eval()


def self_check(module: nn.Module, loss: Loss, space: Space, context: Space = EMPTY) -> Route:
    """The first route whose clipped sums are those of one gradient at a time, on random records that are public.

    Some of these are hostile: a thousand times too large, or NaN. Random numbers that the loss draws are held fixed
    meanwhile, and the weights are moved a little, since those that begin at zero would hide a mistake.

    Args:
        module: as for `ClippedSum`, in the mode in which it will be trained.
        loss: the same.
        space: of the records.
        context: of what is given with each.

    Raises:
        SynthgenError: a record's loss changes with the other records of its batch, or no route is right.
    """
    device = next(module.parameters()).device
    (x, c), (other, _) = (_public(space, context, s, device) for s in range(2))
    ordinary = torch.cat([x[:HALF], x[:HALF]])
    with _moved(module), _Still():  # type: ignore[no-untyped-call]
        _check_independence(loss, ordinary, torch.cat([ordinary[:HALF], other[HALF:].nan_to_num()]), c)
        truth, bound = _one_by_one(module, loss, x, c)
        for route in ROUTES:
            with contextlib.suppress(Exception):  # a network may fail under transforms in any way it likes
                found = torch.cat([s.flatten() for s in ClippedSum(module, loss, bound, route)(x, c)])
                if float((found - truth).norm()) <= AGREE * bound:
                    return route
    raise SynthgenError(
        "gradients of single records cannot be told apart in this network, so it cannot be fitted under a budget; "
        "its loss must be (B,), one number per record, of operations that torch.func.vmap knows"
    )


def _check_independence(loss: Loss, x: Tensor, y: Tensor, c: Tensor) -> None:
    """Whether the first half of two batches, which have it in common, has the same losses in both."""
    one, two = loss(x, c).detach(), loss(y, c).detach()
    if one.shape != (len(x),):
        raise SynthgenError(f"a loss has shape {tuple(one.shape)} for {len(x)} records, not one number for each")
    if not torch.allclose(one[:HALF], two[:HALF], rtol=1e-4, atol=1e-6):
        raise SynthgenError("the loss of a record changes with the other records of its batch: no budget can hold it")


def _one_by_one(module: nn.Module, loss: Loss, x: Tensor, c: Tensor) -> tuple[Tensor, float]:
    """The sum of clipped gradients, all parameters in a row, of batches of one; and a bound that clips half of them."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    kept = finite_rows(x) & finite_rows(c)
    rows = [
        torch.cat([g.flatten().double() for g in torch.autograd.grad(losses.sum(), parameters, materialize_grads=True)])
        for losses in map(loss, torch.split(x[kept], 1), torch.split(c[kept], 1))
    ]
    finite = torch.stack([r for r in rows if bool(r.isfinite().all())] or [torch.zeros_like(rows[0])])
    norms = finite.norm(dim=1)
    bound = float(norms.median()) or 1.0
    return (finite * (MARGIN * bound / norms).clamp(max=1)[:, None]).sum(0), bound


def _public(space: Space, context: Space, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random records and contexts that fit their spaces; the numbers of the last two records are hostile."""
    rng = torch.Generator().manual_seed(seed)
    x, given = (_random(s, rng) for s in (space, context))
    reals = torch.tensor([k == 0 for k in space.sizes]) if space.sizes else torch.ones(space.shape, dtype=torch.bool)
    x[-2] = torch.where(reals, 1000 * x[-2], x[-2])
    x[-1] = x[-1].masked_fill(reals, torch.nan)
    return x.to(device), context.embed(given).to(device)


def _random(space: Space, rng: torch.Generator) -> Tensor:
    """Records (2 HALF, *shape): codes all alike likely, numbers normal."""
    x = space.deviation * torch.randn(2 * HALF, *space.shape, generator=rng)
    for j, k in enumerate(space.sizes):
        if k:
            x[:, j] = torch.randint(k, (2 * HALF,), generator=rng).float()
    return x


@contextlib.contextmanager
def _moved(module: nn.Module) -> Iterator[None]:
    """A block in which the weights are moved a little; after it, weights and buffers are as they were."""
    rng = torch.Generator().manual_seed(2)
    tensors = [*module.parameters(), *module.buffers()]
    kept = [t.detach().clone() for t in tensors]
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=rng).to(p))
    try:
        yield
    finally:
        with torch.no_grad():
            for t, old in zip(tensors, kept, strict=True):
                t.copy_(old)


class _Still(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A block in which random operations give the same for every record, however many there are in a batch."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in function.tags:
            _still(function.overloadpacket.__name__.strip("_"), args, out)
        return out


def _still(name: str, args: Any, out: Any) -> None:
    """Overwrite what a random operation gave; those that are not known stay random, and no route will agree."""
    if name == "randperm":
        out.copy_(torch.arange(len(out)).roll(1))
    elif name == "bernoulli" and isinstance(args[-1], Tensor) and args[-1] is not out:
        out.copy_(args[-1] > 0.4)  # chances of their own; else all have the same one
    elif name == "native_dropout":
        out[0].copy_(args[0] / (1 - args[1]))
        out[1].fill_(True)
    elif name == "multinomial":
        out.copy_(args[0].argmax(-1, keepdim=True).expand(out.shape))
    elif name in STILL:
        out.fill_(STILL[name])
