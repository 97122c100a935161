"""PerHead: another graph for each attention head."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.types import Device

from graphattn.graphs.convert import as_graph
from graphattn.graphs.graph import Graph, Made


class PerHead:
    """The graph of each attention head: head h attends over `graphs[h]` alone, on the kernel of that graph.

    Heads that share a graph (the same object) run together. It is no Graph, as no single mask shows it: `attend`, `GraphAttention`
    and the Transformer's layers take it where they take a graph. What is given per edge is then a list with one entry for each
    head, and the same holds for what comes back.

    Args:
        graphs: One for each head: anything `as_graph` takes.
        num_queries: Number of queries, needed for an edge_index.
        num_keys: Number of keys, as many as queries by default.

    Raises:
        ValueError: if the graphs differ in their numbers of queries or keys.

    Example:
        >>> from graphattn import BandedGraph, GlobalGraph, PerHead
        >>> near, far = BandedGraph(9, 1, 1), BandedGraph(9, 1, 1, dilation=3)
        >>> PerHead([near, near, far, GlobalGraph(9, [0])])
        PerHead(4 heads over 3 graphs of 9 queries and 9 keys)
    """

    def __init__(self, graphs: Sequence[Any], num_queries: int | None = None, num_keys: int | None = None):
        if not isinstance(graphs, (list, tuple)) or not graphs:
            raise ValueError(f"'graphs' must be a list with one graph for each head (got {graphs!r})")
        self.graphs = tuple(once_for_each(lambda graph: as_graph(graph, num_queries, num_keys), graphs))
        shapes = [graph.shape for graph in self.graphs]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"the graphs of all heads join the same queries and keys (got shapes {shapes})")
        self.shape = shapes[0]

    def __setstate__(self, state: dict) -> None:
        """Checks what was read as the constructor checks its arguments: a file may say anything."""
        if not isinstance(state, dict) or set(state) != {"graphs", "shape"}:
            raise ValueError(f"what was read is no PerHead: its fields are 'graphs' and 'shape' (got {state!r})")
        if not isinstance(state["graphs"], tuple) or not all(isinstance(graph, Graph) for graph in state["graphs"]):
            raise ValueError(
                f"what was read is no PerHead: 'graphs' must be a tuple of graphs (got {state['graphs']!r})"
            )
        PerHead.__init__(self, state["graphs"])
        if self.shape != state["shape"]:
            raise ValueError(
                f"what was read is no PerHead: its graphs have shape {self.shape} (got {state['shape']!r})"
            )

    def __len__(self) -> int:
        return len(self.graphs)

    def edge_index(self, device: Device = None) -> list[Tensor]:
        """The edges of the graph of each head."""
        return [graph.edge_index(device) for graph in self.graphs]

    def to(self, *args: Any, **kwargs: Any) -> "PerHead":
        """With all graphs on another device; heads that share a graph still do."""
        return PerHead(once_for_each(lambda graph: graph.to(*args, **kwargs), self.graphs))

    @property
    def num_examples(self) -> int:
        """Examples of the batch, as the graph of the first head has them."""
        return self.graphs[0].num_examples

    def batch(self, device: Device = None) -> Tensor:
        """Example of each query: `[num_queries]` int64, as the graph of the first head has them."""
        return self.graphs[0].batch(device)

    def traced(self, num_queries: int | None, num_keys: int | None) -> "PerHead":
        """While torch.compile or torch.export trace, a PerHead of these sizes whose graphs are traced; else the same object."""
        return PerHead(self.graphs, num_queries, num_keys) if torch.compiler.is_compiling() else self

    def __repr__(self) -> str:
        number = len({id(graph) for graph in self.graphs})
        return f"PerHead({len(self)} heads over {number} graphs of {self.shape[0]} queries and {self.shape[1]} keys)"


def as_graph_or_heads(x: Any, num_queries: int | None = None, num_keys: int | None = None) -> Graph | PerHead:
    """`as_graph`, for layers that take a PerHead too.

    Raises:
        ValueError: if a PerHead has other sizes.
    """
    if not isinstance(x, PerHead):
        return as_graph(x, num_queries, num_keys)
    num_keys = num_queries if num_keys is None else num_keys
    if torch.compiler.is_compiling():
        return x.traced(num_queries, num_keys)
    if num_queries is not None and x.shape != (num_queries, num_keys):
        raise ValueError(f"{x} joins other nodes (got {num_queries} queries and {num_keys} keys)")
    return x


def groups_of_same(rows: Iterable[Sequence[object]]) -> list[list[int]]:
    """The places of rows that hold the same objects, group by group.

    >>> groups_of_same([[None], ["a"], [None]])
    [[0, 2], [1]]
    """
    listed = list(rows)
    groups: list[list[int]] = []
    for place, row in enumerate(listed):
        same = [group for group in groups if all(x is y for x, y in zip(listed[group[0]], row))]
        if same:
            same[0].append(place)
        else:
            groups.append([place])
    return groups


def once_for_each(function: Callable[..., Made], *columns: Sequence[Any]) -> list[Made]:
    """function of each row of some columns; rows of the same objects share one result, so that their heads run together."""
    rows = list(zip(*columns))
    results: dict[int, Made] = {}
    for group in groups_of_same(rows):
        result = function(*rows[group[0]])
        for place in group:
            results[place] = result
    return [results[place] for place in range(len(rows))]
