"""PyG's GINEConv by loops: PyG's numbers, and its own layer where somebody looks at it."""

import copy

import pytest
import torch
import torch_geometric
from torch.autograd.functional import hessian
from torch_geometric.nn import GINEConv

from graphattn.graphs import EdgeListGraph
from graphattn.kernels.native import gine as loops
from graphattn.kernels.native.library import why_not_native
from graphattn.nn import GPSConv
from graphattn.nn import gine as own_gine
from graphattn.nn.gine import by_torch, convolve, sum_messages
from tests.nn.loops_that_run import names_of_loops

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

BOTH = ["gine_forward_f32", "gine_backward_f32"]


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    return names_of_loops(monkeypatch, loops)


def problem(num_nodes=8, num_edges=20, channels=6, edge_dim=3, **options):
    torch.manual_seed(0)
    maps = torch.nn.Sequential(torch.nn.Linear(channels, 7), torch.nn.ReLU(), torch.nn.Linear(7, channels))
    conv = GINEConv(maps, edge_dim=edge_dim, **{"eps": 0.3, "train_eps": True, **options})
    edge_index = torch.randint(num_nodes, (2, num_edges))
    return conv, torch.randn(num_nodes, channels), edge_index, torch.randn(num_edges, edge_dim or channels)


def results(convolve, conv, x, edge_index, edge_attr):
    """The output and all gradients."""
    x, edge_attr = x.detach().requires_grad_(), edge_attr.detach().requires_grad_()
    out = convolve(conv, x, edge_index, edge_attr=edge_attr)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    return out, *torch.autograd.grad(out, [x, edge_attr, *conv.parameters()], cotangent)


def as_called(conv, *given, **options):
    return conv(*given, **options)


def in_float64(conv, x, edge_index, edge_attr):
    return results(as_called, copy.deepcopy(conv).double(), x.double(), edge_index, edge_attr.double())


SIZES = [
    {},
    {"edge_dim": None},
    {"num_edges": 2000, "num_nodes": 900, "channels": 64, "edge_dim": 16},
    {"train_eps": False},
]


@pytest.mark.parametrize("options", [*SIZES, {"channels": 64, "edge_dim": 200}], ids=str)
def test_pygs_numbers(options, calls):
    given = problem(**options)
    found = results(convolve, *given)
    assert calls == BOTH
    for own, right in zip(found, in_float64(*given), strict=True):
        torch.testing.assert_close(own.double(), right, rtol=1e-5, atol=1e-5 * max(float(right.abs().max()), 1))
    with torch.no_grad():
        assert torch.equal(convolve(*given[:3], edge_attr=given[3]), found[0])


@pytest.mark.parametrize("cotangent", [torch.ones_like, lambda y: torch.ones(()).expand(y.shape)])
def test_gradients_of_sums(cotangent):
    conv, x, edge_index, edge_attr = problem()
    x.requires_grad_()
    of = [torch.autograd.grad(out, x, cotangent(out))[0] for out in (
        convolve(conv, x, edge_index, edge_attr=edge_attr), conv(x, edge_index, edge_attr)
    )]  # fmt: skip
    torch.testing.assert_close(*of, rtol=1e-5, atol=1e-5)


def in_plain_operations(x, edge_attr, weight, bias, eps, graph):
    source, _ = graph.edge_index()
    mapped = edge_attr if weight is None else torch.nn.functional.linear(edge_attr, weight, bias)
    return by_torch(x, edge_attr, weight, bias, eps, graph, (x[source] + mapped > 0).detach())


