"""What a graph remembers of the arguments of a call: never another answer, and no second look at what cannot change."""

import sys

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, attend, causal, choose_kernel, memory_budget
from graphattn.nn import Additive, ALiBi, Dot, Relu, Softmax, TopK
from graphattn.running.arguments import Options, prepare

EDGES = torch.tensor([[0, 1, 2, 2, 3, 0], [1, 2, 0, 1, 1, 3]])
KINDS = {
    "edges": lambda: EdgeListGraph(EDGES, 4),
    "band": lambda: BandedGraph(4, 1, 1),
    "wide band": lambda: BandedGraph(4, 9, 9),  # complete in normal form
    "causal": lambda: causal(4),
    "union": lambda: BandedGraph(4, 1, 0) | EdgeListGraph(EDGES, 4),
}


def calls(graph, dtype=torch.float64):
    """Calls of all kinds: (tensors, options)."""
    torch.manual_seed(0)
    num_edges = graph.num_edges

    def nodes(heads=2, dim=3):
        return torch.randn(4, heads, dim, dtype=dtype)

    features, bias = torch.randn(num_edges, 5, dtype=dtype), torch.randn(num_edges, 2, dtype=dtype)
    hidden = bias.clone()
    hidden[0] = -torch.inf
    additive = [Additive(torch.randn(2, 3, dtype=dtype), None, kind) for kind in ("leaky_relu", "leaky_relu", "tanh")]
    steep = Additive(torch.randn(2, 3, dtype=dtype), None, "leaky_relu", 0.5)
    options = [
        {}, {"scale": 0.5}, {"scale": 2.0}, {"scale": -1.0}, {"scale": 0}, {"bias": bias}, {"bias": hidden}, {"bias": bias[:, 0]},
        {"bias": bias[:, :1]}, {"bias": ALiBi(2)}, {"edge_features": features},
        {"edge_features": features, "edge_query": torch.randn(4, 2, 5, dtype=dtype)},
        {"score": "cosine"}, {"score": steep}, *({"score": score} for score in additive), {"normalizer": "relu"},
        {"normalizer": Softmax(0.5)}, {"normalizer": Softmax(torch.randn(2, dtype=dtype))}, {"kernel": "reference"},
        {"normalizer": "sparsemax"}, {"normalizer": Relu()}, {"normalizer": Relu(scale_by_degree=True)}, {"normalizer": Softmax()},
        {"normalizer": TopK(2)}, {"normalizer": TopK(1)}, {"score": Dot()}, {"scale": 3}, {"normalizer": Softmax(1.5)},
    ]  # fmt: skip
    for given in options:
        yield (nodes(), nodes(), nodes()), given
    yield (nodes(), nodes(1), nodes(1)), {}
    yield (nodes(), nodes(), nodes(dim=1)), {}
    yield tuple(torch.randn(2, 4, 2, 3, dtype=dtype) for _ in range(3)), {}


def result(tensors, graph, options):
    leaves = [x.clone().requires_grad_() for x in tensors]
    found = attend(*leaves, graph, **options)
    found = found if isinstance(found, tuple) else (found,)
    with torch.no_grad():
        again = attend(*tensors, graph, **options)
    again = again if isinstance(again, tuple) else (again,)
    return *found, *again, *torch.autograd.grad([x.sin().sum() for x in found], leaves)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_has_seen_other_calls_gives_what_a_new_one_gives(kind):
    seen = KINDS[kind]()
    for _ in range(2):
        for tensors, options in calls(seen):
            for wanted, found in zip(
                result(tensors, KINDS[kind](), options), result(tensors, seen, options), strict=True
            ):
                torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bias": torch.zeros(5, 2).double()}, "'bias' must be"),
        ({"bias": torch.zeros(6, 2, dtype=torch.long)}, "floating tensor"),
        ({"edge_query": torch.zeros(4, 2, 5).double()}, "needs 'edge_features'"),
        ({"scale": float("nan")}, "finite number"),
        ({"dropout": 1.5}, "probability"),
        ({"dropout": True}, "probability"),
        ({"score": "dots"}, "'score' must be"),
        ({"normalizer": "soft"}, "'normalizer' must be"),
        ({"kernel": "fast"}, "'kernel' must be"),
        ({"score": Additive(torch.zeros(3, 3))}, "must be"),
    ],
)
def test_mistakes_are_found_after_calls_that_were_right(wrong, words):
    graph, x = KINDS["edges"](), torch.randn(4, 2, 3, dtype=torch.float64)
    attend(x, x, x, graph)
    for _ in range(2):
        with pytest.raises((ValueError, TypeError), match=words):
            attend(x, x, x, graph, **wrong)
    with pytest.raises(TypeError, match="share one floating dtype"):
        attend(x, x.float(), x, graph)
    with pytest.raises(ValueError, match="joins 4 queries"):
        attend(x[:3], x, x, graph)
    with pytest.raises(TypeError, match=r"must be a torch\.Tensor"):
        attend(x.numpy(), x, x, graph)


