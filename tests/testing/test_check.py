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


class Jumps(EdgesTorch):
    """Refuses all graphs but those of one class."""

    name = "jumps"
    graphs = (KnightMoves,)


class Halved(EdgesTorch):
    name = "halved"

    def backward(self, plan, inputs, merged, grad):
        found = super().backward(plan, inputs, merged, grad)
        return found._replace(key=found.key / 2)


def test_graphs():
    check_graph(KnightMoves(4), knight_edges(4))
    check_graph(BandedGraph(5, 1, 2), banded_edges(5, 5, 1, 2))
    for graph, edges, what in (
        (KnightMoves(4), knight_edges(4)[1:], "num_edges of KnightMoves.* gives 48 where 47 is right"),
        (Liar(4), knight_edges(4), r"edge_index\(\) of Liar"),
        (KnightMoves(3), [], "num_edges"),
    ):
        with pytest.raises(AssertionError, match=what):
            check_graph(graph, edges)


def test_a_graph_must_answer_as_its_edges_do():
    with pytest.raises(AssertionError, match="of what it allows, of Other"):
        check_graph(Other(3), knight_edges(3))


@pytest.mark.parametrize("score", ["dot", "cosine", "gaussian", Dot(), lambda query, key: (query * key).sin().sum(-1)])
def test_scores(score):
    check_score(score)


def test_a_score_of_a_pair_depends_on_the_pair_alone():
    with pytest.raises(AssertionError, match="where loops give"):
        check_score(lambda query, key: (query * key).sum(-1) * query.mean())


def test_a_score_is_what_it_is_reduced_to():
    class Halved(Dot):
        name = "halved"

        def reduce(self, query, key):
            return query / 2, key, Dot()

    with pytest.raises(AssertionError, match="where loops give"):
        check_score(Halved())


def test_a_score_of_another_shape():
    with pytest.raises(ValueError, match="'score' must give .*heads.* for .*heads, dim"):
        check_score(lambda query, key: (query * key).sum())


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


def test_kernels_for_graphs_of_ones_own():
    class Board(KnightMoves):
        pass

    class OfBoards(Jumps):
        graphs = (Board,)

    class Wrong(Halved):
        graphs = (Board,)

    boards = [("board", Board(3), knight_edges(3)), ("another", Board(4), knight_edges(4))]
    ran = check_kernel(OfBoards(), graphs=boards)
    assert set(ran) == {"board", "another"} and {"plain", "relu", "edges"} <= set(ran["board"])
    with pytest.raises(AssertionError, match="'halved' is wrong on 'board', 'plain'"):
        check_kernel(Wrong(), graphs=boards)
    with pytest.raises(AssertionError, match="'jumps' is wrong on 'board', 'plain'"):
        check_kernel(OfBoards(), graphs=[("board", Board(3), [*knight_edges(3)[2:], (0, 0), (1, 1)])])
    assert "own_class" in check_kernel(Jumps())  # those of this package are asked too
    with pytest.raises(ValueError, match=r"names other than those of .*got \['own_class'\]"):
        check_kernel(Jumps(), graphs=[("own_class", Board(3), knight_edges(3))])


def test_a_kernel_that_refuses_everything_was_not_checked():
    class Nothing(EdgesTorch):
        name = "nothing"

        def why_not(self, plan, inputs):
            return "'nothing' waits"

    with pytest.raises(AssertionError, match="'nothing' refuses every case, .*'nothing' waits"):
        check_kernel(Nothing())


@pytest.mark.parametrize("fact", ["takes_grouped_heads", "takes_other_value_dim"])
def test_kernels_that_want_tensors_of_one_shape_are_checked_too(fact):
    class Narrow(Jumps):
        name = "narrow"
        per_edge, normalizer_names = (), ("softmax",)
        takes_dropout = takes_grouped_heads = takes_other_value_dim = False

    class Half(Narrow):
        def backward(self, plan, inputs, merged, grad):
            found = super().backward(plan, inputs, merged, grad)
            is_asked = (inputs.key.size(1) != inputs.query.size(1), inputs.value.size(2) != inputs.query.size(2))
            return found._replace(key=found.key / 2) if is_asked[fact == "takes_other_value_dim"] else found

    assert check_kernel(Narrow()) == check_kernel(Half()) == {"own_class": ["plain", "scale", "cosine"]}
    with pytest.raises(AssertionError, match="'narrow' is wrong on 'own_class'"):  # what it says it takes is tried
        check_kernel(type("Bad", (Half,), {fact: True})())
