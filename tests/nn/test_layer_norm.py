"""PyG's LayerNorm of graphs by loops: PyG's numbers, and its own module where somebody looks at it."""

import pytest
import torch
import torch_geometric
from torch.autograd.functional import hessian

from graphattn import CompleteGraph
from graphattn.kernels.native import layer_norm as loops
from graphattn.kernels.native.library import why_not_native
from graphattn.nn import GATConv, GPSConv
from graphattn.nn.layer_norm import LayerNorm, normalized
from tests.nn.loops_that_run import names_of_loops

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

SIZES = [3, 4, 1]
BATCH = torch.repeat_interleave(torch.tensor(SIZES))


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    return names_of_loops(monkeypatch, loops)


def problem(affine=True, **options):
    torch.manual_seed(0)
    norm = torch_geometric.nn.LayerNorm(6, affine=affine, **options)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    return norm, torch.randn(8, 6).requires_grad_()


def both(norm, x, call):
    for normalize in (lambda x: normalized(norm, x, BATCH, CompleteGraph(SIZES)), lambda x: norm(x, BATCH)):
        yield call(normalize, x)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("cotangent", [torch.randn_like, torch.ones_like, lambda y: torch.ones(()).expand(y.shape)])
def test_pygs_numbers(affine, cotangent, calls):
    norm, x = problem(affine)

    def call(normalize, x):
        y = normalize(x)
        torch.manual_seed(1)
        return y, *torch.autograd.grad(y, [x, *norm.parameters()], cotangent(y))

    for own, right in zip(*both(norm, x, call), strict=True):
        torch.testing.assert_close(own, right, rtol=1e-5, atol=1e-5)
    assert calls == ["layer_norm_forward_f32", "layer_norm_backward_f32"]


def test_one_number_for_all_channels_goes_by_torch(calls):
    norm, x = problem()
    norm.bias = torch.nn.Parameter(torch.ones(1))
    own, right = both(norm, x, lambda normalize, x: normalize(x))
    assert torch.equal(own, right) and not calls


def tables(count):
    torch.manual_seed(2)
    return [torch.randn(8, 6).requires_grad_() for _ in range(count)]


@pytest.mark.parametrize("has_other", [True, False])
@pytest.mark.parametrize("has_added", [True, False])
def test_the_norm_of_a_sum_and_a_sum_with_it(has_other, has_added, calls):
    norm, x = problem()
    others = dict(zip(["other"] * has_other + ["added"] * has_added, tables(2)))
    y = normalized(norm, x, BATCH, CompleteGraph(SIZES), **others)
    wanted = norm(x + others.get("other", 0), BATCH) + others.get("added", 0)
    leaves, cotangent = [x, *norm.parameters(), *others.values()], torch.randn(8, 6)
    found = torch.autograd.grad(y, leaves, cotangent)
    for own, right in zip([y, *found], [wanted, *torch.autograd.grad(wanted, leaves, cotangent)], strict=True):
        torch.testing.assert_close(own, right, rtol=1e-5, atol=1e-5)
    assert calls == ["layer_norm_forward_f32", "layer_norm_backward_f32"]
    with torch.no_grad():
        torch.testing.assert_close(normalized(norm, x, BATCH, CompleteGraph(SIZES), **others), wanted)


def test_gradients_of_summands_have_memory_of_their_own():
    norm, x = problem()
    other, added = tables(2)
    y = normalized(norm, x, BATCH, CompleteGraph(SIZES), other, added)
    y.backward(cotangent := torch.randn(8, 6))
    assert len({table.grad.data_ptr() for table in (x, other, added)} | {cotangent.data_ptr()}) == 4
    kept = other.grad.clone()
    x.grad.zero_()
    assert torch.equal(other.grad, kept) and torch.equal(added.grad, cotangent)


def test_the_result_may_be_written_in_place():
    norm, x = problem()
    other, added = tables(2)
    wanted = torch.autograd.grad(2 * normalized(norm, x, BATCH, CompleteGraph(SIZES), other, added).sum(), [x, other])
    y = normalized(norm, x, BATCH, CompleteGraph(SIZES), other, added).mul_(2)
    for own, right in zip(torch.autograd.grad(y.sum(), [x, other]), wanted, strict=True):
        assert torch.equal(own, right)


@pytest.mark.parametrize("vectorize", [False, True])
def test_second_derivatives_of_the_norm_of_a_sum(vectorize):
    norm, x = problem()
    other, added = tables(2)

    def call(normalize):
        of = lambda x, other: normalize(x, (x * other).sin()).pow(3).sum()  # noqa: E731
        return torch.autograd.functional.hessian(of, (x.detach(), other.detach()), vectorize=vectorize)

    found = call(lambda x, other: normalized(norm, x, BATCH, CompleteGraph(SIZES), other, added.detach()))
    wanted = call(lambda x, other: norm(x + other, BATCH) + added.detach())
    for own, right in zip(found, wanted, strict=True):
        for block, its in zip(own, right, strict=True):
            torch.testing.assert_close(block, its, rtol=2e-3, atol=2e-3 * float(its.abs().max()))


