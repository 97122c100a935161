"""What layers take beside nodes: attributes of the edges, values and self loops going in, attention weights coming out."""

import warnings
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.nn import Module
from torch_geometric import EdgeIndex, utils
from torch_geometric.typing import SparseTensor, torch_sparse
from torch_geometric.utils import is_torch_sparse_tensor
from torch_geometric.utils.sparse import set_sparse_value

from graphattn.graphs import EdgeListGraph, Graph
from graphattn.graphs.exported import exported_edges, is_exporting
from graphattn.graphs.traced import TracedGraph, derivation, derive

_warned: WeakSet[Module] = WeakSet()  # layers that have said that they cannot use their edge attributes


def check_two_dimensional(source: Tensor, target: Tensor | None) -> None:
    for x in (source, target):
        if x is not None and x.dim() != 2:
            raise ValueError(f"'x' must be [num_nodes, in_channels] (got {list(x.shape)}); lay a batch end to end")


def check_edge_attr(edge_attr: Any, edge_dim: int | None, graph: Graph) -> None:
    """Attributes [num_edges, edge_dim] where the layer has an `edge_dim`, and only there."""
    if (edge_attr is None) != (edge_dim is None):
        got = "None" if edge_attr is None else list(edge_attr.shape)
        raise ValueError(f"'edge_attr' and 'edge_dim' go together (got edge_attr {got} and edge_dim={edge_dim})")
    if edge_attr is None:
        return
    if not isinstance(edge_attr, Tensor):
        raise TypeError(f"'edge_attr' must be a tensor [num_edges, {edge_dim}] (got {type(edge_attr).__name__})")
    if edge_attr.dim() != 2 or edge_attr.size(1) != edge_dim or not graph.may_have_edges(edge_attr.size(0)):
        raise ValueError(
            f"'edge_attr' must be [num_edges, edge_dim] = [{graph.num_edges}, {edge_dim}] (got {list(edge_attr.shape)}),"
            " in the order of graph.edge_index()"
        )


def edge_dim_of(lin_edge: Module | None) -> int | None:
    """What a map of edge attributes takes, None without one; -1 if only its first call or a wrapper around it knows."""
    edge_dim = None if lin_edge is None else getattr(lin_edge, "in_channels", -1)
    return edge_dim if edge_dim is None or isinstance(edge_dim, int) else -1


def checked_edge_attr(edges: Any, edge_attr: Tensor | None, edge_dim: int | None, graph: Graph) -> Tensor | None:
    """The given attributes as [num_edges, edge_dim], or else the values of a sparse matrix; `check_floating` is still to come."""
    edge_attr = values_of(edges, takes_one=edge_dim is not None) if edge_attr is None else edge_attr
    if edge_attr is None:
        return None
    if edge_dim is None:
        raise ValueError(
            f"'edge_attr' needs 'edge_dim' (got {list(edge_attr.shape)} and edge_dim=None); give the layer edge_dim="
            f"{edge_attr.size(-1) if edge_attr.dim() == 2 else 1}, or no 'edge_attr'"
        )
    edge_attr = edge_attr[:, None] if edge_attr.dim() == 1 else edge_attr
    fits = edge_attr.dim() == 2 and (edge_dim == -1 or edge_attr.size(1) == edge_dim)
    if not fits or not graph.may_have_edges(edge_attr.size(0)):
        raise ValueError(
            f"'edge_attr' must be [num_edges, edge_dim] = [{graph.num_edges}, {edge_dim}] in the order of the edges"
            f" (got {list(edge_attr.shape)})"
        )
    return edge_attr


def check_floating(edge_attr: Tensor | None) -> None:
    """Asked after self loops are added: their mean is floating, and makes whole numbers floating too."""
    if edge_attr is not None and not edge_attr.is_floating_point():
        raise TypeError(f"'edge_attr' must be floating (got {edge_attr.dtype}); convert with .float()")


def warn_unused(layer: Module, edge_attr: Tensor) -> None:
    """Says once for each layer that its edge attributes change nothing."""
    if torch.compiler.is_compiling() or layer in _warned:
        return
    _warned.add(layer)
    warnings.warn(
        f"{layer} ignores 'edge_attr' {list(edge_attr.shape)}, as in PyG: it was made without 'edge_dim'; give it one, or no"
        " 'edge_attr'",
        stacklevel=3,
    )


def values_of(edges: Any, takes_one: bool = True) -> Tensor | None:
    """What a sparse matrix holds for its edges; the ones of a plain torch.sparse adjacency matrix are nothing, and the numbers
    of a SparseTensor are attributes if the layer takes any."""
    if isinstance(edges, SparseTensor):
        values = edges.storage.value()
        return values if takes_one or (values is not None and values.dim() > 1) else None
    if not isinstance(edges, Tensor) or edges.layout == torch.strided or edges.dense_dim() == 0:
        return None
    # Not by PyG's `to_edge_index`, which writes into the matrix.
    return edges._values() if edges.layout == torch.sparse_coo else edges.values()


