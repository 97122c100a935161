"""Compiled attention that compilers see through: scores and normalizers of the caller's own, and forces by torch.func."""

import pytest
import torch

from graphattn import BandedGraph, as_graph, attend, attention_scores, attention_weights, causal
from graphattn.compiling.unfused import repeats_of
from graphattn.formulas.normalizers import EdgeNormalizer, Relu, TopK
from graphattn.graphs import traced
from graphattn.kernels.plain.edges_torch import repeat_numbers
from graphattn.nn import (
    ALiBi,
    GATv2Conv,
    GPSConv,
    GraphAttention,
    GraphTransformer,
    HeteroGraphAttention,
    LinearAttention,
    TransformerConv,
)
from tests.compiled import check_compiled, edges, features


class Distance(torch.nn.Module):
    """-|w (query - key)| with learned w."""

    def __init__(self, heads, channels):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(heads, channels))

    def forward(self, query, key):
        return -(self.weight * (query - key)).abs().sum(-1)


class Hinge(EdgeNormalizer):
    name, merge = "hinge", "sum"

    def weights(self, scores, lse):
        return (scores + 1).relu()

    def grad_scores(self, weights, grad_weights, delta):
        return torch.where(weights > 0, grad_weights, 0.0)


def on_edges(n):
    return features(n), edges(n)


def with_features(n):
    return features(n), edges(n), features(3 * n, 3)


def on_band(n):
    return features(n), BandedGraph(n, 2, 1)


OWN = {
    "a function": ({"score": lambda query, key: (query - key).abs().sum(-1)}, on_edges),
    "a module": ({"score": Distance(2, 4), "edge_dim": 3, "kv_heads": 1, "dropout": 0.5}, with_features),
    "a normalizer": ({"normalizer": Hinge()}, on_band),
    "both": ({"score": Distance(2, 4), "normalizer": Hinge(), "concat": False}, on_edges),
    "entmax15": ({"score": Distance(2, 4), "normalizer": "entmax15"}, on_band),
    "top_k": ({"score": Distance(2, 4), "normalizer": TopK(2)}, on_band),
    "by degree": ({"score": Distance(2, 4), "normalizer": Relu(scale_by_degree=True)}, on_edges),
    "talking heads": ({"talking_heads": True, "normalizer": "sparsemax"}, on_band),
}


@pytest.mark.parametrize("name", OWN)
def test_scores_and_normalizers_of_ones_own(name):
    options, arguments_of = OWN[name]
    torch.manual_seed(0)
    check_compiled(GraphAttention(8, 4, 2, **options).double(), arguments_of, backend="aot_eager")


def test_their_scores_and_weights_are_those_without_a_compiler():
    distance = Distance(2, 4).double()

    def function(query, key, bias, graph):
        query, key = (x.unflatten(-1, (2, 4)) for x in (query, key))
        scores = attention_scores(query, key, graph, bias=bias, score=distance)
        return scores, attention_weights(query, key, graph, bias=bias, score=distance)

    check_compiled(function, lambda n: (features(n), features(n), features(3 * n, 2), edges(n)))


def test_a_kernel_asked_for_is_refused_by_name():
    def function(x, graph):
        return attend(x, x, x, graph, score=lambda query, key: (query - key).sum(-1), kernel="edges_cpu")

    with pytest.raises(torch._dynamo.exc.Unsupported, match="no kernel for .*got kernel='edges_cpu'"):
        torch.compile(function, fullgraph=True, backend="eager")(torch.rand(4, 2, 4), causal(4))


def test_repeats_are_counted_in_any_order_of_the_edges():
    edge_index = torch.tensor([[1, 0, 1, 1, 0, 1], [2, 2, 2, 0, 2, 2]])
    assert repeats_of(edge_index).tolist() == [0, 0, 1, 0, 1, 2]
    csr = as_graph(edges(6), 6).csr()
    row, col = torch.arange(6).repeat_interleave(csr.rowptr.diff()), csr.col.long()
    assert torch.equal(repeats_of(torch.stack([col, row])), repeat_numbers(row, col))
    torch.library.opcheck(repeats_of, (edge_index,), test_utils=("test_schema", "test_faketensor"))


