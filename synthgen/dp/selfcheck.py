"""Self-check: which route to clipped gradients is right for a network, found on random records that are public."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from synthgen.dp.clipping import MARGIN, ROUTES, ClippedSum, Loss, finite_rows, forgetting
from synthgen.errors import SynthgenError
from synthgen.nn.precision import records_apart
from synthgen.space import EMPTY, Space

HALF = 3  # of the records of a self-check
AGREE = 1e-3  # of the bound: how far clipped sums of the self-check may be from the truth
STILL = {
    "rand": 0.4, "rand_like": 0.4, "uniform": 0.4, "randn": 0.6, "randn_like": 0.6, "normal": 0.6, "exponential": 0.7,
    "bernoulli": 1, "randint": 0, "randint_like": 0, "random": 0,
}  # fmt: skip


def self_check(module: nn.Module, loss: Loss, space: Space, context: Space = EMPTY) -> str:
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
    device, alone = next(module.parameters()).device, forgetting(module, loss)
    (x, c), (other, _) = (_public(space, context, s, device) for s in range(2))
    ordinary = torch.cat([x[:HALF], x[:HALF]])
    with records_apart(), _moved(module), _Still():  # type: ignore[no-untyped-call]
        _check_independence(alone, ordinary, torch.cat([ordinary[:HALF], other[HALF:].nan_to_num()]), c)
        truth, bound = _one_by_one(module, alone, x, c)
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
    parameters = [p for p in module.parameters() if p.requires_grad and p.numel()]
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
