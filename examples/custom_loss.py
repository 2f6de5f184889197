"""Losses of your own: a VAE that keeps the structure of images, and one that is fair in tables.

python examples/custom_loss.py [FOLDER | TABLE TARGET PROTECTED]
"""

import sys
from pathlib import Path

import pandas as pd
import torch
from images import digits
from scipy.stats.contingency import association
from synthgen_vae import VAE

from synthgen import Synthesizer
from synthgen.data import write_sheet
from synthgen.nn.similarity import ssim


class Structured(VAE):
    """What is decoded shares edges and contrasts with the image, not pixels alone."""

    def loss(self, x, c):  # a number for each record, from that record alone
        return super().loss(x, c) + self.space.width * (1 - ssim(self.from_latent(self.to_latent(x, c), c), x))


class Fair(VAE):
    """The first column has the same chances in every group; groups are the values of the column that is given."""

    def loss(self, x, c):
        z = self.spread_latent(x, c)
        other = torch.eye(c.shape[1])[torch.randint(c.shape[1], (len(x),))].to(c)
        return super().loss(x, c) + 100 * (self.chances(z, c) - self.chances(z, other)).square().sum(1)

    def chances(self, z, c):
        return self.decode(z, c)[:, self.space.columns(0)].softmax(1)

    def sample(self, n, c):  # each from the latent vector of any group, which therefore tells nothing of its own
        return self.head.draw(self.decode(self.density.sample(c[torch.randperm(n)]), c))


if len(sys.argv) < 3:
    drawn = Synthesizer(Structured, steps=1000).fit(sys.argv[1] if sys.argv[1:] else digits()).generate(100)
    write_sheet("structured.png", drawn, columns=10, scale=4)
if len(sys.argv) != 2:
    path, target, protected = sys.argv[1:] or (Path(__file__).with_name("planes.csv"), "manufacturer", "engine")
    frame = pd.read_csv(path)
    frame.insert(0, target, frame.pop(target))  # what the loss takes for the target
    for cls in (VAE, Fair):
        drawn = Synthesizer(cls, given=[protected], rounds=0, epochs=20).fit(frame).generate(len(frame))
        depends = association(pd.crosstab(drawn[protected], drawn[target]))
        print(f"{cls.__name__}: {target} depends on {protected} by {depends:.2f} (Cramér's V)")