def test_every_call_has_a_dropout_of_its_own():
    graph, x = CompleteGraph(40), torch.ones(40, 1, 1)
    assert torch.equal(attend(x, x, x, graph), x)
    torch.manual_seed(0)
    first, second, third, more = (attend(x, x, x, graph, dropout=p) for p in (0.5, 0.5, 0.5, 0.9))
    assert not torch.equal(first, second) and not torch.equal(second, third)
    assert not torch.equal(first, x) and (more.mean() - 1).abs() < 0.4
    assert torch.equal(attend(x, x, x, graph), x)


def test_a_budget_holds_inside_only():
    graph, x = EdgeListGraph(torch.randint(50, (2, 2000)), 50), torch.randn(50, 4, 4)
    wanted = attend(x, x, x, graph)
    assert prepare(x, x, x, graph).plan.memory_budget is None
    with memory_budget(1000):
        assert prepare(x, x, x, graph).plan.memory_budget == 1000
        torch.testing.assert_close(attend(x, x, x, graph), wanted)
    assert prepare(x, x, x, graph).plan.memory_budget is None


def test_forward_mode_and_transforms_after_a_call_without():
    graph, x = KINDS["edges"](), torch.randn(4, 2, 3, dtype=torch.float64)

    def function(x):
        return attend(x, x, x, graph)

    function(x)
    _, tangent = torch.func.jvp(function, (x,), (torch.ones_like(x),))
    rows = torch.autograd.functional.jacobian(function, x)
    torch.testing.assert_close(tangent, rows.sum((-3, -2, -1)))
    torch.testing.assert_close(torch.func.vmap(function)(torch.stack([x, x + 1]))[1], function(x + 1))


def test_scales_and_rates_are_not_remembered_one_by_one():
    graph, x = KINDS["edges"](), torch.randn(4, 2, 3)
    attend(x, x, x, graph, scale=0.1)
    attend(x, x, x, graph, scale=0.1, dropout=0.1)
    before = len(graph._cache)
    for number in range(1, 20):
        attend(x, x, x, graph, scale=number / 7)
        attend(x, x, x, graph, scale=number / 7, dropout=number / 20)
    assert len(graph._cache) == before


def test_parameters_of_a_score_are_read_at_every_call():
    graph, x = KINDS["edges"](), torch.randn(4, 2, 3)
    one, other = (Additive(torch.randn(2, 3), None, "leaky_relu") for _ in range(2))
    for score in (one, other, one):
        torch.testing.assert_close(attend(x, x, x, graph, score=score), attend(x, x, x, KINDS["edges"](), score=score))


def count_calls(function) -> int:
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    for _ in range(3):
        function()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_a_call_that_came_before_makes_few_python_calls():
    graph, x = EdgeListGraph(torch.randint(34, (2, 156)), 34), torch.randn(34, 4, 8, requires_grad=True)
    if choose_kernel(graph, x).kernel != "edges_cpu":
        pytest.skip(choose_kernel(graph, x).refusals["edges_cpu"])

    def forward():
        with torch.no_grad():
            attend(x, x, x, graph)

    cotangent = torch.randn_like(x)
    assert count_calls(forward) <= 90
    assert count_calls(lambda: torch.autograd.grad(attend(x, x, x, graph), x, cotangent)) <= 260


def test_options_have_the_defaults_of_attend():
    defaults = attend.__kwdefaults__
    own = Options()._asdict()
    assert own.pop("draw") is None  # what several processes agree on; nothing that a caller gives
    assert own == {name: value for name, value in defaults.items() if name != "return_lse"}
