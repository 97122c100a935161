"""What is moved, counted on each process."""

import ctypes
import gc

import torch
import torch.distributed as dist

from benchmarks.memory import resident
from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, GridGraph, attend, causal, choose_kernel
from graphattn.distributed import overlap, shard


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


def traffic_by_heads():
    """What is said of a graph whose heads are shared out: the error, and the choice."""
    graph = shard(causal(40), strategy="heads")
    x = torch.randn(graph.num_queries, 2, 8)
    try:
        return graph.traffic, None
    except ValueError as error:
        return str(error), choose_kernel(graph, x, x, x).kernel


def peak_of(strategy, n):
    """MB that attention over n keys adds to what this process holds, at most."""
    sharded = shard(CompleteGraph(8 * dist.get_world_size(), n), strategy=strategy)
    query = torch.randn(8, 1, 64)
    key = torch.randn(sharded.num_keys, 1, 64)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier tests freed would be taken again, unseen
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")  # the peak of earlier tests may be higher than this one's
    before = resident("VmRSS")
    dist.barrier()
    with torch.no_grad():
        attend(query, key, key, sharded)
    return (resident("VmHWM") - before) / 2**20


def peak_with_lse(strategy, n):
    """MB that attention with its log-sum-exp adds to what this process holds, at most: of both passes, and of the forward one."""
    sharded = shard(CompleteGraph(8 * dist.get_world_size(), n), strategy=strategy)
    query = torch.randn(8, 1, 64, requires_grad=True)
    key = torch.randn(sharded.num_keys, 1, 64, requires_grad=True)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    before = resident("VmRSS")
    dist.barrier()
    out, lse = attend(query, key, key, sharded, return_lse=True)
    forward = resident("VmHWM") - before
    (out.sum() + lse.sum()).backward()
    return (resident("VmHWM") - before) / 2**20, forward / 2**20


def work_of_steps(n):
    """Edges that this process computes in each step of a causal ring, of head and tail and of one range."""
    found = []
    for how in ({"order": "head_to_tail"}, {"strategy": "ring"}):
        edges = {}
        sharded = shard(causal(n), **how)
        for part in sharded.parts:
            edges[id(part.halo)] = edges.get(id(part.halo), 0) + part.graph.num_edges
        found.append((list(edges.values()), sharded.num_queries, sharded.traffic))
    return found


def hubs(n):
    """A node that sees all: what is moved with its query sent out, and with all its keys fetched."""
    union, star = BandedGraph(n, 3, 1) | GlobalGraph(n, [4]), GlobalGraph(n, [4])
    found = [shard(graph).traffic for graph in (union, star)]
    spread = shard(EdgeListGraph(torch.arange(2 * n).view(2, n) % n, n))  # no row sees much
    sharded = shard(star)
    x = torch.randn(sharded.num_queries, 2, 8)
    words = choose_kernel(sharded, x).kernel
    return *found, shard(union, strategy="halo").traffic, spread.traffic, words


def order_of_work():
    """What a forward and a backward pass do one after the other: keys leave, rows are computed, keys are waited for, ..."""
    done, run, exchange_rows = [], overlap.run_piece, overlap.exchange

    class Note(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, name):
            ctx.name = name
            done.append(name)
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            done.append(ctx.name)
            return grad, None

    def noted_piece(piece, *given):
        name = "inner" if piece is sharded.split.inner else "outer"
        return tuple(Note.apply(x, name) for x in run(piece, *given))

    class NotedWork:
        def __init__(self, work):
            self.work = work

        def wait(self):
            done.append("wait")
            self.work.wait()

    def noted_exchange(*given):
        done.append("send")
        received, work = exchange_rows(*given)
        return received, NotedWork(work)

    sharded = shard(BandedGraph(6000, 20, 20))
    assert choose_kernel(sharded, torch.randn(3000, 1, 4)).kernel.startswith(
        "halo (20 rows, 640 bytes, under way while 2980 of 3000 rows are computed) + "
    )
    x = torch.randn(sharded.num_queries, 1, 4, requires_grad=True)
    overlap.run_piece, overlap.exchange = noted_piece, noted_exchange
    try:
        out = attend(x, x, x, sharded)
        forward, done = done, []
        out.sum().backward()
    finally:
        overlap.run_piece, overlap.exchange = run, exchange_rows
    return forward, done


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
