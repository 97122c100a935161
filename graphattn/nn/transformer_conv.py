"""TransformerConv: PyG's layer on graphattn's kernels."""

from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor
from torch_geometric.nn.conv import MessagePassing

from graphattn.functional import attend, attention_weights
from graphattn.graphs import Graph, as_graph
from graphattn.nn.adjacency import check_two_dimensional, checked_edge_attr, weighted
from graphattn.nn.messages import needs_messages


class TransformerConv(torch_geometric.nn.TransformerConv):
    r"""PyG's `TransformerConv` (Shi et al. 2021, https://arxiv.org/abs/2009.03509) without a message per edge and channel.

    Signature, parameters, state_dict and numbers are those of `torch_geometric.nn.TransformerConv`:

    .. math::
        x'_i = W_1 x_i + \sum_{j \to i} \alpha_{ij} (W_2 x_j + W_6 e_{ij}), \quad
        \alpha_i = \mathrm{softmax}_{j \to i}\; (W_3 x_i)^\top (W_4 x_j + W_6 e_{ij}) / \sqrt{d}

    It differs in this:

    - `edge_index` may be any Graph, and anything else that `as_graph` takes; `edge_attr` [num_edges] counts as one column.
    - Half precision adds up in float32 for every form of the edges. PyG's rows sum to 1.8 ... 7 instead of 1 in bfloat16
      if the edges are sorted (EdgeIndex, CSR) and a node has thousands of them.
    - `return_attention_weights=False` returns the output alone; PyG returns a pair.
    - Dropout draws from another generator: other edges are dropped, equally often.

    Explainers, hooks on messages, `flow='target_to_source'`, an `aggr` other than the sum and the first call of a lazy
    `edge_dim` go through PyG's message passing. `decomposed_layers` changes nothing: kernels keep no messages to save on.

    Shapes:
        - x: [num_nodes, in_channels], or ([num_sources, in_channels[0]], [num_targets, in_channels[1]])
        - edge_attr: [num_edges, edge_dim]
        - output: [num_targets, heads * out_channels], or [num_targets, out_channels] if not `concat`

    Example:
        >>> import torch
        >>> from graphattn.nn import TransformerConv
        >>> conv = TransformerConv(8, 4, heads=2, beta=True)
        >>> conv
        TransformerConv(8, 4, heads=2)
        >>> conv(torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])).shape
        torch.Size([3, 8])
    """

    # Not what PyG compiled for its own class, which explainers cannot look into.
    propagate = MessagePassing.propagate

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: Any,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Attention over the edges; with `return_attention_weights=True` also (edge_index, weights [num_edges, heads])."""
        source, target = (x, x) if isinstance(x, Tensor) else x
        check_two_dimensional(source, target)
        graph = as_graph(edge_index, target.size(0), source.size(0))
        edge_attr = self.check(graph, edge_index, edge_attr)
        query, key, value = (
            linear(nodes).unflatten(-1, (self.heads, self.out_channels))
            for linear, nodes in ((self.lin_query, target), (self.lin_key, source), (self.lin_value, source))
        )
        if needs_messages(self):
            out, alpha = self.by_messages(query, key, value, graph, edge_attr)
        else:
            out, alpha = self.by_kernel(query, key, value, graph, edge_attr, bool(return_attention_weights))
        out = self.with_root(out.flatten(1) if self.concat else out.mean(1), target)
        if not return_attention_weights:
            return out
        return out, (edge_index, alpha) if isinstance(edge_index, Tensor) else weighted(edge_index, graph, alpha)

    def check(self, graph: Graph, edges: Any, edge_attr: Tensor | None) -> Tensor | None:
        """Attributes of the edges as [num_edges, edge_dim], or None."""
        edge_attr = checked_edge_attr(edges, edge_attr, self.edge_dim, graph)
        if edge_attr is None and self.edge_dim is not None:
            raise ValueError(f"'edge_dim' needs 'edge_attr' [num_edges, {self.edge_dim}] (got None)")
        return edge_attr

    def with_root(self, out: Tensor, target: Tensor) -> Tensor:
        """Adds the skip connection, gated if `beta`."""
        if not self.root_weight:
            return out
        root = self.lin_skip(target)
        if self.lin_beta is None:
            return out + root
        beta = self.lin_beta(torch.cat([out, root, out - root], -1)).sigmoid()
        return beta * root + (1 - beta) * out

    def by_kernel(
        self, query: Tensor, key: Tensor, value: Tensor, graph: Graph, edge_attr: Tensor | None, wants_alpha: bool
    ) -> tuple[Tensor, Tensor | None]:
        """([num_targets, heads, out_channels], weights [num_edges, heads] if wanted) by the fastest kernel."""
        options = {}
        if edge_attr is not None:
            # q (k + W e) = q k + (W^T q) e, so that no edge ever needs out_channels numbers.
            weight = self.lin_edge.weight.to(query.dtype).unflatten(0, (self.heads, self.out_channels))
            options["edge_features"] = edge_attr.to(query.dtype)
            options["edge_query"] = torch.einsum("nhc,hcd->nhd", query, weight)
        out = attend(query, key, value, graph, dropout=self.dropout if self.training else 0.0, **options)
        if edge_attr is not None:
            out, edge_out = out  # sum of p (v + W e) = sum of p v + W (sum of p e)
            out = out + torch.einsum("nhd,hcd->nhc", edge_out, weight)
        return out, attention_weights(query, key, graph, **options) if wants_alpha else None

    def by_messages(
        self, query: Tensor, key: Tensor, value: Tensor, graph: Graph, edge_attr: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The same by PyG's message passing."""
        edge_index, size = graph.edge_index(query.device), (graph.num_keys, graph.num_queries)
        out = self.propagate(edge_index, query=query, key=key, value=value, edge_attr=edge_attr, size=size)
        alpha, self._alpha = self._alpha, None
        return out, alpha
