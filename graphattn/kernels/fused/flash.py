"""torch's fused attention, on CPU by its operators that take and give log-sum-exp, and what they cannot do."""

import torch
from torch import Tensor

from graphattn.kernels.kernel import Inputs, Plan

FLASH_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def why_not_plain(name: str, plan: Plan, inputs: Inputs) -> str | None:
    """The sentence that says which option the kernel `name`, which is softmax of dot products, does not have."""
    if plan.score.name != "dot" or plan.normalizer.name != "softmax":
        return f"'{name}' has dot scores and softmax only (got {plan.score.name}, {plan.normalizer.name})"
    for per_edge in ("bias", "edge_features", "edge_query"):
        if getattr(inputs, per_edge) is not None:
            return f"'{name}' takes nothing per edge (got '{per_edge}')"
    if plan.dropout:
        return f"'{name}' has no dropout that can be repeated (got dropout > 0)"
    if not inputs.query.size(2):
        return f"'{name}' needs at least one channel (got dim=0)"
    return None


def why_not_flash(name: str, plan: Plan, inputs: Inputs) -> str | None:
    """The sentence that says why the kernel `name`, which rests on the operators for CPU, cannot run; None if it can."""
    reason = why_not_plain(name, plan, inputs)
    if reason is not None:
        return reason
    if inputs.query.device.type != "cpu" or inputs.query.dtype not in FLASH_DTYPES:
        return f"'{name}' runs floating point on CPU (got {inputs.query.dtype} on {inputs.query.device})"
    return None


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
