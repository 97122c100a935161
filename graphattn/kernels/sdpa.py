"""Complete and causal graphs, ragged batches of them included, by torch's fused attention on CPU."""

from collections.abc import Iterator

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, Graph
from graphattn.kernels.flash import flash, flash_backward, is_finite, pad_channels, why_not_flash
from graphattn.kernels.kernel import Inputs, Kernel, Partial, spread_to_heads, sum_to_groups


def is_causal(graph: Graph) -> bool:
    """Query i sees keys 0 .. i of as many keys as queries, in every example."""
    if not isinstance(graph, BandedGraph) or graph.after or graph.dilation != 1 or any(graph.offsets):
        return False
    return all(queries == keys and graph.before >= queries - 1 for queries, keys in graph.sizes)


def equal_sizes(graph: Graph) -> Iterator[tuple[int, slice | Tensor, slice | Tensor]]:
    """Examples of one size together: (how many, their query rows, their key rows); examples without edges are left out."""
    examples_of: dict[tuple[int, int], list[int]] = {}
    for example, size in enumerate(graph.sizes):
        if min(size):
            examples_of.setdefault(size, []).append(example)
    for (num_queries, num_keys), examples in examples_of.items():
        yield len(examples), rows(graph.query_ptr, examples, num_queries), rows(graph.key_ptr, examples, num_keys)


def rows(ptr: tuple[int, ...], examples: list[int], size: int) -> slice | Tensor:
    """The node indices of `examples`, as a slice (no copy) where they lie side by side."""
    if examples[-1] - examples[0] + 1 == len(examples):
        return slice(ptr[examples[0]], ptr[examples[-1] + 1])
    return (torch.tensor([ptr[example] for example in examples])[:, None] + torch.arange(size)).flatten()


def to_batch(tensor: Tensor, at: slice | Tensor, examples: int) -> Tensor:
    """[num_nodes, heads, ...] -> [examples, heads, nodes, ...]."""
    return tensor[at].unflatten(0, (examples, -1)).transpose(1, 2)


def from_batch(tensor: Tensor) -> Tensor:
    """[examples, heads, nodes, ...] -> [num_nodes, heads, ...]."""
    return tensor.transpose(1, 2).flatten(0, 1)


def room(graph: Graph, like: Tensor, fill: float = 0.0) -> Tensor:
    """A tensor as `like` for `put` to write to; `fill` stands at the rows of examples without edges, if there are any."""
    if all(min(size) or not max(size) for size in graph.sizes):
        return torch.empty_like(like, memory_format=torch.contiguous_format)
    return torch.full_like(like, fill, memory_format=torch.contiguous_format)


def put(nodes: Tensor, at: slice | Tensor, values: Tensor) -> Tensor:
    """`nodes` with `values` at these rows; the values themselves, not copied, where they are all of it."""
    if values.shape == nodes.shape and isinstance(at, slice):
        return values.to(nodes.dtype).contiguous()
    nodes[at] = values.to(nodes.dtype)
    return nodes


class Sdpa(Kernel):
    """torch's flash attention for CPU, forward and backward, by its operators that take and give log-sum-exp."""

    name = "sdpa"

    def why_not(self, plan, inputs):
        if not (isinstance(plan.graph, CompleteGraph) or is_causal(plan.graph)):
            return f"'sdpa' runs complete and causal graphs (got {type(plan.graph).__name__})"
        reason = why_not_flash("sdpa", plan, inputs)
        if reason is not None:
            return reason
        if is_causal(plan.graph) and not (is_finite(inputs.key) and is_finite(inputs.value)):
            return "'sdpa' would spread NaN and infinity of hidden keys over every query of a causal graph"
        return None

    def forward(self, plan, inputs):
        graph, query, value_dim = plan.graph, inputs.query, inputs.value.size(2)
        lse_dtype = torch.promote_types(query.dtype, torch.float32)
        out = room(graph, query.new_empty(*query.shape[:2], value_dim))
        lse = room(graph, query.new_empty(query.shape[:2], dtype=lse_dtype), -torch.inf)
        for examples, query_rows, key_rows in equal_sizes(graph):
            q, k, v = self.batch(inputs, examples, query_rows, key_rows)
            part, part_lse = flash(q, k, v, plan.scale, is_causal=is_causal(graph))
            out = put(out, query_rows, from_batch(part)[..., :value_dim])
            lse = put(lse, query_rows, from_batch(part_lse))
        return Partial(out, lse)

    @staticmethod
    def batch(inputs: Inputs, examples, query_rows, key_rows) -> tuple[Tensor, Tensor, Tensor]:
        heads = inputs.query.size(1)
        dim = max(inputs.query.size(2), inputs.value.size(2))
        query = to_batch(inputs.query, query_rows, examples)
        key, value = (to_batch(spread_to_heads(x, heads), key_rows, examples) for x in (inputs.key, inputs.value))
        return tuple(pad_channels(x, dim) for x in (query, key, value))

    def backward(self, plan, inputs, merged, grad, delta):
        graph, (query, key, value) = plan.graph, inputs[:3]
        kv_heads = key.size(1)
        grad_query, grad_key, grad_value = (room(graph, x) for x in (query, key, value))
        for examples, query_rows, key_rows in equal_sizes(graph):
            q, k, v = self.batch(inputs, examples, query_rows, key_rows)
            # The operator takes delta from out and grad_out, which are those of the whole graph, as the contract wants.
            grad_out, out = (
                pad_channels(to_batch(x.to(query.dtype), query_rows, examples), q.size(-1))
                for x in (grad.out, merged.out)
            )
            lse = to_batch(merged.lse, query_rows, examples)
            found = flash_backward(grad_out, q, k, v, out, lse, plan.scale, is_causal=is_causal(graph))
            found = [from_batch(x)[..., :dim] for x, dim in zip(found, (query.size(2), key.size(2), value.size(2)))]
            grad_query = put(grad_query, query_rows, found[0])
            grad_key = put(grad_key, key_rows, sum_to_groups(found[1], kv_heads))
            grad_value = put(grad_value, key_rows, sum_to_groups(found[2], kv_heads))
        return Inputs(grad_query, grad_key, grad_value)
