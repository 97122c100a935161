"""accelerate: the same model, numbers and parameters, with other kernels; restore: as if nothing had been."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
import torch_geometric.nn as pyg
from torch.nn import Module, ModuleList
from torch_geometric.nn import to_hetero

from graphattn import BandedGraph, accelerate, nn, restore
from tests.nn.peer import TOLERANCE, assert_same, random_graph, result_and_gradients

HETERO_EDGES = [("paper", "cites", "paper"), ("author", "writes", "paper"), ("paper", "rev_writes", "author")]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Transformer(Module):
    """Three layers, as in PyG's examples/unimp_arxiv.py."""

    def __init__(self):
        super().__init__()
        sizes = [(6, 4, 2, True), (8, 4, 2, True), (8, 3, 2, False)]
        self.convs = ModuleList(
            [pyg.TransformerConv(size, out, heads, concat, beta=True) for size, out, heads, concat in sizes]
        )
        self.norms = ModuleList([torch.nn.LayerNorm(8) for _ in range(2)])

    def forward(self, x, edge_index):
        for conv, norm in zip(self.convs, self.norms):
            x = norm(conv(x, edge_index)).relu()
        return self.convs[-1](x, edge_index)


class GAT(Module):
    """Two layers, as in PyG's examples/gat.py."""

    def __init__(self, layer=pyg.GATConv):
        super().__init__()
        self.conv1 = layer(6, 4, 8, dropout=0.6)
        self.conv2 = layer(32, 3, heads=1, concat=False, dropout=0.6)

    def forward(self, x, edge_index):
        x = F.dropout(x, 0.6, self.training)
        x = F.elu(self.conv1(x, edge_index))
        return self.conv2(F.dropout(x, 0.6, self.training), edge_index)


class GPS(Module):
    """As in PyG's examples/graph_gps.py, with attention as the local layer of one block."""

    def __init__(self):
        super().__init__()
        mlp = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.ReLU(), torch.nn.Linear(6, 6))
        self.convs = ModuleList(
            [
                pyg.GPSConv(6, pyg.GINEConv(mlp, edge_dim=3), heads=2),
                pyg.GPSConv(6, pyg.TransformerConv(6, 3, heads=2, edge_dim=3), heads=3),
            ]
        )
        self.out = torch.nn.Linear(6, 2)

    def forward(self, x, edge_index, edge_attr, batch):
        for conv in self.convs:
            x = conv(x, edge_index, batch, edge_attr=edge_attr)
        return self.out(pyg.global_add_pool(x, batch))


class Typed(Module):
    """Wants `to_hetero`."""

    def __init__(self):
        super().__init__()
        self.conv1 = pyg.GATConv((-1, -1), 4, heads=2, add_self_loops=False)
        self.conv2 = pyg.TransformerConv((-1, -1), 4)

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


def node_inputs(dtype):
    return torch.randn(10, 6, dtype=dtype), random_graph(10, 10, 30)


def sequential():
    layers = [
        (pyg.GATv2Conv(6, 4), "x, edge_index -> x"),
        torch.nn.ReLU(),
        (pyg.TransformerConv(4, 4), "x, edge_index -> x"),
    ]
    return pyg.Sequential("x, edge_index", layers)


def cases(name, dtype):
    if name == "gps":
        edge_index = torch.cat([random_graph(4, 4, 8), random_graph(6, 6, 12) + 4], 1)
        batch = torch.tensor([0] * 4 + [1] * 6)
        inputs = torch.randn(10, 6, dtype=dtype), edge_index, torch.randn(edge_index.size(1), 3, dtype=dtype), batch
        return GPS().to(dtype), inputs, 3
    if name == "hetero":
        x = {"paper": torch.randn(8, 6, dtype=dtype), "author": torch.randn(5, 3, dtype=dtype)}
        edges = {kind: random_graph(len(x[kind[0]]), len(x[kind[2]]), 20) for kind in HETERO_EDGES}
        model = to_hetero(Typed(), (["paper", "author"], HETERO_EDGES)).to(dtype)
        with torch.no_grad():
            model(x, edges)
        return model, (x, edges), 6
    if name == "hetero_conv":
        x = {"paper": torch.randn(8, 6, dtype=dtype), "author": torch.randn(5, 3, dtype=dtype)}
        edges = {kind: random_graph(len(x[kind[0]]), len(x[kind[2]]), 20) for kind in HETERO_EDGES}
        sizes = {"paper": 6, "author": 3}
        convs = {
            kind: pyg.GATv2Conv((sizes[kind[0]], sizes[kind[2]]), 4, add_self_loops=False) for kind in HETERO_EDGES
        }
        return pyg.HeteroConv(convs).to(dtype), (x, edges), 3
    models = {
        "transformer": (Transformer, 3),
        "gat": (GAT, 2),
        "sequential": (sequential, 2),
        "pyg.GAT": (lambda: pyg.GAT(6, 8, 2, 3, heads=2, v2=True), 2),
        "one layer": (lambda: pyg.GATConv(6, 4), 1),
    }
    make, count = models[name]
    return make().to(dtype), node_inputs(dtype), count


