"""Random regular graphs: degrees, repeatability, union with what is there."""

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import AddSelfLoops

from graphattn.graphs import BandedGraph, as_graph, expander
from graphattn.transforms import Expander


def nodes(count):
    return Data(x=torch.rand(count, 1))


def test_expander():
    graph = Expander(degree=4, seed=3)(nodes(12)).graph
    mask = graph.mask()
    assert mask.sum(1).tolist() == [4] * 12 and torch.equal(mask, mask.T) and not mask.diagonal().any()
    assert torch.equal(mask, expander(12, 4, 3).mask())
    assert torch.equal(mask, Expander(4, 3)(nodes(12)).graph.mask())
    assert not torch.equal(mask, Expander(4, 4)(nodes(12)).graph.mask())


def test_add_keeps_what_is_there():
    data = Data(x=torch.rand(9, 1), graph=BandedGraph(9, 1, 0))
    expected = BandedGraph(9, 1, 0).mask() | expander(9, 2, 0).mask()
    assert torch.equal(Expander(2, add=True)(data).graph.mask(), expected)
    assert torch.equal(Expander(2)(data).graph.mask(), expander(9, 2, 0).mask())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_small_examples_have_fewer_neighbours(count):
    mask = Expander(degree=4)(nodes(count)).graph.mask()
    assert mask.shape == (count, count) and mask.sum(1).tolist() == [min(4, count - 1)] * count


@pytest.mark.parametrize("count, degree", [(8, 3), (7, 4), (5, 4), (4, 3), (3, 2)])
def test_odd_degrees_need_an_even_number_of_nodes(count, degree):
    """An odd degree on an odd number of nodes becomes the next even one."""
    assert Expander(degree=3)(nodes(count)).graph.degrees().tolist() == [degree] * count


def test_no_nodes():
    assert Expander(degree=3)(nodes(0)).graph.shape == (0, 0)


def test_examples_of_a_batch_are_apart():
    batch = Batch.from_data_list([nodes(6), nodes(8)])
    expected = torch.block_diag(expander(6, 2, 0).mask().int(), expander(8, 2, 0).mask().int())
    assert torch.equal(Expander(2)(batch).graph.mask(), expected.bool())


def test_bad_degree():
    with pytest.raises(ValueError, match=r"'degree' needs to be 1 or more \(got 0\)"):
        Expander(degree=0)


def test_beside_other_edges():
    data = Data(x=torch.rand(6, 1), edge_index=torch.tensor([[0, 1], [1, 2]]))
    made = Expander(2)(data)
    assert as_graph(made) is made.graph and made.graph.num_edges == 12 and type(data) is Data
    batch = Batch.from_data_list([made, made])
    assert as_graph(batch).num_edges == 24 and as_graph(AddSelfLoops()(batch)).num_edges == 24
    assert as_graph(Expander(2)(Batch.from_data_list([data, data]))).num_edges == 24
