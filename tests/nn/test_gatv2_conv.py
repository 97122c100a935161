"""GATv2Conv against PyG's."""

import copy
import pickle

import pytest
import torch
import torch_geometric.nn as pyg
from torch_geometric.utils import to_torch_csr_tensor

from graphattn import BandedGraph, CompleteGraph
from graphattn.nn import GATv2Conv
from tests.nn.peer import TOLERANCE, assert_same_layers, random_graph, twins

OPTIONS = [
    {},
    {"concat": False, "residual": True},
    {"share_weights": True},
    {"share_weights": True, "edge_dim": 3, "bias": False},
    {"negative_slope": 0.01},
    {"negative_slope": 0.5, "edge_dim": 3},
    {"add_self_loops": False},
    {"edge_dim": 3, "fill_value": 0.5, "concat": False},
    {"edge_dim": 3, "fill_value": "add", "residual": True},
    {"aggr": "mean"},
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_pyg(options, dtype):
    peer, own = twins(pyg.GATv2Conv, GATv2Conv, 6, 4, heads=3, dtype=dtype, **options)
    edge_index = random_graph(9, 9, 30)
    edge_attr = torch.randn(edge_index.size(1), 3, dtype=dtype) if "edge_dim" in options else None
    x = torch.randn(9, 6, dtype=dtype)
    assert_same_layers(peer, own, x, edge_index, edge_attr, tolerance=TOLERANCE[dtype])
    wanted, (wanted_edges, wanted_alpha) = peer(x, edge_index, edge_attr, return_attention_weights=True)
    out, (edges, alpha) = own(x, edge_index, edge_attr, return_attention_weights=True)
    assert torch.equal(edges, wanted_edges)
    torch.testing.assert_close(alpha, wanted_alpha)
    torch.testing.assert_close(out, wanted)


@pytest.mark.parametrize("edge_dim", [None, 3])
def test_two_sets_of_nodes(edge_dim):
    options = {"heads": 2, "add_self_loops": False, "residual": True, "edge_dim": edge_dim}
    peer, own = twins(pyg.GATv2Conv, GATv2Conv, (6, 5), 4, **options)
    edge_index = random_graph(10, 7, 30)
    edge_attr = None if edge_dim is None else torch.randn(edge_index.size(1), 3).double()
    x = torch.randn(10, 6).double(), torch.randn(7, 5).double()
    assert_same_layers(peer, own, x, edge_index, edge_attr)
    own = GATv2Conv((6, 5), 4, heads=2).double()
    edges = own(x, edge_index, return_attention_weights=True)[1][0]
    assert torch.equal(edges, edge_index)  # no self loops between two sets


def test_two_tensors_of_one_kind_of_nodes():
    peer, own = twins(pyg.GATv2Conv, GATv2Conv, 6, 4, heads=2, share_weights=True)
    assert_same_layers(peer, own, (torch.randn(10, 6).double(), torch.randn(7, 6).double()), random_graph(10, 7, 30))


def test_other_forms_of_the_edges():
    peer, own = twins(pyg.GATv2Conv, GATv2Conv, 6, 4, heads=2)
    x, edge_index = torch.randn(9, 6).double(), random_graph(9, 9, 30).unique(dim=1)
    adjacency = to_torch_csr_tensor(edge_index, size=(9, 9))
    wanted, (wanted_matrix, wanted_alpha) = peer(x, adjacency, return_attention_weights=True)
    out, (matrix, alpha) = own(x, adjacency, return_attention_weights=True)
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(alpha, wanted_alpha)
    torch.testing.assert_close(matrix.to_dense(), wanted_matrix.to_dense())
    for graph in (CompleteGraph(9), BandedGraph(9, 2, 1)):
        torch.testing.assert_close(own(x, graph), own(x, graph.edge_index().clone()))


def test_lazy_sizes_and_state_dict_both_ways():
    x, edge_index, edge_attr = torch.randn(9, 6), random_graph(9, 9, 20), torch.randn(25)
    own = GATv2Conv(-1, 4, heads=2, edge_dim=-1, share_weights=True)
    first = own(x, edge_index, edge_attr)
    torch.testing.assert_close(own(x, edge_index, edge_attr), first)
    peer = pyg.GATv2Conv(6, 4, heads=2, edge_dim=1, share_weights=True)
    assert list(peer.state_dict()) == list(own.state_dict())
    peer.load_state_dict(own.state_dict())
    torch.testing.assert_close(peer(x, edge_index, edge_attr), first)
    own = GATv2Conv(-1, 4, heads=2, edge_dim=-1, share_weights=True)
    own.load_state_dict(peer.state_dict())
    torch.testing.assert_close(own(x, edge_index, edge_attr), first)


def test_copies_and_text():
    own, x, edge_index = GATv2Conv(6, 4, heads=2), torch.randn(9, 6), random_graph(9, 9, 20)
    assert repr(own) == "GATv2Conv(6, 4, heads=2)"
    for copied in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        torch.testing.assert_close(copied(x, edge_index), own(x, edge_index))


def test_nothing_to_attend_to():
    peer, own = twins(pyg.GATv2Conv, GATv2Conv, 6, 4, heads=2)
    empty = torch.empty(2, 0, dtype=torch.long)
    assert_same_layers(peer, own, torch.randn(5, 6).double(), empty)
    assert_same_layers(peer, own, torch.empty(0, 6).double(), empty)


def test_under_autocast():
    peer, own = twins(pyg.GATv2Conv, GATv2Conv, 6, 4, heads=2, edge_dim=3, dtype=torch.float32)
    x, edge_index, edge_attr = torch.randn(9, 6), random_graph(9, 9, 20), torch.randn(25, 3)
    with torch.autocast("cpu", torch.bfloat16):
        out, wanted = own(x, edge_index, edge_attr), peer(x, edge_index, edge_attr)
    assert out.dtype == wanted.dtype
    torch.testing.assert_close(out, wanted, rtol=0.05, atol=0.05)


def test_bad_input():
    x, edge_index = torch.randn(9, 6), random_graph(9, 9, 20)
    with pytest.raises(ValueError, match=r"got \(x_src, None\)"):
        GATv2Conv(6, 4)((x, None), edge_index)
    with pytest.raises(ValueError, match="'edge_attr' needs 'edge_dim'"):
        GATv2Conv(6, 4)(x, edge_index, torch.randn(25, 3))
