"""Another graph for each head beside attention of every head alone over its own edges, written as loops."""

import math

import pytest
import torch

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    PerHead,
    attend,
    attention_scores,
    attention_weights,
    choose_kernel,
    weighted_sum,
)
from graphattn.nn import Additive, ALiBi, Cosine, Gat, Softmax
from graphattn.running.arguments import Options
from graphattn.running.by_heads import join_heads, over_heads

NEAR = BandedGraph(6, 1, 1)
GIVEN = EdgeListGraph(torch.tensor([[5, 0, 2, 2, 1], [1, 3, 1, 1, 0]]), 6)
GRAPHS = PerHead([NEAR, GIVEN, CompleteGraph(6) & GlobalGraph(6, [2]), NEAR])
HEADS = len(GRAPHS)


def tensors():
    torch.manual_seed(0)
    return [torch.randn(6, heads, 3, dtype=torch.float64, requires_grad=True) for heads in (HEADS, 2, 2)]


def by_loops(query, key, value, score=None, bias=None, sink=None):
    """Output, and the weights of each head."""
    rows, all_weights = [], []
    for head, graph in enumerate(GRAPHS.graphs):
        edges = graph.edge_index().t().tolist()
        weights = [None] * len(edges)
        for i in range(6):
            mine = [e for e, (_, target) in enumerate(edges) if target == i]
            scores = []
            for e in mine:
                q, k = query[i, head], key[edges[e][0], head // 2]
                s = q @ k / math.sqrt(3) if score is None else score(q, k, head)
                scores.append(s if bias is None else s + bias(head, edges[e], e))
            out = torch.zeros(3, dtype=torch.float64)
            if mine:
                found = torch.stack(scores if sink is None else [*scores, sink[head]]).softmax(0)
                for e, weight in zip(mine, found):
                    weights[e], out = weight, out + weight * value[edges[e][0], head // 2]
            rows.append(out)
        all_weights.append(torch.stack(weights))
    return torch.stack(rows).view(HEADS, 6, 3).transpose(0, 1), all_weights


def assert_equal_with_gradients(found, wanted, leaves):
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn_like(wanted)
    for a, b in zip(*(torch.autograd.grad(x, leaves, cotangent, retain_graph=True) for x in (found, wanted))):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_each_head_attends_over_its_own_graph():
    leaves = tensors()
    wanted, weights = by_loops(*leaves)
    assert_equal_with_gradients(attend(*leaves, GRAPHS), wanted, leaves)
    for a, b in zip(attention_weights(*leaves[:2], GRAPHS), weights, strict=True):
        torch.testing.assert_close(a, b)
    batch = torch.stack([attend(*leaves, GRAPHS), attend(*(2 * x for x in leaves), GRAPHS)])
    torch.testing.assert_close(attend(*(torch.stack([x, 2 * x]) for x in leaves), GRAPHS), batch)


@pytest.mark.parametrize("name", ["additive", "cosine"])
def test_parameters_of_scores_go_with_their_heads(name):
    leaves = tensors()
    weight = torch.rand(HEADS, 3, dtype=torch.float64).add(0.5).requires_grad_()
    if name == "additive":
        score, by_hand = Additive(weight), lambda q, k, head: weight[head] @ (q + k).tanh()
    else:
        score = Cosine(weight[:, 0])

        def by_hand(q, k, head):
            return torch.nn.functional.cosine_similarity(q, k, 0) / weight[head, 0]

    wanted, _ = by_loops(*leaves, score=by_hand)
    assert_equal_with_gradients(attend(*leaves, GRAPHS, score=score), wanted, [*leaves, weight])


def test_sinks_and_biases_go_with_their_heads():
    leaves = tensors()
    sink = torch.randn(HEADS, dtype=torch.float64, requires_grad=True)
    given = [torch.randn(graph.num_edges, dtype=torch.float64) for graph in GRAPHS.graphs]
    wanted, _ = by_loops(*leaves, bias=lambda head, _, edge: given[head][edge], sink=sink)
    found = attend(*leaves, GRAPHS, bias=given, normalizer=Softmax(sink))
    assert_equal_with_gradients(found, wanted, [*leaves, sink])


def test_a_rule_is_asked_for_each_graph():
    leaves, rule = tensors(), ALiBi(HEADS).double()
    wanted, _ = by_loops(*leaves, bias=lambda head, edge, _: -abs(edge[0] - edge[1]) * rule.slopes[head])
    assert_equal_with_gradients(attend(*leaves, GRAPHS, bias=rule), wanted, leaves)


def test_edge_features_are_those_of_each_graph():
    query, key, value = tensors()
    features = {id(graph): torch.randn(graph.num_edges, 2).double() for graph in GRAPHS.graphs}
    features = [features[id(graph)] for graph in GRAPHS.graphs]
    edge_query = torch.randn(6, HEADS, 2).double()
    out, edge_out = attend(query, key, value, GRAPHS, edge_features=features, edge_query=edge_query)
    for head, graph in enumerate(GRAPHS.graphs):
        own = [x[:, [h]] for x, h in ((query, head), (key, head // 2), (value, head // 2), (edge_query, head))]
        wanted = attend(*own[:3], graph, edge_features=features[head], edge_query=own[3])
        torch.testing.assert_close((out[:, [head]], edge_out[:, [head]]), wanted)


def test_heads_with_one_graph_run_together():
    leaves, calls = tensors(), []

    def counted(query, key, value, graph, options):
        calls.append(query.size(1))
        return attend(query, key, value, graph)

    over_heads(counted, join_heads, leaves, GRAPHS, Options())
    assert calls == [2, 1, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"graph": PerHead([NEAR])}, "got 1 graphs and 4 heads"),
        ({"bias": torch.zeros(5)}, "'bias' beside a PerHead is a list"),
        ({"bias": [torch.zeros(5)]}, "one entry for each of 4 heads .got 1"),
    ],
)
def test_bad_input_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        attend(*tensors(), **({"graph": GRAPHS} | options))


def neighbouring_heads(query, key):
    """Each head has the next one's product on top, so that none can be computed alone."""
    product = (query * key).sum(-1)
    return product + 0.5 * product.roll(-1, -1)


def test_a_score_that_sees_all_heads_runs_over_each_graph():
    query, key, value = tensors()
    bias = [torch.randn(graph.num_edges).double() for graph in GRAPHS.graphs]
    sink = torch.randn(HEADS).double()
    options = {"score": neighbouring_heads, "normalizer": Softmax(sink)}
    found = attend(query, key, value, GRAPHS, bias=bias, **options)
    weights = attention_weights(query, key, GRAPHS, bias=bias, **options)
    scores = attention_scores(query, key, GRAPHS, bias=bias, score=neighbouring_heads)
    for head, graph in enumerate(GRAPHS.graphs):
        own = attend(query, key, value, graph, bias=bias[head], **options)
        torch.testing.assert_close(found[:, head], own[:, head])
        own = attention_weights(query, key, graph, bias=bias[head], **options)
        torch.testing.assert_close(weights[head], own[:, head])
        own = attention_scores(query, key, graph, bias=bias[head], score=neighbouring_heads)
        torch.testing.assert_close(scores[head], own[:, head])
    assert choose_kernel(GRAPHS, query, key, value, **options).kernel == "edges_torch"


def test_weights_of_chosen_edges():
    query, key, _ = tensors()
    places = torch.tensor([2, 0])
    everything = attention_weights(query, key, GRAPHS)
    for found, wanted in zip(attention_weights(query, key, GRAPHS, edges=places), everything, strict=True):
        torch.testing.assert_close(found, wanted[places])
    by_head = [places[:head] for head in range(HEADS)]
    for found, wanted, own in zip(
        attention_weights(query, key, GRAPHS, edges=by_head), everything, by_head, strict=True
    ):
        torch.testing.assert_close(found, wanted[own])
    is_chosen = torch.arange(NEAR.num_edges) % 2 == 0
    found = attention_weights(query[:, :1], key[:, :1], NEAR, edges=is_chosen)
    torch.testing.assert_close(found, attention_weights(query[:, :1], key[:, :1], NEAR)[is_chosen])


@pytest.mark.parametrize(
    "edges, words",
    [
        (torch.tensor([0, 99]), "places 0 ... 15 .got 99"),
        (torch.tensor([-17]), "got -17"),
        (torch.tensor([0.5]), "tensor of integers"),
        (torch.tensor([[0]]), r"tensor of integers .num_chosen.*got torch.int64 \[1, 1\]"),
        (torch.tensor([True]), r"as bools must be .num_edges. = .16."),
        ("all", "got str"),
    ],
)
def test_chosen_edges_are_checked(edges, words):
    query, key, _ = tensors()
    with pytest.raises(ValueError, match=words):
        attention_weights(query[:, :1], key[:, :1], NEAR, edges=edges)
    with pytest.raises(ValueError, match=words):
        attention_weights(query, key, PerHead([NEAR] * HEADS), edges=edges)


def test_scores_and_their_sums_by_heads():
    query, key, value = tensors()
    scores = attention_scores(query, key, GRAPHS, scale=0.5)
    weights = attention_weights(query, key, GRAPHS, scale=0.5)
    for head, graph in enumerate(GRAPHS.graphs):
        own = query[:, [head]], key[:, [head // 2]]
        torch.testing.assert_close(scores[head], attention_scores(*own, graph, scale=0.5)[:, 0])
    summed = weighted_sum(weights, value, GRAPHS)
    assert_equal_with_gradients(summed, attend(query, key, value, GRAPHS, scale=0.5), [query, key, value])


def test_the_chosen_kernels_are_those_that_run():
    query, key, value = tensors()
    choice = choose_kernel(GRAPHS, query, key, value)
    alone = [choose_kernel(g, query[:, :1], key[:, :1], value[:, :1]).kernel for g in GRAPHS.graphs]
    assert set(choice.kernel.split(" + ")) == {name for names in alone for name in names.split(" + ")}
    with pytest.raises(ValueError, match="'sdpa' runs complete and causal graphs"):
        choose_kernel(GRAPHS, query, key, value, kernel="sdpa")
    options = {"score": Additive(torch.randn(HEADS, 3).double()), "normalizer": Softmax(torch.randn(HEADS).double())}
    assert choose_kernel(GRAPHS, query, key, value, **options).kernel == "edges_cpu"


@pytest.mark.parametrize(
    "weights, words",
    [
        (torch.randn(5, 4), "list with one entry for each of 4 heads .got Tensor"),
        ([torch.randn(16)], "got 1 entries"),
        ([torch.randn(16, 1)] * 4, r"of head 0 must be a tensor .num_edges. .got \[16, 1\]"),
    ],
)
def test_weights_beside_heads_are_checked(weights, words):
    with pytest.raises(ValueError, match=words):
        weighted_sum(weights, tensors()[2].float(), GRAPHS)


def test_heads_that_share_one_graph_keep_their_key_heads():
    query, key, value = tensors()
    score = Gat(torch.randn(2, 3).double(), torch.randn(HEADS, 3).double())
    found = attend(query, key, value, PerHead([NEAR] * HEADS), score=score)
    torch.testing.assert_close(found, attend(query, key, value, NEAR, score=score))
