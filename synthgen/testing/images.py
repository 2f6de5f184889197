"""The checks on images: 8 x 8 pixels, one half of them dark and the other bright, fading downwards."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from synthgen.generator import Generator, abilities
from synthgen.records import Records
from synthgen.space import Space
from synthgen.testing.common import common_checks, config_is_documented
from synthgen.testing.kit import Check, Kit, seeded

SIDE = 8  # pixels
DARK = -0.9
RIGHT = 0.4  # share of the images whose right half is the bright one


def image_checks(cls: type[Generator], settings: Mapping[str, Any], alone: bool = False) -> list[Check]:
    """The checks that apply to a generator class that accepts images; `alone` where it accepts nothing else."""
    kit = ImageKit(cls, settings)
    found: list[Callable[[ImageKit], None]] = [*common_checks(cls), _learns_the_images, _follows_the_context]
    if "complete" in abilities(cls):
        found += [_completions_depend_on_what_is_known]
    first = [Check(config_is_documented, kit)] if alone else []
    return first + [Check(function, kit, "[images]") for function in found]


class ImageKit(Kit):
    """Images whose left half is bright where the class is 0, and the right half where it is 1."""

    kind = "images"
    space = Space((1, SIDE, SIDE))

    def records(self, n: int = 600, given: bool = False) -> Records:
        with seeded(0):
            right = (torch.rand(n) < RIGHT).long()
            brightness = 0.2 + 0.6 * torch.rand(n, 1, 1, 1)
            noise = 0.05 * torch.randn(n, 1, SIDE, SIDE)
        lit = (torch.arange(SIDE) >= SIDE // 2) == right[:, None, None, None].bool()
        fading = brightness * torch.linspace(1, 0.5, SIDE)[:, None]
        x = (torch.where(lit, fading, DARK) + noise).clamp(-1, 1)
        return Records(x, self.contexts(right)) if given else Records(x)

    def strange(self, x: Tensor) -> Tensor:
        """Negatives: the bright half is as bright as none, and the dark one less dark."""
        return -x

    def unlike(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean difference of the pixels."""
        return (x - y).abs().mean((1, 2, 3))

    def valid(self, x: Tensor) -> None:
        assert x.dtype == torch.float32, f"records are float32, not {x.dtype}"
        assert bool(x.isfinite().all()), "records hold numbers that are not finite"
        assert float(x.abs().max()) <= 3, f"pixels lie in [-1, 1], and here is one of {float(x.abs().max()):.1f}"


def _right(x: Tensor) -> Tensor:
    """Whether the right half of images is brighter than the left one, (B,)."""
    left, right = x[..., : SIDE // 2], x[..., SIDE // 2 :]
    return right.mean((1, 2, 3)) > left.mean((1, 2, 3))


def _learns_the_images(kit: ImageKit) -> None:
    """Mean and deviation of each pixel come out about right."""
    x, real = kit.draw(kit.fitted(), 500), kit.records().tensor()[0]
    off = float((x.mean(0) - real.mean(0)).abs().mean())
    assert off < 0.25, f"the mean image is off by {off:.2f} on average, of pixels in [-1, 1]"
    ratio = float((x.std(0) / real.std(0)).mean())
    assert 0.5 < ratio < 1.5, f"pixels vary {ratio:.2f} times as much as they should"


def _follows_the_context(kit: ImageKit) -> None:
    """Images are drawn for the contexts they are given: here these say which half is bright."""
    codes = torch.arange(400) % 2
    x = kit.draw(kit.fitted(given=True), 400, kit.contexts(codes))
    agree = float((_right(x) == codes.bool()).float().mean())
    assert agree > 0.8, f"the half that the context names is the brighter one in {agree:.0%} of the images"


def _completions_depend_on_what_is_known(kit: ImageKit) -> None:
    """Beside a bright half the other one is dark, and the other way round."""
    x = kit.records(200).tensor()[0]
    known = torch.arange(SIDE) < SIDE // 2
    for side, held in (("left", known), ("right", ~known)):
        filled = kit.filled(x, held.expand(x.shape))
        agree = float((_right(filled) == _right(x)).float().mean())
        assert agree > 0.8, f"given the {side} half, the right one of both is the brighter in {agree:.0%} of the images"
