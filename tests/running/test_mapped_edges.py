"""Attention with mapped features of edges in keys and values, beside a key and a value for each edge in float64."""

import pytest
import torch
from torch.autograd.functional import jacobian

import graphattn
from graphattn import BandedGraph, EdgeListGraph, GridGraph, causal
from graphattn.kernels.native import rows
from graphattn.kernels.native.library import why_not_native
from graphattn.nn import GraphAttention, TransformerConv
from graphattn.running import mapped_edges
from graphattn.running.mapped_edges import attend_mapped_edges
from graphattn.testing.layouts import LAYOUTS

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

EDGES = torch.randint(12, (2, 40), generator=torch.Generator().manual_seed(0))
EDGES = EDGES[:, EDGES[1] != 3]  # a node that sees nothing
MANY = torch.stack([torch.randint(12, (300,), generator=torch.Generator().manual_seed(1)), torch.arange(300) % 3])
GRAPHS = {
    "few edges of a node": EdgeListGraph(EDGES, 12),
    "many": EdgeListGraph(MANY, 12),
    "each key once": EdgeListGraph(torch.stack([torch.randperm(12), torch.arange(12) % 5]), 12),
    "none": EdgeListGraph(EDGES[:, :0], 12),
    "bipartite": EdgeListGraph(torch.tensor([[7, 0, 2, 2], [0, 0, 1, 1]]), 12, 8),
    "band": BandedGraph(12, before=2, after=1),
    "causal": causal(12),
    "grid": GridGraph((3, 4), 3),
}
SIZES = [
    (1, 1, 1, 1),
    (2, 2, 5, 3),
    (4, 4, 16, 16),
    (4, 2, 8, 9),
    (3, 1, 32, 20),
    (2, 2, 7, 0),
]  # heads, kv_heads, dim, edge_dim


