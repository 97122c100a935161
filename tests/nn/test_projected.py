"""Layers whose maps and attention are one step, beside PyG's in float64."""

import copy
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch_geometric.nn
from torch.utils.checkpoint import checkpoint

from graphattn import BandedGraph, CompleteGraph, batch_graphs, causal, memory_budget
from graphattn.kernels.choose import register_kernel, remove_kernel
from graphattn.kernels.native import rows
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.plain.edges_torch import EdgesTorch
from graphattn.nn import TransformerConv, linear_maps, projected, transformer_conv
from graphattn.nn.projected import attend_projected
from graphattn.running import execution
from graphattn.testing.layouts import LAYOUTS
from tests.nn.watched import watch_runs, watch_steps

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

NODES, SOURCES, CHANNELS, EDGE_DIM = 12, 17, 6, 3
EDGES = torch.randint(NODES, (2, 40), generator=torch.Generator().manual_seed(0))
EDGES = EDGES[:, EDGES[1] != 3]  # a node that sees nothing
BETWEEN = torch.stack(
    [torch.randint(SOURCES, (30,), generator=torch.Generator().manual_seed(1)), torch.arange(30) % NODES]
)
OPTIONS = [
    {},
    {"edge_dim": EDGE_DIM},
    {"root_weight": False},
    {"bias": False, "edge_dim": EDGE_DIM},
    {"beta": True, "edge_dim": EDGE_DIM},
    {"concat": False},
]


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    """What `attend_projected` gave at each call."""
    return watch_steps(monkeypatch, (transformer_conv, attend_projected))


def layer_of(dtype=torch.float64, channels=4, **options):
    torch.manual_seed(0)
    return TransformerConv(CHANNELS, channels, 2, **options).to(dtype)


def peer_of(layer, **options):
    torch.manual_seed(0)
    peer = torch_geometric.nn.TransformerConv(CHANNELS, layer.out_channels, 2, **options).double()
    peer.load_state_dict(layer.double().state_dict())
    return peer


