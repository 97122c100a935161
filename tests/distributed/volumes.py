"""What is moved, counted on each process."""

import resource

import torch
import torch.distributed as dist

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, GridGraph, attend, causal, choose_kernel
from graphattn.distributed import shard


def received(*graphs):
    return [shard(graph).traffic.received for graph in graphs]


def bands_and_grids():
    bands = [BandedGraph(n, 5, 2) for n in (400, 4000)]
    grids = [GridGraph((h, 6, 5), (2, 1, 1)) for h in (16, 160)]
    shifted = [GridGraph((h, 6, 5), (2, 1, 1), border="shift") for h in (16, 160)]
    return received(*bands), received(*grids), received(*shifted)


def unique_sources():
    """Of the edges of own rows, the foreign keys, each once."""
    edges = torch.randint(50, (2, 400), generator=torch.Generator().manual_seed(0))
    sharded = shard(EdgeListGraph(edges, 50))
    first, last = sharded.rows.start, sharded.rows.stop
    seen = {key for key, query in edges.t().tolist() if first <= query < last}
    return sharded.traffic.received, len([key for key in seen if not first <= key < last])


def rings(n):
    ring, halo = shard(CompleteGraph(n)), shard(CompleteGraph(n), strategy="halo")
    rounds = shard(CompleteGraph(n), rounds=10)
    lower = shard(causal(n))
    return ring.traffic, halo.traffic, rounds.traffic, lower.traffic


def sent_bytes():
    """The bytes that are really sent, in one forward pass."""
    sent = []
    inner = dist.all_to_all_single

    def counted(output, given, *counts, **options):
        if given.is_floating_point() or given.dtype is torch.uint8:
            sent.append(given.numel() * given.itemsize)
        return inner(output, given, *counts, **options)

    sharded = shard(BandedGraph(40, 3, 2))
    x = torch.randn(sharded.num_queries, 2, 8)
    dist.all_to_all_single = counted
    try:
        attend(x, x, x, sharded)
        attend(x.bfloat16(), x.bfloat16(), x.bfloat16(), sharded)
    finally:
        dist.all_to_all_single = inner
    return sent, sharded.traffic.sent * 2 * (8 + 8)


def peak_of_ring(strategy, n):
    """MB that attention over n keys adds to the peak of this process."""
    sharded = shard(CompleteGraph(8 * dist.get_world_size(), n), strategy=strategy)
    query = torch.randn(8, 1, 64)
    key = torch.randn(sharded.num_keys, 1, 64)
    dist.barrier()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.no_grad():
        attend(query, key, key, sharded)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def choices():
    x = torch.randn(20, 2, 8)
    found = []
    for graph, options in (
        (CompleteGraph(40), {}),
        (BandedGraph(40, 2, 1), {}),
        (BandedGraph(40, 2, 1) | GlobalGraph(40, [3]), {}),
        (CompleteGraph(40), {"strategy": "heads"}),
    ):
        found.append(choose_kernel(shard(graph, **options), x, x, x))
    return found
