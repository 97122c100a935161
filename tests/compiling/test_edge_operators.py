import pytest
import torch

from graphattn import as_graph, attention_scores, attention_weights, causal, weighted_sum
from graphattn.formulas.normalizers import Relu, TopK
from graphattn.formulas.scores import Additive
from graphattn.graphs.traced import ticket_of
from graphattn.nn import GATConv, GraphAttention, TransformerConv
from tests.compiled import check_compiled, edges, features


def node_tensors(num_nodes, heads=2, dim=4):
    return features(num_nodes * heads, dim).view(num_nodes, heads, dim)


class WithWeights(torch.nn.Module):
    """The output and the weights, without the edge_index."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, *arguments):
        out, (_, weights) = self.layer(*arguments, return_attention_weights=True)
        return out, weights


def on_edges(n):
    return features(n), edges(n)


def with_features(n):
    return features(n), edges(n), features(3 * n, 3)


LAYERS = {
    "weights": (lambda: WithWeights(GraphAttention(8, 4, 2, edge_dim=3)), with_features),
    "weights of a formula": (lambda: WithWeights(GraphAttention(8, 4, 2)), lambda n: (features(n), causal(n))),
    "TransformerConv": (lambda: WithWeights(TransformerConv(8, 4, 2)), on_edges),
    "GATConv": (lambda: WithWeights(GATConv(8, 4, 2, edge_dim=3)), with_features),
    "talking heads": (lambda: GraphAttention(8, 4, 2, talking_heads=True), on_edges),
    "talking heads, a formula": (
        lambda: GraphAttention(8, 4, 2, talking_heads=True),
        lambda n: (features(n), causal(n)),
    ),
    "new edge features": (lambda: GraphAttention(8, 4, 2, edge_dim=3, update_edges=True), with_features),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_need_every_edge(name):
    make, arguments_of = LAYERS[name]
    torch.manual_seed(0)
    check_compiled(make().double(), arguments_of)


@pytest.mark.parametrize("normalizer", ["softmax", "entmax15", TopK(2), Relu(scale_by_degree=True)])
def test_weights_in_every_option(normalizer):
    def function(query, key, bias, edge_features, vector, weight, graph):
        options = {"score": Additive(vector, weight), "normalizer": normalizer}
        return attention_weights(query, key, graph, bias=bias, edge_features=edge_features, **options)

    def arguments_of(n):
        nodes, score = (node_tensors(n), node_tensors(n)), (features(2, 4), node_tensors(2, 4, 3))
        return *nodes, features(3 * n, 2), features(3 * n, 3), *score, edges(n)

    check_compiled(function, arguments_of)


def test_the_two_halves():
    def function(query, key, value, graph):
        scores = attention_scores(query, key, graph)
        return weighted_sum(scores.tanh(), value, graph)

    check_compiled(function, lambda n: (node_tensors(n), node_tensors(n), node_tensors(n, heads=1), edges(n)))


def test_inductor():
    torch.manual_seed(0)
    make, arguments_of = LAYERS["talking heads, a formula"]
    check_compiled(make().double(), arguments_of, backend="inductor", sizes=(5, 7))


def test_operators_are_what_torch_expects():
    torch.manual_seed(0)
    query, key = (node_tensors(5).requires_grad_() for _ in range(2))
    graph = as_graph(edges(5), 5)
    options = ticket_of(graph), "dot", "softmax", 0.7, graph.edge_index()
    arguments = "weights", query, key, features(15, 2).requires_grad_(), None, None, [], features(2, 1)[:, 0], *options
    tests = "test_schema", "test_faketensor", "test_autograd_registration"
    torch.library.opcheck(torch.ops.graphattn.numbers_of_edges.default, arguments, test_utils=tests)
