"""Explainers, hooks and users' own methods take part in PyG's messages on every drop-in, with the numbers of PyG's layers."""

import threading
import types

import pytest
import torch
import torch_geometric.nn as pyg
from torch.nn import Linear, Module
from torch_geometric import EdgeIndex
from torch_geometric.explain import AttentionExplainer, Explainer, GNNExplainer
from torch_geometric.utils import to_torch_coo_tensor, to_torch_csr_tensor

from graphattn import BandedGraph
from graphattn.nn import GATConv, GraphAttention, TransformerConv
from graphattn.nn.messages import needs_messages
from tests.nn.own_methods import ALWAYS_CALLED, CASES, METHODS, PAIRS, WAYS, by_subclass
from tests.nn.peer import assert_same_layers, molecule, random_graph, twins


class Net(Module):
    def __init__(self, layer):
        super().__init__()
        self.first, self.second = layer(6, 4, heads=2), layer(8, 3, heads=1)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


def explanation(model, algorithm, data):
    config = {"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"}
    options = {} if isinstance(algorithm, AttentionExplainer) else {"node_mask_type": "attributes"}
    explainer = Explainer(
        model, algorithm, explanation_type="model", edge_mask_type="object", model_config=config, **options
    )
    torch.manual_seed(1)
    return explainer(data.x, data.edge_index)


@pytest.mark.parametrize("make", [AttentionExplainer, lambda: GNNExplainer(epochs=5)], ids=["attention", "gnn"])
@pytest.mark.parametrize("kind", PAIRS)
def test_explainers_find_what_they_find_in_pyg(kind, make):
    torch.manual_seed(0)
    peer, own = (Net(layer).eval() for layer in PAIRS[kind])
    own.load_state_dict(peer.state_dict())
    data = molecule()
    before = own(data.x, data.edge_index)
    found, wanted = explanation(own, make(), data), explanation(peer, make(), data)
    assert wanted.edge_mask.any()
    torch.testing.assert_close(found.edge_mask, wanted.edge_mask, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own(data.x, data.edge_index), before)
    assert not needs_messages(own.first)


@pytest.mark.parametrize("kind", PAIRS)
def test_hooks_run_and_change_nothing(kind):
    torch.manual_seed(0)
    peer, own = twins(*PAIRS[kind], 6, 4, heads=2, edge_dim=3)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20), torch.randn(25, 3).double()
    seen = []
    handles = [own.register_message_forward_hook(lambda module, inputs, out: seen.append(out))]
    handles += [own.register_propagate_forward_pre_hook(lambda module, inputs: seen.append(inputs))]
    assert_same_layers(peer, own, *inputs)
    assert len(seen) == 2
    assert getattr(own, "_alpha", None) is None  # PyG leaves the weights there on its way
    for handle in handles:
        handle.remove()
    own(*inputs)
    assert len(seen) == 2


def test_a_wrapped_edge_map_is_called():
    """Adapters put a module in its place, whose weight is not all there is."""

    class Wrapped(Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    torch.manual_seed(0)
    _, own = twins(pyg.GATConv, GATConv, 6, 4, edge_dim=3)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20), torch.randn(25, 3).double()
    weight = own.lin_edge.weight.detach()
    own.lin_edge = Wrapped(3, 4, bias=False).double()
    own.lin_edge.load_state_dict({"weight": weight})
    assert needs_messages(own)
    twice = own(*inputs)
    own.lin_edge = pyg.Linear(3, 4, bias=False).double()
    own.lin_edge.load_state_dict({"weight": 2 * weight})
    assert not needs_messages(own)
    torch.testing.assert_close(own(*inputs), twice)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_methods_of_a_subclass(kind, name, way):
    torch.manual_seed(0)
    peer_class, own_class = (WAYS[way](base, name, getattr(METHODS[kind], name)) for base in PAIRS[kind])
    peer, own = twins(peer_class, own_class, 6, 4, heads=2)
    assert needs_messages(own)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20)
    plain = PAIRS[kind][0](6, 4, heads=2).double()
    plain.load_state_dict(peer.state_dict())
    assert not torch.allclose(peer(*inputs), plain(*inputs))
    assert_same_layers(peer, own, *inputs)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_methods_of_an_object(kind, name):
    torch.manual_seed(0)
    peer, own = twins(*PAIRS[kind], 6, 4, heads=2)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20)
    before = own(*inputs)
    for layer in (peer, own):
        setattr(layer, name, types.MethodType(taking_any(getattr(METHODS[kind], name)), layer))
    assert_same_layers(peer, own, *inputs)
    delattr(own, name)
    torch.testing.assert_close(own(*inputs), before)


