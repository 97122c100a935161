import pickle

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, PerHead, causal


def test_anything_that_is_a_graph():
    edge_index = torch.tensor([[0, 4], [1, 2]])
    graph = PerHead([edge_index, CompleteGraph(3, 5)], 3, 5)
    assert len(graph) == 2 and graph.shape == (3, 5)
    assert torch.equal(graph.edge_index()[0], edge_index)


def test_heads_still_share_a_graph_after_a_move():
    near = BandedGraph(5, 1, 1)
    moved = PerHead([near, near, BandedGraph(5, 2, 2)]).to("cpu")
    assert moved.graphs[0] is moved.graphs[1] and str(moved) == "PerHead(3 heads over 2 graphs of 5 queries and 5 keys)"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: PerHead([]), "one graph for each head"),
        (lambda: PerHead(CompleteGraph(3)), r"one graph for each head .got Complete"),
        (lambda: PerHead([CompleteGraph(3), CompleteGraph(4)]), r"got shapes \[\(3, 3\), \(4, 4\)\]"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_files_are_checked():
    graph, near = causal(5), BandedGraph(5, 1, 1)
    twin = pickle.loads(pickle.dumps(PerHead([near, graph, near])))
    assert twin.graphs == (near, graph, near) and twin.graphs[0] is twin.graphs[2]
    for change in (
        {"shape": (5, 6)},
        {"graphs": ()},
        {"graphs": (near, causal(4))},
        {"graphs": (near, None)},
        {"more": 1},
    ):
        forged = PerHead([near, graph])
        forged.__dict__.update(change)
        with pytest.raises(ValueError, match=r"no PerHead|one graph for each head|same queries and keys"):
            pickle.loads(pickle.dumps(forged))
