"""LocalGraph: some rows of a larger graph, whose nodes keep the places that they have in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from graphattn.graphs.around import GraphAround
from graphattn.graphs.banded import BandedGraph
from graphattn.graphs.complete import CompleteGraph
from graphattn.graphs.graph import Graph, whole
from graphattn.graphs.grid import GridGraph
from graphattn.graphs.sizes import parse_flag, parse_integer
from graphattn.graphs.starts import Starts

# Of nodes in the whole graph: on from an int, or one by one, int64 [num_nodes] and ascending.
Numbers = int | Tensor


@dataclass(frozen=True, init=False, repr=False)
class LocalGraph(GraphAround):
    """Some queries of a larger graph and the keys that they see, as `graph.rows(start, stop)` gives them.

    Queries and keys are numbered from 0 here, as the rows of their tensors are. Their positions (for biases by rule, rotary and
    other encodings) and the dropout of their edges stay those of the larger graph. Examples of a batch keep their numbers; those
    that lie elsewhere are empty.

    Args:
        graph: The edges, numbered here.
        frame: A graph with the sizes and positions of the larger one (see `frame_of`).
        query_numbers: The numbers of the queries in the larger graph: an int from which they go on, or int64 [num_queries].
        key_numbers: Those of the keys.

    >>> from graphattn.graphs import causal
    >>> local, keys, edges = causal(100).rows(2, 4)
    >>> local.edge_index().tolist(), keys, edges
    ([[0, 1, 2, 0, 1, 2, 3], [0, 0, 0, 1, 1, 1, 1]], slice(0, 4, None), slice(3, 10, None))
    >>> local.starts  # positions of the first query and the first key
    ((2, 0),)
    """

    graph: Graph
    frame: Graph
    query_numbers: Numbers
    key_numbers: Numbers

    def __init__(self, graph: Graph, frame: Graph, query_numbers: Numbers, key_numbers: Numbers):
        self._freeze(
            sizes=graph.sizes,
            edges_by_key=graph.edges_by_key,
            graph=graph,
            frame=frame,
            query_numbers=query_numbers,
            key_numbers=key_numbers,
        )

    def _restore(self, sizes, edges_by_key, graph, frame, query_numbers, key_numbers):
        graph, frame = whole(graph), whole(frame)
        parse_flag("edges_by_key", edges_by_key)
        if len(frame.sizes) != len(graph.sizes):
            raise ValueError(f"'frame' must have the examples of 'graph' (got {frame!r} and {graph!r})")
        sides = ((query_numbers, graph.num_queries, frame.num_queries), (key_numbers, graph.num_keys, frame.num_keys))
        self.__init__(graph, frame, *(parse_numbers(*side) for side in sides))

    @property
    def starts(self) -> Starts:
        """Known where numbers go on one by one; None elsewhere, where `positions_of` knows each."""
        queries, keys = self.query_numbers, self.key_numbers
        if isinstance(queries, Tensor) or isinstance(keys, Tensor) or isinstance(self.frame, GridGraph):
            return (None,) * self.num_examples
        own, frame = self.graph, self.frame
        return tuple(
            start
            and (
                start[0] + queries + own.query_ptr[number] - frame.query_ptr[number],
                start[1] + keys + own.key_ptr[number] - frame.key_ptr[number],
            )
            for number, start in enumerate(frame.starts)
        )

    def _ordered(self, edges_by_key: bool) -> Graph:
        return self._with(self.graph._ordered(edges_by_key))

    def _transposed(self) -> Graph:
        return LocalGraph(self.graph.T, self.frame.T, self.key_numbers, self.query_numbers)

    def _with(self, graph: Graph) -> "LocalGraph":
        return LocalGraph(graph, self.frame, self.query_numbers, self.key_numbers)

    def _split(self) -> list[Graph]:
        frames, members = self.frame.examples(), self.graph.examples()
        found: list[Graph] = []
        for number, (member, frame) in enumerate(zip(members, frames)):
            sides = (
                (self.query_numbers, self.graph.query_ptr, self.frame.query_ptr),
                (self.key_numbers, self.graph.key_ptr, self.frame.key_ptr),
            )
            found.append(LocalGraph(member, frame, *(of_example(number, *side) for side in sides)))
        return found

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> Self:
        changes: dict[str, Any] = {"graph": self.graph._map_tensors(function)}
        for name in ("query_numbers", "key_numbers"):
            if isinstance(getattr(self, name), Tensor):
                changes[name] = function(getattr(self, name))
        is_same = all(x is getattr(self, name) for name, x in changes.items())
        return self if is_same else self.twin(**changes)

    def _describe(self) -> str:
        return f"LocalGraph({self.graph!r} of {self.frame.num_queries} queries and {self.frame.num_keys} keys)"


def frame_of(graph: Graph) -> Graph:
    """A graph of a few numbers with the sizes and the positions of `graph`."""
    if isinstance(graph, LocalGraph):
        return graph.frame
    if type(graph) in (CompleteGraph, BandedGraph, GridGraph):
        return graph
    offsets = (0,) * graph.num_examples
    return BandedGraph._of(graph.sizes, 0, 0, 1, offsets, starts=graph.starts)


def numbers_at(numbers: Numbers, nodes: Tensor) -> Tensor:
    """The numbers in the whole graph of nodes that are numbered here."""
    return numbers.to(nodes.device)[nodes] if isinstance(numbers, Tensor) else nodes + numbers


def of_example(example: int, numbers: Numbers, ptr: tuple[int, ...], frame_ptr: tuple[int, ...]) -> Numbers:
    """The numbers of the nodes of an example, inside it."""
    if isinstance(numbers, Tensor):
        return numbers[ptr[example] : ptr[example + 1]] - frame_ptr[example]
    return numbers + ptr[example] - frame_ptr[example]


def parse_numbers(numbers: Any, count: int, most: int) -> Numbers:
    """The numbers of `count` nodes among `most`, as a file gives them; ValueError if they are none."""
    if not isinstance(numbers, Tensor):
        first = parse_integer("numbers", numbers)
        if first + count > most:
            raise ValueError(f"numbers of nodes must be below {most} (got {count} from {first} on)")
        return first
    is_list = numbers.dtype == torch.int64 and numbers.shape == (count,)
    if not is_list or (count and (int(numbers.min()) < 0 or int(numbers.max()) >= most)):
        raise ValueError(f"numbers of nodes must be int64 [{count}] below {most} (got {numbers})")
    return numbers
