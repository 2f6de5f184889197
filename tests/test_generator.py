"""The contract: stored weights, abilities, settings."""

from typing import ClassVar

import pytest
import torch
from pydantic import Field
from synthgen_autoregressive import Autoregressive
from synthgen_gmm import GMM
from synthgen_trees import Trees
from torch import nn

import synthgen.generator
from synthgen.errors import SynthgenError
from synthgen.generator import Completes, Generator, HasLatents, HasLogProb, abilities, parse_settings
from synthgen.records import Records
from synthgen.space import EMPTY, Space
from synthgen.training import Recipe, Training

SPACE = Space((1,), (3,), (False,))


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.zeros(0, 4))


class Small(Generator):
    class Config(Generator.Config):
        width: int = Field(2, ge=1, le=8, description="of it")
        epochs: int = Field(7, ge=1, description="its own meaning of the word")

    recipe: ClassVar[Recipe] = Recipe(epochs=99, batch_size=64, learning_rate=0.1)

    def __init__(self, space, context, config):
        super().__init__(space, context, config)
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.part = Part()
        self.register_buffer("picks", torch.zeros(0, dtype=torch.int64))

    def validate(self):
        if len(self.picks) != len(self.part.rows):
            raise ValueError("rows and picks differ in number")


def small():
    return Small(SPACE, EMPTY, Small.Config())


def weights(**changes):
    whole = {"weight": torch.ones(2, 3), "part.rows": torch.full((5, 4), 2.0), "picks": torch.arange(5)}
    return {**whole, **{name.replace("__", "."): t for name, t in changes.items()}}


def test_stored_weights_come_back_and_buffers_grow():
    model = small()
    model.load_weights(weights())
    for name, tensor in weights().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_a_grown_buffer_may_be_empty():
    model = small()
    model.load_weights(weights(part__rows=torch.zeros(0, 4), picks=torch.zeros(0, dtype=torch.int64)))
    assert len(model.part.rows) == 0


def test_the_model_does_not_share_memory_with_what_it_was_given():
    model, given = small(), weights()
    model.load_weights(given)
    given["part.rows"].zero_()
    given["weight"].zero_()
    assert bool((model.part.rows == 2).all())
    assert bool((model.weight == 1).all())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"weight": torch.ones(3, 3)}, r"'weight' is torch.float32 \(3, 3\), expected torch.float32 \(2, 3\)"),
        ({"weight": torch.ones(6)}, r"'weight' is .*\(6,\), expected"),
        ({"weight": torch.ones(2, 3, dtype=torch.float64)}, "float64"),
        ({"weight": torch.tensor([[1, 2, torch.nan], [1, 2, 3]])}, "'weight' holds numbers that are not finite"),
        ({"part__rows": torch.full((5, 4), torch.inf)}, "'part.rows' holds numbers that are not finite"),
        ({"part__rows": torch.zeros(5, 3)}, r"'part.rows' is .*expected torch.float32 \(0, 4\)"),
        ({"part__rows": torch.zeros(5)}, "'part.rows' is"),
        ({"picks": torch.zeros(5)}, "'picks' is torch.float32"),
        ({"picks": torch.arange(4)}, "contradict each other: rows and picks differ in number"),
        ({"more": torch.zeros(1)}, "'more' is on one side only"),
    ],
    ids=["shape", "dims", "type", "nan", "infinite", "width", "grown dims", "grown type", "contradiction", "extra"],
)
def test_weights_that_do_not_fit_are_refused(changes, complaint):
    with pytest.raises(SynthgenError, match=complaint):
        small().load_weights(weights(**changes))


def test_a_missing_weight_is_refused():
    cut = weights()
    del cut["picks"]
    with pytest.raises(SynthgenError, match="'picks' is on one side only"):
        small().load_weights(cut)


def test_weights_beyond_the_cap_are_refused(monkeypatch):
    size = sum(t.nbytes for t in weights().values())
    monkeypatch.setattr(synthgen.generator, "MAX_BYTES", size)
    small().load_weights(weights())
    monkeypatch.setattr(synthgen.generator, "MAX_BYTES", size - 1)
    with pytest.raises(SynthgenError, match="larger than"):
        small().load_weights(weights())


@pytest.mark.parametrize(
    ("cls", "names"),
    [(Generator, []), (Trees, []), (Autoregressive, ["log_prob", "complete"]), (GMM, ["log_prob", "complete"])],
)
def test_abilities_are_told_from_the_class(cls, names):
    assert abilities(cls) == names


def test_latents_need_both_directions():
    half = type("Half", (Generator,), {"to_latent": lambda self, x, c: x})
    both = type("Both", (half,), {"from_latent": lambda self, z, c: z})
    assert abilities(half) == []
    assert abilities(both) == ["latents"]


def test_abilities_and_protocols_agree():
    for cls in (Small, Trees, Autoregressive, GMM):
        model = cls(SPACE, EMPTY, cls.Config())
        has = [n for n, p in {"log_prob": HasLogProb, "complete": Completes}.items() if isinstance(model, p)]
        assert has == abilities(cls)
        assert not isinstance(model, HasLatents)


def test_a_family_without_loss_or_fit_says_so():
    with pytest.raises(NotImplementedError, match="Small defines neither loss nor fit"):
        small().fit(Records(torch.zeros(20, 1)), Training())


def test_settings_go_to_the_config_or_to_the_recipe():
    config, recipe = parse_settings(Autoregressive, {"width": 8, "epochs": 3})
    assert config == Autoregressive.Config(width=8)
    assert recipe == Autoregressive.recipe.model_copy(update={"epochs": 3})


def test_without_settings_the_family_has_its_defaults():
    assert parse_settings(Autoregressive, {}) == (Autoregressive.Config(), Autoregressive.recipe)
    assert parse_settings(Small, {})[1].batch_size == 64


def test_a_name_that_the_family_uses_itself_does_not_reach_the_recipe():
    config, recipe = parse_settings(Small, {"epochs": 2})
    assert (config.epochs, recipe.epochs) == (2, 99)


@pytest.mark.parametrize(
    ("name", "meant"), [("epoch", "epochs"), ("withd", "width"), ("learning_rat", "learning_rate")]
)
def test_an_unknown_setting_is_refused_and_the_near_one_offered(name, meant):
    with pytest.raises(SynthgenError, match=f"autoregressive has no setting {name!r}; did you mean {meant!r}"):
        parse_settings(Autoregressive, {name: 1})


def test_where_none_is_near_all_settings_are_named():
    with pytest.raises(SynthgenError, match="known: 'components', 'passes', 'epochs'"):
        parse_settings(GMM, {"zzz": 1})


@pytest.mark.parametrize(
    ("setting", "value"),
    [("width", 3), ("width", 1025), ("width", "wide"), ("any_order", 1.5), ("epochs", 0), ("ema", 1), ("epochs", 2.5)],
)
def test_a_setting_out_of_its_bounds_is_refused_by_name(setting, value):
    with pytest.raises(SynthgenError, match=rf"^setting {setting}: .*given: {value!r}"):
        parse_settings(Autoregressive, {setting: value})
