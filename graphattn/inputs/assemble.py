"""The last step that every input shares: features, positions and a graph become one Data."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from graphattn.graphs import Graph
from graphattn.graphs.data import follow_edges

GraphChoice = Graph | Callable[[int], Graph] | None


def assemble(x: Tensor, pos: Tensor | None, graph: Graph, edge_index: bool, **attributes: Any) -> Data:
    """Data with x, pos (left out if None), graph, edge_index (if asked for) and the attributes given.

    With edge_index, its graph follows it: transforms of PyG that change the edges change the graph as well.
    """
    data = Data(x=x)
    if pos is not None:
        data.pos = pos
    if edge_index:
        data.edge_index = graph.edge_index()
        data = follow_edges(data, graph)
    else:
        data.graph = graph
    for name, value in attributes.items():
        data[name] = value
    return data


def choose_graph(choice: GraphChoice, num_nodes: int, default: Callable[[int], Graph]) -> Graph:
    """The graph given, or made by the function given, or the default one; always on num_nodes nodes."""
    if choice is None:
        return default(num_nodes)
    graph = choice if isinstance(choice, Graph) or not callable(choice) else choice(num_nodes)
    if not isinstance(graph, Graph):
        raise TypeError(
            f"'graph' needs to be a Graph or a function num_nodes -> Graph (got {type(graph).__name__}); "
            f"make one by as_graph"
        )
    if tuple(graph.shape) != (num_nodes, num_nodes):
        raise ValueError(
            f"'graph' joins {graph.num_queries} queries to {graph.num_keys} keys, the input has "
            f"{num_nodes} nodes; pass a function such as graph=CompleteGraph to fit the size"
        )
    return graph
