"""Types of nodes and edges, and what is given for them, checked."""

from typing import Any

from torch import Tensor
from torch.nn import Module
from torch_geometric.typing import EdgeType, Metadata, NodeType

from graphattn.graphs import Graph


def types_of(metadata: Metadata) -> tuple[list[NodeType], list[EdgeType]]:
    """The types of nodes and of edges, each once."""
    node_types, edge_types = list(dict.fromkeys(metadata[0])), list(dict.fromkeys(tuple(kind) for kind in metadata[1]))
    for kind in node_types:
        if not isinstance(kind, str):
            raise TypeError(f"types of nodes must be str (got {kind!r}); HeteroData.metadata() gives them")
    for kind in edge_types:
        if len(kind) != 3 or not all(isinstance(part, str) for part in kind):
            raise TypeError(f"types of edges must be (source, relation, target), three str (got {kind!r});"
                            " HeteroData.metadata() gives them")  # fmt: skip
    return node_types, edge_types


def check_metadata(node_types: list[NodeType], edge_types: list[EdgeType], in_channels: Any, edge_dim: Any) -> None:
    for source, relation, target in edge_types:
        missing = [kind for kind in (source, target) if kind not in node_types]
        if missing:
            raise ValueError(f"edges {(source, relation, target)} need nodes of type {missing[0]!r} (got {node_types})")
    if not edge_types:
        raise ValueError(f"'metadata' needs at least one type of edges (got {edge_types})")
    for name, given, known in (("in_channels", in_channels, node_types), ("edge_dim", edge_dim, edge_types)):
        unknown = [kind for kind in given if kind not in known] if isinstance(given, dict) else []
        if unknown:
            raise ValueError(f"'{name}' has types that 'metadata' lacks (got {unknown}, known are {known})")
    missing = [kind for kind in node_types if isinstance(in_channels, dict) and kind not in in_channels]
    if missing:
        raise ValueError(f"'in_channels' needs a size for each type of nodes (got none for {missing})")


def check_edge_attr(kind: EdgeType, edge_attr: Tensor | None, lin_edge: Module | None, graph: Graph) -> None:
    if (edge_attr is None) != (lin_edge is None):
        got = "None" if edge_attr is None else list(edge_attr.shape)
        raise ValueError(f"'edge_attr_dict' and 'edge_dim' go together (got {got} for edges {kind})")
    if edge_attr is None or lin_edge is None:
        return
    edge_dim = lin_edge.in_channels
    if edge_attr.dim() != 2 or edge_attr.size(1) != edge_dim or not graph.may_have_edges(edge_attr.size(0)):
        raise ValueError(
            f"features of edges {kind} must be [num_edges, edge_dim] = [{graph.num_edges}, {edge_dim}] in the order of the"
            f" edges (got {list(edge_attr.shape)})"
        )
