"""What a drop-in does around its messages is in PyG's order, and as often as in PyG."""

import copy

import pytest
import torch
import torch_geometric.nn as pyg
from torch_geometric import EdgeIndex
from torch_geometric.utils import to_torch_coo_tensor

import graphattn.nn
from graphattn import BandedGraph
from graphattn.nn import GATConv, GATv2Conv
from graphattn.nn.messages import needs_messages
from tests.nn.own_methods import PAIRS, by_subclass
from tests.nn.peer import assert_same_layers, random_graph, twins


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def aggregate(self, inputs, index):
    return torch.stack([inputs[index == node].sum(0).tanh() for node in range(9)])


@pytest.mark.parametrize("kind", ["gat", "gatv2"])
def test_a_class_without_a_file(kind):
    """As a shell makes it: PyG cannot compile it."""
    base, own_base = PAIRS[kind]
    own_base(6, 4)  # from now on PyG has compiled the class before
    own_class = type(f"Typed{own_base.__name__}", (own_base,), {"aggregate": aggregate})
    peer_class = by_subclass(base, "aggregate", aggregate)
    peer_class.__name__ += "_node_by_node"
    peer, own = twins(peer_class, own_class, 6, 4, heads=2)
    x, edge_index = torch.randn(9, 6).double(), random_graph(9, 9, 20).unique(dim=1)
    assert_same_layers(peer, own, x, edge_index)
    adjacency = to_torch_coo_tensor(edge_index, size=(9, 9))
    torch.testing.assert_close(own(x, adjacency), peer(x, adjacency))
    own(x.requires_grad_(), adjacency).sum().backward()  # PyG writes into the matrix


@pytest.mark.parametrize("kind", PAIRS)
def test_graphs_go_by_messages_too(kind):
    _, own = twins(*PAIRS[kind], 6, 4, heads=2, edge_dim=3)
    graph = BandedGraph(9, 2, 1)
    x, edge_attr = torch.randn(9, 6).double(), torch.randn(graph.num_edges, 3).double()
    wanted = own(x, graph, edge_attr)
    own.register_message_forward_hook(lambda *_: None)
    torch.testing.assert_close(own(x, graph, edge_attr), wanted)


