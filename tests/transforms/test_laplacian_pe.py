import math

import networkx
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import AddLaplacianEigenvectorPE
from torch_geometric.utils import from_networkx, to_undirected

from graphattn.transforms import AddLaplacianPE, laplacian_pe


def path(num_nodes):
    nodes = torch.arange(num_nodes - 1)
    return Data(edge_index=torch.stack([nodes, nodes + 1]), num_nodes=num_nodes)


def cosines(num_nodes, k):
    """The eigenvectors of a path: cos(pi i j / (n - 1)) times the root of the degree, of length 1, first entry positive."""
    place = torch.arange(num_nodes, dtype=torch.float64)
    degree = torch.full((num_nodes,), 2.0, dtype=torch.float64)
    degree[[0, -1]] = 1
    waves = [torch.cos(math.pi * i * place / (num_nodes - 1)) * degree.sqrt() for i in range(1, k + 1)]
    return torch.stack([wave / wave.norm() for wave in waves], 1)


@pytest.mark.parametrize("num_nodes", [2, 5, 8, 700])
def test_on_a_path_they_are_cosines_of_the_position(num_nodes):
    torch.set_default_dtype(torch.float64)
    try:
        found = AddLaplacianPE(4)(path(num_nodes)).laplacian_pe
    finally:
        torch.set_default_dtype(torch.float32)
    known = min(4, num_nodes - 1)
    wanted = cosines(num_nodes, known)
    signs = torch.sign((found[:, :known] * wanted).sum(0))
    torch.testing.assert_close(found[:, :known] * signs, wanted, rtol=0, atol=1e-6)
    assert torch.equal(found[:, known:], torch.zeros(num_nodes, 4 - known, dtype=torch.float64))