class Forces(torch.nn.Module):
    """The gradient of an energy by the features, which has gradients of its own by features and parameters."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def energy(self, x, *arguments):
        return self.layer(x, *arguments).tanh().sum()

    def forward(self, x, *arguments):
        return torch.func.grad(self.energy)(x, *arguments)


class OneType(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.edges = ("atom", "bond", "atom")
        self.layer = HeteroGraphAttention(8, 4, (["atom"], [self.edges]), heads=2)

    def forward(self, x, edge_index):
        return self.layer({"atom": x}, {self.edges: edge_index})["atom"]


FORCES = {
    "edge features": (lambda: GraphAttention(8, 4, 2, edge_dim=3, sink=True), with_features),
    "gatv2": (lambda: GraphAttention(8, 4, 2, edge_dim=3, score="gatv2"), with_features),
    "sparsemax": (lambda: GraphAttention(8, 4, 2, normalizer="sparsemax"), on_edges),
    "talking heads": (lambda: GraphAttention(8, 4, 2, talking_heads=True), on_edges),
    "a band": (lambda: GraphAttention(8, 4, 2), on_band),
    "GATv2Conv": (lambda: GATv2Conv(8, 4, 2), on_edges),
    "GPSConv": (lambda: GPSConv(8, TransformerConv(8, 8), heads=2, norm="layer_norm"), on_edges),
    "GraphTransformer": (lambda: GraphTransformer(8, 2, 2, edge_bias=ALiBi(2)), on_edges),
    "HeteroGraphAttention": (OneType, on_edges),
    "LinearAttention": (lambda: LinearAttention(8, 4, 2, form="matrix"), on_edges),
}


def of_torch_2_13(name):
    reason = "before 2.13, torch has no sizes of the running code (of a formula's edges) inside torch.func transforms"
    return pytest.param(name, marks=pytest.mark.skipif(torch.__version__ < (2, 13), reason=reason))


@pytest.mark.parametrize(
    "name",
    [of_torch_2_13(name) if name in ("talking heads", "a band", "GATv2Conv", "GPSConv") else name for name in FORCES],
)
def test_forces_inside_compiled_code_can_be_trained(name):
    make, arguments_of = FORCES[name]
    torch.manual_seed(0)
    check_compiled(Forces(make()).double(), arguments_of, backend="aot_eager")


def test_forces_over_a_graph_are_refused_where_torch_has_no_such_sizes(monkeypatch):
    monkeypatch.setattr(traced, "GRAD_TAKES_UNKNOWN_SIZES", False)
    forces, x = Forces(GraphAttention(8, 4, 2)), torch.rand(4, 8)
    with pytest.raises(
        torch._dynamo.exc.Unsupported, match="cannot compile torch.func over a Graph.* give an edge_index"
    ):
        torch.compile(forces, fullgraph=True, backend="eager")(x, causal(4))


def test_forces_by_inductor():
    torch.manual_seed(0)
    make, arguments_of = FORCES["edge features"]
    check_compiled(Forces(make()).double(), arguments_of, backend="inductor", sizes=(5, 7))


def test_linear_attention_says_which_form_has_forces():
    forces = torch.compile(Forces(LinearAttention(8, 4, 2)), fullgraph=True, backend="eager")
    with pytest.raises(torch._dynamo.exc.Unsupported, match="has form='matrix'"):
        forces(torch.rand(4, 8), causal(4))


@pytest.mark.parametrize(
    ("backend", "words"),
    [("eager", "inside the compiled function, by torch.func.grad"), ("aot_eager", "create_graph|double backward")],
)
@pytest.mark.parametrize("options", [{}, {"talking_heads": True}])
def test_double_backward_through_compiled_code_is_refused(options, backend, words):
    """By torch itself with all backends that have a backward pass of their own, for layers of its own too."""
    x, edge_index = features(5).requires_grad_(), edges(5)
    layer = torch.compile(GraphAttention(8, 4, 2, **options).double(), fullgraph=True, backend=backend)
    with pytest.raises(RuntimeError, match=words):
        out = layer(x, edge_index).tanh()
        (force,) = torch.autograd.grad(out, x, torch.randn_like(out), create_graph=True)
        force.square().backward(torch.randn_like(force))