NAMES = ["transformer", "gat", "gps", "hetero", "hetero_conv", "sequential", "pyg.GAT", "one layer"]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_same_outputs_and_gradients(name, dtype):
    model, inputs, count = cases(name, dtype)
    model.eval()
    wanted = result_and_gradients(model, inputs)
    kinds = [type(module) for module in model.modules()]
    parameters = [id(parameter) for parameter in model.parameters()]
    report = accelerate(model)
    assert len(report.swapped) == count
    assert [id(parameter) for parameter in model.parameters()] == parameters
    for copied in (model, copy.deepcopy(model)):
        assert_same(result_and_gradients(copied, inputs), wanted, TOLERANCE[dtype])
    assert restore(model) == count
    assert [type(module) for module in model.modules()] == kinds
    assert_same(result_and_gradients(model, inputs), wanted, 1e-12 if dtype == torch.float64 else 1e-6)


def test_nothing_else_changes():
    model = GAT()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    model.conv1.register_forward_hook(lambda *_: seen.append(1))
    before = [dict(vars(module)) for module in model.modules()]
    accelerate(model)
    assert model.training and type(model.conv1) is nn.GATConv
    x, edge_index = node_inputs(torch.float32)
    old = model.conv1.lin.weight.detach().clone()
    out = model(x, edge_index)
    out.backward(torch.randn_like(out))
    optimizer.step()
    assert seen and not torch.equal(model.conv1.lin.weight, old)
    model.zero_grad()
    restore(model)
    assert [dict(vars(module)) for module in model.modules()] == before


def test_an_accelerated_model_is_saved_as_pyg_saves_it():
    model, inputs = Transformer().eval(), node_inputs(torch.float32)
    accelerate(model)
    plain = Transformer().eval()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(*inputs), model(*inputs), rtol=1e-4, atol=1e-5)
    again = pickle.loads(pickle.dumps(model))
    torch.testing.assert_close(again(*inputs), model(*inputs))
    assert restore(again) == 3 and type(again.convs[0]) is pyg.TransformerConv


def test_shared_layers_stay_shared():
    conv = pyg.GATConv(6, 6)
    model = ModuleList([conv, pyg.GPSConv(6, conv), conv])
    report = accelerate(model)
    assert len(report.swapped) == 2
    assert model[0] is model[2] is model[1].conv is conv and type(conv) is nn.GATConv


def test_what_is_left_and_why():
    class Own(pyg.GATConv):
        pass

    patched = pyg.GATConv(6, 4)
    patched.message = lambda x_j, alpha: x_j
    model = ModuleList(
        [
            Own(6, 4),
            pyg.GCNConv(6, 4),
            pyg.TransformerConv(6, 4, aggr="max"),
            pyg.GATConv((6, 5), 4),
            patched,
            nn.GATConv(6, 4),
            torch.nn.Linear(3, 3),
            pyg.GATConv(6, 4, flow="target_to_source"),
        ]
    )
    kinds = [type(module) for module in model]
    report = accelerate(model)
    assert report.swapped == {}
    assert list(report.left) == ["0", "1", "2", "3", "4", "7"]
    assert "Own is a subclass of GATConv" in report.left["0"]
    assert "no drop-in for GCNConv" in report.left["1"]
    assert "aggr='max'" in report.left["2"]
    assert "i -> i" in report.left["3"]
    assert "'message' of its own" in report.left["4"]
    assert "swapped 0, left 6" in repr(report)
    assert [type(module) for module in model] == kinds
    assert restore(model) == 0 and type(model[5]) is nn.GATConv
    with pytest.raises(TypeError, match="got list"):
        accelerate([model])


def patched(layer, name, function):
    setattr(layer, name, function)
    return layer


def parametrized(layer, name):
    torch.nn.utils.parametrize.register_parametrization(layer, name, torch.nn.Tanh())
    return layer


