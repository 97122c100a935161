"""What a Data keeps under the name `graph`, and which graph, or list of graphs, that means with the edges it has now."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.graphs.edge_list import EdgeListGraph
from graphattn.graphs.forms import graph_of_form
from graphattn.graphs.graph import Graph
from graphattn.graphs.of_edges import GraphOfEdges, graph_alone
from graphattn.graphs.together import joined


def sizes_of(data: Data) -> int | tuple[int, ...] | None:
    """The number of nodes of a Data, or of each example of a Batch."""
    ptr, batch, num_nodes = data.get("ptr"), data.get("batch"), data.num_nodes
    if ptr is None:
        return num_nodes
    if num_nodes is None or int(ptr[-1]) == num_nodes:
        return tuple(ptr.diff().tolist())
    # PyG's transforms that change the nodes change `batch` as well, and leave `ptr` as it was.
    if batch is None or batch.numel() != num_nodes or bool((batch.diff() < 0).any()):
        raise ValueError(
            f"which nodes belong to which example is not known: 'ptr' ends at {int(ptr[-1])}, there are {num_nodes} nodes, and "
            f"'batch' does not number the examples in ascending order (got {data}); transform the examples before they are "
            f"batched, or delete 'ptr' to take the batch as one graph"
        )
    return tuple(torch.bincount(batch, minlength=ptr.numel() - 1).tolist())


def alone(kept: Graph | list[Graph]) -> Graph | list[Graph]:
    return [graph_alone(graph) for graph in kept] if isinstance(kept, list) else graph_alone(kept)


def edges_of(data: Data) -> Any:
    """The edge_index of a Data, or else its `adj_t`; None if it has neither."""
    edges = data._store.get("edge_index")
    return data._store.get("adj_t") if edges is None else edges


def looks_the_same(kept: Graph | list[Graph], edges: Any) -> bool:
    """Whether graphs that follow the edges have as many as there are: compiled code cannot compare the edges themselves."""
    graphs = kept if isinstance(kept, list) else [kept]
    if not all(isinstance(graph, GraphOfEdges) and graph.follows for graph in graphs):
        return True
    return isinstance(edges, Tensor) and sum(graph.num_edges for graph in graphs) == edges.size(1)


@torch.compiler.disable(reason="the edges of a Data have changed since its graph was made; read data.graph before")
def graph_now(data: Data, kept: Graph | list[Graph], edges: Any) -> Graph | list[Graph]:
    """The graph, or graphs, that a Data has with the edges that it has now."""
    graphs = kept if isinstance(kept, list) else [kept]
    depending = [graph for graph in graphs if isinstance(graph, GraphOfEdges)]
    if len(depending) == len(graphs) and len({graph.follows for graph in depending}) == 1:
        of_edges = joined([graph.of_edges for graph in depending])
        if has_edges(of_edges, edges, data.num_nodes):
            return alone(kept)
        check_follows(data, depending[0], edges, data.num_nodes)
        return graph_of_form(edges, sizes_of(data))
    found = []
    for graph, (own, size) in zip(graphs, edges_of_examples(data, edges, len(graphs)), strict=True):
        if isinstance(graph, GraphOfEdges) and not has_edges(graph.of_edges, own, size):
            check_follows(data, graph, own, size)
            found.append(graph_of_form(own, size))
        else:
            found.append(graph_alone(graph))
    return found


def check_follows(data: Data, graph: GraphOfEdges, edges: Any, num_nodes: int) -> None:
    """Raise ValueError where a graph cannot follow edges or nodes that have changed."""
    if not graph.follows:
        raise ValueError(f"the edges or nodes of {data} have changed since 'graph' was made of them and of others; apply the"
                         " transforms that change edge_index first, then those of graphattn")  # fmt: skip
    if edges is None:
        raise ValueError(f"the graph of {data} is that of {graph.num_queries} nodes, there are {num_nodes}; set its edge_index,"
                         " or its graph")  # fmt: skip


def edges_of_examples(data: Data, edges: Any, count: int) -> list[tuple[Any, int]]:
    """The edge_index, and the number of nodes, of each example of a batch."""
    sizes = sizes_of(data)
    if not isinstance(sizes, tuple) or len(sizes) != count:
        raise ValueError(f"'graph' has {count} graphs, which not all follow the edges; which nodes of {data} belong to which is"
                         " not known any more; transform the examples before they are batched")  # fmt: skip
    if edges is None:
        return [(None, size) for size in sizes]
    edges = edge_index_of(edges, data.num_nodes)
    ends = torch.tensor(sizes, device=edges.device).cumsum(0)
    source, target = torch.bucketize(edges.contiguous(), ends, right=True)
    if not torch.equal(source, target):
        raise ValueError(f"edges cross from one example of {data} to another; set its 'graph' to one for all its nodes")
    order = source.argsort(stable=True)
    parts = edges[:, order].split(torch.bincount(source, minlength=count).tolist(), 1)
    return [(part - (end - size), size) for part, end, size in zip(parts, ends.tolist(), sizes)]


def kept_now(data: Data, kept: Graph | list[Graph]) -> Graph | list[Graph]:
    """What a Data is to keep under the name `graph` once that is brought up to the edges that it has now."""
    graphs = graph_now(data, kept, edges_of(data))
    if not isinstance(graphs, list):
        of_edges = kept.of_edges if isinstance(kept, GraphOfEdges) and not kept.follows else None
        return GraphOfEdges(graphs, of_edges)
    return [
        GraphOfEdges(graph, None if old.follows else old.of_edges) if isinstance(old, GraphOfEdges) else graph
        for graph, old in zip(graphs, kept if isinstance(kept, list) else [kept], strict=True)
    ]


def edges_that(data: Data, kept: Graph | list[Graph]) -> Graph:
    """The edges that what is kept depends on, as one graph."""
    if isinstance(kept, GraphOfEdges):
        return kept.of_edges
    graphs = kept if isinstance(kept, list) else [kept]
    depending = [graph for graph in graphs if isinstance(graph, GraphOfEdges)]
    if len(depending) == len(graphs):
        return joined([graph.of_edges for graph in depending])
    edges = edges_of(data)
    return joined(alone(kept)) if edges is None else graph_of_form(edges, sizes_of(data))


def edge_index_of(edges: Any, num_nodes: int) -> Tensor:
    is_plain = isinstance(edges, Tensor) and edges.layout == torch.strided
    return edges.as_subclass(Tensor).long() if is_plain else graph_of_form(edges, num_nodes).edge_index()


def has_edges(graph: Graph, edges: Any, num_nodes: int) -> bool:
    """Whether a graph has these nodes and, in their order, these edges: edge_index, a sparse matrix, or any if None."""
    if graph.shape != (num_nodes, num_nodes):
        return False
    return edges is None or lists_edges(graph, edge_index_of(edges, num_nodes))


def lists_edges(graph: Graph, edges: Tensor) -> bool:
    """Whether the edges of a graph are those of an edge_index, in the same order."""
    if graph.num_edges != edges.size(1):
        return False
    return torch.equal(graph.edge_index(edges.device), edges.as_subclass(Tensor).long())


def check_same_edges(data: Data, graph: EdgeListGraph) -> None:
    edges = data.get("edge_index")
    if isinstance(edges, Tensor) and edges.layout == torch.strided and not lists_edges(graph, edges):
        raise ValueError(
            f"the edges of 'graph' are not those of 'edge_index', in its order (got {graph} and {edges.size(1)} edges in "
            f"{data}); if a transform changed edge_index, delete 'graph', or let graphattn.transforms.Edges make one that "
            f"follows; if 'graph' is another one on purpose, give it alone: data.graph"
        )
