"""What processes compute together, against one that computes all: run on each of them."""

from contextlib import contextmanager

import torch
import torch.distributed as dist

from graphattn import BandedGraph, CompleteGraph, attend, attention_scores, attention_weights, weighted_sum
from graphattn.distributed import hubs, shard, split
from graphattn.formulas.normalizers import Softmax
from graphattn.graphs.local import numbers_at
from graphattn.nn import ALiBi
from graphattn.testing.problems import CASES, OPTIONS, arguments_of, problem

PER_QUERY, PER_KEY, PER_EDGE = ("query", "edge_query"), ("key", "value"), ("bias", "edge_features")


def assert_near(found, wanted, dtype, what):
    tolerance = (
        1e-10
        if dtype is torch.float64
        else 2e-6 * max(1.0, wanted.detach().abs().max().item() if wanted.numel() else 1.0)
    )
    torch.testing.assert_close(
        found, wanted, rtol=0, atol=tolerance, equal_nan=True, msg=lambda words: f"{what}: {words}"
    )


def as_list(result):
    return list(result) if isinstance(result, tuple) else [result]


def places(sharded, name):
    if name in PER_QUERY:
        return sharded.rows
    return sharded.key_rows if name in PER_KEY else sharded.edges if name in PER_EDGE else slice(None)


@contextmanager
def small_enough(**least):
    """Takes what pays for large graphs alone: by the module, what it asks for."""
    modules = {"rows_in_two_goes": split, "hubs": hubs}
    kept = [(modules[name], dict(vars(modules[name]))) for name in least]
    for name, (share, number) in least.items():
        names = [each for each in vars(modules[name]) if each.startswith("LEAST_")]
        for each in names:
            setattr(modules[name], each, share if each == "LEAST_SHARE" else number)
    try:
        yield
    finally:
        for module, before in kept:
            for each in [each for each in before if each.startswith("LEAST_")]:
                setattr(module, each, before[each])


def check_hubs(names, options):
    """Queries of the fullest rows go to the owners of their keys; how many graphs had such rows."""
    with small_enough(hubs=(-10, -10), rows_in_two_goes=(0, 0)):
        check_options(names, options, torch.float64, {})
        check_rules(names, torch.float64, {})
        check_edges(names)
        check_sums(names)
        return sum(shard(CASES[name][0]).hubs is not None for name in names)


def devices_of_moved(names):
    """Where the graphs are that a process computes with, once a sharded graph has moved."""
    with small_enough(hubs=(-10, -10), rows_in_two_goes=(0, 0)):
        graphs = [shard(CASES[name][0]) for name in names]
        moved = [graph.to("meta") for graph in graphs]
    for graph in graphs:
        if graph.device is None:  # where it is moved for each call, once and on all processes
            there = graph.moved(torch.device("meta"))
            assert there is not graph and there is graph.moved(torch.device("meta")) is there.moved(
                torch.device("meta")
            )
            moved.append(there)
            assert there.whole_part().graph.device in (None, torch.device("meta"))
    found = [graph.device for one in moved for graph in one.graphs_here() if graph.device is not None]
    return sorted({device.type for device in found}), len(found)


def check_half_precision(names, dtype, how, score):
    """Results and gradients in half precision, where some processes only send or only receive."""
    for name in names:
        graph, _ = CASES[name]
        sharded = shard(graph, **how)
        generator = torch.Generator().manual_seed(0)
        counts = graph.num_queries, graph.num_keys, graph.num_keys
        whole = [torch.randn(n, 2, 6, generator=generator).to(dtype).requires_grad_() for n in counts]
        at = sharded.rows, sharded.key_rows, sharded.key_rows
        own = [x.detach()[rows].clone().requires_grad_() for x, rows in zip(whole, at)]
        wanted, found = attend(*whole, graph, score=score), attend(*own, sharded, score=score)
        assert attend(*(x.detach() for x in own), sharded, score=score).dtype is dtype
        wanted.sum().backward()
        found.sum().backward()
        for one, other in zip([found, *(x.grad for x in own)], [wanted, *(x.grad for x in whole)]):
            other = other[sharded.rows if other.size(0) == graph.num_queries else sharded.key_rows]
            assert one.dtype is dtype
            torch.testing.assert_close(one.float(), other.float(), rtol=2e-2, atol=2e-2, msg=f"{name}, {how}")


