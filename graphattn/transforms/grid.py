"""A neighbourhood on an image or a volume."""

from collections.abc import Sequence
from typing import Any

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform

from graphattn.graphs import Graph, GridGraph
from graphattn.graphs.sizes import is_sequence, parse_counts, parse_integer
from graphattn.transforms.graph_transform import GraphTransform


@functional_transform("grid")
class Grid(GraphTransform):
    """The nodes are a grid, the last axis running fastest, and attend to those near them (functional name: `grid`).

    Args:
        sides: nodes along each axis, the same for all data; None = `data.sides`, as from_image sets it.
        before, after: reach along each axis in steps of `dilation`, or one number for all; after=None = as before.
        dilation: in nodes.
        border: 'clip' cuts windows at the border, 'shift' moves them inside; a name for all axes or one per axis.
        group: neighbouring nodes that share a window, an int or one per axis.
        is_causal: whether nodes see none after them, a bool or one per axis (see GridGraph for both).

    Raises ValueError if the sides do not multiply to the number of nodes.

    >>> import torch
    >>> Grid(sides=(2, 3))(Data(x=torch.rand(6, 2))).graph.degrees()
    tensor([4, 6, 4, 4, 6, 4])
    """

    def __init__(
        self,
        sides: Sequence[int] | None = None,
        before: int | Sequence[int] = 1,
        after: int | Sequence[int] | None = None,
        dilation: int | Sequence[int] = 1,
        border: str | Sequence[str] = "clip",
        group: int | Sequence[int] = 1,
        is_causal: bool | Sequence[bool] = False,
    ):
        self.sides = None if sides is None else parse_counts("sides", sides)
        self.before, self.after = plain("before", before), None if after is None else plain("after", after)
        self.dilation, self.group = plain("dilation", dilation), plain("group", group)
        self.border = border if isinstance(border, str) else tuple(border)
        self.is_causal = is_causal if isinstance(is_causal, bool) else tuple(is_causal)

    def make_graph(self, data: Data, num_nodes: int | tuple[int, ...]) -> Graph:
        sides = self.sides_of(data, num_nodes)
        window, border = (self.before, self.after, self.dilation), self.border
        graph = GridGraph(sides, *window, border=border, group=self.group, is_causal=self.is_causal)
        made = [count for count, _ in graph.sizes]
        there = list(num_nodes) if isinstance(num_nodes, tuple) else [num_nodes]
        if made != there:
            raise ValueError(f"'sides' {sides} make {made} nodes, the data has {there}; give sides that multiply to it")
        return graph

    def sides_of(self, data: Data, num_nodes: int | tuple[int, ...]) -> Any:
        """The sides of a Data, or a list of the sides of each example."""
        sides = data.get("sides") if self.sides is None else self.sides
        if sides is None:
            raise ValueError(f"the sides of the grid are unknown; pass 'sides' or set data.sides (got {data})")
        if self.sides is not None and isinstance(num_nodes, tuple):
            return [self.sides] * len(num_nodes)
        return sides

    def __repr__(self) -> str:
        unusual = "" if self.group == 1 else f", group={self.group}"
        unusual += f", is_causal={self.is_causal}" if self.is_causal else ""
        return (
            f"{type(self).__name__}(sides={self.sides}, before={self.before}, after={self.after}, "
            f"dilation={self.dilation}, border={self.border!r}{unusual})"
        )


def plain(name: str, value: int | Sequence[int]) -> int | tuple[int, ...]:
    """An int, or a tuple of ints, of Python."""
    return parse_counts(name, value) if is_sequence(value) else parse_integer(name, value)
