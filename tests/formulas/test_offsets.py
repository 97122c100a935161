"""Offsets of edges and the rules that depend on them alone, by plain loops over edges."""

import pytest
import torch

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GridGraph,
    attend,
    attention_scores,
    attention_weights,
    choose_kernel,
)
from graphattn.formulas.offsets import OffsetRule, offsets_of, places_of_edges, table_of
from graphattn.nn import ALiBi, RelativeBias
from graphattn.nn.bias import Bias
from tests.kernels.fused import test_banded_torch, test_grid

COMPLETE = {"complete": CompleteGraph(20), "complete examples": CompleteGraph([6, 0, 1, 9, 3], [7, 2, 0, 4, 5])}
GRAPHS = {
    **COMPLETE,
    **test_banded_torch.GRAPHS,
    **{f"grid: {name}": graph for name, graph in test_grid.GRAPHS.items()},
}
HAS_MANY = {"rectangular examples", "transposed", "one query each", "example out of reach"}  # an offset in each example


def position(node, ptr, sides, stride=None):
    """Coordinates of a node inside its example."""
    example = max(e for e in range(len(ptr) - 1) if ptr[e] <= node and ptr[e + 1] > node)
    node, coordinates = node - ptr[example], []
    for axis in reversed(range(len(sides[example]))):
        coordinates.insert(0, node % sides[example][axis] * (stride[axis] if stride else 1))
        node //= sides[example][axis]
    return coordinates


def offset_by_loops(graph, key, query):
    if isinstance(graph, GridGraph):
        key = position(key, graph.key_ptr, graph.key_sides)
        query = position(query, graph.query_ptr, graph.query_sides, graph.stride)
    else:
        key = position(key, graph.key_ptr, [(keys,) for _, keys in graph.sizes])
        query = position(query, graph.query_ptr, [(queries,) for queries, _ in graph.sizes])
    return [k - q for k, q in zip(key, query)]


@pytest.mark.parametrize("name", GRAPHS)
def test_every_edge_has_its_offset(name):
    graph = GRAPHS[name]
    offsets = offsets_of(graph)
    if offsets is None:
        assert name in HAS_MANY or not isinstance(graph, (BandedGraph, CompleteGraph, GridGraph))
        return
    edges = graph.edge_index().t()
    some = torch.randperm(len(edges), generator=torch.Generator().manual_seed(0))[:500]
    found = offsets[places_of_edges(graph)[some]].tolist()
    assert found == [offset_by_loops(graph, key, query) for key, query in edges[some].tolist()]
    assert len(offsets.unique(dim=0)) == len(offsets)


def test_graphs_whose_edges_may_have_any_offset():
    assert len(offsets_of(CompleteGraph(0))) == 1  # of no edge
    for graph in (
        EdgeListGraph(torch.tensor([[0], [1]]), 2),
        BandedGraph([5, 6], 1, 1, offset=[0, 1]),
    ):
        assert offsets_of(graph) is None


class FromTheStart(Bias):
    """How far the query is from the start: no rule of offsets."""

    device = torch.device("cpu")

    def rule(self, query, key):
        return query.double().expand(*query.shape[:-1], self.heads)


class Late(OffsetRule):
    """A rule that is no module of graphattn's."""

    def __call__(self, graph):
        key, query = graph.edge_index()
        return (key - query).double()[:, None].expand(-1, 4)

    def by_offset(self, offsets):
        return offsets.double().expand(-1, 4)


def table(bias, graph, heads=4):
    return table_of(bias, graph.normal_form(), graph, heads, torch.device("cpu"))