def check_sums(names):
    """Results that add up instead of being merged, for a batch of tensors."""
    for name in names:
        graph, _ = CASES[name]
        sharded = shard(graph)
        generator = torch.Generator().manual_seed(0)
        counts = graph.num_queries, graph.num_keys, graph.num_keys
        whole = [torch.randn(2, n, 2, 6, generator=generator, dtype=torch.float64).requires_grad_() for n in counts]
        at = sharded.rows, sharded.key_rows, sharded.key_rows
        own = [x.detach()[:, rows].clone().requires_grad_() for x, rows in zip(whole, at)]
        wanted, found = (attend(*x, where, normalizer="relu") for x, where in ((whole, graph), (own, sharded)))
        assert_near(found, wanted[:, sharded.rows], torch.float64, name)
        wanted.square().sum().backward()
        found.square().sum().backward()
        for one, other, rows in zip(own, whole, at):
            assert_near(one.grad, other.grad[:, rows], torch.float64, f"gradient: {name}")


def check_hubs_lse(names):
    with small_enough(hubs=(-10, -10), rows_in_two_goes=(0, 0)):
        check_options(names, ["plain", "sink"], torch.float64, {}, return_lse=True)


def hides_rows(graph):
    """A rule by which some rows lose all their edges, as users of -1e9 say it."""
    key, query = graph.edge_index()
    query = numbers_at(getattr(graph, "query_numbers", 0), query)
    bias = torch.zeros(len(key), 2)
    bias[query == 3], bias[query == 9] = -1e9, -3e8
    return bias


def check_hidden_rows(how):
    """Rows behind a mask of -1e9, whose log-sum-exp does not tell their parts apart; and all other rows."""
    graph = CompleteGraph(14)
    sharded = shard(graph, **how)
    x, cotangent = torch.randn(2, 14, 2, 4, generator=torch.Generator().manual_seed(0))
    whole, own = x.clone().requires_grad_(), x[sharded.rows].clone().requires_grad_()
    wanted = attend(whole, whole, whole, graph, bias=hides_rows)
    found = attend(own, own, own, sharded, bias=hides_rows)
    assert_near(found, wanted[sharded.rows], torch.float32, how)
    wanted.backward(cotangent)
    found.backward(cotangent[sharded.rows])
    assert_near(own.grad, whole.grad[sharded.rows], torch.float32, f"gradient: {how}")


class DroppedDot(torch.nn.Module):
    """A score that draws random numbers."""

    def forward(self, query, key):
        return torch.nn.functional.dropout((query * key).sum(-1), 0.5, True)


def check_random_score(how):
    """The gradient is that of the numbers that were drawn."""
    sharded = shard(CompleteGraph(8), **how)
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, sharded.num_queries, 2, 4, generator=generator, dtype=torch.float64)
    step = torch.randn(query.shape, generator=generator, dtype=torch.float64)

    def total(query):
        torch.manual_seed(3)
        return attend(query, key, key, sharded, score=DroppedDot()).square().sum()

    query.requires_grad_()
    out = total(query)
    torch.manual_seed(99)
    (gradient,) = torch.autograd.grad(out, query)
    with torch.no_grad():
        slope = (total(query + 1e-6 * step) - total(query - 1e-6 * step)) / 2e-6
    torch.testing.assert_close((gradient * step).sum(), slope, rtol=1e-6, atol=1e-6)


def check_split_options(names, options):
    """Rows that see own keys alone are computed while the others' keys are under way; how many graphs were split."""
    with small_enough(rows_in_two_goes=(0, 0)):
        check_options(names, options, torch.float64, {})
        check_rules(names, torch.float64, {})
        check_second_derivatives()
        return sum(shard(CASES[name][0]).split is not None for name in names)