FROZEN = [(kind, name) for kind in PAIRS for name in ("propagate", "edge_updater", *ALWAYS_CALLED)
          if kind != "transformer" or not name.startswith("edge_")]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), FROZEN)
def test_methods_under_no_grad_give_no_gradients(kind, name):
    """The decorator changes no number, and carries the name of the method around which it goes."""
    torch.manual_seed(0)
    peer, own = twins(*PAIRS[kind], 6, 4, heads=2)
    for layer in (peer, own):
        setattr(layer, name, torch.no_grad()(getattr(layer, name)))
    assert needs_messages(own)
    assert_same_layers(peer, own, torch.randn(9, 6).double(), random_graph(9, 9, 20))


@pytest.mark.parametrize("kind", PAIRS)
def test_methods_put_into_pygs_class_under_no_grad(kind, monkeypatch):
    peer_class, own_class = PAIRS[kind]
    monkeypatch.setattr(peer_class, "message", torch.no_grad()(peer_class.message))
    assert needs_messages(own_class(6, 4))


def taking_any(method):
    """An object's method is given the arguments that PyG found in the class."""
    wanted = method.__code__.co_varnames[: method.__code__.co_argcount]
    return lambda *first, **given: method(*first, **{name: x for name, x in given.items() if name in wanted})


@pytest.mark.parametrize("where", [0, 1], ids=["PyG's class", "graphattn's class"])
@pytest.mark.parametrize("kind", PAIRS)
def test_methods_put_into_a_class(kind, where, monkeypatch):
    torch.manual_seed(0)
    peer, own = twins(*PAIRS[kind], 6, 4, heads=2)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20)
    before = own(*inputs)
    monkeypatch.setattr(PAIRS[kind][where], "update", lambda self, inputs: inputs.tanh())
    out = own(*inputs)
    assert not torch.allclose(out, before)
    if where == 0:
        torch.testing.assert_close(out, peer(*inputs))


AGGREGATIONS = {
    "max": lambda: pyg.MaxAggregation(),
    "softmax": lambda: pyg.SoftmaxAggregation(learn=True),
    "median": lambda: pyg.MedianAggregation(),
    "several": lambda: pyg.MultiAggregation(["mean", "max"], mode="sum"),
    "with a hook": lambda: with_hook(pyg.SumAggregation()),
}


def with_hook(module):
    module.register_forward_hook(lambda module, inputs, out: out.tanh())
    return module


@pytest.mark.parametrize("name", AGGREGATIONS)
@pytest.mark.parametrize("kind", PAIRS)
def test_other_aggregations_given_and_put_in_later(kind, name):
    torch.manual_seed(0)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20)
    peer, own = (layer(6, 4, heads=2, aggr=AGGREGATIONS[name]()).double() for layer in PAIRS[kind])
    own.load_state_dict(peer.state_dict())
    assert_same_layers(peer, own, *inputs)
    peer, own = twins(*PAIRS[kind], 6, 4, heads=2)
    for layer in (peer, own):
        layer.aggr_module = AGGREGATIONS[name]()
    assert_same_layers(peer, own, *inputs)
    own.aggr_module = pyg.SumAggregation()
    assert not needs_messages(own)


