import pytest
import torch

from graphattn import BandedGraph, EdgeListGraph, attend, attention_scores, causal, weighted_sum

GRAPH = EdgeListGraph(torch.tensor([[4, 0, 2, 2, 1], [1, 3, 1, 1, 0]]), 4, 5)


def tensors():
    torch.manual_seed(0)
    return [torch.randn(n, heads, 3, dtype=torch.float64) for n, heads in ((4, 4), (5, 2), (5, 2))]


def test_scores_edge_by_edge_in_the_order_of_the_edges():
    query, key, _ = tensors()
    bias, features = torch.randn(5, 4).double(), torch.randn(5, 2).double()
    edge_query = torch.randn(4, 4, 2).double()
    options = {"bias": bias, "edge_features": features, "edge_query": edge_query, "scale": 0.3}
    scores = attention_scores(query, key, GRAPH, **options)
    for edge, (j, i) in enumerate(GRAPH.edge_index().t().tolist()):
        for head in range(4):
            wanted = query[i, head] @ key[j, head // 2] + edge_query[i, head] @ features[edge]
            torch.testing.assert_close(scores[edge, head], 0.3 * wanted + bias[edge, head])


@pytest.mark.parametrize("graph", [GRAPH, BandedGraph(4, 1, 2, num_keys=5)])
def test_scores_normalized_and_summed_by_hand_are_attention(graph):
    query, key, value = tensors()
    scores = attention_scores(query, key, graph)
    weights = torch.zeros_like(scores)
    rows = graph.edge_index()[1]
    for i in range(4):
        weights[rows == i] = scores[rows == i].softmax(0)
    torch.testing.assert_close(weighted_sum(weights, value, graph), attend(query, key, value, graph))


def test_half_precision_adds_up_in_float32():
    graph = EdgeListGraph(torch.zeros(2, 4096, dtype=torch.long), 1)
    out = weighted_sum(torch.full((4096, 1), 2**-12).bfloat16(), torch.ones(1, 1, 1).bfloat16(), graph)
    assert out.dtype == torch.bfloat16 and out.item() == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: attention_scores(*[torch.zeros(1, 2, 1, 3)] * 2, causal(2)), r"got \[1, 2, 1, 3\]"),
        (lambda: weighted_sum(torch.zeros(3, 1), torch.zeros(2, 1), causal(2)), r"'value' must be .*got \[2, 1\]"),
        (lambda: weighted_sum(torch.zeros(3, 3), torch.zeros(2, 2, 1), causal(2)), r"kv_heads = 2 .got \[3, 3\]"),
        (lambda: weighted_sum(torch.zeros(2, 2), torch.zeros(2, 2, 1), causal(2)), r"3 edges .got \[2, 2\]"),
        (lambda: weighted_sum(torch.zeros(3, 2), torch.zeros(4, 2, 1), causal(2)), "'graph' joins"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
