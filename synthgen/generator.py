"""Generator: the contract that every family fulfils. It learns a distribution on a space, and draws from it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, get_origin, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from synthgen.errors import SynthgenError, near
from synthgen.records import Records
from synthgen.schema import explain
from synthgen.space import Space
from synthgen.training import Objective, Recipe, Training

IMAGES = Recipe(steps=8000, batch_size=64, learning_rate=1e-3)
PRIVATE = {"batch_size": 2048, "epochs": 20, "steps": 0, "learning_rate": 1e-2, "weight_decay": 0}
PRIVATE_IMAGES = {**PRIVATE, "epochs": 5, "learning_rate": 2e-3}
MAX_BYTES = 8 << 30  # of a model's weights: more is no model of ours


class Generator(nn.Module):
    """A distribution over encoded records, given their context.

    A family sets the class attributes, builds every parameter in `__init__` from the sizes alone, and
    defines `loss` (or its own `fit`) and `sample`. `log_prob`, `complete`, `to_latent` and `from_latent`
    are abilities that it has or has not; see the protocols below.

    Args:
        space: shape and sizes of the encoded records.
        context: the same of what is given with each record; width 0 when nothing is.
        config: the family's parameters, an instance of its `Config`.
    """

    class Config(BaseModel):
        """Parameters of the family, each once: type, bound, sentence."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    accepts: ClassVar[tuple[str, ...]] = ("table", "images")
    codes: ClassVar[int] = 0  # every column comes as one of at most so many codes; 0: numbers come as reals
    reals: ClassVar[bool] = False  # numbers that need more codes than that come as reals, not in coarser cells
    private: ClassVar[bool] = True  # can be fitted under a privacy budget: `fit` only trains, or pays for what it asks
    recipe: ClassVar[Recipe] = Recipe()  # the family's defaults for the training loop
    image_recipe: ClassVar[Recipe] = IMAGES  # the same on images
    private_recipe: ClassVar[Mapping[str, float]] = PRIVATE  # what is different under a privacy budget
    private_image_recipe: ClassVar[Mapping[str, float]] = PRIVATE_IMAGES  # the same on images
    sketch: ClassVar[float] = 0.5  # of a budget for images goes to made-up ones, which the training starts from

    def __init__(self, space: Space, context: Space, config: BaseModel) -> None:
        super().__init__()
        self.space, self.context = space, context
        self.config = config

    def loss(self, x: Tensor, c: Tensor) -> Tensor:
        """Loss of each record: (B, *shape) and (B, context.width) to (B,); row i sees record i only."""
        raise NotImplementedError(f"{type(self).__name__} defines neither loss nor fit")

    def objectives(self) -> list[Objective]:
        """What the loop trains; one objective unless a family says otherwise."""
        return [Objective(self, self.loss)]

    def fit(self, records: Records, training: Training) -> None:
        """Learn from the records. Families without a gradient override this and call
        `training.should_stop`, `training.checkpoint` and `training.progress` between rounds.
        """
        training.train(self.objectives(), records)

    def sample(self, n: int, c: Tensor) -> Tensor:
        """Draw n records, (n, *shape), for the contexts `c` of shape (n, context.width)."""
        raise NotImplementedError

    def validate(self) -> None:
        """Raise ValueError where loaded weights contradict each other; called after `load_weights`."""

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take stored weights. A buffer registered with first dimension 0 takes the stored length.

        Raises:
            SynthgenError: names, shapes or types differ, or a number is not finite.
        """
        own = self.state_dict()
        if own.keys() != weights.keys():
            odd = sorted(own.keys() ^ weights.keys())
            raise SynthgenError(f"the stored weights do not fit this generator: {odd[0]!r} is on one side only")
        if sum(t.nbytes for t in weights.values()) > MAX_BYTES:
            raise SynthgenError(f"the stored weights are larger than {MAX_BYTES >> 30} GiB")
        for name, tensor in weights.items():
            expected = own[name]
            grows = expected.dim() > 0 and expected.shape[0] == 0
            fits = tensor.dim() == expected.dim() and tensor.shape[grows:] == expected.shape[grows:]
            if not fits or tensor.dtype != expected.dtype:
                raise SynthgenError(
                    f"stored weight {name!r} is {tensor.dtype} {tuple(tensor.shape)}, "
                    f"expected {expected.dtype} {tuple(expected.shape)}"
                )
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise SynthgenError(f"stored weight {name!r} holds numbers that are not finite")
            if tensor.shape != expected.shape:  # a buffer that grows
                module, _, attribute = name.rpartition(".")
                setattr(self.get_submodule(module), attribute, torch.empty_like(tensor))
        self.load_state_dict(weights)
        try:
            self.validate()
        except (ValueError, IndexError, RuntimeError) as error:
            raise SynthgenError(f"the stored weights contradict each other: {error}") from error


@runtime_checkable
class HasLogProb(Protocol):
    """Ability: the log-density of records."""

    def log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        """(B, *shape), (B, context.width) to (B,): log-probability of codes, log-density of reals."""


@runtime_checkable
class HasBound(Protocol):
    """Ability: a lower bound of the log-density of records."""

    def bound(self, x: Tensor, c: Tensor) -> Tensor:
        """(B, *shape), (B, context.width) to (B,): at most the log-density."""


@runtime_checkable
class Reconstructs(Protocol):
    """Ability: how badly records are reconstructed, which tells the strange ones."""

    def reconstruction(self, x: Tensor, c: Tensor) -> Tensor:
        """(B, *shape), (B, context.width) to (B,): the error of each record."""


@runtime_checkable
class Completes(Protocol):
    """Ability: conditional draws."""

    def complete(self, x: Tensor, known: Tensor, c: Tensor) -> Tensor:
        """`x` with the cells where the boolean (B, *shape) tensor `known` is False drawn given the others.

        Each row has its own pattern. The draw is from the joint distribution that `log_prob` states.
        """


@runtime_checkable
class HasLatents(Protocol):
    """Ability: a latent vector per record, and back."""

    def to_latent(self, x: Tensor, c: Tensor) -> Tensor:
        """Records to latent vectors (B, latent)."""

    def from_latent(self, z: Tensor, c: Tensor) -> Tensor:
        """Latent vectors to records (B, *shape)."""


ABILITIES: dict[str, type] = {
    "log_prob": HasLogProb,
    "bound": HasBound,
    "reconstruction": Reconstructs,
    "complete": Completes,
    "latents": HasLatents,
}
METHODS = {name: (name,) for name in ABILITIES} | {"latents": ("to_latent", "from_latent")}


def abilities(cls: type[Generator]) -> list[str]:
    """Names of the optional abilities that a generator class has."""
    return [name for name, methods in METHODS.items() if all(hasattr(cls, m) for m in methods)]


def recipe_for(cls: type[Generator], kind: str, settings: Mapping[str, Any], private: bool = False) -> Recipe:
    """The recipe of a generator's training on a kind of dataset, with what a budget and the settings change."""
    images = kind == "images"
    defaults = (cls.image_recipe if images else cls.recipe).model_dump()
    if private:
        defaults |= cls.private_image_recipe if images else cls.private_recipe
    loop = {k: v for k, v in settings.items() if k in Recipe.model_fields and k not in cls.Config.model_fields}
    if "epochs" in loop and "steps" not in loop:
        loop["steps"] = 0
    return Recipe(**{**defaults, **loop})


def parse_settings(cls: type[Generator], settings: Mapping[str, Any], kind: str = "table") -> tuple[BaseModel, Recipe]:
    """Settings to a generator's config and the recipe of its training on a kind of dataset.

    Raises:
        SynthgenError: one is unknown or out of its bounds.
    """
    own, loop = cls.Config.model_fields, Recipe.model_fields
    for key in settings:
        if key not in own and key not in loop:
            raise SynthgenError(f"{cls.__name__.lower()} has no setting {key!r}; {near(key, [*own, *loop])}")
    try:
        config = cls.Config(**{k: _parted(v, own[k].annotation) for k, v in settings.items() if k in own})
        return config, recipe_for(cls, kind, settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise SynthgenError(f"setting {explain(error)} (given: {first['input']!r})") from error


def _parted(value: Any, annotation: Any) -> Any:
    """A setting of several values that was written as text, such as 8,5,5, in its parts."""
    return value.split(",") if isinstance(value, str) and get_origin(annotation) is tuple else value
