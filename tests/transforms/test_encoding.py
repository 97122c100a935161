import copy
import warnings

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData

from graphattn.transforms import AddDegrees, AddHops, AddLaplacianPE, AddRandomWalkPE


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


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float16, torch.float64])
def test_integers_do_not_cut_an_encoding(transform, dtype):
    data = random_data(6, 14, 0)
    data.x = torch.arange(6).to(dtype)  # [num_nodes]
    joined = copy.copy(transform)
    joined.attr_name = None
    found, encoding = joined(data).x, transform(data)[transform.attr_name]
    assert found[:, 0].tolist() == data.x.tolist() and data.x.dtype == dtype
    assert found.dtype == (dtype if dtype.is_floating_point else torch.promote_types(dtype, encoding.dtype))
    torch.testing.assert_close(found[:, 1:], encoding.to(found.dtype))


@pytest.mark.parametrize("transform", [AddLaplacianPE(3), AddRandomWalkPE(3)], ids=repr)
@pytest.mark.parametrize(
    "weights", [torch.ones(14), torch.full((14, 1), 7), torch.full((14,), 1e-300, dtype=torch.float64)]
)
def test_equal_weights_say_nothing(transform, weights):
    data = random_data(6, 14, 0)
    wanted = transform(data)[transform.attr_name]
    data.edge_weight = weights
    assert torch.equal(transform(data)[transform.attr_name], wanted)


@pytest.mark.parametrize("transform", [AddLaplacianPE(3), AddRandomWalkPE(3)], ids=repr)
def test_edges_of_no_weight_are_no_edges(transform):
    data = random_data(9, 20, 0)
    data.edge_weight = torch.rand(20) + 0.1
    data.edge_weight[::3] = 0
    kept = data.edge_weight > 0
    less = Data(edge_index=data.edge_index[:, kept], edge_weight=data.edge_weight[kept], num_nodes=9)
    torch.testing.assert_close(transform(data)[transform.attr_name], transform(less)[transform.attr_name])
    data.edge_weight = torch.zeros(20)
    assert not transform(data)[transform.attr_name].any()


@pytest.mark.parametrize("transform", [AddLaplacianPE(3), AddRandomWalkPE(3)], ids=repr)
def test_types_of_edges_have_weights_of_their_own(transform):
    data = HeteroData()
    data["a"].x, data["b"].num_nodes = torch.rand(3, 1), 4
    data["a", "to", "b"].edge_index = torch.tensor([[0, 1, 2, 2], [3, 0, 0, 1]])
    data["a", "to", "b"].edge_weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    data["b", "to", "b"].edge_index = torch.tensor([[0, 1], [2, 3]])
    plain = Data(edge_index=torch.tensor([[0, 1, 2, 2, 3, 4], [6, 3, 3, 4, 5, 6]]), num_nodes=7)
    plain.edge_weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 1.0, 1.0])
    wanted = transform(plain)[transform.attr_name]
    torch.testing.assert_close(torch.cat([transform(data)[kind][transform.attr_name] for kind in "ab"]), wanted)


@pytest.mark.parametrize("transform", [AddLaplacianPE(3), AddRandomWalkPE(3)], ids=repr)
@pytest.mark.parametrize("weights", [np.ones(14), [1.0] * 14], ids=type)
def test_weights_that_are_no_tensor_are_refused(transform, weights):
    data = random_data(6, 14, 0)
    data.edge_weight = weights
    with pytest.raises(TypeError, match=rf"'edge_weight' needs to be a Tensor \(got {type(weights).__name__}\)"):
        transform(data)


def test_features_of_edges_are_no_weights():
    data = random_data(6, 14, 0)
    wanted = AddRandomWalkPE(3)(data).random_walk_pe
    data.edge_attr = torch.rand(14)
    assert torch.equal(AddRandomWalkPE(3)(data).random_walk_pe, wanted)


@pytest.mark.parametrize("transform", [AddDegrees(5), AddHops(3)], ids=repr)
def test_weights_that_are_not_used_are_said(transform):
    data = random_data(6, 14, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wanted = transform(data)[transform.attr_name]
        data.edge_weight = torch.ones(14)
        transform(data)
    data.edge_weight = torch.rand(14)
    with pytest.warns(UserWarning, match=r"Add.* counts .*edges, whatever their 'edge_weight'; remove it") as said:
        assert torch.equal(transform(data)[transform.attr_name], wanted)
    assert len(said) == 1


@pytest.mark.parametrize("transform", [AddLaplacianPE(3), AddRandomWalkPE(3)], ids=repr)
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-torch.ones(14), "finite and at least 0"),
        (torch.full((14,), torch.nan), "finite and at least 0"),
        (torch.full((14,), torch.inf), "finite and at least 0"),
        (torch.ones(13), r"each of 14 edges .got torch.float32 of shape \[13\]"),
        (torch.ones(14, 2), r"each of 14 edges .got torch.float32 of shape \[14, 2\]"),
        (torch.ones(14, dtype=torch.complex64), "each of 14 edges"),
    ],
)
def test_bad_weights(transform, weights, message):
    data = random_data(6, 14, 0)
    data.edge_weight = weights
    with pytest.raises(ValueError, match=f"'edge_weight' needs to be .*{message}"):
        transform(data)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_the_emptiest_graphs(transform):
    for num_nodes in (0, 1, 3):
        data = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=num_nodes)
        assert (
            transform(data)[transform.attr_name].shape[0] == num_nodes
            and not transform(data)[transform.attr_name].any()
        )


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("edge", [[0, 3], [3, 0], [-1, 0]])
def test_nodes_that_are_not_there(transform, edge):
    with pytest.raises(ValueError, match=r"'edge_index' needs to join nodes 0 .. 2"):
        transform(Data(edge_index=torch.tensor(edge)[:, None], num_nodes=3))


def test_integers_that_would_be_rounded_are_refused():
    data = random_data(6, 14, 0)
    data.x = torch.arange(6)[:, None] + 2**24
    with pytest.raises(ValueError, match="'x' has integers that torch.float32 rounds.*'attr_name'"):
        AddRandomWalkPE(3, attr_name=None)(data)


def test_features_of_other_shapes():
    data = random_data(6, 14, 0)
    data.x = torch.rand(6, 2, 3)
    with pytest.raises(ValueError, match=r"'x' of shape \[num_nodes, features\] .got \[6, 2, 3\]"):
        AddRandomWalkPE(3, attr_name=None)(data)


@pytest.mark.parametrize("integer", [np.int64(3), np.uint8(3), torch.tensor(3)], ids=repr)
def test_sizes_of_numpy_and_torch(integer):
    data = random_data(6, 14, 0)
    for make, name in ((AddLaplacianPE, "laplacian_pe"), (AddRandomWalkPE, "random_walk_pe"), (AddDegrees, "degrees")):
        assert torch.equal(make(integer)(data)[name], make(3)(data)[name]) and repr(make(integer)) == repr(make(3))
    assert torch.equal(AddHops(integer)(data).hops, AddHops(3)(data).hops)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="no edge_index to encode"):
        AddRandomWalkPE(3)(Data(x=torch.rand(3, 1)))
    with pytest.raises(ValueError, match="'k' must be at least 1 .got 0"):
        AddRandomWalkPE(0)
    data = HeteroData()
    data["a"].y = 1
    with pytest.raises(ValueError, match="number of nodes of a type"), pytest.warns(UserWarning, match="num_nodes"):
        AddRandomWalkPE(3)(data)
