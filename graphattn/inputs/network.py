"""Networks: a graph from networkx, scipy or a list of edges, with features where it has none."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import add_remaining_self_loops

from graphattn.graphs import EdgeListGraph, Graph, as_graph
from graphattn.graphs.sizes import parse_integer
from graphattn.inputs.arrays import to_tensor
from graphattn.inputs.assemble import assemble
from graphattn.inputs.attributes import Columns, Rows, attributes_of

FEATURES = ("degree", "constant", "identity")


def from_network(
    network: Any,
    x: Tensor | np.ndarray | None = None,
    features: str | Sequence[str] = "degree",
    num_nodes: int | None = None,
    edge_index: bool = True,
    node_features: str | Sequence[str] | None = None,
    edge_features: str | Sequence[str] | None = None,
    self_loops: bool = False,
) -> Data:
    """A given network as it is: a node attends to the nodes that its incoming edges come from.

    | attribute  | shape   | meaning
    |------------|---------|--------
    | x          | [N, F]  | as given, or made as `node_features` or `features` say, float32
    | edge_index | [2, E]  | sources over targets, in the order of graph.edge_index()
    | edge_attr  | [E, F]  | as `edge_features` says, in the order of edge_index, float32; else absent
    | graph      | N nodes | the network as `graphattn.as_graph` reads it; it follows edge_index

    | features      | columns | meaning
    |---------------|---------|--------
    | 'degree'      | 1       | number of incoming edges
    | 'constant'    | 1       | 1
    | 'identity'    | N       | one-hot index of the node, for one network with fixed nodes
    | list of names | sum     | these attributes of the nodes, as `node_features`

    Args:
        network: networkx graph (undirected: both directions; nodes in the order of its `nodes`), scipy sparse matrix
            (rows are sources), edge_index [2, E], a sequence of (source, target) pairs, or anything as_graph takes.
        x: node features [N, F]; then `features` is not used.
        num_nodes: needed where the network does not say it: edge_index and pairs, whose last nodes may have no edges.
        edge_index: False leaves edge_index out.
        node_features: names of attributes of the nodes, numbers or sequences of numbers, side by side in x.
        edge_features: likewise of the edges, side by side in edge_attr; 'weight' are the values of a sparse matrix.
        self_loops: Every node gets one edge to itself, behind the others and with features 0 unless it has one; friendships
            have no such edges, and a node then does not see itself.

    Attributes that a network has and that are not asked for are lost, and a warning says so; pass `()` where they shall be.

    Edges have the directions given; for friendships listed once, follow with torch_geometric.transforms.ToUndirected
    and graphattn.transforms.Edges.

    >>> import networkx
    >>> data = from_network(networkx.karate_club_graph(), node_features=(), edge_features='weight')
    >>> data.x.shape, data.edge_index.shape, data.edge_attr.shape
    (torch.Size([34, 1]), torch.Size([2, 156]), torch.Size([156, 1]))
    """
    node_features, edge_features = names_of_nodes(x, features, node_features), names_in("edge_features", edge_features)
    graph = to_graph(network, num_nodes)
    nodes, edges = attributes_of(network)
    lost_edges = () if edge_features is not None else edges.telling
    warn_of_lost(() if x is not None or node_features is not None else nodes.telling, lost_edges)
    if node_features:
        x = select(nodes, node_features, graph.num_queries, network)
    else:
        x = make_features(features, graph) if x is None else check_rows(to_tensor("x", x), graph)
    edge_attr = select(edges, edge_features, graph.num_edges, network) if edge_features else None
    graph, edge_attr = with_self_loops(graph, edge_attr) if self_loops else (graph, edge_attr)
    return assemble(x, None, graph, edge_index, **({} if edge_attr is None else {"edge_attr": edge_attr}))


def with_self_loops(graph: Graph, edge_attr: Tensor | None) -> tuple[Graph, Tensor | None]:
    edges, edge_attr = add_remaining_self_loops(graph.edge_index(), edge_attr, 0.0, graph.num_queries)
    return EdgeListGraph(edges, graph.num_queries, is_undirected=graph.is_symmetric), edge_attr


def names_of_nodes(
    x: Any, features: str | Sequence[str], node_features: str | Sequence[str] | None
) -> tuple[str, ...] | None:
    """The attributes of nodes that are asked for, None if nothing is said of them."""
    names = names_in("node_features", node_features)
    if names is None and not isinstance(features, str):
        names = names_in("features", features)
    if x is not None and names:
        raise ValueError(f"'x' and attributes of nodes cannot both be the features (got {names}); join them before")
    return names


def names_in(argument: str, names: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """One name or several, as a tuple."""
    if names is None:
        return None
    names = (names,) if isinstance(names, str) else tuple(names)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument!r} needs to be names of attributes (got {names!r})")
    return names


def warn_of_lost(of_nodes: Sequence[str], of_edges: Sequence[str]) -> None:
    lost = [
        (f"the {of} attributes {list(names)}", f"{of}_features={list(names)}")
        for of, names in (("node", of_nodes), ("edge", of_edges))
        if names
    ]
    if lost:
        what, how = (" and ".join(parts) for parts in zip(*lost))
        warnings.warn(
            f"from_network leaves out {what}; pass {how} to keep them, or () if they shall be left out", stacklevel=3
        )


def check_rows(x: Tensor, graph: Graph) -> Tensor:
    if x.dim() == 0 or len(x) != graph.num_queries:
        raise ValueError(
            f"'x' has {len(x) if x.dim() else 'no'} rows, the network has {graph.num_queries} nodes; give one "
            f"row per node"
        )
    return x


def select(attributes: Rows | Columns, names: Sequence[str], count: int, network: Any) -> Tensor:
    """[count, F] of the attributes of these names."""
    if count and not attributes.names:
        raise ValueError(
            f"'{attributes.of}_features' needs a network whose {attributes.of}s have attributes, such as one of "
            f"networkx (got {list(names)} with a {type(network).__name__})"
        )
    matrix = attributes.matrix(names) if attributes.names else torch.zeros(0, len(names))
    if len(matrix) != count:
        raise ValueError(f"{list(names)} need to be attributes of all {count} {attributes.of}s (got {len(matrix)})")
    return matrix


def to_graph(network: Any, num_nodes: int | None) -> Graph:
    """The square Graph of a network, of num_nodes nodes if that is given."""
    if isinstance(network, list | tuple):
        network = pairs_to_edge_index(network)
    elif isinstance(network, np.ndarray):
        network = to_tensor("network", network)
    if num_nodes is None and is_edge_index(network):
        raise ValueError("'num_nodes' is needed with a list of edges, which does not tell it")
    graph = as_graph(network) if num_nodes is None else as_graph(network, num_nodes, num_nodes)
    if graph.num_queries != graph.num_keys:
        raise ValueError(
            f"'network' joins {graph.num_queries} targets to {graph.num_keys} sources; a network needs one set of nodes"
        )
    return graph


def is_edge_index(network: Any) -> bool:
    """Whether this is a list of edges, rather than something that as_graph refuses in better words."""
    is_dense = isinstance(network, Tensor) and network.layout == torch.strided
    if not is_dense or network.dtype == torch.bool or network.is_floating_point() or network.is_complex():
        return False
    return network.dim() == 2 and len(network) == 2


def pairs_to_edge_index(pairs: Sequence[tuple[int, int]]) -> Tensor:
    """[(source, target), ...] -> int64 [2, E].

    >>> pairs_to_edge_index([(0, 1), (1, 2)])
    tensor([[0, 1],
            [1, 2]])
    """
    ends = []
    for pair in pairs:
        try:
            source, target = pair
            ends.append([parse_integer("node", node, minimum=None) for node in (source, target)])
        except (TypeError, ValueError):
            raise ValueError(
                f"'network' as a list needs (source, target) pairs of ints (got {pair!r}); number the nodes first"
            ) from None
    return torch.tensor(ends, dtype=torch.long).view(-1, 2).T.contiguous()


def make_features(features: str | Sequence[str], graph: Graph) -> Tensor:
    """[num_nodes, F] float32 features of nodes that have none."""
    if features == "degree":
        return graph.degrees().float().unsqueeze(1)
    if features == "constant":
        return torch.ones(graph.num_queries, 1)
    if features == "identity":
        return torch.eye(graph.num_queries)
    raise ValueError(
        f"'features' needs to be one of {list(FEATURES)}, or a list of node attributes of a networkx graph "
        f"(got {features!r})"
    )
