"""What goes wrong on one process, seen from each: run on each of them."""

import os
import time

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    attend,
    attention_scores,
    attention_weights,
    causal,
    weighted_sum,
)
from graphattn.distributed import RowLoader, shard
from graphattn.formulas.normalizers import Relu, Softmax, TopK
from graphattn.graphs import RuleGraph
from graphattn.nn import Additive, ALiBi, GraphAttention, RelativeBias

N = 24
OTHERS = {
    "scale": {"scale": 0.3},
    "dropout": {"dropout": 0.5},
    "normalizer": {"normalizer": "relu"},
    "score": {"score": "gaussian"},
    "kernel": {"kernel": "edges_torch"},
}
# Options of the first and the second process that differ in more than their names, and the fact that tells.
DETAILS = {
    "k": ("normalizer", {"normalizer": TopK(1)}, {"normalizer": TopK(2)}),
    "degrees": ("normalizer", {"normalizer": Relu()}, {"normalizer": Relu(scale_by_degree=True)}),
    "number of a sink": ("normalizer", {"normalizer": Softmax(0.0)}, {"normalizer": Softmax(1.0)}),
    "parameter": ("score", *({"score": Additive(torch.ones(2, 4, requires_grad=wants))} for wants in (True, False))),
    "heads of a rule": ("bias", {"bias": ALiBi(2)}, {"bias": ALiBi(4)}),
    "rule that learns": ("bias", {"bias": RelativeBias(2, 3)}, {"bias": RelativeBias(2, 3).requires_grad_(False)}),
    "no edge sum": ("edge_sum", {}, {"edge_sum": False}),
    "no lse": ("return_lse", {}, {"return_lse": True}),
}


