"""Complete, causal and banded graphs in half precision on CUDA, ragged batches too, by torch's flash attention."""

from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, Graph
from graphattn.kernels.fused.flash import pad_channels
from graphattn.kernels.fused.tiles import strips_of
from graphattn.kernels.kernel import Inputs, Kernel, Partial, spread_to_heads, sum_to_groups

MOST_CHANNELS = 256
CHANNELS = 8  # the operators want multiples of it
UNLIMITED = -1


class Window(NamedTuple):
    """Keys that a query sees before and after its own, where the last query stands at the last key."""

    left: int
    right: int


class Sequences(NamedTuple):
    """A complete graph, or a band as bands without dilation, laid end to end: (queries, keys) of each, and its offset."""

    sizes: list[tuple[int, int]]
    offsets: list[int]


def sequences_of(graph: CompleteGraph | BandedGraph) -> Sequences:
    """The examples, or the strips of each: under dilation d, queries of one residue modulo d and the keys that they see."""
    if isinstance(graph, CompleteGraph) or graph.dilation == 1:
        return Sequences(list(graph.sizes), [] if isinstance(graph, CompleteGraph) else list(graph.offsets))
    strips = strips_of(graph)
    return Sequences(list(zip(strips.num_queries.tolist(), strips.num_keys.tolist())), strips.offset.tolist())


def window_of(graph: Graph) -> Window | None:
    """The window that means the same in every sequence, None if there is none; it counts nodes of the sequence.

    Query i of m sees keys i + n - m - left .. i + n - m + right of n (Dao 2023, FlashAttention-2, aligned to the lower right).

    >>> from graphattn import causal
    >>> window_of(causal(5))
    Window(left=-1, right=0)
    >>> window_of(BandedGraph(5, 2, 1))
    Window(left=2, right=1)
    """
    if isinstance(graph, CompleteGraph):
        return Window(UNLIMITED, UNLIMITED)
    if not isinstance(graph, BandedGraph):
        return None
    return graph.remember("flash_cuda window", lambda: window_of_band(graph))


def window_of_band(graph: BandedGraph) -> Window | None:
    sizes, offsets = sequences_of(graph)
    moves = {offset - (keys - queries) for (queries, keys), offset in zip(sizes, offsets) if queries and keys}
    if len(moves) != 1:
        return None
    (move,) = moves
    left, right = graph.before - move, graph.after + move
    if left < 0 or right < 0:  # the window has moved away from the query's own place, which the operators cannot say
        return None
    return Window(*(UNLIMITED if side >= max(map(max, sizes)) - 1 else side for side in (left, right)))


class Lengths(NamedTuple):
    """Where the sequences lie, as the operators want to know it."""

    query_ptr: Tensor  # int32 [num_sequences + 1]
    key_ptr: Tensor
    most_queries: int
    most_keys: int


class Layout(NamedTuple):
    """How a graph is handed to the operators."""

    lengths: Lengths
    window: Window
    query_order: Tensor | None  # the queries, sequence after sequence; None where they lie so
    key_order: Tensor | None
    has_empty_rows: bool


def layout_of(graph: CompleteGraph | BandedGraph, device: torch.device) -> Layout:
    def build(device) -> Layout:
        sizes, window = sequences_of(graph).sizes, window_of(graph)
        assert window is not None  # `why_not_here` has asked
        counts = torch.tensor(sizes, dtype=torch.int32)
        query_ptr, key_ptr = (torch.nn.functional.pad(x.cumsum(0), (1, 0)).int().to(device) for x in counts.unbind(1))
        orders: tuple[Tensor | None, Tensor | None] = None, None
        if isinstance(graph, BandedGraph) and graph.dilation > 1:
            strips = strips_of(graph)
            orders = (nodes_of(strips.first_query, strips.num_queries, graph.dilation).to(device),
                      nodes_of(strips.first_key, strips.num_keys, graph.dilation).to(device))  # fmt: skip
        # The first query sees the fewest keys to the right; none if all of them stand before the first key.
        is_limited = window.right != UNLIMITED
        has_empty_rows = any(m and (not n or (is_limited and n - m + window.right < 0)) for m, n in sizes)
        lengths = Lengths(query_ptr, key_ptr, max(m for m, _ in sizes), max(n for _, n in sizes))
        return Layout(lengths, window, *orders, has_empty_rows)

    return graph.remember_on("flash_cuda layout", device, build)


