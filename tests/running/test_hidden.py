"""A node that a query does not see, or that a bias of -inf hides from it, may hold anything: NaN and infinity too."""

import math
from functools import partial
from itertools import product

import pytest
import torch

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    GridGraph,
    attend,
    attention_scores,
    attention_weights,
    causal,
)
from graphattn.formulas.normalizers import NORMALIZERS
from graphattn.nn import Additive, Bilinear, Cosine, Gat, Gaussian, RelativeBias, Relu, Softmax, TopK
from graphattn.running import execution

NODES, HEADS, DIM, BROKEN = 9, 4, 5, 4
SOME = torch.tensor([(a, b) for a in range(NODES) for b in range(NODES) if (7 * a + 3 * b) % 4 < 2]).t()
GRAPHS = {
    "edges": EdgeListGraph(SOME, NODES),
    "band": BandedGraph(NODES, 2, 1),
    "complete": CompleteGraph(NODES),
    "causal": causal(NODES),
    "grid": GridGraph((3, 3), 1),
    "union": BandedGraph(NODES, 1, 1) | GlobalGraph(NODES, [3]),
}
SCORES = {
    "dot": lambda: "dot",
    "cosine": lambda: Cosine(torch.rand(HEADS) + 0.5),
    "gaussian": lambda: Gaussian(torch.rand(HEADS) + 0.5),
    "bilinear": lambda: Bilinear(torch.randn(HEADS, DIM, DIM)),
    "gat": lambda: Gat(torch.randn(HEADS, DIM), torch.randn(HEADS, DIM)),
    "additive": lambda: Additive(torch.randn(HEADS, DIM)),
    "leaky": lambda: Additive(torch.randn(HEADS, DIM), activation="leaky_relu", negative_slope=0.3),
    "function": lambda: lambda query, key: -(query - key).abs().sum(-1),
}
NORMALIZERS_OF_ALL_KINDS = [*NORMALIZERS, TopK(2), Softmax(sink=0.5), Relu(scale_by_degree=True)]


def hidden_by_bias(graph, by_head, share=0.6):
    """A bias that takes edges of the broken node away, and who still sees it: [num_queries, heads]."""
    key, query = graph.edge_index()
    heads = HEADS if by_head else 1
    hidden = (key == BROKEN)[:, None] & (torch.rand(len(key), heads) < share)
    sees = torch.zeros(NODES, heads, dtype=torch.bool)
    for edge in ((key == BROKEN)[:, None] & ~hidden).nonzero():
        sees[query[edge[0]], edge[1]] = True
    return torch.randn(len(key), heads).masked_fill(hidden, -math.inf), sees.expand(-1, HEADS)


# every score with every normalizer, and every graph with every kernel
CASES = [*product(["edges"], SCORES, NORMALIZERS_OF_ALL_KINDS, [None])]
CASES += product(GRAPHS, ["dot"], ["softmax", "sigmoid", "sparsemax"], [None, "edges", "edges_torch", "reference"])


@pytest.mark.parametrize("share", [0.6, 1.0], ids=["from_some", "from_all"])
@pytest.mark.parametrize("name, score, normalizer, kernel", CASES, ids=str)
def test_what_a_bias_hides_does_not_show(name, score, normalizer, kernel, share):
    torch.manual_seed(0)
    graph, options = GRAPHS[name], {"score": SCORES[score](), "normalizer": normalizer}
    bias, sees = hidden_by_bias(graph, score != "function", share)
    query, key, value = (torch.randn(NODES, HEADS, DIM) for _ in range(3))
    others, found = torch.arange(NODES) != BROKEN, []
    for broken in (0.0, math.nan, math.inf):
        key[BROKEN], value[BROKEN] = broken, broken
        leaves = [x.clone().requires_grad_() for x in (query, key, value, bias)]
        out = attend(*leaves[:3], graph, bias=leaves[3], kernel=kernel, **options)
        seen = out[~sees]
        by_query, by_key, by_value, by_bias = torch.autograd.grad(seen.square().sum(), leaves)
        weights = attention_weights(*leaves[:2], graph, bias=leaves[3], **options)
        is_hidden = bias == -math.inf
        assert (weights[is_hidden.expand_as(weights)] == 0).all() and (by_bias[is_hidden] == 0).all()
        found.append([seen, by_query[~sees]])
        if share == 1:
            assert (by_value[BROKEN] == 0).all()
            if score not in ("gaussian", "cosine"):  # lengths of vectors are torch's to differentiate: 0 times NaN
                assert (by_key[BROKEN] == 0).all()
            found[-1] += [weights, by_key[others], by_value[others], by_bias]
    for other in found[1:]:
        for actual, wanted in zip(other, found[0], strict=True):
            torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("score", SCORES)
def test_scores_of_hidden_edges(score):
    torch.manual_seed(0)
    graph = GRAPHS["edges"]
    bias, _ = hidden_by_bias(graph, by_head=score != "function")
    query, key = (torch.randn(NODES, HEADS, DIM) for _ in range(2))
    key[BROKEN] = math.nan
    scores = attention_scores(query, key, graph, bias=bias, score=SCORES[score]())
    hidden = (bias == -math.inf).expand_as(scores)
    assert (scores[hidden] == -math.inf).all()
    assert scores[(graph.edge_index()[0] == BROKEN)[:, None] & ~hidden].isnan().all()


