"""Sparse patterns from the literature, made of the graphs of this package.

`num_nodes` is an int, or one int per example of a batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs.algebra import union
from graphattn.graphs.banded import BandedGraph
from graphattn.graphs.batched import batch_graphs
from graphattn.graphs.edge_list import EdgeListGraph
from graphattn.graphs.global_ import GlobalGraph
from graphattn.graphs.graph import Graph
from graphattn.graphs.sizes import Counts, parse_counts, parse_integer, starts_and_total


def expander(num_nodes: Counts, degree: int, seed: int = 0) -> EdgeListGraph:
    """A random undirected graph in which every node has `degree` neighbours (not itself): with high probability
    an expander, on which any two nodes are O(log num_nodes) steps apart.

    Exphormer (https://arxiv.org/abs/2303.06147), section 3.2. The same seed gives the same graph.

    Raises:
        ValueError: if no such graph exists: `degree` must be below `num_nodes` and `degree * num_nodes` even.

    >>> expander(100, degree=4).degrees().unique()
    tensor([4])
    """
    degree, seed = parse_integer("degree", degree), parse_integer("seed", seed)
    counts = parse_counts("num_nodes", num_nodes)
    return batch_graphs([_expander(count, degree, seed + example) for example, count in enumerate(counts)])


def strided(num_nodes: Counts, stride: int) -> Graph:
    """Every node attends to itself, the `stride` nodes before it, and every `stride`-th node before it: causal.

    Sparse Transformers (https://arxiv.org/abs/1904.10509), section 4.3; `stride` near sqrt(num_nodes) makes any
    earlier node two steps away.

    >>> strided(7, 3).mask()[6].int()
    tensor([1, 0, 0, 1, 1, 1, 1], dtype=torch.int32)
    """
    stride = parse_integer("stride", stride, minimum=1)
    return BandedGraph(num_nodes, stride, 0) | BandedGraph(num_nodes, None, 0, dilation=stride)


def longformer(num_nodes: Counts, window: int, global_nodes: Sequence[int] | Tensor | np.ndarray) -> Graph:
    """`window // 2` nodes on either side, and global nodes that see all and are seen by all.

    Longformer (https://arxiv.org/abs/2004.05150), section 3.1. `global_nodes` are in the numbering of the batch.

    >>> longformer(1_000_000, window=512, global_nodes=[0])
    (BandedGraph(1000000, before=256, after=256) | GlobalGraph(1000000, nodes=[0]))
    """
    reach = _half("window", window)
    return BandedGraph(num_nodes, reach, reach) | GlobalGraph(num_nodes, global_nodes)


def bigbird(num_nodes: Counts, window: int, num_global: int, num_random: int, seed: int = 0) -> Graph:
    """Longformer's window and global nodes (the first `num_global`), and `num_random` random keys of each query.

    BigBird (https://arxiv.org/abs/2007.14062), section 2, per node instead of per block. Random keys are distinct;
    they may fall into the window. The same seed gives the same graph.

    >>> for graph in bigbird(1000, window=6, num_global=2, num_random=3).graphs:
    ...     print(graph)
    BandedGraph(1000, before=3, after=3)
    GlobalGraph(1000, nodes=[0, 1])
    EdgeListGraph(num_queries=1000, num_keys=1000, num_edges=3000)
    """
    reach = _half("window", window)
    num_global, num_random = parse_integer("num_global", num_global), parse_integer("num_random", num_random)
    counts = parse_counts("num_nodes", num_nodes)
    if max(num_global, num_random) > min(counts):
        raise ValueError(
            f"'num_global' and 'num_random' must not exceed the number of nodes "
            f"(got {num_global} and {num_random} for {min(counts)} nodes)"
        )
    nodes = [start + node for start in starts_and_total(counts)[:-1] for node in range(num_global)]
    generator = torch.Generator().manual_seed(parse_integer("seed", seed))
    random = batch_graphs([_random_keys(count, num_random, generator) for count in counts])
    return union(BandedGraph(num_nodes, reach, reach), GlobalGraph(num_nodes, nodes), random)


def _expander(num_nodes: int, degree: int, seed: int) -> EdgeListGraph:
    if degree >= max(num_nodes, 1) or degree * num_nodes % 2:
        raise ValueError(
            f"no graph of {num_nodes} nodes has degree {degree} everywhere: "
            f"'degree' must be below 'num_nodes', and their product even"
        )
    import networkx

    neighbours = networkx.random_regular_graph(degree, num_nodes, seed=seed).edges if degree else []
    edges = torch.tensor(list(neighbours), dtype=torch.int64).reshape(-1, 2).t()
    both_ways = torch.cat([edges, edges.flip(0)], dim=1)
    return EdgeListGraph(both_ways, num_nodes, is_undirected=True).coalesce()


def _random_keys(num_nodes: int, num_random: int, generator: torch.Generator) -> EdgeListGraph:
    """`num_random` distinct keys of each query, by Floyd's algorithm for all queries at a time."""
    chosen = torch.empty(num_nodes, 0, dtype=torch.int64)
    for last in range(num_nodes - num_random, num_nodes):
        key: Tensor = torch.randint(last + 1, (num_nodes, 1), generator=generator)
        taken = (chosen == key).any(dim=1, keepdim=True)
        chosen = torch.cat([chosen, torch.where(taken, last, key)], dim=1)
    key = chosen.sort(dim=1).values.flatten()
    return EdgeListGraph(torch.stack([key, torch.arange(num_nodes).repeat_interleave(num_random)]), num_nodes)


def _half(name: str, value: int) -> int:
    value = parse_integer(name, value)
    if value % 2:
        raise ValueError(f"{name!r} counts the nodes on both sides together and must be even (got {value})")
    return value // 2
