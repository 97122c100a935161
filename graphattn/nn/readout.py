"""From the nodes of each example to one vector, or to a fixed number of them."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.types import Device
from torch_geometric.nn import global_add_pool, global_mean_pool

from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.exported import exported_complete, exported_edges
from graphattn.graphs.sizes import parse_integer, starts_and_total
from graphattn.graphs.spread import SpreadGraph
from graphattn.graphs.traced import TracedGraph, derivation, derive
from graphattn.nn.encoder import block_attention


def counts_of(graph: Graph) -> list[int]:
    """Nodes (queries) of each example."""
    if isinstance(graph, SpreadGraph):
        raise ValueError(
            f"only MeanReadout reads nodes that lie with several processes (got {graph!r}); take it, or gather the nodes"
        )
    return [queries for queries, _ in graph.sizes]


class MeanReadout(torch.nn.Module):
    """The mean of the nodes of each example; 0 for an example without nodes. Over a ShardedGraph, of the nodes of all processes.

    Shapes:
        - x: [num_nodes, channels]
        - graph: any graph of these nodes, which tells the examples
        - output: [num_examples, channels]

    Example:
        >>> from graphattn import CompleteGraph
        >>> MeanReadout()(torch.tensor([[1.0], [3.0], [5.0]]), CompleteGraph([2, 1]))
        tensor([[2.],
                [5.]])
    """

    def forward(self, x: Tensor, graph: GraphLike) -> Tensor:
        graph = as_graph(graph, x.size(0))
        if isinstance(graph, SpreadGraph):
            ones = torch.cat([x, x.new_ones(x.size(0), 1)], 1)
            sums = graph.total(global_add_pool(ones, graph.batch(x.device), graph.num_examples))
            return sums[:, :-1] / sums[:, -1:].clamp(min=1)
        return global_mean_pool(x, graph.batch(x.device), graph.num_examples)

    if TYPE_CHECKING:
        __call__ = forward


class AttentionReadout(torch.nn.Module):
    """Learned queries attend to all nodes of their example, over a bipartite complete graph (Lee et al. 2019, PMA).

    One query makes an attention pooling (N to 1), several a summary of fixed size (N to N'). An example without nodes
    gets what the output projection makes of 0.

    Args:
        channels: Size of the node features and of the result, a multiple of `heads`.
        heads: Number of attention heads.
        num_queries: Number of learned queries.
        **attention: Further arguments of GraphAttention: dropout, kv_heads, ...

    Shapes:
        - x: [num_nodes, channels]
        - graph: any graph of these nodes, which tells the examples
        - output: [num_examples * num_queries, channels], example after example

    Example:
        >>> from graphattn import CompleteGraph
        >>> AttentionReadout(16, heads=4, num_queries=3)(torch.randn(9, 16), CompleteGraph([4, 5])).shape
        torch.Size([6, 16])
    """

    def __init__(self, channels: int, heads: int = 1, num_queries: int = 1, **attention: Any):
        super().__init__()
        self.num_queries = parse_integer("num_queries", num_queries, minimum=1)
        self.query = Parameter(torch.empty(num_queries, channels))
        self.attention = block_attention(channels, heads, **attention)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.query)
        self.attention.reset_parameters()

    def forward(self, x: Tensor, graph: GraphLike) -> Tensor:
        graph = as_graph(graph, x.size(0))
        query = self.query.expand(graph.num_examples, -1, -1).flatten(0, 1)
        return self.attention((x, query), self.graph(graph))

    if TYPE_CHECKING:
        __call__ = forward

    def graph(self, graph: Graph) -> Graph:
        """From the nodes of each example (keys) to its queries."""
        if isinstance(graph, TracedGraph):
            num_queries = graph.num_examples * self.num_queries
            return derive(to_queries, [graph], num_queries, graph.num_queries, self.num_queries)
        return to_queries(graph, self.num_queries)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.query.size(1)}, heads={self.attention.heads}, num_queries={self.num_queries})"
        )


def exported_to_queries(graphs: list[Tensor], sizes: list[tuple[int, int]], num_queries: int) -> Tensor:
    return exported_complete(num_queries, sizes[0][0], graphs[0].device)


@derivation(exported_to_queries)
def to_queries(graph: Graph, num_queries: int) -> CompleteGraph:
    """Complete, from the nodes of each example to `num_queries` queries."""
    return CompleteGraph([num_queries] * graph.num_examples, counts_of(graph))


class ClassNode(torch.nn.Module):
    """One more node for each example, with learned features, that sees all and is seen by all (Devlin et al. 2019, [CLS]).

    It is the last node of its example, so that the others keep their places. Complete graphs and bands stay formulas;
    other graphs become edge lists whose first edges are those of the graph, in their order.

    Args:
        channels: Size of the node features.

    Shapes:
        - x: [num_nodes, channels]
        - output: ([num_nodes + num_examples, channels], the larger graph)

    Example:
        >>> from graphattn import BandedGraph
        >>> from graphattn.nn import EncoderLayer
        >>> node, layer = ClassNode(16), EncoderLayer(16, heads=4)
        >>> x, graph = node(torch.randn(9, 16), BandedGraph([4, 5], 1, 1))
        >>> node.read(layer(x, graph), graph).shape
        torch.Size([2, 16])
    """

    def __init__(self, channels: int):
        super().__init__()
        self.features = Parameter(torch.empty(1, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.features, std=0.02)

    def forward(self, x: Tensor, graph: GraphLike) -> tuple[Tensor, Graph]:
        graph = as_graph(graph, x.size(0))
        larger = larger_graph(graph)
        is_node = torch.ones(larger.num_queries, dtype=torch.bool, device=x.device)
        is_node[class_nodes(larger, x.device)] = False
        # Old nodes come from x one after the other, new ones from the row after it.
        row = (is_node.cumsum(0) - 1).masked_fill(~is_node, x.size(0))
        return torch.cat([x, self.features.to(x.dtype)])[row], larger

    if TYPE_CHECKING:
        __call__ = forward

    @staticmethod
    def read(x: Tensor, graph: Graph) -> Tensor:
        """The features of the class nodes, [num_examples, channels], where `graph` is the larger graph."""
        return x[class_nodes(graph, x.device)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.features.size(1)})"


def class_nodes(graph: Graph, device: Device = None) -> Tensor:
    """The last node of each example."""
    if isinstance(graph, TracedGraph):
        return graph.example_sizes()[:, 0].cumsum(0).to(device) - 1
    return torch.tensor(graph.query_ptr[1:], device=device) - 1


def larger_graph(graph: Graph) -> Graph:
    if isinstance(graph, TracedGraph):
        num_nodes = graph.num_queries + graph.num_examples
        return derive(with_class_nodes, [graph], num_nodes, num_nodes)
    return with_class_nodes(graph)


def exported_with_class_node(graphs: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
    """The edges of one example, and those of a node behind the others in the order of a GlobalGraph: row by row."""
    num_nodes = sizes[0][0]
    node = torch.arange(num_nodes, device=graphs[0].device)
    last = torch.full_like(node, num_nodes)
    itself = last.new_full((2, 1), num_nodes)
    star = [torch.stack([last, node]), torch.stack([node, last]), itself]
    return torch.cat([exported_edges(graphs[0]), *star], 1)


@derivation(exported_with_class_node)
def with_class_nodes(graph: Graph) -> Graph:
    """`graph` with one more node at the end of each example, joined to all nodes of it both ways and to itself.

    >>> with_class_nodes(CompleteGraph([2, 3]))
    CompleteGraph([3, 4])
    """
    if any(queries != keys for queries, keys in graph.sizes):
        raise ValueError(f"a class node needs a graph over one set of nodes (got {graph!r})")
    counts = [count + 1 for count in counts_of(graph)]
    if isinstance(graph, CompleteGraph):
        return CompleteGraph(counts)
    star = GlobalGraph(counts, [end - 1 for end in starts_and_total(counts)[1:]])
    if isinstance(graph, BandedGraph):
        window = (graph.before, graph.after, graph.dilation)
        return BandedGraph(counts, *window, offset=list(graph.offsets)) | star
    edges = graph.edge_index()
    edges = edges + graph.batch(edges.device)[edges[1]]  # node i of example b has b class nodes before it
    return EdgeListGraph(torch.cat([edges, star.edge_index(edges.device)], 1), counts, is_undirected=graph.is_symmetric)
