"""Attention of one query in float64, by definition: what every peer is checked against."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers import set_table
from graphattn.graphs import EdgeListGraph, Graph
from graphattn.nn.bias import Bias


def edges_of(graph: Graph, query: int) -> tuple[Tensor, Tensor | None]:
    """(keys, edges) of one query; no edge numbers where the graph is a formula."""
    if isinstance(graph, EdgeListGraph):
        edge_index = graph.edge_index()
        edges = (edge_index[1] == query).nonzero().flatten()
        return edge_index[0, edges], edges
    keys = torch.arange(graph.num_keys)
    return keys[graph.allows(torch.tensor(query), keys)], None


def weighted_sum(scores: Tensor, value: Tensor) -> Tensor:
    """scores [num_edges, heads], value [num_edges, heads, dim] -> [heads, dim]"""
    return torch.einsum("eh,ehc->hc", scores.softmax(0), value)


def dot(graph: Graph) -> Callable[..., Tensor]:
    """softmax(q · k / sqrt(dim)) v over the edges of each query."""

    def expected(row, query, key, value):
        keys, _ = edges_of(graph, row)
        scores = torch.einsum("hc,ehc->eh", query[row], key[keys]) * query.size(-1) ** -0.5
        return weighted_sum(scores, value[keys])

    return expected


def dot_with_bias(graph: Graph, rule: Bias) -> Callable[..., Tensor]:
    """As `dot`, with rule(query, key) added to the scores; `table` in the place of the numbers that it learns, if it does."""

    def expected(row, query, key, value, table=None):
        set_table(rule, table)
        keys, _ = edges_of(graph, row)
        scores = torch.einsum("hc,ehc->eh", query[row], key[keys]) * query.size(-1) ** -0.5
        return weighted_sum(scores + rule.rule(torch.tensor([[row]]), keys[:, None]), value[keys])

    return expected


def dot_with_edges(graph: Graph) -> Callable[..., Tensor]:
    """As `dot`, with W e added to the key and the value of each edge (PyG's TransformerConv); `weight` [heads * dim, edge_dim]."""

    def expected(row, query, key, value, features, weight):
        keys, edges = edges_of(graph, row)
        edge = (features[edges] @ weight.T).unflatten(1, query.shape[1:])
        scores = torch.einsum("hc,ehc->eh", query[row], key[keys] + edge) * query.size(-1) ** -0.5
        return weighted_sum(scores, value[keys] + edge)

    return expected


def gat(graph: Graph) -> Callable[..., Tensor]:
    """softmax(leaky_relu(target + source)) value (Velickovic et al. 2018, eq. 3); target and source [num_nodes, heads, 1]."""

    def expected(row, target, source, value):
        keys, _ = edges_of(graph, row)
        return weighted_sum(F.leaky_relu(target[row] + source[keys], 0.2)[..., 0], value[keys])

    return expected


def gatv2(graph: Graph) -> Callable[..., Tensor]:
    """softmax(a · leaky_relu(target + source [+ W e])) source (Brody et al. 2022, eq. 7); `vector` [1, heads, dim]."""

    def expected(row, target, source, vector, features=None, weight=None):
        keys, edges = edges_of(graph, row)
        hidden = target[row] + source[keys]
        if features is not None:
            hidden = hidden + (features[edges] @ weight.T).unflatten(1, target.shape[1:])
        return weighted_sum((F.leaky_relu(hidden, 0.2) * vector).sum(-1), source[keys])

    return expected