def test_aggregations_of_sorted_edges_get_them_sorted():
    """They need the pointers of an EdgeIndex that is sorted."""
    torch.manual_seed(0)
    peer, own = twins(pyg.TransformerConv, TransformerConv, 6, 4, heads=2, aggr="sum")
    edge_index = random_graph(9, 9, 20)
    edge_index = EdgeIndex(edge_index[:, edge_index[1].argsort()], sparse_size=(9, 9), sort_order="col")
    seen = {layer: [] for layer in (peer, own)}
    for layer in (peer, own):
        layer.register_aggregate_forward_pre_hook(lambda layer, inputs: seen[layer].append(inputs[0]["ptr"]))
    assert_same_layers(peer, own, torch.randn(9, 6).double(), edge_index)
    assert torch.equal(seen[own][0], seen[peer][0])


@pytest.mark.parametrize("kind", PAIRS)
def test_reversed_flow_between_two_sets(kind):
    torch.manual_seed(0)
    options = {} if kind == "transformer" else {"add_self_loops": False}
    peer, own = twins(*PAIRS[kind], (6, 5), 4, heads=2, flow="target_to_source", edge_dim=3, **options)
    x = torch.randn(10, 6).double(), torch.randn(7, 5).double()
    edge_index = random_graph(7, 10, 30)
    edge_attr = torch.randn(edge_index.size(1), 3).double()
    assert_same_layers(peer, own, x, edge_index, edge_attr)
    alpha, wanted = (layer(x, edge_index, edge_attr, return_attention_weights=True)[1][1] for layer in (own, peer))
    torch.testing.assert_close(alpha, wanted)


@pytest.mark.parametrize("step", ["propagate", "message", "aggregate"])
@pytest.mark.parametrize("kind", PAIRS)
def test_hooks_change_what_they_change_in_pyg(kind, step):
    torch.manual_seed(0)
    peer, own = twins(*PAIRS[kind], 6, 4, heads=2, edge_dim=3)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20), torch.randn(25, 3).double()
    seen = {layer: [] for layer in (peer, own)}
    for layer in (peer, own):
        getattr(layer, f"register_{step}_forward_hook")(lambda layer, inputs, out: out.tanh())
        layer.register_propagate_forward_pre_hook(lambda layer, inputs: seen[layer].append(inputs))
    assert_same_layers(peer, own, *inputs)
    (edges, size, arguments), (peer_edges, peer_size, peer_arguments) = seen[own][0], seen[peer][0]
    assert torch.equal(edges, peer_edges) and size == peer_size and arguments.keys() == peer_arguments.keys()


@pytest.mark.parametrize("make", [to_torch_csr_tensor, to_torch_coo_tensor])
@pytest.mark.parametrize("kind", ["gat", "gatv2"])
def test_sparse_matrices_reach_a_fused_method(kind, make):
    torch.manual_seed(0)
    name = "message_and_aggregate"
    peer, own = twins(*(by_subclass(base, name, getattr(METHODS[kind], name)) for base in PAIRS[kind]), 6, 4)
    x, edge_index = torch.randn(9, 6).double(), random_graph(9, 9, 20).unique(dim=1)
    adjacency = make(edge_index, size=(9, 9))
    torch.testing.assert_close(own(x, adjacency), peer(x, adjacency))
    torch.testing.assert_close(own(x, edge_index.flip(0)), peer(x, edge_index.flip(0)))


def test_explainers_look_into_subclasses_too():
    """PyG's own subclass keeps what PyG compiled for the class before, which knows no explainer."""
    torch.manual_seed(0)
    GATConv(6, 4)

    class Explained(GATConv):
        pass

    own, x, edge_index = Explained(6, 4, add_self_loops=False), torch.randn(9, 6), random_graph(9, 9, 20)
    own.explain = True
    own._edge_mask, own._loop_mask = torch.full((25,), -torch.inf), torch.ones(25, dtype=torch.bool)
    assert torch.equal(own(x, edge_index), own.bias.expand(9, -1))