def test_which_rules_come_as_a_table():
    band = BandedGraph(90, 3, 4)
    assert table(ALiBi(4), band).shape == table(Late(), band).shape == (8, 4)
    assert table(FromTheStart(4), band) is None
    assert table(ALiBi(4)(band), band) is None and table(None, band) is None
    assert table(ALiBi(4), CompleteGraph(5, 3)).shape == (7, 4)
    assert table(ALiBi(4), EdgeListGraph(torch.tensor([[0], [1]]), 2)) is None
    assert table(ALiBi(4), band, heads=8) is None  # the door says why, as of a tensor
    assert table(ALiBi(4), GridGraph((9, 9), 1, border="shift")).shape == (25, 4)
    assert table(ALiBi(4), GridGraph((9,), 1)).shape == (3, 4)
    assert table(RelativeBias(4, 3, axes=2), GridGraph((1, 90), 2)) is None  # a band, whose positions have one axis
    with pytest.raises(ValueError, match=r"\[num_edges, heads\] = \[704, 8\].*got \[704, 4\]"):
        attend(*(torch.zeros(90, 8, 2) for _ in range(3)), band, bias=ALiBi(4))


def tensors(num_nodes, *shape):
    torch.manual_seed(0)
    return [torch.randn(*shape, num_nodes, 4, 8, dtype=torch.float64) for _ in range(3)]


@pytest.mark.parametrize("rule", [FromTheStart(4), Late(), ALiBi(4).double()], ids=lambda rule: type(rule).__name__)
def test_a_rule_is_the_tensor_that_it_stands_for(rule):
    graph = BandedGraph(300, 20, 9)
    query, key, value = tensors(300)
    for function in (attention_weights, attention_scores):
        wanted = function(query, key, graph, bias=rule(graph))
        torch.testing.assert_close(function(query, key, graph, bias=rule), wanted, rtol=1e-12, atol=1e-12)
    for options in (
        {},
        {"kernel": "edges_torch"},
        {"normalizer": "sigmoid"},
        {"edge_features": torch.ones(len(wanted), 1).double()},
    ):
        found, wanted = (attend(query, key, value, graph, bias=bias, **options) for bias in (rule, rule(graph)))
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    batch = tensors(300, 2)
    found, wanted = (attend(*batch, graph, bias=bias) for bias in (rule, rule(graph)))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_which_kernel_runs_a_rule():
    query = torch.zeros(900, 4, 8)
    chosen = [
        choose_kernel(graph, x, bias=bias).kernel
        for x in (query, query.double())
        for graph in (BandedGraph(900, 20, 20), GridGraph((30, 30), 9), BandedGraph(900, None, 0), CompleteGraph(900))
        for bias in (ALiBi(4), ALiBi(4)(graph))
    ]
    float32 = ["banded_cpu", "edges_cpu", "grid", "edges_cpu", "banded_cpu", "edges_cpu", "banded_cpu", "edges_cpu"]
    float64 = ["banded_torch", "edges_cpu", "grid", "edges_cpu", "banded_torch", "edges_cpu", "dense", "edges_cpu"]
    assert chosen == float32 + float64
    assert choose_kernel(BandedGraph(900, 20, 20), query, bias=FromTheStart(4)).kernel == "edges_cpu"


def test_derivatives_of_any_order_and_mode():
    graph, rule = BandedGraph(40, 5, 3), RelativeBias(4, 4).double()
    query, key, value = (x[:, :, :2] for x in tensors(40))

    def result(query, numbers):
        rule.table.data.copy_(numbers.detach())
        return attend(query, key, value, graph, bias=WithTable(rule, numbers), kernel="banded")

    leaves = query.requires_grad_(), torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(result, leaves, fast_mode=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(result, leaves, fast_mode=True)
    cotangent = torch.randn(40, 4, 2, dtype=torch.float64)
    found = torch.func.grad(lambda query: (attend(query, key, value, graph, bias=rule) * cotangent).sum())(query)
    wanted = torch.autograd.grad(attend(query, key, value, graph, bias=rule(graph)), query, cotangent)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


class WithTable(OffsetRule):
    """RelativeBias with numbers of the caller's."""

    def __init__(self, rule, numbers):
        self.rule, self.numbers = rule, numbers

    def __call__(self, graph):
        return torch.func.functional_call(self.rule, {"table": self.numbers}, graph)

    def by_offset(self, offsets):
        place = (offsets[:, 0]).clamp(-4, 4) + 4
        return self.numbers[place]
