"""GraphAttention and its maps as one node of autograd, beside PyG's TransformerConv; test_projected.py tests the node."""

import pytest
import torch
import torch_geometric.nn

from graphattn import CompleteGraph
from graphattn.kernels.native.library import why_not_native
from graphattn.nn import ALiBi, GraphAttention, RotaryPositions, attention
from graphattn.nn.linear_maps import loops
from graphattn.nn.projected import attend_projected
from tests.nn.watched import watch_runs, watch_steps

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

NODES, SOURCES, CHANNELS, EDGE_DIM = 12, 17, 6, 3
EDGES = torch.randint(NODES, (2, 40), generator=torch.Generator().manual_seed(0))
EDGES = EDGES[:, EDGES[1] != 3]  # a node that sees nothing
BETWEEN = torch.stack(
    [torch.randint(SOURCES, (30,), generator=torch.Generator().manual_seed(1)), torch.arange(30) % NODES]
)


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    """What came of each step."""
    return watch_steps(monkeypatch, (attention, attend_projected))


def table(rows=NODES, columns=CHANNELS, seed=1, dtype=torch.float64):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def layer_of(dtype=torch.float64, **options):
    torch.manual_seed(0)
    return GraphAttention(CHANNELS, 4, 2, **options).to(dtype)


def outcome(layer, x, *given, names=None):
    """The result and all gradients, four times the same: the second pass forward is written down, the third backward."""
    found, tables = [], [x] if isinstance(x, torch.Tensor) else [*x]
    names = [name for name, _ in layer.named_parameters()] if names is None else names
    wanted = [y.requires_grad_() for y in tables] + [layer.get_parameter(name) for name in names]
    for _ in range(4):
        out = layer(x, *given)
        cotangent = table(*out.shape, seed=4, dtype=out.dtype)
        found.append([out.detach(), *torch.autograd.grad(out, wanted, cotangent)])
        assert all(map(torch.equal, found[0], found[-1]))
    return found[-1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("is_between", [False, True], ids=["one table", "two tables"])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"concat": False}, {"edge_dim": EDGE_DIM}], ids=str)
def test_as_pygs_layer(options, is_between, dtype, steps):
    layer = layer_of(dtype, **options)
    peer = torch_geometric.nn.TransformerConv(CHANNELS, 4, 2, root_weight=False, **options).double()
    peer.load_state_dict(layer.double().state_dict(), strict=False)  # it keeps a skip connection that is not used
    layer.to(dtype)
    edges = BETWEEN if is_between else EDGES
    attributes = [table(edges.size(1), EDGE_DIM, 3, dtype)] if "edge_dim" in options else []
    x = (table(SOURCES, dtype=dtype), table(seed=2, dtype=dtype)) if is_between else table(dtype=dtype)
    found = outcome(layer, x, edges, *attributes)
    assert len(steps) == 4 and steps[-1] is not None
    x = tuple(y.detach().double() for y in x) if is_between else x.detach().double()
    names = [name for name, _ in layer.named_parameters()]
    wanted = outcome(peer, x, edges, *[a.double() for a in attributes], names=names)
    allowed = 1e-11 if dtype == torch.float64 else 2e-5
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own.double(), right, rtol=allowed, atol=allowed)


@pytest.mark.parametrize("options", [{}, {"gate": True}, {"project_out": True}, {"dropout": 0.5}], ids=str)
def test_as_the_same_layer_map_by_map(options, steps, monkeypatch):
    found = []
    for in_one_step in (True, False):
        if not in_one_step:
            monkeypatch.setattr(GraphAttention, "in_one_step", lambda layer, source, target, graph, _: (graph, None))
        layer, x = layer_of(**options), table().requires_grad_()
        for _ in range(4):
            torch.manual_seed(1)
            out = layer(x, EDGES)
        found.append([out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])])
    assert len(steps) == 4 and steps[-1] is not None
    for own, right in zip(*found, strict=True):
        torch.testing.assert_close(own, right)


class Projecting(GraphAttention):
    def project(self, source, target):
        return super().project(source, 2 * target)


OTHERS = {
    "scale": lambda: layer_of(scale=0.1),
    "key heads": lambda: layer_of(kv_heads=1),
    "one map": lambda: layer_of(share_weights=True),
    "positions": lambda: layer_of(positions=RotaryPositions(4)),
    "bias": lambda: layer_of(edge_bias=ALiBi(2)),
    "score": lambda: layer_of(score="gatv2"),
    "normalizer": lambda: layer_of(normalizer="relu"),
    "sink": lambda: layer_of(sink=True),
    "talking heads": lambda: layer_of(talking_heads=True),
    "kernel": lambda: layer_of(kernel="edges_torch"),
    "own map": lambda: Projecting(CHANNELS, 4, 2).double(),
}


@pytest.mark.parametrize("name", OTHERS)
def test_layers_that_are_more_are_computed_map_by_map(name, steps):
    layer = OTHERS[name]()
    weighted = layer(table(), EDGES, return_attention_weights=True)[0]
    torch.testing.assert_close(layer(table(), EDGES), weighted)
    assert steps == []


