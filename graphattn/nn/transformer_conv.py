"""TransformerConv: PyG's layer on graphattn's kernels."""

from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor

from graphattn.functional import attend, attention_weights
from graphattn.graphs import Graph
from graphattn.graphs.convert import GraphLike
from graphattn.nn.adjacency import check_floating, check_two_dimensional, checked_edge_attr, edge_dim_of, weighted
from graphattn.nn.drop_in import DropIn
from graphattn.nn.edge_terms import edge_query, is_cheaper_by_edges, with_edge_values
from graphattn.nn.linear_maps import add_to, apply_linear, linear
from graphattn.nn.messages import PerThread
from graphattn.nn.plain import is_linear
from graphattn.nn.projected import Maps, attend_projected
from graphattn.nn.unprojected import attend_unprojected, is_cheaper
from graphattn.running.mapped_edges import attend_mapped_edges


class TransformerConv(DropIn, torch_geometric.nn.TransformerConv):
    r"""PyG's `TransformerConv` (Shi et al. 2021, https://arxiv.org/abs/2009.03509) without a message per edge and channel.

    Signature, parameters, state_dict and numbers are those of `torch_geometric.nn.TransformerConv`:

    .. math::
        x'_i = W_1 x_i + \sum_{j \to i} \alpha_{ij} (W_2 x_j + W_6 e_{ij}), \quad
        \alpha_i = \mathrm{softmax}_{j \to i}\; (W_3 x_i)^\top (W_4 x_j + W_6 e_{ij}) / \sqrt{d}

    It differs in this:

    - `edge_index` may be any Graph, and anything else that `as_graph` takes; `edge_attr` [num_edges] counts as one column.
    - Half precision adds up in float32 for every form of the edges. PyG's rows sum to 1.8 ... 7 instead of 1 in bfloat16
      if the edges are sorted (EdgeIndex, CSR) and a node has thousands of them.
    - `return_attention_weights=False` returns the output alone; PyG returns a pair, and so does a layer that `accelerate`
      swapped.
    - Dropout draws from another generator: other edges are dropped, equally often.
    - Threads may call one layer at the same time and ask it for weights.

    Whatever looks into messages or changes them goes through PyG's message passing, with its numbers: explainers, hooks,
    methods of a subclass or of the object (`message`, `aggregate`, `update`, `message_and_aggregate`, `propagate`),
    `flow='target_to_source'`, an aggregation other than the sum, a wrapped `lin_edge`, and the first call of a lazy
    `edge_dim`. `decomposed_layers` changes nothing: kernels keep no messages to save on.

    Shapes:
        - x: [num_nodes, in_channels], or ([num_sources, in_channels[0]], [num_targets, in_channels[1]])
        - edge_attr: [num_edges, edge_dim]; [num_edges, heads, out_channels] without `edge_dim`, added to the values
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

    peer = torch_geometric.nn.TransformerConv
    _alpha = PerThread()  # where PyG's `message` leaves the weights

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: GraphLike,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Attention over the edges; with `return_attention_weights=True` also (edge_index, weights [num_edges, heads])."""
        source, target = (x, x) if isinstance(x, Tensor) else x
        check_two_dimensional(source, target)
        graph = self.graph_of(edge_index, target.size(0), source.size(0))
        by_messages, attributes = self.ways_in(graph, edge_index, edge_attr)
        wants_alpha = bool(return_attention_weights) or (return_attention_weights is False and self._was_accelerated)
        by_messages = by_messages or (attributes is not None and self.lin_edge is None)
        if not (by_messages or wants_alpha):
            return self.without_weights(source, target, graph, attributes)
        query, key, value, *root = self.project(source, target)
        if by_messages:
            edges = self.edges_for_pyg(edge_index, graph, query.device)
            out, alpha = self.by_messages(query, key, value, edges, attributes)
        else:
            out, alpha = self.by_kernel(query, key, value, graph, attributes, wants_alpha)
        out = self.with_root(self.join_heads(out), target, *root)
        if not wants_alpha:
            return out
        if alpha is None:
            raise ValueError(f"{self} has a 'message' of its own, which leaves no weights in self._alpha to return")
        return out, (edge_index, alpha) if isinstance(edge_index, Tensor) else weighted(edge_index, graph, alpha)

    def without_weights(self, source: Tensor, target: Tensor, graph: Graph, edge_attr: Tensor | None) -> Tensor:
        """`forward` by kernels where nobody asks for weights: in as few steps as there can be."""
        if self.should_not_project(source, target, graph):
            query, *root = apply_linear(target, self.lin_query, *self.root_maps())
            out = self.by_kernel_unprojected(self.heads_of(query), source, graph, edge_attr)
            return self.with_root(self.join_heads(out), target, *root)
        adds_root = self.root_weight and self.concat and self.lin_beta is None
        maps = Maps(self.heads, self.lin_query, self.lin_key, self.lin_value, self.lin_skip if adds_root else None)
        weight = None if edge_attr is None else self.heads_of_edges(self.lin_edge.weight)
        whole = attend_projected(target, source, graph, maps, self.dropout if self.training else 0.0, edge_attr, weight)
        if whole is not None:
            return whole if adds_root else self.with_root(self.join_heads(whole), target)
        query, key, value, *root = self.project(source, target)
        out, _ = self.by_kernel(query, key, value, graph, edge_attr, wants_alpha=False)
        return self.with_root(self.join_heads(out), target, *root)

    def check(self, graph: Graph, edges: Any, edge_attr: Tensor | None) -> Tensor | None:
        """Attributes of the edges as [num_edges, edge_dim], or None; without `edge_dim` also what is added to values."""
        lin_edge = self.lin_edge
        if lin_edge is None and edge_attr is not None and edge_attr.dim() == 3:
            return edge_attr
        edge_attr = checked_edge_attr(edges, edge_attr, edge_dim_of(lin_edge), graph)
        check_floating(edge_attr)
        if edge_attr is None and lin_edge is not None:
            raise ValueError(f"'edge_dim' needs 'edge_attr' [num_edges, {self.edge_dim}] (got None)")
        return edge_attr

    def adds_nothing(self) -> bool:
        return not self.root_weight

    def with_root(self, out: Tensor, target: Tensor, root: Tensor | None = None) -> Tensor:
        """Adds the skip connection, gated if `beta`."""
        if not self.root_weight:
            return out
        if self.lin_beta is None and root is not None:
            return add_to(root, out)
        root = self.lin_skip(target) if root is None else root
        if self.lin_beta is None:
            return out + root
        beta = self.lin_beta(torch.cat([out, root, out - root], -1)).sigmoid()
        return beta * root + (1 - beta) * out

    def heads_of(self, x: Tensor) -> Tensor:
        """[num_nodes, heads * out_channels] -> [num_nodes, heads, out_channels]."""
        return x.view(-1, self.heads, self.out_channels)

    def heads_of_edges(self, weight: Tensor) -> Tensor:
        """[heads * out_channels, edge_dim] -> [heads, out_channels, edge_dim]."""
        return weight.unflatten(0, (self.heads, self.out_channels))

    def should_not_project(self, source: Tensor, target: Tensor, graph: Graph) -> bool:
        """Whether targets are so few beside sources that it is cheaper to map them; dropped weights do not sum to 1."""
        drops, size = self.training and self.dropout > 0, (target.size(0), self.heads, self.out_channels)
        return not drops and is_cheaper(size, source, graph, (self.lin_key, self.lin_value))

    def root_maps(self) -> tuple[torch.nn.Module, ...]:
        """That of the skip connection beside the others of targets; where anyone sees it called, it is called last."""
        return (self.lin_skip,) if self.root_weight and is_linear(self.lin_skip) else ()

    def project(self, source: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values [num_nodes, heads, out_channels], and what a skip connection adds, if it is known by then."""
        of_source = self.lin_key, self.lin_value
        if source is target:
            query, key, value, *root = apply_linear(target, self.lin_query, *of_source, *self.root_maps())
        else:
            (query, *root), (key, value) = (
                apply_linear(target, self.lin_query, *self.root_maps()),
                apply_linear(source, *of_source),
            )
        return self.heads_of(query), self.heads_of(key), self.heads_of(value), *root

    def by_kernel_unprojected(self, query: Tensor, source: Tensor, graph: Graph, edge_attr: Tensor | None) -> Tensor:
        """[num_targets, heads, out_channels], without keys and values of all sources."""
        maps = self.lin_key, self.lin_value
        if edge_attr is None:
            return attend_unprojected(query, source, graph, *maps)[0]
        weight = self.heads_of_edges(self.lin_edge.weight.to(query.dtype))
        out, edge_out = attend_unprojected(
            query, source, graph, *maps, edge_features=edge_attr.to(query.dtype), edge_query=edge_query(query, weight)
        )
        assert edge_out is not None  # there are features
        return with_edge_values(out, edge_out, weight)

    def by_kernel(
        self, query: Tensor, key: Tensor, value: Tensor, graph: Graph, edge_attr: Tensor | None, wants_alpha: bool
    ) -> tuple[Tensor, Tensor | None]:
        """([num_targets, heads, out_channels], weights [num_edges, heads] if wanted) by the fastest kernel."""
        options: dict[str, Any] = {}
        dropout = self.dropout if self.training else 0.0
        if edge_attr is not None:
            weight, edge_attr = self.lin_edge.weight.to(query.dtype), edge_attr.to(query.dtype)
            by_head = self.heads_of_edges(weight)
            mapped = None if wants_alpha else attend_mapped_edges(query, key, value, graph, edge_attr, by_head, dropout)
            if mapped is not None:
                return mapped, None
            if is_cheaper_by_edges(graph, edge_attr, self.out_channels):
                options["edge_features"], options["edge_query"] = self.heads_of(linear(edge_attr, weight)), query
                weight = None
            else:
                weight = by_head
                options["edge_features"], options["edge_query"] = edge_attr, edge_query(query, weight)
        result: Any = attend(query, key, value, graph, dropout=dropout, **options)
        if edge_attr is None:
            out = result
        else:
            out, edge_out = result
            out = with_edge_values(out, edge_out, weight)
        return out, attention_weights(query, key, graph, **options) if wants_alpha else None

    def by_messages(
        self, query: Tensor, key: Tensor, value: Tensor, edges: Any, edge_attr: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The same by PyG's message passing, called as PyG does."""
        # propagate_type: (query: Tensor, key: Tensor, value: Tensor, edge_attr: OptTensor)
        try:
            return self.propagate(edges, query=query, key=key, value=value, edge_attr=edge_attr), self._alpha
        finally:
            self._alpha = None
