"""Restricted Boltzmann machine: p(x) ∝ exp(-F(x)), F(x) = -b·x - Σ_i log(1 + exp(a_i + w_i·x)).

x is the record with its codes one-hot; the hidden units are binary. The gradient of the likelihood is that of
F(data) - F(model), with the model's record from Gibbs chains that go on from step to step (Tieleman, Training
restricted Boltzmann machines using approximations to the likelihood gradient, 2008). What is given is added to
the visible units, and held.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from synthgen import Generator, Recipe, Space


class RBM(Generator):
    """Restricted Boltzmann machine over codes: a small example of a generator that strangers publish."""

    class Config(Generator.Config):
        hidden: int = Field(128, ge=1, le=4096, description="binary hidden units")
        steps: int = Field(3, ge=1, le=100, description="Gibbs steps of the chains at each step of training")
        burn_in: int = Field(50, ge=1, le=10_000, description="Gibbs steps from a chain to a new record")

    accepts = ("table",)
    codes = 32
    recipe = Recipe(epochs=60, batch_size=256, learning_rate=1e-2)

    config: Config
    chains: Tensor

    def __init__(self, space: Space, context: Space, config: Config) -> None:
        super().__init__(space, context, config)
        # a layer for each parameter: a budget can then tell what each record does to them
        self.hidden, self.visible = nn.Linear(space.width, config.hidden), nn.Linear(space.width, 1, bias=False)
        self.given = nn.Linear(context.width, config.hidden, bias=False) if context.width else None
        nn.init.normal_(self.hidden.weight, std=0.1)
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.visible.weight)
        start = torch.stack([torch.randint(max(k, 1), (1024,)) for k in space.sizes], dim=1).float()
        self.register_buffer("chains", space.embed(start))

    def free_energy(self, v: Tensor, c: Tensor) -> Tensor:
        """F of embedded records (B, width) in their contexts, (B,)."""
        return -self.visible(v)[:, 0] - softplus(self.drive(v, c)).sum(1)

    def drive(self, v: Tensor, c: Tensor) -> Tensor:
        """What turns the hidden units on, (B, hidden)."""
        return self.hidden(v) if self.given is None else self.hidden(v) + self.given(c)

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        v = self.space.embed(x)
        with torch.no_grad():
            chain = torch.randint(len(self.chains), (len(x),), device=x.device)
            model = self.gibbs(self.chains[chain], c, self.config.steps)
            self.chains[chain] = model
        return self.free_energy(v, c) - self.free_energy(model, c)

    def gibbs(self, v: Tensor, c: Tensor, steps: int) -> Tensor:
        """Embedded records after so many rounds of drawing the hidden units and then each column."""
        for _ in range(steps):
            h = torch.bernoulli(torch.sigmoid(self.drive(v, c)))
            logits = h @ self.hidden.weight + self.visible.weight
            noise = -torch.empty_like(logits).exponential_().log()
            v = self.space.embed(self.space.collapse(logits + noise))  # the largest of each block: a softmax draw
        return v

    @torch.no_grad()
    def sample(self, n: int, c: Tensor) -> Tensor:
        chain = torch.randint(len(self.chains), (n,), device=c.device)
        return self.space.collapse(self.gibbs(self.chains[chain], c, self.config.burn_in))
