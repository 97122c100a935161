"""Which nodes each process owns: ranges of rows, one after the other."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from graphattn.graphs import Graph, GridGraph, UnionGraph, as_graph
from graphattn.graphs.sizes import parse_counts, parse_integer

Ptr = tuple[int, ...]  # where the rows of each process start, and their number: [processes + 1]


def even_ptr(count: int, size: int, step: int = 1) -> Ptr:
    """Ranges as equal as they can be, cut between steps.

    >>> even_ptr(10, 4), even_ptr(12, 2, step=4)
    ((0, 2, 5, 7, 10), (0, 4, 12))
    """
    steps = count // step if step else 0
    return (*(steps * rank // size * step for rank in range(size)), count)


def balanced_ptr(graph: Any, num_processes: int) -> Ptr:
    """Ranges of queries with equal numbers of edges, for `query_ptr` of `shard`, where equal ranges leave all waiting for one.

    Causal rows see more the later they come, so that the first ranges are the longest; hubs of a network see thousands.

    Args:
        graph: A Graph, or anything `as_graph` takes that knows its number of nodes.
        num_processes: How many processes.

    >>> from graphattn import causal
    >>> balanced_ptr(causal(1000), 4)
    (0, 500, 707, 866, 1000)
    """
    size = parse_integer("num_processes", num_processes, minimum=1)
    return cut_evenly(as_graph(graph).degrees("cpu"), size)


def cut_evenly(degrees: Tensor, size: int) -> Ptr:
    """Ranges of queries [num_queries] with equal sums of their numbers of edges."""
    ends, count = degrees.cumsum(0), len(degrees)
    total = int(ends[-1]) if count else 0
    cuts = torch.searchsorted(ends, torch.tensor([total * rank // size for rank in range(1, size)], dtype=torch.int64))
    return (0, *(min(cut + 1, count) for cut in cuts.tolist()), count)


def owners(ptr: Ptr, nodes: Tensor) -> Tensor:
    """The rank that owns each node.

    >>> owners((0, 2, 5), torch.tensor([0, 4, 2]))
    tensor([0, 1, 1])
    """
    return torch.searchsorted(torch.tensor(ptr[1:]), nodes.contiguous(), right=True)


def own_ptr(graph: Graph, side: int, size: int) -> Ptr:
    """Even ranges of queries (side 0) or keys (side 1); whole slabs of the first axis of a grid."""
    members = graph.graphs if isinstance(graph, UnionGraph) else (graph,)
    grids = [member for member in members if isinstance(member, GridGraph) and member.num_examples == 1]
    if not grids:
        return even_ptr(graph.shape[side], size)
    sides = (grids[0].query_sides, grids[0].key_sides)[side][0]
    return even_ptr(graph.shape[side], size, max(prod(sides[1:]), 1))


def parse_ptr(name: str, ptr: Any, count: int, size: int) -> Ptr:
    """Where the rows of each process start, as a user gives it."""
    found = parse_counts(name, ptr)
    rises = all(low <= high for low, high in zip(found, found[1:]))  # noqa: RUF007
    if len(found) != size + 1 or found[0] != 0 or found[-1] != count or not rises:
        raise ValueError(
            f"{name!r} must rise from 0 to {count} in {size + 1} numbers, one more than processes (got {ptr})"
        )
    return found


def ptr_of_counts(counts: Sequence[int]) -> Ptr:
    """
    >>> ptr_of_counts([3, 0, 2])
    (0, 3, 3, 5)
    """
    return tuple(sum(counts[:rank]) for rank in range(len(counts) + 1))
