import pytest
import torch

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    GridGraph,
    PrefixGraph,
    batch_graphs,
    causal,
)
from graphattn.graphs import strided
from graphattn.graphs.rule import ANY_PREFIX, CAUSAL, follows, graph_of_rule, rule_of

MAKERS = {
    "causal": causal,
    "band": lambda counts: BandedGraph(counts, 3, 0),
    "band, both sides": lambda counts: BandedGraph(counts, 3, 2),
    "strictly before": lambda counts: BandedGraph(counts, 2, 0, offset=-1),
    "all but itself": lambda counts: BandedGraph(counts, None, 0, offset=-1),
    "dilated": lambda counts: BandedGraph(counts, 2, 0, dilation=3),
    "all, dilated": lambda counts: BandedGraph(counts, None, 0, dilation=3),
    "prefix": lambda counts: PrefixGraph(counts, 4),
    "strided": lambda counts: strided(counts, 3),
    "complete": CompleteGraph,
    "but band": lambda counts: causal(counts) & ~BandedGraph(counts, 2, 0),
    "line": lambda counts: batch_graphs([GridGraph((count,), 2, 0) for count in counts]),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_rule_makes_the_same_of_other_lengths(name):
    short, long = MAKERS[name]([12, 3]), MAKERS[name]([30])
    rule = rule_of(short)
    assert torch.equal(graph_of_rule(rule, [30], [9]).mask(), long.mask())
    assert torch.equal(graph_of_rule(rule, [12, 3], [9, 9]).mask(), short.mask())
    assert follows(short, rule) and follows(long, rule)
    assert not follows(long, CAUSAL) or name == "causal"


def test_global_nodes_are_those_of_every_example():
    graph = causal([6, 2, 9]) & (BandedGraph([6, 2, 9], 1, 0) | GlobalGraph([6, 2, 9], [0, 3, 6, 8, 11]))
    wanted = causal(20) & (BandedGraph(20, 1, 0) | GlobalGraph(20, [0, 3]))
    assert torch.equal(graph_of_rule(rule_of(graph), [20], [1]).mask(), wanted.mask())
    assert torch.equal(graph_of_rule(rule_of(graph), [6, 2, 9], [1] * 3).mask(), graph.mask())
    assert rule_of(GlobalGraph([6, 9], [0, 7])) is None


def test_prefixes():
    assert rule_of(PrefixGraph([9, 2], 3)) == ("prefix", 3)  # both nodes of the short one
    assert rule_of(PrefixGraph([9, 8], [3, 4])) == ANY_PREFIX and follows(PrefixGraph(5, 2), ANY_PREFIX)
    assert graph_of_rule(ANY_PREFIX, [9, 9], [2, 5]) == PrefixGraph([9, 9], [2, 5])
    assert graph_of_rule(("prefix", 3), [9, 9], [2, 5]) == PrefixGraph([9, 9], [2, 3])


@pytest.mark.parametrize(
    "graph",
    [
        EdgeListGraph(torch.tensor([[0], [1]]), 3),
        GridGraph((3, 3), 1) & causal(9),
        causal(4) & EdgeListGraph(torch.tensor([[0], [1]]), 4),
        BandedGraph([5, 5], 1, 0, offset=[0, -1]),
        BandedGraph(5, 1, 0, num_keys=5, offset=-1),
        CompleteGraph(3, 4),
        BandedGraph(4, 0, 0, offset=-9),
        batch_graphs([causal(9), GlobalGraph(8, [0])]),
    ],
    ids=repr,
)
def test_graphs_without_a_rule(graph):
    assert rule_of(graph) is None


def test_kinds_side_by_side():
    mixed = batch_graphs([CompleteGraph(1), causal(9) & CompleteGraph(9), BandedGraph(3, 2, 0)])
    assert rule_of(mixed) == CAUSAL


def test_short_examples_follow_many_rules():
    for graph in (causal(3), CompleteGraph(1), BandedGraph(3, 2, 0), PrefixGraph(3, 1)):
        assert follows(graph, CAUSAL) and follows(graph, ("band", 2, 0, 1, 0))
    assert not follows(causal(4), ("band", 2, 0, 1, 0))
