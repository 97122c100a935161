"""Talking heads and new edge features beside plain loops."""

import math

import pytest
import torch

from graphattn import BandedGraph, EdgeListGraph
from graphattn.nn import GraphAttention, TalkingHeads, scored
from tests.nn.peer import random_graph

HEADS, SIZE, EDGE_DIM = 4, 3, 2


def layer_and_inputs(**options):
    torch.manual_seed(0)
    layer = GraphAttention(5, SIZE, heads=HEADS, **options).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    graph = EdgeListGraph(random_graph(6, 6, 12), 6)
    x = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    edge_attr = torch.randn(graph.num_edges, EDGE_DIM, dtype=torch.float64) if "edge_dim" in options else None
    bias = torch.randn(graph.num_edges, HEADS, dtype=torch.float64)
    return layer, x, graph, edge_attr, bias


def by_loops(layer, x, graph, edge_attr, bias):
    """(output, scores, weights) with scores mixed before the bias, weights after the softmax."""
    query, key, value = layer.project(x, x)
    edges = graph.edge_index().t().tolist()
    groups = HEADS // layer.kv_heads
    scores, values = torch.zeros(len(edges), HEADS).double(), torch.zeros(len(edges), HEADS, SIZE).double()
    for e, (j, i) in enumerate(edges):
        added = torch.zeros(HEADS, SIZE).double()
        if edge_attr is not None:
            added = (layer.lin_edge.weight @ edge_attr[e]).view(HEADS, SIZE)
        for h in range(HEADS):
            scores[e, h] = query[i, h] @ (key[j, h // groups] + added[h]) / math.sqrt(SIZE)
            values[e, h] = value[j, h // groups] + added[h]
    talking = layer.talking_heads
    if talking is not None:
        scores = scores @ talking.to_scores
    scores = scores + bias
    weights = torch.zeros_like(scores)
    out = torch.zeros(len(x), HEADS, SIZE).double()
    for i in range(len(x)):
        mine = [e for e, (_, target) in enumerate(edges) if target == i]
        if mine:
            weights[mine] = scores[mine].softmax(0).nan_to_num()  # a row of only -inf is empty
    weights = weights if talking is None else weights @ talking.to_weights
    for e, (_, i) in enumerate(edges):
        out[i] = out[i] + weights[e, :, None] * values[e]
    return out.flatten(1), scores, weights


@pytest.mark.parametrize("watched", [False, True], ids=["edges", "messages"])
@pytest.mark.parametrize("options", [{}, {"edge_dim": EDGE_DIM, "kv_heads": 2}], ids=["plain", "edges, groups"])
def test_talking_heads_equal_a_loop(options, watched):
    layer, x, graph, edge_attr, bias = layer_and_inputs(talking_heads=True, **options)
    wanted, _, weights = by_loops(layer, x, graph, edge_attr, bias)
    if watched:
        layer.register_message_forward_hook(lambda *_: None)
    out, (_, found) = layer(x, graph, edge_attr, return_attention_weights=True, edge_bias=bias)
    torch.testing.assert_close(out, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, weights, rtol=1e-12, atol=1e-12)
    parameters = [x, *(p for p in layer.parameters())]
    cotangent = torch.randn_like(out)
    for a, b in zip(*(torch.autograd.grad(y, parameters, cotangent, allow_unused=True) for y in (out, wanted))):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("talking", [False, True])
def test_new_edge_features_are_a_map_of_the_scores(talking):
    layer, x, graph, edge_attr, bias = layer_and_inputs(talking_heads=talking, edge_dim=EDGE_DIM, update_edges=True)
    bias = bias.clone()
    bias[3, 1] = -torch.inf  # no edge in one head
    wanted, scores, weights = by_loops(layer, x, graph, edge_attr, bias)
    out, edges, (_, found) = layer(x, graph, edge_attr, return_attention_weights=True, edge_bias=bias)
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(found, weights)
    scores = torch.where(scores == -torch.inf, 0.0, scores)
    wanted_edges = scores @ layer.lin_edge_out.weight.t() + layer.lin_edge_out.bias
    torch.testing.assert_close(edges, wanted_edges)
    cotangent = torch.randn_like(edges)
    (a,), (b,) = (torch.autograd.grad(y, x, cotangent) for y in (edges, wanted_edges))
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    pair = layer(x, graph, edge_attr, edge_bias=bias)
    assert len(pair) == 2 and torch.equal(pair[1], edges)


def test_heads_that_do_not_talk_yet_are_plain_attention():
    torch.manual_seed(0)
    layer, plain = GraphAttention(5, 3, heads=2, talking_heads=True), GraphAttention(5, 3, heads=2)
    plain.load_state_dict({name: x for name, x in layer.state_dict().items() if "talking" not in name})
    x, graph = torch.randn(7, 5), BandedGraph(7, 2, 1)
    torch.testing.assert_close(layer(x, graph), plain(x, graph))


@pytest.mark.parametrize("options", [{"talking_heads": True}, {"update_edges": True}, {}], ids=str)
def test_scores_are_computed_once(options, monkeypatch):
    layer, x, graph, edge_attr, bias = layer_and_inputs(edge_dim=EDGE_DIM, **options)
    calls = []
    for where, name in ((scored, "attention_scores"), (scored, "attention_weights"), (layer, "make_score")):
        function = getattr(where, name)
        monkeypatch.setattr(
            where,
            name,
            lambda *args, function=function, name=name, **rest: calls.append(name) or function(*args, **rest),
        )
    layer(x, graph, edge_attr, return_attention_weights=True, edge_bias=bias)
    assert len(calls) == 2 and calls[0] == "make_score"


@pytest.mark.parametrize("watched", [False, True], ids=["edges", "messages"])
def test_rows_of_4096_edges_sum_to_one_in_bfloat16(watched):
    layer = GraphAttention(4, 4, heads=2, talking_heads=True).bfloat16()
    if watched:
        layer.register_message_forward_hook(lambda *_: None)
    star = EdgeListGraph(torch.stack([torch.arange(4096), torch.zeros(4096, dtype=torch.long)]), 4096)
    torch.nn.init.zeros_(layer.lin_value.weight)
    torch.nn.init.ones_(layer.lin_value.bias)
    out = layer(torch.zeros(4096, 4, dtype=torch.bfloat16), star)
    torch.testing.assert_close(out[0].float(), torch.ones(8), rtol=0, atol=1e-2)


def test_no_channels_are_kept_for_edges():
    torch.manual_seed(0)
    layer = GraphAttention(8, 16, heads=2, talking_heads=True, edge_dim=2, update_edges=True)
    graph, sizes = EdgeListGraph(torch.randint(50, (2, 4000)), 50), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        layer(torch.randn(50, 8), graph, torch.randn(4000, 2))
    assert max(sizes) <= 4000 * 2


def test_second_derivatives():
    layer, x, graph, edge_attr, bias = layer_and_inputs(talking_heads=True, edge_dim=EDGE_DIM, update_edges=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x, graph, edge_attr, edge_bias=bias), (x,))


def test_dropout_acts_on_the_mixed_weights_in_training_only():
    layer, x, graph, *_ = layer_and_inputs(talking_heads=True, dropout=1.0)
    assert layer(x, graph).abs().max() == 0
    assert layer.eval()(x, graph).abs().max() > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GraphAttention(4, 4, update_edges=True), "'update_edges' needs 'edge_dim'"),
        (lambda: GraphAttention(4, 4, talking_heads=True, kernel="sdpa"), "on no kernel .got kernel='sdpa'"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_repr():
    assert str(TalkingHeads(3)) == "TalkingHeads(3)"
