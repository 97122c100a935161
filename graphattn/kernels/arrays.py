"""The door between tensors and compiled loops: what becomes an address passes here, and so does memory for what loops write.

Loops know where a number lies from the sizes alone. A tensor may hold its numbers in any other way: a gradient that `.sum()`
sends back is one number with stride 0, a column of a table has gaps. So they are laid side by side here, and nowhere else.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphattn.kernels.kernel import Inputs

LINE = 64  # bytes of a cache line, to which torch aligns what it allocates
LARGE_PAGES = 2**22  # bytes from which NumPy asks for large pages
DTYPES = torch.float32, torch.float64, torch.int64, torch.uint8  # of what loops are given
NOTHING = {dtype: torch.empty(0, dtype=dtype).numpy() for dtype in DTYPES}


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
    """The numbers of a tensor for loops that read them, side by side; an empty array for None.

    The memory is that of the tensor where its numbers already lie so.
    """
    return NOTHING[dtype] if tensor is None else in_a_row(tensor.detach().to(dtype))


def integers(tensor: Tensor) -> np.ndarray:
    """The same for indices, in the dtype that they have."""
    return in_a_row(tensor)


def in_a_row(tensor: Tensor) -> np.ndarray:
    """All numbers one after the other, each at a multiple of its size, as they are: no sign is left to be turned later."""
    tensor = tensor.resolve_neg().contiguous()
    tensor = tensor.clone() if tensor.data_ptr() % tensor.itemsize else tensor
    return tensor.view(-1).numpy()


def writable(tensor: Tensor | None, dtype: torch.dtype) -> np.ndarray:
    """The memory of a result for loops that write it, never a copy; an empty array for None.

    Raises:
        ValueError: if it is not of `zeros` or `empty`: what is written would be lost.
    """
    if tensor is None:
        return NOTHING[dtype]
    if tensor.dtype != dtype or not tensor.is_contiguous():
        raise ValueError(f"loops write {dtype} side by side (got {tensor.dtype} with strides {tensor.stride()})")
    return tensor.detach().view(-1).numpy()


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