def problem(graph, heads=2, kv_heads=2, dim=5, edge_dim=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)

    def new(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    nodes = new(graph.num_queries, heads, dim), new(graph.num_keys, kv_heads, dim), new(graph.num_keys, kv_heads, dim)
    return [*nodes, new(graph.num_edges, edge_dim), new(heads, dim, edge_dim)]


def edge_by_edge(query, key, value, graph, features, weight):
    """A key and a value for each edge."""
    source, target = graph.edge_index()
    groups = query.size(1) // key.size(1)
    mapped = torch.einsum("ef,hdf->ehd", features, weight)
    keys, values = (x.repeat_interleave(groups, 1)[source] + mapped for x in (key, value))
    scores = (query[target] * keys).sum(-1) / max(query.size(2), 1) ** 0.5
    weights = torch.zeros_like(scores)
    for node in range(graph.num_queries):
        weights = torch.where((target == node)[:, None], _softmax(scores, target == node), weights)
    return query.new_zeros(query.shape).index_add(0, target, weights[..., None] * values)


def _softmax(scores, is_here):
    return scores.masked_fill(~is_here[:, None], -torch.inf).softmax(0) if bool(is_here.any()) else scores


def step(call, tensors, cotangent=None):
    out = call(*tensors)
    torch.manual_seed(3)
    cotangent = torch.randn_like(out, dtype=torch.float64).to(out.dtype) if cotangent is None else cotangent(out)
    return [
        out.detach(),
        *torch.autograd.grad(out, [x for x in tensors if x.requires_grad], cotangent, allow_unused=True),
    ]


def check(found, wanted, dtype=torch.float64):
    allowed = 1e-11 if dtype == torch.float64 else 2e-4
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own.double(), right.double(), rtol=allowed, atol=allowed)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", GRAPHS)
def test_as_a_key_and_a_value_for_each_edge(name, sizes, dtype):
    graph = GRAPHS[name]
    tensors = problem(graph, *sizes, dtype=dtype)
    found = step(lambda q, k, v, e, w: attend_mapped_edges(q, k, v, graph, e, w, 0.0), tensors)
    wide = [x.detach().double().requires_grad_() for x in tensors]
    check(found, step(lambda q, k, v, e, w: edge_by_edge(q, k, v, graph, e, w), wide), dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_and_cotangents_in_any_layout(layout):
    graph, lay = GRAPHS["few edges of a node"], LAYOUTS[layout]
    tensors = problem(graph)
    laid = [lay(x.detach()).detach().requires_grad_() for x in tensors]
    plain = [x.detach().clone().requires_grad_() for x in laid]

    def call(q, k, v, e, w):
        return attend_mapped_edges(q, k, v, graph, e, w, 0.0)

    check(step(call, laid), step(call, plain))
    wanted = step(call, tensors, lambda y: lay(torch.ones_like(y)).contiguous())
    check(step(call, tensors, lambda y: lay(torch.ones_like(y))), wanted)
    check(
        step(call, tensors, lambda y: torch.ones((), dtype=y.dtype).expand(y.shape)),
        step(call, tensors, torch.ones_like),
    )


def test_rows_that_are_cut(monkeypatch):
    monkeypatch.setattr(rows, "HEAVY", 16)
    graph = EdgeListGraph(MANY.clone(), 12)
    tensors = problem(graph, 4, 2, 8, 5)
    found = step(lambda q, k, v, e, w: attend_mapped_edges(q, k, v, graph, e, w, 0.0), tensors)
    check(found, step(lambda q, k, v, e, w: edge_by_edge(q, k, v, graph, e, w), tensors))


@pytest.mark.parametrize("name", ["few edges of a node", "many"])
def test_dropout_is_that_of_attend(name):
    graph = GRAPHS[name]
    tensors = problem(graph)

    def composed(q, k, v, e, w):
        torch.manual_seed(7)
        edge_query = torch.einsum("nhd,hdf->nhf", q, w)
        out, edge_out = graphattn.attend(q, k, v, graph, edge_features=e, edge_query=edge_query, dropout=0.4)
        return out + torch.einsum("nhf,hdf->nhd", edge_out, w)

    def mapped(q, k, v, e, w):
        torch.manual_seed(7)
        return attend_mapped_edges(q, k, v, graph, e, w, 0.4)

    check(step(mapped, tensors), step(composed, tensors))


@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (3,), (4,), (1, 4), (0, 3)])
def test_only_what_is_needed(needed):
    graph = GRAPHS["few edges of a node"]
    tensors = problem(graph)
    whole = step(lambda *t: attend_mapped_edges(*t[:3], graph, *t[3:], 0.0), tensors)
    for number, x in enumerate(tensors):
        x.requires_grad_(number in needed)
    found = step(lambda *t: attend_mapped_edges(*t[:3], graph, *t[3:], 0.0), tensors)
    check(found, [whole[0], *(whole[1 + number] for number in needed)])


def test_second_derivatives_and_many_cotangents():
    graph = GRAPHS["few edges of a node"]
    tensors = problem(graph, dim=2, edge_dim=2)

    def call(*given):
        return attend_mapped_edges(*given[:3], graph, *given[3:], 0.0)

    def by_edge(*given):
        return edge_by_edge(*given[:3], graph, *given[3:])

    def penalty(function):
        grads = torch.autograd.grad(function(*tensors).pow(3).sum(), tensors, create_graph=True)
        return torch.autograd.grad(sum(x.square().sum() for x in grads), tensors)

    for own, right in zip(penalty(call), penalty(by_edge), strict=True):
        torch.testing.assert_close(own, right, rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(call, tensors, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, tensors, fast_mode=True)
    for own, right in zip(
        jacobian(call, tuple(tensors), vectorize=True), jacobian(by_edge, tuple(tensors)), strict=True
    ):
        torch.testing.assert_close(own, right, rtol=1e-9, atol=1e-9)


def test_scores_too_large_for_their_log_sum_exp():
    graph = GRAPHS["few edges of a node"]
    tensors = [x.detach().float().requires_grad_() for x in problem(graph)]
    with torch.no_grad():
        tensors[0] *= 3e5
    found = step(lambda *t: attend_mapped_edges(*t[:3], graph, *t[3:], 0.0), tensors)
    wide = [x.detach().double().requires_grad_() for x in tensors]
    wanted = step(lambda *t: edge_by_edge(*t[:3], graph, *t[3:]), wide)
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own.double(), right, rtol=2e-2, atol=2e-2 * float(right.abs().max() + 1))