def words_of(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def tensors(sharded, dtype=torch.float32):
    rows = sharded.rows.stop - sharded.rows.start
    return [torch.ones(rows, 2, 4, dtype=dtype) for _ in range(3)]


def other_graph():
    return words_of(shard, BandedGraph(N, 2, 1 + dist.get_rank() % 2))


def other_edges():
    edges = torch.arange(10).repeat(2, 1)
    edges[0, 3] += dist.get_rank()
    return words_of(shard, EdgeListGraph(edges, N))


def narrow_edges():
    """The same edges in another dtype with one process."""
    edges = torch.arange(10).repeat(2, 1)
    return words_of(shard, EdgeListGraph(edges.int() if dist.get_rank() else edges, N))


def other_strategy():
    return words_of(shard, causal(N), strategy="halo" if dist.get_rank() else None)


def wrong_ptr():
    return words_of(shard, causal(N), query_ptr=[0, N + 1])


def other_option(name):
    sharded = shard(BandedGraph(N, 2, 1))
    found = words_of(attend, *tensors(sharded), sharded, **(OTHERS[name] if dist.get_rank() else {}))
    assert attend(*tensors(sharded), sharded).shape == (sharded.num_queries, 2, 4)  # and all goes on
    return found


def other_detail(name):
    _, here, there = DETAILS[name]
    sharded = shard(BandedGraph(N, 2, 1))
    return words_of(attend, *tensors(sharded), sharded, **(there if dist.get_rank() else here))


def other_tensor_of_edges():
    """One of all heads, one of each head; one that wants a gradient, one that does not."""
    sharded, rank = shard(BandedGraph(N, 2, 1)), dist.get_rank()
    shapes = [torch.zeros(sharded.num_edges, 2 if rank else 1), torch.zeros(sharded.num_edges, 2)]
    shapes[1].requires_grad_(rank == 1)
    features = torch.zeros(sharded.num_edges, *((3,) if rank else (2, 3)))
    found = [words_of(attend, *tensors(sharded), sharded, bias=bias) for bias in shapes]
    return [*found, words_of(attend, *tensors(sharded), sharded, edge_features=features)]


def mistakes_of_one():
    """Of the second process, in what is looked at before all others; the first one is told at once."""
    sharded, rank = shard(BandedGraph(N, 2, 1)), dist.get_rank()
    given = tensors(sharded)
    return [
        words_of(attend, *given, sharded, dropout=2.0 if rank else 0.5),
        words_of(attend, [1.0] if rank else given[0], *given[1:], sharded),
        words_of(attend, *given, sharded, normalizer="relu", return_lse=True),
    ]


def swapped_edges():
    """The same edges in another order, by sums of numbers and places the same."""
    edges = torch.tensor([[0, 1, 2, 3, 1], [3, 2, 1, 0, 5]])
    if dist.get_rank():
        edges = edges[:, [1, 0, 2, 3, 4]]
    return words_of(shard, EdgeListGraph(edges, N))


def other_processes():
    """Meshes that are none, or not of this process."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(), 1), mesh_dim_names=("graph", "data"))
    first = dist.new_group([0])
    return [
        words_of(shard, causal(N), mesh),
        words_of(shard, causal(N), first),
        words_of(shard, causal(N), "gloo"),
        words_of(shard, causal(N), timeout=0),
        shard(causal(N), mesh["graph"]).num_processes,
        shard(causal(N), timeout=21).num_processes,  # the first is in more groups
    ]


def other_dtype():
    sharded = shard(BandedGraph(N, 2, 1))
    return words_of(attend, *tensors(sharded, torch.float64 if dist.get_rank() else torch.float32), sharded)


def other_gradients():
    sharded = shard(CompleteGraph(N))
    given = tensors(sharded)
    given[0].requires_grad_(dist.get_rank() == 0)
    return words_of(attend, *given, sharded)


def wrong_rows():
    sharded = shard(BandedGraph(N, 2, 1))
    given = tensors(sharded)
    if dist.get_rank() == 0:
        given[0] = given[0][1:]
    return words_of(attend, *given, sharded)


def rows_of_all():
    """What a process is told that gives the rows of the whole graph."""
    sharded, x = shard(BandedGraph(N, 2, 1)), torch.ones(N, 2, 4)
    own, weights = x[sharded.rows], torch.ones(sharded.num_edges, 2)
    unchecked = shard(BandedGraph(N, 2, 1), check=False)
    return [
        words_of(attend, x, x, x, sharded),
        words_of(attention_weights, own, x, sharded),
        words_of(attention_scores, x, own, sharded),
        words_of(weighted_sum, weights, x, sharded),
        words_of(weighted_sum, weights, x, unchecked),
        words_of(weighted_sum, weights, x if dist.get_rank() else own, sharded),
        words_of(GraphAttention(4, 4), x[:, 0], sharded),
        words_of(RowLoader, sharded, 1),
    ]


def foreign_edges():
    edges = torch.tensor([[0, 1], [0, N - 1]])  # the last query belongs to the last rank
    return words_of(shard, EdgeListGraph(edges, N), own_edges=True)


def absent_from_shard():
    group = dist.new_group(list(range(dist.get_world_size())))
    if dist.get_rank():
        time.sleep(3)
        return "absent"
    start = time.monotonic()
    found = words_of(shard, causal(N), group, timeout=1.5)
    return found if time.monotonic() - start < 10 else "too late"


def absent_from_attend():
    group = dist.new_group(list(range(dist.get_world_size())))
    sharded = shard(BandedGraph(N, 2, 1), group, timeout=2)
    if dist.get_rank():
        time.sleep(4)
        return "absent"
    return words_of(attend, *tensors(sharded), sharded)


def one_dies():
    sharded = shard(BandedGraph(N, 2, 1), timeout=5)
    if dist.get_rank():
        os._exit(3)
    return words_of(attend, *tensors(sharded), sharded)


def refusals():
    sharded = shard(BandedGraph(N, 2, 1))
    rule = shard(RuleGraph(N, rule=is_even))
    return [
        words_of(sharded.edge_index),
        words_of(lambda: sharded.T),
        words_of(torch.save, sharded, os.devnull),
        words_of(shard, sharded),
        words_of(shard, rule.whole, strategy="ring"),
        words_of(shard, causal(N), strategy="rings"),
        words_of(shard, causal(N), strategy="ring", rounds=2),
        words_of(shard, causal(N), order="tail"),
        words_of(shard, rule.whole, order="head_to_tail"),
        words_of(shard, causal(N), order="head_to_tail", strategy="halo"),
    ]


def is_even(query, key):
    return (query + key) % 2 == 0


def uneven(ptr, key_ptr):
    """Ranks without rows and others with most, on bipartite, directed and repeated edges."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.stack([torch.randint(15, (90,), generator=generator), torch.randint(N, (90,), generator=generator)])
    for graph in (EdgeListGraph(edges, N, 15), CompleteGraph(N, 15), BandedGraph(N, 3, 2, num_keys=15)):
        query, key = (torch.randn(n, 2, 4, generator=generator, dtype=torch.float64) for n in graph.shape)
        whole = key.clone().requires_grad_()
        out = attend(query, whole, whole, graph)
        sharded = shard(graph, query_ptr=ptr, key_ptr=key_ptr)
        own = key[sharded.key_rows].requires_grad_()
        found = attend(query[sharded.rows], own, own, sharded)
        torch.testing.assert_close(found, out[sharded.rows])
        out.sum().backward()
        found.sum().backward()
        torch.testing.assert_close(own.grad, whole.grad[sharded.key_rows])


def own_edges():
    """Each rank holds its own edges alone: results and gradients are those of the whole."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(N, (2, 200), generator=generator)
    graph = EdgeListGraph(edges, N)
    reference = shard(graph)
    is_own = (edges[1] >= reference.rows.start) & (edges[1] < reference.rows.stop)
    sharded = shard(EdgeListGraph(edges[:, is_own], N), own_edges=True)
    assert sharded.num_edges == int(is_own.sum())
    x, bias = torch.randn(N, 2, 4, generator=generator), torch.randn(200, 2, generator=generator)
    own = x[sharded.rows]
    found = attend(own, own, own, sharded, bias=bias[is_own])
    torch.testing.assert_close(found, attend(x, x, x, graph, bias=bias)[sharded.rows])
