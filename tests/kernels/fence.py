"""Memory that ends, or begins, where the next byte cannot be touched: one number too many ends the process.

Nothing here knows how loops are compiled: what they read passes `readable` of `graphattn.kernels.native.border`, what they
write is made by `graphattn.kernels.native.arrays`.
"""

import ctypes
import math
import mmap
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import numpy as np
import torch

from graphattn import BandedGraph, CompleteGraph, attend
from graphattn.kernels import choose
from graphattn.kernels.native import arrays, banded_cpu, border, rows, threads
from graphattn.nn import Additive, ALiBi, Gat
from graphattn.testing.cases import GRAPHS

NO_ACCESS = 0
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def fenced(count: int, dtype: np.dtype, at_end: bool) -> np.ndarray:
    """Zeros [count] that touch an unreadable page with their last number, or with their first."""
    size = -(-max(count * dtype.itemsize, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (start, start + mmap.PAGESIZE + size):
        if LIBC.mprotect(page, mmap.PAGESIZE, NO_ACCESS):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = mmap.PAGESIZE + (size - count * dtype.itemsize if at_end else 0)
    return np.frombuffer(memory, dtype, count, offset)


def fence_everything(at_end: bool) -> None:
    """From now on whatever the loops of this process read or write lies behind a fence."""
    make_readable = border.readable

    def fenced_readable(tensor: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
        return tensor if tensor is None else behind_fence(make_readable(behind_fence(tensor, at_end), dtype), at_end)

    def fenced_room(shape: Sequence[int], dtype: torch.dtype, is_zero: bool) -> torch.Tensor:
        room = torch.from_numpy(fenced(math.prod(shape), torch.empty(0, dtype=dtype).numpy().dtype, at_end))
        if not is_zero and dtype.is_floating_point:
            room.fill_(math.nan)
        return room.view(*shape)

    put_everywhere(make_readable, fenced_readable)
    put_everywhere(arrays.zeros, partial(fenced_room, is_zero=True))
    put_everywhere(arrays.empty, partial(fenced_room, is_zero=False))


def behind_fence(tensor: torch.Tensor, at_end: bool) -> torch.Tensor:
    """The same tensor, its strides too, in memory that holds no number more than it has."""
    extent = (
        1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride())) if tensor.numel() else 0
    )
    storage = torch.from_numpy(fenced(extent, tensor.new_empty(0).numpy().dtype, at_end))
    return storage.copy_(tensor.as_strided((extent,), (1,))).as_strided(tensor.shape, tensor.stride())


def put_everywhere(old: Callable, new: Callable) -> None:
    """`new` under every name in graphattn that stands for `old`."""
    for module in [module for name, module in sys.modules.items() if name.startswith("graphattn")]:
        for name, value in vars(module).items():
            if value is old:
                setattr(module, name, new)


def main(side: str) -> None:
    """Every graph of the suite through every compiled kernel, forward and backward, with sizes that fill no vector."""
    fence_everything(at_end=side == "end")
    rows.HEAVY = 3  # rows are cut, in pieces of their own, and so is work for threads
    threads.PIECE = 2**9
    torch.manual_seed(0)
    count = 0
    graphs = [(name, graph) for name, graph, _ in GRAPHS] + [(str(graph), graph) for graph in BANDS]
    for number, ((name, graph), option) in enumerate(product(graphs, OPTIONS)):
        sizes = SIZES[number % len(SIZES)]
        banded_cpu.LEAST_ITEMS = number % 3 * 10  # one way to the gradient of the query, or the other
        for kernel, dtype in KERNELS:
            if graph in BANDS and kernel in OF_EDGES:
                continue
            given = OPTIONS[option](graph, graph.num_edges, *sizes)
            print(f"{kernel} {dtype} {name} {option} heads, kv_heads, dim, value_dim = {sizes}", flush=True)
            count += run(graph, kernel, dtype, given, *sizes)
    print(f"{count} calls ran")


def run(graph, kernel, dtype, given, heads, kv_heads, dim, value_dim) -> bool:
    shapes = (graph.num_queries, heads, dim), (graph.num_keys, kv_heads, dim), (graph.num_keys, kv_heads, value_dim)
    tensors = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    given = {k: to_leaf(v, dtype) for k, v in given.items()}
    leaves = [*tensors, *(x for x in given.values() if isinstance(x, torch.Tensor))]
    try:
        out = attend(*tensors, graph, kernel=kernel, **given)
    except ValueError as refusal:
        if f"no kernel named {kernel!r} can run this" not in str(refusal):
            raise
        return False
    outputs = [out] if isinstance(out, torch.Tensor) else list(out)
    cotangents = [torch.ones((), dtype=dtype).expand_as(x) for x in outputs]  # what .sum() sends back: one number
    outputs += torch.autograd.grad(outputs, leaves, cotangents, allow_unused=True)
    return all(bool(x.isfinite().all()) for x in outputs if x is not None)


def to_leaf(x, dtype):
    return x.to(dtype).requires_grad_() if isinstance(x, torch.Tensor) else x


# Of more nodes than a tile has lanes, so that all its rows are reached.
BANDS = [
    BandedGraph(150, 37, 9),
    BandedGraph(200, 70, 3, dilation=3, num_keys=90, offset=-5),
    CompleteGraph([90, 0, 35], [3, 5, 140]),
]
# heads, kv_heads, dim, value_dim
SIZES = [(1, 1, 1, 1), (3, 1, 5, 2), (2, 2, 8, 8), (4, 2, 17, 9), (3, 3, 16, 33), (5, 5, 7, 31), (8, 4, 4, 3)]
KERNELS = [("edges_cpu", torch.float32), ("edges_cpu", torch.float64), ("banded_cpu", torch.float32)]
OF_EDGES = {kernel.name for kernel in choose.KERNELS if kernel.numbers_kept}


def edge_tensors(graph, num_edges, heads, edge_dim):
    return {
        "edge_features": torch.randn(num_edges, edge_dim),
        "edge_query": torch.randn(graph.num_queries, heads, edge_dim),
    }


OPTIONS = {
    "plain": lambda graph, num_edges, *sizes: {},
    "rule": lambda graph, num_edges, heads, *_: {"bias": ALiBi(heads)},
    "bias": lambda graph, num_edges, heads, *_: {"bias": torch.randn(num_edges, heads)},
    "dropout": lambda graph, num_edges, *_: {"bias": torch.randn(num_edges), "dropout": 0.3},
    "edges": lambda graph, num_edges, heads, *_: edge_tensors(graph, num_edges, heads, 1 + heads),
    "relu": lambda graph, num_edges, heads, *_: {"normalizer": "relu", **edge_tensors(graph, num_edges, heads, 16)},
    "sigmoid": lambda graph, num_edges, *_: {"normalizer": "sigmoid"},
    "gat": lambda graph, num_edges, heads, kv_heads, dim, _: {
        "score": Gat(torch.randn(kv_heads, dim), torch.randn(heads, dim)), "bias": torch.randn(num_edges),
    },
    "additive": lambda graph, num_edges, heads, kv_heads, dim, _: {"score": Additive(torch.randn(heads, dim))},
    "gatv2": lambda graph, num_edges, heads, kv_heads, dim, _: {
        "score": Additive(torch.randn(heads, dim), torch.randn(heads, dim, 3), "leaky_relu"),
        "edge_features": torch.randn(num_edges, 3),
    },
    "gatv2_dropout": lambda graph, num_edges, heads, kv_heads, dim, _: {
        "score": Additive(torch.randn(heads, dim), activation="leaky_relu"), "dropout": 0.5,
    },
}  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
