"""The checks for authors find what is wrong."""

import pytest
import torch

from graphattn import BandedGraph
from graphattn.extending import Graph
from graphattn.formulas.normalizers import NORMALIZERS
from graphattn.kernels.plain.edges_torch import EdgesTorch
from graphattn.nn import Dot, TopK
from graphattn.testing import check_graph, check_kernel, check_normalizer, check_score
from graphattn.testing.cases import KnightMoves, banded_edges, knight_edges


class Liar(KnightMoves):
    """Its keys are not those that it allows."""

    def keys_by_query(self, device):
        degrees, keys = super().keys_by_query(device)
        return degrees, torch.cat([keys[:1] + 1, keys[1:]])


class Other(KnightMoves):
    """Its edges are not those that it allows."""

    def allows(self, query, key):
        return super().allows(query, key) & (key != 0)

    def keys_by_query(self, device):
        return Graph.keys_by_query(KnightMoves(self.side), device)


class Halved(EdgesTorch):
    name = "halved"

    def backward(self, plan, inputs, merged, grad):
        found = super().backward(plan, inputs, merged, grad)
        return found._replace(key=found.key / 2)


def test_graphs():
    check_graph(KnightMoves(4), knight_edges(4))
    check_graph(BandedGraph(5, 1, 2), banded_edges(5, 5, 1, 2))
    for graph, edges in ((KnightMoves(4), knight_edges(4)[1:]), (Liar(4), knight_edges(4)), (KnightMoves(3), [])):
        with pytest.raises(AssertionError, match="is right"):
            check_graph(graph, edges)


def test_a_graph_must_answer_as_its_edges_do():
    with pytest.raises(AssertionError, match="is right"):
        check_graph(Other(3), knight_edges(3))


@pytest.mark.parametrize("score", ["dot", "cosine", "gaussian", Dot(), lambda query, key: (query * key).sin().sum(-1)])
def test_scores(score):
    check_score(score)


def test_a_score_of_a_pair_depends_on_the_pair_alone():
    with pytest.raises(AssertionError, match="where loops give"):
        check_score(lambda query, key: (query * key).sum(-1) * query.mean())


@pytest.mark.parametrize("normalizer", [*NORMALIZERS, TopK(2), lambda scores: scores.softmax(-1)])
def test_normalizers(normalizer):
    check_normalizer(normalizer)


def test_a_row_depends_on_itself_alone():
    with pytest.raises(AssertionError, match="where loops give"):
        check_normalizer(lambda scores: scores.exp() / scores.exp().sum())


def test_kernels():
    with pytest.raises(AssertionError, match="'halved' is wrong on 'complete', 'plain'"):
        check_kernel(Halved())
    with pytest.raises(ValueError, match="'kernel' must be one of"):  # it is not left in the order
        from graphattn import attend, causal

        attend(*[torch.ones(2, 1, 1)] * 3, causal(2), kernel="halved")
