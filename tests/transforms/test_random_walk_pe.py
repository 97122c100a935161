import pytest
import torch
from torch_geometric import transforms
from torch_geometric.data import Data

from graphattn.transforms import AddRandomWalkPE, random_walk_pe


@pytest.mark.parametrize("chunk", [2**22, 30])
def test_equals_plain_powers(chunk, monkeypatch):
    monkeypatch.setattr(random_walk_pe, "CHUNK", chunk)
    torch.manual_seed(0)
    data = Data(edge_index=torch.randint(12, (2, 25)), num_nodes=14)  # directed, repeats, loops, nodes apart
    found = AddRandomWalkPE(5)(data).random_walk_pe
    steps = torch.zeros(14, 14)
    for source, target in data.edge_index.t().tolist():
        steps[source, target] += 1
    steps = steps / steps.sum(1, keepdim=True).clamp(min=1)
    power = torch.eye(14)
    for step in range(5):
        power = power @ steps
        torch.testing.assert_close(found[:, step], power.diag())


def test_weights_are_shares():
    """9 of 10 walks go from the first node to the second; all of those from there come back."""
    edges, weights = torch.tensor([[0, 0, 1, 2], [1, 2, 0, 0]]), torch.tensor([9.0, 1.0, 9.0, 1.0])
    for scale in (1, 1e-3, 1e5):
        data = Data(edge_index=edges, edge_weight=weights * scale, num_nodes=3)
        torch.testing.assert_close(AddRandomWalkPE(2)(data).random_walk_pe[:, 1], torch.tensor([1.0, 0.9, 0.1]))


def test_whole_weights_are_repeated_edges():
    torch.manual_seed(0)
    edges, counts = torch.randint(8, (2, 15)), torch.randint(1, 4, (15,))
    weighted = Data(edge_index=edges, edge_weight=counts, num_nodes=9)
    repeated = Data(edge_index=edges.repeat_interleave(counts, 1), num_nodes=9)
    wanted = AddRandomWalkPE(5)(repeated).random_walk_pe
    torch.testing.assert_close(AddRandomWalkPE(5)(weighted).random_walk_pe, wanted)


def test_equals_pyg_where_edges_are_not_repeated():
    torch.manual_seed(0)
    data = Data(edge_index=torch.randint(12, (2, 25)).unique(dim=1), num_nodes=14)
    wanted = transforms.AddRandomWalkPE(5)(data).random_walk_pe
    torch.testing.assert_close(AddRandomWalkPE(5)(data).random_walk_pe, wanted)


def test_pygs_name_of_the_number_of_steps():
    data = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
    wanted = transforms.AddRandomWalkPE(walk_length=3)(data).random_walk_pe
    torch.testing.assert_close(AddRandomWalkPE(walk_length=3)(data).random_walk_pe, wanted)
    for wrong in ({}, {"k": 3, "walk_length": 3}):
        with pytest.raises(TypeError, match="give 'k' or, by PyG's name, 'walk_length'"):
            AddRandomWalkPE(**wrong)