def check_second_derivatives():
    graph = BandedGraph(20, 2, 1)
    sharded = shard(graph)
    x = torch.randn(20, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for given, where in ((x.clone(), graph), (x[sharded.rows].clone(), sharded)):
        given.requires_grad_()
        out = attend(given, given, given, where)
        (force,) = torch.autograd.grad(out.square().sum(), given, create_graph=True)
        found += [force, torch.autograd.grad(force.square().sum(), given)[0]]
    for one, other in zip(found[2:], found[:2]):
        assert_near(one, other[sharded.rows], torch.float64, "second derivatives")


def check_options(names, options, dtype, how, **more):
    """Outputs and all gradients of every option on every graph, with more options for all of them."""
    for name in names:
        graph, _ = CASES[name]
        sharded = shard(graph, **how)
        for option in options:
            leaves, wanted = problem(name, option)
            whole = {key: x.to(dtype).requires_grad_() for key, x in leaves.items()}
            own = {key: x.detach()[places(sharded, key)].clone().requires_grad_() for key, x in whole.items()}
            results = as_list(attend(graph=graph, **arguments_of(whole, wanted), **more))
            found = as_list(attend(graph=sharded, **arguments_of(own, wanted), **more))
            cotangents = [torch.randn(x.shape, generator=torch.Generator().manual_seed(5)).to(dtype) for x in results]
            gradients = torch.autograd.grad(results, list(whole.values()), cotangents, allow_unused=True)
            own_cotangents = [x[sharded.rows] for x in cotangents]
            own_gradients = torch.autograd.grad(found, list(own.values()), own_cotangents, allow_unused=True)
            what = f"{name}, {option}, {how}, {more}, rank {dist.get_rank()}"
            for one, other in zip(found, results, strict=True):
                assert_near(one, other[sharded.rows], dtype, what)
            for key, one, other in zip(own, own_gradients, gradients):
                other = torch.zeros_like(whole[key]) if other is None else other
                one = torch.zeros_like(own[key]) if one is None else one.clone()
                if key not in (*PER_QUERY, *PER_KEY, *PER_EDGE):  # of a parameter: each process has a share
                    dist.all_reduce(one)
                assert_near(one, other[places(sharded, key)], dtype, f"gradient of {key}: {what}")


def check_one_tensor_as_key_and_value(names, dtype, how):
    for name in names:
        graph, _ = CASES[name]
        sharded = shard(graph, **how)
        generator = torch.Generator().manual_seed(0)
        counts = (graph.num_queries, graph.num_keys)
        query, key = (torch.randn(count, 4, 6, generator=generator).to(dtype).requires_grad_() for count in counts)
        own_query, own_key = (
            x.detach()[rows].clone().requires_grad_() for x, rows in ((query, sharded.rows), (key, sharded.key_rows))
        )
        attend(query, key, key, graph).square().sum().backward()
        attend(own_query, own_key, own_key, sharded, kernel="edges_cpu").square().sum().backward()
        assert_near(own_query.grad, query.grad[sharded.rows], dtype, f"gradient of query: {name}, {how}")
        assert_near(own_key.grad, key.grad[sharded.key_rows], dtype, f"gradient of key: {name}, {how}")


def check_no_sum_of_edges(kernel, how):
    graph, _ = CASES["edge_list"]
    sharded = shard(graph, **how)
    query, key = (torch.randn(len(range(10**6)[rows]), 2, 3) for rows in (sharded.rows, sharded.key_rows))
    features = torch.randn(graph.num_edges, 4)[sharded.edges]
    options = {"edge_features": features, "kernel": kernel}
    out, _ = attend(query, key, key, sharded, **options)
    assert_near(attend(query, key, key, sharded, edge_sum=False, **options), out, torch.float32, f"{kernel}, {how}")


def check_rules(names, dtype, how):
    """A bias by rule, dropout and grouped heads."""
    for name in names:
        graph, _ = CASES[name]
        sharded = shard(graph, **how)
        generator = torch.Generator().manual_seed(0)
        kv_heads = 4 if how.get("strategy") == "heads" else 2
        counts = (graph.num_queries, 4), (graph.num_keys, kv_heads), (graph.num_keys, kv_heads)
        whole = [torch.randn(*count, 6, generator=generator).to(dtype).requires_grad_() for count in counts]
        at = sharded.rows, sharded.key_rows, sharded.key_rows
        own = [x.detach()[rows].clone().requires_grad_() for x, rows in zip(whole, at)]
        cotangent = torch.randn(graph.num_queries, 4, 6, generator=generator).to(dtype)
        options = {"bias": ALiBi(4).to(dtype), "dropout": 0.3}
        torch.manual_seed(1)
        wanted = attend(*whole, graph, **options)
        torch.manual_seed(1)
        found = attend(*own, sharded, **options)
        wanted.backward(cotangent)
        found.backward(cotangent[sharded.rows])
        what = f"{name}, {how}, rank {dist.get_rank()}"
        assert_near(found, wanted[sharded.rows], dtype, what)
        for one, other, rows in zip(own, whole, at):
            assert_near(one.grad, other.grad[rows], dtype, f"gradient: {what}")


def key_three_is_hidden(graph):
    """A rule by which one head loses an edge to the key 3, the other all of them."""
    key, query = graph.edge_index()
    key, query = (
        numbers_at(getattr(graph, "key_numbers", 0), key),
        numbers_at(getattr(graph, "query_numbers", 0), query),
    )
    bias = torch.stack([key - query, query % 3 - key], 1).double() / 10
    bias[:, 1].masked_fill_(key == 3, -torch.inf)
    bias[:, 0].masked_fill_((key == 3) & (query == 2), -torch.inf)
    return bias


def check_hidden_keys(names, how):
    """NaN and infinity behind a bias of -inf show nowhere, and where they are seen they show as on one process."""
    for name in names:
        graph, _ = CASES[name]
        sharded = shard(graph, **how)
        generator = torch.Generator().manual_seed(0)
        widths = {"query": 6, "key": 6, "value": 5, "edge_features": 3, "edge_query": 3}
        counts = {"key": graph.num_keys, "value": graph.num_keys, "edge_features": graph.num_edges}
        whole = {
            key: torch.randn(counts.get(key, graph.num_queries), 2, width, generator=generator, dtype=torch.float64)
            for key, width in widths.items()
        }
        whole["key"][3], whole["value"][3, :, 1] = torch.nan, torch.inf
        sinks = [torch.zeros(2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        for option in ({}, {"normalizer": "relu"}, {"normalizer": "sink"}, {"edge_features": True}):
            left = [key for key in whole if key in PER_KEY or key == "query" or option.get("edge_features")]
            given = {key: whole[key].clone().requires_grad_() for key in left}
            own = {key: whole[key][places(sharded, key)].clone().requires_grad_() for key in left}
            has_sink = option.get("normalizer") == "sink"
            plain = {key: x for key, x in option.items() if key == "normalizer" and not has_sink}
            results = []
            for tensors, where, sink in ((given, graph, sinks[0]), (own, sharded, sinks[1])):
                extra = {"normalizer": Softmax(sink)} if has_sink else plain
                results.append(as_list(attend(graph=where, bias=key_three_is_hidden, **tensors, **extra)))
            what = f"{name}, {option}, {how}, rank {dist.get_rank()}"
            for one, other in zip(results[1], results[0]):
                assert_near(one, other[sharded.rows], torch.float64, what)
            for found in results:
                sum(x.nan_to_num().square().sum() for x in found).backward()
            for key, x in own.items():
                wanted = given[key].grad[places(sharded, key)]
                assert_near(x.grad, wanted, torch.float64, f"gradient of {key}: {what}")
            if has_sink:
                total = sinks[1].grad.clone()
                dist.all_reduce(total)
                assert_near(total, sinks[0].grad, torch.float64, f"gradient of the sink: {what}")


def check_edges(names):
    """Weights, scores and weighted sums of the own edges; results with their log-sum-exp; a batch of tensors."""
    for name in names:
        graph, _ = CASES[name]
        sharded = shard(graph)
        generator = torch.Generator().manual_seed(0)
        query, key = (torch.randn(n, 2, 6, generator=generator, dtype=torch.float64) for n in graph.shape)
        own = query[sharded.rows], key[sharded.key_rows]
        bias = ALiBi(2).double()
        weights = attention_weights(query, key, graph, bias=bias)
        found = attention_weights(*own, sharded, bias=bias)
        assert_near(found, weights[sharded.edges], torch.float64, name)
        scores = attention_scores(query, key, graph)
        assert_near(attention_scores(*own, sharded), scores[sharded.edges], torch.float64, name)
        whole_sum = weighted_sum(weights, key, graph)
        assert_near(weighted_sum(found, own[1], sharded), whole_sum[sharded.rows], torch.float64, name)
        _, lse = attend(query, key, key, graph, bias=bias, return_lse=True)
        assert_near(
            attend(*own, own[1], sharded, bias=bias, return_lse=True)[1], lse[sharded.rows], torch.float64, name
        )
        batch = [torch.stack([x, 2 * x]) for x in (query, key)]
        wanted = attend(*batch, batch[1], graph, bias=bias)
        own_batch = batch[0][:, sharded.rows], batch[1][:, sharded.key_rows]
        found = attend(*own_batch, own_batch[1], sharded, bias=bias)
        assert_near(found, wanted[:, sharded.rows], torch.float64, name)


ALL = list(CASES)
MERGE = [option for option in OPTIONS]
