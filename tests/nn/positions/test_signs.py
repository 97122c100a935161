import networkx
import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.utils import from_networkx

from graphattn import CompleteGraph
from graphattn.nn import RandomSigns, SignInvariant
from graphattn.transforms import AddLaplacianPE


def test_signs_are_drawn_for_each_example_and_column():
    torch.manual_seed(0)
    graph, x = CompleteGraph([2] * 500), torch.rand(1000, 3) + 1
    signs = (RandomSigns()(x, graph) / x).view(500, 2, 3)
    assert torch.equal(signs[:, 0], signs[:, 1]) and torch.equal(signs.abs(), torch.ones_like(signs))
    assert signs.mean((0, 1)).abs().max() < 0.15
    assert len(signs[:, 0].unique(dim=0)) == 8
    assert RandomSigns().eval()(x, graph) is x


def test_each_column_may_change_its_sign():
    torch.manual_seed(0)
    module, x = SignInvariant(3, 5).double(), torch.randn(4, 3, dtype=torch.float64)
    flipped = x * torch.tensor([1, -1, -1])
    torch.testing.assert_close(module(flipped), module(x))
    assert not torch.allclose(module(x * 2), module(x)) and not torch.allclose(module(x.flip(1)), module(x))
    with pytest.raises(ValueError, match=r"\[num_nodes, 3\] .got \[4, 2\]"):
        module(x[:, :2])


def test_eigenvalues_tell_columns_apart_and_signs_do_not():
    torch.manual_seed(0)
    module = SignInvariant(3, 5, eigenvalues=True).double()
    x, eigenvalues = torch.randn(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64) + 0.1
    flipped = x * torch.tensor([1, -1, -1])
    torch.testing.assert_close(module(flipped, eigenvalues), module(x, eigenvalues))
    assert not torch.allclose(module(x, eigenvalues.flip(1)), module(x, eigenvalues))
    torch.testing.assert_close(module(x, eigenvalues[0]), module(x, eigenvalues[:1].expand(4, 3)))
    with pytest.raises(ValueError, match="go together .got None and True"):
        module(x)
    with pytest.raises(ValueError, match=r"\[4, 3\] or \[3\] .got \[4, 2\]"):
        module(x, eigenvalues[:, :2])
    with pytest.raises(ValueError, match=r"go together .got \[4, 3\] and False"):
        SignInvariant(3, 5)(x, eigenvalues)


def test_columns_without_an_eigenvector_add_nothing():
    """A graph with fewer nodes than columns, alone and in a batch; its padding has no part in the result."""
    torch.manual_seed(0)
    transform = AddLaplacianPE(4, eigenvalues_attr_name="eigenvalues")
    small, large = (from_networkx(graph) for graph in (networkx.path_graph(3), networkx.karate_club_graph()))
    module = SignInvariant(4, 5, eigenvalues=True)
    alone, batch = transform(small), transform(Batch.from_data_list([small, large]))
    out = module(alone.laplacian_pe, alone.eigenvalues)
    torch.testing.assert_close(module(batch.laplacian_pe, batch.eigenvalues)[:3], out)
    padded = alone.laplacian_pe.clone()
    padded[:, 2:] = 7.0
    assert torch.equal(module(padded, alone.eigenvalues), out)
