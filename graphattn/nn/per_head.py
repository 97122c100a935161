"""What a layer is given per edge where each head has a graph of its own: lists with one entry for each head."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.graphs import Graph
from graphattn.graphs.per_head import PerHead, once_for_each
from graphattn.nn.adjacency import check_edge_attr
from graphattn.nn.bias import Bias, total_bias
from graphattn.nn.positions.coordinates import positions_of


def biases_of(own: Bias | None, given: Any, graph: PerHead, pos: Any = None) -> list[Tensor | None] | None:
    """`total_bias` for the graph of each head, the same tensor where heads share a graph; `given` is a rule or a list."""
    if own is None and given is None:
        return None
    if isinstance(given, Tensor):
        raise ValueError("'edge_bias' beside a PerHead is a rule or a list with one entry for each head (got a tensor)")
    entries = given if isinstance(given, (list, tuple)) else [given] * len(graph)
    check_length("edge_bias", entries, graph)
    device = next((bias.device for bias in (own, *entries) if isinstance(bias, Bias)), None)

    def its_bias(its_graph: Graph, bias: Any) -> Tensor | None:
        its_pos = pos if device is None else positions_of(its_graph, pos, device, beside=graph.graphs)
        return total_bias(own, bias.at(its_pos) if isinstance(bias, Bias) else bias, its_graph, its_pos)

    return once_for_each(its_bias, graph.graphs, entries)


def features_of(
    edge_attr: Tensor | Sequence[Tensor] | None, edge_dim: int | None, graph: PerHead, dtype: torch.dtype
) -> list[Tensor] | None:
    """The edge features of the graph of each head in `dtype`, checked."""
    if isinstance(edge_attr, Tensor):
        raise ValueError("'edge_attr' beside a PerHead is a list with one entry for each head (got a tensor)")
    entries: Sequence[Tensor | None] = [None] * len(graph) if edge_attr is None else edge_attr
    check_length("edge_attr", entries, graph)
    for its_graph, features in zip(graph.graphs, entries):
        check_edge_attr(features, edge_dim, its_graph)
    return None if edge_attr is None else once_for_each(lambda features: features.to(dtype), edge_attr)


def check_length(name: str, entries: Sequence[Any], graph: PerHead) -> None:
    if len(entries) != len(graph):
        raise ValueError(f"'{name}' must have one entry for each of {len(graph)} heads (got {len(entries)})")
