"""Tensors as the flat arrays that compiled loops are given, and memory for what they write."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphattn.kernels.kernel import Inputs

LINE = 64  # bytes of a cache line, to which torch aligns what it allocates
LARGE_PAGES = 2**22  # bytes from which NumPy asks for large pages
NOTHING = {dtype: torch.empty(0, dtype=dtype).numpy() for dtype in (torch.float32, torch.float64)}


class Sizes(NamedTuple):
    heads: int
    kv_heads: int
    dim: int
    value_dim: int
    edge_dim: int

    @classmethod
    def of(cls, inputs: Inputs) -> "Sizes":
        edge_dim = 0 if inputs.edge_features is None else inputs.edge_features.size(1)
        return cls(inputs.query.size(1), *inputs.key.shape[1:], inputs.value.size(2), edge_dim)


def flat(tensor: Tensor | None, dtype: torch.dtype) -> np.ndarray:
    """The numbers of a tensor in a row; an empty array for None."""
    if tensor is None:
        return NOTHING[dtype]
    tensor = tensor.detach()
    tensor = tensor if tensor.dtype == dtype else tensor.to(dtype)
    return tensor.reshape(-1).numpy()


def zeros(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros that start at a cache line, so that no head of 16 numbers lies across two.

    Many of them come from NumPy, which asks the system for large pages: torch's take five times as long to touch first.
    """
    return allocate(shape, dtype, torch.zeros, np.zeros)


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The same with any numbers in it, for who writes them all."""
    return allocate(shape, dtype, torch.empty, np.empty)


def allocate(shape: Sequence[int], dtype: torch.dtype, few: Callable, many: Callable) -> Tensor:
    count = math.prod(shape)
    if count * dtype.itemsize < LARGE_PAGES:
        return few(shape, dtype=dtype, device="cpu")  # whatever the default device is
    return torch.from_numpy(at_cache_line(many, count, NOTHING[dtype].dtype)).view(*shape)


def at_cache_line(make: Callable[[int, np.dtype], np.ndarray], count: int, dtype: np.dtype) -> np.ndarray:
    spare = make(count + LINE // dtype.itemsize, dtype)
    start = -spare.__array_interface__["data"][0] % LINE // dtype.itemsize
    return spare[start : start + count]
