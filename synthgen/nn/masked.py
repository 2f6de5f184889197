"""Masked network: p(x) = Π_j p(x_j | x_<j) over a table's columns, all factors in one masked pass.

Each column has a small network of its own that sees the embeddings of the columns before it; which these are
is a mask on its first layer (Germain et al., MADE, 2015). A column of many codes is drawn as two digits, the
second given the first; codes in order are embedded by linear interpolation between those of the first digit.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        self.embedding = nn.Parameter(torch.randn(columns, max(first, default=1) + 1, m) / math.sqrt(m))
        self.fine = nn.Parameter(torch.zeros(columns, max(radix, default=1), m))
        self.first = nn.Parameter(torch.randn(columns, m, factors, h) / math.sqrt(m * max(1, columns) / 2))
        self.absent = nn.Parameter(torch.zeros(columns, factors, h))
        self.given = nn.Parameter(torch.randn(context, factors * h) / math.sqrt(context + 1))
        self.first_bias = nn.Parameter(torch.zeros(factors * h))
        self.leading = nn.Parameter(torch.zeros(len(self.second), max(first, default=1), h))
        self.hidden = nn.Parameter(torch.randn(depth - 1, factors, h, h) / math.sqrt(h))
        self.bias = nn.Parameter(torch.zeros(depth - 1, factors, 1, h))
        self.out = nn.Parameter(torch.zeros(factors, h, most))
        self.out_bias = nn.Parameter(torch.zeros(factors, 1, most))

    def log_prob(self, x: Tensor, c: Tensor, rank: Tensor) -> Tensor:
        """Log-probability (B,) of codes (B, columns), in the order in which column j has place `rank[j]`."""
        lead, rest = self._split(x)
        seen = (rank[:, None] < rank[self.column]).to(x.dtype)[:, None, :, None]  # (columns, 1, factors, 1)
        weight = (self.first * seen).flatten(2).flatten(0, 1)
        shift = (self.absent * (1 - seen[:, 0])).sum(0).flatten()
        h = self._embed(lead, rest).flatten(1) @ weight + c @ self.given + shift + self.first_bias
        h = h.reshape(len(x), len(self.digits), -1).transpose(0, 1)  # (factors, B, width)
        leading = _look_up(self.leading, lead[:, self.second]).transpose(0, 1)
        h = torch.cat([h[: len(self.order)], h[len(self.order) :] + leading])
        h = functional.silu(h)
        for weight, bias in zip(self.hidden, self.bias, strict=True):
            h = h + functional.silu(torch.baddbmm(bias, h, weight))
        logits = torch.baddbmm(self.out_bias, h, self.out) + self.outside[:, None]
        at_end = (lead == self.last)[:, self.second].T[:, :, None]
        logits[len(self.order) :].masked_fill_(at_end & self.beyond[:, None], -torch.inf)
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
        mixed = torch.lerp(_look_up(self.embedding, lead, columns), _look_up(self.embedding, lead + 1, columns), share)
        return mixed + _look_up(self.fine, rest * ~between, columns)

    @torch.no_grad()
    def draw(self, x: Tensor, known: Tensor | None, c: Tensor) -> Tensor:
        """Codes (B, columns), the unknown ones drawn in order, each given all known ones and those drawn before it."""
        lead, rest = self._split(x)
        held = None if known is None else known[:, self.order]
        m = self.embedding.shape[2]
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
                    logits = self._logits(h + self.leading[s, lead[:, j]], f)
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
        h = self.first_bias.numel() // len(self.digits)
        bias = self.first_bias[f * h : (f + 1) * h]
        if c.shape[1]:
            bias = torch.addmm(bias, c, self.given[:, f * h : (f + 1) * h])
        if held is None:
            before = j * self.embedding.shape[2]
            return torch.addmm(bias + self.absent[j:, f].sum(0), e[:, :before], self.first[:j, :, f].reshape(before, h))
        gone = ~held
        gone[:, :j] = False
        seen = torch.addmm(bias, e, self.first[:, :, f].flatten(0, 1))
        return torch.addmm(seen, gone.to(e.dtype), self.absent[:, f])

    def _logits(self, h: Tensor, f: int) -> Tensor:
        h = functional.silu(h)
        for weight, bias in zip(self.hidden[:, f], self.bias[:, f], strict=True):
            h = h + functional.silu(torch.addmm(bias, h, weight))
        k = self.digits[f]
        return torch.addmm(self.out_bias[f, :, :k], h, self.out[f, :, :k])


def _look_up(tables: Tensor, index: Tensor, columns: slice = slice(None)) -> Tensor:
    """Row `index[b, j]` of table j for each j of `columns`: (tables, rows, m), (B, columns) to (B, columns, m)."""
    start = torch.arange(0, tables.shape[0] * tables.shape[1], tables.shape[1], device=index.device)[columns]
    return functional.embedding(index + start, tables.flatten(0, 1))


def _pick(logits: Tensor) -> Tensor:
    """A digit (B,) for each row of logits (B, k)."""
    total = logits.softmax(1).cumsum(1)
    point = torch.rand(len(logits), 1, device=logits.device) * total[:, -1:]
    return torch.searchsorted(total, point, right=True)[:, 0].clamp(max=logits.shape[1] - 1)
