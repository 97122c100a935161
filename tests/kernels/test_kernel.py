import torch

from graphattn.kernels.kernel import accumulation_dtype, spread_to_heads, sum_to_groups


def test_half_precision_adds_up_in_float32():
    assert [accumulation_dtype(x) for x in (torch.float16, torch.bfloat16, torch.float32, torch.float64)] == [
        torch.float32, torch.float32, torch.float32, torch.float64,
    ]  # fmt: skip


def test_heads_read_their_group():
    groups = torch.arange(6.0).view(1, 2, 3)
    assert spread_to_heads(groups, 4)[0, :, 0].tolist() == [0, 0, 3, 3]
    heads = torch.arange(12.0).view(1, 4, 3)
    assert sum_to_groups(heads, 2)[0, :, 0].tolist() == [0 + 3, 6 + 9]


def test_rows_of_4096_edges_sum_to_one_in_bfloat16():
    """In-degree 4096: adding the weights in bfloat16 would stop far away from 1."""
    from graphattn import CompleteGraph, attend

    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 16).bfloat16(), torch.randn(4096, 1, 16).bfloat16()
    for kernel in ("edges_cpu", "edges_torch", "sdpa"):
        out = attend(query, key, torch.ones(4096, 1, 1).bfloat16(), CompleteGraph(2, 4096), kernel=kernel)
        torch.testing.assert_close(out, torch.ones_like(out), rtol=1e-2, atol=1e-2)
