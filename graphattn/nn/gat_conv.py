"""GATConv: PyG's layer on graphattn's kernels."""

from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor

from graphattn.formulas.scores import KERNEL_SLOPE, Additive
from graphattn.functional import attend, attention_weights
from graphattn.graphs import Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.nn.adjacency import (
    add_self_loops,
    are_one_set,
    check_floating,
    check_two_dimensional,
    checked_edge_attr,
    edge_dim_of,
    is_pygs_form,
    pygs_self_loops,
    pygs_weighted,
    refuse_sparse_tensor,
    values_of,
    warn_unused,
    weighted,
)
from graphattn.nn.drop_in import DropIn
from graphattn.nn.gat_step import attend_gat
from graphattn.nn.linear_maps import apply_linear
from graphattn.nn.messages import is_plain


class GATConv(DropIn, torch_geometric.nn.GATConv):
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
    - `edge_attr` given to a layer without `edge_dim` changes nothing, as in PyG, but a warning says so once.

    Whatever looks into messages or changes them goes through PyG's message passing, with its numbers: explainers, hooks,
    methods of a subclass or of the object (`message`, `edge_update`, `aggregate`, `update`, `message_and_aggregate`,
    `propagate`, `edge_updater`), `flow='target_to_source'`, an aggregation other than the sum, a wrapped `lin_edge`, and the
    first call of a lazy `edge_dim`. `decomposed_layers` changes nothing: kernels keep no messages to save on.

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

    peer = torch_geometric.nn.GATConv

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor | None],
        edge_index: GraphLike,
        edge_attr: Tensor | None = None,
        size: tuple[int, int] | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Attention over the edges; with `return_attention_weights=True` also (edge_index, weights [num_edges, heads])."""
        source, target = (x, x) if isinstance(x, Tensor) else x
        check_two_dimensional(source, target)
        graph = self.graph_of(edge_index, *num_queries_and_keys(source, target, edge_index, size))
        by_messages, edge_attr = self.ways_in(graph, edge_index, edge_attr)
        residual = None if self.res is None or target is None else self.res(target)
        loops = self.add_self_loops and are_one_set(x, self.in_channels)
        if loops:
            refuse_sparse_tensor(edge_index, edge_attr)
        alpha: Tensor | None
        if by_messages:
            x_src, x_dst = self.project(x)
            out, edges, alpha = self.by_messages(x_src, x_dst, edge_index, graph, edge_attr, size, loops)
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
        if self.lin_edge is not None:
            return checked_edge_attr(edges, edge_attr, edge_dim_of(self.lin_edge), graph)
        unused = values_of(edges, takes_one=False) if edge_attr is None else edge_attr
        if unused is not None:
            warn_unused(self, unused)
        return None

    def project(self, x: Tensor | tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor | None]:
        """Sources and targets as [num_nodes, heads, out_channels]."""
        source, target = (x, x) if isinstance(x, Tensor) else x
        lin_src, lin_dst = (self.lin_src, self.lin_dst) if self.lin is None else (self.lin, self.lin)
        shape = (self.heads, self.out_channels)
        x_src = apply_linear(source, lin_src)[0].view(-1, *shape)
        if lin_dst is lin_src and (isinstance(x, Tensor) or (target is source and is_plain(lin_src))):
            return x_src, x_src
        return x_src, None if target is None else apply_linear(target, lin_dst)[0].view(-1, *shape)

    def scores(self, x_src: Tensor, x_dst: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What sources and targets add to the score of an edge: [num_nodes, heads] each."""
        return (x_src * self.att_src).sum(-1), None if x_dst is None else (x_dst * self.att_dst).sum(-1)

    def in_one_step(
        self, source: Tensor, target: Tensor | None, graph: Graph, edge_attr: Tensor | None
    ) -> Tensor | None:
        """[num_nodes, heads, out_channels] of one set of nodes, without features of edges, where the map is nothing more."""
        if target is not source or self.lin is None or edge_attr is not None or self.negative_slope != KERNEL_SLOPE:
            return None
        dropout = self.dropout if self.training else 0.0
        return attend_gat(source, graph, self.lin, self.att_src, self.att_dst, dropout)

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
        options: dict[str, Any] = {"score": score, "edge_features": edge_features}
        dropout = self.dropout if self.training else 0.0
        out = attend(query, key, x_src.to(key.dtype), graph, dropout=dropout, **options)
        out = out if edge_attr is None else out[0]
        return out, attention_weights(query, key, graph, **options) if wants_alpha else None

    def by_messages(
        self,
        x_src: Tensor,
        x_dst: Tensor | None,
        edges: Any,
        graph: Graph,
        edge_attr: Tensor | None,
        size: tuple[int, int] | None,
        loops: bool,
    ) -> tuple[Tensor, Any, Tensor]:
        """The same by PyG's message passing, called as PyG does; also the edges with their self loops, and the weights."""
        alpha = self.scores(x_src, x_dst)
        if size is None and self.flow == "source_to_target" and not is_pygs_form(edges):
            size = (graph.num_keys, graph.num_queries)
        edges = self.edges_for_pyg(edges, graph, x_src.device)
        if loops:
            num_nodes = min(graph.shape) if size is None else min(size)
            edges, edge_attr = pygs_self_loops(edges, edge_attr, self.fill_value, num_nodes)
        # edge_updater_type: (alpha: OptPairTensor, edge_attr: OptTensor)
        alpha = self.edge_updater(edges, alpha=alpha, edge_attr=edge_attr, size=size)
        # propagate_type: (x: OptPairTensor, alpha: Tensor)
        return self.propagate(edges, x=(x_src, x_dst), alpha=alpha, size=size), edges, alpha


def num_queries_and_keys(
    source: Tensor, target: Tensor | None, edge_index: Any, size: tuple[int, int] | None
) -> tuple[int, int]:
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