def is_pygs_form(edges: Any) -> bool:
    """Whether PyG's message passing takes these edges as they are: an edge_index or a sparse matrix."""
    if isinstance(edges, Tensor):
        return is_torch_sparse_tensor(edges) or not (edges.dtype == torch.bool or edges.is_floating_point())
    return isinstance(edges, SparseTensor)


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


def pygs_self_loops(
    edges: Any, edge_attr: Tensor | None, fill_value: float | Tensor | str, num_nodes: int
) -> tuple[Any, Tensor | None]:
    """`add_self_loops` for edges in PyG's form, which they keep."""
    if isinstance(edges, SparseTensor):
        return torch_sparse.set_diag(edges), None
    if is_torch_sparse_tensor(edges):
        edges = edges.to_sparse_csr() if edges.layout == torch.sparse_csc else edges
        edges = edges if edge_attr is None else set_sparse_value(edges, edge_attr)
        edge_attr = None
    edges, edge_attr = utils.remove_self_loops(edges, edge_attr)
    return utils.add_self_loops(edges, edge_attr, fill_value, num_nodes)


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
    if isinstance(graph, TracedGraph) and is_exporting():
        return exported_self_loops(graph, edge_attr, fill_value)
    has_attributes = edge_attr is not None
    if edge_attr is not None:
        edge_attr = attributes_with_loops(graph, edge_attr, fill_value)
    if isinstance(graph, TracedGraph):
        return derive(with_self_loops, [graph], *graph.shape, has_attributes), edge_attr
    return with_self_loops(graph, has_attributes), edge_attr


def attributes_with_loops(graph: Graph, edge_attr: Tensor, fill_value: float | Tensor | str) -> Tensor:
    """Attributes of the edges that are no self loops, and behind them those of one self loop for each node."""
    edges, num_nodes = graph.edge_index(edge_attr.device), min(graph.shape)
    is_traced = isinstance(graph, TracedGraph) or torch.compiler.is_compiling()
    if is_traced or fill_value != "mean" or has_some_loops(graph) or not edge_attr.is_floating_point():
        kept, edge_attr = utils.remove_self_loops(edges, edge_attr)
        return utils.add_self_loops(kept, edge_attr, fill_value, num_nodes)[1]
    # What PyG's functions come to, with what the graph knows: how many edges each mean is of.
    degrees = graph.degrees(edge_attr.device)[:num_nodes].clamp(min=1).to(edge_attr.dtype)
    sums = edge_attr.new_zeros(graph.num_queries, edge_attr.size(1)).index_add_(0, edges[1], edge_attr)
    return torch.cat([edge_attr, sums[:num_nodes] / degrees[:, None]])


def has_some_loops(graph: Graph) -> bool:
    def ask() -> bool:
        source, target = graph.edge_index()
        return bool((source == target).any())

    return graph.remember("has some loops", ask)


def exported_self_loops(
    graph: TracedGraph, edge_attr: Tensor | None, fill_value: float | Tensor | str
) -> tuple[Graph, Tensor | None]:
    """`add_self_loops` in torch's own operations. The edges that stay are chosen once: of two choices torch.export would not
    know that they are equally many."""
    edges = exported_edges(graph.tensor)
    stay = (edges[0] != edges[1]).nonzero().flatten()
    edge_attr = None if edge_attr is None else edge_attr[stay]
    edges, edge_attr = utils.add_self_loops(edges[:, stay], edge_attr, fill_value, min(graph.shape))
    return TracedGraph(edges, *graph.shape), edge_attr


@derivation()
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


def pygs_weighted(edges: Any, alpha: Tensor) -> Any:
    """What PyG returns for `return_attention_weights=True`, for edges in its own form that went through its message passing."""
    if isinstance(edges, SparseTensor):
        return edges.set_value(alpha, layout="coo")
    return (set_sparse_value(edges, alpha) if is_torch_sparse_tensor(edges) else edges), alpha


def weighted(edges: Any, graph: Graph, alpha: Tensor, loops: bool = False) -> Any:
    """What PyG returns for `return_attention_weights=True`, in the form in which the edges were given.

    (edge_index, alpha), an EdgeIndex for an EdgeIndex; for a torch.sparse matrix (matrix with alpha as its values, alpha); for
    a SparseTensor one with alpha as its values. `loops` says that `graph` has self loops which `edges` have not.
    """
    if isinstance(edges, EdgeIndex):
        edges = EdgeIndex(graph.edge_index(alpha.device), sparse_size=edges.sparse_size()) if loops else edges
        return edges, alpha
    source, target = edge_index = graph.edge_index(alpha.device)
    adjacency = torch.stack([target, source])  # rows are targets
    if isinstance(edges, SparseTensor):
        return SparseTensor.from_edge_index(adjacency, alpha, graph.shape)
    if isinstance(edges, Tensor) and is_torch_sparse_tensor(edges):
        matrix = utils.to_torch_sparse_tensor(adjacency, alpha, graph.shape, layout=edges.layout)
        return matrix, utils.to_edge_index(matrix)[1]
    return edge_index, alpha
