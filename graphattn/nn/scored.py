"""Attention of one call of a layer: queries and keys scored once, and what is asked of the scores."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from graphattn.functional import BiasLike, attend, attention_weights
from graphattn.graphs import Graph
from graphattn.graphs.spread import SpreadGraph
from graphattn.kernels.plain.edges_torch import weights_by_degree
from graphattn.nn.edge_terms import with_edge_values
from graphattn.per_edge import attention_scores


@dataclass(frozen=True, eq=False)
class Scored:
    """Projected queries and keys, as the score of their layer has them, over a graph.

    Args:
        query: [num_queries, heads, dim].
        key: [num_keys, kv_heads, dim].
        graph: A Graph; a PerHead has no scores, and lists for what is given per edge.
        edge_attr: [num_edges, edge_dim], or [num_edges, heads, out_channels] where they are mapped already.
        edge_weight: [heads, out_channels, edge_dim], which maps them to what they add to values; else None.
        bias: As in `attend`.
        options: The arguments of `attend` that say how edges are scored and weighed: score, scale, normalizer, edge_query.
    """

    query: Tensor
    key: Tensor
    graph: Graph
    edge_attr: Tensor | None
    edge_weight: Tensor | None
    bias: BiasLike
    options: dict[str, Any]

    def given(self) -> dict[str, Any]:
        return self.options | {"bias": self.bias, "edge_features": self.edge_attr}

    def scores(self) -> Tensor:
        """What the normalizer gets: [num_edges, heads]."""
        return self.scores_with(self.bias)

    def scores_with(self, bias: BiasLike) -> Tensor:
        """The same with another bias, or none."""
        given = self.given() | {"bias": bias}
        del given["normalizer"]
        return attention_scores(self.query, self.key, self.graph, **given)

    def weights(self, scores: Tensor | None = None) -> Tensor:
        """The weights of the values, before dropout, from their scores if these are known: [num_edges, heads]."""
        if scores is None:
            return attention_weights(self.query, self.key, self.graph, **self.given())
        graph = self.graph.local() if isinstance(self.graph, SpreadGraph) else self.graph
        target = graph.edge_index(self.query.device)[1]
        return weights_by_degree(self.options["normalizer"], scores, target, graph.num_queries)

    def result(self, value: Tensor, dropout: float, kernel: str | None, weights: Tensor | None = None) -> Tensor:
        """[num_queries, heads, out_channels] by the fastest kernel, which needs no weights."""
        result: Any = attend(self.query, self.key, value, self.graph, dropout=dropout, kernel=kernel, **self.given())
        if self.edge_attr is None:
            return result
        out, edge_out = result
        return with_edge_values(out, edge_out, self.edge_weight)
