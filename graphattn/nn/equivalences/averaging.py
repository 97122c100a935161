"""Averages over neighbours are attention whose scores do not depend on what the neighbours hold."""

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn import GCNConv
from torch_geometric.nn.dense import Linear

from graphattn.functional import attend
from graphattn.graphs import Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.nn.messages import adds_up, is_watched, own_method
from graphattn.nn.plain import check_plain
from graphattn.nn.torch_weights import Copies, load_linear

NORMS = ("sym", "mean")


class AveragingAttention(torch.nn.Module):
    r"""Attention with constant scores and the logarithms of the edge weights as bias: x' = b + r_i Σ α_ij W x_j.

    .. math::
        \alpha_i = \mathrm{softmax}_{j \to i}(\log w_{ij}), \quad r_i = \sum_{j \to i} w_{ij}

    With 'mean' the weights are those given and r = 1. With 'sym' they are w / sqrt(d_i d_j), d the sums of the given
    weights into a node, and the layer is `torch_geometric.nn.GCNConv` (Kipf & Welling 2017, eq. 2), whose weights
    do not sum to 1: that is what r is for. Attention learns what here is given.

    Args:
        in_channels, out_channels: Sizes of the node features and of the result; in_channels -1 finds it out lazily.
        norm: 'sym' or 'mean'.
        add_self_loops: Give every node without an edge to itself one of weight 1. With 'sym' the last one stays of several,
            as in GCNConv.
        bias: Whether an offset is learned.

    Shapes:
        - x: [num_nodes, in_channels]
        - graph: anything `as_graph` takes, on one set of nodes
        - edge_weight: [num_edges], not negative, in the order of `graph.edge_index()`; 1 by default
        - output: [num_nodes, out_channels]

    Example:
        >>> from graphattn import BandedGraph
        >>> AveragingAttention(16, 8)(torch.randn(100, 16), BandedGraph(100, 5, 5)).shape
        torch.Size([100, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: str = "sym",
        *,
        add_self_loops: bool = True,
        bias: bool = True,
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"'norm' must be one of {NORMS} (got {norm!r})")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.norm, self.add_self_loops = norm, add_self_loops
        self.lin = Linear(in_channels, out_channels, bias=False)
        self.bias = Parameter(torch.zeros(out_channels)) if bias else None

    def reset_parameters(self) -> None:
        self.lin.reset_parameters()
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    @classmethod
    def from_gcn(cls, conv: GCNConv) -> "AveragingAttention":
        """The same layer as a GCNConv that normalizes, with copies of the weights; frozen ones stay frozen.

        Raises TypeError for another layer and ValueError for one whose numbers this has not: `improved`, another aggregation
        or flow, methods, hooks or parametrizations of its own. `cached` plays no part: each graph has its own weights.
        """
        check_plain("conv", conv, GCNConv)
        if not conv.normalize or conv.improved:
            raise ValueError(f"'conv' must be a GCNConv with normalize=True and improved=False (got {conv})")
        if is_watched(conv) or not adds_up(conv, node_dim=-2) or own_method(conv, GCNConv):
            raise ValueError(
                "'conv' must sum over the sources of a target, with PyG's own methods and without hooks on messages (got"
                f" aggr={conv.aggr!r}, {type(conv.aggr_module).__name__}, flow={conv.flow!r})"
            )
        check_plain("conv.lin", conv.lin, Linear)
        options = {"add_self_loops": conv.add_self_loops, "bias": conv.bias is not None}
        layer, copies = cls(conv.in_channels, conv.out_channels, **options), Copies()
        load_linear(layer.lin, conv.lin, copies)
        layer.bias = copies(conv.bias)
        return layer.train(conv.training)

    def to_gcn(self) -> GCNConv:
        """The GCNConv with the same numbers, if the norm is 'sym'."""
        check_plain("layer", self, AveragingAttention)
        check_plain("lin", self.lin, Linear)
        if self.norm != "sym":
            raise ValueError(f"GCNConv has the norm 'sym' (got {self.norm!r})")
        options = {"add_self_loops": self.add_self_loops, "bias": self.bias is not None}
        conv, copies = GCNConv(self.in_channels, self.out_channels, **options), Copies()
        load_linear(conv.lin, self.lin, copies)
        conv.bias = copies(self.bias)
        return conv.train(self.training)

    def forward(self, x: Tensor, graph: GraphLike, edge_weight: Tensor | None = None) -> Tensor:
        graph, weight = self.weigh(as_graph(graph, x.size(0), x.size(0)), edge_weight, x)
        value = self.lin(x)[:, None]
        scoreless = x.new_zeros(x.size(0), 1, 1)
        out = attend(scoreless, scoreless, value, graph, bias=log(weight))[:, 0]
        if self.norm == "sym":
            out = out * sum_into(graph.edge_index(x.device)[1], weight, x.size(0))[:, None]
        return out if self.bias is None else out + self.bias

    def weigh(self, graph: Graph, edge_weight: Tensor | None, x: Tensor) -> tuple[Graph, Tensor]:
        """The graph with its self loops and the weight of every edge."""
        if edge_weight is not None and edge_weight.shape != (graph.num_edges,):
            raise ValueError(f"'edge_weight' must be [{graph.num_edges}] (got {list(edge_weight.shape)})")
        if edge_weight is not None and not (edge_weight >= 0).all():
            raise ValueError(
                f"'edge_weight' must not be negative, to have a logarithm (got {edge_weight.min().item()})"
            )
        weight = x.new_ones(graph.num_edges) if edge_weight is None else edge_weight.to(x.dtype)
        if self.add_self_loops and self.norm == "sym":
            graph, weight = keep_last_self_loops(graph, weight)
        if self.add_self_loops:
            graph, weight = add_missing_self_loops(graph, weight)
        if self.norm == "sym":
            key, query = graph.edge_index(x.device)
            degree = sum_into(query, weight, x.size(0))
            product = degree[query] * degree[key]
            is_source = product > 0  # a node that nothing comes into has no say, as in GCNConv
            weight = torch.where(is_source, weight / torch.where(is_source, product, 1.0).sqrt(), 0.0)
        return graph, weight

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, norm={self.norm!r})"


def keep_last_self_loops(graph: Graph, weight: Tensor) -> tuple[Graph, Tensor]:
    """Of several edges of a node to itself only the last one stays, as PyG's `add_remaining_self_loops` has it."""
    source, target = edge_index = graph.edge_index(weight.device)
    loops = (source == target).nonzero()[:, 0]
    last = loops.new_zeros(graph.num_queries).scatter_reduce(0, target[loops], loops, "amax")
    is_kept = torch.ones_like(source, dtype=torch.bool)
    is_kept[loops] = loops == last[target[loops]]
    if is_kept.all():
        return graph, weight
    return as_graph(edge_index[:, is_kept], *graph.shape), weight[is_kept]


def add_missing_self_loops(graph: Graph, weight: Tensor) -> tuple[Graph, Tensor]:
    """Every node gets an edge to itself of weight 1, if it has none."""
    edge_index = graph.edge_index(weight.device)
    has_loop = torch.zeros(graph.num_queries, dtype=torch.bool, device=weight.device)
    has_loop[edge_index[0, edge_index[0] == edge_index[1]]] = True
    missing = (~has_loop).nonzero().t().expand(2, -1)
    if not missing.size(1):
        return graph, weight
    graph = as_graph(torch.cat([edge_index, missing], dim=1), *graph.shape)
    return graph, torch.cat([weight, weight.new_ones(missing.size(1))])


def sum_into(query: Tensor, weight: Tensor, num_nodes: int) -> Tensor:
    """The sum of the weights of the edges into each node."""
    return weight.new_zeros(num_nodes).index_add(0, query, weight)


def log(weight: Tensor) -> Tensor:
    """-inf for 0, without the infinite slope there."""
    is_edge = weight > 0
    return torch.where(is_edge, torch.where(is_edge, weight, 1.0).log(), -torch.inf)
