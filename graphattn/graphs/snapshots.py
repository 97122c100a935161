"""Graphs of tensors that the caller may write at any time: read once, compared whenever they come again."""

from collections.abc import Callable
from threading import RLock
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric import EdgeIndex

from graphattn.graphs.graph import Graph, untransformed
from graphattn.graphs.recording import may_record
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
        build: Makes the graph of them, of copies that are its own.
    """
    x = unwrapped(x)
    with _LOCK:
        last = _READ.get(x, {}).get(meaning)
    if last is not None and untransformed(lambda: all(map(shows, numbers_of(x), last.numbers))):
        return last.graph
    graph, numbers = untransformed(lambda: build(*numbers_of(x)))
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


class Last(NamedTuple):
    """What a plain tensor was read as at last, for who asks for just that again."""

    of: ref[Tensor]
    sizes: tuple[Any, Any]
    read: Read


_LAST: dict[int, Last] = {}  # by id of the tensor
MOST_LAST = 256


def graph_of_same(x: Tensor, sizes: tuple[Any, Any]) -> Graph | None:
    """The graph of an edge_index that was asked for with these sizes before, if it still shows the same; None: look further.

    `graph_of_tensor` finds the same graph; this is what is left to ask where nothing is unusual.
    """
    last = _LAST.get(id(x))
    if last is None or last.of() is not x or last.sizes != sizes:
        return None
    if may_record() or torch._C._are_functorch_transforms_active() or not x.is_cpu:
        return None
    return last.read.graph if shows(x, last.read.numbers[0]) else None


def remember_last(x: Tensor, sizes: tuple[Any, Any], graph: Graph) -> None:
    """For `graph_of_same`, where a plain tensor has been read as an edge_index."""
    if type(x) is not Tensor or not x.is_cpu:
        return
    with _LOCK:
        read = next((read for read in _READ.get(x, {}).values() if read.graph is graph), None)
    if read is None or len(read.numbers) != 1:
        return
    if len(_LAST) >= MOST_LAST:
        _LAST.clear()
    key = id(x)
    _LAST[key] = Last(ref(x, lambda _: _LAST.pop(key, None)), sizes, read)


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
    loops = loops_for(numbers) if numbers.dtype == torch.int64 and numbers.numel() >= MANY else None
    if loops is None:
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
    return torch.equal(x, numbers.to(x.dtype) if is_short else numbers)