@pytest.mark.parametrize("needs", range(5))
def test_each_gradient_alone(needs):
    conv, x, edge_index, edge_attr = problem()
    tensors = [x, edge_attr, conv.lin.weight, conv.lin.bias, conv.eps]
    tensors = [tensor.detach().requires_grad_(number == needs) for number, tensor in enumerate(tensors)]
    graph = EdgeListGraph(edge_index, 8)
    found, wanted = (
        torch.autograd.grad(call(*tensors, graph).pow(2).sum(), tensors[needs])[0]
        for call in (sum_messages, in_plain_operations)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("has_weight", [True, False])
def test_plain_operations_have_the_derivatives_of_their_numbers(has_weight):
    conv, x, edge_index, edge_attr = problem(edge_dim=3 if has_weight else None)
    maps = [conv.lin.weight, conv.lin.bias] if has_weight else []
    tensors = [tensor.detach().double().requires_grad_() for tensor in (x, edge_attr, *maps, conv.eps)]
    graph, nothing = EdgeListGraph(edge_index, 8), () if has_weight else (None, None)
    run = lambda *given: in_plain_operations(*given[:-1], *nothing, given[-1], graph)  # noqa: E731
    assert torch.autograd.gradcheck(run, tensors)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("channels", [5, 16])
def test_what_no_gradient_needs_may_be_written_before_the_backward_pass(create_graph, channels):
    conv, x, edge_index, edge_attr = problem(channels=channels)
    x, edge_attr, parameters = x.detach(), edge_attr.detach(), [conv.lin.weight, conv.lin.bias]

    def gradients(change):
        out = convolve(conv, x.clone(), edge_index, edge_attr=edge_attr)
        if change:
            with torch.no_grad():
                conv.lin.weight.mul_(-1)
        found = torch.autograd.grad(out.pow(2).sum(), parameters, create_graph=create_graph)
        if create_graph:
            found = torch.autograd.grad(found[0].pow(2).sum(), parameters, allow_unused=True)
        return found

    torch.nn.Module.requires_grad_(conv.nn, False)
    for own, right in zip(gradients(True), (conv.lin.weight.data.neg_(), gradients(False))[1], strict=True):
        torch.testing.assert_close(own, right)


@pytest.mark.parametrize("vectorize", [False, True])
def test_second_derivatives(vectorize, calls):
    conv, x, edge_index, edge_attr = problem(num_edges=12)

    def of(call):
        loss = lambda x, edge_attr: call(conv, x.sin(), edge_index, edge_attr=edge_attr).pow(3).sum()  # noqa: E731
        return hessian(loss, (x, edge_attr), vectorize=vectorize)

    for own, right in zip(of(convolve), of(as_called), strict=True):
        for block, its in zip(own, right, strict=True):
            torch.testing.assert_close(block, its, rtol=1e-3, atol=1e-3)
    assert BOTH[0] in calls


class Louder(GINEConv):
    def message(self, x_j, edge_attr):
        return 2 * super().message(x_j, edge_attr)


def hook_messages(conv):
    conv.register_message_forward_hook(lambda *_: None)


def hook(conv):
    conv.register_forward_hook(lambda *_: None)


def hook_map(conv):
    conv.lin.register_forward_hook(lambda *_: None)


def turn(conv):
    conv.flow = "target_to_source"


def of_a_subclass(conv):
    conv.__class__ = Louder


def with_a_message_of_its_own(conv):
    conv.message = lambda x_j, edge_attr: x_j


def by_largest(conv):
    conv.aggr_module = torch_geometric.nn.aggr.MaxAggregation()


CHANGES = [hook_messages, hook, hook_map, turn, of_a_subclass, with_a_message_of_its_own, by_largest]


@pytest.mark.parametrize("change", CHANGES)
def test_who_looks_at_the_layer_gets_pygs(change, calls):
    conv, x, edge_index, edge_attr = problem()
    change(conv)
    assert torch.equal(convolve(conv, x, edge_index, edge_attr=edge_attr), conv(x, edge_index, edge_attr))
    assert not calls


def test_other_ways_to_call_it(calls):
    conv, x, edge_index, edge_attr = problem()
    wanted = conv(x, edge_index, edge_attr)
    assert torch.equal(convolve(conv, x, edge_index, edge_attr=edge_attr, size=None), wanted)
    sparse = torch_geometric.EdgeIndex(edge_index, sparse_size=(8, 8))
    torch.testing.assert_close(convolve(conv, x, sparse, edge_attr=edge_attr), wanted)
    double = copy.deepcopy(conv).double()
    assert convolve(double, x.double(), edge_index, edge_attr=edge_attr.double()).dtype is torch.float64
    torch.func.jvp(lambda x: convolve(conv, x, edge_index, edge_attr=edge_attr), (x,), (x,))
    torch.func.grad(lambda x: convolve(conv, x, edge_index, edge_attr=edge_attr).sum())(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert convolve(conv, x, edge_index, edge_attr=edge_attr).dtype is torch.bfloat16
    empty = convolve(conv, x, edge_index[:, :0], edge_attr=edge_attr[:0])
    torch.testing.assert_close(empty, conv(x, edge_index[:, :0], edge_attr[:0]))
    assert not calls
    with pytest.raises(ValueError, match="do not match"):
        convolve(problem(edge_dim=None)[0], x, edge_index, edge_attr=edge_attr)


def test_nodes_with_very_many_edges_go_by_pygs(monkeypatch, calls):
    conv, x, edge_index, edge_attr = problem()
    monkeypatch.setattr(own_gine.loops, "has_whole_rows", lambda *_: False)
    assert torch.equal(convolve(conv, x, edge_index, edge_attr=edge_attr), conv(x, edge_index, edge_attr))
    assert not calls


def test_an_edge_index_that_is_written_between_calls():
    conv, x, edge_index, edge_attr = problem()
    convolve(conv, x, edge_index, edge_attr=edge_attr)
    edge_index[0, :5] = 0
    torch.testing.assert_close(convolve(conv, x, edge_index, edge_attr=edge_attr), conv(x, edge_index, edge_attr))


@pytest.mark.parametrize("norm", [None, "layer_norm", "batch_norm"])
def test_gps_takes_it(norm, calls):
    conv, x, edge_index, edge_attr = problem(channels=8)
    peer = torch_geometric.nn.GPSConv(8, conv, 2, norm=norm)
    own = GPSConv(8, copy.deepcopy(conv), 2, norm=norm)
    own.load_state_dict(peer.state_dict())
    batch = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2])
    found = results(lambda _, *given, **options: own(*given, batch=batch, **options), own, x, edge_index, edge_attr)
    assert calls == BOTH
    wanted = results(lambda _, *given, **options: peer(*given, batch=batch, **options), peer, x, edge_index, edge_attr)
    for value, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(value, right, rtol=1e-4, atol=2e-5)


def test_the_result_may_be_written_in_place():
    conv, x, edge_index, edge_attr = problem()
    conv.nn = torch.nn.ReLU(inplace=True)
    found, wanted = results(convolve, conv, x, edge_index, edge_attr), in_float64(conv, x, edge_index, edge_attr)
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own.double(), right, rtol=1e-5, atol=1e-4)
