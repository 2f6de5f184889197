"""Masked network: p(x) = Π_j p(x_j | x_<j) over a table's columns, all factors in one masked pass.

Each column has a small network of its own that sees the embeddings of the columns before it; which these are
is a mask on its first layer (Germain et al., MADE, 2015). A column of many codes is drawn as two digits, the
second given the first; codes in order are embedded by linear interpolation between those of the first digit.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.nn.layers import Grouped, Seeing, Shared, Tables
from synthgen.nn.precision import apart
from synthgen.space import Space

DIGIT = 64  # the most codes of a digit


class Masked(nn.Module):
    """A small network for each column (or each of its two digits), all in one masked pass.

    Args:
        space: of the codes.
        context: width of the embedded context.
        width: hidden units of each column's network.
        depth: its hidden layers.
        embedding: numbers that stand for a code.
    """

    radix: Tensor
    column: Tensor
    between: Tensor
    outside: Tensor
    last: Tensor
    beyond: Tensor

    def __init__(self, space: Space, context: int, width: int, depth: int, embedding: int) -> None:
        super().__init__()
        self.order = space.order
        sizes = [space.sizes[j] for j in self.order]  # from here on, columns are in the order of drawing
        radix = [1 if k <= DIGIT else math.ceil(math.sqrt(k)) for k in sizes]
        first = [math.ceil(k / r) for k, r in zip(sizes, radix, strict=True)]
        # a factor for each digit: all first digits, then the second ones of the columns that have two
        self.second = [j for j, r in enumerate(radix) if r > 1]
        self.digits = first + [radix[j] for j in self.second]
        columns, factors, most = len(sizes), len(self.digits), max(self.digits, default=1)
        ordered = torch.tensor([space.ordered[j] for j in self.order], dtype=torch.bool)
        self.register_buffer("radix", torch.tensor(radix), persistent=False)
        self.register_buffer("column", torch.tensor([*range(columns), *self.second]), persistent=False)
        self.register_buffer("between", ordered & (torch.tensor(radix) > 1), persistent=False)
        beyond = torch.arange(most) >= torch.tensor(self.digits)[:, None]
        # the last first digit may have fewer second ones
        self.register_buffer("last", torch.tensor(first) - 1, persistent=False)
        left = torch.tensor([sizes[j] - (first[j] - 1) * radix[j] for j in self.second]).reshape(-1, 1)
        self.register_buffer("beyond", torch.arange(most) >= left, persistent=False)
        self.register_buffer("outside", torch.zeros(beyond.shape).masked_fill(beyond, -torch.inf), persistent=False)

        m, h = embedding, width
        self.inner = m
        self.embedding = Tables(columns, max(first, default=1) + 1, m, 1 / math.sqrt(m))
        self.fine = Tables(columns, max(radix, default=1), m)
        self.first = Seeing(columns, m, factors, h, 1 / math.sqrt(m * max(1, columns) / 2))
        self.absent = Seeing(columns, 1, factors, h)
        self.given = nn.Linear(context, factors * h, bias=False) if context else None
        self.bias = Shared(torch.zeros(factors, h))
        self.leading = Tables(len(self.second), max(first, default=1), h)
        self.hidden = nn.ModuleList(Grouped(factors, h, h, 1 / math.sqrt(h)) for _ in range(depth - 1))
        self.out = Grouped(factors, h, most)
        if self.given is not None:
            nn.init.normal_(self.given.weight, std=1 / math.sqrt(context + 1))

    def log_prob(self, x: Tensor, c: Tensor, rank: Tensor) -> Tensor:
        """Log-probability (B,) of codes (B, columns), in the order in which column j has place `rank[j]`."""
        lead, rest = self._split(x)
        seen = (rank[:, None] < rank[self.column]).to(x.dtype)  # (columns, factors)
        h = self.first(self._embed(lead, rest), seen) + self.bias(x)
        h = h + self.absent(torch.ones_like(x if apart() else x[:1])[:, :, None], 1 - seen)
        if self.given is not None:
            h = h + self.given(c).reshape(h.shape)
        h = h.transpose(0, 1)  # (factors, B, width)
        leading = self.leading(lead[:, self.second]).transpose(0, 1)
        h = functional.silu(torch.cat([h[: len(self.order)], h[len(self.order) :] + leading]))
        for layer in self.hidden:
            h = h + functional.silu(layer(h))
        logits = self.out(h) + self.outside[:, None]
        at_end = (lead == self.last)[:, self.second].T[:, :, None]
        second = logits[len(self.order) :].masked_fill(at_end & self.beyond[:, None], -torch.inf)
        logits = torch.cat([logits[: len(self.order)], second])
        digits = torch.cat([lead, rest[:, self.second]], dim=1).T[:, :, None]
        return logits.log_softmax(-1).gather(2, digits)[..., 0].sum(0)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, columns of the space) to first and second digits, (B, columns) each in drawing order."""
        codes = x[:, self.order].long()
        lead = codes // self.radix
        return lead, codes - lead * self.radix

    def _embed(self, lead: Tensor, rest: Tensor, columns: slice = slice(None)) -> Tensor:
        """Digits (B, some columns) to their embeddings (B, some columns, m)."""
        between = self.between[columns]
        share = ((rest + 0.5) / self.radix[columns] * between)[..., None]
        mixed = torch.lerp(self.embedding(lead, columns), self.embedding(lead + 1, columns), share)
        return mixed + self.fine(rest * ~between, columns)

    @torch.no_grad()
    def draw(self, x: Tensor, known: Tensor | None, c: Tensor) -> Tensor:
        """Codes (B, columns), the unknown ones drawn in order, each given all known ones and those drawn before it."""
        lead, rest = self._split(x)
        held = None if known is None else known[:, self.order]
        m = self.inner
        # the embeddings of what is seen, (B, columns * m)
        e = x.new_zeros(len(x), len(self.order) * m)
        if held is not None:
            e = (self._embed(lead, rest) * held[..., None]).flatten(1)
        for j in range(len(self.order)):
            if held is not None and bool(held[:, j].all()):
                continue
            factors = [j, len(self.order) + self.second.index(j)] if j in self.second else [j]
            for digit, f in enumerate(factors):
                h = self._see(e, held, c, j, f)
                if digit == 1:
                    s = f - len(self.order)
                    logits = self._logits(h + self.leading(lead[:, j : j + 1], slice(s, s + 1))[:, 0], f)
                    at_end = (lead[:, j] == self.last[j])[:, None]
                    logits.masked_fill_(at_end & self.beyond[s, : self.digits[f]], -torch.inf)
                else:
                    logits = self._logits(h, f)
                drawn = _pick(logits)
                target = rest if digit else lead
                target[:, j] = drawn if held is None else torch.where(held[:, j], target[:, j], drawn)
            e[:, j * m : (j + 1) * m] = self._embed(lead[:, j : j + 1], rest[:, j : j + 1], slice(j, j + 1))[:, 0]
        drawn = torch.empty_like(x)
        drawn[:, self.order] = (lead * self.radix + rest).to(x.dtype)
        return drawn

    def _see(self, e: Tensor, held: Tensor | None, c: Tensor, j: int, f: int) -> Tensor:
        """What factor f of column j sees: the context, the columns before it, and the known ones after it."""
        bias, first, absent = self.bias.value[f], self.first.weight[:, :, f], self.absent.weight[:, 0, f]
        if self.given is not None:
            h = len(bias)
            bias = torch.addmm(bias, c, self.given.weight[f * h : (f + 1) * h].T)
        if held is None:
            before = j * self.inner
            return torch.addmm(bias + absent[j:].sum(0), e[:, :before], first[:j].flatten(0, 1))
        gone = ~held
        gone[:, :j] = False
        return torch.addmm(torch.addmm(bias, e, first.flatten(0, 1)), gone.to(e.dtype), absent)

    def _logits(self, h: Tensor, f: int) -> Tensor:
        h = functional.silu(h)
        for layer in self.hidden:
            h = h + functional.silu(torch.addmm(layer.bias[f], h, layer.weight[f]))  # type: ignore[index]
        k = self.digits[f]
        return torch.addmm(self.out.bias[f, :, :k], h, self.out.weight[f, :, :k])


def _pick(logits: Tensor) -> Tensor:
    """A digit (B,) for each row of logits (B, k)."""
    total = logits.softmax(1).cumsum(1)
    point = torch.rand(len(logits), 1, device=logits.device) * total[:, -1:]
    return torch.searchsorted(total, point, right=True)[:, 0].clamp(max=logits.shape[1] - 1)