class WithDropout(torch.nn.Module):
    """As adapters put around maps: two calls are two different maps."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, x):
        return torch.nn.functional.dropout(self.linear(x), 0.5, self.training)


MAPS = {"transformer": ["lin_query", "lin_key", "lin_skip"], "gat": ["lin", "res"], "gatv2": ["lin_l", "lin_r", "res"]}


@pytest.mark.parametrize("pair", [False, True], ids=["one tensor", "the same tensor twice"])
@pytest.mark.parametrize("kind", PAIRS)
def test_wrapped_maps_are_called_in_pygs_order_and_as_often(kind, pair):
    options = {} if kind == "transformer" else {"residual": True}
    peer, own = twins(*PAIRS[kind], 6, 4, heads=2, **options)
    for layer in (peer, own):
        for name in MAPS[kind]:
            setattr(layer, name, WithDropout(getattr(layer, name)))
    x, edge_index, outs = torch.randn(9, 6).double(), random_graph(9, 9, 20), []
    for layer in (peer, own):
        torch.manual_seed(1)
        outs.append(layer((x, x) if pair else x, edge_index))
    torch.testing.assert_close(*outs)


def test_shared_weights_of_which_one_was_wrapped():
    peer, own = twins(pyg.GATv2Conv, GATv2Conv, 6, 4, share_weights=True)
    for layer in (peer, own):
        layer.lin_r = torch.nn.Sequential(layer.lin_r, torch.nn.Tanh())
    x, edge_index = torch.randn(9, 6).double(), random_graph(9, 9, 20)
    assert_same_layers(peer, own, x, edge_index)
    torch.testing.assert_close(own((x, x), edge_index), peer((x, x), edge_index))


@pytest.mark.parametrize("kind", PAIRS)
def test_lazy_layers_draw_the_weights_that_pyg_draws(kind):
    options = {} if kind == "transformer" else {"residual": True}
    x, edge_index, edge_attr, outs = torch.randn(9, 6), random_graph(9, 9, 20), torch.randn(25, 3), []
    for layer in PAIRS[kind]:
        torch.manual_seed(1)
        outs.append(layer((-1, -1), 4, edge_dim=-1, add_self_loops=False, **options)((x, x), edge_index, edge_attr)
                    if options else layer(-1, 4, edge_dim=-1)(x, edge_index, edge_attr))  # fmt: skip
    torch.testing.assert_close(*outs)


def test_parametrized_drop_ins_stay_on_kernels():
    peer, own = twins(pyg.GATConv, GATConv, 6, 4)
    for layer in (peer, own):
        torch.nn.utils.parametrize.register_parametrization(layer, "att_src", torch.nn.Tanh())
    assert not needs_messages(own)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20)
    assert_same_layers(peer, own, *inputs)
    assert_same_layers(peer, copy.deepcopy(own), *inputs)


@pytest.mark.parametrize("kind", ["gat", "gatv2"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool], ids=str)
def test_whole_attributes_beside_the_mean_of_self_loops(dtype, kind):
    """The mean is floating, and so are then all attributes."""
    peer, own = twins(*PAIRS[kind], 6, 4, heads=2, edge_dim=1, dtype=torch.float32)
    inputs = torch.randn(9, 6), random_graph(9, 9, 20), torch.randint(3, (25, 1)).to(dtype)
    assert_same_layers(peer, own, *inputs, tolerance=1e-5)
    for options in ({"add_self_loops": False}, {"fill_value": 2}):  # PyG cannot either
        with pytest.raises(TypeError, match=r"'edge_attr' must be floating \(got torch"):
            PAIRS[kind][1](6, 4, edge_dim=1, **options)(*inputs)


@pytest.mark.parametrize("kind", ["gat", "gatv2"])
@pytest.mark.parametrize("loops", [True, False])
def test_weights_of_an_edge_index_come_back_with_one(loops, kind):
    peer, own = twins(*PAIRS[kind], 6, 4, heads=2, add_self_loops=loops)
    edge_index = random_graph(9, 9, 20)
    for edges in (
        EdgeIndex(edge_index.int(), sparse_size=(9, 9)),
        EdgeIndex(edge_index[:, edge_index[1].argsort()], sparse_size=(9, 9), sort_order="col"),
        EdgeIndex(edge_index),
    ):
        (found, alpha), (wanted, peer_alpha) = (
            layer(torch.ones(9, 6).double(), edges, return_attention_weights=True)[1] for layer in (own, peer)
        )
        torch.testing.assert_close(alpha, peer_alpha)
        assert isinstance(found, EdgeIndex) and torch.equal(found.as_tensor(), wanted.as_tensor())
        assert (found.dtype, found.sparse_size(), found.sort_order) == (
            wanted.dtype,
            wanted.sparse_size(),
            wanted.sort_order,
        )
        assert (found is edges) == (wanted is edges)


@pytest.mark.parametrize(
    "name, options",
    [("GATConv", {"bias": False}), ("GATv2Conv", {"bias": False}), ("TransformerConv", {"root_weight": False})],
)
@pytest.mark.parametrize("concat", [True, False])
def test_who_comes_next_may_write_into_the_output(name, options, concat):
    torch.manual_seed(0)
    edges, x = torch.randint(8, (2, 20)), torch.randn(8, 6)
    peer = getattr(pyg, name)(6, 4, heads=2, concat=concat, **options)
    own = getattr(graphattn.nn, name)(6, 4, heads=2, concat=concat, **options)
    own.load_state_dict(peer.state_dict())
    found = []
    for layer in (own, peer):
        leaf = x.clone().requires_grad_()
        torch.nn.functional.relu(layer(leaf, edges), inplace=True).sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
