"""Blocks of graphs that are formulas: some of their queries and keys, still a formula."""

from dataclasses import dataclass

import torch
from torch import Tensor

from graphattn.graphs.csr import row_pointer, rows_of
from graphattn.graphs.graph import Graph, Index, whole
from graphattn.graphs.grid import GridGraph
from graphattn.graphs.sizes import parse_flag, parse_integer


@dataclass(frozen=True, init=False, repr=False)
class BlockGraph(Graph):
    """The queries `first_query ..` and keys `first_key ..` of a graph of one example, numbered from 0.

    >>> from graphattn.graphs import PrefixGraph
    >>> BlockGraph(PrefixGraph(6, 3), (2, 4), (0, 4)).mask().int()
    tensor([[1, 1, 1, 0],
            [1, 1, 1, 1]], dtype=torch.int32)
    """

    graph: Graph
    queries: tuple[int, int]  # first and last + 1
    keys: tuple[int, int]

    def __init__(self, graph: Graph, queries: tuple[int, int], keys: tuple[int, int]):
        self._set(graph, queries, keys)

    def _set(self, graph: Graph, queries: tuple[int, int], keys: tuple[int, int], edges_by_key: bool = False) -> None:
        sizes = ((queries[1] - queries[0], keys[1] - keys[0]),)
        self._freeze(sizes=sizes, edges_by_key=edges_by_key, graph=graph, queries=queries, keys=keys)

    def _restore(self, sizes, edges_by_key, graph, queries, keys):
        ranges = [parse_range(*given, whole(graph).shape[side]) for side, given in enumerate((queries, keys))]
        if graph.num_examples != 1:
            raise ValueError(f"a block is one of a single example (got {graph!r})")
        self._set(graph, *ranges, parse_flag("edges_by_key", edges_by_key))

    @property
    def device(self) -> torch.device | None:
        return self.graph.device

    def allows(self, query: Index, key: Index) -> Tensor:
        return self.graph.allows(torch.as_tensor(query) + self.queries[0], torch.as_tensor(key) + self.keys[0])

    def _map_tensors(self, function):
        graph = self.graph._map_tensors(function)
        return self if graph is self.graph else self.twin(graph=graph)

    def _describe(self) -> str:
        return f"{type(self).__name__}({self.graph!r}, queries={self.queries}, keys={self.keys})"


@dataclass(frozen=True, init=False, repr=False)
class SlabGraph(BlockGraph):
    """Slabs of the first axis of a grid, of its queries and of the keys that they see: any border, dilation and stride.

    >>> whole = GridGraph((6,), 1, dilation=2, border="shift")
    >>> SlabGraph(whole, (1, 3), (0, 6)).mask().int()
    tensor([[0, 1, 0, 1, 0, 1],
            [1, 0, 1, 0, 1, 0]], dtype=torch.int32)
    """

    graph: GridGraph

    def _rows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        grid, query = self.graph, torch.arange(*self.queries, device=device)
        windows, degrees = [], torch.ones_like(query)
        for axis in reversed(range(grid.num_axes)):
            side = max(1, grid.query_sides[0][axis])
            first, count = grid.window(axis, query % side, max(1, grid.key_sides[0][axis]))
            windows.append((axis, first, count))
            degrees, query = degrees * count, query // side
        degrees = degrees if self.num_keys else torch.zeros_like(degrees)
        start = row_pointer(degrees)
        row = rows_of(start)
        rest = torch.arange(row.numel(), device=device) - start[row]  # place in the row: digits, last axis fastest
        key, step = torch.full_like(row, -self.keys[0]), 1
        for axis, first, count in windows:
            key = key + step * (first[row] + rest % count[row] * grid.dilation[axis])
            rest, step = rest // count[row], step * grid.key_sides[0][axis]
        return degrees, key


def parse_range(first: object, last: object, most: int) -> tuple[int, int]:
    """A range of nodes among `most`."""
    low, high = parse_integer("start", first), parse_integer("stop", last)
    if not low <= high <= most:
        raise ValueError(f"a range of {most} nodes is 0 <= start <= stop <= {most} (got {low} and {high})")
    return low, high
