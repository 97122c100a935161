"""GraphAttention: multi-head self-attention whose mask is a graph."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.dense import Linear
from torch_geometric.nn.inits import constant

from graphattn.formulas.normalizers import Softmax, as_normalizer
from graphattn.functional import BiasLike, NormalizerLike, ScoreLike
from graphattn.graphs import Graph, as_graph
from graphattn.graphs.convert import GraphLike
from graphattn.graphs.per_head import PerHead
from graphattn.nn.adjacency import check_edge_attr
from graphattn.nn.attention_messages import AttentionMessages
from graphattn.nn.bias import Bias, bias_of_layer
from graphattn.nn.linear_maps import apply_linear
from graphattn.nn.messages import is_plain, reader_of
from graphattn.nn.per_head import biases_of, features_of
from graphattn.nn.positions.coordinates import positions_of
from graphattn.nn.projected import Maps, attend_projected
from graphattn.nn.scores import LEARNED, check_score, learned_score
from graphattn.nn.sizes import both_features, both_sizes, check_features, check_sizes
from graphattn.nn.talking_heads import TalkingHeads
from graphattn.running.arguments import check_dropout


class GraphAttention(AttentionMessages):
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
        for other in LEARNED.values():
            self.register_parameter(other.parameter, None)
        if (learned := learned_score(score)) is not None:
            self.register_parameter(learned.parameter, Parameter(torch.empty(learned.shape(heads, out_channels))))
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
        learned = learned_score(self.score)
        if learned is not None:
            learned.reset(getattr(self, learned.parameter), self.out_channels)
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
        source, target = both_features(x)
        check_features(source, target, self.in_channels)
        wants_more = return_attention_weights or edge_bias is not None or pos is not None
        if not (wants_more or isinstance(graph, PerHead) or torch.compiler.is_compiling()):
            graph, whole = self.in_one_step(source, target, graph, edge_attr)
            if whole is not None:
                return self.join_heads(whole, target)
        query, key, value = self.project(source, target)
        seen, features, bias = self.edges_given(graph, edge_attr, edge_bias, pos, query, key)
        if self.positions is not None:
            layouts = seen.graphs if isinstance(seen, PerHead) else (seen,)
            key_pos, query_pos = positions_of(layouts[0], pos, query.device, beside=layouts)
            query, key = self.positions(query, query_pos), self.positions(key, key_pos)
        wants_messages, wants_scores = self.wants_messages(), self.lin_edge_out is not None
        scores = weights = scored = None
        if wants_scores or return_attention_weights:
            scored = self.scored(query, key, seen, features, bias)
            mixes = self.talking_heads is not None and not wants_messages
            scores = scored.scores() if wants_scores or mixes else None
            weights = scored.weights(scores) if return_attention_weights or mixes else None
        if wants_messages:
            out = self.by_messages(query, key, value, seen, features, bias)
        elif scored is None:
            out = self.by_kernels(query, key, value, seen, features, bias)
        else:
            out = scored.result(value, self.dropout if self.training else 0.0, self.kernel, weights)
        results: list[Any] = [self.join_heads(out, target)]
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
    ) -> Tensor:
        """The output for projected queries, keys and values; a gate needs the features of the targets beside them."""
        attend = self.by_messages if self.wants_messages() else self.by_kernels
        return self.join_heads(attend(query, key, value, graph, edge_attr, edge_bias), target)

    def join_heads(self, out: Tensor, target: Tensor | None) -> Tensor:
        """[num_targets, heads, out_channels], gated, -> the output."""
        if self.lin_gate is not None:
            if target is None:
                raise ValueError("'gate' needs the features of the targets (got target=None)")
            out = out * apply_linear(target, self.lin_gate)[0].sigmoid().view_as(out)
        out = out.flatten(1) if self.concat else out.mean(1)
        return out if self.lin_out is None else apply_linear(out, self.lin_out)[0]

    def is_in_one_step(self) -> bool:
        """Whether the layer is dot-product attention and nothing more, and has the methods that are written here."""
        if self.lin_edge_out is not None or not is_plain(self.lin_edge):
            return False
        has_own_maps = self.lin_key is not self.lin_query and self.kv_heads == self.heads
        moves_scores = self.scale is not None or self.positions is not None or self.edge_bias is not None
        if moves_scores or not has_own_maps or not self.is_dot_product_attention() or self.wants_messages():
            return False
        return vars(self).keys().isdisjoint(BETWEEN) and methods_between(type(self)) == AS_WRITTEN

    def in_one_step(
        self, source: Tensor, target: Tensor, graph: GraphLike, edge_attr: Any
    ) -> tuple[GraphLike, Tensor | None]:
        """The graph, and [num_targets, heads, out_channels] with the maps of nodes beside attention; None where they are made
        before it."""
        refusal = "no step", self.heads, self.out_channels, source.shape, target.shape, source.dtype, self.training
        if (isinstance(graph, Graph) and graph.known(refusal)) or not self.is_in_one_step():
            return graph, None
        graph = as_graph(graph, target.size(0), source.size(0))
        check_edge_attr(edge_attr, self.edge_dim, graph)
        maps = Maps(self.heads, self.lin_query, self.lin_key, self.lin_value)
        weight = None if edge_attr is None else self.edge_weight()
        dropout = self.dropout if self.training else 0.0
        return graph, attend_projected(target, source, graph, maps, dropout, edge_attr, weight, refusal)

    def edges_given(
        self, graph: Any, edge_attr: Any, edge_bias: Any, pos: Any, query: Tensor, key: Tensor
    ) -> tuple[Any, Any, Any]:
        """The graph, features of its edges in the dtype of the query, and their bias; a PerHead has lists of these."""
        if isinstance(graph, PerHead):
            self.check_per_head()
            graphs = graph.traced(query.size(0), key.size(0))
            lists = features_of(edge_attr, self.edge_dim, graphs, query.dtype)
            return graphs, lists, biases_of(self.edge_bias, edge_bias, graphs, pos)
        seen = as_graph(graph, query.size(0), key.size(0))
        check_edge_attr(edge_attr, self.edge_dim, seen)
        features = None if edge_attr is None else edge_attr.to(query.dtype)
        return seen, features, bias_of_layer(self.edge_bias, edge_bias, seen, pos)

    def project(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query [num_targets, heads, out_channels], key and value [num_sources, kv_heads, out_channels]."""
        if source is not target:
            (query,), (key, value) = (
                apply_linear(target, self.lin_query),
                apply_linear(source, self.lin_key, self.lin_value),
            )
        elif self.lin_key is self.lin_query:
            (query,) = apply_linear(target, self.lin_query)
            key = value = query
        else:
            query, key, value = apply_linear(target, self.lin_query, self.lin_key, self.lin_value)
        return (
            query.view(-1, self.heads, self.out_channels),
            key.view(-1, self.kv_heads, self.out_channels),
            value.view(-1, self.kv_heads, self.out_channels),
        )

    def check_per_head(self) -> None:
        options = {"talking_heads": self.talking_heads is not None, "update_edges": self.lin_edge_out is not None}
        options["explainers and hooks on messages"] = self.wants_messages()
        for name, is_wanted in options.items():
            if is_wanted:
                raise ValueError(f"{name!r} needs one graph for all heads (got a PerHead)")

    def __repr__(self) -> str:
        score = repr(self.score) if isinstance(self.score, str) else type(self.score).__name__
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, heads={self.heads}, score={score})"


# Methods between the maps of nodes and the results of heads: who has another one wants to see it called.
BETWEEN = (
    "project", "edges_given", "by_kernels", "by_mapped_edges", "scored", "make_score", "make_normalizer", "scale_of", "adds_edges",
    "edge_map", "edge_weight",
)  # fmt: skip
methods_between = reader_of(BETWEEN)
AS_WRITTEN = methods_between(GraphAttention)
