"""How GraphAttention scores, normalizes and sums: by kernels, and as messages that PyG's explainers and hooks look into."""

from typing import Any, Optional

import torch
from torch import Tensor
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.dense import Linear

from graphattn.formulas.normalizers import Normalizer, Softmax
from graphattn.formulas.scores import Dot, Reduced, Score, as_score
from graphattn.functional import BiasLike, ScoreLike
from graphattn.graphs import Graph
from graphattn.kernels.plain.differentiable import seen_by_heads
from graphattn.kernels.plain.edges_torch import weights_by_degree
from graphattn.nn.edge_terms import edge_query, is_cheaper_by_edges
from graphattn.nn.messages import PerThread, adds_up, is_watched, own_method
from graphattn.nn.scored import Scored
from graphattn.nn.scores import learned_score
from graphattn.nn.talking_heads import ScoredByTalkingHeads, TalkingHeads, with_bias
from graphattn.running.arguments import bias_of
from graphattn.running.hidden import hidden_edges
from graphattn.running.mapped_edges import attend_mapped_edges


class AttentionMessages(MessagePassing):
    """The mathematics of GraphAttention edge by edge, and `scored`, which has the same numbers without messages."""

    out_channels: int
    heads: int
    kv_heads: int
    score: ScoreLike
    scale: float | None
    normalizer: Normalizer
    dropout: float
    kernel: str | None
    sink: Tensor | None
    lin_edge: Linear | None
    talking_heads: TalkingHeads | None

    _hidden = PerThread()  # where `by_messages` leaves it for the steps of message passing, whose arguments are PyG's

    def make_score(self, has_edges: bool) -> Score:
        """The score with the parameters of the layer."""
        learned = learned_score(self.score)
        if learned is None:
            return as_score(self.score)
        edge_weight = self.edge_weight() if has_edges and learned.takes_edges else None
        return learned.of(getattr(self, learned.parameter), edge_weight)

    def scale_of(self, score: Score) -> float:
        return score.default_scale(self.out_channels) if self.scale is None else self.scale

    def adds_edges(self) -> bool:
        """Whether edges add q · (W e) to a score, which does not take them into it."""
        learned = learned_score(self.score)
        return learned is None or not learned.takes_edges

    def make_normalizer(self) -> Normalizer:
        return self.normalizer if self.sink is None else Softmax(self.sink)

    def scored(
        self,
        query: Tensor,
        key: Tensor,
        graph: Graph,
        edge_attr: Tensor | None = None,
        edge_bias: BiasLike = None,
    ) -> Scored:
        """Projected queries and keys with the score and the normalizer of the layer."""
        score = self.make_score(edge_attr is not None)
        scale = self.scale_of(score)
        query, key, score = score.reduce(query, key)
        options: dict[str, Any] = {"scale": scale, "score": score, "normalizer": self.make_normalizer()}
        edge_weight = None if edge_attr is None else self.edge_weight()
        if edge_attr is not None and edge_weight is not None and self.adds_edges():
            seen = query if query.size(-1) == self.out_channels else query[..., : self.out_channels]
            maps_edges = self.talking_heads is None and isinstance(edge_attr, Tensor)
            if maps_edges and is_cheaper_by_edges(graph, edge_attr, self.out_channels):
                edge_attr = self.edge_map()(edge_attr).view(-1, self.heads, self.out_channels)
                options["edge_query"], edge_weight = seen, None
            else:
                options["edge_query"] = edge_query(seen, edge_weight)
        given = query, key, graph, edge_attr, edge_weight
        if self.talking_heads is None:
            return Scored(*given, edge_bias, options)
        return ScoredByTalkingHeads(*given, bias_of(edge_bias, graph), options, self.talking_heads)

    def by_kernels(
        self, query: Tensor, key: Tensor, value: Tensor, graph: Any, edge_attr: Any, edge_bias: Any
    ) -> Tensor:
        """[num_targets, heads, out_channels] where nobody asks for scores or weights."""
        out = self.by_mapped_edges(query, key, value, graph, edge_attr, edge_bias)
        if out is not None:
            return out
        scored = self.scored(query, key, graph, edge_attr, edge_bias)
        return scored.result(value, self.dropout if self.training else 0.0, self.kernel)

    def by_mapped_edges(
        self, query: Tensor, key: Tensor, value: Tensor, graph: Graph, edge_attr: Any, edge_bias: BiasLike
    ) -> Tensor | None:
        """[num_targets, heads, out_channels] of dot products whose edges no map has to see; None for anything else."""
        has_features = self.lin_edge is not None and isinstance(edge_attr, Tensor)
        if not has_features or edge_bias is not None or not self.is_dot_product_attention():
            return None
        dropout, weight = self.dropout if self.training else 0.0, self.edge_weight().to(query.dtype)
        return attend_mapped_edges(query, key, value, graph, edge_attr, weight, dropout, self.scale)

    def is_dot_product_attention(self) -> bool:
        """Whether nothing but softmax of dot products is asked for, by whatever kernel is fastest."""
        is_dot = type(self.score) is Dot or (isinstance(self.score, str) and self.score == "dot")
        is_softmax = type(self.normalizer) is Softmax and self.normalizer.sink is None and self.sink is None
        return is_dot and is_softmax and self.talking_heads is None and self.kernel is None

    def edge_map(self) -> Linear:
        lin_edge = self.lin_edge
        if lin_edge is None:
            raise ValueError("the layer has no map of edge features (got edge_dim=None); give it their 'edge_dim'")
        return lin_edge

    def edge_weight(self) -> Tensor:
        """W_e as [heads, out_channels, edge_dim]."""
        return self.edge_map().weight.unflatten(0, (self.heads, self.out_channels))

    def wants_messages(self) -> bool:
        """Explainers, hooks, decomposed layers, methods and aggregations of another kind need PyG's message passing; nobody
        else pays for it."""
        is_changed = not adds_up(self) or own_method(self, AttentionMessages) is not None
        return is_watched(self) or self.decomposed_layers > 1 or is_changed

    def by_messages(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        graph: Graph,
        edge_attr: Tensor | None,
        edge_bias: BiasLike,
    ) -> Tensor:
        """[num_targets, heads, out_channels] by PyG's message passing, for whoever wants to look at the messages."""
        if self.flow != "source_to_target":
            raise ValueError(f"messages run from keys to queries (got flow={self.flow!r}); give the graph as graph.T")
        query, key, _ = self.make_score(has_edges=False).reduce(query, key)
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
        scale = self.scale_of(score)
        score = Dot() if isinstance(score, Reduced) else score  # `by_messages` has rewritten query and key
        hidden = self.hidden_from_messages()
        if hidden is not None:
            query_i, key_j = (seen_by_heads(x, hidden) for x in (query_i, key_j))
        edge = None if edge_attr is None else self.edge_terms(edge_attr, hidden)
        if edge is not None and not self.adds_edges():
            key_j = key_j + edge
        scores = score.between(query_i, key_j, None)
        if edge is not None and self.adds_edges():
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