@pytest.mark.parametrize("by_head", [False, True])
def test_features_of_hidden_edges(by_head):
    torch.manual_seed(0)
    graph = GRAPHS["edges"]
    bias, _ = hidden_by_bias(graph, by_head)
    x, features = torch.randn(NODES, HEADS, DIM), torch.randn(graph.num_edges, 2)
    wanted = attend(x, x, x, graph, bias=bias, edge_features=features)
    features[(bias == -math.inf).all(1)] = math.nan
    torch.testing.assert_close(attend(x, x, x, graph, bias=bias, edge_features=features), wanted)


@pytest.mark.parametrize("with_features", [False, True])
def test_compiled_code_hides_it_too(with_features):
    torch.manual_seed(0)
    graph, sink = GRAPHS["edges"], torch.randn(HEADS, requires_grad=True)
    bias, _ = hidden_by_bias(graph, by_head=True, share=1.0)
    leaves = [torch.randn(NODES, HEADS, DIM) for _ in range(3)] + [bias]
    for x in leaves[1:3]:
        x[BROKEN] = math.nan
    leaves = [x.requires_grad_() for x in leaves]
    features = {"edge_features": torch.randn(graph.num_edges, 2)} if with_features else {}

    def run(query, key, value, bias):
        out = attend(query, key, value, graph, bias=bias, normalizer=Softmax(sink), **features)
        out = torch.cat([*out], -1) if with_features else out
        return out, attention_weights(query, key, graph, bias=bias), attention_scores(query, key, graph, bias=bias)

    found = []
    for function in (run, torch.compile(run, backend="aot_eager", fullgraph=True)):
        out, weights, scores = function(*leaves)
        loss = out.square().sum() + weights.square().sum() + scores.exp().sum()
        found.append([out, weights, scores, *torch.autograd.grad(loss, [*leaves, sink])])
    assert all(x.isfinite().all() for x in found[0][:2]) and found[0][3].isfinite().all()
    for actual, wanted in zip(*found, strict=True):
        torch.testing.assert_close(actual, wanted)


def test_a_rule_hides_as_its_numbers_do():
    torch.manual_seed(0)
    graph, rule = BandedGraph(8, 3, 3), RelativeBias(2, 3)
    with torch.no_grad():
        rule(graph)
        for table in rule.parameters():
            table[4:] = -math.inf  # later keys are closed
    query, key = torch.randn(8, 2, 4), torch.randn(8, 2, 4)
    key[7] = math.nan
    found = attend(query, key, key, graph, bias=rule)
    assert not found[:7].isnan().any()
    torch.testing.assert_close(found, attend(query, key, key, graph, bias=rule(graph)), equal_nan=True)


def test_a_query_that_sees_nothing_shows_nothing():
    edges, bias = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), torch.tensor([0.0, 0.0, 0.0, -math.inf])
    query, key = torch.randn(6, 1, 4), torch.randn(6, 1, 4, requires_grad=True)
    query[4] = math.nan
    out = attend(query, key, key, edges, bias=bias)
    (gradient,) = torch.autograd.grad(out.sum(), key)
    assert (out[4] == 0).all() and gradient.isfinite().all()


# torch.func, functions as score and layers that look at messages --------------------------------------------------------

REST = torch.arange(NODES) != BROKEN
LOSING = 2  # heads that do not see node BROKEN, the first ones; the others do
WAYS = ["autograd", "grad", "jvp", "vmap", "vmap of grad", "hessian"]
OF_EDGES = {"edge_weight": lambda: Additive(torch.randn(HEADS, DIM), torch.randn(HEADS, DIM, 2))}


def hidden_case(score, with_features):
    """(run, tensors): `attend` of query, key, value, bias and perhaps features, which hold nothing broken yet."""
    torch.manual_seed(0)
    graph, score = GRAPHS["edges"], (SCORES | OF_EDGES)[score]()
    lost = (graph.edge_index()[0] == BROKEN)[:, None] & (torch.arange(HEADS) < LOSING)
    tensors = [torch.randn(NODES, HEADS, DIM) for _ in range(3)]
    tensors += [torch.randn(graph.num_edges, HEADS).masked_fill(lost, -math.inf)]
    tensors += [torch.randn(graph.num_edges, 2)] if with_features else []

    def run(query, key, value, bias, features=None):
        edge_query = None if features is None else query[..., :2]
        options = {"bias": bias, "edge_features": features, "edge_query": edge_query, "score": score}
        out = attend(query, key, value, SOME, **options)
        return torch.cat(out, -1) if features is not None else out

    return run, tensors


def with_broken(tensors, number):
    """The same, with `number` in the key and value of node BROKEN and in the features of its edges."""
    query, key, value, bias, *features = (x.clone() for x in tensors)
    key[BROKEN], value[BROKEN] = number, number
    for x in features:
        x[GRAPHS["edges"].edge_index()[0] == BROKEN] = number
    return [query, key, value, bias, *features]