def test_gradients_by_the_sum_itself():
    norm, x = problem()
    other, added = tables(2)
    places, names = loops.examples_of(CompleteGraph(SIZES)), (norm.weight, norm.bias)
    y, total = LayerNorm.apply(x, other, added, *names, norm.eps, places)
    found = torch.autograd.grad((y.square() + total.sin()).sum(), [x, other])
    wanted = torch.autograd.grad((norm(x + other, BATCH) + added).square().sum() + (x + other).sin().sum(), [x, other])
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, right, rtol=1e-5, atol=1e-5)


def test_a_sum_of_other_shapes_goes_by_torch(calls):
    norm, x = problem()
    row = torch.randn(6)
    torch.testing.assert_close(
        normalized(norm, x, BATCH, CompleteGraph(SIZES), row, row), norm(x + row, BATCH) + row, rtol=0, atol=0
    )
    wide = torch.randn(8, 6, dtype=torch.float64)
    assert normalized(norm.double(), x.double(), BATCH, CompleteGraph(SIZES), wide).dtype == torch.float64
    assert not calls


def test_second_derivatives(calls):
    norm, x = problem()

    def call(normalize, x):
        return [hessian(lambda x: normalize(x).pow(3).sum(), x.detach(), vectorize=v) for v in (False, True)]

    found, wanted = both(norm, x, call)
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, right, rtol=1e-3, atol=1e-3)
    assert "layer_norm_forward_f32" in calls


def test_what_looks_at_the_module_gets_it(calls):
    norm, x = problem()
    given = norm, x.detach(), BATCH, CompleteGraph(SIZES)
    wanted = norm(x, BATCH).detach()
    torch.func.jvp(lambda x: normalized(norm, x, *given[2:]), (x.detach(),), (x.detach(),))
    handle = norm.register_forward_hook(lambda *_: None)
    assert torch.equal(normalized(*given), wanted)
    handle.remove()
    assert torch.equal(normalized(norm, x.detach(), BATCH, None), wanted)
    norm.forward = lambda x, batch: 2 * x
    assert torch.equal(normalized(*given), 2 * x.detach())
    del norm.forward
    assert normalized(norm.double(), x.detach().double(), *given[2:]).dtype == torch.float64
    node_norm, x = problem(mode="node")
    assert torch.equal(normalized(node_norm, x, *given[2:]), node_norm(x, BATCH))
    other = torch_geometric.nn.GraphNorm(6)
    assert torch.equal(normalized(other, x, *given[2:]), other(x, BATCH))
    assert not calls


@pytest.mark.parametrize("attn_type", ["multihead", "performer"])
def test_gps_takes_it_where_the_batch_is_what_attention_sees(attn_type, calls):
    torch.manual_seed(0)
    own = GPSConv(6, GATConv(6, 3, 2), 2, norm="layer_norm", attn_type=attn_type)
    x, edges = torch.randn(8, 6), torch.tensor([[0, 1, 3, 4], [1, 2, 4, 5]])
    out = own(x, edges, batch=BATCH)
    assert calls == ["layer_norm_forward_f32"] * 3
    out.sum().backward()
    assert len(calls) == 6
    own(x, edges, batch=BATCH, graph=CompleteGraph([8]))
    own(x, edges)
    assert len(calls) == 6
    peer = torch_geometric.nn.GPSConv(6, torch_geometric.nn.GATConv(6, 3, 2), 2, norm="layer_norm", attn_type=attn_type)
    peer.load_state_dict(own.state_dict())
    if attn_type == "multihead":
        torch.testing.assert_close(out, peer(x, edges, batch=BATCH), rtol=1e-4, atol=1e-5)


def test_second_derivatives_of_a_norm_that_is_applied_twice():
    """What the second call is given depends on the weight: its gradients must not go through it a second time."""
    norm, x = problem()

    def call(normalize, x):
        y = normalize(normalize(x).sin())
        grads = torch.autograd.grad(y.pow(3).sum(), [x, *norm.parameters()], create_graph=True)
        again = torch.autograd.grad(sum(g.square().sum() for g in grads), [x, *norm.parameters()])
        return [*grads, *again]

    for own, right in zip(*both(norm, x, call), strict=True):
        torch.testing.assert_close(own, right, rtol=2e-3, atol=2e-3 * float(right.abs().max()))
