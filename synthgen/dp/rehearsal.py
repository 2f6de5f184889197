"""Rehearsal: a private fit of a generator on random records, so that one that cannot be private costs nothing."""

from __future__ import annotations

import torch
from pydantic import BaseModel

from synthgen.dp.budget import Budget
from synthgen.dp.ledger import TRAINING, Charge
from synthgen.dp.records import PrivateRecords
from synthgen.errors import BudgetError, SynthgenError
from synthgen.generator import Generator
from synthgen.space import EMPTY, Space
from synthgen.training import Recipe, Training

SPACES = {"table": Space((3,), (3, 6, 12), (False, True, True)), "images": Space((1, 8, 8))}
RECORDS = 64


class _Free(Budget):
    """A budget that pays for anything: there is nothing to protect."""

    def charge(self, charge: Charge) -> None:
        self.ledger.append(charge)

    def training(self, what: str, rate: float, steps: int, later: float = 0.0) -> float:
        self.charge(Charge(what, TRAINING, 1.0, 0.0, rate=rate, steps=steps))
        return 1.0


def rehearse(cls: type[Generator], config: BaseModel, name: str, kind: str) -> bool:
    """Fit a generator for two steps on random records behind a budget that costs nothing.

    Returns:
        whether it trains.

    Raises:
        BudgetError: it cannot be fitted under a budget; the text says why.
    """
    if not cls.private:
        raise BudgetError(f"{name} cannot be fitted under a privacy budget, as its author says; marginals can")
    space = SPACES[kind]
    x = torch.randn(RECORDS, *space.shape)
    if space.sizes:
        x = (x.abs() * 2).floor().clamp(max=torch.tensor(space.sizes) - 1)
    c = torch.zeros(RECORDS, 0)
    budget = _Free(1.0, 1e-5)
    records = PrivateRecords(x, c, space, EMPTY, (x, c), RECORDS, budget)
    try:
        with torch.random.fork_rng():
            cls(space, EMPTY, config).fit(records, Training(Recipe(steps=2, batch_size=RECORDS)))  # type: ignore[arg-type]
    except SynthgenError as error:
        raise BudgetError(f"{name} cannot be fitted under a privacy budget: {error}") from error
    except Exception as error:  # whatever a stranger's generator does with records that are none
        text = f"{type(error).__name__}: {error}"
        raise BudgetError(f"{name} cannot be fitted under a privacy budget, its fit ends with {text}") from error
    return any(charge.mechanism == TRAINING for charge in budget.ledger)
