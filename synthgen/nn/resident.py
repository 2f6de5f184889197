"""Resident: what stays on the CPU, wherever the rest of a generator lives."""

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class Resident(nn.Module):
    """A module that `to(device)` leaves where it is: it works in numpy, or in many small solves."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return self
