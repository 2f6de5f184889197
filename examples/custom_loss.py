"""Losses of your own: a VAE that keeps the structure of images, and one that is fair in tables.

python examples/custom_loss.py [FOLDER | TABLE TARGET PROTECTED]
"""

import sys
from pathlib import Path

import pandas as pd
import torch
from synthgen_vae import VAE

from synthgen import Synthesizer, write
from synthgen.nn.similarity import ssim


class Structured(VAE):
    """What is decoded shares edges and contrasts with the image, not pixels alone."""

    def loss(self, x, c):  # one number for each record, from that record alone
        return super().loss(x, c) + self.space.width * (1 - ssim(self.from_latent(self.to_latent(x, c), c), x))


class Fair(VAE):
    """The labels of the first column have the same chances under every value of the column that is given."""

    def loss(self, x, c):
        groups = torch.eye(c.shape[1], device=c.device)[:, None].expand(-1, len(x), -1)
        outputs = [self.decoder(self.to_latent(x, c), self.condition(group)) for group in groups]
        chances = torch.stack([y[:, self.space.columns(0)].softmax(1) for y in outputs])
        return super().loss(x, c) + 100 * chances.var(0).sum(1)

    def sample(self, n, c):  # each from a latent vector of any group, so that it does not tell the group
        return self.head.draw(self._output(self.density.sample(c[torch.randperm(n)]), c))


if len(sys.argv) < 3:
    write(Synthesizer(Structured).fit(sys.argv[1] if sys.argv[1:] else "digits").generate(100), "structured")
if len(sys.argv) != 2:
    planes = Path(__file__).with_name("planes.csv"), "type", "engine"
    path, target, protected = sys.argv[1:] or planes
    frame = pd.read_csv(path)
    frame.insert(0, target, frame.pop(target))  # the first column
    for cls in (VAE, Fair):
        drawn = Synthesizer(cls, given=[protected], rounds=0).fit(frame).generate(len(frame))
        print(cls.__name__, pd.crosstab(drawn[protected], drawn[target], normalize="index").round(2), sep="\n")
