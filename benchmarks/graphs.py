"""The graphs of the benchmarks that are drawn at random."""

import math
from itertools import pairwise

import torch

from graphattn.graphs import EdgeListGraph

BLOCK = 2**24  # edges drawn at a time


def random_graph(num_nodes: int, num_edges: int) -> EdgeListGraph:
    """`num_edges` different edges among `num_nodes` nodes, uniformly, in no order.

    Of more than BLOCK edges, equal shares are drawn for equal ranges of queries, one after the other, so that no more than
    the edges themselves and one share are in memory.
    """
    pairs = num_nodes**2
    if num_edges > pairs // 2:
        raise ValueError(f"'num_edges' must be at most half of num_nodes ** 2 = {pairs} (got {num_edges})")
    generator = torch.Generator().manual_seed(0)
    blocks = max(-(-num_edges // BLOCK), 1)
    edge_index = torch.empty(2, num_edges, dtype=torch.long)
    edges, queries = ([total * block // blocks for block in range(blocks + 1)] for total in (num_edges, num_nodes))
    for (first, stop), (low, high) in zip(pairwise(edges), pairwise(queries)):
        pair = different_numbers((high - low) * num_nodes, stop - first, generator)
        edge_index[0, first:stop] = pair % num_nodes
        edge_index[1, first:stop] = pair // num_nodes + low
    return EdgeListGraph(edge_index, num_nodes)


def random_edges(num_nodes: int, num_edges: int, is_skewed: bool = False) -> EdgeListGraph:
    """Drawn with repeats; the keys of a skewed graph follow a power law, some seen by a share of all queries."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randint(num_nodes, (num_edges,), generator=generator)
    if is_skewed:
        key = (torch.rand(num_edges, generator=generator) ** 4 * num_nodes).long()
    else:
        key = torch.randint(num_nodes, (num_edges,), generator=generator)
    return EdgeListGraph(torch.stack([key, query]), num_nodes)


def different_numbers(limit: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` different integers of 0 ... limit - 1, in no order."""
    draws = round(-limit * math.log1p(-count / limit) * 1.02) + 1000  # so many leave `count` without repeats
    drawn = torch.randint(limit, (draws,), generator=generator).unique()
    return drawn[torch.randperm(len(drawn), generator=generator)[:count]]


def star(num_leaves: int) -> EdgeListGraph:
    """One query that sees `num_leaves` keys."""
    return EdgeListGraph(
        torch.stack([torch.arange(num_leaves), torch.zeros(num_leaves, dtype=torch.long)]), 1, num_leaves
    )


def two_way_star(num_leaves: int) -> EdgeListGraph:
    """Node 0 and its leaves, which see each other."""
    leaves = torch.arange(1, num_leaves + 1)
    out = torch.stack([torch.zeros_like(leaves), leaves])
    return EdgeListGraph(torch.cat([out, out.flip(0)], 1), num_leaves + 1)
