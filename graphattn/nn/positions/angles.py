"""Angles that grow with the position, of geometrically growing periods."""

import math

import torch
from torch import Tensor


def angles(pos: Tensor, pairs: int, max_period: float) -> Tensor:
    """pos / max_period^(i / pairs) for i in 0 .. pairs - 1 and every axis: [num_nodes, axes] -> [num_nodes, axes, pairs].

    In float32, or in float64 if `pos` is: half precision cannot tell position 300 from 301.

    >>> angles(torch.tensor([[0.0], [200.0]]), 2, max_period=10_000.0).flatten()
    tensor([  0.,   0., 200.,   2.])
    """
    pos = pos.to(torch.promote_types(pos.dtype, torch.float32))
    exponent = torch.arange(pairs, device=pos.device, dtype=pos.dtype) / pairs
    return pos[..., None] * torch.exp(-math.log(max_period) * exponent)
