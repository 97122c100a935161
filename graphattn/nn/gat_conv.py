"""GATConv: PyG's layer on graphattn's kernels."""

from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor
from torch_geometric.nn.conv import MessagePassing

from graphattn.functional import attend, attention_weights
from graphattn.graphs import Graph, as_graph
from graphattn.kernels.scores import Additive
from graphattn.nn.adjacency import (
    add_self_loops,
    are_one_set,
    check_two_dimensional,
    checked_edge_attr,
    refuse_sparse_tensor,
    weighted,
)
from graphattn.nn.messages import needs_messages


class GATConv(torch_geometric.nn.GATConv):
    r"""PyG's `GATConv` (Veličković et al. 2018, https://arxiv.org/abs/1710.10903) without a message per edge and channel.

    Signature, parameters, state_dict and numbers are those of `torch_geometric.nn.GATConv`:

    .. math::
        x'_i = \sum_{j \to i} \alpha_{ij} \Theta x_j, \quad \alpha_i = \mathrm{softmax}_{j \to i}\;
        \mathrm{LeakyReLU}(a_t^\top \Theta x_i + a_s^\top \Theta x_j + a_e^\top \Theta_e e_{ij})

    It differs in this:

    - `edge_index` may be any Graph, and anything else that `as_graph` takes.
    - Between two sets of nodes there are no self loops, whatever `add_self_loops` says: with two sizes of `in_channels`
      and two tensors `(x_src, x_dst)`, node i of one set is not node i of the other. PyG adds these edges. One tensor for
      both, or targets that are the first of the sources (the blocks of a NeighborLoader), are one set.
    - Half precision adds up in float32.
    - Weights are returned before dropout; PyG returns them after it.
    - Dropout draws from another generator: other edges are dropped, equally often.

    Explainers, hooks on messages, `flow='target_to_source'`, an `aggr` other than the sum and the first call of a lazy
    `edge_dim` go through PyG's message passing. `decomposed_layers` changes nothing: kernels keep no messages to save on.

    Shapes:
        - x: [num_nodes, in_channels], or ([num_sources, in_channels[0]], [num_targets, in_channels[1]] or None)
        - edge_attr: [num_edges, edge_dim]
        - size: (num_sources, num_targets), needed where x_dst is None and `edge_index` does not know
        - output: [num_targets, heads * out_channels], or [num_targets, out_channels] if not `concat`

    Example:
        >>> import torch
        >>> from graphattn.nn import GATConv
        >>> conv = GATConv(8, 4, heads=2)
        >>> conv
        GATConv(8, 4, heads=2)
        >>> out, (edge_index, alpha) = conv(torch.randn(3, 8), torch.tensor([[0, 1], [1, 2]]), return_attention_weights=True)
        >>> edge_index
        tensor([[0, 1, 0, 1, 2],
                [1, 2, 0, 1, 2]])
    """

    # Not what PyG compiled for its own class, which explainers cannot look into.
    propagate = MessagePassing.propagate

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor | None],
        edge_index: Any,
        edge_attr: Tensor | None = None,
        size: tuple[int, int] | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Attention over the edges; with `return_attention_weights=True` also (edge_index, weights [num_edges, heads])."""
        source, target = (x, x) if isinstance(x, Tensor) else x
        check_two_dimensional(source, target)
        graph = as_graph(edge_index, *num_queries_and_keys(source, target, edge_index, size))
        edge_attr = None if self.lin_edge is None else checked_edge_attr(edge_index, edge_attr, self.edge_dim, graph)
        if self.add_self_loops and are_one_set(x, self.in_channels):
            refuse_sparse_tensor(edge_index, edge_attr)
            graph, edge_attr = add_self_loops(graph, edge_attr, self.fill_value)
        x_src, x_dst = self.project(source, target)
        if needs_messages(self):
            out, alpha = self.by_messages(x_src, x_dst, graph, edge_attr)
        else:
            out, alpha = self.by_kernel(x_src, x_dst, graph, edge_attr, bool(return_attention_weights))
        out = out.flatten(1) if self.concat else out.mean(1)
        if self.res is not None and target is not None:
            out = out + self.res(target)
        if self.bias is not None:
            out = out + self.bias
        return (out, weighted(edge_index, graph, alpha)) if return_attention_weights else out

    def project(self, source: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Sources and targets as [num_nodes, heads, out_channels]."""
        lin_src, lin_dst = (self.lin_src, self.lin_dst) if self.lin is None else (self.lin, self.lin)
        shape = (self.heads, self.out_channels)
        x_src = lin_src(source).unflatten(-1, shape)
        if target is source and lin_dst is lin_src:
            return x_src, x_src
        return x_src, None if target is None else lin_dst(target).unflatten(-1, shape)

    def scores(self, x_src: Tensor, x_dst: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What sources and targets add to the score of an edge: [num_nodes, heads] each."""
        return (x_src * self.att_src).sum(-1), None if x_dst is None else (x_dst * self.att_dst).sum(-1)

    def by_kernel(
        self, x_src: Tensor, x_dst: Tensor | None, graph: Graph, edge_attr: Tensor | None, wants_alpha: bool
    ) -> tuple[Tensor, Tensor | None]:
        """([num_targets, heads, out_channels], weights [num_edges, heads] if wanted) by the fastest kernel."""
        alpha_src, alpha_dst = self.scores(x_src, x_dst)
        if alpha_dst is None:
            alpha_dst = alpha_src.new_zeros(graph.num_queries, self.heads)
        edge_weight, edge_features = None, None
        if edge_attr is not None:
            weight = self.lin_edge.weight.unflatten(0, (self.heads, self.out_channels))
            edge_weight = torch.einsum("hc,hcd->hd", self.att_edge[0], weight)[:, None]  # a_e Theta_e
            edge_features = edge_attr.to(alpha_src.dtype)
        # One channel: the sum of three numbers, through LeakyReLU.
        query, key, vector = alpha_dst[..., None], alpha_src[..., None], alpha_src.new_ones(self.heads, 1)
        score = Additive(vector, edge_weight, "leaky_relu", self.negative_slope)
        options = {"score": score, "edge_features": edge_features}
        dropout = self.dropout if self.training else 0.0
        out = attend(query, key, x_src.to(key.dtype), graph, dropout=dropout, **options)
        out = out if edge_attr is None else out[0]
        return out, attention_weights(query, key, graph, **options) if wants_alpha else None

    def by_messages(
        self, x_src: Tensor, x_dst: Tensor | None, graph: Graph, edge_attr: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The same by PyG's message passing."""
        edge_index, size = graph.edge_index(x_src.device), (graph.num_keys, graph.num_queries)
        alpha = self.edge_updater(edge_index, alpha=self.scores(x_src, x_dst), edge_attr=edge_attr, size=size)
        return self.propagate(edge_index, x=(x_src, x_dst), alpha=alpha, size=size), alpha


def num_queries_and_keys(source: Tensor, target: Tensor | None, edge_index: Any, size) -> tuple[int, int]:
    """From the tensors, from `size`, from the edges if they know, else as many targets as sources."""
    num_sources, num_targets = source.size(0), None if target is None else target.size(0)
    if size is not None and (size[0] != num_sources or num_targets not in (None, size[1])):
        raise ValueError(
            f"'size' must be (num_sources, num_targets) = ({num_sources}, {num_targets}) (got {tuple(size)})"
        )
    if num_targets is None and size is not None:
        num_targets = size[1]
    if num_targets is None and not is_edge_index(edge_index):
        num_targets = as_graph(edge_index).num_queries
    return num_sources if num_targets is None else num_targets, num_sources


def is_edge_index(edges: Any) -> bool:
    return isinstance(edges, Tensor) and edges.layout == torch.strided
