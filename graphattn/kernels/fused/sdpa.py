"""Complete and causal graphs, ragged batches of them included, by torch's fused attention on CPU."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from graphattn.graphs import BandedGraph, CompleteGraph, Graph
from graphattn.kernels.facts import GraphKind
from graphattn.kernels.fused.flash import FLASH_DTYPES, flash, flash_backward, pad_channels
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
    return take(tensor, at).unflatten(0, (examples, -1)).transpose(1, 2)


def take(nodes: Tensor, at: slice | Tensor) -> Tensor:
    """`nodes` at these rows, a view of them where they lie side by side."""
    if isinstance(at, slice):
        return nodes.narrow(0, at.start, at.stop - at.start)
    return nodes.index_select(0, at.to(nodes.device))


def from_batch(tensor: Tensor) -> Tensor:
    """[examples, heads, nodes, ...] -> [num_nodes, heads, ...]."""
    return tensor.transpose(1, 2).flatten(0, 1)


def has_all_queries(graph: Graph) -> bool:
    """Whether every example with queries has keys too (and the other way round)."""
    return all(min(size) or not max(size) for size in graph.sizes)


def room(graph: Graph, like: Tensor, fill: float = 0.0) -> Tensor:
    """A tensor as `like` for `put` to write to; `fill` stands at the rows of examples without edges, if there are any."""
    if has_all_queries(graph):
        return torch.empty_like(like, memory_format=torch.contiguous_format)
    return torch.full_like(like, fill, memory_format=torch.contiguous_format)


def put(nodes: Tensor, at: slice | Tensor, values: Tensor) -> Tensor:
    """`nodes` with `values` at these rows; the values themselves, not copied, where they are all of it."""
    if values.shape == nodes.shape and isinstance(at, slice):
        return values.to(nodes.dtype).contiguous()
    write(nodes, at, values)
    return nodes


def write(nodes: Tensor, at: slice | Tensor, values: Tensor) -> None:
    """Puts `values` at these rows of `nodes`, in place."""
    if isinstance(at, slice):
        take(nodes, at).copy_(values)
    else:
        nodes.index_copy_(0, at.to(nodes.device), values.to(nodes.dtype))


class Sdpa(Kernel):
    """torch's flash attention for CPU, forward and backward, by its operators that take and give log-sum-exp."""

    name = "sdpa"
    graphs = GraphKind("complete and causal graphs", lambda graph: isinstance(graph, CompleteGraph) or is_causal(graph))
    devices = ("cpu",)
    dtypes = FLASH_DTYPES
    takes_grouped_heads = takes_other_value_dim = True
    least_channels = 1
    aligned_channels = 1  # the operators want multiples of it

    def spreads_nan(self, plan):
        return is_causal(plan.graph)

    def attend(self, query, key, value, scale: float, is_causal: bool) -> tuple[Tensor, Tensor]:
        """(out, log-sum-exp [batch, heads, queries]) of tensors [batch, heads, nodes, dim]."""
        return flash(query, key, value, scale, is_causal=is_causal)

    def differentiate(self, grad_out, query, key, value, out, lse, scale: float, is_causal: bool) -> Sequence[Tensor]:
        """Gradients of query, key and value."""
        return flash_backward(grad_out, query, key, value, out, lse, scale, is_causal=is_causal)

    def num_calls(self, graph: Graph) -> int:
        """How many groups `equal_sizes` makes."""
        return len({size for size in graph.sizes if min(size)})

    def forward(self, plan, inputs):
        graph, query, value_dim = plan.graph, inputs.query, inputs.value.size(2)
        lse_dtype = torch.promote_types(query.dtype, torch.float32)
        out = room(graph, query.new_empty(*query.shape[:2], value_dim))
        lse = room(graph, query.new_empty(query.shape[:2], dtype=lse_dtype), -torch.inf)
        for examples, query_rows, key_rows in equal_sizes(graph):
            q, k, v = self.batch(inputs, examples, query_rows, key_rows)
            part, part_lse = self.attend(q, k, v, plan.scale, is_causal(graph))
            out = put(out, query_rows, from_batch(part).narrow(2, 0, value_dim))
            lse = put(lse, query_rows, from_batch(part_lse))
        return Partial(out, lse)

    def batch(self, inputs: Inputs, examples, query_rows, key_rows) -> tuple[Tensor, Tensor, Tensor]:
        heads = inputs.query.size(1)
        dim = max(inputs.query.size(2), inputs.value.size(2))
        dim += -dim % self.aligned_channels
        key, value = (to_batch(spread_to_heads(x, heads), key_rows, examples) for x in (inputs.key, inputs.value))
        query = to_batch(inputs.query, query_rows, examples)
        return pad_channels(query, dim), pad_channels(key, dim), pad_channels(value, dim)

    def backward(self, plan, inputs, merged, grad):
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
            found = self.differentiate(grad_out, q, k, v, out, lse, plan.scale, is_causal(graph))
            found = [
                from_batch(x).narrow(2, 0, dim) for x, dim in zip(found, (query.size(2), key.size(2), value.size(2)))
            ]
            grad_query = put(grad_query, query_rows, found[0])
            grad_key = put(grad_key, key_rows, sum_to_groups(found[1], kv_heads))
            grad_value = put(grad_value, key_rows, sum_to_groups(found[2], kv_heads))
        return Inputs(grad_query, grad_key, grad_value)
