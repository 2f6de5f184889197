"""Structural similarity of images: how alike means, contrasts and structures are in small windows.

Source: Wang et al., Image quality assessment: from error visibility to structural similarity, 2004.
"""

from torch import Tensor
from torch.nn import functional

WINDOW = 7  # pixels; uniform
RANGE = 2.0  # of pixels in [-1, 1]


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity (B,) of images (B, channels, height, width) in [-1, 1]; 1 for equal ones."""
    size = min(WINDOW, *a.shape[2:])
    mean = [functional.avg_pool2d(t, size, stride=1) for t in (a, b, a * a, b * b, a * b)]
    ma, mb, aa, bb, ab = mean
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    luminance = (2 * ma * mb + c1) / (ma * ma + mb * mb + c1)
    structure = (2 * (ab - ma * mb) + c2) / ((aa - ma * ma) + (bb - mb * mb) + c2)
    return (luminance * structure).flatten(1).mean(1)