def test_what_no_loop_knows_is_left_to_others(monkeypatch):
    graph = GRAPHS["few edges of a node"]
    tensors = [x.detach() for x in problem(graph)]

    def call(*given):
        return attend_mapped_edges(*given[:3], graph, *given[3:], 0.0)

    assert call(*tensors) is not None
    assert call(*[x.bfloat16() for x in tensors]) is None
    assert call(*tensors[:3], tensors[3].float(), tensors[4]) is None
    with graphattn.memory_budget(10**6):
        assert call(*tensors) is None
    seen = []
    torch.func.grad(lambda query: (seen.append(call(query, *tensors[1:])), query.sum())[1])(tensors[0])
    assert seen == [None]
    monkeypatch.setattr(mapped_edges, "EdgesCpu", type(None))
    assert call(*tensors) is None


def test_errors_are_those_of_attend():
    graph = GRAPHS["few edges of a node"]
    query, key, value, features, weight = problem(graph)
    with pytest.raises(ValueError, match="'edge_features' must be"):
        attend_mapped_edges(query, key, value, graph, features[1:], weight, 0.0)
    with pytest.raises(ValueError, match="key"):
        attend_mapped_edges(query, key[:, :, 1:], value, graph, features, weight, 0.0)


LAYERS = {
    "TransformerConv": (TransformerConv, {"beta": True}),
    "GraphAttention": (GraphAttention, {"kv_heads": 2, "scale": 0.3, "gate": True}),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_layers_have_the_numbers_that_they_have_without(name, training, monkeypatch):
    torch.manual_seed(0)
    kind, options = LAYERS[name]
    layer = kind(6, 4, 4, edge_dim=5, dropout=0.3, **options).double().train(training)
    x, edge_attr = torch.randn(12, 6).double(), torch.randn(EDGES.size(1), 5).double().requires_grad_()
    where = "graphattn.nn." + ("transformer_conv" if kind is TransformerConv else "attention_messages")
    monkeypatch.setattr("graphattn.nn.transformer_conv.attend_projected", lambda *_: None)  # which comes first
    asked = []

    def watch(*given):
        asked.append(attend_mapped_edges(*given))
        return asked[-1]

    def run():
        torch.manual_seed(1)
        out = layer(x, EDGES, edge_attr)
        return [out.detach(), *torch.autograd.grad(out.square().sum(), [edge_attr, *layer.parameters()])]

    monkeypatch.setattr(f"{where}.attend_mapped_edges", watch)
    found = run()
    assert asked[0] is not None
    monkeypatch.setattr(f"{where}.attend_mapped_edges", lambda *_: None)
    check(found, run())


@pytest.mark.parametrize(
    "options",
    [
        {"score": "gatv2"},
        {"normalizer": "relu"},
        {"sink": True},
        {"kernel": "edges_torch"},
        {"talking_heads": "both"},
        {"edge_bias": "given"},
    ],
    ids=str,
)
def test_layers_that_score_otherwise_do_not_ask(options, monkeypatch):
    monkeypatch.setattr("graphattn.nn.attention_messages.attend_mapped_edges", None)  # not to be called
    options = dict(options)
    given = {"edge_bias": torch.zeros(EDGES.size(1), 4)} if options.pop("edge_bias", None) else {}
    layer = GraphAttention(6, 4, 4, edge_dim=5, **options)
    assert layer(torch.randn(12, 6), EDGES, torch.randn(EDGES.size(1), 5), **given).shape == (12, 16)
