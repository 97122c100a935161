import pytest
import torch

from graphattn import BandedGraph, EdgeListGraph, attend, attention_weights
from graphattn.nn import Additive, Softmax


def test_forces_of_an_energy_can_be_trained():
    """A loss on the gradient of attention, as in force matching: its gradient equals finite differences."""
    torch.manual_seed(0)
    graph = BandedGraph(5, 2, 1)
    weight = torch.randn(3, 4, dtype=torch.float64)

    def loss(x, weight):
        features = (x @ weight).unflatten(1, (2, 2))
        energy = attend(features, features, features, graph).square().sum()
        (force,) = torch.autograd.grad(energy, x, create_graph=True)
        return force.square().sum()

    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weight.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x, weight), weight)
    direction = torch.randn_like(weight)
    step = 1e-5
    difference = (loss(x, weight + step * direction) - loss(x, weight - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-6, atol=1e-6)


SIZE, HEADS, CHANNELS, EDGES = 50, 2, 16, 4000


def largest_saved(compute) -> int:
    """Elements of the largest tensor that autograd keeps."""
    sizes = [0]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        compute()
    return max(sizes)


@pytest.mark.parametrize("features", [False, True])
def test_second_derivatives_keep_no_channels_of_edges(features):
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.randint(SIZE, (2, EDGES)), SIZE)
    x = torch.randn(SIZE, HEADS, CHANNELS, requires_grad=True)
    options = {}
    if features:
        options = {"edge_features": torch.randn(EDGES, 4), "edge_query": torch.randn(SIZE, HEADS, 4)}

    def backward_of_a_force():
        out = attend(x, x, x, graph, **options)
        out = out if not features else out[0]
        (force,) = torch.autograd.grad(out, x, torch.randn_like(out), create_graph=True)
        force.backward(torch.randn_like(force))

    assert largest_saved(backward_of_a_force) <= max(EDGES * 4, SIZE * HEADS * CHANNELS)


@pytest.mark.parametrize("score", ["dot", "additive", "function"])
def test_weights_keep_no_channels_of_edges(score):
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.randint(SIZE, (2, EDGES)), SIZE)
    x = torch.randn(SIZE, HEADS, CHANNELS, requires_grad=True)
    scores = {
        "dot": "dot",
        "additive": Additive(torch.randn(HEADS, CHANNELS)),
        "function": lambda q, k: (q - k).sum(-1),
    }
    kept = largest_saved(lambda: attention_weights(x, x, graph, score=scores[score]))
    assert kept <= max(EDGES * HEADS, SIZE * HEADS * CHANNELS)


@pytest.mark.parametrize("score", ["dot", "additive", "function"])
def test_weights_have_derivatives_of_two_orders(score):
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.tensor([[0, 1, 3, 3, 2], [1, 0, 0, 0, 2]]), 4)
    query, key = (torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    vector = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)

    def weights(query, key, vector):
        scores = {"dot": "dot", "additive": Additive(vector), "function": lambda q, k: (q - k).sin().sum(-1)}
        return attention_weights(query, key, graph, score=scores[score], bias=vector.sum().expand(5))

    assert torch.autograd.gradcheck(weights, (query, key, vector), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(weights, (query, key, vector))


def of_one_tensor(x):
    return attend(x, x, x, BandedGraph(5, 2, 1))


def of_each_other(x):
    """Features and queries of edges, a bias, a sink and the vector of a score that all come from the queries."""
    graph = BandedGraph(5, 2, 1)
    key, query = graph.edge_index()
    features, bias = (x[key] - x[query]).flatten(1), (x[key] * x[query]).sum(-1)
    score, sink = Additive(x.mean(0)), Softmax(x.mean((0, 2)))
    edge_query = torch.cat([x, x.sin()], -1)
    given = {"edge_features": features, "edge_query": edge_query, "bias": bias, "score": score, "normalizer": sink}
    return sum(out.sum(-1) for out in attend(x, x.cos(), 2 * x, graph, **given))


@pytest.mark.parametrize("function", [of_one_tensor, of_each_other])
def test_inputs_made_of_each_other_count_once(function):
    """Gradients that can be differentiated again are those of the kernels, which finite differences confirm."""
    torch.manual_seed(0)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    out = function(x)
    cotangent = torch.randn_like(out)
    (wanted,) = torch.autograd.grad(out, x, cotangent, retain_graph=True)
    (found,) = torch.autograd.grad(out, x, cotangent, create_graph=True)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,))
