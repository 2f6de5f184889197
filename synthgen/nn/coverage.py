"""Coverage: the share of real records with a drawn one nearby, which falls when a generator leaves some out.

Source: Naeem et al., Reliable fidelity and diversity metrics for generative models, 2020.
"""

import torch
from torch import Tensor

NEIGHBOURS = 5


def coverage(real: Tensor, drawn: Tensor) -> float:
    """Share of real vectors (n, width) that have one of the drawn (m, width) within their neighbourhood.

    A neighbourhood reaches to the fifth nearest other real vector. About .97 for as many fresh real records.
    """
    reach = torch.cdist(real, real).kthvalue(min(NEIGHBOURS + 1, len(real)), dim=1).values
    nearest = torch.cdist(real, drawn).min(1).values
    return float((nearest <= reach).float().mean())
