"""What layers take beside nodes: attributes of the edges, values and self loops going in, attention weights coming out."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric import utils
from torch_geometric.typing import SparseTensor
from torch_geometric.utils import is_torch_sparse_tensor

from graphattn.graphs import EdgeListGraph, Graph
from graphattn.graphs.traced import TracedGraph, derivation, derive


def check_two_dimensional(source: Tensor, target: Tensor | None) -> None:
    for x in (source, target):
        if x is not None and x.dim() != 2:
            raise ValueError(f"'x' must be [num_nodes, in_channels] (got {list(x.shape)}); lay a batch end to end")


def check_edge_attr(edge_attr: Tensor | None, edge_dim: int | None, graph: Graph) -> None:
    """Attributes [num_edges, edge_dim] where the layer has an `edge_dim`, and only there."""
    if (edge_attr is None) != (edge_dim is None):
        got = "None" if edge_attr is None else list(edge_attr.shape)
        raise ValueError(f"'edge_attr' and 'edge_dim' go together (got edge_attr {got} and edge_dim={edge_dim})")
    if edge_attr is None:
        return
    if edge_attr.dim() != 2 or edge_attr.size(1) != edge_dim or not graph.may_have_edges(edge_attr.size(0)):
        raise ValueError(
            f"'edge_attr' must be [num_edges, edge_dim] = [{graph.num_edges}, {edge_dim}] (got {list(edge_attr.shape)}),"
            " in the order of graph.edge_index()"
        )


def checked_edge_attr(edges: Any, edge_attr: Tensor | None, edge_dim: int | None, graph: Graph) -> Tensor | None:
    """The given attributes as [num_edges, edge_dim]; where the layer has an `edge_dim`, also the values of a sparse matrix."""
    if edge_attr is None and edge_dim is not None:
        edge_attr = values_of(edges)
    if edge_attr is None:
        return None
    edge_attr = edge_attr[:, None] if edge_attr.dim() == 1 else edge_attr
    if edge_dim is None:
        raise ValueError(f"'edge_attr' needs 'edge_dim' (got {list(edge_attr.shape)} and edge_dim=None)")
    if not edge_attr.is_floating_point():
        raise TypeError(f"'edge_attr' must be floating (got {edge_attr.dtype}); convert with .float()")
    fits = edge_attr.dim() == 2 and (edge_dim == -1 or edge_attr.size(1) == edge_dim)
    if not fits or not graph.may_have_edges(edge_attr.size(0)):
        raise ValueError(
            f"'edge_attr' must be [num_edges, edge_dim] = [{graph.num_edges}, {edge_dim}] in the order of the edges"
            f" (got {list(edge_attr.shape)})"
        )
    return edge_attr


def values_of(edges: Any) -> Tensor | None:
    """What a sparse matrix holds for its edges; the ones of a plain torch.sparse adjacency matrix are nothing."""
    if isinstance(edges, SparseTensor):
        return edges.storage.value()
    if isinstance(edges, Tensor) and is_torch_sparse_tensor(edges):
        values = utils.to_edge_index(edges)[1]
        return values if values.dim() > 1 else None
    return None


def are_one_set(x: Tensor | tuple[Tensor, Tensor | None], in_channels: int | tuple[int, int]) -> bool:
    """Whether sources and targets are nodes of one set, so that a node can have an edge to itself.

    They are if one tensor holds both, if the targets are the first of the sources (the blocks of a NeighborLoader), or if
    the layer has one size of `in_channels`, and so one kind of nodes.
    """
    if isinstance(x, Tensor) or not isinstance(in_channels, (tuple, list)):
        return True
    source, target = x
    if target is None:
        return False
    if torch.compiler.is_compiling() and target is not source and in_channels[0] == in_channels[1]:
        raise ValueError(
            "whether targets are the first of the sources, and so get self loops, cannot be seen while torch.compile or"
            " torch.export trace; give the layer one size of 'in_channels', or add_self_loops=False"
        )
    return target is source or (target.data_ptr() == source.data_ptr() and target.stride() == source.stride())


def refuse_sparse_tensor(edges: Any, edge_attr: Tensor | None) -> None:
    if isinstance(edges, SparseTensor) and edge_attr is not None:
        raise ValueError("a SparseTensor with edge attributes gets no self loops; give an edge_index instead")


def add_self_loops(
    graph: Graph, edge_attr: Tensor | None, fill_value: float | Tensor | str
) -> tuple[Graph, Tensor | None]:
    """Every node has one edge to itself: those there are go, new ones come behind all other edges, in PyG's order.

    Sources beyond the targets, or targets beyond the sources, get none. `fill_value` makes the attributes of the new edges:
    numbers, or a reduction ('mean', 'add', ...) of the attributes of the edges to the same target.
    """
    has_attributes = edge_attr is not None
    if has_attributes:
        kept, edge_attr = utils.remove_self_loops(graph.edge_index(edge_attr.device), edge_attr)
        _, edge_attr = utils.add_self_loops(kept, edge_attr, fill_value, min(graph.shape))
    if isinstance(graph, TracedGraph):
        return derive(with_self_loops, [graph], *graph.shape, has_attributes), edge_attr
    return with_self_loops(graph, has_attributes), edge_attr


@derivation
def with_self_loops(graph: Graph, has_attributes: bool) -> Graph:
    if not has_attributes and has_all_loops(graph):
        return graph
    num_nodes = min(graph.shape)

    def build() -> Graph:
        edge_index, _ = utils.remove_self_loops(graph.edge_index())
        edge_index, _ = utils.add_self_loops(edge_index, num_nodes=num_nodes)
        queries, keys = zip(*graph.sizes)
        return EdgeListGraph(edge_index, queries, keys, graph.is_symmetric and queries == keys)

    return graph.remember("one self loop each", build)


def has_all_loops(graph: Graph) -> bool:
    """A formula (complete, a band, a grid) that has every self loop already stays a formula."""
    if isinstance(graph, EdgeListGraph) or graph.has_repeats or graph.num_queries != graph.num_keys:
        return False
    nodes = torch.arange(graph.num_queries, device=graph.device)
    return graph.remember("has all loops", lambda: bool(graph.allows(nodes, nodes).all()))


def weighted(edges: Any, graph: Graph, alpha: Tensor) -> Any:
    """What PyG returns for `return_attention_weights=True`, in the form in which the edges were given.

    (edge_index, alpha); for a torch.sparse matrix (matrix with alpha as its values, alpha); for a SparseTensor one with
    alpha as its values.
    """
    source, target = edge_index = graph.edge_index(alpha.device)
    adjacency = torch.stack([target, source])  # rows are targets
    if isinstance(edges, SparseTensor):
        return SparseTensor.from_edge_index(adjacency, alpha, graph.shape)
    if isinstance(edges, Tensor) and is_torch_sparse_tensor(edges):
        matrix = utils.to_torch_sparse_tensor(adjacency, alpha, graph.shape, layout=edges.layout)
        return matrix, utils.to_edge_index(matrix)[1]
    return edge_index, alpha
