"""GATConv against PyG's."""

import copy
import pickle
import warnings

import pytest
import torch
import torch_geometric.nn as pyg
from torch_geometric import EdgeIndex
from torch_geometric.utils import to_torch_coo_tensor, to_torch_csr_tensor

from graphattn import BandedGraph, CompleteGraph
from graphattn.graphs.csr import compress_edges
from graphattn.nn import GATConv
from tests.nn.peer import TOLERANCE, assert_same_layers, random_graph, twins

OPTIONS = [
    {},
    {"concat": False, "residual": True},
    {"negative_slope": 0.01},
    {"negative_slope": 1.5, "edge_dim": 3},
    {"add_self_loops": False},
    {"add_self_loops": False, "edge_dim": 3, "concat": False},
    {"edge_dim": 3},
    {"edge_dim": 3, "fill_value": 0.5},
    {"edge_dim": 3, "fill_value": "max", "bias": False, "residual": True},
    {"edge_dim": 3, "fill_value": torch.tensor([0.5, 1.0, -2.0], dtype=torch.float64)},
    {"aggr": "max", "edge_dim": 3},
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_pyg(options, dtype):
    options = {key: x.to(dtype) if isinstance(x, torch.Tensor) else x for key, x in options.items()}
    peer, own = twins(pyg.GATConv, GATConv, 6, 4, heads=3, dtype=dtype, **options)
    edge_index = random_graph(9, 9, 30)
    edge_attr = torch.randn(edge_index.size(1), 3, dtype=dtype) if "edge_dim" in options else None
    x = torch.randn(9, 6, dtype=dtype)
    assert_same_layers(peer, own, x, edge_index, edge_attr, tolerance=TOLERANCE[dtype])
    if options.get("aggr") is None:
        wanted, (wanted_edges, wanted_alpha) = peer(x, edge_index, edge_attr, return_attention_weights=True)
        out, (edges, alpha) = own(x, edge_index, edge_attr, return_attention_weights=True)
        assert torch.equal(edges, wanted_edges)
        torch.testing.assert_close(alpha, wanted_alpha)
        torch.testing.assert_close(out, wanted)


@pytest.mark.parametrize("edge_dim", [None, 3])
def test_two_sets_of_nodes(edge_dim):
    options = {"heads": 2, "add_self_loops": False, "residual": True, "edge_dim": edge_dim}
    peer, own = twins(pyg.GATConv, GATConv, (6, 5), 4, **options)
    edge_index = random_graph(10, 7, 30)
    edge_attr = None if edge_dim is None else torch.randn(edge_index.size(1), 3).double()
    x = torch.randn(10, 6).double(), torch.randn(7, 5).double()
    assert_same_layers(peer, own, x, edge_index, edge_attr)
    assert_same_layers(peer, own, x, edge_index, edge_attr, size=(10, 7))


def test_targets_without_features():
    peer, own = twins(pyg.GATConv, GATConv, (6, 5), 4, heads=2, add_self_loops=False)
    x, edge_index = (torch.randn(10, 6).double(), None), random_graph(10, 7, 30)
    assert_same_layers(peer, own, x, edge_index, size=(10, 7))
    adjacency = to_torch_csr_tensor(edge_index.flip(0).unique(dim=1), size=(7, 10))
    torch.testing.assert_close(own(x, adjacency), peer(x, adjacency))
    peer, own = twins(pyg.GATConv, GATConv, 6, 4, heads=2)
    assert_same_layers(peer, own, x, random_graph(10, 10, 30))


def test_self_loops_only_inside_one_set():
    """PyG joins node i of one set to node i of the other, which changes what target 3, without edges, gets."""
    own = GATConv((6, 5), 4, heads=2)
    x = torch.randn(4, 6), torch.randn(5, 5)
    edge_index = torch.tensor([[0, 1], [1, 2]])
    out, (edges, _) = own(x, edge_index, return_attention_weights=True)
    assert torch.equal(edges, edge_index)
    assert torch.equal(out[3], own.bias)
    own.register_message_forward_hook(lambda *_: None)
    torch.testing.assert_close(own(x, edge_index), out)
    peer, own = twins(pyg.GATConv, GATConv, (6, 6), 4, heads=2)
    x = torch.randn(8, 6).double()
    for pair in [(x, x), (x, x[:5])]:  # one set: a tensor twice, and a block of a NeighborLoader
        edge_index = random_graph(8, 5, 20)
        torch.testing.assert_close(own(pair, edge_index), peer(pair, edge_index))


def test_block_of_a_neighbor_loader():
    peer, own = twins(pyg.GATConv, GATConv, 6, 4, heads=2)
    x = torch.randn(10, 6).double()
    assert_same_layers(peer, own, (x, x[:6]), random_graph(10, 6, 30))


def test_sparse_matrices():
    peer, own = twins(pyg.GATConv, GATConv, 6, 4, heads=2)
    x, edge_index = torch.randn(9, 6).double(), random_graph(9, 9, 30).unique(dim=1)
    for adjacency in (to_torch_csr_tensor(edge_index, size=(9, 9)), to_torch_coo_tensor(edge_index, size=(9, 9))):
        wanted, (wanted_matrix, wanted_alpha) = peer(x, adjacency, return_attention_weights=True)
        out, (matrix, alpha) = own(x, adjacency, return_attention_weights=True)
        torch.testing.assert_close(out, wanted)
        torch.testing.assert_close(alpha, wanted_alpha)
        assert matrix.layout == wanted_matrix.layout
        torch.testing.assert_close(matrix.to_dense(), wanted_matrix.to_dense())
    torch.testing.assert_close(own(x, adjacency.to_dense().bool()), wanted)
    sorted_index = EdgeIndex(edge_index.flip(0).contiguous(), sparse_size=(9, 9))
    torch.testing.assert_close(own(x, sorted_index), wanted)


def test_attributes_in_a_sparse_matrix():
    peer, own = twins(pyg.GATConv, GATConv, 6, 4, heads=2, edge_dim=3)
    edge_index = random_graph(9, 9, 30).unique(dim=1)
    x, edge_attr = torch.randn(9, 6).double(), torch.randn(edge_index.size(1), 3).double()
    adjacency = to_torch_csr_tensor(edge_index, edge_attr, size=(9, 9))
    torch.testing.assert_close(own(x, adjacency), peer(x, adjacency))
    torch.testing.assert_close(own(x, adjacency), own(x, edge_index.flip(0), edge_attr))


def test_symbolic_graphs_stay_symbolic_where_every_node_sees_itself():
    own, x = GATConv(6, 4, heads=2).double(), torch.randn(9, 6).double()
    for graph in (CompleteGraph(9), BandedGraph(9, 2, 1), BandedGraph(9, 2, 0, offset=-3)):
        out, (edge_index, _) = own(x, graph, return_attention_weights=True)
        torch.testing.assert_close(out, own(x, graph.edge_index().clone()))
        assert (edge_index[0] == edge_index[1]).sum() == 9


def test_attributes_of_self_loops_are_filled_in_on_symbolic_graphs_too():
    own, graph = GATConv(6, 4, edge_dim=3).double(), CompleteGraph(9)
    x, edge_attr = torch.randn(9, 6).double(), torch.randn(81, 3).double()
    torch.testing.assert_close(own(x, graph, edge_attr), own(x, graph.edge_index().clone(), edge_attr))


def test_one_column_of_attributes():
    peer, own = twins(pyg.GATConv, GATConv, 6, 4, heads=2, edge_dim=1)
    x, edge_index = torch.randn(9, 6).double(), random_graph(9, 9, 20)
    assert_same_layers(peer, own, x, edge_index, torch.randn(25).double())
    assert_same_layers(peer, own, x, edge_index)  # as if the layer had no edge_dim


def test_attributes_without_a_place_are_ignored_aloud_once_for_each_layer():
    x, edge_index, edge_attr = torch.randn(9, 6).double(), random_graph(9, 9, 20), torch.randn(25, 3).double()
    for _ in range(2):
        peer, own = twins(pyg.GATConv, GATConv, 6, 4, heads=2)
        with pytest.warns(UserWarning, match=r"GATConv\(6, 4, heads=2\) ignores 'edge_attr' \[25, 3\]"):
            out = own(x, edge_index, edge_attr)
        torch.testing.assert_close(out, peer(x, edge_index, edge_attr))
        torch.testing.assert_close(out, own(x, edge_index))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            own(x, edge_index, edge_attr)


def test_attributes_for_a_method_of_the_user_are_not_ignored():
    """They come as they are, whole numbers too, with those of the self loops."""

    class Weighed(GATConv):
        def edge_update(self, alpha_j, alpha_i, edge_attr):
            return edge_attr[:, None].float()

    own, x, edge_index = Weighed(6, 4, fill_value=2), torch.randn(9, 6), random_graph(9, 9, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, (_, alpha) = own(x, edge_index, torch.arange(25), return_attention_weights=True)
    kept = edge_index[0] != edge_index[1]
    assert alpha.flatten().tolist() == [*torch.arange(25)[kept].tolist(), *[2] * 9]


def test_lazy_sizes_and_state_dict_both_ways():
    x, edge_index, edge_attr = torch.randn(9, 6), random_graph(9, 9, 20), torch.randn(25, 3)
    own = GATConv((-1, -1), 4, heads=2, edge_dim=-1, residual=True)
    first = own(x, edge_index, edge_attr)
    torch.testing.assert_close(own(x, edge_index, edge_attr), first)
    peer = pyg.GATConv((6, 6), 4, heads=2, edge_dim=3, residual=True)
    assert list(peer.state_dict()) == list(own.state_dict())
    peer.load_state_dict(own.state_dict())
    torch.testing.assert_close(peer(x, edge_index, edge_attr), first)
    own = GATConv(-1, 4)
    own.load_state_dict(pyg.GATConv(6, 4).state_dict())
    assert own(x, edge_index).shape == (9, 4)


def test_copies_and_text():
    own, x, edge_index = GATConv(6, 4, heads=2), torch.randn(9, 6), random_graph(9, 9, 20)
    assert repr(own) == "GATConv(6, 4, heads=2)"
    for copied in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        torch.testing.assert_close(copied(x, edge_index), own(x, edge_index))


def test_nothing_to_attend_to():
    peer, own = twins(pyg.GATConv, GATConv, 6, 4, heads=2)
    empty = torch.empty(2, 0, dtype=torch.long)
    assert_same_layers(peer, own, torch.randn(5, 6).double(), empty)
    assert_same_layers(peer, own, torch.empty(0, 6).double(), empty)


def test_under_autocast():
    peer, own = twins(pyg.GATConv, GATConv, 6, 4, heads=2, edge_dim=3, dtype=torch.float32)
    x, edge_index, edge_attr = torch.randn(9, 6), random_graph(9, 9, 20), torch.randn(25, 3)
    with torch.autocast("cpu", torch.bfloat16):
        out, wanted = own(x, edge_index, edge_attr), peer(x, edge_index, edge_attr)
    assert out.dtype == wanted.dtype
    torch.testing.assert_close(out, wanted, rtol=0.05, atol=0.05)


def test_bfloat16_rows_sum_to_one():
    x = torch.randn(4096, 8).bfloat16()
    edge_index = torch.stack([torch.arange(4096), torch.zeros(4096, dtype=torch.long)])
    _, (_, alpha) = GATConv(8, 8, add_self_loops=False).bfloat16()(x, edge_index, return_attention_weights=True)
    assert abs(alpha.float().sum().item() - 1) < 1e-2


def test_weights_are_those_before_dropout():
    own, x, edge_index = GATConv(6, 4, dropout=0.5), torch.randn(9, 6), random_graph(9, 9, 20)
    alpha = own(x, edge_index, return_attention_weights=True)[1][1]
    assert (alpha > 0).all()
    torch.testing.assert_close(own.eval()(x, edge_index, return_attention_weights=True)[1][1], alpha)


def test_self_loops_are_sorted_once(monkeypatch):
    edge_index, x, sorts = random_graph(9, 9, 20), torch.randn(9, 6), []
    sort = "graphattn.graphs.edge_list.compress_edges"
    monkeypatch.setattr(sort, lambda *edges: sorts.append(edges) or compress_edges(*edges))
    own = GATConv(6, 4)
    first, second = (own(x, edge_index, return_attention_weights=True)[1][0] for _ in range(2))
    assert torch.equal(first, second) and len(sorts) == 1
    first.fill_(0)  # the caller's, not the layer's
    assert torch.equal(own(x, edge_index, return_attention_weights=True)[1][0], second)


def test_bad_input():
    own, edge_index = GATConv(6, 4), random_graph(9, 9, 20)
    with pytest.raises(ValueError, match="lay a batch end to end"):
        own(torch.randn(1, 9, 6), edge_index)
    with pytest.raises(ValueError, match=r"= \(9, 9\) \(got \(9, 8\)\)"):
        own(torch.randn(9, 6), edge_index, size=(9, 8))
    with pytest.raises(ValueError, match="key 8, but there are 8 keys"):
        own(torch.randn(8, 6), torch.tensor([[8], [0]]))
