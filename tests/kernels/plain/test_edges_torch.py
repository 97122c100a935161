import pytest
import torch

from graphattn import EdgeListGraph, attend
from graphattn.kernels.plain import edges_torch
from graphattn.kernels.plain.edges_torch import log_sum_exp, repeat_numbers


def test_repeats_are_numbered():
    row = torch.tensor([0, 0, 0, 1, 1, 2])
    col = torch.tensor([3, 3, 4, 4, 4, 4])
    assert repeat_numbers(row, col).tolist() == [0, 1, 0, 0, 1, 0]
    assert repeat_numbers(row[:0], col[:0]).tolist() == []


def test_log_sum_exp_of_rows():
    scores = torch.tensor([[1.0], [1000.0], [-torch.inf], [999.0]])
    lse = log_sum_exp(scores, torch.tensor([0, 2, 3, 2]), 4)
    torch.testing.assert_close(lse.value.flatten(), torch.tensor([1.0, -torch.inf, 1000.3133, -torch.inf]))
    of_large = log_sum_exp(torch.full((3, 1), 1e9), torch.tensor([0, 0, 0]), 1)
    torch.testing.assert_close(of_large.log_total, torch.tensor([[3.0]]).log())


@pytest.mark.parametrize("limit", [1, 100, 1000])
def test_chunks_change_nothing(monkeypatch, limit):
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.randint(0, 20, (2, 150)) // torch.tensor([[1], [3]]), 20)  # some rows are heavy
    tensors = [torch.randn(20, 2, 4, dtype=torch.float64).requires_grad_() for _ in range(3)]
    cotangent = torch.randn(20, 2, 4, dtype=torch.float64)

    def run():
        out = attend(*tensors, graph, kernel="edges_torch")
        return [out, *torch.autograd.grad(out, tensors, cotangent)]

    whole = run()
    monkeypatch.setattr(edges_torch, "CHUNK_ELEMENTS", limit)
    for a, b in zip(run(), whole):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_forward_keeps_nothing_per_edge_and_channel():
    """Saved for the backward pass: inputs, result, log-sum-exp."""
    graph = EdgeListGraph(torch.randint(0, 50, (2, 5000)), 50)
    tensors = [torch.randn(50, 4, 32).requires_grad_() for _ in range(3)]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        attend(*tensors, graph, kernel="edges_torch")
    assert sum(saved) <= 4 * 50 * 4 * 32 + 50 * 4
