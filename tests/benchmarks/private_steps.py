"""What a private step costs beside a plain one, for the families' networks on a table like adult.

python tests/benchmarks/private_steps.py [BATCH]
"""

import statistics
import sys
import time

import torch

from synthgen import registry
from synthgen.dp.clipping import ClippedSum
from synthgen.dp.selfcheck import self_check
from synthgen.dp.sgd import Plan, private_gradient
from synthgen.nn import precision
from synthgen.space import EMPTY, Space

SIZES = (64, 9, 64, 16, 16, 7, 15, 6, 5, 2, 64, 64, 64, 42, 2)
SPACE = Space((len(SIZES),), SIZES, tuple(k == 64 for k in SIZES))
TIMES = 9


def cost(step):
    """Median CPU-milliseconds of a step, after a first one."""
    step()
    seconds = []
    for _ in range(TIMES):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    return 1000 * statistics.median(seconds)


def steps(name, batch):
    """A plain and a private step of a family, and how many thousand parameters they move."""
    n = 16 * batch
    x, c = torch.stack([torch.randint(k, (n,)).float() for k in SIZES], 1), torch.zeros(n, 0)
    cls = registry.load(name)
    objective = cls(SPACE, EMPTY, cls.Config()).train().objectives()[0]
    parameters = [p for p in objective.module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1e-3)
    route = self_check(objective.module, objective.loss, SPACE)
    clipped, plan = ClippedSum(objective.module, objective.loss, 1.0, route), Plan(1 / 16, 1.0, 1, batch)

    def plain():
        rows = torch.randperm(n)[:batch]
        optimizer.zero_grad()
        objective.loss(x[rows], c[rows]).mean().backward(inputs=parameters)
        optimizer.step()

    def private():
        for p, g in zip(clipped.parameters, private_gradient(clipped, x, c, plan), strict=True):
            p.grad = g
        optimizer.step()

    return plain, private, sum(p.numel() for p in parameters) // 1000


def main():
    torch.set_num_threads(1)
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    for name in ("vae", "autoencoder", "gan", "autoregressive", "diffusion"):
        plain, private, parameters = steps(name, batch)
        quick, dear = cost(plain), cost(private)
        precision._cpu_has_bfloat16 = bool
        exact = cost(plain)
        precision._cpu_has_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)
        print(
            f"{name:15} {parameters:5} k parameters, batch {batch}: plain {quick:.0f} ms, in float32 {exact:.0f} ms, "
            f"private {dear:.0f} ms, {dear / quick:.1f} and {dear / exact:.1f} times as much"
        )


if __name__ == "__main__":
    main()
