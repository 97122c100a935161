"""Whole layers, projections included, and the graphs for which others have a fused form.

    python -m benchmarks.layers

GraphAttention and PyG's TransformerConv on a tiny graph (34 nodes, as Zachary's karate club) and a medium one (2,708 nodes, as
Cora); complete graphs against nn.MultiheadAttention and scaled_dot_product_attention; sentences of 5 ... 512 words laid end to
end against padding to the longest. Training differentiates by the input and by all weights. Prints medians, ratios, memory.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import TransformerConv

from benchmarks import expected, peers
from benchmarks.edges import node_tensors, prepare
from benchmarks.graphs import random_graph
from benchmarks.measure import Case, Peer
from benchmarks.report import Report, parser
from graphattn import CompleteGraph, attend
from graphattn.graphs import Graph
from graphattn.nn import GraphAttention


def expected_layer(layer: GraphAttention, graph: Graph) -> Callable[..., Tensor]:
    """One row of a layer's output in float64."""
    weights = {name: weight.detach().double() for name, weight in layer.named_parameters()}
    one_row = expected.dot(graph)

    def project(name: str, x: Tensor) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def call(row, x):
        nodes = (project(name, x).unflatten(1, (layer.heads, -1)) for name in ("lin_query", "lin_key", "lin_value"))
        out = one_row(row, *nodes).flatten()
        return out if layer.lin_out is None else project("lin_out", out)

    return call


def conv_case(num_nodes: int, num_edges: int, channels: int, heads: int, dim: int) -> Case:
    """GraphAttention and TransformerConv with the same weights; the caller has an edge_index, made into a graph or not."""
    graph = random_graph(num_nodes, num_edges)
    edge_index = graph.edge_index().clone()
    layer = GraphAttention(channels, dim, heads=heads)
    conv = TransformerConv(channels, dim, heads=heads, root_weight=False)
    conv.load_state_dict(layer.state_dict(), strict=False)  # it keeps a root weight that it does not use
    used = tuple(weight for name, weight in conv.named_parameters() if name in layer.state_dict())
    found = {
        "GraphAttention(x, graph)": layer_peer(layer, graph),
        "GraphAttention(x, edge_index)": layer_peer(layer, edge_index),
        "PyG TransformerConv": Peer(lambda x: conv(x, edge_index), parameters=used),
    }
    return Case(node_tensors(1, num_nodes, channels), found, expected_layer(layer, graph), num_nodes, prepare(graph))


def layer_peer(layer: nn.Module, *arguments) -> Peer:
    return Peer(lambda x: layer(x, *arguments), parameters=tuple(layer.parameters()))


def complete_case(num_nodes: int, heads: int, dim: int) -> Case:
    """Attention alone on the complete graph."""
    graph = CompleteGraph(num_nodes)
    found = {"graphattn": Peer(lambda *tensors: attend(*tensors, graph)), "SDPA": Peer(peers.full_sdpa)}
    return Case(node_tensors(3, num_nodes, heads, dim), found, expected.dot(graph), num_nodes)


def complete_layer_case(num_nodes: int, heads: int, dim: int) -> Case:
    """A layer with output projection on the complete graph, beside nn.MultiheadAttention with the same weights."""
    graph = CompleteGraph(num_nodes)
    layer, multihead = twin_layers(heads, dim)
    found = {
        "GraphAttention": layer_peer(layer, graph),
        "nn.MultiheadAttention": Peer(
            lambda x: multihead_call(multihead, x[None])[0], parameters=(*multihead.parameters(),)
        ),
    }
    return Case(node_tensors(1, num_nodes, heads * dim), found, expected_layer(layer, graph), num_nodes)


def twin_layers(heads: int, dim: int) -> tuple[GraphAttention, nn.MultiheadAttention]:
    width = heads * dim
    layer = GraphAttention(width, dim, heads=heads, project_out=True)
    multihead = nn.MultiheadAttention(width, heads, batch_first=True)
    parts = layer.lin_query, layer.lin_key, layer.lin_value
    with torch.no_grad():
        multihead.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        multihead.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    multihead.out_proj.load_state_dict(layer.lin_out.state_dict())
    return layer, multihead


def multihead_call(multihead: nn.MultiheadAttention, x: Tensor, is_padding: Tensor | None = None) -> Tensor:
    return multihead(x, x, x, key_padding_mask=is_padding, need_weights=False)[0]


def spread(count: int, shortest: int, longest: int) -> list[int]:
    """`count` lengths from `shortest` to `longest`, evenly spread."""
    return torch.linspace(shortest, longest, count).round().long().tolist()


class Padding:
    """Sentences laid end to end [num_words, ...] <-> padded to the longest [num_sentences, longest, ...]."""

    def __init__(self, lengths: Sequence[int]):
        self.is_word = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

    def pad(self, x: Tensor) -> Tensor:
        padded = x.new_zeros(*self.is_word.shape, *x.shape[1:])
        padded[self.is_word] = x.detach()
        return padded

    def unpad(self, x: Tensor) -> Tensor:
        return x[self.is_word]


def sentence_case(count: int, longest: int, heads: int, dim: int) -> Case:
    """Attention alone, ragged against padded; the padded peer gets padded tensors, so padding itself costs it nothing."""
    lengths = spread(count, min(5, longest), longest)
    graph, padding = CompleteGraph(lengths), Padding(lengths)
    mask = padding.is_word[:, None, None]  # [num_sentences, 1, 1, longest]

    def padded(query, key, value):
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)

    found = {
        "graphattn, ragged": Peer(lambda *tensors: attend(*tensors, graph)),
        "SDPA, padded": Peer(padded, padding.pad, padding.unpad),
    }
    return Case(node_tensors(3, sum(lengths), heads, dim), found, expected.dot(graph), sum(lengths))


def sentence_layer_case(count: int, longest: int, heads: int, dim: int) -> Case:
    """A layer with output projection, ragged against padded."""
    lengths = spread(count, min(5, longest), longest)
    graph, padding = CompleteGraph(lengths), Padding(lengths)
    layer, multihead = twin_layers(heads, dim)

    def padded(x):
        return multihead_call(multihead, x, ~padding.is_word)

    found = {
        "GraphAttention, ragged": layer_peer(layer, graph),
        "nn.MultiheadAttention, padded": Peer(padded, padding.pad, padding.unpad, (*multihead.parameters(),)),
    }
    return Case(node_tensors(1, sum(lengths), heads * dim), found, expected_layer(layer, graph), sum(lengths))


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    sizes = {"medium": 2708, "complete": 2048, "sentences": 64, "longest": 512, "heads": 8, "dim": 64}
    for name, size in sizes.items():
        options.add_argument(f"--{name}", type=int, default=size, help=f"default {size}")
    options = options.parse_args(arguments)
    report = Report("layers", options)
    report.run("tiny graph, 34 nodes, 156 edges, 4 x 8", conv_case, 34, 156, 34, 4, 8)
    report.run(
        f"{options.medium} nodes, 4 edges each, 8 x 16", conv_case, options.medium, 4 * options.medium, 128, 8, 16
    )
    shape = options.heads, options.dim
    report.run(f"complete, {options.complete} nodes", complete_case, options.complete, *shape)
    report.run(f"complete, {options.complete} nodes, layer", complete_layer_case, options.complete, *shape)
    report.run(f"{options.sentences} sentences", sentence_case, options.sentences, options.longest, *shape)
    report.run(f"{options.sentences} sentences, layer", sentence_layer_case, options.sentences, options.longest, *shape)
    report.save()


if __name__ == "__main__":
    main()
