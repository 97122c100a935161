"""GAT and GATv2 as one node of autograd, beside PyG's in float64; TransformerConv is in test_projected.py."""

import copy

import pytest
import torch
import torch_geometric.nn
from torch.utils.checkpoint import checkpoint

from graphattn.kernels.choose import register_kernel, remove_kernel
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.plain.edges_torch import EdgesTorch
from graphattn.nn import GATConv, GATv2Conv, gat_conv, gatv2_conv, linear_maps
from graphattn.nn.adjacency import add_self_loops
from graphattn.nn.gat_step import GATStep, attend_gat
from graphattn.nn.gatv2_step import GATv2Step, attend_gatv2
from graphattn.nn.step import MOST_RATES
from graphattn.running import execution
from graphattn.testing.layouts import LAYOUTS
from tests.nn.watched import watch_runs, watch_steps

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

NODES, SOURCES, CHANNELS, EDGE_DIM = 12, 17, 6, 3
EDGES = torch.randint(NODES, (2, 40), generator=torch.Generator().manual_seed(0))
EDGES = EDGES[:, EDGES[1] != 3]  # a node that sees nothing, or itself alone
BETWEEN = torch.stack(
    [torch.randint(SOURCES, (30,), generator=torch.Generator().manual_seed(1)), torch.arange(30) % NODES]
)
GAT = {
    "GAT": {},
    "GAT, no loops": {"add_self_loops": False},
    "GAT, mean": {"concat": False, "residual": True},
    "GAT, nothing added": {"bias": False, "add_self_loops": False},
}
GATV2 = {
    "GATv2": {},
    "GATv2, edges": {"edge_dim": EDGE_DIM},
    "GATv2, shared": {"share_weights": True, "edge_dim": EDGE_DIM},
    "GATv2, no loops": {"edge_dim": EDGE_DIM, "add_self_loops": False, "residual": True},
    "GATv2, nothing added": {"bias": False, "concat": False, "add_self_loops": False},
    "GATv2, two tables": {"edge_dim": EDGE_DIM, "add_self_loops": False},
}
LAYERS = {**GAT, **GATV2}
SHORT = ["GAT", "GATv2, edges", "GATv2, two tables"]


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    """What came of each step."""
    return watch_steps(monkeypatch, (gat_conv, attend_gat), (gatv2_conv, attend_gatv2))


@pytest.fixture
def runs(monkeypatch):
    """What was run again, forward and backward."""
    return watch_runs(monkeypatch)


