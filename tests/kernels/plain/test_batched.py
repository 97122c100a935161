"""Many cotangents at once: torch.autograd.grad(is_grads_batched=True), on which vectorized Jacobians and Hessians stand."""

import pytest
import torch
from torch.autograd.functional import hessian, jacobian

import graphattn.nn
from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GridGraph, attend, causal
from graphattn.formulas.normalizers import Softmax
from graphattn.formulas.scores import Additive
from graphattn.kernels.plain.batched import each_of_batch, is_batched

EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 5, 0], [1, 0, 1, 2, 2, 3, 3, 5]])
GRAPHS = {
    "edges": EdgeListGraph(EDGES, 6),
    "band": BandedGraph(6, before=2, after=1),
    "causal": causal(6),
    "complete": CompleteGraph([2, 4]),
    "grid": GridGraph((2, 3), 3),
    "union": BandedGraph(6, before=1, after=0) | EdgeListGraph(torch.tensor([[5], [0]]), 6),
}


def inputs(dim=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 2, dim, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3)]


def one_by_one(results, wanted, batches):
    each = [
        torch.autograd.grad(results, wanted, list(cotangents), retain_graph=True, allow_unused=True)
        for cotangents in zip(*batches)
    ]
    return [None if of[0] is None else torch.stack(of) for of in zip(*each)]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(
    "options", [{}, {"return_lse": True}, {"bias": True}, {"score": "gatv2"}, {"sink": True}], ids=str
)
def test_as_one_after_the_other(name, options):
    graph, wanted, options = GRAPHS[name], inputs(), dict(options)
    torch.manual_seed(1)
    if "score" in options:
        vector = torch.randn(2, 3, dtype=torch.float64).requires_grad_()
        options["score"] = Additive(vector, None, "leaky_relu")
        wanted.append(vector)
    if "bias" in options:
        options["bias"] = torch.randn(graph.num_edges, 2, dtype=torch.float64).requires_grad_()
        wanted.append(options["bias"])
    if "sink" in options:
        sink = torch.randn(2, dtype=torch.float64).requires_grad_()
        options = {"normalizer": Softmax(sink)}
        wanted.append(sink)
    results = attend(*wanted[:3], graph, **options)
    results = results if isinstance(results, tuple) else (results,)
    batches = [torch.randn(4, *x.shape, dtype=torch.float64) for x in results]
    found = torch.autograd.grad(results, wanted, batches, is_grads_batched=True, retain_graph=True)
    for own, right in zip(found, one_by_one(results, wanted, batches), strict=True):
        torch.testing.assert_close(own, right, rtol=1e-12, atol=1e-12)
    assert not any(map(is_batched, found))


@pytest.mark.parametrize("kernel", ["edges_torch", "edges_cpu"])
def test_edge_features_and_kernels(kernel):
    wanted = inputs()
    features = torch.randn(8, 4, dtype=torch.float64).requires_grad_()
    edge_query = torch.randn(6, 2, 4, dtype=torch.float64).requires_grad_()
    results = attend(
        *wanted, GRAPHS["edges"], edge_features=features, edge_query=edge_query, dropout=0.5, kernel=kernel
    )
    wanted += [features, edge_query]
    batches = [torch.randn(3, *x.shape, dtype=torch.float64) for x in results]
    found = torch.autograd.grad(results, wanted, batches, is_grads_batched=True, retain_graph=True)
    for own, right in zip(found, one_by_one(results, wanted, batches), strict=True):
        torch.testing.assert_close(own, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["TransformerConv", "GATConv", "GATv2Conv", "GraphAttention"])
def test_vectorized_jacobians_and_hessians_of_layers(name):
    torch.manual_seed(0)
    layer, x = getattr(graphattn.nn, name)(4, 3, 2).double(), torch.randn(6, 4, dtype=torch.float64)

    def call(x):
        return layer(x, EDGES)

    torch.testing.assert_close(jacobian(call, x, vectorize=True), jacobian(call, x))

    def energy(x):
        return call(x).pow(2).sum()

    torch.testing.assert_close(hessian(energy, x, vectorize=True), hessian(energy, x))


def test_what_is_not_batched_is_given_to_each():
    seen = []

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x, 3 * x

        @staticmethod
        @each_of_batch
        def backward(ctx, first, second):
            seen.append((first.shape, second.shape))
            return (2 * first + 3 * second,)

    x = torch.ones(3, requires_grad=True)
    first, second = Twice.apply(x)
    cotangents = torch.eye(3)
    (found,) = torch.autograd.grad(first + 0 * second.detach(), x, cotangents, is_grads_batched=True)
    assert torch.equal(found, 2 * cotangents)
    assert seen == [((3,), (3,))] * 3


def test_saved_tensors_are_read_once_for_all_cotangents():
    reads = []
    x = torch.randn(6, 4)
    layer = graphattn.nn.TransformerConv(4, 3, 2)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: (reads.append(1), t)[1]):
        jacobian(lambda x: layer(x, EDGES), x)
        one_by_one_reads = len(reads) / 36
        reads.clear()
        jacobian(lambda x: layer(x, EDGES), x, vectorize=True)
    assert len(reads) <= one_by_one_reads

    def again(x):
        return torch.utils.checkpoint.checkpoint(layer, x, EDGES, use_reentrant=False)

    torch.testing.assert_close(jacobian(again, x, vectorize=True), jacobian(again, x))
