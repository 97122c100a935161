"""Where graphs take their sorting from: the loops in C, or torch operations where there are none."""

from functools import cache
from types import ModuleType

import torch
from torch import Tensor

FEWEST = 64  # numbers for which a loop is called, whose call takes as long as two of torch's operations


def loops_for(*indices: Tensor) -> ModuleType | None:
    """`graphattn.kernels.native.sorting` if its loops can take these indices, which are of one dtype; else None."""
    first = indices[0]
    if first.numel() < FEWEST or first.dtype not in (torch.int64, torch.int32) or first.device.type != "cpu":
        return None
    if any(type(index) is not Tensor for index in indices):  # a subclass has no numbers of its own to read
        return None
    return _loops()


@cache
def _loops() -> ModuleType | None:
    from graphattn.kernels.native import library, sorting  # only here does a graph know of kernels

    return sorting if library.why_not_native() is None else None
