"""Dropout of a table by the loop of drop.c, which draws as attention does (`formulas/dropout.py`); float32 on the CPU."""

import ctypes

import torch
from torch import Tensor

from graphattn.formulas.dropout import keep_factors
from graphattn.kernels.native.arrays import empty
from graphattn.kernels.native.border import Struct, hand_over, let_read
from graphattn.kernels.native.threads import count_pieces, even_bounds, run

REAL = torch.float32
BLOCK = 4096  # numbers, DROP_BLOCK of drop.h
PIECE = 2**15  # numbers, some 20 us


class Drop(Struct):
    """Drop of drop.h."""

    SEEDS = ("seed",)
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("count", "seed", "threshold")),
        ("keep_scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("x", "y")),
    )

    def arrays(self, real):
        return dict.fromkeys(("x", "y"), (REAL, self.count))


def forward(x: Tensor, dropout: float, seed: int) -> Tensor:
    """x times 0, with this probability, or 1 / (1 - dropout); of a gradient the same is the gradient.

    Args:
        dropout: Above 0 and below 1.
        seed: Below 2^32.
    """
    y = empty(x.shape, REAL)
    struct = Drop(x.numel(), seed, round(dropout * 2**32), 1 / (1 - dropout))
    hand_over(let_read(struct, REAL, x=x), REAL, y=y)
    run("drop_f32", struct, even_bounds(-(-x.numel() // BLOCK), count_pieces(x.numel(), PIECE)))
    return y


def factors(x: Tensor, dropout: float, seed: int) -> Tensor:
    """What `forward` multiplies x by, from plain operations."""
    at = torch.arange(x.numel(), device=x.device)
    number = torch.tensor(seed, device=x.device), at // BLOCK, at % BLOCK, torch.zeros_like(at)
    return keep_factors(*number, heads=1, dropout=dropout, dtype=x.dtype).view(x.shape)
