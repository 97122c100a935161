import pytest
import torch

from graphattn import EdgeListGraph
from graphattn.nn import GraphAttention

SETTINGS = {
    "dot": {"edge_dim": 2},
    "gatv2": {"score": "gatv2", "edge_dim": 2, "sink": True},
    "gaussian": {"score": "gaussian", "kv_heads": 2},
    "top k": {"normalizer": "sparsemax"},
    "talking": {"talking_heads": True, "edge_dim": 2},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_weights_and_result_follow_from_the_scores(setting):
    torch.manual_seed(0)
    layer = GraphAttention(5, 3, heads=4, **SETTINGS[setting]).double()
    graph = EdgeListGraph(torch.randint(7, (2, 30)), 7)
    x, bias = torch.randn(7, 5, dtype=torch.float64), torch.randn(30, 4, dtype=torch.float64)
    edge_attr = torch.randn(30, 2, dtype=torch.float64) if layer.edge_dim else None
    query, key, value = layer.project(x, x)
    scored = layer.scored(query, key, graph, edge_attr, bias)
    weights = scored.weights()
    torch.testing.assert_close(scored.weights(scored.scores()), weights)
    source, target = graph.edge_index()
    messages = value.repeat_interleave(4 // layer.kv_heads, 1)[source]
    if edge_attr is not None:
        messages = messages + layer.edge_map()(edge_attr).view(30, 4, 3)
    wanted = torch.zeros(7, 4, 3, dtype=torch.float64).index_add(0, target, weights[..., None] * messages)
    torch.testing.assert_close(scored.result(value, 0.0, None), wanted)
    torch.testing.assert_close(scored.result(value, 0.0, None, weights), wanted)


@pytest.mark.parametrize("talking", [False, True])
def test_a_rule_is_asked_with_the_scores(talking):
    layer, graph = GraphAttention(5, 3, talking_heads=talking), EdgeListGraph(torch.tensor([[0, 1], [1, 1]]), 2)
    query, key, _ = layer.project(*torch.randn(2, 2, 5))
    by_rule = layer.scored(query, key, graph, None, lambda graph: torch.arange(2.0)[:, None])
    by_tensor = layer.scored(query, key, graph, None, torch.arange(2.0))
    torch.testing.assert_close(by_rule.scores(), by_tensor.scores())
    torch.testing.assert_close(by_rule.scores_with(None) + torch.arange(2.0)[:, None], by_tensor.scores())
