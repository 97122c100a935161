"""Attention rollout beside dense matrices multiplied by loops."""

import warnings

import numpy as np
import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, PerHead, causal
from graphattn.explain import LayerAttention, attention_of, attention_rollout
from graphattn.nn import GraphAttention, Seq2Seq
from tests.nn.peer import random_graph

NUM_NODES = 7


def layers():
    """Three layers over different edges; a repeated edge counts twice, the last node has none."""
    torch.manual_seed(0)
    pairs = []
    for num_edges in (9, 12, 6):
        edge_index = random_graph(NUM_NODES, NUM_NODES, num_edges)
        layer = GraphAttention(4, 3, heads=2).double()
        graph = EdgeListGraph(edge_index, NUM_NODES)
        pairs.append(layer(torch.randn(NUM_NODES, 4).double(), graph, return_attention_weights=True)[1])
    return pairs


def by_loops(pairs, residual, reduce):
    result = torch.eye(NUM_NODES, dtype=torch.float64)
    for edge_index, weights in pairs:
        matrix = torch.zeros(NUM_NODES, NUM_NODES, dtype=torch.float64)
        for (source, target), by_head in zip(edge_index.t().tolist(), weights.tolist()):
            matrix[target, source] += {"mean": sum(by_head) / 2, "max": max(by_head), "min": min(by_head)}[reduce]
        for row in range(NUM_NODES):
            total = matrix[row].sum()
            matrix[row] = matrix[row] / total * (1 - residual) if total > 0 else matrix[row]
            matrix[row, row] += residual if total > 0 else 1
        result = matrix @ result
    return result


@pytest.mark.parametrize("reduce", ["mean", "max", "min"])
@pytest.mark.parametrize("residual", [0.5, 0.0, 0.2])
def test_equals_dense_matrices(residual, reduce):
    pairs = layers()
    rollout = attention_rollout(pairs, NUM_NODES, residual=residual, reduce=reduce)
    assert rollout.is_sparse and rollout.is_coalesced()
    torch.testing.assert_close(rollout.to_dense(), by_loops(pairs, residual, reduce))
    torch.testing.assert_close(rollout.to_dense().sum(1), torch.ones(NUM_NODES, dtype=torch.float64))


def test_chosen_nodes_are_rows_of_all():
    pairs, nodes = layers(), torch.tensor([5, 0, 5])
    everything = attention_rollout(pairs, NUM_NODES).to_dense()
    torch.testing.assert_close(attention_rollout(pairs, NUM_NODES, nodes=nodes).to_dense(), everything[nodes])


def test_a_row_holds_no_node_beyond_its_steps():
    """On a path of a million nodes: a dense matrix would have 10^12 numbers."""
    num_nodes = 10**6
    path = torch.stack([torch.arange(num_nodes - 1), torch.arange(1, num_nodes)])
    rollout = attention_rollout([(path, torch.ones(num_nodes - 1))] * 2, num_nodes)
    assert rollout._nnz() == 3 * num_nodes - 3  # itself, one and two steps back
    assert rollout._indices()[:, -3:].tolist() == [[num_nodes - 1] * 3, [num_nodes - 3, num_nodes - 2, num_nodes - 1]]
    torch.testing.assert_close(rollout._values()[-3:], torch.tensor([0.25, 0.5, 0.25]))


@pytest.mark.parametrize("integer", [int, np.int64, torch.tensor])
def test_graphs_arrays_and_what_attention_of_gives(integer):
    pairs = layers()
    wanted = attention_rollout(pairs, NUM_NODES).to_dense()
    graphs = [(EdgeListGraph(edges, NUM_NODES), weights) for edges, weights in pairs]
    arrays = [(edges.numpy()[:, ::-1], weights.detach().numpy()[::-1]) for edges, weights in pairs]
    named = {str(place): LayerAttention(*pair) for place, pair in enumerate(pairs)}
    for given in (graphs, arrays, named, named.values(), [list(pair) for pair in pairs]):
        torch.testing.assert_close(attention_rollout(given, integer(NUM_NODES)).to_dense(), wanted)


