"""Tones: monotone curves that give drawn numbers the distribution of the real ones, quantile for quantile."""

import torch
from torch import Tensor, nn

POINTS = 257
MOST = 400_000  # numbers of a channel that are sorted


class Tones(nn.Module):
    """A curve for each of some channels, at first the identity.

    Args:
        channels: how many curves.
        ends: the least and the greatest number.
    """

    drawn: Tensor
    real: Tensor

    def __init__(self, channels: int, ends: tuple[float, float]) -> None:
        super().__init__()
        line = torch.linspace(*ends, POINTS).repeat(channels, 1)
        self.register_buffer("drawn", line)
        self.register_buffer("real", line.clone())

    def fit(self, drawn: Tensor, real: Tensor) -> None:
        """Learn from numbers (n, channels, …) of both kinds."""
        self.drawn, self.real = _quantiles(drawn), _quantiles(real)

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (n, channels, …) moved along the curves; constant beyond their ends."""
        curves = zip(x.unbind(1), self.drawn, self.real, strict=True)
        return torch.stack([_along(part.contiguous(), at, to) for part, at, to in curves], 1) if x.shape[1] else x


def _quantiles(x: Tensor) -> Tensor:
    """Evenly spaced quantiles (channels, POINTS)."""
    numbers = x.transpose(0, 1).flatten(1)
    ordered = numbers[:, :: -(-numbers.shape[1] // MOST)].sort(1).values
    places = torch.linspace(0, ordered.shape[1] - 1, POINTS, device=x.device).round().long()
    return ordered[:, places]


def _along(x: Tensor, at: Tensor, to: Tensor) -> Tensor:
    """Piecewise linear interpolation of the points (at, to), at x."""
    right = torch.searchsorted(at.contiguous(), x).clamp(1, len(at) - 1)
    low, high = at[right - 1], at[right]
    share = ((x - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return torch.lerp(to[right - 1], to[right], share)
