"""TransformerConv against PyG's."""

import copy
import pickle

import pytest
import torch
import torch_geometric.nn as pyg
from torch_geometric import EdgeIndex
from torch_geometric.utils import to_torch_coo_tensor, to_torch_csr_tensor

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, as_graph
from graphattn.nn import TransformerConv
from tests.nn.peer import TOLERANCE, assert_same_layers, random_graph, twins

OPTIONS = [
    {},
    {"concat": False},
    {"beta": True},
    {"beta": True, "concat": False, "edge_dim": 3},
    {"edge_dim": 3},
    {"edge_dim": 3, "bias": False},
    {"root_weight": False},
    {"root_weight": False, "beta": True, "edge_dim": 3, "concat": False},
    {"aggr": "mean"},
    {"aggr": "max", "edge_dim": 3},
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_pyg(options, dtype):
    for sizes in [(9, 9), (10, 7)]:
        channels = 6 if sizes[0] == sizes[1] else (6, 5)
        peer, own = twins(pyg.TransformerConv, TransformerConv, channels, 4, heads=3, dtype=dtype, **options)
        edge_index = random_graph(*sizes, 30)
        x = torch.randn(sizes[0], 6, dtype=dtype)
        x = x if channels == 6 else (x, torch.randn(sizes[1], 5, dtype=dtype))
        edge_attr = torch.randn(edge_index.size(1), 3, dtype=dtype) if "edge_dim" in options else None
        assert_same_layers(peer, own, x, edge_index, edge_attr, tolerance=TOLERANCE[dtype])


@pytest.mark.parametrize("edge_dim", [None, 3])
def test_weights_are_those_of_pyg(edge_dim):
    peer, own = twins(pyg.TransformerConv, TransformerConv, 6, 4, heads=3, edge_dim=edge_dim)
    x, edge_index = torch.randn(9, 6).double(), random_graph(9, 9, 30)
    edge_attr = None if edge_dim is None else torch.randn(edge_index.size(1), 3).double()
    wanted, (_, wanted_alpha) = peer(x, edge_index, edge_attr, return_attention_weights=True)
    out, (edges, alpha) = own(x, edge_index, edge_attr, return_attention_weights=True)
    assert edges is edge_index
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(alpha, wanted_alpha)
    assert isinstance(own(x, edge_index, edge_attr, return_attention_weights=False), torch.Tensor)
    assert own._alpha is None


def test_every_form_of_the_edges():
    own = TransformerConv((6, 5), 4, heads=2).double()
    x = torch.randn(8, 6).double(), torch.randn(5, 5).double()
    edge_index = random_graph(8, 5, 20).unique(dim=1).contiguous()
    wanted, (_, wanted_alpha) = own(x, edge_index, return_attention_weights=True)
    adjacency = torch.sparse_coo_tensor(edge_index.flip(0), torch.ones(edge_index.size(1)), (5, 8)).coalesce()
    forms = [
        EdgeIndex(edge_index, sparse_size=(8, 5)),
        adjacency,
        adjacency.to_sparse_csr(),
        adjacency.to_sparse_csc(),
        EdgeListGraph(edge_index, 5, 8),
        adjacency.to_dense().bool(),
    ]
    for edges in forms:
        out, (_, alpha) = own(x, edges, return_attention_weights=True)
        torch.testing.assert_close(out, wanted)
        torch.testing.assert_close(alpha.sort(0).values, wanted_alpha.sort(0).values)


def test_weights_of_a_sparse_matrix_are_in_its_order():
    peer, own = twins(pyg.TransformerConv, TransformerConv, 6, 4, heads=3)
    x, edge_index = torch.randn(9, 6).double(), random_graph(9, 9, 30).unique(dim=1)
    for adjacency in (to_torch_csr_tensor(edge_index, size=(9, 9)), to_torch_coo_tensor(edge_index, size=(9, 9))):
        _, (wanted_edges, wanted) = peer(x, adjacency, return_attention_weights=True)
        _, (edges, alpha) = own(x, adjacency, return_attention_weights=True)
        assert edges is wanted_edges
        torch.testing.assert_close(alpha, wanted)


def test_symbolic_graphs():
    own, x = TransformerConv(6, 4, heads=2).double(), torch.randn(9, 6).double()
    for graph in (CompleteGraph(9), BandedGraph(9, 2, 1), CompleteGraph([4, 5])):
        out, (edge_index, alpha) = own(x, graph, return_attention_weights=True)
        torch.testing.assert_close(out, own(x, graph.edge_index().clone()))
        assert edge_index.shape == (2, len(alpha))


def test_one_column_of_attributes_and_those_of_a_sparse_matrix():
    own, x = TransformerConv(6, 4, heads=2, edge_dim=1).double(), torch.randn(9, 6).double()
    edge_index, weight = random_graph(9, 9, 20), torch.randn(25).double()
    torch.testing.assert_close(own(x, edge_index, weight), own(x, edge_index, weight[:, None]))
    peer, own = twins(pyg.TransformerConv, TransformerConv, 6, 4, heads=2, edge_dim=3)
    edge_index = edge_index.unique(dim=1)
    edge_attr = torch.randn(edge_index.size(1), 3).double()
    adjacency = to_torch_csr_tensor(edge_index, edge_attr, size=(9, 9))
    torch.testing.assert_close(own(x, adjacency), peer(x, adjacency))


def test_attributes_without_a_map_are_added_to_the_values_as_in_pyg():
    peer, own = twins(pyg.TransformerConv, TransformerConv, 6, 4, heads=2)
    x, edge_index = torch.randn(9, 6).double(), random_graph(9, 9, 20)
    for shape in [(25, 2, 4), (25, 1, 4), (25, 2, 1)]:
        assert_same_layers(peer, own, x, edge_index, torch.randn(shape).double())


def test_lazy_sizes_and_state_dict_both_ways():
    x, edge_index, edge_attr = torch.randn(9, 6), random_graph(9, 9, 20), torch.randn(25, 3)
    own = TransformerConv(-1, 4, heads=2, edge_dim=-1, beta=True)
    first = own(x, edge_index, edge_attr)
    torch.testing.assert_close(own(x, edge_index, edge_attr), first)  # the first call went through messages
    peer = pyg.TransformerConv(6, 4, heads=2, edge_dim=3, beta=True)
    assert list(peer.state_dict()) == list(own.state_dict())
    peer.load_state_dict(own.state_dict())
    torch.testing.assert_close(peer(x, edge_index, edge_attr), first)
    own = TransformerConv(-1, 4, heads=2, edge_dim=-1, beta=True)
    own.load_state_dict(peer.state_dict())
    torch.testing.assert_close(own(x, edge_index, edge_attr), first)


def test_copies_and_text():
    own, x, edge_index = TransformerConv((6, 6), 4, heads=2), torch.randn(9, 6), random_graph(9, 9, 20)
    assert repr(own) == "TransformerConv((6, 6), 4, heads=2)"
    for copied in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        torch.testing.assert_close(copied(x, edge_index), own(x, edge_index))


def test_nothing_to_attend_to():
    peer, own = twins(pyg.TransformerConv, TransformerConv, 6, 4, heads=2, edge_dim=3)
    empty = torch.empty(2, 0, dtype=torch.long)
    assert_same_layers(peer, own, torch.randn(5, 6).double(), empty, torch.empty(0, 3).double())
    assert_same_layers(peer, own, torch.empty(0, 6).double(), empty, torch.empty(0, 3).double())


def test_bfloat16_rows_sum_to_one_for_sorted_edges():
    degree = 4096
    x = torch.randn(degree, 8, dtype=torch.bfloat16)
    edge_index = torch.stack([torch.arange(degree), torch.zeros(degree, dtype=torch.long)])
    edge_index = EdgeIndex(edge_index, sparse_size=(degree, degree), sort_order="col")
    own = TransformerConv(8, 8, root_weight=False).bfloat16()
    out, (_, alpha) = own(x, edge_index, return_attention_weights=True)
    assert abs(alpha.float().sum().item() - 1) < 1e-2
    wanted = copy.deepcopy(own).double()(x.double(), edge_index.as_tensor())[0]
    assert (out[0].double() - wanted).abs().max() < 0.02


def test_decomposed_layers_change_nothing():
    """PyG's layer cannot be decomposed: it fails with a RuntimeError."""
    own = TransformerConv(6, 4, heads=2, decomposed_layers=2)
    plain = TransformerConv(6, 4, heads=2)
    plain.load_state_dict(own.state_dict())
    x, edge_index = torch.randn(9, 6), random_graph(9, 9, 20)
    torch.testing.assert_close(own(x, edge_index), plain(x, edge_index))


def test_reversed_flow():
    peer, own = twins(pyg.TransformerConv, TransformerConv, 6, 4, heads=2, flow="target_to_source")
    x, edge_index = torch.randn(9, 6).double(), random_graph(9, 9, 20)
    assert_same_layers(peer, own, x, edge_index)
    wanted_alpha = peer(x, edge_index, return_attention_weights=True)[1][1]
    torch.testing.assert_close(own(x, edge_index, return_attention_weights=True)[1][1], wanted_alpha)


def test_dropout_repeats_by_seed_and_rests_in_evaluation():
    own, x = TransformerConv(6, 4, heads=2, dropout=0.5), torch.randn(9, 6)
    edge_index = random_graph(9, 9, 60)
    outs = []
    for _ in range(2):
        torch.manual_seed(3)
        outs.append(own(x, edge_index))
    torch.testing.assert_close(*outs)
    quiet = own.eval()(x, edge_index)
    assert not torch.allclose(quiet, outs[0])
    torch.testing.assert_close(own(x, edge_index), quiet)


def test_under_autocast():
    peer, own = twins(pyg.TransformerConv, TransformerConv, 6, 4, heads=2, edge_dim=3, dtype=torch.float32)
    x, edge_index, edge_attr = torch.randn(9, 6), random_graph(9, 9, 20), torch.randn(25, 3)
    with torch.autocast("cpu", torch.bfloat16):
        out, wanted = own(x, edge_index, edge_attr), peer(x, edge_index, edge_attr)
    assert out.dtype == wanted.dtype
    torch.testing.assert_close(out, wanted, rtol=0.05, atol=0.05)


def test_layers_share_one_sorted_form():
    edge_index = random_graph(9, 9, 20)
    for _ in range(2):
        TransformerConv(6, 4)(torch.randn(9, 6), edge_index)
    assert as_graph(edge_index, 9).by_query() is as_graph(edge_index, 9).by_query()


def test_bad_input():
    x, edge_index = torch.randn(9, 6), random_graph(9, 9, 20)
    with pytest.raises(ValueError, match="'edge_dim' needs 'edge_attr'"):
        TransformerConv(6, 4, edge_dim=3)(x, edge_index)
    with pytest.raises(ValueError, match="'edge_attr' needs 'edge_dim'"):
        TransformerConv(6, 4)(x, edge_index, torch.randn(25, 3))
    with pytest.raises(ValueError, match=r"\[25, 3\].*got \[24, 3\]"):
        TransformerConv(6, 4, edge_dim=3)(x, edge_index, torch.randn(24, 3))
    with pytest.raises(TypeError, match=r"must be floating \(got torch.int64"):
        TransformerConv(6, 4, edge_dim=3)(x, edge_index, torch.ones(25, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="lay a batch end to end"):
        TransformerConv(6, 4)(x[None], edge_index)
