"""beside: the same queries over the keys of several graphs."""

from collections.abc import Sequence
from itertools import accumulate

import torch

from graphattn.graphs.edge_list import EdgeListGraph
from graphattn.graphs.exported import exported_beside
from graphattn.graphs.graph import Graph
from graphattn.graphs.together import made_together
from graphattn.graphs.traced import TracedGraph, derivation, derive


def beside(graphs: Sequence[Graph], device: torch.device | str | None = None) -> Graph:
    """One graph whose keys are those of `graphs` laid end to end, over their common queries; edges in the same order.

    A query attends to its keys in all of them at once: relations of a typed graph, of which each has keys of its own.
    A single graph stays what it is.

    Args:
        graphs: at least one; all with the same number of queries.
        device: where the edges are wanted.

    Raises:
        ValueError: if the numbers of queries differ.

    >>> from graphattn import CompleteGraph, causal
    >>> beside([causal(2), CompleteGraph(2, 1)]).edge_index()
    tensor([[0, 0, 1, 2, 2],
            [0, 1, 1, 0, 1]])
    """
    if any(graph.num_queries != graphs[0].num_queries for graph in graphs):
        raise ValueError(
            f"graphs beside each other share their queries (got {[g.num_queries for g in graphs]} queries)"
        )
    if len(graphs) == 1:
        return graphs[0]
    traced = [graph for graph in graphs if isinstance(graph, TracedGraph)]
    if len(traced) == len(graphs):
        num_keys = sum(graph.num_keys for graph in graphs)
        return derive(joined, traced, graphs[0].num_queries, num_keys, device=device)
    return joined(*graphs, device=device)


@derivation(exported_beside)
def joined(*graphs: Graph, device: torch.device | str | None) -> EdgeListGraph:
    def build(graphs: list[Graph]) -> EdgeListGraph:
        first_keys = accumulate((graph.num_keys for graph in graphs), initial=0)
        edges = [graph.edge_index(device) for graph in graphs]
        edges = [pair + pair.new_tensor([[first], [0]]) for pair, first in zip(edges, first_keys)]
        return EdgeListGraph.owning(torch.cat(edges, 1), graphs[0].num_queries, sum(graph.num_keys for graph in graphs))

    return made_together(graphs, ("beside", device), build)
