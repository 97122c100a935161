"""What can be known of the kernel without a GPU: its refusals, shapes by fake tensors, and the work around the operators.

On a GPU it takes part in test_every_kernel.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from graphattn import BandedGraph, CompleteGraph, choose_kernel
from graphattn.formulas.normalizers import Softmax
from graphattn.formulas.scores import Dot
from graphattn.kernels.cuda.efficient_cuda import LSE_BLOCK, EfficientCuda
from graphattn.kernels.fused.flash import flash, flash_backward
from graphattn.kernels.kernel import Inputs, Partial, Plan
from graphattn.testing.cases import GRAPHS
from graphattn.testing.loops import loop_attention

CASES = {name: (graph, edges) for name, graph, edges in GRAPHS}
HEADS, KV_HEADS, DIM, VALUE_DIM = 4, 2, 11, 9


def problem(graph, dtype, device):
    plan = Plan(graph, Dot(), Softmax(), 0.3)
    shapes = ((graph.num_queries, HEADS, DIM), (graph.num_keys, KV_HEADS, DIM), (graph.num_keys, KV_HEADS, VALUE_DIM))
    generator = torch.Generator().manual_seed(0) if device == "cpu" else None
    return plan, Inputs(*(torch.randn(shape, dtype=dtype, device=device, generator=generator) for shape in shapes))


@pytest.mark.parametrize("num_queries", [5, 32, 33])
def test_operators_take_these_arguments(num_queries):
    with FakeTensorMode():
        query, grad_out = (torch.randn(3, HEADS, num_queries, 12, device="cuda") for _ in range(2))
        key, value = (torch.randn(3, HEADS, 40, 12, device="cuda") for _ in range(2))
        out, lse = EfficientCuda().attend(query, key, value, 0.3, False)
        assert out.shape == query.shape and lse.shape == query.shape[:3]
        gradients = EfficientCuda().differentiate(grad_out, query, key, value, out, lse, 0.3, False)
        assert [x.shape for x in gradients] == [query.shape, key.shape, value.shape]


class Operators:
    """What the operators say they do, by those for CPU."""

    def __init__(self):
        self.calls = 0

    def forward(self, query, key, value, bias, with_lse, dropout, is_causal, *, scale):
        assert bias is None and with_lse and dropout == 0 and not query.size(-1) % 4
        self.calls += 1
        out, lse = flash(query, key, value, scale, is_causal=is_causal)
        return out, torch.nn.functional.pad(lse, (0, -lse.size(-1) % LSE_BLOCK), value=torch.inf), None, None

    def backward(self, grad_out, query, key, value, bias, out, lse, seed, offset, dropout, wanted, is_causal, *, scale):
        assert bias is None and dropout == 0 and wanted == [True, True, True, False]
        assert not lse.size(-1) % LSE_BLOCK and lse[..., query.size(2) :].eq(torch.inf).all()
        lse = lse[..., : query.size(2)]
        return *flash_backward(grad_out, query, key, value, out, lse, scale, is_causal=is_causal), None


def check_against_loops(kernel, plan, inputs, edges):
    """Of a kernel whose operators are replaced by those for CPU: result and gradients."""
    inputs = Inputs(*(x.requires_grad_() for x in inputs[:3]))
    wanted, _, _, wanted_lse = loop_attention(*inputs[:3], edges, scale=0.3)
    grad_out = torch.randn(wanted.shape, dtype=wanted.dtype, generator=torch.Generator().manual_seed(1))
    wanted_gradients = torch.autograd.grad(wanted, inputs[:3], grad_out, allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        out, lse, _ = kernel.forward(plan, inputs)
        torch.testing.assert_close((out, lse), (wanted.detach(), wanted_lse.detach()))
        gradients = kernel.backward(plan, inputs, Partial(out, lse), Partial(grad_out, None))
    torch.testing.assert_close(tuple(gradients[:3]), wanted_gradients)


@pytest.mark.parametrize("name", ["complete", "causal_ragged", "complete_ragged_rectangular", "single_node"])
def test_around_the_operators(name, monkeypatch):
    graph, edges = CASES[name]
    operators = Operators()
    monkeypatch.setattr(torch.ops.aten, "_scaled_dot_product_efficient_attention", operators.forward)
    monkeypatch.setattr(torch.ops.aten, "_scaled_dot_product_efficient_attention_backward", operators.backward)
    check_against_loops(EfficientCuda(), *problem(graph, torch.float64, "cpu"), edges)
    assert operators.calls == len({size for size in graph.sizes if min(size)})


def test_refusals():
    x = torch.randn(4, 1, 8)
    with pytest.raises(ValueError, match="'efficient_cuda' runs on CUDA .got cpu"):
        choose_kernel(CompleteGraph(4), x, kernel="efficient_cuda")
    with FakeTensorMode():
        half = torch.randn(4, 1, 8, device="cuda", dtype=torch.float16)
        single = half.float()
        for inputs, words in (
            (Inputs(half, half, half), "float32 (got torch.float16"),
            (Inputs(single, single, single, bias=single.squeeze(1)), "nothing per edge"),
            (Inputs(single.new_empty(4, 1, 0), single.new_empty(4, 1, 0), single), "at least 1 channel (got dim=0)"),
        ):
            assert words in EfficientCuda().why_not(Plan(CompleteGraph(4), Dot(), Softmax(), 1.0), inputs)
        banded = Plan(BandedGraph(4, 1, 1), Dot(), Softmax(), 1.0)
        assert "complete and causal" in EfficientCuda().why_not(banded, Inputs(single, single, single))
