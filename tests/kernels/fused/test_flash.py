"""The fused operators against plain softmax in float64."""

import pytest
import torch

from graphattn.kernels.fused.flash import flash, flash_backward, pad_channels


def random(*shape):
    return torch.randn(shape, dtype=torch.float64)


def by_definition(query, key, value, scale, mask=0.0):
    scores = torch.einsum("bhqc,bhkc->bhqk", query, key) * scale + mask
    return torch.einsum("bhqk,bhkc->bhqc", scores.softmax(-1), value), scores.logsumexp(-1)


@pytest.mark.parametrize("is_causal", [False, True])
def test_forward(is_causal):
    torch.manual_seed(0)
    query, key, value = (random(2, 3, 7, 4) for _ in range(3))
    mask = random(2, 1, 7, 7).masked_fill(torch.rand(2, 1, 7, 7) < 0.3, -torch.inf)
    mask[..., 0] = 0.0
    hidden = torch.ones(7, 7, dtype=torch.bool).triu(1)
    added = torch.zeros(7, 7, dtype=torch.float64).masked_fill(hidden, -torch.inf) if is_causal else mask
    found = flash(query, key, value, 0.3, None if is_causal else mask, is_causal)
    torch.testing.assert_close(found, by_definition(query, key, value, 0.3, added), rtol=1e-12, atol=1e-12)


def test_a_row_that_its_mask_hides():
    query, key, value = (random(1, 1, 3, 4) for _ in range(3))
    mask = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    mask[..., 1, :] = -torch.inf
    out, lse = flash(query, key, value, 1.0, mask)
    wanted, wanted_lse = by_definition(query, key, value, 1.0)
    torch.testing.assert_close(out[..., ::2, :], wanted[..., ::2, :])
    assert lse[0, 0, 1] == 0 and lse[..., ::2].equal(lse[..., ::2]) and wanted_lse.isfinite().all()


def test_backward_of_the_parts_of_a_graph_adds_up_to_that_of_the_whole():
    torch.manual_seed(0)
    leaves = [random(2, 3, n, 4).requires_grad_() for n in (5, 9, 9)]
    out, lse = by_definition(*leaves, 0.3)
    grad_out = random(*out.shape)
    wanted = torch.autograd.grad(out, leaves, grad_out)
    query, key, value, out, lse = (x.detach() for x in (*leaves, out, lse))
    parts = [slice(0, 2), slice(2, 9)]
    found = [flash_backward(grad_out, query, key[:, :, s], value[:, :, s], out, lse, 0.3) for s in parts]
    torch.testing.assert_close(found[0][0] + found[1][0], wanted[0], rtol=1e-12, atol=1e-12)
    for i in (1, 2):
        torch.testing.assert_close(torch.cat([x[i] for x in found], 2), wanted[i], rtol=1e-12, atol=1e-12)


def test_channels_that_do_not_lie_side_by_side():
    torch.manual_seed(0)
    query, key, value = (random(4, 3, 5, 2).transpose(0, 3) for _ in range(3))
    grad_out = torch.ones((), dtype=torch.float64).expand(2, 3, 5, 4)  # the gradient of .sum(): stride 0
    out, lse = flash(query, key, value, 0.3)
    torch.testing.assert_close((out, lse), by_definition(query, key, value, 0.3), rtol=1e-12, atol=1e-12)
    found = flash_backward(grad_out, query, key, value, out, lse, 0.3)
    dense = [x.contiguous().requires_grad_() for x in (query, key, value)]
    wanted = torch.autograd.grad(by_definition(*dense, 0.3)[0], dense, grad_out)
    torch.testing.assert_close(tuple(found), wanted, rtol=1e-12, atol=1e-12)


def test_zeros_after_the_last_channel_change_nothing():
    query, key, value = random(1, 2, 5, 3), random(1, 2, 5, 3), random(1, 2, 5, 8)
    padded = (pad_channels(x, 8) for x in (query, key))
    out, _ = flash(*padded, pad_channels(value, 8), 0.3)
    torch.testing.assert_close(out, by_definition(query, key, value, 0.3)[0], rtol=1e-12, atol=1e-12)
    assert pad_channels(value, 8) is value
