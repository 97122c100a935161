"""GATv2Conv: PyG's layer on graphattn's kernels."""

from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor

from graphattn.formulas.scores import KERNEL_SLOPE, Additive
from graphattn.functional import attend, attention_weights
from graphattn.graphs import Graph
from graphattn.graphs.convert import GraphLike
from graphattn.nn.adjacency import (
    add_self_loops,
    are_one_set,
    check_floating,
    check_two_dimensional,
    checked_edge_attr,
    edge_dim_of,
    pygs_self_loops,
    pygs_weighted,
    refuse_sparse_tensor,
    weighted,
)
from graphattn.nn.drop_in import DropIn
from graphattn.nn.edge_terms import is_cheaper_by_edges
from graphattn.nn.gatv2_step import attend_gatv2
from graphattn.nn.linear_maps import apply_linear, linear
from graphattn.nn.messages import is_plain


class GATv2Conv(DropIn, torch_geometric.nn.GATv2Conv):
    r"""PyG's `GATv2Conv` (Brody et al. 2022, https://arxiv.org/abs/2105.14491) without a message per edge and channel.

    Signature, parameters, state_dict and numbers are those of `torch_geometric.nn.GATv2Conv`:

    .. math::
        x'_i = \sum_{j \to i} \alpha_{ij} \Theta_s x_j, \quad \alpha_i = \mathrm{softmax}_{j \to i}\;
        a^\top \mathrm{LeakyReLU}(\Theta_t x_i + \Theta_s x_j + \Theta_e e_{ij})

    It differs from PyG's as `graphattn.nn.GATConv` does: more forms of `edge_index`, no self loops between two sets of
    nodes, sums in float32 in half precision, weights returned before dropout, another generator of dropout. The same calls
    go through PyG's message passing. `edge_attr` without `edge_dim` is an error, as in PyG.

    Shapes:
        - x: [num_nodes, in_channels], or ([num_sources, in_channels[0]], [num_targets, in_channels[1]])
        - edge_attr: [num_edges, edge_dim]
        - output: [num_targets, heads * out_channels], or [num_targets, out_channels] if not `concat`

    Example:
        >>> import torch
        >>> from graphattn import BandedGraph
        >>> from graphattn.nn import GATv2Conv
        >>> conv = GATv2Conv(8, 4, heads=2, share_weights=True)
        >>> conv
        GATv2Conv(8, 4, heads=2)
        >>> conv(torch.randn(100, 8), BandedGraph(100, before=5, after=5)).shape
        torch.Size([100, 8])
    """

    peer = torch_geometric.nn.GATv2Conv

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: GraphLike,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Attention over the edges; with `return_attention_weights=True` also (edge_index, weights [num_edges, heads])."""
        source, target = (x, x) if isinstance(x, Tensor) else x
        if target is None:
            raise ValueError("'x' needs features of the targets (got (x_src, None)); GATConv does without")
        check_two_dimensional(source, target)
        graph = self.graph_of(edge_index, target.size(0), source.size(0))
        by_messages, edge_attr = self.ways_in(graph, edge_index, edge_attr)
        residual = None if self.res is None else self.res(target)
        loops = self.add_self_loops and are_one_set(x, self.in_channels)
        if loops:
            refuse_sparse_tensor(edge_index, edge_attr)
        alpha: Tensor | None
        if by_messages:
            x_l, x_r = self.project(x)
            edges = self.edges_for_pyg(edge_index, graph, x_l.device)
            out, edges, alpha = self.by_messages(x_l, x_r, edges, edge_attr, loops)
            weights = pygs_weighted(edges, alpha) if return_attention_weights else None
        else:
            graph, edge_attr = add_self_loops(graph, edge_attr, self.fill_value) if loops else (graph, edge_attr)
            check_floating(edge_attr)
            whole = None if return_attention_weights else self.in_one_step(source, target, graph, edge_attr)
            if whole is not None:
                out, alpha = whole, None
            else:
                out, alpha = self.by_kernel(*self.project(x), graph, edge_attr, bool(return_attention_weights))
            weights = None if alpha is None else weighted(edge_index, graph, alpha, loops)
        out = self.join_heads(out)
        if residual is not None:
            out = out + residual
        if self.bias is not None:
            out = out + self.bias
        return (out, weights) if return_attention_weights else out

    def check(self, graph: Graph, edges: Any, edge_attr: Tensor | None) -> Tensor | None:
        """Attributes of the edges as [num_edges, edge_dim], or None."""
        return checked_edge_attr(edges, edge_attr, edge_dim_of(self.lin_edge), graph)

    def project(self, x: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Sources and targets as [num_nodes, heads, out_channels]."""
        source, target = (x, x) if isinstance(x, Tensor) else x
        shape = (self.heads, self.out_channels)
        is_one = target is source and self.lin_r is self.lin_l and is_plain(self.lin_l)
        if is_one or (isinstance(x, Tensor) and self.share_weights):
            x_l = apply_linear(source, self.lin_l)[0].view(-1, *shape)
            return x_l, x_l
        if target is source:
            x_l, x_r = apply_linear(source, self.lin_l, self.lin_r)
        else:
            (x_l,), (x_r,) = apply_linear(source, self.lin_l), apply_linear(target, self.lin_r)
        return x_l.view(-1, *shape), x_r.view(-1, *shape)

    def in_one_step(self, source: Tensor, target: Tensor, graph: Graph, edge_attr: Tensor | None) -> Tensor | None:
        """[num_targets, heads, out_channels] where maps are nothing more and no map of edges is cheaper inside the loops."""
        maps_edges = edge_attr is not None and self.should_map_edges(graph, edge_attr)
        if self.negative_slope != KERNEL_SLOPE or (edge_attr is not None and not maps_edges):
            return None
        dropout, maps = self.dropout if self.training else 0.0, (self.lin_r, self.lin_l)
        return attend_gatv2(target, source, graph, maps, self.att, dropout, edge_attr, self.lin_edge)

    def by_kernel(
        self, x_l: Tensor, x_r: Tensor, graph: Graph, edge_attr: Tensor | None, wants_alpha: bool
    ) -> tuple[Tensor, Tensor | None]:
        """([num_targets, heads, out_channels], weights [num_edges, heads] if wanted) by the fastest kernel."""
        dtype = torch.promote_types(x_l.dtype, self.att.dtype)  # under autocast the weights are in float32, as in PyG
        x_l, x_r = (x_l.to(dtype),) * 2 if x_l is x_r else (x_l.to(dtype), x_r.to(dtype))
        edge_weight, edge_features, adds_features = None, None, False
        if edge_attr is not None:
            edge_weight, edge_features = self.lin_edge.weight, edge_attr.to(dtype)
            adds_features = self.should_map_edges(graph, edge_features)
            if adds_features:
                edge_features, edge_weight = linear(edge_features, edge_weight).view(-1, *x_l.shape[1:]), None
            else:
                edge_weight = edge_weight.unflatten(0, (self.heads, self.out_channels))
        score = Additive(self.att[0], edge_weight, "leaky_relu", self.negative_slope, adds_features)
        options: dict[str, Any] = {"score": score, "edge_features": edge_features}
        dropout = self.dropout if self.training else 0.0
        out = attend(x_r, x_l, x_l, graph, dropout=dropout, edge_sum=False, **options)
        return out, attention_weights(x_r, x_l, graph, **options) if wants_alpha else None

    def should_map_edges(self, graph: Graph, edge_features: Tensor) -> bool:
        """Whether edges are so few that it is cheaper to map their features before; loops have them for PyG's own slope."""
        has_slope = self.negative_slope == KERNEL_SLOPE and edge_features.dtype == self.lin_edge.weight.dtype
        return has_slope and is_cheaper_by_edges(graph, edge_features, self.out_channels)

    def by_messages(
        self, x_l: Tensor, x_r: Tensor, edges: Any, edge_attr: Tensor | None, loops: bool
    ) -> tuple[Tensor, Any, Tensor]:
        """The same by PyG's message passing, called as PyG does; also the edges with their self loops, and the weights."""
        if loops:
            num_nodes = min(x_l.size(0), x_r.size(0))
            edges, edge_attr = pygs_self_loops(edges, edge_attr, self.fill_value, num_nodes)
        # edge_updater_type: (x: PairTensor, edge_attr: OptTensor)
        alpha = self.edge_updater(edges, x=(x_l, x_r), edge_attr=edge_attr)
        # propagate_type: (x: PairTensor, alpha: Tensor)
        return self.propagate(edges, x=(x_l, x_r), alpha=alpha), edges, alpha
