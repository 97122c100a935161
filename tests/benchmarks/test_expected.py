"""The float64 rows agree with attention written as loops over numbers."""

import math

import pytest
import torch

from benchmarks import expected
from graphattn.graphs import BandedGraph, EdgeListGraph
from graphattn.nn import RelativeBias

EDGES = [(0, 1), (2, 1), (3, 1), (2, 0), (1, 3), (1, 1)]  # (key, query)
GRAPH = EdgeListGraph(torch.tensor(EDGES).T, 4)


def weighted(scores, values):
    weights = [math.exp(score) for score in scores]
    return [sum(w * v[c] for w, v in zip(weights, values)) / sum(weights) for c in range(len(values[0]))]


def nodes(seed):
    return torch.randn(4, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("row", [0, 1, 3])
def test_dot(row):
    query, key, value = nodes(0), nodes(1), nodes(2)
    seen = [j for j, i in EDGES if i == row]
    scores = [float(query[row, 0] @ key[j, 0]) / math.sqrt(2) for j in seen]
    found = expected.dot(GRAPH)(row, query, key, value)
    assert found.flatten().tolist() == pytest.approx(weighted(scores, [value[j, 0].tolist() for j in seen]))


def test_dot_on_a_formula_is_dot_on_its_edges():
    band = BandedGraph(4, 1, 0)
    same = EdgeListGraph(band.edge_index(), 4)
    tensors = nodes(0), nodes(1), nodes(2)
    torch.testing.assert_close(expected.dot(band)(2, *tensors), expected.dot(same)(2, *tensors))


def test_a_bias_is_added_to_the_scores():
    query, key, value, table = *(nodes(seed) for seed in range(3)), torch.randn(3, 1, dtype=torch.float64)
    seen = [j for j, i in EDGES if i == 1]
    scores = [float(query[1, 0] @ key[j, 0]) / math.sqrt(2) + float(table[min(j, 2)]) for j in seen]
    found = expected.dot_with_bias(GRAPH, RelativeBias(1, 1))(1, query, key, value, table)
    assert found.flatten().tolist() == pytest.approx(weighted(scores, [value[j, 0].tolist() for j in seen]))


def test_edges_are_added_to_key_and_value():
    query, key, value = nodes(0), nodes(1), nodes(2)
    features, weight = (
        torch.arange(6.0, dtype=torch.float64)[:, None],
        torch.tensor([[0.3], [-0.2]], dtype=torch.float64),
    )
    scores, values = [], []
    for number, (j, i) in enumerate(EDGES):
        if i == 1:
            edge = number * weight[:, 0]
            scores.append(float(query[1, 0] @ (key[j, 0] + edge)) / math.sqrt(2))
            values.append((value[j, 0] + edge).tolist())
    found = expected.dot_with_edges(GRAPH)(1, query, key, value, features, weight)
    assert found.flatten().tolist() == pytest.approx(weighted(scores, values))


def test_gatv2():
    target, source, vector = nodes(0), nodes(1), nodes(2)[:1]
    scores, values = [], []
    for j, i in EDGES:
        if i == 1:
            hidden = [float(t + s) for t, s in zip(target[1, 0], source[j, 0])]
            scores.append(sum(float(a) * (h if h > 0 else 0.2 * h) for a, h in zip(vector[0, 0], hidden)))
            values.append(source[j, 0].tolist())
    found = expected.gatv2(GRAPH)(1, target, source, vector)
    assert found.flatten().tolist() == pytest.approx(weighted(scores, values))
