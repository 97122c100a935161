"""GraphAttention: multi-head self-attention whose mask is a graph."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Optional, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.dense import Linear
from torch_geometric.nn.inits import constant, glorot

from graphattn.formulas.normalizers import Normalizer, Softmax, as_normalizer
from graphattn.formulas.scores import Additive, Bilinear, Cosine, Dot, Gaussian, Reduced, Score, as_score
from graphattn.functional import BiasLike, NormalizerLike, ScoreLike, attend, attention_weights
from graphattn.graphs import Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.per_head import PerHead
from graphattn.kernels.kernel import accumulation_dtype
from graphattn.kernels.plain.differentiable import seen_by_heads
from graphattn.kernels.plain.edges_torch import weights_by_degree
from graphattn.kernels.plain.edgewise import sums
from graphattn.nn.adjacency import check_edge_attr
from graphattn.nn.bias import Bias, bias_of_layer
from graphattn.nn.messages import PerThread, adds_up, is_watched, own_method
from graphattn.nn.per_head import biases_of, features_of
from graphattn.nn.positions.coordinates import positions_of
from graphattn.nn.talking_heads import TalkingHeads
from graphattn.per_edge import attention_scores
from graphattn.running.arguments import bias_of, check_dropout
from graphattn.running.hidden import hidden_edges

SCORES = ("dot", "additive", "gatv2", "cosine", "bilinear", "gaussian")
ACTIVATIONS = {"additive": "tanh", "gatv2": "leaky_relu"}
FIRST_TEMPERATURE, LEAST_TEMPERATURE = 0.1, 0.01  # of the cosine, as in Swin Transformer V2 (Liu et al. 2022, sec. 3.2)


class GraphAttention(MessagePassing):
    r"""Multi-head attention over the edges of a graph (Vaswani et al. 2017, with the mask as a graph).

    .. math::
        x'_i = \sum_{j \to i} \alpha_{ij} (W_v x_j + W_e e_{ij}), \quad
        \alpha_i = \mathrm{normalizer}_{j \to i}\; s(W_q x_i,\; W_k x_j + W_e e_{ij})

    The score s is q·k / sqrt(out_channels) for 'dot' (Vaswani et al. 2017, eq. 1), vᵀ tanh(q + k) for 'additive'
    (Bahdanau et al. 2015, appendix A.1.2) and vᵀ LeakyReLU(q + k) for 'gatv2' (Brody et al. 2022, eq. 7), cos(q, k) / t for
    'cosine' with a learned t per head (Liu et al. 2022, Swin Transformer V2, eq. 2), qᵀ W k for 'bilinear' (Luong et al. 2015,
    eq. 8) and -|q - k|² / (2 s²) for 'gaussian' with a learned s per head. With all but the additive ones edges add to the
    score what they add to a dot product, q·(W_e e), with the query as that score has it (of length 1 / t for the cosine).
    With 'dot', softmax, a complete graph and `project_out` the layer is `torch.nn.MultiheadAttention`; on given edges it is PyG's
    `TransformerConv` without its skip connection. No self loops and no residual are added.

    Args:
        in_channels: Size of the node features, or (source, target) sizes for bipartite input; -1 finds it out lazily.
        out_channels: Size of each head's result.
        heads: Number of attention heads.
        concat: Join the heads to [heads * out_channels] (default), or take their mean [out_channels].
        kv_heads: Number of key and value heads, a divisor of `heads` (default: `heads`; Ainslie et al. 2023).
        score: 'dot', 'additive', 'gatv2', 'cosine', 'bilinear', 'gaussian', or a torch.nn.Module or function
            (query, key [..., heads, out_channels]) -> scores [..., heads], or a Score object without parameters such as `Dot()`.
        normalizer: The name of a normalizer, as in `attend`, a Normalizer such as `TopK(8)`, or a function of the scores of a row.
        sink: Learn for each head the score of one more key with value 0, so that a node may attend to nothing (see `Softmax`).
        gate: Multiply each channel of each head by sigmoid(W x_i) of the target before the heads are joined (Qiu et al. 2025,
            sec. 2.2, the gate G1, elementwise).
        edge_dim: Size of the edge features, which enter key and value; None if there are none.
        dropout: Probability of dropping an attention weight in training.
        scale: Factor of the score; None means 1 / sqrt(out_channels) for 'dot', 1 for all others.
        bias: Whether the projections learn an offset.
        talking_heads: Mix scores before the normalizer (and before biases) and weights after it by learned linear maps over
            the heads (Shazeer et al. 2020, see `TalkingHeads`). Attention then keeps num_edges * heads numbers.
        update_edges: Return new edge features beside the output, a linear map of the scores of each edge: W_s (s_1 ... s_heads)
            (Dwivedi and Bresson 2021, eq. 12, with one number for each head as in Hussain et al. 2022); needs `edge_dim`.
        share_weights: One linear map makes queries, keys and values alike, as in GAT (Veličković et al. 2018); needs one
            size of `in_channels` and as many key heads as heads.
        project_out: Add a last linear map of the result to its own size.
        kernel: Name of the kernel to use instead of the fastest.
        positions: A module (x [num_nodes, heads, out_channels], pos) -> x that turns queries and keys by where they are,
            such as RotaryPositions.
        edge_bias: A Bias such as ALiBi or T5Bias, added to the scaled scores.

    Shapes:
        - x: [num_nodes, in_channels], or ([num_sources, in_channels[0]], [num_targets, in_channels[1]])
        - graph: a Graph, edge_index [2, num_edges], a list of graphs (a batch) or anything `as_graph` takes; a `PerHead` for
          another graph in each head, with lists for what is given or returned per edge
        - edge_attr: [num_edges, edge_dim], in the order of `graph.edge_index()`
        - pos: [num_nodes] or [num_nodes, axes], or a pair of them (of sources, of targets): where the nodes are, for
          `positions` and `edge_bias`; by default their index inside the example, on grids their coordinates
        - edge_bias: [num_edges] or [num_edges, heads], or a rule graph -> such a tensor, beside the layer's own
        - output: [num_targets, heads * out_channels], or [num_targets, out_channels] if not `concat`; then, if `update_edges`,
          [num_edges, edge_dim]

    Example:
        >>> import torch
        >>> from graphattn import BandedGraph
        >>> from graphattn.nn import GraphAttention
        >>> layer = GraphAttention(16, 8, heads=4)
        >>> layer(torch.randn(100, 16), BandedGraph(100, before=5, after=5)).shape
        torch.Size([100, 32])
    """

    _hidden = PerThread()  # where `by_messages` leaves it for the steps of message passing, whose arguments are PyG's

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        *,
        kv_heads: int | None = None,
        score: ScoreLike = "dot",
        normalizer: NormalizerLike = "softmax",
        sink: bool = False,
        gate: bool = False,
        edge_dim: int | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
        bias: bool = True,
        talking_heads: bool = False,
        update_edges: bool = False,
        share_weights: bool = False,
        project_out: bool = False,
        kernel: str | None = None,
        positions: torch.nn.Module | None = None,
        edge_bias: Bias | None = None,
    ):
        super().__init__(aggr="add", node_dim=0)
        kv_heads = heads if kv_heads is None else kv_heads
        check_sizes(out_channels, heads, kv_heads, edge_dim)
        check_score(score)
        self.in_channels = in_channels
        self.out_channels, self.heads, self.kv_heads, self.concat = out_channels, heads, kv_heads, concat
        self.score, self.edge_dim, self.dropout = score, edge_dim, check_dropout(dropout)
        self.normalizer = as_normalizer(normalizer)
        self.scale, self.kernel = scale, kernel
        self.positions, self.edge_bias = positions, edge_bias
        source, target = both_sizes(in_channels)
        if share_weights and (source != target or kv_heads != heads):
            raise ValueError(
                f"'share_weights' needs one size of 'in_channels' and kv_heads = heads (got in_channels={in_channels},"
                f" heads={heads}, kv_heads={kv_heads})"
            )
        self.lin_query = Linear(target, heads * out_channels, bias=bias)
        self.lin_key = self.lin_query if share_weights else Linear(source, kv_heads * out_channels, bias=bias)
        self.lin_value = self.lin_query if share_weights else Linear(source, kv_heads * out_channels, bias=bias)
        self.lin_edge = None if edge_dim is None else Linear(edge_dim, heads * out_channels, bias=False)
        self.lin_gate = Linear(target, heads * out_channels, bias=bias) if gate else None
        self.att = Parameter(torch.empty(1, heads, out_channels)) if score in ACTIVATIONS else None
        self.score_weight = Parameter(torch.empty(heads, out_channels, out_channels)) if score == "bilinear" else None
        self.log_temperature = Parameter(torch.empty(heads)) if score == "cosine" else None
        self.log_bandwidth = Parameter(torch.empty(heads)) if score == "gaussian" else None
        if sink and not isinstance(self.normalizer, Softmax):
            raise ValueError(f"'sink' is an option of softmax (got normalizer={normalizer!r})")
        self.sink = Parameter(torch.empty(heads)) if sink else None
        if update_edges and edge_dim is None:
            raise ValueError("'update_edges' needs 'edge_dim' (got None)")
        if talking_heads and kernel is not None:
            raise ValueError(f"'talking_heads' runs edge by edge, on no kernel (got kernel={kernel!r})")
        self.talking_heads = TalkingHeads(heads) if talking_heads else None
        self.lin_edge_out = Linear(heads, edge_dim, bias=bias) if update_edges else None
        width = heads * out_channels if concat else out_channels
        self.lin_out = Linear(width, width, bias=bias) if project_out else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        projections = (self.lin_query, self.lin_key, self.lin_value, self.lin_edge, self.lin_gate)
        for module in (*projections, self.lin_edge_out, self.lin_out, self.talking_heads):
            if module is not None:
                module.reset_parameters()
        glorot(self.att)
        glorot(self.score_weight)
        constant(self.log_temperature, math.log(FIRST_TEMPERATURE))
        constant(self.log_bandwidth, math.log(self.out_channels) / 4)  # (q · k) / sqrt(out_channels), as for 'dot'
        constant(self.sink, 0.0)

    @overload
    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        graph: GraphLike | PerHead,
        edge_attr: Tensor | Sequence[Tensor] | None = None,
        return_attention_weights: Literal[False] | None = None,
        *,
        pos: Tensor | tuple[Tensor, Tensor] | None = None,
        edge_bias: BiasLike | Sequence[BiasLike] = None,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        graph: PerHead,
        edge_attr: Sequence[Tensor] | None = None,
        *,
        return_attention_weights: Literal[True],
        pos: Tensor | tuple[Tensor, Tensor] | None = None,
        edge_bias: BiasLike | Sequence[BiasLike] = None,
    ) -> tuple[Tensor, tuple[list[Tensor], list[Tensor]]]: ...

    @overload
    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        graph: GraphLike,
        edge_attr: Tensor | None = None,
        *,
        return_attention_weights: Literal[True],
        pos: Tensor | tuple[Tensor, Tensor] | None = None,
        edge_bias: BiasLike = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

    @overload
    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        graph: GraphLike | PerHead,
        edge_attr: Tensor | Sequence[Tensor] | None = None,
        return_attention_weights: bool | None = None,
        *,
        pos: Tensor | tuple[Tensor, Tensor] | None = None,
        edge_bias: BiasLike | Sequence[BiasLike] = None,
    ) -> Tensor | tuple[Any, ...]: ...

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        graph: GraphLike | PerHead,
        edge_attr: Tensor | Sequence[Tensor] | None = None,
        return_attention_weights: bool | None = None,
        *,
        pos: Tensor | tuple[Tensor, Tensor] | None = None,
        edge_bias: BiasLike | Sequence[BiasLike] = None,
    ) -> Tensor | tuple[Any, ...]:
        """Attention over `graph`: the output alone, or a tuple of it, of the new edge features if `update_edges`, and, with
        `return_attention_weights=True`, of (edge_index, weights [num_edges, heads])."""
        source, target = (x, x) if isinstance(x, Tensor) else x
        check_features(source, target, self.in_channels)
        query, key, value = self.project(source, target)
        layouts: tuple[Graph, ...]
        seen: Any  # a Graph, with tensors for what is given per edge, or a PerHead with lists
        features: Any
        bias: Any
        if isinstance(graph, PerHead):
            self.check_per_head()
            seen = graph.traced(target.size(0), source.size(0))
            features = features_of(edge_attr, self.edge_dim, seen, query.dtype)
            bias, layouts = biases_of(self.edge_bias, edge_bias, seen, pos), seen.graphs
        else:
            seen = as_graph(graph, target.size(0), source.size(0))
            layouts = (seen,)
            check_edge_attr(edge_attr, self.edge_dim, seen)
            features = edge_attr.to(query.dtype) if isinstance(edge_attr, Tensor) else None
            bias = bias_of_layer(self.edge_bias, edge_bias, seen, pos)
        if self.positions is not None:
            key_pos, query_pos = positions_of(layouts[0], pos, query.device, beside=layouts)
            query, key = self.positions(query, query_pos), self.positions(key, key_pos)
        mixes = self.talking_heads is not None and not self.wants_messages()
        bias = bias_of(bias, seen) if mixes else bias
        scores = self.edge_scores(query, key, seen, features, bias) if mixes or self.lin_edge_out is not None else None
        weights = None
        if mixes or return_attention_weights:
            weights = self.edge_weights(query, key, seen, features, bias, scores)
        results: list[Any] = [self.combine(query, key, value, seen, features, bias, target, weights if mixes else None)]
        if self.lin_edge_out is not None and scores is not None:
            results.append(self.lin_edge_out(scores.masked_fill(scores == -torch.inf, 0.0)))
        if return_attention_weights:
            results.append((seen.edge_index(query.device), weights))
        return results[0] if len(results) == 1 else tuple(results)

    if TYPE_CHECKING:
        __call__ = (
            forward  # whose results type checkers know; not the new edge features, which `update_edges` puts second
        )

    def combine(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        graph: Graph,
        edge_attr: Tensor | None = None,
        edge_bias: BiasLike = None,
        target: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The output for projected queries, keys and values; a gate needs the features of the targets beside them, talking
        heads take the weights of the edges if they are known."""
        if self.wants_messages():
            out = self.by_messages(query, key, value, graph, edge_attr, edge_bias)
        elif self.talking_heads is None:
            out = self.by_kernel(query, key, value, graph, edge_attr, edge_bias)
        else:
            weights = self.edge_weights(query, key, graph, edge_attr, edge_bias) if weights is None else weights
            out = self.by_edges(weights, value, graph, edge_attr, edge_bias)
        if self.lin_gate is not None:
            if target is None:
                raise ValueError("'gate' needs the features of the targets (got target=None)")
            out = out * self.lin_gate(target).sigmoid().view_as(out)
        out = out.flatten(1) if self.concat else out.mean(1)
        return out if self.lin_out is None else self.lin_out(out)

    def project(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query [num_targets, heads, out_channels], key and value [num_sources, kv_heads, out_channels]."""
        query = self.lin_query(target)
        is_one = self.lin_key is self.lin_query and source is target
        key, value = (query, query) if is_one else (self.lin_key(source), self.lin_value(source))
        return (
            query.unflatten(-1, (self.heads, self.out_channels)),
            key.unflatten(-1, (self.kv_heads, self.out_channels)),
            value.unflatten(-1, (self.kv_heads, self.out_channels)),
        )

    def wants_messages(self) -> bool:
        """Explainers, hooks, decomposed layers, methods and aggregations of another kind need PyG's message passing; nobody
        else pays for it."""
        is_changed = not adds_up(self) or own_method(self, GraphAttention) is not None
        return is_watched(self) or self.decomposed_layers > 1 or is_changed

    def check_per_head(self) -> None:
        options = {"talking_heads": self.talking_heads is not None, "update_edges": self.lin_edge_out is not None}
        options["explainers and hooks on messages"] = self.wants_messages()
        for name, is_wanted in options.items():
            if is_wanted:
                raise ValueError(f"{name!r} needs one graph for all heads (got a PerHead)")

    def edge_map(self) -> Linear:
        if self.lin_edge is None:
            raise ValueError("the layer has no map of edge features (got edge_dim=None); give it their 'edge_dim'")
        return self.lin_edge

    def edge_weight(self) -> Tensor:
        """W_e as [heads, out_channels, edge_dim]."""
        return self.edge_map().weight.unflatten(0, (self.heads, self.out_channels))

    def make_score(self, has_edges: bool) -> Score:
        """The score with the parameters of the layer."""
        if self.att is not None and isinstance(self.score, str):
            return Additive(self.att[0], self.edge_weight() if has_edges else None, ACTIVATIONS[self.score])
        if self.log_temperature is not None:
            return Cosine(self.log_temperature.exp().clamp(min=LEAST_TEMPERATURE))
        if self.log_bandwidth is not None:
            return Gaussian(self.log_bandwidth.exp())
        return as_score(self.score) if self.score_weight is None else Bilinear(self.score_weight)

    def make_normalizer(self) -> Normalizer:
        return self.normalizer if self.sink is None else Softmax(self.sink)

    def scored(self, query: Tensor, key: Tensor, edge_attr: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Query, key and the arguments of `attend` that say how edges are scored."""
        score = self.make_score(edge_attr is not None)
        scale = score.default_scale(self.out_channels) if self.scale is None else self.scale
        query, key, score = score.reduce(query, key)
        options: dict[str, Any] = {"scale": scale, "score": score, "normalizer": self.make_normalizer()}
        options["edge_features"] = edge_attr
        if edge_attr is not None and self.score not in ACTIVATIONS:
            # q · (k + W e) = q · k + (Wᵀ q) · e, so that no edge ever needs out_channels numbers.
            options["edge_query"] = torch.einsum("nhc,hcd->nhd", query[..., : self.out_channels], self.edge_weight())
        return query, key, options

    def by_kernel(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        graph: Graph,
        edge_attr: Tensor | None,
        edge_bias: BiasLike,
    ) -> Tensor:
        """[num_targets, heads, out_channels] by the fastest kernel."""
        dropout = self.dropout if self.training else 0.0
        query, key, options = self.scored(query, key, edge_attr)
        result: Any = attend(query, key, value, graph, bias=edge_bias, dropout=dropout, kernel=self.kernel, **options)
        if edge_attr is None:
            return result
        out, edge_out = result  # sum of w (v + W e) = sum of w v + W (sum of w e)
        return out + torch.einsum("nhd,hcd->nhc", edge_out, self.edge_weight())

    def edge_scores(
        self, query: Tensor, key: Tensor, graph: Graph, edge_attr: Tensor | None, edge_bias: BiasLike
    ) -> Tensor:
        """What the normalizer gets: [num_edges, heads]."""
        query, key, options = self.scored(query, key, edge_attr)
        del options["normalizer"]
        if self.talking_heads is None:
            return attention_scores(query, key, graph, bias=edge_bias, **options)
        bias = bias_of(edge_bias, graph)
        hidden = hidden_edges(bias, query, key, edge_attr)
        if hidden is None or bias is None:  # what hides is a bias
            scores = self.talking_heads.mix_scores(attention_scores(query, key, graph, **options))
            return scores if bias is None else with_bias(scores, bias)
        gone = hidden.all(1)  # from every head: such scores are not to be mixed
        lost = torch.zeros_like(gone, dtype=query.dtype).masked_fill(gone, -torch.inf)
        scores = attention_scores(query, key, graph, bias=lost, **options).masked_fill(gone[:, None], 0.0)
        return with_bias(self.talking_heads.mix_scores(scores), bias).masked_fill(hidden, -torch.inf)

    def edge_weights(
        self,
        query: Tensor,
        key: Tensor,
        graph: Graph,
        edge_attr: Tensor | None,
        edge_bias: BiasLike,
        scores: Tensor | None = None,
    ) -> Tensor:
        """The weights of the values, before dropout, from their scores if these are known: [num_edges, heads]."""
        if scores is None and self.talking_heads is None:
            query, key, options = self.scored(query, key, edge_attr)
            return attention_weights(query, key, graph, bias=edge_bias, **options)
        scores = self.edge_scores(query, key, graph, edge_attr, edge_bias) if scores is None else scores
        target = graph.edge_index(query.device)[1]
        weights = weights_by_degree(self.make_normalizer(), scores, target, graph.num_queries)
        return weights if self.talking_heads is None else self.talking_heads.mix_weights(weights)

    def by_edges(
        self,
        weights: Tensor,
        value: Tensor,
        graph: Graph,
        edge_attr: Tensor | None,
        edge_bias: BiasLike = None,
    ) -> Tensor:
        """[num_targets, heads, out_channels] from the weights of all edges, where no kernel knows how they come about."""
        weights = torch.nn.functional.dropout(weights, self.dropout, self.training)
        hidden = hidden_edges(bias_of(edge_bias, graph), value, edge_attr)
        gone = None if hidden is None else hidden.all(1, keepdim=True)  # other heads get a part of what one head sees
        source, target = graph.edge_index(value.device)
        dtype = accumulation_dtype(value.dtype)
        out = sums(weights.to(dtype), value.to(dtype), source, target, graph.num_queries, gone).to(value.dtype)
        if edge_attr is None:
            return out
        edges = torch.arange(len(edge_attr), device=out.device)
        edge_out = sums(weights, edge_attr[:, None], edges, target, graph.num_queries, gone)
        return out + torch.einsum("nhd,hcd->nhc", edge_out, self.edge_weight())

    def by_messages(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        graph: Graph,
        edge_attr: Tensor | None,
        edge_bias: BiasLike,
    ) -> Tensor:
        """The same numbers by PyG's message passing, for whoever wants to look at the messages."""
        if self.flow != "source_to_target":
            raise ValueError(f"messages run from keys to queries (got flow={self.flow!r}); give the graph as graph.T")
        query, key, _ = self.scored(query, key, None)
        key, value = (x.repeat_interleave(self.heads // self.kv_heads, 1) for x in (key, value))
        edge_index, size = graph.edge_index(query.device), (graph.num_keys, graph.num_queries)
        bias = bias_of(edge_bias, graph)
        bias = None if bias is None else bias.to(query.dtype)
        nodes = {"query": (None, query), "key": (key, None)}
        self._hidden = hidden_edges(bias, query, key, value, edge_attr)
        try:
            alpha = self.edge_updater(edge_index, **nodes, edge_attr=edge_attr, edge_bias=bias, size=size)
            pair = value if self.decomposed_layers > 1 else (value, None)  # PyG decomposes no pairs
            return self.propagate(edge_index, value=pair, alpha=alpha, edge_attr=edge_attr, size=size)
        finally:
            self._hidden = None

    def edge_update(
        self,
        query_i: Tensor,
        key_j: Tensor,
        edge_attr: Optional[Tensor],
        edge_bias: Optional[Tensor],
        index: Tensor,
        size_i: Optional[int],
    ) -> Tensor:
        """Weight of every edge: [num_edges, heads]."""
        score = self.make_score(has_edges=False)
        scale = score.default_scale(self.out_channels) if self.scale is None else self.scale
        score = Dot() if isinstance(score, Reduced) else score  # `by_messages` has rewritten query and key
        hidden = self.hidden_from_messages()
        if hidden is not None:
            query_i, key_j = (seen_by_heads(x, hidden) for x in (query_i, key_j))
        edge = None if edge_attr is None else self.edge_terms(edge_attr, hidden)
        if edge is not None and self.score in ACTIVATIONS:
            key_j = key_j + edge
        scores = score.between(query_i, key_j, None)
        if edge is not None and self.score not in ACTIVATIONS:
            scores = scores + (query_i[..., : self.out_channels] * edge).sum(-1)
        scores = scores * scale
        if self.talking_heads is not None:
            scores = self.talking_heads.mix_scores(scores)
        if edge_bias is not None:
            scores = with_bias(scores, edge_bias)
        if self._hidden is not None:
            scores = scores.masked_fill(self._hidden, -torch.inf)
        alpha = weights_by_degree(self.make_normalizer(), scores, index, size_i)  # type: ignore[arg-type] # PyG knows it
        if self.talking_heads is not None:
            alpha = self.talking_heads.mix_weights(alpha)
        return torch.nn.functional.dropout(alpha, self.dropout, self.training)

    def message(self, value_j: Tensor, alpha: Tensor, edge_attr: Optional[Tensor]) -> Tensor:
        """Message of every edge: [num_edges, heads, out_channels].

        A method in its place asks `hidden_from_messages()` which edges must not show what they hold.
        """
        hidden = self.hidden_from_messages()
        value_j = value_j if hidden is None else value_j.masked_fill(hidden[..., None], 0.0)
        if edge_attr is not None:
            value_j = value_j + self.edge_terms(edge_attr, hidden)
        return alpha.unsqueeze(-1) * value_j

    def hidden_from_messages(self) -> Tensor | None:
        """The edges [num_edges, heads or 1] that must not show in messages; heads that talk see what one of them sees."""
        hidden = self._hidden
        return hidden if hidden is None or self.talking_heads is None else hidden.all(1, keepdim=True)

    def edge_terms(self, edge_attr: Tensor, hidden: Tensor | None) -> Tensor:
        """What the features of edges add to keys and values, 0 where `hidden`: [num_edges, heads, out_channels]."""
        if hidden is None:
            return self.edge_map()(edge_attr).unflatten(-1, (self.heads, self.out_channels))
        by_head = edge_attr[:, None].masked_fill(hidden[..., None], 0.0).expand(-1, self.heads, -1)
        return torch.einsum("ehd,hcd->ehc", by_head, self.edge_weight())

    def __repr__(self) -> str:
        score = repr(self.score) if isinstance(self.score, str) else type(self.score).__name__
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, heads={self.heads}, score={score})"


def check_score(score: Any) -> None:
    """What a layer can make its scores of."""
    if isinstance(score, Score):
        if score.parameters:
            raise ValueError(
                f"the parameters of a {type(score).__name__} object would not be learned (got {len(score.parameters)}); name the"
                f" score, one of {list(SCORES)}, and the layer has parameters of its own, or give a torch.nn.Module"
            )
    elif not callable(score) and score not in SCORES:
        raise ValueError(
            f"'score' must be one of {list(SCORES)}, a Score object, a module or a function (got {score!r})"
        )


def with_bias(scores: Tensor, bias: Tensor) -> Tensor:
    """[num_edges, heads]; the bias is that, or one number for all heads, [num_edges] or [num_edges, 1]."""
    return scores + (bias[:, None] if bias.dim() == 1 else bias).to(scores.dtype)


def check_sizes(out_channels: int, heads: int, kv_heads: int, edge_dim: int | None) -> None:
    sizes = {"out_channels": out_channels, "heads": heads, "kv_heads": kv_heads, "edge_dim": edge_dim}
    for name, size in sizes.items():
        if size is not None and (isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1):
            raise ValueError(f"'{name}' must be a positive int (got {size!r})")
    if heads % kv_heads:
        raise ValueError(f"'heads' must be a multiple of 'kv_heads' (got {heads} and {kv_heads})")


def both_sizes(in_channels: int | tuple[int, int]) -> tuple[int, int]:
    """(of sources, of targets)"""
    return (in_channels[0], in_channels[1]) if isinstance(in_channels, (tuple, list)) else (in_channels, in_channels)


def check_features(source: Tensor, target: Tensor, in_channels: int | tuple[int, int]) -> None:
    for x, size in zip((source, target), both_sizes(in_channels), strict=True):
        if not isinstance(x, Tensor):
            raise TypeError(f"'x' must be a tensor or a pair (x_source, x_target) of tensors (got {type(x).__name__})")
        if x.dim() != 2 or (size != -1 and x.size(1) != size):
            raise ValueError(
                f"'x' must be [num_nodes, {size}] (got {list(x.shape)}); one graph at a time or a batch laid end to end"
            )