def nodes_of(first: Tensor, count: Tensor, step: int) -> Tensor:
    """first, first + step, ... of each strip, one strip after the other.

    >>> nodes_of(torch.tensor([0, 1]), torch.tensor([3, 2]), 2)
    tensor([0, 2, 4, 1, 3])
    """
    strip = torch.repeat_interleave(count)
    return first[strip] + step * (torch.arange(strip.numel()) - (count.cumsum(0) - count)[strip])


def in_order(x: Tensor, order: Tensor | None) -> Tensor:
    return x if order is None else x.index_select(0, order)


def put_back(x: Tensor, order: Tensor | None) -> Tensor:
    return x if order is None else torch.empty_like(x).index_copy_(0, order, x)


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

    name, family = "flash_cuda", "flash"
    graphs, devices, dtypes = (CompleteGraph, BandedGraph), ("cuda",), (torch.float16, torch.bfloat16)
    takes_grouped_heads = takes_other_value_dim = True
    least_channels = 1

    def why_not_here(self, plan, inputs):
        if window_of(plan.graph) is None:
            return f"'flash_cuda' runs bands around the query (got {plan.graph!r})"
        if max(plan.graph.shape) >= 2**31:
            return f"'flash_cuda' counts nodes in 32 bits (got {max(plan.graph.shape)})"
        if channels_of(inputs) > MOST_CHANNELS:
            return f"'flash_cuda' needs at most {MOST_CHANNELS} channels (got {channels_of(inputs)})"
        return None

    def spreads_nan(self, plan):
        return isinstance(plan.graph, BandedGraph)

    def forward(self, plan, inputs):
        query, value_dim = inputs.query, inputs.value.size(2)
        if not (query.size(0) and inputs.key.size(0)):
            lse = query.new_full(query.shape[:2], -torch.inf, dtype=torch.float32)
            return Partial(query.new_zeros(*query.shape[:2], value_dim), lse)
        layout = layout_of(plan.graph, query.device)
        out, lse = flash_varlen(*padded(inputs, layout), layout.lengths, layout.window, plan.scale)
        out, lse = out.narrow(2, 0, value_dim), lse.T
        if layout.has_empty_rows:
            is_empty = lse == torch.inf
            out, lse = out.masked_fill(is_empty.unsqueeze(-1), 0), lse.masked_fill(is_empty, -torch.inf)
        return Partial(put_back(out, layout.query_order), put_back(lse, layout.query_order))

    def backward(self, plan, inputs, merged, grad):
        nodes = inputs[:3]
        if not (inputs.query.size(0) and inputs.key.size(0)):
            return Inputs(*(torch.zeros_like(x) for x in nodes))
        layout = layout_of(plan.graph, inputs.query.device)
        query, key, value = padded(inputs, layout)
        # The operator takes delta from out and grad_out, which are those of the whole graph, as the contract wants.
        grad_out, out = (
            pad_channels(in_order(x.to(query.dtype), layout.query_order), query.size(2)).contiguous()
            for x in (grad.out, merged.out)
        )
        lse = in_order(merged.lse, layout.query_order).T.contiguous()
        if layout.has_empty_rows:
            lse = lse.masked_fill(lse == -torch.inf, torch.inf)
        lengths, window = layout.lengths, layout.window
        found = flash_varlen_backward(grad_out, query, key, value, out, lse, lengths, window, plan.scale)
        orders = layout.query_order, layout.key_order, layout.key_order
        found = (
            put_back(sum_to_groups(x.narrow(2, 0, like.size(2)), like.size(1)), order)
            for x, like, order in zip(found, nodes, orders, strict=True)
        )
        return Inputs(*found)


def channels_of(inputs: Inputs) -> int:
    """Channels of queries, keys and values after padding."""
    return -(-max(inputs.query.size(2), inputs.value.size(2)) // CHANNELS) * CHANNELS


def padded(inputs: Inputs, layout: Layout) -> tuple[Tensor, ...]:
    """Query, key and value in the order of the sequences, with as many heads and channels each, [nodes, heads, channels]."""
    heads, channels = inputs.query.size(1), channels_of(inputs)
    orders = layout.query_order, layout.key_order, layout.key_order
    return tuple(
        pad_channels(spread_to_heads(in_order(x, order), heads), channels).contiguous()
        for x, order in zip(inputs[:3], orders, strict=True)
    )