def table(rows=NODES, columns=CHANNELS, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def step(layer, x, edges, attributes=None, cotangent=None):
    """Results and gradients, four times the same: the second pass forward is written down, the third backward."""
    state, found = torch.get_rng_state(), []
    for _ in range(4):
        torch.set_rng_state(state)
        found.append(single_step(layer, x, edges, attributes, cotangent))
        if type(layer) is TransformerConv:
            check_same(found[0], found[-1])
    return found[-1]


def check_same(found, wanted):
    assert all(a is b or torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def single_step(layer, x, edges, attributes, cotangent):
    given = [x for x in (*(x if isinstance(x, tuple) else (x,)), attributes) if x is not None]
    out = layer(x, edges, attributes)
    torch.manual_seed(2)
    cotangent = torch.randn_like(out, dtype=torch.float64).to(out.dtype) if cotangent is None else cotangent(out)
    wanted = [x for x in (*given, *layer.parameters()) if x.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, wanted, cotangent, allow_unused=True)]


def check(found, wanted, allowed=1e-11):
    for own, right in zip(found, wanted, strict=True):
        assert (own is None) == (right is None)
        if own is not None:
            torch.testing.assert_close(own.double(), right.double(), rtol=allowed, atol=allowed)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("is_between", [False, True], ids=["one table", "two tables"])
@pytest.mark.parametrize("by_loops", [True, False], ids=["loops", "torch"])
def test_as_pygs_layer(options, is_between, dtype, by_loops, steps, monkeypatch):
    monkeypatch.setattr(linear_maps.loops, "FEWEST", 8 if by_loops else 10**9)
    monkeypatch.setattr(linear_maps.loops, "is_faster", lambda: by_loops)
    monkeypatch.setattr(linear_maps, "LEAST", 1)
    monkeypatch.setattr(linear_maps, "FEWEST", 8)
    layer, edges = layer_of(dtype, **options), BETWEEN if is_between else EDGES
    x = (table(SOURCES, dtype=dtype), table(seed=5, dtype=dtype)) if is_between else table(dtype=dtype)
    attributes = table(edges.size(1), EDGE_DIM, 3, dtype) if "edge_dim" in options else None
    found = step(layer, x, edges, attributes)
    assert steps[-1] is not None
    with torch.no_grad():
        torch.testing.assert_close(layer(x, edges, attributes), found[0])
    wide = copy.deepcopy(layer)
    x, attributes = copy.deepcopy(x), copy.deepcopy(attributes)
    x = tuple(x.detach().double().requires_grad_() for x in x) if is_between else x.detach().double().requires_grad_()
    attributes = None if attributes is None else attributes.detach().double().requires_grad_()
    check(found, step(peer_of(wide, **options), x, edges, attributes), 1e-11 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_and_cotangents_in_any_layout(layout, steps):
    lay = LAYOUTS[layout]
    options = {"edge_dim": EDGE_DIM}
    for dtype, allowed in ((torch.float64, 1e-11), (torch.float32, 2e-5)):
        layer = layer_of(dtype, **options)
        peer = peer_of(copy.deepcopy(layer), **options)
        for root in (True, False):
            layer.root_weight = peer.root_weight = root
            x, attributes = (
                lay(t.detach()).detach().requires_grad_()
                for t in (table(dtype=dtype), table(EDGES.size(1), EDGE_DIM, 3, dtype))
            )
            cotangent = lay(table(NODES, 8, 4, dtype).detach())
            found = step(layer, x, EDGES, attributes, lambda _, given=cotangent: given)
            assert steps[-1] is not None
            wide = [t.detach().double().requires_grad_() for t in (x, attributes)]
            check(found, step(peer, wide[0], EDGES, wide[1], lambda _, given=cotangent: given.double()), allowed)


@pytest.mark.parametrize("reduce", [torch.sum, torch.mean], ids=["sum", "mean"])
def test_cotangents_of_reductions(reduce):
    layer, x = layer_of(), table()
    found = torch.autograd.grad(reduce(layer(x, EDGES)), [x, *layer.parameters()])
    peer = peer_of(layer)
    check(found, torch.autograd.grad(reduce(peer(x, EDGES)), [x, *peer.parameters()]))


@pytest.mark.parametrize("options", [{}, {"edge_dim": EDGE_DIM}, {"root_weight": False}], ids=str)
def test_gradients_are_differentiated_again(options, steps):
    layer, x = layer_of(**options), table()
    attributes = [table(EDGES.size(1), EDGE_DIM, 3)] if "edge_dim" in options else []
    names = [name for name, _ in layer.named_parameters()]

    def call(x, *rest):
        attributes, parameters = rest[: len(rest) - len(names)], rest[len(rest) - len(names) :]
        return torch.func.functional_call(layer, dict(zip(names, parameters)), (x, EDGES, *attributes))

    given = [x, *attributes, *(p.detach().requires_grad_() for p in layer.parameters())]
    assert torch.autograd.gradcheck(call, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, given, fast_mode=True)
    assert steps[-1] is not None


def test_many_cotangents_at_once_and_transforms():
    layer, x = layer_of(), table()
    grads = torch.eye(NODES * 8, dtype=torch.float64).view(-1, NODES, 8)
    found = torch.autograd.grad(layer(x, EDGES), x, grads, is_grads_batched=True)[0]
    each = torch.stack([torch.autograd.grad(layer(x, EDGES), x, grad)[0] for grad in grads])
    torch.testing.assert_close(found, each)
    by_func = torch.func.jacrev(lambda x: layer(x, EDGES))(x.detach())
    torch.testing.assert_close(by_func.view_as(each), each)
    cotangent, tangent = torch.randn(2, NODES, 8, dtype=torch.float64)
    out = layer(x, EDGES)
    with torch.autograd.forward_ad.dual_level():  # of the cotangent alone
        given = torch.autograd.forward_ad.make_dual(cotangent, tangent)
        of_x = torch.autograd.forward_ad.unpack_dual(torch.autograd.grad(out, x, given)[0]).tangent
    torch.testing.assert_close(of_x, (each * tangent.flatten()[:, None, None]).sum(0))
    forward_mode = torch.func.jacfwd(lambda x: layer(x, EDGES))(x.detach())
    torch.testing.assert_close(forward_mode.view_as(each), each)


def test_dropout_is_drawn_once_and_as_it_was(steps, monkeypatch):
    layer, x = layer_of(dropout=0.4, edge_dim=EDGE_DIM), table()
    attributes = table(EDGES.size(1), EDGE_DIM, 3)
    own_edges = EDGES.clone()
    torch.manual_seed(3)
    found = step(layer, x, own_edges, attributes)
    torch.manual_seed(3)
    out = [layer(x, own_edges, attributes), torch.rand(2)]
    torch.testing.assert_close(out[0], found[0])
    monkeypatch.setattr(transformer_conv, "attend_projected", lambda *_: None)
    torch.manual_seed(3)
    wanted = step(layer, x, EDGES.clone(), attributes)
    check(found, wanted)
    torch.manual_seed(3)
    layer(x, EDGES, attributes)
    assert torch.equal(torch.rand(2), out[1])
    assert not torch.equal(layer.eval()(x, EDGES, attributes), found[0])


def test_a_graph_that_was_never_seen_draws_no_more():
    layer, x = layer_of(dropout=0.4).train(), table()
    for _ in range(2):  # of the second call everything is remembered
        torch.manual_seed(3)
        layer(x, EDGES)
        seen = torch.rand(2)
    torch.manual_seed(3)
    layer(x, EDGES.clone())
    assert torch.equal(torch.rand(2), seen)


def test_where_weights_have_lost_digits_all_edges_are_laid_out(monkeypatch):
    layer, x = layer_of(edge_dim=EDGE_DIM), table()
    attributes = table(EDGES.size(1), EDGE_DIM, 3)
    wanted, asked = step(layer, x, EDGES, attributes), []
    monkeypatch.setattr(execution, "MOST_LOST", 0.0)
    by_torch = projected.DotStep.by_torch
    monkeypatch.setattr(projected.DotStep, "by_torch", lambda *given: (asked.append(1), by_torch(*given))[1])
    check(step(layer, x, EDGES, attributes), wanted)
    assert asked


def test_results_may_be_written_and_inputs_that_were_are_noticed():
    layer, x = layer_of(torch.float32), table(dtype=torch.float32)
    written = torch.relu_(layer(x, EDGES))
    found = torch.autograd.grad(written.sum(), x)[0]
    torch.testing.assert_close(found, torch.autograd.grad(layer(x, EDGES).relu().sum(), x)[0])
    for options in ({"root_weight": False}, {"root_weight": False, "concat": False}):
        layer = layer_of(torch.float32, **options)
        torch.relu_(layer(x, EDGES)).sum().backward()
    out = layer(x, EDGES)
    with torch.no_grad():
        layer.lin_key.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("is_between", [False, True], ids=["one table", "two tables"])
def test_weights_of_tables_without_gradients_may_be_written_before_the_backward_pass(is_between):
    """As in PyG's layer, which keeps no weight there: a first layer whose weights another optimizer steps meanwhile."""
    options, edges = {"edge_dim": EDGE_DIM}, BETWEEN if is_between else EDGES
    layer = layer_of(**options)
    x = (table(SOURCES).detach(), table(seed=5).detach()) if is_between else table().detach()
    attributes = table(edges.size(1), EDGE_DIM, 3).detach()
    parameters = list(layer.parameters())

    def gradients(change, create_graph):
        out = layer(x, edges, attributes)
        if change:
            with torch.no_grad():
                for parameter in parameters:
                    parameter.mul_(1.5)
        found = torch.autograd.grad(out.square().sum(), parameters, create_graph=create_graph)
        if not create_graph:
            return found
        return torch.autograd.grad(sum(x.square().sum() for x in found), parameters, allow_unused=True)

    before = [parameter.detach().clone() for parameter in parameters]
    for create_graph in (False, True):
        wanted = gradients(False, create_graph)
        found = gradients(True, create_graph)
        check(found, wanted)
        with torch.no_grad():
            for parameter, value in zip(parameters, before):
                parameter.copy_(value)


def test_inside_a_checkpoint_and_with_hooks_on_what_is_kept():
    layer, x = layer_of(edge_dim=EDGE_DIM), table()
    attributes = table(EDGES.size(1), EDGE_DIM, 3)
    wanted = step(layer, x, EDGES, attributes)

    class Kept(torch.nn.Module):
        def forward(self, *given):
            return checkpoint(layer, *given, use_reentrant=False)

        def parameters(self):
            return layer.parameters()

    check(step(Kept(), x, EDGES, attributes), wanted)
    with torch.autograd.graph.save_on_cpu():
        check(step(layer, x, EDGES, attributes), wanted)


@pytest.fixture
def runs(monkeypatch):
    """What was run again, forward and backward."""
    return watch_runs(monkeypatch)


REPEATED = [{}, {"edge_dim": EDGE_DIM}, {"root_weight": False}, {"bias": False}, {"dropout": 0.4}, {"concat": False}]


@pytest.mark.parametrize("is_between", [False, True], ids=["one table", "two tables"])
@pytest.mark.parametrize("options", REPEATED, ids=str)
def test_a_step_that_comes_again_runs_loops_alone(options, is_between, runs):
    layer, edges = layer_of(torch.float32, **options), (BETWEEN if is_between else EDGES).clone()
    x = (
        (table(SOURCES, dtype=torch.float32), table(seed=5, dtype=torch.float32))
        if is_between
        else table(dtype=torch.float32)
    )
    attributes = table(edges.size(1), EDGE_DIM, 3, torch.float32) if "edge_dim" in options else None
    step(layer, x, edges, attributes)
    assert len(runs) == 3  # two forward, one backward
    other = layer_of(torch.float32, **options)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    new = tuple((-t).detach().requires_grad_() for t in x) if is_between else (-x).detach().requires_grad_()
    torch.manual_seed(7)  # other edges are dropped
    found = single_step(other, new, edges, attributes, None)
    assert len(runs) == 5
    torch.manual_seed(7)
    check_same(found, single_step(other, new, edges.clone(), attributes, None))


@pytest.mark.parametrize(
    "options", [{"heads": 4, "out_channels": 2}, {"dropout": 0.2}, {"root_weight": False}, {"bias": False}], ids=str
)
def test_layers_of_the_same_sizes_are_told_apart(options):
    x, edges = table(dtype=torch.float32), EDGES.clone()
    step(layer_of(torch.float32, dropout=0.4), x, edges)
    other = TransformerConv(CHANNELS, **{"heads": 2, "out_channels": 4, "dropout": 0.4, **options})
    found = []
    for given in (edges, edges.clone()):
        torch.manual_seed(7)
        found.append(step(other, x, given))
    check_same(*found)


def test_other_gradients_of_the_same_step_are_told_apart():
    layer, edges = layer_of(torch.float32, edge_dim=EDGE_DIM), EDGES.clone()
    x, attributes = table(dtype=torch.float32), table(edges.size(1), EDGE_DIM, 3, torch.float32)
    for given in (
        (x, attributes),
        (x.detach(), attributes),
        (x, attributes.detach()),
        (x.detach(), attributes.detach()),
    ):
        found = step(layer, given[0], edges, given[1])
        check_same(found, single_step(layer, given[0], edges.clone(), given[1], None))


def test_results_of_cut_rows_are_added_to_the_skip_connection(monkeypatch):
    monkeypatch.setattr(rows, "HEAVY", 4)
    layer, x = layer_of(torch.float32), table(dtype=torch.float32)
    found = step(layer, x, EDGES.clone())
    check(found, step(peer_of(layer), x.detach().double().requires_grad_(), EDGES), 1e-5)


def expand(layer, x, edges):
    return layer, x[:1].expand(NODES, -1), edges


def take_columns(layer, x, edges):
    return layer, torch.stack([x, x], -1).flatten(1)[:, ::2], edges


def write_edges(layer, x, edges):
    edges[0] = edges[0].roll(1)
    return layer, x, edges


def swap_data(layer, x, edges):
    layer.lin_key.weight.data = 2 * layer.lin_key.weight.data
    return layer, x, edges


def lay_across(layer, x, edges):
    layer.lin_key.weight.data = layer.lin_key.weight.data.t().contiguous().t()
    return layer, x, edges


def tie(layer, x, edges):
    layer.lin_key.weight = layer.lin_value.weight
    return layer, x, edges


def multiply_the_result(layer, x, edges):
    hook(layer)
    return layer, x, edges


def turn_signs(layer, x, edges):
    return layer, torch._neg_view(x), edges


def widen(layer, x, edges):
    return layer.double(), x.double(), edges


def narrow_the_first_bias(layer, x, edges):
    layer.lin_query.bias = torch.nn.Parameter(torch.ones(()))
    return layer, x, edges


@pytest.mark.parametrize(
    "change",
    [
        expand,
        take_columns,
        write_edges,
        swap_data,
        lay_across,
        tie,
        multiply_the_result,
        turn_signs,
        widen,
        narrow_the_first_bias,
    ],
    ids=lambda change: change.__name__,
)
def test_what_is_another_call_is_none_that_came_before(change):
    layer, x, edges = layer_of(torch.float32), table(dtype=torch.float32).detach(), EDGES.clone()
    step(layer, x, edges)
    layer, x, edges = change(layer, x, edges)
    peer = torch_geometric.nn.TransformerConv(CHANNELS, 4, 2)
    if change in (tie, multiply_the_result, narrow_the_first_bias):
        change(peer, x, edges)
    peer.load_state_dict(layer.state_dict())
    found = step(layer, x, edges)
    check(found, step(peer.double(), x.double(), edges), 1e-5)


def test_layers_of_several_rates_of_dropout_are_run_again_each(runs):
    layers, edges, x = (
        [layer_of(torch.float32, dropout=p) for p in (0.1, 0.2, 0.4)],
        EDGES.clone(),
        table(dtype=torch.float32),
    )
    for _ in range(4):
        sum(layer(x, edges).sum() for layer in layers).backward()
    assert len(runs) == 3 * 3  # two forward, one backward


def test_autocast_around_the_backward_pass_alone_changes_nothing():
    layer, edges, x = layer_of(torch.float32), EDGES.clone(), table(dtype=torch.float32)
    wanted = [x, *layer.parameters()]
    for _ in range(4):
        grads = torch.autograd.grad(layer(x, edges).square().sum(), wanted)
        out = layer(x, edges).square().sum()
        with torch.autocast("cpu", torch.bfloat16):
            found = torch.autograd.grad(out, wanted)
        assert all(map(torch.equal, found, grads))


def test_a_step_that_came_before_keeps_nothing_of_its_tensors(steps):
    layer, edges = layer_of(torch.float32, edge_dim=EDGE_DIM), EDGES.clone()
    given = [table(dtype=torch.float32), table(edges.size(1), EDGE_DIM, 3, torch.float32)]
    step(layer, given[0], edges, given[1])
    gone = [weakref.ref(tensor) for tensor in (*given, *layer.parameters())]
    del given, layer
    steps.clear()
    gc.collect()
    assert not [tensor for tensor in gone if tensor() is not None]


def test_threads_run_one_layer_again_at_the_same_time():
    layer, edges = layer_of(torch.float32), EDGES.clone()
    tables = [table(seed=seed, dtype=torch.float32) for seed in range(8)]
    wanted = [single_step(layer, x, edges.clone(), None, torch.ones_like) for x in tables]

    def work(number):
        return [single_step(layer, tables[number], edges, None, torch.ones_like) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        for right, found in zip(wanted, pool.map(work, range(8)), strict=True):
            for again in found:
                check_same(again, right)


def test_a_graph_is_differentiated_twice_by_what_runs_again(runs):
    layer, x, edges = layer_of(torch.float32), table(dtype=torch.float32), EDGES.clone()
    step(layer, x, edges)
    out = layer(x, edges)
    first = torch.autograd.grad(out.sum(), x, retain_graph=True)[0]
    again = torch.autograd.grad(out.sum(), x, retain_graph=True)[0]
    assert len(runs) == 6 and torch.equal(first, again)
    twice = torch.autograd.grad(torch.autograd.grad(out.square().sum(), x, create_graph=True)[0].sum(), x)[0]
    wide, wide_x = peer_of(layer), x.detach().double().requires_grad_()
    of_peer = torch.autograd.grad(wide(wide_x, edges).square().sum(), wide_x, create_graph=True)[0]
    check([twice], torch.autograd.grad(of_peer.sum(), wide_x), 1e-4)


def hook(layer):
    layer.lin_value.register_forward_hook(lambda module, given, out: 2 * out)


def freeze(layer):
    layer.lin_query.weight.requires_grad_(False)


def wrap(layer):
    layer.lin_key = torch.nn.Sequential(layer.lin_key)


def narrow(layer):
    layer.lin_value.bias = torch.nn.Parameter(torch.ones(()).double())


@pytest.mark.parametrize("change", [hook, freeze, wrap, narrow])
def test_maps_that_are_more_or_less_go_one_by_one(change, steps):
    layer, x = layer_of(), table()
    change(layer)
    found = step(layer, x, EDGES)
    assert steps[-1] is None
    peer = torch_geometric.nn.TransformerConv(CHANNELS, 4, 2).double()
    change(peer)
    peer.load_state_dict(layer.state_dict())
    check(found, step(peer, x, EDGES))


MIXED = batch_graphs([CompleteGraph(100), BandedGraph(200, before=8, after=8)])  # each part on its own kernel


@pytest.mark.parametrize("graph", [causal(150), causal([100, 120]), MIXED], ids=str)
def test_other_kernels_run_where_they_are_faster(graph, steps):
    layer, x = layer_of(), table(graph.num_queries)
    found = step(layer, x, graph)
    assert steps[-1] is None
    check(found, step(peer_of(layer), x, graph.edge_index()))


def test_kernels_from_outside_and_budgets_are_asked(steps):
    class Own(EdgesTorch):
        name = "own"

    layer, x = layer_of(), table()
    layer(x, EDGES)
    assert steps[-1] is not None
    register_kernel(Own())
    try:
        layer(x, EDGES)
        assert steps[-1] is None
    finally:
        remove_kernel("own")
    with memory_budget(2**20):
        layer(x, EDGES)
    assert steps[-1] is None


def test_halves_and_autocast_are_rounded_where_they_were(steps):
    layer, x = layer_of(torch.bfloat16), table(dtype=torch.bfloat16)
    layer(x, EDGES)
    assert steps[-1] is None
    with torch.autocast("cpu", torch.bfloat16):
        assert layer_of(torch.float32)(table(dtype=torch.float32), EDGES).dtype == torch.bfloat16
    assert steps[-1] is None


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_few_nodes(rows):
    layer, x = layer_of(torch.float32), table(rows, dtype=torch.float32)
    edges = torch.zeros(2, 3 if rows else 0, dtype=torch.int64)
    found = step(layer, x, edges)
    wide = x.detach().double().requires_grad_()
    check(found, step(peer_of(copy.deepcopy(layer)), wide, edges), 1e-5)


def test_what_is_kept_is_what_maps_and_attention_kept():
    layer, x = layer_of(torch.float32, edge_dim=EDGE_DIM), table(dtype=torch.float32)
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    edges, counts = EDGES.clone(), []
    for _ in range(5):  # a checkpoint, whose hooks are such, counts what is kept: it is the same in each call
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            layer(x, edges, table(EDGES.size(1), EDGE_DIM, 3, torch.float32))
        of_nodes = [tensor for tensor in kept if tensor.dim() == 3 and len(tensor) == NODES]
        assert len(of_nodes) == 4  # query, key, value and result
        counts.append(len(kept))
        layer(x, edges, table(EDGES.size(1), EDGE_DIM, 3, torch.float32)).sum().backward()
    assert len(set(counts)) == 1


def test_errors_are_those_of_the_layer():
    layer = layer_of(torch.float32)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layer(torch.randn(NODES, CHANNELS + 1), EDGES)
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.randn(NODES, CHANNELS).double(), EDGES)
    with pytest.raises(ValueError, match="names query 11"):
        layer(torch.randn(11, CHANNELS), torch.tensor([[0], [11]]))