def results_of(way, run, tensors):
    """What `run` and its derivatives give for heads that do not see node BROKEN, by one way of differentiating."""

    def loss(*tensors):
        return run(*tensors)[:, :LOSING].square().sum()

    if way in ("autograd", "grad", "vmap of grad"):
        stacked = [torch.stack([x, x]) for x in tensors]
        if way == "autograd":
            leaves = [x.clone().requires_grad_() for x in tensors]
            out, gradients = run(*leaves), torch.autograd.grad(loss(*leaves), leaves[:4])
        elif way == "grad":
            out, gradients = run(*tensors), torch.func.grad(loss, (0, 1, 2, 3))(*tensors)
        else:
            gradients = [x[0] for x in torch.func.vmap(torch.func.grad(loss, (0, 1, 2, 3)))(*stacked)]
            out = torch.func.vmap(run)(*stacked)[0]
        assert all((x[BROKEN, :LOSING] == 0).all() for x in gradients[1:3])
        assert (gradients[3][tensors[3] == -math.inf] == 0).all()
        return [x[:, :LOSING] for x in (out, *gradients)]
    if way == "jvp":
        found = torch.func.jvp(run, tuple(tensors), tuple(torch.ones_like(x) for x in tensors))
        return [x[:, :LOSING] for x in found]
    if way == "vmap":
        stacked, rest = [torch.stack([x, x / 2]) for x in tensors[:3]], tensors[3:]
        some = torch.func.vmap(run, (0, 0, 0, *[None] * len(rest)))(*stacked, *rest)
        every = torch.func.vmap(run)(*stacked, *(torch.stack([x, x]) for x in rest))
        return [some[:, :, :LOSING], every[:, :, :LOSING]]
    by_query = torch.func.hessian(lambda query: loss(query, *tensors[1:]))(tensors[0])
    return [by_query[:, :LOSING, :, :, :LOSING]]


CASES_OF_HEADS = [*product(["dot", "additive", "function"], [False]), *product(["dot", "edge_weight"], [True])]


@pytest.mark.parametrize("number", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("score, with_features", CASES_OF_HEADS, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_heads_that_lose_an_edge_do_not_show_it(way, score, with_features, number):
    run, tensors = hidden_case(score, with_features)
    wanted = results_of(way, run, with_broken(tensors, 0.0))
    found = results_of(way, run, with_broken(tensors, number))
    for actual, expected in zip(found, wanted, strict=True):
        assert expected.isfinite().all()
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("score, with_features", CASES_OF_HEADS, ids=str)
def test_heads_that_see_it_show_it(score, with_features):
    run, tensors = hidden_case(score, with_features)
    query, *rest = with_broken(tensors, math.nan)
    sees = torch.zeros(NODES, dtype=torch.bool)
    key, row = GRAPHS["edges"].edge_index()
    sees[row[key == BROKEN]] = True
    for out in (run(query, *rest), torch.func.vmap(run, (0, *[None] * len(rest)))(query[None], *rest)[0]):
        assert torch.equal(out.isnan().any(-1), sees[:, None] & (torch.arange(HEADS) >= LOSING))


@pytest.mark.parametrize("score", ["dot", "additive", "function"])
def test_weights_and_scores_in_torch_func(score):
    _, (query, _, _, bias) = hidden_case(score, with_features=False)
    key, graph = torch.randn(NODES, HEADS, DIM), GRAPHS["edges"]
    key[BROKEN], score = math.nan, SCORES[score]()
    for function, of_hidden in ((attention_weights, 0.0), (attention_scores, -math.inf)):
        run = partial(function, graph=graph, bias=bias, score=score)
        for found in (run(query, key), torch.func.vmap(run)(query[None], key[None])[0]):
            assert (found[bias == -math.inf] == of_hidden).all()


@pytest.mark.parametrize("score, with_features", CASES_OF_HEADS, ids=str)
def test_compiled_torch_func_hides_it_too(score, with_features):
    run, tensors = hidden_case(score, with_features)

    def results(*tensors):
        gradients = torch.func.grad(lambda *x: run(*x)[:, :LOSING].square().sum(), (0, 1, 2, 3))
        return run(*tensors), *gradients(*tensors)

    compiled = torch.compile(results, backend="aot_eager", fullgraph=True)
    pairs = zip(compiled(*with_broken(tensors, math.nan)), results(*with_broken(tensors, 0.0)), strict=True)
    for actual, wanted in pairs:
        torch.testing.assert_close(actual[:, :LOSING], wanted[:, :LOSING], rtol=1e-4, atol=1e-4)


def test_finite_numbers_take_the_usual_way(monkeypatch):
    run, tensors = hidden_case("dot", with_features=False)
    monkeypatch.setattr(execution, "run_what_is_left", None)  # not to be called
    assert run(*tensors).isfinite().all()
    assert torch.func.grad(lambda *x: run(*x).sum())(*tensors).isfinite().all()
