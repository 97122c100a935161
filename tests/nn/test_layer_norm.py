"""PyG's LayerNorm of graphs by loops: PyG's numbers, and its own module where somebody looks at it."""

import pytest
import torch
import torch_geometric
from torch.autograd.functional import hessian

from graphattn import CompleteGraph
from graphattn.kernels.native import layer_norm as loops
from graphattn.kernels.native.library import why_not_native
from graphattn.nn import GATConv, GPSConv
from graphattn.nn.layer_norm import normalized

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

SIZES = [3, 4, 1]
BATCH = torch.repeat_interleave(torch.tensor(SIZES))


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    found = []
    run = loops.run
    monkeypatch.setattr(loops, "run", lambda name, *given: (found.append(name), run(name, *given))[1])
    return found


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
