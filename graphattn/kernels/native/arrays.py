"""Memory for what loops write, and the sizes of what they read."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphattn.kernels.kernel import Inputs
from graphattn.kernels.native.tape import tell_made

LINE = 64  # bytes of a cache line, to which torch aligns what it allocates
LARGE_PAGES = 2**22  # bytes from which NumPy asks for large pages


class Sizes(NamedTuple):
    heads: int
    kv_heads: int
    dim: int
    value_dim: int
    edge_dim: int

    @classmethod
    def of(cls, inputs: Inputs) -> "Sizes":
        edge_dim = 0 if inputs.edge_features is None else inputs.edge_features.size(-1)
        _, kv_heads, dim = inputs.key.shape
        return cls(inputs.query.size(1), kv_heads, dim, inputs.value.size(2), edge_dim)


def zeros(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros that start at a cache line, so that no head of 16 numbers lies across two.

    Many of them come from NumPy, which asks the system for large pages: torch's take five times as long to touch first.
    """
    is_large = math.prod(shape) * dtype.itemsize >= LARGE_PAGES
    made = in_large_pages(np.zeros, shape, dtype) if is_large else nothing(dtype).new_zeros(*shape)
    return tell_made(made, is_zero=True)


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The same with any numbers in it, for who writes them all."""
    is_large = math.prod(shape) * dtype.itemsize >= LARGE_PAGES
    made = in_large_pages(np.empty, shape, dtype) if is_large else nothing(dtype).new_empty(*shape)
    return tell_made(made, is_zero=False)


@cache
def nothing(dtype: torch.dtype) -> Tensor:
    """An empty tensor on the CPU, whatever the default device is; to make others like it is faster than by name."""
    return torch.empty(0, dtype=dtype, device="cpu")


def in_large_pages(make: Callable[..., Any], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    spare = make(math.prod(shape) * dtype.itemsize + LINE, np.uint8)
    start = -spare.ctypes.data % LINE
    memory = torch.from_numpy(spare[start : spare.size - LINE + start])
    # No view: what a torch.autograd.Function returns could then not be written in place.
    place: Any = memory.untyped_storage(), 0, tuple(shape)
    return nothing(dtype).new_empty(0).set_(*place)