def test_each_thread_gets_its_own_weights():
    torch.manual_seed(0)
    layer = TransformerConv(6, 4, heads=2)
    x, edges = torch.randn(9, 6), [random_graph(9, 9, count) for count in (20, 32)]
    wanted = [layer(x, edge_index, return_attention_weights=True)[1][1] for edge_index in edges]
    both_have_messages = threading.Barrier(2, timeout=20)
    layer.register_message_forward_hook(lambda *_: print(both_have_messages.wait()))
    found = {}

    def run(number):
        found[number] = layer(x, edges[number], return_attention_weights=True)[1][1]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        torch.testing.assert_close(found[number], wanted[number])
    assert layer._alpha is None


def test_a_message_that_leaves_no_weights_says_so():
    class WithoutWeights(TransformerConv):
        def message(self, query_i, key_j, value_j):
            return value_j

    x, edge_index = torch.randn(9, 6), random_graph(9, 9, 20)
    assert WithoutWeights(6, 4)(x, edge_index).shape == (9, 4)
    with pytest.raises(ValueError, match="'message' of its own, which leaves no weights"):
        WithoutWeights(6, 4)(x, edge_index, return_attention_weights=True)


def test_graph_attention_runs_its_subclass_too():
    torch.manual_seed(0)

    class Twice(GraphAttention):
        def message(self, value_j, alpha):
            return 2 * alpha.unsqueeze(-1) * value_j

    own, twice = GraphAttention(6, 4, heads=2), Twice(6, 4, heads=2)
    twice.load_state_dict(own.state_dict())
    x, graph = torch.randn(9, 6), BandedGraph(9, 2, 1)
    torch.testing.assert_close(twice(x, graph), 2 * own(x, graph))
    plain = own(x, graph)
    own.aggr_module = pyg.MaxAggregation()
    assert own.wants_messages() and not torch.allclose(own(x, graph), plain)
    own.flow = "target_to_source"
    with pytest.raises(ValueError, match="got flow='target_to_source'"):
        own(x, graph)


def test_global_hooks_of_torch_see_the_maps_of_edges():
    torch.manual_seed(0)
    peer, own = twins(pyg.GATConv, GATConv, 6, 4, edge_dim=3)
    inputs = torch.randn(9, 6).double(), random_graph(9, 9, 20), torch.randn(25, 3).double()
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, out: out.round(decimals=1) if isinstance(module, pyg.Linear) else None
    )
    try:
        torch.testing.assert_close(own(*inputs), peer(*inputs))
    finally:
        hook.remove()


def test_a_map_of_edges_with_an_offset_keeps_it():
    torch.manual_seed(0)
    for kind in PAIRS:
        peer, own = twins(*PAIRS[kind], 6, 4, edge_dim=3)
        peer.lin_edge = own.lin_edge = pyg.Linear(5, 4).double()  # and takes other attributes than at first
        assert_same_layers(peer, own, torch.randn(9, 6).double(), random_graph(9, 9, 20), torch.randn(25, 5).double())


@pytest.mark.parametrize("kind", PAIRS)
def test_what_is_put_into_a_class_later_is_noticed(kind, monkeypatch):
    """The layer looked at its methods before, and looks again."""
    pyg_class, own_class = PAIRS[kind]
    layer, inputs = own_class(6, 4, heads=2), (torch.randn(9, 6), random_graph(9, 9, 20))
    before = layer(*inputs)
    assert not needs_messages(layer)
    with monkeypatch.context() as patch:
        patch.setattr(pyg_class, "message", lambda self, *args, **kwargs: before.sum())
        assert needs_messages(layer)
    assert not needs_messages(layer)
    layer.update = types.MethodType(lambda self, out: 2 * out, layer)
    assert needs_messages(layer)
    del layer.update
    torch.testing.assert_close(layer(*inputs), before)
