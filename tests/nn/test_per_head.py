"""GraphAttention over another graph for each head."""

import pytest
import torch

from graphattn import BandedGraph, EdgeListGraph, PerHead, causal
from graphattn.nn import (
    ALiBi,
    DecoderLayer,
    EncoderLayer,
    GATConv,
    GraphAttention,
    GraphTransformer,
    GraphTransformerDecoder,
    LanguageModel,
    LinearAttention,
    PerLayer,
    RotaryPositions,
    TransformerConv,
)

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


def blocks():
    near, far = causal(7), BandedGraph(7, 2, 0)
    x, memory = torch.randn(7, 6), torch.randn(7, 6)
    return {
        "EncoderLayer": (lambda g: EncoderLayer(6, 3, edge_bias=ALiBi(3)), lambda layer, g: layer(x, g)),
        "GraphTransformer": (
            lambda g: GraphTransformer(6, 2, 3, positions=RotaryPositions()),
            lambda layer, g: layer(x, g),
        ),
        "PerLayer": (lambda g: GraphTransformer(6, 2, 3), lambda layer, g: layer(x, PerLayer([g, near]))),
        "DecoderLayer": (lambda g: DecoderLayer(6, 3, drop_path=0.5), lambda layer, g: layer(x, memory, g, g)),
        "GraphTransformerDecoder": (
            lambda g: GraphTransformerDecoder(6, 2, 3),
            lambda layer, g: layer(x, memory, g, far),
        ),
        "LanguageModel": (lambda g: LanguageModel(9, 6, 2, 3), lambda layer, g: layer(torch.arange(7), g)),
    }


@pytest.mark.parametrize("name", blocks())
def test_blocks_take_a_graph_for_each_head(name):
    """All heads over one graph are that graph, and another one in a head changes the result."""
    torch.manual_seed(0)
    near, far = causal(7), BandedGraph(7, 2, 0)
    make, run = blocks()[name]
    layer = make(near)
    results = []
    for graph in (near, PerHead([near] * 3), PerHead([near, far, near])):
        torch.manual_seed(1)
        results.append(run(layer, graph))
        results[-1].square().mean().backward()
    torch.testing.assert_close(results[0], results[1])
    assert not torch.allclose(results[0], results[2])
    with pytest.raises(ValueError, match="got 7 queries and 7 keys|every node a query"):
        run(layer, PerHead([causal(5)] * 3))


@pytest.mark.parametrize("layer", [TransformerConv(6, 2, 3), GATConv(6, 2, 3), LinearAttention(6, 2, 3)], ids=str)
def test_others_ask_for_one_graph(layer):
    with pytest.raises(TypeError, match="one graph for all heads is needed here .got PerHead"):
        layer(torch.randn(7, 6), PerHead([NEAR, FAR, NEAR]))
