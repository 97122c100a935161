"""Attention of few targets over many sources, as in a sampled block, without projecting the sources.

With keys W x + b and values V x + c of sources x, q · (W x + b) = (Wᵀ q) · x + q · b, whose last term is one number for all edges
of a query and drops out of softmax, and sum of w (V x + c) = V (sum of w x) + c, where weights sum to 1. So the maps are applied
to targets instead of sources, and every head reads the sources as they are.
"""

from typing import Any

import torch
from torch import Tensor

from graphattn.functional import attend
from graphattn.graphs import Graph
from graphattn.nn.linear_maps import head_by_head, may_differentiate, may_write
from graphattn.nn.plain import is_linear

# Products of edges are worth more than those of large matrices. Two cores, float32, 64 channels -> 4 heads of 16:
# benchmarks.everyday, rows of sampled blocks.
PRICE_OF_EDGES = 3


def is_cheaper(size: tuple[int, int, int], source: Tensor, graph: Graph, maps: tuple[Any, ...]) -> bool:
    """Whether targets should be mapped instead of sources: fewer multiplications, in maps that are just products.

    Args:
        size: Of the queries, (num_targets, heads, out_channels).
        source: [num_sources, in_channels].
        maps: Those of keys and values.
    """
    if torch.compiler.is_compiling() or source.layout != torch.strided:
        return False  # sizes may be symbols, and maps take sparse sources where attention does not
    is_wide = source.dtype in (torch.float32, torch.float64)  # halves would be rounded in other places
    if not is_wide or torch.is_autocast_enabled(source.device.type):
        return False
    (num_targets, heads, channels), (num_sources, in_channels) = size, source.shape
    if num_targets >= num_sources and in_channels >= channels:
        return False
    width, edges = heads * channels, graph.num_edges * heads * PRICE_OF_EDGES
    projected = num_sources * in_channels * width + edges * channels
    unprojected = num_targets * in_channels * width + edges * in_channels
    return unprojected < projected and all(is_map_of_heads(map) and map.weight.dtype == source.dtype for map in maps)


def is_map_of_heads(map: Any) -> bool:
    """Whether it is just a product, with a number for each channel if it adds a bias."""
    return is_linear(map) and (map.bias is None or map.bias.shape == map.weight.shape[:1])


def attend_unprojected(
    query: Tensor,
    source: Tensor,
    graph: Graph,
    key_map: Any,
    value_map: Any,
    edge_features: Tensor | None = None,
    edge_query: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """What `attend` gives for keys key_map(source) and values value_map(source), dot products and softmax.

    Args:
        query: [num_targets, heads, out_channels].
        source: [num_sources, in_channels].
        key_map, value_map: Linear, in_channels -> heads * out_channels.
        edge_features, edge_query: As in `attend`.

    Returns:
        out [num_targets, heads, out_channels], and the second result of `attend` where there are edge features.
    """
    heads, channels = query.shape[1:]
    of_keys, of_values = (x.weight.unflatten(0, (heads, channels)) for x in (key_map, value_map))
    if key_map.bias is not None and may_differentiate(key_map.bias):
        # Its gradient is 0, not missing: DistributedDataParallel waits for it.
        query = query + 0.0 * key_map.bias.sum()
    mapped = head_by_head(query, of_keys)
    nodes = source[:, None]
    scale = max(channels, 1) ** -0.5
    result = attend(mapped, nodes, nodes, graph, edge_features=edge_features, edge_query=edge_query, scale=scale)
    mean, edge_out = result if isinstance(result, tuple) else (result, None)
    out = head_by_head(mean, of_values.mT)
    if value_map.bias is not None:
        out = add_where_edges_are(out, value_map.bias.unflatten(0, (heads, channels)), graph)
    return out, edge_out


def add_where_edges_are(out: Tensor, bias: Tensor, graph: Graph) -> Tensor:
    """out + bias, which a target without edges does not get; in the memory of `out` if nothing stands against it."""
    if out.is_cpu and all_have_edges(graph):  # on CUDA the answer would be waited for
        if out.dtype == bias.dtype and may_write(out, bias) and not may_differentiate(out, bias):
            return out.add_(bias)
        return out + bias
    has_edges = graph.by_query(out.device).rowptr.diff() > 0
    return out + bias * has_edges[:, None, None]


def all_have_edges(graph: Graph) -> bool:
    """Whether every query on the CPU has an edge."""

    def build(device: torch.device) -> bool:
        degrees = graph.by_query(device).rowptr.diff()
        return not degrees.numel() or int(degrees.min()) > 0

    return graph.remember_on("all have edges", "cpu", build)
