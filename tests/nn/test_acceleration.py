"""accelerate: the same model, numbers and parameters, with other kernels; restore: as if nothing had been."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch.nn import Module, ModuleList
from torch_geometric.nn import to_hetero

from graphattn import accelerate, nn, restore
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
