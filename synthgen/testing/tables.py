"""The checks on a table: two codes, three codes, a number, and a copy of the three codes."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from synthgen.generator import Generator, HasLogProb, abilities
from synthgen.records import Records
from synthgen.space import Space
from synthgen.testing.common import common_checks, config_is_documented
from synthgen.testing.kit import Check, Kit, seeded


def table_checks(cls: type[Generator], settings: Mapping[str, Any]) -> list[Check]:
    """The checks that apply to a generator class that accepts tables."""
    kit = TableKit(cls, settings)
    found: list[Callable[[TableKit], None]] = [config_is_documented, *common_checks(cls)]
    found += [_learns_how_columns_depend, _follows_the_context]
    able = abilities(cls)
    if "log_prob" in able:
        found += [_probabilities_sum_to_one]
    if "complete" in able:
        found += [_completions_depend_on_what_is_known]
    return [Check(function, kit) for function in found]


class TableKit(Kit):
    """A table whose third and fourth columns follow the second, and the first the context."""

    kind = "table"

    def __init__(self, cls: type[Generator], settings: Mapping[str, Any]) -> None:
        super().__init__(cls, settings)
        real = cls.codes == 0 or cls.reals  # the number comes in the view that the class asks for
        self.space = Space((4,), (2, 3, 0 if real else 40, 3), (False, False, True, False))

    def records(self, n: int = 600, given: bool = False) -> Records:
        with seeded(0):
            label = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), n, replacement=True).float()
            score = (label - 1) * 1.2 + 0.3 * torch.randn(n)
            number = score if self.space.sizes[2] == 0 else ((score + 2) * 10).round().clamp(0, 39)
            flag = (torch.rand(n) < 0.5).float()
        x = torch.stack([flag, label, number, label], dim=1)
        return Records(x, self.context.embed(flag[:, None])) if given else Records(x)

    def strange(self, x: Tensor) -> Tensor:
        """The copy is no copy."""
        return torch.cat([x[:, :3], (x[:, 3:] + 1) % 3], dim=1)

    def unlike(self, x: Tensor, y: Tensor) -> Tensor:
        """The share of the two columns of three codes that differ."""
        return (x[:, [1, 3]] != y[:, [1, 3]]).float().mean(1)

    def valid(self, x: Tensor) -> None:
        assert x.dtype == torch.float32, f"records are float32, not {x.dtype}"
        assert bool(x.isfinite().all()), "records hold numbers that are not finite"
        for j, size in enumerate(self.space.sizes):
            if size:
                codes = x[:, j]
                whole = bool((codes == codes.round()).all() and (codes >= 0).all() and (codes < size).all())
                assert whole, f"column {j} holds something else than codes below {size}"


def _learns_how_columns_depend(kit: TableKit) -> None:
    """Frequencies come out about right, and a column that is a copy of another stays so mostly."""
    x = kit.draw(kit.fitted(), 2000)
    frequency = x[:, 1].long().bincount(minlength=3) / len(x)
    distance = 0.5 * float((frequency - torch.tensor([0.5, 0.3, 0.2])).abs().sum())
    assert distance < 0.15, f"the frequencies of a column of three codes are off by {distance:.2f}"
    equal = float((x[:, 1] == x[:, 3]).float().mean())
    assert equal > 0.8, f"two columns that are always equal are so in {equal:.0%} of the records"


def _follows_the_context(kit: TableKit) -> None:
    """Records are drawn for the contexts they are given: here the first column repeats it."""
    codes = torch.arange(400) % 2
    x = kit.draw(kit.fitted(given=True), 400, kit.contexts(codes))
    agree = float((x[:, 0] == codes).float().mean())
    assert agree > 0.8, f"a column that always repeats the context does so in {agree:.0%} of the records"


def _probabilities_sum_to_one(kit: TableKit) -> None:
    """exp(log_prob) sums to 1 over a space of two coded columns, by enumeration."""
    space = Space((2,), (2, 3), (False, False))
    model = kit.fit(kit.build(space), Records(kit.records().tensor()[0][:, :2]))
    assert isinstance(model, HasLogProb)
    every = torch.tensor(list(itertools.product(range(2), range(3))), dtype=torch.float32)
    with torch.no_grad():
        total = float(model.log_prob(every, torch.zeros(6, 0)).exp().sum())
    assert abs(total - 1) < 1e-3, f"the probabilities of all records sum to {total:.4f}"


def _completions_depend_on_what_is_known(kit: TableKit) -> None:
    """Given the fourth column, the second is its copy, mostly; so it is the other way round."""
    x = kit.records(300).tensor()[0]
    for target, source in ((1, 3), (3, 1)):
        known = torch.ones(x.shape, dtype=torch.bool)
        known[:, target] = False
        filled = kit.filled(x, known)
        equal = float((filled[:, target] == filled[:, source]).float().mean())
        assert equal > 0.8, f"column {target} should be drawn equal to column {source}, and is in {equal:.0%} of rows"
