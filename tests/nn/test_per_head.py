"""GraphAttention over another graph for each head."""

import pytest
import torch

from graphattn import BandedGraph, EdgeListGraph, PerHead
from graphattn.nn import ALiBi, GraphAttention, RotaryPositions

NEAR, FAR = BandedGraph(7, 1, 1), BandedGraph(7, 1, 1, dilation=3)
GIVEN = EdgeListGraph(torch.tensor([[5, 0, 2, 2, 1], [1, 3, 1, 1, 0]]), 7)


def options_of(name):
    return {
        "plain": {},
        "gatv2": {"score": "gatv2", "edge_dim": 2},
        "edges": {"edge_dim": 2, "sink": True, "gate": True},
        "positions": {"positions": RotaryPositions(4), "edge_bias": ALiBi(3)},
    }[name]


@pytest.mark.parametrize("name", ["plain", "gatv2", "edges", "positions"])
def test_each_head_is_that_of_a_layer_over_its_graph(name):
    torch.manual_seed(0)
    options = options_of(name)
    layer = GraphAttention(5, 4, heads=3, **options).double()
    x = torch.randn(7, 5, dtype=torch.float64)
    graphs = [NEAR, GIVEN, FAR]
    has_edges = "edge_dim" in options
    edge_attr = [torch.randn(graph.num_edges, 2).double() for graph in graphs] if has_edges else None
    out, (edges, weights) = layer(x, PerHead(graphs), edge_attr, return_attention_weights=True)
    for head, graph in enumerate(graphs):
        features = None if edge_attr is None else edge_attr[head]
        wanted, (edge_index, wanted_weights) = layer(x, graph, features, return_attention_weights=True)
        torch.testing.assert_close(out.view(7, 3, 4)[:, head], wanted.view(7, 3, 4)[:, head])
        assert torch.equal(edges[head], edge_index)
        torch.testing.assert_close(weights[head], wanted_weights[:, head])


@pytest.mark.parametrize(
    ("options", "given", "words"),
    [
        ({"talking_heads": True}, {}, "'talking_heads' needs one graph for all heads"),
        ({"edge_dim": 2, "update_edges": True}, {"edge_attr": []}, "'update_edges' needs one graph for all heads"),
        ({"edge_dim": 2}, {}, "go together .got edge_attr None"),
        ({"edge_dim": 2}, {"edge_attr": torch.zeros(3, 2)}, "'edge_attr' beside a PerHead is a list"),
        ({"edge_dim": 2}, {"edge_attr": [torch.zeros(3, 2)] * 2}, r"\[19, 2\] .got \[3, 2\]"),
        ({}, {"edge_bias": torch.zeros(3)}, "'edge_bias' beside a PerHead is a rule or a list"),
        ({}, {"edge_bias": [torch.zeros(3)]}, "one entry for each of 2 heads .got 1"),
    ],
)
def test_bad_input_is_named(options, given, words):
    with pytest.raises(ValueError, match=words):
        GraphAttention(5, 4, heads=2, **options)(torch.zeros(7, 5), PerHead([NEAR, FAR]), **given)


def test_explainers_are_told():
    layer = GraphAttention(5, 4, heads=2)
    layer.register_message_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="explainers and hooks on messages"):
        layer(torch.zeros(7, 5), PerHead([NEAR, FAR]))
