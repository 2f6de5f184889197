"""What checks are made of: a generator class with records to try it on, and a function that asserts something."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from synthgen.generator import Generator, parse_settings
from synthgen.records import Records
from synthgen.space import EMPTY, Space
from synthgen.training import Training


class Kit(ABC):
    """A generator class with a small space and records to try it on; what these are depends on the kind.

    Args:
        cls: the generator class.
        settings: values for its Config and its Recipe.
    """

    kind: ClassVar[str]
    space: Space
    context = Space((1,), (2,), (False,))

    def __init__(self, cls: type[Generator], settings: Mapping[str, Any]) -> None:
        self.cls = cls
        self.config, self.recipe = parse_settings(cls, settings, self.kind)
        self.rounds = 0  # how often the last fit asked whether to stop
        self._fitted: dict[bool, tuple[Generator, int]] = {}

    @abstractmethod
    def records(self, n: int = 600, given: bool = False) -> Records:
        """The first n records, with their context where it is `given`."""

    @abstractmethod
    def strange(self, x: Tensor) -> Tensor:
        """Records of the space that are quite unlike the records `x`."""

    @abstractmethod
    def unlike(self, x: Tensor, y: Tensor) -> Tensor:
        """How far each record is from another, (B,)."""

    @abstractmethod
    def valid(self, x: Tensor) -> None:
        """Assert that records lie in the space."""

    def build(self, space: Space | None = None, given: bool = False) -> Generator:
        """A generator that has learned nothing yet."""
        with seeded(1):
            return self.cls(space or self.space, self.context if given else EMPTY, self.config)

    def fit(self, model: Generator, records: Records, stop: int = 0, **options: Any) -> Generator:
        """Fit a generator on records; the user interrupts it in round `stop`, if that is not 0."""
        self.rounds = 0

        def interrupted() -> bool:
            self.rounds += 1
            return self.rounds == stop

        with seeded(2):
            model.fit(records, Training(self.recipe, interrupted=interrupted, **options))
        return model.eval()

    def fitted(self, given: bool = False) -> Generator:
        """A generator fitted on the records, the same object each time."""
        if given not in self._fitted:
            self._fitted[given] = self.fit(self.build(given=given), self.records(given=given)), self.rounds
        model, self.rounds = self._fitted[given]
        return model

    def draw(self, model: Generator, n: int, c: Tensor | None = None, seed: int = 3) -> Tensor:
        """N records of a generator."""
        with seeded(seed), torch.no_grad():
            return model.sample(n, torch.zeros(n, 0) if c is None else c)

    def contexts(self, codes: Tensor) -> Tensor:
        """Embedded contexts of codes (n,)."""
        return self.context.embed(codes[:, None].float())

    def ability(self, protocol: type) -> Any:
        """The fitted generator, which has an ability."""
        model = self.fitted()
        assert isinstance(model, protocol)
        return model

    def filled(self, x: Tensor, known: Tensor) -> Tensor:
        """What the fitted generator makes of records whose unknown cells it cannot see."""
        blank = torch.where(known, x, torch.zeros(()))
        with seeded(0), torch.no_grad():
            return self.fitted().complete(blank, known, torch.zeros(len(x), 0))  # type: ignore[operator]


K = TypeVar("K", bound=Kit)


class Check:
    """One check of one generator; calling it raises AssertionError with what to mend."""

    def __init__(self, function: Callable[[K], None], kit: K, suffix: str = "") -> None:
        self._run = partial(function, kit)
        self._name = function.__name__.removeprefix("_") + suffix
        self.__doc__ = function.__doc__

    def __call__(self) -> None:
        """Run the check."""
        self._run()

    def __str__(self) -> str:
        return self._name


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block with random numbers of its own; those of the caller go on as if it were not there."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
