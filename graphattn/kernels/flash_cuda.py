"""Complete, causal and banded graphs in half precision on CUDA, ragged batches too, by torch's flash attention."""

from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, Graph
from graphattn.kernels.flash import is_finite, pad_channels, why_not_plain
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan, spread_to_heads, sum_to_groups

DTYPES = (torch.float16, torch.bfloat16)
MOST_CHANNELS = 256
CHANNELS = 8  # the operators want multiples of it
UNLIMITED = -1


class Window(NamedTuple):
    """Keys that a query sees before and after its own, where the last query stands at the last key."""

    left: int
    right: int


def window_of(graph: Graph) -> Window | None:
    """The window that means the same in every example, None if there is none.

    Query i of m sees keys i + n - m - left .. i + n - m + right of n (Dao 2023, FlashAttention-2, aligned to the lower right).

    >>> from graphattn import causal
    >>> window_of(causal(5))
    Window(left=-1, right=0)
    >>> window_of(BandedGraph(5, 2, 1))
    Window(left=2, right=1)
    """
    if isinstance(graph, CompleteGraph):
        return Window(UNLIMITED, UNLIMITED)
    if not isinstance(graph, BandedGraph) or graph.dilation != 1:
        return None
    moves = {offset - (keys - queries) for (queries, keys), offset in zip(graph.sizes, graph.offsets) if queries and keys}
    if len(moves) != 1:
        return None
    (move,) = moves
    left, right = graph.before - move, graph.after + move
    if left < 0 or right < 0:  # the window has moved away from the query's own place, which the operators cannot say
        return None
    return Window(*(UNLIMITED if side >= max(map(max, graph.sizes)) - 1 else side for side in (left, right)))


class Lengths(NamedTuple):
    """Where the examples of a batch lie, as the operators want to know it."""

    query_ptr: Tensor  # int32 [num_examples + 1]
    key_ptr: Tensor
    most_queries: int
    most_keys: int


def lengths_of(graph: Graph, device: torch.device) -> Lengths:
    def build(device) -> Lengths:
        pointers = (torch.tensor(ptr, dtype=torch.int32, device=device) for ptr in (graph.query_ptr, graph.key_ptr))
        return Lengths(*pointers, *map(max, zip(*graph.sizes, strict=True)))

    return graph.remember_on("flash_cuda lengths", device, build)


def flash_varlen(query, key, value, lengths: Lengths, window: Window, scale: float) -> tuple[Tensor, Tensor]:
    """(out, log-sum-exp [heads, queries]) of tensors [nodes, heads, dim]; +inf for a query that sees nothing."""
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        query, key, value, *lengths, 0.0, False, False, scale=scale,
        window_size_left=window.left, window_size_right=window.right,
    )  # fmt: skip
    return out, lse


def flash_varlen_backward(grad_out, query, key, value, out, lse, lengths: Lengths, window: Window, scale: float):
    """Gradients of query, key and value. `out` and `lse` may be those of a graph of which these keys are a part."""
    # The state of the dropout that there is not.
    states = (torch.zeros(shape, dtype=torch.uint64, device=query.device) for shape in ((2,), ()))
    return torch.ops.aten._flash_attention_backward(
        grad_out, query, key, value, out, lse, *lengths, 0.0, False, *states, scale=scale,
        window_size_left=window.left, window_size_right=window.right,
    )  # fmt: skip


class FlashCuda(Kernel):
    """One call for the whole ragged batch, without padding; O(num_nodes * heads) memory beyond inputs and outputs."""

    name = "flash_cuda"

    def why_not(self, plan, inputs):
        query = inputs.query
        if query.device.type != "cuda":
            return f"'flash_cuda' runs on CUDA (got {query.device})"
        if query.dtype not in DTYPES:
            return f"'flash_cuda' runs half precision (got {query.dtype})"
        if window_of(plan.graph) is None:
            return f"'flash_cuda' runs complete graphs and bands without dilation around the query (got {plan.graph!r})"
        if max(plan.graph.shape) >= 2**31:
            return f"'flash_cuda' counts nodes in 32 bits (got {max(plan.graph.shape)})"
        if not 0 < channels_of(inputs) <= MOST_CHANNELS:
            return f"'flash_cuda' needs 1 to {MOST_CHANNELS} channels (got {channels_of(inputs)})"
        reason = why_not_plain("flash_cuda", plan, inputs)
        if reason is not None:
            return reason
        if isinstance(plan.graph, BandedGraph) and not (is_finite(inputs.key) and is_finite(inputs.value)):
            return "'flash_cuda' would spread NaN and infinity of hidden keys over the queries near them"
        return None

    def forward(self, plan, inputs):
        query, value_dim = inputs.query, inputs.value.size(2)
        if not (query.size(0) and inputs.key.size(0)):
            lse = query.new_full(query.shape[:2], -torch.inf, dtype=torch.float32)
            return Partial(query.new_zeros(*query.shape[:2], value_dim), lse)
        out, lse = flash_varlen(*padded(inputs), *layout(plan, inputs))
        is_empty = lse == torch.inf
        out = out.masked_fill(is_empty.T.unsqueeze(-1), 0)
        return Partial(out.narrow(2, 0, value_dim), lse.masked_fill(is_empty, -torch.inf).T)

    def backward(self, plan, inputs, merged, grad, delta):
        nodes = inputs[:3]
        if not (inputs.query.size(0) and inputs.key.size(0)):
            return Inputs(*(torch.zeros_like(x) for x in nodes))
        query, key, value = padded(inputs)
        # The operator takes delta from out and grad_out, which are those of the whole graph, as the contract wants.
        grad_out, out = (pad_channels(x.to(query.dtype), query.size(2)).contiguous() for x in (grad.out, merged.out))
        lse = merged.lse.T.clone(memory_format=torch.contiguous_format)
        lse.masked_fill_(lse == -torch.inf, torch.inf)
        found = flash_varlen_backward(grad_out, query, key, value, out, lse, *layout(plan, inputs))
        found = (sum_to_groups(x.narrow(2, 0, like.size(2)), like.size(1)) for x, like in zip(found, nodes, strict=True))
        return Inputs(*found)


def channels_of(inputs: Inputs) -> int:
    """Channels of queries, keys and values after padding."""
    return -(-max(inputs.query.size(2), inputs.value.size(2)) // CHANNELS) * CHANNELS


def padded(inputs: Inputs) -> tuple[Tensor, ...]:
    """Query, key and value with as many heads and channels each, [nodes, heads, channels]."""
    heads, channels = inputs.query.size(1), channels_of(inputs)
    return tuple(pad_channels(spread_to_heads(x, heads), channels).contiguous() for x in inputs[:3])


def layout(plan: Plan, inputs: Inputs) -> tuple[Lengths, Window, float]:
    return lengths_of(plan.graph, inputs.query.device), window_of(plan.graph), plan.scale
