"""Graphs of tensors that the caller may write at any time: read once, compared whenever they come again."""

from collections.abc import Callable
from threading import RLock
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric import EdgeIndex

from graphattn.graphs.graph import Graph, untransformed
from graphattn.graphs.sorting import loops_for

MANY = 2**14  # numbers for which threads and a copy of half the size are worth it
MOST = 4  # one tensor rarely has more meanings: keep few, whatever happens


class Read(NamedTuple):
    """A graph, and the numbers it was read from, in memory that nobody else has; `in_short` where they fit."""

    graph: Graph
    numbers: tuple[Tensor, ...]


# edge_index, mask or sparse matrix -> {meaning: what was read}, so that the layers of a model sort once. No graph holds such
# a tensor, so that an entry dies with the tensor of the caller.
_READ: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_LOCK = RLock()


def graph_of_tensor(
    x: Tensor, meaning: tuple, numbers_of: Callable[[Tensor], tuple[Tensor, ...]], build: Callable[..., Read]
) -> Graph:
    """The graph that `x` shows now: the one of the last call if it still shows the same, by comparing all of its numbers.

    Nothing that torch knows of a tensor tells that its memory was written (by NumPy, another process, `dist.broadcast`, through
    `.data`), so that all is read: 500k edges in 0.1 ms. On CUDA the answer is waited for; a Graph, made once by `as_graph` and
    given to the layers, needs none.

    Args:
        x: The caller's tensor.
        meaning: What else the graph depends on.
        numbers_of: The tensors that make up `x`.
        build: Makes the graph of copies of them, which are its own.
    """
    x = unwrapped(x)
    with _LOCK:
        last = _READ.get(x, {}).get(meaning)
    if last is not None and untransformed(lambda: all(map(shows, numbers_of(x), last.numbers))):
        return last.graph
    graph, numbers = untransformed(lambda: build(*map(snapshot, numbers_of(x))))
    new = Read(graph, tuple(map(in_short, numbers)))
    with _LOCK:
        read = _READ.setdefault(x, {})
        other = read.get(meaning)
        if other is not None and other is not last and all(map(shows, new.numbers, other.numbers)):
            return other.graph  # of a thread that was faster
        if len(read) >= MOST:
            read.clear()
        read[meaning] = new
    return new.graph


def snapshot(x: Tensor) -> Tensor:
    """The numbers of `x` in memory of their own, in C order, whatever class of tensor it is."""
    return untransformed(lambda: plain(x).clone(memory_format=torch.contiguous_format))


def plain(x: Tensor) -> Tensor:
    """`x` without its class, over the same memory."""
    x = unwrapped(x)
    if type(x) is Tensor:
        return x
    if isinstance(x, EdgeIndex):
        return x.as_tensor()
    if hasattr(x, "__tensor_flatten__"):  # it has no memory itself
        return x.detach()
    with torch._C.DisableTorchFunctionSubclass():
        return x.detach().as_subclass(Tensor)


def unwrapped(x: Tensor) -> Tensor:
    """The tensor that a function was given which torch.func differentiates."""
    while torch._C._functorch.is_gradtrackingtensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return x


def in_short(numbers: Tensor) -> Tensor:
    """The same numbers as int32 if they are int64, fit, and are many: a comparison then reads a quarter less.

    Only where loops in C compare the two; torch would turn one into the dtype of the other first.
    """
    loops = loops_for(numbers)
    if loops is None or numbers.dtype != torch.int64 or numbers.numel() < MANY:
        return numbers
    short = numbers.int()
    return short if loops.same_numbers(numbers, short) else numbers


def shows(x: Tensor, numbers: Tensor) -> bool:
    """Whether `x`, a plain tensor, holds exactly these numbers, in this form and on this device; they may be `in_short`."""
    is_short = x.dtype == torch.int64 and numbers.dtype == torch.int32
    if (x.shape, x.device) != (numbers.shape, numbers.device) or (x.dtype != numbers.dtype and not is_short):
        return False
    if x.device.type == "meta":
        return True  # no numbers at all
    if x.is_cuda and torch.cuda.is_current_stream_capturing():
        raise ValueError(
            "the edges of a tensor cannot be read while a CUDA graph is captured, which would keep them whatever the tensor"
            " shows later; make a Graph of it before, by as_graph(x, num_queries, num_keys), and give that to the layers"
        )
    loops = loops_for(x, numbers) if x.dtype == torch.int64 and x.numel() >= MANY else None
    if loops is not None:
        return loops.same_numbers(x, numbers)
    return torch.equal(x, numbers.to(x.dtype))
