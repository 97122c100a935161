import pytest
import torch
from torch_geometric.nn import Linear
from torch_geometric.utils import to_torch_coo_tensor, to_torch_csr_tensor

from graphattn import BandedGraph, CompleteGraph, as_graph
from graphattn.nn.adjacency import add_self_loops, are_one_set, checked_edge_attr, edge_dim_of, values_of, weighted

EDGES = torch.tensor([[0, 1, 1, 2, 0], [1, 1, 2, 0, 1]])


def test_one_self_loop_for_each_node_behind_the_other_edges():
    edge_attr = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    graph, looped_attr = add_self_loops(as_graph(EDGES, 4, 3), edge_attr, "mean")
    assert graph.edge_index().tolist() == [[0, 1, 2, 0, 0, 1, 2], [1, 2, 0, 1, 0, 1, 2]]
    assert graph.shape == (4, 3)
    assert looped_attr.flatten().tolist() == [1.0, 3.0, 4.0, 5.0, 4.0, 3.0, 3.0]  # the mean of what arrives at 0, 1, 2


def test_examples_of_a_batch_stay_apart():
    graph, _ = add_self_loops(CompleteGraph([1, 2]), None, "mean")
    assert graph == CompleteGraph([1, 2])
    band = BandedGraph([2, 3], 1, 0, offset=-1)
    graph, _ = add_self_loops(band, None, "mean")
    assert [size for size, _ in graph.sizes] == [2, 3]
    assert (graph.mask() == (band.mask() | torch.eye(5, dtype=torch.bool))).all()


def test_one_set_of_nodes():
    x = torch.randn(5, 2)
    assert are_one_set(x, (2, 2)) and are_one_set((x, x), (2, 2)) and are_one_set((x, x[:3]), (2, 2))
    assert are_one_set((x, x.clone()), 2) and are_one_set((x, None), 2)
    assert not are_one_set((x, x.clone()), (2, 2)) and not are_one_set((x, None), (2, 2))
    assert not are_one_set((x, x[1:]), (2, 2))


def test_weights_come_back_in_the_form_of_the_edges():
    edge_index = torch.tensor([[2, 0, 1], [0, 1, 0]])
    alpha = torch.tensor([[1.0], [2.0], [3.0]])
    graph = as_graph(edge_index, 2, 3)
    edges, same = weighted(edge_index, graph, alpha)
    assert torch.equal(edges, edge_index) and same is alpha
    matrix, values = weighted(to_torch_csr_tensor(edge_index.flip(0), size=(2, 3)), graph, alpha)
    assert matrix.to_dense()[..., 0].tolist() == [[0.0, 3.0, 1.0], [2.0, 0.0, 0.0]]
    assert values.flatten().tolist() == [3.0, 1.0, 2.0]


def test_attributes():
    graph = as_graph(EDGES, 3)
    assert checked_edge_attr(EDGES, None, 4, graph) is None
    assert checked_edge_attr(EDGES, torch.ones(5), 1, graph).shape == (5, 1)
    with pytest.raises(ValueError, match=r"\[5, 2\] in the order of the edges \(got \[5, 1\]\)"):
        checked_edge_attr(EDGES, torch.ones(5), 2, graph)
    with pytest.raises(ValueError, match=r"'edge_attr' needs 'edge_dim' .*edge_dim=2, or no 'edge_attr'"):
        checked_edge_attr(EDGES, torch.ones(5, 2), None, graph)


def test_the_size_of_attributes_is_that_of_their_map():
    assert [edge_dim_of(linear) for linear in (None, Linear(3, 4), Linear(-1, 4), torch.nn.Identity())] == [
        None,
        3,
        -1,
        -1,
    ]


@pytest.mark.parametrize("make", [to_torch_coo_tensor, to_torch_csr_tensor])
def test_values_of_a_sparse_matrix_are_read_without_writing(make):
    """An earlier layer may have kept its indices for the backward pass, and they may be repeated."""
    edge_index, values = torch.tensor([[0, 0, 1], [0, 1, 0]]), torch.randn(3, 2)
    adjacency = make(edge_index, values, size=(2, 2))
    assert torch.equal(values_of(adjacency), values)
    assert values_of(make(edge_index, size=(2, 2))) is None
    if make is to_torch_coo_tensor:
        assert adjacency._indices()._version == 0
        repeated = torch.sparse_coo_tensor(edge_index[:, [0, 0]], values[:2], (2, 2, 2))
        assert torch.equal(values_of(repeated), values[:2]) and not repeated.is_coalesced()