LEFT = {
    "forward": (lambda: patched(pyg.GATConv(6, 4), "forward", lambda x, edge_index: x), "'forward' of its own"),
    "aggregate": (lambda: patched(pyg.GATv2Conv(6, 4), "aggregate", lambda x, index: x), "'aggregate' of its own"),
    "update": (lambda: patched(pyg.TransformerConv(6, 4), "update", lambda x: x), "'update' of its own"),
    "propagate": (
        lambda: patched(pyg.TransformerConv(6, 4), "propagate", lambda *_, **__: 0),
        "'propagate' of its own",
    ),
    "aggr_module": (
        lambda: patched(pyg.TransformerConv(6, 4), "aggr_module", pyg.MaxAggregation()),
        "got MaxAggregation",
    ),
    "list": (lambda: pyg.GATConv(6, 4, aggr=["max", "mean"]), "got MultiAggregation"),
    "parametrized": (
        lambda: parametrized(pyg.GATConv(6, 4), "att_src"),
        "ParametrizedGATConv is a subclass of GATConv",
    ),
    "attention": (
        lambda: patched(pyg.GPSConv(6, None), "attn", torch.nn.Identity()),
        "without attention for a Identity",
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_alone(name):
    make, reason = LEFT[name]
    model = ModuleList([make()])
    kind, before = type(model[0]), dict(vars(model[0]))
    report = accelerate(model)
    assert report.swapped == {} and reason in report.left["0"]
    assert type(model[0]) is kind and dict(vars(model[0])) == before and restore(model) == 0


@pytest.mark.parametrize("name", ["forward", "message"])
def test_methods_put_into_pygs_class_leave_its_layers_alone(name, monkeypatch):
    layer = pyg.GATConv(6, 4)
    monkeypatch.setattr(pyg.GATConv, name, lambda self, *_, **__: 0)
    assert accelerate(layer).left == {"": f"this GATConv has {name!r} of its own"}


def low_rank(linear):
    """An adapter: the map beside a small one, with dropout."""

    class Adapter(Module):
        def __init__(self):
            super().__init__()
            self.linear, self.small = linear, torch.nn.Linear(linear.in_channels, linear.out_channels)

        def forward(self, x):
            return self.linear(x) + self.small(F.dropout(x, 0.5, self.training))

    return Adapter()


def with_pruning(layer):
    torch.nn.utils.prune.l1_unstructured(layer.lin_edge, "weight", 0.5)


def with_an_adapter(layer):
    layer.lin, layer.lin_edge = low_rank(layer.lin), low_rank(layer.lin_edge)


def with_an_offset_for_edges(layer):
    layer.lin_edge = pyg.Linear(3, 8)


def that_was_explained(layer):
    layer.explain = True
    layer.explain = False


CHANGES = {
    "weight_norm": lambda layer: torch.nn.utils.parametrizations.weight_norm(layer.lin_edge),
    "spectral_norm": lambda layer: torch.nn.utils.parametrizations.spectral_norm(layer.lin),
    "old spectral_norm": lambda layer: torch.nn.utils.spectral_norm(layer.lin),
    "old spectral_norm of edges": lambda layer: torch.nn.utils.spectral_norm(layer.lin_edge),
    "pruning": with_pruning,
    "adapter": with_an_adapter,
    "offset": with_an_offset_for_edges,
    "explained": that_was_explained,
    "hook": lambda layer: layer.register_forward_hook(lambda module, inputs, out: out.tanh()),
    "hook on messages": lambda layer: layer.register_message_forward_hook(lambda module, inputs, out: out.tanh()),
    "compiled": lambda layer: layer.compile(backend="eager"),
}


@pytest.mark.parametrize("pair", [False, True], ids=["one tensor", "the same tensor twice"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_was_done_to_a_layer_is_kept(name, pair):
    """In training, where dropout draws and spectral_norm moves with each call of the map."""
    layer, edge_index = pyg.GATConv(6, 4, heads=2, edge_dim=3), random_graph(9, 9, 20)
    CHANGES[name](layer)
    x, edge_attr = torch.randn(9, 6), torch.randn(25, 3)
    first, model = [buffer.clone() for buffer in layer.buffers()], ModuleList([layer])
    inputs = ((x, x) if pair else x, edge_index, edge_attr)
    outs = []
    for change in (lambda: None, lambda: accelerate(model), lambda: restore(model)):
        for buffer, start in zip(model.buffers(), first):
            buffer.copy_(start)
        change()
        torch.manual_seed(1)
        outs.append(model[0](*inputs))
    torch.testing.assert_close(outs[1], outs[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outs[2], outs[0])
    assert type(model[0]) is pyg.GATConv


def test_hooks_on_gradients_of_a_map_run():
    layer, seen = pyg.GATConv(6, 4, edge_dim=3), []
    layer.lin_edge.register_full_backward_hook(lambda *_: seen.append(1))
    accelerate(layer)
    layer(torch.randn(9, 6), random_graph(9, 9, 20), torch.randn(25, 3, requires_grad=True)).sum().backward()
    assert seen == [1]


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_wrapped_models(wrap):
    model, inputs = wrap(GAT().eval()), node_inputs(torch.float32)
    wanted = model(*inputs)
    assert len(accelerate(model).swapped) == 2
    torch.testing.assert_close(model(*inputs), wanted, rtol=1e-4, atol=1e-5)
    assert restore(model) == 2


def test_lazy_layers_draw_the_same_weights():
    outs, inputs = [], (torch.randn(9, 6), random_graph(9, 9, 20))
    for change in (lambda model: None, accelerate):
        torch.manual_seed(1)
        model = ModuleList([pyg.GATConv(-1, 4, residual=True)])
        change(model)
        outs.append(model[0](*inputs))
    torch.testing.assert_close(*outs)


def test_frozen_layers_stay_frozen():
    model = GAT().bfloat16().eval().requires_grad_(False)
    accelerate(model)
    assert not model.conv1.training and not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_weights_that_pyg_returns_for_false_too():
    layer, (x, edge_index) = pyg.TransformerConv(6, 4), node_inputs(torch.float32)
    wanted, (_, wanted_alpha) = layer(x, edge_index, return_attention_weights=False)
    accelerate(layer)
    out, (edges, alpha) = layer(x, edge_index, return_attention_weights=False)
    torch.testing.assert_close((out, alpha), (wanted, wanted_alpha))
    assert edges is edge_index and isinstance(layer(x, edge_index), torch.Tensor)


def test_restores_what_was_parametrized_since():
    layer, inputs = pyg.GATConv(6, 4), node_inputs(torch.float32)
    plain = layer(*inputs)
    accelerate(layer)
    parametrized(layer, "att_src")
    wanted = layer(*inputs)
    assert accelerate(layer).left == {}
    assert restore(layer) == 1 and not isinstance(layer, nn.GATConv) and isinstance(layer, pyg.GATConv)
    torch.testing.assert_close(layer(*inputs), wanted)
    torch.nn.utils.parametrize.remove_parametrizations(layer, "att_src", leave_parametrized=False)
    assert type(layer) is pyg.GATConv
    torch.testing.assert_close(layer(*inputs), plain)


def test_the_report_says_where_numbers_change():
    """PyG's Performer attention lets the padding of a batch into the result."""
    torch.manual_seed(0)
    model = ModuleList([pyg.GPSConv(6, None, heads=2, attn_type=kind) for kind in ("performer", "multihead")]).eval()
    x, batch = torch.randn(9, 6), torch.tensor([0] * 2 + [1] * 7)
    peers = [layer(x, torch.empty(2, 0, dtype=torch.long), batch) for layer in model]
    report = accelerate(model)
    found = [layer(x, torch.empty(2, 0, dtype=torch.long), batch) for layer in model]
    assert not torch.allclose(found[0], peers[0], atol=1e-3) and torch.allclose(found[1], peers[1], atol=1e-5)
    assert list(report.changed) == ["0"] and "unequal sizes" in report.changed["0"]
    assert "0: GPSConv; graphs of a batch" in repr(report) and repr(report).splitlines()[2].strip() == "1: GPSConv"


def test_a_model_made_hetero_after_it_was_accelerated():
    model = Typed()
    accelerate(model)
    hetero = to_hetero(model, (["paper", "author"], HETERO_EDGES))
    _, inputs, _ = cases("hetero", torch.float32)
    with torch.no_grad():
        hetero(*inputs)
    wanted = result_and_gradients(hetero, inputs)
    assert restore(hetero) == 6
    assert_same(result_and_gradients(hetero, inputs), wanted, 1e-5)


@pytest.mark.parametrize("kind", ["GATConv", "GATv2Conv", "TransformerConv"])
def test_explained_while_accelerated(kind):
    """PyG leaves the `propagate` that it compiled for the class of that moment on the object."""
    getattr(nn, kind)(4, 3)  # from now on PyG has compiled graphattn's class
    layer, inputs = getattr(pyg, kind)(6, 4), node_inputs(torch.float32)
    wanted = layer(*inputs)
    for _ in range(2):
        assert list(accelerate(layer).swapped) == [""]
        that_was_explained(layer)
        torch.testing.assert_close(layer(*inputs), wanted, rtol=1e-4, atol=1e-5)
        assert restore(layer) == 1
        torch.testing.assert_close(layer(*inputs), wanted)
    layer.explain = True
    assert accelerate(layer).left == {}


def test_restore_takes_a_model():
    with pytest.raises(TypeError, match="'model' must be a torch.nn.Module .got BandedGraph"):
        restore(BandedGraph(3, 1, 1))


def test_the_report_is_not_the_model():
    with pytest.raises(TypeError, match="changes a model in place"):
        accelerate(pyg.GATConv(4, 4))(torch.randn(3, 4), torch.tensor([[0], [1]]))