def test_what_is_asked_of_edges_goes_map_by_map(steps):
    layer, x = layer_of(), table()
    plain = layer(x, EDGES)
    assert len(steps) == 1
    bias = table(EDGES.size(1), 2)
    torch.testing.assert_close(layer(x, EDGES, edge_bias=0 * bias), plain)
    assert not torch.allclose(layer(x, EDGES, edge_bias=bias), plain)
    layer.register_message_forward_hook(lambda module, given, out: 2 * out)
    torch.testing.assert_close(layer(x, EDGES), 2 * plain)
    assert len(steps) == 1


@pytest.mark.parametrize("name", attention.BETWEEN)
def test_methods_of_a_subclass_of_the_object_and_of_the_class_are_called(name, steps, monkeypatch):
    layer, x = layer_of(), table()
    wanted = layer(x, EDGES)
    assert len(steps) == 1
    own = type("Own", (GraphAttention,), {name: getattr(GraphAttention, name)})(CHANNELS, 4, 2).double()
    own.load_state_dict(layer.state_dict())
    torch.testing.assert_close(own(x, EDGES), wanted)
    assert len(steps) == 2  # the same method under its own name
    different = {name: lambda self, *given: getattr(super(type(self), self), name)(*given)}
    other = type("Other", (GraphAttention,), different)(CHANNELS, 4, 2).double()
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x, EDGES), wanted)
    method = getattr(GraphAttention, name)
    with monkeypatch.context() as patch:
        patch.setattr(GraphAttention, name, lambda *given: method(*given))
        torch.testing.assert_close(layer(x, EDGES), wanted)
    setattr(layer, name, getattr(layer, name))
    torch.testing.assert_close(layer(x, EDGES), wanted)
    assert len(steps) == 2


class WithSlots(GraphAttention):
    """Two learned nodes beside the sources."""

    def __init__(self):
        super().__init__(CHANNELS, 4, 2)
        self.slots = torch.nn.Parameter(torch.ones(2, 2, 4))

    def project(self, source, target):
        query, key, value = super().project(source, target)
        return query, torch.cat([key, self.slots]), torch.cat([value, self.slots])


def test_a_method_may_make_more_keys_than_there_are_nodes():
    assert WithSlots()(table(dtype=torch.float32), CompleteGraph(NODES, NODES + 2)).shape == (NODES, 8)


class Noise(torch.nn.Module):
    calls = 0

    def forward(self, weight):
        self.calls += 1
        return weight + self.calls


def test_a_parametrized_map_of_edges_is_read_once():
    layer = layer_of(edge_dim=EDGE_DIM)
    torch.nn.utils.parametrize.register_parametrization(layer.lin_edge, "weight", Noise())
    noise = layer.lin_edge.parametrizations.weight[0]
    layer.lin_query.weight.requires_grad_(False)  # so that there is no step
    noise.calls = 0
    layer(table(), EDGES, table(EDGES.size(1), EDGE_DIM))
    assert noise.calls == 1


@pytest.mark.parametrize("dropout", ["a", None, True, 2, -0.1])
def test_a_rate_that_is_none_is_refused_before_and_after_one_was_seen(dropout):
    layer, edges = layer_of(dropout=1.0), EDGES.clone()
    for _ in range(4):
        layer(table(), edges)
    layer.dropout = dropout
    with pytest.raises(ValueError, match="'dropout' must be a probability"):
        layer(table(), edges)


def test_a_map_to_another_width_is_refused():
    layer = layer_of()
    layer.lin_value = torch.nn.Linear(CHANNELS, 16).double()
    with pytest.raises(ValueError, match="'key' and 'value' must share nodes and heads"):
        layer(table(), EDGES)


def test_a_step_that_comes_again_runs_loops_alone(monkeypatch):
    monkeypatch.setattr(loops, "FEWEST", 8)
    monkeypatch.setattr(loops, "is_faster", lambda: True)
    runs = watch_runs(monkeypatch)
    outcome(layer_of(torch.float32), table(dtype=torch.float32), EDGES.clone())
    assert len(runs) == 3  # the third and fourth call forward, the fourth backward


def test_bad_features_of_edges_are_refused():
    with pytest.raises(ValueError, match="'edge_attr' and 'edge_dim' go together"):
        layer_of()(table(), EDGES, table(EDGES.size(1), EDGE_DIM))
    with pytest.raises(ValueError, match=r"'edge_attr' must be \[num_edges, edge_dim\]"):
        layer_of(edge_dim=EDGE_DIM)(table(), EDGES, table(EDGES.size(1) + 1, EDGE_DIM))


def test_where_other_kernels_run_no_step_is_tried_again(steps):
    layer, graph, x = layer_of(torch.float32), CompleteGraph(150), table(150, dtype=torch.float32)
    found = [layer(x, graph) for _ in range(3)]
    assert steps == [None] and all(torch.equal(out, found[0]) for out in found)
    wider = GraphAttention(CHANNELS, 5, 2)
    wider(x, graph)
    assert len(steps) == 2
