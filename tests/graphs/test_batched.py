import pytest
import torch

from graphattn.graphs import BatchedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, GridGraph, batch_graphs, causal
from graphattn.testing.cases import ASYMMETRIC, SQUARE, edge_list


def test_one_kind_becomes_its_ragged_form():
    assert batch_graphs([CompleteGraph(3), CompleteGraph(5, 2)]) == CompleteGraph([3, 5], [3, 2])
    assert batch_graphs([causal(3), causal(5)]) == causal([3, 5])
    assert batch_graphs([CompleteGraph([3, 1]), CompleteGraph(2)]) == CompleteGraph([3, 1, 2])
    assert isinstance(batch_graphs([edge_list(SQUARE, 5)] * 2), EdgeListGraph)
    assert batch_graphs([CompleteGraph(3, 2).T] * 2) == CompleteGraph([3, 3], [2, 2]).T


def test_mixes():
    mixed = batch_graphs([causal(3), CompleteGraph(2), GlobalGraph(4, [1])])
    assert isinstance(mixed, BatchedGraph)
    assert mixed.examples() == [causal(3), CompleteGraph(2), GlobalGraph(4, [1])]
    assert mixed == batch_graphs(iter(mixed.examples()))
    assert mixed.sizes == ((3, 3), (2, 2), (4, 4))


def test_batches_of_batches_are_flat():
    one, other = batch_graphs([causal(3), CompleteGraph(2)]), batch_graphs([GlobalGraph(4, [1]), causal(2)])
    graph = batch_graphs([one, CompleteGraph([1, 2]), other])
    assert not any(isinstance(member, BatchedGraph) for member in graph.graphs)
    assert graph.examples() == [
        causal(3), CompleteGraph(2), CompleteGraph(1), CompleteGraph(2), GlobalGraph(4, [1]), causal(2)
    ]  # fmt: skip


def test_one_graph_is_itself():
    graph = causal(3)
    assert batch_graphs([graph]) is graph


def test_normal_form_finds_the_common_kind():
    graph = batch_graphs([CompleteGraph(3), GlobalGraph(1, [0]), GridGraph((2, 2), 1)])
    assert graph.normal_form() == CompleteGraph([3, 1, 4])


def test_no_edge_between_examples():
    graph = batch_graphs([causal(3), edge_list(ASYMMETRIC, 6, 8)])
    assert not graph.mask()[:3, 3:].any() and not graph.mask()[3:, :3].any()
    assert not graph.allows(torch.tensor(-1), torch.tensor(0))


def test_device_of_a_batch():
    assert batch_graphs([causal(3), CompleteGraph(2)]).device is None
    assert batch_graphs([causal(3), edge_list(SQUARE, 5)]).device == torch.device("cpu")
    with pytest.raises(ValueError, match="one device"):
        batch_graphs([edge_list(SQUARE, 5), edge_list(SQUARE, 5).to("meta")])
    with pytest.raises(ValueError, match="one device"):
        batch_graphs([causal(3), edge_list(SQUARE, 5), edge_list(SQUARE, 5).to("meta")])


def test_big_batches_are_short_to_print():
    graph = batch_graphs([causal(3), CompleteGraph(2)] * 500)
    assert len(repr(graph)) < 150 and repr(graph).endswith("(1000 graphs)")


def test_bad_input():
    with pytest.raises(ValueError, match="at least one graph"):
        batch_graphs([])
    with pytest.raises(TypeError, match=r"list of graphs \(got one CompleteGraph\)"):
        batch_graphs(CompleteGraph(3))
    with pytest.raises(TypeError, match=r"hold graphs \(got Tensor\); see graphattn.as_graph"):
        batch_graphs([CompleteGraph(3), torch.zeros(2, 0)])
