"""What a user writes, for `mypy --strict`: the names that are used most, and what comes back from them."""

import torch
from torch import Tensor
from typing_extensions import assert_type

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    Graph,
    PerHead,
    accelerate,
    as_graph,
    attend,
    attention_weights,
    causal,
    choose_kernel,
    memory_budget,
    restore,
)
from graphattn.inputs import from_text
from graphattn.nn import ALiBi, EncoderLayer, GraphAttention, GraphTransformer


def graphs() -> list[Graph]:
    edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
    given = EdgeListGraph(edge_index, num_queries=3)
    found = as_graph(edge_index, 3)
    band = BandedGraph([5, 4], before=2, after=None, offset=1)
    assert_type(band.to("cpu"), BandedGraph)
    assert_type(given.coalesce().degrees(), Tensor)
    return [given, found, band, CompleteGraph(3, 5), CompleteGraph([3, 5]), causal(4) | band.T, as_graph([band, found])]


def functions(query: Tensor, key: Tensor, value: Tensor, graph: Graph, features: Tensor) -> Tensor:
    out = attend(query, key, value, graph, bias=ALiBi(4), normalizer="softmax")
    assert_type(out, Tensor)
    both = attend(query, key, value, graph, edge_features=features)
    assert_type(both, tuple[Tensor, Tensor])
    assert_type(attention_weights(query, key, graph), Tensor)
    assert_type(attention_weights(query, key, PerHead([graph, causal(4)])), list[Tensor])
    choice = choose_kernel(graph, query, key, value)
    print(choice.kernel, choice.refusals["sdpa"])
    with memory_budget(2**20):
        return out + attend(query, key, value, torch.tensor([[0, 1], [1, 0]]), dropout=0.1)


def layers(x: Tensor, graph: Graph) -> Tensor:
    layer = GraphAttention(16, 8, heads=2, score="gatv2", dropout=0.1)
    layer.reset_parameters()
    assert_type(layer(x, graph), Tensor)
    out, (edge_index, weights) = layer(x, graph, return_attention_weights=True)
    print(edge_index.shape, weights.shape)
    alike = layer(x, PerHead([graph, graph]), return_attention_weights=True)
    assert_type(alike, tuple[Tensor, tuple[list[Tensor], list[Tensor]]])
    block = EncoderLayer(16, heads=4, norm_first=True)
    assert_type(block(out, graph), Tensor)
    stack = GraphTransformer(16, num_layers=2, heads=4)
    print(accelerate(stack), restore(stack))
    return stack(block(out, graph), graph)


def sentences() -> None:
    data = from_text("the cat saw the dog", graph=causal)
    print(data.x, [sentence.graph for sentence in from_text(["a cat", "a dog"], tokenized=False)])
