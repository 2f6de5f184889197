"""Classifier: a small network that names the classes of images; what it learns from synthetic ones is their use.

Source: Ravuri and Vinyals, Classification accuracy score for conditional generative models, 2019. It is blind to blur,
which hardly changes what an image shows: a high accuracy does not mean faithful images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from synthgen.errors import SynthgenError
from synthgen.metrics.extractors import colours

SIZE = 32  # pixels of the squares that the network sees
WIDTH = 32
BATCH = 64
RATE = 5e-3
STEPS = 600

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Classifier:
    """A trained network; maps images (n, channels, 32, 32) in [0, 1] to logits (n, classes)."""

    network: nn.Module

    def probabilities(self, pixels: Pixels) -> NDArray[np.float64]:
        """How likely each class is, (n, classes), of images (n, height, width, channels)."""
        with torch.no_grad():
            parts = [self.network(_seen(pixels[i : i + BATCH])).double() for i in range(0, len(pixels), BATCH)]
        return torch.cat(parts).softmax(1).numpy()

    def predictions(self, pixels: Pixels) -> Labels:
        """The likeliest class (n,) of images (n, height, width, channels)."""
        return self.probabilities(pixels).argmax(axis=1)


def train_classifier(
    pixels: Pixels,
    labels: Labels,
    classes: int,
    steps: int = STEPS,
    seed: int = 0,
    report: Callable[[float], None] = lambda done: None,
    weights: NDArray[np.float64] | None = None,
) -> Classifier:
    """Train on images of all sizes, which it sees at 32 pixels; a class without images is hardly ever named.

    It takes about ten seconds of one core, whatever the number of images.

    Args:
        pixels: bytes (n, height, width, channels); the channels are L, LA, RGB or RGBA.
        labels: the class of each, in range(classes).
        classes: how many there are.
        steps: of 64 images each.
        seed: of the weights and of the order of images. The caller's random numbers are left alone.
        report: called with the share done; what it raises ends the training.
        weights: what the loss of each image counts (n,); 1 by default.

    Raises:
        SynthgenError: there are no images.
    """
    if not len(pixels):
        raise SynthgenError("there are no images that a classifier could learn from")
    x, y = _seen(pixels), torch.from_numpy(np.asarray(labels, np.int64))
    weight = torch.ones(len(y)) if weights is None else torch.from_numpy(weights).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(x.shape[1], classes)
        optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
        for step in range(steps):
            rows = torch.randint(len(x), (BATCH,))
            optimizer.zero_grad()
            losses = functional.cross_entropy(network(x[rows]), y[rows], reduction="none")
            (weight[rows] * losses).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            report((step + 1) / steps)
    return Classifier(network.eval())


def _seen(pixels: Pixels) -> Tensor:
    return colours(pixels, SIZE).contiguous(memory_format=torch.channels_last)


def _network(channels: int, classes: int) -> nn.Module:
    """Four convolutions, half and then a quarter as wide and high as the image, and one linear map."""
    half = WIDTH // 2
    body = [
        *_layer(channels, half, 2),
        *_layer(half, WIDTH),
        *_layer(WIDTH, 2 * WIDTH, 2),
        *_layer(2 * WIDTH, 2 * WIDTH),
    ]
    head = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(2 * WIDTH * 16, classes)]
    network = nn.Sequential(nn.BatchNorm2d(channels), *body, *head)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _layer(before: int, after: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