def layer_of(name, dtype=torch.float64, **more):
    torch.manual_seed(0)
    layer = (GATConv if name in GAT else GATv2Conv)(CHANNELS, 4, 2, **LAYERS[name], **more).to(dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def peer_of(layer, name):
    kind = torch_geometric.nn.GATConv if name in GAT else torch_geometric.nn.GATv2Conv
    peer = kind(CHANNELS, 4, 2, **LAYERS[name]).double()
    peer.load_state_dict(copy.deepcopy(layer).double().state_dict())
    return peer


def tensor(*shape, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def given_of(name, dtype=torch.float64):
    """Nodes, edges, and features of edges."""
    is_between = name == "GATv2, two tables"
    edges = (BETWEEN if is_between else EDGES).clone()
    nodes = [tensor(NODES, CHANNELS, dtype=dtype)]
    nodes = [tensor(SOURCES, CHANNELS, seed=5, dtype=dtype), *nodes] if is_between else nodes
    attributes = [tensor(edges.size(1), EDGE_DIM, seed=3, dtype=dtype)] if "edge_dim" in LAYERS[name] else []
    return nodes, edges, attributes


def call(layer, nodes, edges, attributes):
    return layer(nodes[0] if len(nodes) == 1 else tuple(nodes), edges, *attributes)


def single_step(layer, nodes, edges, attributes, cotangent=None):
    out = call(layer, nodes, edges, attributes)
    torch.manual_seed(2)
    cotangent = torch.randn(out.shape, dtype=torch.float64).to(out.dtype) if cotangent is None else cotangent
    wanted = [x for x in (*nodes, *attributes, *layer.parameters()) if x.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, wanted, cotangent, allow_unused=True)]


def step(layer, *given, cotangent=None):
    """Results and gradients, four times the same: the second pass forward is written down, the third backward."""
    state, found = torch.get_rng_state(), []
    for _ in range(4):
        torch.set_rng_state(state)
        found.append(single_step(layer, *given, cotangent))
        if isinstance(layer, GATConv | GATv2Conv):
            check_same(found[0], found[-1])
    return found[-1]


def check_same(found, wanted):
    assert all(a is b or torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def check(found, wanted, allowed=1e-11):
    for own, right in zip(found, wanted, strict=True):
        assert (own is None) == (right is None)
        if own is not None:
            torch.testing.assert_close(own.double(), right.double(), rtol=allowed, atol=allowed)


def in_double(nodes, edges, attributes):
    wide = [[x.detach().double().requires_grad_(x.requires_grad) for x in of] for of in (nodes, attributes)]
    return wide[0], edges, wide[1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("by_loops", [True, False], ids=["loops", "torch"])
def test_as_pygs_layer(name, dtype, by_loops, steps, monkeypatch):
    monkeypatch.setattr(linear_maps.loops, "FEWEST", 8 if by_loops else 10**9)
    monkeypatch.setattr(linear_maps.loops, "is_faster", lambda: by_loops)
    layer, given = layer_of(name, dtype), given_of(name, dtype)
    found = step(layer, *given)
    assert steps[-1] is not None
    with torch.no_grad():
        torch.testing.assert_close(call(layer, *given), found[0])
    check(found, step(peer_of(layer, name), *in_double(*given)), 1e-11 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_and_cotangents_in_any_layout(layout, name, steps):
    lay = LAYOUTS[layout]
    for dtype, allowed in ((torch.float64, 1e-11), (torch.float32, 2e-5)):
        layer, (nodes, edges, attributes) = layer_of(name, dtype), given_of(name, dtype)
        nodes, attributes = ([lay(x.detach()).detach().requires_grad_() for x in of] for of in (nodes, attributes))
        cotangent = lay(tensor(NODES, 8, seed=4, dtype=dtype).detach())
        found = step(layer, nodes, edges, attributes, cotangent=cotangent)
        assert steps[-1] is not None
        check(
            found,
            step(peer_of(layer, name), *in_double(nodes, edges, attributes), cotangent=cotangent.double()),
            allowed,
        )


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("reduce", [torch.sum, torch.mean], ids=["sum", "mean"])
def test_cotangents_of_reductions(name, reduce):
    layer, given = layer_of(name), given_of(name)
    peer = peer_of(layer, name)
    found, wanted = (
        torch.autograd.grad(reduce(call(net, *given)), [*given[0], *net.parameters()]) for net in (layer, peer)
    )
    check(found, wanted)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_differentiated_again(name, steps):
    layer, (nodes, edges, attributes) = layer_of(name), given_of(name)
    names = [key for key, _ in layer.named_parameters()]

    def function(*given):
        of_nodes, rest = given[: len(nodes)], given[len(nodes) :]
        of_edges, parameters = rest[: len(attributes)], rest[len(attributes) :]
        x = of_nodes[0] if len(of_nodes) == 1 else of_nodes
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, edges, *of_edges))

    given = [*nodes, *attributes, *(p.detach().requires_grad_() for p in layer.parameters())]
    assert torch.autograd.gradcheck(function, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, given, fast_mode=True)
    assert steps[-1] is not None


@pytest.mark.parametrize("name", SHORT)
def test_many_cotangents_at_once_and_transforms(name):
    layer, (nodes, edges, attributes) = layer_of(name), given_of(name)

    def of_first(x):
        return call(layer, [x, *nodes[1:]], edges, attributes)

    grads = torch.eye(NODES * 8, dtype=torch.float64).view(-1, NODES, 8)
    found = torch.autograd.grad(of_first(nodes[0]), nodes[0], grads, is_grads_batched=True)[0]
    each = torch.stack([torch.autograd.grad(of_first(nodes[0]), nodes[0], grad)[0] for grad in grads])
    torch.testing.assert_close(found, each)
    for derive in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(derive(of_first)(nodes[0].detach()).view_as(each), each)


@pytest.mark.parametrize("name", SHORT)
def test_dropout_is_drawn_once_and_as_it_was(name, monkeypatch):
    layer, given = layer_of(name, dropout=0.4), given_of(name)
    torch.manual_seed(3)
    found = step(layer, *given)
    torch.manual_seed(3)
    call(layer, *given)
    after = torch.rand(2)
    monkeypatch.setattr(gat_conv, "attend_gat", lambda *_: None)
    monkeypatch.setattr(gatv2_conv, "attend_gatv2", lambda *_: None)
    torch.manual_seed(3)
    check(found, single_step(layer, given[0], given[1].clone(), given[2]))
    torch.manual_seed(3)
    call(layer, *given)
    assert torch.equal(torch.rand(2), after)


@pytest.mark.parametrize("name", ["GAT", "GAT, mean", "GATv2", "GATv2, edges", "GATv2, two tables"])
def test_a_step_that_comes_again_runs_loops_alone(name, runs):
    layer, (nodes, edges, attributes) = layer_of(name, torch.float32, dropout=0.4), given_of(name, torch.float32)
    attributes = [x.detach() for x in attributes]  # of a mean for self loops, which are other tensors each time
    step(layer, nodes, edges, attributes)
    assert len(runs) == 3
    other = layer_of(name, torch.float32, dropout=0.4)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    new = [(-x).detach().requires_grad_() for x in nodes]
    found = []
    for given in (edges, edges.clone()):
        torch.manual_seed(7)  # other edges are dropped
        found.append(single_step(other, new, given, attributes))
    assert len(runs) == 5
    check_same(*found)


@pytest.mark.parametrize("name", ["GAT", "GATv2, edges"])
def test_other_gradients_of_the_same_step_are_told_apart(name):
    layer, (nodes, edges, attributes) = layer_of(name, torch.float32), given_of(name, torch.float32)
    for by_nodes in (True, False):
        for by_edges in (True, False):
            given = [x.detach().requires_grad_(by_nodes) for x in nodes]
            features = [x.detach().requires_grad_(by_edges) for x in attributes]
            found = step(layer, given, edges, features)
            check_same(found, single_step(layer, given, edges.clone(), features))
            check(found, single_step(peer_of(layer, name), *in_double(given, edges, features)), 2e-5)


def test_layers_of_the_same_sizes_are_told_apart():
    nodes, edges, _ = given_of("GATv2", torch.float32)
    layers = [layer_of("GATv2", torch.float32), layer_of("GATv2", torch.float32, dropout=0.3)]
    layers += [GATv2Conv(CHANNELS, 2, 4), GATv2Conv(CHANNELS, 4, 2, share_weights=True)]
    layers += [layer_of("GAT", torch.float32), layer_of("GAT", torch.float32, dropout=0.3), GATConv(CHANNELS, 2, 4)]
    for layer in [*layers, *layers]:
        found = []
        for given in (edges, edges.clone()):
            torch.manual_seed(7)
            found.append(step(layer, nodes, given, []))
        check_same(*found)


@pytest.mark.parametrize("name", SHORT)
def test_where_weights_have_lost_digits_all_edges_are_laid_out(name, monkeypatch):
    layer, given = layer_of(name), given_of(name)
    wanted, asked = step(layer, *given), []
    monkeypatch.setattr(execution, "MOST_LOST", 0.0)
    for kind in (GATStep, GATv2Step):
        by_torch = kind.by_torch
        monkeypatch.setattr(kind, "by_torch", lambda *of, by_torch=by_torch: (asked.append(1), by_torch(*of))[1])
    check(step(layer, *given), wanted)
    assert asked


@pytest.mark.parametrize("name", LAYERS)
def test_results_may_be_written_and_inputs_that_were_are_noticed(name):
    layer, (nodes, edges, attributes) = layer_of(name, torch.float32), given_of(name, torch.float32)
    found, wanted = (
        torch.autograd.grad(change(call(layer, nodes, edges, attributes)).sum(), nodes)
        for change in (torch.relu_, torch.relu)
    )
    check(found, wanted, 1e-6)
    out = call(layer, nodes, edges, attributes)
    with torch.no_grad():
        next(parameter for key, parameter in layer.named_parameters() if key.startswith("att")).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("name", SHORT)
def test_weights_of_tables_without_gradients_may_be_written_before_the_backward_pass(name):
    layer, (nodes, edges, attributes) = layer_of(name), given_of(name)
    nodes, attributes = ([x.detach() for x in of] for of in (nodes, attributes))
    weights = [parameter for key, parameter in layer.named_parameters() if key.startswith("lin")]
    for _ in range(4):
        before = [weight.detach().clone() for weight in weights]
        wanted = torch.autograd.grad(call(layer, nodes, edges, attributes).square().sum(), weights)
        out = call(layer, nodes, edges, attributes)
        with torch.no_grad():
            for weight in weights:
                weight.mul_(1.5)
        check(torch.autograd.grad(out.square().sum(), weights), wanted)
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)


@pytest.mark.parametrize("name", SHORT)
def test_inside_a_checkpoint_and_with_hooks_on_what_is_kept(name):
    layer, given = layer_of(name), given_of(name)
    wanted = step(layer, *given)

    class Kept(torch.nn.Module):
        def forward(self, *given):
            return checkpoint(layer, *given, use_reentrant=False)

        def parameters(self):
            return layer.parameters()

    check(step(Kept(), *given), wanted)
    with torch.autograd.graph.save_on_cpu():
        check(step(layer, *given), wanted)


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_checkpoint_of_a_step_that_came_before(name, before):
    layer, (nodes, edges, attributes) = layer_of(name, torch.float32), given_of(name, torch.float32)
    for _ in range(before):
        call(layer, nodes, edges, attributes)
    for _ in range(3):
        out = checkpoint(lambda *nodes: call(layer, nodes, edges, attributes), *nodes, use_reentrant=False)
        found = torch.autograd.grad(out.sum(), [*nodes, *layer.parameters()])
    wanted = torch.autograd.grad(call(layer, nodes, edges, attributes).sum(), [*nodes, *layer.parameters()])
    check(found, wanted, 1e-5)


@pytest.mark.parametrize("name", SHORT)
def test_what_a_checkpoint_draws_again_is_what_gradients_are_of(name):
    """Each node has one edge, which is kept or not: what is dropped in one pass must be what is dropped in the other."""
    layer = layer_of("GATv2, two tables" if "two" in name else name.partition(",")[0] + ", no loops", dropout=0.5)
    nodes, edges = (
        [torch.ones(2000, CHANNELS, dtype=torch.float64, requires_grad=True)],
        torch.arange(2000).repeat(2, 1),
    )
    attributes = [torch.ones(2000, EDGE_DIM, dtype=torch.float64)] if layer.edge_dim else []

    def of(x):
        return call(layer, [x], edges, attributes).square()

    def mean_gradient(y):
        return torch.autograd.grad(y.sum(), nodes[0])[0].mean().item()

    again = checkpoint(of, nodes[0], use_reentrant=False, preserve_rng_state=False)
    assert mean_gradient(again) == pytest.approx(mean_gradient(of(nodes[0])), rel=0.2)


def hook(layer):
    of = layer.lin if isinstance(layer, torch_geometric.nn.GATConv) else layer.lin_l
    of.register_forward_hook(lambda module, given, out: 2 * out)


def freeze(layer):
    of = layer.lin if isinstance(layer, torch_geometric.nn.GATConv) else layer.lin_l
    of.weight.requires_grad_(False)


def tilt(layer):
    layer.negative_slope = 0.3


@pytest.mark.parametrize("change", [hook, freeze, tilt])
@pytest.mark.parametrize("name", ["GAT", "GATv2"])
def test_what_is_more_or_less_goes_one_by_one(name, change, steps):
    layer, given = layer_of(name), given_of(name)
    peer = peer_of(layer, name)
    change(layer), change(peer)
    found = step(layer, *given)
    assert not steps or steps[-1] is None
    check(found, step(peer, *given))


@pytest.mark.parametrize("is_buffer", [False, True])
@pytest.mark.parametrize("name", ["GAT", "GATv2"])
def test_biases_that_are_no_parameters(name, is_buffer, steps):
    layer, given = layer_of(name), given_of(name)
    peer = peer_of(layer, name)
    for net in (layer, peer):
        of = net.lin if name == "GAT" else net.lin_l
        if "bias" in of._parameters:
            del of.bias
        bias = torch.arange(8, dtype=torch.float64)
        of.register_buffer("bias", bias) if is_buffer else setattr(of, "bias", bias.requires_grad_())
    check(step(layer, *given), step(peer, *given))
    assert steps[-1] is None


def test_a_rate_that_changes_from_step_to_step_leaves_nothing_behind():
    layer, given = layer_of("GATv2", torch.float32), given_of("GATv2", torch.float32)
    sizes = []
    for number in range(1, 9):  # twice as many as are remembered
        layer.dropout = number / 10
        torch.manual_seed(number)
        found = step(layer, *given)
        torch.manual_seed(number)
        check_same(found, single_step(layer, given[0], given[1].clone(), []))
        graph = layer.graph_of(given[1], NODES, NODES)
        graph, _ = add_self_loops(graph, None, "mean")
        sizes.append(sum(len(value) for key, value in graph._cache.items() if key[0] == "step"))
    assert sizes[-1] == sizes[3] == MOST_RATES


@pytest.mark.parametrize("name", ["GAT", "GATv2"])
def test_kernels_from_outside_halves_and_autocast(name, steps):
    class Own(EdgesTorch):
        name = "own"

    layer, given = layer_of(name, torch.float32), given_of(name, torch.float32)
    register_kernel(Own())
    try:
        call(layer, *given)
        assert steps[-1] is None
    finally:
        remove_kernel("own")
    with torch.autocast("cpu", torch.bfloat16):
        call(layer, *given)
    assert steps[-1] is None
    call(layer.bfloat16(), *given_of(name, torch.bfloat16))
    assert steps[-1] is None


@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize("name", ["GAT", "GATv2"])
def test_few_nodes(rows, name):
    layer, nodes = layer_of(name), [tensor(rows, CHANNELS)]
    edges = torch.zeros(2, 3 if rows else 0, dtype=torch.int64)
    check(step(layer, nodes, edges, []), step(peer_of(layer, name), nodes, edges, []))


@pytest.mark.parametrize("name", ["GAT", "GATv2"])
def test_errors_are_those_of_the_layer(name):
    layer = layer_of(name, torch.float32)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layer(torch.randn(NODES, CHANNELS + 1), EDGES)
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.randn(NODES, CHANNELS).double(), EDGES)