def test_heads_with_graphs_of_their_own():
    """The heads of a PerHead, laid end to end, are the matrices of its heads added up."""
    torch.manual_seed(0)
    graphs = PerHead([causal(5), BandedGraph(5, 1, 1)])
    layer = GraphAttention(4, 3, heads=2).double()
    edges, weights = layer(torch.randn(5, 4).double(), graphs, return_attention_weights=True)[1]
    matrix = torch.zeros(5, 5, dtype=torch.float64)
    for pairs, by_edge in zip(edges, weights):
        for (source, target), weight in zip(pairs.t().tolist(), by_edge.flatten().tolist()):
            matrix[target, source] += weight / 2
    wanted = 0.5 * torch.eye(5) + 0.5 * matrix
    for given in (edges, graphs):
        torch.testing.assert_close(attention_rollout([(given, weights)], 5).to_dense(), wanted)


def shares(normalizer="softmax", **options):
    torch.manual_seed(0)
    layer = GraphAttention(4, 3, heads=2, normalizer=normalizer, **options)
    return layer(torch.randn(6, 4), BandedGraph(6, 1, 1), return_attention_weights=True)[1]


@pytest.mark.parametrize("wrong", [shares("sigmoid"), (shares()[0], shares()[1][:, 0] / 2)], ids=["sigmoid", "halved"])
def test_weights_that_are_no_shares_are_warned_of(wrong):
    with pytest.warns(UserWarning, match="scales the weights of layer 2 to rows of sum 1: 6 of 6 rows"):
        attention_rollout([shares(), wrong], 6)


def test_shares_of_every_kind_are_not_warned_of():
    per_head = PerHead([causal(6), BandedGraph(6, 1, 1)])
    layer = GraphAttention(4, 3, heads=2)
    heads = layer(torch.randn(6, 4), per_head, return_attention_weights=True)[1]
    low = (shares()[0], shares()[1].bfloat16())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (
            shares(),
            shares("sparsemax"),
            heads,
            low,
            (torch.empty(2, 0, dtype=torch.long), torch.empty(0, 2)),
        ):
            attention_rollout([given], 6)


def test_cross_attention_has_no_rollout():
    model = Seq2Seq(9, 9, channels=8, num_layers=1, heads=2).eval()
    tokens = torch.randint(9, (5,))
    found = attention_of(model, tokens, tokens, CompleteGraph(5), causal(5))
    with pytest.raises(ValueError, match=r"one set of nodes .got 'decoder.layers.0.memory_attention'"):
        attention_rollout(found, 5)
    encoder = {name: layer for name, layer in found.items() if name.startswith("encoder.")}
    assert attention_rollout(encoder, 5).shape == (5, 5)


EDGES = torch.tensor([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: attention_rollout([], 3), "at least one layer"),
        (lambda: attention_rollout([(EDGES, torch.ones(2))], 3, residual=1.5), "'residual' must be .*got 1.5"),
        (lambda: attention_rollout([(EDGES, torch.ones(2))], 3, reduce="sum"), "'reduce' must be one of .*'sum'"),
        (lambda: attention_rollout([(EDGES, torch.ones(3))], 3), "got 2 edges and 3 weights"),
        (lambda: attention_rollout([(EDGES, torch.ones(2))], 2), "0 .. 1 .got 0 .. 2"),
        (lambda: attention_rollout([(EDGES, -torch.ones(2))], 3), "must not be negative .got -1"),
        (lambda: attention_rollout([(EDGES[0], torch.ones(2))], 3), r"got \[2\] and \[2\]"),
        (lambda: attention_rollout([(EDGES, torch.tensor([1.0, torch.nan]))], 3), "must be finite .got 1 of 2"),
        (lambda: attention_rollout([torch.ones(2)], 3), r"a layer is a pair .*got Tensor"),
        (
            lambda: attention_rollout([([EDGES], [torch.ones(2)])], 3, reduce="max"),
            "need reduce='mean' and weights for each",
        ),
        (lambda: attention_rollout([([EDGES], [])], 3), "1 graphs and 0 weights"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
