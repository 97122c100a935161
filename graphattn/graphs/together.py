"""What is made of several graphs together, remembered as long as all of them live."""

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from graphattn.graphs.batched import batch_graphs
from graphattn.graphs.graph import Graph, Made, untransformed

# (name, numbers of the graphs) -> what was made of them, and references that take the entry away when one of them ends.
_MADE: dict[tuple[Hashable, ...], tuple[Any, list[weakref.ref[Graph]]]] = {}


def made_together(graphs: Sequence[Graph], name: Hashable, build: Callable[[list[Graph]], Made]) -> Made:
    """What `build(graphs)` made the first time it was asked for under `name` and of these graphs (the same objects).

    A model has many layers, which get one list of graphs: it is joined and sorted once, and forgotten with the first of
    them that the caller lets go. `build` is given twins of them, as what it makes may hold what it is made of.

    >>> from graphattn.graphs import CompleteGraph, batch_graphs, causal
    >>> graphs = [causal(3), CompleteGraph(2)]
    >>> made_together(graphs, "batch", batch_graphs) is made_together(graphs, "batch", batch_graphs)
    True
    """
    key = (name, *(graph.number for graph in graphs))
    known = _MADE.get(key)
    if known is None:
        made = untransformed(lambda: build([graph.twin() for graph in graphs]))
        known = _MADE.setdefault(key, (made, [weakref.ref(graph, lambda _: _MADE.pop(key, None)) for graph in graphs]))
    return known[0]


def joined(graphs: Graph | Sequence[Graph]) -> Graph:
    """The batch of a list of graphs, the same one each time; a single graph as it is."""
    if isinstance(graphs, Graph):
        return graphs
    return graphs[0] if len(graphs) == 1 else made_together(graphs, "batch", batch_graphs)
