"""torch's fused attention, on CPU by its operators that take and give log-sum-exp."""

import torch
from torch import Tensor

FLASH_DTYPES: tuple[torch.dtype, ...] = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def flash(query, key, value, scale: float, mask: Tensor | None = None, is_causal=False) -> tuple[Tensor, Tensor]:
    """(out, log-sum-exp [batch, heads, queries]) of tensors [batch, heads, nodes, dim], of which none may be empty.

    `mask` is added to the scores. A row that it hides wholly gets a log-sum-exp of 0 and no meaningful out.
    """
    query, key, value = map(with_adjacent_channels, (query, key, value))
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, is_causal, attn_mask=mask, scale=scale
    )


def flash_backward(grad_out, query, key, value, out, lse, scale: float, mask: Tensor | None = None, is_causal=False):
    """Gradients of query, key and value. `out` and `lse` may be those of a graph of which these keys are a part."""
    grad_out, query, key, value, out = map(with_adjacent_channels, (grad_out, query, key, value, out))
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad_out, query, key, value, out, lse, 0.0, is_causal, attn_mask=mask, scale=scale
    )


def with_adjacent_channels(tensor: Tensor) -> Tensor:
    """The operators read channels one after the other, whatever the stride says; a gradient of .sum() has stride 0."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def pad_channels(tensor: Tensor, dim: int) -> Tensor:
    """Zeros after the last channel change no score and no sum; the fused operator wants one dim for all."""
    return torch.nn.functional.pad(tensor, (0, dim - tensor.size(-1))) if tensor.size(-1) < dim else tensor
