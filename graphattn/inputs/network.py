"""Networks: a graph from networkx, scipy or a list of edges, with features where it has none."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.graphs import Graph, as_graph
from graphattn.inputs.assemble import assemble

FEATURES = ('degree', 'constant', 'identity')


def from_network(network: Any, x: Tensor | None = None, features: str | Sequence[str] = 'degree',
                 num_nodes: int | None = None, edge_index: bool = True) -> Data:
    """A given network as it is: a node attends to the nodes that its incoming edges come from.

    | attribute  | shape   | meaning
    |------------|---------|--------
    | x          | [N, F]  | as given, or made as `features` says, float32
    | edge_index | [2, E]  | sources over targets, in the order of graph.edge_index()
    | graph      | N nodes | the network as `graphattn.as_graph` reads it

    | features      | columns | meaning
    |---------------|---------|--------
    | 'degree'      | 1       | number of incoming edges
    | 'constant'    | 1       | 1
    | 'identity'    | N       | one-hot index of the node, for one network with fixed nodes
    | list of names | sum     | these node attributes of a networkx graph, numbers or sequences of numbers

    Args:
        network: networkx graph (undirected: both directions; nodes in the order of its `nodes`), scipy sparse matrix
            (rows are sources), edge_index [2, E], a sequence of (source, target) pairs, or anything as_graph takes.
        x: node features [N, F]; then `features` is not used.
        num_nodes: needed where the network does not say it: edge_index and pairs, whose last nodes may have no edges.
        edge_index: False leaves edge_index out.

    Edges have the directions given; for friendships listed once, follow with torch_geometric.transforms.ToUndirected
    and graphattn.transforms.Edges.

    >>> import networkx
    >>> data = from_network(networkx.karate_club_graph())
    >>> data.x.shape, data.edge_index.shape
    (torch.Size([34, 1]), torch.Size([2, 156]))
    """
    graph = to_graph(network, num_nodes)
    if x is None:
        x = make_features(features, network, graph)
    elif len(x) != graph.num_queries:
        raise ValueError(f"'x' has {len(x)} rows, the network has {graph.num_queries} nodes; give one row per node")
    return assemble(torch.as_tensor(x), None, graph, edge_index)


def to_graph(network: Any, num_nodes: int | None) -> Graph:
    """The square Graph of a network, of num_nodes nodes if that is given."""
    if isinstance(network, list | tuple):
        network = pairs_to_edge_index(network)
    if isinstance(network, Tensor) and num_nodes is None and network.dtype != torch.bool:
        raise ValueError("'num_nodes' is needed with a list of edges, which does not tell it")
    graph = as_graph(network) if num_nodes is None else as_graph(network, num_nodes, num_nodes)
    if graph.num_queries != graph.num_keys:
        raise ValueError(f"'network' joins {graph.num_queries} targets to {graph.num_keys} sources; a network needs "
                         f"one set of nodes")
    return graph


def pairs_to_edge_index(pairs: Sequence[tuple[int, int]]) -> Tensor:
    """[(source, target), ...] -> int64 [2, E].

    >>> pairs_to_edge_index([(0, 1), (1, 2)])
    tensor([[0, 1],
            [1, 2]])
    """
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(node, int) for node in pair):
            raise ValueError(f"'network' as a list needs (source, target) pairs of ints (got {pair!r}); number the "
                             f"nodes first")
    return torch.tensor(pairs, dtype=torch.long).view(-1, 2).T.contiguous()


def make_features(features: str | Sequence[str], network: Any, graph: Graph) -> Tensor:
    """[num_nodes, F] float32 features of nodes that have none."""
    if features == 'degree':
        return graph.degrees().float().unsqueeze(1)
    if features == 'constant':
        return torch.ones(graph.num_queries, 1)
    if features == 'identity':
        return torch.eye(graph.num_queries)
    if isinstance(features, str) or not hasattr(network, 'nodes'):
        raise ValueError(f"'features' needs to be one of {list(FEATURES)}, or a list of node attributes of a networkx "
                         f"graph (got {features!r} with a {type(network).__name__})")
    return node_attributes(network, features)


def node_attributes(network: Any, names: Sequence[str]) -> Tensor:
    """The attributes of a networkx graph's nodes side by side, [num_nodes, F] float32, in the order of its nodes."""
    rows = []
    for node, attributes in network.nodes(data=True):
        missing = [name for name in names if name not in attributes]
        if missing:
            raise ValueError(f"node {node!r} has no attribute {missing} (it has {list(attributes)})")
        try:
            rows.append(torch.cat([torch.as_tensor(attributes[name], dtype=torch.float).view(-1) for name in names]))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the attributes {list(names)} of node {node!r} need to be numbers (got {attributes!r})"
                             ) from error
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise ValueError(f"the attributes {list(names)} need one length on all nodes (got lengths {sorted(lengths)})")
    return torch.stack(rows) if rows else torch.zeros(0, len(names))
