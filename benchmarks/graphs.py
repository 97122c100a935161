"""The graphs of the benchmarks that are drawn at random."""

import math

import torch

from graphattn.graphs import EdgeListGraph


def random_graph(num_nodes: int, num_edges: int) -> EdgeListGraph:
    """`num_edges` different edges among `num_nodes` nodes, uniformly, in no order."""
    pairs = num_nodes**2
    if num_edges > pairs // 2:
        raise ValueError(f"'num_edges' must be at most half of num_nodes ** 2 = {pairs} (got {num_edges})")
    draws = round(-pairs * math.log1p(-num_edges / pairs) * 1.02) + 1000  # so many leave `num_edges` without repeats
    generator = torch.Generator().manual_seed(0)
    pair = torch.randint(pairs, (draws,), generator=generator).unique()
    pair = pair[torch.randperm(len(pair), generator=generator)[:num_edges]]
    return EdgeListGraph(torch.stack([pair % num_nodes, pair // num_nodes]), num_nodes)


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
