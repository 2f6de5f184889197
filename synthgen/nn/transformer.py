"""Transformer: p(x) = Π_t p(x_π(t) | x_π(1), …, x_π(t-1)) for sequences of codes, in any order π.

Source: Vaswani et al., Attention is all you need, 2017; orders by Pannatier et al., σ-GPTs, 2024: each place of the
sequence is told where its code stands and where the next one is to stand. All places share one network.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.nn.backbones import Condition
from synthgen.nn.precision import apart, fast

HEAD = 32  # numbers of an attention head
DROP = 0.1  # share of what a layer adds that is left out in training


class Transformer(nn.Module):
    """Probabilities of rows of codes (B, places), given contexts (B, context).

    Codes are known by their features, which they share: what is learned of one serves those that are like it.

    Args:
        places: how many codes a row has.
        features: of each code, (codes, features).
        context: width of the embedded context.
        width: of the network, a multiple of 32.
        depth: its layers.
    """

    features: Tensor

    def __init__(self, places: int, features: Tensor, context: int, width: int, depth: int) -> None:
        super().__init__()
        self.places = places
        self.register_buffer("features", features, persistent=False)
        self.code = nn.Linear(self.features.shape[1], width, bias=False)
        self.here = nn.Embedding(self.places + 1, width)  # the last: before the first code
        self.following = nn.Embedding(self.places, width)
        self.condition = Condition(context, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, self.features.shape[1])
        nn.init.normal_(self.code.weight, std=0.1)
        for embedding in (self.here, self.following):
            nn.init.normal_(embedding.weight, std=0.3)
        nn.init.zeros_(self.out.weight)

    def log_prob(self, x: Tensor, c: Tensor, rank: Tensor) -> Tensor:
        """Log-probability (B,) of codes (B, places), in the order in which place j is at `rank[j]`."""
        order = rank.argsort()
        codes = x.long()[:, order]
        with fast(x.device):
            h = self._enter(codes[:, :-1], order[:-1].expand(len(x), -1), order.expand(len(x), -1), c)
            for layer in self.layers:
                h = layer(h)
            logits = self._logits(h)
        return logits.log_softmax(2).gather(2, codes[:, :, None])[..., 0].sum(1)

    @torch.no_grad()
    def draw(self, x: Tensor, known: Tensor | None, c: Tensor) -> Tensor:
        """Codes (B, places), the unknown ones drawn in order, given all known ones and those drawn before."""
        codes = x.long()
        held = torch.zeros_like(codes, dtype=torch.bool) if known is None else known
        order = (~held).long().argsort(dim=1, stable=True)  # known ones first
        memory: list[tuple[Tensor, Tensor] | None] = [None] * len(self.layers)
        before = torch.empty(len(x), 0, dtype=torch.long, device=x.device)
        for t in range(self.places):
            at = order[:, t : t + 1]
            with fast(x.device):
                h = self._enter(codes.gather(1, before), before, at, c)
                for i, layer in enumerate(self.layers):
                    h, memory[i] = layer.step(h, memory[i])  # type: ignore[operator]
                logits = self._logits(h[:, 0])
            drawn = torch.multinomial(logits.softmax(1), 1)
            codes = codes.scatter(1, at, torch.where(held.gather(1, at), codes.gather(1, at), drawn))
            before = at
        return codes.to(x.dtype)

    def _logits(self, h: Tensor) -> Tensor:
        return (self.out(self.norm(h)) @ self.features.T).float()

    def _enter(self, codes: Tensor, here: Tensor, following: Tensor, c: Tensor) -> Tensor:
        """What the first layer sees: codes, where they stand, and where the next is to; the first has none."""
        h = self.following(following) + self.condition(c)[:, None]
        # quicker once for all codes, if records need not be kept apart
        known = self.code(self.features[codes]) if apart() else functional.embedding(codes, self.code(self.features))
        seen = known + self.here(here)
        if seen.shape[1] < h.shape[1]:
            start = self.here(torch.full((len(h), 1), self.places, device=h.device))
            seen = torch.cat([start, seen], 1)
        return h + seen


class _Layer(nn.Module):
    """Causal attention and a perceptron, both with residuals."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.split, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for last in (self.join, self.outer):
            nn.init.normal_(last.weight, std=0.3 / math.sqrt(last.in_features))

    def forward(self, h: Tensor) -> Tensor:
        """All places (B, places, width) at once."""
        return self._rest(h, *self._heads(h), causal=True)

    def step(self, h: Tensor, memory: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One more place (B, 1, width), given the keys and values of those before it."""
        q, k, v = self._heads(h)
        if memory is not None:
            k, v = torch.cat([memory[0], k], 2), torch.cat([memory[1], v], 2)
        return self._rest(h, q, k, v, causal=False), (k, v)

    def _heads(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = self.split(self.norm1(h)).unflatten(2, (3, self.heads, HEAD)).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def _rest(self, h: Tensor, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        h = h + functional.dropout(self.join(seen.transpose(1, 2).flatten(2)), DROP, self.training)
        return h + functional.dropout(self.outer(functional.gelu(self.inner(self.norm2(h)))), DROP, self.training)
