"""What can be known of the kernel without a GPU: its refusals, shapes by fake tensors, and the work around the operators."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from graphattn import CompleteGraph, attend, causal, choose_kernel
from graphattn.formulas.normalizers import Softmax
from graphattn.formulas.scores import Dot
from graphattn.kernels.cuda import cudnn_cuda
from graphattn.kernels.cuda.cudnn_cuda import CudnnCuda
from graphattn.kernels.fused.flash import flash, flash_backward
from graphattn.kernels.kernel import Inputs, Plan
from graphattn.testing.cases import GRAPHS
from tests.kernels.cuda.test_efficient_cuda import check_against_loops

CASES = {name: (graph, edges) for name, graph, edges in GRAPHS}
HEADS, KV_HEADS, DIM = 4, 2, 8


def problem(graph, dtype, device):
    plan = Plan(graph, Dot(), Softmax(), 0.3)
    shapes = ((graph.num_queries, HEADS, DIM), (graph.num_keys, KV_HEADS, DIM), (graph.num_keys, KV_HEADS, DIM))
    generator = torch.Generator().manual_seed(0) if device == "cpu" else None
    return plan, Inputs(*(torch.randn(shape, dtype=dtype, device=device, generator=generator) for shape in shapes))


def test_operators_take_these_arguments():
    with FakeTensorMode():
        query, grad_out = (torch.randn(3, HEADS, 33, DIM, device="cuda", dtype=torch.float16) for _ in range(2))
        key, value = (torch.randn(3, HEADS, 40, DIM, device="cuda", dtype=torch.float16) for _ in range(2))
        out, lse = CudnnCuda().attend(query, key, value, 0.3, False)
        assert out.shape == query.shape and lse.shape == query.shape[:3]
        gradients = CudnnCuda().differentiate(grad_out, query, key, value, out, lse, 0.3, False)
        assert [x.shape for x in gradients] == [query.shape, key.shape, value.shape]


def forward(query, key, value, bias, with_lse, dropout, is_causal, *, scale):
    assert bias is None and with_lse and dropout == 0
    out, lse = flash(query, key, value, scale, is_causal=is_causal)
    return out, lse[..., None]


def backward(
    grad_out, query, key, value, out, lse, seed, offset, bias, cum_q, cum_k, max_q, max_k, dropout, is_causal, *, scale
):
    assert bias is cum_q is cum_k is None and dropout == 0 and (max_q, max_k) == (query.size(2), key.size(2))
    return flash_backward(grad_out, query, key, value, out, lse[..., 0], scale, is_causal=is_causal)


@pytest.mark.parametrize("name", ["complete", "causal", "complete_rectangular", "single_node"])
def test_around_the_operators(name, monkeypatch):
    graph, edges = CASES[name]
    monkeypatch.setattr(torch.ops.aten, "_scaled_dot_product_cudnn_attention", forward)
    monkeypatch.setattr(torch.ops.aten, "_scaled_dot_product_cudnn_attention_backward", backward)
    check_against_loops(CudnnCuda(), *problem(graph, torch.float64, "cpu"), edges)


def test_refusals(monkeypatch):
    x = torch.randn(4, 1, 8)
    with pytest.raises(ValueError, match="'cudnn_cuda' runs on CUDA .got cpu"):
        choose_kernel(CompleteGraph(4), x, kernel="cudnn_cuda")
    with FakeTensorMode():
        half = torch.randn(4, 1, 8, device="cuda", dtype=torch.float16)
        inputs = Inputs(half, half, half)

        def refusal(inputs, graph):
            return CudnnCuda().why_not(Plan(graph, Dot(), Softmax(), 1.0), inputs)

        assert "from 134,217,728 scores on" in refusal(inputs, CompleteGraph(4))
        monkeypatch.setattr(cudnn_cuda, "LEAST_SCORES", 0)
        assert "of one size" in refusal(inputs, CompleteGraph([1, 3]))
        wide, graph = half.new_empty(4, 1, 9), CompleteGraph(4)
        assert "as many channels in values as in queries (got 9 and 8)" in refusal(inputs._replace(value=wide), graph)
        assert "a multiple of 8 channels (got 9)" in refusal(Inputs(wide, wide, wide), graph)
        assert "float16 and bfloat16 (got torch.float32)" in refusal(Inputs(*[half.float()] * 3), graph)
        assert "nothing per edge" in refusal(inputs._replace(bias=half.new_empty(16, 1)), CompleteGraph(4))
        monkeypatch.setattr(cudnn_cuda, "can_use_cudnn_attention", lambda parameters: False)
        assert "can_use_cudnn_attention" in refusal(inputs, CompleteGraph(4))
        torch.use_deterministic_algorithms(True)
        try:
            assert "not deterministic" in refusal(inputs, CompleteGraph(4))
        finally:
            torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("graph", [CompleteGraph(1100), causal([1024, 1024]), CompleteGraph(1024, 2000)], ids=repr)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_equals_edges_on_a_gpu(graph, dtype, monkeypatch):
    monkeypatch.setattr(cudnn_cuda, "LEAST_SCORES", 0)
    leaves = [x.requires_grad_() for x in problem(graph, torch.float64, "cpu")[1][:3]]
    cotangent = torch.randn(graph.num_queries, HEADS, DIM, dtype=torch.float64)
    results = []
    for device, kind, kernel in (("cpu", torch.float64, "edges"), ("cuda", dtype, "cudnn_cuda")):
        given = [x.detach().to(device, kind).requires_grad_() for x in leaves]
        out = attend(*given, graph.to(device), kernel=kernel)
        results.append([out, *torch.autograd.grad(out, given, cotangent.to(device, kind))])
    for wanted, found in zip(*results, strict=True):
        scale = wanted.abs().max()
        torch.testing.assert_close(found.double().cpu() / scale, wanted / scale, rtol=0, atol=2e-2)
