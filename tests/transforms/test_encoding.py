import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData

from graphattn.transforms import AddDegrees, AddLaplacianPE, AddRandomWalkPE


def random_data(num_nodes, num_edges, seed):
    generator = torch.Generator().manual_seed(seed)
    return Data(x=torch.rand(num_nodes, 2), edge_index=torch.randint(num_nodes, (2, num_edges), generator=generator))


TRANSFORMS = [AddLaplacianPE(3), AddRandomWalkPE(3), AddDegrees(5)]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_a_batch_is_its_examples(transform):
    examples = [random_data(6, 14, 0), random_data(4, 0, 1), random_data(9, 8, 2), random_data(5, 9, 0)]
    together = transform(Batch.from_data_list(examples))[transform.attr_name]
    alone = torch.cat([transform(example)[transform.attr_name] for example in examples])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_types_of_nodes_are_one_graph(transform):
    data = HeteroData()
    data["a"].x, data["b"].num_nodes = torch.rand(3, 1), 4
    data["a", "to", "b"].edge_index = torch.tensor([[0, 1, 2, 2], [3, 0, 0, 1]])
    data["b", "to", "b"].edge_index = torch.tensor([[0, 1], [2, 3]])
    found = transform(data)
    plain = Data(edge_index=torch.tensor([[0, 1, 2, 2, 3, 4], [6, 3, 3, 4, 5, 6]]), num_nodes=7)
    wanted = transform(plain)[transform.attr_name]
    torch.testing.assert_close(found["a"][transform.attr_name], wanted[:3])
    torch.testing.assert_close(found["b"][transform.attr_name], wanted[3:])


def test_joins_the_features():
    data = random_data(6, 14, 0)
    transformed = AddRandomWalkPE(3, attr_name=None)(data)
    assert torch.equal(transformed.x[:, :2], data.x) and data.x.size(1) == 2
    torch.testing.assert_close(transformed.x[:, 2:], AddRandomWalkPE(3)(data).random_walk_pe)
    no_features = Data(edge_index=data.edge_index, num_nodes=6)
    assert AddRandomWalkPE(3, attr_name=None)(no_features).x.shape == (6, 3)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="no edge_index to encode"):
        AddRandomWalkPE(3)(Data(x=torch.rand(3, 1)))
    with pytest.raises(ValueError, match="'k' must be at least 1 .got 0"):
        AddRandomWalkPE(0)
    data = HeteroData()
    data["a"].y = 1
    with pytest.raises(ValueError, match="number of nodes of a type"), pytest.warns(UserWarning, match="num_nodes"):
        AddRandomWalkPE(3)(data)