@pytest.mark.parametrize("num_nodes", [60, 600])
def test_equals_pyg_on_one_component(num_nodes):
    data = from_networkx(networkx.barabasi_albert_graph(num_nodes, 3, seed=0))
    wanted = AddLaplacianEigenvectorPE(4, is_undirected=True)(data).laplacian_eigenvector_pe
    found = AddLaplacianPE(4)(data).laplacian_pe
    torch.testing.assert_close(found.abs(), wanted.abs(), rtol=1e-3, atol=1e-4)
    assert (found.gather(0, found.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("num_nodes", [40, 600])
def test_equals_pyg_with_weights(num_nodes):
    torch.manual_seed(0)
    data = from_networkx(networkx.barabasi_albert_graph(num_nodes, 3, seed=0))
    data.edge_index, data.edge_weight = to_undirected(data.edge_index, torch.rand(data.num_edges) + 0.1, reduce="max")
    wanted = AddLaplacianEigenvectorPE(4, is_undirected=True)(data).laplacian_eigenvector_pe
    found = AddLaplacianPE(4)(data).laplacian_pe
    torch.testing.assert_close(found.abs(), wanted.abs(), rtol=1e-3, atol=1e-4)
    unweighted = AddLaplacianPE(4)(Data(edge_index=data.edge_index, num_nodes=num_nodes)).laplacian_pe
    assert not torch.allclose(found.abs(), unweighted.abs(), atol=0.01)


def test_the_largest_weight_between_two_nodes_counts():
    data, weights = path(5), torch.tensor([1.0, 5.0, 2.0, 3.0])
    wanted = AddLaplacianPE(3)(Data(edge_index=data.edge_index, edge_weight=weights, num_nodes=5)).laplacian_pe
    edges = torch.cat([data.edge_index, data.edge_index.flip(0), data.edge_index, torch.tensor([[2], [2]])], 1)
    more = torch.cat([weights / 2, weights, weights / 3, torch.tensor([9.0])])
    found = AddLaplacianPE(3)(Data(edge_index=edges, edge_weight=more, num_nodes=5)).laplacian_pe
    torch.testing.assert_close(found, wanted)


def test_components_have_their_own():
    both = Data(
        edge_index=torch.cat([path(4).edge_index, path(3).edge_index + 5, torch.tensor([[4], [4]])], 1), num_nodes=8
    )
    found = AddLaplacianPE(2)(both).laplacian_pe
    torch.testing.assert_close(found[:4], AddLaplacianPE(2)(path(4)).laplacian_pe)
    torch.testing.assert_close(found[5:], AddLaplacianPE(2)(path(3)).laplacian_pe)
    assert torch.equal(found[4], torch.zeros(2))  # alone, with a loop


def test_direction_repeats_and_loops_do_not_matter():
    data, loop = path(6), torch.tensor([[2], [2]])
    edge_index = torch.cat([data.edge_index, data.edge_index.flip(0), data.edge_index, loop], 1)
    doubled = Data(edge_index=edge_index, num_nodes=6)
    torch.testing.assert_close(AddLaplacianPE(3)(doubled).laplacian_pe, AddLaplacianPE(3)(data).laplacian_pe)


def test_few_of_a_large_graph_are_repeatable(monkeypatch):
    monkeypatch.setattr(laplacian_pe, "LARGEST_DENSE", 10)
    data = from_networkx(networkx.barabasi_albert_graph(60, 3, seed=0))
    found = [AddLaplacianPE(4)(data).laplacian_pe for _ in range(2)]
    assert torch.equal(*found)
    monkeypatch.undo()
    torch.testing.assert_close(found[0], AddLaplacianPE(4)(data).laplacian_pe, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_nodes", [2, 5, 600])
def test_eigenvalues_are_those_of_their_columns(num_nodes):
    """On a path 1 - cos(pi i / (n - 1)); on a loose node, and where there are no more, 0."""
    data = path(num_nodes)
    data.num_nodes += 1
    found = AddLaplacianPE(4, eigenvalues_attr_name="frequencies")(data)
    known = min(4, num_nodes - 1)
    wanted = 1 - torch.cos(math.pi * torch.arange(1, known + 1, dtype=torch.float64) / (num_nodes - 1))
    wanted = torch.cat([wanted, torch.zeros(4 - known, dtype=torch.float64)]).expand(num_nodes, 4)
    torch.testing.assert_close(found.frequencies[:-1].double(), wanted, rtol=1e-4, atol=1e-6)
    assert torch.equal(found.frequencies[-1], torch.zeros(4)) and found.laplacian_pe.shape == (num_nodes + 1, 4)
    assert "frequencies" not in data and set(AddLaplacianPE(4)(data).keys()) == {
        "edge_index",
        "num_nodes",
        "laplacian_pe",
    }


def test_eigenvalues_of_a_large_graph_and_of_each_component():
    graphs = [networkx.barabasi_albert_graph(600, 3, seed=0), networkx.path_graph(3)]
    data = from_networkx(networkx.disjoint_union_all(graphs))
    found = AddLaplacianPE(4, eigenvalues_attr_name="eigenvalues")(data).eigenvalues.double()
    for graph, part in zip(graphs, found.split([600, 3]), strict=True):
        wanted = torch.from_numpy(networkx.normalized_laplacian_spectrum(graph)[1:5])
        torch.testing.assert_close(part[:, : len(wanted)], wanted.expand(len(part), -1), rtol=1e-4, atol=1e-5)
        assert not part[:, len(wanted) :].any()


def test_absolute_values():
    found = AddLaplacianPE(2, sign="absolute")(path(5)).laplacian_pe
    torch.testing.assert_close(found, AddLaplacianPE(2)(path(5)).laplacian_pe.abs())
    with pytest.raises(ValueError, match="got 'random'"):
        AddLaplacianPE(2, sign="random")


@pytest.mark.parametrize("is_undirected", [True, False])
def test_pygs_arguments(is_undirected):
    steps = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    data = Data(edge_index=torch.cat([steps, steps.flip(0)], 1), num_nodes=5)  # a path
    options = {"k": 2, "attr_name": "pe", "is_undirected": is_undirected}
    found, wanted = (kind(**options)(data).pe for kind in (AddLaplacianPE, AddLaplacianEigenvectorPE))
    torch.testing.assert_close(found.abs(), wanted.abs())
